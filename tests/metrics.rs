//! What the functions count, as it is written for CloudWatch: every line whole, every dimension a name of
//! ours, and the audit's walk over the books.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use recharge_local::aws::faults::{Call, Fault, Faults};
use recharge_local::call::ADMIN_KEYS;
use recharge_local::functions::{Functions, Ground};
use recharge_local::sim::payprotocol::Mode as ListMode;
use recharge_local::sim::receiver::Manner;
use recharge_local::sim::trader::{CallbackRequest, Mode};
use recharge_local::stack::{PAYPROTOCOL, PAYPROTOCOL_API_KEY};
use recharge_shared::domain::{AmountPolicy, Merchant, MerchantId, MerchantPolicy, ProviderName};
use recharge_shared::metrics::{Metrics, Stage};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};
use recharge_shared::store::{Again, ListRead, Store};
use recharge_tests::World;
use recharge_tests::world::{CALLBACK_URL, simulate};
use serde_json::{Value, json};

const MINOR: i64 = 5_000_000;

/// What an instance has written.
#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<String>>);

impl Written {
    /// The lines since the last time.
    fn lines(&self) -> Vec<Value> {
        let written = std::mem::take(&mut *self.0.lock().unwrap());
        written.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The sum of a metric over the lines in which all of `dimensions` are told.
    fn sum(lines: &[Value], metric: &str, dimensions: &[(&str, &str)]) -> Option<u64> {
        let told = |line: &&Value| dimensions.iter().all(|(name, value)| line[*name] == *value);
        let values: Vec<_> =
            lines.iter().filter(told).filter_map(|line| line.get(metric)).collect();
        let sum = values.iter().map(|value| match value {
            Value::Array(values) => values.iter().filter_map(Value::as_u64).sum(),
            value => value.as_u64().unwrap_or(0),
        });
        (!values.is_empty()).then(|| sum.sum())
    }
}

/// An instance that counts, and audits `audit_page` rows.
fn counting(world: &World, audit_page: u32) -> (Functions, Written) {
    let (metrics, written) = to_a_text();
    let ground = Ground { metrics, audit_page, ..world.stack.ground.clone() };
    (Functions::new(&ground).unwrap(), written)
}

/// An instance that counts, and reaches the services through `faults`.
fn counting_through(world: &World, faults: &Faults) -> (Functions, Written) {
    let (metrics, written) = to_a_text();
    let wire = faults.wrap(world.stack.ground.aws.http_client());
    let ground = Ground { metrics, wire, ..world.stack.ground.clone() };
    (Functions::new(&ground).unwrap(), written)
}

fn to_a_text() -> (Metrics, Written) {
    let written = Written::default();
    let kept = written.clone();
    let sink = move |lines: &str| kept.0.lock().unwrap().push_str(lines);
    (Metrics::to(Stage::parse("test").unwrap(), sink), written)
}

/// Every line is read by CloudWatch: what is declared is there.
fn check(lines: &[Value]) {
    for line in lines {
        assert_eq!(line["Stage"], "test", "{line}");
        for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            for set in directive["Dimensions"].as_array().unwrap() {
                let told = |name: &Value| line[name.as_str().unwrap()].is_string();
                assert!(set.as_array().unwrap().iter().all(told), "{line}");
            }
        }
    }
}

