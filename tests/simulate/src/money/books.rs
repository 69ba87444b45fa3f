//! The books of such a run, step by step: what an order, a payment and a decision may become. Written down once
//! more, against the providers' truth; not read from the code under test.

use std::collections::{BTreeMap, BTreeSet};

use recharge_local::stack::PAYPROTOCOL;
use serde_json::Value;

use super::Funds;
use super::check::key_of_statement;
use crate::books::{Changed, Key, history, number, text};

/// What was wrong besides the transitions that every order makes.
pub fn check(
    change: &Changed,
    rows: &BTreeMap<Key, Value>,
    funds: &Funds,
    found: &mut Vec<String>,
) {
    match change.key.0.split('#').next().unwrap_or("") {
        "O" => check_order(change, rows, funds, found),
        "P" => check_booking(change, rows, funds, found),
        "K" => check_review(change, found),
        _ => {}
    }
}

/// Whether the order may go from one state to another here: parts leave it where it is, and people refuse.
pub fn allows(from: &str, to: &str, old: &Value, new: &Value) -> bool {
    let payments = |row: &Value| row["payments"]["L"].as_array().map_or(0, Vec::len);
    match (from, to) {
        ("PENDING", "PENDING") => payments(new) == payments(old) + 1,
        ("REVIEW", "FAILED") => last_step(new).is_some_and(|step| text(&step, "why") == "manual"),
        _ => false,
    }
}

fn last_step(row: &Value) -> Option<Value> {
    history(row).last().map(|step| step["M"].clone())
}

/// The payments of an order's row: id, fate, amount.
pub fn payments(row: &Value) -> Vec<(String, String, i128)> {
    let entries = row["payments"]["L"].as_array().cloned().unwrap_or_default();
    let read = |entry: &Value| {
        let entry = &entry["M"];
        (text(entry, "id").to_owned(), text(entry, "fate").to_owned(), number(entry, "got"))
    };
    entries.iter().map(read).collect()
}

/// The key of the payment `id` of an order's row.
pub fn key_of(row: &Value, id: &str) -> String {
    format!("{}#{}#{id}", text(row, "provider"), text(row, "account"))
}

/// What may become of a payment: what is credited, credited elsewhere or refused stays so.
const FATES: [(&str, &[&str]); 6] = [
    ("H", &["C", "R", "X", "E"]),
    ("R", &["C", "X", "E"]),
    ("A", &["E", "X", "C"]),
    ("C", &[]),
    ("E", &[]),
    ("X", &[]),
];

fn check_order(
    change: &Changed,
    rows: &BTreeMap<Key, Value>,
    funds: &Funds,
    found: &mut Vec<String>,
) {
    let id = &change.key.0;
    let Some(new) = &change.new else { return };
    let now = payments(new);
    let before = change.old.as_ref().map(payments).unwrap_or_default();
    for (number, (payment, fate, amount)) in before.iter().enumerate() {
        let Some((after, fate_after, amount_after)) = now.get(number) else {
            found.push(format!("I16: {id} has lost the payment {payment}"));
            continue;
        };
        let fates = FATES.iter().find(|(from, _)| from == fate).map_or(&[][..], |(_, to)| to);
        let moves = fate == fate_after || fates.contains(&fate_after.as_str());
        if payment != after || amount != amount_after || !moves {
            let what = format!("{payment} {fate} {amount} to {after} {fate_after} {amount_after}");
            found.push(format!("I16: {id} changed a payment: {what}"));
        }
    }
    let by_hand = text(new, "reason") == "manual";
    for (payment, fate, amount) in &now[before.len().min(now.len())..] {
        match funds.get(&key_of(new, payment)) {
            None => found.push(format!("I3: {id} has {payment}, which nobody has paid")),
            Some(paid) if !paid.is_said(*amount) || !paid.is_listed => {
                found.push(format!("I3: {id} has {payment} with {amount}, really {paid:?}"));
            }
            // A person may credit it by way of any order of the merchant: noted here, booked with its own.
            Some(paid) if !by_hand && fate != "E" && paid.owner != owner(new) => {
                found.push(format!("I11: {id} has {payment}, which is of {:?}", paid.owner));
            }
            Some(_) => {}
        }
    }
    let sum = |fates: &[&str]| -> i128 {
        let chosen = now.iter().filter(|(_, fate, _)| fates.contains(&fate.as_str()));
        chosen.map(|(_, _, amount)| amount).sum()
    };
    if number(new, "credited") != sum(&["C"]) {
        let credited = number(new, "credited");
        found.push(format!("I2: {id} credits {credited}, its payments are {now:?}"));
    }
    // Received is what came for the order itself; what it had no need of is beside it.
    let received = number(new, "received");
    if received < sum(&["H", "C", "R"]) || received > sum(&["H", "C", "R", "X", "E"]) {
        found.push(format!("I1: {id} received {received}, its payments are {now:?}"));
    }
    if text(new, "state") == "SUCCESS" && now.iter().any(|(_, f, _)| f == "H" || f == "R") {
        found.push(format!("I9: {id} is SUCCESS and still holds {now:?}"));
    }
    for (payment, _, _) in now.iter().filter(|(_, fate, _)| fate == "C") {
        let key = key_of(new, payment);
        let also = |(other, row): &(&Key, &Value)| {
            other.0 != *id
                && payments(row).iter().any(|(p, f, _)| f == "C" && key_of(row, p) == key)
        };
        let orders = ("O#".to_owned(), String::new())..("O$".to_owned(), String::new());
        if let Some((other, _)) = rows.range(orders).find(also) {
            found.push(format!("I2: {key} is credited with {id} and with {}", other.0));
        }
    }
}

