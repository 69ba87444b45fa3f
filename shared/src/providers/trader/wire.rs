//! Requests to the trader provider and what its answers mean. Only a well-formed refusal is a refusal;
//! everything else that is not a success leaves the outcome unknown.

use bytes::Bytes;
use http::Request;
use serde_json::Value;

use super::settings::{AddressPattern, QuerySettings, RequestEncoding, Settings};
use super::signing::{Fields, SIGN, sign};
use crate::domain::{Currency, Deposit, Dust, Money, decimal_units, rounded_down};
use crate::json::Strict;
use crate::providers::{Accepted, Answer};

/// The longest answer that is read.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The signed request of a call.
pub(super) fn request(
    settings: &Settings,
    path: &str,
    mut fields: Fields,
    key: &str,
) -> Option<Request<Bytes>> {
    fields.insert(SIGN.to_owned(), sign(&settings.signing, &fields, key));
    let (content_type, body) = match settings.content_type {
        RequestEncoding::Form => {
            let body =
                form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
            ("application/x-www-form-urlencoded", body)
        }
        RequestEncoding::Json => ("application/json", serde_json::to_string(&fields).ok()?),
    };
    Request::post(format!("{}{path}", settings.base_url))
        .header("content-type", content_type)
        .header("accept", "application/json")
        .body(Bytes::from(body))
        .ok()
}

