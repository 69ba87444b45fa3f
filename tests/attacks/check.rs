//! What must come back and what must be left: answers, effects, books, logs. An expectation that is not
//! understood is never a pass.

use std::collections::BTreeMap;
use std::time::Duration;

use recharge_local::stack::PAYPROTOCOL_SECRET;
use recharge_tests::Answered;
use serde_json::Value;

use crate::case::{NotUnderstood, text_of};
use crate::names::PEOPLE;
use crate::request::DIED;
use crate::scene::{Counts, PARTIES, PROVIDER_SECRET, Scene};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding(pub String);

/// Whether `list` (or the one value) holds `value`.
fn holds(list: &Value, value: &Value) -> bool {
    match list {
        Value::Array(list) => list.contains(value),
        one => one == value,
    }
}

/// The values that are allowed: one, or any of a list.
fn any(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

/// One answer against its expectation.
pub fn answer(
    scene: &Scene<'_>,
    expect: &Value,
    answered: &Answered,
    took: Duration,
) -> Result<Vec<Finding>, NotUnderstood> {
    let mut wrong = form(expect, answered);
    wrong.extend(headers(scene, expect, answered)?);
    wrong.extend(likeness(scene, expect, answered)?);
    for secret in any(&expect["response_must_not_contain"]) {
        let secret = scene.fill(secret);
        let sent = answered
            .headers
            .values()
            .any(|value| String::from_utf8_lossy(value.as_bytes()).contains(&secret));
        if sent || answered.text.contains(&secret) {
            wrong.push(format!("the answer contains {secret}"));
        }
    }
    for (name, wanted) in scene.fill_all(&expect["json"]).as_object().into_iter().flatten() {
        if answered.json[name] != *wanted {
            wrong.push(format!("{name} is not {wanted}"));
        }
    }
    if let Some(most) = expect["seconds_max"].as_u64()
        && took > Duration::from_secs(most)
    {
        wrong.push(format!("took {took:?}"));
    }
    let finding = |text| Finding(format!("{text}: {} {}", answered.status, answered.text));
    Ok(wrong.into_iter().map(finding).collect())
}

/// Status, code, and the form of an error.
fn form(expect: &Value, answered: &Answered) -> Vec<String> {
    let mut wrong = Vec::new();
    if !expect["status"].is_null() && !holds(&expect["status"], &answered.status.into()) {
        wrong.push(format!("status is none of {}", expect["status"]));
    }
    let code = &answered.json["errorCode"];
    let has_code = answered.status >= 400 && answered.text != DIED;
    // Where a success is allowed the code is that of the refusals beside it.
    if (has_code || expect["status"].is_null())
        && !expect["errorCode"].is_null()
        && !holds(&expect["errorCode"], code)
    {
        wrong.push(format!("errorCode is none of {}", expect["errorCode"]));
    }
    let is_error = code.is_string()
        && answered.json["message"].is_string()
        && answered.json["traceId"].is_string();
    if has_code && !is_error {
        wrong.push("no error form".to_owned());
    }
    if answered.status == 429 && !answered.headers.contains_key("retry-after") {
        wrong.push("429 without Retry-After".to_owned());
    }
    wrong
}

/// `headers`: names that must be there, or by name a text, any of a list of texts, or null for none.
fn headers(
    scene: &Scene<'_>,
    expect: &Value,
    answered: &Answered,
) -> Result<Vec<String>, NotUnderstood> {
    let mut wrong = Vec::new();
    let values = |name: &str| -> Vec<String> {
        let all = answered.headers.get_all(name.to_ascii_lowercase()).into_iter();
        all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    if let Value::Array(names) = &expect["headers"] {
        let missing = names.iter().filter_map(Value::as_str).filter(|n| values(n).is_empty());
        return Ok(missing.map(|name| format!("no header {name}")).collect());
    }
    for (name, wanted) in expect["headers"].as_object().into_iter().flatten() {
        let sent = values(name);
        let held = match wanted {
            Value::Null => sent.is_empty(),
            Value::String(text) => sent == [scene.fill(text)],
            Value::Array(_) => {
                let texts: Vec<String> = any(wanted).iter().map(|text| scene.fill(text)).collect();
                sent.len() == 1 && texts.contains(&sent[0])
            }
            other => return Err(NotUnderstood(format!("expect.headers {name}: {other}"))),
        };
        if !held {
            wrong.push(format!("header {name} is {sent:?} instead of {wanted}"));
        }
    }
    Ok(wrong)
}

/// An answer beside an earlier one.
fn likeness(
    scene: &Scene<'_>,
    expect: &Value,
    answered: &Answered,
) -> Result<Vec<String>, NotUnderstood> {
    let mut wrong = Vec::new();
    let answers = scene.answers.borrow();
    let earlier = |name: &str| {
        let Some(index) = expect[name].as_u64() else { return Ok(None) };
        let found = usize::try_from(index).ok().and_then(|index| answers.get(index)?.clone());
        found.map(Some).ok_or_else(|| NotUnderstood(format!("{name} {index}")))
    };
    let order = |answered: &Answered| text_of(&answered.json["orderId"]);
    if let Some(other) = earlier("same_order_as")?
        && answered.status < 300
        && order(&other) != order(answered)
    {
        wrong.push(format!("another order than {}", order(&other)));
    }
    if let Some(other) = earlier("different_order_from")?
        && (order(&other) == order(answered) || order(answered).is_empty())
    {
        wrong.push(format!("the same order as {}", order(&other)));
    }
    if let Some(other) = earlier("same_answer_as")? {
        let plain = |answered: &Answered| {
            let mut body = answered.json.clone();
            body["traceId"] = Value::Null;
            let mut headers = answered.headers.clone();
            headers.remove("x-trace-id");
            (answered.status, headers, body)
        };
        if plain(&other) != plain(answered) {
            wrong.push("another answer than before".to_owned());
        }
    }
    Ok(wrong)
}

/// What the case has left behind since `before`, or what a step has.
pub fn effects(
    scene: &Scene<'_>,
    expect: &Value,
    before: &Counts,
) -> Result<Vec<Finding>, NotUnderstood> {
    let mut findings: Vec<Finding> = scene.books().violations().into_iter().map(Finding).collect();
    let after = scene.counts();
    for (name, wanted) in expect["effects"].as_object().into_iter().flatten() {
        let (found, held) = compare(scene, (name, wanted), (before, &after))?;
        if !held {
            findings.push(Finding(format!("{name} is {found} instead of {wanted}")));
        }
    }
    findings.extend(crate::queue::lost_of_the_next_version(scene));
    for (user, most) in expect["balance_max"].as_object().into_iter().flatten() {
        let gained = gained(before, &after, user);
        let most = most.as_i64().ok_or_else(|| NotUnderstood(format!("balance_max {most}")))?;
        if gained > most.into() {
            findings.push(Finding(format!("{user} has gained {gained}")));
        }
    }
    if !expect["state_in"].is_null() {
        let state = effect(scene, "state", (before, &after))?;
        if !holds(&expect["state_in"], &state) {
            findings.push(Finding(format!("state is {state}")));
        }
    }
    Ok(findings)
}

/// One effect: what it is, and whether it is as wanted.
fn compare(
    scene: &Scene<'_>,
    (name, wanted): (&str, &Value),
    (before, after): (&Counts, &Counts),
) -> Result<(Value, bool), NotUnderstood> {
    let unknown = || NotUnderstood(format!("effect {name} {wanted}"));
    let minor = |amount: i128| Value::from(i64::try_from(amount).unwrap());
    if let Some(counted) = name.strip_suffix("_max") {
        let counted = if counted == "attempts" { "received" } else { counted };
        let found = effect(scene, counted, (before, after))?;
        let most = wanted.as_i64().ok_or_else(unknown)?;
        let held = found.as_i64().ok_or_else(unknown)? <= most;
        return Ok((found, held));
    }
    let found = effect(scene, name, (before, after))?;
    let held = match name {
        "balance" => {
            let wanted = wanted.as_object().ok_or_else(unknown)?;
            wanted.iter().all(|(user, amount)| holds(amount, &minor(gained(before, after, user))))
        }
        "balances" => {
            let (gained, wanted) = (gains(before, after), wanted.as_object().ok_or_else(unknown)?);
            gained.keys().eq(wanted.keys().collect::<std::collections::BTreeSet<_>>())
                && gained.iter().all(|(account, gained)| holds(&wanted[account], &minor(*gained)))
        }
        _ => holds(wanted, &found),
    };
    Ok((found, held))
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
    let grown = |of: fn(&Counts) -> usize| of(after) as i64 - of(before) as i64;
    let books = scene.books();
    Ok(match name {
        "orders" => grown(|c| c.orders).into(),
        "providerCreates" => grown(|c| c.provider_orders).into(),
        "credits" => grown(|c| c.credits).into(),
        "review" => grown(|c| c.review).into(),
        "credits_plus_review" => (grown(|c| c.credits) + grown(|c| c.review)).into(),
        "queued" => grown(|c| c.queued).into(),
        "dlq" => grown(|c| c.dead).into(),
        "credits_of_order_amount" => grown(|c| c.of_order_amount).into(),
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
        "provider_attempts" => grown(|c| c.attempts).into(),
        "connections" => grown(|c| c.connections).into(),
        "received" => grown(|c| c.received).into(),
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
