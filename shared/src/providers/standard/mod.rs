//! The provider `standard`: payment events signed by the rule of Standard Webhooks. For gateways whose
//! adapter is under our own control, and the reference for tests of everything around an adapter.
//!
//! Orders go to `order_path` under our own id; `query_path` says what became of one. Requests are signed
//! like events: `webhook-id` (the order), `webhook-timestamp`, `webhook-signature`.

mod event;
mod settings;
mod signing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use settings::Settings;
pub use signing::{HEADERS, signature};

use crate::domain::evidence::bounded;
use crate::domain::hash::digest;
use crate::domain::{
    Currency, Deposit, Evidence, EvidenceKind, Money, Order, OrderId, Policy, ProviderName, Source,
    Timestamp, UserMark,
};
use crate::json::Strict;
use crate::outbound::{Limits, Outbound, OutboundError};
use crate::providers::settings::SettingsError;
use crate::providers::{Accepted, Acknowledgement, Answer, Found, Provider, RawCallback, Refusal};
use crate::secrets::ProviderKeys;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why there is no answer.
enum Missing {
    Unknown(&'static str),
    NotSent,
}

impl<T> From<Missing> for Answer<T> {
    fn from(missing: Missing) -> Answer<T> {
        match missing {
            Missing::Unknown(why) => Answer::Unknown(why.to_owned()),
            Missing::NotSent => Answer::NotSent,
        }
    }
}

/// The adapter.
#[derive(Debug)]
pub struct Standard {
    name: ProviderName,
    settings: Settings,
    currency: Currency,
    keys: ProviderKeys,
    outbound: Arc<dyn Outbound>,
}

impl Standard {
    /// The adapter called `name`.
    pub fn new(
        name: ProviderName,
        settings: Settings,
        keys: ProviderKeys,
        outbound: Arc<dyn Outbound>,
    ) -> Result<Standard, SettingsError> {
        let currency = settings.check()?;
        Ok(Standard { name, settings, currency, keys, outbound })
    }

    /// Sends `body` about `order`; the answer's status and JSON, or what to make of there being none.
    async fn call(
        &self,
        operation: &'static str,
        (path, order): (&str, &OrderId),
        body: &Value,
        now: Timestamp,
    ) -> Result<(u16, Value), Missing> {
        let key = self.keys.signing(now).await;
        let key = key.map_err(|_| Missing::Unknown("our key cannot be read"))?;
        let body = body.to_string();
        let timestamp = now.secs().to_string();
        let signed = signature(&key, order.as_str(), &timestamp, body.as_bytes());
        let request = Request::post(format!("{}{path}", self.settings.base_url))
            .header("content-type", "application/json")
            .header(HEADERS[0], order.as_str())
            .header(HEADERS[1], HeaderValue::from(now.secs()))
            .header(HEADERS[2], format!("v1,{signed}"))
            .body(Bytes::from(body))
            .map_err(|_| Missing::Unknown("request not built"))?;
        let limits = Limits {
            deadline: Duration::from_millis(self.settings.call_timeout_ms),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let started = tokio::time::Instant::now();
        let answered = self.outbound.send(request, limits).await;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let provider = self.name.as_str();
        let read = match answered {
            Ok(answer) => match serde_json::from_slice(answer.body()) {
                Ok(Strict(json)) => Ok((answer.status().as_u16(), json)),
                Err(_) => Err(Missing::Unknown("no JSON without duplicates")),
            },
            Err(OutboundError::NotSent) => Err(Missing::NotSent),
            Err(_) => Err(Missing::Unknown("no answer")),
        };
        let outcome = match &read {
            Ok((status, _)) => status.to_string(),
            Err(Missing::Unknown(why)) => (*why).to_owned(),
            Err(Missing::NotSent) => "not sent".to_owned(),
        };
        tracing::info!(provider, operation, duration_ms, outcome, "provider call");
        read
    }

    /// Whose the answer says that it is, where that is not this account in this mode. What cannot be an account is none
    /// of ours.
    fn otherwise(&self, found: &Value) -> Option<String> {
        let account = found.get("account").filter(|found| **found != *self.settings.account);
        let livemode = found.get("livemode").filter(|found| **found != self.settings.livemode);
        let named = |found: &Value| event::account(found.as_str().unwrap_or("?"));
        match (account.map(named), livemode) {
            (None, None) => None,
            (account, livemode) => {
                let account = account.unwrap_or_else(|| self.settings.account.clone());
                Some(if livemode.is_some() { format!("{account}!mode") } else { account })
            }
        }
    }

    fn proof(&self, order: &Order, found: &Value, now: Timestamp) -> Answer<Found> {
        let otherwise = self.otherwise(found);
        let is_paid = found["status"] == "SUCCESS";
        if otherwise.is_some() {
            let (provider, order) = (self.name.as_str(), order.id.as_str());
            tracing::warn!(provider, order, "a query's answer is of another account or mode");
            if !is_paid {
                return Answer::Unknown("the answer is of another account or mode".to_owned());
            }
        }
        let text = |name: &str| found[name].as_str().unwrap_or("");
        let payment_id = text("providerTxnId");
        let kind = match text("status") {
            "NOT_FOUND" => return Answer::Done(Found::Nothing),
            "PENDING" => return Answer::Done(Found::Open(Accepted::default())),
            "FAILED" => EvidenceKind::Declined,
            // Paid, and nobody knows how much or with which payment: that is for a person to see.
            "SUCCESS" if otherwise.is_some() => EvidenceKind::Unrecognised,
            "SUCCESS" => match event::money(&found["amount"], text("currency")) {
                Some(money) if event::is_payment_id(payment_id) => EvidenceKind::Paid(money),
                _ => EvidenceKind::Unrecognised,
            },
            _ => return Answer::Unknown("unknown status".to_owned()),
        };
        if text("orderId") != order.id.as_str() {
            return Answer::Unknown("the answer speaks of another order".to_owned());
        }
        let payment_id =
            if event::is_payment_id(payment_id) { payment_id } else { order.id.as_str() };
        let raw = found.to_string();
        // Of what is not understood only the same words are the same statement, whatever else the answer has.
        let words = ["orderId", "status", "amount", "currency", "providerTxnId"];
        let said = words.map(|name| found[name].to_string());
        let digest =
            digest("recharge/standard/query/v1", &said.each_ref().map(|word| word.as_bytes()));
        Answer::Done(Found::Proof(Box::new(Evidence {
            provider: self.name.clone(),
            account: otherwise.unwrap_or_else(|| self.settings.account.clone()),
            payment_id: payment_id.to_owned(),
            order_id: Some(order.id.clone()),
            deposit: None,
            transaction_id: None,
            dust: None,
            user_mark: None,
            kind,
            source: Source::Query,
            stale: false,
            observed_at: now,
            digest,
            raw: bounded(raw),
        })))
    }
}

#[async_trait]
impl Provider for Standard {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn account(&self) -> &str {
        &self.settings.account
    }

