//! Reading and writing single attributes. A missing or malformed one is an error, never a default.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::StoreError;
use crate::domain::{Currency, Money, Timestamp};

pub(super) type Row = HashMap<String, AttributeValue>;

pub(super) fn key(pk: &str, sk: &str) -> Row {
    Row::from([("pk".to_owned(), s(pk)), ("sk".to_owned(), s(sk))])
}

pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn bytes(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

pub(super) fn damaged(row: &Row, name: &str) -> StoreError {
    let text = |key: &str| row.get(key).and_then(|v| v.as_s().ok()).map_or("?", String::as_str);
    StoreError::Damaged(format!("{name} of {}/{}", text("pk"), text("sk")))
}

pub(super) fn text<'a>(row: &'a Row, name: &str) -> Result<&'a str, StoreError> {
    optional_text(row, name).ok_or_else(|| damaged(row, name))
}

pub(super) fn optional_text<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    row.get(name).and_then(|value| value.as_s().ok()).map(String::as_str)
}

pub(super) fn number<T: std::str::FromStr>(row: &Row, name: &str) -> Result<T, StoreError> {
    row.get(name)
        .and_then(|value| value.as_n().ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| damaged(row, name))
}

pub(super) fn time(row: &Row, name: &str) -> Result<Timestamp, StoreError> {
    number(row, name).map(Timestamp::from_millis)
}

pub(super) fn digest(row: &Row, name: &str) -> Result<[u8; 32], StoreError> {
    row.get(name)
        .and_then(|value| value.as_b().ok())
        .and_then(|blob| blob.as_ref().try_into().ok())
        .ok_or_else(|| damaged(row, name))
}

/// Reads a text through the type's own grammar.
pub(super) fn parsed<T>(
    row: &Row,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, StoreError> {
    parse(text(row, name)?).ok_or_else(|| damaged(row, name))
}

/// Reads an optional text through the type's own grammar.
pub(super) fn parsed_if_there<T>(
    row: &Row,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    if row.contains_key(name) { parsed(row, name, parse).map(Some) } else { Ok(None) }
}

pub(super) fn money(row: &Row, name: &str, currency: Currency) -> Result<Money, StoreError> {
    number(row, name).map(|minor| Money::new(minor, currency))
}
