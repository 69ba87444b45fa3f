//! What merchants are told: once in effect, with one id and one body, however receivers behave.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use std::collections::BTreeSet;
use std::time::Duration;

use recharge_local::aws::faults::{Call, Fault, Faults, Service};
use recharge_local::call::{API_KEYS, ApiKey};
use recharge_local::sim::receiver::{Manner, Received};
use recharge_local::stack::DEMO_NOTIFICATION_SECRET;
use recharge_shared::domain::{OrderId, Timestamp};
use recharge_shared::queue::NotificationMessage;
use recharge_shared::store::{ASKED_MAX, NoticeRow, NoticeState, Store};
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
        assert_eq!(
            (found.state, found.attempts[0].excerpt.as_str()),
            (NoticeState::Retrying, "no")
        );
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

async fn get(world: &World, key: ApiKey<'_>, target: &str) -> Answered {
    world.send(&world.signed_as(key, ("GET", target), "", "")).await
}

async fn post(world: &World, target: &str, body: &str) -> Answered {
    world.send(&world.signed(("POST", target), body, "")).await
}

#[test]
fn a_merchant_sees_every_attempt_and_sends_again_under_the_same_id() {
    simulate(1, async || {
        let world = World::new().await;
        let order = paid(&world, "u_1", "k-1").await;
        let (log, again) =
            (format!("/recharges/{order}/deliveries"), format!("/recharges/{order}/notify"));
        let delivery = async || get(&world, API_KEYS[0], &log).await.json["deliveries"][0].clone();
        let told = delivery().await;
        assert_eq!((&told["state"], &told["attempts"]), (&json!("PENDING"), &json!([])));

        world.receiver.set(CALLBACK_URL, Manner::Answers(503, "é".repeat(2_000)));
        world.notify().await;
        let told = delivery().await;
        assert_eq!(
            (&told["state"], &told["attempts"][0]["status"]),
            (&json!("RETRYING"), &json!(503))
        );
        let excerpt = told["attempts"][0]["excerpt"].as_str().unwrap();
        assert!((1_023..=1_024).contains(&excerpt.len()), "{}", excerpt.len());
        let next = told["nextAttemptAt"].clone();
        assert!(next.is_string(), "{told}");

        // Asked for, and refused again: the plan goes on as it was.
        let answered = post(&world, &again, "{}").await;
        assert_eq!((answered.status, &answered.json["id"]), (202, &told["id"]));
        world.notify().await;
        let told = delivery().await;
        assert_eq!((&told["state"], &told["nextAttemptAt"]), (&json!("RETRYING"), &next));
        assert_eq!(told["attempts"][1]["requested"], true);
        let planned = row(&world, &order).await.planned();
        assert_eq!(planned, 1, "the plan counts its own attempts");

        world.receiver.set(CALLBACK_URL, Manner::Answers(204, String::new()));
        post(&world, &again, "").await;
        world.notify().await;
        assert_eq!(delivery().await["state"], "DELIVERED");
        // Delivered, and sent again all the same: a refusal takes nothing back.
        world.receiver.set(CALLBACK_URL, Manner::Hangs);
        post(&world, &again, "").await;
        world.notify().await;
        let told = delivery().await;
        assert_eq!((&told["state"], &told["nextAttemptAt"]), (&json!("DELIVERED"), &Value::Null));
        assert_eq!(told["attempts"][3]["error"], "timeout");
        world.let_pass(60).await;
        let received = world.receiver.received();
        let first = &received[0].notification;
        let same = |one: &Received| {
            (&one.notification.id, &one.notification.body) == (&first.id, &first.body)
        };
        assert!(received.len() == 4 && received.iter().all(same), "{received:#?}");
        assert_eq!(told["id"], json!(first.id));
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn sending_again_needs_something_to_say_is_bounded_and_ends_with_the_queue() {
    simulate(1, async || {
        let world = World::new().await;
        let open = world.create("u_1", MINOR, "k-0").await.json["orderId"].clone();
        let open = format!("/recharges/{}/notify", open.as_str().unwrap());
        assert_eq!(post(&world, &open, "").await.json["errorCode"], "CONFLICT");
        let foreign = world.send(&world.signed_as(API_KEYS[1], ("POST", &open), "", "")).await;
        assert_eq!(foreign.status, 404);

        let order = paid(&world, "u_1", "k-1").await;
        world.notify().await;
        let again = format!("/recharges/{order}/notify");
        let faults = Faults::new(world.clock().clone(), |call: &Call| {
            if call.service == Service::Sqs { Fault::RequestLost } else { Fault::None }
        });
        let functions = world.instance(&faults, 1);
        for (target, body) in [(again.as_str(), ""), ("/events/resend", &day("ALL"))] {
            let answered =
                world.send_to(&functions, &world.signed(("POST", target), body, "")).await;
            assert_eq!(answered.json["errorCode"], "SERVICE_UNAVAILABLE", "{target}");
        }
        for _ in 0..ASKED_MAX {
            assert_eq!(post(&world, &again, "").await.status, 202);
            world.notify().await;
        }
        assert_eq!(post(&world, &again, "").await.json["errorCode"], "CONFLICT");
        let resent = post(&world, "/events/resend", &day("ALL")).await.json;
        assert_eq!((&resent["resent"], &resent["lookedAt"]), (&json!(0), &json!(1)));
        assert_eq!(world.receiver.received().len(), 1 + ASKED_MAX);
        assert_eq!(row(&world, &order).await.attempts.len(), 1 + ASKED_MAX);
    });
}

/// The day on which every world begins.
fn day(state: &str) -> String {
    json!({"from": "2027-01-15T00:00:00Z", "to": "2027-01-16T00:00:00Z", "state": state})
        .to_string()
}

#[test]
fn what_was_given_up_in_a_day_is_sent_again_part_by_part() {
    simulate(1, async || {
        let world = World::new().await;
        paid(&world, "u_1", "taken").await;
        world.notify().await;
        world.receiver.set(CALLBACK_URL, Manner::Answers(410, String::new()));
        for number in 0..520 {
            paid(&world, "u_1", &format!("k-{number}")).await;
            world.notify().await;
            world.pass(1).await;
        }
        world.receiver.set(CALLBACK_URL, Manner::Answers(200, String::new()));
        let first = post(&world, "/events/resend", &day("GIVEN_UP")).await;
        assert_eq!(first.status, 202, "{}", first.text);
        assert_eq!((&first.json["lookedAt"], &first.json["resent"]), (&json!(500), &json!(499)));
        let mut more: Value = serde_json::from_str(&day("GIVEN_UP")).unwrap();
        more["cursor"] = first.json["nextCursor"].clone();
        let second = post(&world, "/events/resend", &more.to_string()).await.json;
        assert_eq!(second, json!({"resent": 21, "lookedAt": 21, "nextCursor": null}));
        let before = world.receiver.received().len();
        world.notify().await;
        assert_eq!(world.receiver.received().len(), before + 520);
        let nothing = post(&world, "/events/resend", &day("GIVEN_UP")).await.json;
        assert_eq!((&nothing["resent"], &nothing["lookedAt"]), (&json!(0), &json!(500)));
        // Another range's cursor is none.
        more["state"] = json!("ALL");
        let refused = post(&world, "/events/resend", &more.to_string()).await;
        assert_eq!(refused.json["details"][0]["field"], "cursor");
        for (field, value) in
            [("to", "2027-01-15T00:00:00Z"), ("from", "yesterday"), ("state", "DELIVERED")]
        {
            let mut wrong: Value = serde_json::from_str(&day("ALL")).unwrap();
            wrong[field] = json!(value);
            let refused = post(&world, "/events/resend", &wrong.to_string()).await;
            assert_eq!(refused.json["details"][0]["field"], field, "{}", refused.text);
        }
    });
}

/// Everything after `after`, page by page, and where to go on.
async fn pull(world: &World, limit: u32, after: &mut Option<String>) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let from = after.as_ref().map_or_else(String::new, |after| format!("&after={after}"));
        let page = get(world, API_KEYS[0], &format!("/events?limit={limit}{from}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        events.extend(page.json["events"].as_array().unwrap().iter().cloned());
        *after = page.json["next"].as_str().map(str::to_owned);
        if page.json["hasMore"] == false {
            return events;
        }
    }
}

#[test]
fn events_are_pulled_in_order_as_they_were_sent_and_by_their_merchant_alone() {
    simulate(1, async || {
        let world = World::new().await;
        let mut after = None;
        assert_eq!((pull(&world, 2, &mut after).await, &after), (Vec::new(), &None));
        world.receiver.set(CALLBACK_URL, Manner::Answers(500, String::new()));
        for number in 0..5 {
            paid(&world, "u_1", &format!("k-{number}")).await;
            world.notify().await;
            world.pass(2).await;
        }
        world.pass(15).await;
        let events = pull(&world, 2, &mut after).await;
        let received = world.receiver.received();
        assert_eq!(events.len(), 5);
        for (event, Received { notification, .. }) in events.iter().zip(&received) {
            let mut body = event.clone();
            assert_eq!(
                body.as_object_mut().unwrap().shift_remove("id"),
                Some(json!(notification.id))
            );
            assert_eq!(body.to_string(), notification.body);
        }
        assert!(pull(&world, 2, &mut after).await.is_empty(), "told once");
        // Later attempts, and sending again, are no new events; a new order is one.
        world.let_pass(60).await;
        assert!(pull(&world, 2, &mut after).await.is_empty());
        let body = json!({"userId": "u_9", "amount": MINOR, "currency": "USDT"}).to_string();
        let silent = world.send(&world.signed(("POST", "/recharges"), &body, "k-9")).await;
        let silent = silent.json["orderId"].as_str().unwrap().to_owned();
        world.deliver(&world.pay(&silent, None)).await;
        world.settle().await;
        world.notify().await;
        world.pass(16).await;
        let events = pull(&world, 2, &mut after).await;
        assert_eq!(events.len(), 1, "also what nobody could be told: {events:?}");
        assert_eq!(events[0]["data"]["orderId"], json!(silent));

        let foreign = get(&world, API_KEYS[1], "/events").await.json;
        assert_eq!(foreign, json!({"events": [], "next": null, "hasMore": false}));
        let theirs = format!("/events?after={}", after.unwrap());
        assert_eq!(get(&world, API_KEYS[1], &theirs).await.status, 400);
    });
}

#[test]
fn no_event_comes_to_light_behind_a_cursor_however_slow_the_table_is() {
    for seed in 0..20 {
        simulate(seed, async || {
            let world = World::new().await;
            // Writes arrive late and answers get lost, at random; messages come again minutes later.
            let is_write = |call: &Call| call.operation == "UpdateItem";
            let plan = move |call: &Call| match fastrand::u32(0..10) {
                0 if is_write(call) => Fault::AnswerLost,
                1 if is_write(call) => Fault::RequestLost,
                _ => Fault::None,
            };
            let late = move |call: &Call| {
                if is_write(call) { fastrand::u64(0..40_000).saturating_sub(20_000) } else { 0 }
            };
            let faults = Faults::with_latency(world.clock().clone(), plan, late);
            let functions = world.instance(&faults, 3);
            let mut after = None;
            let mut pulled = BTreeSet::new();
            for round in 0..5 {
                for number in 0..8 {
                    paid(&world, "u_1", &format!("k-{round}-{number}")).await;
                }
                let work = world.stack.notify_batch_with(&functions, 0);
                let reads = async {
                    for _ in 0..30 {
                        world.pass(fastrand::u64(1..4)).await;
                        let events = pull(&world, 3, &mut after).await;
                        pulled.extend(events.iter().map(|e| e["id"].as_str().unwrap().to_owned()));
                    }
                };
                let _ = futures_util::future::join(work, reads).await;
            }
            for _ in 0..20 {
                world.let_pass(1).await;
                let events = pull(&world, 3, &mut after).await;
                pulled.extend(events.iter().map(|e| e["id"].as_str().unwrap().to_owned()));
            }
            assert_eq!(pulled.len(), 40, "seed {seed}");
        });
    }
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
