//! What a run of the poller says that it did, and where it stops: every count, and the bounds of time, of a silent
//! provider's calls and of what is told twice.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use http::{Request, Response};
use recharge_local::aws::faults::{Call, Fault, Faults, Service};
use recharge_local::call::{ADMIN_KEYS, API_KEYS};
use recharge_local::functions::{Functions, Ground};
use recharge_local::sim::payprotocol::Mode as ListMode;
use recharge_local::sim::receiver::{Manner, SimReceiver};
use recharge_local::sim::trader::Mode;
use recharge_local::stack::{Accounts, PAYPROTOCOL, PAYPROTOCOL_API_KEY, TRADER_APPID, TRADER_KEY};
use recharge_shared::app::notify::Deliver;
use recharge_shared::app::submit::{Heard, Submission};
use recharge_shared::domain::{
    AmountPolicy, Merchant, MerchantId, MerchantPolicy, Order, OrderId, OrderState, ProviderName,
    Timestamp,
};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};
use recharge_shared::store::{Again, ListRead, Store, Written};
use recharge_tests::World;
use recharge_tests::world::{CALLBACK_URL, simulate};
use serde_json::{Value, json};

const MINOR: i64 = 5_000_000;
/// The simulated provider's number of the first payment.
const FIRST_RECHARGE: u64 = 900_001;

async fn create(world: &World, key: &str) -> String {
    let created = world.create("u_1", MINOR, key).await;
    created.json["orderId"].as_str().unwrap().to_owned()
}

/// An instance of which these calls fail, and nothing is tried twice.
fn failing(world: &World, fails: fn(Service, &str) -> bool) -> (Functions, Faults) {
    let faults = Faults::new(world.clock().clone(), move |call| {
        if fails(call.service, &call.operation) { Fault::Throttle } else { Fault::None }
    });
    (world.instance(&faults, 1), faults)
}

async fn poll(functions: &Functions) -> Value {
    functions.poll("run".to_owned()).await.unwrap()
}

/// Two orders that have run out, two paid ones whose callbacks are lost, two that the provider has not
/// heard of, and two credited ones whose receiver was away: all of them due.
async fn busy(world: &World) {
    for key in ["paid-1", "paid-2"] {
        let order = create(world, key).await;
        world.deliver(&world.pay(&order, None)).await;
    }
    world.receiver.set(CALLBACK_URL, Manner::Answers(500, String::new()));
    world.settle().await;
    world.notify().await;
    for key in ["unpaid-1", "unpaid-2"] {
        create(world, key).await;
    }
    world.pass(1_795).await;
    for key in ["lost-1", "lost-2"] {
        let order = create(world, key).await;
        world.pay(&order, None);
    }
    world.trader.set_mode(Mode::Down);
    for key in ["begun-1", "begun-2"] {
        create(world, key).await;
    }
    world.trader.set_mode(Mode::Ok);
    world.pass(125).await;
}

#[test]
fn a_run_says_what_it_did() {
    simulate(1, async || {
        let world = World::of_trader().await;
        busy(&world).await;
        let expected = json!({
            "lookedAt": 6, "evidence": 2, "expired": 2, "resumed": 2, "notices": 2, "failed": 0,
            "unfinished": false,
        });
        assert_eq!(world.stack.poll().await.unwrap(), expected);
    });
}

#[test]
fn a_run_says_what_failed() {
    let run = |fails: fn(Service, &str) -> bool| {
        simulate(1, async || {
            let world = World::of_trader().await;
            busy(&world).await;
            poll(&failing(&world, fails).0).await
        })
    };
    let report = |counts: [u32; 6]| {
        let [looked_at, evidence, expired, resumed, notices, failed] = counts;
        json!({
            "lookedAt": looked_at, "evidence": evidence, "expired": expired, "resumed": resumed,
            "notices": notices, "failed": failed, "unfinished": false,
        })
    };
    // Four shards of orders, four of notices, and decisions.
    let nothing_read = run(|_, operation| operation == "Query");
    assert_eq!(nothing_read, report([0, 0, 0, 0, 0, 9]));
    // Two statements and two notices are not handed over; what was expired is told by a later run.
    let no_queue = run(|service, _| service == Service::Sqs);
    assert_eq!(no_queue, report([6, 0, 2, 2, 0, 4]));
    // Nobody has a look, or a notice, who cannot move its date.
    let no_writes = run(|_, operation| operation == "UpdateItem");
    assert_eq!(no_writes, report([0, 0, 0, 0, 0, 8]));
}

#[test]
fn a_run_ends_before_its_deadline_and_the_next_goes_on() {
    simulate(1, async || {
        let world = World::of_trader().await;
        for number in 0..100 {
            create(&world, &format!("k-{number}")).await;
        }
        world.pass(120).await;
        // Eight are asked side by side, 3.9 seconds long; a run has 50, and begins no look in the last 18.
        let slow = |call: &Call| if call.service == Service::Provider { 3_900 } else { 0 };
        let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
        let started = world.clock().now_ms();
        let first = poll(&world.instance(&faults, 1)).await;
        let took = world.clock().now_ms() - started;
        assert!((32_000..36_000).contains(&took), "{took} ms");
        assert_eq!((&first["unfinished"], &first["failed"]), (&json!(true), &json!(0)));
        let second = world.stack.poll().await.unwrap();
        assert_eq!(second["unfinished"], json!(false));
        assert_eq!(first["lookedAt"].as_u64().unwrap() + second["lookedAt"].as_u64().unwrap(), 100);
    });
}

/// An order of the second merchant, paid, whose callback is lost.
async fn paid_by_another(world: &World) -> String {
    let body = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT"}).to_string();
    let request = world.signed_as(API_KEYS[1], ("POST", "/recharges"), &body, "k-1");
    let order = world.send(&request).await.json["orderId"].as_str().unwrap().to_owned();
    drop(world.pay(&order, None));
    order
}

/// Its payment is handed over already.
async fn is_credited_to_another(world: &World, order: &str) {
    world.settle().await;
    let path = format!("/recharges/{order}");
    let status = world.signed_as(API_KEYS[1], ("GET", &path), "", "");
    assert_eq!(world.send(&status).await.json["status"], "SUCCESS");
}

/// An instance whose calls of this kind take 3.9 seconds; a run has 50, and begins no look in the last 18.
fn slow(world: &World, is_slow: fn(&Call) -> bool) -> Functions {
    let slow = move |call: &Call| if is_slow(call) { 3_900 } else { 0 };
    world.instance(&Faults::with_latency(world.clock().clone(), |_| Fault::None, slow), 1)
}

#[test]
fn many_unpaid_orders_of_a_merchant_do_not_hold_up_another_ones() {
    simulate(1, async || {
        let world = World::of_trader().await;
        for number in 0..100 {
            create(&world, &format!("k-{number}")).await;
        }
        world.pass(1).await;
        let order = paid_by_another(&world).await;
        world.pass(120).await;
        let report = poll(&slow(&world, |call| call.service == Service::Provider)).await;
        assert_eq!((&report["unfinished"], &report["evidence"]), (&json!(true), &json!(1)));
        is_credited_to_another(&world, &order).await;
    });
}

