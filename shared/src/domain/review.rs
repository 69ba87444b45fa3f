//! Reviews: statements that were put aside, and what people decide about them. A decision above a threshold
//! takes two people; carried out it is by the settlement worker alone.

use super::apply::{ParkReason, contradicts, goes_with_order, is_of_its_account};
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

    /// The order or the user that is credited.
    pub fn target(&self) -> Option<&str> {
        match self {
            Action::CreditOrder(id) => Some(id.as_str()),
            Action::CreditUser(_, user) => Some(user.as_str()),
            Action::Reject | Action::Refund => None,
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
    /// When an order had come to wait for the statement, as the review said when this was decided.
    pub about: Option<Timestamp>,
}

/// A decision in whose place another one came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The decision.
    pub ruling: Ruling,
    /// Why it was not carried out, or why the review was opened again after it; `None` where somebody decided otherwise
    /// before.
    pub refusal: Option<String>,
}

/// Earlier decisions that a review keeps, the last ones; the log has them all.
pub const EARLIER_MAX: usize = 20;

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
    /// What was decided before that, oldest first.
    pub earlier: Vec<Earlier>,
    /// Why a decision could not be carried out.
    pub refusal: Option<String>,
    /// When an order came to wait for it, if that was after it had been put aside.
    pub seen_again_at: Option<Timestamp>,
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
    /// What `new` comes to; `takes_two` is whether two people have to agree.
    pub fn rule(&self, new: Ruling, takes_two: bool) -> Ruled {
        let new = Ruling { about: self.seen_again_at, ..new };
        let known = self.ruling.as_ref().filter(|known| known.action == new.action);
        if !matches!(self.state, ReviewState::Open | ReviewState::Proposed) {
            return if known.is_some() { Ruled::Before } else { Ruled::Conflict };
        }
        if !takes_two {
            return Ruled::Approved(new);
        }
        // What was proposed about a statement alone is no vote about the order that has come to wait for it.
        let is_open = |known: &&Ruling| !self.has_been_said_since(known);
        match known.filter(|_| self.state == ReviewState::Proposed).filter(is_open) {
            Some(known) if known.by == new.by => Ruled::Before,
            Some(known) => {
                let second = Some((new.by, new.at));
                Ruled::Approved(Ruling { second, ..known.clone() })
            }
            None => Ruled::Proposed(new),
        }
    }

    /// The review once `ruling` is written down, which is what [`Review::rule`] made of a decision.
    pub fn ruled(&self, state: ReviewState, ruling: Ruling) -> Review {
        let mut earlier = self.earlier.clone();
        // The word of the second person leaves the first one's in its place.
        if let Some(known) = self.ruling.as_ref().filter(|known| !known.is_continued_by(&ruling)) {
            earlier.push(Earlier { ruling: known.clone(), refusal: self.refusal.clone() });
            earlier.drain(..earlier.len().saturating_sub(EARLIER_MAX));
        }
        Review { state, ruling: Some(ruling), earlier, refusal: None, ..self.clone() }
    }

    /// Why `action` cannot be carried out; `meant_for` is the order that the statement names.
    pub fn obstacle(&self, action: &Action, meant_for: Option<&Order>) -> Option<&'static str> {
        let own = &self.evidence.payment_id;
        // What is simulated and what is real have nothing to do with each other.
        let of_another_account = meant_for.filter(|order| {
            !is_of_its_account(order, &self.evidence)
                && order.is_shadow() == self.evidence.is_shadow()
        });
        match (action, of_another_account) {
            (Action::CreditOrder(_), Some(_)) => {
                return Some("it names an order of another account: credit it to a user");
            }
            (Action::CreditUser(..) | Action::Refund, Some(order))
                if order.payment(own).is_some() =>
            {
                return Some(
                    "the order that it names has the payment already: decide about that one",
                );
            }
            _ => {}
        }
        let target = match action {
            Action::Reject | Action::Refund => return None,
            Action::CreditOrder(id) => Some(id),
            Action::CreditUser(..) => None,
        };
        if self.amount.is_none() {
            return Some("there is no amount in a currency that could be credited");
        }
        if self.is_another_transfer(action, meant_for) {
            return None;
        }
        let of_order = self.why == ParkReason::Incomplete;
        let own_order = meant_for.filter(|order| is_of_its_account(order, &self.evidence));
        let known = own_order.and_then(|order| order.payment(own)).filter(|_| !of_order);
        let contradicted = meant_for.zip(known).is_some_and(|(order, payment)| {
            Some(payment.amount) != self.amount || contradicts(order, payment, &self.evidence)
        });
        if contradicted {
            return Some("the payment is known with another amount, transaction or address");
        }
        if known.is_some_and(|payment| payment.fate == PaymentFate::Refused) {
            return Some("the payment was refused with its order");
        }
        let elsewhere = match (action, meant_for) {
            (Action::CreditUser(merchant, user), Some(order)) => {
                (&order.merchant, &order.user) != (merchant, user)
            }
            _ => false,
        };
        if elsewhere && known.is_some_and(|payment| payment.fate == PaymentFate::Credited) {
            return Some("the payment is credited already, to another user");
        }
        let on_order = known.is_some();
        let at_home = target.is_some() && meant_for.map(|order| &order.id) == target;
        if (of_order || on_order) && target.is_some() && !at_home {
            return Some("the money waits with the order that it was paid for: credit it there");
        }
        if target.is_none() && of_order {
            return Some("these are several payments: credit them with their order");
        }
        let others = on_order && meant_for.is_some_and(|order| others_wait(order, own));
        let with_order = known.is_some_and(|payment| payment.fate == PaymentFate::Review);
        if target.is_none() && others && with_order {
            return Some("other payments wait with the same order: credit them together");
        }
        None
    }

    /// Whether `action` credits the order's user with a transfer of which its provider says no more than the order: a
    /// provider that names payments by their orders calls a second transfer what contradicts the first one, or what comes
    /// after the first one was paid back.
    pub fn is_another_transfer(&self, action: &Action, meant_for: Option<&Order>) -> bool {
        let Action::CreditUser(merchant, user) = action else { return false };
        let own = &self.evidence.payment_id;
        meant_for.is_some_and(|order| {
            let is_another = match (self.why, order.payment(own)) {
                (ParkReason::AmountConflict, _) | (ParkReason::SecondPayment, None) => true,
                // It was put aside before the first one was credited.
                (_, Some(known)) => {
                    known.fate == PaymentFate::Credited && contradicts(order, known, &self.evidence)
                }
                _ => false,
            };
            is_another
                && *own == order.id.as_str()
                && is_of_its_account(order, &self.evidence)
                && (&order.merchant, &order.user) == (merchant, user)
        })
    }

    /// Whether people see by its reason that the money is credited already, by another name.
    pub fn tells_of_another(&self) -> bool {
        self.why == ParkReason::SameTransfer
    }

    /// What a payment is called that has no name of its own, beside the one that its statement names.
    pub fn own_payment_id(&self) -> String {
        format!("review-{}", self.id)
    }

    /// Whether there is money in it that an order may have to let go of.
    pub const fn has_money(&self) -> bool {
        matches!(self.evidence.kind, EvidenceKind::Paid(_))
            || matches!(self.why, ParkReason::Incomplete)
    }

    /// Whether an order has come to wait for it since the first person made `ruling`, about a statement alone. Whose clock
    /// is ahead does not matter.
    pub fn has_been_said_since(&self, ruling: &Ruling) -> bool {
        self.seen_again_at != ruling.about
    }

    /// Whether two people have to agree to every decision: from `two_from` on, in whole units of any currency.
    pub fn takes_two(&self, two_from: u64) -> bool {
        self.amount.is_some_and(|amount| is_large(amount, two_from))
    }

    /// Whether two people have to agree to `action`, which may move more than the payment: `order` is the one
    /// that it credits, or that lets go of the money, with what waits there. Always to what a provider may have meant as a
    /// correction, or a repetition, of what it said before.
    pub fn needs_two(&self, action: &Action, order: Option<&Order>, two_from: u64) -> bool {
        let moved = order.and_then(|order| self.moved_with(action, order));
        // What is paid back is never credited, and of this nobody can say how much it is.
        let unknown = matches!(action, Action::Refund)
            && matches!(self.evidence.kind, EvidenceKind::Unlisted | EvidenceKind::Unrecognised);
        let is_credit = matches!(action, Action::CreditOrder(_) | Action::CreditUser(..));
        unknown
            || self.is_another_transfer(action, order)
            || (is_credit && self.why == ParkReason::SameTransfer)
            || self.takes_two(two_from)
            || moved.is_some_and(|moved| is_large(moved, two_from))
    }

    /// What `action` moves of the money of `order`, this payment included.
    fn moved_with(&self, action: &Action, order: &Order) -> Option<Money> {
        let waits =
            |payment: &&Payment| matches!(payment.fate, PaymentFate::Held | PaymentFate::Review);
        let with_all = match action {
            Action::CreditOrder(_) => true,
            Action::CreditUser(..) => false,
            Action::Reject => goes_with_order(order, &self.evidence)?,
            Action::Refund => goes_with_order(order, &self.evidence.of_anybody())?,
        };
        if !with_all {
            return None;
        }
        let own = match self.evidence.kind {
            EvidenceKind::Paid(amount) if amount.currency() == order.amount.currency() => amount,
            _ => Money::zero(order.amount.currency()),
        };
        let is_there = order.payment(&self.evidence.payment_id).as_ref().is_some_and(waits);
        let first = if is_there { 0 } else { own.minor() };
        let waiting = order.payments.iter().filter(waits);
        let minor = waiting.fold(first, |sum, payment| sum.saturating_add(payment.amount.minor()));
        Some(Money::new(minor, order.amount.currency()))
    }
}

