//! Playing steps: each operation of the corpus's language against the scene, and what the step itself
//! expects.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use http::HeaderMap;
use recharge_local::aws::SharedClock;
use recharge_local::aws::faults::Fault;
use recharge_local::events::{Incoming, gateway_event};
use recharge_local::functions::{Functions, Ground, HttpFunction};
use recharge_tests::Answered;
use recharge_tests::world::until_crash;
use serde_json::{Value, json};

use crate::case::{NotUnderstood, each, only};
use crate::check::{Finding, answer as check_answer};
use crate::deposit;
use crate::queue;
use crate::scene::Scene;
use crate::send;

const COMMON: [&str; 22] = [
    "op",
    "expect",
    "as",
    "from",
    "account",
    "headers",
    "content_type",
    "path",
    "times",
    "every",
    "distinct",
    "rate",
    "repeat_bytes_of",
    "vector",
    "delay",
    "for_seconds",
    "clock_offset",
    "optional",
    "fault",
    "sign",
    "note",
    "method",
];
const OWN: [&str; 35] = [
    "user",
    "address",
    "amount",
    "currency",
    "silent",
    "after_ms",
    "mode",
    "restate",
    "share_wallets",
    "wait",
    "policy",
    "of",
    "review",
    "action",
    "patch",
    "remove",
    "raw",
    "b64",
    "gen",
    "gateway",
    "id",
    "body",
    "messages",
    "provider_says",
    "provider_says_raw",
    "at",
    "poison_head",
    "seconds",
    "steps",
    "schedules",
    "webhook_secret",
    "check",
    "mixed_versions",
    "net",
    "force_url",
];

/// What a step came to: nothing, or what is wrong with it.
pub type Played = Result<Vec<Finding>, NotUnderstood>;

/// Plays one step; `fallback` is the case's own expectation, for steps that have none.
pub fn play<'s>(
    scene: &'s Scene<'_>,
    index: usize,
    step: &'s Value,
    fallback: &'s Value,
) -> LocalBoxFuture<'s, Played> {
    Box::pin(async move {
        let known: Vec<&str> = COMMON.into_iter().chain(OWN).collect();
        let plain = |step: &Value| {
            step.as_object().is_some_and(|s| s.keys().all(|k| !k.ends_with("_each")))
        };
        if !plain(step) {
            let (name, list) = each(step).ok_or_else(|| NotUnderstood("_each".to_owned()))?;
            let mut findings = Vec::new();
            for value in list {
                let mut one = step.clone();
                one.as_object_mut().unwrap().retain(|member, _| !member.ends_with("_each"));
                one[&name] = value;
                findings.extend(play_one(scene, index, &one, fallback).await?);
            }
            return Ok(findings);
        }
        only("step", step, &known)?;
        play_one(scene, index, step, fallback).await
    })
}

async fn play_one(scene: &Scene<'_>, index: usize, step: &Value, fallback: &Value) -> Played {
    match step["op"].as_str().unwrap_or("") {
        "create" | "webhook" | "status" | "http" | "deposit_callback" | "addresses" | "resolve"
        | "review" => requests(scene, index, step, fallback).await,
        "deposit" => deposit::transfer(scene, step).await,
        "provider" => deposit::provider(scene, step),
        "sweep" => deposit::sweep(scene, step).await,
        "settle" => deposit::settle(scene).await,
        "merchant_policy" => deposit::policy(scene, step).await,
        "queue" => queue::play(scene, step).await,
        "notify" => crate::notify::play(scene, step).await,
        "poll" => poll(scene, step).await.map(|()| Vec::new()),
        "advance" => {
            scene.world.pass(step["seconds"].as_u64().unwrap_or(0)).await;
            Ok(Vec::new())
        }
        "parallel" => parallel(scene, step, fallback).await,
        "drain" => {
            drain(scene).await;
            Ok(Vec::new())
        }
        "config" => config(scene, step).await,
        other => Err(NotUnderstood(format!("op {other}"))),
    }
}

async fn parallel(scene: &Scene<'_>, step: &Value, fallback: &Value) -> Played {
    let steps = step["steps"].as_array().cloned().unwrap_or_default();
    // A repetition inside is concurrent, too.
    let mut flat = Vec::new();
    for step in steps {
        let times = step["times"].as_u64().unwrap_or(1);
        let mut one = step.clone();
        one.as_object_mut().unwrap().remove("times");
        for number in 0..times {
            let mut one = one.clone();
            if step["distinct"] == true {
                one["distinct"] = number.into();
            }
            flat.push(one);
        }
    }
    let played = join_all(flat.iter().map(|step| play(scene, usize::MAX, step, fallback))).await;
    let mut findings = Vec::new();
    for played in played {
        findings.extend(played?);
    }
    Ok(findings)
}

