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
use crate::bug::{self, Bug};

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
    /// In a currency that we do not take.
    UnlistedCurrency,
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
    if Some(&order.id) != evidence.order_id.as_ref() {
        return Decision::Park(ParkReason::UnknownOrder);
    }
    let mark = UserMark::derive(&order.merchant, &order.user);
    if evidence.user_mark.as_ref().is_some_and(|named| *named != mark) {
        return Decision::Park(ParkReason::WrongUser);
    }
    match evidence.kind {
        EvidenceKind::Paid(received) => paid(order, evidence, received, (policy, now)),
        EvidenceKind::Declined => declined(order, evidence, now),
        EvidenceKind::Unlisted => Decision::Park(ParkReason::UnlistedCurrency),
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
    if bug::is(Bug::M6) && order.state == OrderState::Expired {
        return Decision::AlreadyDone;
    }
    let late = !order.state.is_open();
    let reason = match received.minor().cmp(&order.amount.minor()) {
        _ if late => Reason::PaidLate,
        std::cmp::Ordering::Less => Reason::PaidUnder,
        std::cmp::Ordering::Equal => Reason::PaidExact,
        std::cmp::Ordering::Greater => Reason::PaidOver,
    };
    let mut mismatch = policy.amount == AmountPolicy::Exact && received != order.amount;
    if bug::is(Bug::M15) && evidence.source == super::evidence::Source::Query {
        mismatch = false;
    }
    let held = if mismatch {
        Some(ParkReason::AmountMismatch)
    } else {
        (late && policy.late_payment == LatePolicy::Review).then_some(ParkReason::Late)
    };
    let event = if held.is_some() { OrderEvent::Hold } else { OrderEvent::Settle };
    let Step::Move(to) = order.state.on(event) else {
        return Decision::Park(ParkReason::UnderReview);
    };
    let credited = if held.is_some() { order.credited } else { received };
    let money = Some((received, credited));
    let mut next = order.moved(to, Change { money, ..change(evidence, Some(reason), now) });
    next.payment_id = Some(evidence.payment_id.clone());
    next.due_at = None;
    if let Some(reason) = held {
        return Decision::Hold { order: Box::new(next), reason };
    }
    let (merchant, user) = (order.merchant.clone(), order.user.clone());
    match Entry::credit(merchant, user, order.provider.clone(), received) {
        Ok(entry) => Decision::Settle { order: Box::new(next), entry: Box::new(entry) },
        Err(_) => Decision::Park(ParkReason::NothingReceived),
    }
}

fn declined(order: &Order, evidence: &Evidence, now: Timestamp) -> Decision {
    let step = match order.state.on(OrderEvent::Decline) {
        Step::Refuse if bug::is(Bug::M5) => Step::Move(OrderState::Failed),
        step => step,
    };
    match step {
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
    let evidence_id = Some(evidence.identity());
    Change { reason, actor: evidence.source.as_str(), evidence: evidence_id, money: None, at }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::order::Birth;
    use crate::domain::{
        CreateOrder, Currency, IdempotencyKey, MerchantId, ProviderName, Source, TraceId, UserId,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const EXACT: Policy = Policy { amount: AmountPolicy::Exact, late_payment: LatePolicy::Credit };
    const RECEIVED: Policy =
        Policy { amount: AmountPolicy::CreditReceived, late_payment: LatePolicy::Credit };
    const LATE_REVIEW: Policy =
        Policy { amount: AmountPolicy::CreditReceived, late_payment: LatePolicy::Review };

    fn usdt(minor: i128) -> Money {
        Money::new(minor, Currency::Usdt)
    }

    fn order(state: OrderState) -> Order {
        let birth = Birth {
            merchant: MerchantId::parse("m").unwrap(),
            key: &IdempotencyKey::parse("k").unwrap(),
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
        Order { state, ..Order::new(birth, command) }
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
                assert_eq!(entry.legs()[0].amount, after.credited);
                order(after)
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
        let second = Evidence { payment_id: "other".to_owned(), ..paid(500) };
        assert_eq!(again(&second), "parked:second_payment");
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
        assert_eq!(again(&second), "parked:under_review");
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
