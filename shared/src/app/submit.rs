//! Bringing a recorded order to its provider, at most once in effect. The first attempt, the
//! client's retry and the poller all come through here.

use std::time::Duration;

use crate::clock::Clock;
use crate::domain::order::{ATTEMPT_LEASE, Change};
use crate::domain::{Deposit, Order, OrderEvent, OrderState, Reason, Step, UserMark};
use crate::providers::{Accepted, Answer, Found, Provider};
use crate::store::{AddressClaim, AddressOwner, AddressStored, Store, StoreError, Written};

/// How long the creation of a deposit address belongs to one caller.
const ADDRESS_LEASE: Duration = ATTEMPT_LEASE;

/// How long an order waits for the address that another order of the same user is creating.
const ADDRESS_WAIT_MS: [u64; 4] = [100, 200, 400, 800];

/// How often a lost race for the order row is run again before it is left to the next caller.
const RACES_MAX: usize = 5;

/// What submitting needs.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// The table.
    pub store: &'a Store,
    /// The order's provider.
    pub provider: &'a dyn Provider,
    /// Now.
    pub clock: &'a dyn Clock,
    /// Who: a function's name.
    pub actor: &'static str,
}

impl Submission<'_> {
    /// Brings a new order to the provider. `deposit` is the user's address, if it is known already.
    pub async fn first(self, order: Order, deposit: Option<Deposit>) -> Result<Order, StoreError> {
        let deposit = match deposit {
            None if self.provider.needs_address() => self.address(&order).await?,
            known => known,
        };
        if deposit.is_none() && self.provider.needs_address() {
            return self.put_off(order).await;
        }
        let answer = self.provider.create(&order, deposit.as_ref(), self.clock.now()).await;
        self.record(order, deposit, answer).await
    }

    /// Goes on with an order whose first attempt left no trace: asks before it sends again.
    pub async fn again(self, order: Order) -> Result<Order, StoreError> {
        let needs_address = self.provider.needs_address();
        let known = match needs_address {
            true => self.store.address(self.owner(&order)).await?,
            false => None,
        };
        if !self.provider.can_query() {
            return self.first(order, known).await;
        }
        match self.provider.query(&order, self.clock.now()).await {
            Answer::Done(Found::Nothing) => self.first(order, known).await,
            Answer::Done(Found::Open(accepted)) => {
                if known.is_none() && needs_address {
                    return self.put_off(order).await;
                }
                self.record(order, known, Answer::Done(accepted)).await
            }
            // Money speaks through the settlement queue; here it only says that the provider has it.
            Answer::Done(Found::Proof(_)) => {
                if known.is_none() && needs_address {
                    return self.put_off(order).await;
                }
                self.record(order, known, Answer::Done(Accepted::default())).await
            }
            Answer::Declined(_) | Answer::Unknown(_) => self.put_off(order).await,
        }
    }

    fn owner<'b>(&'b self, order: &'b Order) -> AddressOwner<'b> {
        let provider = (self.provider.name().as_str(), self.provider.account());
        AddressOwner { merchant: &order.merchant, user: &order.user, provider }
    }

    /// The user's address: stored, else known to the provider, else created by whoever holds the claim.
    async fn address(self, order: &Order) -> Result<Option<Deposit>, StoreError> {
        let now = self.clock.now();
        let owner = self.owner(order);
        let by = order.id.as_str();
        match self.store.claim_address(owner, by, (now, now.plus(ADDRESS_LEASE))).await? {
            AddressClaim::Known(deposit) => return Ok(Some(deposit)),
            AddressClaim::Busy => return self.await_address(owner).await,
            AddressClaim::Ours => {}
        }
        let mark = UserMark::derive(&order.merchant, &order.user);
        let found = match self.provider.find_address(&mark, now).await {
            Answer::Done(Some(deposit)) => Answer::Done(deposit),
            Answer::Done(None) => self.provider.new_address(&mark, now).await,
            Answer::Declined(why) => Answer::Declined(why),
            Answer::Unknown(why) => Answer::Unknown(why),
        };
        let Answer::Done(deposit) = found else { return Ok(None) };
        match self.store.store_address(owner, &deposit, self.clock.now()).await? {
            AddressStored::Now => Ok(Some(deposit)),
            AddressStored::Known(known) => Ok(Some(known)),
            AddressStored::OfAnother => {
                let order = order.id.as_str();
                tracing::error!(order, "the provider gave two users one address; it is not used");
                Ok(None)
            }
        }
    }

    /// Waits a moment for the address that somebody else is creating.
    async fn await_address(self, owner: AddressOwner<'_>) -> Result<Option<Deposit>, StoreError> {
        for wait_ms in ADDRESS_WAIT_MS {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            if let Some(deposit) = self.store.address(owner).await? {
                return Ok(Some(deposit));
            }
        }
        Ok(None)
    }

    /// Writes down what the provider said.
    async fn record(
        self,
        order: Order,
        deposit: Option<Deposit>,
        answer: Answer<Accepted>,
    ) -> Result<Order, StoreError> {
        let (event, reason, accepted) = match answer {
            Answer::Done(accepted) => (OrderEvent::Accept, None, accepted),
            Answer::Declined(_) => {
                (OrderEvent::Decline, Some(Reason::ProviderDeclined), Accepted::default())
            }
            Answer::Unknown(_) => return self.put_off(order).await,
        };
        let mut order = order;
        for _ in 0..RACES_MAX {
            let at = self.clock.now();
            let mut next = match order.state.on(event) {
                Step::Move(to) => {
                    let change = Change { reason, actor: self.actor, evidence: None, at };
                    order.moved(to, change)
                }
                // A callback was faster than the answer: only what the answer adds is written.
                Step::AlreadyDone | Step::Refuse => order.clone(),
            };
            if event == OrderEvent::Accept {
                next.deposit = next.deposit.or_else(|| deposit.clone());
                next.transaction_id = next.transaction_id.or(accepted.transaction_id.clone());
            }
            if next == order {
                return Ok(order);
            }
            if self.store.advance(&order, &next).await? == Written::Now {
                log(&order, &next);
                return Ok(next);
            }
            order = self.reload(&order).await?;
        }
        Ok(order)
    }

    /// Ends the attempt without a result, so that the next caller need not wait for its lease.
    async fn put_off(self, order: Order) -> Result<Order, StoreError> {
        tracing::warn!(order = order.id.as_str(), "provider outcome unknown; goes on later");
        let free = self.clock.now();
        match self.store.take_over(&order, &order.attempt_by, free).await? {
            Written::Now => Ok(Order { attempt_until: free, ..order }),
            Written::Raced => self.reload(&order).await,
        }
    }

    async fn reload(self, order: &Order) -> Result<Order, StoreError> {
        let read = self.store.order(&order.id).await?;
        read.ok_or_else(|| StoreError::Damaged(format!("order {} is gone", order.id)))
    }
}

/// One line for every accepted transition.
pub fn log(before: &Order, after: &Order) {
    tracing::info!(
        order = after.id.as_str(),
        from = before.state.as_str(),
        to = after.state.as_str(),
        reason = after.reason.map_or("", Reason::as_str),
        "order {} {} -> {}",
        after.id,
        before.state.as_str(),
        after.state.as_str(),
    );
}

/// Whether somebody may take this order's provider call on.
pub fn is_half_done(order: &Order, now: crate::domain::Timestamp) -> bool {
    order.state == OrderState::Created && order.attempt_until <= now && now < order.expires_at
}
