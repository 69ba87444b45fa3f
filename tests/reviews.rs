//! Parked money and the people who decide about it: who sees what, who may decide alone, what comes of it,
//! and that nothing is credited twice or lost on the way. And money that the provider has to confirm.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use recharge_local::aws::faults::{Call, Fault, Faults};
use recharge_local::call::{ADMIN_KEYS, API_KEYS};
use recharge_local::sim::payprotocol::Mode as PayprotocolMode;
use recharge_local::sim::trader::{Mode as TraderMode, SimTrader};
use recharge_local::stack::{Accounts, PAYPROTOCOL, TRADER_KEY, provider_settings};
use recharge_shared::app::merchants::Merchants;
use recharge_shared::app::resolve::resolve as resolve_as_worker;
use recharge_shared::app::settle::{Context, Policies};
use recharge_shared::domain::review::EARLIER_MAX;
use recharge_shared::domain::{
    Action, AmountPolicy, Currency, Evidence, EvidenceKind, Merchant, MerchantId, MerchantPolicy,
    Mode, Money, OrderId, ProviderName, ReviewId, ReviewState, Ruled, Ruling, Source, Timestamp,
    TraceId, UserAccess, UserId, UserMark,
};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};
use recharge_shared::providers::Answer;
use recharge_shared::queue::{ResolutionMessage, SettlementMessage, SettlementQueue};
use recharge_shared::store::{PaidBack, Store, Written};
use recharge_tests::world::{simulate, until_crash};
use recharge_tests::{Answered, World};
use serde_json::{Value, json};

const MINOR: i64 = 5_000_000;
/// From here on two people decide.
const LARGE: i64 = 1_000_000_000;

fn queue(world: &World) -> SettlementQueue {
    let aws = &world.stack.ground.aws;
    SettlementQueue::new(aws.sqs(aws.http_client(), 3), world.stack.names.settlement_url.clone())
}

fn store(world: &World) -> Store {
    let aws = &world.stack.ground.aws;
    Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone())
}

/// The trader's own word, as if it had signed it, about a payment of that id.
fn paid(world: &World, order: &str, payment_id: &str, minor: i64) -> SettlementMessage {
    let evidence = Evidence {
        provider: ProviderName::parse("trader").unwrap(),
        account: "APPTEST0001".to_owned(),
        payment_id: payment_id.to_owned(),
        order_id: OrderId::parse(order),
        deposit: None,
        transaction_id: None,
        user_mark: None,
        kind: EvidenceKind::Paid(Money::new(minor.into(), Currency::Usdt)),
        dust: None,
        source: Source::Callback,
        stale: false,
        observed_at: Timestamp::from_millis(world.clock().now_ms()),
        digest: [7; 32],
        raw: String::new(),
    };
    SettlementMessage { trace: TraceId::parse("test").unwrap(), evidence }
}

async fn arrive(world: &World, message: &SettlementMessage) {
    queue(world).send(message).await.unwrap();
    world.settle().await;
    world.notify().await;
}

async fn order(world: &World, user: &str, minor: i64, key: &str) -> String {
    let created = world.create(user, minor, key).await;
    created.json["orderId"].as_str().unwrap().to_owned()
}

async fn send_as(world: &World, key: &str, method: &str, path: &str, body: &Value) -> Answered {
    let key = ADMIN_KEYS.into_iter().chain(API_KEYS).find(|known| known.id == key).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.send(&world.signed_as(key, (method, path), &body, "")).await
}

async fn reviews(world: &World, key: &str) -> Vec<Value> {
    let listed = send_as(world, key, "GET", "/admin/reviews", &Value::Null).await;
    assert_eq!(listed.status, 200, "{}", listed.text);
    listed.json["reviews"].as_array().unwrap().clone()
}

async fn only_review(world: &World) -> Value {
    let mut reviews = reviews(world, "operator").await;
    assert_eq!(reviews.len(), 1, "{reviews:?}");
    reviews.remove(0)
}

async fn resolve(world: &World, key: &str, review: &Value, body: &Value) -> Answered {
    let path = format!("/admin/reviews/{}/resolve", review["reviewId"].as_str().unwrap());
    let answered = send_as(world, key, "POST", &path, body).await;
    world.settle().await;
    world.notify().await;
    answered
}

async fn review(world: &World, id: &Value) -> Value {
    let path = format!("/admin/reviews/{}", id.as_str().unwrap());
    send_as(world, "operator", "GET", &path, &Value::Null).await.json
}

/// Status, reason, received, credited; and what became of each payment.
async fn stands(world: &World, id: &str) -> String {
    let order = world.order(id).await;
    let fates = order["payments"].as_array().unwrap().iter();
    let fates: Vec<&str> = fates.map(|payment| payment["status"].as_str().unwrap()).collect();
    let [status, reason] = ["status", "reason"].map(|name| order[name].as_str().unwrap_or("-"));
    let (got, put) = (&order["receivedAmount"], &order["creditedAmount"]);
    format!("{status} {reason} {got} {put} {}", fates.join(" "))
}

fn balance(world: &World, user: &str) -> i128 {
    let key = ("m_demo".to_owned(), user.to_owned(), "USDT".to_owned());
    world.books().balances.get(&key).map_or(0, |held| held.amount)
}

async fn sound(world: &World) {
    world.notify().await;
    assert_eq!(world.books().violations(), Vec::<String>::new());
    assert_eq!(world.untold().await, Vec::<String>::new());
}

fn note(action: &str) -> Value {
    json!({"action": action, "note": "agreed with the provider"})
}

fn credit_order(order: &str) -> Value {
    json!({"action": "credit_order", "orderId": order, "note": "the payer has shown the transfer"})
}

#[test]
fn one_person_decides_about_a_small_amount() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        set_policy(&world, AmountPolicy::Exact).await;
        arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
        assert_eq!(stands(&world, &order).await, "REVIEW paid_under 4000000 0 REVIEW");
        let review_seen = only_review(&world).await;
        assert_eq!(
            (&review_seen["takesTwo"], &review_seen["why"]),
            (&json!(false), &json!("amount_mismatch"))
        );
        let decided = resolve(&world, "admin", &review_seen, &credit_order(&order)).await;
        assert_eq!((decided.status, &decided.json["status"]), (202, &json!("APPROVED")));
        assert_eq!(stands(&world, &order).await, "SUCCESS manual 4000000 4000000 CREDITED");
        assert_eq!(
            (balance(&world, "u_1"), reviews(&world, "operator").await.len()),
            (4_000_000, 0)
        );
        let closed = review(&world, &review_seen["reviewId"]).await;
        assert_eq!(
            (&closed["status"], &closed["decision"]["by"]),
            (&json!("CREDITED"), &json!("admin"))
        );
        // Again, and otherwise: nothing more happens.
        assert_eq!(resolve(&world, "admin", &review_seen, &credit_order(&order)).await.status, 202);
        let otherwise = resolve(&world, "admin", &review_seen, &note("reject")).await;
        assert_eq!((otherwise.status, &otherwise.json["errorCode"]), (409, &json!("CONFLICT")));
        arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
        assert_eq!(balance(&world, "u_1"), 4_000_000);
        sound(&world).await;
    });
}

#[test]
fn two_people_decide_about_a_large_amount() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let order = order(&world, "u_1", 2 * LARGE, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", LARGE)).await;
        let seen = only_review(&world).await;
        assert_eq!(seen["takesTwo"], true);
        for _ in 0..2 {
            let first = resolve(&world, "admin", &seen, &credit_order(&order)).await;
            assert_eq!((first.status, &first.json["status"]), (202, &json!("PROPOSED")));
        }
        world.let_pass(3).await;
        assert_eq!(balance(&world, "u_1"), 0, "one person, however often, is not two");
        let queued = ResolutionMessage {
            trace: TraceId::untraced(),
            review: ReviewId::parse(seen["reviewId"].as_str().unwrap()).unwrap(),
        };
        queue(&world).resolve(&queued).await.unwrap();
        world.settle().await;
        assert_eq!(balance(&world, "u_1"), 0, "the message alone decides nothing");
        let other = resolve(&world, "admin2", &seen, &note("reject")).await;
        assert_eq!(other.json["status"], "PROPOSED", "another decision is another proposal");
        let second = resolve(&world, "admin", &seen, &credit_order(&order)).await;
        assert_eq!(second.json["status"], "PROPOSED");
        let second = resolve(&world, "admin2", &seen, &credit_order(&order)).await;
        assert_eq!((second.status, &second.json["status"]), (202, &json!("APPROVED")));
        assert_eq!(stands(&world, &order).await, "SUCCESS manual 1000000000 1000000000 CREDITED");
        let closed = review(&world, &seen["reviewId"]).await;
        let decision = &closed["decision"];
        assert_eq!((&decision["by"], &decision["second"]), (&json!("admin"), &json!("admin2")));
        for person in ["admin", "admin2"] {
            let again = resolve(&world, person, &seen, &credit_order(&order)).await;
            assert_eq!((again.status, &again.json["status"]), (202, &json!("CREDITED")));
            assert_eq!(resolve(&world, person, &seen, &note("reject")).await.status, 409);
        }
        assert_eq!(balance(&world, "u_1"), LARGE.into());
        sound(&world).await;
    });
}

/// An order of 10000 USDT whose first 9900 have come, and a review of a payment that is small.
async fn large_with_a_small_review(last_is_its_own: bool) -> (World, String, Value) {
    let world = World::new().await;
    let policy = MerchantPolicy {
        amount: Some(AmountPolicy::Accumulate),
        over_payment: Some(recharge_shared::domain::Disposal::Review),
        ..MerchantPolicy::default()
    };
    let merchant = Merchant { policy, ..Merchant::default() };
    store(&world).set_merchant(&MerchantId::parse("m_demo").unwrap(), &merchant).await.unwrap();
    let order = order(&world, "u_1", 10 * LARGE, "k-1").await;
    arrive(&world, &paid(&world, &order, "p-1", 9_900_000_000)).await;
    let named = if last_is_its_own { &order } else { "R0000000000000000000000000" };
    arrive(&world, &paid(&world, named, "p-2", 200_000_000)).await;
    let seen = only_review(&world).await;
    assert_eq!((&seen["amount"], &seen["takesTwo"]), (&json!(200_000_000), &json!(false)));
    (world, order, seen)
}

#[test]
fn two_people_decide_about_a_small_payment_that_moves_a_large_order() {
    for (last_is_its_own, action) in [(true, "credit"), (false, "credit"), (true, "reject")] {
        simulate(1, async || {
            let (world, order, seen) = large_with_a_small_review(last_is_its_own).await;
            let body = if action == "credit" { credit_order(&order) } else { note(action) };
            let first = resolve(&world, "operator", &seen, &body).await;
            assert_eq!((first.status, &first.json["status"]), (202, &json!("PROPOSED")));
            world.let_pass(3).await;
            assert_eq!(balance(&world, "u_1"), 0);
            let second = resolve(&world, "operator2", &seen, &body).await;
            assert_eq!((second.status, &second.json["status"]), (202, &json!("APPROVED")));
            let (stood, held) = match action {
                "credit" => {
                    ("SUCCESS manual 10100000000 10100000000 CREDITED CREDITED", 10_100_000_000)
                }
                _ => ("FAILED manual 10100000000 0 REFUSED REFUSED", 0),
            };
            assert_eq!((&*stands(&world, &order).await, balance(&world, "u_1")), (stood, held));
            sound(&world).await;
        });
    }
}

#[test]
fn two_people_decide_about_small_payments_that_come_to_a_large_amount() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Accumulate).await;
        let order = order(&world, "u_1", 2 * LARGE, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", LARGE / 2)).await;
        arrive(&world, &paid(&world, "R0000000000000000000000000", "p-2", LARGE / 2)).await;
        let seen = only_review(&world).await;
        assert_eq!((&seen["why"], &seen["takesTwo"]), (&json!("unknown_order"), &json!(false)));
        for (person, status) in [("operator", "PROPOSED"), ("operator2", "APPROVED")] {
            let decided = resolve(&world, person, &seen, &credit_order(&order)).await;
            assert_eq!((decided.status, &decided.json["status"]), (202, &json!(status)));
        }
        assert_eq!(balance(&world, "u_1"), LARGE.into());
        sound(&world).await;
    });
}

#[test]
fn a_small_payment_that_waits_with_nothing_else_is_one_persons_to_refuse() {
    simulate(1, async || {
        let (world, order, seen) = large_with_a_small_review(false).await;
        let refused = resolve(&world, "operator", &seen, &note("reject")).await;
        assert_eq!((refused.status, &refused.json["status"]), (202, &json!("APPROVED")));
        assert_eq!(stands(&world, &order).await, "PENDING paid_under 9900000000 0 HELD");
        sound(&world).await;
    });
}

#[test]
fn a_decision_of_one_is_asked_again_when_its_order_holds_much_meanwhile() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Accumulate).await;
        let order = order(&world, "u_1", 10 * LARGE, "k-1").await;
        arrive(&world, &paid(&world, "R0000000000000000000000000", "p-2", MINOR)).await;
        let seen = only_review(&world).await;
        let path = format!("/admin/reviews/{}/resolve", seen["reviewId"].as_str().unwrap());
        let ruled = send_as(&world, "operator", "POST", &path, &credit_order(&order)).await;
        assert_eq!(ruled.json["status"], "APPROVED");
        // Its message is not read yet when nearly all of the order's money comes.
        let large = paid(&world, &order, "p-1", 9_000_000_000);
        recharge_shared::app::settle::settle(
            Context {
                store: &store(&world),
                policies: &Policies::default(),
                merchants: &Merchants::new(store(&world)),
                providers: None,
                mode: Mode::Live,
                clock: world.clock(),
            },
            &large,
            None,
        )
        .await
        .unwrap();
        world.settle().await;
        assert_eq!(balance(&world, "u_1"), 0);
        let again = review(&world, &seen["reviewId"]).await;
        let refused = (&again["status"], &again["refusal"]);
        assert_eq!(refused, (&json!("OPEN"), &json!("two have to decide")), "{again}");
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn money_that_is_not_credited_is_marked_and_its_order_ends() {
    for (action, status) in [("reject", "REJECTED"), ("refund", "REFUND")] {
        simulate(1, async || {
            let world = World::new().await;
            set_policy(&world, AmountPolicy::Exact).await;
            let order = order(&world, "u_1", MINOR, "k-1").await;
            arrive(&world, &paid(&world, &order, "p-1", 1)).await;
            let seen = only_review(&world).await;
            assert_eq!(resolve(&world, "admin", &seen, &note(action)).await.status, 202);
            assert_eq!(stands(&world, &order).await, "FAILED manual 1 0 REFUSED");
            assert_eq!(review(&world, &seen["reviewId"]).await["status"], status);
            let path = format!("/recharges/{order}/explain");
            let explained = world.send(&world.signed(("GET", &path), "", "")).await.json;
            assert_eq!(
                (&explained["situation"], &explained["clientCan"]),
                (&json!("refused_by_person"), &json!(["ask_operator"]))
            );
            // The same statement again changes nothing.
            arrive(&world, &paid(&world, &order, "p-1", 1)).await;
            assert_eq!(stands(&world, &order).await, "FAILED manual 1 0 REFUSED");
            assert_eq!(reviews(&world, "operator").await, Vec::<Value>::new());
            sound(&world).await;
        });
    }
}

#[test]
fn parts_of_an_order_that_ran_out_of_time_are_credited_by_a_person() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Accumulate).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 2_000_000)).await;
        arrive(&world, &paid(&world, &order, "p-2", 1_000_000)).await;
        assert_eq!(stands(&world, &order).await, "PENDING paid_under 3000000 0 HELD HELD");
        let cancel = format!("/recharges/{order}/cancel");
        let cancelled = world.send(&world.signed(("POST", &cancel), "", "")).await;
        assert_eq!(cancelled.status, 409, "{}", cancelled.text);
        world.pass(1_800).await;
        world.let_pass(3).await;
        assert_eq!(stands(&world, &order).await, "REVIEW paid_under 3000000 0 REVIEW REVIEW");
        let seen = only_review(&world).await;
        assert_eq!((&seen["why"], &seen["amount"]), (&json!("incomplete"), &json!(3_000_000)));
        resolve(&world, "admin", &seen, &credit_order(&order)).await;
        assert_eq!(
            stands(&world, &order).await,
            "SUCCESS manual 3000000 3000000 CREDITED CREDITED"
        );
        assert_eq!(balance(&world, "u_1"), 3_000_000);
        sound(&world).await;
    });
}

#[test]
fn a_second_payment_is_credited_with_an_order_of_its_own_or_to_somebody_else() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        arrive(&world, &paid(&world, &order, "p-2", MINOR)).await;
        arrive(&world, &paid(&world, &order, "p-3", 7)).await;
        assert_eq!(
            stands(&world, &order).await,
            "SUCCESS paid_exact 5000000 5000000 CREDITED REVIEW REVIEW"
        );
        for seen in reviews(&world, "admin").await {
            let body = match seen["paymentId"].as_str().unwrap() {
                "p-2" => credit_order(&order),
                _ => json!({"action": "credit_user", "userId": "u_2", "note": "sent by mistake"}),
            };
            assert_eq!(resolve(&world, "admin", &seen, &body).await.status, 202);
        }
        assert_eq!(
            stands(&world, &order).await,
            "SUCCESS paid_exact 5000000 5000000 CREDITED CREDITED_ELSEWHERE CREDITED_ELSEWHERE"
        );
        assert_eq!((balance(&world, "u_1"), balance(&world, "u_2")), (10_000_000, 7));
        assert_eq!(world.books().orders.len(), 3);
        sound(&world).await;
    });
}

