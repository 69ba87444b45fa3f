//! Shadow mode: the whole way without money. And what a worker, a poller or a person of one mode does with what
//! belongs to the other: never a credit, and nothing lost.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use std::sync::Arc;

use recharge_local::aws::faults::{Fault, Faults};
use recharge_local::call::{ADMIN_KEYS, API_KEYS};
use recharge_local::functions::{Functions, Ground};
use recharge_shared::domain::{
    Currency, Evidence, EvidenceKind, Mode, Money, OrderId, ProviderName, Source, Timestamp,
    TraceId, shadow,
};
use recharge_shared::queue::{SettlementMessage, SettlementQueue};
use recharge_tests::world::{simulate, until_crash};
use recharge_tests::{Answered, FaultyOutbound, World};
use serde_json::{Value, json};

const MINOR: i64 = 5_000_000;
const ACCOUNT: &str = "APPTEST0001";

/// Instances in shadow mode, on the world's table and queues; the world's own are live.
fn in_shadow(world: &World) -> Functions {
    let ground = Ground { mode: Mode::Shadow, ..world.stack.ground.clone() };
    Functions::new(&ground).unwrap()
}

/// The same over a broken wire.
fn in_faulty_shadow(world: &World, faults: &Faults) -> Functions {
    let inner = world.stack.ground.outbound.clone();
    let ground = Ground {
        mode: Mode::Shadow,
        wire: faults.wrap(world.stack.ground.aws.http_client()),
        outbound: Arc::new(FaultyOutbound { inner, faults: faults.clone() }),
        attempts: 1,
        ..world.stack.ground.clone()
    };
    Functions::new(&ground).unwrap()
}

async fn create_by(world: &World, functions: &Functions, key: &str) -> Answered {
    world.send_to(functions, &world.create_request("u_1", MINOR, key)).await
}

/// A shadow order that is waiting for its payment.
async fn shadow_order(world: &World, functions: &Functions) -> String {
    let created = create_by(world, functions, "k-1").await;
    assert_eq!(created.status, 201, "{}", created.text);
    created.json["orderId"].as_str().unwrap().to_owned()
}

async fn settle_by(world: &World, functions: &Functions) {
    while world.stack.settle_batch_with(functions, 0).await.unwrap() > 0 {}
}

/// The provider's word about a payment for `order`, true or simulated by its account.
fn says(world: &World, account: &str, order: &str, minor: i64) -> SettlementMessage {
    let evidence = Evidence {
        provider: ProviderName::parse("trader").unwrap(),
        account: account.to_owned(),
        payment_id: order.to_owned(),
        order_id: OrderId::parse(order),
        deposit: None,
        transaction_id: None,
        user_mark: None,
        kind: EvidenceKind::Paid(Money::new(minor.into(), Currency::Usdt)),
        dust: None,
        source: Source::Query,
        stale: false,
        observed_at: Timestamp::from_millis(world.clock().now_ms()),
        digest: [7; 32],
        raw: "test".to_owned(),
    };
    SettlementMessage { trace: TraceId::parse("test").unwrap(), evidence }
}

async fn enqueue(world: &World, message: &SettlementMessage) {
    let aws = &world.stack.ground.aws;
    let queue = SettlementQueue::new(
        aws.sqs(aws.http_client(), 3),
        world.stack.names.settlement_url.clone(),
    );
    queue.send(message).await.unwrap();
}

#[track_caller]
fn nothing_is_credited(world: &World) {
    let books = world.books();
    assert_eq!((books.credits.len(), books.balances.len()), (0, 0), "{books:#?}");
    assert_eq!(books.violations(), Vec::<String>::new());
}

#[test]
fn an_order_goes_the_whole_way_and_nothing_is_credited() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let functions = in_shadow(&world);
        let created = create_by(&world, &functions, "k-1").await;
        assert_eq!((created.status, &created.json["status"]), (201, &json!("PENDING")));
        assert_eq!(created.json["shadow"], true);
        let order = created.json["orderId"].as_str().unwrap().to_owned();
        let address = created.json["payment"]["address"].as_str().unwrap();
        assert_eq!(address, format!("SHADOW-{order}"));
        assert_eq!((world.trader.provider_orders(), world.trader.addresses_made()), (0, 0));
        let again = create_by(&world, &functions, "k-1").await;
        assert_eq!((again.status, &again.json), (200, &created.json));

        world.pass(60).await;
        functions.poll("shadow".to_owned()).await.unwrap();
        settle_by(&world, &functions).await;
        world.stack.notify_batch_with(&functions, 0).await.unwrap();
        let settled = world.order(&order).await;
        assert_eq!((&settled["status"], &settled["shadow"]), (&json!("SUCCESS"), &json!(true)));
        let told = world.receiver.received();
        let body: Value = serde_json::from_str(&told[0].notification.body).unwrap();
        assert_eq!(
            (&body["type"], &body["data"]["shadow"]),
            (&json!("recharge.succeeded"), &json!(true))
        );
        assert_eq!(world.untold().await, Vec::<String>::new());

        nothing_is_credited(&world);
        assert_eq!(world.books().shadows, [order]);
        for path in ["/users/u_1/balances", "/users/u_1/ledger"] {
            let read = world.send(&world.signed(("GET", path), "", "")).await;
            let held = read.json.get("balances").or(read.json.get("entries"));
            assert!(read.status == 404 || held == Some(&json!([])), "{path}: {}", read.text);
        }
        assert_eq!(world.trader.provider_orders(), 0, "the provider has heard nothing");
        let addresses = world.signed(("POST", "/users/u_1/deposit-addresses"), "", "");
        assert_eq!(world.send_to(&functions, &addresses).await.status, 400, "they would stay");
    });
}

