//! What must heal by itself beyond single faults: providers that cannot be asked, statements that come
//! again fresher, documents that were mended.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use recharge_local::aws::SharedClock;
use recharge_local::aws::faults::{Call, Fault, Faults, LogEntry, Service};
use recharge_local::call::ADMIN_KEYS;
use recharge_local::functions::{Functions, Ground};
use recharge_local::sim::payprotocol::Mode as PayprotocolMode;
use recharge_local::sim::receiver::{Manner, SimReceiver};
use recharge_local::sim::trader::Mode as TraderMode;
use recharge_local::stack::{Accounts, TRADER_APPID, TRADER_KEY};
use recharge_shared::app::notify::Deliver;
use recharge_tests::World;
use recharge_tests::world::simulate;
use serde_json::{Value, json};

const MINOR: i64 = 5_000_000;

/// A world whose provider answers no queries, as the contract's default is.
async fn without_query(amount: &str) -> World {
    with_settings(&json!({"policy": {"amount": amount}})).await
}

async fn with_settings(more: &Value) -> World {
    let mut trader =
        json!({"appid": TRADER_APPID, "base_url": "http://trader.invalid", "allow_http": true});
    trader.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let accounts = Accounts {
        settings: json!({"trader": trader}),
        keys: json!({"trader": {"key": TRADER_KEY}}),
        default: "trader".to_owned(),
    };
    let way = |receiver: &SimReceiver| -> Arc<dyn Deliver> { Arc::new(receiver.clone()) };
    World::with(Some(accounts), |trader| Arc::new(trader.outbound()), way).await
}

async fn create(world: &World, key: &str) -> String {
    let created = world.create("u_1", MINOR, key).await;
    created.json["orderId"].as_str().unwrap().to_owned()
}

#[test]
fn an_order_that_cannot_be_asked_about_expires_whatever_call_of_the_run_fails() {
    for fault in Fault::ALL {
        for index in 0..14 {
            simulate(1, async || {
                let world = without_query("credit_received").await;
                let order = create(&world, "k-1").await;
                world.pass(1_860).await;
                let faults = Faults::at(world.clock().clone(), index, fault);
                let functions = world.instance(&faults, 1);
                let run = functions.poll("broken".to_owned());
                let _ = recharge_tests::world::until_crash(&faults, run).await;
                drop(functions);
                world.let_pass(12).await;
                let told = world.order(&order).await;
                assert_eq!(told["status"], "EXPIRED", "{fault:?} at {index}");
                assert_eq!(world.untold().await, Vec::<String>::new(), "{fault:?} at {index}");
                let due = world.books().orders.iter().filter(|order| order.due).count();
                assert_eq!(due, 0, "{fault:?} at {index}: nothing is left to look at");
            });
        }
    }
}

#[test]
fn an_order_that_cannot_be_asked_about_expires_also_when_the_poller_has_finished_its_create() {
    simulate(1, async || {
        let world = without_query("credit_received").await;
        world.trader.set_mode(TraderMode::Down);
        let order = create(&world, "k-1").await;
        world.trader.set_mode(TraderMode::Ok);
        world.let_pass(25).await;
        assert_eq!(world.order(&order).await["status"], "PENDING");
        world.let_pass(12).await;
        assert_eq!(world.order(&order).await["status"], "EXPIRED");
        assert_eq!(world.books().orders.iter().filter(|order| order.due).count(), 0);
    });
}

/// A provider that has the order, cannot be asked about it, and refuses the repetition in words that nobody knows.
async fn refused_again(world: &World) -> String {
    // The user's address is known.
    assert_eq!(world.create("u_1", MINOR, "k-0").await.json["status"], "PENDING");
    world.trader.set_mode(TraderMode::LostAnswer);
    let order = create(world, "k-1").await;
    assert!(world.trader.has(&order));
    world.trader.set_mode(TraderMode::Reject);
    let again = world.create("u_1", MINOR, "k-1").await;
    assert_eq!((again.status, &again.json["status"]), (200, &json!("CREATED")));
    world.let_pass(5).await;
    assert_eq!(world.order(&order).await["status"], "CREATED");
    order
}

