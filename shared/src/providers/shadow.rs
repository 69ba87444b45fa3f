//! A provider in shadow mode: nothing is sent to the real one. Orders are accepted at a clearly fake address
//! and are paid exactly a little later. Callbacks are verified by the real adapter, with the real keys.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Accepted, Acknowledgement, Answer, Found, Provider, RawCallback, Refusal};
use crate::domain::hash::digest;
use crate::domain::{
    Deposit, Evidence, EvidenceKind, Money, Order, Policy, ProviderName, Source, Timestamp,
    UserMark, shadow,
};

/// When, after its creation, an order is paid.
pub const PAID_AFTER: Duration = Duration::from_secs(20);

/// The simulation beside the provider it stands for.
#[derive(Debug)]
pub(super) struct Shadow {
    real: Arc<dyn Provider>,
    account: String,
}

impl Shadow {
    pub(super) fn of(real: Arc<dyn Provider>) -> Shadow {
        let account = shadow::account_of(real.account());
        Shadow { real, account }
    }

    fn paid(&self, order: &Order, now: Timestamp) -> Evidence {
        Evidence {
            provider: order.provider.clone(),
            account: self.account.clone(),
            payment_id: order.id.to_string(),
            order_id: Some(order.id.clone()),
            deposit: None,
            transaction_id: number(order),
            user_mark: None,
            kind: EvidenceKind::Paid(order.amount),
            dust: None,
            source: Source::Query,
            stale: false,
            observed_at: now,
            digest: digest("recharge/shadow/v1", &[order.id.as_str().as_bytes()]),
            raw: "simulated".to_owned(),
        }
    }
}

fn number(order: &Order) -> Option<String> {
    Some(format!("SHADOW-{}", order.id))
}

#[async_trait]
impl Provider for Shadow {
    fn name(&self) -> &ProviderName {
        self.real.name()
    }

    fn account(&self) -> &str {
        &self.account
    }

    fn policy(&self) -> Policy {
        self.real.policy()
    }

    fn can_query(&self) -> bool {
        true
    }

    fn check_amount(&self, amount: Money) -> Result<(), (&'static str, &'static str)> {
        self.real.check_amount(amount)
    }

    fn takes_orders(&self) -> bool {
        self.real.takes_orders()
    }

    /// None: a user's address stays for good, and money may come to it.
    fn gives_addresses(&self) -> bool {
        false
    }

    async fn find_addresses(&self, _: &UserMark, _: Timestamp) -> Answer<Vec<Deposit>> {
        Answer::Declined("no addresses in shadow mode".to_owned())
    }

    async fn new_addresses(&self, _: &UserMark, _: Timestamp) -> Answer<Vec<Deposit>> {
        Answer::Declined("no addresses in shadow mode".to_owned())
    }

    fn needs_address(&self) -> bool {
        false
    }

    async fn create(&self, order: &Order, _: Option<&Deposit>, _: Timestamp) -> Answer<Accepted> {
        Answer::Done(Accepted { transaction_id: number(order) })
    }

    async fn query(&self, order: &Order, now: Timestamp) -> Answer<Found> {
        Answer::Done(match now.since(order.created_at) >= PAID_AFTER {
            _ if !order.state.is_open() => Found::Nothing,
            true => Found::Proof(Box::new(self.paid(order, now))),
            false => Found::Open(Accepted { transaction_id: number(order) }),
        })
    }

    async fn confirm(
        &self,
        evidence: &Evidence,
        _: Option<&Order>,
        _: Timestamp,
    ) -> Answer<Option<Evidence>> {
        Answer::Done(Some(evidence.clone()))
    }

    async fn verify(&self, callback: RawCallback<'_>) -> Result<Evidence, Refusal> {
        self.real.verify(callback).await
    }

    fn acknowledgement(&self) -> Acknowledgement {
        self.real.acknowledgement()
    }

    async fn warm_up(&self, now: Timestamp) {
        self.real.warm_up(now).await;
    }
}