/// A request step with its repetitions.
async fn requests(scene: &Scene<'_>, index: usize, step: &Value, fallback: &Value) -> Played {
    let times = step["times"].as_u64().unwrap_or(1);
    if step["net"].is_object() {
        scene.net.set(&step["net"], &scene.world.receiver)?;
    }
    if step["op"] == "resolve" || step.to_string().contains("review") {
        scene.name_reviews().await;
    }
    if step.get("rate").is_some() {
        scene.limit().await;
    }
    let mut findings = Vec::new();
    let started = tokio::time::Instant::now();
    for number in 0..times {
        if let Some(every) = step["every"].as_u64()
            && number > 0
        {
            scene.world.pass(every).await;
            // The bundle goes on meanwhile, as far as it can.
            let functions = scene.functions.borrow().clone();
            let _ = scene.world.stack.settle_batch_with(&functions, 0).await;
            let _ = functions.poll("meanwhile".to_owned()).await;
        }
        if let Some(rate) = step["rate"].as_str() {
            pace(rate).await?;
        }
        let repetition = match &step["distinct"] {
            Value::Bool(true) => Some(u32::try_from(number).unwrap()),
            Value::Number(number) => number.as_u64().map(|n| u32::try_from(n).unwrap()),
            _ => None,
        };
        let incoming = build(scene, step, repetition)?;
        let sent = tokio::time::Instant::now();
        let answered = deliver(scene, step, &incoming).await?;
        let took = sent.elapsed();
        keep(scene, (index, step), &incoming, &answered);
        if step["op"] == "addresses" {
            deposit::remember(scene, step, &answered.json);
        }
        if step["optional"] == true && answered.status == 404 {
            continue;
        }
        let expect = if step["expect"].is_object() { &step["expect"] } else { fallback };
        findings.extend(check_answer(scene, expect, &answered, took)?);
    }
    let _ = started;
    Ok(findings)
}

/// Spreads requests so that they come at a multiple of the contract's 50 a second.
async fn pace(rate: &str) -> Result<(), NotUnderstood> {
    let times = rate.strip_suffix('x').and_then(|times| times.parse::<u64>().ok());
    let times = times.ok_or_else(|| NotUnderstood(format!("rate {rate}")))?;
    tokio::time::sleep(Duration::from_micros(1_000_000 / (50 * times))).await;
    Ok(())
}

fn build(
    scene: &Scene<'_>,
    step: &Value,
    repetition: Option<u32>,
) -> Result<Incoming, NotUnderstood> {
    if let Some(earlier) = step["repeat_bytes_of"].as_u64() {
        let requests = scene.requests.borrow();
        let found = requests.get(usize::try_from(earlier).unwrap()).cloned().flatten();
        return found.ok_or_else(|| NotUnderstood("repeat_bytes_of".to_owned()));
    }
    match step["op"].as_str().unwrap_or("") {
        "create" => send::create(scene, step, repetition),
        "status" => send::status(scene, step),
        "webhook" => send::webhook(scene, step, repetition),
        "deposit_callback" => deposit::callback(scene, step, repetition),
        "addresses" => deposit::addresses(scene, step),
        "resolve" => deposit::resolve(scene, step),
        "review" => deposit::review(scene, step),
        _ => send::other(scene, step),
    }
}

fn keep(
    scene: &Scene<'_>,
    (index, step): (usize, &Value),
    incoming: &Incoming,
    answered: &Answered,
) {
    if index == usize::MAX {
        return;
    }
    let (mut answers, mut requests) = (scene.answers.borrow_mut(), scene.requests.borrow_mut());
    let length = answers.len().max(index + 1);
    answers.resize(length, None);
    requests.resize(length, None);
    answers[index] = Some(answered.clone());
    requests[index] = Some(incoming.clone());
    // A review may speak of an order that nobody has made.
    let is_review = step["op"] == "resolve" || step["op"] == "review";
    if let Some(order) = answered.json["orderId"].as_str()
        && !is_review
    {
        *scene.order.borrow_mut() = order.to_owned();
    }
}