#[test]
fn a_recharge_is_counted_from_create_to_notification() {
    simulate(1, async || {
        let world = World::new().await;
        let (functions, written) = counting(&world, 0);
        let request = world.create_request("u_1", MINOR, "k-1");
        let created = world.send_to(&functions, &request).await;
        let lines = written.lines();
        check(&lines);
        assert_eq!(Written::sum(&lines, "Creates", &[("Outcome", "created")]), Some(1));
        let done = [("Provider", "trader"), ("Outcome", "done")];
        assert_eq!(Written::sum(&lines, "ProviderCalls", &done), Some(3), "two for the address");
        assert!(Written::sum(&lines, "CreateLatency", &[]).is_some());
        let of_create = [("Function", "create-order")];
        assert_eq!(Written::sum(&lines, "WriteUnits", &of_create), Some(9));
        assert_eq!(lines.len(), 2, "{lines:#?}");

        world.send_to(&functions, &request).await;
        world.send_to(&functions, &world.unsigned(("POST", "/recharges"), &[], b"{}")).await;
        let lines = written.lines();
        assert_eq!(Written::sum(&lines, "Creates", &[("Outcome", "replayed")]), Some(1));
        assert_eq!(Written::sum(&lines, "Creates", &[("Outcome", "refused")]), Some(1));
        assert_eq!(lines.len(), 2, "one line an invocation: {lines:#?}");

        world.pass(7).await;
        let callback = world.pay(created.json["orderId"].as_str().unwrap(), None);
        world.send_to(&functions, &world.callback(&callback)).await;
        world.stack.settle_batch_with(&functions, 0).await.unwrap();
        world.stack.notify_batch_with(&functions, 0).await.unwrap();
        let lines = written.lines();
        check(&lines);
        let verified = [("Provider", "trader"), ("Outcome", "verified")];
        assert_eq!(Written::sum(&lines, "Callbacks", &verified), Some(1));
        let settled = [("Provider", "trader"), ("Outcome", "settled")];
        assert_eq!(Written::sum(&lines, "Settlements", &settled), Some(1));
        assert_eq!(Written::sum(&lines, "TimeToCredit", &[("Provider", "trader")]), Some(7_000));
        assert_eq!(Written::sum(&lines, "WriteUnits", &[("Function", "callback-worker")]), Some(8));
        assert_eq!(Written::sum(&lines, "Notifications", &[("Outcome", "delivered")]), Some(1));
        assert_eq!(lines.len(), 3, "one line an invocation: {lines:#?}");
    });
}

#[test]
fn failures_are_ours_and_not_the_providers_or_the_callers() {
    simulate(1, async || {
        let world = World::new().await;
        let paid = world.create("u_1", MINOR, "k-0").await;
        let callback = world.pay(paid.json["orderId"].as_str().unwrap(), None);
        let (functions, written) = counting(&world, 0);
        world.trader.set_mode(Mode::Down);
        world.send_to(&functions, &world.create_request("u_1", MINOR, "k-1")).await;
        world.send_to(&functions, &world.unsigned(("POST", "/recharges"), &[], b"{}")).await;
        assert_eq!(Written::sum(&written.lines(), "Failures", &[]), None);

        let away = Faults::new(world.clock().clone(), |call| match call.operation.as_str() {
            "PutItem" | "TransactWriteItems" | "Query" => Fault::RequestLost,
            _ => Fault::None,
        });
        let (functions, written) = counting_through(&world, &away);
        let refused = world.send_to(&functions, &world.create_request("u_1", MINOR, "k-2")).await;
        assert_eq!(
            (refused.status, &refused.json["errorCode"]),
            (503, &json!("SERVICE_UNAVAILABLE"))
        );
        let lines = written.lines();
        check(&lines);
        assert_eq!(Written::sum(&lines, "Failures", &[("Function", "create-order")]), Some(1));

        world.deliver(&callback).await;
        world.stack.settle_batch_with(&functions, 0).await.unwrap();
        functions.poll("away".to_owned()).await.unwrap();
        let lines = written.lines();
        check(&lines);
        assert_eq!(Written::sum(&lines, "Failures", &[("Function", "callback-worker")]), Some(1));
        let of_poller = Written::sum(&lines, "Failures", &[("Function", "reconcile-poller")]);
        assert!(of_poller > Some(0), "{lines:#?}");
    });
}

#[test]
fn a_notice_that_is_held_back_for_its_receivers_sake_is_no_failure_and_comes_again() {
    simulate(1, async || {
        let world = World::new().await;
        let (functions, written) = counting(&world, 0);
        world.receiver.set(CALLBACK_URL, Manner::Hangs);
        let mut orders = Vec::new();
        for key in ["k-1", "k-2"] {
            let created = world.create("u_1", MINOR, key).await;
            orders.push(created.json["orderId"].as_str().unwrap().to_owned());
            world.deliver(&world.pay(&orders[orders.len() - 1], None)).await;
        }
        world.settle().await;
        // Two that it does not take: it is left alone for a minute.
        assert!(world.stack.notify_batch_with(&functions, 0).await.unwrap() > 0);
        world.receiver.set(CALLBACK_URL, Manner::Answers(200, String::new()));
        let before = world.receiver.received().len();
        let path = format!("/recharges/{}/notify", orders[0]);
        assert_eq!(world.send(&world.signed(("POST", &path), "", "")).await.status, 202);
        written.lines();
        assert_eq!(world.stack.notify_batch_with(&functions, 0).await.unwrap(), 1);
        assert_eq!(Written::sum(&written.lines(), "Failures", &[]), None);
        assert_eq!(world.receiver.received().len(), before, "held back");
        // The message is all that knows of it.
        world.pass(400).await;
        world.stack.notify_batch_with(&functions, 0).await.unwrap();
        assert_eq!(world.receiver.received().len(), before + 1, "and not forgotten");
    });
}

