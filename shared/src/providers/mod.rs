//! What the system needs of a payment provider, and the registry of the configured ones. Signing,
//! parsing, amounts and error texts stay inside each adapter; nothing provider-specific leaks out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;

use self::measured::Measured;
use self::shadow::Shadow;
use crate::domain::{
    Deposit, Evidence, Mode, Money, Order, Policy, ProviderName, Timestamp, UserMark,
};

mod measured;
pub mod payprotocol;
pub mod settings;
mod shadow;
pub mod standard;
#[cfg(test)]
mod testing;
pub mod trader;

/// What became of a call to a provider. "Unknown" is never a decline: it is resolved by asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// Done, or answered.
    Done(T),
    /// The provider refused; the text is for the log only.
    Declined(String),
    /// It may or may not have happened; the text is for the log only.
    Unknown(String),
    /// It has not happened: no connection was made.
    NotSent,
}

impl<T> Answer<T> {
    /// The word in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Answer::Done(_) => "done",
            Answer::Declined(_) => "declined",
            Answer::Unknown(_) => "unknown",
            Answer::NotSent => "not_sent",
        }
    }

    /// The same answer with another payload.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Answer::Done(done) => Answer::Done(change(done)),
            Answer::Declined(why) => Answer::Declined(why),
            Answer::Unknown(why) => Answer::Unknown(why),
            Answer::NotSent => Answer::NotSent,
        }
    }
}

/// The provider has the order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// The provider's own order number, where it told us.
    pub transaction_id: Option<String>,
}

/// What a query brought to light.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The provider does not know the order.
    Nothing,
    /// The provider has it and waits for the payment.
    Open(Accepted),
    /// Paid, or given up; or paid in words that nobody knows.
    Proof(Box<Evidence>),
}

/// A callback as it came in: nothing of it is believed yet.
pub struct RawCallback<'a> {
    /// The headers as they came.
    pub headers: &'a HeaderMap,
    /// The bytes after the gateway's base64 was undone.
    pub body: &'a [u8],
    /// When it reached us.
    pub received_at: Timestamp,
}

impl<'a> RawCallback<'a> {
    /// A header that appears once and is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// The content type, if it names one; one that cannot be read, or two of them, are none that we know.
    pub fn content_type(&self) -> Result<Option<&'a str>, Refusal> {
        match self.header("content-type") {
            None if self.headers.contains_key("content-type") => Err(Refusal::UnsupportedMediaType),
            named => Ok(named),
        }
    }
}

impl fmt::Debug for RawCallback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawCallback").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Why a callback was not believed. The texts never repeat what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not the provider's message: wrong fields, wrong grammar, wrong encoding.
    Malformed(&'static str),
    /// The content type is none that the provider uses.
    UnsupportedMediaType,
    /// The signature does not fit.
    Signature,
    /// Signed in the future, or too long ago.
    Timestamp,
    /// Our own keys cannot be read: the provider shall come again.
    KeysUnavailable,
}

/// What a provider wants to hear once its callback is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// The body, byte for byte.
    pub body: String,
}