#[test]
fn money_without_an_order_is_the_operators_to_see_and_to_give() {
    simulate(1, async || {
        let world = World::new().await;
        let nobody = "R0000000000000000000000000";
        arrive(&world, &paid(&world, nobody, "p-1", MINOR)).await;
        assert_eq!(reviews(&world, "admin").await, Vec::<Value>::new());
        let seen = only_review(&world).await;
        let path = format!("/admin/reviews/{}", seen["reviewId"].as_str().unwrap());
        assert_eq!(send_as(&world, "admin", "GET", &path, &Value::Null).await.status, 404);
        let body =
            json!({"action": "credit_user", "userId": "u_9", "note": "the payer has called"});
        assert_eq!(resolve(&world, "admin", &seen, &body).await.status, 404);
        assert_eq!(
            send_as(&world, "demo", "GET", "/admin/reviews", &Value::Null).await.status,
            403
        );
        let unknown = resolve(&world, "operator", &seen, &credit_order(nobody)).await;
        assert_eq!((unknown.status, &unknown.json["errorCode"]), (400, &json!("INVALID_ARGUMENT")));
        let nameless = resolve(&world, "operator", &seen, &body).await;
        assert_eq!(nameless.status, 400);
        assert!(nameless.text.contains("merchant is required"), "{}", nameless.text);
        let mut body = body;
        body["merchant"] = "m_demo".into();
        assert_eq!(resolve(&world, "operator", &seen, &body).await.status, 202);
        assert_eq!(balance(&world, "u_9"), MINOR.into());
        // The provider says it once more: the payment is known for ever.
        arrive(&world, &paid(&world, nobody, "p-1", MINOR)).await;
        assert_eq!(balance(&world, "u_9"), MINOR.into());
        sound(&world).await;
    });
}

#[test]
fn a_merchants_admin_gives_nothing_to_another_merchant() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        arrive(&world, &paid(&world, &order, "p-2", MINOR)).await;
        let seen = only_review(&world).await;
        let other =
            json!({"action": "credit_user", "userId": "u_1", "merchant": "m_demo2", "note": "x"});
        let refused = resolve(&world, "admin", &seen, &other).await;
        let field = &refused.json["details"][0]["field"];
        assert_eq!((refused.status, field), (400, &json!("merchant")));
        assert_eq!(resolve(&world, "operator", &seen, &other).await.status, 409);
        assert_eq!(balance(&world, "u_1"), MINOR.into());
    });
}

#[test]
fn a_suspended_merchants_people_decide_nothing() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        arrive(&world, &paid(&world, &order, "p-2", MINOR)).await;
        let demo = MerchantId::parse("m_demo").unwrap();
        let suspended = Merchant { suspended: true, ..Merchant::default() };
        store(&world).set_merchant(&demo, &suspended).await.unwrap();
        let seen = only_review(&world).await;
        assert_eq!(reviews(&world, "admin").await.len(), 1, "reading goes on");
        for body in [credit_order(&order), note("reject"), note("refund")] {
            let refused = resolve(&world, "admin", &seen, &body).await;
            assert_eq!((refused.status, &refused.json["errorCode"]), (403, &json!("FORBIDDEN")));
        }
        assert_eq!(only_review(&world).await["status"], "OPEN");
        let decided = resolve(&world, "operator", &seen, &credit_order(&order)).await;
        assert_eq!((decided.status, balance(&world, "u_1")), (202, 10_000_000));
        sound(&world).await;
    });
}

#[test]
fn a_user_whom_a_merchant_has_not_registered_is_given_nothing_by_hand() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        arrive(&world, &paid(&world, &order, "p-2", MINOR)).await;
        let demo = MerchantId::parse("m_demo").unwrap();
        let registers = Merchant { users: UserAccess::Registered, ..Merchant::default() };
        store(&world).set_merchant(&demo, &registers).await.unwrap();
        let seen = only_review(&world).await;
        let give = json!({"action": "credit_user", "userId": "u_typo", "note": "his brother's"});
        let refused = resolve(&world, "admin", &seen, &give).await;
        assert_eq!((refused.status, &refused.json["errorCode"]), (404, &json!("NOT_FOUND")));
        assert!(refused.text.contains("is not registered"), "{}", refused.text);
        let mut of_demo = give.clone();
        of_demo["merchant"] = json!("m_demo");
        assert_eq!(resolve(&world, "operator", &seen, &of_demo).await.status, 404);
        store(&world).register_user(&demo, &UserId::parse("u_typo").unwrap()).await.unwrap();
        assert_eq!(resolve(&world, "admin", &seen, &give).await.status, 202);
        assert_eq!(balance(&world, "u_typo"), MINOR.into());
    });
}

#[test]
fn decisions_are_handed_over_again_until_time_is_short() {
    simulate(1, async || {
        let world = World::of_trader().await;
        for number in 0..12 {
            let message = paid(&world, "R0123456789ABCDEFGHJKMNPQR", &format!("p-{number}"), MINOR);
            arrive(&world, &message).await;
        }
        let body = json!({"action": "reject", "note": "nobody's"});
        for review in reviews(&world, "operator").await {
            let path = format!("/admin/reviews/{}/resolve", review["reviewId"].as_str().unwrap());
            assert_eq!(send_as(&world, "operator", "POST", &path, &body).await.status, 202);
        }
        // No worker runs.
        world.pass(120).await;
        let slow = |call: &Call| if call.operation == "SendMessage" { 4_000 } else { 0 };
        let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
        let report = world.instance(&faults, 1).poll("run".to_owned()).await.unwrap();
        // One every four seconds, and none begins in the last 18 of 50.
        assert_eq!((&report["unfinished"], &report["evidence"]), (&json!(true), &json!(9)));
        world.settle().await;
        assert_eq!(reviews(&world, "operator").await, [] as [Value; 0]);
    });
}

#[test]
fn a_decision_that_was_not_handed_over_is_carried_out_all_the_same() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        arrive(&world, &paid(&world, &order, "p-2", MINOR)).await;
        let seen = only_review(&world).await;
        let faults = Faults::new(world.clock().clone(), |call: &Call| {
            if call.operation == "SendMessage" { Fault::RequestLost } else { Fault::None }
        });
        let functions = world.instance(&faults, 1);
        let path = format!("/admin/reviews/{}/resolve", seen["reviewId"].as_str().unwrap());
        let body = credit_order(&order).to_string();
        let request = world.signed_as(ADMIN_KEYS[0], ("POST", &path), &body, "");
        assert_eq!(world.send_to(&functions, &request).await.status, 202);
        world.settle().await;
        assert_eq!(balance(&world, "u_1"), MINOR.into());
        world.pass(180).await;
        let away = functions.poll("away".to_owned()).await.unwrap();
        assert_eq!((&away["evidence"], &away["failed"]), (&json!(0), &json!(1)));
        let back = world.stack.poll().await.unwrap();
        assert_eq!((&back["evidence"], &back["failed"]), (&json!(1), &json!(0)));
        world.settle().await;
        assert_eq!(balance(&world, "u_1"), i128::from(2 * MINOR));
        world.let_pass(3).await;
        sound(&world).await;
    });
}

#[test]
fn what_was_carried_out_is_announced_once_more_when_its_message_comes_again() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
        let seen = only_review(&world).await;
        resolve(&world, "admin", &seen, &credit_order(&order)).await;
        let store = store(&world);
        // And of what named no order.
        let other = self::order(&world, "u_1", MINOR, "k-2").await;
        let mut nameless = paid(&world, &other, "p-2", MINOR);
        nameless.evidence.order_id = None;
        arrive(&world, &nameless).await;
        let unnamed = only_review(&world).await;
        let context = Context {
            store: &store,
            policies: &Policies::new(),
            merchants: &Merchants::new(store.clone()),
            providers: None,
            mode: Mode::Live,
            clock: world.clock(),
        };
        let id = ReviewId::parse(unnamed["reviewId"].as_str().unwrap()).unwrap();
        let open = resolve_as_worker(context, &id, 1_000).await.unwrap();
        assert_eq!((open.found.len(), open.announce.len()), (0, 0), "nobody has decided");
        resolve(&world, "operator", &unnamed, &credit_order(&other)).await;
        for (seen, order) in [(&seen, &order), (&unnamed, &other)] {
            let id = ReviewId::parse(seen["reviewId"].as_str().unwrap()).unwrap();
            let again = resolve_as_worker(context, &id, 1_000).await.unwrap();
            let found: Vec<&str> = again.found.iter().map(|found| found.id.as_str()).collect();
            assert_eq!((found, again.announce.len()), (vec![order.as_str()], 0));
        }
        assert_eq!(balance(&world, "u_1"), 9_000_000);
    });
}

#[test]
fn a_second_payment_that_waits_is_credited_by_no_repetition() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        for source in [Source::Callback, Source::Callback, Source::Query] {
            let mut second = paid(&world, &order, "p-2", MINOR);
            second.evidence.source = source;
            arrive(&world, &second).await;
            assert_eq!(only_review(&world).await["why"], "second_payment");
            assert_eq!(balance(&world, "u_1"), 5_000_000);
        }
        sound(&world).await;
    });
}

#[test]
fn a_second_payment_that_waits_is_announced_to_no_client() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        for (payment, announced) in [("p-1", 1), ("p-2", 0)] {
            queue(&world).send(&paid(&world, &order, payment, MINOR)).await.unwrap();
            let faults = Faults::none(world.clock().clone());
            let functions = world.instance(&faults, 3);
            assert_eq!(world.stack.settle_batch_with(&functions, 0).await, Ok(1));
            let sent =
                faults.log().iter().filter(|entry| entry.call.starts_with("sqs.Send")).count();
            assert_eq!(sent, announced, "{payment}");
            world.notify().await;
        }
        sound(&world).await;
    });
}

#[test]
fn a_decision_of_one_is_asked_again_when_two_have_to_decide_meanwhile() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
        let seen = only_review(&world).await;
        let path = format!("/admin/reviews/{}/resolve", seen["reviewId"].as_str().unwrap());
        send_as(&world, "admin", "POST", &path, &credit_order(&order)).await;
        // The worker comes back with another rule, in whole units.
        let (store, now) = (store(&world), world.stack.ground.clock.clone());
        let context = Context {
            store: &store,
            policies: &Policies::new(),
            merchants: &Merchants::new(store.clone()),
            providers: None,
            mode: Mode::Live,
            clock: &now,
        };
        let id = ReviewId::parse(seen["reviewId"].as_str().unwrap()).unwrap();
        resolve_as_worker(context, &id, 4).await.unwrap();
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "OPEN");
        world.let_pass(3).await;
        assert_eq!(stands(&world, &order).await, "REVIEW paid_under 4000000 0 REVIEW");
        resolve(&world, "admin", &seen, &credit_order(&order)).await;
        assert_eq!(balance(&world, "u_1"), 4_000_000);
        sound(&world).await;
    });
}

#[test]
fn a_person_and_the_provider_credit_one_payment_once() {
    // The same payment, parked as too old: a person credits it while its fresh confirmation comes.
    for seed in 0..12 {
        simulate(seed, async || {
            let world = World::new().await;
            let order = order(&world, "u_1", MINOR, "k-1").await;
            let mut stale = paid(&world, &order, "p-1", MINOR);
            stale.evidence.stale = true;
            arrive(&world, &stale).await;
            let seen = only_review(&world).await;
            let path = format!("/admin/reviews/{}/resolve", seen["reviewId"].as_str().unwrap());
            let body = credit_order(&order);
            let fresh = paid(&world, &order, "p-1", MINOR);
            let queue = queue(&world);
            let slow = Faults::with_latency(
                world.clock().clone(),
                |_| Fault::None,
                |_| fastrand::u64(0..12),
            );
            let functions = world.instance(&slow, 3);
            let one = world.stack.settle_batch_with(&functions, 0);
            queue.send(&fresh).await.unwrap();
            let (decided, settled) =
                futures_util::future::join(send_as(&world, "admin", "POST", &path, &body), one)
                    .await;
            assert_eq!((decided.status, settled.is_ok()), (202, true));
            world.let_pass(3).await;
            assert_eq!(world.books().credits.len(), 1, "seed {seed}");
            assert_eq!(balance(&world, "u_1"), MINOR.into());
            assert_eq!(reviews(&world, "operator").await, Vec::<Value>::new());
            sound(&world).await;
        });
    }
}

async fn set_policy(world: &World, amount: AmountPolicy) {
    let policy = MerchantPolicy { amount: Some(amount), ..MerchantPolicy::default() };
    let merchant = Merchant { policy, ..Merchant::default() };
    store(world).set_merchant(&MerchantId::parse("m_demo").unwrap(), &merchant).await.unwrap();
}

/// A bundle whose providers have to confirm every amount from 5 USDT on.
async fn cautious() -> World {
    cautious_by(|trader| Arc::new(trader.outbound())).await
}

/// The same, with another way to the trader.
async fn cautious_by(outbound: impl FnOnce(&SimTrader) -> Arc<dyn Outbound>) -> World {
    let policy = json!({"amount": "credit_received", "confirm_from": 5_000_000});
    with_rules(&policy, outbound).await
}

/// A bundle whose providers have these money rules.
async fn with_rules(
    policy: &Value,
    outbound: impl FnOnce(&SimTrader) -> Arc<dyn Outbound>,
) -> World {
    let urls = ("http://trader.invalid", "https://recharge.invalid/recharges/callback/trader");
    let settings = provider_settings(urls, "http://payprotocol.invalid");
    let mut settings: Value = serde_json::from_str(&settings).unwrap();
    for name in ["trader", PAYPROTOCOL] {
        settings[name]["policy"] = policy.clone();
    }
    let keys = json!({"trader": {"key": TRADER_KEY},
        PAYPROTOCOL: {"key": "pp-test-secret-0123456789abcdef"}});
    let accounts = Accounts { settings, keys, default: "trader".to_owned() };
    World::with(Some(accounts), outbound, |receiver| Arc::new(receiver.clone())).await
}

/// A trader that says of every order that somebody else has paid it.
#[derive(Debug)]
struct OfAnother(Arc<dyn Outbound>);

#[async_trait]
impl Outbound for OfAnother {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let answered = self.0.send(request, limits).await?;
        let mut answer: Value = serde_json::from_slice(answered.body()).unwrap();
        if let Some(user) = answer.pointer_mut("/data/localusermark") {
            *user = json!("M0000000000000000000000000");
        }
        Ok(Response::new(Bytes::from(answer.to_string())))
    }
}

#[test]
fn a_large_payment_that_the_provider_says_is_another_users_is_for_a_person() {
    simulate(1, async || {
        let world = cautious_by(|trader| Arc::new(OfAnother(Arc::new(trader.outbound())))).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let callback = world.pay(&order, None);
        assert_eq!(world.deliver(&callback).await.status, 200);
        world.settle().await;
        assert_eq!(balance(&world, "u_1"), 0);
        assert_eq!(only_review(&world).await["why"], "unconfirmed");
    });
}

#[test]
fn a_validly_signed_lie_above_the_threshold_is_never_credited() {
    // Also where the lie would leave the order to a person, who could credit nothing else then.
    for lie in [MINOR, BEYOND] {
        simulate(1, async || {
            let world = cautious().await;
            // Nobody has paid, but somebody has our keys.
            let order = order(&world, "u_1", MINOR, "k-1").await;
            arrive(&world, &paid(&world, &order, &order, lie)).await;
            assert_eq!(
                (balance(&world, "u_1"), &only_review(&world).await["why"]),
                (0, &json!("unconfirmed"))
            );
            world.let_pass(3).await;
            assert_eq!(world.order(&order).await["status"], "PENDING");
            // The payer pays: what the provider itself says is credited, and the lie is of no use.
            let callback = world.pay(&order, None);
            world.deliver(&callback).await;
            world.settle().await;
            assert_eq!(balance(&world, "u_1"), MINOR.into());
            assert_eq!(only_review(&world).await["booked"], lie == MINOR);
            sound(&world).await;
        });
    }
}

#[test]
fn what_is_for_a_person_whatever_the_provider_says_is_put_aside_without_asking_it() {
    simulate(1, async || {
        let world = cautious().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut message = paid(&world, &order, &order, MINOR);
        message.evidence.user_mark = UserMark::parse("M0000000000000000000000000");
        world.trader.set_mode(TraderMode::Down);
        arrive(&world, &message).await;
        assert_eq!(only_review(&world).await["why"], "wrong_user");
        // What is said of somebody else is not for the order's merchant.
        assert_eq!(reviews(&world, "admin").await, [] as [Value; 0]);
    });
}

#[test]
fn below_the_threshold_a_callback_is_enough() {
    simulate(1, async || {
        let world = cautious().await;
        let order = order(&world, "u_1", 4_000_000, "k-1").await;
        arrive(&world, &paid(&world, &order, &order, 4_000_000)).await;
        assert_eq!(balance(&world, "u_1"), 4_000_000);
    });
}

#[test]
fn a_large_deposit_waits_for_a_provider_that_does_not_answer() {
    simulate(1, async || {
        let world = cautious().await;
        let path = "/users/u_1/deposit-addresses";
        let body = json!({"paymentMethod": PAYPROTOCOL}).to_string();
        let made = world.send(&world.signed(("POST", path), &body, "")).await;
        let addresses = made.json["addresses"].as_array().unwrap();
        let tron = addresses.iter().find(|one| one["network"] == "TRON").unwrap();
        let deposited = world.deposit(tron["address"].as_str().unwrap(), "25");
        world.payprotocol.set_mode(PayprotocolMode::Down);
        let callback = deposited.callback.clone().unwrap();
        assert_eq!(world.deliver_payprotocol(&callback).await.text, "success");
        world.settle().await;
        world.let_pass(5).await;
        assert_eq!((balance(&world, "u_1"), world.books().parked), (0, 0));
        world.payprotocol.set_mode(PayprotocolMode::Ok);
        world.let_pass(5).await;
        assert_eq!((balance(&world, "u_1"), world.books().parked), (25_000_000, 0));
        sound(&world).await;
    });
}