#[test]
fn what_people_are_asked_about_again_is_counted_as_put_aside_once_more() {
    simulate(1, async || {
        let world = World::new().await;
        let aws = &world.stack.ground.aws;
        let store = Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone());
        let amount = Some(AmountPolicy::Exact);
        let policy = MerchantPolicy { amount, ..MerchantPolicy::default() };
        let merchant = Merchant { policy, ..Merchant::default() };
        store.set_merchant(&MerchantId::parse("m_demo").unwrap(), &merchant).await.unwrap();
        let (functions, written) = counting(&world, 0);
        let created = world.create("u_1", MINOR, "k-1").await;
        let order = created.json["orderId"].as_str().unwrap();
        let parked = async |callback: &CallbackRequest| {
            world.deliver(callback).await;
            world.stack.settle_batch_with(&functions, 0).await.unwrap();
            Written::sum(&written.lines(), "Parked", &[("Provider", "trader")])
        };
        // Too old, and refused for that; then said in time.
        let old = world.pay(order, Some(4_000_000));
        world.pass(1_000).await;
        assert_eq!(parked(&old).await, Some(1));
        let list = world.signed_as(ADMIN_KEYS[0], ("GET", "/admin/reviews"), "", "");
        let review = world.send(&list).await.json["reviews"][0]["reviewId"].clone();
        let path = format!("/admin/reviews/{}/resolve", review.as_str().unwrap());
        let body = r#"{"action":"reject","note":"nobody has paid"}"#;
        let decision = world.signed_as(ADMIN_KEYS[0], ("POST", &path), body, "");
        assert_eq!(world.send(&decision).await.status, 202);
        world.settle().await;
        let fresh = world.pay(order, Some(4_000_000));
        assert_eq!(parked(&fresh).await, Some(1));
        assert_eq!(world.order(order).await["status"], "REVIEW");
        assert_eq!(parked(&fresh).await, None);
    });
}

#[test]
fn what_names_no_order_of_ours_is_counted_once_as_put_aside() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let other = World::of_trader().await;
        let order = other.create("u_1", MINOR, "k-1").await.json["orderId"].clone();
        let callback = other.pay(order.as_str().unwrap(), None);
        let (functions, written) = counting(&world, 0);
        let mut counted = Vec::new();
        for _ in 0..2 {
            world.deliver(&callback).await;
            world.stack.settle_batch_with(&functions, 0).await.unwrap();
            counted.push(Written::sum(&written.lines(), "Parked", &[("Provider", "trader")]));
        }
        assert_eq!((counted, world.books().parked), (vec![Some(1), None], 1));
    });
}

#[test]
fn nothing_that_a_stranger_writes_becomes_a_dimension() {
    simulate(1, async || {
        let world = World::new().await;
        let (functions, written) = counting(&world, 0);
        for provider in ["stranger", "trader2", "x".repeat(32).as_str(), "%0a", "a\"b"] {
            let path = format!("/recharges/callback/{provider}");
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            let forged = world.unsigned(("POST", &path), &headers, b"orderid=1");
            assert!(world.send_to(&functions, &forged).await.status >= 400);
        }
        assert_eq!(written.lines(), [] as [Value; 0]);
        let body = json!({"userId": "u_1", "amount": 1, "currency": "USDT", "paymentMethod": "x"});
        let unknown = world.signed(("POST", "/recharges"), &body.to_string(), "k-1");
        world.send_to(&functions, &unknown).await;
        let forged = world.unsigned(("POST", "/recharges/callback/trader"), &[], b"orderid=1");
        world.send_to(&functions, &forged).await;
        let lines = written.lines();
        let providers: BTreeSet<_> = lines.iter().filter_map(|l| l["Provider"].as_str()).collect();
        assert_eq!(providers, BTreeSet::from(["trader"]), "{lines:#?}");
        let refused = [("Provider", "trader"), ("Outcome", "refused")];
        assert_eq!(Written::sum(&lines, "Callbacks", &refused), Some(1));
        let text = json!(lines).to_string();
        for said in ["u_1", "m_demo", "k-1", "orderid"] {
            assert!(!text.contains(said), "{said}: {text}");
        }
    });
}