#[test]
fn orders_that_have_ended_do_not_hold_up_an_open_one() {
    simulate(1, async || {
        let world = World::of_trader().await;
        for number in 0..100 {
            create(&world, &format!("k-{number}")).await;
        }
        world.let_pass(35).await;
        world.pass(3_600).await;
        // All of them are due by now, longer than this one.
        let order = create(&world, "paid").await;
        let _ = world.pay(&order, None);
        world.pass(60).await;
        let report = poll(&slow(&world, |call| call.service == Service::Provider)).await;
        assert_eq!((&report["unfinished"], &report["evidence"]), (&json!(true), &json!(1)));
        world.settle().await;
        assert_eq!(world.order(&order).await["reason"], "paid_exact");
    });
}

/// Rows that the index alone has, due for ages: what they are of is nowhere.
async fn backlog(world: &World, rows: usize, row: fn(usize) -> [(&'static str, String); 3]) {
    let aws = &world.stack.ground.aws;
    let client = aws.dynamodb(aws.http_client(), 1);
    for number in 0..rows {
        let mut put = client.put_item().table_name(&world.stack.names.table);
        put = put.item("sk", AttributeValue::S("1".to_owned()));
        for (name, value) in row(number) {
            put = put.item(name, AttributeValue::S(value));
        }
        put.item("dueAt", AttributeValue::N("1".to_owned())).send().await.unwrap();
    }
}

/// An order in each of four shards.
fn due_order(number: usize) -> [(&'static str, String); 3] {
    let shard = format!("trader#{}", number % 4);
    [("pk", format!("O#R{number:025}")), ("merchant", "m_demo".to_owned()), ("dueShard", shard)]
}

#[test]
fn a_backlog_longer_than_what_is_read_at_once_hides_nobodys_order() {
    // Slow looks, or slow reading.
    for is_slow in
        [|call: &Call| call.operation == "GetItem", |call: &Call| call.operation == "Query"]
    {
        simulate(1, async || {
            let world = World::of_trader().await;
            // More in each shard than eight pages.
            backlog(&world, 4 * 2_010, due_order).await;
            let order = paid_by_another(&world).await;
            world.pass(60).await;
            let started = world.clock().now_ms();
            let report = poll(&slow(&world, is_slow)).await;
            let took = world.clock().now_ms() - started;
            assert!((28_000..40_000).contains(&took), "{took} ms");
            assert_eq!((&report["unfinished"], &report["evidence"]), (&json!(true), &json!(1)));
            assert_eq!(report["failed"], 0);
            // Nor is anything left out that is behind it.
            let report = world.stack.poll().await.unwrap();
            assert_eq!((&report["unfinished"], &report["lookedAt"]), (&json!(false), &json!(0)));
            is_credited_to_another(&world, &order).await;
        });
    }
}

#[test]
fn a_backlog_of_notices_that_is_read_slowly_hides_nobodys_notice() {
    simulate(1, async || {
        let world = World::of_trader().await;
        backlog(&world, 5_010, |number| {
            let destination = ("destination", "m_dead/dead.example".to_owned());
            [("pk", format!("N#R{number:025}")), destination, ("dueShard", "!notice#0".to_owned())]
        })
        .await;
        for number in 0..8 {
            let order = create(&world, &format!("k-{number}")).await;
            world.deliver(&world.pay(&order, None)).await;
        }
        world.receiver.set(CALLBACK_URL, Manner::Answers(500, String::new()));
        world.settle().await;
        world.notify().await;
        world.pass(120).await;
        let started = world.clock().now_ms();
        let report = poll(&slow(&world, |call| call.operation == "Query")).await;
        let took = world.clock().now_ms() - started;
        assert!((15_000..35_000).contains(&took), "{took} ms");
        assert_eq!((&report["notices"], &report["failed"]), (&json!(8), &json!(0)));
    });
}

#[test]
fn an_order_behind_a_page_of_anothers_has_its_turn_among_the_first() {
    simulate(1, async || {
        let world = World::of_trader().await;
        // More in each shard than a page, and looks that a run has time for 72 of.
        backlog(&world, 4 * 260, due_order).await;
        let order = paid_by_another(&world).await;
        world.pass(600).await;
        let report = poll(&slow(&world, |call| call.operation == "GetItem")).await;
        assert_eq!((&report["unfinished"], &report["evidence"]), (&json!(true), &json!(1)));
        is_credited_to_another(&world, &order).await;
    });
}

#[test]
fn a_notice_behind_a_page_of_anothers_is_handed_over_in_the_first_run() {
    simulate(1, async || {
        let world = World::of_trader().await;
        backlog(&world, 1_010, |number| {
            let destination = ("destination", "m_dead/dead.example".to_owned());
            [("pk", format!("N#R{number:025}")), destination, ("dueShard", "!notice#0".to_owned())]
        })
        .await;
        for number in 0..8 {
            let order = create(&world, &format!("k-{number}")).await;
            world.deliver(&world.pay(&order, None)).await;
        }
        world.receiver.set(CALLBACK_URL, Manner::Answers(500, String::new()));
        world.settle().await;
        world.notify().await;
        world.pass(900).await;
        let report = world.stack.poll().await.unwrap();
        assert_eq!((&report["notices"], &report["failed"]), (&json!(8), &json!(0)));
    });
}

#[test]
fn a_silent_provider_is_left_alone_for_the_rest_of_a_run() {
    simulate(1, async || {
        let world = World::of_trader().await;
        for number in 0..40 {
            create(&world, &format!("k-{number}")).await;
        }
        world.pass(120).await;
        let faults = Faults::new(world.clock().clone(), |call| match call.service {
            Service::Provider => Fault::RequestLost,
            _ => Fault::None,
        });
        let functions = world.instance(&faults, 1);
        poll(&functions).await;
        let asked = faults.log().iter().filter(|entry| entry.call.starts_with("provider")).count();
        // Five, and those that were on their way beside the fifth.
        assert!((5..=12).contains(&asked), "{asked}");
        // Nobody has lost a turn by that: all the others are looked at in the next run.
        let report = world.stack.poll().await.unwrap();
        assert_eq!(report["lookedAt"], json!(40 - asked));
    });
}

#[test]
fn notices_are_handed_over_until_time_is_short() {
    simulate(1, async || {
        let world = World::of_trader().await;
        for number in 0..80 {
            let order = create(&world, &format!("k-{number}")).await;
            world.deliver(&world.pay(&order, None)).await;
        }
        world.receiver.set(CALLBACK_URL, Manner::Answers(500, String::new()));
        world.settle().await;
        world.notify().await;
        world.pass(120).await;
        let slow = |call: &Call| if call.service == Service::Sqs { 4_000 } else { 0 };
        let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
        let report = poll(&world.instance(&faults, 1)).await;
        // Eight at once every four seconds, and none begins in the last 18 of 50.
        assert_eq!((&report["unfinished"], &report["notices"]), (&json!(true), &json!(72)));
        let rest = world.stack.poll().await.unwrap();
        assert_eq!((&rest["unfinished"], &rest["notices"]), (&json!(false), &json!(8)));
    });
}

/// The user's deposit address on TRON.
async fn address(world: &World) -> String {
    let wanted = r#"{"paymentMethod":"payprotocol"}"#;
    let made = world.signed(("POST", "/users/u_1/deposit-addresses"), wanted, "");
    let made = world.send(&made).await;
    let mut all = made.json["addresses"].as_array().unwrap().iter();
    let found = all.find(|one| one["address"].as_str().unwrap().starts_with('T')).unwrap();
    found["address"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_says_what_it_found_in_a_list() {
    let run = |mode: ListMode, fails: fn(Service, &str) -> bool| {
        simulate(1, async || {
            let world = World::new().await;
            let address = address(&world).await;
            world.stack.poll().await.unwrap();
            // Their callbacks are lost.
            for amount in ["1", "2"] {
                let _ = world.deposit(&address, amount);
            }
            world.pass(60).await;
            world.payprotocol.set_mode(mode);
            let report = poll(&failing(&world, fails).0).await;
            world.payprotocol.set_mode(ListMode::Ok);
            world.settle().await;
            // What is booked is not handed over again, although it is read again.
            world.pass(60).await;
            let again = world.stack.poll().await.unwrap();
            [&report["evidence"], &report["failed"], &again["evidence"]]
                .map(|n| n.as_u64().unwrap())
        })
    };
    assert_eq!(run(ListMode::Ok, |_, _| false), [2, 0, 0]);
    assert_eq!(run(ListMode::Error, |_, _| false), [0, 1, 2]);
    assert_eq!(run(ListMode::Ok, |service, _| service == Service::Provider), [0, 1, 2]);
    assert_eq!(run(ListMode::Ok, |service, _| service == Service::Sqs), [0, 1, 2]);
    assert_eq!(run(ListMode::Ok, |_, operation| operation == "BatchGetItem"), [0, 1, 2]);
}

#[test]
fn a_list_is_read_on_by_days_a_run_and_looked_back_at() {
    simulate(1, async || {
        let world = World::new().await;
        address(&world).await;
        world.stack.poll().await.unwrap();
        let mut runs = Vec::new();
        // Windows of ten minutes, the first of which begins five minutes early, then twice as long each, of six
        // hours at most.
        let most = 60 * (10 + 20 + 40 + 80 + 160 + 320) + 50 * 6 * 3_600 - 300;
        for pause in [60, 7_200, most, most + 1, 0] {
            world.pass(pause).await;
            let faults = Faults::none(world.clock().clone());
            let report = poll(&world.instance(&faults, 1)).await;
            let asked =
                faults.log().iter().filter(|entry| entry.call.starts_with("provider")).count();
            runs.push((asked, report["unfinished"].as_bool().unwrap()));
        }
        // One window and three look-backs; what is read anyway is left out, what fell due while nothing was read is not.
        let expected = [(4, false), (7, false), (56, false), (56, true), (56, false)];
        assert_eq!(runs, expected);
        // Twenty-six days, three times, by quarters of a day.
        for _ in 0..10 {
            world.pass(60).await;
            world.stack.poll().await.unwrap();
        }
        world.pass(60).await;
        let faults = Faults::none(world.clock().clone());
        poll(&world.instance(&faults, 1)).await;
        let asked = faults.log().iter().filter(|entry| entry.call.starts_with("provider")).count();
        assert_eq!(asked, 4, "the look-backs have caught up");
    });
}

#[test]
fn a_list_that_is_too_long_to_be_read_in_one_run_is_read_by_and_by() {
    for answers_after_ms in [2_500, 4_200, 4_800] {
        simulate(1, async || read_by_and_by(answers_after_ms).await);
    }
}

async fn read_by_and_by(answers_after_ms: u64) {
    let world = World::new().await;
    let address = address(&world).await;
    world.stack.poll().await.unwrap();
    // The provider was away from here, callbacks and all: a deposit every fifteen seconds.
    for _ in 0..240 {
        let _ = world.deposit(&address, "1");
        world.pass(15).await;
    }
    // Ten records on a page: an hour of them takes a minute and more, twice as long as a run reads.
    world.payprotocol.set_page_size_max(10);
    let slow =
        move |call: &Call| if call.service == Service::Provider { answers_after_ms } else { 0 };
    let mut runs = 0;
    while world.books().orders.len() < 240 && runs < 30 {
        let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
        let started = world.clock().now_ms();
        poll(&world.instance(&faults, 1)).await;
        let took = world.clock().now_ms() - started;
        assert!(took < 50_000, "{took} ms");
        runs += 1;
        world.settle().await;
        world.pass(60).await;
    }
    assert_eq!(world.books().orders.len(), 240, "{answers_after_ms} ms: after {runs} runs");
    assert_eq!(world.books().violations(), Vec::<String>::new());
}

/// What could be read by minutes alone is looked back at by minutes, too, however quick the list is by then.
#[test]
fn a_look_back_gets_over_what_is_too_much_at_once() {
    simulate(1, async || {
        let world = World::new().await;
        let address = address(&world).await;
        world.stack.poll().await.unwrap();
        for _ in 0..900 {
            let _ = world.deposit(&address, "1");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        world.payprotocol.set_page_size_max(10);
        let burst_ends = world.clock().now_ms();
        let slow = |call: &Call| if call.service == Service::Provider { 1_000 } else { 0 };
        let run = async || {
            let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
            poll(&world.instance(&faults, 1)).await;
            world.settle().await;
            world.pass(60).await;
        };
        for _ in 0..25 {
            run().await;
        }
        assert_eq!(world.books().orders.len(), 900);
        // No run for an hour: all of it falls due at once.
        world.pass(4_000).await;
        for _ in 0..40 {
            run().await;
        }
        let (name, account) = (ProviderName::parse(PAYPROTOCOL).unwrap(), PAYPROTOCOL_API_KEY);
        let read = store(&world).list_read_until(&name, account).await.unwrap().unwrap();
        let hour = read.again[&Again::AfterHour];
        assert!(hour.millis() > burst_ends, "{hour:?}, the burst ended at {burst_ends}");
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

/// A provider whose lists name nobody for the first payments, and take their time.
#[derive(Debug)]
struct Nameless {
    inner: Arc<dyn Outbound>,
    payments: usize,
    answers_after: Duration,
}

#[async_trait]
impl Outbound for Nameless {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        tokio::time::sleep(self.answers_after).await;
        let answered = self.inner.send(request, limits).await?;
        let mut answer: Value = serde_json::from_slice(answered.body()).unwrap();
        let listed = answer.pointer_mut("/data/list").and_then(Value::as_array_mut);
        for record in listed.into_iter().flatten() {
            let number = record["rechargeId"].as_u64().unwrap() - FIRST_RECHARGE;
            if number < self.payments as u64 {
                record["uuid"] = json!("");
            }
        }
        Ok(Response::new(Bytes::from(answer.to_string())))
    }
}

/// A provider that has not listed anything yet.
#[derive(Debug)]
struct Unlisting(Arc<dyn Outbound>);

#[async_trait]
impl Outbound for Unlisting {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let answered = self.0.send(request, limits).await?;
        let mut answer: Value = serde_json::from_slice(answered.body()).unwrap();
        if answer.pointer("/data/list").is_some() {
            (answer["data"]["list"], answer["data"]["count"]) = (json!([]), json!(0));
        }
        Ok(Response::new(Bytes::from(answer.to_string())))
    }
}

#[test]
fn what_is_listed_days_late_is_found_however_seldom_a_run_comes_through() {
    simulate(1, async || {
        let world = World::new().await;
        let address = address(&world).await;
        world.stack.poll().await.unwrap();
        world.pass(1_800).await;
        let _ = world.deposit(&address, "1");
        let outbound = Arc::new(Unlisting(world.stack.ground.outbound.clone()));
        let unlisting = Functions::new(&Ground { outbound, ..world.stack.ground.clone() }).unwrap();
        for _ in 0..71 {
            world.pass(3_600).await;
            poll(&unlisting).await;
        }
        // It is there now, when it is almost three days old, and nothing comes through for hours.
        world.pass(4 * 3_600).await;
        let report = world.stack.poll().await.unwrap();
        assert_eq!(report["evidence"], json!(1), "{report}");
        world.settle().await;
        assert_eq!(world.books().orders.len(), 1);
        assert_eq!(world.stack.poll().await.unwrap()["evidence"], json!(0));
    });
}

/// A provider that no connection leads to.
#[derive(Debug)]
struct Unreached;

#[async_trait]
impl Outbound for Unreached {
    async fn send(&self, _: Request<Bytes>, _: Limits) -> Result<Response<Bytes>, OutboundError> {
        Err(OutboundError::NotSent)
    }
}

#[test]
fn a_list_that_no_connection_leads_to_has_failed() {
    simulate(1, async || {
        let world = World::new().await;
        world.stack.poll().await.unwrap();
        world.pass(60).await;
        let outbound = Arc::new(Unreached);
        let unreached = Functions::new(&Ground { outbound, ..world.stack.ground.clone() }).unwrap();
        let report = poll(&unreached).await;
        assert_eq!((&report["failed"], &report["unfinished"]), (&json!(1), &json!(false)));
    });
}

/// How often a provider was called.
fn provider_calls(faults: &Faults) -> usize {
    faults.log().iter().filter(|entry| entry.call.starts_with("provider")).count()
}

#[test]
fn the_settings_are_compared_with_the_provider_once_an_hour() {
    simulate(1, async || {
        let world = World::new().await;
        world.stack.poll().await.unwrap();
        let mut calls = Vec::new();
        for _ in 0..120 {
            world.pass(60).await;
            let faults = Faults::none(world.clock().clone());
            poll(&world.instance(&faults, 1)).await;
            calls.push(provider_calls(&faults));
        }
        // Of each network that is listed.
        let usual = calls[0];
        let more = calls.iter().enumerate().filter(|(_, calls)| **calls != usual);
        let more: Vec<_> = more.map(|(minute, calls)| (minute + 1, calls - usual)).collect();
        assert_eq!(more, [(60, 2), (120, 2)]);
    });
}

#[test]
fn a_list_of_which_a_minute_is_too_much_is_left_to_the_next_run() {
    simulate(1, async || {
        let world = World::new().await;
        let address = address(&world).await;
        world.stack.poll().await.unwrap();
        for _ in 0..200 {
            let _ = world.deposit(&address, "1");
        }
        world.payprotocol.set_page_size_max(10);
        world.pass(60).await;
        let slow = |call: &Call| if call.service == Service::Provider { 4_800 } else { 0 };
        let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
        let report = poll(&world.instance(&faults, 1)).await;
        assert_eq!((&report["failed"], &report["unfinished"]), (&json!(2), &json!(true)));
    });
}

/// What a provider does with lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lists {
    Fail,
    /// Of more than a minute take a minute.
    Late,
    /// Of more than a minute have more pages than anybody reads.
    Endless,
}

/// A provider that does so with all lists but the first ones; how long the windows were that it was asked for, in seconds.
#[derive(Debug)]
struct Windows {
    inner: Arc<dyn Outbound>,
    first: usize,
    lists: Lists,
    seconds: Mutex<Vec<u64>>,
}

#[async_trait]
impl Outbound for Windows {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let query = request.uri().query().unwrap_or_default();
        let value = |name: &str| {
            let member = query.split('&').find_map(|member| member.strip_prefix(name));
            member.map(|value| value.parse::<u64>().unwrap())
        };
        if let (Some(start), Some(end)) = (value("startTime="), value("endTime=")) {
            // A second is added on either side.
            let seconds = end - start - 2;
            let page = value("page=").unwrap();
            let number = {
                let mut asked = self.seconds.lock().unwrap();
                if page == 1 {
                    asked.push(seconds);
                }
                asked.len()
            };
            match (number > self.first, self.lists) {
                (true, Lists::Fail) => return Err(OutboundError::Broken),
                (true, Lists::Late) if seconds > 60 => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                (true, Lists::Endless) if seconds > 60 => {
                    let data = json!({"count": 1_000_000, "list": [{"rechargeId": page}]});
                    let answer = json!({"code": 200, "msg": "success", "data": data});
                    return Ok(Response::new(Bytes::from(answer.to_string())));
                }
                _ => {}
            }
        }
        self.inner.send(request, limits).await
    }
}

/// The first windows that a run asks a provider for that does so with all lists but the first ones.
async fn windows(world: &World, first: usize, lists: Lists) -> Vec<u64> {
    let inner = world.stack.ground.outbound.clone();
    let windows = Arc::new(Windows { inner, first, lists, seconds: Mutex::default() });
    let ground = Ground { outbound: windows.clone(), ..world.stack.ground.clone() };
    poll(&Functions::new(&ground).unwrap()).await;
    let mut seconds = windows.seconds.lock().unwrap().clone();
    seconds.truncate(8);
    seconds
}

#[test]
fn what_gives_no_list_is_asked_for_in_longer_windows_and_what_is_too_much_in_shorter_ones() {
    let shorter = vec![600, 60, 120, 60, 120, 60, 120, 60];
    for (lists, expected) in [
        (Lists::Fail, vec![600, 2_400, 21_600]),
        (Lists::Late, shorter.clone()),
        (Lists::Endless, shorter),
    ] {
        simulate(1, async || {
            let world = World::new().await;
            address(&world).await;
            world.stack.poll().await.unwrap();
            world.pass(2 * 86_400 - 60).await;
            assert_eq!(windows(&world, 0, lists).await, expected, "{lists:?}");
        });
    }
}

#[test]
fn what_is_read_once_more_is_asked_for_in_longer_and_shorter_windows_too() {
    let shorter = vec![360, 1_200, 60, 120, 60, 120, 60, 120];
    for (lists, expected) in [
        (Lists::Fail, vec![360, 1_200, 7_320, 1_200, 7_320, 1_200, 7_320]),
        (Lists::Late, shorter.clone()),
        (Lists::Endless, shorter),
    ] {
        simulate(1, async || {
            let world = World::new().await;
            without_look_backs(&world, 0).await;
            assert_eq!(windows(&world, 1, lists).await, expected, "{lists:?}");
        });
    }
}

async fn read_again_after_an_hour(world: &World) -> Timestamp {
    let (name, account) = (ProviderName::parse(PAYPROTOCOL).unwrap(), PAYPROTOCOL_API_KEY);
    let read = store(world).list_read_until(&name, account).await.unwrap().unwrap();
    read.again[&Again::AfterHour]
}

/// An instance whose provider answers the first `lists` calls alone.
fn answered(world: &World, lists: usize) -> Functions {
    let called = AtomicUsize::new(0);
    let faults = Faults::new(world.clock().clone(), move |call| {
        let is_call = call.service == Service::Provider;
        let number = called.fetch_add(usize::from(is_call), Ordering::Relaxed);
        if is_call && number >= lists { Fault::Throttle } else { Fault::None }
    });
    world.instance(&faults, 1)
}

/// An hour with deposits at its beginning, and then two in which each run reads what is new and nothing more. Until when
/// was read once more after an hour.
async fn without_look_backs(world: &World, first: usize) -> Timestamp {
    let address = address(world).await;
    for _ in 0..first {
        let _ = world.deposit(&address, "1");
    }
    for _ in 0..60 {
        world.stack.poll().await.unwrap();
        world.settle().await;
        world.pass(60).await;
    }
    for minute in 1..=120 {
        world.pass(60).await;
        let _ = world.deposit(&address, "1");
        // In an hour's first minute the settings are compared before.
        let before = if minute % 60 == 0 { 2 } else { 0 };
        poll(&answered(world, before + 1)).await;
        world.settle().await;
    }
    world.pass(60).await;
    read_again_after_an_hour(world).await
}

#[test]
fn what_is_read_once_more_is_known_from_the_first_run_on() {
    simulate(1, async || {
        let world = World::new().await;
        address(&world).await;
        poll(&answered(&world, 0)).await;
        let (name, account) = (ProviderName::parse(PAYPROTOCOL).unwrap(), PAYPROTOCOL_API_KEY);
        let read = store(&world).list_read_until(&name, account).await.unwrap().unwrap();
        let now = Timestamp::from_millis(world.clock().now_ms());
        let hours = [(Again::AfterHour, 1), (Again::AfterDay, 24), (Again::AfterThreeDays, 72)];
        let expected = hours.map(|(again, h)| (again, now.minus(Duration::from_secs(h * 3_600))));
        assert_eq!(read.again, BTreeMap::from(expected));
    });
}

#[test]
fn a_look_back_gets_over_records_that_nobody_can_read() {
    simulate(1, async || {
        let world = World::new().await;
        let payments = 4;
        let before = without_look_backs(&world, payments).await;
        // Nothing in its first window can be read.
        let inner = world.stack.ground.outbound.clone();
        let outbound = Arc::new(Nameless { inner, payments, answers_after: Duration::ZERO });
        let nameless = Functions::new(&Ground { outbound, ..world.stack.ground.clone() }).unwrap();
        poll(&nameless).await;
        let after = read_again_after_an_hour(&world).await;
        let now = world.clock().now_ms();
        assert_eq!((after.millis(), after > before), (now - 3_600_000, true), "{before:?}");
    });
}

#[test]
fn a_look_back_that_stops_half_way_goes_on_from_there() {
    simulate(1, async || {
        let world = World::new().await;
        let before = without_look_backs(&world, 0).await;
        world.pass(120).await;
        poll(&answered(&world, 2)).await;
        let after = read_again_after_an_hour(&world).await;
        assert_eq!(after, before.plus(Duration::from_secs(1_200)), "one window of twenty minutes");
    });
}

#[test]
fn records_that_nobody_can_read_do_not_hide_what_came_later() {
    simulate(1, async || {
        let world = World::new().await;
        let address = address(&world).await;
        world.stack.poll().await.unwrap();
        let payments = 4;
        for _ in 0..payments {
            let _ = world.deposit(&address, "1");
        }
        world.pass(1_800).await;
        for _ in 0..payments {
            let _ = world.deposit(&address, "1");
        }
        world.pass(1_800).await;
        let inner = world.stack.ground.outbound.clone();
        let outbound = Arc::new(Nameless { inner, payments, answers_after: Duration::ZERO });
        let nameless = Functions::new(&Ground { outbound, ..world.stack.ground.clone() }).unwrap();
        let report = poll(&nameless).await;
        assert_eq!(report["evidence"], json!(2 * payments), "those that name nobody are put aside");
        world.settle().await;
        assert_eq!(world.books().orders.len(), payments);
    });
}

#[test]
fn nor_do_they_in_a_list_that_is_too_long_for_one_run() {
    simulate(1, async || {
        let world = World::new().await;
        let address = address(&world).await;
        world.stack.poll().await.unwrap();
        let (nameless, named) = (10, 110);
        for _ in 0..nameless + named {
            let _ = world.deposit(&address, "1");
            world.pass(15).await;
        }
        world.payprotocol.set_page_size_max(10);
        let mut runs = 0;
        while world.books().orders.len() < named && runs < 30 {
            let inner = world.stack.ground.outbound.clone();
            let answers_after = Duration::from_millis(4_800);
            let outbound = Arc::new(Nameless { inner, payments: nameless, answers_after });
            let slow = Functions::new(&Ground { outbound, ..world.stack.ground.clone() }).unwrap();
            poll(&slow).await;
            runs += 1;
            world.settle().await;
            world.pass(60).await;
        }
        assert_eq!(world.books().orders.len(), named, "after {runs} runs");
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn an_expiry_that_was_not_announced_is_counted_when_it_is() {
    simulate(1, async || {
        let world = World::of_trader().await;
        create(&world, "k-1").await;
        world.pass(1_860).await;
        let report = poll(&failing(&world, |service, _| service == Service::Sqs).0).await;
        assert_eq!((&report["expired"], &report["notices"]), (&json!(1), &json!(0)));
        let mut notices = Vec::new();
        for _ in 0..3 {
            world.pass(3_600).await;
            notices.push(world.stack.poll().await.unwrap()["notices"].as_u64().unwrap());
            world.notify().await;
        }
        assert_eq!(notices, [1, 0, 0]);
    });
}

#[test]
fn a_cancel_of_what_nobody_looked_at_for_days_is_told_although_its_notice_was_lost() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let order = create(&world, "k-1").await;
        // No poller runs.
        world.pass(73 * 3_600).await;
        let (functions, _) = failing(&world, |service, _| service == Service::Sqs);
        let path = format!("/recharges/{order}/cancel");
        let cancelled = world.send_to(&functions, &world.signed(("POST", &path), "", "")).await;
        assert_eq!((cancelled.status, &cancelled.json["status"]), (200, &json!("CANCELLED")));
        let mut notices = Vec::new();
        for _ in 0..3 {
            world.pass(60).await;
            notices.push(world.stack.poll().await.unwrap()["notices"].as_u64().unwrap());
            world.notify().await;
        }
        assert_eq!(notices, [1, 0, 0]);
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

#[test]
fn an_answer_that_was_not_handed_over_makes_no_provider_silent() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let order = create(&world, "k-1").await;
        let _ = world.pay(&order, None);
        world.pass(60).await;
        let report = poll(&failing(&world, |service, _| service == Service::Sqs).0).await;
        assert_eq!((&report["lookedAt"], &report["failed"]), (&json!(1), &json!(1)));
        let path = format!("/recharges/{order}/explain");
        let explained = world.send(&world.signed(("GET", &path), "", "")).await.json;
        assert_eq!(explained["situation"], "not_paid");
        world.let_pass(2).await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
    });
}

#[test]
fn what_could_not_be_handed_over_at_the_last_moment_lets_no_order_expire() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let order = create(&world, "k-1").await;
        let _ = world.pay(&order, None);
        world.pass(1_860).await;
        let report = poll(&failing(&world, |service, _| service == Service::Sqs).0).await;
        assert_eq!((&report["expired"], &report["failed"]), (&json!(0), &json!(1)));
        assert_eq!(world.order(&order).await["status"], "PENDING");
        world.let_pass(5).await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
    });
}

#[test]
fn an_order_that_is_at_its_provider_right_now_is_left_to_who_is_at_it() {
    simulate(1, async || {
        let world = World::of_trader().await;
        world.trader.set_mode(Mode::Down);
        let order = OrderId::parse(&create(&world, "k-1").await).unwrap();
        world.trader.set_mode(Mode::Ok);
        world.pass(60).await;
        let half_done = store(&world).order(&order).await.unwrap().unwrap();
        let until = Timestamp::from_millis(world.clock().now_ms() + 20_000);
        let taken = store(&world).take_over(&half_done, "a retry", until).await.unwrap();
        assert_eq!(taken, Written::Now);
        let looked = async || {
            let (functions, faults) = failing(&world, |_, _| false);
            let report = poll(&functions).await;
            let asked =
                faults.log().iter().filter(|entry| entry.call.starts_with("provider")).count();
            (report["lookedAt"].clone(), report["resumed"].clone(), asked)
        };
        assert_eq!(looked().await, (json!(1), json!(0), 0));
        // It has died there.
        world.pass(20).await;
        let (looked_at, resumed, asked) = looked().await;
        assert_eq!((looked_at, resumed), (json!(1), json!(1)));
        assert!(asked > 0);
    });
}

#[test]
fn a_last_look_without_an_answer_is_made_again_after_four_hours() {
    simulate(1, async || {
        let world = World::of_trader().await;
        create(&world, "k-1").await;
        world.let_pass(40).await;
        world.pass(3 * 86_400).await;
        world.trader.set_mode(Mode::Down);
        let mut looks = Vec::new();
        for minute in 0..500 {
            if world.stack.poll().await.unwrap()["lookedAt"] == json!(1) {
                looks.push(minute);
            }
            world.pass(60).await;
        }
        assert_eq!(looks, [0, 240, 480]);
        // With an answer it is the last one.
        world.trader.set_mode(Mode::Ok);
        world.pass(4 * 3_600).await;
        assert_eq!(world.stack.poll().await.unwrap()["lookedAt"], 1);
        assert_eq!(world.books().orders.iter().filter(|order| order.due).count(), 0);
    });
}

#[test]
fn a_create_that_the_poller_could_not_finish_is_free_for_the_clients_retry() {
    simulate(1, async || {
        let world = World::of_trader().await;
        world.trader.set_mode(Mode::Down);
        create(&world, "k-1").await;
        world.pass(60).await;
        assert_eq!(world.stack.poll().await.unwrap()["resumed"], 1);
        world.trader.set_mode(Mode::Ok);
        let began = world.clock().now_ms();
        let again = world.create("u_1", MINOR, "k-1").await;
        assert_eq!((again.status, &again.json["status"]), (200, &json!("PENDING")));
        assert!(world.clock().now_ms() - began < 40, "nobody is waited for");
    });
}

#[test]
fn half_done_creates_of_a_silent_provider_are_left_alone_for_the_rest_of_a_run() {
    simulate(1, async || {
        let world = World::of_trader().await;
        world.trader.set_mode(Mode::Down);
        for number in 0..40 {
            create(&world, &format!("k-{number}")).await;
        }
        world.pass(60).await;
        let (functions, faults) = failing(&world, |_, _| false);
        poll(&functions).await;
        let asked = faults.log().iter().filter(|entry| entry.call.starts_with("provider")).count();
        // Five, and those that were on their way beside the fifth.
        assert!((5..=12).contains(&asked), "{asked}");
    });
}

#[test]
fn an_order_whose_time_is_over_waits_ten_minutes_for_its_providers_answer() {
    for is_paid in [false, true] {
        simulate(1, async || {
            let world = World::of_trader().await;
            let orders = [create(&world, "k-1").await, create(&world, "k-2").await];
            world.pass(1_740).await;
            if is_paid {
                orders.iter().for_each(|order| drop(world.pay(order, None)));
            }
            // Of nine, or of twelve runs after its end, none gets an answer.
            world.trader.set_mode(Mode::Down);
            let mut open = 0;
            for _ in 0..if is_paid { 9 } else { 12 } {
                world.pass(60).await;
                world.stack.poll().await.unwrap();
                open += u32::from(world.order(&orders[0]).await["status"] == "PENDING");
            }
            world.trader.set_mode(Mode::Ok);
            world.let_pass(3).await;
            for order in &orders {
                let told = world.order(order).await;
                let expected = match is_paid {
                    true => (9, json!("SUCCESS"), json!("paid_exact")),
                    false => (11, json!("EXPIRED"), json!("expired")),
                };
                assert_eq!((open, told["status"].clone(), told["reason"].clone()), expected);
            }
        });
    }
}

#[test]
fn orders_that_nobody_asked_about_do_not_expire_with_those_without_an_answer() {
    simulate(1, async || {
        let world = World::of_trader().await;
        for number in 0..40 {
            create(&world, &format!("k-{number}")).await;
        }
        world.pass(1_860).await;
        let silent = |service, _: &str| service == Service::Provider;
        let report = poll(&failing(&world, silent).0).await;
        assert_eq!(report["expired"], json!(0));
        // When it is long over they do, asked about or not.
        world.pass(600).await;
        let report = poll(&failing(&world, silent).0).await;
        assert_eq!((&report["expired"], &report["failed"]), (&json!(40), &json!(0)));
    });
}

#[test]
fn creates_that_wait_for_each_other_at_their_provider_take_no_longer_than_a_look_may() {
    simulate(1, async || {
        let settings = json!({"trader": {
            "appid": TRADER_APPID, "base_url": "http://trader.invalid", "allow_http": true,
            "query": {"path": "/api/merchant/OrderList"}, "min_call_interval_ms": 1_000,
        }});
        let keys = json!({"trader": {"key": TRADER_KEY}});
        let accounts = Accounts { settings, keys, default: "trader".to_owned() };
        let way = |receiver: &SimReceiver| -> Arc<dyn Deliver> { Arc::new(receiver.clone()) };
        let world = World::with(Some(accounts), |trader| Arc::new(trader.outbound()), way).await;
        world.trader.set_mode(Mode::Down);
        for number in 0..8 {
            let body =
                json!({"userId": format!("u_{number}"), "amount": MINOR, "currency": "USDT"});
            let key = format!("k-{number}");
            world.send(&world.signed(("POST", "/recharges"), &body.to_string(), &key)).await;
        }
        world.trader.set_mode(Mode::Ok);
        world.pass(60).await;
        let started = world.clock().now_ms();
        let report = poll(&slow(&world, |call| call.service == Service::Provider)).await;
        let took = world.clock().now_ms() - started;
        assert!((12_000..18_000).contains(&took), "{took} ms");
        assert_eq!(report["failed"], json!(0));
        world.let_pass(3).await;
        assert_eq!(world.trader.provider_orders(), 8);
    });
}

/// A trader that has given up every order.
#[derive(Debug)]
struct GivenUp(Arc<dyn Outbound>);

#[async_trait]
impl Outbound for GivenUp {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let answered = self.0.send(request, limits).await?;
        let mut answer: Value = serde_json::from_slice(answered.body()).unwrap();
        if let Some(status) = answer.pointer_mut("/data/status") {
            *status = json!(2);
        }
        Ok(Response::new(Bytes::from(answer.to_string())))
    }
}

#[test]
fn an_order_that_its_provider_has_given_up_ends_and_is_told_once() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let order = create(&world, "k-1").await;
        let outbound = Arc::new(GivenUp(world.stack.ground.outbound.clone()));
        let functions = Functions::new(&Ground { outbound, ..world.stack.ground.clone() }).unwrap();
        let mut told = Vec::new();
        for _ in 0..40 {
            world.pass(60).await;
            told.push(poll(&functions).await["evidence"].as_u64().unwrap());
            world.settle().await;
        }
        assert_eq!((told[0], told[1..].iter().sum::<u64>()), (1, 0));
        let ended = world.order(&order).await;
        let (status, reason) = (&ended["status"], &ended["reason"]);
        assert_eq!((status, reason), (&json!("FAILED"), &json!("provider_declined")));
    });
}

