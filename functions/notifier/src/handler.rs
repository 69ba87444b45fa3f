//! Batches from the notification queue: each notice tried once, failures of our own reported per record.
//! A receiver's failure is none of them: the table knows when to try again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use lambda_runtime::{Error, LambdaEvent};
use recharge_shared::app::notify::{
    Context, Deliver, Delivered, Notification, Outcome, SPARED, merchant_of, notify,
};
use recharge_shared::clock::Clock;
use recharge_shared::metrics::{self, Metric, Metrics};
use recharge_shared::queue::{DeadLetters, NotificationMessage};
use recharge_shared::secrets::{NotificationKeysDocument, Secret};
use recharge_shared::store::{Store, StoreError};
use recharge_shared::xray::TraceHeader;
use tokio::time::Instant;
use tracing::Instrument;

/// Attempts that held others up after which a destination is left alone.
const HELD_UP_MAX: u32 = 2;

/// The same of all destinations of one merchant, of which each counts as [`HELD_UP_MAX`] at most.
const HELD_UP_BY_MERCHANT_MAX: u32 = 6;

/// From when on an attempt that was not taken holds others up: a batch waits for its slowest record.
const SLOW_FROM: Duration = Duration::from_secs(1);

/// From when on one that was taken does.
const TAKEN_SLOWLY_FROM: Duration = Duration::from_secs(10);

/// For how long within [`SPARED_FOR`] one merchant's receivers may hold others up with what they take, by attempts of
/// [`SLOW_FROM`] and longer: a third of the time, so that no merchant's backlog grows into everybody's.
const HELD_FOR_MAX: Duration = Duration::from_secs(20);

/// How often a notice that somebody asked for again comes back while its receiver is left alone: for an hour. Whoever
/// asked can ask again; a receiver that is away is no matter for the operator's dead letters.
const ASKED_RECEIVES_MAX: u32 = 10;

/// For how long a destination is left alone.
const SPARED_FOR: Duration = Duration::from_secs(60);

/// What this function may touch.
#[derive(Debug)]
pub struct Deps {
    /// Orders to read, notices to write.
    pub store: Store,
    /// The merchants' secrets.
    pub keys: Secret<NotificationKeysDocument>,
    /// The way out.
    pub way: Arc<dyn Deliver>,
    /// Where messages end that cannot be handled.
    pub dead_letters: DeadLetters,
    /// How often a message that cannot be handled is tried. The queue's own limit is higher: it is for
    /// outages.
    pub tries_max: u32,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is counted and measured.
    pub metrics: Metrics,
    /// Who has held others up lately.
    pub silences: Silences,
}

/// Handles one batch; the answer names exactly the records that must come again.
pub async fn handle(deps: &Deps, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    let way = Spared { inner: deps.way.as_ref(), silences: &deps.silences };
    let tries = join_all(event.payload.records.iter().map(|record| one(deps, &way, record)));
    let tried = deps.metrics.collect(deps.clock.as_ref(), tries).await;
    let mut response = SqsBatchResponse::default();
    for (record, done) in event.payload.records.iter().zip(tried) {
        if done {
            continue;
        }
        let id = record.message_id.clone().filter(|id| !id.is_empty());
        let mut failure = BatchItemFailure::default();
        failure.item_identifier =
            id.ok_or_else(|| Error::from("a record without messageId failed"))?;
        response.batch_item_failures.push(failure);
    }
    Ok(response)
}

/// Tries one record; `false` when it must come again.
async fn one(deps: &Deps, way: &Spared<'_>, record: &SqsMessage) -> bool {
    let decoded = NotificationMessage::decode(record.body.as_deref().unwrap_or(""));
    let reason = match decoded {
        Err(undecodable) => format!("undecodable: {}", undecodable.0),
        Ok(message) => {
            let header = TraceHeader::of_message(&record.attributes);
            let xray = header.as_ref().map(TraceHeader::root);
            let trace = Some(message.trace.as_str()).filter(|_| message.trace.is_known());
            // What the poller hands over has its order's, once that is read.
            let span = tracing::error_span!("notice", trace, xray);
            match heard(deps, way, (&message, receives(record))).instrument(span).await {
                Ok(done) => return done,
                Err(error) => {
                    metrics::add(Metric::Failures, (None, None), 1);
                    error.to_string()
                }
            }
        }
    };
    let receives = receives(record);
    let message_id = record.message_id.as_deref().unwrap_or("");
    tracing::warn!(message_id, receives, reason, "notice put off");
    if receives < deps.tries_max {
        return false;
    }
    deps.dead_letters.send(record, &reason).await.is_ok()
}