/// What the envelope says: the data of a success, or the text of a refusal.
pub(super) enum Envelope {
    /// `status` is 1.
    Success(Value),
    /// `status` is anything else.
    Refused(String),
    /// No envelope at all.
    Unreadable(&'static str),
    /// The request has not left.
    NotSent,
}

/// Reads the envelope `{"status": 1, "data": …}` or `{"status": 0, "err": "…"}`.
pub(super) fn envelope(status: u16, body: &[u8]) -> Envelope {
    if status != 200 {
        return Envelope::Unreadable("not HTTP 200");
    }
    let Ok(Strict(Value::Object(mut members))) = serde_json::from_slice(body) else {
        return Envelope::Unreadable("not one JSON object without duplicates");
    };
    match members.get("status").and_then(scalar).as_deref() {
        Some("1") => Envelope::Success(members.remove("data").unwrap_or(Value::Null)),
        Some(_) => {
            let text = members.get("err").or_else(|| members.get("msg")).and_then(Value::as_str);
            Envelope::Refused(text.unwrap_or("").to_owned())
        }
        None => Envelope::Unreadable("no status"),
    }
}

/// A string, or an integer as its digits.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// Whether `text` begins like one of the known texts, whatever its case.
pub(super) fn begins_like(text: &str, prefixes: &[String]) -> bool {
    let text = text.trim().to_lowercase();
    prefixes.iter().any(|prefix| text.starts_with(&prefix.to_lowercase()))
}

/// A provider's text, fit for a log line.
pub(super) fn for_log(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

/// The answer to an order call.
pub(super) fn accepted(settings: &Settings, envelope: Envelope) -> Answer<Accepted> {
    match envelope {
        Envelope::Success(data) => {
            Answer::Done(Accepted { transaction_id: transaction_id(&data, "ordersn") })
        }
        Envelope::Refused(text) if begins_like(&text, &settings.duplicate_order_prefixes) => {
            Answer::Done(Accepted::default())
        }
        Envelope::Refused(text) => Answer::Declined(for_log(&text)),
        Envelope::Unreadable(why) => Answer::Unknown(why.to_owned()),
        Envelope::NotSent => Answer::NotSent,
    }
}

/// The provider's own order number, if it looks like one.
pub(super) fn transaction_id(data: &Value, field: &str) -> Option<String> {
    let text = data.get(field).and_then(scalar)?;
    let valid = (1..=50).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    valid.then_some(text)
}

/// The answer to an address call: a string, or an object with `address`.
pub(super) fn new_address(settings: &Settings, envelope: Envelope) -> Answer<Deposit> {
    match envelope {
        Envelope::Success(data) => {
            let text = data.as_str().or_else(|| data.get("address").and_then(Value::as_str));
            deposit(settings, text)
        }
        Envelope::Refused(text) => Answer::Declined(for_log(&text)),
        Envelope::Unreadable(why) => Answer::Unknown(why.to_owned()),
        Envelope::NotSent => Answer::NotSent,
    }
}

/// The answer to an address look-up for `username` and `mark`: it must speak of them.
pub(super) fn found_address(
    settings: &Settings,
    (username, mark): (&str, &str),
    envelope: Envelope,
) -> Answer<Option<Deposit>> {
    let data = match envelope {
        Envelope::Success(data) => data,
        Envelope::Refused(text) if begins_like(&text, &settings.user_not_found_prefixes) => {
            return Answer::Done(None);
        }
        Envelope::Refused(text) => return Answer::Declined(for_log(&text)),
        Envelope::Unreadable(why) => return Answer::Unknown(why.to_owned()),
        Envelope::NotSent => return Answer::NotSent,
    };
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str);
    let echoes = [
        (text("/info/username"), username),
        (text("/info/localusermark"), mark),
        (text("/data/m_localusermark"), mark),
    ];
    if echoes.iter().any(|(echo, asked)| *echo != Some(asked)) {
        return Answer::Unknown("the look-up speaks of somebody else".to_owned());
    }
    match deposit(settings, text("/data/address")) {
        Answer::Done(deposit) => Answer::Done(Some(deposit)),
        Answer::Declined(why) => Answer::Declined(why),
        Answer::Unknown(why) => Answer::Unknown(why),
        Answer::NotSent => Answer::NotSent,
    }
}

fn deposit(settings: &Settings, text: Option<&str>) -> Answer<Deposit> {
    match text.filter(|text| is_address(settings.address_pattern, text)) {
        Some(address) => {
            Answer::Done(Deposit { address: address.to_owned(), network: settings.network.clone() })
        }
        None => Answer::Unknown("no address in the answer".to_owned()),
    }
}

fn is_address(pattern: AddressPattern, text: &str) -> bool {
    let alphanumeric = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match pattern {
        AddressPattern::AnyAlphanumeric => alphanumeric && (20..=64).contains(&text.len()),
        // Base58 leaves out the digits that look like others.
        AddressPattern::Strict => {
            alphanumeric
                && text.len() == 34
                && text.starts_with('T')
                && !text.contains(['0', 'O', 'I', 'l'])
        }
    }
}

/// A query's amount: whole units at `scale`, or a plain decimal number at scale 0; rounded down, and what that
/// leaves.
pub(super) fn queried_amount(
    text: &str,
    scale: u32,
    currency: Currency,
) -> Option<(Money, Option<Dust>)> {
    if scale == 0 {
        let (units, scale) = decimal_units(text).ok()?;
        return rounded_down(units, scale, currency);
    }
    let plain = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let units = if plain { text.parse().ok()? } else { return None };
    rounded_down(units, scale, currency)
}

/// What the query says of an order, before anything is compared.
pub(super) struct Queried {
    pub(super) order: String,
    pub(super) user: String,
    pub(super) state: String,
    pub(super) amount: Option<String>,
    pub(super) transaction_id: Option<String>,
}

/// Reads the query's answer; `None` when the provider does not know the order.
pub(super) fn queried(query: &QuerySettings, envelope: Envelope) -> Answer<Option<Queried>> {
    let data = match envelope {
        Envelope::Success(data) => data,
        Envelope::Refused(text) if begins_like(&text, &query.not_found_prefixes) => {
            return Answer::Done(None);
        }
        // A refused query says nothing about the order.
        Envelope::Refused(text) => return Answer::Unknown(for_log(&text)),
        Envelope::Unreadable(why) => return Answer::Unknown(why.to_owned()),
        Envelope::NotSent => return Answer::NotSent,
    };
    let field = |name: &str| data.get(name).and_then(scalar);
    let members = (field(&query.order_field), field(&query.user_field), field(&query.state_field));
    let (Some(order), Some(user), Some(state)) = members else {
        return Answer::Unknown("a field is missing in the answer".to_owned());
    };
    Answer::Done(Some(Queried {
        order,
        user,
        state,
        amount: field(&query.amount_field),
        transaction_id: transaction_id(&data, &query.transaction_field),
    }))
}
