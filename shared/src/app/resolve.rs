//! Carrying out what people have decided about parked evidence: through the queue and the same `apply` as
//! everything else, in one transaction with the end of the review. And deciding: by one person, or two.

use std::time::Duration;

use crate::clock::Clock;
use crate::domain::apply::{Birth, credit_user, is_of_its_account, known_otherwise, let_go};
use crate::domain::{
    Action, Decision, Evidence, EvidenceKind, MerchantId, Mode, Order, ParkReason, PaymentFate,
    Policy, Review, ReviewId, ReviewState, Ruled, Ruling, Source, Timestamp, UserId, apply,
};
use crate::http::{ApiError, ErrorCode};
use crate::queue::{ResolutionMessage, SettlementQueue};
use crate::store::{PaidBack, Settled, Store, StoreError, Whose, Written};

use super::admission::{is_its_user, may_act};
use super::settle::{Context, Outcome, Settlement, Wrote, booked_with, trace_or, write};
use super::submit::log;

/// How often a lost race is decided again before it is left to the next try.
const RACES_MAX: usize = 5;

/// How long the worker has to carry a decision out before it is handed over again.
pub const CARRIED_OUT_WITHIN: Duration = Duration::from_secs(60);

/// Who decides.
#[derive(Debug, Clone, Copy)]
pub struct Desk<'a> {
    /// Reviews.
    pub store: &'a Store,
    /// Where decisions go.
    pub queue: &'a SettlementQueue,
    /// Now.
    pub clock: &'a dyn Clock,
    /// The amount from which two people have to agree, in whole units of any currency.
    pub two_from: u64,
    /// Whose reviews are seen; `None` for those of everybody.
    pub merchant: Option<&'a MerchantId>,
}

