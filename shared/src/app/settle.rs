//! Settling: what evidence does to its order, decided by the domain and written in one transaction.
//! The only place that books money. A redelivery finds the work done.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::bug::{self, Bug};
use crate::clock::Clock;
use crate::domain::apply::{Birth, are_two_transactions, contradicts, deposit};
use crate::domain::{
    Decision, Entry, Evidence, EvidenceKind, MerchantId, Mode, Order, OrderId, ParkReason,
    PaymentFate, Policy, ProviderName, Review, ReviewId, ReviewState, Source, TraceId, apply,
};
use crate::metrics::{self, Metric};
use crate::providers::{Answer, Providers};
use crate::queue::SettlementMessage;
use crate::sometimes::sometimes;
use crate::store::{AddressUser, Booking, OrderWrite, Settled, Store, StoreError, Whose, Written};

use super::merchants::Merchants;
use super::submit::log;

/// How often a lost race is decided again before the message is left to its redelivery.
const RACES_MAX: usize = 5;

/// The rules of each provider account.
pub type Policies = BTreeMap<ProviderName, Policy>;

/// What settling needs.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Orders, payments, balances.
    pub store: &'a Store,
    /// The rules of each provider account.
    pub policies: &'a Policies,
    /// The merchants' own rules.
    pub merchants: &'a Merchants,
    /// Whom to ask before a large amount is credited; only where a rule wants that.
    pub providers: Option<&'a Providers>,
    /// Whether money is real.
    pub mode: Mode,
    /// Now.
    pub clock: &'a dyn Clock,
}

impl Context<'_> {
    /// The provider's rules with the merchant's own over them.
    async fn policy(
        &self,
        provider: &ProviderName,
        merchant: &MerchantId,
    ) -> Result<Policy, StoreError> {
        let policy = self.policies.get(provider).copied().unwrap_or_default();
        let merchant = self.merchants.get(merchant, self.clock.now()).await?;
        Ok(policy.with(merchant.policy))
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Booked; an order is `SUCCESS`.
    Settled,
    /// Booked to suspense; the order waits for the rest.
    PartlyPaid,
    /// Put aside, and the order with it.
    Held(ParkReason),
    /// The order is `FAILED`.
    Declined,
    /// Put aside; the order's state is as it was.
    Parked(ParkReason),
    /// Done before.
    AlreadyDone,
    /// The provider has to confirm it and did not answer: it comes again.
    NotConfirmedYet,
    /// Of the other mode: not for this deployment to settle.
    OtherMode,
}

impl Outcome {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Settled => "settled",
            Outcome::PartlyPaid => "partly_paid",
            Outcome::Held(_) => "held",
            Outcome::Declined => "declined",
            Outcome::Parked(_) => "parked",
            Outcome::AlreadyDone => "already_done",
            Outcome::NotConfirmedYet => "not_confirmed",
            Outcome::OtherMode => "other_mode",
        }
    }
}

/// What a message came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// In a word.
    pub outcome: Outcome,
    /// The orders whose latest notices the merchants must hear of, if this has written them or might have:
    /// a commit whose answer was lost looks like one that somebody else has made.
    pub announce: Vec<Order>,
    /// The orders, when there was nothing left to do.
    pub found: Vec<Order>,
}

impl Settlement {
    pub(super) fn plain(outcome: Outcome) -> Settlement {
        Settlement { outcome, announce: Vec::new(), found: Vec::new() }
    }

    fn already_done(order: Order, has_raced: bool) -> Settlement {
        let order = vec![order];
        let (announce, found) = if has_raced { (order, Vec::new()) } else { (Vec::new(), order) };
        Settlement { outcome: Outcome::AlreadyDone, announce, found }
    }
}

