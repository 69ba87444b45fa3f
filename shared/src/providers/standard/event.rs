//! Events of the `standard` provider: one strict JSON object with known members.

use serde_json::{Map, Value};

use crate::domain::evidence::RAW_BYTES_MAX;
use crate::domain::{Currency, EvidenceKind, Money};
use crate::json::Strict;
use crate::providers::Refusal;

/// The members of an event; any other is refused.
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

/// What an event says.
pub(super) struct Event {
    pub(super) kind: EvidenceKind,
    /// As the provider spells it.
    pub(super) order: String,
    /// The transaction; of a statement that we do not know, the message: one transaction can have
    /// several, and none may be taken for another.
    pub(super) payment_id: String,
    pub(super) account: Option<String>,
    pub(super) livemode: bool,
    /// For the auditor.
    pub(super) raw: String,
}

/// Reads the body of the message `id`; nothing here depends on the signature.
pub(super) fn read(content_type: Option<&str>, id: &str, body: &[u8]) -> Result<Event, Refusal> {
    let essence = content_type.unwrap_or("application/json").split(';').next().unwrap_or("");
    if !essence.trim().eq_ignore_ascii_case("application/json") {
        return Err(Refusal::UnsupportedMediaType);
    }
    let Ok(Strict(Value::Object(members))) = serde_json::from_slice(body) else {
        return Err(Refusal::Malformed("the body is not one JSON object without duplicates"));
    };
    if !members.keys().all(|name| MEMBERS.contains(&name.as_str())) {
        return Err(Refusal::Malformed("a member that events do not have"));
    }
    let payment_id = text(&members, "providerTxnId")?;
    if !is_payment_id(payment_id) {
        return Err(Refusal::Malformed("providerTxnId"));
    }
    let account = match members.get("account") {
        None => None,
        Some(_) => Some(text(&members, "account")?.to_owned()),
    };
    let kind = kind(&members)?;
    let payment_id = if kind == EvidenceKind::Unrecognised { id } else { payment_id };
    let livemode = members.get("livemode").and_then(Value::as_bool);
    Ok(Event {
        kind,
        order: text(&members, "orderId")?.to_owned(),
        payment_id: payment_id.to_owned(),
        account,
        livemode: livemode.ok_or(Refusal::Malformed("livemode"))?,
        raw: Value::Object(members).to_string().chars().take(RAW_BYTES_MAX / 4).collect(),
    })
}

/// A type that is not known, or does not go with the status, is put aside for a person.
fn kind(members: &Map<String, Value>) -> Result<EvidenceKind, Refusal> {
    Ok(match (text(members, "type")?, text(members, "status")?) {
        ("payment.succeeded", "SUCCESS") => {
            let amount = members.get("amount").unwrap_or(&Value::Null);
            let money = money(amount, text(members, "currency")?);
            EvidenceKind::Paid(money.ok_or(Refusal::Malformed("amount or currency"))?)
        }
        ("payment.failed", "FAILED") => EvidenceKind::Declined,
        _ => EvidenceKind::Unrecognised,
    })
}

fn text<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, Refusal> {
    let text = members.get(name).and_then(Value::as_str);
    text.filter(|text| (1..=128).contains(&text.len())).ok_or(Refusal::Malformed(name))
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