/// Sends it under the step's fault; a crash is what the gateway makes of one.
async fn deliver(
    scene: &Scene<'_>,
    step: &Value,
    incoming: &Incoming,
) -> Result<Answered, NotUnderstood> {
    let fault = step["fault"].as_str().map(parse_fault).transpose()?;
    if fault.as_ref().is_some_and(|fault| fault.is_down()) {
        scene.standard.set_down(true);
        let answered = scene.send(incoming).await;
        scene.standard.set_down(false);
        return Ok(answered);
    }
    let is_webhook = step["op"] == "webhook";
    if is_webhook && believed(step) {
        remember_payment(scene, incoming);
    }
    if incoming.headers.contains_key("x-force-base64") {
        return Ok(deliver_encoded(scene, incoming).await);
    }
    let Some(fault) = fault else { return Ok(scene.send(incoming).await) };
    let (functions, faults) = scene.faulty(&fault);
    if fault.is_of_worker {
        let answered = scene.send(incoming).await;
        let batch = scene.world.stack.settle_batch_with(&functions, 0);
        let _ = until_crash(&faults, batch).await;
        return Ok(answered);
    }
    let answered = until_crash(&faults, scene.world.send_to(&functions, incoming)).await;
    Ok(answered.unwrap_or_else(|| Answered {
        status: 502,
        headers: HeaderMap::new(),
        json: Value::Null,
        text: "the function died".to_owned(),
    }))
}

/// Whether the provider has really sent this.
fn believed(step: &Value) -> bool {
    let mode = step["sign"]["mode"].as_str().unwrap_or("valid");
    let is_ours = step["vector"].is_null() && step["path"].is_null();
    mode == "valid" && is_ours && step["sign"]["then"].is_null()
}

/// What the provider says in an event is also its answer when it is asked.
fn remember_payment(scene: &Scene<'_>, incoming: &Incoming) {
    let event: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
    if event["type"] == "payment.succeeded"
        && event["status"] == "SUCCESS"
        && let Some(order) = event["orderId"].as_str()
    {
        let truth = json!({
            "status": "SUCCESS", "amount": event["amount"], "currency": event["currency"],
            "providerTxnId": event["providerTxnId"],
        });
        scene.standard.set_paid(order, truth);
    }
}

/// The gateway has encoded the body although it is text.
async fn deliver_encoded(scene: &Scene<'_>, incoming: &Incoming) -> Answered {
    let mut incoming = incoming.clone();
    incoming.headers.remove("x-force-base64");
    let mut event = gateway_event(&incoming, "POST /recharges/callback", &BTreeMap::new());
    event["body"] = aws_smithy_types::base64::encode(&incoming.body).into();
    event["isBase64Encoded"] = true.into();
    let functions = scene.functions.borrow().clone();
    let response = functions.http(HttpFunction::Webhook, event).await;
    let (parts, body) = response.into_parts();
    let text = String::from_utf8_lossy(&body).into_owned();
    Answered {
        status: parts.status.as_u16(),
        headers: parts.headers,
        json: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    }
}

/// A fault as the corpus spells it: `<port>:<kind>[*N]`.
pub struct NamedFault {
    calls: Vec<&'static str>,
    kind: Fault,
    /// Which of the calls, counted from 0.
    which: Range<u64>,
    is_of_worker: bool,
    is_down: bool,
}

impl NamedFault {
    fn is_down(&self) -> bool {
        self.is_down
    }

    /// Ports, what happens there, to which of the calls.
    pub fn plan(&self) -> Vec<(String, Fault, Range<u64>)> {
        self.calls.iter().map(|call| ((*call).to_owned(), self.kind, self.which.clone())).collect()
    }

    /// What happens to the call named `call` after it was made `before` times.
    pub fn of(&self, call: &str, before: u64) -> Fault {
        let meant =
            self.calls.iter().any(|name| call == *name || call.starts_with(&format!("{name}.")));
        if meant && self.which.contains(&before) { self.kind } else { Fault::None }
    }
}

pub fn parse_fault(text: &str) -> Result<NamedFault, NotUnderstood> {
    let unknown = || NotUnderstood(format!("fault {text}"));
    let (port, kind) = text.split_once(':').ok_or_else(unknown)?;
    let (kind, times) = match kind.split_once('*') {
        Some((kind, times)) => (kind, times.parse().map_err(|_| unknown())?),
        None => (kind, u64::MAX),
    };
    let calls = match port {
        "provider.create" => vec!["provider.orders"],
        "provider.query" => vec!["provider.query"],
        "store" => vec!["dynamodb"],
        "store.put" => vec!["dynamodb.PutItem"],
        "store.get" => vec!["dynamodb.GetItem"],
        "store.update" => vec!["dynamodb.UpdateItem"],
        "store.transact" | "worker.credit" => vec!["dynamodb.TransactWriteItems"],
        // Whoever sends: the webhook to the settlement queue, the worker to the notifications.
        "queue.send" | "outbox.relay" => vec!["sqs.SendMessage", "sqs.SendMessageBatch"],
        "secrets" => vec!["secrets"],
        "notify.mark" => vec!["dynamodb.UpdateItem"],
        _ => return Err(unknown()),
    };
    // The notifier's first write is the list of events, before anything is sent.
    let first = u64::from(port == "notify.mark");
    let which = first..times.saturating_add(first);
    let is_down = port.starts_with("provider.") && kind == "before";
    let kind = match kind {
        "before" | "down" => Fault::RequestLost,
        "after" => Fault::AnswerLost,
        "crash" | "crash_before" => Fault::CrashBefore,
        "crash_after" => Fault::CrashAfter,
        "throttle" => Fault::Throttle,
        "conflict" => Fault::Conflict,
        _ => return Err(unknown()),
    };
    Ok(NamedFault { calls, kind, which, is_of_worker: port.starts_with("worker."), is_down })
}

