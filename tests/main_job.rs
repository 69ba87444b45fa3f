//! The main job and what may go wrong around it, through the gateway's events, as claims.

#![expect(clippy::panic, reason = "an order that is not there ends the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Request, Response};
use recharge_local::aws::faults::{Call, Fault, Faults, Service};
use recharge_local::call::API_KEYS;
use recharge_local::functions::Functions;
use recharge_local::sim::receiver::SimReceiver;
use recharge_local::sim::trader::{InProcess, Mode, SimTrader};
use recharge_local::stack::{Accounts, TRADER_APPID, TRADER_KEY};
use recharge_shared::app::notify::Deliver;
use recharge_shared::auth::sign;
use recharge_shared::domain::{
    AmountPolicy, Merchant, MerchantId, MerchantPolicy, ProviderName, Timestamp, UserId, UserMark,
};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};
use recharge_shared::store::Store;
use recharge_tests::World;
use recharge_tests::standard::{ByHost, HOST, SimStandard};
use recharge_tests::world::simulate;
use serde_json::{Value, json};

const MINOR: i64 = 5_000_000;

fn id(answered: &recharge_tests::Answered) -> String {
    answered.json["orderId"].as_str().unwrap_or_else(|| panic!("{}", answered.text)).to_owned()
}

#[test]
fn an_order_is_created_paid_confirmed_and_credited() {
    simulate(1, async || {
        let world = World::new().await;
        let created = world.create("u_1", MINOR, "k-1").await;
        assert_eq!(created.status, 201);
        assert_eq!(created.json["status"], "PENDING");
        assert_eq!(created.json["payment"]["amount"], "5.000000");
        assert!(created.json["transactionId"].as_str().is_some_and(|id| id.starts_with("cz-")));
        let order = id(&created);
        let acknowledged = world.deliver(&world.pay(&order, None)).await;
        assert_eq!((acknowledged.status, acknowledged.text.as_str()), (200, "success"));
        world.settle().await;
        let order = world.order(&order).await;
        assert_eq!((&order["status"], &order["reason"]), (&json!("SUCCESS"), &json!("paid_exact")));
        let balances = world.send(&world.signed(("GET", "/users/u_1/balances"), "", "")).await;
        assert_eq!(balances.json["balances"][0]["amount"], MINOR);
        let ledger = world.send(&world.signed(("GET", "/users/u_1/ledger"), "", "")).await;
        let legs = &ledger.json["entries"][0]["legs"];
        assert_eq!(legs[0], json!({"account": "user/m_demo/u_1", "amount": MINOR}));
        assert_eq!(legs[1], json!({"account": "provider/trader", "amount": -MINOR}));
    });
}

#[test]
fn an_address_of_an_attempt_that_died_before_it_was_written_down_is_used() {
    simulate(1, async || {
        let world = World::new().await;
        let trader = ProviderName::parse("trader").unwrap();
        let provider = world.stack.functions.webhook.providers.get(Some(&trader)).unwrap().clone();
        let mark =
            UserMark::derive(&MerchantId::parse("m_demo").unwrap(), &UserId::parse("u_1").unwrap());
        let now = Timestamp::from_millis(world.clock().now_ms());
        provider.new_addresses(&mark, now).await;
        assert_eq!(world.create("u_1", MINOR, "k-1").await.json["status"], "PENDING");
        assert_eq!((world.trader.provider_orders(), world.trader.addresses_made()), (1, 1));
    });
}

#[test]
fn one_callback_a_hundred_times_at_once_is_one_credit() {
    simulate(2, async || {
        let world = World::new().await;
        let order = id(&world.create("u_1", MINOR, "k-1").await);
        let callback = world.pay(&order, None);
        let answers = join_all((0..100).map(|_| world.deliver(&callback))).await;
        assert!(answers.iter().all(|answered| answered.text == "success"));
        let workers = (0..4).map(|_| world.settle());
        join_all(workers).await;
        let books = world.books();
        assert_eq!((books.credits.len(), books.violations()), (1, vec![]));
    });
}