#[test]
fn what_a_statement_does_not_settle_in_an_hour_expires() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let order = create(&world, "k-1").await;
        world.pay(&order, None);
        // No worker runs.
        let (mut statements, mut expired_after) = (0, None);
        for minute in 1..=150 {
            world.pass(60).await;
            let report = world.stack.poll().await.unwrap();
            assert_eq!(report["failed"], json!(0));
            statements += report["evidence"].as_u64().unwrap();
            if report["expired"] == json!(1) {
                assert_eq!(expired_after.replace(minute), None, "once");
            }
        }
        assert!(statements > 2, "{statements}");
        let expired_after = expired_after.unwrap();
        // Half an hour, and more than an hour.
        assert_eq!(expired_after, 91);
        // The money is not lost by that.
        world.settle().await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
    });
}

fn store(world: &World) -> Store {
    let aws = &world.stack.ground.aws;
    Store::new(aws.dynamodb(aws.http_client(), 1), world.stack.names.table.clone())
}

#[test]
fn an_order_whose_provider_speaks_of_the_part_that_it_has_is_reviewed_in_time() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let policy =
            MerchantPolicy { amount: Some(AmountPolicy::Accumulate), ..MerchantPolicy::default() };
        let merchant = Merchant { policy, ..Merchant::default() };
        store(&world).set_merchant(&MerchantId::parse("m_demo").unwrap(), &merchant).await.unwrap();
        let order = create(&world, "k-1").await;
        world.deliver(&world.pay(&order, Some(MINOR / 2))).await;
        world.settle().await;
        let (mut looked_at, mut handed_over) = (0, 0);
        for _ in 0..30 {
            world.pass(60).await;
            let report = world.stack.poll().await.unwrap();
            looked_at += report["lookedAt"].as_u64().unwrap();
            handed_over += report["evidence"].as_u64().unwrap();
            assert_eq!(report["failed"], json!(0));
        }
        assert_eq!((looked_at > 5, handed_over), (true, 1), "only that its time is over");
        world.settle().await;
        assert_eq!(world.order(&order).await["status"], "REVIEW");
    });
}

