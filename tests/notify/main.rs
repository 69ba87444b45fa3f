//! What merchants are told: once in effect, with one id and one body, however receivers behave.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

mod fairness;
mod reading;

use recharge_local::call::ApiKey;
use recharge_local::sim::receiver::{Manner, Received};
use recharge_local::stack::DEMO_NOTIFICATION_SECRET;
use recharge_shared::domain::OrderId;
use recharge_shared::queue::NotificationMessage;
use recharge_shared::store::{Attempt, NoticeRow, NoticeState, Standing, Store, Written};
use recharge_tests::world::{CALLBACK_URL, simulate};
use recharge_tests::{Answered, World};
use serde_json::{Value, json};

const MINOR: i64 = 5_000_000;

async fn paid(world: &World, user: &str, key: &str) -> String {
    let created = world.create(user, MINOR, key).await;
    let order = created.json["orderId"].as_str().unwrap().to_owned();
    world.deliver(&world.pay(&order, None)).await;
    world.settle().await;
    order
}

async fn row(world: &World, order: &str) -> NoticeRow {
    let aws = &world.stack.ground.aws;
    let store = Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone());
    store.notice(&OrderId::parse(order).unwrap(), 1).await.unwrap().unwrap()
}

/// Hours in steps of ten minutes.
async fn hours(world: &World, hours: u64) {
    for _ in 0..hours * 6 {
        world.pass(600).await;
        world.stack.poll().await.unwrap();
        world.settle().await;
        world.notify().await;
    }
}

fn of(received: &[Received], order: &str) -> Vec<Received> {
    let about = |one: &&Received| one.notification.body.contains(order);
    received.iter().filter(about).cloned().collect()
}

async fn get(world: &World, key: ApiKey<'_>, target: &str) -> Answered {
    world.send(&world.signed_as(key, ("GET", target), "", "")).await
}

async fn post(world: &World, target: &str, body: &str) -> Answered {
    world.send(&world.signed(("POST", target), body, "")).await
}

#[test]
fn a_credited_order_is_told_once_with_the_order_as_it_stands() {
    simulate(1, async || {
        let world = World::new().await;
        let order = paid(&world, "u_1", "k-1").await;
        assert!(
            world.receiver.received().is_empty(),
            "nothing is sent before the commit is queued"
        );
        world.notify().await;
        let received = world.receiver.received();
        assert_eq!(received.len(), 1);
        let Received { url, notification } = &received[0];
        assert_eq!(url, CALLBACK_URL);
        let body: Value = serde_json::from_str(&notification.body).unwrap();
        assert_eq!(
            (&body["type"], &body["data"]["sequence"]),
            (&json!("recharge.succeeded"), &json!(1))
        );
        let mut data = body["data"].clone();
        data.as_object_mut().unwrap().remove("sequence");
        assert_eq!(data, world.order(&order).await);
        // The same callback again, and a whole day, tell nobody anything.
        world.deliver(&world.pay(&order, None)).await;
        world.settle().await;
        world.let_pass(60).await;
        assert_eq!(world.receiver.received().len(), 1);
        let NoticeRow { state, attempts, due_at, .. } = row(&world, &order).await;
        assert_eq!((state, attempts.len(), due_at), (NoticeState::Delivered, 1, None));
    });
}

#[test]
fn a_receiver_that_fails_for_seventy_hours_gets_it_once_it_recovers() {
    simulate(1, async || {
        let world = World::new().await;
        world.receiver.set(CALLBACK_URL, Manner::Answers(500, "no".to_owned()));
        let order = paid(&world, "u_1", "k-1").await;
        hours(&world, 70).await;
        let failed = world.receiver.received();
        assert!((10..=20).contains(&failed.len()), "{} attempts", failed.len());
        let found = row(&world, &order).await;
        assert_eq!((found.state, found.attempts[0].status), (NoticeState::Retrying, 500));
        world.receiver.set(CALLBACK_URL, Manner::Answers(204, String::new()));
        hours(&world, 30).await;
        let all = world.receiver.received();
        assert_eq!(all.len(), failed.len() + 1, "delivered once, and then no more");
        let first = &all[0].notification;
        assert!(
            all.iter()
                .all(|o| (&o.notification.id, &o.notification.body) == (&first.id, &first.body))
        );
        assert_eq!(row(&world, &order).await.state, NoticeState::Delivered);
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
    });
}