#[test]
fn the_poller_tells_what_is_due_and_who_is_silent() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let (functions, written) = counting(&world, 0);
        world.create("u_1", MINOR, "k-1").await;
        functions.poll("early".to_owned()).await.unwrap();
        let lines = written.lines();
        check(&lines);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        for (metric, wanted) in [
            ("DueBacklog", Some(0)),
            ("OldestDueSeconds", Some(0)),
            ("PendingBeyondSla", Some(0)),
            ("ProviderSilent", Some(0)),
            ("BooksUnbalanced", None),
        ] {
            assert_eq!(Written::sum(&lines, metric, &[]), wanted, "{metric}");
        }
        world.pass(90).await;
        world.trader.set_mode(Mode::Down);
        functions.poll("silent".to_owned()).await.unwrap();
        let lines = written.lines();
        assert_eq!(Written::sum(&lines, "DueBacklog", &[]), Some(1));
        assert_eq!(Written::sum(&lines, "OldestDueSeconds", &[]), Some(60));
        assert_eq!(Written::sum(&lines, "ProviderSilent", &[("Provider", "trader")]), Some(1));
        // Nobody has looked at it for an hour after its time.
        world.trader.set_mode(Mode::Ok);
        world.pass(5_400).await;
        functions.poll("late".to_owned()).await.unwrap();
        let lines = written.lines();
        assert_eq!(Written::sum(&lines, "PendingBeyondSla", &[]), Some(1));
        assert_eq!(Written::sum(&lines, "ProviderSilent", &[]), Some(0));
    });
}

#[test]
fn the_poller_tells_how_far_it_is_behind_a_providers_list() {
    simulate(1, async || {
        let world = World::new().await;
        let (functions, written) = counting(&world, 0);
        let behind = async |minutes: u64| {
            for _ in 0..minutes {
                world.pass(60).await;
                let _ = written.lines();
                functions.poll("list".to_owned()).await.unwrap();
            }
            let lines = written.lines();
            check(&lines);
            Written::sum(&lines, "ListBehindSeconds", &[("Provider", "payprotocol")])
        };
        assert_eq!(behind(1).await, None, "nothing was read before");
        assert_eq!(behind(3).await, Some(60));
        world.payprotocol.set_mode(ListMode::Error);
        assert_eq!(behind(30).await, Some(1_800));
        world.payprotocol.set_mode(ListMode::Ok);
        assert_eq!([behind(1).await, behind(1).await], [Some(1_860), Some(60)]);
        // What is read once more counts too.
        let name = ProviderName::parse(PAYPROTOCOL).unwrap();
        let account = (&name, PAYPROTOCOL_API_KEY);
        let aws = &world.stack.ground.aws;
        let store = Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone());
        let read = store.list_read_until(&name, PAYPROTOCOL_API_KEY).await.unwrap().unwrap();
        let late = read.again[&Again::AfterDay].minus(Duration::from_secs(7_200));
        let again = BTreeMap::from([(Again::AfterDay, late)]);
        let until = read.until;
        store.list_was_read(account, Some(until), &ListRead { until, again }).await.unwrap();
        assert_eq!([behind(1).await, behind(1).await], [Some(7_260), Some(60)]);
    });
}