/// What the provider's list says of a deposit of 25 USDT by `u_1`, whose callbacks are lost.
async fn deposited(world: &World) -> Evidence {
    let path = "/users/u_1/deposit-addresses";
    let body = json!({"paymentMethod": PAYPROTOCOL}).to_string();
    let made = world.send(&world.signed(("POST", path), &body, "")).await;
    let address = made.json["addresses"][0]["address"].as_str().unwrap().to_owned();
    let _ = world.deposit(&address, "25");
    listed(world).await
}

/// The last one that its list has.
async fn listed(world: &World) -> Evidence {
    let providers = &world.stack.functions.webhook.providers;
    let provider = providers.get(ProviderName::parse(PAYPROTOCOL).as_ref()).unwrap();
    let now = Timestamp::from_millis(world.clock().now_ms());
    let Answer::Done(mut listed) = provider.list(Timestamp::EPOCH, now, now).await else {
        unreachable!("a list")
    };
    listed.pop().unwrap()
}

/// A large deposit whose callback names another transaction than the provider's list.
async fn unconfirmed() -> (World, Value) {
    let world = cautious().await;
    let mut evidence = deposited(&world).await;
    evidence.source = Source::Callback;
    evidence.transaction_id = Some("ff".to_owned());
    let trace = TraceId::parse("test").unwrap();
    arrive(&world, &SettlementMessage { trace, evidence }).await;
    let seen = only_review(&world).await;
    assert_eq!((balance(&world, "u_1"), &seen["why"]), (0, &json!("unconfirmed")));
    (world, seen)
}

fn to_user(user: &str) -> Value {
    json!({"action": "credit_user", "userId": user, "merchant": "m_demo", "note": "his"})
}

#[test]
fn a_large_deposit_that_is_not_confirmed_is_credited_when_the_provider_lists_it() {
    simulate(1, async || {
        let (world, seen) = unconfirmed().await;
        world.let_pass(3).await;
        assert_eq!(balance(&world, "u_1"), 25_000_000);
        assert_eq!(only_review(&world).await["booked"], true);
        // Nothing is left to credit by hand, to nobody.
        for user in ["u_1", "u_2"] {
            assert_eq!(resolve(&world, "admin", &seen, &to_user(user)).await.status, 409, "{user}");
        }
        assert_eq!(resolve(&world, "admin", &seen, &note("reject")).await.status, 202);
        assert_eq!((balance(&world, "u_1"), balance(&world, "u_2")), (25_000_000, 0));
        sound(&world).await;
    });
}

#[test]
fn a_deposit_that_the_provider_has_settled_is_given_to_no_other_user() {
    simulate(1, async || {
        let world = cautious().await;
        let evidence = deposited(&world).await;
        // Not confirmed at first: the provider is slow to know it.
        world.payprotocol.set_mode(PayprotocolMode::WrongAmount);
        let said = Evidence { source: Source::Callback, ..evidence };
        let trace = TraceId::parse("test").unwrap();
        arrive(&world, &SettlementMessage { trace, evidence: said }).await;
        let seen = only_review(&world).await;
        world.payprotocol.set_mode(PayprotocolMode::Ok);
        world.let_pass(3).await;
        assert_eq!(balance(&world, "u_1"), 25_000_000);
        let refused = resolve(&world, "operator", &seen, &to_user("u_2")).await;
        assert_eq!((refused.status, balance(&world, "u_2")), (409, 0), "{}", refused.text);
        assert_eq!(resolve(&world, "operator", &seen, &to_user("u_1")).await.status, 202);
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "CREDITED");
        assert_eq!(balance(&world, "u_1"), 25_000_000);
        sound(&world).await;
    });
}

#[test]
fn what_people_have_begun_to_refuse_no_list_credits() {
    for proposed in [false, true] {
        simulate(1, async || {
            let (world, seen) = unconfirmed().await;
            if proposed {
                let id = ReviewId::parse(seen["reviewId"].as_str().unwrap()).unwrap();
                let review = store(&world).review(&id).await.unwrap().unwrap();
                let ruling = Ruling {
                    action: Action::Reject,
                    by: "admin".to_owned(),
                    note: "forged".to_owned(),
                    at: Timestamp::from_millis(world.clock().now_ms()),
                    second: None,
                    about: None,
                };
                let proposal = (ReviewState::Proposed, &ruling);
                store(&world).rule(&review, proposal, ruling.at).await.unwrap();
            } else {
                assert_eq!(resolve(&world, "operator", &seen, &note("reject")).await.status, 202);
            }
            world.let_pass(3).await;
            assert_eq!(balance(&world, "u_1"), 0);
            let seen = review(&world, &seen["reviewId"]).await;
            if proposed {
                assert_eq!(
                    (&seen["status"], &seen["why"]),
                    (&json!("PROPOSED"), &json!("unconfirmed"))
                );
                return sound(&world).await;
            }
            // The provider's list says it since: they are asked again, once, and what they answer then holds.
            assert_eq!((&seen["status"], &seen["why"]), (&json!("OPEN"), &json!("under_review")));
            assert_eq!(seen["refusal"], "it was rejected, and the provider has said it since");
            world.let_pass(3).await;
            let message =
                SettlementMessage { trace: TraceId::untraced(), evidence: listed(&world).await };
            arrive(&world, &message).await;
            assert_eq!(balance(&world, "u_1"), 0);
            assert_eq!(resolve(&world, "operator", &seen, &note("reject")).await.status, 202);
            world.let_pass(3).await;
            assert_eq!(balance(&world, "u_1"), 0);
            assert_eq!(review(&world, &seen["reviewId"]).await["status"], "REJECTED");
            sound(&world).await;
        });
    }
}

#[test]
fn a_rejected_deposit_that_its_provider_confirms_since_is_credited_by_a_person() {
    simulate(1, async || {
        let (world, seen) = unconfirmed().await;
        resolve(&world, "operator", &seen, &note("reject")).await;
        world.let_pass(3).await;
        let mut answer = credit_user("u_1");
        answer["merchant"] = "m_demo".into();
        assert_eq!(resolve(&world, "operator", &seen, &answer).await.status, 202);
        world.let_pass(3).await;
        assert_eq!(balance(&world, "u_1"), 25_000_000);
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "CREDITED");
        sound(&world).await;
    });
}

#[test]
fn a_deposit_of_which_the_provider_says_another_amount_is_never_credited() {
    simulate(1, async || {
        let world = cautious().await;
        let body = json!({"paymentMethod": PAYPROTOCOL}).to_string();
        let path = "/users/u_1/deposit-addresses";
        let made = world.send(&world.signed(("POST", path), &body, "")).await;
        let address = made.json["addresses"][0]["address"].as_str().unwrap().to_owned();
        world.payprotocol.set_mode(PayprotocolMode::WrongAmount);
        let deposited = world.deposit(&address, "25");
        world.deliver_payprotocol(&deposited.callback.unwrap()).await;
        world.settle().await;
        assert_eq!(balance(&world, "u_1"), 0);
        assert_eq!(only_review(&world).await["why"], "unconfirmed");
    });
}

#[test]
fn a_refusal_that_comes_to_an_order_in_review_takes_no_money_with_it() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 1)).await;
        let mut declined = paid(&world, &order, "p-1", 1);
        declined.evidence.kind = EvidenceKind::Declined;
        arrive(&world, &declined).await;
        let all = reviews(&world, "admin").await;
        let declined = all.iter().find(|review| review["why"] == "declined_late").unwrap();
        assert_eq!(declined["amount"], Value::Null);
        assert_eq!(resolve(&world, "admin", declined, &credit_order(&order)).await.status, 409);
        assert_eq!(resolve(&world, "admin", declined, &note("reject")).await.status, 202);
        assert_eq!(stands(&world, &order).await, "REVIEW paid_under 1 0 REVIEW");
        sound(&world).await;
    });
}

#[test]
fn a_part_is_credited_by_a_person_whose_payment_the_refusal_names() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Accumulate).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let part = paid(&world, &order, "p-1", 2_000_000);
        arrive(&world, &part).await;
        let mut declined = part.clone();
        declined.evidence.kind = EvidenceKind::Declined;
        arrive(&world, &declined).await;
        assert_eq!(stands(&world, &order).await, "REVIEW provider_declined 2000000 0 REVIEW");
        let seen = only_review(&world).await;
        resolve(&world, "admin", &seen, &credit_order(&order)).await;
        assert_eq!(stands(&world, &order).await, "SUCCESS manual 2000000 2000000 CREDITED");
        assert_eq!(balance(&world, "u_1"), 2_000_000);
        for again in [part, declined] {
            arrive(&world, &again).await;
        }
        assert_eq!(balance(&world, "u_1"), 2_000_000);
        sound(&world).await;
    });
}

#[test]
fn an_order_lets_go_of_a_payment_that_was_credited_elsewhere_before() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        arrive(&world, &paid(&world, "R0000000000000000000000000", "p-1", 7)).await;
        let seen = only_review(&world).await;
        let mut body = json!({"action": "credit_user", "userId": "u_9", "note": "has called"});
        body["merchant"] = "m_demo".into();
        resolve(&world, "operator", &seen, &body).await;
        // Only now the provider says what it was for.
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 7)).await;
        assert_eq!(stands(&world, &order).await, "REVIEW paid_under 7 0 REVIEW");
        let seen = only_review(&world).await;
        assert_eq!(resolve(&world, "admin", &seen, &credit_order(&order)).await.status, 202);
        assert_eq!(stands(&world, &order).await, "FAILED manual 7 0 CREDITED_ELSEWHERE");
        assert_eq!((balance(&world, "u_9"), balance(&world, "u_1")), (7, 0));
        sound(&world).await;
    });
}

#[test]
fn an_order_lets_go_of_it_too_by_a_statement_about_another_user() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        arrive(&world, &paid(&world, "R0000000000000000000000000", "p-1", 7)).await;
        let seen = only_review(&world).await;
        let mut body = json!({"action": "credit_user", "userId": "u_9", "note": "has called"});
        body["merchant"] = "m_demo".into();
        resolve(&world, "operator", &seen, &body).await;
        // Only now the provider says what it was for.
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 7)).await;
        assert_eq!(stands(&world, &order).await, "REVIEW paid_under 7 0 REVIEW");
        let mut wrong = paid(&world, &order, "p-1", 7);
        wrong.evidence.user_mark = UserMark::parse("M0000000000000000000000000");
        wrong.evidence.digest = [8; 32];
        arrive(&world, &wrong).await;
        let open = reviews(&world, "operator").await;
        let seen = open.iter().find(|review| review["why"] == "wrong_user").unwrap();
        let mut body = note("credit_user");
        body["userId"] = "u_9".into();
        body["merchant"] = "m_demo".into();
        assert_eq!(resolve(&world, "operator", seen, &body).await.status, 202);
        assert_eq!(stands(&world, &order).await, "FAILED manual 7 0 CREDITED_ELSEWHERE");
        assert_eq!((balance(&world, "u_9"), balance(&world, "u_1")), (7, 0));
        sound(&world).await;
    });
}

#[test]
fn parts_stay_with_an_order_whose_other_payment_was_credited_elsewhere() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Accumulate).await;
        arrive(&world, &paid(&world, "R0000000000000000000000000", "p-2", 4_000_000)).await;
        let seen = only_review(&world).await;
        let mut body = json!({"action": "credit_user", "userId": "u_9", "note": "has called"});
        body["merchant"] = "m_demo".into();
        resolve(&world, "operator", &seen, &body).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 2_000_000)).await;
        set_policy(&world, AmountPolicy::Exact).await;
        world.pass(61).await;
        arrive(&world, &paid(&world, &order, "p-2", 4_000_000)).await;
        assert_eq!(stands(&world, &order).await, "REVIEW paid_over 6000000 0 REVIEW REVIEW");
        let seen = only_review(&world).await;
        resolve(&world, "admin", &seen, &credit_order(&order)).await;
        let seen = review(&world, &seen["reviewId"]).await;
        assert_eq!(seen["status"], "OPEN", "{seen}");
        assert_eq!(stands(&world, &order).await, "REVIEW paid_over 6000000 0 REVIEW REVIEW");
        assert_eq!((balance(&world, "u_9"), balance(&world, "u_1")), (4_000_000, 0));
        sound(&world).await;
    });
}

#[test]
fn money_that_waits_with_an_order_is_not_given_to_another_one() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Accumulate).await;
        let [x, y] =
            [order(&world, "u_1", MINOR, "k-1").await, order(&world, "u_2", MINOR, "k-2").await];
        for (order, payment) in [(&x, "p-1"), (&y, "p-2")] {
            arrive(&world, &paid(&world, order, payment, 2_000_000)).await;
        }
        world.pass(1_800).await;
        world.let_pass(3).await;
        for seen in reviews(&world, "admin").await {
            let other = if seen["orderId"] == x.as_str() { &y } else { &x };
            assert_eq!(resolve(&world, "admin", &seen, &credit_order(other)).await.status, 409);
            let to_user = json!({"action": "credit_user", "userId": "u_3", "note": "x"});
            assert_eq!(resolve(&world, "admin", &seen, &to_user).await.status, 409);
            let own = seen["orderId"].as_str().unwrap();
            assert_eq!(resolve(&world, "admin", &seen, &credit_order(own)).await.status, 202);
        }
        assert_eq!((balance(&world, "u_1"), balance(&world, "u_2")), (2_000_000, 2_000_000));
        sound(&world).await;
    });
}

#[test]
fn one_payment_of_several_is_not_taken_out_of_an_order_in_review() {
    simulate(1, async || {
        let world = World::new().await;
        let policy = MerchantPolicy {
            amount: Some(AmountPolicy::Accumulate),
            over_payment: Some(recharge_shared::domain::Disposal::Review),
            ..MerchantPolicy::default()
        };
        let merchant = Merchant { policy, ..Merchant::default() };
        store(&world).set_merchant(&MerchantId::parse("m_demo").unwrap(), &merchant).await.unwrap();
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 2_000_000)).await;
        arrive(&world, &paid(&world, &order, "p-2", 9_000_000)).await;
        assert_eq!(stands(&world, &order).await, "REVIEW paid_over 11000000 0 REVIEW REVIEW");
        let seen = only_review(&world).await;
        let to_user = json!({"action": "credit_user", "userId": "u_3", "note": "x"});
        assert_eq!(resolve(&world, "admin", &seen, &to_user).await.status, 409);
        assert_eq!(resolve(&world, "admin", &seen, &credit_order(&order)).await.status, 202);
        assert_eq!(
            stands(&world, &order).await,
            "SUCCESS manual 11000000 11000000 CREDITED CREDITED"
        );
        assert_eq!(balance(&world, "u_1"), 11_000_000);
        sound(&world).await;
    });
}

#[test]
fn money_in_review_is_moved_to_a_user_and_its_order_ends() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 3_000_000)).await;
        let seen = only_review(&world).await;
        let to_user = json!({"action": "credit_user", "userId": "u_3", "note": "of the brother"});
        assert_eq!(resolve(&world, "admin", &seen, &to_user).await.status, 202);
        assert_eq!(stands(&world, &order).await, "FAILED manual 3000000 0 CREDITED_ELSEWHERE");
        assert_eq!((balance(&world, "u_1"), balance(&world, "u_3")), (0, 3_000_000));
        arrive(&world, &paid(&world, &order, "p-1", 3_000_000)).await;
        assert_eq!((balance(&world, "u_1"), balance(&world, "u_3")), (0, 3_000_000));
        sound(&world).await;
    });
}

#[test]
fn money_that_was_given_back_or_elsewhere_does_not_count_with_a_later_payment() {
    let moved = json!({"action": "credit_user", "userId": "u_2", "note": "sent by mistake"});
    for (body, fate, elsewhere) in
        [(note("refund"), "REFUSED", 0), (moved, "CREDITED_ELSEWHERE", 4_000_000)]
    {
        simulate(1, async || {
            let world = World::new().await;
            set_policy(&world, AmountPolicy::Exact).await;
            let order = order(&world, "u_1", MINOR, "k-1").await;
            arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
            let seen = only_review(&world).await;
            assert_eq!(resolve(&world, "admin", &seen, &body).await.status, 202);
            arrive(&world, &paid(&world, &order, "p-2", 1_000_000)).await;
            let stands_so = format!("REVIEW paid_late 5000000 0 {fate} REVIEW");
            assert_eq!(stands(&world, &order).await, stands_so);
            let seen = only_review(&world).await;
            resolve(&world, "admin", &seen, &credit_order(&order)).await;
            assert_eq!(
                stands(&world, &order).await,
                format!("SUCCESS manual 5000000 1000000 {fate} CREDITED")
            );
            assert_eq!((balance(&world, "u_1"), balance(&world, "u_2")), (1_000_000, elsewhere));
            sound(&world).await;
        });
    }
}

#[test]
fn parts_that_were_refused_stay_refused_when_the_whole_amount_comes() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Accumulate).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
        world.pass(1_800).await;
        world.let_pass(3).await;
        resolve(&world, "admin", &only_review(&world).await, &note("refund")).await;
        arrive(&world, &paid(&world, &order, "p-2", MINOR)).await;
        assert_eq!(
            stands(&world, &order).await,
            "SUCCESS paid_late 9000000 5000000 REFUSED CREDITED"
        );
        assert_eq!(balance(&world, "u_1"), MINOR.into());
        sound(&world).await;
    });
}

#[test]
fn a_statement_that_contradicts_a_payment_takes_nothing_from_its_order() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
        let first = only_review(&world).await;
        arrive(&world, &paid(&world, &order, "p-1", 9_000_000)).await;
        let all = reviews(&world, "operator").await;
        let conflict = all.iter().find(|r| r["why"] == "amount_conflict").unwrap();
        resolve(&world, "admin", conflict, &note("reject")).await;
        resolve(&world, "admin", &first, &credit_order(&order)).await;
        assert_eq!(balance(&world, "u_1"), 4_000_000);
    });
}

