//! What a decision about an order must keep, written down once more and not read from the code that decides.

use recharge_shared::domain::{
    Currency, Decision, Entry, Evidence, EvidenceKind, Money, Order, OrderId, OrderState,
    ParkReason, PaymentFate, Source, UserMark,
};

use OrderState::{Cancelled, Created, Expired, Failed, Pending, Review, Success};

/// The only ways that evidence may move an order.
const MOVES: [(OrderState, OrderState); 15] = [
    (Created, Pending),
    (Pending, Pending),
    (Created, Review),
    (Pending, Review),
    (Failed, Review),
    (Cancelled, Review),
    (Expired, Review),
    (Created, Success),
    (Pending, Success),
    (Review, Success),
    (Failed, Success),
    (Cancelled, Success),
    (Expired, Success),
    (Created, Failed),
    (Pending, Failed),
];

/// The sum of an order's payments of these fates, in minor units.
pub fn sum(order: &Order, fates: &[PaymentFate]) -> i128 {
    let of_fates = order.payments.iter().filter(|payment| fates.contains(&payment.fate));
    of_fates.map(|payment| payment.amount.minor()).fold(0, i128::saturating_add)
}

/// Why the evidence does not concern the order, or cannot be money for it, if so.
pub fn at_the_door(order: &Order, evidence: &Evidence) -> Option<ParkReason> {
    let mark = UserMark::derive(&order.merchant, &order.user);
    if evidence.provider != order.provider || evidence.account != order.account {
        return Some(ParkReason::WrongAccount);
    }
    if evidence.order_id.as_ref() != Some(&order.id) {
        return Some(ParkReason::UnknownOrder);
    }
    if evidence.user_mark.as_ref().is_some_and(|named| *named != mark) {
        return Some(ParkReason::WrongUser);
    }
    match evidence.kind {
        EvidenceKind::Unlisted => Some(ParkReason::UnlistedCurrency),
        EvidenceKind::Unrecognised => Some(ParkReason::Unrecognised),
        EvidenceKind::Paid(money) if money.currency() != order.amount.currency() => {
            Some(ParkReason::WrongCurrency)
        }
        EvidenceKind::Paid(money) if money.minor() <= 0 => Some(ParkReason::NothingReceived),
        EvidenceKind::Paid(money) => {
            let known = order.payments.iter().find(|known| known.id == evidence.payment_id);
            let other_transaction = |id: &Option<String>| {
                id.is_some() && evidence.transaction_id.is_some() && *id != evidence.transaction_id
            };
            let of_payment =
                OrderId::of_payment(&evidence.provider, &evidence.account, &evidence.payment_id);
            let other_address = order.id == of_payment
                && evidence.deposit.is_some()
                && evidence.deposit != order.deposit;
            let conflicts = known.is_some_and(|known| {
                known.amount != money || other_transaction(&known.transaction_id) || other_address
            });
            conflicts.then_some(ParkReason::AmountConflict)
        }
        EvidenceKind::Declined | EvidenceKind::TimedOut => None,
    }
}

/// What is wrong with `decision` about `before`.
pub fn wrong(before: &Order, evidence: &Evidence, decision: &Decision) -> Vec<String> {
    let mut problems = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            problems.push(format!("{what}: {decision:?} about {before:?} by {evidence:?}"));
        }
    };
    parked(before, evidence, decision, &mut must);
    let paid = match evidence.kind {
        EvidenceKind::Paid(money) => money.minor(),
        _ => 0,
    };
    match decision {
        Decision::Settle { order, entry } => {
            must(order.state == Success, "settled is SUCCESS");
            must(moved(before, order), "one step, one line of history");
            must(balanced(entry), "legs sum to zero");
            must(entry.amount().minor() == order.credited.minor(), "the entry is the credit");
            must(before.credited.minor() == 0, "credited once");
            let held = sum(before, &[PaymentFate::Held]);
            must(entry.held().minor() == held, "what was in suspense leaves it");
            let waiting = sum(before, &[PaymentFate::Held, PaymentFate::Review]);
            let by_hand = evidence.source == Source::Operator && before.state == Review;
            let wanted = if by_hand { waiting } else { held.saturating_add(paid) };
            must(order.credited.minor() == wanted, "credited is what arrived");
            must(may_credit(evidence, order.credited), "the largest amounts are for a person");
        }
        Decision::Part { order, entry } => {
            must(order.state == Pending, "a part leaves the order open");
            must(moved(before, order), "one step, one line of history");
            must(balanced(entry), "legs sum to zero");
            must(entry.amount().minor() == paid, "the entry is the part");
            must(order.credited == before.credited, "a part credits nothing");
        }
        Decision::Hold { order, .. } => {
            must(order.state == Review, "held is REVIEW");
            must(moved(before, order), "one step, one line of history");
            must(order.credited == before.credited, "what is held credits nothing");
        }
        Decision::Decline { order } => {
            must(order.state == Failed, "declined is FAILED");
            must(moved(before, order), "one step, one line of history");
            must(before.received == order.received && paid == 0, "no money is declined");
        }
        Decision::Note { order, .. } => must(stays(before, order), "a note changes no state"),
        Decision::Make { order, entry, noted } => {
            must(order.state == Success && order.id != before.id, "another order, paid");
            must(balanced(entry), "legs sum to zero");
            let same = entry.amount().minor() == paid && order.credited.minor() == paid;
            must(same && order.received == order.credited, "credited is what arrived");
            must(may_credit(evidence, order.credited), "the largest amounts are for a person");
            must(
                noted.as_ref().is_none_or(|order| stays(before, order)),
                "a note changes no state",
            );
        }
        Decision::Park(_) | Decision::AlreadyDone => {}
    }
    if let Some(after) = after(decision) {
        must(same_order(before, after), "what was asked for never changes");
        must(sums_up(before, after), "received is the sum of its payments");
    }
    problems
}

