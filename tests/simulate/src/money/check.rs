//! What must have come true of such a run: every order has ended, every payment is somewhere, and nobody has
//! more or less than what the providers received for them.

use std::collections::{BTreeMap, BTreeSet};

use recharge_local::books::{self, AccountKey};
use recharge_local::stack::PAYPROTOCOL;
use serde_json::Value;

use super::books::{key_of, payments};
use super::{Money, Paid};
use crate::books::{number, text};
use crate::sim::Sim;

/// What has not come true yet.
pub fn missing(sim: &Sim, money: &Money) -> Vec<String> {
    let polls = sim.plan.mode.polls();
    let mut missing = Vec::new();
    let places = sim.wire.books(|books| {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // The orders about whose money somebody is still to decide.
        let mut asked_about: BTreeSet<&str> = BTreeSet::new();
        for (_, row) in books.rows.iter().filter(|(key, _)| key.0.starts_with("K#")) {
            let is_open = !["CREDITED", "REJECTED", "REFUND"].contains(&text(row, "state"));
            let has_money = text(row, "kind") == "paid" || text(row, "why") == "incomplete";
            if is_open && has_money {
                asked_about.insert(text(row, "order"));
            }
        }
        for (id, row) in books.orders() {
            let state = text(row, "state");
            if polls && ["CREATED", "PENDING"].contains(&state) {
                missing.push(format!("I8: {id} is still {state}"));
            }
            if state == "REVIEW" && !asked_about.contains(id) {
                missing.push(format!("I8: {id} waits for a person, and nobody is asked"));
            }
            for (payment, fate, _) in payments(row) {
                places.entry(key_of(row, &payment)).or_default().push(format!("{fate} in {id}"));
            }
        }
        for (key, row) in &books.rows {
            if key.0.starts_with("K#") {
                if polls && text(row, "state") == "APPROVED" {
                    missing.push(format!("I5: the decision about {} is not carried out", key.0));
                }
                let place = format!("parked as {}", text(row, "why"));
                places.entry(key_of_statement(row)).or_default().push(place);
            }
        }
        places
    });
    for (key, paid) in money.funds.all() {
        if places.contains_key(&key) || is_excused(sim, &key, &paid) || is_beside(sim, &paid) {
            continue;
        }
        missing.push(format!("I9: {key} is nowhere: {paid:?}"));
    }
    for (key, paid) in money.funds.all() {
        if sim.plan.mode.calls_back() && paid.persists && !paid.is_heard {
            missing.push(format!("I5: the callback of {key} is not acknowledged"));
        }
    }
    missing
}

/// The key of the payment that a parked statement is about.
pub fn key_of_statement(row: &Value) -> String {
    format!("{}#{}#{}", text(row, "provider"), text(row, "account"), text(row, "paymentId"))
}

/// Whether nobody could know of it: the callbacks were not heard, and nobody asks.
fn is_excused(sim: &Sim, key: &str, paid: &Paid) -> bool {
    let mode = sim.plan.mode;
    let is_deposit = key.starts_with(PAYPROTOCOL);
    !mode.polls() && !paid.is_heard && (is_deposit || !mode.calls_back() || !paid.persists)
}

/// Whether it came to an order that another payment has settled, of which the poller asks no more.
fn is_beside(sim: &Sim, paid: &Paid) -> bool {
    let Some(order) = paid.order.as_ref().filter(|_| !paid.persists && !paid.is_heard) else {
        return false;
    };
    let key = (format!("O#{order}"), "O".to_owned());
    sim.wire.books(|books| {
        books.rows.get(&key).is_some_and(|row| {
            text(row, "state") == "SUCCESS" && payments(row).iter().any(|(_, fate, _)| fate == "C")
        })
    })
}

/// I1 and I3 to the unit: what users have is what the providers received, each payment once.
pub fn against_truth(sim: &Sim, money: &Money, books: &books::Books) -> Vec<String> {
    let mut found = Vec::new();
    let mut wanted: BTreeMap<AccountKey, i128> = BTreeMap::new();
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    sim.wire.books(|kept| {
        for (id, row) in kept.orders() {
            let owner = (
                text(row, "merchant").to_owned(),
                text(row, "user").to_owned(),
                text(row, "currency").to_owned(),
            );
            for (payment, _, got) in payments(row).iter().filter(|(_, fate, _)| fate == "C") {
                let key = key_of(row, payment);
                let paid = money.funds.get(&key);
                // Of two amounts under its signature the provider's books cannot say which one was meant.
                let amount = |paid: Paid| if paid.is_said(*got) { *got } else { paid.minor };
                *wanted.entry(owner.clone()).or_default() += paid.map_or(0, amount);
                *times.entry(key).or_default() += 1;
            }
            if text(row, "state") == "SUCCESS" && number(row, "credited") == 0 {
                found.push(format!("I9: {id} is SUCCESS without money"));
            }
        }
    });
    for (key, times) in times.iter().filter(|(_, times)| **times > 1) {
        found.push(format!("I2: {key} is credited {times} times"));
    }
    let held: BTreeMap<AccountKey, i128> =
        books.balances.iter().map(|(account, held)| (account.clone(), held.amount)).collect();
    if wanted != held {
        found.push(format!("I3: balances {held:?}, by the providers' truth {wanted:?}"));
    }
    found
}
