//! A client of the running bundle: signs requests the way merchants do and sends them.

use std::time::Duration;

use bytes::Bytes;
use recharge_shared::auth::sign;
use recharge_shared::clock::{Clock, SystemClock};
use recharge_shared::outbound::{Limits, Outbound};
use recharge_shared::outbound_hyper::HyperOutbound;
use serde_json::Value;

/// A merchant's key, as the local stack knows it.
#[derive(Debug, Clone, Copy)]
pub struct ApiKey<'a> {
    /// Its public name.
    pub id: &'a str,
    /// What it signs with.
    pub secret: &'a str,
    /// Whose it is.
    pub merchant: &'a str,
}

/// The local stack's merchants.
pub const API_KEYS: [ApiKey<'static>; 2] = [
    ApiKey { id: "demo", secret: "demo-secret-0123456789abcdef0123456789ab", merchant: "m_demo" },
    ApiKey { id: "demo2", secret: "demo2-secret-0123456789abcdef0123456789a", merchant: "m_demo2" },
];

/// The local stack's people: two of a merchant, and two of whoever runs the stack.
pub const ADMIN_KEYS: [ApiKey<'static>; 4] = [
    ApiKey { id: "admin", secret: "admin-secret-0123456789abcdef0123456789a", merchant: "m_demo" },
    ApiKey { id: "admin2", secret: "admin2-secret-0123456789abcdef0123456789", merchant: "m_demo" },
    ApiKey {
        id: "operator",
        secret: "operator-secret-0123456789abcdef01234567",
        merchant: "operator",
    },
    ApiKey {
        id: "operator2",
        secret: "operator2-secret-0123456789abcdef0123456",
        merchant: "operator",
    },
];

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Whether it repeats an earlier one.
    pub replayed: bool,
    /// The body; `null` when it is no JSON.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

/// Talks to one gateway.
#[derive(Debug)]
pub struct Client {
    base_url: String,
    outbound: HyperOutbound,
}

const LIMITS: Limits =
    Limits { deadline: Duration::from_secs(40), answer_bytes_max: 8 * 1024 * 1024 };

impl Client {
    /// A client of the gateway at `base_url`.
    pub fn new(base_url: String) -> Client {
        Client { base_url, outbound: HyperOutbound::new(true) }
    }

    /// Signs with `key` and sends; `idempotency_key` may be empty.
    pub async fn signed(
        &self,
        key: ApiKey<'_>,
        (method, path): (&str, &str),
        body: &str,
        idempotency_key: &str,
    ) -> Result<Reply, String> {
        let now = SystemClock.now().secs();
        let claim = (now, key.id, idempotency_key);
        let signature = sign(key.secret, (method, path), claim, body.as_bytes());
        let now = now.to_string();
        let mut headers = vec![
            ("x-api-key", key.id),
            ("x-timestamp", now.as_str()),
            ("x-signature", signature.as_str()),
            ("content-type", "application/json"),
        ];
        if !idempotency_key.is_empty() {
            headers.push(("idempotency-key", idempotency_key));
        }
        self.send((method, path), &headers, body.as_bytes()).await
    }

    /// Sends as given.
    pub async fn send(
        &self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, String> {
        let mut request =
            http::Request::builder().method(method).uri(format!("{}{path}", self.base_url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::copy_from_slice(body)).map_err(|e| e.to_string())?;
        let response = self.outbound.send(request, LIMITS).await.map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(response.body()).into_owned();
        Ok(Reply {
            status: response.status().as_u16(),
            replayed: response.headers().contains_key("idempotency-replayed"),
            json: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        })
    }

    /// Sends a control command of the local stack.
    pub async fn local(&self, command: &str, body: Value) -> Result<Value, String> {
        let method = if command == "state" { "GET" } else { "POST" };
        let headers = [("content-type", "application/json")];
        let path = format!("/_local/{command}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.send((method, &path), &headers, body.as_bytes()).await?;
        if reply.status == 200 { Ok(reply.json) } else { Err(reply.text) }
    }
}
