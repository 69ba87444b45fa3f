//! The real binary under a Runtime API, fed with its file in `events/`.

use recharge_local::functions::HttpFunction;
use recharge_tests::runtime::Bench;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_callback-worker");

#[tokio::test]
async fn the_binary_answers_its_events() {
    let bench = Bench::open().await;
    let mut function = bench.start(BINARY).await;

    let mut batch = function.event("settlement-batch.json");
    let records = batch["Records"].as_array().unwrap();
    let ids: Vec<Value> = records.iter().map(|record| record["messageId"].clone()).collect();
    let all: Vec<Value> = ids.iter().map(|id| json!({"itemIdentifier": id})).collect();
    let answer = function.invoke(&batch).await;
    assert_eq!(answer, json!({"batchItemFailures": all}), "neither is ours, both come again");

    // Beside them a confirmation of the order: it is settled, and only it does not come again.
    bench.in_process(HttpFunction::CreateOrder, "create-order.json").await;
    bench.in_process(HttpFunction::Webhook, "webhook-trader-form.json").await;
    let mut record = batch["Records"][0].clone();
    record["messageId"] = "059f36b4-87a3-44ab-83d2-661970000003".into();
    record["body"] = bench.settlement_messages().remove(0).into();
    batch["Records"].as_array_mut().unwrap().insert(1, record);
    let answer = function.invoke(&batch).await;
    assert_eq!(answer, json!({"batchItemFailures": all}));
    let state = bench.stack.state().unwrap();
    assert_eq!(state["ordersByStatus"], json!({"SUCCESS": 1}));
    assert_eq!(state["balances"], json!({"m_demo/u_1001/USDT": 5_000_000}));
    assert_eq!(state["ledgerBalanced"], true);

    // The last time they are given up, with the reason, and the settled one changes nothing.
    let last = bench.stack.names.tries_max.to_string();
    for record in batch["Records"].as_array_mut().unwrap() {
        record["attributes"]["ApproximateReceiveCount"] = last.as_str().into();
    }
    assert_eq!(function.invoke(&batch).await, json!({"batchItemFailures": []}));
    // A batch's messages are worked on at once: they come to the dead letters in any order.
    let mut dead_letters = bench.dead_letters();
    dead_letters.sort_unstable();
    assert_eq!(dead_letters, ["not json", r#"{"not":"ours"}"#]);
    assert_eq!(bench.stack.state().unwrap()["balances"], state["balances"]);

    let lines = function.stop().await;
    let errors = lines.iter().filter(|line| line["level"] == "ERROR").count();
    assert_eq!(errors, 2, "one for each message given up: {lines:?}");
}

#[tokio::test]
async fn a_missing_setting_stops_the_start() {
    let settings = [
        "TABLE_NAME",
        "NOTIFICATION_QUEUE_URL",
        "SETTLEMENT_DEAD_LETTER_QUEUE_URL",
        "SETTLEMENT_TRIES_MAX",
        "PROVIDER_SETTINGS",
        "REVIEW_TWO_FROM",
    ];
    Bench::open().await.refuses_to_start_without(BINARY, &settings).await;
}

#[tokio::test]
async fn an_unknown_mode_or_stage_stops_the_start() {
    let bench = Bench::open().await;
    for setting in [("MODE", "Shadow"), ("MODE", "dry-run"), ("STAGE", "a b")] {
        bench.refuses_to_start_with(BINARY, setting).await;
    }
}
