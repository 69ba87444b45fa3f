//! What a function counts and measures: collected while an invocation runs, written out once at its end as
//! lines of CloudWatch's embedded metric format. Knows no clients, users or amounts: an order's provider and
//! words of closed lists are all that a metric says. Nothing here can fail a request.

mod emf;

use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::domain::ProviderName;

/// The namespace of every metric.
pub const NAMESPACE: &str = "Recharge";

/// Values that one metric may have in one line.
const VALUES_MAX: usize = 100;

/// What is measured. ARCHITECTURE.md says of each what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Requests to create an order.
    Creates,
    /// How long those took that were not refused.
    CreateLatency,
    /// Calls to a provider.
    ProviderCalls,
    /// How long they took.
    ProviderLatency,
    /// Callbacks of a provider.
    Callbacks,
    /// Messages of the settlement queue.
    Settlements,
    /// From an order's creation to its credit.
    TimeToCredit,
    /// Statements put aside for a person.
    Parked,
    /// Attempts to tell a merchant.
    Notifications,
    /// Orders that were due when the poller ran.
    DueBacklog,
    /// How long the oldest of them had been due.
    OldestDueSeconds,
    /// Orders that are open long after their expiry.
    PendingBeyondSla,
    /// Whether a provider answered no call of the run, though there were some.
    ProviderSilent,
    /// How far the reading of a provider's list is behind: the reading on, or a second reading after an hour, a day or
    /// three.
    ListBehindSeconds,
    /// Credited orders of which the provider knows no payment.
    PaidWithoutRecord,
    /// Balances that are not the sum of their entries.
    BooksUnbalanced,
    /// Orders that are due and whose provider is not in the settings.
    OrdersWithoutProvider,
    /// What a function could not do by its own or our services' fault, though it did not crash.
    Failures,
    /// Of the table.
    WriteUnits,
    /// Of the table.
    ReadUnits,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 20] = [
        Metric::Creates,
        Metric::CreateLatency,
        Metric::ProviderCalls,
        Metric::ProviderLatency,
        Metric::Callbacks,
        Metric::Settlements,
        Metric::TimeToCredit,
        Metric::Parked,
        Metric::Notifications,
        Metric::DueBacklog,
        Metric::OldestDueSeconds,
        Metric::PendingBeyondSla,
        Metric::ProviderSilent,
        Metric::ListBehindSeconds,
        Metric::PaidWithoutRecord,
        Metric::BooksUnbalanced,
        Metric::OrdersWithoutProvider,
        Metric::Failures,
        Metric::WriteUnits,
        Metric::ReadUnits,
    ];

    /// The name in CloudWatch.
    pub const fn as_str(self) -> &'static str {
        match self {
            Metric::Creates => "Creates",
            Metric::CreateLatency => "CreateLatency",
            Metric::ProviderCalls => "ProviderCalls",
            Metric::ProviderLatency => "ProviderLatency",
            Metric::Callbacks => "Callbacks",
            Metric::Settlements => "Settlements",
            Metric::TimeToCredit => "TimeToCredit",
            Metric::Parked => "Parked",
            Metric::Notifications => "Notifications",
            Metric::DueBacklog => "DueBacklog",
            Metric::OldestDueSeconds => "OldestDueSeconds",
            Metric::PendingBeyondSla => "PendingBeyondSla",
            Metric::ProviderSilent => "ProviderSilent",
            Metric::ListBehindSeconds => "ListBehindSeconds",
            Metric::PaidWithoutRecord => "PaidWithoutRecord",
            Metric::BooksUnbalanced => "BooksUnbalanced",
            Metric::OrdersWithoutProvider => "OrdersWithoutProvider",
            Metric::Failures => "Failures",
            Metric::WriteUnits => "WriteUnits",
            Metric::ReadUnits => "ReadUnits",
        }
    }

    /// The unit in CloudWatch.
    pub const fn unit(self) -> &'static str {
        match self {
            Metric::CreateLatency | Metric::ProviderLatency | Metric::TimeToCredit => {
                "Milliseconds"
            }
            Metric::OldestDueSeconds | Metric::ListBehindSeconds => "Seconds",
            _ => "Count",
        }
    }

    /// Whether every value counts by itself, so that percentiles can be told; else they add up.
    const fn is_distribution(self) -> bool {
        matches!(self, Metric::CreateLatency | Metric::ProviderLatency | Metric::TimeToCredit)
    }

    /// Whether it is told apart by the function that it is of.
    const fn is_of_a_function(self) -> bool {
        matches!(self, Metric::Failures | Metric::WriteUnits | Metric::ReadUnits)
    }

    /// Capacity units come in halves, and are kept in halves.
    const fn in_halves(self) -> bool {
        matches!(self, Metric::WriteUnits | Metric::ReadUnits)
    }
}

/// The stage of a deployment, the first dimension of everything: `[A-Za-z0-9._-]{1,64}`. Versions are of the
/// same grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage(Arc<str>);

