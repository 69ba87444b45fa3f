//! The order row: an order as attributes and back, and the update that turns one version into the next.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use super::row::{
    Row, bytes, damaged, digest, key, money, n, number, optional_text, parsed, parsed_if_there, s,
    text, time,
};
use super::{DUE_SHARDS, StoreError};
use crate::domain::{
    Currency, Deposit, Dust, MerchantId, Money, Order, OrderId, OrderReference, OrderState,
    Payment, PaymentFate, ProviderName, Reason, TraceId, Transition, UserId, shadow,
};

pub(super) fn order_key(id: &OrderId) -> Row {
    key(&format!("O#{id}"), "O")
}

/// The partition of the due index that holds `order`.
pub(super) fn due_shard(provider: &ProviderName, shard: u32) -> String {
    format!("{provider}#{shard}")
}

fn shard_of(id: &OrderId) -> u32 {
    id.as_str().bytes().next_back().map_or(0, |last| u32::from(last) % DUE_SHARDS)
}

pub(super) fn encode(order: &Order) -> Row {
    let mut row = order_key(&order.id);
    let mut put = |name: &str, value: AttributeValue| row.insert(name.to_owned(), value);
    put("merchant", s(order.merchant.as_str()));
    put("user", s(order.user.as_str()));
    put("amount", n(order.amount.minor()));
    put("currency", s(order.amount.currency().code()));
    put("provider", s(order.provider.as_str()));
    put("account", s(&order.account));
    put("fingerprint", bytes(&order.fingerprint));
    put("trace", s(order.trace.as_str()));
    put("createdAt", n(order.created_at.millis()));
    put("expiresAt", n(order.expires_at.millis()));
    put("state", s(order.state.as_str()));
    put("version", n(order.version));
    put("received", n(order.received.minor()));
    put("credited", n(order.credited.minor()));
    put("attemptUntil", n(order.attempt_until.millis()));
    put("attemptBy", s(&order.attempt_by));
    put("updatedAt", n(order.updated_at.millis()));
    put("history", AttributeValue::L(order.history.iter().map(encode_transition).collect()));
    let optional = [
        ("reference", order.reference.as_ref().map(OrderReference::as_str)),
        ("callbackUrl", order.callback_url.as_deref()),
        ("reason", order.reason.map(Reason::as_str)),
        ("transactionId", order.transaction_id.as_deref()),
        ("address", order.deposit.as_ref().map(|deposit| deposit.address.as_str())),
        ("network", order.deposit.as_ref().map(|deposit| deposit.network.as_str())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            put(name, s(value));
        }
    }
    if !order.metadata.is_empty() {
        let members = order.metadata.iter().map(|(name, value)| (name.clone(), s(value)));
        put("metadata", AttributeValue::M(members.collect()));
    }
    if !order.payments.is_empty() {
        put("payments", AttributeValue::L(order.payments.iter().map(encode_payment).collect()));
    }
    if order.is_shadow() {
        put("shadow", AttributeValue::Bool(true));
    }
    if let Some(since) = order.silent_since {
        put("silentSince", n(since.millis()));
    }
    if let Some(due_at) = order.due_at {
        put("dueShard", s(due_shard(&order.provider, shard_of(&order.id))));
        put("dueAt", n(due_at.millis()));
    }
    row
}