#[test]
fn a_live_order_has_no_word_of_shadows() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let created = world.create("u_1", MINOR, "k-1").await;
        assert_eq!(created.json.get("shadow"), None);
    });
}

#[test]
fn a_true_callback_settles_a_shadow_order_once_whatever_else_says_so() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let functions = in_shadow(&world);
        let order = shadow_order(&world, &functions).await;
        // The same order at a provider that was told of it signs the callback.
        let twin = World::of_trader().await;
        twin.create("u_1", MINOR, "k-1").await;
        let callback = twin.pay(&order, None);
        let mut forged = callback.clone();
        forged.body = String::from_utf8_lossy(&callback.body)
            .replace(&order, "R0123456789ABCDEFGHJKMNPQR")
            .into();
        assert_eq!(world.send_to(&functions, &world.callback(&forged)).await.status, 401);
        for _ in 0..3 {
            let taken = world.send_to(&functions, &world.callback(&callback)).await;
            assert_eq!((taken.status, taken.text.as_str()), (200, "success"));
        }
        world.pass(60).await;
        functions.poll("shadow".to_owned()).await.unwrap();
        settle_by(&world, &functions).await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        assert_eq!((world.books().shadows, world.books().parked), (vec![order], 0));
        nothing_is_credited(&world);
    });
}

#[test]
fn a_crash_anywhere_settles_a_shadow_order_once() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::AnswerLost, Fault::Conflict] {
        for index in 0..5 {
            simulate(1, async || {
                let world = World::of_trader().await;
                let healthy = in_shadow(&world);
                let order = shadow_order(&world, &healthy).await;
                enqueue(&world, &says(&world, &shadow::account_of(ACCOUNT), &order, MINOR)).await;
                enqueue(&world, &says(&world, ACCOUNT, &order, MINOR)).await;
                for _ in 0..2 {
                    let faults = Faults::at(world.clock().clone(), index, fault);
                    let functions = in_faulty_shadow(&world, &faults);
                    let work = world.stack.settle_batch_with(&functions, 0);
                    let _ = until_crash(&faults, work).await;
                    world.pass(181).await;
                }
                settle_by(&world, &healthy).await;
                world.notify().await;
                assert_eq!(world.order(&order).await["status"], "SUCCESS", "{fault:?} at {index}");
                assert_eq!(world.books().shadows, [order], "{fault:?} at {index}");
                assert_eq!(world.untold().await, Vec::<String>::new(), "{fault:?} at {index}");
                nothing_is_credited(&world);
            });
        }
    }
}

#[test]
fn live_mode_never_credits_a_shadow_order() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let functions = in_shadow(&world);
        let order = shadow_order(&world, &functions).await;
        // The provider's word, authentic: put aside for a person.
        enqueue(&world, &says(&world, ACCOUNT, &order, MINOR)).await;
        world.settle().await;
        assert_eq!(
            (world.order(&order).await["status"].clone(), world.books().parked),
            (json!("PENDING"), 1)
        );
        nothing_is_credited(&world);
        // A simulated statement: to the dead letters, after the tries that every message has.
        enqueue(&world, &says(&world, &shadow::account_of(ACCOUNT), &order, MINOR)).await;
        for _ in 0..world.stack.names.tries_max {
            world.settle().await;
            world.pass(181).await;
        }
        assert_eq!((world.stack.depth().dead, world.stack.depth().visible), (1, 0));
        assert_eq!(world.order(&order).await["status"], "PENDING");
        // The poller asks nobody about it, and lets it end.
        world.let_pass(60).await;
        assert_eq!(world.order(&order).await["status"], "EXPIRED");
        assert_eq!((world.trader.provider_orders(), world.trader.addresses_made()), (0, 0));
        for _ in 0..40 {
            world.pass(4 * 3_600).await;
            world.let_pass(1).await;
        }
        assert!(world.books().orders.iter().all(|order| !order.due), "looked at for ever");
        nothing_is_credited(&world);
        assert_eq!(world.books().shadows, Vec::<String>::new());
    });
}

