//! The books as they change: after every applied write the touched rows are read again and held against what
//! they were. What must hold at any time is checked here, step by step; the first wrong step is named.

use std::collections::BTreeMap;

use recharge_local::aws::DynamoDb;
use serde_json::{Value, json};

use crate::money::{Funds, books as money};
use crate::provider::Truth;

/// A row's key.
pub type Key = (String, String);

/// The rows of the table, and what was wrong with them.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// The rows as of now.
    pub rows: BTreeMap<Key, Value>,
    /// What was wrong, in the order in which it happened.
    pub violations: Vec<String>,
    /// How many steps were checked.
    pub steps: u64,
    /// Why statements were parked, how often.
    pub parked: BTreeMap<String, u64>,
    /// Transitions that orders made, how often.
    pub transitions: BTreeMap<String, u64>,
    /// Bookings by kind, and decisions, how often.
    pub money: BTreeMap<String, u64>,
    /// Whether the policy credits the exact amount only.
    pub is_exact: bool,
    /// The providers' truth, where payments are not orders.
    pub funds: Option<Funds>,
}

/// The transitions that an order may make, written down once more: not read from the code under test.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("CREATED", &["PENDING", "FAILED", "SUCCESS", "REVIEW", "CANCELLED", "EXPIRED"]),
    ("PENDING", &["FAILED", "SUCCESS", "REVIEW", "CANCELLED", "EXPIRED"]),
    ("REVIEW", &["SUCCESS"]),
    ("SUCCESS", &[]),
    ("FAILED", &["SUCCESS", "REVIEW"]),
    ("CANCELLED", &["SUCCESS", "REVIEW"]),
    ("EXPIRED", &["SUCCESS", "REVIEW"]),
];

/// Reasons for parking that this provider cannot cause: its payments are its orders.
const IMPOSSIBLE: [&str; 6] = [
    "second_payment",
    "under_review",
    "wrong_account",
    "wrong_currency",
    "unlisted_currency",
    "unrecognised",
];

/// What was asked for never changes.
const IMMUTABLE: [&str; 11] = [
    "merchant",
    "user",
    "amount",
    "currency",
    "provider",
    "account",
    "createdAt",
    "expiresAt",
    "fingerprint",
    "callbackUrl",
    "trace",
];

/// A text member of a row.
pub fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name]["S"].as_str().unwrap_or("")
}

