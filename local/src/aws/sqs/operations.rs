//! The SQS operations: a parsed request against the queues, an answer in the shape of the wire.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::State;
use super::error::{Kind, SqsError};
use super::message::{Attributes, MESSAGE_BYTES_MAX, md5_hex, md5_of_attributes};
use super::queue::{Handed, Outgoing, Settings};
use super::request::{
    Entry, ListQueues, QueueName, QueueUrl, Receipt, Receive, Send, entries, parse, queue_name,
};
use super::settings;

/// Runs every operation but `ReceiveMessage`; nothing for an operation that is not known.
pub fn run(
    state: &mut State,
    operation: &str,
    body: &[u8],
    now_ms: i64,
) -> Result<Option<Value>, SqsError> {
    let done = match operation {
        "CreateQueue" => create_queue(state, body, now_ms)?,
        "GetQueueUrl" => get_queue_url(state, body)?,
        "ListQueues" => list_queues(state, body)?,
        _ if IN_A_QUEUE.contains(&operation) => {
            let url: QueueUrl = parse(body)?;
            let name = queue_name(&url.queue_url)?;
            state.queues.get(name)?;
            in_queue(state, operation, name, body, now_ms)?
        }
        _ => return Ok(None),
    };
    Ok(Some(done))
}

const IN_A_QUEUE: [&str; 10] = [
    "GetQueueAttributes",
    "SetQueueAttributes",
    "DeleteQueue",
    "PurgeQueue",
    "SendMessage",
    "SendMessageBatch",
    "DeleteMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
];

fn in_queue(
    state: &mut State,
    operation: &str,
    name: &str,
    body: &[u8],
    now_ms: i64,
) -> Result<Value, SqsError> {
    let queues = &mut state.queues;
    match operation {
        "GetQueueAttributes" => {
            let wanted = parse::<QueueUrl>(body)?.attribute_names;
            queues.expire(name, now_ms)?;
            let shown = settings::show(name, queues.get(name)?, &wanted, now_ms);
            return Ok(json!({ "Attributes": shown }));
        }
        "SetQueueAttributes" => {
            let attributes = parse::<QueueUrl>(body)?.attributes;
            let base = queues.get(name)?.settings.clone();
            let settings = settings::parse(base, &attributes, queues)?;
            queues.put_settings(name, settings, now_ms);
        }
        "DeleteQueue" => queues.drop_queue(name)?,
        "PurgeQueue" => queues.purge(name)?,
        "SendMessage" => return send(state, name, parse::<Send>(body)?.check()?, now_ms),
        "SendMessageBatch" => return send_batch(state, name, entries(body)?, now_ms),
        "DeleteMessage" => queues.delete(name, &receipt(body)?.receipt_handle)?,
        "DeleteMessageBatch" => {
            return batch(body, |receipt: Receipt| {
                queues.delete(name, &receipt.receipt_handle).map(|()| Map::new())
            });
        }
        "ChangeMessageVisibility" => {
            let receipt = receipt(body)?;
            let seconds = receipt.visibility_seconds()?;
            queues.change_visibility(name, &receipt.receipt_handle, seconds, now_ms)?;
        }
        _ => {
            return batch(body, |receipt: Receipt| {
                let seconds = receipt.visibility_seconds()?;
                queues
                    .change_visibility(name, &receipt.receipt_handle, seconds, now_ms)
                    .map(|()| Map::new())
            });
        }
    }
    Ok(json!({}))
}

fn create_queue(state: &mut State, body: &[u8], now_ms: i64) -> Result<Value, SqsError> {
    let QueueName { queue_name: name, attributes } = parse(body)?;
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 80 || !name.chars().all(valid) {
        let reason = "Can only include alphanumeric characters, hyphens, or underscores. \
                      1 to 80 in length; the embedded queues are standard queues only.";
        return Err(SqsError::invalid("QueueName", name, reason));
    }
    let wanted = settings::parse(Settings::default(), &attributes, &state.queues)?;
    match state.queues.by_name.get(&name) {
        Some(queue) if attributes.is_empty() || queue.settings == wanted => {}
        Some(_) => {
            let message = "A queue already exists with the same name and different attributes.";
            return Err(SqsError::new(Kind::QueueNameExists, message));
        }
        None => state.queues.put_settings(&name, wanted, now_ms),
    }
    Ok(json!({ "QueueUrl": state.queue_url(&name) }))
}

fn get_queue_url(state: &State, body: &[u8]) -> Result<Value, SqsError> {
    let QueueName { queue_name: name, .. } = parse(body)?;
    state.queues.get(&name)?;
    Ok(json!({ "QueueUrl": state.queue_url(&name) }))
}

fn list_queues(state: &State, body: &[u8]) -> Result<Value, SqsError> {
    let ListQueues { queue_name_prefix: prefix } = parse(body)?;
    let names = state.queues.by_name.keys().filter(|name| name.starts_with(&prefix));
    let urls: Vec<String> = names.map(|name| state.queue_url(name)).collect();
    Ok(if urls.is_empty() { json!({}) } else { json!({ "QueueUrls": urls }) })
}

fn receipt(body: &[u8]) -> Result<Receipt, SqsError> {
    let receipt: Receipt = parse(body)?;
    if receipt.receipt_handle.is_empty() {
        return Err(SqsError::missing("ReceiptHandle"));
    }
    Ok(receipt)
}