#[test]
fn real_money_that_names_a_shadow_order_is_given_to_its_user_by_a_person() {
    for simulated_first in [false, true] {
        simulate(1, async || {
            let world = World::of_trader().await;
            let functions = in_shadow(&world);
            let order = shadow_order(&world, &functions).await;
            if simulated_first {
                enqueue(&world, &says(&world, &shadow::account_of(ACCOUNT), &order, MINOR)).await;
                settle_by(&world, &functions).await;
                assert_eq!(world.order(&order).await["status"], "SUCCESS");
            }
            enqueue(&world, &says(&world, ACCOUNT, &order, MINOR)).await;
            world.settle().await;
            let operator = ADMIN_KEYS[2];
            let signed = |method, path: &str, body: &str| {
                world.signed_as(operator, (method, path), body, "")
            };
            let listed = world.send(&signed("GET", "/admin/reviews", "")).await.json;
            assert_eq!(listed["reviews"].as_array().map(Vec::len), Some(1), "{listed}");
            let review = listed["reviews"][0]["reviewId"].as_str().unwrap().to_owned();
            let body = json!({"action": "credit_user", "merchant": "m_demo", "userId": "u_9",
                "note": "it was real"});
            let path = format!("/admin/reviews/{review}/resolve");
            let decided = world.send(&signed("POST", &path, &body.to_string())).await;
            assert_eq!(decided.status, 202, "{}", decided.text);
            world.settle().await;
            let key = ("m_demo".to_owned(), "u_9".to_owned(), "USDT".to_owned());
            assert_eq!(world.books().balances[&key].amount, i128::from(MINOR));
            assert_eq!(world.stack.depth().dead, 0);
        });
    }
}

#[test]
fn shadow_mode_leaves_live_orders_alone_and_loses_nothing() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let functions = in_shadow(&world);
        let created = world.create("u_1", MINOR, "k-1").await;
        let order = created.json["orderId"].as_str().unwrap().to_owned();
        // A simulated provider would say that it is paid.
        world.pass(90).await;
        functions.poll("shadow".to_owned()).await.unwrap();
        assert_eq!(world.stack.depth().visible, 0, "nobody was asked");
        assert_eq!(world.order(&order).await, created.json);
        let callback = world.pay(&order, None);
        let taken = world.send_to(&functions, &world.callback(&callback)).await;
        assert_eq!(taken.status, 200, "verified and kept");
        for _ in 0..8 {
            settle_by(&world, &functions).await;
            world.pass(181).await;
        }
        assert_eq!(world.order(&order).await, created.json);
        assert_eq!((world.books().parked, world.stack.depth().dead), (0, 0));
        assert_eq!(world.stack.depth().visible, 1, "it waits");
        nothing_is_credited_but(&world, 0);
        world.settle().await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        nothing_is_credited_but(&world, 1);
    });
}

#[test]
fn what_names_no_order_is_put_aside_in_shadow_mode_too() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let functions = in_shadow(&world);
        enqueue(&world, &says(&world, ACCOUNT, "R0123456789ABCDEFGHJKMNPQR", MINOR)).await;
        settle_by(&world, &functions).await;
        assert_eq!((world.books().parked, world.stack.depth().visible), (1, 0));
        nothing_is_credited_but(&world, 0);
    });
}

#[track_caller]
fn nothing_is_credited_but(world: &World, credits: usize) {
    let books = world.books();
    assert_eq!((books.credits.len(), books.shadows.len()), (credits, 0), "{books:#?}");
    assert_eq!(books.violations(), Vec::<String>::new());
}

#[test]
fn a_deposit_to_a_users_address_waits_for_live_mode() {
    simulate(1, async || {
        let world = World::new().await;
        let functions = in_shadow(&world);
        let body = json!({"paymentMethod": "payprotocol"}).to_string();
        let path = "/users/u_1/deposit-addresses";
        let made = world.send(&world.signed(("POST", path), &body, "")).await;
        let address = made.json["addresses"][0]["address"].as_str().unwrap().to_owned();
        let deposit = world.deposit(&address, "12.5");
        world.deliver_payprotocol(&deposit.callback.unwrap()).await;
        settle_by(&world, &functions).await;
        functions.poll("shadow".to_owned()).await.unwrap();
        assert_eq!((world.books().parked, world.books().orders.len()), (0, 0));
        nothing_is_credited_but(&world, 0);
        world.pass(181).await;
        world.settle().await;
        nothing_is_credited_but(&world, 1);
    });
}

