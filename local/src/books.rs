//! The books as they lie in the table, read past the store: an auditor's view for `/_local/state` and
//! the tests. Checks what must hold at any time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::aws::DynamoDb;

/// A user's account: merchant, user, currency.
pub type AccountKey = (String, String, String);

/// What a balance row says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Minor units.
    pub amount: i128,
    /// Ledger entries behind it.
    pub entries: u64,
}

/// One `CREDIT` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    /// Its key: provider, account and payment.
    pub payment: String,
    /// The order that it settled.
    pub order: String,
    /// Whom it credited.
    pub account: AccountKey,
    /// Minor units.
    pub amount: i128,
    /// Of these, what had been held before.
    pub held: i128,
}

/// One `HOLD` entry: a part that waits for the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPart {
    /// Its key: provider, account and payment.
    pub payment: String,
    /// The order that it was paid for.
    pub order: String,
    /// Minor units.
    pub amount: i128,
}

/// One order row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: String,
    /// Its version.
    pub version: u64,
    /// Transitions in its history, as `FROM>TO`.
    pub history: Vec<String>,
    /// Minor units credited.
    pub credited: i128,
    /// The payments that a person has refused.
    pub refused: Vec<String>,
    /// Whether it was made in shadow mode.
    pub shadow: bool,
    /// Whether the poller will look at it again.
    pub due: bool,
}

/// Everything in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    /// The orders.
    pub orders: Vec<OrderRow>,
    /// The credits.
    pub credits: Vec<Credit>,
    /// The parts that were held.
    pub held: Vec<HeldPart>,
    /// Simulated payments of shadow orders.
    pub shadows: Vec<String>,
    /// Payments that go back.
    pub refunds: usize,
    /// The balances.
    pub balances: BTreeMap<AccountKey, Held>,
    /// Parked statements.
    pub parked: usize,
    /// Deposit addresses: user's row key → address.
    pub addresses: BTreeMap<String, String>,
}

/// Reads the whole table.
pub fn read(database: &DynamoDb, table: &str) -> Result<Books, String> {
    let mut books = Books::default();
    let mut start = Value::Null;
    loop {
        let mut request = json!({"TableName": table, "ConsistentRead": true});
        if !start.is_null() {
            request["ExclusiveStartKey"] = start;
        }
        let answer = database.answer("Scan", request.to_string().as_bytes());
        let answer: Value = serde_json::from_str(&answer.body).map_err(|e| e.to_string())?;
        let items = answer["Items"].as_array().ok_or_else(|| answer.to_string())?;
        for item in items {
            books.add(item)?;
        }
        start = answer["LastEvaluatedKey"].clone();
        if start.is_null() {
            return Ok(books);
        }
    }
}

fn text(item: &Value, name: &str) -> String {
    item[name]["S"].as_str().unwrap_or("").to_owned()
}

fn number<T: std::str::FromStr>(item: &Value, name: &str) -> Result<T, String> {
    let digits = item[name]["N"].as_str().unwrap_or("");
    digits.parse().map_err(|_| format!("{name} of {}", text(item, "pk")))
}

impl Books {
    fn add(&mut self, item: &Value) -> Result<(), String> {
        let (pk, sk) = (text(item, "pk"), text(item, "sk"));
        match (pk.split('#').next().unwrap_or(""), sk.split('#').next().unwrap_or("")) {
            ("O", "O") => self.orders.push(order(item, &pk)?),
            ("P", "P") if text(item, "kind") == "HOLD" => self.held.push(HeldPart {
                payment: pk,
                order: text(item, "order"),
                amount: number(item, "amount")?,
            }),
            ("P", "P") if text(item, "kind") == "SHADOW" => self.shadows.push(text(item, "order")),
            ("P", "P") if text(item, "kind") == "REFUND" => self.refunds += 1,
            ("P", "P") if text(item, "kind") == "ASIDE" => {}
            ("P", "P") => self.credits.push(Credit {
                held: if item.get("held").is_some() { number(item, "held")? } else { 0 },
                payment: pk,
                order: text(item, "order"),
                account: (text(item, "merchant"), text(item, "user"), text(item, "currency")),
                amount: number(item, "amount")?,
            }),
            ("U", "B") => {
                let mut parts = pk.splitn(3, '#').skip(1).map(str::to_owned);
                let (merchant, user) =
                    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                let currency = sk.trim_start_matches("B#").to_owned();
                let held =
                    Held { amount: number(item, "balance")?, entries: number(item, "entries")? };
                self.balances.insert((merchant, user, currency), held);
            }
            ("U", "A") => {
                for entry in item["addresses"]["L"].as_array().into_iter().flatten() {
                    let (network, address) =
                        (text(&entry["M"], "network"), text(&entry["M"], "address"));
                    self.addresses.insert(format!("{pk}/{sk}/{network}"), address);
                }
            }
            ("K", "K") => self.parked += 1,
            _ => {}
        }
        Ok(())
    }

