//! A simulated provider of the kind `standard`: checks our signatures, keeps orders, answers queries by
//! its own truth or by what a test wants it to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};
use recharge_shared::providers::standard::{HEADERS, signature};
use serde_json::{Value, json};

/// The host under which it is reached.
pub const HOST: &str = "standard.invalid";

#[derive(Debug, Default)]
struct State {
    key: String,
    creates: BTreeMap<String, u32>,
    paid: BTreeMap<String, Value>,
    always_says: Option<String>,
    attempts: u32,
    is_down: bool,
    rejects: Option<String>,
    asked: BTreeSet<String>,
}

/// The provider. Clones are the same one.
#[derive(Debug, Clone)]
pub struct SimStandard {
    state: Arc<Mutex<State>>,
}

impl SimStandard {
    /// A provider that signs and expects signatures with `key`.
    pub fn new(key: &str) -> SimStandard {
        let state = State { key: key.to_owned(), ..State::default() };
        SimStandard { state: Arc::new(Mutex::new(state)) }
    }

    /// Signs and expects signatures with another key from now on.
    pub fn set_key(&self, key: &str) {
        key.clone_into(&mut self.lock().key);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders that it has.
    pub fn provider_orders(&self) -> usize {
        self.lock().creates.len()
    }

    /// Whether it has taken `order`.
    pub fn has(&self, order: &str) -> bool {
        self.lock().creates.contains_key(order)
    }

    /// Orders that it was asked about.
    pub fn asked(&self) -> usize {
        self.lock().asked.len()
    }

    /// Creates that were tried, with or without effect.
    pub fn attempts(&self) -> u32 {
        self.lock().attempts
    }

    /// Somebody has tried to connect, for a call to `path`.
    pub fn tried(&self, path: &str) {
        if path == "/orders" {
            self.lock().attempts += 1;
        }
    }

    /// Nobody can connect any more, or everybody again.
    pub fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    /// Refuses orders with this text from now on; `None` takes them again.
    pub fn reject(&self, text: Option<String>) {
        self.lock().rejects = text;
    }

    /// What queries are answered from now on, whatever the truth; `None` for the truth. Sent as it is; an
    /// object that names no order is about the one that was asked for.
    pub fn say(&self, answer: Option<String>) {
        self.lock().always_says = answer;
    }

    /// The payer has paid: its truth about `order` from now on.
    pub fn set_paid(&self, order: &str, truth: Value) {
        self.lock().paid.insert(order.to_owned(), truth);
    }

    fn answer(&self, path: &str, headers: &http::HeaderMap, body: &[u8]) -> (u16, String) {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let [id, timestamp, given] = HEADERS.map(header);
        let wanted = format!("v1,{}", signature(&self.lock().key, id, timestamp, body));
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let order = request["orderId"].as_str().unwrap_or("").to_owned();
        if given != wanted || order.is_empty() || order != id {
            return (401, json!({"error": "signature"}).to_string());
        }
        let mut state = self.lock();
        if path == "/orders" {
            if let Some(text) = &state.rejects {
                return (422, json!({"error": text}).to_string());
            }
            let creates = state.creates.entry(order).or_default();
            *creates += 1;
            let status = if *creates > 1 { 409 } else { 201 };
            return (status, json!({"status": "ACCEPTED"}).to_string());
        }
        state.asked.insert(order.clone());
        let answer = state.always_says.clone().unwrap_or_else(|| match state.paid.get(&order) {
            Some(truth) => truth.to_string(),
            None if state.creates.contains_key(&order) => json!({"status": "PENDING"}).to_string(),
            None => json!({"status": "NOT_FOUND"}).to_string(),
        });
        (200, about(&answer, &order))
    }
}

/// `answer` with `order` in it, if it is an object that names none. As a text: what it says twice stays.
fn about(answer: &str, order: &str) -> String {
    let (Some(rest), Ok(Value::Object(members))) =
        (answer.trim_start().strip_prefix('{'), serde_json::from_str(answer))
    else {
        return answer.to_owned();
    };
    if members.contains_key("orderId") {
        return answer.to_owned();
    }
    let comma = if members.is_empty() { "" } else { "," };
    format!("{{\"orderId\":{}{comma}{rest}", Value::from(order))
}

#[async_trait]
impl Outbound for SimStandard {
    async fn send(
        &self,
        request: Request<Bytes>,
        _: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let (parts, body) = request.into_parts();
        self.tried(parts.uri.path());
        if self.lock().is_down {
            return Err(OutboundError::NotSent);
        }
        let (status, answer) = self.answer(parts.uri.path(), &parts.headers, &body);
        let response = Response::builder().status(status).body(Bytes::from(answer));
        response.map_err(|_| OutboundError::Broken)
    }
}

/// Several providers behind one client, told apart by host.
#[derive(Debug)]
pub struct ByHost {
    /// Who answers under [`HOST`].
    pub standard: SimStandard,
    /// Who answers under any other.
    pub other: Arc<dyn Outbound>,
}

#[async_trait]
impl Outbound for ByHost {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        if request.uri().host() == Some(HOST) {
            return self.standard.send(request, limits).await;
        }
        self.other.send(request, limits).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_is_made_to_say_is_said_to_the_letter() {
        let check = |says, wanted| assert_eq!(about(says, "R1"), wanted);
        check(r#"{"a":1,"a":2}"#, r#"{"orderId":"R1","a":1,"a":2}"#);
        check("{}", r#"{"orderId":"R1"}"#);
        check(r#"{"orderId":"R2"}"#, r#"{"orderId":"R2"}"#);
        check(r#"{"orderId":"R1","orderId":"R2"}"#, r#"{"orderId":"R1","orderId":"R2"}"#);
        check("<html>", "<html>");
        check("[1]", "[1]");
    }
}