/// An order of 5 USDT of which 4 have come: it waits for a person.
async fn in_review(world: &World) -> String {
    let policy = MerchantPolicy { amount: Some(AmountPolicy::Exact), ..MerchantPolicy::default() };
    let merchant = Merchant { policy, ..Merchant::default() };
    store(world).set_merchant(&MerchantId::parse("m_demo").unwrap(), &merchant).await.unwrap();
    let order = create(world, "k-1").await;
    world.deliver(&world.pay(&order, Some(4_000_000))).await;
    world.settle().await;
    assert_eq!(world.order(&order).await["status"], "REVIEW");
    order
}

async fn reviews(world: &World) -> Vec<Value> {
    let request = world.signed_as(ADMIN_KEYS[0], ("GET", "/admin/reviews"), "", "");
    world.send(&request).await.json["reviews"].as_array().unwrap().clone()
}

/// Runs every ten minutes for `hours`: at how many orders they have looked, and what they have handed over.
async fn runs(world: &World, hours: u64) -> (u64, u64) {
    let (mut looked_at, mut handed_over) = (0, 0);
    for _ in 0..hours * 6 {
        world.pass(600).await;
        let report = world.stack.poll().await.unwrap();
        looked_at += report["lookedAt"].as_u64().unwrap();
        handed_over += report["evidence"].as_u64().unwrap();
        assert_eq!(report["failed"], json!(0));
        world.settle().await;
    }
    (looked_at, handed_over)
}

