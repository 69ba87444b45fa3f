//! The real binary under a Runtime API, fed with its files in `events/`.

#![expect(clippy::unwrap_used, reason = "an answer of another shape ends the test")]

use recharge_tests::runtime::{Bench, filed_order, sign_anew};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_create-order");

#[tokio::test]
async fn the_binary_answers_its_events() {
    let bench = Bench::open().await;
    let mut function = bench.start(BINARY).await;

    let mut order = function.event("create-order.json");
    let answered = function.http(&order).await;
    assert_eq!((answered.status, code(&answered.json)), (401, "TIMESTAMP_OUT_OF_RANGE"));
    let mut bad = function.event("create-order-bad-json.json");
    let answered = function.http(&bad).await;
    assert_eq!((answered.status, code(&answered.json)), (401, "TIMESTAMP_OUT_OF_RANGE"));
    sign_anew(&mut bad);
    let answered = function.http(&bad).await;
    assert_eq!((answered.status, code(&answered.json)), (400, "INVALID_ARGUMENT"));
    let orders = bench.stack.state().unwrap()["orders"].clone();
    assert_eq!(
        (orders, bench.stack.trader.provider_orders()),
        (json!(0), 0),
        "nothing is recorded"
    );

    sign_anew(&mut order);
    let answered = function.http(&order).await;
    assert_eq!(answered.status, 201, "{}", answered.text);
    check_new_order(answered.json.clone());
    sign_anew(&mut order);
    let again = function.http(&order).await;
    assert_eq!((again.status, &again.json), (200, &answered.json));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(bench.stack.trader.provider_orders(), 1);

    let mut cancel = function.event("cancel-order.json");
    sign_anew(&mut cancel);
    let cancelled = function.http(&cancel).await;
    assert_eq!((cancelled.status, &cancelled.json["status"]), (200, &json!("CANCELLED")));

    let mut again = function.event("notify-again.json");
    sign_anew(&mut again);
    let again = function.http(&again).await;
    assert_eq!((again.status, &again.json["type"]), (202, &json!("recharge.cancelled")));
    assert_eq!(bench.stack.notification_depth().visible, 2);
    let mut resend = function.event("resend-events.json");
    sign_anew(&mut resend);
    let resent = function.http(&resend).await;
    let nothing = json!({"resent": 0, "lookedAt": 0, "nextCursor": null});
    assert_eq!((resent.status, resent.json), (202, nothing));
    let mut addresses = function.event("create-addresses.json");
    let old = function.http(&addresses).await;
    assert_eq!((old.status, code(&old.json)), (401, "TIMESTAMP_OUT_OF_RANGE"));
    sign_anew(&mut addresses);
    let made = function.http(&addresses).await;
    let networks =
        made.json["addresses"].as_array().unwrap().iter().map(|one| one["network"].clone());
    assert_eq!((made.status, networks.collect()), (200, json!(["BSC", "TRON"])));
    sign_anew(&mut addresses);
    assert_eq!(function.http(&addresses).await.json, made.json);
    assert_eq!(bench.stack.payprotocol.users(), 1);

    let lines = function.stop().await;
    let named = |line: &&Value| line.to_string().contains(&filed_order());
    assert!(lines.iter().any(|line| named(&line)), "no line names the order: {lines:?}");
}

#[tokio::test]
async fn a_missing_setting_stops_the_start() {
    let settings = [
        "TABLE_NAME",
        "CLIENT_AUTH",
        "CLIENT_KEYS_SECRET",
        "PROVIDER_KEYS_SECRET",
        "PROVIDER_SETTINGS",
        "DEFAULT_PROVIDER",
        "NOTIFICATION_QUEUE_URL",
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

fn code(answer: &Value) -> &str {
    answer["errorCode"].as_str().unwrap_or("")
}

/// The whole answer; times, address and the provider's number are looked at, the rest is fixed.
fn check_new_order(mut order: Value) {
    let members = order.as_object_mut().unwrap();
    let mut take = |name: &str| members.remove(name).unwrap();
    let (created, updated, expires) = (take("createdAt"), take("updatedAt"), take("expiresAt"));
    assert!(created.as_str() < expires.as_str() && created.as_str() <= updated.as_str());
    assert!(take("transactionId").as_str().is_some_and(|number| number.starts_with("cz-")));
    let mut payment = take("payment");
    let address = payment.as_object_mut().unwrap().remove("address").unwrap();
    assert!(address.as_str().is_some_and(|address| address.starts_with('T')), "{address}");
    let wanted = json!({"network": "TRON", "amount": "5.000000", "expiresAt": expires});
    assert_eq!(payment, wanted);
    let wanted = json!({
        "orderId": filed_order(),
        "status": "PENDING",
        "reason": null,
        "userId": "u_1001",
        "amount": 5_000_000,
        "currency": "USDT",
        "receivedAmount": 0,
        "creditedAmount": 0,
        "paymentMethod": "trader",
        "orderReference": "ref-1001",
        "payments": [],
        "metadata": {"channel": "app"},
        "message": "waiting for the payment",
    });
    assert_eq!(order, wanted);
}