#[test]
fn a_deposit_of_which_something_else_is_said_is_for_a_person_and_credited_once() {
    type Change = fn(&mut Evidence);
    let changes: [(Change, &str, bool); 4] = [
        (|said| said.transaction_id = Some("ff".to_owned()), "amount_conflict", false),
        (|said| said.deposit.as_mut().unwrap().address.push('x'), "amount_conflict", true),
        (|said| said.deposit.as_mut().unwrap().network.push('x'), "amount_conflict", true),
        (
            |said| said.user_mark = UserMark::parse("M0000000000000000000000000"),
            "wrong_user",
            false,
        ),
    ];
    for (change, why, is_known) in changes {
        simulate(1, async || {
            let world = World::new().await;
            let first = deposited(&world).await;
            assert!(first.transaction_id.is_some());
            let mut second = first.clone();
            change(&mut second);
            let trace = || TraceId::parse("test").unwrap();
            arrive(&world, &SettlementMessage { trace: trace(), evidence: first.clone() }).await;
            assert_eq!(balance(&world, "u_1"), 25_000_000);
            let known = store(&world).known_statements(&[first, second.clone()]).await.unwrap();
            assert!(known[0].booked && known[1].booked, "{why}");
            assert_eq!((known[0].contradicted, known[1].contradicted), (false, !is_known), "{why}");
            for _ in 0..2 {
                let message = SettlementMessage { trace: trace(), evidence: second.clone() };
                arrive(&world, &message).await;
            }
            assert_eq!(only_review(&world).await["why"], why);
            assert_eq!(balance(&world, "u_1"), 25_000_000);
            assert!(store(&world).known_statements(&[second]).await.unwrap()[0].parked);
            sound(&world).await;
        });
    }
}

#[test]
fn a_statement_that_contradicts_a_payment_is_not_credited_beside_it() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        arrive(&world, &paid(&world, &order, "p-1", 9_000_000)).await;
        let seen = only_review(&world).await;
        let body = json!({"action": "credit_user", "userId": "u_1", "note": "x"});
        assert_eq!(resolve(&world, "admin", &seen, &body).await.status, 409);
        assert_ne!(review(&world, &seen["reviewId"]).await["status"], "CREDITED");
    });
}

#[test]
fn two_amounts_of_one_payment_are_not_both_credited_to_users() {
    simulate(1, async || {
        let world = World::new().await;
        let nobody = "R0000000000000000000000000";
        arrive(&world, &paid(&world, nobody, "p-1", MINOR)).await;
        arrive(&world, &paid(&world, nobody, "p-1", MINOR + 1)).await;
        let all = reviews(&world, "operator").await;
        assert_eq!(all.len(), 2);
        let body =
            json!({"action": "credit_user", "merchant": "m_demo", "userId": "u_1", "note": "x"});
        for seen in &all {
            assert_eq!(resolve(&world, "operator", seen, &body).await.status, 202);
        }
        world.let_pass(10).await;
        assert!(all.len() == 2);
        for seen in &all {
            assert_ne!(review(&world, &seen["reviewId"]).await["status"], "APPROVED");
        }
    });
}

#[test]
fn two_amounts_of_one_payment_are_not_both_credited_with_orders() {
    simulate(1, async || {
        let world = World::new().await;
        let nobody = "R0000000000000000000000000";
        let one = order(&world, "u_1", MINOR, "k-1").await;
        let two = order(&world, "u_2", MINOR, "k-2").await;
        arrive(&world, &paid(&world, nobody, "p-1", MINOR)).await;
        arrive(&world, &paid(&world, nobody, "p-1", MINOR + 1)).await;
        let all = reviews(&world, "operator").await;
        for (seen, order) in all.iter().zip([&one, &two]) {
            resolve(&world, "operator", seen, &credit_order(order)).await;
        }
        let mut open = reviews(&world, "operator").await;
        assert_eq!(open.remove(0)["refusal"], "amount_conflict");
    });
}

#[test]
fn a_payment_that_its_order_has_no_room_to_name_comes_again() {
    simulate(1, async || {
        let world = World::new().await;
        let policy = MerchantPolicy {
            second_payment: Some(recharge_shared::domain::Disposal::Credit),
            ..MerchantPolicy::default()
        };
        let merchant = Merchant { policy, ..Merchant::default() };
        store(&world).set_merchant(&MerchantId::parse("m_demo").unwrap(), &merchant).await.unwrap();
        let order = order(&world, "u_1", MINOR, "k-1").await;
        for i in 0..21 {
            arrive(&world, &paid(&world, &order, &format!("p-{i}"), MINOR)).await;
            world.pass(1).await;
        }
        assert_eq!(balance(&world, "u_1"), 21 * 5_000_000);
        use recharge_shared::app::{
            merchants::Merchants,
            settle::{Context, Policies, settle},
        };
        let store = store(&world);
        let merchants = Merchants::new(store.clone());
        let policies = Policies::new();
        let context = Context {
            store: &store,
            policies: &policies,
            merchants: &merchants,
            providers: None,
            mode: Mode::Live,
            clock: world.clock(),
        };
        let again = settle(context, &paid(&world, &order, "p-20", MINOR), None).await;
        assert!(again.is_ok());
    });
}

#[test]
fn an_order_does_not_wait_for_a_decision_that_was_made() {
    for act in ["refund", "credit_user"] {
        simulate(1, async || {
            let world = World::new().await;
            set_policy(&world, AmountPolicy::Exact).await;
            let order = order(&world, "u_1", MINOR, "k-1").await;
            let mut stale = paid(&world, &order, "p-1", 4_000_000);
            stale.evidence.stale = true;
            arrive(&world, &stale).await;
            let seen = only_review(&world).await;
            let mut body = note(act);
            if act == "credit_user" {
                body["userId"] = "u_2".into();
            }
            resolve(&world, "admin", &seen, &body).await;
            arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
            let open = reviews(&world, "operator").await;
            assert!(!stands(&world, &order).await.starts_with("REVIEW") || !open.is_empty());
        });
    }
}

#[test]
fn a_review_is_not_closed_behind_the_back_of_an_order_that_has_come_to_wait_for_it() {
    use recharge_shared::domain::ReviewState;
    use recharge_shared::store::Settled;
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, "p-1", 4_000_000);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let seen = only_review(&world).await;
        let path = format!("/admin/reviews/{}/resolve", seen["reviewId"].as_str().unwrap());
        assert_eq!(send_as(&world, "admin", "POST", &path, &note("reject")).await.status, 202);
        // One worker has read the decision when another one puts the order into review.
        let id = ReviewId::parse(seen["reviewId"].as_str().unwrap()).unwrap();
        let read = store(&world).review(&id).await.unwrap().unwrap();
        let fresh = paid(&world, &order, "p-1", 4_000_000);
        let (store, merchants) = (store(&world), Merchants::new(store(&world)));
        let policies = Policies::from([(fresh.evidence.provider.clone(), Default::default())]);
        let context = Context {
            store: &store,
            policies: &policies,
            merchants: &merchants,
            providers: None,
            mode: Mode::Live,
            clock: world.clock(),
        };
        recharge_shared::app::settle::settle(context, &fresh, None).await.unwrap();
        assert!(stands(&world, &order).await.starts_with("REVIEW"));
        let now = Timestamp::from_millis(world.clock().now_ms());
        let ended =
            store.end_review(&read, (ReviewState::Rejected, now), None, PaidBack::Nothing).await;
        assert_eq!(ended.unwrap(), Settled::Raced);
        // What was refused was a statement alone: of an order nobody has decided yet.
        world.settle().await;
        assert_eq!(stands(&world, &order).await, "REVIEW paid_under 4000000 0 REVIEW");
        let opened = only_review(&world).await;
        assert_eq!(
            (&opened["status"], &opened["why"]),
            (&json!("OPEN"), &json!("amount_mismatch"))
        );
        assert_eq!(opened["refusal"], "an order has come to wait for it");
        world.pass(1).await;
        assert_eq!(resolve(&world, "admin", &opened, &note("reject")).await.status, 202);
        assert_eq!(stands(&world, &order).await, "FAILED manual 4000000 0 REFUSED");
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "REJECTED");
        sound(&world).await;
    });
}

#[test]
fn a_statement_that_was_rejected_is_asked_about_again_when_an_order_waits_for_it() {
    for rejected_first in [true, false] {
        simulate(1, async || {
            let world = World::new().await;
            set_policy(&world, AmountPolicy::Exact).await;
            let order = order(&world, "u_1", MINOR, "k-1").await;
            let mut stale = paid(&world, &order, "p-1", 4_000_000);
            stale.evidence.stale = true;
            arrive(&world, &stale).await;
            let seen = only_review(&world).await;
            assert_eq!(seen["why"], "stale");
            world.pass(5).await;
            if rejected_first {
                resolve(&world, "admin", &seen, &note("reject")).await;
                assert_eq!(reviews(&world, "operator").await, Vec::<Value>::new());
                assert_eq!(stands(&world, &order).await, "PENDING - 0 0 ");
            }
            world.pass(5).await;
            let fresh = paid(&world, &order, "p-1", 4_000_000);
            arrive(&world, &fresh).await;
            assert_eq!(stands(&world, &order).await, "REVIEW paid_under 4000000 0 REVIEW");
            let opened = only_review(&world).await;
            let [id, why, status] = ["reviewId", "why", "status"].map(|name| &opened[name]);
            assert_eq!(
                (id, why, status),
                (&seen["reviewId"], &json!("amount_mismatch"), &json!("OPEN"))
            );
            let refusal = opened["refusal"].as_str().unwrap_or("");
            assert_eq!(refusal.starts_with("it was rejected"), rejected_first, "{opened}");
            // The same once more changes nothing, and a person's word is carried out.
            arrive(&world, &fresh).await;
            world.pass(5).await;
            assert_eq!(only_review(&world).await["refusal"], opened["refusal"]);
            let decided = resolve(&world, "admin", &opened, &credit_order(&order)).await;
            assert_eq!((decided.status, &decided.json["refusal"]), (202, &Value::Null));
            assert_eq!(stands(&world, &order).await, "SUCCESS manual 4000000 4000000 CREDITED");
            assert_eq!(balance(&world, "u_1"), 4_000_000);
            assert_eq!(reviews(&world, "operator").await, Vec::<Value>::new());
            let before = &review(&world, &opened["reviewId"]).await["earlierDecisions"];
            assert_eq!(before.as_array().unwrap().len(), usize::from(rejected_first));
            if rejected_first {
                let earlier = ["action", "by", "refusal"].map(|name| &before[0][name]);
                assert_eq!(earlier, [&json!("reject"), &json!("admin"), &opened["refusal"]]);
            }
            sound(&world).await;
        });
    }
}

#[test]
fn a_statement_that_was_rejected_is_asked_about_again_when_the_provider_says_it_against_a_payment()
{
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let whole = world.pay(&order, Some(MINOR));
        world.pass(1_000).await;
        world.deliver(&whole).await;
        world.settle().await;
        let seen = only_review(&world).await;
        assert_eq!(seen["why"], "stale");
        resolve(&world, "admin", &seen, &note("reject")).await;
        arrive(&world, &paid(&world, &order, &order, 4_000_000)).await;
        assert_eq!(only_review(&world).await["why"], "amount_mismatch");
        // That is what the provider has by now; its callback is lost.
        let _ = world.pay(&order, Some(MINOR));
        world.let_pass(35).await;
        let all = reviews(&world, "operator").await;
        let again = all.iter().find(|one| one["reviewId"] == seen["reviewId"]).unwrap();
        assert_eq!((&again["why"], &again["status"]), (&json!("amount_conflict"), &json!("OPEN")));
        assert_eq!(stands(&world, &order).await, "REVIEW paid_under 4000000 0 REVIEW");
        assert_eq!((all.len(), balance(&world, "u_1")), (2, 0));
        sound(&world).await;
    });
}

#[test]
fn whatever_fails_a_rejected_review_is_opened_again_with_its_order() {
    let mut tried = 0;
    for fault in Fault::ALL {
        for index in 0..12 {
            let met = simulate(1, async || {
                let world = World::new().await;
                set_policy(&world, AmountPolicy::Exact).await;
                let order = order(&world, "u_1", MINOR, "k-1").await;
                let mut stale = paid(&world, &order, "p-1", 4_000_000);
                stale.evidence.stale = true;
                arrive(&world, &stale).await;
                resolve(&world, "admin", &only_review(&world).await, &note("reject")).await;
                world.pass(5).await;
                queue(&world).send(&paid(&world, &order, "p-1", 4_000_000)).await.unwrap();
                let faults = Faults::at(world.clock().clone(), index, fault);
                let functions = world.instance(&faults, 1);
                let work = world.stack.settle_batch_with(&functions, 0);
                let _ = until_crash(&faults, work).await;
                world.pass(181).await;
                world.settle().await;
                let context = format!("{fault:?} at {index}");
                let stands = stands(&world, &order).await;
                assert_eq!(stands, "REVIEW paid_under 4000000 0 REVIEW", "{context}");
                let opened = only_review(&world).await;
                let [why, status] = ["why", "status"].map(|name| &opened[name]);
                assert_eq!((why, status), (&json!("amount_mismatch"), &json!("OPEN")), "{context}");
                sound(&world).await;
                faults.calls() > index
            });
            tried += usize::from(met);
        }
    }
    // The order, the merchant, three transactions, and what is announced.
    assert!(tried >= 6 * 6, "{tried}");
}

#[test]
fn a_second_payment_whose_first_statement_was_rejected_is_a_persons_matter_again() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, "p-1", MINOR);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let seen = only_review(&world).await;
        resolve(&world, "admin", &seen, &note("reject")).await;
        arrive(&world, &paid(&world, &order, "p-2", MINOR)).await;
        assert_eq!(stands(&world, &order).await, "SUCCESS paid_exact 5000000 5000000 CREDITED");
        world.pass(5).await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        let opened = only_review(&world).await;
        assert_eq!(
            (&opened["reviewId"], &opened["why"]),
            (&seen["reviewId"], &json!("second_payment"))
        );
        world.pass(5).await;
        let mut to_user = note("credit_user");
        to_user["userId"] = "u_1".into();
        resolve(&world, "admin", &opened, &to_user).await;
        assert_eq!(balance(&world, "u_1"), 10_000_000);
        sound(&world).await;
    });
}

#[test]
fn a_rejection_does_not_refuse_what_was_said_before_it_and_worked_on_after_it() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, "p-1", MINOR);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        arrive(&world, &paid(&world, &order, "p-2", MINOR)).await;
        let seen = only_review(&world).await;
        // Heard, and not worked on until somebody has decided about the stale one.
        let fresh = paid(&world, &order, "p-1", MINOR);
        world.pass(300).await;
        let path = format!("/admin/reviews/{}/resolve", seen["reviewId"].as_str().unwrap());
        assert_eq!(send_as(&world, "admin", "POST", &path, &note("reject")).await.status, 202);
        world.pass(1).await;
        let (store, merchants) = (store(&world), Merchants::new(store(&world)));
        let policies = Policies::from([(fresh.evidence.provider.clone(), Default::default())]);
        let context = Context {
            store: &store,
            policies: &policies,
            merchants: &merchants,
            providers: None,
            mode: Mode::Live,
            clock: world.clock(),
        };
        recharge_shared::app::settle::settle(context, &fresh, None).await.unwrap();
        world.settle().await;
        let opened = only_review(&world).await;
        assert_eq!((&opened["status"], &opened["why"]), (&json!("OPEN"), &json!("second_payment")));
        let stands = stands(&world, &order).await;
        assert!(stands.ends_with("REVIEW"), "{stands}");
        sound(&world).await;
    });
}

#[test]
fn what_is_said_of_another_user_or_account_refuses_no_payment_of_the_order() {
    for of_another in ["user", "account"] {
        simulate(1, async || {
            let world = World::new().await;
            set_policy(&world, AmountPolicy::Exact).await;
            let order = order(&world, "u_1", MINOR, "k-1").await;
            let mut wrong = paid(&world, &order, "p-1", 4_000_000);
            match of_another {
                "user" => {
                    wrong.evidence.user_mark = UserMark::parse("M0000000000000000000000000");
                    assert!(wrong.evidence.user_mark.is_some());
                }
                _ => wrong.evidence.account = "APPTEST0002".to_owned(),
            }
            wrong.evidence.digest = [8; 32];
            arrive(&world, &wrong).await;
            let disbelieved = only_review(&world).await;
            assert_eq!(disbelieved["why"], format!("wrong_{of_another}"));
            arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
            assert_eq!(stands(&world, &order).await, "REVIEW paid_under 4000000 0 REVIEW");
            assert_eq!(
                resolve(&world, "operator", &disbelieved, &note("reject")).await.status,
                202
            );
            assert_eq!(stands(&world, &order).await, "REVIEW paid_under 4000000 0 REVIEW");
            let believed = only_review(&world).await;
            resolve(&world, "admin", &believed, &credit_order(&order)).await;
            assert_eq!(stands(&world, &order).await, "SUCCESS manual 4000000 4000000 CREDITED");
            assert_eq!(balance(&world, "u_1"), 4_000_000);
            sound(&world).await;
        });
    }
}

#[test]
fn what_another_account_has_said_is_credited_or_paid_back_once() {
    for (act, own_is_first) in
        [("refund", false), ("credit_user", false), ("refund", true), ("credit_user", true)]
    {
        simulate(1, async || {
            let world = World::new().await;
            let order = order(&world, "u_1", MINOR, "k-1").await;
            let mut other = paid(&world, &order, "p-1", MINOR);
            other.evidence.account = "APPTEST0002".to_owned();
            arrive(&world, &other).await;
            let seen = only_review(&world).await;
            assert_eq!(seen["why"], "wrong_account");
            let own = paid(&world, &order, "p-1", MINOR);
            if own_is_first {
                arrive(&world, &own).await;
            }
            let mut body = note(act);
            if act == "credit_user" {
                body["userId"] = "u_1".into();
                body["merchant"] = "m_demo".into();
            }
            let decided = resolve(&world, "operator", &seen, &body).await;
            if own_is_first {
                assert_eq!(decided.status, 409, "{}", decided.text);
                assert_eq!(balance(&world, "u_1"), 5_000_000);
            } else {
                assert_eq!(decided.status, 202, "{}", decided.text);
                arrive(&world, &own).await;
                let credited = if act == "refund" { 0 } else { 5_000_000 };
                assert_eq!(balance(&world, "u_1"), credited, "{act}");
                let fate = if act == "refund" { "REFUSED" } else { "CREDITED_ELSEWHERE" };
                assert_eq!(stands(&world, &order).await, format!("PENDING - 0 0 {fate}"));
                assert_eq!(reviews(&world, "operator").await, Vec::<Value>::new());
                // The order ends by its time, with nothing in it.
                world.let_pass(40).await;
                assert!(stands(&world, &order).await.starts_with("EXPIRED"));
                assert_eq!(balance(&world, "u_1"), credited, "{act}");
            }
            sound(&world).await;
        });
    }
}