/// Changes the table past everybody, as nobody should.
fn tamper(world: &World, operation: &str, request: Value) {
    let (database, mut request) = (world.stack.ground.aws.database(), request);
    request["TableName"] = world.stack.names.table.as_str().into();
    let answer = database.answer(operation, request.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn the_audit_finds_a_balance_that_is_not_the_sum_of_its_entries() {
    simulate(1, async || {
        let world = World::of_trader().await;
        for (number, user) in ["u_1", "u_2", "u_1"].into_iter().enumerate() {
            let created = world.create(user, MINOR, &format!("k-{number}")).await;
            let callback = world.pay(created.json["orderId"].as_str().unwrap(), None);
            world.deliver(&callback).await;
            world.settle().await;
        }
        let audited = async |minutes: u64| {
            let (functions, written) = counting(&world, 4);
            let mut lines = Vec::new();
            for _ in 0..minutes {
                world.pass(60).await;
                functions.poll("audit".to_owned()).await.unwrap();
                lines.extend(written.lines());
            }
            check(&lines);
            assert_eq!(Written::sum(&lines, "PaidWithoutRecord", &[]), Some(0));
            assert_eq!(Written::sum(&lines, "OrdersWithoutProvider", &[]), Some(0));
            Written::sum(&lines, "BooksUnbalanced", &[]).unwrap()
        };
        assert_eq!(audited(60).await, 0, "more than one walk over the table");
        tamper(
            &world,
            "UpdateItem",
            json!({
                "Key": {"pk": {"S": "U#m_demo#u_2"}, "sk": {"S": "B#USDT"}},
                "UpdateExpression": "ADD balance :one",
                "ExpressionAttributeValues": {":one": {"N": "1"}},
            }),
        );
        assert!(audited(60).await > 0);
        let seldom = audited(4).await + audited(1).await;
        assert!(seldom <= 1, "a page every five minutes");
    });
}

#[test]
fn the_audit_of_a_page_of_wrong_balances_ends_in_time_and_tells_what_it_has_found() {
    // All of them, or, where the table takes half a second for each ledger, as many as there is time for.
    for (query_ms, expected) in [(0, 60..=60), (500, 10..=12)] {
        simulate(1, async || {
            let world = World::of_trader().await;
            for number in 0..60 {
                let user = format!("u_{number}");
                let created = world.create(&user, MINOR, &user).await;
                world.deliver(&world.pay(created.json["orderId"].as_str().unwrap(), None)).await;
                world.settle().await;
                let key = json!({"pk": {"S": format!("U#m_demo#{user}")}, "sk": {"S": "B#USDT"}});
                let one = json!({":one": {"N": "1"}});
                let request = json!({
                    "Key": key, "UpdateExpression": "ADD balance :one",
                    "ExpressionAttributeValues": one,
                });
                tamper(&world, "UpdateItem", request);
            }
            world.pass(3_600).await;
            let slow = move |call: &Call| if call.operation == "Query" { query_ms } else { 0 };
            let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
            let (metrics, written) = to_a_text();
            let wire = faults.wrap(world.stack.ground.aws.http_client());
            let ground = Ground { metrics, wire, audit_page: 1_000, ..world.stack.ground.clone() };
            let functions = Functions::new(&ground).unwrap();
            let started = world.clock().now_ms();
            let report = functions.poll("audit".to_owned()).await.unwrap();
            let took = world.clock().now_ms() - started;
            assert!(took < 45_000, "{took} ms");
            let found = Written::sum(&written.lines(), "BooksUnbalanced", &[]).unwrap();
            assert!(expected.contains(&found), "{found}");
            assert_eq!(report["unfinished"], json!(query_ms > 0));
        });
    }
}

#[test]
fn the_audit_asks_about_what_was_credited_a_day_ago() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let created = world.create("u_1", MINOR, "k-1").await;
        let order = created.json["orderId"].as_str().unwrap().to_owned();
        for key in ["k-2", "k-3"] {
            let genuine = world.create("u_1", MINOR, key).await;
            let genuine = world.pay(genuine.json["orderId"].as_str().unwrap(), None);
            world.deliver(&genuine).await;
        }
        // Signed with the provider's key, by somebody who is not the provider: nobody has paid there.
        let other = World::of_trader().await;
        other.create("u_1", MINOR, "k-1").await;
        let forged = other.pay(&order, None);
        world.deliver(&forged).await;
        world.settle().await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        let (functions, written) = counting(&world, 25);
        let mut found = Vec::new();
        for hours in [1, 24] {
            world.pass(hours * 3_600).await;
            functions.poll("audit".to_owned()).await.unwrap();
            found.push(Written::sum(&written.lines(), "PaidWithoutRecord", &[]));
        }
        assert_eq!(found, [Some(0), Some(1)]);
        // Of an account that the settings no longer have, nobody asks the one that they have.
        tamper(
            &world,
            "UpdateItem",
            json!({
                "Key": {"pk": {"S": format!("O#{order}")}, "sk": {"S": "O"}},
                "UpdateExpression": "SET account = :former",
                "ExpressionAttributeValues": {":former": {"S": "FORMER"}},
            }),
        );
        world.pass(3_600).await;
        functions.poll("audit".to_owned()).await.unwrap();
        assert_eq!(Written::sum(&written.lines(), "PaidWithoutRecord", &[]), Some(0));
    });
}

