//! Faults at the wire, by plan: lost requests, lost answers, throttling, conflicts and crashes.
//!
//! One [`Faults`] numbers every outside call of a run, AWS or not, decides each call's fault and keeps
//! the log. A run is a function of its plan: nothing here is random.

mod capacity;
mod refusal;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use tokio::sync::watch;

pub use self::capacity::{Capacity, Units};
use super::clock::SharedClock;
use super::wire::split_target;
use super::{secrets, sqs};

/// How long a caller waits for a lost request or answer, unless told otherwise.
pub const LOST_AFTER_MS: u64 = 5;

/// Who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The database.
    DynamoDb,
    /// The queues.
    Sqs,
    /// The secrets.
    Secrets,
    /// A payment provider over plain HTTP.
    Provider,
    /// A merchant's receiver of notifications.
    Receiver,
}

impl Service {
    /// The service an `x-amz-target` names.
    pub fn of_target(target: &str) -> Service {
        match split_target(target).0 {
            sqs::TARGET => Service::Sqs,
            secrets::TARGET => Service::Secrets,
            _ => Service::DynamoDb,
        }
    }

    /// The name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Service::DynamoDb => "dynamodb",
            Service::Sqs => "sqs",
            Service::Secrets => "secrets",
            Service::Provider => "provider",
            Service::Receiver => "receiver",
        }
    }
}

/// One call to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The running number over all services, from 0. A retry of the SDK is a new call.
    pub index: u64,
    /// Who is called.
    pub service: Service,
    /// The operation, for example `PutItem`.
    pub operation: String,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Nothing.
    None,
    /// It never arrives; the caller sees a timeout.
    RequestLost,
    /// It is applied; the caller sees a timeout.
    AnswerLost,
    /// The service refuses it for its rate.
    Throttle,
    /// DynamoDB refuses a write for another write in progress; elsewhere the same as `Throttle`.
    Conflict,
    /// The caller dies before the call leaves: never applied, never answered.
    CrashBefore,
    /// The caller dies before the answer arrives: applied, never answered.
    CrashAfter,
}

impl Fault {
    /// Every fault that can befall one call, in the order a crash matrix tries them.
    pub const ALL: [Fault; 6] = [
        Fault::RequestLost,
        Fault::AnswerLost,
        Fault::Throttle,
        Fault::Conflict,
        Fault::CrashBefore,
        Fault::CrashAfter,
    ];
}

/// One finished call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogEntry {
    /// The call's running number; the log is in the order of answers.
    pub index: u64,
    /// When it was answered, on the clock of the run.
    pub at_ms: i64,
    /// `service.operation`.
    pub call: String,
    /// What happened to it.
    pub fault: Fault,
    /// The status the caller saw; 0 when it saw none.
    pub status: u16,
    /// What DynamoDB charged for it, also when the answer was lost.
    pub capacity: Capacity,
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogEntry { index, at_ms, call, fault, status, capacity } = self;
        write!(f, "{index} {at_ms} {call} {fault:?} {status} {}", capacity.total)
    }
}

type Plan = dyn Fn(&Call) -> Fault + Send + Sync;
type Latency = dyn Fn(&Call) -> u64 + Send + Sync;

/// The numbering, the plan and the log of one run. Clones share them.
#[derive(Clone)]
pub struct Faults {
    inner: Arc<Inner>,
}

