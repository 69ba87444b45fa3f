//! The one function that decides what evidence does to an order. Callback, poller and operator all
//! come through here; the caller writes the decision down in one conditional transaction.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::command::CreateOrder;
use super::evidence::{Evidence, EvidenceKind, Source, bare};
use super::ids::{MerchantId, OrderId, UserId, UserMark};
use super::ledger::Entry;
use super::money::Money;
use super::order::{Change, Order, OrderBooks, PAYMENTS_MAX, Payment, PaymentFate, Transition};
use super::policy::{AmountPolicy, Disposal, Policy};
use super::state::{OrderEvent, OrderState, Reason, Step};
use super::time::Timestamp;
use crate::bug::{self, Bug};

/// Why authentic evidence was put aside for a person instead of being booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkReason {
    /// No such order.
    UnknownOrder,
    /// The money came to an address that is nobody's here.
    UnknownAddress,
    /// The order belongs to another provider or account.
    WrongAccount,
    /// The order belongs to another user.
    WrongUser,
    /// The payment is in another currency.
    WrongCurrency,
    /// Nothing, or less than nothing, arrived; or less than the smallest amount that the policy takes.
    NothingReceived,
    /// The same payment, now with another amount, transaction or address; or a deposit that was said to have failed, to be
    /// another user's, in another currency, or of nothing.
    AmountConflict,
    /// Another payment for an order that was paid already.
    SecondPayment,
    /// A deposit by the same transaction and to the same address as another one that is booked or was paid back: the
    /// provider tells one transfer twice, or one transaction has paid twice.
    SameTransfer,
    /// The order waits for a person, and so does this. Or it is a deposit that people have refused, and its provider
    /// confirms it since.
    UnderReview,
    /// Less or more than the order's amount, and the policy wants a person; or more than any order may be about.
    AmountMismatch,
    /// The order has more payments than it can name.
    TooMany,
    /// After the order had ended, and the policy wants a person.
    Late,
    /// Signed too long ago to be believed without a person.
    Stale,
    /// So large that the provider was asked, and it does not say the same.
    Unconfirmed,
    /// A part of the money has come, and the rest will not.
    Incomplete,
    /// In a currency that we do not take.
    UnlistedCurrency,
    /// Authentic, but of a kind that we do not know.
    Unrecognised,
    /// The provider gave up an order that is not open.
    DeclinedLate,
}

impl ParkReason {
    /// Every reason.
    pub const ALL: [ParkReason; 19] = [
        ParkReason::UnknownOrder,
        ParkReason::UnknownAddress,
        ParkReason::WrongAccount,
        ParkReason::WrongUser,
        ParkReason::WrongCurrency,
        ParkReason::NothingReceived,
        ParkReason::AmountConflict,
        ParkReason::SecondPayment,
        ParkReason::SameTransfer,
        ParkReason::UnderReview,
        ParkReason::AmountMismatch,
        ParkReason::TooMany,
        ParkReason::Late,
        ParkReason::Stale,
        ParkReason::Unconfirmed,
        ParkReason::Incomplete,
        ParkReason::UnlistedCurrency,
        ParkReason::Unrecognised,
        ParkReason::DeclinedLate,
    ];

