//! The vocabulary: which members each operation has, of which kind their values are, and what can be expected
//! where. Whatever is not listed is not understood, so that nothing in a corpus goes unread.

use serde_json::Value;

use crate::case::{Case, NotUnderstood, only};

const EVERY_STEP: [&str; 3] = ["op", "expect", "note"];
const BODY: [&str; 5] = ["patch", "remove", "raw", "b64", "gen"];
const TROUBLE: [&str; 3] = ["fault", "delay", "clock_offset"];
const REQUEST: [&str; 13] = [
    "times",
    "every",
    "rate",
    "repeat_bytes_of",
    "headers",
    "content_type",
    "path",
    "sign",
    "net",
    "gateway",
    "for_seconds",
    "optional",
    "method",
];

/// What a request is answered.
pub const ANSWER: [&str; 9] = [
    "status",
    "errorCode",
    "same_order_as",
    "different_order_from",
    "same_answer_as",
    "response_must_not_contain",
    "json",
    "headers",
    "seconds_max",
];
const BATCH: [&str; 2] = ["batchItemFailures", "response_json_exact"];
const TOLD: [&str; 4] = ["connections", "connections_to", "outcome", "seconds_max"];
/// What is left behind, by the step or by the case.
const LEFT: [&str; 5] = ["effects", "state_in", "balance_max", "log", "note"];

/// Whether `op` is a request.
pub fn is_request(op: &str) -> bool {
    let own = ["deposit_callback", "addresses", "resolve", "review"];
    ["create", "webhook", "status", "http"].contains(&op) || own.contains(&op)
}

fn members(op: &str) -> Option<Vec<&'static [&'static str]>> {
    let distinct: &[&str] = &["distinct"];
    let own: Vec<&'static [&'static str]> = match op {
        "create" => vec![&["as"], distinct, &BODY],
        "webhook" => vec![&["from", "account", "vector"], distinct, &BODY],
        "status" => vec![&["as", "id"]],
        "http" => vec![&["as", "body"], &BODY],
        "addresses" => vec![&["as", "user"], &BODY],
        "resolve" => vec![&["as", "review", "action"], &BODY],
        "review" => vec![&["as", "review"]],
        "deposit_callback" => vec![&["of"], distinct, &BODY],
        "deposit" => vec![&["address", "amount", "currency", "silent", "after_ms", "times"]],
        "provider" => vec![&["mode", "restate", "share_wallets"]],
        "sweep" => vec![&["wait", "times"]],
        "settle" | "drain" => vec![&["times", "every"]],
        "merchant_policy" => vec![&["as", "policy"]],
        "queue" => vec![&["messages", "times", "every"], &TROUBLE],
        "notify" => vec![&["net", "force_url", "for_seconds", "times", "every"], &TROUBLE],
        "poll" => vec![
            &["provider_says", "provider_says_raw", "at", "poison_head"],
            &["times", "every", "for_seconds"],
            &TROUBLE,
        ],
        "advance" => vec![&["seconds", "times"]],
        "parallel" => vec![&["steps", "schedules"]],
        "config" => vec![&["webhook_secret", "mixed_versions", "check", "for_seconds"], &TROUBLE],
        _ => return None,
    };
    let mut all = vec![&EVERY_STEP[..]];
    all.extend(own);
    if is_request(op) {
        all.extend([&REQUEST[..], &TROUBLE]);
    }
    Some(all)
}

/// What a step of this kind can be answered.
fn answers(op: &str) -> &'static [&'static str] {
    match op {
        "queue" => &BATCH,
        "notify" => &TOLD,
        "config" => &["denied"],
        op if is_request(op) => &ANSWER,
        _ => &[],
    }
}