/// Writes a decision about the review `id` down, and hands it to the worker once it is whole.
pub async fn decide(
    desk: Desk<'_>,
    id: &ReviewId,
    ruling: Ruling,
    trace: &crate::domain::TraceId,
) -> Result<Review, ApiError> {
    let mut shown = None;
    for _ in 0..RACES_MAX {
        let review = find(desk, id).await?;
        // The person has decided about what there was, at the latest, when the request came.
        if *shown.get_or_insert(review.seen_again_at) != review.seen_again_at {
            let message = "an order has come to wait for it meanwhile: look at it again";
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        let order = fits(desk, &review, &ruling.action).await?;
        is_allowed(desk, &ruling.action).await?;
        let takes_two = review.needs_two(&ruling.action, order.as_ref(), desk.two_from);
        let (state, ruling) = match review.rule(ruling.clone(), takes_two) {
            Ruled::Before => return Ok(review),
            Ruled::Conflict => {
                let message = format!("the review is {} already", review.state.as_str());
                return Err(ApiError::new(ErrorCode::Conflict, message));
            }
            Ruled::Proposed(ruling) => (ReviewState::Proposed, ruling),
            Ruled::Approved(ruling) => (ReviewState::Approved, ruling),
        };
        let due_at = desk.clock.now().plus(CARRIED_OUT_WITHIN);
        if desk.store.rule(&review, (state, &ruling), due_at).await? == Written::Raced {
            continue;
        }
        let action = ruling.action.as_str();
        let (review_id, by) = (id.as_str(), ruling.by.as_str());
        tracing::info!(
            review = review_id,
            action,
            by,
            state = state.as_str(),
            "review {id} decided"
        );
        if state == ReviewState::Approved {
            let message = ResolutionMessage { trace: trace.clone(), review: id.clone() };
            // What is not handed over here the poller hands over.
            if let Err(error) = desk.queue.resolve(&message).await {
                tracing::warn!(review = review_id, %error, "decision not handed over yet");
            }
        }
        return Ok(review.ruled(state, ruling));
    }
    Err(StoreError::Busy(format!("review {id} keeps changing")).into())
}

/// The review, if `desk` may see it.
pub async fn find(desk: Desk<'_>, id: &ReviewId) -> Result<Review, ApiError> {
    let review = desk.store.review(id).await?.filter(|review| match desk.merchant {
        Some(merchant) => review.owner.as_ref().is_some_and(|(owner, _)| owner == merchant),
        None => true,
    });
    review.ok_or_else(ApiError::not_found)
}

/// Refuses early what the worker would refuse, and what is not the caller's to give. The order whose money the
/// decision moves.
async fn fits(desk: Desk<'_>, review: &Review, action: &Action) -> Result<Option<Order>, ApiError> {
    let conflict = |message: &str| Err(ApiError::new(ErrorCode::Conflict, message));
    let target = match action {
        Action::CreditOrder(id) => {
            let order = desk.store.order(id).await?;
            Some(order.ok_or_else(|| ApiError::field("orderId", "is no order"))?)
        }
        Action::CreditUser(..) | Action::Reject | Action::Refund => None,
    };
    let merchant = match (action, &target) {
        (Action::CreditUser(merchant, _), _) => Some(merchant),
        (_, target) => target.as_ref().map(|order| &order.merchant),
    };
    if let (Some(own), Some(merchant)) = (desk.merchant, merchant)
        && own != merchant
    {
        return Err(match action {
            Action::CreditUser(..) => ApiError::field("merchant", "is not yours"),
            _ => ApiError::field("orderId", "is no order"),
        });
    }
    if let (Some((owner, _)), Some(merchant)) = (&review.owner, merchant)
        && owner != merchant
    {
        return conflict("the money belongs to another merchant");
    }
    let meant_for = match (&review.evidence.order_id, &target) {
        (Some(id), Some(target)) if target.id == *id => Some(target.clone()),
        (Some(id), _) => desk.store.order(id).await?,
        (None, _) => None,
    };
    match review.obstacle(action, meant_for.as_ref()) {
        Some(why) => conflict(why),
        None => Ok(target.or(meant_for)),
    }
}

/// Refuses the people of a suspended merchant, and a user that a merchant which registers its users does not have.
/// Asked here alone: what was decided before a suspension is carried out.
async fn is_allowed(desk: Desk<'_>, action: &Action) -> Result<(), ApiError> {
    if let Some(own) = desk.merchant {
        may_act(&desk.store.merchant_settings(own).await?)?;
    }
    if let Action::CreditUser(merchant, user) = action {
        let settings = desk.store.merchant_settings(merchant).await?;
        is_its_user(desk.store, (merchant, &settings), user).await?;
    }
    Ok(())
}

/// Carries a decision out, as the worker.
pub async fn resolve(
    context: Context<'_>,
    id: &ReviewId,
    two_from: u64,
) -> Result<Settlement, StoreError> {
    for _ in 0..RACES_MAX {
        let Some(review) = context.store.review(id).await? else {
            // Reviews stay: this one is of another table.
            return Err(StoreError::Damaged(format!("there is no review {id}")));
        };
        let approved = review.ruling.as_ref().filter(|_| review.state == ReviewState::Approved);
        let Some(ruling) = approved else {
            return already_carried_out(context, &review).await;
        };
        let meant_for = match &review.evidence.order_id {
            Some(id) => context.store.order(id).await?,
            None => None,
        };
        let obstacle = review.obstacle(&ruling.action, meant_for.as_ref());
        let target = match &ruling.action {
            Action::CreditOrder(id) if review.evidence.order_id.as_ref() != Some(id) => {
                context.store.order(id).await?
            }
            _ => meant_for,
        };
        // Whoever wrote the decision down: what it moves is looked at once more, as it is now.
        let needs_two = review.needs_two(&ruling.action, target.as_ref(), two_from);
        let foreign = review.evidence.is_shadow() != (context.mode == Mode::Shadow);
        let refused = target.as_ref().map(|order| (order, PaymentFate::Refused));
        // A refund of the statement alone is one of its payment, and of nothing else that waits with the order.
        let is_news = review.has_been_said_since(ruling)
            && match ruling.action {
                Action::Reject => true,
                Action::Refund => target.as_ref().is_some_and(|order| holds_others(order, &review)),
                Action::CreditOrder(_) | Action::CreditUser(..) => false,
            };
        let wrote = match (&ruling.action, obstacle) {
            _ if is_news => reopen(context, &review, "an order has come to wait for it").await?,
            _ if foreign => reopen(context, &review, "of the other mode").await?,
            (_, Some(why)) => reopen(context, &review, why).await?,
            _ if needs_two && !ruling.is_by_two() => {
                reopen(context, &review, "two have to decide").await?
            }
            (Action::CreditOrder(_) | Action::CreditUser(..), None) => {
                credit(context, &review, ruling, target.as_ref()).await?
            }
            (Action::Reject, None) => end(context, &review, ReviewState::Rejected, refused).await?,
            (Action::Refund, None) => end(context, &review, ReviewState::Refund, refused).await?,
        };
        if let Wrote::Done(settlement) = wrote {
            return Ok(settlement);
        }
    }
    Err(StoreError::Busy(format!("review {id} keeps changing")))
}

/// A redelivery finds the review closed, but perhaps not the announcements made.
async fn already_carried_out(
    context: Context<'_>,
    review: &Review,
) -> Result<Settlement, StoreError> {
    let mut settlement = Settlement::plain(Outcome::AlreadyDone);
    if !review.state.is_closed() {
        return Ok(settlement);
    }
    let target = match review.ruling.as_ref().map(|ruling| &ruling.action) {
        Some(Action::CreditOrder(id)) => Some(id.clone()),
        _ => None,
    };
    let another = Evidence { payment_id: review.own_payment_id(), ..review.evidence.clone() };
    // Only of a payment that is called by its order; most have a name of their own.
    let by_order = review.evidence.payment_id == review.evidence.order_text();
    let another = by_order.then(|| made_by(&another));
    let mut touched: Vec<_> =
        [target, review.evidence.order_id.clone(), Some(made_by(&review.evidence)), another]
            .into_iter()
            .flatten()
            .collect();
    touched.dedup();
    for id in touched {
        let order = context.store.order(&id).await?;
        settlement.found.extend(order.filter(|order| !order.state.is_open()));
    }
    Ok(settlement)
}

fn made_by(evidence: &Evidence) -> crate::domain::OrderId {
    let (provider, account) = (&evidence.provider, &evidence.account);
    crate::domain::OrderId::of_payment(provider, account, &evidence.payment_id)
}

/// Of other reasons a transfer was the only one when it was put aside, and may have been when people voted.
const TELL_OF_ANOTHER: [ParkReason; 2] = [ParkReason::AmountConflict, ParkReason::SecondPayment];

async fn credit(
    context: Context<'_>,
    review: &Review,
    ruling: &Ruling,
    target: Option<&Order>,
) -> Result<Wrote, StoreError> {
    let now = context.clock.now();
    let mut evidence =
        Evidence { source: Source::Operator, user_mark: None, ..review.evidence.clone() };
    if review.is_another_transfer(&ruling.action, target) {
        if !TELL_OF_ANOTHER.contains(&review.why) {
            return reopen_as(context, review, ParkReason::AmountConflict).await;
        }
        evidence.payment_id = review.own_payment_id();
    }
    let decision = match (&ruling.action, target) {
        (Action::CreditUser(merchant, user), meant_for) => {
            to_user((merchant, user), &evidence, meant_for, now)
        }
        (_, Some(order)) => {
            evidence.order_id = Some(order.id.clone());
            apply(order, &evidence, Policy::BY_HAND, now)
        }
        (_, None) => return reopen(context, review, "no such order").await,
    };
    // A refusal may name a payment that is booked already, as a part of the money: what a person credits
    // because of it is another booking.
    if evidence.kind == EvidenceKind::Declined {
        evidence.payment_id = review.own_payment_id();
    }
    let whose = target.map(Whose::of).unwrap_or_default();
    let named = (&ruling.action, target);
    match decision {
        Decision::Settle { .. } | Decision::Make { .. } => {
            match write(context, (target, whose), &evidence, (decision, Some(review))).await? {
                // The payment is booked already: with this order, or with another one, and then this one
                // waits for it no more.
                Wrote::Before => {
                    if let Some(why) = not_credited(context, &evidence, named).await? {
                        return reopen(context, review, why).await;
                    }
                    let booked = context.store.booked_with(&evidence).await?;
                    let waits = target.filter(|target| booked.as_ref() != Some(&target.id));
                    let waits = waits.filter(|target| is_of_its_account(target, &evidence));
                    if waits.is_some_and(|order| holds_others(order, review)) {
                        let why =
                            "it is credited elsewhere, and other payments wait with the order";
                        return reopen(context, review, why).await;
                    }
                    let waits = waits.map(|order| (order, PaymentFate::Elsewhere));
                    end(context, review, ReviewState::Credited, waits).await
                }
                Wrote::Contradicted => {
                    let why = match context.store.booked_with(&evidence).await? {
                        Some(_) => ParkReason::AmountConflict.as_str(),
                        None => "the payment was paid back",
                    };
                    reopen(context, review, why).await
                }
                Wrote::SameTransfer => reopen_as(context, review, ParkReason::SameTransfer).await,
                wrote => Ok(wrote),
            }
        }
        Decision::AlreadyDone => match not_credited(context, &evidence, named).await? {
            Some(why) => reopen(context, review, why).await,
            // Somebody was faster, like the provider's own proof: nothing is left to credit.
            None => end(context, review, ReviewState::Credited, None).await,
        },
        Decision::Park(reason) | Decision::Note { reason, .. } | Decision::Hold { reason, .. } => {
            reopen(context, review, reason.as_str()).await
        }
        Decision::Part { .. } | Decision::Decline { .. } => {
            reopen(context, review, "not a whole payment").await
        }
    }
}

/// What gives the payment to a user, with an order of its own.
fn to_user(
    owner: (&MerchantId, &UserId),
    evidence: &Evidence,
    meant_for: Option<&Order>,
    now: Timestamp,
) -> Decision {
    let trace = trace_or(meant_for);
    let decision = credit_user(owner, evidence, &Birth { trace: &trace, now });
    match (decision, meant_for) {
        // The order that waits with the money, or has noted it, must let go of it.
        (Decision::Make { order, entry, .. }, Some(meant_for))
            if is_of_its_account(meant_for, evidence)
                && meant_for.payment(&evidence.payment_id).is_some() =>
        {
            match let_go(meant_for, evidence, PaymentFate::Elsewhere, now) {
                Some(freed) => Decision::Make { order, entry, noted: Some(Box::new(freed)) },
                None => Decision::AlreadyDone,
            }
        }
        (Decision::Make { order, entry, .. }, Some(meant_for)) => {
            let noted = known_otherwise(meant_for, evidence, PaymentFate::Elsewhere).map(Box::new);
            Decision::Make { order, entry, noted }
        }
        (decision, _) => decision,
    }
}

/// Why the review does not end with a credit although the payment is booked: to another user than the one whom the
/// decision names, or not to a user yet.
async fn not_credited(
    context: Context<'_>,
    evidence: &Evidence,
    (action, target): (&Action, Option<&Order>),
) -> Result<Option<&'static str>, StoreError> {
    let fate_with = |order: Option<&Order>| {
        order.and_then(|order| order.payment(&evidence.payment_id)).map(|payment| payment.fate)
    };
    let of_target = fate_with(target);
    let Some(booked) = booked_with(context.store, evidence).await? else {
        return Ok(match of_target {
            Some(PaymentFate::Refused) => Some("the payment was refused with this order"),
            Some(PaymentFate::Elsewhere) => {
                Some("another account's word about the payment was credited elsewhere")
            }
            _ => None,
        });
    };
    // Booked is, too, what is in suspense: not to a user yet, or not any more.
    match fate_with(Some(&booked)) {
        Some(PaymentFate::Held) => {
            return Ok(Some("it waits in suspense for the rest of its order"));
        }
        Some(PaymentFate::Refused) => return Ok(Some("the payment was refused with its order")),
        _ => {}
    }
    let owner = match action {
        Action::CreditUser(merchant, user) => Some((merchant, user)),
        // The order that waits with it lets go of it.
        _ if of_target == Some(PaymentFate::Review) => return Ok(None),
        _ => target.map(|order| (&order.merchant, &order.user)),
    };
    let of_another = Some((&booked.merchant, &booked.user)) != owner;
    Ok(of_another.then_some("the payment is credited already, to another user"))
}

