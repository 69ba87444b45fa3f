//! Callbacks of the trader provider: decoded strictly, field set and grammar checked before the
//! signature is believed. Without separators in the string to sign, a lenient parser would accept a
//! message whose fields were cut differently.

use std::fmt;

use bytes::Bytes;
use futures_util::stream;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::settings::Settings;
use super::signing::{Fields, SIGN};
use crate::domain::{OrderId, UserMark};
use crate::providers::Refusal;

/// The fields of the contract, beside the signature.
pub(super) const FIELDS: [&str; 5] = ["amount", "appid", "localusermark", "orderid", "t"];
/// More fields than any callback has.
const FIELDS_MAX: usize = 32;

/// What a callback says, read from the right fields in the right grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) order_id: OrderId,
    pub(super) user_mark: UserMark,
    /// In the account's callback scale.
    pub(super) amount: u128,
    pub(super) signed_at_secs: i64,
    /// `false` when a tolerated `status` says anything but 1.
    pub(super) means_paid: bool,
}

/// Decodes the body by its content type; a name that appears twice is refused.
pub(super) async fn decode(content_type: Option<&str>, body: &[u8]) -> Result<Fields, Refusal> {
    let content_type = content_type.unwrap_or("application/x-www-form-urlencoded");
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-www-form-urlencoded" => form(body),
        "application/json" => serde_json::from_slice::<Flat>(body)
            .map(|Flat(fields)| fields)
            .map_err(|_| Refusal::Malformed("the body is not one flat JSON object")),
        "multipart/form-data" => multipart(content_type, body).await,
        _ => Err(Refusal::UnsupportedMediaType),
    }
}

fn insert(fields: &mut Fields, name: String, value: String) -> Result<(), Refusal> {
    if fields.len() >= FIELDS_MAX {
        return Err(Refusal::Malformed("too many fields"));
    }
    match fields.insert(name, value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Malformed("a field appears twice")),
    }
}

fn form(body: &[u8]) -> Result<Fields, Refusal> {
    if !body.is_ascii() {
        return Err(Refusal::Malformed("the form is not percent-encoded"));
    }
    let mut fields = Fields::new();
    for (name, value) in form_urlencoded::parse(body) {
        insert(&mut fields, name.into_owned(), value.into_owned())?;
    }
    Ok(fields)
}

async fn multipart(content_type: &str, body: &[u8]) -> Result<Fields, Refusal> {
    const MALFORMED: Refusal = Refusal::Malformed("the body is not the announced multipart form");
    let boundary = multer::parse_boundary(content_type).map_err(|_| MALFORMED)?;
    let body = Bytes::copy_from_slice(body);
    let chunks = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut parts = multer::Multipart::new(chunks, boundary);
    let mut fields = Fields::new();
    while let Some(part) = parts.next_field().await.map_err(|_| MALFORMED)? {
        let name = part.name().ok_or(MALFORMED)?.to_owned();
        let value = part.bytes().await.map_err(|_| MALFORMED)?;
        let value = String::from_utf8(value.to_vec()).map_err(|_| MALFORMED)?;
        insert(&mut fields, name, value)?;
    }
    Ok(fields)
}

/// Checks field set and grammar; nothing here depends on the signature.
pub(super) fn read(settings: &Settings, fields: &Fields) -> Result<Notice, Refusal> {
    let known = |name: &str| {
        FIELDS.contains(&name)
            || name == SIGN
            || settings.tolerated_callback_fields.iter().any(|tolerated| tolerated == name)
    };
    if !fields.keys().all(|name| known(name)) {
        return Err(Refusal::Malformed("a field that the contract does not have"));
    }
    if spells_a_name(settings, fields) {
        return Err(Refusal::Malformed("a tolerated value spells a field's name"));
    }
    let field = |name: &'static str| {
        fields.get(name).map(String::as_str).ok_or(Refusal::Malformed("a field is missing"))
    };
    let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        let valid = lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if valid { text.parse().ok() } else { None }
    };
    if field("appid")? != settings.appid {
        return Err(Refusal::Malformed("appid is not ours"));
    }
    if !fields.contains_key(SIGN) {
        return Err(Refusal::Signature);
    }
    let amount: Option<i64> = digits(field("amount")?, 1..=15);
    let signed_at: Option<i64> = digits(field("t")?, 10..=10);
    let amount = amount.and_then(|amount| u128::try_from(amount).ok());
    let order_id = OrderId::parse(field("orderid")?);
    let user_mark = UserMark::parse(field("localusermark")?);
    Ok(Notice {
        amount: amount.ok_or(Refusal::Malformed("amount is no plain integer"))?,
        signed_at_secs: signed_at.ok_or(Refusal::Malformed("t is no Unix time in seconds"))?,
        order_id: order_id.ok_or(Refusal::Malformed("orderid is none of ours"))?,
        user_mark: user_mark.ok_or(Refusal::Malformed("localusermark is none of ours"))?,
        means_paid: fields.get("status").is_none_or(|status| status == "1"),
    })
}

/// Whether a value without a grammar of its own could hold a neighbour that was cut off: under the same
/// digest, a refusal without its `status` would be a payment. `t` is too short to be looked for; it
/// cannot be cut off, because it must be there.
fn spells_a_name(settings: &Settings, fields: &Fields) -> bool {
    let tolerated = &settings.tolerated_callback_fields;
    let names = || FIELDS.into_iter().filter(|name| *name != "t");
    let names = || names().chain(tolerated.iter().map(String::as_str));
    tolerated
        .iter()
        .filter_map(|name| fields.get(name))
        .any(|value| names().any(|name| value.contains(settings.signing.signed_name(name))))
}

/// A JSON object of strings and integers, none of them twice.
struct Flat(Fields);

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Flat, D::Error> {
        struct FlatVisitor;

        impl<'de> Visitor<'de> for FlatVisitor {
            type Value = Flat;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a flat object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Flat, A::Error> {
                let mut fields = Fields::new();
                while let Some((name, Scalar(value))) = map.next_entry()? {
                    insert(&mut fields, name, value).map_err(|_| A::Error::custom("fields"))?;
                }
                Ok(Flat(fields))
            }
        }

        deserializer.deserialize_map(FlatVisitor)
    }
}

struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        struct ScalarVisitor;

        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an integer")
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}
