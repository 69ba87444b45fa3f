//! The wire under every client of the functions: one run's faults, the same for the AWS services and the
//! provider. Everything that reaches the table is looked at the moment it is applied.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use recharge_local::aws::faults::Service;
use recharge_local::aws::wire::WireAnswer;
use recharge_local::aws::{EmbeddedAws, SharedClock};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::books::Books;
use crate::dice::Dice;
use crate::plan::{Rates, Weather};
use crate::provider::Truth;
use crate::trace::Trace;

/// How long DynamoDB remembers the token of a transaction.
const TOKEN_REMEMBERED_MS: i64 = 600_000;

/// How often one record of an invocation may have one request refused: six tries of the store's budget, three
/// of the SDK each, twice.
const REFUSED_MAX: u64 = 36;

/// How late a request arrives at most: later its signature is not accepted any more.
const LATE_MS_MAX: u64 = 280_000;

tokio::task_local! {
    /// The invocation whose code runs.
    pub static INVOCATION: Arc<Invocation>;
}

/// One invocation of a function.
#[derive(Debug)]
pub struct Invocation {
    /// Its name in the trace.
    pub name: String,
    /// Records of its batch; 1 without one. Copies of one message do the same side by side.
    pub records: u64,
    /// Outside calls so far.
    pub calls: AtomicU64,
    /// Told when the wire lets it die.
    pub crash: Notify,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    RequestLost,
    AnswerLost,
    Late,
    Throttle,
    Conflict,
    CrashBefore,
    CrashAfter,
    NotSent,
}

/// The wire of one run. Clones are the same.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

struct Inner {
    aws: EmbeddedAws,
    dice: Dice,
    truth: Truth,
    state: Mutex<State>,
    started_ms: i64,
}

struct State {
    weather: Weather,
    books: Books,
    trace: Trace,
    tokens: BTreeMap<String, (i64, u32)>,
    frozen_until_ms: BTreeMap<u64, i64>,
    faults: BTreeMap<&'static str, u64>,
    refused: BTreeMap<(String, u64), u64>,
    violations: Vec<String>,
    calls: u64,
    calls_of_one_max: u64,
}