/// Applies one message. `read` is its order, if that was just read.
pub async fn settle(
    context: Context<'_>,
    message: &SettlementMessage,
    mut read: Option<Order>,
) -> Result<Settlement, StoreError> {
    let Context { store, clock, .. } = context;
    let evidence = &message.evidence;
    let mut confirmed = false;
    for race in 0..RACES_MAX {
        let found = match (read.take(), &evidence.order_id) {
            (Some(order), _) => Some(order),
            (None, Some(id)) => store.order(id).await?,
            (None, None) => None,
        };
        let Some(seen) = seen_in(context.mode, found.as_ref(), evidence) else {
            return Ok(Settlement::plain(Outcome::OtherMode));
        };
        let evidence = seen.as_ref();
        let owner = match (&found, &evidence.deposit) {
            (None, Some(deposit)) => {
                let owner = store.owner_of_address(&evidence.provider, deposit).await?;
                owner.filter(|owner| owner.account == evidence.account)
            }
            _ => None,
        };
        let policy = match (&found, &owner) {
            (Some(order), _) => context.policy(&order.provider, &order.merchant).await?,
            (None, Some(owner)) => context.policy(&evidence.provider, &owner.merchant).await?,
            (None, None) => Policy::default(),
        };
        let (found, now) = bug::unsettled(found, clock.now());
        let whose = found.as_ref().map_or(whose_address(owner.as_ref()), Whose::of);
        if bug::is(Bug::M14) {
            let claim = store.park(evidence, ParkReason::Stale, whose, now).await?;
            if claim == Written::Raced {
                return Ok(Settlement::plain(Outcome::AlreadyDone));
            }
        }
        let decision =
            decide((found.as_ref(), owner.as_ref()), (evidence, &message.trace), policy, now);
        if !confirmed && takes_in(&decision) && must_be_confirmed(evidence, policy) {
            match confirm(context, evidence, found.as_ref()).await {
                Confirmed::Agreed => confirmed = true,
                Confirmed::Otherwise => {
                    return park(context, evidence, ParkReason::Unconfirmed, whose).await;
                }
                Confirmed::NoAnswer => return Ok(Settlement::plain(Outcome::NotConfirmedYet)),
            }
        }
        let is_late_proof = confirmed || evidence.source == Source::List;
        if let (Decision::Make { .. }, None, true) = (&decision, &found, is_late_proof)
            && let Some(asked) = asked_again(context, evidence).await?
        {
            return Ok(asked);
        }
        match write(context, (found.as_ref(), whose), evidence, (decision, None)).await? {
            Wrote::Done(settlement) => return Ok(settlement),
            Wrote::Before => {
                if race > 0 {
                    sometimes("settle: found it done after a race");
                }
                return match settled_order(store, found, evidence).await? {
                    Some(order) => Ok(Settlement::already_done(order, race > 0)),
                    None => Ok(Settlement::plain(Outcome::AlreadyDone)),
                };
            }
            Wrote::Contradicted | Wrote::SameTransfer | Wrote::Raced => {
                sometimes("settle: lost the race");
            }
        }
    }
    Err(StoreError::Busy(format!("order {} keeps changing", evidence.order_text())))
}

/// A deposit that people have rejected when its provider did not confirm it, and which now it does: they are asked again,
/// and their answer holds.
async fn asked_again(
    context: Context<'_>,
    evidence: &Evidence,
) -> Result<Option<Settlement>, StoreError> {
    let reason = ParkReason::UnderReview;
    let review = match ReviewId::parse(&evidence.identity()) {
        Some(id) => context.store.review(&id).await?,
        None => None,
    };
    match review.map(|review| (review.state, review.why)) {
        Some((ReviewState::Rejected, ParkReason::Unconfirmed)) => {
            let seen = (reason, context.clock.now());
            if context.store.review_again(evidence, seen).await? == Settled::Now {
                metrics::add(Metric::Parked, (Some(&evidence.provider), None), 1);
                let review = evidence.identity();
                tracing::warn!(review, "a rejected review is open again: its provider confirms it");
            }
        }
        Some((_, ParkReason::UnderReview)) => {}
        _ => return Ok(None),
    }
    Ok(Some(Settlement::plain(Outcome::Parked(reason))))
}

