//! Why the money is or is not there: what `GET /recharges/{orderId}/explain` says of every situation in
//! which a client may ask.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use recharge_local::sim::trader::Mode;
use recharge_shared::domain::{AmountPolicy, Merchant, MerchantId, MerchantPolicy};
use recharge_shared::store::Store;
use recharge_tests::World;
use recharge_tests::world::simulate;
use serde_json::Value;

const MINOR: i64 = 5_000_000;

async fn order(world: &World, key: &str) -> String {
    let created = world.create("u_1", MINOR, key).await;
    let id = created.json["orderId"].as_str().map(str::to_owned);
    // An order whose provider could not be reached is there all the same.
    id.unwrap_or_else(|| world.books().orders.last().unwrap().id.clone())
}

async fn explain(world: &World, order: &str) -> Value {
    let path = format!("/recharges/{order}/explain");
    let answered = world.send(&world.signed(("GET", &path), "", "")).await;
    assert_eq!(answered.status, 200, "{}", answered.text);
    answered.json
}

/// Situation, what the provider says, what happens next, what the client can do first.
async fn check(world: &World, order: &str, wanted: &str) {
    let explained = explain(world, order).await;
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let seen = [
        text(&explained["situation"]),
        text(&explained["provider"]["says"]),
        text(&explained["next"]["what"]),
        text(&explained["clientCan"][0]),
    ];
    assert_eq!(seen.join(" "), wanted, "{explained}");
    assert!(explained["explanation"].as_str().unwrap().len() > 20, "{explained}");
    let since = explained["provider"]["since"].as_str().unwrap();
    assert!(since.starts_with("2027-"), "{explained}");
}

#[test]
fn an_order_that_nobody_pays() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "k-1").await;
        check(&world, &order, "not_paid waiting ask_provider wait").await;
        let at = explain(&world, &order).await["next"]["at"].clone();
        assert_eq!(at, "2027-01-15T08:00:30Z");
        world.let_pass(5).await;
        check(&world, &order, "not_paid waiting ask_provider wait").await;
        world.pass(1_500).await;
        check(&world, &order, "time_over waiting expire wait").await;
        let sentence = explain(&world, &order).await["explanation"].clone();
        assert_eq!(
            sentence,
            "The time is over; the order expires after one last question, or in ten minutes if it gets no answer."
        );
        world.let_pass(2).await;
        check(&world, &order, "expired waiting ask_provider create_another").await;
        let sentence = explain(&world, &order).await["explanation"].as_str().unwrap().to_owned();
        assert!(sentence.contains("still asked"), "{sentence}");
    });
}

#[test]
fn a_provider_that_is_down_and_comes_back() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "k-1").await;
        world.trader.set_mode(Mode::Down);
        world.let_pass(2).await;
        check(&world, &order, "provider_silent silent ask_provider wait").await;
        let since = explain(&world, &order).await["provider"]["since"].clone();
        world.let_pass(4).await;
        assert_eq!(
            explain(&world, &order).await["provider"]["since"],
            since,
            "since the first time"
        );
        world.trader.set_mode(Mode::Ok);
        world.let_pass(6).await;
        check(&world, &order, "not_paid waiting ask_provider wait").await;
    });
}

#[test]
fn a_create_that_stopped_half_way() {
    simulate(1, async || {
        let world = World::new().await;
        world.trader.set_mode(Mode::LostAnswer);
        let order = order(&world, "k-1").await;
        check(&world, &order, "half_done nothing place wait").await;
        let can = explain(&world, &order).await["clientCan"].clone();
        assert_eq!(can, serde_json::json!(["wait", "repeat_request", "cancel"]));
        world.trader.set_mode(Mode::Ok);
        world.let_pass(3).await;
        check(&world, &order, "not_paid waiting ask_provider wait").await;
    });
}

#[test]
fn a_provider_that_is_never_reached() {
    simulate(1, async || {
        let world = World::new().await;
        world.trader.set_mode(Mode::Down);
        let order = order(&world, "k-1").await;
        check(&world, &order, "half_done nothing place wait").await;
        world.pass(1_800).await;
        world.let_pass(3).await;
        assert_eq!(explain(&world, &order).await["situation"], "time_over");
        world.let_pass(10).await;
        let explained = explain(&world, &order).await;
        assert_eq!(
            (&explained["situation"], &explained["reason"]),
            (&"never_placed".into(), &"provider_unreachable".into())
        );
    });
}

#[test]
fn a_forged_callback_explains_nothing_and_changes_nothing() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "k-1").await;
        let before = explain(&world, &order).await;
        let mut forged = world.pay(&order, None);
        let last = forged.body.len() - 1;
        forged.body[last] ^= 1;
        assert_eq!(world.deliver(&forged).await.status, 401);
        world.settle().await;
        assert_eq!(explain(&world, &order).await, before);
        assert!(before["explanation"].as_str().unwrap().contains("signed"), "{before}");
    });
}

#[test]
fn money_that_came_late_says_so() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "k-1").await;
        world.let_pass(35).await;
        check(&world, &order, "expired waiting ask_provider create_another").await;
        world.deliver(&world.pay(&order, None)).await;
        world.settle().await;
        check(&world, &order, "credited paid - wait").await;
        let sentence = explain(&world, &order).await["explanation"].clone();
        assert_eq!(sentence, "5.000000 USDT is credited, after the order had ended.");
    });
}

#[test]
fn a_part_whose_time_is_over_says_what_is_missing() {
    simulate(1, async || {
        let world = World::new().await;
        let aws = &world.stack.ground.aws;
        let store = Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone());
        let amount = Some(AmountPolicy::Accumulate);
        let policy = MerchantPolicy { amount, ..MerchantPolicy::default() };
        let merchant = Merchant { policy, ..Merchant::default() };
        store.set_merchant(&MerchantId::parse("m_demo").unwrap(), &merchant).await.unwrap();
        let order = order(&world, "k-1").await;
        world.deliver(&world.pay(&order, Some(4_000_000))).await;
        world.settle().await;
        check(&world, &order, "partly_paid paid ask_provider wait").await;
        world.pass(1_800).await;
        let explained = explain(&world, &order).await;
        assert_eq!(explained["situation"], "time_over");
        assert_eq!(
            explained["explanation"],
            "The time is over and only 4.000000 of 5.000000 USDT has arrived: it goes to a person."
        );
    });
}

#[test]
fn orders_that_ended() {
    simulate(1, async || {
        let world = World::new().await;
        let paid = order(&world, "k-1").await;
        world.deliver(&world.pay(&paid, None)).await;
        world.settle().await;
        check(&world, &paid, "credited paid - wait").await;
        let cancelled = order(&world, "k-2").await;
        let placed_at = explain(&world, &cancelled).await["provider"]["since"].clone();
        world.pass(60).await;
        let path = format!("/recharges/{cancelled}/cancel");
        world.send(&world.signed(("POST", &path), "", "")).await;
        check(&world, &cancelled, "cancelled waiting ask_provider create_another").await;
        assert_eq!(explain(&world, &cancelled).await["provider"]["since"], placed_at);
        world.trader.set_mode(Mode::Reject);
        let refused = order(&world, "k-3").await;
        check(&world, &refused, "refused refused ask_provider create_another").await;
    });
}

#[test]
fn another_merchants_order_is_unknown() {
    simulate(1, async || {
        let world = World::new().await;
        let order = order(&world, "k-1").await;
        let path = format!("/recharges/{order}/explain");
        let other = recharge_local::call::API_KEYS[1];
        let answered = world.send(&world.signed_as(other, ("GET", &path), "", "")).await;
        assert_eq!(answered.status, 404);
    });
}
