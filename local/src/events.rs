//! Events as AWS hands them to functions: API Gateway HTTP API v2, SQS, EventBridge Scheduler.

use std::collections::BTreeMap;

use aws_sdk_sqs::types::{Message, MessageAttributeValue};
use http::HeaderMap;
use lambda_http::aws_lambda_events::encodings::Body;
use serde_json::{Value, json};

/// An HTTP request as the gateway received it.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The verb.
    pub method: http::Method,
    /// The path, without the query.
    pub path: String,
    /// The query as sent, without `?`; empty when there is none.
    pub query: String,
    /// The headers as sent.
    pub headers: HeaderMap,
    /// The body as sent.
    pub body: Vec<u8>,
    /// Unique to this request.
    pub request_id: String,
    /// When it came in, milliseconds since the Unix epoch.
    pub received_ms: i64,
}

/// The API Gateway HTTP API v2 event for `incoming`, on `route_key` with `parameters`.
pub fn gateway_event(
    incoming: &Incoming,
    route_key: &str,
    parameters: &BTreeMap<String, String>,
) -> Value {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &incoming.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        // The gateway joins repeated headers with a comma.
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|joined| {
                joined.push(',');
                joined.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    // These are the gateway's own, whatever the client sent.
    let host = "localhost".to_owned();
    headers.insert("host".to_owned(), host.clone());
    headers.insert("x-forwarded-for".to_owned(), "127.0.0.1".to_owned());
    headers.insert("x-forwarded-proto".to_owned(), "http".to_owned());
    let (body, is_base64) = encode_body(&incoming.headers, &incoming.body);
    let mut event = json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": incoming.path,
        "rawQueryString": incoming.query,
        "headers": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": "local",
            "http": {
                "method": incoming.method.as_str(),
                "path": incoming.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": headers.get("user-agent").cloned().unwrap_or_default(),
            },
            "requestId": incoming.request_id,
            "routeKey": route_key,
            "stage": "$default",
            "time": "",
            "timeEpoch": incoming.received_ms,
        },
        "isBase64Encoded": is_base64,
    });
    if !parameters.is_empty() {
        event["pathParameters"] = json!(parameters);
    }
    if let Some(body) = body {
        event["body"] = Value::String(body);
    }
    event
}

/// Text types go through as text, everything else as base64: forms come encoded.
fn encode_body(headers: &HeaderMap, body: &[u8]) -> (Option<String>, bool) {
    if body.is_empty() {
        return (None, false);
    }
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or("").to_ascii_lowercase();
    let textual = content_type.starts_with("text/")
        || ["application/json", "application/xml", "application/javascript"]
            .iter()
            .any(|known| content_type.starts_with(known));
    match std::str::from_utf8(body) {
        Ok(text) if textual => (Some(text.to_owned()), false),
        _ => {
            let encoded = serde_json::to_value(Body::Binary(body.to_vec()));
            let text = encoded.ok().and_then(|value| value.as_str().map(str::to_owned));
            (text, true)
        }
    }
}

/// The SQS event for a batch.
pub fn sqs_event(messages: &[Message], queue_arn: &str) -> Value {
    let record = |message: &Message| {
        let attributes: BTreeMap<&str, &String> = message
            .attributes()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        json!({
            "messageId": message.message_id(),
            "receiptHandle": message.receipt_handle(),
            "body": message.body(),
            "attributes": attributes,
            "messageAttributes": message_attributes(message),
            "md5OfBody": message.md5_of_body(),
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn,
            "awsRegion": "us-east-1",
        })
    };
    json!({"Records": messages.iter().map(record).collect::<Vec<_>>()})
}

fn message_attributes(message: &Message) -> Value {
    let shown = |value: &MessageAttributeValue| {
        json!({
            "stringValue": value.string_value(), "dataType": value.data_type(),
            "stringListValues": [], "binaryListValues": [],
        })
    };
    let attributes = message.message_attributes().into_iter().flatten();
    attributes.map(|(name, value)| (name.clone(), shown(value))).collect()
}

/// What EventBridge Scheduler sends when no input is configured: the repository's own example.
pub fn schedule_event() -> Value {
    serde_json::from_str(include_str!("../../events/poller-schedule.json")).unwrap_or_default()
}
