//! What a merchant's engineer meets at the door: lists and their cursors, cancelling, and that
//! somebody else's is like unknown everywhere.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a scene that cannot be set up ends the test"
)]

use recharge_local::aws::faults::{Call, Fault, Faults};
use recharge_local::call::{ADMIN_KEYS, API_KEYS, ApiKey};
use recharge_shared::domain::hash::digest;
use recharge_tests::World;
use recharge_tests::world::{Answered, simulate};
use serde_json::{Value, json};

const MINOR: i64 = 5_000_000;
const OWN: ApiKey<'_> = API_KEYS[0];
const FOREIGN: ApiKey<'_> = API_KEYS[1];

async fn get(world: &World, key: ApiKey<'_>, target: &str) -> Answered {
    world.send(&world.signed_as(key, ("GET", target), "", "")).await
}

async fn post(world: &World, key: ApiKey<'_>, target: &str, body: &str) -> Answered {
    world.send(&world.signed_as(key, ("POST", target), body, "")).await
}

fn ids(answered: &Answered) -> Vec<String> {
    assert_eq!(answered.status, 200, "{}", answered.text);
    let orders = answered.json["recharges"].as_array().unwrap();
    orders.iter().map(|order| order["orderId"].as_str().unwrap().to_owned()).collect()
}

async fn create(world: &World, user: &str, key: &str) -> String {
    let created = world.create(user, MINOR, key).await;
    assert_eq!(created.status, 201, "{}", created.text);
    created.json["orderId"].as_str().unwrap().to_owned()
}

async fn all_pages(world: &World, query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    for _ in 0..50 {
        let page = get(world, OWN, &format!("/recharges?limit=3{query}{cursor}")).await;
        found.extend(ids(&page));
        match page.json["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
    panic!("the list does not end: {found:?}");
}

#[test]
fn orders_are_listed_newest_first_page_by_page() {
    simulate(1, async || {
        let world = World::new().await;
        let mut made = Vec::new();
        for number in 0..8 {
            let user = if number % 2 == 0 { "u_1" } else { "u_2" };
            made.push(create(&world, user, &format!("k-{number}")).await);
            world.pass(1).await;
        }
        made.reverse();
        assert_eq!(all_pages(&world, "").await, made);
        assert_eq!(ids(&get(&world, OWN, "/recharges").await), made);
        let of = |parity: usize| -> Vec<String> {
            made.iter().skip(parity).step_by(2).cloned().collect()
        };
        assert_eq!(all_pages(&world, "&userId=u_2").await, of(0));
        assert_eq!(all_pages(&world, "&userId=u_1").await, of(1));
        assert_eq!(all_pages(&world, "&userId=nobody").await, Vec::<String>::new());

        let callback = world.pay(&made[3], None);
        world.deliver(&callback).await;
        world.settle().await;
        assert_eq!(all_pages(&world, "&status=SUCCESS").await, [made[3].clone()]);
        assert_eq!(all_pages(&world, "&status=PENDING&userId=u_2").await, of(0));
        assert_eq!(all_pages(&world, "&status=PENDING").await.len(), 7);

        let order = world.order(&made[2]).await;
        let at = order["createdAt"].as_str().unwrap();
        assert_eq!(all_pages(&world, &format!("&from={at}")).await, made[..3]);
        assert_eq!(all_pages(&world, &format!("&to={at}")).await, made[3..]);
        assert!(all_pages(&world, &format!("&from={at}&to={at}")).await.is_empty());
    });
}

#[test]
fn an_order_is_found_by_the_merchants_own_number() {
    simulate(1, async || {
        let world = World::new().await;
        let body = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT",
                          "orderReference": "ref-1"});
        let request = world.signed(("POST", "/recharges"), &body.to_string(), "k-1");
        let created = world.send(&request).await;
        let order = created.json["orderId"].as_str().unwrap().to_owned();
        let found = get(&world, OWN, "/recharges?orderReference=ref-1").await;
        assert_eq!((ids(&found), &found.json["nextCursor"]), (vec![order], &Value::Null));
        for query in [
            "orderReference=ref-2",
            "orderReference=ref-1&status=SUCCESS",
            "orderReference=ref-1&userId=u_2",
            "orderReference=ref-1&to=2020-01-01T00:00:00Z",
        ] {
            assert!(
                ids(&get(&world, OWN, &format!("/recharges?{query}")).await).is_empty(),
                "{query}"
            );
        }
        assert!(ids(&get(&world, FOREIGN, "/recharges?orderReference=ref-1").await).is_empty());
        let at = created.json["createdAt"].as_str().unwrap();
        for (border, found) in [("from", 1), ("to", 0)] {
            let target = format!("/recharges?orderReference=ref-1&{border}={at}");
            assert_eq!(ids(&get(&world, OWN, &target).await).len(), found, "{border}");
        }
    });
}