#[test]
fn a_repetition_that_is_refused_ends_no_order_that_the_provider_may_have() {
    simulate(1, async || {
        let world = without_query("credit_received").await;
        let order = refused_again(&world).await;
        world.trader.set_mode(TraderMode::Ok);
        world.let_pass(5).await;
        assert_eq!(world.order(&order).await["status"], "PENDING", "the poller has repeated it");
        world.deliver(&world.pay(&order, None)).await;
        world.let_pass(2).await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
    simulate(1, async || {
        let world = without_query("credit_received").await;
        let order = refused_again(&world).await;
        world.let_pass(45).await;
        let ended = world.order(&order).await;
        assert_eq!(
            (&ended["status"], &ended["reason"]),
            (&json!("EXPIRED"), &json!("provider_unreachable"))
        );
        assert_eq!(world.books().orders.iter().filter(|order| order.due).count(), 0);
        world.deliver(&world.pay(&order, None)).await;
        world.let_pass(2).await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn what_is_paid_and_cannot_be_read_is_for_a_person_once_the_callback_has_had_its_time() {
    simulate(1, async || {
        // The provider says that it is paid, and how much under another name than we know.
        let query = json!({"path": "/api/merchant/OrderList", "amount_field": "sum"});
        let world = with_settings(&json!({"query": query, "min_call_interval_ms": 0})).await;
        let (called, lost) = (create(&world, "k-1").await, create(&world, "k-2").await);
        let callback = world.pay(&called, None);
        world.pay(&lost, None);
        let reviews = async || {
            let request = world.signed_as(ADMIN_KEYS[2], ("GET", "/admin/reviews"), "", "");
            let page = world.send(&request).await;
            let all = page.json["reviews"].as_array().unwrap().clone();
            all.iter().map(|one| (one["orderId"].clone(), one["why"].clone())).collect::<Vec<_>>()
        };
        world.let_pass(10).await;
        assert_eq!(reviews().await, []);
        world.deliver(&callback).await;
        world.let_pass(180).await;
        assert_eq!(reviews().await, [(json!(lost), json!("unrecognised"))], "once, and seen");
        assert_eq!(world.order(&called).await["status"], "SUCCESS");
        // A day later the same is no second review, and the audit takes nobody's key for stolen.
        world.let_pass(1_500).await;
        assert_eq!(reviews().await.len(), 1);
        assert_eq!(world.books().violations(), Vec::<String>::new());
        // When its time is over nobody asks any more.
        for _ in 0..20 {
            world.pass(4 * 3_600).await;
            world.stack.poll().await.unwrap();
            world.settle().await;
        }
        assert_eq!(world.books().orders.iter().filter(|order| order.due).count(), 0);
        assert_eq!(reviews().await.len(), 1);
    });
}

#[test]
fn a_secret_store_that_hangs_holds_up_nobody_who_has_read_the_keys() {
    static AWAY: AtomicBool = AtomicBool::new(false);
    AWAY.store(false, Ordering::Relaxed);
    simulate(1, async || {
        let world = World::new().await;
        let faults = Faults::new(world.clock().clone(), |call| {
            let hangs = call.service == Service::Secrets && AWAY.load(Ordering::Relaxed);
            if hangs { Fault::RequestLost } else { Fault::None }
        });
        let functions = world.instance(&faults, 3);
        let mut took = Vec::new();
        for number in 0..6 {
            let order = create(&world, &format!("k-{number}")).await;
            let callback = world.callback(&world.pay(&order, None));
            let started = world.clock().now_ms();
            assert_eq!(world.send_to(&functions, &callback).await.text, "success");
            took.push(world.clock().now_ms() - started);
            let mut forged = callback.clone();
            let sign = forged.body.windows(5).position(|five| five == b"sign=").unwrap() + 5;
            forged.body[sign] = if forged.body[sign] == b'0' { b'1' } else { b'0' };
            let started = world.clock().now_ms();
            let refused = world.send_to(&functions, &forged).await.status;
            assert!([401, 503].contains(&refused), "{refused}");
            took.push(world.clock().now_ms() - started);
            // The keys are believed for five minutes, and used for an hour.
            AWAY.store(true, Ordering::Relaxed);
            world.pass(if number == 0 { 360 } else { 2 }).await;
        }
        assert!(took.iter().max() <= Some(&1_000), "{took:?}");
        assert!(took.iter().filter(|ms| **ms >= 1_000).count() <= 2, "one tries: {took:?}");
        AWAY.store(false, Ordering::Relaxed);
        let order = create(&world, "late").await;
        world.pass(10).await;
        let calls = faults.log().len();
        let callback = world.callback(&world.pay(&order, None));
        assert_eq!(world.send_to(&functions, &callback).await.text, "success");
        let read = |log: &[LogEntry]| log[calls..].iter().any(|e| e.call.starts_with("secrets"));
        assert!(read(&faults.log()), "read again as soon as it can be");
    });
}

#[test]
fn a_batch_waits_for_a_secret_store_that_hangs_once() {
    simulate(1, async || {
        let world = World::new().await;
        for number in 0..10 {
            let order = create(&world, &format!("k-{number}")).await;
            world.deliver(&world.pay(&order, None)).await;
        }
        world.settle().await;
        let faults = Faults::new(world.clock().clone(), |call| match call.service {
            Service::Secrets => Fault::RequestLost,
            _ => Fault::None,
        });
        let started = world.clock().now_ms();
        world.stack.notify_batch_with(&world.instance(&faults, 3), 0).await.unwrap();
        let took = world.clock().now_ms() - started;
        assert!(took < 20_000, "{took} ms");
        world.let_pass(20).await;
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

#[test]
fn money_that_comes_when_watching_ends_is_found_although_the_provider_is_away_that_moment() {
    simulate(1, async || {
        let world = World::new().await;
        let order = create(&world, "k-1").await;
        world.let_pass(31).await;
        assert_eq!(world.order(&order).await["status"], "EXPIRED");
        // Until shortly before the last look, hour by hour.
        for _ in 0..71 {
            world.pass(3_600).await;
            world.stack.poll().await.unwrap();
        }
        world.pay(&order, None);
        let away = Faults::new(world.clock().clone(), |call| match call.service {
            Service::Provider => Fault::RequestLost,
            _ => Fault::None,
        });
        let functions = world.instance(&away, 1);
        for _ in 0..10 {
            world.pass(3_600).await;
            functions.poll("away".to_owned()).await.unwrap();
        }
        for _ in 0..10 {
            world.pass(3_600).await;
            world.stack.poll().await.unwrap();
            world.settle().await;
        }
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
    });
}

#[test]
fn a_statement_that_was_too_old_moves_the_order_when_it_comes_again_fresh() {
    simulate(1, async || {
        let world = without_query("exact").await;
        let order = create(&world, "k-1").await;
        let old = world.pay(&order, Some(MINOR - 100));
        world.pass(1_000).await;
        world.deliver(&old).await;
        world.settle().await;
        assert_eq!(
            (world.order(&order).await["status"].clone(), world.books().parked),
            (json!("PENDING"), 1)
        );
        world.deliver(&world.pay(&order, Some(MINOR - 100))).await;
        world.settle().await;
        let told = world.order(&order).await;
        assert_eq!(
            (&told["status"], &told["receivedAmount"]),
            (&json!("REVIEW"), &json!(MINOR - 100))
        );
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn an_expiry_whose_announcement_was_lost_is_told_however_late_the_next_look_is() {
    simulate(1, async || {
        let world = World::new().await;
        create(&world, "k-1").await;
        world.pass(1_860).await;
        let dies = Faults::new(world.clock().clone(), |call| match call.operation.as_str() {
            "SendMessageBatch" => Fault::CrashBefore,
            _ => Fault::None,
        });
        let functions = world.instance(&dies, 1);
        let run = functions.poll("dies".to_owned());
        assert_eq!(recharge_tests::world::until_crash(&dies, run).await, None);
        drop(functions);
        // As long as the next look of an order that had a day's time.
        world.pass(4 * 3_600).await;
        world.let_pass(8).await;
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

#[test]
fn a_credit_whose_announcement_was_lost_is_told_when_its_message_returns_from_the_dead_letters() {
    // At once, to an instance whose clock is behind, too.
    for (passes, behind) in [(3_600, 0), (181, 60)] {
        returns_from_the_dead_letters(passes, behind);
    }
}

fn returns_from_the_dead_letters(passes: u64, behind: i64) {
    simulate(1, async || {
        let world = World::new().await;
        let order = create(&world, "k-1").await;
        world.deliver(&world.pay(&order, None)).await;
        let (aws, url) = (&world.stack.ground.aws, &world.stack.names.settlement_url);
        let queue = aws.queues().view(&world.stack.names.settlement).unwrap();
        let body = queue.messages[0].body.clone();
        let dies = Faults::new(world.clock().clone(), |call| match call.operation.as_str() {
            "SendMessageBatch" => Fault::CrashBefore,
            _ => Fault::None,
        });
        let functions = world.instance(&dies, 1);
        let batch = world.stack.settle_batch_with(&functions, 0);
        assert_eq!(recharge_tests::world::until_crash(&dies, batch).await, None);
        drop(functions);
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        // The operator drives it back: the same body, a new message.
        let sqs = aws.sqs(aws.http_client(), 3);
        sqs.purge_queue().queue_url(url).send().await.unwrap();
        world.pass(passes).await;
        sqs.send_message().queue_url(url).message_body(body).send().await.unwrap();
        let clock = SharedClock::starting_at(world.clock().now_ms() - behind * 1_000);
        let functions = Functions::new(&Ground { clock, ..world.stack.ground.clone() }).unwrap();
        world.stack.settle_batch_with(&functions, 0).await.unwrap();
        world.let_pass(2).await;
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

#[test]
fn a_document_that_was_mended_is_read_although_the_broken_one_is_the_version_before() {
    simulate(1, async || {
        let world = World::new().await;
        let aws = &world.stack.ground.aws;
        let secrets = aws.secrets(aws.http_client(), 3);
        let name = &world.stack.names.client_keys;
        let good = secrets.get_secret_value().secret_id(name).send().await.unwrap();
        for text in ["{ not json", good.secret_string().unwrap()] {
            let put = secrets.put_secret_value().secret_id(name).secret_string(text);
            put.send().await.unwrap();
        }
        world.pass(61).await;
        assert_eq!(world.create("u_1", MINOR, "k-1").await.status, 201);
    });
}

#[test]
fn a_slow_record_holds_the_notices_of_the_others_up_for_half_a_second_at_most() {
    simulate(1, async || {
        let world = World::new().await;
        for n in 0..10 {
            let order = create(&world, &format!("k-{n}")).await;
            world.deliver(&world.pay(&order, None)).await;
        }
        // One of ten transactions gets no answer for a second, is tried again, and the instance dies with it.
        let (transactions, slow) = (AtomicU32::new(0), AtomicU32::new(0));
        let latency = move |call: &Call| match call.operation.as_str() {
            "TransactWriteItems" if slow.fetch_add(1, Ordering::Relaxed) == 0 => 1_000,
            _ => 0,
        };
        let dies = move |call: &Call| {
            if call.operation != "TransactWriteItems" {
                return Fault::None;
            }
            match transactions.fetch_add(1, Ordering::Relaxed) {
                0 => Fault::RequestLost,
                1..10 => Fault::None,
                _ => Fault::CrashBefore,
            }
        };
        let dies = Faults::with_latency(world.clock().clone(), dies, latency);
        let functions = world.instance(&dies, 3);
        let batch = world.stack.settle_batch_with(&functions, 0);
        assert_eq!(recharge_tests::world::until_crash(&dies, batch).await, None);
        drop(functions);
        assert_eq!(world.books().credits.len(), 9);
        assert_eq!(world.stack.notification_depth().visible, 9);
        world.pass(200).await;
        world.settle().await;
        world.notify().await;
        assert_eq!(world.untold().await, Vec::<String>::new());
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn a_refused_notice_brings_its_own_record_again_and_no_other() {
    simulate(1, async || {
        let world = World::new().await;
        for n in 0..10 {
            let order = create(&world, &format!("k-{n}")).await;
            world.deliver(&world.pay(&order, None)).await;
        }
        let slow = AtomicU32::new(0);
        let batches = AtomicU32::new(0);
        let refuses =
            Faults::new(world.clock().clone(), move |call| match call.operation.as_str() {
                "TransactWriteItems" if slow.fetch_add(1, Ordering::Relaxed) == 0 => {
                    Fault::RequestLost
                }
                "SendMessageBatch" if batches.fetch_add(1, Ordering::Relaxed) == 1 => {
                    Fault::Throttle
                }
                _ => Fault::None,
            });
        let functions = world.instance(&refuses, 1);
        assert_eq!(world.stack.settle_batch_with(&functions, 0).await, Ok(10));
        // The nine quick ones are told and gone; the tenth is booked, not told, and comes again.
        assert_eq!(world.stack.notification_depth().visible, 9);
        let depth = world.stack.depth();
        assert_eq!((depth.visible, depth.in_flight), (0, 1));
        world.pass(200).await;
        world.settle().await;
        world.notify().await;
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

#[test]
fn an_order_that_nobody_looked_at_for_days_is_told_to_have_expired_whatever_call_fails() {
    for fault in [Fault::RequestLost, Fault::AnswerLost, Fault::CrashBefore, Fault::CrashAfter] {
        for index in 0..14 {
            simulate(1, async || {
                let world = World::new().await;
                let order = create(&world, "k-1").await;
                world.pass(74 * 3_600).await;
                let faults = Faults::at(world.clock().clone(), index, fault);
                let functions = world.instance(&faults, 1);
                let run = functions.poll("broken".to_owned());
                let _ = recharge_tests::world::until_crash(&faults, run).await;
                drop(functions);
                world.let_pass(12).await;
                assert_eq!(world.order(&order).await["status"], "EXPIRED", "{fault:?} at {index}");
                assert_eq!(world.untold().await, Vec::<String>::new(), "{fault:?} at {index}");
            });
        }
    }
}

#[test]
fn an_order_of_a_former_account_is_not_brought_to_the_new_one() {
    simulate(1, async || {
        let world = World::new().await;
        world.trader.set_mode(TraderMode::Down);
        let order = create(&world, "k-1").await;
        let aws = &world.stack.ground.aws;
        let update = aws.dynamodb(aws.http_client(), 1).update_item();
        let update = update.table_name(&world.stack.names.table);
        let update = update.key("pk", AttributeValue::S(format!("O#{order}")));
        let update = update.key("sk", AttributeValue::S("O".to_owned()));
        let update = update.update_expression("SET account = :former");
        let former = AttributeValue::S("FORMER".to_owned());
        update.expression_attribute_values(":former", former).send().await.unwrap();
        world.trader.set_mode(TraderMode::Ok);
        world.let_pass(40).await;
        assert!(!world.trader.has(&order));
        let told = world.order(&order).await;
        let ended = (&told["status"], &told["reason"]);
        assert_eq!(ended, (&json!("EXPIRED"), &json!("provider_unreachable")));
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

#[test]
fn deposits_of_a_time_when_the_list_gave_no_answer_are_found_however_late_it_gives_one() {
    simulate(1, async || {
        let world = World::new().await;
        let wanted = r#"{"paymentMethod":"payprotocol"}"#;
        let path = "/users/u_1/deposit-addresses";
        let made = world.send(&world.signed(("POST", path), wanted, "k-1")).await;
        let address = made.json["addresses"].as_array().unwrap().iter();
        let address = address.map(|one| &one["address"]).find_map(|one| {
            let address = one.as_str().unwrap();
            address.starts_with('T').then(|| address.to_owned())
        });
        // From the first run on, and longer than the first look goes back.
        world.payprotocol.set_mode(PayprotocolMode::Error);
        world.let_pass(1).await;
        // Its callbacks are lost.
        let _ = world.deposit(&address.unwrap(), "1");
        world.let_pass(100).await;
        world.payprotocol.set_mode(PayprotocolMode::Ok);
        world.let_pass(2).await;
        let balances = world.books().balances;
        let held = &balances[&("m_demo".to_owned(), "u_1".to_owned(), "USDT".to_owned())];
        assert_eq!(held.amount, 1_000_000);
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

/// Rows that nobody can read, more than a page of them, before everything else that is due.
async fn fill_the_due_index_with_unreadable_rows(world: &World) {
    let aws = &world.stack.ground.aws;
    let client = aws.dynamodb(aws.http_client(), 1);
    let shards = (0..4).flat_map(|n| [format!("trader#{n}"), format!("!notice#{n}")]);
    for shard in shards.chain(["!review#0".to_owned()]) {
        for n in 0..255 {
            let put = client.put_item().table_name(&world.stack.names.table);
            let put = put.item("pk", AttributeValue::S(format!("?#{shard}#{n}")));
            let put = put.item("sk", AttributeValue::S("?".to_owned()));
            let put = put.item("dueShard", AttributeValue::S(shard.clone()));
            put.item("dueAt", AttributeValue::N("1".to_owned())).send().await.unwrap();
        }
    }
}

#[test]
fn due_rows_that_cannot_be_read_keep_nobody_from_their_turn() {
    simulate(1, async || {
        let world = World::new().await;
        fill_the_due_index_with_unreadable_rows(&world).await;
        world.receiver.set("https://", Manner::Answers(500, String::new()));
        let order = create(&world, "k-1").await;
        // Its callback is lost.
        let _ = world.pay(&order, None);
        world.pass(60).await;
        let report = world.stack.poll().await.unwrap();
        assert_eq!(report["failed"], 9 * 255, "{report}");
        world.let_pass(3).await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        world.receiver.set("https://", Manner::Answers(200, String::new()));
        world.let_pass(30).await;
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

#[test]
fn who_waits_at_an_empty_queue_waits_to_the_end() {
    simulate(1, async || {
        let world = World::new().await;
        let began = world.clock().now_ms();
        let waited = tokio::join!(world.stack.settle_batch(20), world.stack.notify_batch(20));
        assert_eq!(waited, (Ok(0), Ok(0)));
        assert_eq!(world.clock().now_ms() - began, 20_000);
    });
}

#[test]
fn a_batch_waits_once_for_settings_that_cannot_be_read() {
    simulate(1, async || {
        let world = World::new().await;
        for n in 0..10 {
            let order = create(&world, &format!("k-{n}")).await;
            world.deliver(&world.pay(&order, None)).await;
        }
        let faults = Faults::new(world.clock().clone(), |call| {
            if call.operation == "Query" { Fault::RequestLost } else { Fault::None }
        });
        let functions = world.instance(&faults, 1);
        let began = world.clock().now_ms();
        assert_eq!(world.stack.settle_batch_with(&functions, 0).await, Ok(10));
        let took = world.clock().now_ms() - began;
        let asked = faults.log().iter().filter(|e| e.call == "dynamodb.Query").count();
        assert_eq!((asked, world.books().credits.len()), (1, 0), "{took} ms");
        // The messages come again.
        world.pass(400).await;
        world.let_pass(1).await;
        assert_eq!(world.books().credits.len(), 10);
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}
