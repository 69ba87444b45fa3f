//! Who may create, and how fast: suspensions, registered users, and the token bucket under many
//! instances at once.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use futures_util::future::join_all;
use recharge_local::aws::faults::{Fault, Faults};
use recharge_shared::domain::{Disposal, Merchant, MerchantId, MerchantPolicy, UserAccess, UserId};
use recharge_shared::store::{Store, Written};
use recharge_tests::World;
use recharge_tests::world::simulate;
use serde_json::json;

const MINOR: i64 = 5_000_000;

fn demo() -> MerchantId {
    MerchantId::parse("m_demo").unwrap()
}

fn store(world: &World) -> Store {
    let aws = &world.stack.ground.aws;
    Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone())
}

#[test]
fn the_limit_holds_with_sixteen_instances_at_once() {
    const CALLERS: u64 = 16;
    const SECONDS: u64 = 10;
    for seed in 0..3 {
        simulate(seed, async || {
            let world = World::new().await;
            world.create("u_1", MINOR, "first").await;
            let caller = async |caller: u64| {
                let faults = Faults::none(world.clock().clone());
                let functions = world.instance(&faults, 3);
                let (mut admitted, mut refused) = (0_u64, 0_u64);
                let until = tokio::time::Instant::now() + std::time::Duration::from_secs(SECONDS);
                while tokio::time::Instant::now() < until {
                    let key = format!("{caller}-{}", admitted + refused);
                    let request = world.create_request("u_1", MINOR, &key);
                    let answered = world.send_to(&functions, &request).await;
                    if answered.status == 201 {
                        admitted += 1;
                    } else {
                        assert_eq!(answered.status, 429, "{}", answered.text);
                        assert_eq!(answered.json["errorCode"], "RATE_LIMITED");
                        let wait: u64 =
                            answered.headers["retry-after"].to_str().unwrap().parse().unwrap();
                        assert!((1..=2).contains(&wait), "{wait}");
                        refused += 1;
                    }
                    let pause_ms = fastrand::u64(20..120);
                    tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
                }
                (admitted, refused)
            };
            let all = join_all((0..CALLERS).map(caller)).await;
            let admitted: u64 = all.iter().map(|(admitted, _)| admitted).sum();
            let refused: u64 = all.iter().map(|(_, refused)| refused).sum();
            let Merchant { creates_per_second, burst, .. } = Merchant::default();
            let allowed = u64::from(burst) + u64::from(creates_per_second) * SECONDS;
            println!("seed {seed}: {admitted} of {allowed} allowed, {refused} refused");
            assert!(admitted * 10 <= allowed * 11 && admitted * 10 >= allowed * 9, "{admitted}");
            assert!(refused > allowed, "it was to be overrun: {refused}");
            // A refused create has left nothing: no order more than were admitted, at the provider too.
            let made = usize::try_from(admitted + 1).unwrap();
            assert_eq!((world.books().orders.len(), world.trader.provider_orders()), (made, made));
        });
    }
}

#[test]
fn one_instance_lets_the_burst_pass_pays_for_four_at_once_and_tells_when_to_come_again() {
    simulate(1, async || {
        let world = World::new().await;
        let merchant = Merchant { creates_per_second: 1, burst: 8, ..Merchant::default() };
        store(&world).set_merchant(&demo(), &merchant).await.unwrap();
        world.create("u_1", MINOR, "first").await;
        world.pass(60).await;
        let faults = Faults::none(world.clock().clone());
        let functions = world.instance(&faults, 1);
        // Status, `Retry-After`, updates: of the order after the provider's answer, and of the bucket.
        let create = async |number: u64| {
            let before = faults.log().len();
            let request = world.create_request("u_1", MINOR, &format!("k-{number}"));
            let answered = world.send_to(&functions, &request).await;
            let log = faults.log();
            let updates = log[before..].iter().filter(|entry| entry.call.ends_with("UpdateItem"));
            let wait =
                answered.headers.get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
            (answered.status, wait, updates.count())
        };
        let refused = (429, Some("2".to_owned()), 1);
        for (number, updates) in [1, 1, 1, 2, 2, 2, 2, 2].into_iter().enumerate() {
            let number = u64::try_from(number).unwrap();
            assert_eq!(create(number).await, (201, None, updates), "create {number}");
        }
        assert_eq!(create(8).await, refused);
        assert_eq!(create(9).await, refused);
        // One a second comes back, and what was refused has cost nothing.
        world.pass(1).await;
        assert_eq!(create(8).await, (201, None, 2));
        assert_eq!(create(9).await, refused);
        world.pass(3).await;
        for number in 10..13 {
            assert_eq!(create(number).await, (201, None, 2), "create {number}");
        }
        assert_eq!(create(13).await, refused);

        // Half a burst is far enough from empty to pay later, one more is not.
        let merchant = Merchant { burst: 4, ..merchant };
        store(&world).set_merchant(&demo(), &merchant).await.unwrap();
        world.pass(61).await;
        for (number, updates) in [1, 1, 2, 2].into_iter().enumerate() {
            let number = 20 + u64::try_from(number).unwrap();
            assert_eq!(create(number).await, (201, None, updates), "create {number}");
        }
        assert_eq!(create(24).await, refused);
    });
}