#[test]
fn somebody_elses_is_like_unknown() {
    simulate(1, async || {
        let world = World::new().await;
        let order = create(&world, "u_1", "k-1").await;
        create(&world, "u_1", "k-2").await;
        let callback = world.pay(&order, None);
        world.deliver(&callback).await;
        world.settle().await;
        let page = get(&world, OWN, "/recharges?limit=1").await;
        let cursor = page.json["nextCursor"].as_str().unwrap().to_owned();

        assert!(ids(&get(&world, FOREIGN, "/recharges").await).is_empty());
        assert!(ids(&get(&world, FOREIGN, "/recharges?userId=u_1").await).is_empty());
        let unknown = "R0123456789ABCDEFGHJKMNPQR";
        let pairs = [
            ("GET", format!("/recharges/{order}"), format!("/recharges/{unknown}")),
            ("POST", format!("/recharges/{order}/cancel"), format!("/recharges/{unknown}/cancel")),
            ("GET", "/users/u_1/balances".to_owned(), "/users/nobody/balances".to_owned()),
            ("GET", "/users/u_1/ledger".to_owned(), "/users/nobody/ledger".to_owned()),
            (
                "GET",
                format!("/recharges?limit=1&cursor={cursor}"),
                format!("/recharges?limit=1&cursor={}", cursor.replace('1', "2")),
            ),
        ];
        for (method, theirs, nobodys) in pairs {
            let ask = async |target: &str| {
                let mut answered =
                    world.send(&world.signed_as(FOREIGN, (method, target), "", "")).await;
                answered.headers.remove("x-trace-id");
                answered.json["traceId"] = Value::Null;
                (answered.status, answered.headers, answered.json)
            };
            let (foreign, unknown) = (ask(&theirs).await, ask(&nobodys).await);
            assert!(foreign.0 == 404 || foreign.0 == 400, "{theirs}: {foreign:?}");
            assert_eq!(foreign, unknown, "{theirs}");
        }
        // Its own idempotency key of the same text is another order.
        let body = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT"}).to_string();
        let request = world.signed_as(FOREIGN, ("POST", "/recharges"), &body, "k-1");
        let created = world.send(&request).await;
        assert_eq!(created.status, 201, "{}", created.text);
        assert_ne!(created.json["orderId"], json!(order));
        assert_eq!(get(&world, FOREIGN, "/users/u_1/balances").await.json["balances"], json!([]));
    });
}

/// The cursor of `position` in the list that `scope` names, as anybody can compute it.
fn computed(scope: &[&str], position: &str) -> String {
    let fields: Vec<&[u8]> =
        std::iter::once(position).chain(scope.iter().copied()).map(str::as_bytes).collect();
    let check = &digest("recharge/cursor/v1", &fields)[..8];
    hex::encode([check, position.as_bytes()].concat())
}