#[test]
fn what_another_account_has_said_of_an_order_is_credited_with_no_other_order() {
    simulate(1, async || {
        let world = World::new().await;
        let named = order(&world, "u_1", MINOR, "k-1").await;
        let other = order(&world, "u_1", MINOR, "k-2").await;
        let mut statement = paid(&world, &named, "p-1", MINOR);
        statement.evidence.account = "APPTEST0002".to_owned();
        arrive(&world, &statement).await;
        let seen = only_review(&world).await;
        for order in [&other, &named] {
            let decided = resolve(&world, "operator", &seen, &credit_order(order)).await;
            let why = "it names an order of another account: credit it to a user";
            assert_eq!((decided.status, &decided.json["message"]), (409, &json!(why)));
            assert_eq!(only_review(&world).await["status"], "OPEN");
            assert_eq!(balance(&world, "u_1"), 0);
        }
        sound(&world).await;
    });
}

#[test]
fn a_message_that_speaks_for_a_person_credits_nothing() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let order = order(&world, "u_1", 2 * LARGE, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", LARGE)).await;
        let mut forged = paid(&world, &order, "p-1", LARGE);
        forged.evidence.source = Source::Operator;
        arrive(&world, &forged).await;
        assert_eq!(balance(&world, "u_1"), 0);
    });
}

#[test]
fn an_agreement_is_to_what_was_proposed_last() {
    use recharge_shared::domain::{Action, ReviewState, Ruling};
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let one = order(&world, "u_1", LARGE, "k-1").await;
        arrive(&world, &paid(&world, "R0000000000000000000000000", "p-1", LARGE)).await;
        let two = order(&world, "u_2", LARGE, "k-2").await;
        let seen = only_review(&world).await;
        resolve(&world, "operator", &seen, &credit_order(&one)).await;
        let id = ReviewId::parse(seen["reviewId"].as_str().unwrap()).unwrap();
        let store = store(&world);
        let read = store.review(&id).await.unwrap().unwrap();
        resolve(&world, "operator", &seen, &credit_order(&two)).await;
        let now = Timestamp::from_millis(world.clock().now_ms());
        let agreed =
            Ruling { second: Some(("somebody".to_owned(), now)), ..read.ruling.clone().unwrap() };
        assert!(matches!(agreed.action, Action::CreditOrder(_)));
        let w = store.rule(&read, (ReviewState::Approved, &agreed), now).await.unwrap();
        assert_eq!(w, recharge_shared::store::Written::Raced);
    });
}

#[test]
fn a_decision_in_whose_place_another_one_came_keeps_its_name_and_note() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let one = order(&world, "u_1", LARGE, "k-1").await;
        arrive(&world, &paid(&world, "R0000000000000000000000000", "p-1", LARGE)).await;
        let seen = only_review(&world).await;
        assert_eq!(seen["earlierDecisions"], json!([]));
        let user =
            json!({"action": "credit_user", "userId": "u_2", "merchant": "m_demo", "note": "hers"});
        resolve(&world, "operator", &seen, &user).await;
        // The same once more is no other decision, and another person's is none either.
        resolve(&world, "operator", &seen, &user).await;
        let answered = resolve(&world, "operator2", &seen, &note("reject")).await;
        let before = &answered.json["earlierDecisions"];
        let at = &before[0]["at"];
        let first = json!({
            "action": "credit_user", "orderId": null, "userId": "u_2", "merchant": "m_demo",
            "by": "operator", "note": "hers", "at": at, "second": null,
        });
        assert_eq!(*before, json!([first]));
        resolve(&world, "operator", &seen, &credit_order(&one)).await;
        resolve(&world, "operator2", &seen, &credit_order(&one)).await;
        let closed = review(&world, &seen["reviewId"]).await;
        assert_eq!(
            (&closed["status"], &closed["decision"]["second"]),
            (&json!("CREDITED"), &json!("operator2"))
        );
        let before = closed["earlierDecisions"].as_array().unwrap();
        let words = |earlier: &Value| format!("{} {}", earlier["by"], earlier["action"]);
        let words: Vec<String> = before.iter().map(words).collect();
        assert_eq!(words, [r#""operator" "credit_user""#, r#""operator2" "reject""#]);
        assert_eq!(before[0], first);
        sound(&world).await;
    });
}

#[test]
fn of_many_decisions_a_review_keeps_the_last_ones() {
    simulate(1, async || {
        let world = World::new().await;
        arrive(&world, &paid(&world, "R0000000000000000000000000", "p-1", LARGE)).await;
        let seen = only_review(&world).await;
        for turn in 0..=EARLIER_MAX + 2 {
            let action = ["reject", "refund"][turn % 2];
            let body = json!({"action": action, "note": format!("turn {turn}")});
            assert_eq!(resolve(&world, "operator", &seen, &body).await.status, 202);
        }
        let now = review(&world, &seen["reviewId"]).await;
        assert_eq!(now["decision"]["note"], "turn 22");
        let before = now["earlierDecisions"].as_array().unwrap();
        assert_eq!((before.len(), &before[0]["note"]), (EARLIER_MAX, &json!("turn 2")));
        assert_eq!(before[EARLIER_MAX - 1]["note"], "turn 21");
    });
}

#[test]
fn a_payment_that_goes_back_is_never_credited_by_a_later_proof() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, "p-1", MINOR);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let seen = only_review(&world).await;
        assert_eq!(resolve(&world, "admin", &seen, &note("refund")).await.status, 202);
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        assert_eq!((balance(&world, "u_1"), world.books().refunds), (0, 1));
        sound(&world).await;
    });
}

#[test]
fn a_payment_that_was_credited_meanwhile_does_not_go_back() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, "p-1", MINOR);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let seen = only_review(&world).await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        assert_eq!(resolve(&world, "admin", &seen, &note("refund")).await.status, 202);
        let open = review(&world, &seen["reviewId"]).await;
        assert_eq!(
            (&open["status"], &open["refusal"]),
            (&json!("OPEN"), &json!("the payment is booked"))
        );
        assert_eq!((balance(&world, "u_1"), world.books().refunds), (MINOR.into(), 0));
        sound(&world).await;
    });
}

#[test]
fn what_goes_back_unread_is_never_credited_when_it_can_be_read() {
    type Change = fn(&mut Evidence);
    let unread: [(Change, &str); 3] = [
        (|said| said.kind = EvidenceKind::Unlisted, "p-1"),
        (|said| said.kind = EvidenceKind::Unrecognised, "p-1"),
        (
            |said| {
                said.kind = EvidenceKind::Unrecognised;
                said.payment_id = "msg-1".to_owned();
                said.transaction_id = Some("p-2".to_owned());
            },
            "p-2",
        ),
    ];
    for (change, later) in unread {
        simulate(1, async || {
            let world = World::new().await;
            let order = order(&world, "u_1", MINOR, "k-1").await;
            let mut said = paid(&world, &order, "p-1", MINOR);
            change(&mut said.evidence);
            arrive(&world, &said).await;
            let seen = only_review(&world).await;
            let first = resolve(&world, "admin", &seen, &note("refund")).await;
            assert_eq!(first.json["status"], "PROPOSED", "nobody knows how much it is");
            let second = resolve(&world, "admin2", &seen, &note("refund")).await;
            assert_eq!(second.json["status"], "APPROVED");
            arrive(&world, &paid(&world, &order, later, MINOR)).await;
            assert_eq!(balance(&world, "u_1"), 0);
            let open = only_review(&world).await;
            assert_eq!(
                (&open["why"], &open["paymentId"]),
                (&json!("second_payment"), &json!(later))
            );
            sound(&world).await;
        });
    }
}

#[test]
fn what_goes_back_unread_was_not_credited_meanwhile() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut said = paid(&world, &order, "msg-1", MINOR);
        said.evidence.kind = EvidenceKind::Unrecognised;
        said.evidence.transaction_id = Some("p-1".to_owned());
        arrive(&world, &said).await;
        let seen = only_review(&world).await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        for person in ["admin", "admin2"] {
            resolve(&world, person, &seen, &note("refund")).await;
        }
        let open = review(&world, &seen["reviewId"]).await;
        assert_eq!(
            (&open["status"], &open["refusal"]),
            (&json!("OPEN"), &json!("the payment is booked"))
        );
        assert_eq!((balance(&world, "u_1"), world.books().refunds), (MINOR.into(), 0));
    });
}

#[test]
fn where_nothing_came_nothing_goes_back() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, &order, 0)).await;
        let seen = only_review(&world).await;
        assert_eq!(seen["why"], "nothing_received");
        assert_eq!(resolve(&world, "admin", &seen, &note("refund")).await.status, 202);
        assert_eq!(world.books().refunds, 0);
        arrive(&world, &paid(&world, &order, &order, MINOR)).await;
        assert_eq!(balance(&world, "u_1"), MINOR.into());
        sound(&world).await;
    });
}

#[test]
fn only_the_decision_that_was_read_is_opened_again() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, "R0000000000000000000000000", "p-1", MINOR)).await;
        let id = only_review(&world).await["reviewId"].as_str().unwrap().to_owned();
        let (store, id) = (store(&world), ReviewId::parse(&id).unwrap());
        let at = |ms: i64| Timestamp::from_millis(world.clock().now_ms() + ms);
        let ruling = |action, ms| Ruling {
            action,
            by: "admin".to_owned(),
            note: "x".to_owned(),
            at: at(ms),
            second: None,
            about: None,
        };
        let open = store.review(&id).await.unwrap().unwrap();
        let first = ruling(Action::CreditOrder(OrderId::parse(&order).unwrap()), 0);
        store.rule(&open, (ReviewState::Approved, &first), at(60_000)).await.unwrap();
        let seen_by_a = store.review(&id).await.unwrap().unwrap();
        // Another worker opens it again, and people decide otherwise: whoever saw it before that takes nothing away.
        assert_eq!(store.reopen_review(&seen_by_a, ("once", None)).await.unwrap(), Written::Now);
        let late = (ReviewState::Approved, &ruling(Action::Refund, 1));
        assert_eq!(store.rule(&open, late, at(60_000)).await.unwrap(), Written::Raced);
        let open = store.review(&id).await.unwrap().unwrap();
        let second = (ReviewState::Approved, &ruling(Action::Reject, 1));
        assert_eq!(store.rule(&open, second, at(60_000)).await.unwrap(), Written::Now);
        assert_eq!(store.reopen_review(&seen_by_a, ("late", None)).await.unwrap(), Written::Raced);
        let now = store.review(&id).await.unwrap().unwrap();
        assert_eq!((now.state, now.refusal), (ReviewState::Approved, None));
    });
}

#[test]
fn a_vote_about_a_statement_alone_is_none_about_the_order_that_has_come_to_wait_for_it() {
    for action in ["reject", "refund", "credit_order"] {
        simulate(1, async || {
            let world = World::new().await;
            set_policy(&world, AmountPolicy::Exact).await;
            let order = order(&world, "u_1", LARGE, "k-1").await;
            let mut stale = paid(&world, &order, "p-1", LARGE + 1);
            stale.evidence.stale = true;
            arrive(&world, &stale).await;
            let seen = only_review(&world).await;
            let mut body = note(action);
            if action == "credit_order" {
                body["orderId"] = order.as_str().into();
            }
            resolve(&world, "operator", &seen, &body).await;
            world.pass(5).await;
            arrive(&world, &paid(&world, &order, "p-1", LARGE + 1)).await;
            let waits = "REVIEW paid_over 1000000001 0 REVIEW";
            assert_eq!(stands(&world, &order).await, waits, "{action}");
            world.pass(5).await;
            let answered = resolve(&world, "operator2", &seen, &body).await;
            assert_eq!(answered.json["status"], "PROPOSED", "{action}");
            assert_eq!(answered.json["decision"]["by"], "operator2");
            assert_eq!(stands(&world, &order).await, waits, "{action}");
            let answered = resolve(&world, "operator", &seen, &body).await;
            assert_eq!(answered.json["status"], "APPROVED", "{action}");
            let after = match action {
                "credit_order" => "SUCCESS manual 1000000001 1000000001 CREDITED",
                _ => "FAILED manual 1000000001 0 REFUSED",
            };
            assert_eq!(stands(&world, &order).await, after, "{action}");
            sound(&world).await;
        });
    }
}

#[test]
fn a_refund_of_a_statement_alone_takes_no_other_money_of_the_order_that_waits_for_it_now() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Accumulate).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 2_000_000)).await;
        let mut stale = paid(&world, &order, "p-2", 4_000_000);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let seen = only_review(&world).await;
        let path = format!("/admin/reviews/{}/resolve", seen["reviewId"].as_str().unwrap());
        assert_eq!(send_as(&world, "admin", "POST", &path, &note("refund")).await.status, 202);
        // Before a worker has the decision, another one has the provider's fresh word.
        set_policy(&world, AmountPolicy::Exact).await;
        let fresh = paid(&world, &order, "p-2", 4_000_000);
        let (store, merchants) = (store(&world), Merchants::new(store(&world)));
        let policies = Policies::from([(fresh.evidence.provider.clone(), Default::default())]);
        let context = Context {
            store: &store,
            policies: &policies,
            merchants: &merchants,
            providers: None,
            mode: Mode::Live,
            clock: world.clock(),
        };
        recharge_shared::app::settle::settle(context, &fresh, None).await.unwrap();
        world.settle().await;
        let waits = "REVIEW paid_over 6000000 0 REVIEW REVIEW";
        assert_eq!(stands(&world, &order).await, waits);
        let opened = only_review(&world).await;
        assert_eq!(
            (&opened["status"], &opened["refusal"]),
            (&json!("OPEN"), &json!("an order has come to wait for it"))
        );
        assert_eq!(resolve(&world, "admin", &opened, &credit_order(&order)).await.status, 202);
        assert_eq!(balance(&world, "u_1"), 6_000_000);
        sound(&world).await;
    });
}

/// More USDT than any order may be about, in minor units.
const BEYOND: i64 = 1_000_000_000_001;

#[test]
fn more_than_any_order_may_be_about_is_credited_by_people_alone() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::CreditReceived).await;
        let [one, two, paid_before] = [
            order(&world, "u_1", MINOR, "k-1").await,
            order(&world, "u_2", MINOR, "k-2").await,
            order(&world, "u_3", MINOR, "k-3").await,
        ];
        arrive(&world, &paid(&world, &one, "p-1", BEYOND - 1)).await;
        assert_eq!(balance(&world, "u_1"), (BEYOND - 1).into());
        arrive(&world, &paid(&world, &two, "p-2", BEYOND)).await;
        assert_eq!(stands(&world, &two).await, format!("REVIEW paid_over {BEYOND} 0 REVIEW"));
        // A second payment, too.
        arrive(&world, &paid(&world, &paid_before, "p-3", MINOR)).await;
        arrive(&world, &paid(&world, &paid_before, "p-4", BEYOND)).await;
        assert_eq!(balance(&world, "u_3"), MINOR.into());
        let mut whys = std::collections::BTreeSet::new();
        for seen in reviews(&world, "operator").await {
            whys.insert(seen["why"].as_str().unwrap().to_owned());
            let own = credit_order(seen["orderId"].as_str().unwrap());
            for person in ["operator", "operator2"] {
                assert_eq!(resolve(&world, person, &seen, &own).await.status, 202);
            }
        }
        assert!(whys.iter().eq(["amount_mismatch", "second_payment"]), "{whys:?}");
        assert_eq!(balance(&world, "u_2"), BEYOND.into());
        assert_eq!(balance(&world, "u_3"), (MINOR + BEYOND).into());
        // Late money is credited, but for its amount.
        let late = order(&world, "u_4", MINOR, "k-4").await;
        world.pass(1_801).await;
        world.let_pass(3).await;
        arrive(&world, &paid(&world, &late, "p-5", BEYOND)).await;
        assert_eq!(stands(&world, &late).await, format!("REVIEW paid_over {BEYOND} 0 REVIEW"));
        sound(&world).await;
    });
}

#[test]
fn a_deposit_of_more_than_any_order_may_be_about_waits_for_people() {
    simulate(1, async || {
        let world = World::new().await;
        let mut evidence = deposited(&world).await;
        evidence.kind = EvidenceKind::Paid(Money::new(BEYOND.into(), Currency::Usdt));
        let trace = TraceId::parse("test").unwrap();
        arrive(&world, &SettlementMessage { trace, evidence }).await;
        let seen = only_review(&world).await;
        assert_eq!((&seen["why"], balance(&world, "u_1")), (&json!("amount_mismatch"), 0));
        let user =
            json!({"action": "credit_user", "userId": "u_1", "merchant": "m_demo", "note": "x"});
        for person in ["operator", "operator2"] {
            assert_eq!(resolve(&world, person, &seen, &user).await.status, 202);
        }
        assert_eq!(balance(&world, "u_1"), BEYOND.into());
        sound(&world).await;
    });
}