/// Whether the order waits with other payments than the one that `review` is about.
fn holds_others(order: &Order, review: &Review) -> bool {
    order.payments.iter().any(|payment| {
        payment.id != review.evidence.payment_id
            && matches!(payment.fate, PaymentFate::Held | PaymentFate::Review)
    })
}

/// Ends a review without a credit; the order that waits with it lets go of the payment, which gets the
/// fate beside it.
async fn end(
    context: Context<'_>,
    review: &Review,
    state: ReviewState,
    order: Option<(&Order, PaymentFate)>,
) -> Result<Wrote, StoreError> {
    let now = context.clock.now();
    let mut evidence = Evidence { source: Source::Operator, ..review.evidence.clone() };
    let is_refund = state == ReviewState::Refund;
    // Whoever credits a payment or pays it back decides about the payment, whoever's it was said to be.
    if state != ReviewState::Rejected {
        evidence = evidence.of_anybody();
    }
    let order = order.filter(|_| review.has_money());
    let freed = order.and_then(|(order, fate)| {
        let known = || known_otherwise(order, &evidence, fate).filter(|_| is_refund);
        let_go(order, &evidence, fate, now).or_else(known)
    });
    let change = order.map(|(order, _)| order).zip(freed.as_ref());
    let refunded = goes_back(review, &evidence).filter(|_| is_refund);
    let paid_back = refunded.as_ref().map_or(PaidBack::Nothing, PaidBack::Payment);
    let mut ended = context.store.end_review(review, (state, now), change, paid_back).await?;
    if let (Settled::PaymentTaken, Some(refunded)) = (ended, &refunded) {
        if is_news(context, review, refunded).await? {
            return reopen(context, review, BOOKED).await;
        }
        // By another statement of it, it was paid back before, or is booked; the transfer may be another one.
        let paid_back = PaidBack::Beside(refunded);
        ended = context.store.end_review(review, (state, now), change, paid_back).await?;
    }
    if ended == Settled::TransferTaken {
        // It may be credited by that name: the user would have it, and get it back.
        return reopen_as(context, review, ParkReason::SameTransfer).await;
    }
    if ended != Settled::Now {
        return Ok(Wrote::Raced);
    }
    let announce = match change {
        Some((before, after)) if before.version != after.version => {
            log(before, after);
            freed.into_iter().collect()
        }
        _ => Vec::new(),
    };
    Ok(Wrote::Done(Settlement { announce, ..Settlement::plain(Outcome::AlreadyDone) }))
}