/// What a wire came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Calls.
    pub calls: u64,
    /// The most calls of one invocation.
    pub calls_of_one_max: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Wire {
    /// The wire to `aws` under `weather`.
    pub fn new(
        (aws, truth): (EmbeddedAws, Truth),
        (dice, weather): (Dice, Weather),
        (books, trace): (Books, Trace),
    ) -> Wire {
        let started_ms = aws.clock().now_ms();
        let state = State {
            weather,
            books,
            trace,
            tokens: BTreeMap::new(),
            frozen_until_ms: BTreeMap::new(),
            faults: BTreeMap::new(),
            refused: BTreeMap::new(),
            violations: Vec::new(),
            calls: 0,
            calls_of_one_max: 0,
        };
        Wire(Arc::new(Inner { aws, dice, truth, state: Mutex::new(state), started_ms }))
    }

    /// The end of an instance's wire, for its AWS clients.
    pub fn aws_of(&self, instance: u64) -> SharedHttpClient {
        SharedHttpClient::new(Line { wire: self.clone(), instance })
    }

    /// The end of an instance's wire, for its provider client.
    pub fn provider_of(&self, instance: u64, inner: Arc<dyn Outbound>) -> Arc<dyn Outbound> {
        Arc::new(ProviderLine { wire: self.clone(), instance, inner })
    }

    /// From now on nothing fails.
    pub fn quiet(&self) {
        let mut state = self.lock();
        state.weather = Weather::default();
        state.frozen_until_ms.clear();
    }

    /// Milliseconds since the run began.
    pub fn now_ms(&self) -> i64 {
        self.0.aws.clock().now_ms() - self.0.started_ms
    }

    /// Writes a line into the trace.
    pub fn note(&self, what: &str) {
        let now_ms = self.now_ms();
        self.lock().trace.push(now_ms, what);
    }

    /// Reads the books as they were kept step by step.
    pub fn books<T>(&self, read: impl FnOnce(&mut Books) -> T) -> T {
        read(&mut self.lock().books)
    }

    /// The trace's number and text.
    pub fn trace(&self) -> (u64, Vec<String>) {
        let state = self.lock();
        (state.trace.hash(), state.trace.lines())
    }

    /// What the wire came to.
    pub fn tally(&self) -> Tally {
        let state = self.lock();
        let State { calls, calls_of_one_max, .. } = *state;
        Tally { calls, calls_of_one_max, faults: state.faults.clone() }
    }

    /// Until when the instance stands still, milliseconds of the clock.
    pub fn frozen_until_ms(&self, instance: u64) -> i64 {
        self.lock().frozen_until_ms.get(&instance).copied().unwrap_or(0)
    }

    fn clock(&self) -> &SharedClock {
        self.0.aws.clock()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call leaves: what will happen to it.
    fn decide(&self, service: Service, operation: &str, instance: u64) -> Fault {
        let now_ms = self.now_ms();
        let dice = &self.0.dice;
        let mut state = self.lock();
        state.calls += 1;
        if let Ok(calls) = INVOCATION.try_with(|i| i.calls.fetch_add(1, Ordering::Relaxed) + 1) {
            state.calls_of_one_max = state.calls_of_one_max.max(calls);
        }
        let Weather { rates, only, outages, .. } = &state.weather;
        let mut outages = outages.iter().filter(|outage| outage.service == service);
        let outage = outages.find(|o| (o.from_ms..o.until_ms).contains(&now_ms));
        let rates = rates.get(&service).copied().unwrap_or_default();
        let suffers = only.is_none_or(|only| only == operation);
        let fault = match (outage, suffers) {
            // Capacity for writes is a thing of its own: reads go on.
            (Some(outage), _) if outage.refuses && is_read(service, operation) => Fault::None,
            (Some(outage), _) if outage.refuses => Fault::Throttle,
            (Some(_), _) => *dice.pick(&[Fault::RequestLost, Fault::RequestLost, Fault::NotSent]),
            (None, true) => draw(&rates, dice),
            (None, false) => Fault::None,
        };
        if suffers && dice.chance(rates.freeze) {
            let until =
                self.clock().now_ms() + i64::try_from(dice.between(1_000, 90_000)).unwrap_or(0);
            state.frozen_until_ms.insert(instance, until);
            *state.faults.entry("freeze").or_default() += 1;
        }
        let is_aws = service != Service::Provider;
        let fault = match fault {
            Fault::NotSent if is_aws => Fault::RequestLost,
            // Of a queue: it takes a part of what it is given.
            Fault::Conflict if !writes(operation) && operation != "SendMessageBatch" => {
                Fault::Throttle
            }
            fault => fault,
        };
        if fault != Fault::None {
            *state.faults.entry(fault.name()).or_default() += 1;
        }
        fault
    }

    /// Waits while the call travels, and while its instance stands still.
    async fn travel(&self, instance: u64) {
        let frozen_until = self.frozen_until_ms(instance);
        if frozen_until > self.clock().now_ms() {
            self.clock().sleep_until(frozen_until).await;
        }
        let latency_ms_max = self.lock().weather.latency_ms_max;
        if latency_ms_max > 0 {
            let ms = self.0.dice.below(latency_ms_max);
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    /// I14: one request is not sent again and again to a service that refuses it.
    fn count_refusal(&self, operation: &str, body: &[u8]) {
        let Ok((who, records)) = INVOCATION.try_with(|i| (i.name.clone(), i.records)) else {
            return;
        };
        // The members of a request come in any order.
        let mut bytes = body.to_vec();
        bytes.sort_unstable();
        let mut hasher = DefaultHasher::new();
        (operation, bytes).hash(&mut hasher);
        let key = (who, hasher.finish());
        let mut state = self.lock();
        let times = state.refused.entry(key.clone()).or_default();
        *times += 1;
        if *times == REFUSED_MAX * records + 1 {
            let what = format!("I14: {} sent one {operation} {times} times", key.0);
            state.violations.push(what);
        }
    }

    /// What was wrong on the wire itself.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    async fn lost(&self) {
        let ms = self.0.dice.between(5, 2_000);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn record(&self, instance: u64, (operation, fault): (&str, Fault), status: u16) {
        let who = INVOCATION.try_with(|i| i.name.clone()).unwrap_or_else(|_| "nobody".to_owned());
        let fault = if fault == Fault::None { "" } else { fault.name() };
        self.note(&format!("{who}@{instance} {operation} {status} {fault}"));
    }

    /// The invocation dies here.
    async fn die<T>(&self) -> T {
        let _ = INVOCATION.try_with(|i| i.crash.notify_one());
        std::future::pending().await
    }

    /// One request to an AWS service that arrives, with everything that follows from it.
    async fn apply(&self, target: &str, body: &[u8]) -> WireAnswer {
        let body = self.with_token(target, body);
        // Nothing runs between the effect and the look at it: an in-process request never waits.
        let answer = self.0.aws.answer(target, &body).await;
        if answer.status == 200 && target.starts_with("DynamoDB") {
            let now_ms = self.now_ms();
            let mut state = self.lock();
            let who = INVOCATION.try_with(|i| i.name.clone()).unwrap_or_default();
            let State { books, trace, .. } = &mut *state;
            let database = self.0.aws.database();
            books.observe(database, &self.0.truth, (target, &body), |line| {
                trace.push(now_ms, &format!("{who}   {line}"));
            });
        }
        answer
    }

    /// A queue that takes some messages of a request and not the others, and says so with a 200.
    async fn apply_partly(&self, target: &str, body: &[u8]) -> WireAnswer {
        let mut request: Value = serde_json::from_slice(body).unwrap_or_default();
        let entries = request["Entries"].as_array().cloned().unwrap_or_default();
        let (taken, left): (Vec<Value>, Vec<Value>) =
            entries.into_iter().partition(|_| self.0.dice.chance(500));
        let refused = |entry: Value| json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"});
        let left: Vec<Value> = left.into_iter().map(refused).collect();
        if taken.is_empty() {
            let body = json!({"Successful": [], "Failed": left}).to_string();
            let content_type = "application/x-amz-json-1.0";
            return WireAnswer { status: 200, content_type, query_error: None, body };
        }
        request["Entries"] = taken.into();
        let mut answer = self.apply(target, request.to_string().as_bytes()).await;
        if answer.status == 200 {
            let mut said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            said["Failed"] = left.into();
            answer.body = said.to_string();
        }
        answer
    }

    /// DynamoDB forgets a transaction's token after ten minutes; the embedded one measures them on the
    /// machine's clock.
    fn with_token<'a>(&self, target: &str, body: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
        if !target.ends_with(".TransactWriteItems") {
            return body.into();
        }
        let mut request: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(token) = request["ClientRequestToken"].as_str().map(str::to_owned) else {
            return body.into();
        };
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let (since_ms, number) = state.tokens.entry(token.clone()).or_insert((now_ms, 0));
        if now_ms - *since_ms >= TOKEN_REMEMBERED_MS {
            (*since_ms, *number) = (now_ms, *number + 1);
        }
        if *number == 0 {
            return body.into();
        }
        let short = token.get(..30).unwrap_or(&token);
        request["ClientRequestToken"] = json!(format!("{short}-{number}"));
        request.to_string().into_bytes().into()
    }

    /// A request that arrives when its caller has given up.
    fn arrive_late(&self, target: String, body: Vec<u8>) {
        let wire = self.clone();
        let late_ms = self.0.dice.between(1_000, LATE_MS_MAX);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(late_ms)).await;
            wire.note(&format!("late {target}"));
            wire.apply(&target, &body).await;
        });
    }
}