/// How often the queue has handed the message over.
fn receives(record: &SqsMessage) -> u32 {
    let receives = record.attributes.get("ApproximateReceiveCount");
    receives.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Tries one notice; `false` when it must come again, which is not the message's fault.
async fn heard(
    deps: &Deps,
    way: &Spared<'_>,
    (message, receives): (&NotificationMessage, u32),
) -> Result<bool, StoreError> {
    let Deps { store, keys, clock, .. } = deps;
    let context = Context { store, keys, way, clock: clock.as_ref() };
    let order = message.order.as_str();
    match notify(context, message).await {
        Ok(outcome) => {
            tracing::info!(order, ?outcome, "notification message for order {order}");
            if outcome == Outcome::LeftAlone && receives >= ASKED_RECEIVES_MAX {
                tracing::warn!(order, "not sent again, although asked for: its receiver is silent");
                return Ok(true);
            }
            Ok(outcome != Outcome::LeftAlone)
        }
        Err(StoreError::Busy(why)) => {
            metrics::add(Metric::Failures, (None, None), 1);
            tracing::warn!(order, why, "notice put off");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Who has held others up lately, by destination, and for how long, by merchant. Lives as long as the instance: one dead
/// receiver shall not hold up batch after batch, nor one merchant with many of them.
#[derive(Debug, Default)]
pub struct Silences(Mutex<BTreeMap<String, Silence>>, Mutex<BTreeMap<String, Held>>);

#[derive(Debug, Clone, Copy)]
struct Silence {
    attempts: u32,
    since: Instant,
}

/// What one merchant's receivers have cost with what they took; attempts side by side cost once.
#[derive(Debug, Clone, Copy)]
struct Held {
    since: Instant,
    until: Instant,
    total: Duration,
}

impl Silences {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt that began at `started` has ended now.
    fn cost(&self, destination: &str, started: Instant) {
        let now = Instant::now();
        if now.duration_since(started) < SLOW_FROM {
            return;
        }
        let mut held = self.held();
        held.retain(|_, held| held.since.elapsed() < SPARED_FOR);
        let new = Held { since: started, until: started, total: Duration::ZERO };
        let held = held.entry(merchant_of(destination).to_owned()).or_insert(new);
        held.total += now.duration_since(started.max(held.until));
        held.until = now;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Silence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spares(&self, destination: &str) -> bool {
        let held = self.held().get(merchant_of(destination)).copied();
        let is_over = |held: Held| held.since.elapsed() < SPARED_FOR && held.total >= HELD_FOR_MAX;
        if held.is_some_and(is_over) {
            return true;
        }
        let silences = self.lock();
        let of_merchant = silences.iter().filter(|(whose, silence)| {
            merchant_of(whose) == merchant_of(destination) && silence.since.elapsed() < SPARED_FOR
        });
        let mut all = 0;
        for (whose, silence) in of_merchant {
            let attempts = silence.attempts.min(HELD_UP_MAX);
            if whose == destination && attempts == HELD_UP_MAX {
                return true;
            }
            all += attempts;
        }
        all >= HELD_UP_BY_MERCHANT_MAX
    }

    /// An attempt was quick enough or not. A quick refusal excuses nothing; what is quickly taken makes up for one slow
    /// attempt.
    fn heard(&self, destination: &str, (in_time, taken): (bool, bool)) {
        let mut silences = self.lock();
        if in_time {
            if let Some(silence) = silences.get_mut(destination).filter(|_| taken) {
                silence.attempts = silence.attempts.saturating_sub(1);
            }
            return;
        }
        silences.retain(|_, silence| silence.since.elapsed() < SPARED_FOR);
        let since = Instant::now();
        let silence =
            silences.entry(destination.to_owned()).or_insert(Silence { attempts: 0, since });
        *silence = Silence { attempts: silence.attempts + 1, since };
    }
}

/// The way out, which leaves a destination alone for a while that holds others up.
#[derive(Debug)]
struct Spared<'a> {
    inner: &'a dyn Deliver,
    silences: &'a Silences,
}

#[async_trait]
impl Deliver for Spared<'_> {
    async fn deliver(&self, url: &str, notification: &Notification) -> Delivered {
        let destination = &notification.destination;
        if self.silences.spares(destination) {
            let error = SPARED.to_owned();
            return Delivered { status: 0, error, retry_after: None };
        }
        let started = Instant::now();
        let delivered = self.inner.deliver(url, notification).await;
        let taken = matches!(delivered.status, 200..=299);
        let limit = if taken { TAKEN_SLOWLY_FROM } else { SLOW_FROM };
        self.silences.heard(destination, (started.elapsed() < limit, taken));
        if taken {
            self.silences.cost(destination, started);
        }
        delivered
    }
}