async fn looks(world: &World, hours: u64) -> u64 {
    runs(world, hours).await.0
}

async fn told(world: &World, hours: u64) -> u64 {
    runs(world, hours).await.1
}

#[test]
fn a_provider_that_never_speaks_again_is_asked_no_more_about_what_has_ended() {
    simulate(1, async || {
        let world = World::of_trader().await;
        in_review(&world).await;
        world.trader.set_mode(Mode::Down);
        looks(&world, 76).await;
        assert!(looks(&world, 60).await > 10, "it may still speak");
        looks(&world, 16).await;
        assert_eq!(looks(&world, 12).await, 0);
    });
}

#[test]
fn what_is_paid_while_an_order_waits_for_a_person_is_found_without_its_callback() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let order = in_review(&world).await;
        assert!(looks(&world, 2).await > 2);
        assert_eq!(reviews(&world).await.len(), 1, "what is known is not put aside again");
        // The payer tops it up, and the callback is lost.
        let _ = world.pay(&order, Some(9_000_000));
        assert_eq!(told(&world, 4).await, 1, "once, however often it is said");
        let all = reviews(&world).await;
        let why: Vec<&str> = all.iter().map(|one| one["why"].as_str().unwrap()).collect();
        assert_eq!(why, ["amount_mismatch", "amount_conflict"]);
        looks(&world, 72).await;
        assert_eq!(looks(&world, 8).await, 0, "after three days nobody looks");
        assert_eq!(reviews(&world).await.len(), 2);
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn what_is_paid_after_a_person_has_refused_is_found_without_its_callback() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let order = in_review(&world).await;
        let id = reviews(&world).await[0]["reviewId"].as_str().unwrap().to_owned();
        let path = format!("/admin/reviews/{id}/resolve");
        let body = r#"{"action":"reject","note":"too little"}"#;
        let answer = world.send(&world.signed_as(ADMIN_KEYS[0], ("POST", &path), body, "")).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        world.settle().await;
        assert_eq!(world.order(&order).await["status"], "FAILED");
        let _ = world.pay(&order, Some(9_000_000));
        assert!(looks(&world, 4).await > 1);
        assert_eq!(reviews(&world).await[0]["why"], "amount_conflict");
        looks(&world, 72).await;
        assert_eq!(looks(&world, 8).await, 0, "after three days nobody looks");
    });
}