fn is_read(service: Service, operation: &str) -> bool {
    service == Service::DynamoDb && !writes(operation)
}

fn writes(operation: &str) -> bool {
    matches!(operation, "TransactWriteItems" | "PutItem" | "UpdateItem")
}

fn draw(rates: &Rates, dice: &Dice) -> Fault {
    let mut at = dice.below(1_000);
    for (rate, fault) in [
        (rates.request_lost, Fault::RequestLost),
        (rates.answer_lost, Fault::AnswerLost),
        (rates.late, Fault::Late),
        (rates.throttle, Fault::Throttle),
        (rates.conflict, Fault::Conflict),
        (rates.crash_before, Fault::CrashBefore),
        (rates.crash_after, Fault::CrashAfter),
    ] {
        if at < rate {
            return fault;
        }
        at -= rate;
    }
    Fault::None
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::RequestLost => "request lost",
            Fault::AnswerLost => "answer lost",
            Fault::Late => "late",
            Fault::Throttle => "throttle",
            Fault::Conflict => "conflict",
            Fault::CrashBefore => "crash before",
            Fault::CrashAfter => "crash after",
            Fault::NotSent => "not sent",
        }
    }
}

/// An instance's end of the wire.
#[derive(Debug, Clone)]
struct Line {
    wire: Wire,
    instance: u64,
}