#[test]
fn fifty_creates_with_one_key_at_once_are_one_order() {
    simulate(3, async || {
        let world = World::new().await;
        let requests: Vec<_> = (0..50).map(|_| world.create_request("u_1", MINOR, "k-1")).collect();
        let answers = join_all(requests.iter().map(|request| world.send(request))).await;
        let new = answers.iter().filter(|answered| answered.status == 201).count();
        let old = answers.iter().filter(|answered| answered.status == 200).count();
        assert_eq!((new, old), (1, 49));
        assert!(answers.iter().all(|answered| answered.json == answers[0].json));
        assert_eq!((world.books().orders.len(), world.trader.provider_orders()), (1, 1));
    });
}

#[test]
fn a_key_used_for_another_request_is_refused_and_nothing_happens() {
    simulate(4, async || {
        let world = World::new().await;
        let order = id(&world.create("u_1", MINOR, "k-1").await);
        let reused = world.create("u_1", MINOR + 1_000, "k-1").await;
        assert_eq!(
            (reused.status, &reused.json["errorCode"]),
            (422, &json!("IDEMPOTENCY_KEY_REUSED"))
        );
        assert_eq!(world.trader.provider_orders(), 1);
        assert_eq!(world.order(&order).await["amount"], MINOR);
        let other_merchant = json!({"userId": "u_1", "amount": 7_000_000, "currency": "USDT"});
        let request = world.signed_as(
            API_KEYS[1],
            ("POST", "/recharges"),
            &other_merchant.to_string(),
            "k-1",
        );
        assert_eq!(world.send(&request).await.status, 201, "keys are scoped to their merchant");
    });
}

#[test]
fn a_replay_may_name_the_default_provider_or_leave_it_out() {
    simulate(4, async || {
        let account = json!({
            "appid": TRADER_APPID, "base_url": "http://trader.invalid", "allow_http": true,
        });
        let accounts = Accounts {
            settings: json!({"trader": account, "second": account}),
            keys: json!({"trader": {"key": TRADER_KEY}, "second": {"key": TRADER_KEY}}),
            default: "trader".to_owned(),
        };
        let way = |receiver: &SimReceiver| -> Arc<dyn Deliver> { Arc::new(receiver.clone()) };
        let outbound = |trader: &SimTrader| -> Arc<dyn Outbound> { Arc::new(trader.outbound()) };
        let world = World::with(Some(accounts), outbound, way).await;
        let create = async |key: &str, method: Option<&str>, minor: i64| {
            let mut body = json!({"userId": key, "amount": minor, "currency": "USDT"});
            if let Some(method) = method {
                body["paymentMethod"] = json!(method);
            }
            world.send(&world.signed(("POST", "/recharges"), &body.to_string(), key)).await
        };
        let (default, other) = (Some("trader"), Some("second"));
        for (key, first, same) in
            [("k-1", None, default), ("k-2", default, None), ("k-3", other, other)]
        {
            let made = create(key, first, MINOR).await;
            assert_eq!(made.status, 201, "{}", made.text);
            let again = create(key, same, MINOR).await;
            assert_eq!((again.status, id(&again)), (200, id(&made)), "{key}");
        }
        for (key, method, minor) in [
            ("k-1", default, MINOR + 1_000),
            ("k-1", other, MINOR),
            ("k-2", other, MINOR),
            ("k-2", None, MINOR + 1_000),
            ("k-3", None, MINOR),
            ("k-3", default, MINOR),
        ] {
            let reused = create(key, method, minor).await;
            assert_eq!(
                (reused.status, &reused.json["errorCode"]),
                (422, &json!("IDEMPOTENCY_KEY_REUSED")),
                "{key} {method:?}"
            );
        }
        assert_eq!(world.books().orders.len(), 3);
    });
}

#[test]
fn a_refused_request_leaves_the_key_free() {
    simulate(5, async || {
        let world = World::new().await;
        for wrong in [0, -1, MINOR + 1] {
            let refused = world.create("u_1", wrong, "k-1").await;
            assert_eq!(
                (refused.status, &refused.json["details"][0]["field"]),
                (400, &json!("amount"))
            );
        }
        assert_eq!(world.books().orders.len(), 0);
        assert_eq!(world.create("u_1", MINOR, "k-1").await.status, 201);
    });
}