#[test]
fn a_list_that_an_operator_has_read_again_is_not_taken_forward_by_a_run_that_had_begun() {
    simulate(1, async || {
        let world = World::new().await;
        let (store, name) = (store(&world), ProviderName::parse("payprotocol").unwrap());
        let account = (&name, "ACCOUNT");
        let at = Timestamp::from_secs;
        let read_until = |secs| ListRead { until: at(secs), again: BTreeMap::new() };
        let mut moves = Vec::new();
        for (read, until) in [(None, 100), (None, 90), (Some(100), 200), (Some(100), 150)] {
            let moved =
                store.list_was_read(account, read.map(at), &read_until(until)).await.unwrap();
            moves.push(moved == Written::Now);
        }
        assert_eq!(moves, [true, false, true, false]);
        // The operator, between the reading and the writing of a run.
        assert_eq!(
            store.list_was_read(account, Some(at(200)), &read_until(50)).await.unwrap(),
            Written::Now
        );
        let late = store.list_was_read(account, Some(at(200)), &read_until(260)).await.unwrap();
        assert_eq!(late, Written::Raced);
        let read = store.list_read_until(&name, "ACCOUNT").await.unwrap();
        assert_eq!(read, Some(read_until(50)));
    });
}

/// A way to the trader on which orders are refused from some time on.
#[derive(Debug)]
struct Refusing(Arc<dyn Outbound>, Arc<AtomicBool>);

