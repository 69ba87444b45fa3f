//! The notification queue: which notice of which order is to be delivered. Carries no body, no address
//! and no secret: the notifier reads the order itself.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::{NotConfirmed, Undecodable, object, trace_attribute, typed};
use crate::domain::{OrderId, TraceId};
use crate::sometimes::sometimes;
use crate::xray::{self, TraceHeader};

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
        let wire: Wire = typed(object(body)?)?;
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

/// A message with the X-Ray trace of the work that made it, whoever sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The message.
    pub message: NotificationMessage,
    /// The trace.
    pub header: Option<TraceHeader>,
}

impl Outgoing {
    /// The message, caused by the work that this is called in.
    pub fn new(message: NotificationMessage) -> Outgoing {
        Outgoing { message, header: xray::current() }
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
    pub async fn send(&self, message: NotificationMessage) -> Result<(), NotConfirmed> {
        self.send_all(vec![message]).await
    }

    /// Hands many messages over; `Ok` means that the queue has all of them.
    pub async fn send_all(&self, messages: Vec<NotificationMessage>) -> Result<(), NotConfirmed> {
        let outgoing: Vec<_> = messages.into_iter().map(Outgoing::new).collect();
        self.send_each(&outgoing).await.into_iter().collect()
    }

    /// Hands many messages over, ten in a request; what became of each, in their order. The queue may take
    /// some of a request and not others: the client does not try these again, so this does, once.
    pub async fn send_each(&self, outgoing: &[Outgoing]) -> Vec<Result<(), NotConfirmed>> {
        let batches = outgoing.chunks(BATCH_MAX).map(async |batch| {
            let mut sent = match self.send_batch(batch).await {
                Ok(sent) => sent,
                Err(error) => return vec![Err(error); batch.len()],
            };
            let left: Vec<usize> = (0..batch.len()).filter(|n| sent[*n].is_err()).collect();
            if !left.is_empty() {
                sometimes("queue: a part of a batch sent again");
                let again: Vec<Outgoing> = left.iter().map(|n| batch[*n].clone()).collect();
                if let Ok(results) = self.send_batch(&again).await {
                    for (number, result) in left.into_iter().zip(results) {
                        sent[number] = result;
                    }
                }
            }
            sent
        });
        join_all(batches).await.into_iter().flatten().collect()
    }

    async fn send_batch(
        &self,
        outgoing: &[Outgoing],
    ) -> Result<Vec<Result<(), NotConfirmed>>, NotConfirmed> {
        let entry = |(number, Outgoing { message, header }): (usize, &Outgoing)| {
            let entry = SendMessageBatchRequestEntry::builder().id(number.to_string());
            let entry = entry.set_message_system_attributes(trace_attribute(header.as_ref()));
            entry.message_body(message.encode()).build()
        };
        let entries = outgoing.iter().enumerate().map(entry).collect::<Result<_, _>>();
        let entries = entries.map_err(|_| refused(Some("entry")))?;
        let request = self.client.send_message_batch().queue_url(&self.url);
        let sent = request.set_entries(Some(entries)).send().await;
        let sent = sent.map_err(|error| refused(error.code()))?;
        let result = |number: usize| {
            let number = number.to_string();
            match sent.failed().iter().find(|failed| failed.id() == number) {
                Some(failed) => Err(refused(Some(failed.code()))),
                // Only what the queue says it has.
                None if sent.successful().iter().any(|sent| sent.id() == number) => Ok(()),
                None => Err(refused(None)),
            }
        };
        Ok((0..outgoing.len()).map(result).collect())
    }
}

fn refused(code: Option<&str>) -> NotConfirmed {
    NotConfirmed(code.unwrap_or("no answer").to_owned())
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_runtime_api::client::http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
    use aws_smithy_types::body::SdkBody;
    use serde_json::{Value, json};

    use super::*;

    /// Takes the first message of a request, refuses the second and says nothing about the others.
    #[derive(Debug, Clone, Copy)]
    struct TakesTheFirst;

    impl HttpConnector for TakesTheFirst {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            let id = |entry: usize| body["Entries"][entry]["Id"].clone();
            let failed = json!({"Id": id(1), "SenderFault": false, "Code": "InternalError"});
            let body = json!({
                "Successful": [{"Id": id(0), "MessageId": "m-1", "MD5OfMessageBody": "md5"}],
                "Failed": if id(1).is_null() { json!([]) } else { json!([failed]) },
            });
            let body = SdkBody::from(body.to_string());
            HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), body)))
        }
    }

    impl HttpClient for TakesTheFirst {
        fn http_connector(
            &self,
            _: &HttpConnectorSettings,
            _: &RuntimeComponents,
        ) -> SharedHttpConnector {
            SharedHttpConnector::new(*self)
        }
    }

    #[tokio::test]
    async fn each_message_is_told_by_itself_what_became_of_it() {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("AKID", "secret", None, None, "test"))
            .http_client(SharedHttpClient::new(TakesTheFirst));
        let client = Client::from_conf(config.build());
        let queue = NotificationQueue::new(client, "https://queue.test/1".to_owned());
        let message = |sequence| NotificationMessage {
            trace: TraceId::parse("t-1").unwrap(),
            order: OrderId::parse("R0123456789ABCDEFGHJKMNPQR").unwrap(),
            sequence,
            made: 0,
            again: false,
        };
        // Twelve messages are two requests, and what is left of each is one more; the first of each is taken.
        let outgoing: Vec<_> = (0..12).map(|n| Outgoing::new(message(n))).collect();
        let sent = queue.send_each(&outgoing).await;
        let taken: Vec<_> = (0..sent.len()).filter(|n| sent[*n].is_ok()).collect();
        assert_eq!((sent.len(), taken), (12, vec![0, 1, 10, 11]));
        assert_eq!(sent[2], Err(refused(Some("InternalError"))));
        assert_eq!(sent[3], Err(refused(None)), "what is not said to be taken is not taken");
        assert_eq!(queue.send(message(0)).await, Ok(()));
        let three = queue.send_all((0..3).map(message).collect()).await;
        assert_eq!(three, Err(refused(Some("InternalError"))));
        assert_eq!(queue.send_each(&[]).await, Vec::new());
    }

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
