//! What must come back and what must be left: answers, effects, books, logs. An expectation that is not
//! understood is never a pass.

use std::collections::BTreeMap;
use std::time::Duration;

use recharge_local::stack::PAYPROTOCOL_SECRET;
use recharge_tests::Answered;
use serde_json::Value;

use crate::case::{NotUnderstood, only, text_of};
use crate::names::PEOPLE;
use crate::scene::{Counts, PARTIES, PROVIDER_SECRET, Scene};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding(pub String);

const EXPECT: [&str; 17] = [
    "status",
    "errorCode",
    "same_order_as",
    "different_order_from",
    "same_answer_as",
    "response_must_not_contain",
    "json",
    "seconds_max",
    "note",
    "effects",
    "state_in",
    "balance_max",
    "log",
    "batchItemFailures",
    "response_json_exact",
    "denied",
    "headers",
];

/// Whether `list` (or the one value) holds `value`.
fn holds(list: &Value, value: &Value) -> bool {
    match list {
        Value::Array(list) => list.contains(value),
        one => one == value,
    }
}

/// One answer against its expectation.
pub fn answer(
    scene: &Scene<'_>,
    expect: &Value,
    answered: &Answered,
    took: Duration,
) -> Result<Vec<Finding>, NotUnderstood> {
    only("expect", expect, &EXPECT)?;
    let mut findings = Vec::new();
    let mut find = |text: String| {
        findings.push(Finding(format!("{text}: {} {}", answered.status, answered.text)))
    };
    if !expect["status"].is_null() && !holds(&expect["status"], &answered.status.into()) {
        find(format!("status is none of {}", expect["status"]));
    }
    if answered.status >= 400 && answered.status != 502 {
        let code = &answered.json["errorCode"];
        if !expect["errorCode"].is_null() && !holds(&expect["errorCode"], code) {
            find(format!("errorCode is none of {}", expect["errorCode"]));
        }
        if !code.is_string()
            || !answered.json["message"].is_string()
            || !answered.json["traceId"].is_string()
        {
            find("no error form".to_owned());
        }
    }
    if answered.status == 429 && !answered.headers.contains_key("retry-after") {
        find("429 without Retry-After".to_owned());
    }
    let answers = scene.answers.borrow();
    let earlier = |index: &Value| {
        let index = usize::try_from(index.as_u64()?).ok()?;
        answers.get(index)?.clone()
    };
    let order = |answered: &Answered| text_of(&answered.json["orderId"]);
    if !expect["same_order_as"].is_null() && answered.status < 300 {
        let other = earlier(&expect["same_order_as"]).map(|other| order(&other));
        if other.as_ref() != Some(&order(answered)) {
            find(format!("another order than {other:?}"));
        }
    }
    if !expect["different_order_from"].is_null() {
        let other = earlier(&expect["different_order_from"]).map(|other| order(&other));
        if other.as_ref() == Some(&order(answered)) || order(answered).is_empty() {
            find(format!("the same order as {other:?}"));
        }
    }
    if !expect["same_answer_as"].is_null() {
        let plain = |answered: &Answered| {
            let mut body = answered.json.clone();
            body["traceId"] = Value::Null;
            let mut headers = answered.headers.clone();
            headers.remove("x-trace-id");
            (answered.status, headers, body)
        };
        if earlier(&expect["same_answer_as"]).as_ref().map(plain) != Some(plain(answered)) {
            find("another answer than before".to_owned());
        }
    }
    for secret in expect["response_must_not_contain"].as_array().into_iter().flatten() {
        if answered.text.contains(secret.as_str().unwrap_or("")) {
            find(format!("the answer contains {secret}"));
        }
    }
    for (name, wanted) in expect["json"].as_object().into_iter().flatten() {
        if answered.json[name] != *wanted {
            find(format!("{name} is not {wanted}"));
        }
    }
    if let Some(most) = expect["seconds_max"].as_u64()
        && took > Duration::from_secs(most)
    {
        find(format!("took {took:?}"));
    }
    Ok(findings)
}

/// What the case has left behind.
pub fn effects(scene: &Scene<'_>, expect: &Value) -> Result<Vec<Finding>, NotUnderstood> {
    only("expect", expect, &EXPECT)?;
    let mut findings: Vec<Finding> = scene.books().violations().into_iter().map(Finding).collect();
    let (before, after) = (scene.before.borrow().clone(), scene.counts());
    for (name, wanted) in expect["effects"].as_object().into_iter().flatten() {
        let found = effect(scene, name, (&before, &after))?;
        let held = match (name.as_str(), wanted) {
            ("balance", wanted) => {
                wanted.as_object().into_iter().flatten().all(|(user, amount)| {
                    let gained = gained(&before, &after, user);
                    amount.as_i64().map(i128::from) == Some(gained)
                })
            }
            ("balances", wanted) => {
                let gained = gains(&before, &after);
                let wanted = wanted.as_object().cloned().unwrap_or_default();
                gained.keys().eq(wanted.keys())
                    && gained.iter().all(|(account, gained)| {
                        holds(&wanted[account], &i64::try_from(*gained).unwrap().into())
                    })
            }
            ("provider_attempts_max" | "attempts_max", wanted) => found.as_u64() <= wanted.as_u64(),
            (_, wanted) => holds(wanted, &found),
        };
        if !held {
            findings.push(Finding(format!("{name} is {found} instead of {wanted}")));
        }
    }
    findings.extend(crate::queue::lost_of_the_next_version(scene));
    for (user, most) in expect["balance_max"].as_object().into_iter().flatten() {
        let gained = gained(&before, &after, user);
        if gained > most.as_i64().unwrap_or(0).into() {
            findings.push(Finding(format!("{user} has gained {gained}")));
        }
    }
    if !expect["state_in"].is_null() {
        let state = effect(scene, "state", (&before, &after))?;
        if !holds(&expect["state_in"], &state) {
            findings.push(Finding(format!("state is {state}")));
        }
    }
    Ok(findings)
}