fn send(state: &mut State, name: &str, out: Outgoing, now_ms: i64) -> Result<Value, SqsError> {
    let mut answer = json!({ "MD5OfMessageBody": md5_hex(out.body.as_bytes()) });
    if let Some(digest) = md5_of_attributes(&out.attributes)? {
        answer["MD5OfMessageAttributes"] = digest.into();
    }
    if let Some(digest) = md5_of_attributes(&out.system)? {
        answer["MD5OfMessageSystemAttributes"] = digest.into();
    }
    answer["MessageId"] = state.queues.send(name, out, now_ms)?.into();
    Ok(answer)
}

fn send_batch(
    state: &mut State,
    name: &str,
    entries: Vec<Entry<Send>>,
    now_ms: i64,
) -> Result<Value, SqsError> {
    if entries.iter().map(|entry| entry.item.size()).sum::<usize>() > MESSAGE_BYTES_MAX {
        let message = format!("Batch requests cannot be longer than {MESSAGE_BYTES_MAX} bytes.");
        return Err(SqsError::new(Kind::BatchRequestTooLong, message));
    }
    Ok(batch_of(entries, |item: Send| match send(state, name, item.check()?, now_ms)? {
        Value::Object(answer) => Ok(answer),
        _ => Ok(Map::new()),
    }))
}

fn batch<T: DeserializeOwned>(
    body: &[u8],
    one: impl FnMut(T) -> Result<Map<String, Value>, SqsError>,
) -> Result<Value, SqsError> {
    Ok(batch_of(entries(body)?, one))
}

/// Runs each entry on its own: one that is refused does not keep the others back.
fn batch_of<T>(
    entries: Vec<Entry<T>>,
    mut one: impl FnMut(T) -> Result<Map<String, Value>, SqsError>,
) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for Entry { id, item } in entries {
        match one(item) {
            Ok(mut answer) => {
                answer.insert("Id".to_owned(), id.into());
                successful.push(Value::Object(answer));
            }
            Err(error) => failed.push(json!({
                "Id": id,
                "SenderFault": error.kind != Kind::Internal,
                "Code": error.kind.code(),
                "Message": error.message,
            })),
        }
    }
    json!({ "Successful": successful, "Failed": failed })
}

/// A checked `ReceiveMessage`.
#[derive(Debug)]
pub struct Asked {
    name: String,
    receive: Receive,
    max: usize,
    visibility_seconds: Option<u32>,
    wait_seconds: Option<u32>,
}

impl Asked {
    pub fn parse(body: &[u8]) -> Result<Asked, SqsError> {
        let url: QueueUrl = parse(body)?;
        let receive: Receive = parse(body)?;
        Ok(Asked {
            name: queue_name(&url.queue_url)?.to_owned(),
            max: receive.max()?,
            visibility_seconds: receive.visibility_seconds()?,
            wait_seconds: receive.wait_seconds()?,
            receive,
        })
    }

    /// What there is now; when something may come next; and how long this receive may wait.
    pub fn take(
        &self,
        state: &mut State,
        now_ms: i64,
    ) -> Result<(Vec<Value>, Option<i64>, i64), SqsError> {
        let queues = &mut state.queues;
        let handed = queues.receive(&self.name, self.max, self.visibility_seconds, now_ms)?;
        let default_seconds = queues.get(&self.name)?.settings.receive_wait_seconds;
        let wait_ms = i64::from(self.wait_seconds.unwrap_or(default_seconds)) * 1_000;
        let next_ms = queues.next_visible_ms(&self.name, now_ms);
        let shown = handed.into_iter().map(|handed| self.show(handed)).collect::<Result<_, _>>()?;
        Ok((shown, next_ms, wait_ms))
    }

    fn show(&self, Handed { receipt_handle, message }: Handed) -> Result<Value, SqsError> {
        let mut shown = json!({
            "MessageId": message.content.id,
            "ReceiptHandle": receipt_handle,
            "MD5OfBody": md5_hex(message.content.body.as_bytes()),
            "Body": message.content.body,
        });
        let first_ms = message.first_received_ms.unwrap_or(message.content.sent_ms);
        let mut system = Map::from_iter([
            ("ApproximateReceiveCount".to_owned(), message.receive_count.to_string().into()),
            ("ApproximateFirstReceiveTimestamp".to_owned(), first_ms.to_string().into()),
            ("SentTimestamp".to_owned(), message.content.sent_ms.to_string().into()),
            ("SenderId".to_owned(), "AIDAEMBEDDED".into()),
        ]);
        if let Some(source) = &message.content.source_arn {
            system.insert("DeadLetterQueueSourceArn".to_owned(), source.as_str().into());
        }
        for (name, attribute) in &message.content.system {
            let text = attribute.string_value.clone().unwrap_or_default();
            system.insert(name.clone(), text.into());
        }
        system.retain(|name, _| self.receive.wants_system(name));
        if !system.is_empty() {
            shown["Attributes"] = system.into();
        }
        let mut attributes: Attributes = message.content.attributes;
        attributes.retain(|name, _| self.receive.wants_attribute(name));
        if let Some(digest) = md5_of_attributes(&attributes)? {
            shown["MD5OfMessageAttributes"] = digest.into();
            shown["MessageAttributes"] = json!(attributes);
        }
        Ok(shown)
    }
}
