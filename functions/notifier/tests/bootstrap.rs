//! The real binary under a Runtime API, fed with its file in `events/`. Nothing leaves the machine: the
//! order that the file is about has no address to tell.

use recharge_local::functions::HttpFunction;
use recharge_shared::domain::OrderId;
use recharge_shared::store::{NoticeState, Store};
use recharge_tests::runtime::{Bench, filed_order};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_notifier");

#[tokio::test]
async fn the_binary_answers_its_events() {
    let bench = Bench::open().await;
    let mut function = bench.start(BINARY).await;

    let mut batch = function.event("notification-batch.json");
    let unreadable = batch["Records"][1]["messageId"].clone();
    let again = json!({"batchItemFailures": [{"itemIdentifier": unreadable}]});
    assert_eq!(
        function.invoke(&batch).await,
        again,
        "there is no such notice, and nothing to read"
    );

    bench
        .in_process_changed(HttpFunction::CreateOrder, "create-order.json", |body| {
            body.as_object_mut().unwrap().remove("callbackUrl");
        })
        .await;
    bench.in_process(HttpFunction::Webhook, "webhook-trader-form.json").await;
    assert_eq!(bench.stack.settle_batch(0).await, Ok(1));
    assert_eq!(function.invoke(&batch).await, again);
    let aws = &bench.stack.ground.aws;
    let store = Store::new(aws.dynamodb(aws.http_client(), 3), bench.stack.names.table.clone());
    let row = store.notice(&OrderId::parse(&filed_order()).unwrap(), 1).await.unwrap().unwrap();
    assert_eq!((row.state, row.attempts.len()), (NoticeState::NoAddress, 0));

    let last = bench.stack.names.notifications.tries_max.to_string();
    batch["Records"][1]["attributes"]["ApproximateReceiveCount"] = last.into();
    assert_eq!(function.invoke(&batch).await, json!({"batchItemFailures": []}));
    assert_eq!(bench.stack.notification_depth().dead, 1);

    let lines = function.stop().await;
    let named = |line: &Value| line.to_string().contains(&filed_order());
    assert!(lines.iter().any(named), "no line names the order: {lines:?}");
}

#[tokio::test]
async fn a_missing_setting_stops_the_start() {
    let settings = [
        "TABLE_NAME",
        "NOTIFICATION_KEYS_SECRET",
        "NOTIFICATION_DEAD_LETTER_QUEUE_URL",
        "NOTIFICATION_TRIES_MAX",
        "NOTIFICATION_PORTS",
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