async fn poll(scene: &Scene<'_>, step: &Value) -> Result<(), NotUnderstood> {
    if let Some(says) = step["provider_says_raw"].as_str() {
        scene.standard.say(Some(says.to_owned()));
    } else if step["provider_says"].is_object() {
        scene.standard.say(Some(step["provider_says"].to_string()));
    }
    // So that the order is due: an order is looked at for the first time after half a minute.
    match step["at"].as_str() {
        None => scene.world.pass(31).await,
        Some("expiry") => scene.world.pass(1_801).await,
        Some(other) => return Err(NotUnderstood(format!("poll at {other}"))),
    }
    let head = scene.books().orders.first().map(|order| order.id.clone());
    if step["poison_head"] == true {
        queue::damage(scene, head.as_deref().unwrap_or(""));
    }
    scene.polls.set(scene.polls.get() + 1);
    let functions = match step["clock_offset"].as_i64() {
        None => scene.functions.borrow().clone(),
        Some(secs) => {
            let ground = &scene.world.stack.ground;
            let clock = SharedClock::starting_at(scene.world.clock().now_ms() + secs * 1_000);
            Functions::new(&Ground { clock, ..ground.clone() }).unwrap().into()
        }
    };
    for _ in 0..step["times"].as_u64().unwrap_or(1) {
        functions.poll("attack".to_owned()).await.map_err(NotUnderstood)?;
        if step["poison_head"] == true {
            scene.world.pass(60).await;
        }
    }
    if step["poison_head"] == true {
        let asked = scene.standard.asked();
        let others = scene.books().orders.len() - 1;
        assert!(asked >= others, "{asked} of {others} orders behind the head were asked for");
    }
    scene.polls.set(scene.polls.get() - 1);
    if scene.polls.get() == 0 {
        scene.standard.say(None);
    }
    Ok(())
}

/// Workers and schedule go on until the queue is empty and has been for two minutes.
async fn drain(scene: &Scene<'_>) {
    let functions = scene.functions.borrow().clone();
    let mut quiet = 0;
    queue::from_the_next_version(scene).await;
    for _ in 0..60 {
        while matches!(scene.world.stack.settle_batch_with(&functions, 0).await, Ok(1..)) {}
        while matches!(scene.world.stack.notify_batch_with(&functions, 0).await, Ok(1..)) {}
        let (depth, notices) = (scene.world.stack.depth(), scene.world.stack.notification_depth());
        let busy = depth.visible + depth.in_flight + notices.visible + notices.in_flight;
        quiet = if busy == 0 { quiet + 1 } else { 0 };
        if quiet > 2 {
            return;
        }
        scene.world.pass(31).await;
        let _ = functions.poll("drain".to_owned()).await;
    }
}

async fn config(scene: &Scene<'_>, step: &Value) -> Played {
    if let Some(secret) = step["webhook_secret"].as_str() {
        let aws = &scene.world.stack.ground.aws;
        let keys = json!({"test": {"key": secret}, "p2": {"key": secret}, "p3": {"key": secret},
            "payprotocol": {"key": secret}});
        // Twice: the version before must not be of help.
        for note in ["", " "] {
            let put = aws.secrets(aws.http_client(), 3).put_secret_value();
            let put = put.secret_id(&scene.world.stack.names.provider_keys);
            put.secret_string(format!("{keys}{note}")).send().await.unwrap();
        }
        scene.replace(|_, _| Fault::None);
        return Ok(Vec::new());
    }
    if step["mixed_versions"].is_array() {
        scene.versions.start();
        return Ok(Vec::new());
    }
    match step["fault"].as_str() {
        Some("none") => {
            scene.replace(|_, _| Fault::None);
            return Ok(Vec::new());
        }
        Some(text) => {
            let fault = parse_fault(text)?;
            scene.replace(move |call, before| fault.of(call, before));
            return Ok(Vec::new());
        }
        None => {}
    }
    if step["check"] == "policy" {
        return crate::policy::check(&step["expect"]);
    }
    let named = step.as_object().map(|s| s.keys().cloned().collect::<Vec<_>>().join(" "));
    Err(NotUnderstood(format!("config {}", named.unwrap_or_default())))
}