/// The statement as `mode` takes it; `None` when it is the other mode's to settle. In live mode nothing
/// simulated is settled, and a true statement about a shadow order fits no account: it is put aside. In shadow
/// mode nothing real is: not a live order, and not a deposit.
fn seen_in<'a>(
    mode: Mode,
    order: Option<&Order>,
    evidence: &'a Evidence,
) -> Option<Cow<'a, Evidence>> {
    let is_deposit = evidence.deposit.is_some();
    match (mode, order.map(Order::is_shadow), evidence.is_shadow()) {
        (Mode::Live, _, true) | (Mode::Shadow, Some(false), _) => None,
        (Mode::Shadow, None, false) if is_deposit => None,
        (Mode::Shadow, Some(true), false) => Some(Cow::Owned(evidence.in_shadow())),
        (Mode::Live, _, false) | (Mode::Shadow, _, _) => Some(Cow::Borrowed(evidence)),
    }
}

fn whose_address(owner: Option<&AddressUser>) -> Whose<'_> {
    Whose { owner: owner.map(|owner| (&owner.merchant, &owner.user)), in_order: None }
}

fn decide(
    (order, owner): (Option<&Order>, Option<&AddressUser>),
    (evidence, trace): (&Evidence, &TraceId),
    policy: Policy,
    now: crate::domain::Timestamp,
) -> Decision {
    match order {
        Some(order) => apply(order, evidence, policy, now),
        None if evidence.deposit.is_some() => {
            let owner = owner.map(|owner| (&owner.merchant, &owner.user));
            deposit(owner, evidence, &Birth { trace, now }, policy)
        }
        None => Decision::Park(ParkReason::UnknownOrder),
    }
}

/// Whether the payment is booked or noted by it, or would be but for its amount.
const fn takes_in(decision: &Decision) -> bool {
    matches!(
        decision,
        Decision::Settle { .. }
            | Decision::Part { .. }
            | Decision::Make { .. }
            | Decision::Hold { .. }
            | Decision::Note { .. }
            | Decision::Park(ParkReason::AmountMismatch)
    )
}

/// The order that holds what `evidence` was booked with: the one that it names, or the one that it made.
async fn settled_order(
    store: &Store,
    found: Option<Order>,
    evidence: &Evidence,
) -> Result<Option<Order>, StoreError> {
    let payment = found.as_ref().and_then(|order| order.payment(&evidence.payment_id));
    if payment.is_none_or(|payment| payment.fate != PaymentFate::Elsewhere) {
        return Ok(found);
    }
    let (provider, account) = (&evidence.provider, &evidence.account);
    store.order(&OrderId::of_payment(provider, account, &evidence.payment_id)).await
}

/// What writing a decision came to.
pub(super) enum Wrote {
    /// Written, now.
    Done(Settlement),
    /// Written before.
    Before,
    /// What a person wants credited was credited before, with another amount.
    Contradicted,
    /// What a person wants credited was credited before, by another name.
    SameTransfer,
    /// Something has changed: read and decide again.
    Raced,
}