/// A numeric member of a row; 0 where there is none.
pub fn number(row: &Value, name: &str) -> i128 {
    row[name]["N"].as_str().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The transitions of an order's row.
pub fn history(row: &Value) -> Vec<Value> {
    row["history"]["L"].as_array().cloned().unwrap_or_default()
}

/// A row that a request has changed.
#[derive(Debug)]
pub struct Changed {
    /// Its key.
    pub key: Key,
    /// Before.
    pub old: Option<Value>,
    /// Afterwards.
    pub new: Option<Value>,
}

impl Books {
    /// Empty books under a policy; with the truth of providers whose payments are not orders.
    pub fn new(is_exact: bool, funds: Option<Funds>) -> Books {
        Books { is_exact, funds, ..Books::default() }
    }

    /// The request has just been applied: reads what it touched and checks the step.
    pub fn observe(
        &mut self,
        database: &DynamoDb,
        truth: &Truth,
        (target, body): (&str, &[u8]),
        mut say: impl FnMut(&str),
    ) {
        let keys = touched(target, body);
        let mut changes = Vec::new();
        for (table, key) in keys {
            let new = read(database, &table, &key);
            let old = match &new {
                Some(row) => self.rows.insert(key.clone(), row.clone()),
                None => self.rows.remove(&key),
            };
            if old != new {
                changes.push(Changed { key, old, new });
            }
        }
        if changes.is_empty() {
            return;
        }
        self.steps += 1;
        let mut found = Vec::new();
        for change in &changes {
            say(&describe(change));
            match change.key.0.split('#').next().unwrap_or("") {
                "O" => self.check_order(change, truth, &mut found),
                "P" if self.funds.is_none() => self.check_payment(change, truth, &mut found),
                "K" if change.old.is_none() => self.count_parked(change, &mut found),
                _ => {}
            }
            self.count_money(change);
            if let Some(funds) = &self.funds {
                money::check(change, &self.rows, funds, &mut found);
            }
        }
        self.check_money(&changes, &mut found);
        for violation in found {
            say(&format!("VIOLATION {violation}"));
            self.violations.push(violation);
        }
    }

    /// Bookings by their kind, and what became of reviews.
    fn count_money(&mut self, Changed { key, old, new }: &Changed) {
        let Some(new) = new else { return };
        let state = |row: &Value| match text(row, "state") {
            "" => "OPEN".to_owned(),
            state => state.to_owned(),
        };
        let what = match (key.0.split('#').next(), old) {
            (Some("P"), None) => format!("booked: {}", text(new, "kind")),
            (Some("K"), Some(old)) if state(old) != state(new) => {
                format!("review: {} to {}", state(old), state(new))
            }
            _ => return,
        };
        *self.money.entry(what).or_default() += 1;
    }

    fn count_parked(&mut self, change: &Changed, found: &mut Vec<String>) {
        let reason = change.new.as_ref().map_or("", |row| text(row, "why"));
        if self.funds.is_none() && IMPOSSIBLE.contains(&reason) {
            let id = &change.key.0;
            found.push(format!("I9: {id} was parked as {reason}, which it cannot be"));
        }
        *self.parked.entry(reason.to_owned()).or_default() += 1;
    }

    /// I4, I6, I16 on one order's row.
    fn check_order(&mut self, change: &Changed, truth: &Truth, found: &mut Vec<String>) {
        let id = &change.key.0;
        let Some(new) = &change.new else {
            found.push(format!("I6: the order {id} was deleted"));
            return;
        };
        let Some(old) = &change.old else {
            self.check_birth((id, new), truth, found);
            return;
        };
        for name in IMMUTABLE {
            if old[name] != new[name] {
                found.push(format!("I6: {name} of {id} changed: {} to {}", old[name], new[name]));
            }
        }
        let (from, to) = (text(old, "state"), text(new, "state"));
        let (before, after) = (history(old), history(new));
        let steps = number(new, "version") - number(old, "version");
        let is_appended = after.len() >= before.len() && after[..before.len()] == before[..];
        let moved = after.len().saturating_sub(before.len());
        if !is_appended || usize::try_from(steps) != Ok(moved) || moved > 1 {
            found.push(format!("I16: {id} went from {from} to {to} and its history does not tell"));
        }
        if moved == 1 {
            let step = &after[after.len() - 1]["M"];
            if (text(step, "from"), text(step, "to")) != (from, to) {
                found.push(format!("I16: {id} went from {from} to {to}, its history says {step}"));
            }
        }
        if from != to {
            *self.transitions.entry(format!("{from} to {to}")).or_default() += 1;
            let allowed = ALLOWED.iter().find(|(state, _)| *state == from);
            let allowed = allowed.is_some_and(|(_, next)| next.contains(&to));
            if !allowed && !self.allows((from, to), (old, new)) {
                found.push(format!("I4: {id} went from {from} to {to}"));
            }
        } else if moved > 0 && !self.allows((from, to), (old, new)) {
            found.push(format!("I4: {id} went from {from} to itself"));
        }
        if from == "SUCCESS" {
            let bare = |row: &Value| {
                let mut row = row.clone();
                // Payments that it had no need of are noted with it.
                let noted: &[&str] = if self.funds.is_some() { &["payments"] } else { &[] };
                for name in ["dueAt", "dueShard"].iter().chain(noted).copied() {
                    if let Some(members) = row.as_object_mut() {
                        members.remove(name);
                    }
                }
                row
            };
            if bare(old) != bare(new) {
                found.push(format!("I4: {id} changed after SUCCESS: {old} to {new}"));
            }
        }
    }

    fn allows(&self, (from, to): (&str, &str), (old, new): (&Value, &Value)) -> bool {
        self.funds.is_some() && money::allows(from, to, old, new)
    }

    /// I4 and I7 on an order that is new.
    fn check_birth(&self, (id, new): (&str, &Value), truth: &Truth, found: &mut Vec<String>) {
        let is_open = text(new, "state") == "CREATED" && number(new, "version") == 1;
        let is_open = is_open && number(new, "credited") == 0 && history(new).is_empty();
        // An order that its payment makes is paid from the first.
        let is_paid = text(new, "state") == "SUCCESS" && number(new, "version") == 2;
        let is_paid = is_paid && number(new, "credited") > 0 && history(new).len() == 1;
        let is_born = is_open || (is_paid && self.funds.is_some());
        if !is_born {
            found.push(format!("I4: the order {id} was born as {new}"));
        }
        if truth.of(id.trim_start_matches("O#")).is_some() {
            found.push(format!("I7: the provider knew {id} before it was written down"));
        }
    }

    /// I2 and I3 on one payment's row.
    fn check_payment(&self, change: &Changed, truth: &Truth, found: &mut Vec<String>) {
        let id = &change.key.0;
        let (Some(new), None) = (&change.new, &change.old) else {
            found.push(format!("I2: the payment {id} was changed: {:?}", change.new));
            return;
        };
        let order_id = text(new, "order");
        let amount = number(new, "amount");
        let others =
            self.rows.range(("P#".to_owned(), String::new())..("Q".to_owned(), String::new()));
        if others.filter(|(key, row)| **key != change.key && text(row, "order") == order_id).count()
            > 0
        {
            found.push(format!("I2: the order {order_id} was credited before, now again by {id}"));
        }
        let paid = truth.of(order_id).and_then(|known| known.paid);
        if paid != Some(amount) {
            found.push(format!("I3: {id} credits {amount}, the provider says {paid:?}"));
        }
        let key = (format!("O#{order_id}"), "O".to_owned());
        let Some(order) = self.rows.get(&key) else {
            found.push(format!("I3: {id} credits an order that is not there"));
            return;
        };
        if text(order, "state") != "SUCCESS" || number(order, "credited") != amount {
            found.push(format!("I9: {id} credits {amount}, its order stands as {order}"));
        }
        if self.is_exact && number(order, "amount") != amount {
            found.push(format!(
                "I3: {id} credits {amount}, the order was about {}",
                number(order, "amount")
            ));
        }
        for name in ["merchant", "user", "currency", "provider"] {
            if order[name] != new[name] {
                found.push(format!("I3: {name} of {id} is not its order's"));
            }
        }
    }

    /// I1: a balance changes with a new payment, and by it, and never otherwise.
    fn check_money(&self, changes: &[Changed], found: &mut Vec<String>) {
        let mut deltas: BTreeMap<(String, String), (i128, i128)> = BTreeMap::new();
        for Changed { key, old, new } in changes {
            let (kind, row) = (key.0.split('#').next().unwrap_or(""), new.as_ref());
            if kind == "U" && key.1.starts_with("B#") {
                let value = |row: Option<&Value>, name| row.map_or(0, |row| number(row, name));
                let entry = deltas.entry(key.clone()).or_default();
                entry.0 += value(row, "balance") - value(old.as_ref(), "balance");
                entry.1 += value(row, "entries") - value(old.as_ref(), "entries");
            }
            let is_credit = row.is_some_and(|row| text(row, "kind") == "CREDIT");
            let is_new = old.as_ref().is_none_or(|old| text(old, "kind") == "ASIDE");
            if let ("P", Some(row), true, true) = (kind, row, is_new, is_credit) {
                let account = format!("U#{}#{}", text(row, "merchant"), text(row, "user"));
                let currency = format!("B#{}", text(row, "currency"));
                let entry = deltas.entry((account, currency)).or_default();
                entry.0 -= number(row, "amount");
                entry.1 -= 1;
            }
        }
        for ((account, currency), (amount, entries)) in deltas {
            if (amount, entries) != (0, 0) {
                let what = format!("{amount} in {entries} entries more than was credited");
                found.push(format!("I1: {account} {currency} has {what}"));
            }
        }
    }

    /// The orders' rows, by id.
    pub fn orders(&self) -> impl Iterator<Item = (&str, &Value)> {
        let range = ("O#".to_owned(), String::new())..("O$".to_owned(), String::new());
        self.rows.range(range).map(|(key, row)| (key.0.trim_start_matches("O#"), row))
    }

    /// When something is due next, milliseconds of the clock.
    pub fn next_due_ms(&self) -> Option<i64> {
        let due = self.rows.values().filter(|row| row.get("dueAt").is_some());
        due.filter_map(|row| i64::try_from(number(row, "dueAt")).ok()).min()
    }
}

fn describe(Changed { key, old, new }: &Changed) -> String {
    let member = |row: &Option<Value>, name: &str| {
        let value = row.as_ref().map(|row| row[name].clone()).unwrap_or_default();
        let value = value["S"].as_str().or_else(|| value["N"].as_str()).unwrap_or("-");
        value.to_owned()
    };
    let named = ["state", "credited", "balance", "amount", "dueAt", "why"].map(|name| {
        match (member(old, name), member(new, name)) {
            (old, new) if old == new => String::new(),
            (old, new) => format!(" {name} {old} -> {new}"),
        }
    });
    format!("{}/{}{}", key.0, key.1, named.concat())
}

/// The table and the keys that a request writes.
fn touched(target: &str, body: &[u8]) -> Vec<(String, Key)> {
    let operation = target.rsplit('.').next().unwrap_or("");
    if !["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"].contains(&operation) {
        return Vec::new();
    }
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let key = |write: &Value| {
        let key = if write["Item"].is_object() { &write["Item"] } else { &write["Key"] };
        let table = write["TableName"].as_str().unwrap_or("").to_owned();
        (table, (text(key, "pk").to_owned(), text(key, "sk").to_owned()))
    };
    match request["TransactItems"].as_array() {
        Some(items) => {
            let writes = items.iter().filter_map(|item| item.as_object()?.values().next());
            writes.map(key).collect()
        }
        None => vec![key(&request)],
    }
}

fn read(database: &DynamoDb, table: &str, (pk, sk): &Key) -> Option<Value> {
    let request = json!({
        "TableName": table, "ConsistentRead": true, "Key": {"pk": {"S": pk}, "sk": {"S": sk}},
    });
    let answer = database.answer("GetItem", request.to_string().as_bytes());
    let mut answer: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    answer.get_mut("Item").map(Value::take)
}