#[test]
fn a_used_key_is_refused_as_used_even_where_nothing_could_be_made() {
    simulate(5, async || {
        let world = World::new().await;
        assert_eq!(world.create("u_1", MINOR, "k-1").await.status, 201);
        let fine = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT"});
        for (member, value) in [
            ("amount", json!(MINOR + 1)),
            ("currency", json!("EUR")),
            ("paymentMethod", json!("nobody")),
        ] {
            let mut body = fine.clone();
            body[member] = value;
            for (key, status, code) in
                [("k-1", 422, "IDEMPOTENCY_KEY_REUSED"), ("k-2", 400, "INVALID_ARGUMENT")]
            {
                let request = world.signed(("POST", "/recharges"), &body.to_string(), key);
                let refused = world.send(&request).await;
                assert_eq!((refused.status, &refused.json["errorCode"]), (status, &json!(code)));
            }
        }
        assert_eq!(world.books().orders.len(), 1);
    });
}

#[test]
fn a_provider_that_is_no_longer_offered_has_its_replays_and_nothing_new() {
    simulate(5, async || {
        let world = World::new().await;
        let request = |key: &str, user: &str| {
            let body = json!({
                "userId": user, "amount": MINOR, "currency": "USDT", "paymentMethod": "trader",
            });
            world.signed(("POST", "/recharges"), &body.to_string(), key)
        };
        let order = id(&world.send(&request("k-1", "u_1")).await);
        let mut ground = world.stack.ground.clone();
        let mut settings: Value = serde_json::from_str(&ground.provider_settings).unwrap();
        settings.as_object_mut().unwrap().remove("trader");
        ground.provider_settings = settings.to_string();
        ground.names.default_provider = "payprotocol".to_owned();
        let functions = Functions::new(&ground).unwrap();
        let again = world.send_to(&functions, &request("k-1", "u_1")).await;
        assert_eq!((again.status, id(&again)), (200, order));
        for (key, user, status, code) in
            [("k-1", "u_2", 422, "IDEMPOTENCY_KEY_REUSED"), ("k-2", "u_1", 400, "INVALID_ARGUMENT")]
        {
            let refused = world.send_to(&functions, &request(key, user)).await;
            assert_eq!((refused.status, &refused.json["errorCode"]), (status, &json!(code)));
        }
        assert_eq!(world.books().orders.len(), 1);
    });
}

#[test]
fn an_order_reference_belongs_to_one_order() {
    simulate(6, async || {
        let world = World::new().await;
        let request = |key: &str| {
            let body = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT", "orderReference": "r-1"});
            world.signed(("POST", "/recharges"), &body.to_string(), key)
        };
        let (first, second) = (request("k-1"), request("k-2"));
        let answers = join_all([world.send(&first), world.send(&second)]).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answered| answered.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
        assert_eq!((world.books().orders.len(), world.trader.provider_orders()), (1, 1));
        let winner = if answers[0].status == 201 { &first } else { &second };
        assert_eq!(world.send(winner).await.status, 200, "the winner's replay is no conflict");
    });
}