#[test]
fn a_receiver_that_is_gone_or_never_comes_back_is_given_up_in_sight() {
    simulate(1, async || {
        let world = World::new().await;
        world.receiver.set(CALLBACK_URL, Manner::Answers(410, String::new()));
        let gone = paid(&world, "u_1", "k-1").await;
        world.let_pass(10).await;
        let found = row(&world, &gone).await;
        assert_eq!((found.state, found.attempts.len()), (NoticeState::GivenUp, 1));
        world.receiver.set(CALLBACK_URL, Manner::Refuses);
        let dead = paid(&world, "u_1", "k-2").await;
        hours(&world, 120).await;
        let found = row(&world, &dead).await;
        assert_eq!(
            (found.state, found.attempts.len(), found.due_at),
            (NoticeState::GivenUp, 13, None)
        );
        assert_eq!(found.attempts[0].error, "connect");
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn a_late_copy_of_an_attempt_does_not_ask_a_receiver_that_is_gone_again() {
    simulate(1, async || {
        let world = World::new().await;
        world.receiver.set(CALLBACK_URL, Manner::Answers(410, String::new()));
        let gone = paid(&world, "u_1", "k-1").await;
        world.let_pass(10).await;
        let aws = &world.stack.ground.aws;
        let store = Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone());
        let order = store.order(&OrderId::parse(&gone).unwrap()).await.unwrap().unwrap();
        let notice = order.notices().remove(0);
        // It had begun before, and its receiver did not answer.
        let now = order.updated_at;
        let attempt =
            Attempt { at: now, status: 0, took_ms: 9, error: "timeout".to_owned(), asked: false };
        for state in [NoticeState::Retrying, NoticeState::NoAddress] {
            let standing = Standing { state, due_at: Some(now), destination: "m_demo/x" };
            let written = store.record_attempt(&notice, Some(&attempt), standing).await.unwrap();
            assert_eq!(written, Written::Raced, "{state:?}");
        }
        let found = row(&world, &gone).await;
        assert_eq!((found.state, found.due_at), (NoticeState::GivenUp, None));
        // But somebody may ask for it.
        let standing = Standing { state: NoticeState::Delivered, due_at: None, destination: "" };
        let written = store.record_attempt(&notice, Some(&attempt), standing).await.unwrap();
        assert_eq!(written, Written::Now);
    });
}

#[test]
fn every_change_that_a_merchant_must_know_is_told_in_order() {
    simulate(1, async || {
        let world = World::new().await;
        let created = world.create("u_1", MINOR, "k-1").await;
        let order = created.json["orderId"].as_str().unwrap().to_owned();
        let cancel = world.signed(("POST", &format!("/recharges/{order}/cancel")), "", "");
        world.send(&cancel).await;
        world.notify().await;
        world.deliver(&world.pay(&order, None)).await;
        world.settle().await;
        world.notify().await;
        let expired = world.create("u_2", MINOR, "k-2").await;
        let expired = expired.json["orderId"].as_str().unwrap().to_owned();
        world.let_pass(35).await;
        let kinds = |order: &str| -> Vec<String> {
            of(&world.receiver.received(), order)
                .iter()
                .map(|one| serde_json::from_str::<Value>(&one.notification.body).unwrap())
                .map(|body| {
                    format!("{} {}", body["data"]["sequence"], body["type"].as_str().unwrap())
                })
                .collect()
        };
        assert_eq!(kinds(&order), ["1 recharge.cancelled", "2 recharge.succeeded"]);
        assert_eq!(kinds(&expired), ["1 recharge.expired"]);
        assert_eq!(world.untold().await, Vec::<String>::new());
    });
}

#[test]
fn without_an_address_or_a_secret_nothing_leaves_and_nothing_is_lost() {
    simulate(1, async || {
        let world = World::new().await;
        let body = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT"}).to_string();
        let created = world.send(&world.signed(("POST", "/recharges"), &body, "k-1")).await;
        let order = created.json["orderId"].as_str().unwrap().to_owned();
        world.deliver(&world.pay(&order, None)).await;
        world.settle().await;
        world.notify().await;
        assert_eq!(row(&world, &order).await.state, NoticeState::NoAddress);
        assert!(world.receiver.received().is_empty());

        let aws = &world.stack.ground.aws;
        let put = |document: Value| {
            let put = aws.secrets(aws.http_client(), 3).put_secret_value();
            let put = put.secret_id(&world.stack.names.notification_keys);
            put.secret_string(document.to_string()).send()
        };
        put(json!({})).await.unwrap();
        world.pass(60).await;
        let order = paid(&world, "u_1", "k-2").await;
        world.notify().await;
        let found = row(&world, &order).await;
        assert_eq!(
            (found.state, found.attempts[0].error.as_str()),
            (NoticeState::Retrying, "no_secret")
        );
        put(json!({"m_demo": {"secrets": [DEMO_NOTIFICATION_SECRET]}})).await.unwrap();
        world.let_pass(10).await;
        assert_eq!(row(&world, &order).await.state, NoticeState::Delivered);
    });
}

#[test]
fn messages_about_nothing_are_dropped_and_unreadable_ones_kept() {
    simulate(1, async || {
        let world = World::new().await;
        let aws = &world.stack.ground.aws;
        let (sqs, url) = (aws.sqs(aws.http_client(), 3), &world.stack.names.notifications.url);
        let message = NotificationMessage {
            trace: recharge_shared::domain::TraceId::untraced(),
            order: OrderId::parse("R0123456789ABCDEFGHJKMNPQR").unwrap(),
            sequence: 1,
            made: 0,
            again: true,
        };
        for body in [message.encode(), "not json".to_owned()] {
            sqs.send_message().queue_url(url).message_body(body).send().await.unwrap();
        }
        for _ in 0..40 {
            world.notify().await;
            world.pass(60).await;
        }
        let depth = world.stack.notification_depth();
        assert_eq!((depth.visible + depth.in_flight, depth.dead), (0, 1));
        assert!(world.receiver.received().is_empty());
    });
}

#[test]
fn the_books_are_the_same_with_the_notifier_switched_off() {
    let play = |told: bool| {
        simulate(7, async || {
            let world = World::new().await;
            let create = async |key: &str| {
                let created = world.create("u_1", MINOR, key).await;
                created.json["orderId"].as_str().unwrap().to_owned()
            };
            let work = async |minutes: u64| {
                for _ in 0..minutes {
                    world.pass(60).await;
                    world.stack.poll().await.unwrap();
                    world.settle().await;
                    if told {
                        world.notify().await;
                    }
                }
            };
            world.receiver.set(CALLBACK_URL, Manner::Answers(500, String::new()));
            paid(&world, "u_1", "paid").await;
            let lost = create("callback lost").await;
            world.pay(&lost, None);
            create("expires").await;
            let cancelled = create("cancelled").await;
            post(&world, &format!("/recharges/{cancelled}/cancel"), "").await;
            work(40).await;
            world.deliver(&world.pay(&cancelled, None)).await;
            work(5).await;
            assert_eq!(world.receiver.received().is_empty(), !told);
            world.books()
        })
    };
    let books = play(true);
    assert_eq!(books, play(false));
    assert_eq!((books.credits.len(), books.violations()), (3, Vec::<String>::new()));
}
