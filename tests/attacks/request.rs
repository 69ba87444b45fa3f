//! Playing requests: built, delivered under the step's troubles as the gateway hands them over, answered and
//! compared.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use recharge_local::events::{Incoming, gateway_event};
use recharge_local::functions::{Functions, HttpFunction};
use recharge_shared::json::Strict;
use recharge_shared::providers::standard::HEADERS;
use recharge_tests::Answered;
use recharge_tests::world::until_crash;
use serde_json::{Value, json};

use crate::again;
use crate::case::{NotUnderstood, only};
use crate::check::answer as check_answer;
use crate::deposit;
use crate::events;
use crate::fault::{NamedFault, turn};
use crate::scene::{ACCOUNT, Scene};
use crate::send;
use crate::step::{INNER, Played};

/// What the gateway says when a function has died.
pub const DIED: &str = "the function died";

/// A request step with its repetitions.
pub async fn play(scene: &Scene<'_>, index: usize, step: &Value, fallback: &Value) -> Played {
    let times = step["times"].as_u64().unwrap_or(1);
    if step["net"].is_object() {
        scene.net.set(&step["net"], scene)?;
    }
    if step["op"] == "resolve" || step.to_string().contains("review") {
        scene.name_reviews().await;
    }
    if step.get("rate").is_some() {
        scene.limit().await;
    }
    let expect = step.get("expect").unwrap_or(fallback);
    let lasts = Duration::from_secs(step["for_seconds"].as_u64().unwrap_or(0));
    let (mut findings, mut number) = (Vec::new(), 0);
    let started = tokio::time::Instant::now();
    while number < times || started.elapsed() < lasts {
        pause(scene, step, number, times).await?;
        let repetition = match &step["distinct"] {
            Value::Bool(true) => Some(u32::try_from(number).unwrap()),
            Value::Number(number) => number.as_u64().map(|n| u32::try_from(n).unwrap()),
            _ => None,
        };
        number += 1;
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
        findings.extend(check_answer(scene, expect, &answered, took)?);
    }
    Ok(findings)
}

/// What lies between a repetition and the one before.
async fn pause(
    scene: &Scene<'_>,
    step: &Value,
    number: u64,
    times: u64,
) -> Result<(), NotUnderstood> {
    let every = step["every"].as_u64().or((number >= times).then_some(60));
    if let Some(every) = every
        && number > 0
    {
        scene.world.pass(every).await;
        // The bundle goes on meanwhile, as far as it can.
        let functions = scene.functions();
        let _ = scene.world.stack.settle_batch_with(&functions, 0).await;
        let _ = functions.poll("meanwhile".to_owned()).await;
    }
    if step.get("rate").is_some() && step.get("every").is_none() {
        tokio::time::sleep(turn(step, 1)?).await;
    }
    Ok(())
}