#[test]
fn a_lost_callback_is_found_by_the_poller_within_two_runs() {
    simulate(7, async || {
        let world = World::new().await;
        let order = id(&world.create("u_1", MINOR, "k-1").await);
        world.pay(&order, None);
        world.let_pass(2).await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn a_providers_lost_answer_is_one_provider_order_in_the_end() {
    simulate(8, async || {
        let world = World::new().await;
        world.create("u_1", MINOR, "k-0").await;
        world.trader.set_mode(Mode::LostAnswer);
        let created = world.create("u_1", MINOR, "k-1").await;
        assert_eq!((created.status, &created.json["status"]), (201, &json!("CREATED")));
        world.trader.set_mode(Mode::Ok);
        world.let_pass(2).await;
        assert_eq!(world.order(&id(&created)).await["status"], "PENDING");
        assert_eq!(world.trader.provider_orders(), 2);
    });
}

#[test]
fn a_provider_that_is_down_or_slow_costs_no_order() {
    for mode in [Mode::Down, Mode::Slow] {
        simulate(9, async || {
            let world = World::new().await;
            world.trader.set_mode(mode);
            let started = world.clock().now_ms();
            let created = world.create("u_1", MINOR, "k-1").await;
            assert_eq!((created.status, &created.json["status"]), (201, &json!("CREATED")));
            assert!(world.clock().now_ms() - started < 10_000, "answered within ten seconds");
            world.let_pass(3).await;
            world.trader.set_mode(Mode::Ok);
            world.let_pass(3).await;
            assert_eq!(world.order(&id(&created)).await["status"], "PENDING");
            assert_eq!((world.trader.provider_orders(), world.trader.addresses_made()), (1, 1));
        });
    }
}

/// The way to a provider, which can be shut: then no connection is made.
#[derive(Debug)]
struct Door {
    open: AtomicBool,
    inside: InProcess,
}

#[async_trait]
impl Outbound for Door {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        match self.open.load(Ordering::Relaxed) {
            true => self.inside.send(request, limits).await,
            false => Err(OutboundError::NotSent),
        }
    }
}

#[test]
fn a_retry_takes_an_order_on_that_the_provider_has_not_heard_of() {
    simulate(21, async || {
        let mut door = None;
        let way = |receiver: &SimReceiver| -> Arc<dyn Deliver> { Arc::new(receiver.clone()) };
        let outbound = |trader: &SimTrader| -> Arc<dyn Outbound> {
            let made = Arc::new(Door { open: AtomicBool::new(false), inside: trader.outbound() });
            door.insert(made).clone()
        };
        let world = World::with(None, outbound, way).await;
        for _ in 0..2 {
            let refused = world.create("u_1", MINOR, "k-1").await;
            let away = (503, &json!("PROVIDER_UNAVAILABLE"));
            assert_eq!((refused.status, &refused.json["errorCode"]), away);
            world.pass(60).await;
        }
        door.unwrap().open.store(true, Ordering::Relaxed);
        let taken_on = world.create("u_1", MINOR, "k-1").await;
        assert_eq!((taken_on.status, &taken_on.json["status"]), (200, &json!("PENDING")));
        assert_eq!((world.trader.provider_orders(), world.books().orders.len()), (1, 1));
    });
}

/// A provider that takes an order, takes its time, and then says that it has refused it.
#[derive(Debug)]
struct LateRefusal {
    trader: SimTrader,
    inside: InProcess,
}

#[async_trait]
impl Outbound for LateRefusal {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        if !request.uri().path().ends_with("TraderRechargeorder") {
            return self.inside.send(request, limits).await;
        }
        let (parts, body) = request.into_parts();
        let again = Request::from_parts(parts.clone(), body.clone());
        self.inside.send(Request::from_parts(parts, body), limits).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.trader.set_mode(Mode::Reject);
        let answer = self.inside.send(again, limits).await;
        self.trader.set_mode(Mode::Ok);
        answer
    }
}

#[test]
fn a_refusal_that_comes_after_a_part_of_the_money_ends_no_order() {
    simulate(24, async || {
        let way = |receiver: &SimReceiver| -> Arc<dyn Deliver> { Arc::new(receiver.clone()) };
        let outbound = |trader: &SimTrader| -> Arc<dyn Outbound> {
            Arc::new(LateRefusal { trader: trader.clone(), inside: trader.outbound() })
        };
        let world = World::with(None, outbound, way).await;
        let policy =
            MerchantPolicy { amount: Some(AmountPolicy::Accumulate), ..MerchantPolicy::default() };
        let merchant = Merchant { policy, ..Merchant::default() };
        let aws = &world.stack.ground.aws;
        let store = Store::new(aws.dynamodb(aws.http_client(), 1), world.stack.names.table.clone());
        store.set_merchant(&MerchantId::parse("m_demo").unwrap(), &merchant).await.unwrap();
        let part = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let order = world.books().orders[0].id.clone();
            world.deliver(&world.pay(&order, Some(MINOR / 2))).await;
            world.settle().await;
            assert_eq!(world.order(&order).await["status"], "PENDING");
        };
        let (created, ()) = tokio::join!(world.create("u_1", MINOR, "k-1"), part);
        assert_eq!((created.status, &created.json["status"]), (201, &json!("PENDING")));
        world.let_pass(40).await;
        let told = world.order(&id(&created)).await;
        let stands = (&told["status"], &told["receivedAmount"]);
        assert_eq!(stands, (&json!("REVIEW"), &json!(MINOR / 2)));
        assert_eq!(world.books().violations(), Vec::<String>::new());
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

/// A provider that does what it is asked at once, and takes two seconds to say so.
#[derive(Debug)]
struct SlowAnswer(InProcess);

#[async_trait]
impl Outbound for SlowAnswer {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let is_create = request.uri().path().ends_with("TraderRechargeorder");
        let answer = self.0.send(request, limits).await;
        if is_create {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        answer
    }
}

#[test]
fn what_was_told_of_a_credited_order_stays_when_the_providers_answer_comes_after_the_payment() {
    simulate(24, async || {
        let way = |receiver: &SimReceiver| -> Arc<dyn Deliver> { Arc::new(receiver.clone()) };
        let outbound =
            |trader: &SimTrader| -> Arc<dyn Outbound> { Arc::new(SlowAnswer(trader.outbound())) };
        let world = World::with(None, outbound, way).await;
        let paid = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let order = world.books().orders[0].id.clone();
            world.deliver(&world.pay(&order, None)).await;
            world.settle().await;
            world.order(&order).await
        };
        let (created, told) = tokio::join!(world.create("u_1", MINOR, "k-1"), paid);
        assert_eq!((created.status, &told["status"]), (201, &json!("SUCCESS")));
        assert_eq!(created.json, told);
        assert_eq!(world.order(&id(&created)).await, told);
    });
}

#[test]
fn a_retry_asks_before_it_sends_again() {
    simulate(24, async || {
        let standard = SimStandard::new("standard-secret-0123456789abcdef");
        let settings = json!({"standard": {"kind": "standard", "account": "ACC", "currency": "USDT",
            "base_url": format!("https://{HOST}")}});
        let keys = json!({"standard": {"key": "standard-secret-0123456789abcdef"}});
        let accounts = Accounts { settings, keys, default: "standard".to_owned() };
        let there = standard.clone();
        let outbound = |trader: &SimTrader| -> Arc<dyn Outbound> {
            Arc::new(ByHost { standard: there, other: Arc::new(trader.outbound()) })
        };
        let way = |receiver: &SimReceiver| -> Arc<dyn Deliver> { Arc::new(receiver.clone()) };
        let world = World::with(Some(accounts), outbound, way).await;
        let faults = Faults::new(world.clock().clone(), |call| match call.service {
            Service::Provider => Fault::AnswerLost,
            _ => Fault::None,
        });
        let request = world.create_request("u_1", MINOR, "k-1");
        let created = world.send_to(&world.instance(&faults, 1), &request).await;
        assert_eq!((created.status, &created.json["status"]), (201, &json!("CREATED")));
        let again = world.create("u_1", MINOR, "k-1").await;
        assert_eq!((again.status, &again.json["status"]), (200, &json!("PENDING")));
        assert_eq!((standard.provider_orders(), standard.attempts()), (1, 1));
    });
}

#[test]
fn a_request_that_cannot_be_made_is_no_replay_of_another() {
    simulate(22, async || {
        let world = World::new().await;
        assert_eq!(world.create("u_1", MINOR, "k-1").await.status, 201);
        let body = json!({
            "userId": "u_1", "amount": MINOR, "currency": "USDT", "paymentMethod": "payprotocol",
        });
        let other = world.signed(("POST", "/recharges"), &body.to_string(), "k-1");
        let refused = world.send(&other).await;
        assert_eq!(
            (refused.status, &refused.json["errorCode"]),
            (422, &json!("IDEMPOTENCY_KEY_REUSED"))
        );
    });
}

#[test]
fn a_provider_that_takes_its_time_with_every_call_keeps_nobody_waiting() {
    simulate(20, async || {
        let world = World::new().await;
        let slow = |call: &Call| if call.service == Service::Provider { 3_900 } else { 0 };
        let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
        let functions = world.instance(&faults, 3);
        let started = world.clock().now_ms();
        let request = world.create_request("u_1", MINOR, "k-1");
        let created = world.send_to(&functions, &request).await;
        assert_eq!((created.status, &created.json["status"]), (201, &json!("CREATED")));
        assert!(world.clock().now_ms() - started < 9_000, "inside the function's time limit");
        world.let_pass(2).await;
        assert_eq!(world.order(&id(&created)).await["status"], "PENDING");
        assert_eq!((world.trader.provider_orders(), world.trader.addresses_made()), (1, 1));
    });
}

#[test]
fn whoever_waits_for_another_request_and_goes_on_himself_ends_in_time_too() {
    simulate(20, async || {
        let world = World::new().await;
        let slow = |call: &Call| if call.service == Service::Provider { 3_900 } else { 0 };
        let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
        let functions = world.instance(&faults, 3);
        let request = || world.create_request("u_1", MINOR, "k-1");
        world.send_to(&functions, &request()).await;
        // The first one's hold on the order ends 2.5 seconds from here.
        world.pass(5).await;
        let started = world.clock().now_ms();
        let again = world.send_to(&functions, &request()).await;
        assert_eq!((again.status, &again.json["status"]), (200, &json!("CREATED")));
        let took = world.clock().now_ms() - started;
        assert!((7_000..8_000).contains(&took), "{took} ms of the function's 10 s");
        world.let_pass(2).await;
        assert_eq!(world.order(&id(&again)).await["status"], "PENDING");
    });
}

#[test]
fn a_provider_that_refuses_ends_the_order() {
    simulate(10, async || {
        let world = World::new().await;
        world.create("u_1", MINOR, "k-0").await;
        world.trader.set_mode(Mode::Reject);
        let created = world.create("u_1", MINOR, "k-1").await;
        assert_eq!((created.status, &created.json["status"]), (201, &json!("FAILED")));
        assert_eq!(created.json["reason"], "provider_declined");
        let replayed = world.create("u_1", MINOR, "k-1").await;
        assert_eq!((replayed.status, replayed.json), (200, created.json));
    });
}

#[test]
fn an_order_expires_on_time_and_late_money_is_credited() {
    simulate(11, async || {
        let world = World::new().await;
        let order = id(&world.create("u_1", MINOR, "k-1").await);
        world.let_pass(29).await;
        assert_eq!(world.order(&order).await["status"], "PENDING");
        world.let_pass(3).await;
        let expired = world.order(&order).await;
        assert_eq!(
            (&expired["status"], &expired["reason"]),
            (&json!("EXPIRED"), &json!("expired"))
        );
        world.pay(&order, None);
        world.let_pass(30).await;
        let late = world.order(&order).await;
        assert_eq!((&late["status"], &late["reason"]), (&json!("SUCCESS"), &json!("paid_late")));
    });
}

#[test]
fn unpaid_orders_leave_the_index_when_the_monitoring_window_ends() {
    simulate(12, async || {
        let world = World::new().await;
        world.create("u_1", MINOR, "k-1").await;
        for _ in 0..80 {
            world.pass(3_600).await;
            world.stack.poll().await.unwrap();
        }
        let books = world.books();
        assert_eq!((books.orders[0].state.as_str(), books.orders[0].due), ("EXPIRED", false));
    });
}

#[test]
fn other_amounts_are_credited_as_received_and_a_second_amount_is_parked() {
    simulate(13, async || {
        let world = World::new().await;
        for (key, minor, reason) in
            [("k-1", 4_000_000, "paid_under"), ("k-2", 6_000_000, "paid_over")]
        {
            let order = id(&world.create("u_1", MINOR, key).await);
            world.deliver(&world.pay(&order, Some(minor))).await;
            world.settle().await;
            let order_now = world.order(&order).await;
            assert_eq!(
                (&order_now["status"], &order_now["reason"]),
                (&json!("SUCCESS"), &json!(reason))
            );
            assert_eq!(order_now["creditedAmount"], minor);
            world.deliver(&world.pay(&order, Some(9_000_000))).await;
            world.settle().await;
        }
        let books = world.books();
        assert_eq!((books.credits.len(), books.parked, books.violations()), (2, 2, vec![]));
    });
}

#[test]
fn another_merchants_order_and_user_are_like_unknown_ones() {
    simulate(14, async || {
        let world = World::new().await;
        let order = id(&world.create("u_1", MINOR, "k-1").await);
        world.deliver(&world.pay(&order, None)).await;
        world.settle().await;
        let unknown = "R0000000000000000000000000";
        for (theirs, nobodys) in [
            (format!("/recharges/{order}"), format!("/recharges/{unknown}")),
            ("/users/u_1/balances".to_owned(), "/users/nobody/balances".to_owned()),
            ("/users/u_1/ledger".to_owned(), "/users/nobody/ledger".to_owned()),
        ] {
            let ask = async |path: &str| {
                let request = world.signed_as(API_KEYS[1], ("GET", path), "", "");
                let mut answered = world.send(&request).await;
                answered.json["traceId"] = json!(null);
                (answered.status, answered.json)
            };
            let answer = ask(&theirs).await;
            assert_eq!(answer.0, 404, "{theirs}");
            assert_eq!(answer, ask(&nobodys).await);
        }
    });
}

#[test]
fn requests_that_nobody_signed_are_refused_in_one_form() {
    simulate(15, async || {
        let world = World::new().await;
        let good = world.create_request("u_1", MINOR, "k-1");
        let with = |name: &'static str, value: &str| {
            let mut request = good.clone();
            request.headers.insert(name, value.parse().unwrap());
            request
        };
        let mut bare = good.clone();
        bare.headers.remove("x-signature");
        let mut changed = good.clone();
        changed.body = changed.body.iter().map(|b| if *b == b'5' { b'6' } else { *b }).collect();
        let signature = good.headers["x-signature"].to_str().unwrap().to_uppercase();
        for (request, code) in [
            (bare, "UNAUTHENTICATED"),
            (changed, "SIGNATURE_INVALID"),
            (with("x-api-key", "demo2"), "SIGNATURE_INVALID"),
            (with("x-api-key", "nobody"), "SIGNATURE_INVALID"),
            (with("x-signature", "v1="), "SIGNATURE_INVALID"),
            (with("x-signature", &signature), "SIGNATURE_INVALID"),
            (with("idempotency-key", "k-2"), "SIGNATURE_INVALID"),
            (with("x-timestamp", "1800000301"), "TIMESTAMP_OUT_OF_RANGE"),
            (with("x-timestamp", "1800000000000"), "TIMESTAMP_OUT_OF_RANGE"),
        ] {
            let refused = world.send(&request).await;
            assert_eq!((refused.status, &refused.json["errorCode"]), (401, &json!(code)));
            assert!(refused.json["traceId"].is_string());
        }
        assert_eq!(world.books().orders.len(), 0);
    });
}

#[test]
fn an_idempotency_key_that_cannot_be_read_is_named_and_its_order_is_not_made() {
    simulate(15, async || {
        let world = World::new().await;
        for key in ["schl\u{fc}ssel".to_owned(), "k\t1".to_owned(), "k".repeat(256)] {
            // Signed as it is sent: nothing else is wrong with it.
            let good = world.create_request("u_1", MINOR, "k-1");
            let body = std::str::from_utf8(&good.body).unwrap();
            let mut request = world.signed(("POST", "/recharges"), body, "");
            let at = request.headers["x-timestamp"].to_str().unwrap().parse().unwrap();
            let claim = (at, API_KEYS[0].id, key.as_str());
            let signature = sign(API_KEYS[0].secret, ("POST", "/recharges"), claim, &good.body);
            request.headers.insert("x-signature", signature.parse().unwrap());
            let unreadable = HeaderValue::from_bytes(key.as_bytes()).unwrap();
            request.headers.insert("idempotency-key", unreadable);
            let refused = world.send(&request).await;
            assert_eq!(
                (refused.status, &refused.json["errorCode"], &refused.json["details"][0]["field"]),
                (400, &json!("INVALID_ARGUMENT"), &json!("idempotencyKey")),
                "{key:?}"
            );
            request.headers.insert("idempotency-key", "k-1".parse().unwrap());
            assert_eq!(world.send(&request).await.status, 401, "signed for another key");
        }
        assert_eq!(world.books().orders.len(), 0);
    });
}

#[test]
fn unknown_routes_and_wrong_verbs_answer_in_the_error_form() {
    simulate(16, async || {
        let world = World::new().await;
        for (method, path, status, code) in [
            ("GET", "/nope", 404, "NOT_FOUND"),
            ("PUT", "/recharges", 405, "METHOD_NOT_ALLOWED"),
            ("GET", "/recharges/callback/trader", 405, "METHOD_NOT_ALLOWED"),
            ("POST", "/recharges/callback/nobody", 404, "NOT_FOUND"),
        ] {
            let refused = world.send(&world.unsigned((method, path), &[], b"")).await;
            assert_eq!(
                (refused.status, &refused.json["errorCode"]),
                (status, &json!(code)),
                "{path}"
            );
        }
        let health = world.send(&world.unsigned(("GET", "/health"), &[], b"")).await;
        assert_eq!(health.status, 200);
    });
}

#[test]
fn poison_messages_end_in_the_dead_letters_with_a_reason_and_hold_nobody_up() {
    simulate(17, async || {
        let world = World::new().await;
        let order = id(&world.create("u_1", MINOR, "k-1").await);
        let aws = &world.stack.ground.aws;
        let sqs = aws.sqs(aws.http_client(), 1);
        let queue = &world.stack.names.settlement_url;
        sqs.send_message().queue_url(queue).message_body("not json").send().await.unwrap();
        world.deliver(&world.pay(&order, None)).await;
        world.settle().await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        world.let_pass(20).await;
        let depth = world.stack.depth();
        assert_eq!((depth.visible, depth.in_flight, depth.dead), (0, 0, 1));
        let dead = aws.queues().view(&world.stack.names.dead_letters).unwrap();
        assert_eq!(dead.messages[0].body, "not json");
        let reason = format!("{:?}", dead.messages[0].attributes.get("reason"));
        assert!(reason.contains("undecodable"), "{reason}");
    });
}

#[test]
fn keys_are_rotated_without_refusing_anybody_and_revoked_within_a_minute() {
    simulate(18, async || {
        let world = World::new().await;
        world.create("u_1", MINOR, "k-0").await;
        let aws = &world.stack.ground.aws;
        let secrets = aws.secrets(aws.http_client(), 1);
        let put = async |document: serde_json::Value| {
            let name = &world.stack.names.client_keys;
            let put = secrets.put_secret_value().secret_id(name);
            put.secret_string(document.to_string()).send().await.unwrap();
        };
        let entry = |secret: &str| json!({"merchant": "m_demo", "secret": secret, "scopes": ["recharge:write", "recharge:read"]});
        put(json!({"demo": entry("new-secret"), "demo2": entry("unused")})).await;
        assert_eq!(world.create("u_1", MINOR, "k-1").await.status, 201, "previous, not read yet");
        world.pass(60).await;
        assert_eq!(
            world.create("u_1", MINOR, "k-2").await.status,
            201,
            "previous, inside the overlap"
        );
        let new = recharge_local::call::ApiKey { secret: "new-secret", ..API_KEYS[0] };
        let body = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT"}).to_string();
        let request = world.signed_as(new, ("POST", "/recharges"), &body, "k-3");
        assert_eq!(world.send(&request).await.status, 201, "the new one");
        put(json!({"demo2": entry("unused")})).await;
        world.pass(60).await;
        assert_eq!(world.create("u_1", MINOR, "k-4").await.status, 401, "revoked");
    });
}

#[test]
fn nothing_is_believed_while_the_keys_cannot_be_read() {
    simulate(19, async || {
        let world = World::new().await;
        let order = id(&world.create("u_1", MINOR, "k-1").await);
        let callback = world.pay(&order, None);
        let faults = Faults::new(world.clock().clone(), |call| {
            if call.service == Service::Secrets { Fault::RequestLost } else { Fault::None }
        });
        let functions = world.instance(&faults, 3);
        for request in [world.create_request("u_1", MINOR, "k-2"), world.callback(&callback)] {
            let refused = world.send_to(&functions, &request).await;
            assert_eq!(
                (refused.status, &refused.json["errorCode"]),
                (503, &json!("SERVICE_UNAVAILABLE"))
            );
            assert!(refused.headers.contains_key("retry-after"));
        }
        assert_eq!((world.books().orders.len(), world.stack.depth().visible), (1, 0));
    });
}

#[test]
fn an_order_has_all_its_members_in_their_order_before_and_after_the_provider_knows_it() {
    simulate(21, async || {
        let world = World::new().await;
        let members = |answered: &recharge_tests::Answered| {
            let members = answered.json.as_object().into_iter().flatten();
            members.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
        };
        let all = "orderId status reason userId amount currency receivedAmount creditedAmount \
                   paymentMethod transactionId orderReference payment payments metadata createdAt updatedAt \
                   expiresAt message";
        let created = world.create("u_1", MINOR, "k-1").await;
        assert_eq!(members(&created), all);
        let payment = created.json["payment"].as_object().unwrap();
        let payment: Vec<&str> = payment.keys().map(String::as_str).collect();
        assert_eq!(payment, ["address", "network", "amount", "expiresAt"]);
        world.trader.set_mode(Mode::Down);
        let unknown = world.create("u_2", MINOR, "k-2").await;
        assert_eq!(members(&unknown), all);
        for absent in ["reason", "transactionId", "orderReference", "payment"] {
            assert_eq!(unknown.json[absent], json!(null), "{absent}");
        }
    });
}