#[async_trait]
impl Outbound for Refusing {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        if request.uri().path().ends_with("/TraderRechargeorder") && self.1.load(Ordering::Relaxed)
        {
            return Ok(Response::new(Bytes::from(r#"{"status":0,"err":"closed"}"#)));
        }
        self.0.send(request, limits).await
    }
}

#[test]
fn who_is_refused_when_taken_on_is_told_at_once() {
    for by_client in [false, true] {
        simulate(1, async || {
            let refuses = Arc::new(AtomicBool::new(false));
            let way = refuses.clone();
            let world = World::with(
                None,
                |trader| Arc::new(Refusing(Arc::new(trader.outbound()), way)),
                |receiver| Arc::new(receiver.clone()),
            );
            let world = world.await;
            // The user has an address.
            create(&world, "k-0").await;
            world.trader.set_mode(Mode::Down);
            let begun = create(&world, "k-1").await;
            assert_eq!(world.order(&begun).await["status"], "CREATED");
            world.trader.set_mode(Mode::Ok);
            refuses.store(true, Ordering::Relaxed);
            world.pass(40).await;
            match by_client {
                true => {
                    let again = world.create("u_1", MINOR, "k-1").await;
                    assert_eq!((again.status, &again.json["status"]), (200, &json!("FAILED")));
                }
                false => drop(world.stack.poll().await.unwrap()),
            }
            assert_eq!(world.order(&begun).await["status"], "FAILED");
            world.notify().await;
            assert_eq!(world.untold().await, Vec::<String>::new());
        });
    }
}

#[test]
fn a_refusal_of_a_slower_attempt_ends_no_order_that_the_provider_has_taken() {
    simulate(1, async || {
        let refuses = Arc::new(AtomicBool::new(false));
        let way = refuses.clone();
        let world = World::with(
            None,
            |trader| Arc::new(Refusing(Arc::new(trader.outbound()), way)),
            |receiver| Arc::new(receiver.clone()),
        );
        let world = world.await;
        let placed = create(&world, "k-1").await;
        let aws = &world.stack.ground.aws;
        let store = Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone());
        let order = store.order(&OrderId::parse(&placed).unwrap()).await.unwrap().unwrap();
        assert_eq!(order.state, OrderState::Pending);
        // Whoever read it before, and asks the provider only now.
        let as_read = Order {
            state: OrderState::Created,
            version: order.version - 1,
            history: Vec::new(),
            ..order.clone()
        };
        refuses.store(true, Ordering::Relaxed);
        let providers = &world.stack.functions.create_order.providers;
        let submission = Submission {
            store: &store,
            provider: providers.get(None).unwrap().as_ref(),
            clock: world.clock(),
            actor: "create-order",
        };
        let submitted = submission.first(as_read, order.deposit.clone()).await.unwrap();
        assert_eq!((submitted.order.state, submitted.heard), (OrderState::Pending, Heard::Answer));
        assert_eq!(world.order(&placed).await["status"], "PENDING");
        world.deliver(&world.pay(&placed, None)).await;
        world.settle().await;
        assert_eq!(world.order(&placed).await["status"], "SUCCESS");
    });
}

#[test]
fn a_refusal_under_a_former_key_ends_no_order() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let aws = &world.stack.ground.aws;
        let secrets = aws.secrets(aws.http_client(), 1);
        let put = async |key: &str| {
            let put = secrets.put_secret_value().secret_id(&world.stack.names.provider_keys);
            let document = json!({"trader": {"key": key}}).to_string();
            put.secret_string(document).send().await.unwrap();
        };
        // The user has an address: it is the order that the provider will refuse.
        create(&world, "k-0").await;
        put("former-key-0123456789abcdef01234567").await;
        world.pass(400).await;
        let refused = world.create("u_1", MINOR, "k-1").await;
        assert_eq!(refused.json["status"], "FAILED", "no newer key is known");
        world.pass(61).await;
        put(TRADER_KEY).await;
        let begun = world.create("u_1", MINOR, "k-2").await;
        assert_eq!((begun.status, &begun.json["status"]), (201, &json!("CREATED")));
        world.let_pass(2).await;
        assert_eq!(world.order(begun.json["orderId"].as_str().unwrap()).await["status"], "PENDING");
    });
}

