//! The provider `trader`: USDT recharge orders on a user's fixed deposit address, confirmed by a signed
//! callback that names only our own order. `settings` holds every point its contract leaves open.

mod callback;
mod check;
mod settings;
mod signing;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

pub use settings::{QuerySettings, Settings, SettingsError, SigningProfile, StaleCallbacks};
pub use signing::{Fields, SIGN, sign, verify};

use crate::bug::{self, Bug};
use crate::domain::evidence::bounded;
use crate::domain::{
    Currency, Deposit, Evidence, EvidenceKind, Money, Order, OrderId, Policy, ProviderName, Source,
    Timestamp, UserMark, rounded_down,
};
use crate::outbound::{Limits, Outbound, OutboundError};
use crate::providers::{Accepted, Acknowledgement, Answer, Found, Provider, RawCallback, Refusal};
use crate::secrets::ProviderKeys;
use wire::{Envelope, Queried};

/// Decimals of every amount that the provider can express.
const PROVIDER_DECIMALS: u32 = 4;

/// One trader account.
#[derive(Debug)]
pub struct Trader {
    name: ProviderName,
    settings: Settings,
    currency: Currency,
    keys: ProviderKeys,
    outbound: Arc<dyn Outbound>,
    next_query: tokio::sync::Mutex<Option<Instant>>,
}

/// The end user's name at the provider: 14 characters at most, none of them lower case.
pub fn username(user: &UserMark) -> String {
    format!("U{}", &user.as_str()[1..14])
}

impl Trader {
    /// The account that `settings` describe.
    pub fn new(
        name: ProviderName,
        settings: Settings,
        keys: ProviderKeys,
        outbound: Arc<dyn Outbound>,
    ) -> Result<Trader, SettingsError> {
        let currency = settings.check()?;
        let next_query = tokio::sync::Mutex::new(None);
        Ok(Trader { name, settings, currency, keys, outbound, next_query })
    }

    /// Signs, sends, and reads the envelope.
    async fn call(
        &self,
        operation: &'static str,
        path: &str,
        fields: &[(&str, &str)],
        now: Timestamp,
    ) -> Envelope {
        let mut all: Fields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.insert("appid".to_owned(), self.settings.appid.clone());
        let Ok(key) = self.keys.signing(now).await else {
            return Envelope::Unreadable("our key cannot be read");
        };
        let Some(request) = wire::request(&self.settings, path, all, &key) else {
            return Envelope::Unreadable("request not built");
        };
        let limits = Limits {
            deadline: Duration::from_millis(self.settings.call_timeout_ms),
            answer_bytes_max: wire::ANSWER_BYTES_MAX,
        };
        let started = Instant::now();
        let answered = self.outbound.send(request, limits).await;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let envelope = match answered {
            Ok(answer) => wire::envelope(answer.status().as_u16(), answer.body()),
            Err(error) => {
                let provider = self.name.as_str();
                tracing::warn!(provider, operation, duration_ms, %error, "provider call");
                return match error {
                    OutboundError::NotSent => Envelope::NotSent,
                    OutboundError::TimedOut
                    | OutboundError::Broken
                    | OutboundError::AnswerTooLarge => Envelope::Unreadable("no answer"),
                };
            }
        };
        let outcome = match &envelope {
            Envelope::Success(_) => "success",
            Envelope::Refused(_) => "refused",
            Envelope::Unreadable(why) => why,
            Envelope::NotSent => "not sent",
        };
        let refusal = match &envelope {
            Envelope::Refused(text) => wire::for_log(text),
            Envelope::Success(_) | Envelope::Unreadable(_) | Envelope::NotSent => String::new(),
        };
        let provider = self.name.as_str();
        tracing::info!(provider, operation, duration_ms, outcome, refusal, "provider call");
        envelope
    }

    /// Keeps queries at their distance.
    async fn pace(&self) {
        let interval = Duration::from_millis(self.settings.min_call_interval_ms);
        let mut next = self.next_query.lock().await;
        if let Some(at) = *next {
            tokio::time::sleep_until(at).await;
        }
        *next = Some(Instant::now() + interval);
    }

    /// The order's amount in the request's notation; exact, without trailing zeros.
    fn request_amount(&self, amount: Money) -> Option<String> {
        if self.settings.request_amount_scale == PROVIDER_DECIMALS {
            return amount.to_scaled(PROVIDER_DECIMALS).ok().map(|units| units.to_string());
        }
        amount.to_scaled(PROVIDER_DECIMALS).ok()?;
        let decimal = amount.decimal();
        let short = decimal.trim_end_matches('0').trim_end_matches('.');
        Some(if decimal.contains('.') { short.to_owned() } else { decimal })
    }