/// Whatever has changed, by merchant, user and currency.
fn gains(before: &Counts, after: &Counts) -> BTreeMap<String, i128> {
    let of = |account: &String| before.balances.get(account).copied().unwrap_or(0);
    let gained = after.balances.iter().map(|(account, now)| (account.clone(), now - of(account)));
    gained.filter(|(_, gained)| *gained != 0).collect()
}

fn gained(before: &Counts, after: &Counts, user: &str) -> i128 {
    let of = |counts: &Counts| counts.credited.get(user).copied().unwrap_or(0);
    of(after) - of(before)
}

fn effect(
    scene: &Scene<'_>,
    name: &str,
    (before, after): (&Counts, &Counts),
) -> Result<Value, NotUnderstood> {
    let grown = |of: fn(&Counts) -> usize| of(after) - of(before);
    let books = scene.books();
    Ok(match name {
        "orders" => grown(|c| c.orders).into(),
        "providerCreates" => grown(|c| c.provider_orders).into(),
        "credits" => grown(|c| c.credits).into(),
        "review" => grown(|c| c.review).into(),
        "credits_plus_review" => (grown(|c| c.credits) + grown(|c| c.review)).into(),
        "queued" => grown(|c| c.queued).into(),
        "dlq" => grown(|c| c.dead).into(),
        "credits_of_order_amount" => {
            books.credits.iter().filter(|credit| credit.amount == 5_000).count().into()
        }
        "balance" => format!("{:?}", after.credited).into(),
        "balances" => format!("{:?}", gains(before, after)).into(),
        // Reviews that nobody has ended.
        "parked" => scene.open_reviews.get().0.into(),
        // Money that was credited, is held, or waits for a person: nothing of it is lost.
        "accounted" => {
            let gained: i128 = gains(before, after).values().sum();
            let parked = scene.open_reviews.get().1;
            i64::try_from(gained + after.held - before.held + parked).unwrap().into()
        }
        "held" => i64::try_from(after.held - before.held).unwrap().into(),
        "provider_users" => scene.world.payprotocol.users().into(),
        "addresses" => books.addresses.len().into(),
        "state" => {
            let order = scene.order.borrow();
            let row = books.orders.iter().find(|row| row.id == *order);
            row.map_or(Value::Null, |row| row.state.as_str().into())
        }
        "provider_attempts_max" => scene.standard.attempts().into(),
        // Connections to addresses that nothing may be sent to.
        "connections" => {
            let dialled = scene.net.dialled();
            dialled
                .iter()
                .filter(|a| recharge_shared::egress::refused(a.ip()).is_some())
                .count()
                .into()
        }
        "attempts_max" => scene.world.receiver.received().len().into(),
        "notifications" => grown(|c| c.notifications).into(),
        other => return Err(NotUnderstood(format!("effect {other}"))),
    })
}

/// One record a line, and no secret in any of them.
pub fn logs(scene: &Scene<'_>, lines: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for line in lines.lines() {
        if !serde_json::from_str::<Value>(line).is_ok_and(|record| record.is_object()) {
            findings.push(Finding(format!("a log line that is no record: {line}")));
        }
    }
    let mut secrets = vec![PROVIDER_SECRET.to_owned()];
    secrets.push(PAYPROTOCOL_SECRET.to_owned());
    for (_, party) in PARTIES.iter().chain(&PEOPLE) {
        secrets.extend([party.current, party.previous, party.retired].map(str::to_owned));
    }
    for request in scene.requests.borrow().iter().flatten() {
        for name in ["x-signature", "webhook-signature", "x-pay-sign"] {
            let values = request.headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
            secrets.extend(
                values
                    .map(|v| v.trim_start_matches("v1").trim_start_matches(['=', ',']).to_owned()),
            );
        }
    }
    for secret in secrets.iter().filter(|secret| secret.len() >= 16) {
        if lines.contains(secret.as_str()) {
            findings
                .push(Finding(format!("a secret of {} characters is in the log", secret.len())));
        }
    }
    findings
}

/// Ids that say nothing about one another.
pub fn unguessable(scene: &Scene<'_>) -> Vec<Finding> {
    let mut ids: Vec<String> = scene.books().orders.into_iter().map(|order| order.id).collect();
    ids.sort();
    let shared =
        |pair: &[String]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    // The letter R, and what n random base32 digits share by chance: two logarithms of n to base 32.
    let longest = ids.windows(2).map(shared).max().unwrap_or(0);
    if longest > 10 {
        vec![Finding(format!("two ids share {longest} characters"))]
    } else {
        Vec::new()
    }
}
