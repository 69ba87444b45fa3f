//! A recharge order as stored, and how it is born.

use std::collections::BTreeMap;
use std::time::Duration;

use super::command::CreateOrder;
use super::ids::{
    IdempotencyKey, MerchantId, OrderId, OrderReference, ProviderName, TraceId, UserId,
};
use super::money::Money;
use super::state::{OrderState, Reason};
use super::time::Timestamp;

/// How long the instance that recorded an order has for the provider call before somebody else may
/// take the order on: the function's time limit (10 s) and some.
pub const ATTEMPT_LEASE: Duration = Duration::from_secs(15);

/// When a new order is looked at for the first time.
pub const FIRST_CHECK_AFTER: Duration = Duration::from_secs(30);

/// How long an order is watched for money, counted from its creation.
pub const MONITORING_WINDOW: Duration = Duration::from_secs(72 * 3_600);

/// Where the payer sends the money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deposit {
    /// The address; belongs to this user alone.
    pub address: String,
    /// The network that the address lives on, like `TRON`.
    pub network: String,
}

/// One accepted change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: OrderState,
    /// After.
    pub to: OrderState,
    /// Why.
    pub reason: Option<Reason>,
    /// Who: a function's name, or a person.
    pub actor: String,
    /// The evidence's identity, when there was one.
    pub evidence: Option<String>,
    /// Proven to have arrived, afterwards.
    pub received: Money,
    /// Booked to the user, afterwards.
    pub credited: Money,
    /// When.
    pub at: Timestamp,
}

/// A recharge order. The creation members never change: they are its `ATTEMPT` ledger line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// A pure function of merchant and idempotency key.
    pub id: OrderId,
    /// Whose order.
    pub merchant: MerchantId,
    /// Whom to credit.
    pub user: UserId,
    /// What was asked for.
    pub amount: Money,
    /// Through whom.
    pub provider: ProviderName,
    /// Our account there.
    pub account: String,
    /// The merchant's own number.
    pub reference: Option<OrderReference>,
    /// Where to report.
    pub callback_url: Option<String>,
    /// Echoed back.
    pub metadata: BTreeMap<String, String>,
    /// Of the command that made it.
    pub fingerprint: [u8; 32],
    /// The trace of the request that made it.
    pub trace: TraceId,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When the payer's time runs out.
    pub expires_at: Timestamp,

    /// Where it stands.
    pub state: OrderState,
    /// Why it stands there.
    pub reason: Option<Reason>,
    /// Grows by one with every transition, from 1.
    pub version: u64,
    /// Proven to have arrived.
    pub received: Money,
    /// Booked to the user.
    pub credited: Money,
    /// The payment that settled it or holds it in review.
    pub payment_id: Option<String>,
    /// The provider's own order number.
    pub transaction_id: Option<String>,
    /// Where the payer sends the money.
    pub deposit: Option<Deposit>,
    /// Until when the provider call belongs to the instance that took it.
    pub attempt_until: Timestamp,
    /// Who took it: unique to one invocation.
    pub attempt_by: String,
    /// When the poller looks at it next; `None` when nothing is left to do.
    pub due_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Every accepted transition, oldest first.
    pub history: Vec<Transition>,
}

impl Order {
    /// A new order in `CREATED`, with the provider call reserved for the caller.
    pub fn new(birth: Birth<'_>, command: CreateOrder) -> Order {
        let Birth { merchant, key, provider, account, trace, attempt, now } = birth;
        Order {
            id: OrderId::derive(&merchant, key),
            fingerprint: command.fingerprint(),
            received: Money::zero(command.amount.currency()),
            credited: Money::zero(command.amount.currency()),
            merchant,
            user: command.user,
            amount: command.amount,
            provider,
            account,
            reference: command.reference,
            callback_url: command.callback_url,
            metadata: command.metadata,
            trace,
            created_at: now,
            expires_at: now.plus(command.expires_in),
            state: OrderState::Created,
            reason: None,
            version: 1,
            payment_id: None,
            transaction_id: None,
            deposit: None,
            attempt_until: now.plus(ATTEMPT_LEASE),
            attempt_by: attempt,
            due_at: Some(now.plus(FIRST_CHECK_AFTER)),
            updated_at: now,
            history: Vec::new(),
        }
    }

    /// This order after `to`, with the transition in its history and the version one higher.
    pub fn moved(&self, to: OrderState, change: Change<'_>) -> Order {
        let mut next = self.clone();
        (next.received, next.credited) = change.money.unwrap_or((self.received, self.credited));
        next.state = to;
        next.reason = change.reason;
        next.version = self.version.saturating_add(1);
        next.updated_at = change.at;
        next.history.push(Transition {
            from: self.state,
            to,
            reason: change.reason,
            actor: change.actor.to_owned(),
            evidence: change.evidence,
            received: next.received,
            credited: next.credited,
            at: change.at,
        });
        next
    }

    /// When to look at it again after a look at `now`: soon while young, then less and less often
    /// (half its age, 30 s to 4 h), `None` once the monitoring window has ended.
    pub fn next_check(&self, now: Timestamp) -> Option<Timestamp> {
        const SHORTEST: Duration = FIRST_CHECK_AFTER;
        const LONGEST: Duration = Duration::from_secs(4 * 3_600);
        let age = now.since(self.created_at);
        let mut next = now.plus((age / 2).clamp(SHORTEST, LONGEST));
        if self.state.is_open() {
            // Once its time is over, an order still open is one whose expiry was interrupted.
            let over = self.expires_at <= now;
            next = if over { now.plus(SHORTEST) } else { next.min(self.expires_at) };
        }
        (self.state.is_open() || age < MONITORING_WINDOW).then_some(next)
    }
}

/// What an order needs besides the command.
#[derive(Debug)]
pub struct Birth<'a> {
    /// The calling merchant.
    pub merchant: MerchantId,
    /// Its key.
    pub key: &'a IdempotencyKey,
    /// The chosen provider.
    pub provider: ProviderName,
    /// Our account there.
    pub account: String,
    /// The request's trace.
    pub trace: TraceId,
    /// Unique to this invocation.
    pub attempt: String,
    /// Now.
    pub now: Timestamp,
}

/// The circumstances of a transition.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// Why.
    pub reason: Option<Reason>,
    /// Who.
    pub actor: &'a str,
    /// The evidence's identity, when there was one.
    pub evidence: Option<String>,
    /// What has arrived and what is booked afterwards, where that changes.
    pub money: Option<(Money, Money)>,
    /// When.
    pub at: Timestamp,
}
