//! Events of the `standard` provider: one JSON object, of which what is not known to the letter is left to
//! a person.

use serde_json::{Map, Value};

use crate::domain::evidence::bounded;
use crate::domain::{Currency, EvidenceKind, Money};
use crate::json::Strict;
use crate::providers::Refusal;

/// The members of an event.
const MEMBERS: [&str; 10] = [
    "eventId",
    "type",
    "orderId",
    "providerTxnId",
    "amount",
    "currency",
    "status",
    "livemode",
    "occurredAt",
    "account",
];

/// Characters of an account's name that are kept; ours has 32 at most.
const ACCOUNT_CHARACTERS_MAX: usize = 64;

/// What an event says.
pub(super) struct Event {
    pub(super) kind: EvidenceKind,
    /// As the provider spells it.
    pub(super) order: String,
    /// The transaction; of a statement that we do not know, the message: one transaction can have
    /// several, and none may be taken for another.
    pub(super) payment_id: String,
    /// The transaction, if it is named.
    pub(super) transaction_id: Option<String>,
    pub(super) account: Option<String>,
    pub(super) livemode: Option<bool>,
    /// For the auditor.
    pub(super) raw: String,
}

/// As much of an account's name as a payment of it could be found by.
pub(super) fn account(name: &str) -> String {
    name.chars().take(ACCOUNT_CHARACTERS_MAX).collect()
}

/// Reads the body of the authentic message `id`. One that says anything that we do not know, or not as we
/// know it, is put aside for a person: the provider would only repeat it.
pub(super) fn read(content_type: Option<&str>, id: &str, body: &[u8]) -> Result<Event, Refusal> {
    let essence = content_type.unwrap_or("application/json").split(';').next().unwrap_or("");
    if !essence.trim().eq_ignore_ascii_case("application/json") {
        return Err(Refusal::UnsupportedMediaType);
    }
    let Ok(Strict(Value::Object(members))) = serde_json::from_slice(body) else {
        return Err(Refusal::Malformed("the body is not one JSON object without duplicates"));
    };
    let known = known(&members);
    let transaction_id = text(&members, "providerTxnId").filter(|id| is_payment_id(id));
    Ok(Event {
        kind: known.map_or(EvidenceKind::Unrecognised, |(kind, _)| kind),
        order: text(&members, "orderId").unwrap_or("").to_owned(),
        payment_id: known.map_or(id, |(_, payment_id)| payment_id).to_owned(),
        transaction_id: transaction_id.map(str::to_owned),
        account: text(&members, "account").map(account),
        livemode: members.get("livemode").and_then(Value::as_bool),
        raw: bounded(Value::Object(members.clone()).to_string()),
    })
}

/// What an event says about which payment, if it says all that belongs to it and nothing else.
fn known(members: &Map<String, Value>) -> Option<(EvidenceKind, &str)> {
    let payment_id = text(members, "providerTxnId").filter(|id| is_payment_id(id))?;
    text(members, "orderId")?;
    members.get("livemode")?.as_bool()?;
    if members.contains_key("account") {
        text(members, "account")?;
    }
    if !members.keys().all(|name| MEMBERS.contains(&name.as_str())) {
        return None;
    }
    let kind = match (text(members, "type")?, text(members, "status")?) {
        ("payment.succeeded", "SUCCESS") => {
            EvidenceKind::Paid(money(members.get("amount")?, text(members, "currency")?)?)
        }
        ("payment.failed", "FAILED") => EvidenceKind::Declined,
        _ => return None,
    };
    Some((kind, payment_id))
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let text = members.get(name).and_then(Value::as_str);
    text.filter(|text| (1..=128).contains(&text.len()))
}

/// An amount in minor units, as a JSON integer.
pub(super) fn money(amount: &Value, currency: &str) -> Option<Money> {
    let minor = i128::from(amount.as_i64()?);
    Some(Money::new(minor, Currency::parse(currency)?))
}

/// What can be part of a payment's identity.
pub(super) fn is_payment_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
