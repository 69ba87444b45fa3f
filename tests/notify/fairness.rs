//! One receiver's silence is not another's: who has many notices, and nobody to take them, holds up nobody.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use recharge_local::aws::faults::Faults;
use recharge_local::call::{API_KEYS, ApiKey};
use recharge_local::sim::receiver::Manner;
use recharge_local::stack::DEMO_NOTIFICATION_SECRET;
use recharge_shared::domain::Timestamp;
use recharge_tests::World;
use recharge_tests::world::{CALLBACK_URL, simulate};
use serde_json::json;

use crate::{MINOR, of, paid, row};

const HEALTHY_URL: &str = "https://healthy.example/hook";

/// A paid order whose notices go to the healthy receiver.
async fn paid_to_the_healthy(world: &World) -> String {
    let body = json!({"userId": "u_9", "amount": MINOR, "currency": "USDT",
                      "callbackUrl": HEALTHY_URL});
    let request = world.signed(("POST", "/recharges"), &body.to_string(), "healthy");
    let healthy = world.send(&request).await.json["orderId"].as_str().unwrap().to_owned();
    world.deliver(&world.pay(&healthy, None)).await;
    world.settle().await;
    healthy
}

/// Runs the schedule and, as Lambda does, ten notifiers side by side, until the healthy receiver has heard
/// of `order` with `attempts`; how long that took.
async fn until_heard(world: &World, order: &str, attempts: usize) -> Duration {
    let started = tokio::time::Instant::now();
    let heard = || of(&world.receiver.received(), order).len() >= attempts;
    let notifiers = (0..10).map(|_| async {
        let functions = world.instance(&Faults::none(world.clock().clone()), 3);
        while !heard() {
            if world.stack.notify_batch_with(&functions, 0).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    });
    let schedule = async {
        while !heard() {
            world.pass(60).await;
            world.stack.poll().await.unwrap();
        }
    };
    let notifiers = futures_util::future::join_all(notifiers);
    let schedule = std::pin::pin!(schedule);
    futures_util::future::select(std::pin::pin!(notifiers), schedule).await;
    started.elapsed()
}

/// The second merchant has a secret, too.
async fn two_merchants(world: &World) {
    let secret = json!({"secrets": [DEMO_NOTIFICATION_SECRET]});
    let document = json!({API_KEYS[0].merchant: secret, API_KEYS[1].merchant: secret});
    let aws = &world.stack.ground.aws;
    let put = aws.secrets(aws.http_client(), 3).put_secret_value();
    let put = put.secret_id(&world.stack.names.notification_keys);
    put.secret_string(document.to_string()).send().await.unwrap();
}

/// An order of `key`'s merchant that is told to `url` that it was withdrawn.
async fn withdrawn(world: &World, key: ApiKey<'_>, name: &str, url: &str) -> String {
    let body = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT", "callbackUrl": url});
    let request = world.signed_as(key, ("POST", "/recharges"), &body.to_string(), name);
    let created = world.send(&request).await;
    let order = created.json["orderId"].as_str().unwrap().to_owned();
    let cancel = format!("/recharges/{order}/cancel");
    let cancelled = world.send(&world.signed_as(key, ("POST", &cancel), "", "")).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    order
}

#[test]
fn a_merchant_of_many_slow_receivers_does_not_hold_up_another_merchant() {
    let slow = Duration::from_secs(19);
    for manner in [Manner::Slowly(503, slow), Manner::Slowly(200, slow), Manner::Hangs] {
        simulate(1, async || {
            let world = World::new().await;
            two_merchants(&world).await;
            world.receiver.set("https://x", manner.clone());
            for number in 0..400 {
                // A name of its own for each, and what else tells URLs apart.
                let url = format!("https://x{number}.example?order={number}");
                withdrawn(&world, API_KEYS[0], &format!("k-{number}"), &url).await;
                world.pass(u64::from(number % 40 == 0)).await;
            }
            let healthy = withdrawn(&world, API_KEYS[1], "healthy", HEALTHY_URL).await;
            let took = until_heard(&world, &healthy, 1).await;
            println!("behind 400 receivers, {manner:?}: {} s", took.as_secs());
            // Ten notifiers with ten each are held up once.
            assert!(took.as_secs() < 40, "{manner:?}: {took:?}");
        });
    }
}

#[test]
fn quick_refusals_do_not_make_up_for_slow_ones() {
    simulate(1, async || {
        let world = World::new().await;
        let urls = ["https://mixed.example/quick", "https://mixed.example/slow"];
        world.receiver.set(urls[0], Manner::Answers(500, String::new()));
        world.receiver.set(urls[1], Manner::Slowly(500, Duration::from_secs(19)));
        let functions = world.instance(&Faults::none(world.clock().clone()), 3);
        let mut took = Vec::new();
        for number in 0..4 {
            for (place, url) in urls.into_iter().enumerate() {
                withdrawn(&world, API_KEYS[0], &format!("{number}-{place}"), url).await;
            }
            let started = tokio::time::Instant::now();
            world.stack.notify_batch_with(&functions, 0).await.unwrap();
            took.push(started.elapsed().as_secs());
        }
        assert_eq!(took, [19, 19, 0, 0]);
    });
}

#[test]
fn a_merchant_whose_receiver_takes_its_time_has_a_third_of_it() {
    simulate(1, async || {
        let world = World::new().await;
        two_merchants(&world).await;
        world.receiver.set("https://x", Manner::Slowly(200, Duration::from_secs(9)));
        for number in 0..800 {
            let name = format!("k-{number}");
            withdrawn(&world, API_KEYS[0], &name, "https://x.example/").await;
            world.pass(u64::from(number % 40 == 0)).await;
        }
        let healthy = withdrawn(&world, API_KEYS[1], "healthy", HEALTHY_URL).await;
        let took = until_heard(&world, &healthy, 1).await;
        println!("behind 800 notices that are taken in 9 s each: {} s", took.as_secs());
        // A hundred at a time would be 72 s; three times that is what each notifier waits in a minute.
        assert!(took.as_secs() < 40, "{took:?}");
        // What was put off comes, too.
        for _ in 0..30 {
            world.let_pass(1).await;
        }
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

/// So many copies of an order's notice, all of which have been due for hours.
async fn many_like(world: &World, order: &str, count: u64) {
    let aws = &world.stack.ground.aws;
    let (client, table) = (aws.dynamodb(aws.http_client(), 3), &world.stack.names.table);
    let text = |text: String| AttributeValue::S(text);
    let get = client.get_item().table_name(table).key("pk", text(format!("N#{order}")));
    let read = get.key("sk", text("00001".to_owned())).send().await.unwrap();
    let row = read.item.unwrap();
    let now = u64::try_from(world.clock().now_ms()).unwrap();
    let copy = |number: u64| {
        let mut row = row.clone();
        row.insert("pk".to_owned(), text(format!("N#R{number:025}")));
        row.insert("dueShard".to_owned(), text(format!("!notice#{}", number % 4)));
        let due_at = now - 36_000_000 + number * 500;
        row.insert("dueAt".to_owned(), AttributeValue::N(due_at.to_string()));
        let put = PutRequest::builder().set_item(Some(row)).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    for first in (0..count).step_by(25) {
        let copies = (first..count.min(first + 25)).map(copy).collect();
        let written = client.batch_write_item().request_items(table, copies).send().await.unwrap();
        assert!(written.unprocessed_items.is_none_or(|left| left.is_empty()));
    }
}

#[test]
fn a_backlog_that_is_longer_than_what_a_run_reads_hides_nobodys_notices() {
    simulate(1, async || {
        let world = World::new().await;
        two_merchants(&world).await;
        world.receiver.set("https://", Manner::Answers(500, String::new()));
        let dead = withdrawn(&world, API_KEYS[0], "dead", "https://dead.example/").await;
        world.notify().await;
        many_like(&world, &dead, 40_800).await;
        let healthy = withdrawn(&world, API_KEYS[1], "healthy", HEALTHY_URL).await;
        world.notify().await;
        world.receiver.set(HEALTHY_URL, Manner::Answers(200, String::new()));
        let took = until_heard(&world, &healthy, 2).await;
        println!("behind 40800 due notices of another merchant: {} s", took.as_secs());
        assert!(took.as_secs() < 240, "{took:?}");
    });
}

async fn a_thousand_paid(world: &World) {
    for number in 0..1_000 {
        paid(world, "u_1", &format!("dead-{number}")).await;
        // No more than the merchant may create.
        world.pass(u64::from(number % 40 == 0)).await;
    }
}

#[test]
fn a_thousand_notices_for_a_dead_receiver_do_not_hold_up_a_healthy_one() {
    simulate(1, async || {
        let world = World::new().await;
        world.receiver.set(CALLBACK_URL, Manner::Hangs);
        a_thousand_paid(&world).await;
        let healthy = paid_to_the_healthy(&world).await;
        let took = until_heard(&world, &healthy, 1).await;
        println!("behind 1000 first notices for a dead receiver: {} s", took.as_secs());
        assert!(took.as_secs() < 120, "{took:?}");
    });
}

#[test]
fn a_thousand_due_notices_for_a_dead_receiver_do_not_hold_up_a_healthy_one() {
    simulate(1, async || {
        let world = World::new().await;
        for url in [CALLBACK_URL, HEALTHY_URL] {
            world.receiver.set(url, Manner::Answers(500, String::new()));
        }
        a_thousand_paid(&world).await;
        world.notify().await;
        // So that it comes due last.
        world.pass(20).await;
        let healthy = paid_to_the_healthy(&world).await;
        world.notify().await;
        world.receiver.set(CALLBACK_URL, Manner::Hangs);
        world.receiver.set(HEALTHY_URL, Manner::Answers(200, String::new()));
        let due_at = row(&world, &healthy).await.due_at.unwrap();
        world.pass(due_at.since(Timestamp::from_millis(world.clock().now_ms())).as_secs()).await;
        let took = until_heard(&world, &healthy, 2).await;
        println!("behind 1000 due notices for a dead receiver: {} s", took.as_secs());
        assert!(took.as_secs() < 120, "{took:?}");
        // The others are all tried, by and by, and none is given up for having been left alone.
        world.receiver.set(CALLBACK_URL, Manner::Answers(200, String::new()));
        world.let_pass(30).await;
        assert_eq!(world.untold().await, Vec::<String>::new());
        let left = world.stack.notification_depth();
        assert_eq!(left.visible + left.in_flight + left.dead, 0);
    });
}