pub(super) fn decode(row: &Row) -> Result<Order, StoreError> {
    let currency = parsed(row, "currency", Currency::parse)?;
    let deposit = match (optional_text(row, "address"), optional_text(row, "network")) {
        (Some(address), Some(network)) => {
            Some(Deposit { address: address.to_owned(), network: network.to_owned() })
        }
        _ => None,
    };
    let account = text(row, "account")?;
    let marked = row.get("shadow") == Some(&AttributeValue::Bool(true));
    if marked != shadow::is_account(account) {
        return Err(damaged(row, "shadow"));
    }
    Ok(Order {
        id: parsed(row, "pk", |pk| OrderId::parse(pk.strip_prefix("O#")?))?,
        merchant: parsed(row, "merchant", MerchantId::parse)?,
        user: parsed(row, "user", UserId::parse)?,
        amount: money(row, "amount", currency)?,
        provider: parsed(row, "provider", ProviderName::parse)?,
        account: account.to_owned(),
        reference: parsed_if_there(row, "reference", OrderReference::parse)?,
        callback_url: optional_text(row, "callbackUrl").map(str::to_owned),
        metadata: metadata(row)?,
        fingerprint: digest(row, "fingerprint")?,
        trace: parsed(row, "trace", TraceId::parse)?,
        created_at: time(row, "createdAt")?,
        expires_at: time(row, "expiresAt")?,
        state: parsed(row, "state", OrderState::parse)?,
        reason: parsed_if_there(row, "reason", Reason::parse)?,
        version: number(row, "version")?,
        received: money(row, "received", currency)?,
        credited: money(row, "credited", currency)?,
        payments: payments(row, currency)?,
        transaction_id: optional_text(row, "transactionId").map(str::to_owned),
        deposit,
        attempt_until: time(row, "attemptUntil")?,
        attempt_by: text(row, "attemptBy")?.to_owned(),
        due_at: row.contains_key("dueAt").then(|| time(row, "dueAt")).transpose()?,
        silent_since: row
            .contains_key("silentSince")
            .then(|| time(row, "silentSince"))
            .transpose()?,
        updated_at: time(row, "updatedAt")?,
        history: history(row, currency)?,
    })
}

fn metadata(row: &Row) -> Result<BTreeMap<String, String>, StoreError> {
    let Some(value) = row.get("metadata") else { return Ok(BTreeMap::new()) };
    let members = value.as_m().map_err(|_| damaged(row, "metadata"))?;
    let member = |(name, value): (&String, &AttributeValue)| {
        let value = value.as_s().map_err(|_| damaged(row, "metadata"))?;
        Ok((name.clone(), value.clone()))
    };
    members.iter().map(member).collect()
}

fn encode_payment(payment: &Payment) -> AttributeValue {
    let mut entry = HashMap::from([
        ("id".to_owned(), s(&payment.id)),
        ("got".to_owned(), n(payment.amount.minor())),
        ("at".to_owned(), n(payment.at.millis())),
        ("fate".to_owned(), s(payment.fate.letter())),
    ]);
    if let Some(dust) = payment.dust {
        entry.insert("dust".to_owned(), s(dust.text()));
    }
    if let Some(id) = &payment.transaction_id {
        entry.insert("tx".to_owned(), s(id));
    }
    AttributeValue::M(entry)
}

fn payments(row: &Row, currency: Currency) -> Result<Vec<Payment>, StoreError> {
    let Some(value) = row.get("payments") else { return Ok(Vec::new()) };
    let entries = value.as_l().map_err(|_| damaged(row, "payments"))?;
    let payment = |value: &AttributeValue| {
        let entry = value.as_m().map_err(|_| damaged(row, "payments"))?;
        let fate = fates(text(entry, "fate")?).and_then(|fates| fates.first().copied());
        Ok(Payment {
            id: text(entry, "id")?.to_owned(),
            amount: money(entry, "got", currency)?,
            dust: parsed_if_there(entry, "dust", Dust::parse)?,
            transaction_id: optional_text(entry, "tx").map(str::to_owned),
            at: time(entry, "at")?,
            fate: fate.ok_or_else(|| damaged(row, "payments"))?,
        })
    };
    entries.iter().map(payment).collect()
}

fn fates(letters: &str) -> Option<Vec<PaymentFate>> {
    letters.chars().map(PaymentFate::parse).collect()
}

fn encode_transition(transition: &Transition) -> AttributeValue {
    let mut entry = HashMap::from([
        ("from".to_owned(), s(transition.from.as_str())),
        ("to".to_owned(), s(transition.to.as_str())),
        ("by".to_owned(), s(&transition.actor)),
        ("at".to_owned(), n(transition.at.millis())),
    ]);
    if let Some(reason) = transition.reason {
        entry.insert("why".to_owned(), s(reason.as_str()));
    }
    if let Some(evidence) = &transition.evidence {
        entry.insert("evidence".to_owned(), s(evidence));
    }
    if !transition.fates.is_empty() {
        let letters: String = transition.fates.iter().map(|fate| fate.letter()).collect();
        entry.insert("pays".to_owned(), s(letters));
    }
    for (name, amount) in [("got", transition.received), ("put", transition.credited)] {
        if amount.minor() != 0 {
            entry.insert(name.to_owned(), n(amount.minor()));
        }
    }
    AttributeValue::M(entry)
}

