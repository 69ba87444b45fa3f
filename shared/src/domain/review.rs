//! Reviews: statements that were put aside, and what people decide about them. A decision above a threshold
//! takes two people; carried out it is by the settlement worker alone.

use super::apply::ParkReason;
use super::evidence::{Evidence, EvidenceKind};
use super::ids::{MerchantId, OrderId, ReviewId, UserId};
use super::money::Money;
use super::order::{Order, Payment, PaymentFate};
use super::state::OrderState;
use super::time::Timestamp;

/// What a person wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Credit it with this order.
    CreditOrder(OrderId),
    /// Credit it to this user, with an order of its own.
    CreditUser(MerchantId, UserId),
    /// Credit nobody: it is no money of ours.
    Reject,
    /// Credit nobody: the money goes back, outside of this system.
    Refund,
}

impl Action {
    /// Every word.
    pub const WORDS: [&'static str; 4] = ["credit_order", "credit_user", "reject", "refund"];

    /// The word in requests and the table.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Action::CreditOrder(_) => "credit_order",
            Action::CreditUser(..) => "credit_user",
            Action::Reject => "reject",
            Action::Refund => "refund",
        }
    }
}

/// Where a review stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewState {
    /// Nobody has decided.
    Open,
    /// One person has; another one has to agree.
    Proposed,
    /// Decided; on its way to the worker.
    Approved,
    /// Credited.
    Credited,
    /// Credited to nobody.
    Rejected,
    /// Marked for a refund.
    Refund,
}

impl ReviewState {
    /// Every state.
    pub const ALL: [ReviewState; 6] = [
        ReviewState::Open,
        ReviewState::Proposed,
        ReviewState::Approved,
        ReviewState::Credited,
        ReviewState::Rejected,
        ReviewState::Refund,
    ];

    /// The word in answers and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReviewState::Open => "OPEN",
            ReviewState::Proposed => "PROPOSED",
            ReviewState::Approved => "APPROVED",
            ReviewState::Credited => "CREDITED",
            ReviewState::Rejected => "REJECTED",
            ReviewState::Refund => "REFUND",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<ReviewState> {
        ReviewState::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing can be decided any more.
    pub const fn is_closed(self) -> bool {
        matches!(self, ReviewState::Credited | ReviewState::Rejected | ReviewState::Refund)
    }
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// What is to be done.
    pub action: Action,
    /// Who has decided.
    pub by: String,
    /// Why, in their words.
    pub note: String,
    /// When.
    pub at: Timestamp,
    /// Who has agreed, and when.
    pub second: Option<(String, Timestamp)>,
}

/// A statement that waits, or waited, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Its identity.
    pub id: ReviewId,
    /// Why it was put aside.
    pub why: ParkReason,
    /// Where it stands.
    pub state: ReviewState,
    /// The statement.
    pub evidence: Evidence,
    /// What it is about, where that is an amount in a currency that we take.
    pub amount: Option<Money>,
    /// Whose it is, where that is known.
    pub owner: Option<(MerchantId, UserId)>,
    /// When it was put aside.
    pub at: Timestamp,
    /// What was decided.
    pub ruling: Option<Ruling>,
    /// Why a decision could not be carried out.
    pub refusal: Option<String>,
}

/// What a decision comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruled {
    /// Another person has to agree.
    Proposed(Ruling),
    /// It is carried out.
    Approved(Ruling),
    /// It was decided so before.
    Before,
    /// It was decided otherwise before.
    Conflict,
}

impl Review {
    /// What `new` comes to; `two_from` is the amount from which two people have to agree, in whole units of
    /// any currency.
    pub fn rule(&self, new: Ruling, two_from: u64) -> Ruled {
        if !self.takes_two(two_from) {
            return match (self.state, &self.ruling) {
                (ReviewState::Open | ReviewState::Proposed, _) => Ruled::Approved(new),
                (_, Some(known)) if known.action == new.action => Ruled::Before,
                _ => Ruled::Conflict,
            };
        }
        match (self.state, &self.ruling) {
            (ReviewState::Proposed, Some(known)) if known.action == new.action => {
                if known.by == new.by {
                    return Ruled::Before;
                }
                let second = Some((new.by, new.at));
                Ruled::Approved(Ruling { second, ..known.clone() })
            }
            (ReviewState::Open | ReviewState::Proposed, _) => Ruled::Proposed(new),
            (_, Some(known)) if known.action == new.action => Ruled::Before,
            _ => Ruled::Conflict,
        }
    }

    /// Why `action` cannot be carried out; `meant_for` is the order that the statement names.
    pub fn obstacle(&self, action: &Action, meant_for: Option<&Order>) -> Option<&'static str> {
        let target = match action {
            Action::Reject | Action::Refund => return None,
            Action::CreditOrder(id) => Some(id),
            Action::CreditUser(..) => None,
        };
        if self.amount.is_none() {
            return Some("there is no amount in a currency that could be credited");
        }
        let own = &self.evidence.payment_id;
        let of_order = self.why == ParkReason::Incomplete;
        let on_order = meant_for.is_some_and(|order| order.payment(own).is_some());
        let at_home = target.is_some() && meant_for.map(|order| &order.id) == target;
        if (of_order || on_order) && target.is_some() && !at_home {
            return Some("the money waits with the order that it was paid for: credit it there");
        }
        if target.is_none() && of_order {
            return Some("these are several payments: credit them with their order");
        }
        let others =
            meant_for.filter(|order| order.state == OrderState::Review).is_some_and(|order| {
                let waits = |payment: &Payment| {
                    payment.id != *own
                        && matches!(payment.fate, PaymentFate::Held | PaymentFate::Review)
                };
                on_order && order.payments.iter().any(waits)
            });
        let alone = meant_for.and_then(|order| order.payment(own));
        let with_order = alone.is_some_and(|payment| payment.fate == PaymentFate::Review);
        if target.is_none() && others && with_order {
            return Some("other payments wait with the same order: credit them together");
        }
        None
    }

    /// Whether there is money in it that an order may have to let go of.
    pub const fn has_money(&self) -> bool {
        matches!(self.evidence.kind, EvidenceKind::Paid(_))
            || matches!(self.why, ParkReason::Incomplete)
    }

    /// Whether two people have to agree.
    pub fn takes_two(&self, two_from: u64) -> bool {
        self.amount.is_some_and(|amount| {
            let unit = 10i128.saturating_pow(amount.currency().exponent());
            amount.minor() >= i128::from(two_from).saturating_mul(unit)
        })
    }

    /// The decision, if it may be carried out: whoever wrote it down, the rule is checked once more.
    pub fn approved(&self, two_from: u64) -> Option<&Ruling> {
        let ruling = self.ruling.as_ref().filter(|_| self.state == ReviewState::Approved)?;
        let two = ruling.second.as_ref().is_some_and(|(second, _)| *second != ruling.by);
        (two || !self.takes_two(two_from)).then_some(ruling)
    }
}