#[test]
fn a_grain_ends_no_order_and_is_put_aside() {
    simulate(1, async || {
        let policy = json!({"amount": "credit_received", "smallest": 10_000});
        let world = with_rules(&policy, |trader| Arc::new(trader.outbound())).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        // Of this provider the payment's id is the order's.
        arrive(&world, &paid(&world, &order, &order, 9_999)).await;
        assert_eq!(stands(&world, &order).await, "PENDING - 0 0 ");
        let grain = only_review(&world).await;
        assert_eq!(grain["why"], "nothing_received");
        let mut real = paid(&world, &order, &order, 10_000);
        real.evidence.digest = [8; 32];
        arrive(&world, &real).await;
        assert_eq!(stands(&world, &order).await, "SUCCESS paid_under 10000 10000 CREDITED");
        assert_eq!(resolve(&world, "admin", &grain, &note("reject")).await.status, 202);
        assert_eq!(stands(&world, &order).await, "SUCCESS paid_under 10000 10000 CREDITED");
        // A person may give it to somebody; what came unannounced is no other matter.
        let mut deposit = deposited(&world).await;
        deposit.kind = EvidenceKind::Paid(Money::new(9_999, Currency::Usdt));
        let trace = TraceId::parse("test").unwrap();
        arrive(&world, &SettlementMessage { trace, evidence: deposit }).await;
        let grain = only_review(&world).await;
        assert_eq!((&grain["why"], balance(&world, "u_1")), (&json!("nothing_received"), 10_000));
        let user = json!({"action": "credit_user", "userId": "u_1", "note": "his"});
        assert_eq!(resolve(&world, "admin", &grain, &user).await.status, 202);
        assert_eq!(balance(&world, "u_1"), 19_999);
        sound(&world).await;
    });
}

#[test]
fn an_unconfirmed_deposit_that_people_alone_credit_is_not_listed_again_and_again() {
    simulate(1, async || {
        let world = cautious().await;
        let listed = deposited(&world).await;
        for (minor, is_known) in [(25_000_000, false), (BEYOND, true)] {
            let kind = EvidenceKind::Paid(Money::new(minor.into(), Currency::Usdt));
            let listed = Evidence { kind, payment_id: format!("9{minor}"), ..listed.clone() };
            let said = Evidence { source: Source::Callback, ..listed.clone() };
            let trace = TraceId::parse("test").unwrap();
            arrive(&world, &SettlementMessage { trace, evidence: said }).await;
            let known = store(&world).known_statements(&[listed]).await.unwrap();
            assert_eq!((known[0].booked, known[0].parked), (false, is_known), "{minor}");
        }
        let all = reviews(&world, "operator").await;
        assert_eq!(all.iter().filter(|seen| seen["why"] == "unconfirmed").count(), 2, "{all:?}");
    });
}

/// A deposit of `u_1` as the provider's list says it, with the kind of what cannot be read, and another digest.
fn unreadable(deposited: &Evidence, digest: u8) -> SettlementMessage {
    let evidence =
        Evidence { kind: EvidenceKind::Unrecognised, digest: [digest; 32], ..deposited.clone() };
    SettlementMessage { trace: TraceId::parse("test").unwrap(), evidence }
}

async fn refund_by_two(world: &World, review: &Value) {
    for person in ["operator", "operator2"] {
        assert_eq!(resolve(world, person, review, &note("refund")).await.status, 202);
    }
}

#[test]
fn two_unread_statements_of_one_deposit_are_refunded_by_one_mark() {
    simulate(1, async || {
        let world = World::new().await;
        let deposited = deposited(&world).await;
        assert!(deposited.transaction_id.is_some());
        for digest in [1, 2] {
            arrive(&world, &unreadable(&deposited, digest)).await;
        }
        // Another deposit of the same transaction is another payment, and may be the same transfer: people are asked again.
        let mut other = deposited.clone();
        other.payment_id = "77".to_owned();
        other.order_id = Some(OrderId::of_payment(&other.provider, &other.account, "77"));
        arrive(&world, &unreadable(&other, 3)).await;
        for seen in reviews(&world, "operator").await {
            refund_by_two(&world, &seen).await;
            let ended = review(&world, &seen["reviewId"]).await;
            let is_other = ended["paymentId"] == "77";
            let why = if is_other { "same_transfer" } else { "unrecognised" };
            assert_eq!(
                (&ended["status"], &ended["why"]),
                (&json!(if is_other { "OPEN" } else { "REFUND" }), &json!(why))
            );
        }
        let other_one = only_review(&world).await;
        refund_by_two(&world, &other_one).await;
        assert_eq!(review(&world, &other_one["reviewId"]).await["status"], "REFUND");
        assert_eq!(world.books().refunds, 2);
        for evidence in [deposited, other] {
            let trace = TraceId::parse("test").unwrap();
            arrive(&world, &SettlementMessage { trace, evidence }).await;
        }
        assert_eq!(balance(&world, "u_1"), 0);
        sound(&world).await;
    });
}

#[test]
fn an_unread_deposit_that_was_credited_meanwhile_does_not_go_back() {
    simulate(1, async || {
        let world = World::new().await;
        let deposited = deposited(&world).await;
        arrive(&world, &unreadable(&deposited, 1)).await;
        let seen = only_review(&world).await;
        let trace = TraceId::parse("test").unwrap();
        arrive(&world, &SettlementMessage { trace, evidence: deposited }).await;
        refund_by_two(&world, &seen).await;
        let open = review(&world, &seen["reviewId"]).await;
        assert_eq!(
            (&open["status"], &open["refusal"]),
            (&json!("OPEN"), &json!("the payment is booked"))
        );
        assert_eq!((balance(&world, "u_1"), world.books().refunds), (25_000_000, 0));
        sound(&world).await;
    });
}

#[test]
fn no_review_says_credited_to_one_whom_the_money_did_not_go_to() {
    simulate(1, async || {
        let world = World::new().await;
        let others = order(&world, "u_2", MINOR, "k-2").await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut nameless = paid(&world, &order, "p-1", MINOR);
        nameless.evidence.order_id = None;
        arrive(&world, &nameless).await;
        let seen = only_review(&world).await;
        arrive(&world, &paid(&world, &order, "p-1", MINOR)).await;
        assert_eq!(balance(&world, "u_1"), MINOR.into());
        for body in [to_user("u_2"), credit_order(&others)] {
            resolve(&world, "operator", &seen, &body).await;
            let open = review(&world, &seen["reviewId"]).await;
            assert_eq!(
                (&open["status"], &open["refusal"]),
                (&json!("OPEN"), &json!("the payment is credited already, to another user"))
            );
        }
        assert_eq!(world.order(&others).await["status"], "PENDING");
        resolve(&world, "operator", &seen, &to_user("u_1")).await;
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "CREDITED");
        assert_eq!((balance(&world, "u_1"), balance(&world, "u_2")), (MINOR.into(), 0));
        sound(&world).await;
    });
}

#[test]
fn no_review_says_credited_where_the_payment_was_refused_with_the_order() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Exact).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
        resolve(&world, "admin", &only_review(&world).await, &note("reject")).await;
        assert_eq!(stands(&world, &order).await, "FAILED manual 4000000 0 REFUSED");
        let row = store(&world).order(&OrderId::parse(&order).unwrap()).await.unwrap().unwrap();
        let actors: Vec<&str> = row.history.iter().map(|step| step.actor.as_str()).collect();
        assert_eq!(actors, ["create-order", "callback", "operator"]);
        let mut nameless = paid(&world, &order, "p-1", 4_000_000);
        nameless.evidence.order_id = None;
        arrive(&world, &nameless).await;
        let seen = only_review(&world).await;
        assert_eq!(seen["why"], "unknown_order");
        resolve(&world, "operator", &seen, &credit_order(&order)).await;
        let open = review(&world, &seen["reviewId"]).await;
        assert_eq!(
            (&open["status"], &open["refusal"]),
            (&json!("OPEN"), &json!("the payment was refused with this order"))
        );
        assert_eq!(stands(&world, &order).await, "FAILED manual 4000000 0 REFUSED");
        assert_eq!(balance(&world, "u_1"), 0);
        sound(&world).await;
    });
}

#[test]
fn what_is_in_suspense_for_one_order_is_not_said_to_be_credited_with_another() {
    for named in [true, false] {
        simulate(1, async || {
            let world = World::new().await;
            set_policy(&world, AmountPolicy::Accumulate).await;
            let large = order(&world, "u_1", 2 * MINOR, "k-1").await;
            let small = order(&world, "u_1", 4_000_000, "k-2").await;
            let mut nameless = paid(&world, &small, "p-1", 4_000_000);
            nameless.evidence.order_id = None;
            if !named {
                arrive(&world, &nameless).await;
            }
            arrive(&world, &paid(&world, &large, "p-1", 4_000_000)).await;
            // The provider corrects itself.
            if named {
                arrive(&world, &paid(&world, &small, "p-1", 4_000_000)).await;
            }
            let seen = only_review(&world).await;
            let why = if named { "second_payment" } else { "unknown_order" };
            assert_eq!(seen["why"], why);
            for body in [credit_order(&small), to_user("u_1")] {
                resolve(&world, "operator", &seen, &body).await;
                let open = review(&world, &seen["reviewId"]).await;
                assert_eq!(
                    (&open["status"], &open["refusal"]),
                    (&json!("OPEN"), &json!("it waits in suspense for the rest of its order"))
                );
            }
            assert_eq!(stands(&world, &large).await, "PENDING paid_under 4000000 0 HELD");
            assert_eq!(stands(&world, &small).await, "PENDING - 0 0 ");
            assert_eq!(balance(&world, "u_1"), 0);
            // Nor once a person has refused it.
            world.pass(1_800).await;
            world.let_pass(3).await;
            let all = reviews(&world, "operator").await;
            let part = all.iter().find(|one| one["why"] == "incomplete").unwrap();
            resolve(&world, "operator", part, &note("reject")).await;
            for body in [credit_order(&small), credit_order(&large), to_user("u_1")] {
                resolve(&world, "operator", &seen, &body).await;
                let open = review(&world, &seen["reviewId"]).await;
                assert_eq!(
                    (&open["status"], &open["refusal"]),
                    (&json!("OPEN"), &json!("the payment was refused with its order"))
                );
            }
            assert_eq!(balance(&world, "u_1"), 0);
            sound(&world).await;
        });
    }
}

#[test]
fn what_another_account_was_believed_about_is_not_said_to_be_credited() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, "p-1", MINOR);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let own = only_review(&world).await;
        let mut other = paid(&world, &order, "p-1", MINOR);
        other.evidence.account = "APPTEST0002".to_owned();
        arrive(&world, &other).await;
        let all = reviews(&world, "operator").await;
        let wrong = all.iter().find(|one| one["why"] == "wrong_account").unwrap();
        resolve(&world, "operator", wrong, &to_user("u_9")).await;
        assert_eq!(balance(&world, "u_9"), MINOR.into());
        for body in [credit_order(&order), to_user("u_1")] {
            resolve(&world, "operator", &own, &body).await;
            let open = review(&world, &own["reviewId"]).await;
            assert_eq!((&open["status"], balance(&world, "u_1")), (&json!("OPEN"), 0), "{open}");
        }
        sound(&world).await;
    });
}

#[test]
fn a_statement_that_came_too_late_is_credited_by_a_person_with_its_order() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, "p-1", MINOR);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let seen = only_review(&world).await;
        assert_eq!(resolve(&world, "admin", &seen, &credit_order(&order)).await.status, 202);
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "CREDITED");
        assert_eq!(stands(&world, &order).await, "SUCCESS manual 5000000 5000000 CREDITED");
        assert_eq!(balance(&world, "u_1"), MINOR.into());
        sound(&world).await;
    });
}

#[test]
fn what_was_paid_back_says_so_when_somebody_credits_it() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, "p-1", MINOR);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let seen = only_review(&world).await;
        resolve(&world, "admin", &seen, &note("refund")).await;
        let closed = review(&world, &seen["reviewId"]).await;
        assert_eq!((&closed["status"], &closed["booked"]), (&json!("REFUND"), &json!(false)));
        let mut again = paid(&world, &order, "p-1", 4_000_000);
        again.evidence.stale = true;
        arrive(&world, &again).await;
        let seen = only_review(&world).await;
        resolve(&world, "operator", &seen, &to_user("u_1")).await;
        let open = review(&world, &seen["reviewId"]).await;
        assert_eq!(
            (&open["status"], &open["refusal"]),
            (&json!("OPEN"), &json!("the payment was paid back"))
        );
        assert_eq!(balance(&world, "u_1"), 0);
    });
}

#[test]
fn a_part_in_suspense_is_not_said_to_be_credited() {
    simulate(1, async || {
        let world = World::new().await;
        set_policy(&world, AmountPolicy::Accumulate).await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, "p-1", 4_000_000);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let seen = only_review(&world).await;
        arrive(&world, &paid(&world, &order, "p-1", 4_000_000)).await;
        for body in [credit_order(&order), to_user("u_1")] {
            resolve(&world, "operator", &seen, &body).await;
            let open = review(&world, &seen["reviewId"]).await;
            assert_eq!(
                (&open["status"], &open["refusal"]),
                (&json!("OPEN"), &json!("it waits in suspense for the rest of its order"))
            );
        }
        arrive(&world, &paid(&world, &order, "p-2", 1_000_000)).await;
        assert_eq!(balance(&world, "u_1"), MINOR.into());
        resolve(&world, "operator", &seen, &credit_order(&order)).await;
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "CREDITED");
        sound(&world).await;
    });
}

#[test]
fn a_vote_counts_by_what_it_was_about_and_not_by_the_clocks() {
    simulate(1, async || {
        let world = World::new().await;
        arrive(&world, &paid(&world, "R0000000000000000000000000", "p-1", LARGE)).await;
        let id = only_review(&world).await["reviewId"].as_str().unwrap().to_owned();
        let review = store(&world).review(&ReviewId::parse(&id).unwrap()).await.unwrap().unwrap();
        let at = |ms: i64| Timestamp::from_millis(world.clock().now_ms() + ms);
        let by = |by: &str, ms| Ruling {
            action: Action::Reject,
            by: by.to_owned(),
            note: "x".to_owned(),
            at: at(ms),
            second: None,
            about: None,
        };
        // The desk's clock is half a minute ahead of the worker's.
        let Ruled::Proposed(first) = review.rule(by("admin", 30_000), true) else { unreachable!() };
        let mut waits = review.ruled(ReviewState::Proposed, first.clone());
        assert!(matches!(waits.rule(by("admin2", 31_000), true), Ruled::Approved(_)));
        waits.seen_again_at = Some(at(100));
        assert!(waits.has_been_said_since(&first));
        let Ruled::Proposed(anew) = waits.rule(by("admin2", 31_000), true) else { unreachable!() };
        let waits = waits.ruled(ReviewState::Proposed, anew.clone());
        assert!(!waits.has_been_said_since(&anew));
        assert!(matches!(waits.rule(by("admin", 32_000), true), Ruled::Approved(_)));
    });
}

/// The first transfer was refused, and the payer has sent the right sum: the provider calls both what the order is called.
async fn paid_anew(world: &World) -> (String, Value) {
    set_policy(world, AmountPolicy::Exact).await;
    let order = order(world, "u_1", MINOR, "k-1").await;
    arrive(world, &paid(world, &order, &order, 4_000_000)).await;
    resolve(world, "admin", &only_review(world).await, &note("reject")).await;
    assert_eq!(stands(world, &order).await, "FAILED manual 4000000 0 REFUSED");
    arrive(world, &paid(world, &order, &order, MINOR)).await;
    let seen = only_review(world).await;
    assert_eq!(seen["why"], "amount_conflict");
    (order, seen)
}

fn credit_user(user: &str) -> Value {
    json!({"action": "credit_user", "userId": user, "note": "the payer has shown both transfers"})
}

#[test]
fn a_second_transfer_that_has_no_name_of_its_own_is_credited_by_two_people() {
    simulate(1, async || {
        let world = World::new().await;
        let (order, seen) = paid_anew(&world).await;
        for refused in [credit_order(&order), credit_user("u_2")] {
            assert_eq!(resolve(&world, "admin", &seen, &refused).await.status, 409, "{refused}");
        }
        for (person, status) in [("admin", "PROPOSED"), ("admin2", "APPROVED")] {
            let answered = resolve(&world, person, &seen, &credit_user("u_1")).await;
            assert_eq!((answered.status, &answered.json["status"]), (202, &json!(status)));
        }
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "CREDITED");
        assert_eq!(stands(&world, &order).await, "FAILED manual 4000000 0 REFUSED");
        for minor in [4_000_000, MINOR] {
            arrive(&world, &paid(&world, &order, &order, minor)).await;
            world.let_pass(2).await;
            assert_eq!(balance(&world, "u_1"), MINOR.into());
        }
        assert_eq!(reviews(&world, "operator").await.len(), 0);
        sound(&world).await;
    });
}

#[test]
fn one_that_contradicts_a_credited_transfer_is_another_one_if_two_people_say_so() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        arrive(&world, &paid(&world, &order, &order, 1_000_000)).await;
        assert_eq!(balance(&world, "u_1"), 1_000_000);
        arrive(&world, &paid(&world, &order, &order, 4_000_000)).await;
        let seen = only_review(&world).await;
        for person in ["admin", "admin2"] {
            assert_eq!(resolve(&world, person, &seen, &credit_user("u_1")).await.status, 202);
        }
        assert_eq!(balance(&world, "u_1"), MINOR.into());
        sound(&world).await;
    });
}

#[test]
fn second_transfers_of_two_orders_are_two_payments() {
    simulate(1, async || {
        let world = World::new().await;
        for (key, before) in [("k-1", 0), ("k-2", MINOR)] {
            let order = order(&world, "u_1", MINOR, key).await;
            arrive(&world, &paid(&world, &order, &order, 1_000_000)).await;
            arrive(&world, &paid(&world, &order, &order, 4_000_000)).await;
            let seen = only_review(&world).await;
            for person in ["admin", "admin2"] {
                let decided = resolve(&world, person, &seen, &credit_user("u_1")).await;
                assert_eq!(decided.status, 202);
            }
            assert_eq!(balance(&world, "u_1"), i128::from(before + MINOR));
        }
        assert_eq!(reviews(&world, "operator").await, Vec::<Value>::new());
        sound(&world).await;
    });
}