fn owner(row: &Value) -> (String, String) {
    (text(row, "merchant").to_owned(), text(row, "user").to_owned())
}

fn check_booking(
    change: &Changed,
    rows: &BTreeMap<Key, Value>,
    funds: &Funds,
    found: &mut Vec<String>,
) {
    let id = &change.key.0;
    // What no money stands behind gives way to what people book.
    let is_new = change.old.as_ref().is_none_or(|old| {
        let by_hand = change.new.as_ref().is_some_and(|new| text(new, "source") == "operator");
        let still = change.new.as_ref().is_some_and(|new| text(new, "kind") == "ASIDE");
        text(old, "kind") == "ASIDE" && (by_hand || still)
    });
    let (Some(new), true) = (&change.new, is_new) else {
        found.push(format!("I2: the payment {id} was changed: {:?}", change.new));
        return;
    };
    let key = id.trim_start_matches("P#");
    let amount = number(new, "amount");
    let kind = text(new, "kind");
    if kind == "REFUND" || kind == "ASIDE" {
        return;
    }
    check_people(id, new, rows, found);
    check_transfer(id, new, (rows, funds), found);
    check_words(id, new, rows, found);
    let order_key = (format!("O#{}", text(new, "order")), "O".to_owned());
    let Some(order) = rows.get(&order_key) else {
        found.push(format!("I3: {id} is of an order that is not there"));
        return;
    };
    for name in ["merchant", "user", "currency", "provider"] {
        if order[name] != new[name] {
            found.push(format!("I3: {name} of {id} is not its order's"));
        }
    }
    let wanted = if kind == "HOLD" { "H" } else { "C" };
    let own = payments(order).into_iter().find(|(payment, _, _)| key_of(order, payment) == key);
    match (kind, funds.get(key)) {
        ("HOLD", Some(paid)) if paid.is_said(amount) => {}
        ("HOLD", paid) => found.push(format!("I3: {id} holds {amount}, really {paid:?}")),
        _ if text(order, "state") != "SUCCESS" || number(order, "credited") != amount => {
            found.push(format!("I9: {id} credits {amount}, its order stands as {order}"));
        }
        _ => {}
    }
    // A statement that time is over, or that the provider has failed, can be what a person credits by.
    let by_payment = own.as_ref().is_none_or(|(_, fate, _)| fate == wanted);
    if !by_payment || (own.is_none() && funds.get(key).is_some()) {
        found.push(format!("I2: {id} is {kind}, its order has it as {own:?}"));
    }
    let of_order =
        |row: &&Value| text(row, "kind") == "CREDIT" && text(row, "order") == text(new, "order");
    let bookings = ("P#".to_owned(), String::new())..("Q".to_owned(), String::new());
    if kind == "CREDIT" && rows.range(bookings).map(|(_, row)| row).filter(of_order).count() > 1 {
        found.push(format!("I2: the order {} is credited twice", text(new, "order")));
    }
}

/// From this amount on two people decide.
const TWO_FROM: i128 = 1_000_000_000;

fn is_by_two(review: &Value) -> bool {
    let second = text(review, "secondBy");
    !second.is_empty() && second != text(review, "ruledBy")
}