    fn proof(&self, order: &OrderId, queried: Queried, now: Timestamp) -> Answer<Found> {
        let Some(query) = &self.settings.query else {
            return Answer::Unknown("no query endpoint".to_owned());
        };
        if queried.order != order.as_str() {
            return Answer::Unknown("the answer speaks of another order".to_owned());
        }
        let amount = queried.amount.as_deref().unwrap_or("");
        let (kind, dust) = if query.paid.contains(&queried.state) {
            match wire::queried_amount(amount, query.amount_scale, self.currency) {
                Some((money, dust)) => (EvidenceKind::Paid(money), dust),
                // Paid, and nobody knows how much: that is for a person to see.
                None => (EvidenceKind::Unrecognised, None),
            }
        } else if query.failed.contains(&queried.state) {
            (EvidenceKind::Declined, None)
        } else {
            let accepted = Accepted { transaction_id: queried.transaction_id };
            return Answer::Done(Found::Open(accepted));
        };
        let Some(user_mark) = UserMark::parse(&queried.user) else {
            return Answer::Unknown("the answer names no user of ours".to_owned());
        };
        let (state, user) = (&queried.state, &queried.user);
        let raw =
            format!("query:amount={amount}&localusermark={user}&orderid={order}&status={state}");
        let mut evidence = self.evidence((order.clone(), user_mark), kind, raw.as_bytes(), now);
        evidence.source = Source::Query;
        evidence.dust = dust;
        evidence.raw = bounded(raw);
        Answer::Done(Found::Proof(Box::new(evidence)))
    }

    fn evidence(
        &self,
        (order_id, user_mark): (OrderId, UserMark),
        kind: EvidenceKind,
        received: &[u8],
        observed_at: Timestamp,
    ) -> Evidence {
        Evidence {
            provider: self.name.clone(),
            account: self.settings.appid.clone(),
            // The callback carries no transaction: the order is the payment's identity.
            payment_id: order_id.to_string(),
            order_id: Some(order_id),
            user_mark: Some(user_mark),
            deposit: None,
            transaction_id: None,
            kind,
            dust: None,
            source: Source::Callback,
            stale: false,
            observed_at,
            digest: Sha256::digest(received).into(),
            raw: String::new(),
        }
    }

    /// Whether the callback is old enough to be held; a time from the future is refused.
    fn is_stale(&self, signed_at_secs: i64, now: Timestamp) -> Result<bool, Refusal> {
        let window = i64::from(self.settings.callback_window_seconds);
        let age_secs = now.secs() - signed_at_secs;
        match self.settings.stale_callbacks {
            _ if age_secs < -window => Err(Refusal::Timestamp),
            StaleCallbacks::Reject if age_secs > window => Err(Refusal::Timestamp),
            StaleCallbacks::Hold | StaleCallbacks::Reject => Ok(age_secs > window),
        }
    }
}

/// Notes which order a callback named that is not believed for its signature or its time alone: should it have been
/// genuine, that is what has to be looked up.
fn of_order(order: &OrderId) -> impl FnOnce(Refusal) -> Refusal {
    move |refusal| {
        tracing::warn!(order = order.as_str(), ?refusal, "a callback is well formed, not believed");
        refusal
    }
}

#[async_trait]
impl Provider for Trader {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn account(&self) -> &str {
        &self.settings.appid
    }

    fn policy(&self) -> Policy {
        self.settings.policy
    }

    fn can_query(&self) -> bool {
        self.settings.query.is_some()
    }

    fn check_amount(&self, amount: Money) -> Result<(), (&'static str, &'static str)> {
        if amount.currency() != self.currency {
            return Err(("currency", "is not taken by this payment method"));
        }
        match amount.to_scaled(PROVIDER_DECIMALS) {
            Ok(_) => Ok(()),
            Err(_) => {
                let issue =
                    "may have at most 4 decimals with this payment method: use a multiple of 100";
                Err(("amount", issue))
            }
        }
    }

    async fn find_addresses(&self, user: &UserMark, now: Timestamp) -> Answer<Vec<Deposit>> {
        let (username, mark) = (username(user), user.as_str());
        let fields = [("username", username.as_str()), ("localusermark", mark)];
        let path = &self.settings.lookup_path;
        let envelope = self.call("find_address", path, &fields, now).await;
        let found = wire::found_address(&self.settings, (&username, mark), envelope);
        found.map(|found| found.into_iter().collect())
    }

