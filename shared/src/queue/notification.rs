//! The notification queue: which notice of which order is to be delivered. Carries no body, no address
//! and no secret: the notifier reads the order itself.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::{NotConfirmed, Undecodable, trace_attribute};
use crate::domain::{OrderId, TraceId};

const VERSION: u32 = 1;

/// Messages that the queue takes at once.
const BATCH_MAX: usize = 10;

/// A notice on its way to the notifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationMessage {
    /// The request that caused it.
    pub trace: TraceId,
    /// The order.
    pub order: OrderId,
    /// Which of its notices.
    pub sequence: u32,
    /// Attempts made when this was sent: a second copy of the message finds one more, and does nothing.
    pub made: u32,
    /// Sent again although it was delivered or given up: somebody has asked for it.
    pub again: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    version: u32,
    trace_id: String,
    order_id: String,
    sequence: u32,
    #[serde(default)]
    made: u32,
    #[serde(default)]
    again: bool,
}

impl NotificationMessage {
    /// The message body.
    pub fn encode(&self) -> String {
        let wire = Wire {
            version: VERSION,
            trace_id: self.trace.to_string(),
            order_id: self.order.to_string(),
            sequence: self.sequence,
            made: self.made,
            again: self.again,
        };
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Reads a message body.
    pub fn decode(body: &str) -> Result<NotificationMessage, Undecodable> {
        let wire: Wire = serde_json::from_str(body).map_err(|_| Undecodable("not our message"))?;
        if wire.version != VERSION {
            return Err(Undecodable("of another version"));
        }
        Ok(NotificationMessage {
            trace: TraceId::parse(&wire.trace_id).ok_or(Undecodable("traceId"))?,
            order: OrderId::parse(&wire.order_id).ok_or(Undecodable("orderId"))?,
            sequence: wire.sequence,
            made: wire.made,
            again: wire.again,
        })
    }
}

/// The queue that feeds the notifier.
#[derive(Debug, Clone)]
pub struct NotificationQueue {
    client: Client,
    url: String,
}

impl NotificationQueue {
    /// The queue at `url`.
    pub const fn new(client: Client, url: String) -> NotificationQueue {
        NotificationQueue { client, url }
    }

    /// Hands a message over; `Ok` means that the queue has it.
    pub async fn send(&self, message: &NotificationMessage) -> Result<(), NotConfirmed> {
        let request = self.client.send_message().queue_url(&self.url);
        let request = request.set_message_system_attributes(trace_attribute());
        let sent = request.message_body(message.encode()).send().await;
        sent.map(|_| ()).map_err(|error| refused(error.code()))
    }

    /// Hands many messages over; `Ok` means that the queue has all of them.
    pub async fn send_all(&self, messages: &[NotificationMessage]) -> Result<(), NotConfirmed> {
        let batches = messages.chunks(BATCH_MAX).map(|batch| self.send_batch(batch));
        try_join_all(batches).await.map(drop)
    }

    async fn send_batch(&self, messages: &[NotificationMessage]) -> Result<(), NotConfirmed> {
        let entry = |(number, message): (usize, &NotificationMessage)| {
            let entry = SendMessageBatchRequestEntry::builder().id(number.to_string());
            let entry = entry.set_message_system_attributes(trace_attribute());
            entry.message_body(message.encode()).build()
        };
        let entries = messages.iter().enumerate().map(entry).collect::<Result<_, _>>();
        let entries = entries.map_err(|_| refused(Some("entry")))?;
        let request = self.client.send_message_batch().queue_url(&self.url);
        let sent = request.set_entries(Some(entries)).send().await;
        match sent.map_err(|error| refused(error.code()))?.failed().first() {
            None => Ok(()),
            Some(failed) => Err(refused(Some(failed.code()))),
        }
    }
}

fn refused(code: Option<&str>) -> NotConfirmed {
    NotConfirmed(code.unwrap_or("no answer").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_others_are_refused() {
        let message = NotificationMessage {
            trace: TraceId::parse("t-1").unwrap(),
            order: OrderId::parse("R0123456789ABCDEFGHJKMNPQR").unwrap(),
            sequence: 2,
            made: 3,
            again: true,
        };
        assert_eq!(NotificationMessage::decode(&message.encode()), Ok(message.clone()));
        let newer = message.encode().replace("\"version\":1", "\"version\":2");
        assert!(NotificationMessage::decode(&newer).is_err());
        let more = message.encode().replacen('{', "{\"later\":1,", 1);
        assert_eq!(NotificationMessage::decode(&more), Ok(message), "a member more does no harm");
        assert!(NotificationMessage::decode("{}").is_err());
    }
}