/// The decisions to credit that end with this booking.
fn decisions<'a>(
    new: &Value,
    rows: &'a BTreeMap<Key, Value>,
) -> impl Iterator<Item = &'a Value> + Clone {
    let at = number(new, "at");
    let reviews = ("K#".to_owned(), String::new())..("K$".to_owned(), String::new());
    rows.range(reviews)
        .map(|(_, row)| row)
        .filter(move |row| text(row, "state") == "CREDITED" && number(row, "closedAt") == at)
}

/// What people credit, with all that it takes along, is in the same write as the end of a review; much takes two.
fn check_people(id: &str, new: &Value, rows: &BTreeMap<Key, Value>, found: &mut Vec<String>) {
    if text(new, "source") != "operator" {
        return;
    }
    let amount = number(new, "amount");
    let ends = decisions(new, rows);
    if !ends.clone().any(|row| amount < TWO_FROM || is_by_two(row)) {
        let ends: Vec<&Value> = ends.collect();
        found.push(format!("I3: {id} credits {amount} by {ends:?}"));
    }
}

/// A transfer is credited by itself once at most, and not after it was paid back, whatever its provider calls it; once more by
/// two people together.
fn check_transfer(
    id: &str,
    new: &Value,
    (rows, funds): (&BTreeMap<Key, Value>, &Funds),
    found: &mut Vec<String>,
) {
    let transfer_of =
        |id: &str| funds.get(id.trim_start_matches("P#")).and_then(|paid| paid.transfer);
    let Some(transfer) = transfer_of(id) else { return };
    let bookings = ("P#".to_owned(), String::new())..("Q".to_owned(), String::new());
    let other = rows.range(bookings).find(|((other, _), row)| {
        *other != id
            && ["CREDIT", "REFUND"].contains(&text(row, "kind"))
            && transfer_of(other).as_ref() == Some(&transfer)
    });
    let Some(((other, _), _)) = other else { return };
    if text(new, "source") != "operator" {
        found.push(format!("I2: {id} credits by itself the transfer of {other}"));
    } else if !decisions(new, rows).any(is_by_two) {
        found.push(format!("I2: one person credits by {id} the transfer of {other}"));
    }
}

/// What cannot be said of a deposit that is credited.
const AGAINST: [&str; 6] = [
    "amount_conflict",
    "declined_late",
    "nothing_received",
    "same_transfer",
    "unlisted_currency",
    "wrong_user",
];

/// A deposit of which its provider has said two things is credited by people alone.
fn check_words(id: &str, new: &Value, rows: &BTreeMap<Key, Value>, found: &mut Vec<String>) {
    let is_deposit = id.starts_with(&format!("P#{PAYPROTOCOL}#"));
    if !is_deposit || text(new, "source") == "operator" {
        return;
    }
    let reviews = ("K#".to_owned(), String::new())..("K$".to_owned(), String::new());
    let against = rows.range(reviews).map(|(_, row)| row).find(|row| {
        AGAINST.contains(&text(row, "why")) && id.trim_start_matches("P#") == key_of_statement(row)
    });
    if let Some(against) = against {
        found.push(format!("I3: {id} is credited by itself against {against}"));
    }
}

/// A review goes its way to one end, and large amounts take two.
fn check_review(change: &Changed, found: &mut Vec<String>) {
    let (id, empty) = (&change.key.0, Value::Null);
    let new = change.new.as_ref().unwrap_or(&empty);
    let old = change.old.as_ref().unwrap_or(&empty);
    let state = |row: &Value| match text(row, "state") {
        "" => "OPEN".to_owned(),
        state => state.to_owned(),
    };
    let closed = BTreeSet::from(["CREDITED", "REJECTED", "REFUND"]);
    let (from, to) = (state(old), state(new));
    // What was rejected while no order waited for it is open again when one does.
    let said_again = (from.as_str(), to.as_str()) == ("REJECTED", "OPEN")
        && new.get("seenAgainAt").is_some()
        && new.get("closedAt").is_none();
    if closed.contains(from.as_str()) && from != to && !said_again {
        found.push(format!("I4: {id} went from {from} to {to}"));
    }
    let alone = !is_by_two(new);
    let decided = closed.contains(to.as_str()) || to == "APPROVED";
    if decided && alone && number(new, "amount") >= TWO_FROM {
        found.push(format!("I3: {id} is {to} by one person: {new}"));
    }
}