#[test]
fn a_balance_that_changes_while_it_is_audited_is_looked_at_once_more() {
    simulate(1, async || {
        let world = World::of_trader().await;
        for key in ["k-1", "k-2"] {
            let created = world.create("u_1", MINOR, key).await;
            world.deliver(&world.pay(created.json["orderId"].as_str().unwrap(), None)).await;
            if key == "k-1" {
                world.settle().await;
            }
        }
        world.pass(300).await;
        // The entries are read a second after the balance.
        let slow = |call: &Call| if call.operation == "Query" { 1_000 } else { 0 };
        let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
        let (metrics, written) = to_a_text();
        let wire = faults.wrap(world.stack.ground.aws.http_client());
        let ground = Ground { metrics, wire, audit_page: 25, ..world.stack.ground.clone() };
        let functions = Functions::new(&ground).unwrap();
        let settled = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            world.settle().await;
        };
        let (polled, ()) = futures_util::join!(functions.poll("audit".to_owned()), settled);
        assert!(polled.is_ok(), "{polled:?}");
        assert_eq!(world.books().credits.len(), 2);
        assert_eq!(Written::sum(&written.lines(), "BooksUnbalanced", &[]), Some(0));
    });
}

/// A trader that says of every order that it has failed.
#[derive(Debug)]
struct Failed(Arc<dyn Outbound>);

#[async_trait]
impl Outbound for Failed {
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
fn the_audit_believes_no_credit_that_its_provider_calls_failed_and_asks_about_credits_alone() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let created = world.create("u_1", MINOR, "k-1").await;
        world.create("u_1", MINOR, "nobody pays").await;
        world.deliver(&world.pay(created.json["orderId"].as_str().unwrap(), None)).await;
        world.settle().await;
        // The unpaid one expires, and is as old as the other.
        world.let_pass(35).await;
        world.pass(86_400).await;
        let outbound: Arc<dyn Outbound> = Arc::new(Failed(world.stack.ground.outbound.clone()));
        for (outbound, found) in [(world.stack.ground.outbound.clone(), 0), (outbound, 1)] {
            let minute = world.clock().now_ms() / 60_000 % 5;
            world.pass(u64::try_from(5 - minute).unwrap() * 60).await;
            let (metrics, written) = to_a_text();
            let ground = Ground { metrics, outbound, audit_page: 25, ..world.stack.ground.clone() };
            Functions::new(&ground).unwrap().poll("audit".to_owned()).await.unwrap();
            assert_eq!(Written::sum(&written.lines(), "PaidWithoutRecord", &[]), Some(found));
        }
    });
}

#[test]
fn the_audit_finds_orders_whose_provider_is_no_longer_in_the_settings() {
    simulate(1, async || {
        let world = World::of_trader().await;
        // The second one is not due.
        for (key, due_at) in [("k-1", "1"), ("k-2", "99999999999999")] {
            let created = world.create("u_1", MINOR, key).await;
            let order = created.json["orderId"].as_str().unwrap();
            tamper(
                &world,
                "UpdateItem",
                json!({
                    "Key": {"pk": {"S": format!("O#{order}")}, "sk": {"S": "O"}},
                    "UpdateExpression": "SET provider = :gone, dueShard = :shard, dueAt = :at",
                    "ExpressionAttributeValues": {
                        ":gone": {"S": "gone"}, ":shard": {"S": "gone#0"}, ":at": {"N": due_at},
                    },
                }),
            );
        }
        let (functions, written) = counting(&world, 25);
        world.pass(3_600).await;
        let report = functions.poll("audit".to_owned()).await.unwrap();
        assert_eq!((&report["lookedAt"], &report["failed"]), (&json!(0), &json!(0)));
        assert_eq!(Written::sum(&written.lines(), "OrdersWithoutProvider", &[]), Some(1));
    });
}