struct Inner {
    clock: SharedClock,
    plan: Box<Plan>,
    latency_ms: Box<Latency>,
    state: Mutex<State>,
    crashes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    next: u64,
    log: Vec<LogEntry>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl Faults {
    /// A run whose calls take no time and suffer what `plan` says.
    pub fn new(
        clock: SharedClock,
        plan: impl Fn(&Call) -> Fault + Send + Sync + 'static,
    ) -> Faults {
        Faults::with_latency(clock, plan, |_| 0)
    }

    /// A run whose calls each take `latency_ms` before they arrive, so that callers interleave.
    pub fn with_latency(
        clock: SharedClock,
        plan: impl Fn(&Call) -> Fault + Send + Sync + 'static,
        latency_ms: impl Fn(&Call) -> u64 + Send + Sync + 'static,
    ) -> Faults {
        let (crashes, _) = watch::channel(0);
        let (plan, latency_ms) = (Box::new(plan), Box::new(latency_ms));
        let state = Mutex::default();
        Faults { inner: Arc::new(Inner { clock, plan, latency_ms, state, crashes }) }
    }

    /// A run without faults, for its log.
    pub fn none(clock: SharedClock) -> Faults {
        Faults::new(clock, |_| Fault::None)
    }

    /// A run where only the call number `index` suffers, and only once.
    pub fn at(clock: SharedClock, index: u64, fault: Fault) -> Faults {
        Faults::new(clock, move |call| if call.index == index { fault } else { Fault::None })
    }

    /// `http` with this run's faults.
    pub fn wrap(&self, http: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(Faulty { inner: http, faults: self.clone() })
    }

    /// Numbers a call that is about to leave and decides its fault. For callers outside AWS too.
    pub fn next(&self, service: Service, operation: &str) -> (Call, Fault) {
        let call = {
            let mut state = self.lock();
            let index = state.next;
            state.next += 1;
            Call { index, service, operation: operation.to_owned() }
        };
        let fault = (self.inner.plan)(&call);
        (call, fault)
    }

    /// Waits as long as the call takes to arrive.
    pub async fn travel(&self, call: &Call) {
        let latency_ms = (self.inner.latency_ms)(call);
        if latency_ms > 0 {
            self.inner.clock.sleep_ms(latency_ms).await;
        }
    }

    /// Logs a finished call; `status` is 0 when the caller saw none.
    pub fn record(&self, call: &Call, fault: Fault, status: u16) {
        self.record_with(call, fault, status, Capacity::default());
    }

    fn record_with(&self, call: &Call, fault: Fault, status: u16, capacity: Capacity) {
        let entry = LogEntry {
            index: call.index,
            at_ms: self.inner.clock.now_ms(),
            call: format!("{}.{}", call.service.name(), call.operation),
            fault,
            status,
            capacity,
        };
        self.lock().log.push(entry);
    }

    /// Says that the caller is dead; it must not go on after this.
    pub fn signal_crash(&self) {
        self.inner.crashes.send_modify(|crashes| *crashes += 1);
    }

    /// Returns once a crash was signalled, also when that was before this call.
    pub async fn crashed(&self) {
        let mut crashes = self.inner.crashes.subscribe();
        // The sender lives in `self`, so this never fails.
        let _ = crashes.wait_for(|&crashes| crashes > 0).await;
    }

    /// How many calls left so far.
    pub fn calls(&self) -> u64 {
        self.lock().next
    }

    /// The finished calls, in the order of their answers.
    pub fn log(&self) -> Vec<LogEntry> {
        self.lock().log.clone()
    }

    /// What DynamoDB charged for all calls so far.
    pub fn capacity(&self) -> Capacity {
        let mut sum = Capacity::default();
        for entry in &self.lock().log {
            sum.add(&entry.capacity);
        }
        sum
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(
        &self,
        request: HttpRequest,
        inner: SharedHttpConnector,
    ) -> Result<HttpResponse, ConnectorError> {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let (call, fault) = self.next(Service::of_target(&target), split_target(&target).1);
        self.travel(&call).await;
        match fault {
            Fault::None => {
                let answered = inner.call(request).await;
                let status = answered.as_ref().map_or(0, |answer| answer.status().as_u16());
                let capacity = answered.as_ref().map(Capacity::of).unwrap_or_default();
                self.record_with(&call, fault, status, capacity);
                answered
            }
            Fault::RequestLost => self.lost(&call, fault, Capacity::default()).await,
            Fault::AnswerLost => {
                let capacity = Capacity::of(&inner.call(request).await?);
                self.lost(&call, fault, capacity).await
            }
            Fault::Throttle | Fault::Conflict => {
                let body = request.body().bytes().unwrap_or_default();
                let refusal = refusal::answer(&call, fault, body);
                self.record(&call, fault, refusal.status);
                Ok(refusal.into_smithy())
            }
            Fault::CrashBefore => self.crash(&call, fault, Capacity::default()).await,
            Fault::CrashAfter => {
                let capacity = Capacity::of(&inner.call(request).await?);
                self.crash(&call, fault, capacity).await
            }
        }
    }

    async fn lost(
        &self,
        call: &Call,
        fault: Fault,
        capacity: Capacity,
    ) -> Result<HttpResponse, ConnectorError> {
        self.inner.clock.sleep_ms(LOST_AFTER_MS).await;
        self.record_with(call, fault, 0, capacity);
        Err(ConnectorError::timeout(format!("injected: {fault:?}").into()))
    }

    async fn crash(
        &self,
        call: &Call,
        fault: Fault,
        capacity: Capacity,
    ) -> Result<HttpResponse, ConnectorError> {
        self.record_with(call, fault, 0, capacity);
        self.signal_crash();
        std::future::pending().await
    }
}

#[derive(Debug)]
struct Faulty {
    inner: SharedHttpClient,
    faults: Faults,
}

#[derive(Debug)]
struct FaultyConnector {
    inner: SharedHttpConnector,
    faults: Faults,
}

impl HttpClient for Faulty {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(FaultyConnector { inner, faults: self.faults.clone() })
    }
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, faults) = (self.inner.clone(), self.faults.clone());
        HttpConnectorFuture::new(async move { faults.call(request, inner).await })
    }
}

#[cfg(test)]
mod tests;