/// A payment provider.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// The name used in routes, settings and stored orders.
    fn name(&self) -> &ProviderName;

    /// Our account there; part of every payment's identity.
    fn account(&self) -> &str;

    /// What to do with money that does not match.
    fn policy(&self) -> Policy;

    /// Whether the provider can be asked about an order.
    fn can_query(&self) -> bool;

    /// Refuses an amount that the provider cannot express: the member of the request, and what is wrong with it.
    fn check_amount(&self, amount: Money) -> Result<(), (&'static str, &'static str)>;

    /// Whether orders are made here and brought to the provider. Of the others money just arrives, at a
    /// user's address.
    fn takes_orders(&self) -> bool {
        true
    }

    /// Whether users can have deposit addresses.
    fn gives_addresses(&self) -> bool {
        self.needs_address()
    }

    /// The networks on which every user shall have an address; none where the provider alone says which.
    fn networks(&self) -> Vec<&str> {
        Vec::new()
    }

    /// The user's deposit addresses, one per network; none when the provider knows none.
    async fn find_addresses(&self, user: &UserMark, now: Timestamp) -> Answer<Vec<Deposit>>;

    /// Makes the user's deposit addresses. Not idempotent: ask [`Provider::find_addresses`] first.
    async fn new_addresses(&self, user: &UserMark, now: Timestamp) -> Answer<Vec<Deposit>>;

    /// Whether an order needs the user's deposit address. Providers that say no are never asked for one.
    fn needs_address(&self) -> bool;

    /// Registers the order under its own id; doing so again is harmless.
    async fn create(
        &self,
        order: &Order,
        deposit: Option<&Deposit>,
        now: Timestamp,
    ) -> Answer<Accepted>;

    /// Asks what became of the order.
    async fn query(&self, order: &Order, now: Timestamp) -> Answer<Found>;

    /// Asks for the payment that `evidence` speaks of, about `order` where it names one; `None` when the
    /// provider does not say the like. Both have to agree before a large amount is credited.
    async fn confirm(
        &self,
        _evidence: &Evidence,
        order: Option<&Order>,
        now: Timestamp,
    ) -> Answer<Option<Evidence>> {
        let Some(order) = order else { return Answer::Done(None) };
        self.query(order, now).await.map(|found| match found {
            Found::Proof(found) => Some(*found),
            Found::Nothing | Found::Open(_) => None,
        })
    }

    /// Whether the provider lists what has arrived.
    fn can_list(&self) -> bool {
        false
    }

    /// Everything final that arrived from `from` up to `until`, which is now, both at most a second off;
    /// complete, or no answer: [`Answer::Declined`] where that is more than is read at once, and less of it may not be. Only
    /// for providers that say [`Provider::can_list`].
    async fn list(
        &self,
        _from: Timestamp,
        _until: Timestamp,
        _now: Timestamp,
    ) -> Answer<Vec<Evidence>> {
        Answer::Declined("no list".to_owned())
    }

    /// Compares what is set up here with what the provider says of itself, like the decimals of a
    /// currency; the texts name what differs.
    async fn examine(&self, _now: Timestamp) -> Answer<Vec<String>> {
        Answer::Done(Vec::new())
    }

    /// Establishes that a callback is authentic and reads it.
    async fn verify(&self, callback: RawCallback<'_>) -> Result<Evidence, Refusal>;

    /// What to answer once a callback is safe in the queue.
    fn acknowledgement(&self) -> Acknowledgement;

    /// Reads the keys, so that the first request does not wait for them.
    async fn warm_up(&self, now: Timestamp);
}

/// The configured providers.
#[derive(Debug, Clone)]
pub struct Providers {
    default: ProviderName,
    by_name: BTreeMap<ProviderName, Arc<dyn Provider>>,
}

impl Providers {
    /// The given providers; `default` serves orders and callbacks that name none.
    pub fn new(default: ProviderName, all: Vec<Arc<dyn Provider>>) -> Option<Providers> {
        let named = |provider: Arc<dyn Provider>| {
            (provider.name().clone(), Arc::new(Measured(provider)) as Arc<dyn Provider>)
        };
        let by_name: BTreeMap<_, _> = all.into_iter().map(named).collect();
        by_name.contains_key(&default).then_some(Providers { default, by_name })
    }

    /// These in `mode`: in shadow mode none of them is called any more.
    pub fn in_mode(self, mode: Mode) -> Providers {
        if mode == Mode::Live {
            return self;
        }
        let shadowed = |(name, real)| {
            let simulated: Arc<dyn Provider> = Arc::new(Shadow::of(real));
            (name, Arc::new(Measured(simulated)) as Arc<dyn Provider>)
        };
        let by_name = self.by_name.into_iter().map(shadowed).collect();
        Providers { by_name, ..self }
    }

    /// The provider called `name`, or the default one.
    pub fn get(&self, name: Option<&ProviderName>) -> Option<&Arc<dyn Provider>> {
        self.by_name.get(name.unwrap_or(&self.default))
    }

    /// Reads every provider's keys, so that the first request does not wait for them.
    pub async fn warm_up(&self, now: Timestamp) {
        for provider in self.by_name.values() {
            provider.warm_up(now).await;
        }
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.by_name.values()
    }
}