impl Ruling {
    /// Whether `other` is this decision with another person's agreement.
    fn is_continued_by(&self, other: &Ruling) -> bool {
        *self == Ruling { second: self.second.clone(), ..other.clone() } && other.second.is_some()
    }

    /// Whether two people have agreed.
    pub fn is_by_two(&self) -> bool {
        self.second.as_ref().is_some_and(|(second, _)| *second != self.by)
    }
}

/// Whether the order waits for a person with other payments than `own`.
fn others_wait(order: &Order, own: &str) -> bool {
    let waits = |payment: &Payment| {
        payment.id != own && matches!(payment.fate, PaymentFate::Held | PaymentFate::Review)
    };
    order.state == OrderState::Review && order.payments.iter().any(waits)
}

fn is_large(amount: Money, two_from: u64) -> bool {
    let unit = 10i128.saturating_pow(amount.currency().exponent());
    amount.minor() >= i128::from(two_from).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::evidence::Source;
    use crate::domain::samples::{BEGAN, created};
    use crate::domain::{Currency, UserMark};

    /// What the order's provider says of a payment that is called like the order.
    fn review(order: &Order, why: ParkReason, amount: Money) -> Review {
        let evidence = Evidence {
            provider: order.provider.clone(),
            account: order.account.clone(),
            payment_id: order.id.to_string(),
            order_id: Some(order.id.clone()),
            deposit: None,
            transaction_id: None,
            user_mark: Some(UserMark::derive(&order.merchant, &order.user)),
            kind: EvidenceKind::Paid(amount),
            dust: None,
            source: Source::Callback,
            stale: false,
            observed_at: BEGAN,
            digest: [0; 32],
            raw: String::new(),
        };
        Review {
            id: ReviewId::parse(&evidence.identity()).unwrap(),
            why,
            state: ReviewState::Open,
            evidence,
            amount: None,
            owner: None,
            at: BEGAN,
            ruling: None,
            earlier: Vec::new(),
            refusal: None,
            seen_again_at: None,
        }
    }

    fn with(order: &Order, minor: i128, fate: PaymentFate) -> Order {
        let payment = Payment {
            id: order.id.to_string(),
            amount: Money::new(minor, Currency::Eur),
            dust: None,
            transaction_id: None,
            at: BEGAN,
            fate,
        };
        Order { payments: vec![payment], ..order.clone() }
    }

    #[test]
    fn another_transfer_is_what_contradicts_the_credited_one() {
        let order = created();
        let to_its_user = Action::CreditUser(order.merchant.clone(), order.user.clone());
        let said = review(&order, ParkReason::UnderReview, Money::new(500, Currency::Eur));
        let is_another = |order: &Order| said.is_another_transfer(&to_its_user, Some(order));
        for (fate, minor, expected) in [
            (PaymentFate::Credited, 400, true),
            (PaymentFate::Credited, 500, false),
            (PaymentFate::Held, 400, false),
            (PaymentFate::Held, 500, false),
        ] {
            assert_eq!(is_another(&with(&order, minor, fate)), expected, "{fate:?} {minor}");
        }
        assert!(!is_another(&order));
    }

    #[test]
    fn what_counts_as_moved_is_of_the_orders_currency() {
        let order = created();
        let credit = Action::CreditOrder(order.id.clone());
        let takes_two =
            |amount| review(&order, ParkReason::Late, amount).needs_two(&credit, Some(&order), 10);
        assert!(takes_two(Money::new(1_000, Currency::Eur)));
        assert!(!takes_two(Money::new(999, Currency::Eur)));
        assert!(!takes_two(Money::new(5_000, Currency::Usdt)), "less than a cent");
    }
}