#[test]
fn a_refused_create_may_come_again_with_its_key() {
    simulate(1, async || {
        let world = World::new().await;
        let merchant = Merchant { creates_per_second: 1, burst: 2, ..Merchant::default() };
        store(&world).set_merchant(&demo(), &merchant).await.unwrap();
        let mut refused = None;
        for number in 0..6 {
            let key = format!("k-{number}");
            if world.create("u_1", MINOR, &key).await.status == 429 {
                refused = Some(key);
                break;
            }
        }
        let key = refused.unwrap();
        world.pass(2).await;
        assert_eq!(world.create("u_1", MINOR, &key).await.status, 201);
    });
}

#[test]
fn creates_are_counted_although_the_bucket_was_away_for_a_while() {
    simulate(1, async || {
        let world = World::new().await;
        let merchant = Merchant { creates_per_second: 1, burst: 20, ..Merchant::default() };
        store(&world).set_merchant(&demo(), &merchant).await.unwrap();
        world.create("u_1", MINOR, "first").await;
        // Payments to the bucket are the updates that go out beside an order's own write.
        let faults = Faults::new(world.clock().clone(), |call| {
            let lost = call.operation == "UpdateItem" && call.index < 40;
            if lost { Fault::Throttle } else { Fault::None }
        });
        let functions = world.instance(&faults, 1);
        let mut admitted = 0;
        for number in 0..60 {
            let request = world.create_request("u_1", MINOR, &format!("k-{number}"));
            admitted += u32::from(world.send_to(&functions, &request).await.status == 201);
        }
        assert!((15..=40).contains(&admitted), "{admitted}");
        world.let_pass(5).await;
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn nothing_is_created_for_suspended_merchants_and_users_or_for_unregistered_ones() {
    simulate(1, async || {
        let world = World::new().await;
        let store = store(&world);
        let user = |id: &str| UserId::parse(id).unwrap();
        let created = world.create("u_1", MINOR, "k-1").await;
        let order = created.json["orderId"].as_str().unwrap().to_owned();

        store.suspend_user(&demo(), &user("u_2")).await.unwrap();
        world.pass(60).await;
        let refused = world.create("u_2", MINOR, "k-2").await;
        assert_eq!((refused.status, &refused.json["errorCode"]), (403, &json!("FORBIDDEN")));
        assert_eq!(refused.json["details"][0]["field"], "userId");
        store.resume_user(&demo(), &user("u_2")).await.unwrap();
        world.pass(60).await;
        assert_eq!(world.create("u_2", MINOR, "k-2").await.status, 201);

        let merchant = Merchant { users: UserAccess::Registered, ..Merchant::default() };
        store.set_merchant(&demo(), &merchant).await.unwrap();
        store.register_user(&demo(), &user("u_3")).await.unwrap();
        world.pass(60).await;
        assert_eq!(world.create("u_3", MINOR, "k-3").await.status, 201);
        let refused = world.create("u_4", MINOR, "k-4").await;
        assert_eq!((refused.status, &refused.json["errorCode"]), (404, &json!("NOT_FOUND")));

        let merchant = Merchant { suspended: true, ..Merchant::default() };
        store.set_merchant(&demo(), &merchant).await.unwrap();
        world.pass(60).await;
        let refused = world.create("u_1", MINOR, "k-5").await;
        assert_eq!((refused.status, &refused.json["errorCode"]), (403, &json!("FORBIDDEN")));
        let cancel = world.signed(("POST", &format!("/recharges/{order}/cancel")), "", "");
        assert_eq!(world.send(&cancel).await.status, 403);
        assert_eq!(world.books().orders.len(), 3);

        // Money that is on the way arrives.
        let callback = world.pay(&order, None);
        world.deliver(&callback).await;
        world.settle().await;
        assert_eq!(world.order(&order).await["status"], "SUCCESS");
    });
}

#[test]
fn settings_are_kept_for_a_minute_and_no_longer_although_they_cannot_be_read() {
    simulate(1, async || {
        let world = World::new().await;
        world.create("u_1", MINOR, "first").await;
        let readable = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let seen = readable.clone();
        let faults = Faults::new(world.clock().clone(), move |call| {
            let readable = seen.load(std::sync::atomic::Ordering::Relaxed);
            if call.operation == "Query" && !readable { Fault::Throttle } else { Fault::None }
        });
        let functions = world.instance(&faults, 1);
        // The status, and how often the settings were asked for.
        let create = async |number: u64| {
            let before = faults.log().len();
            let request = world.create_request("u_1", MINOR, &format!("k-{number}"));
            let status = world.send_to(&functions, &request).await.status;
            let log = faults.log();
            let reads = log[before..].iter().filter(|entry| entry.call.ends_with("Query"));
            (status, reads.count())
        };
        assert_eq!(create(0).await, (201, 1));
        world.pass(54).await;
        assert_eq!(create(1).await, (201, 0));
        world.pass(1).await;
        assert_eq!(create(2).await, (201, 1), "after 55 seconds");
        readable.store(false, std::sync::atomic::Ordering::Relaxed);
        world.pass(54).await;
        assert_eq!(create(3).await, (201, 0));
        world.pass(5).await;
        assert_eq!(create(4).await, (201, 1), "59 seconds old, and still good");
        world.pass(1).await;
        assert_eq!(create(5).await, (503, 1));
        readable.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(create(5).await, (201, 1));
    });
}

#[test]
fn two_people_who_change_a_merchant_at_once_undo_nothing_of_each_other() {
    simulate(1, async || {
        let world = World::new().await;
        let store = store(&world);
        let nobody = Merchant::default();
        let suspended = Merchant { suspended: true, ..nobody.clone() };
        let slower = Merchant { creates_per_second: 5, ..nobody.clone() };
        let change = async |before: &Merchant, after: &Merchant| {
            store.change_merchant(&demo(), (before, after)).await.unwrap()
        };
        assert_eq!(change(&nobody, &suspended).await, Written::Now);
        // Whoever has read it before would have lifted the suspension.
        assert_eq!(change(&nobody, &slower).await, Written::Raced);
        let both = Merchant { creates_per_second: 5, ..suspended.clone() };
        assert_eq!(change(&suspended, &both).await, Written::Now);
        assert_eq!(store.merchant(&demo()).await.unwrap(), both);
        // A rule that is set, and one that is not, are two things.
        let late = MerchantPolicy {
            late_payment: Some(Disposal::Review),
            tolerance: Some(3),
            ..MerchantPolicy::default()
        };
        let with_rule = Merchant { policy: late, ..both.clone() };
        assert_eq!(change(&both, &with_rule).await, Written::Now);
        assert_eq!(change(&both, &suspended).await, Written::Raced);
        assert_eq!(store.merchant(&demo()).await.unwrap(), with_rule);
    });
}

#[test]
fn what_could_not_be_paid_is_paid_with_the_next_create() {
    simulate(1, async || {
        let world = World::new().await;
        let merchant = Merchant { creates_per_second: 1, burst: 40, ..Merchant::default() };
        store(&world).set_merchant(&demo(), &merchant).await.unwrap();
        world.create("u_1", MINOR, "first").await;
        world.pass(60).await;
        let away = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = away.clone();
        let faults = Faults::new(world.clock().clone(), move |call| {
            let away = seen.load(std::sync::atomic::Ordering::Relaxed);
            if away && call.operation == "UpdateItem" { Fault::Throttle } else { Fault::None }
        });
        let functions = world.instance(&faults, 1);
        // Updates: of the order after the provider's answer, and of the bucket.
        let mut updates = Vec::new();
        for number in 0..9 {
            away.store(number == 3, std::sync::atomic::Ordering::Relaxed);
            let before = faults.log().len();
            let request = world.create_request("u_1", MINOR, &format!("k-{number}"));
            world.send_to(&functions, &request).await;
            let log = faults.log();
            let made = log[before..].iter().filter(|entry| entry.call.ends_with("UpdateItem"));
            updates.push(made.filter(|entry| entry.status == 200).count());
        }
        assert_eq!(updates, [1, 1, 1, 0, 2, 1, 1, 1, 2]);
    });
}