fn build(
    scene: &Scene<'_>,
    step: &Value,
    repetition: Option<u32>,
) -> Result<Incoming, NotUnderstood> {
    scene.resolves(step)?;
    if let Some(earlier) = step["repeat_bytes_of"].as_u64() {
        let requests = scene.requests.borrow();
        let found = requests.get(usize::try_from(earlier).unwrap()).cloned().flatten();
        let found = found.ok_or_else(|| NotUnderstood(format!("repeat_bytes_of {earlier}")))?;
        return again::again(scene, step, found);
    }
    match step["op"].as_str().unwrap_or("") {
        "create" => send::create(scene, step, repetition),
        "status" => send::status(scene, step),
        "webhook" => events::webhook(scene, step, repetition),
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
    // A review may speak of an order that nobody has made.
    let is_review = step["op"] == "resolve" || step["op"] == "review";
    let mut order = scene.order.borrow_mut();
    if let Some(made) = answered.json["orderId"].as_str()
        && !is_review
        && (index != INNER || order.is_empty())
    {
        made.clone_into(&mut order);
    }
    if index == INNER {
        return;
    }
    let (mut answers, mut requests) = (scene.answers.borrow_mut(), scene.requests.borrow_mut());
    let length = answers.len().max(index + 1);
    answers.resize(length, None);
    requests.resize(length, None);
    answers[index] = Some(answered.clone());
    requests[index] = Some(incoming.clone());
}

/// Sends it under the step's troubles; a crash is what the gateway makes of one.
async fn deliver(
    scene: &Scene<'_>,
    step: &Value,
    incoming: &Incoming,
) -> Result<Answered, NotUnderstood> {
    let is_callback = step["op"] == "webhook" || step["op"] == "deposit_callback";
    if step["op"] == "webhook" && is_believed(scene, step, incoming) {
        remember_payment(scene, incoming);
    }
    let fault = step["fault"].as_str().map(NamedFault::parse).transpose()?;
    let instance = scene.around(step)?;
    let functions = match &fault {
        Some(fault) if fault.is_of_worker => scene.functions(),
        _ => instance.functions.clone(),
    };
    only("gateway", &step["gateway"], &["isBase64Encoded"])?;
    let encoded = match &step["gateway"]["isBase64Encoded"] {
        Value::Null => None,
        Value::Bool(encoded) => Some(*encoded),
        other => return Err(NotUnderstood(format!("isBase64Encoded {other}"))),
    };
    let handed = hand_over(scene, &functions, incoming, encoded);
    let answered = until_crash(&instance.faults, handed).await;
    if is_callback && fault.is_some_and(|fault| fault.reaches_worker) {
        let batch = scene.world.stack.settle_batch_with(&instance.functions, 0);
        let _ = until_crash(&instance.faults, batch).await;
    }
    match answered {
        Some(answered) => answered,
        None => Ok(Answered {
            status: 502,
            headers: HeaderMap::new(),
            json: Value::Null,
            text: DIED.to_owned(),
        }),
    }
}

/// Whether the provider has really sent this, and means live money of this account.
fn is_believed(scene: &Scene<'_>, step: &Value, incoming: &Incoming) -> bool {
    let how = &step["sign"];
    let is_ours = step["vector"].is_null() && step["path"].is_null();
    let signed_at = incoming.headers.get(HEADERS[1]).and_then(|v| v.to_str().ok()?.parse().ok());
    let is_timely = signed_at.is_some_and(|at: i64| scene.now_secs().abs_diff(at) <= 300);
    let is_valid = how["mode"].as_str().unwrap_or("valid") == "valid" && how["then"].is_null();
    is_valid && is_ours && (is_timely || how.get("at").or(how.get("at_raw")).is_none())
}

/// What the provider says in an event is also its answer when it is asked. What it says twice is no truth.
fn remember_payment(scene: &Scene<'_>, incoming: &Incoming) {
    let Ok(Strict(event)) = serde_json::from_slice(&incoming.body) else { return };
    if event["type"] == "payment.succeeded"
        && event["status"] == "SUCCESS"
        && event["livemode"] == true
        && event["account"].as_str().unwrap_or(ACCOUNT) == ACCOUNT
        && let Some(order) = event["orderId"].as_str()
    {
        let truth = json!({
            "status": "SUCCESS", "amount": event["amount"], "currency": event["currency"],
            "providerTxnId": event["providerTxnId"],
        });
        scene.standard.set_paid(order, truth);
    }
}

/// As the gateway does, or with the body encoded as the step says.
async fn hand_over(
    scene: &Scene<'_>,
    functions: &Functions,
    incoming: &Incoming,
    encoded: Option<bool>,
) -> Result<Answered, NotUnderstood> {
    let Some(encoded) = encoded else {
        return Ok(scene.world.send_to(functions, incoming).await);
    };
    let (route, function, parameters) = match incoming.path.strip_prefix("/recharges") {
        Some("") => ("POST /recharges", HttpFunction::CreateOrder, BTreeMap::new()),
        Some("/callback") => ("POST /recharges/callback", HttpFunction::Webhook, BTreeMap::new()),
        Some(path) if path.starts_with("/callback/") => {
            let provider = path["/callback/".len()..].to_owned();
            let parameters = BTreeMap::from([("provider".to_owned(), provider)]);
            ("POST /recharges/callback/{provider}", HttpFunction::Webhook, parameters)
        }
        _ => return Err(NotUnderstood(format!("gateway of {}", incoming.path))),
    };
    let mut event = gateway_event(incoming, route, &parameters);
    event["body"] = match encoded {
        true => aws_smithy_types::base64::encode(&incoming.body).into(),
        false => String::from_utf8_lossy(&incoming.body).into(),
    };
    event["isBase64Encoded"] = encoded.into();
    let response = functions.http(function, event).await;
    let (parts, body) = response.into_parts();
    let text = String::from_utf8_lossy(&body).into_owned();
    Ok(Answered {
        status: parts.status.as_u16(),
        headers: parts.headers,
        json: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    })
}