#[test]
fn whatever_fails_a_second_transfer_is_credited_once_and_announced() {
    let mut tried = 0;
    for fault in Fault::ALL {
        for index in 0..12 {
            let met = simulate(1, async || {
                let world = World::new().await;
                world.give_default_address().await;
                let (_, seen) = paid_anew(&world).await;
                resolve(&world, "admin", &seen, &credit_user("u_1")).await;
                let path = format!("/admin/reviews/{}/resolve", seen["reviewId"].as_str().unwrap());
                send_as(&world, "admin2", "POST", &path, &credit_user("u_1")).await;
                let faults = Faults::at(world.clock().clone(), index, fault);
                let functions = world.instance(&faults, 1);
                let work = world.stack.settle_batch_with(&functions, 0);
                let _ = until_crash(&faults, work).await;
                world.pass(181).await;
                world.settle().await;
                assert_eq!(balance(&world, "u_1"), MINOR.into(), "{fault:?} at {index}");
                world.notify().await;
                assert_eq!(world.books().violations(), Vec::<String>::new());
                let untold = world.untold_of(|_| true).await;
                assert_eq!(untold, Vec::<String>::new(), "{fault:?} at {index}");
                faults.calls() > index
            });
            tried += usize::from(met);
        }
    }
    // The review, the order, one transaction, and what is announced.
    assert!(tried >= 6 * 4, "{tried}");
}

/// Makes another statement of a deposit.
type Speak = fn(&mut Evidence);

/// The same deposit, said otherwise: in other words, too.
fn said_otherwise(deposited: &Evidence, speak: Speak) -> Evidence {
    let mut against = Evidence { raw: "otherwise".to_owned(), ..deposited.clone() };
    speak(&mut against);
    against
}

/// What a provider may say of a deposit before it says that it is the user's, and why that is put aside.
const AGAINST: [(Speak, &str); 4] = [
    (|said| said.kind = EvidenceKind::Declined, "declined_late"),
    (|said| said.kind = EvidenceKind::Unlisted, "unlisted_currency"),
    (|said| said.kind = EvidenceKind::Paid(Money::new(0, Currency::Usdt)), "nothing_received"),
    (
        |said| {
            let (merchant, user) = (MerchantId::parse("m_demo"), UserId::parse("u_9"));
            said.user_mark = merchant.zip(user).map(|(m, u)| UserMark::derive(&m, &u));
        },
        "wrong_user",
    ),
];

/// The review of what was said first, and of what contradicts it; there is no other.
async fn both(world: &World, why: &str) -> [Value; 2] {
    let mut all = reviews(world, "operator").await;
    all.sort_by_key(|one| one["why"] == "amount_conflict");
    let found: Vec<&str> = all.iter().map(|one| one["why"].as_str().unwrap()).collect();
    assert_eq!(found, [why, "amount_conflict"]);
    all.try_into().unwrap()
}

fn message(evidence: &Evidence) -> SettlementMessage {
    SettlementMessage { trace: TraceId::parse("test").unwrap(), evidence: evidence.clone() }
}

#[test]
fn a_deposit_that_was_said_to_be_something_else_is_credited_by_a_person_alone() {
    for (speak, why) in AGAINST {
        simulate(1, async || {
            let world = World::new().await;
            let deposited = deposited(&world).await;
            let against = said_otherwise(&deposited, speak);
            arrive(&world, &message(&against)).await;
            for _ in 0..2 {
                arrive(&world, &message(&deposited)).await;
                world.let_pass(2).await;
            }
            let all = both(&world, why).await;
            assert_eq!(balance(&world, "u_1"), 0, "{why}");
            let mut credit = credit_user("u_1");
            credit["merchant"] = "m_demo".into();
            assert_eq!(resolve(&world, "operator", &all[1], &credit).await.status, 202, "{why}");
            assert_eq!(balance(&world, "u_1"), 25_000_000, "{why}");
            // The other statement of the same payment credits nothing more.
            resolve(&world, "operator", &all[0], &credit).await;
            arrive(&world, &message(&deposited)).await;
            assert_eq!(balance(&world, "u_1"), 25_000_000, "{why}");
            sound(&world).await;
        });
    }
}

#[test]
fn what_was_said_against_a_deposit_is_credited_or_paid_back_by_a_person_as_before() {
    for action in ["credit_user", "refund"] {
        simulate(1, async || {
            let world = World::new().await;
            let deposited = deposited(&world).await;
            let against = said_otherwise(&deposited, AGAINST[3].0);
            arrive(&world, &message(&against)).await;
            let seen = only_review(&world).await;
            let mut body = credit_user("u_1");
            body["merchant"] = "m_demo".into();
            let body = if action == "refund" { note("refund") } else { body };
            assert_eq!(resolve(&world, "operator", &seen, &body).await.status, 202);
            arrive(&world, &message(&deposited)).await;
            let (credited, refunds) = if action == "refund" { (0, 1) } else { (25_000_000, 0) };
            assert_eq!((balance(&world, "u_1"), world.books().refunds), (credited, refunds));
            sound(&world).await;
        });
    }
}

#[test]
fn whatever_fails_a_deposit_that_has_failed_is_not_credited_by_itself() {
    let mut tried = 0;
    for fault in Fault::ALL {
        for index in 0..10 {
            let met = simulate(1, async || {
                let world = World::new().await;
                let deposited = deposited(&world).await;
                let against = said_otherwise(&deposited, AGAINST[0].0);
                queue(&world).send(&message(&against)).await.unwrap();
                let faults = Faults::at(world.clock().clone(), index, fault);
                let functions = world.instance(&faults, 1);
                let work = world.stack.settle_batch_with(&functions, 0);
                let _ = until_crash(&faults, work).await;
                world.pass(181).await;
                world.settle().await;
                let first = faults.calls();
                arrive(&world, &message(&deposited)).await;
                let all = both(&world, "declined_late").await;
                assert_eq!(balance(&world, "u_1"), 0, "{fault:?} at {index}");
                let mut credit = credit_user("u_1");
                credit["merchant"] = "m_demo".into();
                let path =
                    format!("/admin/reviews/{}/resolve", all[1]["reviewId"].as_str().unwrap());
                send_as(&world, "operator", "POST", &path, &credit).await;
                let faults = Faults::at(world.clock().clone(), index, fault);
                let functions = world.instance(&faults, 1);
                let work = world.stack.settle_batch_with(&functions, 0);
                let _ = until_crash(&faults, work).await;
                world.pass(181).await;
                world.settle().await;
                assert_eq!(balance(&world, "u_1"), 25_000_000, "{fault:?} at {index}");
                sound(&world).await;
                first > index || faults.calls() > index
            });
            tried += usize::from(met);
        }
    }
    // The order, the address, the merchant, a transaction.
    assert!(tried >= 6 * 4, "{tried}");
}

/// The same transfer as the provider tells it once more, as another payment.
fn told_again(deposited: &Evidence, id: &str) -> Evidence {
    let order_id = OrderId::of_payment(&deposited.provider, &deposited.account, id);
    let hash = deposited.transaction_id.as_deref().unwrap();
    Evidence {
        payment_id: id.to_owned(),
        order_id: Some(order_id),
        transaction_id: Some(format!("0x{}", hash.to_uppercase())),
        digest: [9; 32],
        ..deposited.clone()
    }
}

fn by_two() -> [(&'static str, Value); 2] {
    ["operator", "operator2"].map(|person| (person, to_user("u_1")))
}

#[test]
fn a_transfer_that_is_told_as_two_deposits_is_credited_once_by_itself() {
    simulate(1, async || {
        let world = World::new().await;
        let deposited = deposited(&world).await;
        let again = told_again(&deposited, "77");
        for evidence in [&deposited, &again, &deposited, &again] {
            arrive(&world, &message(evidence)).await;
        }
        let seen = only_review(&world).await;
        assert_eq!((balance(&world, "u_1"), &seen["why"]), (25_000_000, &json!("same_transfer")));
        let known = store(&world).known_statements(&[deposited, again]).await.unwrap();
        assert_eq!((known[0].booked, known[1].parked), (true, true));
        // Who has looked at the chain may find that one transaction has paid twice.
        for (person, body) in by_two() {
            assert_eq!(balance(&world, "u_1"), 25_000_000);
            assert_eq!(resolve(&world, person, &seen, &body).await.status, 202);
        }
        assert_eq!(balance(&world, "u_1"), 50_000_000);
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "CREDITED");
        sound(&world).await;
    });
}

#[test]
fn what_was_paid_back_as_the_same_transfer_ends_when_it_comes_again() {
    simulate(1, async || {
        let world = World::new().await;
        let deposited = deposited(&world).await;
        let again = told_again(&deposited, "77");
        for evidence in [&deposited, &again] {
            arrive(&world, &message(evidence)).await;
        }
        let seen = only_review(&world).await;
        assert_eq!(resolve(&world, "operator", &seen, &note("refund")).await.status, 202);
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "REFUND");
        arrive(&world, &message(&again)).await;
        let depth = world.stack.depth();
        assert_eq!(depth.visible + depth.in_flight, 0);
        assert_eq!((balance(&world, "u_1"), world.books().refunds), (25_000_000, 1));
        sound(&world).await;
    });
}

/// Makes another deposit of one.
type Differ = fn(&mut Evidence);

#[test]
fn another_transaction_or_one_that_is_not_told_is_another_transfer() {
    let differ: [Differ; 3] = [
        |other| other.transaction_id = Some("ff".to_owned()),
        |other| other.transaction_id = None,
        |other| other.transaction_id = Some("0x0000".to_owned()),
    ];
    for differ in differ {
        simulate(1, async || {
            let world = World::new().await;
            let mut deposited = deposited(&world).await;
            let mut other = told_again(&deposited, "77");
            differ(&mut other);
            // Of no transaction that is told nobody knows that it is the same one.
            if other.transaction_id.as_deref() != Some("ff") {
                deposited.transaction_id.clone_from(&other.transaction_id);
            }
            for evidence in [&deposited, &other] {
                arrive(&world, &message(evidence)).await;
            }
            assert_eq!((balance(&world, "u_1"), world.books().parked), (50_000_000, 0));
            sound(&world).await;
        });
    }
}

/// The review of a deposit that came too late to be believed; its transfer is credited since, as another deposit.
async fn credited_by_another_name(world: &World) -> Value {
    let mut stale = deposited(world).await;
    stale.stale = true;
    arrive(world, &message(&stale)).await;
    let again = told_again(&stale, "77");
    arrive(world, &message(&Evidence { stale: false, ..again })).await;
    let seen = only_review(world).await;
    assert_eq!((balance(world, "u_1"), &seen["why"]), (25_000_000, &json!("stale")));
    seen
}

#[test]
fn who_credits_a_transfer_hears_first_that_it_is_credited_by_another_name() {
    simulate(1, async || {
        let world = World::new().await;
        let seen = credited_by_another_name(&world).await;
        assert_eq!(resolve(&world, "operator", &seen, &to_user("u_1")).await.status, 202);
        let open = only_review(&world).await;
        assert_eq!(
            (&open["why"], &open["refusal"]),
            (&json!("same_transfer"), &json!("same_transfer; it was put aside as stale"))
        );
        assert_eq!(balance(&world, "u_1"), 25_000_000);
        for (person, body) in by_two() {
            assert_eq!(resolve(&world, person, &seen, &body).await.status, 202);
        }
        assert_eq!(balance(&world, "u_1"), 50_000_000);
        sound(&world).await;
    });
}

#[test]
fn who_pays_a_transfer_back_hears_first_that_it_is_credited_by_another_name() {
    simulate(1, async || {
        let world = World::new().await;
        let seen = credited_by_another_name(&world).await;
        assert_eq!(resolve(&world, "operator", &seen, &note("refund")).await.status, 202);
        let open = only_review(&world).await;
        let told = (&json!("OPEN"), &json!("same_transfer"));
        assert_eq!((&open["status"], &open["why"]), told);
        assert_eq!(world.books().refunds, 0);
        assert_eq!(resolve(&world, "operator", &seen, &note("refund")).await.status, 202);
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "REFUND");
        assert_eq!((balance(&world, "u_1"), world.books().refunds), (25_000_000, 1));
        sound(&world).await;
    });
}

#[test]
fn whatever_fails_who_pays_a_transfer_back_hears_that_it_is_credited_by_another_name() {
    let mut tried = 0;
    for fault in Fault::ALL {
        for index in 0..10 {
            let met = simulate(1, async || {
                let world = World::new().await;
                let seen = credited_by_another_name(&world).await;
                let path = format!("/admin/reviews/{}/resolve", seen["reviewId"].as_str().unwrap());
                let decided = send_as(&world, "operator", "POST", &path, &note("refund")).await;
                assert_eq!(decided.status, 202);
                let faults = Faults::at(world.clock().clone(), index, fault);
                let functions = world.instance(&faults, 1);
                let work = world.stack.settle_batch_with(&functions, 0);
                let _ = until_crash(&faults, work).await;
                world.pass(181).await;
                world.settle().await;
                world.let_pass(3).await;
                let open = only_review(&world).await;
                let told = (&open["status"], &open["why"]);
                let context = format!("{fault:?} at {index}");
                assert_eq!(told, (&json!("OPEN"), &json!("same_transfer")), "{context}");
                let booked = (balance(&world, "u_1"), world.books().refunds);
                assert_eq!(booked, (25_000_000, 0), "{context}");
                sound(&world).await;
                faults.calls() > index
            });
            tried += usize::from(met);
        }
    }
    // The review, what is booked, and two transactions.
    assert!(tried >= 6 * 3, "{tried}");
}

/// A credited deposit that is told with another transaction, which is the one of another deposit.
async fn told_with_another_transaction(world: &World) -> (Evidence, Value) {
    let deposited = deposited(world).await;
    arrive(world, &message(&deposited)).await;
    let conflict = said_otherwise(&deposited, |said| said.transaction_id = Some("ff".to_owned()));
    arrive(world, &message(&conflict)).await;
    let seen = only_review(world).await;
    assert_eq!((balance(world, "u_1"), &seen["why"]), (25_000_000, &json!("amount_conflict")));
    (told_again(&conflict, "77"), seen)
}

#[test]
fn who_pays_a_contradiction_back_hears_first_that_its_transfer_is_credited_by_another_name() {
    simulate(1, async || {
        let world = World::new().await;
        let (other, seen) = told_with_another_transaction(&world).await;
        arrive(&world, &message(&other)).await;
        assert_eq!(balance(&world, "u_1"), 50_000_000);
        resolve(&world, "operator", &seen, &note("refund")).await;
        let open = only_review(&world).await;
        let told = (&open["status"], &open["why"]);
        assert_eq!(told, (&json!("OPEN"), &json!("same_transfer")));
        resolve(&world, "operator", &seen, &note("refund")).await;
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "REFUND");
        assert_eq!((balance(&world, "u_1"), world.books().refunds), (50_000_000, 0));
        sound(&world).await;
    });
}

#[test]
fn whatever_fails_a_contradiction_that_was_paid_back_is_not_credited_by_another_name() {
    let mut tried = 0;
    for fault in Fault::ALL {
        for index in 0..10 {
            let met = simulate(1, async || {
                let world = World::new().await;
                let (other, seen) = told_with_another_transaction(&world).await;
                let path = format!("/admin/reviews/{}/resolve", seen["reviewId"].as_str().unwrap());
                let decided = send_as(&world, "operator", "POST", &path, &note("refund")).await;
                assert_eq!(decided.status, 202);
                let faults = Faults::at(world.clock().clone(), index, fault);
                let functions = world.instance(&faults, 1);
                let work = world.stack.settle_batch_with(&functions, 0);
                let _ = until_crash(&faults, work).await;
                world.pass(181).await;
                world.settle().await;
                world.let_pass(3).await;
                let context = format!("{fault:?} at {index}");
                let ended = review(&world, &seen["reviewId"]).await;
                assert_eq!(ended["status"], "REFUND", "{context}");
                arrive(&world, &message(&other)).await;
                assert_eq!(only_review(&world).await["why"], "same_transfer", "{context}");
                assert_eq!(balance(&world, "u_1"), 25_000_000, "{context}");
                sound(&world).await;
                faults.calls() > index
            });
            tried += usize::from(met);
        }
    }
    // The review, what is booked, and two transactions.
    assert!(tried >= 6 * 4, "{tried}");
}

#[test]
fn a_second_name_of_a_transfer_is_not_credited_by_itself_when_it_is_told_with_another_transaction()
{
    let differ: [Differ; 2] =
        [|other| other.transaction_id = Some("ff".to_owned()), |other| other.transaction_id = None];
    for differ in differ {
        simulate(1, async || {
            let world = World::new().await;
            let deposited = deposited(&world).await;
            let again = told_again(&deposited, "77");
            let mut other = Evidence { digest: [7; 32], ..again.clone() };
            other.raw.push_str("&another");
            differ(&mut other);
            for evidence in [&deposited, &again, &other, &again] {
                arrive(&world, &message(evidence)).await;
                assert_eq!(balance(&world, "u_1"), 25_000_000);
            }
            let seen = only_review(&world).await;
            assert_eq!(seen["why"], "same_transfer");
            for (person, body) in by_two() {
                assert_eq!(resolve(&world, person, &seen, &body).await.status, 202);
            }
            assert_eq!(balance(&world, "u_1"), 50_000_000);
            sound(&world).await;
        });
    }
}

#[test]
fn a_transfer_that_was_paid_back_is_not_credited_by_another_name() {
    simulate(1, async || {
        let world = World::new().await;
        let mut stale = deposited(&world).await;
        stale.stale = true;
        arrive(&world, &message(&stale)).await;
        let seen = only_review(&world).await;
        assert_eq!(resolve(&world, "operator", &seen, &note("refund")).await.status, 202);
        let again = told_again(&stale, "77");
        arrive(&world, &message(&Evidence { stale: false, ..again })).await;
        assert_eq!(balance(&world, "u_1"), 0);
        assert_eq!(only_review(&world).await["why"], "same_transfer");
        sound(&world).await;
    });
}