/// A step without `_each`; of those inside a parallel one nobody can say what each has left behind.
pub fn step(step: &Value, is_inner: bool) -> Result<(), NotUnderstood> {
    let op = step["op"].as_str().unwrap_or("");
    let known = members(op).ok_or_else(|| NotUnderstood(format!("op {}", step["op"])))?.concat();
    only(op, step, &known)?;
    for (name, value) in step.as_object().into_iter().flatten() {
        if !has_its_kind(name, value) {
            return Err(NotUnderstood(format!("{op}.{name} {value}")));
        }
    }
    for part in ["raw", "b64", "gen", "vector", "body"] {
        let shapes = ["raw", "b64", "gen", "vector", "patch", "remove"];
        let other = shapes.iter().find(|other| **other != part && step.get(**other).is_some());
        if let Some(other) = other
            && step.get(part).is_some()
            && (part, *other) != ("body", "patch")
            && (part, *other) != ("body", "remove")
        {
            return Err(NotUnderstood(format!("{part} with {other}")));
        }
    }
    let left: &[&str] = if is_inner { &["note"] } else { &LEFT };
    if op == "parallel" {
        return only("expect of parallel", &step["expect"], &[&ANSWER[..], left].concat());
    }
    only(&format!("expect of {op}"), &step["expect"], &[answers(op), left].concat())?;
    expectation(&step["expect"])
}

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

fn has_its_kind(name: &str, value: &Value) -> bool {
    match name {
        "times" | "every" | "seconds" | "for_seconds" | "repeat_bytes_of" | "of" | "wait"
        | "after_ms" => value.is_u64(),
        "clock_offset" | "restate" => value.is_i64(),
        "headers" | "gen" | "gateway" | "sign" | "net" | "patch" | "policy" | "expect" => {
            value.is_object()
        }
        "provider_says" => value.is_object(),
        "remove" | "messages" | "mixed_versions" | "share_wallets" => is_texts(value),
        "steps" => value.as_array().is_some_and(|list| list.iter().all(Value::is_object)),
        "optional" | "silent" | "poison_head" => value.is_boolean(),
        // A parallel step numbers its repetitions.
        "distinct" => value.is_boolean() || value.is_u64(),
        "content_type" | "webhook_secret" => value.is_string() || value.is_null(),
        "schedules" => value == "all",
        "check" => value == "policy",
        "body" | "mode" => true,
        _ => value.is_string(),
    }
}

/// Expectations whose values can be compared.
fn expectation(expect: &Value) -> Result<(), NotUnderstood> {
    for (name, value) in expect.as_object().into_iter().flatten() {
        let fits = match name.as_str() {
            "seconds_max" | "connections" => value.is_u64(),
            "same_order_as" | "different_order_from" | "same_answer_as" => value.is_u64(),
            "status" => value.is_u64() || value.as_array().is_some_and(|l| !l.is_empty()),
            "errorCode" | "outcome" => value.is_string() || is_texts(value),
            "response_must_not_contain" => value.is_string() || is_texts(value),
            "headers" => value.is_object() || is_texts(value),
            "json" | "effects" | "balance_max" | "connections_to" | "response_json_exact" => {
                value.is_object()
            }
            "batchItemFailures" | "denied" => is_texts(value),
            // In words: what every case has to keep anyway.
            "log" | "note" => value.is_string(),
            _ => true,
        };
        if !fits {
            return Err(NotUnderstood(format!("expect.{name} {value}")));
        }
    }
    Ok(())
}

/// A case: what it expects as a whole must be read by one of its steps.
pub fn case(case: &Case) -> Result<(), NotUnderstood> {
    expectation(&case.expect)?;
    let mut read = LEFT.to_vec();
    for step in &case.steps {
        if step.get("expect").is_some() {
            continue;
        }
        let inner = step["steps"].as_array().into_iter().flatten();
        let inner = inner.filter(|step| step.get("expect").is_none());
        for step in std::iter::once(step).chain(inner) {
            read.extend(answers(step["op"].as_str().unwrap_or("")));
        }
    }
    only("expect of the case, which no step is left for", &case.expect, &read)
}
