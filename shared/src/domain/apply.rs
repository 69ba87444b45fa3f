//! The one function that decides what evidence does to an order. Callback, poller and operator all
//! come through here; the caller writes the decision down in one conditional transaction.

use super::evidence::{Evidence, EvidenceKind};
use super::ids::UserMark;
use super::ledger::Entry;
use super::money::Money;
use super::order::{Change, Order};
use super::policy::{AmountPolicy, LatePolicy, Policy};
use super::state::{OrderEvent, OrderState, Reason, Step};
use super::time::Timestamp;

/// Why authentic evidence was put aside for a person instead of being booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkReason {
    /// No such order.
    UnknownOrder,
    /// The order belongs to another provider or account.
    WrongAccount,
    /// The order belongs to another user.
    WrongUser,
    /// The payment is in another currency.
    WrongCurrency,
    /// Nothing, or less than nothing, arrived.
    NothingReceived,
    /// The same payment, now with another amount.
    AmountConflict,
    /// Another payment for an order that was paid already.
    SecondPayment,
    /// The order waits for a person; so does this.
    UnderReview,
    /// Less or more than the order's amount, and the policy wants a person.
    AmountMismatch,
    /// After the order had ended, and the policy wants a person.
    Late,
    /// Signed too long ago to be believed without a person.
    Stale,
    /// Authentic, but of a kind that we do not know.
    Unrecognised,
    /// The provider gave up an order that is not open.
    DeclinedLate,
}

impl ParkReason {
    /// The word used in logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            ParkReason::UnknownOrder => "unknown_order",
            ParkReason::WrongAccount => "wrong_account",
            ParkReason::WrongUser => "wrong_user",
            ParkReason::WrongCurrency => "wrong_currency",
            ParkReason::NothingReceived => "nothing_received",
            ParkReason::AmountConflict => "amount_conflict",
            ParkReason::SecondPayment => "second_payment",
            ParkReason::UnderReview => "under_review",
            ParkReason::AmountMismatch => "amount_mismatch",
            ParkReason::Late => "late",
            ParkReason::Stale => "stale",
            ParkReason::Unrecognised => "unrecognised",
            ParkReason::DeclinedLate => "declined_late",
        }
    }
}

/// What to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Book the entry; the order becomes `SUCCESS`.
    Settle {
        /// The order afterwards.
        order: Box<Order>,
        /// The booking.
        entry: Box<Entry>,
    },
    /// Put the evidence aside and the order with it, into `REVIEW`.
    Hold {
        /// The order afterwards.
        order: Box<Order>,
        /// Why.
        reason: ParkReason,
    },
    /// The order becomes `FAILED`.
    Decline {
        /// The order afterwards.
        order: Box<Order>,
    },
    /// Put the evidence aside; the order stays as it is.
    Park(ParkReason),
    /// Written down before.
    AlreadyDone,
}

/// Decides what `evidence` does to `order` under `policy`.
pub fn apply(order: &Order, evidence: &Evidence, policy: Policy, now: Timestamp) -> Decision {
    if order.provider != evidence.provider || order.account != evidence.account {
        return Decision::Park(ParkReason::WrongAccount);
    }
    if order.id != evidence.order_id {
        return Decision::Park(ParkReason::UnknownOrder);
    }
    if UserMark::derive(&order.merchant, &order.user) != evidence.user_mark {
        return Decision::Park(ParkReason::WrongUser);
    }
    match evidence.kind {
        EvidenceKind::Paid(received) => paid(order, evidence, received, (policy, now)),
        EvidenceKind::Declined => declined(order, evidence, now),
        EvidenceKind::Unrecognised => Decision::Park(ParkReason::Unrecognised),
    }
}

fn paid(
    order: &Order,
    evidence: &Evidence,
    received: Money,
    (policy, now): (Policy, Timestamp),
) -> Decision {
    if received.currency() != order.amount.currency() {
        return Decision::Park(ParkReason::WrongCurrency);
    }
    if received.minor() <= 0 {
        return Decision::Park(ParkReason::NothingReceived);
    }
    if let Some(known) = &order.payment_id {
        return match (known == &evidence.payment_id, received == order.received) {
            (true, true) => Decision::AlreadyDone,
            (true, false) => Decision::Park(ParkReason::AmountConflict),
            (false, _) if order.state == OrderState::Review => {
                Decision::Park(ParkReason::UnderReview)
            }
            (false, _) => Decision::Park(ParkReason::SecondPayment),
        };
    }
    if evidence.stale {
        return Decision::Park(ParkReason::Stale);
    }
    let late = !order.state.is_open();
    let reason = match received.minor().cmp(&order.amount.minor()) {
        _ if late => Reason::PaidLate,
        std::cmp::Ordering::Less => Reason::PaidUnder,
        std::cmp::Ordering::Equal => Reason::PaidExact,
        std::cmp::Ordering::Greater => Reason::PaidOver,
    };
    let mismatch = policy.amount == AmountPolicy::Exact && received != order.amount;
    let held = if mismatch {
        Some(ParkReason::AmountMismatch)
    } else {
        (late && policy.late_payment == LatePolicy::Review).then_some(ParkReason::Late)
    };
    let event = if held.is_some() { OrderEvent::Hold } else { OrderEvent::Settle };
    let Step::Move(to) = order.state.on(event) else {
        return Decision::Park(ParkReason::UnderReview);
    };
    let mut next = order.moved(to, change(evidence, Some(reason), now));
    next.received = received;
    next.payment_id = Some(evidence.payment_id.clone());
    next.due_at = None;
    if let Some(reason) = held {
        return Decision::Hold { order: Box::new(next), reason };
    }
    next.credited = received;
    let (merchant, user) = (order.merchant.clone(), order.user.clone());
    match Entry::credit(merchant, user, order.provider.clone(), received) {
        Ok(entry) => Decision::Settle { order: Box::new(next), entry: Box::new(entry) },
        Err(_) => Decision::Park(ParkReason::NothingReceived),
    }
}

fn declined(order: &Order, evidence: &Evidence, now: Timestamp) -> Decision {
    match order.state.on(OrderEvent::Decline) {
        Step::Move(to) => {
            let mut next = order.moved(to, change(evidence, Some(Reason::ProviderDeclined), now));
            next.due_at = next.next_check(now);
            Decision::Decline { order: Box::new(next) }
        }
        Step::AlreadyDone => Decision::AlreadyDone,
        // A person should know that the provider takes back what it had confirmed; an order that
        // ended without money just ends.
        Step::Refuse if matches!(order.state, OrderState::Success | OrderState::Review) => {
            Decision::Park(ParkReason::DeclinedLate)
        }
        Step::Refuse => Decision::AlreadyDone,
    }
}

fn change(evidence: &Evidence, reason: Option<Reason>, at: Timestamp) -> Change<'static> {
    Change { reason, actor: evidence.source.as_str(), evidence: Some(evidence.identity()), at }
}
