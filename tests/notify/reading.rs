//! What merchants read and ask for: deliveries, events to pull, sending again.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use recharge_local::aws::faults::{Call, Fault, Faults, Service};
use recharge_local::call::API_KEYS;
use recharge_local::sim::receiver::{Manner, Received};
use recharge_shared::store::ASKED_MAX;
use recharge_tests::World;
use recharge_tests::world::{CALLBACK_URL, simulate};
use serde_json::{Value, json};

use crate::{MINOR, get, of, paid, post, row};

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
        assert!(!told.to_string().contains('\u{e9}'), "what a receiver says is not shown: {told}");
        let names: Vec<&str> =
            told["attempts"][0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["at", "status", "durationMs", "error", "requested"]);
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
fn what_was_listed_and_never_tried_is_sent_again_with_all_of_a_day() {
    simulate(1, async || {
        let world = World::new().await;
        let order = paid(&world, "u_1", "k-1").await;
        let faults = Faults::new(world.clock().clone(), |call| match call.service {
            Service::Secrets => Fault::RequestLost,
            _ => Fault::None,
        });
        // Listed, and then its secret cannot be read; the message is lost with its dead letter.
        let functions = world.instance(&faults, 1);
        while world.stack.notify_batch_with(&functions, 0).await.unwrap() > 0 {
            world.pass(900).await;
            if world.stack.notification_depth().dead > 0 {
                break;
            }
        }
        assert_eq!(world.stack.notification_depth().dead, 1);
        assert_eq!(of(&world.receiver.received(), &order).len(), 0);
        world.pass(60).await;
        let given_up = post(&world, "/events/resend", &day("GIVEN_UP")).await.json;
        assert_eq!(given_up["resent"], json!(0));
        let all = post(&world, "/events/resend", &day("ALL")).await.json;
        assert_eq!(all["resent"], json!(1), "{all}");
        world.notify().await;
        assert_eq!(of(&world.receiver.received(), &order).len(), 1);
    });
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

#[test]
fn a_merchant_has_its_events_sent_again_no_faster_than_it_may_create() {
    simulate(1, async || {
        let world = World::new().await;
        let first = paid(&world, "u_1", "first").await;
        world.notify().await;
        for number in 1..400 {
            paid(&world, "u_1", &format!("k-{number}")).await;
            world.notify().await;
            world.pass(1).await;
        }
        let queued = || world.stack.notification_depth().visible;
        for _ in 0..2 {
            let all = post(&world, "/events/resend", &day("ALL")).await;
            assert_eq!((all.status, &all.json["resent"]), (202, &json!(400)));
        }
        // 1,000 at once: two pages more are let through, and where to go on is said.
        let some = post(&world, "/events/resend", &day("ALL")).await;
        assert_eq!((some.status, &some.json["resent"]), (202, &json!(200)));
        let mut more: Value = serde_json::from_str(&day("ALL")).unwrap();
        more["cursor"] = some.json["nextCursor"].clone();
        let refused = post(&world, "/events/resend", &more.to_string()).await;
        assert_eq!((refused.status, &refused.json["errorCode"]), (429, &json!("RATE_LIMITED")));
        assert_eq!(queued(), 1_000);
        // A single one is let through as soon as there is room for one: fifty a second.
        let again = format!("/recharges/{first}/notify");
        assert_eq!(post(&world, &again, "").await.status, 429);
        // Creates have a bucket of their own.
        assert_eq!(world.create("u_1", MINOR, "k-new").await.status, 201);
        world.pass(2).await;
        assert_eq!(post(&world, &again, "").await.status, 202);
        let rest = post(&world, "/events/resend", &more.to_string()).await;
        assert_eq!(rest.status, 429, "99 of the next page's 100 could go");
        world.pass(1).await;
        let rest = post(&world, "/events/resend", &more.to_string()).await;
        assert_eq!((rest.status, &rest.json["resent"]), (202, &json!(100)));
        assert_eq!(queued(), 1_101);
    });
}

#[test]
fn what_was_asked_for_of_a_silent_receiver_ends_with_the_queue() {
    simulate(1, async || {
        let world = World::new().await;
        for number in 0..200 {
            paid(&world, "u_1", &format!("k-{number}")).await;
            world.notify().await;
            world.pass(1).await;
        }
        world.receiver.set(CALLBACK_URL, Manner::Hangs);
        let before = world.receiver.received().len();
        assert_eq!(post(&world, "/events/resend", &day("ALL")).await.json["resent"], 200);
        world.let_pass(75).await;
        let left = world.stack.notification_depth();
        assert_eq!((left.visible, left.in_flight, left.dead), (0, 0, 0));
        let tried = world.receiver.received().len() - before;
        assert!((20..200).contains(&tried), "{tried}");
        assert_eq!(world.books().violations(), Vec::<String>::new());
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
    for seed in 8..16 {
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
fn an_order_that_cannot_be_read_hides_no_other() {
    simulate(1, async || {
        let world = World::new().await;
        let mut orders = Vec::new();
        for key in ["k-1", "k-2", "k-3"] {
            orders.push(paid(&world, "u_1", key).await);
            world.notify().await;
            world.pass(60).await;
        }
        let aws = &world.stack.ground.aws;
        let (client, table) = (aws.dynamodb(aws.http_client(), 3), &world.stack.names.table);
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let rename = async |from: &str, to: &str| {
            let update = client.update_item().table_name(table);
            let update = update.update_expression(format!("SET {to} = {from} REMOVE {from}"));
            let update = update.key("pk", text(&format!("O#{}", orders[1])));
            update.key("sk", text("O")).send().await.unwrap();
        };
        rename("amount", "lost").await;
        let own = get(&world, API_KEYS[0], &format!("/recharges/{}", orders[1])).await;
        assert_eq!(own.status, 500);
        let listed = get(&world, API_KEYS[0], "/recharges").await;
        let found = listed.json["recharges"].as_array().unwrap().iter();
        let found: Vec<&str> = found.map(|order| order["orderId"].as_str().unwrap()).collect();
        assert_eq!(found, [orders[2].as_str(), orders[0].as_str()]);

        // A cursor does not pass an event that comes to light when the order is mended.
        let pull = async |cursor: &str| {
            let pulled = get(&world, API_KEYS[0], &format!("/events{cursor}")).await;
            let events = pulled.json["events"].as_array().cloned().unwrap_or_default();
            let ids: Vec<String> =
                events.iter().map(|e| e["data"]["orderId"].as_str().unwrap().to_owned()).collect();
            let next = pulled.json["next"].as_str().unwrap_or("").to_owned();
            (pulled.status, ids, pulled.json["hasMore"].clone(), format!("?after={next}"))
        };
        let (status, ids, more, next) = pull("").await;
        assert_eq!((status, ids, more), (200, orders[..1].to_vec(), json!(true)));
        assert_eq!(pull(&next).await.0, 500);
        rename("lost", "amount").await;
        let (status, ids, more, _) = pull(&next).await;
        assert_eq!((status, ids, more), (200, orders[1..].to_vec(), json!(false)));
        // What nobody has mended in a day stops nobody any more.
        rename("amount", "lost").await;
        world.pass(86_400).await;
        let (status, ids, more, _) = pull(&next).await;
        assert_eq!((status, ids, more), (200, orders[2..].to_vec(), json!(false)));
    });
}
