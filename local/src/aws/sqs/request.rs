//! The SQS requests as they arrive, and the checks that need no queue.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{Kind, SqsError};
use super::message::{self, Attributes, MESSAGE_BYTES_MAX};
use super::queue::Outgoing;

const BATCH_ENTRIES_MAX: usize = 10;
/// Twelve hours.
const VISIBILITY_SECONDS_MAX: u32 = 43_200;
const DELAY_SECONDS_MAX: u32 = 900;
const WAIT_SECONDS_MAX: u32 = 20;

pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(unreadable)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn unreadable(error: serde_json::Error) -> SqsError {
    SqsError::new(Kind::InvalidParameterValue, format!("The request cannot be read: {error}"))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueName {
    pub queue_name: String,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueUrl {
    #[serde(default)]
    pub queue_url: String,
    #[serde(default)]
    pub attribute_names: Vec<String>,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// The queue is the last segment of its URL, whatever the host.
pub fn queue_name(queue_url: &str) -> Result<&str, SqsError> {
    match queue_url.trim_end_matches('/').rsplit('/').next() {
        None | Some("") => Err(SqsError::missing("QueueUrl")),
        Some(name) => Ok(name),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListQueues {
    #[serde(default)]
    pub queue_name_prefix: String,
}

/// What can be sent: the fields of `SendMessage` and of one entry of its batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Send {
    #[serde(default)]
    pub message_body: String,
    pub delay_seconds: Option<i64>,
    #[serde(default)]
    pub message_attributes: Attributes,
    #[serde(default)]
    pub message_system_attributes: Attributes,
}

impl Send {
    /// The size that counts against the limits; wrong attributes count as nothing and fail later.
    pub fn size(&self) -> usize {
        message::size(&self.message_body, &self.message_attributes).unwrap_or(0)
    }

    pub fn check(self) -> Result<Outgoing, SqsError> {
        if self.message_body.is_empty() {
            return Err(SqsError::missing("MessageBody"));
        }
        if message::size(&self.message_body, &self.message_attributes)? > MESSAGE_BYTES_MAX {
            let message = format!(
                "One or more parameters are invalid. \
                 Reason: Message must be shorter than {MESSAGE_BYTES_MAX} bytes."
            );
            return Err(SqsError::new(Kind::InvalidParameterValue, message));
        }
        if !self.message_body.chars().all(is_allowed) {
            let message = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | \
                           #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.";
            return Err(SqsError::new(Kind::InvalidMessageContents, message));
        }
        Ok(Outgoing {
            delay_seconds: range("DelaySeconds", self.delay_seconds, 0, DELAY_SECONDS_MAX)?,
            body: self.message_body,
            attributes: self.message_attributes,
            system: self.message_system_attributes,
        })
    }
}

fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Receive {
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    #[serde(default)]
    pub attribute_names: Vec<String>,
    #[serde(default)]
    pub message_system_attribute_names: Vec<String>,
    #[serde(default)]
    pub message_attribute_names: Vec<String>,
}

impl Receive {
    pub fn max(&self) -> Result<usize, SqsError> {
        let max = range("MaxNumberOfMessages", self.max_number_of_messages, 1, 10)?;
        Ok(usize::try_from(max.unwrap_or(1)).unwrap_or(1))
    }

    pub fn visibility_seconds(&self) -> Result<Option<u32>, SqsError> {
        range("VisibilityTimeout", self.visibility_timeout, 0, VISIBILITY_SECONDS_MAX)
    }

    pub fn wait_seconds(&self) -> Result<Option<u32>, SqsError> {
        range("WaitTimeSeconds", self.wait_time_seconds, 0, WAIT_SECONDS_MAX)
    }

    /// Whether the caller asked for this system attribute.
    pub fn wants_system(&self, name: &str) -> bool {
        let names = self.attribute_names.iter().chain(&self.message_system_attribute_names);
        names.into_iter().any(|wanted| wanted == "All" || wanted == name)
    }

    /// Whether the caller asked for this message attribute, by name, by `prefix.*` or for all.
    pub fn wants_attribute(&self, name: &str) -> bool {
        self.message_attribute_names.iter().any(|wanted| {
            wanted == "All"
                || wanted == name
                || wanted.strip_suffix(".*").is_some_and(|prefix| name.starts_with(prefix))
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Receipt {
    #[serde(default)]
    pub receipt_handle: String,
    visibility_timeout: Option<i64>,
}

impl Receipt {
    pub fn visibility_seconds(&self) -> Result<u32, SqsError> {
        range("VisibilityTimeout", self.visibility_timeout, 0, VISIBILITY_SECONDS_MAX)?
            .ok_or_else(|| SqsError::missing("VisibilityTimeout"))
    }
}

/// One entry of a batch.
#[derive(Debug)]
pub struct Entry<T> {
    pub id: String,
    pub item: T,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    #[serde(default)]
    entries: Vec<Value>,
}

impl<T: DeserializeOwned> Entry<T> {
    fn parse(entry: Value) -> Result<Entry<T>, SqsError> {
        let id = entry["Id"].as_str().unwrap_or_default().to_owned();
        let item = serde_json::from_value(entry).map_err(unreadable)?;
        Ok(Entry { id, item })
    }
}

/// The entries of a batch: one to ten, with valid and distinct identifiers.
pub fn entries<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<Entry<T>>, SqsError> {
    let entries = parse::<Batch>(body)?.entries;
    if entries.is_empty() {
        let message = "There should be at least one entry in the request.";
        return Err(SqsError::new(Kind::EmptyBatchRequest, message));
    }
    if entries.len() > BATCH_ENTRIES_MAX {
        let message = format!("Maximum number of entries per request are {BATCH_ENTRIES_MAX}.");
        return Err(SqsError::new(Kind::TooManyEntriesInBatchRequest, message));
    }
    let entries: Vec<Entry<T>> = entries.into_iter().map(Entry::parse).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    for Entry { id, .. } in &entries {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 80 || !id.chars().all(valid) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and \
                           underscores. It can be at most 80 letters long.";
            return Err(SqsError::new(Kind::InvalidBatchEntryId, message));
        }
        if !seen.insert(id) {
            return Err(SqsError::new(
                Kind::BatchEntryIdsNotDistinct,
                format!("Id {id} repeated."),
            ));
        }
    }
    Ok(entries)
}

/// A number between two limits, both allowed; nothing stays nothing.
pub fn range(name: &str, value: Option<i64>, min: u32, max: u32) -> Result<Option<u32>, SqsError> {
    let Some(value) = value else { return Ok(None) };
    match u32::try_from(value) {
        Ok(within) if (min..=max).contains(&within) => Ok(Some(within)),
        _ => Err(SqsError::invalid(
            name,
            value,
            &format!("Must be between {min} and {max}, if provided."),
        )),
    }
}