    /// Reads the word.
    pub fn parse(text: &str) -> Option<ParkReason> {
        ParkReason::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// The word used in logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            ParkReason::UnknownOrder => "unknown_order",
            ParkReason::UnknownAddress => "unknown_address",
            ParkReason::WrongAccount => "wrong_account",
            ParkReason::WrongUser => "wrong_user",
            ParkReason::WrongCurrency => "wrong_currency",
            ParkReason::NothingReceived => "nothing_received",
            ParkReason::AmountConflict => "amount_conflict",
            ParkReason::SecondPayment => "second_payment",
            ParkReason::SameTransfer => "same_transfer",
            ParkReason::UnderReview => "under_review",
            ParkReason::AmountMismatch => "amount_mismatch",
            ParkReason::TooMany => "too_many_payments",
            ParkReason::Late => "late",
            ParkReason::Stale => "stale",
            ParkReason::Unconfirmed => "unconfirmed",
            ParkReason::Incomplete => "incomplete",
            ParkReason::UnlistedCurrency => "unlisted_currency",
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
    /// Book the entry to suspense; the order waits for the rest.
    Part {
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
    /// Put the evidence aside and note the payment on the order, whose state stays.
    Note {
        /// The order afterwards.
        order: Box<Order>,
        /// Why.
        reason: ParkReason,
    },
    /// Book the entry with an order of its own, which is made `SUCCESS`.
    Make {
        /// The new order.
        order: Box<Order>,
        /// The booking.
        entry: Box<Entry>,
        /// The order that the payment was meant for, with the payment noted.
        noted: Option<Box<Order>>,
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

/// Decides what `evidence` does to `order` under `policy`. Evidence that a person has decided about comes
/// with [`Policy::BY_HAND`].
pub fn apply(order: &Order, evidence: &Evidence, policy: Policy, now: Timestamp) -> Decision {
    if !is_of_its_account(order, evidence) {
        return Decision::Park(ParkReason::WrongAccount);
    }
    if Some(&order.id) != evidence.order_id.as_ref() {
        return Decision::Park(ParkReason::UnknownOrder);
    }
    if !is_of_its_user(order, evidence) {
        return Decision::Park(ParkReason::WrongUser);
    }
    let by_hand = evidence.source == Source::Operator;
    match evidence.kind {
        EvidenceKind::Paid(received) => paid(order, evidence, received, (policy, now)),
        EvidenceKind::Declined | EvidenceKind::TimedOut if by_hand => {
            credit_review(order, evidence, now)
        }
        EvidenceKind::Declined => declined(order, evidence, now),
        EvidenceKind::TimedOut => timed_out(order, evidence, now),
        EvidenceKind::Unlisted => Decision::Park(ParkReason::UnlistedCurrency),
        EvidenceKind::Unrecognised => Decision::Park(ParkReason::Unrecognised),
    }
}

/// Whether the evidence is of the order's provider account. What another account calls by the same name is another payment.
pub fn is_of_its_account(order: &Order, evidence: &Evidence) -> bool {
    order.provider == evidence.provider && order.account == evidence.account
}

/// Whether the evidence is about the order's user, or names none.
fn is_of_its_user(order: &Order, evidence: &Evidence) -> bool {
    let mark = UserMark::derive(&order.merchant, &order.user);
    evidence.user_mark.as_ref().is_none_or(|named| *named == mark)
}

/// Decides about a deposit that nobody has announced, to the address of `owner`, if it is anybody's.
pub fn deposit(
    owner: Option<(&MerchantId, &UserId)>,
    evidence: &Evidence,
    birth: &Birth<'_>,
    policy: Policy,
) -> Decision {
    let Some((merchant, user)) = owner else {
        return Decision::Park(ParkReason::UnknownAddress);
    };
    let mark = UserMark::derive(merchant, user);
    if evidence.user_mark.as_ref().is_some_and(|named| *named != mark) {
        return Decision::Park(ParkReason::WrongUser);
    }
    match evidence.kind {
        EvidenceKind::Paid(received) if received.minor() <= 0 => {
            Decision::Park(ParkReason::NothingReceived)
        }
        EvidenceKind::Paid(_) if evidence.stale => Decision::Park(ParkReason::Stale),
        EvidenceKind::Paid(received) if is_beyond(received) => {
            Decision::Park(ParkReason::AmountMismatch)
        }
        EvidenceKind::Paid(received) if policy.is_too_small(received.minor()) => {
            Decision::Park(ParkReason::NothingReceived)
        }
        EvidenceKind::Paid(received) => {
            make((merchant, user), evidence, received, birth, (None, None))
        }
        EvidenceKind::Declined => Decision::Park(ParkReason::DeclinedLate),
        EvidenceKind::Unlisted => Decision::Park(ParkReason::UnlistedCurrency),
        EvidenceKind::TimedOut | EvidenceKind::Unrecognised => {
            Decision::Park(ParkReason::Unrecognised)
        }
    }
}

/// What an order needs that is made by a payment.
#[derive(Debug, Clone, Copy)]
pub struct Birth<'a> {
    /// The trace of the evidence.
    pub trace: &'a super::ids::TraceId,
    /// Now.
    pub now: Timestamp,
}

/// An order of its own for a payment, paid and credited.
fn make(
    (merchant, user): (&MerchantId, &UserId),
    evidence: &Evidence,
    received: Money,
    birth: &Birth<'_>,
    (meant_for, noted): (Option<&Order>, Option<Box<Order>>),
) -> Decision {
    let (provider, account) = (&evidence.provider, &evidence.account);
    let command = CreateOrder {
        user: user.clone(),
        amount: received,
        payment_method: Some(provider.clone()),
        reference: None,
        callback_url: meant_for.and_then(|order| order.callback_url.clone()),
        expires_in: std::time::Duration::ZERO,
        metadata: BTreeMap::new(),
    };
    let born = super::order::Birth {
        merchant: merchant.clone(),
        provider: provider.clone(),
        account: account.clone(),
        trace: birth.trace.clone(),
        attempt: String::new(),
        now: birth.now,
    };
    let id = OrderId::of_payment(provider, account, &evidence.payment_id);
    let mut order = Order::named(id, born, command);
    order.attempt_until = birth.now;
    order.deposit = evidence.deposit.clone();
    order.transaction_id = evidence.transaction_id.clone();
    let reason = match evidence.source {
        Source::Operator => Reason::Manual,
        _ if meant_for.is_some() => Reason::PaidTwice,
        _ => Reason::PaidExact,
    };
    let payment = payment(evidence, received, PaymentFate::Credited);
    let books = OrderBooks { received, credited: received, payments: vec![payment] };
    let change = Change { books: Some(books), ..change(evidence, Some(reason), birth.now) };
    let mut order = order.moved(OrderState::Success, change);
    order.due_at = None;
    let owner = (merchant.clone(), user.clone());
    match Entry::credit(owner, provider.clone(), received, Money::zero(received.currency())) {
        Ok(entry) => Decision::Make { order: Box::new(order), entry: Box::new(entry), noted },
        Err(_) => Decision::Park(ParkReason::NothingReceived),
    }
}

fn payment(evidence: &Evidence, amount: Money, fate: PaymentFate) -> Payment {
    Payment {
        id: evidence.payment_id.clone(),
        amount,
        dust: evidence.dust,
        transaction_id: evidence.transaction_id.clone(),
        at: evidence.observed_at,
        fate,
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
    let by_hand = evidence.source == Source::Operator;
    if let Some(known) = order.payment(&evidence.payment_id) {
        return match known.fate {
            _ if contradicts(order, known, evidence) => Decision::Park(ParkReason::AmountConflict),
            PaymentFate::Review if by_hand => credit_review(order, evidence, now),
            PaymentFate::Aside if by_hand => elsewhere(order, evidence, received, now),
            _ => Decision::AlreadyDone,
        };
    }
    if evidence.stale {
        return Decision::Park(ParkReason::Stale);
    }
    if policy.is_too_small(received.minor()) && !by_hand {
        return Decision::Park(ParkReason::NothingReceived);
    }
    if bug::is(Bug::M6) && order.state == OrderState::Expired {
        return Decision::AlreadyDone;
    }
    match order.state {
        OrderState::Success
            if policy.second_payment == Disposal::Credit && (by_hand || !is_beyond(received)) =>
        {
            elsewhere(order, evidence, received, now)
        }
        OrderState::Success => note(order, evidence, received, ParkReason::SecondPayment),
        OrderState::Review => note(order, evidence, received, ParkReason::UnderReview),
        OrderState::Created
        | OrderState::Pending
        | OrderState::Failed
        | OrderState::Cancelled
        | OrderState::Expired => first_or_next(order, evidence, received, (policy, now)),
    }
}

/// Whether the evidence says otherwise of a payment than what was said before: another amount, be it by dust, another
/// transaction or, of the order that the payment has made, another address.
pub fn contradicts(order: &Order, known: &Payment, evidence: &Evidence) -> bool {
    let (provider, account) = (&evidence.provider, &evidence.account);
    let made_it = order.id == OrderId::of_payment(provider, account, &known.id);
    let elsewhere = evidence.deposit.is_some() && evidence.deposit != order.deposit;
    let ids = (known.transaction_id.as_deref(), evidence.transaction_id.as_deref());
    // Of a deposit all is told: none is none.
    let dust = match (known.dust, evidence.dust) {
        (Some(one), Some(other)) => !one.is_as_much_as(other),
        (one, other) => one != other && evidence.deposit.is_some(),
    };
    matches!(evidence.kind, EvidenceKind::Paid(received) if known.amount != received || dust)
        || are_two_transactions(ids)
        || (made_it && elsewhere)
}

/// Whether both are there and name two transactions.
pub fn are_two_transactions((one, other): (Option<&str>, Option<&str>)) -> bool {
    matches!((one, other), (Some(one), Some(other)) if bare(one) != bare(other))
}

/// Whether it is more than any order may be about: no rule credits that, a person does.
pub fn is_beyond(money: Money) -> bool {
    money.minor() > money.currency().order_max_minor()
}

/// What the sum of all payments so far comes to.
enum Verdict {
    Credit,
    Wait,
    Hold(ParkReason),
}

fn verdict(order: &Order, total: Money, policy: Policy, late: bool) -> Verdict {
    let off = total.minor().abs_diff(order.amount.minor());
    let mismatch = match total.minor().cmp(&order.amount.minor()) {
        _ if off <= u128::from(policy.tolerance) => None,
        Ordering::Equal => None,
        Ordering::Greater => {
            (policy.over() == Disposal::Review).then_some(Verdict::Hold(ParkReason::AmountMismatch))
        }
        Ordering::Less => match policy.amount {
            AmountPolicy::CreditReceived => None,
            AmountPolicy::Accumulate if !late => Some(Verdict::Wait),
            AmountPolicy::Accumulate | AmountPolicy::Exact => {
                Some(Verdict::Hold(ParkReason::AmountMismatch))
            }
        },
    };
    let late = late && policy.late_payment == Disposal::Review;
    mismatch.unwrap_or(if late { Verdict::Hold(ParkReason::Late) } else { Verdict::Credit })
}

/// A payment for an order that is not paid yet: alone, or with the parts that came before.
fn first_or_next(
    order: &Order,
    evidence: &Evidence,
    received: Money,
    (policy, now): (Policy, Timestamp),
) -> Decision {
    let late = !order.state.is_open();
    // What was refused or credited elsewhere has arrived too, and counts no more.
    let held = waiting(order, PaymentFate::Held);
    let (Ok(total), Ok(arrived)) =
        (held.checked_add(received), order.received.checked_add(received))
    else {
        return Decision::Park(ParkReason::AmountMismatch);
    };
    let reason = match total.minor().cmp(&order.amount.minor()) {
        _ if evidence.source == Source::Operator => Reason::Manual,
        // Also of an order that has ended: this is why a person has to see it.
        _ if is_beyond(total) => Reason::PaidOver,
        _ if late => Reason::PaidLate,
        Ordering::Less => Reason::PaidUnder,
        Ordering::Equal => Reason::PaidExact,
        Ordering::Greater => Reason::PaidOver,
    };
    let mut payments = order.payments.clone();
    if payments.len() >= PAYMENTS_MAX {
        return Decision::Park(ParkReason::TooMany);
    }
    let policy = match evidence.source {
        Source::Query if bug::is(Bug::M15) => Policy {
            amount: AmountPolicy::CreditReceived,
            over_payment: Some(Disposal::Credit),
            ..policy
        },
        _ => policy,
    };
    let verdict = match verdict(order, total, policy, late) {
        Verdict::Credit if is_beyond(total) && evidence.source != Source::Operator => {
            Verdict::Hold(ParkReason::AmountMismatch)
        }
        verdict => verdict,
    };
    let (event, fate) = match verdict {
        Verdict::Credit => (OrderEvent::Settle, PaymentFate::Credited),
        Verdict::Wait => (OrderEvent::Partial, PaymentFate::Held),
        Verdict::Hold(_) => (OrderEvent::Hold, PaymentFate::Review),
    };
    let Step::Move(to) = order.state.on(event) else {
        return Decision::Park(ParkReason::UnderReview);
    };
    let credits = matches!(verdict, Verdict::Credit);
    if credits {
        let held = payments.iter_mut().filter(|payment| payment.fate == PaymentFate::Held);
        held.for_each(|payment| payment.fate = PaymentFate::Credited);
    }
    payments.push(payment(evidence, received, fate));
    let credited = if credits { total } else { order.credited };
    let books = OrderBooks { received: arrived, credited, payments };
    let change = Change { books: Some(books), ..change(evidence, Some(reason), now) };
    let mut next = order.moved(to, change);
    // Before a person has decided, and after a refusal, the payer can pay once more: it stays due.
    if credits {
        next.due_at = None;
    }
    let (owner, provider) = ((order.merchant.clone(), order.user.clone()), order.provider.clone());
    let entry = match verdict {
        Verdict::Hold(reason) => return Decision::Hold { order: Box::new(next), reason },
        Verdict::Credit => Entry::credit(owner, provider, total, held),
        Verdict::Wait => Entry::hold(provider, received),
    };
    match (entry, credits) {
        (Ok(entry), true) => Decision::Settle { order: Box::new(next), entry: Box::new(entry) },
        (Ok(entry), false) => Decision::Part { order: Box::new(next), entry: Box::new(entry) },
        (Err(_), _) => Decision::Park(ParkReason::NothingReceived),
    }
}

/// Puts a payment aside that the order does not need, with a line on the order.
fn note(order: &Order, evidence: &Evidence, received: Money, reason: ParkReason) -> Decision {
    match noted(order, evidence, received, PaymentFate::Aside) {
        Some(order) => Decision::Note { order, reason },
        None => Decision::Park(reason),
    }
}

/// The order with a line for a payment that is not its own; `None` when it has too many.
fn noted(
    order: &Order,
    evidence: &Evidence,
    received: Money,
    fate: PaymentFate,
) -> Option<Box<Order>> {
    let mut next = Box::new(order.clone());
    match next.payments.iter_mut().find(|payment| payment.id == evidence.payment_id) {
        Some(known) => known.fate = fate,
        None if order.payments.len() >= PAYMENTS_MAX => return None,
        None => next.payments.push(payment(evidence, received, fate)),
    }
    Some(next)
}

/// Credits a payment that was meant for `order`, which does not need it, with an order of its own.
fn elsewhere(order: &Order, evidence: &Evidence, received: Money, now: Timestamp) -> Decision {
    let noted = noted(order, evidence, received, PaymentFate::Elsewhere);
    let birth = Birth { trace: &order.trace, now };
    make((&order.merchant, &order.user), evidence, received, &birth, (Some(order), noted))
}

/// What the payments of that fate come to.
fn waiting(order: &Order, fate: PaymentFate) -> Money {
    let of_fate = order.payments.iter().filter(|payment| payment.fate == fate);
    let minor = of_fate.map(|payment| payment.amount.minor()).sum();
    Money::new(minor, order.amount.currency())
}

/// What a person credits of an order in review: everything that waits with it.
fn credit_review(order: &Order, evidence: &Evidence, now: Timestamp) -> Decision {
    if order.state == OrderState::Success {
        return Decision::AlreadyDone;
    }
    let held = waiting(order, PaymentFate::Held);
    let Ok(total) = held.checked_add(waiting(order, PaymentFate::Review)) else {
        return Decision::Park(ParkReason::AmountConflict);
    };
    let (Step::Move(to), OrderState::Review) = (order.state.on(OrderEvent::Settle), order.state)
    else {
        return Decision::Park(ParkReason::NothingReceived);
    };
    let mut payments = order.payments.clone();
    for payment in &mut payments {
        if matches!(payment.fate, PaymentFate::Held | PaymentFate::Review) {
            payment.fate = PaymentFate::Credited;
        }
    }
    let books = OrderBooks { received: order.received, credited: total, payments };
    let change = Change { books: Some(books), ..change(evidence, Some(Reason::Manual), now) };
    let mut next = order.moved(to, change);
    next.due_at = None;
    let owner = (order.merchant.clone(), order.user.clone());
    match Entry::credit(owner, order.provider.clone(), total, held) {
        Ok(entry) => Decision::Settle { order: Box::new(next), entry: Box::new(entry) },
        Err(_) => Decision::Park(ParkReason::NothingReceived),
    }
}

/// Decides what it does to `order` that a person does not credit it what `evidence` brought, which gets
/// `fate` instead: the order afterwards, if it changes.
pub fn let_go(
    order: &Order,
    evidence: &Evidence,
    fate: PaymentFate,
    now: Timestamp,
) -> Option<Order> {
    let with_order = goes_with_order(order, evidence)?;
    let mut payments = order.payments.clone();
    for payment in &mut payments {
        let with_it = matches!(payment.fate, PaymentFate::Held | PaymentFate::Review);
        if (with_order && with_it) || (!with_order && payment.id == evidence.payment_id) {
            payment.fate = fate;
        }
    }
    if !with_order {
        return Some(Order { payments, ..order.clone() });
    }
    let Step::Move(to) = order.state.on(OrderEvent::Reject) else { return None };
    let books = OrderBooks { received: order.received, credited: order.credited, payments };
    let change = Change { books: Some(books), ..change(evidence, Some(Reason::Manual), now) };
    Some(order.moved(to, change))
}

/// Whether `order` lets go of all that waits with it if nobody credits it what `evidence` brought, or of that
/// payment alone; `None` when it does not change.
pub(super) fn goes_with_order(order: &Order, evidence: &Evidence) -> Option<bool> {
    // One of another account or user, or that contradicts the payment, says nothing about it.
    if !is_of_its_account(order, evidence) || !is_of_its_user(order, evidence) {
        return None;
    }
    let known = order.payment(&evidence.payment_id);
    let known =
        known.filter(|payment| !contradicts(order, payment, evidence)).map(|payment| payment.fate);
    match (order.state, evidence.kind, known) {
        (OrderState::Review, _, Some(PaymentFate::Review))
        | (OrderState::Review, EvidenceKind::TimedOut | EvidenceKind::Declined, _) => Some(true),
        (_, _, Some(PaymentFate::Aside)) => Some(false),
        _ => None,
    }
}

/// The order that a statement of another account names, with a line for the payment, which a person has credited elsewhere
/// or paid back: if its own account says it later it is known. `None` when there is no place for the line.
pub fn known_otherwise(order: &Order, evidence: &Evidence, fate: PaymentFate) -> Option<Order> {
    match evidence.kind {
        EvidenceKind::Paid(received)
            if !is_of_its_account(order, evidence)
                && order.is_shadow() == evidence.is_shadow()
                && received.currency() == order.amount.currency()
                && order.payment(&evidence.payment_id).is_none() =>
        {
            noted(order, evidence, received, fate).map(|order| *order)
        }
        _ => None,
    }
}

/// Decides about parked evidence that a person credits to a user: with an order of its own.
pub fn credit_user(
    owner: (&MerchantId, &UserId),
    evidence: &Evidence,
    birth: &Birth<'_>,
) -> Decision {
    match evidence.kind {
        EvidenceKind::Paid(received) if received.minor() > 0 => {
            make(owner, evidence, received, birth, (None, None))
        }
        _ => Decision::Park(ParkReason::NothingReceived),
    }
}

/// The order's time is over and a part of its money is there: a person decides.
fn timed_out(order: &Order, evidence: &Evidence, now: Timestamp) -> Decision {
    let over = order.state.is_open() && order.expires_at <= now;
    if !over || order.received.minor() == 0 {
        return Decision::AlreadyDone;
    }
    incomplete(order, evidence, Reason::PaidUnder, now)
}

/// Into review with the part of the money that has come.
fn incomplete(order: &Order, evidence: &Evidence, reason: Reason, now: Timestamp) -> Decision {
    let Step::Move(to) = order.state.on(OrderEvent::Hold) else { return Decision::AlreadyDone };
    let next = order.moved(to, change(evidence, Some(reason), now));
    Decision::Hold { order: Box::new(next), reason: ParkReason::Incomplete }
}

fn declined(order: &Order, evidence: &Evidence, now: Timestamp) -> Decision {
    let step = match order.state.on(OrderEvent::Decline) {
        Step::Refuse if bug::is(Bug::M5) => Step::Move(OrderState::Failed),
        step => step,
    };
    match step {
        Step::Move(_) if order.received.minor() > 0 && order.state.is_open() => {
            incomplete(order, evidence, Reason::ProviderDeclined, now)
        }
        Step::Move(to) => {
            let mut next = order.moved(to, change(evidence, Some(Reason::ProviderDeclined), now));
            next.due_at = next.next_check(now);
            Decision::Decline { order: Box::new(next) }
        }
        Step::AlreadyDone => Decision::AlreadyDone,
        // The same statement, which has put the order into review with the part of its money.
        Step::Refuse if order.history.last().is_some_and(|last| by(last, evidence)) => {
            Decision::AlreadyDone
        }
        // A person should know that the provider takes back what it had confirmed; an order that
        // ended without money just ends.
        Step::Refuse if matches!(order.state, OrderState::Success | OrderState::Review) => {
            Decision::Park(ParkReason::DeclinedLate)
        }
        Step::Refuse => Decision::AlreadyDone,
    }
}

/// Whether the transition was made because of `evidence`.
fn by(transition: &Transition, evidence: &Evidence) -> bool {
    transition.evidence.as_ref() == Some(&evidence.identity())
}

fn change(evidence: &Evidence, reason: Option<Reason>, at: Timestamp) -> Change<'static> {
    let evidence_id = Some(evidence.identity());
    Change { reason, actor: evidence.source.as_str(), evidence: evidence_id, books: None, at }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::order::{Birth, Deposit};
    use crate::domain::{Currency, IdempotencyKey, ProviderName, TraceId};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const EXACT: Policy = Policy::EXACT;
    const RECEIVED: Policy = Policy { amount: AmountPolicy::CreditReceived, ..EXACT };
    const LATE_REVIEW: Policy = Policy { late_payment: Disposal::Review, ..RECEIVED };

    fn usdt(minor: i128) -> Money {
        Money::new(minor, Currency::Usdt)
    }

    fn order(state: OrderState) -> Order {
        let birth = Birth {
            merchant: MerchantId::parse("m").unwrap(),
            provider: ProviderName::parse("trader").unwrap(),
            account: "APP".to_owned(),
            trace: TraceId::parse("t").unwrap(),
            attempt: "a".to_owned(),
            now: NOW,
        };
        let command = CreateOrder {
            user: UserId::parse("u").unwrap(),
            amount: usdt(500),
            payment_method: None,
            reference: None,
            callback_url: None,
            expires_in: Duration::from_secs(1_800),
            metadata: Default::default(),
        };
        Order { state, ..Order::new(&IdempotencyKey::parse("k").unwrap(), birth, command) }
    }

    fn evidence(kind: EvidenceKind) -> Evidence {
        let order = order(OrderState::Pending);
        Evidence {
            provider: order.provider.clone(),
            account: order.account.clone(),
            payment_id: order.id.to_string(),
            user_mark: Some(UserMark::derive(&order.merchant, &order.user)),
            order_id: Some(order.id),
            deposit: None,
            transaction_id: None,
            dust: None,
            kind,
            source: Source::Callback,
            stale: false,
            observed_at: NOW,
            digest: [0; 32],
            raw: String::new(),
        }
    }

    fn paid(minor: i128) -> Evidence {
        evidence(EvidenceKind::Paid(usdt(minor)))
    }

    /// State, reason, received, credited; or the word for an untouched order.
    fn told(decision: &Decision) -> String {
        let order = |order: &Order| {
            let reason = order.reason.map_or("-", Reason::as_str);
            let (received, credited) = (order.received.minor(), order.credited.minor());
            format!("{} {reason} {received} {credited}", order.state.as_str())
        };
        match decision {
            Decision::Settle { order: after, entry } => {
                assert_eq!(entry.amount(), after.credited);
                order(after)
            }
            Decision::Part { order: after, entry } => {
                assert_eq!(entry.kind().as_str(), "HOLD");
                format!("{} part", order(after))
            }
            Decision::Make { order: made, entry, noted } => {
                assert_eq!(entry.amount(), made.credited);
                let noted = noted.as_ref().map_or("-", |order| order.state.as_str());
                format!("{} made, noted on {noted}", order(made))
            }
            Decision::Note { order: after, reason } => {
                format!("{} noted:{}", order(after), reason.as_str())
            }
            Decision::Hold { order: after, reason } => {
                format!("{} held:{}", order(after), reason.as_str())
            }
            Decision::Decline { order: after } => order(after),
            Decision::Park(reason) => format!("parked:{}", reason.as_str()),
            Decision::AlreadyDone => "done".to_owned(),
        }
    }

    #[track_caller]
    fn check(state: OrderState, evidence: &Evidence, policy: Policy, wanted: &str) {
        assert_eq!(told(&apply(&order(state), evidence, policy, NOW)), wanted, "{state:?}");
    }

    #[test]
    fn money_in_time_is_credited_by_the_amount_policy() {
        for state in [OrderState::Created, OrderState::Pending] {
            check(state, &paid(500), EXACT, "SUCCESS paid_exact 500 500");
            check(state, &paid(499), EXACT, "REVIEW paid_under 499 0 held:amount_mismatch");
            check(state, &paid(501), EXACT, "REVIEW paid_over 501 0 held:amount_mismatch");
            check(state, &paid(499), RECEIVED, "SUCCESS paid_under 499 499");
            check(state, &paid(501), RECEIVED, "SUCCESS paid_over 501 501");
            check(state, &paid(500), LATE_REVIEW, "SUCCESS paid_exact 500 500");
        }
    }

    #[test]
    fn late_money_is_never_lost() {
        for state in [OrderState::Failed, OrderState::Cancelled, OrderState::Expired] {
            check(state, &paid(500), EXACT, "SUCCESS paid_late 500 500");
            check(state, &paid(500), LATE_REVIEW, "REVIEW paid_late 500 0 held:late");
            check(state, &paid(1), EXACT, "REVIEW paid_late 1 0 held:amount_mismatch");
        }
    }

    #[test]
    fn a_settled_payment_is_settled_once() {
        let Decision::Settle { order: settled, .. } =
            apply(&order(OrderState::Pending), &paid(500), EXACT, NOW)
        else {
            panic!("settles")
        };
        let again = |evidence: &Evidence| told(&apply(&settled, evidence, EXACT, NOW));
        assert_eq!(again(&paid(500)), "done");
        assert_eq!(again(&Evidence { stale: true, ..paid(500) }), "done");
        assert_eq!(again(&paid(900)), "parked:amount_conflict");
        let named = |id: &str| Evidence { transaction_id: Some(id.to_owned()), ..paid(500) };
        assert_eq!(again(&named("0xAB")), "done", "nothing was said of it before");
        let Decision::Settle { order: named_before, .. } =
            apply(&order(OrderState::Pending), &named("0xAB"), EXACT, NOW)
        else {
            panic!("settles")
        };
        for (id, wanted) in [("ab", "done"), ("0xaB", "done"), ("0xac", "parked:amount_conflict")] {
            assert_eq!(told(&apply(&named_before, &named(id), EXACT, NOW)), wanted, "{id}");
        }
        assert_eq!(told(&apply(&named_before, &paid(500), EXACT, NOW)), "done");
        let second = Evidence { payment_id: "other".to_owned(), ..paid(500) };
        assert_eq!(again(&second), "SUCCESS paid_exact 500 500 noted:second_payment");
        assert_eq!(again(&evidence(EvidenceKind::Declined)), "parked:declined_late");
        assert_eq!((settled.version, settled.due_at, settled.history.len()), (2, None, 1));
    }

    #[test]
    fn held_money_waits_for_a_person() {
        let Decision::Hold { order: held, .. } =
            apply(&order(OrderState::Pending), &paid(1), EXACT, NOW)
        else {
            panic!("holds")
        };
        let again = |evidence: &Evidence| told(&apply(&held, evidence, EXACT, NOW));
        assert_eq!(again(&paid(1)), "done");
        assert_eq!(again(&paid(500)), "parked:amount_conflict");
        let second = Evidence { payment_id: "other".to_owned(), ..paid(500) };
        assert_eq!(again(&second), "REVIEW paid_under 1 0 noted:under_review");
    }

    #[test]
    fn evidence_that_does_not_fit_touches_no_order() {
        let pending = OrderState::Pending;
        let other = ProviderName::parse("other").unwrap();
        check(pending, &Evidence { provider: other, ..paid(500) }, EXACT, "parked:wrong_account");
        let account = "OTHER".to_owned();
        check(pending, &Evidence { account, ..paid(500) }, EXACT, "parked:wrong_account");
        let user_mark = UserMark::parse("M0000000000000000000000000");
        check(pending, &Evidence { user_mark, ..paid(500) }, EXACT, "parked:wrong_user");
        let usd = evidence(EvidenceKind::Paid(Money::new(500, Currency::Usd)));
        check(pending, &usd, EXACT, "parked:wrong_currency");
        check(pending, &paid(0), RECEIVED, "parked:nothing_received");
        check(pending, &paid(-1), RECEIVED, "parked:nothing_received");
        check(pending, &Evidence { stale: true, ..paid(500) }, EXACT, "parked:stale");
        check(pending, &evidence(EvidenceKind::Unrecognised), EXACT, "parked:unrecognised");
    }

    #[test]
    fn a_decline_ends_an_open_order_only() {
        let declined = evidence(EvidenceKind::Declined);
        check(OrderState::Created, &declined, EXACT, "FAILED provider_declined 0 0");
        check(OrderState::Pending, &declined, EXACT, "FAILED provider_declined 0 0");
        for state in [OrderState::Failed, OrderState::Cancelled, OrderState::Expired] {
            check(state, &declined, EXACT, "done");
        }
        check(OrderState::Review, &declined, EXACT, "parked:declined_late");
    }

    #[test]
    fn a_decline_of_a_part_puts_the_order_into_review_once() {
        let policy = Policy { amount: AmountPolicy::Accumulate, ..EXACT };
        let Decision::Part { order: part, .. } =
            apply(&order(OrderState::Pending), &paid(1), policy, NOW)
        else {
            panic!("waits")
        };
        let declined = evidence(EvidenceKind::Declined);
        let Decision::Hold { order: held, reason } = apply(&part, &declined, policy, NOW) else {
            panic!("a person decides")
        };
        assert_eq!((held.state, reason), (OrderState::Review, ParkReason::Incomplete));
        assert_eq!(told(&apply(&held, &declined, policy, NOW)), "done");
        let another = Evidence { payment_id: "other".to_owned(), ..declined };
        assert_eq!(told(&apply(&held, &another, policy, NOW)), "parked:declined_late");
    }

    #[test]
    fn a_notice_of_a_part_says_the_same_before_and_after_the_providers_answer() {
        let policy = Policy { amount: AmountPolicy::Accumulate, ..EXACT };
        let Decision::Part { order: part, .. } =
            apply(&order(OrderState::Created), &paid(1), policy, NOW)
        else {
            panic!("waits")
        };
        let told = part.notice(1);
        let deposit = Deposit { address: "T1".to_owned(), network: "TRON".to_owned() };
        let transaction_id = Some("00aa".to_owned());
        let answered = Order { deposit: Some(deposit), transaction_id, ..*part };
        assert_eq!(answered.notice(1), told);
    }

    #[test]
    fn the_time_of_a_part_is_over_at_its_end_and_not_before() {
        let policy = Policy { amount: AmountPolicy::Accumulate, ..EXACT };
        let Decision::Part { order: part, .. } =
            apply(&order(OrderState::Pending), &paid(1), policy, NOW)
        else {
            panic!("waits")
        };
        let ends = part.expires_at;
        let at = |now| told(&apply(&part, &evidence(EvidenceKind::TimedOut), policy, now));
        assert_eq!(at(ends.minus(Duration::from_millis(1))), "done");
        assert_eq!(at(ends), "REVIEW paid_under 1 0 held:incomplete");
    }

    #[test]
    fn an_order_that_a_payment_makes_says_why() {
        let user = UserId::parse("u").unwrap();
        let merchant = MerchantId::parse("m").unwrap();
        let trace = TraceId::parse("t").unwrap();
        let birth = super::Birth { trace: &trace, now: NOW };
        let announced_by_nobody = Evidence { order_id: None, ..paid(700) };
        let made = deposit(Some((&merchant, &user)), &announced_by_nobody, &birth, EXACT);
        assert_eq!(told(&made), "SUCCESS paid_exact 700 700 made, noted on -");
        let by_hand = Evidence { source: Source::Operator, ..announced_by_nobody };
        let made = credit_user((&merchant, &user), &by_hand, &birth);
        assert_eq!(told(&made), "SUCCESS manual 700 700 made, noted on -");

        let policy = Policy { second_payment: Disposal::Credit, ..EXACT };
        let Decision::Settle { order: settled, .. } =
            apply(&order(OrderState::Pending), &paid(500), policy, NOW)
        else {
            panic!("settles")
        };
        let second = Evidence { payment_id: "other".to_owned(), ..paid(300) };
        let twice = told(&apply(&settled, &second, policy, NOW));
        assert_eq!(twice, "SUCCESS paid_twice 300 300 made, noted on SUCCESS");
        // With as many lines as an order has at most it is credited all the same.
        let line = settled.payments[0].clone();
        let lines =
            (1..PAYMENTS_MAX).map(|number| Payment { id: number.to_string(), ..line.clone() });
        let payments = lines.chain([line.clone()]).collect();
        let full = Order { payments, ..*settled };
        let twice = told(&apply(&full, &second, policy, NOW));
        assert_eq!(twice, "SUCCESS paid_twice 300 300 made, noted on -");
    }

    #[test]
    fn looks_become_rarer_and_end_with_the_monitoring_window() {
        let order = order(OrderState::Expired);
        let after = |secs: u64| {
            let now = NOW.plus(Duration::from_secs(secs));
            order.next_check(now).map(|next| next.since(now).as_secs())
        };
        assert_eq!(after(10), Some(30));
        assert_eq!(after(600), Some(300));
        assert_eq!(after(86_400), Some(4 * 3_600));
        assert_eq!(after(72 * 3_600), None);
    }
}