#[test]
fn a_half_done_create_is_not_gone_on_with_in_the_other_mode() {
    for index in 0..4 {
        simulate(1, async || {
            let world = World::of_trader().await;
            let faults = Faults::at(world.clock().clone(), index, Fault::CrashAfter);
            let broken = in_faulty_shadow(&world, &faults);
            let _ = until_crash(&faults, create_by(&world, &broken, "k-1")).await;
            world.pass(20).await;
            if world.books().orders.is_empty() {
                return;
            }
            let replayed = world.create("u_1", MINOR, "k-1").await;
            assert_eq!((replayed.status, &replayed.json["shadow"]), (200, &json!(true)));
            world.let_pass(3).await;
            assert_eq!((world.trader.provider_orders(), world.trader.addresses_made()), (0, 0));
        });
    }
    simulate(1, async || {
        let world = World::of_trader().await;
        world.trader.set_mode(recharge_local::sim::trader::Mode::LostAnswer);
        let created = world.create("u_1", MINOR, "k-1").await;
        assert_eq!(created.json["status"], "CREATED");
        world.pass(20).await;
        let functions = in_shadow(&world);
        let replayed = create_by(&world, &functions, "k-1").await;
        assert_eq!((replayed.status, replayed.json.get("shadow")), (200, None));
        assert_eq!(replayed.json["status"], "CREATED", "a simulated provider did not take it");
        functions.poll("shadow".to_owned()).await.unwrap();
        assert_eq!(world.stack.depth().visible, 0);
    });
}

async fn by_operator(world: &World, method: &str, path: &str, body: &str) -> Value {
    let key = ADMIN_KEYS.into_iter().chain(API_KEYS).find(|key| key.id == "operator").unwrap();
    world.send(&world.signed_as(key, (method, path), body, "")).await.json
}

#[test]
fn no_person_turns_a_simulated_payment_into_a_credit() {
    for action in ["credit_user", "credit_order"] {
        simulate(1, async || {
            let world = World::of_trader().await;
            let functions = in_shadow(&world);
            let order = shadow_order(&world, &functions).await;
            let mut late = says(&world, &shadow::account_of(ACCOUNT), &order, MINOR);
            late.evidence.stale = true;
            enqueue(&world, &late).await;
            settle_by(&world, &functions).await;
            let review =
                by_operator(&world, "GET", "/admin/reviews", "").await["reviews"][0].clone();
            assert_eq!(review["shadow"], true, "{review}");
            let mut body = json!({"action": action, "note": "test"});
            match action {
                "credit_order" => body["orderId"] = order.as_str().into(),
                _ => {
                    body["merchant"] = "m_demo".into();
                    body["userId"] = "u_2".into();
                }
            }
            let path = format!("/admin/reviews/{}", review["reviewId"].as_str().unwrap());
            let decided =
                by_operator(&world, "POST", &format!("{path}/resolve"), &body.to_string()).await;
            assert_eq!(decided["status"], "APPROVED", "{action}: {decided}");
            world.settle().await;
            let refused = by_operator(&world, "GET", &path, "").await;
            let said = (&refused["status"], &refused["refusal"]);
            assert_eq!(said, (&json!("OPEN"), &json!("of the other mode")), "{action}");
            nothing_is_credited(&world);

            // In shadow mode it is carried out, in shadow.
            by_operator(&world, "POST", &format!("{path}/resolve"), &body.to_string()).await;
            settle_by(&world, &functions).await;
            let closed = by_operator(&world, "GET", &path, "").await;
            assert_eq!(closed["status"], "CREDITED", "{action}");
            assert_eq!(world.books().shadows.len(), 1, "{action}");
            nothing_is_credited(&world);
        });
    }
}

#[test]
fn a_true_payment_for_a_shadow_order_is_a_persons_to_give_away() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let order = shadow_order(&world, &in_shadow(&world)).await;
        enqueue(&world, &says(&world, ACCOUNT, &order, MINOR)).await;
        world.settle().await;
        let review = by_operator(&world, "GET", "/admin/reviews", "").await["reviews"][0].clone();
        assert_eq!(review.get("shadow"), None);
        let path = format!("/admin/reviews/{}/resolve", review["reviewId"].as_str().unwrap());
        let to_order = json!({"action": "credit_order", "orderId": order, "note": "test"});
        by_operator(&world, "POST", &path, &to_order.to_string()).await;
        world.settle().await;
        nothing_is_credited(&world);
        let to_user =
            json!({"action": "credit_user", "merchant": "m_demo", "userId": "u_1", "note": "test"});
        // Not by a worker in shadow mode either.
        by_operator(&world, "POST", &path, &to_user.to_string()).await;
        settle_by(&world, &in_shadow(&world)).await;
        nothing_is_credited(&world);
        by_operator(&world, "POST", &path, &to_user.to_string()).await;
        world.settle().await;
        nothing_is_credited_but(&world, 1);
        assert_eq!(world.order(&order).await["status"], "PENDING");
    });
}