#[test]
fn a_deposit_that_was_paid_back_unread_is_not_credited_by_another_name() {
    for kind in [EvidenceKind::Unlisted, EvidenceKind::Unrecognised] {
        simulate(1, async || {
            let world = World::new().await;
            let deposited = deposited(&world).await;
            arrive(&world, &message(&Evidence { kind, ..deposited.clone() })).await;
            let seen = only_review(&world).await;
            for person in ["operator", "operator2"] {
                assert_eq!(resolve(&world, person, &seen, &note("refund")).await.status, 202);
            }
            assert_eq!(review(&world, &seen["reviewId"]).await["status"], "REFUND");
            arrive(&world, &message(&told_again(&deposited, "77"))).await;
            assert_eq!(balance(&world, "u_1"), 0, "{kind:?}");
            assert_eq!(only_review(&world).await["why"], "same_transfer", "{kind:?}");
            sound(&world).await;
        });
    }
}

#[test]
fn who_pays_back_what_nobody_could_read_hears_first_that_it_is_credited_by_another_name() {
    simulate(1, async || {
        let world = World::new().await;
        let deposited = deposited(&world).await;
        let unlisted = Evidence { kind: EvidenceKind::Unlisted, ..deposited.clone() };
        for evidence in [&unlisted, &told_again(&deposited, "77")] {
            arrive(&world, &message(evidence)).await;
        }
        assert_eq!(balance(&world, "u_1"), 25_000_000);
        let seen = only_review(&world).await;
        for person in ["operator", "operator2"] {
            assert_eq!(resolve(&world, person, &seen, &note("refund")).await.status, 202);
        }
        let open = only_review(&world).await;
        let told = (&open["status"], &open["why"]);
        assert_eq!(told, (&json!("OPEN"), &json!("same_transfer")));
        assert_eq!(world.books().refunds, 0);
        sound(&world).await;
    });
}

#[test]
fn whatever_fails_a_transfer_that_is_told_as_two_deposits_is_credited_once() {
    let mut tried = 0;
    for fault in Fault::ALL {
        for index in 0..10 {
            let met = simulate(1, async || {
                let world = World::new().await;
                let deposited = deposited(&world).await;
                let again = told_again(&deposited, "77");
                let mut met = false;
                for evidence in [&deposited, &again] {
                    queue(&world).send(&message(evidence)).await.unwrap();
                    let faults = Faults::at(world.clock().clone(), index, fault);
                    let functions = world.instance(&faults, 1);
                    let work = world.stack.settle_batch_with(&functions, 0);
                    let _ = until_crash(&faults, work).await;
                    met |= faults.calls() > index;
                }
                world.pass(181).await;
                world.settle().await;
                world.let_pass(3).await;
                assert_eq!(only_review(&world).await["why"], "same_transfer");
                assert_eq!(balance(&world, "u_1"), 25_000_000, "{fault:?} at {index}");
                sound(&world).await;
                met
            });
            tried += usize::from(met);
        }
    }
    // The order, the address, the merchant, the transaction, what is put aside.
    assert!(tried >= 6 * 5, "{tried}");
}

/// What our own settings put aside is credited once they are mended: the provider has never said otherwise.
#[test]
fn the_same_words_of_a_deposit_are_credited_once_they_are_understood() {
    for speak in [AGAINST[1].0, AGAINST[2].0] {
        simulate(1, async || {
            let world = World::new().await;
            let deposited = deposited(&world).await;
            let mut unlisted = deposited.clone();
            speak(&mut unlisted);
            arrive(&world, &message(&unlisted)).await;
            assert_eq!((balance(&world, "u_1"), world.books().parked), (0, 1));
            for _ in 0..2 {
                arrive(&world, &message(&deposited)).await;
            }
            assert_eq!((balance(&world, "u_1"), world.books().parked), (25_000_000, 1));
            // Said of what is booked, it takes nothing back.
            arrive(&world, &message(&said_otherwise(&deposited, speak))).await;
            assert_eq!(balance(&world, "u_1"), 25_000_000);
            sound(&world).await;
        });
    }
}

#[test]
fn a_deposit_that_was_paid_back_by_one_of_two_statements_is_credited_by_neither() {
    for (speak, why) in AGAINST {
        simulate(1, async || {
            let world = World::new().await;
            let deposited = deposited(&world).await;
            arrive(&world, &message(&said_otherwise(&deposited, speak))).await;
            arrive(&world, &message(&deposited)).await;
            let all = both(&world, why).await;
            assert_eq!(resolve(&world, "operator", &all[1], &note("refund")).await.status, 202);
            assert_eq!(world.books().refunds, 1, "{why}");
            resolve(&world, "operator", &all[0], &to_user("u_1")).await;
            arrive(&world, &message(&deposited)).await;
            assert_eq!(balance(&world, "u_1"), 0, "{why}");
            sound(&world).await;
        });
    }
}

/// What contradicts a credit is paid back without it.
#[test]
fn another_amount_of_a_credited_deposit_goes_back_beside_the_credit() {
    simulate(1, async || {
        let world = World::new().await;
        let deposited = deposited(&world).await;
        arrive(&world, &message(&deposited)).await;
        let kind = EvidenceKind::Paid(Money::new(7_000_000, Currency::Usdt));
        arrive(&world, &message(&Evidence { kind, ..deposited })).await;
        let seen = only_review(&world).await;
        assert_eq!(seen["why"], "amount_conflict");
        assert_eq!(resolve(&world, "operator", &seen, &note("refund")).await.status, 202);
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "REFUND");
        assert_eq!((balance(&world, "u_1"), world.books().refunds), (25_000_000, 0));
        sound(&world).await;
    });
}

#[test]
fn dust_that_one_of_two_statements_has_is_a_conflict() {
    let dust = recharge_shared::domain::evidence::Dust { units: 250, scale: 18 };
    for first in [None, Some(dust)] {
        simulate(1, async || {
            let world = World::new().await;
            let deposited = deposited(&world).await;
            let second = if first.is_none() { Some(dust) } else { None };
            let [one, other] = [first, second].map(|dust| Evidence { dust, ..deposited.clone() });
            for evidence in [&one, &other] {
                arrive(&world, &message(evidence)).await;
            }
            assert_eq!(only_review(&world).await["why"], "amount_conflict");
            let known = store(&world).known_statements(&[one, other]).await.unwrap();
            let contradicted: Vec<bool> = known.iter().map(|known| known.contradicted).collect();
            assert_eq!((contradicted, balance(&world, "u_1")), (vec![false, true], 25_000_000));
            sound(&world).await;
        });
    }
}

#[test]
fn a_failure_that_was_put_aside_before_the_address_was_known_counts_when_it_is_said_again() {
    simulate(1, async || {
        let world = World::new().await;
        let deposited = deposited(&world).await;
        let failed = said_otherwise(&deposited, AGAINST[0].0);
        // The row of the address came later than the first statement.
        let whose = recharge_shared::store::Whose::default();
        let why = recharge_shared::domain::ParkReason::UnknownAddress;
        store(&world).park(&failed, why, whose, failed.observed_at).await.unwrap();
        arrive(&world, &message(&failed)).await;
        arrive(&world, &message(&deposited)).await;
        both(&world, "unknown_address").await;
        assert_eq!(balance(&world, "u_1"), 0);
        sound(&world).await;
    });
}

#[test]
fn a_first_transfer_that_was_put_aside_is_credited_beside_the_second_one_by_two_people() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, &order, 4_000_000);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        arrive(&world, &paid(&world, &order, &order, MINOR)).await;
        let seen = only_review(&world).await;
        assert_eq!((balance(&world, "u_1"), &seen["why"]), (MINOR.into(), &json!("stale")));
        assert_eq!(resolve(&world, "admin", &seen, &credit_order(&order)).await.status, 409);
        // What people have said counts when they are told that it would be another one.
        for why in ["stale", "amount_conflict"] {
            let open = review(&world, &seen["reviewId"]).await;
            assert_eq!((&open["status"], &open["why"]), (&json!("OPEN"), &json!(why)));
            for person in ["admin", "admin2"] {
                assert_eq!(balance(&world, "u_1"), MINOR.into());
                assert_eq!(resolve(&world, person, &seen, &credit_user("u_1")).await.status, 202);
            }
        }
        assert_eq!(balance(&world, "u_1"), i128::from(MINOR) + 4_000_000);
        assert_eq!(review(&world, &seen["reviewId"]).await["status"], "CREDITED");
        sound(&world).await;
    });
}

#[test]
fn what_was_rejected_as_too_old_and_comes_beside_a_credit_is_a_persons_matter_again() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, &order, 4_000_000);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let seen = only_review(&world).await;
        assert_eq!(resolve(&world, "admin", &seen, &note("reject")).await.status, 202);
        arrive(&world, &paid(&world, &order, &order, MINOR)).await;
        assert_eq!(reviews(&world, "admin").await, Vec::<Value>::new());
        let again = paid(&world, &order, &order, 4_000_000);
        for _ in 0..2 {
            arrive(&world, &again).await;
            let open = only_review(&world).await;
            assert_eq!(
                (&open["reviewId"], &open["why"]),
                (&seen["reviewId"], &json!("amount_conflict"))
            );
        }
        // What people say of it holds.
        assert_eq!(resolve(&world, "admin", &seen, &note("reject")).await.status, 202);
        arrive(&world, &again).await;
        assert_eq!(reviews(&world, "admin").await, Vec::<Value>::new());
        assert_eq!(balance(&world, "u_1"), MINOR.into());
        sound(&world).await;
    });
}

#[test]
fn a_second_transfer_after_the_first_was_paid_back_is_credited_by_two_people() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let mut stale = paid(&world, &order, &order, 4_000_000);
        stale.evidence.stale = true;
        arrive(&world, &stale).await;
        let seen = only_review(&world).await;
        assert_eq!(resolve(&world, "admin", &seen, &note("refund")).await.status, 202);
        arrive(&world, &paid(&world, &order, &order, MINOR)).await;
        let seen = only_review(&world).await;
        assert_eq!((balance(&world, "u_1"), &seen["why"]), (0, &json!("second_payment")));
        for person in ["admin", "admin2"] {
            assert_eq!(balance(&world, "u_1"), 0);
            assert_eq!(resolve(&world, person, &seen, &credit_user("u_1")).await.status, 202);
        }
        assert_eq!((balance(&world, "u_1"), world.books().refunds), (MINOR.into(), 1));
        sound(&world).await;
    });
}

#[test]
fn one_person_does_not_credit_a_contradicted_transfer_that_is_credited_by_another_name() {
    simulate(1, async || {
        let world = World::new().await;
        let deposited = deposited(&world).await;
        let again = told_again(&deposited, "77");
        arrive(&world, &message(&said_otherwise(&again, AGAINST[0].0))).await;
        arrive(&world, &message(&again)).await;
        let all = both(&world, "declined_late").await;
        arrive(&world, &message(&deposited)).await;
        assert_eq!(balance(&world, "u_1"), 25_000_000);
        assert_eq!(resolve(&world, "operator", &all[1], &to_user("u_1")).await.status, 202);
        let seen = review(&world, &all[1]["reviewId"]).await;
        assert_eq!((&seen["status"], &seen["why"]), (&json!("OPEN"), &json!("same_transfer")));
        assert_eq!(balance(&world, "u_1"), 25_000_000);
        sound(&world).await;
    });
}

#[test]
fn a_failure_of_a_transfer_that_is_booked_by_another_name_ends_in_a_review() {
    for (speak, why) in AGAINST {
        simulate(1, async || {
            let world = World::new().await;
            let deposited = deposited(&world).await;
            arrive(&world, &message(&deposited)).await;
            let again = told_again(&deposited, "77");
            for evidence in [&said_otherwise(&again, speak), &again, &again] {
                arrive(&world, &message(evidence)).await;
            }
            both(&world, why).await;
            let depth = world.stack.depth();
            assert_eq!((depth.visible + depth.in_flight, balance(&world, "u_1")), (0, 25_000_000));
            sound(&world).await;
        });
    }
}

#[test]
fn the_same_words_are_not_enough_once_the_provider_has_said_more() {
    // Its failure, another user, or more than any rule credits.
    let beyond: Speak =
        |said| said.kind = EvidenceKind::Paid(Money::new(10i128.pow(30), Currency::Usdt));
    for contradiction in [AGAINST[0].0, AGAINST[3].0, beyond] {
        simulate(1, async || {
            let world = World::new().await;
            let deposited = deposited(&world).await;
            let mut unlisted = deposited.clone();
            AGAINST[1].0(&mut unlisted);
            for evidence in [&unlisted, &said_otherwise(&deposited, contradiction), &deposited] {
                arrive(&world, &message(evidence)).await;
            }
            assert_eq!((balance(&world, "u_1"), world.books().parked), (0, 3));
            sound(&world).await;
        });
    }
}

/// Behind what waits of other merchants a merchant's own reviews are found, and nothing of the others is told.
#[test]
fn a_page_of_reviews_names_no_review_of_another_merchant() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "u_1", MINOR, "k-1").await;
        let said = paid(&world, &order, "p-0", MINOR).evidence;
        let [own, other] = ["m_demo", "m_other"].map(|id| MerchantId::parse(id).unwrap());
        let user = UserId::parse("u_1").unwrap();
        let mut foreign = Vec::new();
        for number in 0..1_000 {
            let payment_id = format!("p-{number}");
            let evidence = Evidence { payment_id, ..said.clone() };
            let merchant = if [50, 990].contains(&number) { &own } else { &other };
            let why = recharge_shared::domain::ParkReason::Stale;
            let whose = recharge_shared::store::Whose {
                owner: Some((merchant, &user)),
                ..recharge_shared::store::Whose::default()
            };
            let at = Timestamp::from_millis(1_700_000_000_000 + number / 3);
            store(&world).park(&evidence, why, whose, at).await.unwrap();
            if merchant == &other {
                foreign.push(evidence.identity());
            }
        }
        let (mut target, mut found, mut pages) = ("/admin/reviews".to_owned(), Vec::new(), 0);
        loop {
            let page = send_as(&world, "admin", "GET", &target, &Value::Null).await;
            assert_eq!(page.status, 200, "{}", page.text);
            let listed = page.json["reviews"].as_array().unwrap();
            found.extend(listed.iter().map(|review| review["reviewId"].clone()));
            pages += 1;
            let Some(cursor) = page.json["nextCursor"].as_str() else { break };
            let position = String::from_utf8(hex::decode(&cursor[16..]).unwrap()).unwrap();
            assert!(position.contains("#K#"), "{position}");
            assert!(!foreign.iter().any(|id| position.contains(id)), "{position}");
            target = format!("/admin/reviews?cursor={cursor}");
        }
        assert!(pages >= 2, "{pages}");
        assert_eq!(found.len(), 2, "{found:?}");
        assert_ne!(found[0], found[1]);
    });
}

#[test]
fn who_pays_a_contradiction_back_hears_first_that_the_deposit_was_credited_meanwhile() {
    simulate(1, async || {
        let world = World::new().await;
        let deposited = deposited(&world).await;
        arrive(&world, &message(&said_otherwise(&deposited, AGAINST[3].0))).await;
        arrive(&world, &message(&deposited)).await;
        let all = both(&world, "wrong_user").await;
        world.pass(60).await;
        assert_eq!(resolve(&world, "operator", &all[0], &to_user("u_1")).await.status, 202);
        assert_eq!(balance(&world, "u_1"), 25_000_000);
        // The page that was open showed neither.
        world.pass(60).await;
        assert_eq!(resolve(&world, "operator2", &all[1], &note("refund")).await.status, 202);
        let seen = review(&world, &all[1]["reviewId"]).await;
        let told = (&json!("OPEN"), &json!("the payment is booked"));
        assert_eq!((&seen["status"], &seen["refusal"]), told);
        assert_eq!(resolve(&world, "operator2", &all[1], &note("refund")).await.status, 202);
        assert_eq!(review(&world, &all[1]["reviewId"]).await["status"], "REFUND");
        assert_eq!((balance(&world, "u_1"), world.books().refunds), (25_000_000, 0));
        sound(&world).await;
    });
}

#[test]
fn whatever_fails_more_than_one_word_about_a_deposit_is_noted() {
    let mut tried = 0;
    for fault in Fault::ALL {
        for index in 0..10 {
            let met = simulate(1, async || {
                let world = World::new().await;
                let deposited = deposited(&world).await;
                let mut unlisted = deposited.clone();
                AGAINST[1].0(&mut unlisted);
                arrive(&world, &message(&unlisted)).await;
                // Its failure was put aside once already, when nobody knew whose the address is.
                let failed = said_otherwise(&deposited, AGAINST[0].0);
                let whose = recharge_shared::store::Whose::default();
                let why = recharge_shared::domain::ParkReason::UnknownAddress;
                store(&world).park(&failed, why, whose, failed.observed_at).await.unwrap();
                queue(&world).send(&message(&failed)).await.unwrap();
                let faults = Faults::at(world.clock().clone(), index, fault);
                let functions = world.instance(&faults, 1);
                let work = world.stack.settle_batch_with(&functions, 0);
                let _ = until_crash(&faults, work).await;
                world.pass(181).await;
                world.settle().await;
                arrive(&world, &message(&deposited)).await;
                assert_eq!(balance(&world, "u_1"), 0, "{fault:?} at {index}");
                assert_eq!(reviews(&world, "operator").await.len(), 3, "{fault:?} at {index}");
                sound(&world).await;
                faults.calls() > index
            });
            tried += usize::from(met);
        }
    }
    // The order, the address, the merchant, what is put aside, and the mark twice.
    assert!(tried >= 6 * 5, "{tried}");
}