/// What does not fit is parked, for its reason, and nothing else is; and `SUCCESS` rests.
fn parked(
    before: &Order,
    evidence: &Evidence,
    decision: &Decision,
    must: &mut impl FnMut(bool, &str),
) {
    let door = at_the_door(before, evidence);
    match (door, decision) {
        (Some(reason), Decision::Park(parked)) => must(*parked == reason, "parked for this reason"),
        (Some(_), _) => must(false, "what is wrong at the door is parked"),
        (None, Decision::Park(reason)) => {
            must(may_park(before, evidence, *reason), "may be parked")
        }
        (None, _) => {}
    }
    if before.state == Success {
        let rests = matches!(
            decision,
            Decision::Park(_)
                | Decision::AlreadyDone
                | Decision::Note { .. }
                | Decision::Make { .. }
        );
        must(rests, "SUCCESS never changes");
    }
}

/// More than a million USDT, or a thousand million minor units of another currency, is more than any order may be about.
pub fn is_beyond(money: Money) -> bool {
    let most = if money.currency() == Currency::Usdt { 1_000_000_000_000 } else { 1_000_000_000 };
    money.minor() > most
}

/// What is more than that no rule credits.
fn may_credit(evidence: &Evidence, credited: Money) -> bool {
    evidence.source == Source::Operator || !is_beyond(credited)
}

/// The order that the evidence was about, afterwards, if it changes.
pub fn after(decision: &Decision) -> Option<&Order> {
    match decision {
        Decision::Settle { order, .. }
        | Decision::Part { order, .. }
        | Decision::Hold { order, .. }
        | Decision::Note { order, .. }
        | Decision::Decline { order } => Some(order),
        Decision::Make { noted, .. } => noted.as_deref(),
        Decision::Park(_) | Decision::AlreadyDone => None,
    }
}

/// Reasons for which evidence may be parked that passes the door.
fn may_park(order: &Order, evidence: &Evidence, reason: ParkReason) -> bool {
    let full = order.payments.len() >= 20;
    let by_hand = evidence.source == Source::Operator;
    let paid = matches!(evidence.kind, EvidenceKind::Paid(_));
    match reason {
        ParkReason::Stale => paid && evidence.stale,
        ParkReason::TooMany => paid && full && order.state != Success && order.state != Review,
        ParkReason::SecondPayment => paid && full && order.state == Success,
        ParkReason::UnderReview => paid && full && order.state == Review,
        ParkReason::DeclinedLate => {
            evidence.kind == EvidenceKind::Declined && matches!(order.state, Success | Review)
        }
        // The sum would not fit into any number.
        ParkReason::AmountMismatch => paid && order.received.minor() > i128::MAX / 4,
        // There is nothing in the order that a person could credit.
        ParkReason::NothingReceived => {
            by_hand && (order.state != Review || order.received.minor() == 0)
        }
        _ => false,
    }
}

fn balanced(entry: &Entry) -> bool {
    let legs = entry.legs().iter().map(|leg| leg.amount.minor());
    entry.amount().minor() > 0 && legs.fold(0_i128, i128::saturating_add) == 0
}

fn moved(before: &Order, after: &Order) -> bool {
    let Some((last, earlier)) = after.history.split_last() else { return false };
    after.version == before.version + 1
        && *earlier == before.history[..]
        && (last.from, last.to) == (before.state, after.state)
        && MOVES.contains(&(before.state, after.state))
}

fn stays(before: &Order, after: &Order) -> bool {
    let as_before = Order { payments: before.payments.clone(), ..after.clone() };
    as_before == *before
}

fn same_order(before: &Order, after: &Order) -> bool {
    let of = |order: &Order| {
        let who = (order.id.clone(), order.merchant.clone(), order.user.clone());
        let whom = (order.provider.clone(), order.account.clone(), order.reference.clone());
        let when = (order.created_at, order.expires_at, order.fingerprint);
        (who, order.amount, whom, when)
    };
    of(before) == of(after)
}

/// No payment disappears, changes its amount or comes twice; what is new in `received` is new among the
/// payments that belong to the order, and what is credited has been received.
fn sums_up(before: &Order, after: &Order) -> bool {
    let own = [PaymentFate::Held, PaymentFate::Review, PaymentFate::Credited];
    let kept = before.payments.iter().zip(&after.payments);
    let same = kept.clone().all(|(old, new)| old.id == new.id && old.amount == new.amount);
    let added = after.payments.get(before.payments.len()..);
    let Some(added) = added else { return false };
    let unknown = added.iter().all(|new| before.payments.iter().all(|old| old.id != new.id));
    let gained: i128 = added
        .iter()
        .filter(|payment| own.contains(&payment.fate))
        .map(|payment| payment.amount.minor())
        .fold(0, i128::saturating_add);
    let credited = sum(after, &[PaymentFate::Credited]);
    same && unknown
        && after.received.minor() == before.received.minor().saturating_add(gained)
        && credited == after.credited.minor()
        && after.credited.minor() <= after.received.minor()
}
