//! The real binary under a Runtime API, fed with its files in `events/`: an order that was paid short, and
//! what a person decides about it.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use recharge_local::functions::HttpFunction;
use recharge_shared::domain::{AmountPolicy, Merchant, MerchantId, MerchantPolicy};
use recharge_shared::store::Store;
use recharge_tests::runtime::{Bench, filed_order, sign_anew};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_admin");

#[tokio::test]
async fn the_binary_answers_its_events() {
    let bench = Bench::open().await;
    wants_exact_amounts(&bench).await;
    let mut function = bench.start(BINARY).await;
    let mut events =
        ["reviews.json", "review.json", "resolve-review.json"].map(|file| function.event(file));
    for event in &mut events {
        let answered = function.http(event).await;
        let wanted = (401, &json!("TIMESTAMP_OUT_OF_RANGE"));
        assert_eq!((answered.status, &answered.json["errorCode"]), wanted);
        sign_anew(event);
    }
    let [mut list, review, resolve] = events;
    let empty = function.http(&list).await;
    assert_eq!((empty.status, empty.json), (200, json!({"reviews": [], "nextCursor": null})));
    for event in [&review, &resolve] {
        assert_eq!(function.http(event).await.status, 404);
    }

    bench.in_process(HttpFunction::CreateOrder, "create-order.json").await;
    let short = |body: &mut Value| body["amount"] = "40000".into();
    bench.in_process_changed(HttpFunction::Webhook, "webhook-trader-json.json", short).await;
    assert_eq!(bench.stack.settle_batch(0).await, Ok(1));
    let listed = function.http(&list).await;
    let filed = &review["pathParameters"]["reviewId"];
    assert_eq!((listed.status, &listed.json["reviews"][0]["reviewId"]), (200, filed));
    let read = function.http(&review).await;
    assert_eq!((read.status, &read.json), (200, &listed.json["reviews"][0]));
    check_open(&read.json);

    let decided = function.http(&resolve).await;
    assert_eq!((decided.status, &decided.json["status"]), (202, &json!("APPROVED")));
    let decision = &decided.json["decision"];
    let (by, order) = (&decision["by"], &decision["orderId"]);
    assert_eq!((by, order), (&json!("admin"), &json!(filed_order())));
    assert_eq!(bench.stack.state().unwrap()["balances"], json!({}), "it books nothing itself");
    assert_eq!(bench.settlement_messages().len(), 1);
    let again = function.http(&resolve).await;
    assert_eq!((again.status, &again.json["decision"]), (202, decision));
    assert_eq!(bench.settlement_messages().len(), 1, "decided once");
    assert_eq!(bench.stack.settle_batch(0).await, Ok(1));
    let state = bench.stack.state().unwrap();
    assert_eq!(state["balances"], json!({"m_demo/u_1001/USDT": 4_000_000}));

    list["rawQueryString"] = "status=closed".into();
    sign_anew(&mut list);
    let closed = function.http(&list).await;
    assert_eq!(closed.json["reviews"][0]["status"], "CREDITED");

    let lines = function.stop().await;
    let decisions = lines.iter().filter(|line| line["review"] == *filed && line["by"] == "admin");
    assert_eq!(decisions.count(), 1, "who has decided is in the log, once: {lines:?}");
}

#[tokio::test]
async fn a_missing_setting_stops_the_start() {
    let settings = ["TABLE_NAME", "SETTLEMENT_QUEUE_URL", "CLIENT_KEYS_SECRET", "REVIEW_TWO_FROM"];
    Bench::open().await.refuses_to_start_without(BINARY, &settings).await;
}

#[tokio::test]
async fn an_unknown_mode_or_stage_stops_the_start() {
    let bench = Bench::open().await;
    for setting in [("MODE", "Shadow"), ("MODE", "dry-run"), ("STAGE", "a b")] {
        bench.refuses_to_start_with(BINARY, setting).await;
    }
}

/// Otherwise the demo merchant's users are credited what has come.
async fn wants_exact_amounts(bench: &Bench) {
    let aws = &bench.stack.ground.aws;
    let store = Store::new(aws.dynamodb(aws.http_client(), 3), bench.stack.names.table.clone());
    let policy = MerchantPolicy { amount: Some(AmountPolicy::Exact), ..MerchantPolicy::default() };
    let settings = Merchant { policy, ..Merchant::default() };
    store.set_merchant(&MerchantId::parse("m_demo").unwrap(), &settings).await.unwrap();
}

fn check_open(review: &Value) {
    let said = ["status", "why", "kind", "amount", "orderId", "merchant", "userId", "decision"];
    let wanted = [
        json!("OPEN"),
        json!("amount_mismatch"),
        json!("paid"),
        json!(4_000_000),
        json!(filed_order()),
        json!("m_demo"),
        json!("u_1001"),
        json!(null),
    ];
    assert_eq!(said.map(|name| review[name].clone()), wanted, "{review}");
}
