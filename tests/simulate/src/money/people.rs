//! People who decide about what was put aside: alone or in twos, twice, at once, and not always wisely.

use std::rc::Rc;

use recharge_local::call::{ADMIN_KEYS, API_KEYS};
use serde_json::{Value, json};

use super::Money;
use super::actors::say_failed;
use crate::sim::Sim;

/// Whoever runs the stack: sees everybody's reviews.
const OPERATORS: [usize; 2] = [2, 3];

/// Looks at the reviews from time to time and decides about some of them, until the run is over.
pub async fn operator(sim: Rc<Sim>, money: Money) {
    while !sim.is_over.get() {
        sim.nap(200_000).await;
        decide_once(&sim).await;
        let orders: Vec<String> = sim.clients.borrow().orders.values().cloned().collect();
        if sim.plan.mode.calls_back() && !orders.is_empty() && sim.dice.chance(150) {
            say_failed(&sim, &money, sim.dice.pick::<String>(&orders)).await;
        }
    }
}

async fn decide_once(sim: &Sim) {
    let reader = ADMIN_KEYS[OPERATORS[0]];
    let request = sim.world.signed_as(reader, ("GET", "/admin/reviews"), "", "");
    let Some(answered) = sim.request(&request).await else { return };
    let reviews = answered.json["reviews"].as_array().cloned().unwrap_or_default();
    if reviews.is_empty() {
        return;
    }
    let review = sim.dice.pick(&reviews).clone();
    let path = format!("/admin/reviews/{}/resolve", review["reviewId"].as_str().unwrap_or(""));
    let decision = decision(sim, &review).to_string();
    let mut deciders = vec![OPERATORS[0]];
    if sim.dice.chance(600) {
        deciders.push(OPERATORS[1]);
    }
    if sim.dice.chance(300) {
        deciders.push(*sim.dice.pick(&OPERATORS));
    }
    let decided = deciders.into_iter().map(|who| {
        let path = &path;
        let decision = if sim.dice.chance(150) {
            self::decision(sim, &review).to_string()
        } else {
            decision.clone()
        };
        async move {
            sim.nap(3_000).await;
            let key = ADMIN_KEYS[who];
            sim.request(&sim.world.signed_as(key, ("POST", path), &decision, "")).await
        }
    });
    for answered in futures_util::future::join_all(decided).await.into_iter().flatten() {
        if ![202, 400, 404, 409, 429, 500, 503].contains(&answered.status) {
            sim.violation(format!("a decision was answered {}", answered.text));
        }
    }
}

/// Any decision, fit or not: the bundle has to refuse what does not fit.
fn decision(sim: &Sim, review: &Value) -> Value {
    let dice = &sim.dice;
    let own = review["orderId"].as_str().map(str::to_owned);
    let orders: Vec<String> = sim.clients.borrow().orders.values().cloned().collect();
    let order = match own {
        Some(own) if dice.chance(700) => Some(own),
        _ if orders.is_empty() => None,
        _ => Some(dice.pick(&orders).clone()),
    };
    let note = "looked at the chain";
    match (dice.below(10), order) {
        (0..=4, Some(order)) => json!({"action": "credit_order", "orderId": order, "note": note}),
        (5..=6, _) => {
            let merchant = API_KEYS[usize::from(dice.chance(500))].merchant;
            let user = format!("u_{}", dice.below(sim.plan.users));
            json!({"action": "credit_user", "merchant": merchant, "userId": user, "note": note})
        }
        (7..=8, _) => json!({"action": "refund", "note": note}),
        _ => json!({"action": "reject", "note": note}),
    }
}
