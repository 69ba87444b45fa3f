//! The files in `events/`: which function each belongs to, and how their signatures are made anew.
//! Those in the files are of a fixed day and no longer believed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use aws_smithy_types::base64;
use recharge_local::call::{ADMIN_KEYS, API_KEYS};
use recharge_local::stack::{PAYPROTOCOL_SECRET, TRADER_KEY};
use recharge_shared::auth;
use recharge_shared::clock::{Clock, SystemClock};
use recharge_shared::providers::payprotocol::{HEADERS, Signed, signature};
use recharge_shared::providers::trader::{Fields, SIGN, SigningProfile, sign};
use serde_json::Value;

/// Every file and the function that it is fed to.
pub const CLAIMS: [(&str, &[&str]); 7] = [
    ("admin", &["resolve-review.json", "review.json", "reviews.json"]),
    (
        "create-order",
        &[
            "cancel-order.json",
            "create-addresses.json",
            "create-order-bad-json.json",
            "create-order.json",
            "notify-again.json",
            "resend-events.json",
        ],
    ),
    (
        "webhook",
        &[
            "webhook-bad-signature.json",
            "webhook-payprotocol.json",
            "webhook-trader-form.json",
            "webhook-trader-json.json",
        ],
    ),
    ("callback-worker", &["settlement-batch.json"]),
    ("notifier", &["notification-batch.json"]),
    (
        "status-query",
        &[
            "addresses.json",
            "docs-viewer.json",
            "docs.json",
            "explain.json",
            "health.json",
            "openapi.json",
            "status-balances.json",
            "status-deliveries.json",
            "status-events.json",
            "status-ledger.json",
            "status-list.json",
            "status-order.json",
            "unknown-route.json",
        ],
    ),
    ("reconcile-poller", &["poller-schedule.json"]),
];

/// The files that `function` has to be fed.
pub fn claimed_by(function: &str) -> BTreeSet<String> {
    let claims = CLAIMS.iter().filter(|(claimant, _)| *claimant == function);
    claims.flat_map(|(_, files)| files.iter().map(|file| (*file).to_owned())).collect()
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../events")
}

/// The event in `events/<file>`, as filed.
pub fn event(file: &str) -> Value {
    let text = std::fs::read_to_string(directory().join(file)).expect("the file is in events/");
    serde_json::from_str(&text).expect("an event is JSON")
}

/// The order that the files are about.
pub fn filed_order() -> String {
    let event = event("status-order.json");
    event["pathParameters"]["orderId"].as_str().expect("the path names the order").to_owned()
}

/// The client signs its request again, now.
pub fn sign_anew(event: &mut Value) {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let headers = &event["headers"];
    let key_id = text(&headers["x-api-key"]);
    let mut keys = API_KEYS.into_iter().chain(ADMIN_KEYS);
    let key = keys.find(|key| key.id == key_id).expect("a key of the local stack");
    let mut target = text(&event["rawPath"]);
    match event["rawQueryString"].as_str() {
        None | Some("") => {}
        Some(query) => target = format!("{target}?{query}"),
    }
    let method = text(&event["requestContext"]["http"]["method"]);
    let now = SystemClock.now().secs();
    let idempotency_key = text(&headers["idempotency-key"]);
    let claim = (now, key.id, idempotency_key.as_str());
    let signature = auth::sign(key.secret, (&method, &target), claim, &body(event));
    event["headers"]["x-timestamp"] = now.to_string().into();
    event["headers"]["x-signature"] = signature.into();
}

/// The provider sends its callback again, now.
pub fn sign_callback_anew(event: &mut Value) {
    if event["headers"][HEADERS[0]].is_string() {
        return sign_payprotocol_anew(event);
    }
    let mut fields = fields(event);
    fields.remove(SIGN);
    fields.insert("t".to_owned(), SystemClock.now().secs().to_string());
    let signature = sign(&SigningProfile::default(), &fields, TRADER_KEY);
    fields.insert(SIGN.to_owned(), signature);
    event["body"] = if event["isBase64Encoded"] == true {
        let mut form = form_urlencoded::Serializer::new(String::new());
        base64::encode(form.extend_pairs(&fields).finish()).into()
    } else {
        serde_json::to_string(&fields).expect("texts are JSON").into()
    };
}

fn sign_payprotocol_anew(event: &mut Value) {
    let timestamp = SystemClock.now().secs().to_string();
    let path = event["rawPath"].as_str().unwrap_or("").to_owned();
    let body = body(event);
    let signed = Signed { timestamp: &timestamp, method: "POST", path: &path, body: &body };
    event["headers"][HEADERS[2]] = signature(PAYPROTOCOL_SECRET, signed).into();
    event["headers"][HEADERS[1]] = timestamp.into();
}

/// The body as the client sent it.
pub fn body(event: &Value) -> Vec<u8> {
    let body = event["body"].as_str().unwrap_or("");
    if event["isBase64Encoded"] == true {
        return base64::decode(body).expect("a body marked as base64 is base64");
    }
    body.as_bytes().to_vec()
}

/// The body's text members, of a form or a JSON object; none if it is neither.
pub fn fields(event: &Value) -> Fields {
    let body = body(event);
    match serde_json::from_slice(&body) {
        Ok(Value::Object(members)) => {
            let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
            members.into_iter().filter_map(text).collect()
        }
        _ => form_urlencoded::parse(&body).into_owned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_events_is_fed_to_a_function() {
        let files = std::fs::read_dir(directory()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let found: BTreeSet<String> = names.filter(|name| name != "README.md").collect();
        let claims = CLAIMS.iter().flat_map(|(function, _)| claimed_by(function));
        assert_eq!(found, claims.collect());
    }
}