#[test]
fn the_audit_counts_rows_that_cannot_be_read() {
    simulate(1, async || {
        let world = World::of_trader().await;
        let created = world.create("u_1", MINOR, "k-1").await;
        world.deliver(&world.pay(created.json["orderId"].as_str().unwrap(), None)).await;
        world.settle().await;
        tamper(
            &world,
            "UpdateItem",
            json!({
                "Key": {"pk": {"S": "U#m_demo#u_1"}, "sk": {"S": "B#USDT"}},
                "UpdateExpression": "SET balance = :words",
                "ExpressionAttributeValues": {":words": {"S": "five"}},
            }),
        );
        let (functions, _) = counting(&world, 25);
        world.pass(3_600).await;
        let report = functions.poll("audit".to_owned()).await.unwrap();
        assert_eq!(report["failed"], 1);
    });
}

#[test]
fn an_order_that_is_open_long_after_its_end_is_counted() {
    simulate(1, async || {
        let world = World::of_trader().await;
        world.create("u_1", MINOR, "k-1").await;
        world.pass(1).await;
        world.create("u_1", MINOR, "k-2").await;
        // Half an hour, and a quarter of an hour: the older one has been over for a second more than that.
        world.pass(1_800 + 900).await;
        let (functions, written) = counting(&world, 0);
        let mut counted = Vec::new();
        for _ in 0..2 {
            functions.poll("sla".to_owned()).await.unwrap();
            let lines = written.lines();
            let sum = |metric| Written::sum(&lines, metric, &[]);
            counted.push((sum("PendingBeyondSla"), sum("DueBacklog")));
            world.pass(3_600).await;
        }
        // Both have expired in the first run, and are looked at for late money in the second.
        assert_eq!(counted, [(Some(1), Some(2)), (Some(0), Some(2))]);
    });
}

#[test]
fn the_audit_says_what_it_could_not_read() {
    simulate(1, async || {
        let world = World::of_trader().await;
        for user in ["u_1", "u_2"] {
            let created = world.create(user, MINOR, user).await;
            let callback = world.pay(created.json["orderId"].as_str().unwrap(), None);
            world.deliver(&callback).await;
        }
        world.settle().await;
        world.pass(300).await;
        let minute = world.clock().now_ms() / 60_000 % 5;
        world.pass(u64::try_from(5 - minute).unwrap() * 60).await;
        // At a time of the audit; the four queries of due orders and the others come first, those of ledgers last.
        let run = async |fails: fn(&Call) -> bool, minutes: u64| {
            world.pass(minutes * 60).await;
            let faults = Faults::new(world.clock().clone(), move |call| {
                if fails(call) { Fault::Throttle } else { Fault::None }
            });
            let wire = faults.wrap(world.stack.ground.aws.http_client());
            let ground =
                Ground { wire, audit_page: 100, attempts: 1, ..world.stack.ground.clone() };
            let functions = Functions::new(&ground).unwrap();
            let report = functions.poll("audit".to_owned()).await.unwrap();
            let log = faults.log();
            let scans = log.iter().filter(|entry| entry.call.ends_with("Scan")).count();
            (report["failed"].as_u64().unwrap(), scans)
        };
        assert_eq!(run(|_| false, 0).await, (0, 1));
        assert_eq!(run(|_| false, 1).await, (0, 0), "every five minutes");
        assert_eq!(run(|call| call.operation == "Scan", 4).await, (1, 1));
        // Nine queries are of what is due: four shards of orders, four of notices, and decisions.
        assert_eq!(run(|call| call.operation == "Query", 5).await, (9 + 2, 1));
    });
}

#[test]
fn a_notice_is_given_up_once_however_often_it_is_asked_for() {
    simulate(1, async || {
        let world = World::new().await;
        let (functions, written) = counting(&world, 0);
        let created = world.create("u_1", MINOR, "k-1").await;
        let order = created.json["orderId"].as_str().unwrap();
        world.deliver(&world.pay(order, None)).await;
        world.settle().await;
        let path = format!("/recharges/{order}/notify");
        let mut counted = Vec::new();
        for status in [410, 500, 410, 200] {
            world.receiver.set(CALLBACK_URL, Manner::Answers(status, String::new()));
            world.stack.notify_batch_with(&functions, 0).await.unwrap();
            let lines = written.lines();
            let sum = |outcome| Written::sum(&lines, "Notifications", &[("Outcome", outcome)]);
            counted.push((sum("given_up"), sum("delivered"), sum("retried")));
            assert_eq!(world.send(&world.signed(("POST", &path), "", "")).await.status, 202);
        }
        let given_up = (Some(1), None, None);
        let delivered = (None, Some(1), None);
        assert_eq!(counted, [given_up, (None, None, None), given_up, delivered]);
    });
}
