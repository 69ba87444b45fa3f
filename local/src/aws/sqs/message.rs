//! One queued message, its attributes and their digests.

use std::collections::BTreeMap;

use aws_smithy_types::base64;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::error::SqsError;

/// The longest message, body and attributes together.
pub const MESSAGE_BYTES_MAX: usize = 262_144;

/// A message attribute as it travels on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, with an optional custom suffix after a dot.
    pub data_type: String,
    /// The value of a `String` or `Number`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value of a `Binary`, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

/// Attributes by name; the order is also the order of the digest.
pub type Attributes = BTreeMap<String, Attribute>;

/// What a sender gave, which never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub id: String,
    pub body: String,
    pub attributes: Attributes,
    /// For example `AWSTraceHeader`.
    pub system: Attributes,
    pub sent_ms: i64,
    /// The queue that gave this message up, on a dead-letter queue.
    pub source_arn: Option<String>,
}

/// A message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub content: Content,
    pub visible_at_ms: i64,
    pub receive_count: u32,
    pub first_received_ms: Option<i64>,
    /// How often it was handed out by the queue it is in now; the newest number is the valid receipt.
    pub receipt: u32,
}

impl Message {
    pub fn state(&self, now_ms: i64) -> MessageState {
        match (self.visible_at_ms > now_ms, self.receipt) {
            (false, _) => MessageState::Visible,
            (true, 0) => MessageState::Delayed,
            (true, _) => MessageState::InFlight,
        }
    }
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageState {
    /// The next receive may take it.
    Visible,
    /// Handed out, and its visibility timeout still runs.
    InFlight,
    /// Sent with a delay that still runs.
    Delayed,
}

pub fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

impl Attribute {
    /// The bytes of the value and the digest's tag for its kind.
    fn value(&self) -> Result<(u8, Vec<u8>), SqsError> {
        let kind = self.data_type.split('.').next().unwrap_or_default();
        match (kind, &self.string_value, &self.binary_value) {
            ("String" | "Number", Some(text), None) if !text.is_empty() => {
                Ok((1, text.clone().into_bytes()))
            }
            ("Binary", None, Some(encoded)) => base64::decode(encoded)
                .map(|bytes| (2, bytes))
                .map_err(|_| self.refused("the binary value is not base64")),
            ("String" | "Number" | "Binary", _, _) => {
                Err(self.refused("the value must be present, once, and fit the data type"))
            }
            _ => Err(self.refused("the data type must be String, Number or Binary")),
        }
    }

    fn refused(&self, reason: &str) -> SqsError {
        SqsError::invalid("MessageAttributes", &self.data_type, reason)
    }
}

/// The digest SQS answers with: name, type, kind and value of each attribute, in the order of names.
pub fn md5_of_attributes(attributes: &Attributes) -> Result<Option<String>, SqsError> {
    if attributes.is_empty() {
        return Ok(None);
    }
    let mut digest = Md5::new();
    for (name, attribute) in attributes {
        let (tag, value) = attribute.value()?;
        update_sized(&mut digest, name.as_bytes());
        update_sized(&mut digest, attribute.data_type.as_bytes());
        digest.update([tag]);
        update_sized(&mut digest, &value);
    }
    Ok(Some(hex::encode(digest.finalize())))
}

fn update_sized(digest: &mut Md5, bytes: &[u8]) {
    digest.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    digest.update(bytes);
}

/// The size that counts against [`MESSAGE_BYTES_MAX`].
pub fn size(body: &str, attributes: &Attributes) -> Result<usize, SqsError> {
    let mut bytes = body.len();
    for (name, attribute) in attributes {
        bytes += name.len() + attribute.data_type.len() + attribute.value()?.1.len();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attribute_digest_is_the_one_that_aws_computes() {
        let one = |name: &str, data_type: &str, text: &str| {
            let value = Attribute {
                data_type: data_type.into(),
                string_value: Some(text.into()),
                binary_value: None,
            };
            md5_of_attributes(&[(name.to_owned(), value)].into()).unwrap().unwrap()
        };
        // Recorded from the real service (the same vectors stand in moto's test suite).
        assert_eq!(
            one("timestamp", "Number.java.lang.Long", "1493147359900"),
            "2e2e4876d8e0bd6b8c2c8f556831c349"
        );
    }
}
