//! What the flows' scenes are made of: the table and the queues past the functions, and who says what.

use recharge_local::call::ADMIN_KEYS;
use recharge_shared::domain::{
    AmountPolicy, Currency, Evidence, EvidenceKind, Merchant, MerchantId, MerchantPolicy, Money,
    OrderId, ProviderName, Source, Timestamp, TraceId,
};
use recharge_shared::queue::{SettlementMessage, SettlementQueue};
use recharge_shared::store::Store;
use recharge_tests::World;
use serde_json::{Value, json};

/// What orders are about.
pub const MINOR: i64 = 5_000_000;

/// The table, past the functions.
pub fn store(world: &World) -> Store {
    let aws = &world.stack.ground.aws;
    Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone())
}

/// The demo merchant with these settings.
pub async fn merchant(world: &World, merchant: &Merchant) {
    let id = MerchantId::parse("m_demo").expect("a merchant");
    store(world).set_merchant(&id, merchant).await.expect("the table writes");
}

/// A merchant that wants the order's amount and nothing else.
pub fn exact() -> Merchant {
    let policy = MerchantPolicy { amount: Some(AmountPolicy::Exact), ..MerchantPolicy::default() };
    Merchant { policy, ..Merchant::default() }
}

/// The order that the demo merchant creates under `key`.
pub async fn order(world: &World, key: &str) -> String {
    let created = world.create("u_1", MINOR, key).await;
    created.json["orderId"].as_str().expect("an order").to_owned()
}

/// That so much has arrived.
pub fn usdt(minor: i64) -> EvidenceKind {
    EvidenceKind::Paid(Money::new(minor.into(), Currency::Usdt))
}

/// The trader's word, authentic, about a payment of that id: into the queue.
pub async fn enqueue(world: &World, order: &str, payment_id: &str, kind: EvidenceKind) {
    let evidence = Evidence {
        provider: ProviderName::parse("trader").expect("a name"),
        account: "APPTEST0001".to_owned(),
        payment_id: payment_id.to_owned(),
        order_id: OrderId::parse(order),
        deposit: None,
        transaction_id: None,
        user_mark: None,
        kind,
        dust: None,
        source: Source::Query,
        stale: false,
        observed_at: Timestamp::from_millis(world.clock().now_ms()),
        digest: [7; 32],
        raw: String::new(),
    };
    let trace = TraceId::parse("test").expect("a trace");
    let aws = &world.stack.ground.aws;
    let url = world.stack.names.settlement_url.clone();
    let queue = SettlementQueue::new(aws.sqs(aws.http_client(), 3), url);
    queue.send(&SettlementMessage { trace, evidence }).await.expect("the queue takes it");
}

/// The same, settled and announced.
pub async fn arrive(world: &World, order: &str, payment_id: &str, minor: i64) {
    enqueue(world, order, payment_id, usdt(minor)).await;
    world.settle().await;
    world.notify().await;
}

/// The reviews that the operator sees, oldest first.
pub async fn reviews(world: &World) -> Vec<String> {
    let request = world.signed_as(ADMIN_KEYS[2], ("GET", "/admin/reviews"), "", "");
    let listed = world.send(&request).await;
    let reviews = listed.json["reviews"].as_array().expect("reviews").iter();
    reviews.map(|one| one["reviewId"].as_str().expect("an id").to_owned()).collect()
}

/// Everything in the table, as text, and how full everything else is.
pub fn everything(world: &World) -> String {
    let scan = json!({"TableName": world.stack.names.table}).to_string();
    let table = world.stack.ground.aws.database().answer("Scan", scan.as_bytes());
    assert_eq!(table.status, 200, "{}", table.body);
    let table: Value = serde_json::from_str(&table.body).expect("an answer is JSON");
    let mut rows: Vec<String> =
        table["Items"].as_array().expect("rows").iter().map(in_order).collect();
    rows.sort();
    let queues = (world.stack.depth(), world.stack.notification_depth());
    let told = world.receiver.received().len();
    let providers = (world.trader.provider_orders(), world.payprotocol.users());
    format!("{queues:?} {told} {providers:?}\n{}", rows.join("\n"))
}

/// The same text for the same value: members come in any order.
fn in_order(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<String> =
                members.iter().map(|(name, value)| format!("{name}:{}", in_order(value))).collect();
            members.sort();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(values) => values.iter().map(in_order).collect::<Vec<_>>().join(","),
        plain => plain.to_string(),
    }
}
