//! The real binary under a Runtime API, fed with its file in `events/`.

use recharge_local::functions::HttpFunction;
use recharge_tests::runtime::{Bench, filed_order};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_reconcile-poller");

#[tokio::test]
async fn the_binary_answers_its_events() {
    let bench = Bench::open().await;
    let mut function = bench.start(BINARY).await;

    let tick = function.event("poller-schedule.json");
    assert_eq!(function.invoke(&tick).await, report(0, 0), "nothing is due");

    // An order that is paid, whose confirmation never comes.
    bench.in_process(HttpFunction::CreateOrder, "create-order.json").await;
    bench.stack.pay(&filed_order(), None).unwrap();
    assert_eq!(function.invoke(&tick).await, report(1, 1), "the provider is asked");
    assert_eq!(bench.settlement_messages().len(), 1);
    assert_eq!(bench.stack.settle_batch(0).await, Ok(1));
    assert_eq!(bench.stack.state().unwrap()["ordersByStatus"], json!({"SUCCESS": 1}));
    assert_eq!(function.invoke(&tick).await, report(0, 0), "nothing is left to do");

    let lines = function.stop().await;
    let reports = lines.iter().filter(|line| line["report"].is_string());
    assert_eq!(reports.count(), 3, "one for each run: {lines:?}");
}

#[tokio::test]
async fn a_missing_setting_stops_the_start() {
    let settings = [
        "TABLE_NAME",
        "NOTIFICATION_QUEUE_URL",
        "SETTLEMENT_QUEUE_URL",
        "PROVIDER_KEYS_SECRET",
        "PROVIDER_SETTINGS",
        "DEFAULT_PROVIDER",
        "POLL_LOOKAHEAD_SECONDS",
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

fn report(looked_at: u32, evidence: u32) -> Value {
    json!({
        "lookedAt": looked_at,
        "evidence": evidence,
        "expired": 0,
        "resumed": 0,
        "notices": 0,
        "failed": 0,
        "unfinished": false,
    })
}