    /// How many orders stand where.
    pub fn orders_by_state(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for order in &self.orders {
            *counts.entry(order.state.as_str()).or_default() += 1;
        }
        counts
    }

    /// What must hold at any time and does not: conservation (I1), one credit per order and payment
    /// (I2), credits and `SUCCESS` belong together (I4, I9), versions count transitions (I16), no two
    /// users share an address.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut sums: BTreeMap<AccountKey, Held> = BTreeMap::new();
        let mut by_order: BTreeMap<&str, Vec<&Credit>> = BTreeMap::new();
        for credit in &self.credits {
            let sum = sums.entry(credit.account.clone()).or_default();
            sum.amount += credit.amount;
            sum.entries += 1;
            by_order.entry(&credit.order).or_default().push(credit);
        }
        if sums != self.balances {
            found.push(format!("balances {:?} are not the entries' sums {sums:?}", self.balances));
        }
        for order in &self.orders {
            let credits = by_order.remove(order.id.as_str()).unwrap_or_default();
            let sum: i128 = credits.iter().map(|credit| credit.amount).sum();
            let wanted = usize::from(order.state == "SUCCESS" && !order.shadow);
            let credited = if order.shadow { 0 } else { order.credited };
            if credits.len() != wanted || sum != credited {
                found.push(format!("order {order:?} has the credits {credits:?}"));
            }
            // A refused part stays in suspense.
            let refused = |part: &HeldPart| {
                let id = part.payment.splitn(4, '#').last().unwrap_or("");
                order.refused.iter().any(|known| known == id)
            };
            let of_order = self.held.iter().filter(|part| part.order == order.id);
            let parts = of_order.filter(|part| !refused(part));
            let parts: i128 = parts.map(|part| part.amount).sum();
            let released: i128 = credits.iter().map(|credit| credit.held).sum();
            if order.state == "SUCCESS" && !order.shadow && released != parts {
                found.push(format!("order {order:?} held {parts} and released {released}"));
            }
            if order.version != order.history.len() as u64 + 1 {
                found.push(format!("order {order:?} lost a transition"));
            }
            let chained = order
                .history
                .windows(2)
                .all(|pair| pair[0].split('>').next_back() == pair[1].split('>').next());
            let last = order
                .history
                .last()
                .map_or("CREATED", |last| last.split('>').next_back().unwrap_or(""));
            if !chained || last != order.state {
                found.push(format!("order {order:?} has a broken history"));
            }
        }
        found.extend(
            by_order.into_values().map(|credits| format!("credits without order {credits:?}")),
        );
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for (entry, address) in &self.addresses {
            let owner = entry.rsplit_once('/').map_or(entry.as_str(), |(owner, _)| owner);
            let other = owners.insert(address, owner);
            if let Some(other) = other.filter(|other| *other != owner) {
                found.push(format!("{owner} and {other} share the address {address}"));
            }
        }
        found
    }
}

fn order(item: &Value, pk: &str) -> Result<OrderRow, String> {
    let history = item["history"]["L"].as_array().ok_or("history")?;
    let step = |entry: &Value| {
        let part = |name: &str| entry["M"][name]["S"].as_str().unwrap_or("?").to_owned();
        format!("{}>{}", part("from"), part("to"))
    };
    let payments = item["payments"]["L"].as_array().into_iter().flatten();
    let refused = payments.filter(|payment| payment["M"]["fate"]["S"] == "X");
    Ok(OrderRow {
        refused: refused.map(|payment| text(&payment["M"], "id")).collect(),
        id: pk.trim_start_matches("O#").to_owned(),
        state: text(item, "state"),
        version: number(item, "version")?,
        history: history.iter().map(step).collect(),
        credited: number(item, "credited")?,
        shadow: item.get("shadow").is_some(),
        due: item.get("dueAt").is_some(),
    })
}