fn history(row: &Row, currency: Currency) -> Result<Vec<Transition>, StoreError> {
    let entries = row.get("history").and_then(|value| value.as_l().ok());
    let entries = entries.ok_or_else(|| damaged(row, "history"))?;
    let transition = |value: &AttributeValue| {
        let entry = value.as_m().map_err(|_| damaged(row, "history"))?;
        let amount = |name: &str| match entry.contains_key(name) {
            true => money(entry, name, currency),
            false => Ok(Money::zero(currency)),
        };
        Ok(Transition {
            from: parsed(entry, "from", OrderState::parse)?,
            to: parsed(entry, "to", OrderState::parse)?,
            reason: parsed_if_there(entry, "why", Reason::parse)?,
            actor: text(entry, "by")?.to_owned(),
            evidence: optional_text(entry, "evidence").map(str::to_owned),
            received: amount("got")?,
            credited: amount("put")?,
            fates: parsed_if_there(entry, "pays", fates)?.unwrap_or_default(),
            at: time(entry, "at")?,
        })
    };
    entries.iter().map(transition).collect()
}

/// An update expression with its names and values.
pub(super) struct Change {
    pub(super) update: String,
    pub(super) condition: String,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

/// Writes what differs between two versions of an order, if the row is still the first of them.
pub(super) fn change(before: &Order, after: &Order) -> Change {
    let (old, mut new) = (encode(before), encode(after));
    let appended: Vec<_> =
        after.history.iter().skip(before.history.len()).map(encode_transition).collect();
    new.remove("history");
    let mut names = HashMap::from([
        ("#state".to_owned(), "state".to_owned()),
        ("#version".to_owned(), "version".to_owned()),
    ]);
    let mut values = HashMap::from([
        (":fromState".to_owned(), s(before.state.as_str())),
        (":fromVersion".to_owned(), n(before.version)),
    ]);
    let (mut sets, mut removes) = (Vec::new(), Vec::new());
    let mut members: Vec<_> = new.into_iter().collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, value) in members {
        // Both attributes of the index or none: the row may have left it since it was read.
        let moved = name == "dueShard" && before.due_at != after.due_at;
        if old.get(&name) != Some(&value) || moved {
            sets.push(format!("#{name} = :{name}"));
            names.insert(format!("#{name}"), name.clone());
            values.insert(format!(":{name}"), value);
        }
    }
    if !appended.is_empty() {
        sets.push("#history = list_append(#history, :history)".to_owned());
        names.insert("#history".to_owned(), "history".to_owned());
        values.insert(":history".to_owned(), AttributeValue::L(appended));
    }
    if before.due_at.is_some() && after.due_at.is_none() {
        removes.extend(["#dueShard", "#dueAt"]);
        names.insert("#dueShard".to_owned(), "dueShard".to_owned());
        names.insert("#dueAt".to_owned(), "dueAt".to_owned());
    }
    let mut update = String::new();
    if !sets.is_empty() {
        update.push_str(&format!("SET {}", sets.join(", ")));
    }
    if !removes.is_empty() {
        update.push_str(&format!(" REMOVE {}", removes.join(", ")));
    }
    let mut condition = "#state = :fromState AND #version = :fromVersion".to_owned();
    if before.payments != after.payments {
        // A note on the order is no transition: the version does not tell whether there was one.
        condition.push_str(match before.payments.is_empty() {
            true => " AND attribute_not_exists(#payments)",
            false => " AND #payments = :fromPayments",
        });
        if let Some(payments) = old.get("payments") {
            values.insert(":fromPayments".to_owned(), payments.clone());
        }
    }
    Change { update, condition, names, values }
}