    fn policy(&self) -> Policy {
        self.settings.policy
    }

    fn can_query(&self) -> bool {
        true
    }

    fn check_amount(&self, amount: Money) -> Result<(), (&'static str, &'static str)> {
        if amount.currency() == self.currency {
            return Ok(());
        }
        Err(("currency", "is not taken by this payment method"))
    }

    async fn find_addresses(&self, _: &UserMark, _: Timestamp) -> Answer<Vec<Deposit>> {
        Answer::Declined("no addresses".to_owned())
    }

    async fn new_addresses(&self, _: &UserMark, _: Timestamp) -> Answer<Vec<Deposit>> {
        Answer::Declined("no addresses".to_owned())
    }

    fn needs_address(&self) -> bool {
        false
    }

    async fn create(&self, order: &Order, _: Option<&Deposit>, now: Timestamp) -> Answer<Accepted> {
        let minor = i64::try_from(order.amount.minor()).unwrap_or(i64::MAX);
        let currency = order.amount.currency().code();
        let body = json!({"orderId": order.id.as_str(), "amount": minor, "currency": currency});
        let path = (self.settings.order_path.as_str(), &order.id);
        match self.call("create_order", path, &body, now).await {
            // 409: it has the order already.
            Ok((200 | 201 | 409, answer)) => {
                let transaction_id = answer["providerTxnId"].as_str().map(str::to_owned);
                let transaction_id = transaction_id.filter(|id| event::is_payment_id(id));
                Answer::Done(Accepted { transaction_id })
            }
            Ok((400 | 422, _)) => Answer::Declined("refused".to_owned()),
            Ok((status, _)) => Answer::Unknown(format!("status {status}")),
            Err(missing) => missing.into(),
        }
    }

    async fn query(&self, order: &Order, now: Timestamp) -> Answer<Found> {
        let body = json!({"orderId": order.id.as_str()});
        let path = (self.settings.query_path.as_str(), &order.id);
        match self.call("query_order", path, &body, now).await {
            Ok((200, found)) => self.proof(order, &found, now),
            Ok((status, _)) => Answer::Unknown(format!("status {status}")),
            Err(missing) => missing.into(),
        }
    }

    async fn verify(&self, callback: RawCallback<'_>) -> Result<Evidence, Refusal> {
        let claim = signing::claim(&callback)?;
        let fits = |key: &str| claim.fits(key, callback.body);
        let believed = self.keys.any(callback.received_at, fits).await;
        if !believed.map_err(|_| Refusal::KeysUnavailable)? {
            return Err(Refusal::Signature);
        }
        let off_secs = (callback.received_at.secs() - claim.signed_at_secs).abs();
        if off_secs > i64::from(self.settings.window_seconds) {
            return Err(Refusal::Timestamp);
        }
        let event = event::read(callback.content_type()?, claim.id, callback.body)?;
        let unrecognised = event.kind == EvidenceKind::Unrecognised;
        Ok(Evidence {
            provider: self.name.clone(),
            account: event.account.unwrap_or_else(|| self.settings.account.clone()),
            payment_id: event.payment_id,
            order_id: OrderId::parse(&event.order),
            deposit: None,
            transaction_id: event.transaction_id.filter(|_| unrecognised),
            dust: None,
            user_mark: None,
            kind: match event.kind {
                _ if event.livemode != Some(self.settings.livemode) => EvidenceKind::Unrecognised,
                kind => kind,
            },
            source: Source::Callback,
            stale: false,
            observed_at: callback.received_at,
            digest: Sha256::digest(callback.body).into(),
            raw: event.raw,
        })
    }

    fn acknowledgement(&self) -> Acknowledgement {
        let content_type = "application/json".to_owned();
        Acknowledgement { status: 200, content_type, body: "{}".to_owned() }
    }

    async fn warm_up(&self, now: Timestamp) {
        let _ = self.keys.signing(now).await;
    }
}