    async fn new_addresses(&self, user: &UserMark, now: Timestamp) -> Answer<Vec<Deposit>> {
        let username = username(user);
        let fields = [("username", username.as_str()), ("localusermark", user.as_str())];
        let path = &self.settings.address_path;
        let envelope = self.call("new_address", path, &fields, now).await;
        wire::new_address(&self.settings, envelope).map(|made| vec![made])
    }

    fn needs_address(&self) -> bool {
        true
    }

    async fn create(
        &self,
        order: &Order,
        deposit: Option<&Deposit>,
        now: Timestamp,
    ) -> Answer<Accepted> {
        let Some(deposit) = deposit else {
            return Answer::Unknown("the user's address is not known".to_owned());
        };
        let mark = UserMark::derive(&order.merchant, &order.user);
        let username = username(&mark);
        let Some(amount) = self.request_amount(order.amount) else {
            return Answer::Declined("the amount has too many decimals".to_owned());
        };
        let mut fields = vec![
            ("username", username.as_str()),
            ("localusermark", mark.as_str()),
            ("address", deposit.address.as_str()),
            ("orderid", order.id.as_str()),
            ("amount", amount.as_str()),
        ];
        if let Some(url) = &self.settings.notify_url {
            fields.push(("notify_url", url));
        }
        let another = bug::is(Bug::M8)
            .then(|| OrderId::of_payment(&order.provider, &order.account, &order.attempt_by));
        if let Some(another) = &another {
            fields[3].1 = another.as_str();
        }
        let path = &self.settings.order_path;
        let Ok(key) = self.keys.signing(now).await else {
            return Answer::Unknown("our key cannot be read".to_owned());
        };
        let envelope = self.call("create_order", path, &fields, now).await;
        match wire::accepted(&self.settings, envelope) {
            // It says no to a wrong signature, too, and only in words: a former key's refusal ends no order.
            Answer::Declined(why) if !self.keys.is_current(now, &key).await => {
                Answer::Unknown(format!("refused under a former key: {why}"))
            }
            answer => answer,
        }
    }

    async fn query(&self, order: &Order, now: Timestamp) -> Answer<Found> {
        let Some(query) = &self.settings.query else {
            return Answer::Unknown("no query endpoint".to_owned());
        };
        self.pace().await;
        let fields = [("orderid", order.id.as_str())];
        let envelope = self.call("query_order", &query.path, &fields, now).await;
        match wire::queried(query, envelope) {
            Answer::Done(Some(queried)) => self.proof(&order.id, queried, now),
            Answer::Done(None) => Answer::Done(Found::Nothing),
            Answer::Declined(why) => Answer::Declined(why),
            Answer::Unknown(why) => Answer::Unknown(why),
            Answer::NotSent => Answer::NotSent,
        }
    }

    async fn verify(&self, callback: RawCallback<'_>) -> Result<Evidence, Refusal> {
        let RawCallback { body, received_at, .. } = callback;
        let mut fields = callback::decode(callback.content_type()?, body).await?;
        let notice = callback::read(&self.settings, &fields);
        let signature = fields.remove(SIGN).unwrap_or_default();
        let fits = |key: &str| verify(&self.settings.signing, &fields, key, &signature);
        let believed = self.keys.any(received_at, fits).await;
        if !believed.map_err(|_| Refusal::KeysUnavailable)? {
            // What else is wrong with it is not for whoever cannot sign.
            let order = notice.ok().map(|notice| notice.order_id);
            return Err(order.map_or(Refusal::Signature, |id| of_order(&id)(Refusal::Signature)));
        }
        let notice = notice?;
        let stale = self.is_stale(notice.signed_at_secs, received_at);
        let stale = stale.map_err(of_order(&notice.order_id))?;
        let scale = self.settings.callback_amount_scale;
        let (kind, dust) = match rounded_down(notice.amount, scale, self.currency) {
            Some((money, dust)) if notice.means_paid => (EvidenceKind::Paid(money), dust),
            _ => (EvidenceKind::Unrecognised, None),
        };
        let whose = (notice.order_id, notice.user_mark);
        let mut evidence = self.evidence(whose, kind, body, received_at);
        (evidence.stale, evidence.dust) = (stale, dust);
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        evidence.raw = bounded(pairs.join("&"));
        Ok(evidence)
    }

    fn acknowledgement(&self) -> Acknowledgement {
        Acknowledgement {
            status: self.settings.ack_status,
            content_type: self.settings.ack_content_type.clone(),
            body: self.settings.ack_body.clone(),
        }
    }

    async fn warm_up(&self, now: Timestamp) {
        let _ = self.keys.signing(now).await;
    }
}