/// Why a payment does not go back.
const BOOKED: &str = "the payment is booked";

/// Whether whoever decided that it goes back may not have known that it is booked. What contradicts a booking goes back
/// beside it: the booking stands. If it was booked later than the contradiction was put aside, people are told so once.
async fn is_news(
    context: Context<'_>,
    review: &Review,
    refunded: &Evidence,
) -> Result<bool, StoreError> {
    let Some(id) = context.store.booked_with(refunded).await? else { return Ok(false) };
    if !matches!(review.why, ParkReason::AmountConflict | ParkReason::SameTransfer) {
        return Ok(true);
    }
    let is_told = review.earlier.iter().any(|earlier| earlier.refusal.as_deref() == Some(BOOKED));
    let booked = context.store.order(&id).await?;
    Ok(!is_told && booked.is_some_and(|booked| booked.updated_at > review.at))
}

/// The payment that is paid back with the statement: no proof that comes later credits it, also when it can be read better
/// than this. Where nothing came nothing goes back, and what contradicts another statement may be no payment at all: only
/// of a deposit both are about the same one, which is booked or was put aside.
fn goes_back(review: &Review, evidence: &Evidence) -> Option<Evidence> {
    let is_payment = match evidence.kind {
        EvidenceKind::Paid(amount) => amount.minor() > 0,
        EvidenceKind::Unlisted | EvidenceKind::Unrecognised => true,
        EvidenceKind::Declined | EvidenceKind::TimedOut => false,
    };
    let contradicts = review.why == ParkReason::AmountConflict;
    if !is_payment || (contradicts && evidence.deposit.is_none()) {
        return None;
    }
    let mut paid_back = evidence.clone();
    // A message that cannot be read is called by itself; its transaction is what a later proof calls the payment by. What
    // makes an order of its own is always called by its payment.
    let is_of_order = evidence.order_id.as_ref() != Some(&made_by(evidence));
    if let (EvidenceKind::Unrecognised, true, Some(id)) =
        (evidence.kind, is_of_order, &evidence.transaction_id)
    {
        paid_back.payment_id.clone_from(id);
    }
    Some(paid_back)
}

async fn reopen(context: Context<'_>, review: &Review, why: &str) -> Result<Wrote, StoreError> {
    tracing::warn!(review = review.id.as_str(), why, "decision not carried out");
    context.store.reopen_review(review, (why, None)).await?;
    Ok(Wrote::Done(Settlement::plain(Outcome::Parked(review.why))))
}

/// The same, and from now on it waits for this reason: who decides about it next has seen it.
async fn reopen_as(
    context: Context<'_>,
    review: &Review,
    reason: ParkReason,
) -> Result<Wrote, StoreError> {
    let why = format!("{}; it was put aside as {}", reason.as_str(), review.why.as_str());
    tracing::warn!(review = review.id.as_str(), why, "decision not carried out");
    context.store.reopen_review(review, (&why, Some(reason))).await?;
    Ok(Wrote::Done(Settlement::plain(Outcome::Parked(reason))))
}