impl HttpClient for Line {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Line {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Line { wire, instance } = self.clone();
        HttpConnectorFuture::new(async move { wire.send(instance, request).await })
    }
}

impl Wire {
    async fn send(
        &self,
        instance: u64,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default();
        let service = Service::of_target(&target);
        let operation = target.rsplit('.').next().unwrap_or("");
        let fault = self.decide(service, operation, instance);
        self.travel(instance).await;
        let timeout = || ConnectorError::timeout(format!("injected: {}", fault.name()).into());
        match fault {
            Fault::None => {
                let answer = self.apply(&target, body).await;
                self.record(instance, (operation, fault), answer.status);
                self.travel(instance).await;
                Ok(answer.into_smithy())
            }
            Fault::Conflict if operation == "SendMessageBatch" => {
                let answer = self.apply_partly(&target, body).await;
                self.record(instance, (operation, fault), answer.status);
                Ok(answer.into_smithy())
            }
            Fault::Throttle | Fault::Conflict => {
                if fault == Fault::Conflict {
                    // The other writer is at it, and may be done when the refusal is worded.
                    self.lost().await;
                }
                self.count_refusal(operation, body);
                let answer = refusal(self, service, (operation, fault), body);
                self.record(instance, (operation, fault), answer.status);
                Ok(answer.into_smithy())
            }
            Fault::RequestLost | Fault::NotSent | Fault::Late | Fault::AnswerLost => {
                if fault == Fault::AnswerLost {
                    self.apply(&target, body).await;
                }
                if fault == Fault::Late {
                    self.arrive_late(target.clone(), body.to_vec());
                }
                self.record(instance, (operation, fault), 0);
                self.lost().await;
                Err(timeout())
            }
            Fault::CrashBefore | Fault::CrashAfter => {
                if fault == Fault::CrashAfter {
                    self.apply(&target, body).await;
                }
                self.record(instance, (operation, fault), 0);
                self.die().await
            }
        }
    }
}

/// How AWS refuses what it has not done.
fn refusal(
    wire: &Wire,
    service: Service,
    (operation, fault): (&str, Fault),
    body: &[u8],
) -> WireAnswer {
    let answer = |kind: &str, mut body: Value| {
        body["__type"] = json!(kind);
        WireAnswer {
            status: 400,
            content_type: "application/x-amz-json-1.0",
            query_error: None,
            body: body.to_string(),
        }
    };
    let dynamodb = |kind: &str| format!("com.amazonaws.dynamodb.v20120810#{kind}");
    match (service, fault, operation) {
        (Service::DynamoDb, Fault::Conflict, "TransactWriteItems") => {
            let reasons = reasons(wire, body);
            let kind = dynamodb("TransactionCanceledException");
            answer(&kind, json!({"Message": "cancelled", "CancellationReasons": reasons}))
        }
        (Service::DynamoDb, Fault::Conflict, _) => {
            answer(&dynamodb("TransactionConflictException"), json!({"message": "conflict"}))
        }
        (Service::DynamoDb, _, _) => {
            let kind = dynamodb("ProvisionedThroughputExceededException");
            answer(&kind, json!({"message": "throttled"}))
        }
        (Service::Sqs, _, _) => WireAnswer {
            query_error: Some("RequestThrottled;Sender".to_owned()),
            ..answer("com.amazonaws.sqs#RequestThrottled", json!({"message": "throttled"}))
        },
        _ => answer("ThrottlingException", json!({"message": "throttled"})),
    }
}