#[test]
fn a_key_is_changed_without_a_gap_when_the_next_one_is_known_before() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let aws = &world.stack.ground.aws;
        let secrets = aws.secrets(aws.http_client(), 1);
        let put = async |entry: Value| {
            let put = secrets.put_secret_value().secret_id(&world.stack.names.provider_keys);
            put.secret_string(json!({"trader": entry}).to_string()).send().await.unwrap();
        };
        let waiting = create(&world, "k-0").await;
        // The provider has changed to the next key already; twice, so that no former version helps.
        let both = json!({"key": "former-key-0123456789abcdef01234567", "next": TRADER_KEY});
        put(both.clone()).await;
        put(both).await;
        world.pass(301).await;
        assert_eq!(world.deliver(&world.pay(&waiting, None)).await.status, 200);
        world.settle().await;
        assert_eq!(world.order(&waiting).await["status"], "SUCCESS");
        let begun = world.create("u_1", MINOR, "k-1").await;
        assert_eq!((begun.status, &begun.json["status"]), (201, &json!("CREATED")));
        put(json!({"key": TRADER_KEY})).await;
        world.let_pass(7).await;
        assert_eq!(world.order(begun.json["orderId"].as_str().unwrap()).await["status"], "PENDING");
        // A next key that says nothing opens nothing.
        let paid = world.pay(begun.json["orderId"].as_str().unwrap(), None);
        for next in ["", "  "] {
            for _ in 0..2 {
                put(json!({"key": "former-key-0123456789abcdef01234567", "next": next})).await;
            }
            world.pass(301).await;
            assert_eq!(world.deliver(&paid).await.status, 401);
        }
    });
}
