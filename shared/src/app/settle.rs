//! Settling: what evidence does to its order, decided by the domain and written in one transaction.
//! The only place that books money. A redelivery finds the work done.

use std::collections::BTreeMap;

use crate::bug::{self, Bug};
use crate::clock::Clock;
use crate::domain::{
    Decision, Money, Order, OrderState, ParkReason, Policy, ProviderName, Timestamp, apply,
};
use crate::queue::SettlementMessage;
use crate::sometimes::sometimes;
use crate::store::{Settled, Store, StoreError, Written};

use super::submit::log;

/// How often a lost race is decided again before the message is left to its redelivery.
const RACES_MAX: usize = 5;

/// The rules of each provider account.
pub type Policies = BTreeMap<ProviderName, Policy>;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Booked; the order is `SUCCESS`.
    Settled,
    /// Put aside, and the order with it.
    Held,
    /// The order is `FAILED`.
    Declined,
    /// Put aside; the order is as it was.
    Parked(ParkReason),
    /// Done before.
    AlreadyDone,
}

/// What a message came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// In a word.
    pub outcome: Outcome,
    /// The order whose latest notice the merchant must hear of, if this has written it or might have:
    /// a commit whose answer was lost looks like one that somebody else has made.
    pub announce: Option<Box<Order>>,
    /// The order, when there was nothing left to do.
    pub found: Option<Box<Order>>,
}

impl Settlement {
    fn plain(outcome: Outcome) -> Settlement {
        Settlement { outcome, announce: None, found: None }
    }

    fn already_done(order: Order, has_raced: bool) -> Settlement {
        let order = Some(Box::new(order));
        let (announce, found) = if has_raced { (order, None) } else { (None, order) };
        Settlement { outcome: Outcome::AlreadyDone, announce, found }
    }
}

/// Applies one message.
pub async fn settle(
    store: &Store,
    policies: &Policies,
    clock: &dyn Clock,
    message: &SettlementMessage,
) -> Result<Settlement, StoreError> {
    let evidence = &message.evidence;
    for race in 0..RACES_MAX {
        let now = clock.now();
        let found = match &evidence.order_id {
            Some(id) => store.order(id).await?,
            None => None,
        };
        let Some(order) = found else {
            return park(store, message, ParkReason::UnknownOrder, None, clock).await;
        };
        let (order, now) = if bug::is(Bug::M7) { unsettled(order, now) } else { (order, now) };
        if bug::is(Bug::M14) {
            let claim = store.park(evidence, ParkReason::Stale, Some(&order), now).await?;
            if claim == Written::Raced {
                return Ok(Settlement::already_done(order, false));
            }
        }
        let policy = policies.get(&order.provider).copied().unwrap_or_default();
        let settled = match apply(&order, evidence, policy, now) {
            Decision::AlreadyDone if race > 0 => {
                sometimes("settle: found it done after a race");
                return Ok(Settlement::already_done(order, true));
            }
            Decision::AlreadyDone => return Ok(Settlement::already_done(order, race > 0)),
            Decision::Park(reason) => {
                return park(store, message, reason, Some(&order), clock).await;
            }
            Decision::Settle { order: after, entry } => {
                let settled = store.settle((&order, &after), &entry, evidence).await?;
                (settled, after, Outcome::Settled)
            }
            Decision::Hold { order: after, reason } => {
                let settled = store.hold((&order, &after), evidence, reason).await?;
                (settled, after, Outcome::Held)
            }
            Decision::Decline { order: after } => match store.advance(&order, &after).await? {
                Written::Now => (Settled::Now, after, Outcome::Declined),
                Written::Raced => (Settled::Raced, after, Outcome::Declined),
            },
        };
        match settled {
            (Settled::Now, after, outcome) => {
                log(&order, &after);
                return Ok(Settlement { announce: Some(after), ..Settlement::plain(outcome) });
            }
            (Settled::PaymentTaken, _, Outcome::Settled) => {
                return park(store, message, ParkReason::SecondPayment, Some(&order), clock).await;
            }
            // The statement was put aside before, when it could not move the order: now it does.
            (Settled::PaymentTaken, after, Outcome::Held) => {
                sometimes("settle: held what was parked before");
                if store.advance(&order, &after).await? == Written::Now {
                    log(&order, &after);
                    return Ok(Settlement {
                        announce: Some(after),
                        ..Settlement::plain(Outcome::Held)
                    });
                }
            }
            // The statement was put aside before, by itself: that is where the operator finds it.
            (Settled::PaymentTaken, _, _) => {
                return Ok(Settlement::already_done(order, race > 0));
            }
            (Settled::Raced, _, _) => sometimes("settle: lost the race"),
        }
    }
    Err(StoreError::Busy(format!("order {} keeps changing", evidence.order_text())))
}

/// A settled order as it was before, and when that ended: whoever trusts the request token alone does not
/// look, and sends the same transaction again.
fn unsettled(order: Order, now: Timestamp) -> (Order, Timestamp) {
    let last = order.history.last().filter(|_| order.state == OrderState::Success);
    let Some((state, at)) = last.map(|last| (last.from, last.at)) else { return (order, now) };
    let nothing = Money::zero(order.amount.currency());
    let mut before = Order {
        state,
        version: order.version.saturating_sub(1),
        reason: None,
        payment_id: None,
        received: nothing,
        credited: nothing,
        due_at: Some(at),
        ..order
    };
    before.history.pop();
    (before, at)
}

async fn park(
    store: &Store,
    message: &SettlementMessage,
    reason: ParkReason,
    order: Option<&Order>,
    clock: &dyn Clock,
) -> Result<Settlement, StoreError> {
    let written = store.park(&message.evidence, reason, order, clock.now()).await?;
    if written == Written::Now {
        let order = message.evidence.order_text();
        tracing::warn!(order, reason = reason.as_str(), "evidence parked for an operator");
    }
    Ok(Settlement::plain(Outcome::Parked(reason)))
}
