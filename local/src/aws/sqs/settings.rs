//! Queue attributes: from the names and strings of the wire to [`Settings`] and back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::{Kind, SqsError};
use super::message::{MESSAGE_BYTES_MAX, MessageState};
use super::queue::{Queue, Queues, Redrive, Settings, arn};
use super::request::range;

/// Applies wire attributes on top of `base`. The dead-letter queue must be there already.
pub fn parse(
    base: Settings,
    attributes: &BTreeMap<String, String>,
    queues: &Queues,
) -> Result<Settings, SqsError> {
    let mut settings = base;
    for (name, text) in attributes {
        match name.as_str() {
            "VisibilityTimeout" => settings.visibility_seconds = number(name, text, 0, 43_200)?,
            "MessageRetentionPeriod" => {
                settings.retention_seconds = number(name, text, 60, 1_209_600)?;
            }
            "DelaySeconds" => settings.delay_seconds = number(name, text, 0, 900)?,
            "ReceiveMessageWaitTimeSeconds" => {
                settings.receive_wait_seconds = number(name, text, 0, 20)?;
            }
            "RedrivePolicy" => settings.redrive = redrive(text, queues)?,
            "FifoQueue" if text == "true" => {
                let message = "The embedded queues are standard queues only.";
                return Err(SqsError::new(Kind::UnsupportedOperation, message));
            }
            // Encryption, policies and size limits mean nothing on one machine.
            "SqsManagedSseEnabled"
            | "KmsMasterKeyId"
            | "KmsDataKeyReusePeriodSeconds"
            | "Policy"
            | "MaximumMessageSize"
            | "RedriveAllowPolicy"
            | "FifoQueue" => {}
            _ => {
                let message = format!("Unknown Attribute {name}.");
                return Err(SqsError::new(Kind::InvalidAttributeName, message));
            }
        }
    }
    Ok(settings)
}

fn number(name: &str, text: &str, min: u32, max: u32) -> Result<u32, SqsError> {
    let refused = || {
        let message = format!("Invalid value for the parameter {name}: {text:?}.");
        SqsError::new(Kind::InvalidAttributeValue, message)
    };
    let value = text.parse().map_err(|_| refused())?;
    range(name, Some(value), min, max).ok().flatten().ok_or_else(refused)
}

fn redrive(text: &str, queues: &Queues) -> Result<Option<Redrive>, SqsError> {
    if text.is_empty() {
        return Ok(None);
    }
    let refused = |reason: &str| SqsError::invalid("RedrivePolicy", text, reason);
    let policy: Value = serde_json::from_str(text).map_err(|_| refused("Not valid JSON."))?;
    let target = policy["deadLetterTargetArn"].as_str().and_then(|arn| arn.rsplit(':').next());
    let target = target.ok_or_else(|| refused("No deadLetterTargetArn."))?.to_owned();
    if !queues.by_name.contains_key(&target) {
        return Err(refused("Dead letter target does not exist."));
    }
    let count = &policy["maxReceiveCount"];
    let count = count.as_i64().or_else(|| count.as_str()?.parse().ok());
    match range("maxReceiveCount", count, 1, 1_000)? {
        Some(max_receive_count) => Ok(Some(Redrive { target, max_receive_count })),
        None => Err(refused("No maxReceiveCount.")),
    }
}

/// The attributes a queue shows, as strings, restricted to the names asked for.
pub fn show(
    name: &str,
    queue: &Queue,
    wanted: &[String],
    now_ms: i64,
) -> BTreeMap<&'static str, String> {
    let count =
        |state| queue.messages.values().filter(|m| m.state(now_ms) == state).count().to_string();
    let settings = &queue.settings;
    let mut all = BTreeMap::from([
        ("ApproximateNumberOfMessages", count(MessageState::Visible)),
        ("ApproximateNumberOfMessagesDelayed", count(MessageState::Delayed)),
        ("ApproximateNumberOfMessagesNotVisible", count(MessageState::InFlight)),
        ("CreatedTimestamp", (queue.created_ms / 1_000).to_string()),
        ("DelaySeconds", settings.delay_seconds.to_string()),
        ("LastModifiedTimestamp", (queue.created_ms / 1_000).to_string()),
        ("MaximumMessageSize", MESSAGE_BYTES_MAX.to_string()),
        ("MessageRetentionPeriod", settings.retention_seconds.to_string()),
        ("QueueArn", arn(name)),
        ("ReceiveMessageWaitTimeSeconds", settings.receive_wait_seconds.to_string()),
        ("SqsManagedSseEnabled", "true".to_owned()),
        ("VisibilityTimeout", settings.visibility_seconds.to_string()),
    ]);
    if let Some(redrive) = &settings.redrive {
        let policy = json!({
            "deadLetterTargetArn": arn(&redrive.target),
            "maxReceiveCount": redrive.max_receive_count,
        });
        all.insert("RedrivePolicy", policy.to_string());
    }
    all.retain(|name, _| wanted.iter().any(|wanted| wanted == "All" || wanted == name));
    all
}
