//! What must hold for every decision about every order, whatever evidence comes in whatever order: random
//! sequences against `apply` and `deposit`, held against rules of their own. The seed is fixed;
//! `PROPTEST_CASES` makes the run longer.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a scene that cannot be set up, and what chance finds, end the test"
)]

mod chance;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use recharge_shared::domain::apply::{Birth, deposit, let_go};
use recharge_shared::domain::order::Change;
use recharge_shared::domain::{
    AmountPolicy, Decision, Disposal, Evidence, EvidenceKind, MerchantId, Order, OrderEvent,
    OrderId, OrderState, ParkReason, PaymentFate, Policy, Source, Step, Timestamp, TraceId, UserId,
    UserMark, apply,
};
use recharge_tests::rules::{after, at_the_door, is_beyond, sum, wrong};

use crate::chance::{Act, NOW, evidence, new_order, policies, said};

fn check<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let own = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let cases = own.cases.max(4_000);
    let mut runner = TestRunner::new(ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), ..own });
    if let Err(found) = runner.run(&strategy, test) {
        panic!("{found}");
    }
}

fn sound(problems: Vec<String>) -> Result<(), TestCaseError> {
    prop_assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// An order with what the store would keep beside it.
struct Books {
    order: Order,
    /// Payment rows: each is written once.
    booked: BTreeSet<String>,
    /// Orders that payments have made.
    made: BTreeMap<OrderId, i128>,
    /// What has authentically arrived for the order: payments, with the amounts that were said.
    arrived: BTreeSet<(String, i128)>,
    /// Put aside.
    parked: BTreeSet<(String, i128)>,
    balance: i128,
    suspense: i128,
    credits: usize,
}

impl Books {
    fn new(order: Order) -> Books {
        Books {
            order,
            booked: BTreeSet::new(),
            made: BTreeMap::new(),
            arrived: BTreeSet::new(),
            parked: BTreeSet::new(),
            balance: 0,
            suspense: 0,
            credits: 0,
        }
    }

    /// Writes a decision as the store does: a payment row that is there already refuses the whole.
    fn write(&mut self, evidence: &Evidence, decision: Decision) {
        let id = evidence.payment_id.clone();
        let minor = match evidence.kind {
            EvidenceKind::Paid(money) => money.minor(),
            _ => 0,
        };
        if minor > 0 && at_the_door(&self.order, evidence).is_none() {
            self.arrived.insert((id.clone(), minor));
        }
        let books = matches!(
            decision,
            Decision::Settle { .. } | Decision::Part { .. } | Decision::Make { .. }
        );
        // What a person's decision does not credit stays where it is: the review opens again.
        let by_hand = evidence.source == Source::Operator && !books;
        if by_hand || (books && !self.booked.insert(id.clone())) {
            self.parked.insert((id, minor));
            return;
        }
        if let Some(after) = after(&decision) {
            self.order = after.clone();
        }
        match decision {
            Decision::Settle { entry, .. } => {
                self.balance += entry.amount().minor();
                self.suspense -= entry.held().minor();
                self.credits += 1;
            }
            Decision::Part { entry, .. } => self.suspense += entry.amount().minor(),
            Decision::Make { order, entry, .. } => {
                self.balance += entry.amount().minor();
                self.made.insert(order.id.clone(), entry.amount().minor());
            }
            Decision::Park(_) => {
                self.parked.insert((id, minor));
            }
            _ => {}
        }
    }

    /// All money is somewhere, once.
    fn conserved(&self) -> Result<(), TestCaseError> {
        let order = &self.order;
        prop_assert_eq!(self.suspense, sum(order, &[PaymentFate::Held]));
        let made: i128 = self.made.values().sum();
        prop_assert_eq!(self.balance, order.credited.minor() + made);
        prop_assert!(self.credits <= 1, "an order is credited once");
        for (id, amount) in &self.arrived {
            let named = order.payments.iter().find(|payment| payment.id == *id);
            let elsewhere = OrderId::of_payment(&order.provider, &order.account, id);
            let elsewhere = self.made.get(&elsewhere);
            if named.is_some_and(|payment| payment.fate != PaymentFate::Elsewhere) {
                prop_assert!(elsewhere.is_none(), "{id} is credited here and there");
            }
            let here = named.is_some_and(|payment| payment.amount.minor() == *amount);
            let kept = here || elsewhere == Some(amount);
            let kept = kept || self.parked.contains(&(id.clone(), *amount));
            prop_assert!(kept, "{amount} of {id} is lost");
        }
        Ok(())
    }
}

/// By hand everything is credited, as the caller of `apply` has it.
fn policy_of(evidence: &Evidence, policy: Policy) -> Policy {
    if evidence.source == Source::Operator { Policy::BY_HAND } else { policy }
}

fn step(books: &mut Books, act: &Act, policy: Policy, now: Timestamp) -> Result<(), TestCaseError> {
    let said = match act {
        Act::Said(said) => said,
        Act::Event(event) => {
            // What clients, the provider and the clock do, as far as the state table lets them.
            if let Step::Move(to) = books.order.state.on(*event)
                && !(*event == OrderEvent::Expire && books.order.received.minor() > 0)
            {
                let at = now;
                let change =
                    Change { reason: None, actor: "test", evidence: None, books: None, at };
                books.order = books.order.moved(to, change);
            }
            return Ok(());
        }
        Act::LetGo(said) => {
            let evidence = Evidence { source: Source::Operator, ..evidence(&books.order, said) };
            if let Some(freed) = let_go(&books.order, &evidence, PaymentFate::Refused, now) {
                let fine = matches!(
                    (books.order.state, freed.state),
                    (OrderState::Review, OrderState::Failed)
                ) || books.order.state == freed.state;
                prop_assert!(fine && freed.credited == books.order.credited);
                prop_assert!(freed.received == books.order.received);
                books.suspense -=
                    sum(&books.order, &[PaymentFate::Held]) - sum(&freed, &[PaymentFate::Held]);
                books.order = freed;
            }
            return Ok(());
        }
    };
    let evidence = evidence(&books.order, said);
    let policy = policy_of(&evidence, policy);
    let before = books.order.clone();
    let decision = apply(&before, &evidence, policy, now);
    sound(wrong(&before, &evidence, &decision))?;
    obeys(&before, &evidence, &decision, policy)?;
    books.write(&evidence, decision);
    books.conserved()?;
    // The same again right after: no money moves.
    let (balance, suspense, order) = (books.balance, books.suspense, books.order.clone());
    let again = apply(&books.order, &evidence, policy, now);
    sound(wrong(&books.order, &evidence, &again))?;
    books.write(&evidence, again);
    prop_assert_eq!((books.balance, books.suspense), (balance, suspense));
    prop_assert_eq!(&books.order.credited, &order.credited);
    prop_assert_eq!(&books.order.received, &order.received);
    books.conserved()
}

/// What the merchant's rules forbid does not happen without a person.
fn obeys(
    before: &Order,
    evidence: &Evidence,
    decision: &Decision,
    policy: Policy,
) -> Result<(), TestCaseError> {
    if evidence.source == Source::Operator {
        return Ok(());
    }
    let late = !before.state.is_open();
    match decision {
        Decision::Settle { order, .. } => {
            let off = order.credited.minor() - order.amount.minor();
            let near = off.unsigned_abs() <= u128::from(policy.tolerance);
            let over = off > 0 && policy.over() == Disposal::Credit;
            let under = off < 0 && policy.amount == AmountPolicy::CreditReceived;
            prop_assert!(near || over || under, "credited against the rule: {decision:?}");
            prop_assert!(before.state != OrderState::Review, "a person was to decide");
            prop_assert!(!late || policy.late_payment == Disposal::Credit, "late: {decision:?}");
        }
        Decision::Part { .. } => {
            prop_assert!(policy.amount == AmountPolicy::Accumulate && !late, "{decision:?}");
        }
        Decision::Make { .. } => {
            prop_assert!(before.state == OrderState::Success, "{decision:?}");
            prop_assert!(policy.second_payment == Disposal::Credit, "{decision:?}");
        }
        _ => {}
    }
    prop_assert!(!books(decision) || !evidence.stale, "stale money is booked: {decision:?}");
    Ok(())
}

fn books(decision: &Decision) -> bool {
    matches!(decision, Decision::Settle { .. } | Decision::Part { .. } | Decision::Make { .. })
}

#[test]
fn no_sequence_of_evidence_makes_or_loses_money() {
    let amounts = prop_oneof![1_i128..1_000, Just(1), Just(1_000_000_000_000)];
    let acts = prop::collection::vec(chance::acts(), 1..40);
    check((amounts, policies(), acts), |(amount, policy, acts)| {
        let mut books = Books::new(new_order(amount));
        for (number, act) in acts.iter().enumerate() {
            let secs = i64::try_from(number).unwrap_or(0) * 100;
            step(&mut books, act, policy, Timestamp::from_secs(NOW.secs() + secs))?;
        }
        Ok(())
    });
}

#[test]
fn nothing_makes_the_decision_panic() {
    let amounts = prop_oneof![any::<i128>(), Just(i128::MAX), Just(i128::MIN)];
    let acts = prop::collection::vec(said(any::<i128>().boxed()), 1..10);
    check((amounts, policies(), acts), |(amount, policy, acts)| {
        let mut order = new_order(amount);
        for said in &acts {
            let evidence = evidence(&order, said);
            let decision = apply(&order, &evidence, policy, NOW);
            if let Some(after) = after(&decision) {
                prop_assert!(after.credited.minor() <= after.received.minor());
                order = after.clone();
            }
        }
        Ok(())
    });
}

#[test]
fn the_order_of_two_statements_loses_nothing() {
    let one = || said((1_i128..2_000).boxed());
    check((policies(), one(), one()), |(policy, first, second)| {
        for pair in [[&first, &second], [&second, &first]] {
            let mut books = Books::new(new_order(1_000));
            for said in pair {
                let evidence = evidence(&books.order, said);
                let decision = apply(&books.order, &evidence, policy_of(&evidence, policy), NOW);
                books.write(&evidence, decision);
            }
            let total = books.arrived.iter().map(|(_, amount)| amount).sum::<i128>();
            books.conserved()?;
            let waits = [PaymentFate::Review, PaymentFate::Aside];
            let put = books.balance + books.suspense + sum(&books.order, &waits);
            let unnamed = books.arrived.iter().filter(|(id, amount)| {
                let named =
                    books.order.payment(id).is_some_and(|one| one.amount.minor() == *amount);
                !named && books.parked.contains(&(id.clone(), *amount))
            });
            let parked: i128 = unnamed.map(|(_, amount)| amount).sum();
            prop_assert_eq!(put + parked, total);
        }
        Ok(())
    });
}

#[test]
fn a_deposit_makes_one_paid_order_of_its_owner_or_waits() {
    let owners = prop_oneof![4 => Just(Some("u_1")), 1 => Just(Some("u_2")), 1 => Just(None)];
    let amounts = prop_oneof![4 => 1..2_000_000_000_000_i128, 1 => any::<i128>()];
    check((owners, said(amounts.boxed())), |(user, said)| {
        let evidence = evidence(&new_order(1), &said);
        let merchant = MerchantId::parse("m").expect("a merchant");
        let user = user.map(|user| UserId::parse(user).expect("a user"));
        let owner = user.as_ref().map(|user| (&merchant, user));
        let trace = TraceId::parse("t").expect("a trace");
        let birth = Birth { trace: &trace, now: NOW };
        let decision = deposit(owner, &evidence, &birth, Policy::EXACT);
        prop_assert_eq!(&decision, &deposit(owner, &evidence, &birth, Policy::EXACT));
        let named = evidence.user_mark.as_ref();
        let fits = user.as_ref().is_some_and(|user| {
            named.is_none_or(|mark| *mark == UserMark::derive(&merchant, user))
        });
        let amount = match evidence.kind {
            EvidenceKind::Paid(money)
                if money.minor() > 0 && !evidence.stale && !is_beyond(money) =>
            {
                Some(money)
            }
            _ => None,
        };
        match (decision, amount.filter(|_| fits)) {
            (Decision::Make { order, entry, noted: None }, Some(money)) => {
                prop_assert_eq!((order.credited, entry.amount()), (money, money));
                prop_assert_eq!(order.received, money);
                prop_assert_eq!(order.state, OrderState::Success);
                let id = OrderId::of_payment(
                    &evidence.provider,
                    &evidence.account,
                    &evidence.payment_id,
                );
                prop_assert_eq!((&order.id, Some(&order.user)), (&id, user.as_ref()));
                prop_assert_eq!((order.version, order.history.len()), (2, 1));
            }
            (Decision::Park(reason), None) => {
                prop_assert_eq!(reason == ParkReason::UnknownAddress, user.is_none());
                let wrong_user = user.is_some() && !fits;
                prop_assert_eq!(reason == ParkReason::WrongUser, wrong_user);
            }
            (decision, _) => prop_assert!(false, "{decision:?} by {evidence:?}"),
        }
        Ok(())
    });
}

#[test]
fn an_order_with_more_parts_than_it_can_name_loses_none() {
    let policy = Policy { amount: AmountPolicy::Accumulate, ..Policy::EXACT };
    let mut books = Books::new(new_order(1_000));
    for part in 0..25 {
        let act = Act::Said(chance::part(part));
        step(&mut books, &act, policy, NOW).expect("nothing is lost");
    }
    assert_eq!((books.suspense, books.parked.len()), (20, 5));
}

/// What came out of what was thrown in: the runs above prove nothing about what they never reach.
#[test]
fn the_sequences_come_to_every_decision_and_state() {
    let seen = std::cell::RefCell::new((BTreeSet::new(), BTreeSet::new()));
    let acts = prop::collection::vec(chance::acts(), 1..40);
    check((1_i128..1_000, policies(), acts), |(amount, policy, acts)| {
        let mut books = Books::new(new_order(amount));
        for act in &acts {
            if let Act::Said(said) = act {
                let evidence = evidence(&books.order, said);
                let decision = apply(&books.order, &evidence, policy_of(&evidence, policy), NOW);
                let word = format!("{decision:?}");
                let word = word.split([' ', '{']).next().unwrap_or("").to_owned();
                seen.borrow_mut().0.insert(word);
            }
            seen.borrow_mut().1.insert(books.order.state);
            step(&mut books, act, policy, NOW)?;
        }
        Ok(())
    });
    let (decisions, states) = seen.into_inner();
    println!("{decisions:?} {states:?}");
    assert_eq!(states.len(), OrderState::ALL.len());
    for what in ["Settle", "Part", "Hold", "Note", "Make", "Decline", "AlreadyDone"] {
        assert!(decisions.contains(what), "{what} was never decided: {decisions:?}");
    }
    for reason in [
        ParkReason::WrongAccount,
        ParkReason::UnknownOrder,
        ParkReason::WrongUser,
        ParkReason::WrongCurrency,
        ParkReason::NothingReceived,
        ParkReason::AmountConflict,
        ParkReason::Stale,
        ParkReason::UnlistedCurrency,
        ParkReason::Unrecognised,
        ParkReason::DeclinedLate,
    ] {
        let parked = format!("Park({reason:?})");
        assert!(decisions.contains(&parked), "{parked} was never decided: {decisions:?}");
    }
}
