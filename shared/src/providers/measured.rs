//! A provider whose calls are counted and timed. Every configured provider is wrapped in this. It lets no order
//! of one mode through to a provider of the other one: a shadow order is not for the real provider to know.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Accepted, Acknowledgement, Answer, Found, Provider, RawCallback, Refusal};
use crate::domain::{
    Deposit, Evidence, Money, Order, Policy, ProviderName, Timestamp, UserMark, shadow,
};
use crate::metrics::ProviderCall;

/// The wrapper.
#[derive(Debug)]
pub(super) struct Measured(pub(super) Arc<dyn Provider>);

impl Measured {
    async fn call<T>(&self, call: impl Future<Output = Answer<T>>) -> Answer<T> {
        let begun = ProviderCall::start(self.0.name());
        let answer = call.await;
        begun.end(answer.as_str());
        answer
    }

    fn is_for(&self, order: &Order) -> bool {
        let fits = order.is_shadow() == shadow::is_account(self.0.account());
        if !fits {
            tracing::error!(order = order.id.as_str(), "an order of the other mode is not sent");
        }
        fits
    }
}

#[async_trait]
impl Provider for Measured {
    fn name(&self) -> &ProviderName {
        self.0.name()
    }

    fn account(&self) -> &str {
        self.0.account()
    }

    fn policy(&self) -> Policy {
        self.0.policy()
    }

    fn can_query(&self) -> bool {
        self.0.can_query()
    }

    fn check_amount(&self, amount: Money) -> Result<(), (&'static str, &'static str)> {
        self.0.check_amount(amount)
    }

    fn takes_orders(&self) -> bool {
        self.0.takes_orders()
    }

    fn gives_addresses(&self) -> bool {
        self.0.gives_addresses()
    }

    fn networks(&self) -> Vec<&str> {
        self.0.networks()
    }

    async fn find_addresses(&self, user: &UserMark, now: Timestamp) -> Answer<Vec<Deposit>> {
        self.call(self.0.find_addresses(user, now)).await
    }

    async fn new_addresses(&self, user: &UserMark, now: Timestamp) -> Answer<Vec<Deposit>> {
        self.call(self.0.new_addresses(user, now)).await
    }

    fn needs_address(&self) -> bool {
        self.0.needs_address()
    }

    async fn create(
        &self,
        order: &Order,
        deposit: Option<&Deposit>,
        now: Timestamp,
    ) -> Answer<Accepted> {
        if !self.is_for(order) {
            return Answer::NotSent;
        }
        self.call(self.0.create(order, deposit, now)).await
    }

    async fn query(&self, order: &Order, now: Timestamp) -> Answer<Found> {
        if !self.is_for(order) {
            return Answer::NotSent;
        }
        self.call(self.0.query(order, now)).await
    }

    async fn confirm(
        &self,
        evidence: &Evidence,
        order: Option<&Order>,
        now: Timestamp,
    ) -> Answer<Option<Evidence>> {
        self.call(self.0.confirm(evidence, order, now)).await
    }

    fn can_list(&self) -> bool {
        self.0.can_list()
    }

    async fn list(
        &self,
        from: Timestamp,
        until: Timestamp,
        now: Timestamp,
    ) -> Answer<Vec<Evidence>> {
        self.call(self.0.list(from, until, now)).await
    }

    // Once an hour, and by most providers answered without a call.
    async fn examine(&self, now: Timestamp) -> Answer<Vec<String>> {
        self.0.examine(now).await
    }

    async fn verify(&self, callback: RawCallback<'_>) -> Result<Evidence, Refusal> {
        self.0.verify(callback).await
    }

    fn acknowledgement(&self) -> Acknowledgement {
        self.0.acknowledgement()
    }

    async fn warm_up(&self, now: Timestamp) {
        self.0.warm_up(now).await;
    }
}