/// One item met another writer; of the others those are refused whose condition does not hold just now, as
/// asking the table with a plain conditional check would tell.
fn reasons(wire: &Wire, body: &[u8]) -> Value {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let items = request["TransactItems"].as_array().cloned().unwrap_or_default();
    let met = usize::try_from(wire.0.dice.below(items.len() as u64)).unwrap_or(0);
    let reason = |(position, item): (usize, &Value)| {
        if position == met || wire.0.dice.chance(200) {
            json!({"Code": "TransactionConflict", "Message": "ongoing"})
        } else if fails(wire, item) {
            json!({"Code": "ConditionalCheckFailed", "Message": "failed"})
        } else {
            json!({"Code": "None"})
        }
    };
    items.iter().enumerate().map(reason).collect()
}

/// Whether the item's condition does not hold: it is put to the table as a check that changes nothing.
fn fails(wire: &Wire, item: &Value) -> bool {
    let write = item.get("Put").or_else(|| item.get("Update"));
    let Some(write) = write else { return false };
    let Some(condition) = write["ConditionExpression"].as_str() else { return false };
    let key = match item.get("Put") {
        Some(put) => json!({"pk": put["Item"]["pk"], "sk": put["Item"]["sk"]}),
        None => write["Key"].clone(),
    };
    // Names and values that the condition does not use are refused: only those of the product's conditions.
    let used = |members: &Value| -> Value {
        let members = members.as_object().cloned().unwrap_or_default();
        members
            .into_iter()
            .filter(|(name, _)| condition.contains(name.as_str()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let mut check =
        json!({"TableName": write["TableName"], "Key": key, "ConditionExpression": condition});
    for members in ["ExpressionAttributeNames", "ExpressionAttributeValues"] {
        let members_used = used(&write[members]);
        if members_used.as_object().is_some_and(|members| !members.is_empty()) {
            check[members] = members_used;
        }
    }
    let body = json!({"TransactItems": [{"ConditionCheck": check}]}).to_string();
    wire.0.aws.database().answer("TransactWriteItems", body.as_bytes()).status != 200
}

/// An instance's way to the provider.
#[derive(Debug)]
struct ProviderLine {
    wire: Wire,
    instance: u64,
    inner: Arc<dyn Outbound>,
}

#[async_trait]
impl Outbound for ProviderLine {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let ProviderLine { wire, instance, inner } = self;
        let operation = request.uri().path().rsplit('/').next().unwrap_or("").to_owned();
        let fault = wire.decide(Service::Provider, &operation, *instance);
        let started = tokio::time::Instant::now();
        wire.travel(*instance).await;
        let left = limits.deadline.saturating_sub(started.elapsed());
        let record = |status| wire.record(*instance, (&operation, fault), status);
        match fault {
            Fault::None => {
                let answered = wire.0.truth.serve(inner.as_ref(), request, limits).await;
                record(answered.as_ref().map_or(0, |answer| answer.status().as_u16()));
                wire.travel(*instance).await;
                if started.elapsed() > limits.deadline {
                    return Err(OutboundError::TimedOut);
                }
                answered
            }
            Fault::NotSent => {
                record(0);
                Err(OutboundError::NotSent)
            }
            Fault::RequestLost => {
                record(0);
                tokio::time::sleep(left).await;
                Err(OutboundError::TimedOut)
            }
            Fault::AnswerLost => {
                let _ = wire.0.truth.serve(inner.as_ref(), request, limits).await;
                record(0);
                tokio::time::sleep(left).await;
                Err(OutboundError::TimedOut)
            }
            Fault::Late => {
                let (truth, inner) = (wire.0.truth.clone(), inner.clone());
                let late_ms = wire.0.dice.between(1_000, LATE_MS_MAX);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(late_ms)).await;
                    let _ = truth.serve(inner.as_ref(), request, limits).await;
                });
                record(0);
                tokio::time::sleep(left).await;
                Err(OutboundError::TimedOut)
            }
            Fault::Throttle | Fault::Conflict => {
                record(429);
                let mut refused = Response::new(Bytes::from_static(b"slow down"));
                *refused.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                Ok(refused)
            }
            Fault::CrashBefore | Fault::CrashAfter => {
                if fault == Fault::CrashAfter {
                    let _ = wire.0.truth.serve(inner.as_ref(), request, limits).await;
                }
                record(0);
                wire.die().await
            }
        }
    }
}