impl Stage {
    /// Reads the name.
    pub fn parse(text: &str) -> Option<Stage> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let named = (1..=64).contains(&text.len()) && text.bytes().all(fits);
        named.then(|| Stage(text.into()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where nobody has named one.
impl Default for Stage {
    fn default() -> Stage {
        Stage("local".into())
    }
}

/// The dimensions of a sample beside the stage: the provider, and the outcome in a word.
type Labels<'a> = (Option<&'a ProviderName>, Option<&'static str>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    metric: Metric,
    provider: Option<ProviderName>,
    outcome: Option<&'static str>,
    values: Vec<u64>,
}

impl Sample {
    fn is(&self, metric: Metric, (provider, outcome): Labels<'_>) -> bool {
        self.metric == metric && self.provider.as_ref() == provider && self.outcome == outcome
    }
}

tokio::task_local! {
    /// What the invocation that runs in this task has collected.
    static COLLECTED: RefCell<Vec<Sample>>;
}

/// Adds to a metric, or notes one more value of a distribution. Nothing happens outside of
/// [`Metrics::collect`], or while metrics are off.
pub fn add(metric: Metric, labels: Labels<'_>, value: u64) {
    let _ = COLLECTED.try_with(|collected| {
        let Ok(mut samples) = collected.try_borrow_mut() else { return };
        let has_room = |sample: &&mut Sample| {
            sample.is(metric, labels)
                && (!metric.is_distribution() || sample.values.len() < VALUES_MAX)
        };
        match samples.iter_mut().find(has_room) {
            Some(sample) if metric.is_distribution() => sample.values.push(value),
            Some(sample) => {
                for sum in &mut sample.values {
                    *sum = sum.saturating_add(value);
                }
            }
            None => samples.push(Sample {
                metric,
                provider: labels.0.cloned(),
                outcome: labels.1,
                values: vec![value],
            }),
        }
    });
}

/// Notes a duration in milliseconds.
pub fn took(metric: Metric, labels: Labels<'_>, duration: Duration) {
    add(metric, labels, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
}

/// What this invocation has counted so far, with these outcomes.
pub fn counted(metric: Metric, provider: &ProviderName, outcomes: &[&str]) -> u64 {
    let sum = |collected: &RefCell<Vec<Sample>>| {
        let Ok(samples) = collected.try_borrow() else { return 0 };
        let of_these = |sample: &&Sample| {
            sample.metric == metric
                && sample.provider.as_ref() == Some(provider)
                && sample.outcome.is_some_and(|outcome| outcomes.contains(&outcome))
        };
        samples.iter().filter(of_these).flat_map(|sample| &sample.values).sum()
    };
    COLLECTED.try_with(sum).unwrap_or(0)
}

/// A call to a provider that is under way. One that is dropped before its answer is unknown.
#[derive(Debug)]
pub struct ProviderCall<'a> {
    provider: &'a ProviderName,
    started: Instant,
    outcome: &'static str,
}

impl<'a> ProviderCall<'a> {
    /// Begins now.
    pub fn start(provider: &'a ProviderName) -> ProviderCall<'a> {
        ProviderCall { provider, started: Instant::now(), outcome: "unknown" }
    }

    /// Ends with `outcome`.
    pub fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for ProviderCall<'_> {
    fn drop(&mut self) {
        let provider = Some(self.provider);
        add(Metric::ProviderCalls, (provider, Some(self.outcome)), 1);
        took(Metric::ProviderLatency, (provider, None), self.started.elapsed());
    }
}

type Sink = Arc<dyn Fn(&str) + Send + Sync>;

/// Where a function's metrics go: nowhere, unless told otherwise.
#[derive(Clone, Default)]
pub struct Metrics {
    on: Option<(Sink, Stage)>,
    function: &'static str,
    version: Option<Stage>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.on.as_ref().map(|(_, stage)| stage);
        f.debug_struct("Metrics").field("stage", &stage).field("function", &self.function).finish()
    }
}

impl Metrics {
    /// To standard output, where Lambda's log is read for them.
    pub fn on_stdout(stage: Stage) -> Metrics {
        // One write a line: lines of several invocations do not mix. A line that cannot be written is lost.
        Metrics::to(stage, |lines| drop(std::io::stdout().lock().write_all(lines.as_bytes())))
    }

    /// To `sink`, which takes whole lines.
    pub fn to(stage: Stage, sink: impl Fn(&str) + Send + Sync + 'static) -> Metrics {
        Metrics { on: Some((Arc::new(sink), stage)), function: "", version: None }
    }

    /// Those of one version of a function, of which a rollout can be told apart.
    pub fn of_version(self, version: Option<Stage>) -> Metrics {
        Metrics { version, ..self }
    }

    /// Those of `function`.
    pub fn of(&self, function: &'static str) -> Metrics {
        Metrics { function, ..self.clone() }
    }

    /// Runs one invocation, and writes down what it has collected.
    pub fn collect<'a, T>(
        &'a self,
        clock: &'a dyn Clock,
        work: impl Future<Output = T> + 'a,
    ) -> impl Future<Output = T> + 'a {
        // Behind a pointer: each wrapper would else hold, and move, all that a function waits with.
        let work = Box::pin(work);
        async move {
            let Some((sink, stage)) = &self.on else { return work.await };
            let work = async {
                let done = work.await;
                (done, COLLECTED.with(RefCell::take))
            };
            let (done, samples) = COLLECTED.scope(RefCell::default(), work).await;
            if !samples.is_empty() {
                let version = self.version.as_ref().map_or("-", |version| &version.0);
                sink(&emf::lines(&samples, [&stage.0, self.function, version], clock.now()));
            }
            done
        }
    }
}

#[cfg(test)]
mod tests;