/// Writes a decision about `order` down; `review` is the one that it ends.
pub(super) async fn write(
    context: Context<'_>,
    (order, whose): (Option<&Order>, Whose<'_>),
    evidence: &Evidence,
    (decision, review): (Decision, Option<&Review>),
) -> Result<Wrote, StoreError> {
    let store = context.store;
    let (settled, after, outcome) = match (decision, order) {
        (Decision::AlreadyDone, _) => return Ok(Wrote::Before),
        (Decision::Park(reason), _) => {
            return park(context, evidence, reason, whose).await.map(Wrote::Done);
        }
        (Decision::Settle { order: after, entry }, Some(order)) => {
            let write = OrderWrite::Move(order, &after);
            let booking = Booking { order: write, entry: &entry, evidence, noted: None, review };
            (store.book(booking).await?, after, Outcome::Settled)
        }
        (Decision::Part { order: after, entry }, Some(order)) => {
            let write = OrderWrite::Move(order, &after);
            let booking = Booking { order: write, entry: &entry, evidence, noted: None, review };
            (store.book(booking).await?, after, Outcome::PartlyPaid)
        }
        (Decision::Make { order: made, entry, noted }, _) => {
            let new = (made, entry.as_ref(), noted);
            return make(context, (order, whose), evidence, new, review).await;
        }
        (Decision::Hold { order: after, reason }, Some(order)) => {
            (store.hold((order, &after), evidence, reason).await?, after, Outcome::Held(reason))
        }
        (Decision::Note { order: after, reason }, Some(order)) => {
            let settled = store.hold((order, &after), evidence, reason).await?;
            (settled, after, Outcome::Parked(reason))
        }
        (Decision::Decline { order: after }, Some(order)) => {
            match store.advance(order, &after).await? {
                Written::Now => (Settled::Now, after, Outcome::Declined),
                Written::Raced => (Settled::Raced, after, Outcome::Declined),
            }
        }
        (
            Decision::Settle { .. }
            | Decision::Part { .. }
            | Decision::Hold { .. }
            | Decision::Note { .. }
            | Decision::Decline { .. },
            None,
        ) => return Err(StoreError::Damaged("a decision about no order".to_owned())),
    };
    came_to(context, (order, whose), evidence, (settled, after, outcome, review)).await
}

/// Books a payment with an order of its own.
async fn make(
    context: Context<'_>,
    (order, whose): (Option<&Order>, Whose<'_>),
    evidence: &Evidence,
    (made, entry, noted): (Box<Order>, &Entry, Option<Box<Order>>),
    review: Option<&Review>,
) -> Result<Wrote, StoreError> {
    let noted = order.zip(noted.as_deref());
    let write = OrderWrite::New(&made);
    let booking = Booking { order: write, entry, evidence, noted, review };
    let settled = context.store.book(booking).await?;
    // Reading again finds what was made for the order that the statement names, and no other.
    if settled == Settled::Raced
        && evidence.order_id.as_ref() != Some(&made.id)
        && let Some(known) = booked_with(context.store, evidence).await?
    {
        return match (says_the_same(&known, evidence), review) {
            (true, Some(_)) => Ok(Wrote::Before),
            (true, None) if known.holds(&evidence.payment_id) => Ok(Wrote::Raced),
            (true, None) => Ok(Wrote::Done(Settlement::already_done(known, true))),
            (false, Some(_)) => Ok(Wrote::Contradicted),
            (false, None) => {
                let reason = ParkReason::AmountConflict;
                park(context, evidence, reason, whose).await.map(Wrote::Done)
            }
        };
    }
    // An order that let go of the payment may have ended with it.
    if let (Settled::Now, Some((before, after))) = (settled, noted)
        && before.version != after.version
    {
        log(before, after);
        let mut settlement = done(None, made, Outcome::Settled);
        settlement.announce.push(after.clone());
        return Ok(Wrote::Done(settlement));
    }
    came_to(context, (order, whose), evidence, (settled, made, Outcome::Settled, review)).await
}

/// What a write came to that may have met one that was made before.
async fn came_to(
    context: Context<'_>,
    (order, whose): (Option<&Order>, Whose<'_>),
    evidence: &Evidence,
    (settled, after, outcome, review): (Settled, Box<Order>, Outcome, Option<&Review>),
) -> Result<Wrote, StoreError> {
    if let (Settled::Now, Outcome::Held(_) | Outcome::Parked(_)) = (settled, outcome) {
        metrics::add(Metric::Parked, (Some(&evidence.provider), None), 1);
    }
    match (settled, outcome) {
        (Settled::Now, _) => Ok(Wrote::Done(done(order, after, outcome))),
        (Settled::PaymentTaken, Outcome::Settled | Outcome::PartlyPaid) if review.is_some() => {
            let known = booked_with(context.store, evidence).await?;
            let same = known.is_some_and(|known| says_the_same(&known, evidence));
            Ok(if same { Wrote::Before } else { Wrote::Contradicted })
        }
        (Settled::PaymentTaken, Outcome::Settled | Outcome::PartlyPaid) => {
            let reason = match context.store.is_aside(evidence).await? {
                true => ParkReason::AmountConflict,
                false => ParkReason::SecondPayment,
            };
            park(context, evidence, reason, whose).await.map(Wrote::Done)
        }
        // The statement was put aside before, when it could not move the order: now it does.
        (Settled::PaymentTaken, Outcome::Held(reason) | Outcome::Parked(reason)) => {
            let Some(order) = order else { return Ok(Wrote::Raced) };
            sometimes("settle: held what was parked before");
            let (store, moves) = (context.store, (order, after.as_ref()));
            let seen = (reason, context.clock.now());
            let mut held = store.hold_again(moves, evidence, seen).await?;
            if held == Settled::PaymentTaken {
                held = store.hold_rejected(moves, evidence, seen).await?;
                if held == Settled::Now {
                    opened_again(order, evidence, reason);
                }
            }
            match held {
                Settled::Now => Ok(Wrote::Done(done(Some(order), after, outcome))),
                // A person has credited it or paid it back: no review is left that the order could wait for.
                Settled::PaymentTaken => {
                    Ok(Wrote::Done(Settlement::plain(Outcome::Parked(ParkReason::UnderReview))))
                }
                Settled::TransferTaken | Settled::Raced => Ok(Wrote::Raced),
            }
        }
        (Settled::TransferTaken, _) if review.is_some() => Ok(Wrote::SameTransfer),
        (Settled::TransferTaken, _) => {
            let reason = ParkReason::SameTransfer;
            park(context, evidence, reason, whose).await.map(Wrote::Done)
        }
        (Settled::PaymentTaken, _) | (Settled::Raced, _) => Ok(Wrote::Raced),
    }
}

/// A person has refused the statement when it moved no order, and is asked once more: somebody has to hear of it.
fn opened_again(order: &Order, evidence: &Evidence, reason: ParkReason) {
    metrics::add(Metric::Parked, (Some(&evidence.provider), None), 1);
    let (review, order) = (evidence.identity(), order.id.as_str());
    tracing::warn!(review, order, reason = reason.as_str(), "a rejected review is open again");
}

/// The order that the payment is booked with, be it to suspense.
pub(super) async fn booked_with(
    store: &Store,
    evidence: &Evidence,
) -> Result<Option<Order>, StoreError> {
    match store.booked_with(evidence).await? {
        Some(id) => store.order(&id).await,
        None => Ok(None),
    }
}

/// Whether `order` has the payment as `evidence` says it.
fn says_the_same(order: &Order, evidence: &Evidence) -> bool {
    match (evidence.kind, order.payment(&evidence.payment_id)) {
        (EvidenceKind::Paid(_), Some(payment)) => !contradicts(order, payment, evidence),
        (EvidenceKind::Paid(_), None) => false,
        _ => true,
    }
}

fn done(before: Option<&Order>, after: Box<Order>, outcome: Outcome) -> Settlement {
    let noted_only =
        before.is_some_and(|order| order.id == after.id && order.version == after.version);
    if noted_only {
        return Settlement::plain(outcome);
    }
    match before.filter(|order| order.id == after.id) {
        Some(before) => log(before, &after),
        None => tracing::info!(
            order = after.id.as_str(),
            shadow = after.shadow_mark(),
            reason = after.reason.map_or("", crate::domain::Reason::as_str),
            "order {} made by its payment",
            after.id
        ),
    }
    Settlement { announce: vec![*after], ..Settlement::plain(outcome) }
}

/// Whether the provider itself has to be asked: it was told by a callback alone.
fn must_be_confirmed(evidence: &Evidence, policy: Policy) -> bool {
    let EvidenceKind::Paid(amount) = evidence.kind else { return false };
    evidence.source == Source::Callback && policy.wants_confirmation(amount.minor())
}

enum Confirmed {
    Agreed,
    Otherwise,
    NoAnswer,
}

async fn confirm(context: Context<'_>, evidence: &Evidence, order: Option<&Order>) -> Confirmed {
    let provider = context.providers.and_then(|all| all.get(Some(&evidence.provider)));
    let Some(provider) = provider.filter(|provider| provider.account() == evidence.account) else {
        return Confirmed::NoAnswer;
    };
    match provider.confirm(evidence, order, context.clock.now()).await {
        Answer::Done(Some(found)) => {
            let same_dust = match (found.dust, evidence.dust) {
                (Some(found), Some(said)) => found.is_as_much_as(said),
                (found, said) => found == said,
            };
            let marks = found.user_mark.as_ref().zip(evidence.user_mark.as_ref());
            let ids = (found.transaction_id.as_deref(), evidence.transaction_id.as_deref());
            let agree = found.payment_id == evidence.payment_id
                && found.kind == evidence.kind
                && found.order_id == evidence.order_id
                && found.deposit == evidence.deposit
                && marks.is_none_or(|(found, said)| found == said)
                && !are_two_transactions(ids)
                && same_dust;
            if agree { Confirmed::Agreed } else { Confirmed::Otherwise }
        }
        Answer::Done(None) => Confirmed::Otherwise,
        Answer::Declined(_) | Answer::Unknown(_) | Answer::NotSent => Confirmed::NoAnswer,
    }
}

async fn park(
    context: Context<'_>,
    evidence: &Evidence,
    reason: ParkReason,
    whose: Whose<'_>,
) -> Result<Settlement, StoreError> {
    // What the provider says of somebody else is not for the order's merchant to decide about.
    let whose = match reason {
        ParkReason::WrongUser | ParkReason::WrongAccount => Whose::default(),
        _ => whose,
    };
    let written = context.store.park(evidence, reason, whose, context.clock.now()).await?;
    if written == Written::Now {
        metrics::add(Metric::Parked, (Some(&evidence.provider), None), 1);
        let order = evidence.order_text();
        tracing::warn!(order, reason = reason.as_str(), "evidence parked for an operator");
    } else if is_another_matter(context, evidence, reason).await? {
        metrics::add(Metric::Parked, (Some(&evidence.provider), None), 1);
        let (review, reason) = (evidence.identity(), reason.as_str());
        tracing::warn!(review, reason, "a rejected review is open again: it is another matter now");
    } else if reason == ParkReason::AmountConflict {
        let order = evidence.order_text();
        tracing::error!(
            order,
            "a payment is told otherwise, and a statement of it was put aside before"
        );
    }
    Ok(Settlement::plain(Outcome::Parked(reason)))
}

/// Whether people have rejected the statement when it waited for another reason than that its payment is not the only one:
/// then they are asked again, once, and their answer holds.
async fn is_another_matter(
    context: Context<'_>,
    evidence: &Evidence,
    reason: ParkReason,
) -> Result<bool, StoreError> {
    let tells_of_another = matches!(
        reason,
        ParkReason::AmountConflict | ParkReason::SecondPayment | ParkReason::SameTransfer
    );
    let id = ReviewId::parse(&evidence.identity()).filter(|_| tells_of_another);
    let Some(id) = id else { return Ok(false) };
    let Some(review) = context.store.review(&id).await? else { return Ok(false) };
    if review.state != ReviewState::Rejected || review.why == reason {
        return Ok(false);
    }
    let seen = (reason, context.clock.now());
    Ok(context.store.review_again(evidence, seen).await? == Settled::Now)
}

/// The trace of what people decide, which no request carries on.
pub(super) fn trace_or(order: Option<&Order>) -> TraceId {
    order.map_or_else(TraceId::untraced, |order| order.trace.clone())
}
