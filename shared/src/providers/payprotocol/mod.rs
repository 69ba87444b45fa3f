//! The provider `payprotocol`: permanent deposit addresses, one per user and chain. Nothing is ordered
//! there: money arrives, and the provider says so by a signed callback and in its list. `settings` holds
//! every point its contract leaves open.

mod examine;
mod list;
mod record;
mod settings;
mod signing;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

pub use settings::{Listed, Settings};
pub use signing::{HEADERS, Signed, signature};

use crate::domain::{
    Deposit, Evidence, EvidenceKind, Money, Order, OrderId, Policy, ProviderName, Source,
    Timestamp, UserMark,
};
use crate::json::Strict;
use crate::outbound::{Limits, Outbound, OutboundError};
use crate::providers::settings::SettingsError;
use crate::providers::{Accepted, Acknowledgement, Answer, Found, Provider, RawCallback, Refusal};
use crate::secrets::ProviderKeys;
use record::Record;
use wire::{Call, Reply};

/// One account.
#[derive(Debug)]
pub struct PayProtocol {
    name: ProviderName,
    settings: Settings,
    keys: ProviderKeys,
    outbound: Arc<dyn Outbound>,
}

impl PayProtocol {
    /// The account that `settings` describe.
    pub fn new(
        name: ProviderName,
        settings: Settings,
        keys: ProviderKeys,
        outbound: Arc<dyn Outbound>,
    ) -> Result<PayProtocol, SettingsError> {
        settings.check()?;
        Ok(PayProtocol { name, settings, keys, outbound })
    }

    /// Signs, sends, and reads the envelope.
    async fn call(&self, call: Call<'_>, now: Timestamp) -> Reply {
        let Ok(key) = self.keys.signing(now).await else {
            return Reply::Unreadable("our key cannot be read");
        };
        let Some(request) = wire::request(&self.settings, &call, (&key, now.secs())) else {
            return Reply::Unreadable("request not built");
        };
        let limits = Limits {
            deadline: Duration::from_millis(self.settings.call_timeout_ms),
            answer_bytes_max: call.answer_bytes_max,
        };
        let started = Instant::now();
        let answered = self.outbound.send(request, limits).await;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (provider, operation) = (self.name.as_str(), call.operation);
        let reply = match answered {
            Ok(answer) => wire::reply(answer.status().as_u16(), answer.body()),
            Err(error) => {
                tracing::warn!(provider, operation, duration_ms, %error, "provider call");
                return match error {
                    OutboundError::NotSent => Reply::NotSent,
                    OutboundError::TimedOut
                    | OutboundError::Broken
                    | OutboundError::AnswerTooLarge => Reply::Unreadable("no answer"),
                };
            }
        };
        let (outcome, code, refusal) = match &reply {
            Reply::Data(_) => ("success", 200, ""),
            Reply::Refused(code, text) => ("refused", *code, text.as_str()),
            Reply::Unreadable(why) => (*why, 0, ""),
            Reply::NotSent => ("not sent", 0, ""),
        };
        tracing::info!(provider, operation, duration_ms, outcome, code, refusal, "provider call");
        reply
    }

    /// The user's wallets; none when the provider does not know the user.
    async fn user_detail(&self, user: &UserMark, now: Timestamp) -> Answer<Vec<Deposit>> {
        let query = [(self.settings.uuid_parameter.as_str(), user.as_str())];
        let reply = self.call(Call::get("user_detail", "/user/detail", &query), now).await;
        match reply.one(|code| self.settings.means_no_user(code)) {
            Answer::Done(Some(members)) => wire::wallets(&self.settings, user, &members),
            Answer::Done(None) => Answer::Done(Vec::new()),
            Answer::Declined(why) => Answer::Declined(why),
            Answer::Unknown(why) => Answer::Unknown(why),
            Answer::NotSent => Answer::NotSent,
        }
    }

    /// The recharge `id` as the provider has it now.
    async fn detail(&self, id: i32, now: Timestamp) -> Answer<Option<Evidence>> {
        let text = id.to_string();
        let query = [("rechargeId", text.as_str())];
        let reply = self.call(Call::get("recharge_detail", "/recharge/detail", &query), now).await;
        let members: Map<String, Value> =
            match reply.one(|code| self.settings.means_no_recharge(code)) {
                Answer::Done(Some(members)) => members,
                other => return other.map(|_| None),
            };
        match record::read(&members) {
            Ok(record) if record.id == id => {
                let digest = record.digest();
                Answer::Done(Some(self.evidence(&record, (Source::Query, now), digest)))
            }
            Ok(_) => Answer::Unknown("the answer speaks of another recharge".to_owned()),
            Err(refusal) => Answer::Unknown(format!("an unreadable recharge: {refusal:?}")),
        }
    }

