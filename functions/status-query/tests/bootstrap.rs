//! The real binary under a Runtime API, fed with its files in `events/`.

#![expect(clippy::unwrap_used, reason = "an answer of another shape ends the test")]

use aws_smithy_types::base64;
use lambda_http::Body;
use recharge_local::functions::HttpFunction;
use recharge_tests::runtime::{Bench, Running, filed_order, sign_anew};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_status-query");

#[tokio::test]
async fn the_binary_answers_its_events() {
    let bench = Bench::open().await;
    let mut function = bench.start(BINARY).await;

    needs_no_signature(&mut function).await;
    let files = [
        "status-order.json",
        "status-balances.json",
        "status-ledger.json",
        "explain.json",
        "addresses.json",
    ];
    let mut events = files.map(|file| function.event(file));
    for event in &mut events {
        let answered = function.http(event).await;
        let wanted = (401, &json!("TIMESTAMP_OUT_OF_RANGE"));
        assert_eq!((answered.status, &answered.json["errorCode"]), wanted);
        sign_anew(event);
        let answered = function.http(event).await;
        assert_eq!((answered.status, &answered.json["errorCode"]), (404, &json!("NOT_FOUND")));
    }

    bench.in_process(HttpFunction::CreateOrder, "create-order.json").await;
    bench.in_process(HttpFunction::Webhook, "webhook-trader-form.json").await;
    assert_eq!(bench.stack.settle_batch(0).await, Ok(1));
    let [order, balances, ledger, explain, addresses] = events;
    let mut list = function.event("status-list.json");
    sign_anew(&mut list);
    let listed = function.http(&list).await;
    assert_eq!((listed.status, &listed.json), (200, &json!({"recharges": [], "nextCursor": null})));
    let order = function.http(&order).await;
    assert_eq!((order.status, &order.json["orderId"]), (200, &json!(filed_order())));
    assert_eq!(
        (&order.json["status"], &order.json["reason"]),
        (&json!("SUCCESS"), &json!("paid_exact"))
    );
    let balances = function.http(&balances).await;
    let balance = &balances.json["balances"][0];
    assert_eq!((balances.status, &balance["decimal"]), (200, &json!("5.000000")));
    let ledger = function.http(&ledger).await;
    let entry = &ledger.json["entries"][0];
    assert_eq!((ledger.status, &entry["orderId"]), (200, &json!(filed_order())));
    assert_eq!((&entry["kind"], &entry["amount"]), (&json!("CREDIT"), &json!(5_000_000)));

    tells_of_notifications(&mut function).await;
    let explained = function.http(&explain).await;
    let said = ["situation", "explanation"].map(|name| explained.json[name].clone());
    assert_eq!(
        (explained.status, said),
        (200, ["credited", "5.000000 USDT is credited."].map(Into::into))
    );
    let known = function.http(&addresses).await;
    let methods = known.json["addresses"].as_array().unwrap().iter();
    let methods = methods.map(|one| one["paymentMethod"].clone()).collect();
    assert_eq!((known.status, methods), (200, json!(["trader"])), "where the order was paid");

    function.stop().await;
}

async fn needs_no_signature(function: &mut Running<'_>) {
    let health = function.event("health.json");
    let answered = function.http(&health).await;
    assert_eq!((answered.status, answered.json), (200, json!({"status": "ok"})));
    let openapi = function.event("openapi.json");
    let answered = function.http(&openapi).await;
    assert_eq!((answered.status, &answered.json["openapi"]), (200, &json!("3.1.0")));
    let docs = function.event("docs.json");
    let answered = function.http(&docs).await;
    assert_eq!((answered.status, answered.text.starts_with("<!doctype html>")), (200, true));
    // Binary answers travel to the gateway as base64.
    let viewer = function.event("docs-viewer.json");
    let answered = function.invoke(&viewer).await;
    assert_eq!(
        (&answered["statusCode"], &answered["isBase64Encoded"]),
        (&json!(200), &json!(true))
    );
    assert_eq!(answered["headers"]["content-encoding"], "gzip");
    let body: Body = serde_json::from_value(answered["body"].clone()).unwrap();
    let sent = base64::decode(std::str::from_utf8(&body).unwrap()).unwrap();
    assert!(sent == include_bytes!("../assets/viewer.js.gz"));
    let unknown = function.event("unknown-route.json");
    let answered = function.http(&unknown).await;
    assert_eq!((answered.status, &answered.json["errorCode"]), (404, &json!("NOT_FOUND")));
}

async fn tells_of_notifications(function: &mut Running<'_>) {
    let mut deliveries = function.event("status-deliveries.json");
    sign_anew(&mut deliveries);
    let deliveries = function.http(&deliveries).await;
    let delivery = &deliveries.json["deliveries"][0];
    assert_eq!((deliveries.status, &delivery["state"]), (200, &json!("PENDING")));
    let mut events = function.event("status-events.json");
    sign_anew(&mut events);
    let events = function.http(&events).await;
    let nothing = json!({"events": [], "next": null, "hasMore": false});
    assert_eq!((events.status, events.json), (200, nothing));
}

#[tokio::test]
async fn a_missing_setting_stops_the_start() {
    let settings = ["TABLE_NAME", "CLIENT_AUTH", "CLIENT_KEYS_SECRET"];
    Bench::open().await.refuses_to_start_without(BINARY, &settings).await;
}

#[tokio::test]
async fn an_unknown_mode_or_stage_stops_the_start() {
    let bench = Bench::open().await;
    for setting in [("MODE", "Shadow"), ("MODE", "dry-run"), ("STAGE", "a b")] {
        bench.refuses_to_start_with(BINARY, setting).await;
    }
}