#[test]
fn a_computed_cursor_is_refused_before_the_table_sees_it() {
    simulate(1, async || {
        let world = World::new().await;
        create(&world, "u_1", "k-1").await;
        let order = "R0123456789ABCDEFGHJKMNPQR";
        let orders = ["orders", "m_demo", "", "", "", "", ""];
        let ledger = ["ledger", "m_demo", "u_1"];
        let reviews = ["reviews", "m_demo", "open"];
        for (key, path, scope, positions) in [
            (
                OWN,
                "/recharges",
                &orders[..],
                [format!("-1#{order}"), format!("{}#{order}", i64::MIN), "1#".to_owned()],
            ),
            (
                OWN,
                "/users/u_1/ledger",
                &ledger,
                ["1#".to_owned(), String::new(), "1700000000000#P#".to_owned()],
            ),
            (
                ADMIN_KEYS[0],
                "/admin/reviews",
                &reviews,
                ["1#".to_owned(), String::new(), "1700000000000#K#".to_owned()],
            ),
        ] {
            for position in positions {
                let cursor = computed(scope, &position);
                let answered = get(&world, key, &format!("{path}?cursor={cursor}")).await;
                assert_eq!(answered.status, 400, "{path} {position}: {}", answered.text);
                assert_eq!(answered.json["errorCode"], "INVALID_ARGUMENT", "{path} {position}");
                assert_eq!(answered.json["details"][0]["field"], "cursor", "{path} {position}");
            }
        }
        // One at which a page can have ended is as good as one that was given out.
        let cursor = computed(&orders, &format!("1#{order}"));
        assert!(ids(&get(&world, OWN, &format!("/recharges?cursor={cursor}")).await).is_empty());
    });
}

#[test]
fn cancelling_ends_the_order_but_not_the_money() {
    simulate(1, async || {
        let world = World::new().await;
        let order = create(&world, "u_1", "k-1").await;
        let target = format!("/recharges/{order}/cancel");
        for body in ["", "{}"] {
            let cancelled = post(&world, OWN, &target, body).await;
            assert_eq!(cancelled.status, 200, "{}", cancelled.text);
            let told = (&cancelled.json["status"], &cancelled.json["reason"]);
            assert_eq!(told, (&json!("CANCELLED"), &json!("cancelled_by_client")));
        }
        let refused = post(&world, OWN, &target, r#"{"why":"x"}"#).await;
        assert_eq!(refused.json["errorCode"], "INVALID_ARGUMENT");

        // The payer was on the way: by default the money counts.
        let callback = world.pay(&order, None);
        world.deliver(&callback).await;
        world.settle().await;
        let paid = world.order(&order).await;
        assert_eq!((&paid["status"], &paid["reason"]), (&json!("SUCCESS"), &json!("paid_late")));
        let refused = post(&world, OWN, &target, "").await;
        assert_eq!((refused.status, &refused.json["errorCode"]), (409, &json!("CONFLICT")));
        assert_eq!(world.books().violations(), Vec::<String>::new());

        // Lost callbacks of cancelled orders are found, too.
        let order = create(&world, "u_1", "k-2").await;
        post(&world, OWN, &format!("/recharges/{order}/cancel"), "").await;
        world.pay(&order, None);
        world.let_pass(5).await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
    });
}

#[test]
fn a_cancellation_that_comes_second_is_told_so() {
    simulate(1, async || {
        let world = World::new().await;
        let order = create(&world, "u_1", "k-1").await;
        world.deliver(&world.pay(&order, None)).await;
        // It has read the order when somebody else settles it, and writes afterwards.
        let slow = |call: &Call| if call.operation == "UpdateItem" { 1_000 } else { 0 };
        let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
        let functions = world.instance(&faults, 3);
        let cancel = world.signed(("POST", &format!("/recharges/{order}/cancel")), "", "");
        let settle = async {
            world.clock().sleep_ms(500).await;
            world.settle().await;
        };
        let (cancelled, ()) = tokio::join!(world.send_to(&functions, &cancel), settle);
        assert_eq!((cancelled.status, &cancelled.json["errorCode"]), (409, &json!("CONFLICT")));
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn cancel_and_payment_at_once_end_in_one_state() {
    for seed in 0..40 {
        simulate(seed, async || {
            let world = World::new().await;
            let order = create(&world, "u_1", "k-1").await;
            let callback = world.pay(&order, None);
            world.deliver(&callback).await;
            let target = format!("/recharges/{order}/cancel");
            let cancel = async {
                for _ in 0..fastrand::u32(0..20) {
                    tokio::task::yield_now().await;
                }
                post(&world, OWN, &target, "").await
            };
            let (cancelled, ()) = tokio::join!(cancel, world.settle());
            assert!([200, 409].contains(&cancelled.status), "{}", cancelled.text);
            world.settle().await;
            let paid = world.order(&order).await;
            assert_eq!(paid["status"], "SUCCESS", "seed {seed}");
            let books = world.books();
            assert_eq!((books.credits.len(), books.violations()), (1, Vec::<String>::new()));
        });
    }
}
