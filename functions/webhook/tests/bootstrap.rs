//! The real binary under a Runtime API, fed with its files in `events/`.

#![expect(clippy::unwrap_used, reason = "a message of another shape ends the test")]

use recharge_tests::runtime::{Bench, filed_order, sign_callback_anew};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_webhook");

#[tokio::test]
async fn the_binary_answers_its_events() {
    let bench = Bench::open().await;
    let mut function = bench.start(BINARY).await;

    let bad = function.event("webhook-bad-signature.json");
    let answered = function.http(&bad).await;
    assert_eq!((answered.status, &answered.json["errorCode"]), (401, &json!("SIGNATURE_INVALID")));
    assert_eq!(bench.settlement_messages(), [""; 0], "what is not believed goes nowhere");

    let mut messages = 0;
    for file in ["webhook-trader-form.json", "webhook-trader-json.json"] {
        let mut event = function.event(file);
        assert_eq!(event["isBase64Encoded"], file.contains("form"), "{file}");
        // As filed it is genuine but old: acknowledged, and left to a person.
        for stale in [true, false] {
            let answered = function.http(&event).await;
            assert_eq!((answered.status, answered.text.as_str()), (200, "success"), "{file}");
            assert_eq!(answered.headers["content-type"], "text/plain");
            messages += 1;
            let queued = bench.settlement_messages();
            assert_eq!(queued.len(), messages, "{file}");
            check_message(queued.last().unwrap(), stale);
            sign_callback_anew(&mut event);
        }
    }
    // Of the provider of deposits an old one is refused: it comes again, signed anew.
    let mut deposit = function.event("webhook-payprotocol.json");
    let old = function.http(&deposit).await;
    assert_eq!((old.status, &old.json["errorCode"]), (401, &json!("TIMESTAMP_OUT_OF_RANGE")));
    assert_eq!(bench.settlement_messages().len(), messages);
    sign_callback_anew(&mut deposit);
    let answered = function.http(&deposit).await;
    assert_eq!((answered.status, answered.text.as_str()), (200, "success"));
    check_deposit(bench.settlement_messages().last().unwrap());

    let lines = function.stop().await;
    let verified = |line: &&Value| line["message"].as_str().unwrap_or("").contains(&filed_order());
    let verified = lines.iter().filter(verified).count();
    assert_eq!(verified, messages, "one line for each, with the order: {lines:?}");
    // Should the first one have been genuine, this is what has to be looked up.
    let disbelieved = |line: &&Value| line["level"] == "WARN" && line["order"] == filed_order();
    assert_eq!(lines.iter().filter(disbelieved).count(), 1, "{lines:?}");
}

#[tokio::test]
async fn a_missing_setting_stops_the_start() {
    let settings =
        ["SETTLEMENT_QUEUE_URL", "PROVIDER_KEYS_SECRET", "PROVIDER_SETTINGS", "DEFAULT_PROVIDER"];
    Bench::open().await.refuses_to_start_without(BINARY, &settings).await;
}

#[tokio::test]
async fn an_unknown_mode_or_stage_stops_the_start() {
    let bench = Bench::open().await;
    for setting in [("MODE", "Shadow"), ("MODE", "dry-run"), ("STAGE", "a b")] {
        bench.refuses_to_start_with(BINARY, setting).await;
    }
}

#[track_caller]
fn check_deposit(body: &str) {
    let message: Value = serde_json::from_str(body).unwrap();
    let said = ["provider", "paymentId", "kind", "amount", "currency", "network", "source"];
    let wanted = ["payprotocol", "900001", "paid", "12500000", "USDT", "TRON", "callback"];
    assert_eq!(said.map(|name| message[name].as_str().unwrap_or("")), wanted, "{body}");
}

#[track_caller]
fn check_message(body: &str, stale: bool) {
    assert!(!body.contains("sign"), "the signature stays here: {body}");
    let message: Value = serde_json::from_str(body).unwrap();
    let said =
        ["orderId", "kind", "amount", "currency", "source", "stale"].map(|name| &message[name]);
    let wanted = [
        json!(filed_order()),
        json!("paid"),
        json!("5000000"),
        json!("USDT"),
        json!("callback"),
        json!(stale),
    ];
    assert_eq!(said.map(Value::clone), wanted, "{body}");
}