    fn evidence(
        &self,
        record: &Record,
        (source, observed_at): (Source, Timestamp),
        digest: [u8; 32],
    ) -> Evidence {
        let (kind, dust) = record.kind(&self.settings);
        let is_address = wire::is_address(&record.address);
        let deposit = is_address.then(|| Deposit {
            address: wire::one_spelling(&record.address),
            network: record.network(&self.settings),
        });
        // Without an address that we could have given to anybody, nobody can be credited.
        let (kind, dust) = match kind {
            EvidenceKind::Paid(_) if deposit.is_none() => (EvidenceKind::Unrecognised, None),
            kind => (kind, dust),
        };
        let account = self.settings.account();
        let payment_id = record.id.to_string();
        Evidence {
            provider: self.name.clone(),
            account: account.to_owned(),
            order_id: Some(OrderId::of_payment(&self.name, account, &payment_id)),
            payment_id,
            deposit,
            transaction_id: record.transaction_id(),
            user_mark: Some(UserMark::parse(&record.uuid).unwrap_or_else(UserMark::stranger)),
            kind,
            dust,
            source,
            stale: false,
            observed_at,
            digest,
            raw: record.raw(),
        }
    }
}

#[async_trait]
impl Provider for PayProtocol {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn account(&self) -> &str {
        self.settings.account()
    }

    fn policy(&self) -> Policy {
        self.settings.policy()
    }

    fn can_query(&self) -> bool {
        false
    }

    fn takes_orders(&self) -> bool {
        false
    }

    fn needs_address(&self) -> bool {
        false
    }

    fn gives_addresses(&self) -> bool {
        true
    }

    fn can_list(&self) -> bool {
        true
    }

    fn check_amount(&self, _: Money) -> Result<(), (&'static str, &'static str)> {
        let issue =
            "cannot be ordered with this payment method: ask for the user's deposit addresses";
        Err(("amount", issue))
    }

    fn networks(&self) -> Vec<&str> {
        self.settings.currencies.iter().map(|listed| listed.network.as_str()).collect()
    }

    async fn find_addresses(&self, user: &UserMark, now: Timestamp) -> Answer<Vec<Deposit>> {
        self.user_detail(user, now).await
    }

    /// Whatever became of the creation, only the look-up afterwards says what there is: the answer may be
    /// lost, or somebody else has been faster.
    async fn new_addresses(&self, user: &UserMark, now: Timestamp) -> Answer<Vec<Deposit>> {
        let call = Call {
            method: Method::POST,
            body: json!({"uuid": user.as_str()}).to_string(),
            ..Call::get("user_create", "/user/create", &[])
        };
        let created = self.call(call, now).await;
        match (self.user_detail(user, now).await, created) {
            (Answer::Done(none), created) if none.is_empty() => match created {
                Reply::Data(_) => Answer::Unknown("made, and not there yet".to_owned()),
                Reply::Refused(code, text) if settings::is_about_the_matter(code) => {
                    Answer::Declined(format!("code {code}: {text}"))
                }
                other => other.missing(),
            },
            (Answer::Done(found), _) => Answer::Done(found),
            (Answer::NotSent, Reply::NotSent) => Answer::NotSent,
            (Answer::NotSent, _) => Answer::Unknown("no connection to look it up".to_owned()),
            (other, _) => other,
        }
    }

    async fn create(&self, _: &Order, _: Option<&Deposit>, _: Timestamp) -> Answer<Accepted> {
        Answer::Declined("nothing is ordered here".to_owned())
    }

    async fn query(&self, _: &Order, _: Timestamp) -> Answer<Found> {
        Answer::Declined("nothing is ordered here".to_owned())
    }

    async fn confirm(
        &self,
        evidence: &Evidence,
        _: Option<&Order>,
        now: Timestamp,
    ) -> Answer<Option<Evidence>> {
        match evidence.payment_id.parse() {
            Ok(id) => self.detail(id, now).await,
            Err(_) => Answer::Done(None),
        }
    }

    async fn list(
        &self,
        from: Timestamp,
        until: Timestamp,
        now: Timestamp,
    ) -> Answer<Vec<Evidence>> {
        self.final_records((from, until), now).await
    }

    async fn examine(&self, now: Timestamp) -> Answer<Vec<String>> {
        self.differences(now).await
    }

    async fn verify(&self, callback: RawCallback<'_>) -> Result<Evidence, Refusal> {
        let RawCallback { body, received_at, .. } = callback;
        let essence = callback.header("content-type").and_then(|text| text.split(';').next());
        if !essence.is_some_and(|text| text.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Refusal::UnsupportedMediaType);
        }
        let claim = signing::claim(&self.settings, &callback)?;
        let paths = &self.settings.callback_paths;
        let believed = self.keys.any(received_at, |key| claim.fits(key, paths, body)).await;
        if !believed.map_err(|_| Refusal::KeysUnavailable)? {
            return Err(Refusal::Signature);
        }
        let off_secs = (received_at.secs() - claim.signed_at_secs).abs();
        if off_secs > i64::from(self.settings.callback_window_seconds) {
            return Err(Refusal::Timestamp);
        }
        let Ok(Strict(Value::Object(members))) = serde_json::from_slice(body) else {
            return Err(Refusal::Malformed("the body is not one JSON object without duplicates"));
        };
        let record = record::read(&members)?;
        let digest = Sha256::digest(body).into();
        Ok(self.evidence(&record, (Source::Callback, received_at), digest))
    }

    fn acknowledgement(&self) -> Acknowledgement {
        let content_type = "text/plain".to_owned();
        Acknowledgement { status: 200, content_type, body: "success".to_owned() }
    }

    async fn warm_up(&self, now: Timestamp) {
        let _ = self.keys.signing(now).await;
    }
}
