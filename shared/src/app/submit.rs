//! Bringing a recorded order to its provider, at most once in effect. The first attempt, the
//! client's retry and the poller all come through here.

use crate::clock::Clock;
use crate::domain::order::Change;
use crate::domain::{Deposit, Order, OrderEvent, OrderState, Reason, Step};
use crate::providers::{Accepted, Answer, Found, Provider};
use crate::sometimes::sometimes;
use crate::store::{Store, StoreError, Written};

use super::addresses::{Wanted, addresses, owner};

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

/// What the provider had to say to the last call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It answered.
    Answer,
    /// Nothing, or nothing that says enough: it may have the order.
    Nothing,
    /// Not even the question: the call surely did nothing.
    NotSent,
}

/// What became of bringing an order to its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The order as it stands.
    pub order: Order,
    /// What there was to hear.
    pub heard: Heard,
}

impl Submission<'_> {
    /// Brings a new order to the provider. `deposit` is the user's address, if it is known already.
    pub async fn first(
        self,
        order: Order,
        deposit: Option<Deposit>,
    ) -> Result<Submitted, StoreError> {
        let (answer, deposit) = self.place(&order, deposit).await?;
        self.record(order, deposit, answer).await
    }

    /// Sends an order again to a provider that cannot be asked: it may have it since the first attempt, and what it says no
    /// to may be the repetition alone. A refusal ends no order then; its time does.
    async fn unasked(
        self,
        order: Order,
        deposit: Option<Deposit>,
    ) -> Result<Submitted, StoreError> {
        match self.place(&order, deposit).await? {
            (Answer::Declined(why), _) => {
                sometimes("submit: a repetition was refused");
                tracing::warn!(order = order.id.as_str(), why, "a repeated create was refused");
                self.put_off(order, Heard::Answer).await
            }
            (answer, deposit) => self.record(order, deposit, answer).await,
        }
    }

    /// The provider's answer to the order, with the address that it goes to.
    async fn place(
        self,
        order: &Order,
        deposit: Option<Deposit>,
    ) -> Result<(Answer<Accepted>, Option<Deposit>), StoreError> {
        let deposit = match deposit {
            None if self.provider.needs_address() => match self.addresses(order).await? {
                Answer::Done(known) => known.into_iter().next(),
                Answer::NotSent => return Ok((Answer::NotSent, None)),
                Answer::Declined(why) | Answer::Unknown(why) => {
                    return Ok((Answer::Unknown(why), None));
                }
            },
            known => known,
        };
        let answer = self.provider.create(order, deposit.as_ref(), self.clock.now()).await;
        Ok((answer, deposit))
    }

    /// Goes on with an order whose first attempt left no trace: asks before it sends again.
    pub async fn again(self, order: Order) -> Result<Submitted, StoreError> {
        let needs_address = self.provider.needs_address();
        let known = match needs_address {
            true => {
                let owner = owner(self.wanted(&order), self.provider);
                self.store.addresses(owner).await?.into_iter().next()
            }
            false => None,
        };
        if !self.provider.can_query() {
            return self.unasked(order, known).await;
        }
        match self.provider.query(&order, self.clock.now()).await {
            Answer::Done(Found::Nothing) => self.first(order, known).await,
            Answer::Done(Found::Open(accepted)) => {
                sometimes("submit: the provider has it already");
                if known.is_none() && needs_address {
                    return self.put_off(order, Heard::Nothing).await;
                }
                self.record(order, known, Answer::Done(accepted)).await
            }
            // Money speaks through the settlement queue; here it only says that the provider has it.
            Answer::Done(Found::Proof(_)) => {
                sometimes("submit: paid before it was written down");
                if known.is_none() && needs_address {
                    return self.put_off(order, Heard::Nothing).await;
                }
                self.record(order, known, Answer::Done(Accepted::default())).await
            }
            Answer::Declined(_) | Answer::Unknown(_) => self.put_off(order, Heard::Nothing).await,
            Answer::NotSent => self.put_off(order, Heard::NotSent).await,
        }
    }

    async fn addresses(self, order: &Order) -> Result<Answer<Vec<Deposit>>, StoreError> {
        addresses(self.store, self.provider, self.clock, self.wanted(order)).await
    }

    fn wanted<'b>(&'b self, order: &'b Order) -> Wanted<'b> {
        Wanted { merchant: &order.merchant, user: &order.user, by: order.id.as_str() }
    }

    /// Writes down what the provider said.
    async fn record(
        self,
        order: Order,
        deposit: Option<Deposit>,
        answer: Answer<Accepted>,
    ) -> Result<Submitted, StoreError> {
        let (event, reason, accepted) = match answer {
            Answer::Done(accepted) => (OrderEvent::Accept, None, accepted),
            Answer::Declined(_) => {
                (OrderEvent::Decline, Some(Reason::ProviderDeclined), Accepted::default())
            }
            Answer::Unknown(_) => return self.put_off(order, Heard::Nothing).await,
            Answer::NotSent => return self.put_off(order, Heard::NotSent).await,
        };
        let mut order = order;
        for _ in 0..RACES_MAX {
            let at = self.clock.now();
            // What the provider has taken it does not lose because it says no to another attempt. And what a part of the
            // money has come for ends by time, with a person, whatever this answer says.
            let keeps = event == OrderEvent::Decline
                && (order.state != OrderState::Created || order.received.minor() > 0);
            let mut next = match order.state.on(event) {
                Step::Move(to) if !keeps => {
                    let change =
                        Change { reason, actor: self.actor, evidence: None, books: None, at };
                    order.moved(to, change)
                }
                // A callback was faster than the answer: only what the answer adds is written.
                Step::Move(_) | Step::AlreadyDone | Step::Refuse => {
                    sometimes("submit: somebody was faster than the answer");
                    order.clone()
                }
            };
            // What clients are told of a closed order never changes afterwards.
            if event == OrderEvent::Accept && next.state.is_open() {
                next.deposit = next.deposit.or_else(|| deposit.clone());
                next.transaction_id = next.transaction_id.or(accepted.transaction_id.clone());
            }
            if next == order {
                return Ok(Submitted { order, heard: Heard::Answer });
            }
            if self.store.advance(&order, &next).await? == Written::Now {
                log(&order, &next);
                return Ok(Submitted { order: next, heard: Heard::Answer });
            }
            sometimes("submit: lost the race");
            order = self.reload(&order).await?;
        }
        Ok(Submitted { order, heard: Heard::Answer })
    }

    /// Ends the attempt without a result, so that the next caller need not wait for its lease.
    async fn put_off(self, order: Order, heard: Heard) -> Result<Submitted, StoreError> {
        sometimes(if heard == Heard::NotSent { "submit: not sent" } else { "submit: unknown" });
        let not_sent = heard == Heard::NotSent;
        tracing::warn!(order = order.id.as_str(), not_sent, "not at the provider; goes on later");
        let free = self.clock.now();
        let order = match self.store.take_over(&order, &order.attempt_by, free).await? {
            Written::Now => Order { attempt_until: free, ..order },
            Written::Raced => self.reload(&order).await?,
        };
        Ok(Submitted { order, heard })
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
        shadow = after.shadow_mark(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::samples::{after, created};

    #[test]
    fn an_order_is_taken_on_between_its_attempt_and_its_end() {
        let order = Order { attempt_until: after(20), ..created() };
        let at = [19, 20, 1_799, 1_800].map(after);
        assert_eq!(at.map(|now| is_half_done(&order, now)), [false, true, true, false]);
        let placed = Order { state: OrderState::Pending, ..order };
        assert!(!at.into_iter().any(|now| is_half_done(&placed, now)));
    }
}
