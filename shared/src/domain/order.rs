//! A recharge order as stored, and how it is born.

use std::collections::BTreeMap;
use std::time::Duration;

use super::command::CreateOrder;
use super::evidence::Dust;
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

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentFate {
    /// Waits for the rest of the amount.
    Held,
    /// Waits for a person, and the order with it.
    Review,
    /// Waits for a person by itself; the order does not.
    Aside,
    /// Booked to the user with this order.
    Credited,
    /// Booked with another order, by a person or by the rule for second payments.
    Elsewhere,
    /// Not to be credited: a person has decided.
    Refused,
}

impl PaymentFate {
    /// Every fate.
    pub const ALL: [PaymentFate; 6] = [
        PaymentFate::Held,
        PaymentFate::Review,
        PaymentFate::Aside,
        PaymentFate::Credited,
        PaymentFate::Elsewhere,
        PaymentFate::Refused,
    ];

    /// The letter in the table.
    pub const fn letter(self) -> char {
        match self {
            PaymentFate::Held => 'H',
            PaymentFate::Review => 'R',
            PaymentFate::Aside => 'A',
            PaymentFate::Credited => 'C',
            PaymentFate::Elsewhere => 'E',
            PaymentFate::Refused => 'X',
        }
    }

    /// Reads the letter.
    pub fn parse(letter: char) -> Option<PaymentFate> {
        PaymentFate::ALL.into_iter().find(|fate| fate.letter() == letter)
    }

    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            PaymentFate::Held => "HELD",
            PaymentFate::Review | PaymentFate::Aside => "REVIEW",
            PaymentFate::Credited => "CREDITED",
            PaymentFate::Elsewhere => "CREDITED_ELSEWHERE",
            PaymentFate::Refused => "REFUSED",
        }
    }
}

/// A payment that was proven to have arrived for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its identity within the provider account.
    pub id: String,
    /// How much, in the order's currency.
    pub amount: Money,
    /// What is finer than the smallest unit.
    pub dust: Option<Dust>,
    /// The provider's own number of the transaction.
    pub transaction_id: Option<String>,
    /// When its evidence reached us.
    pub at: Timestamp,
    /// What became of it.
    pub fate: PaymentFate,
}

/// The most payments that an order names; more are put aside without a line here.
pub const PAYMENTS_MAX: usize = 20;

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
    /// What had become of each payment, afterwards.
    pub fates: Vec<PaymentFate>,
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
    /// Every payment that was proven to have arrived for it, oldest first.
    pub payments: Vec<Payment>,
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
    /// Since when the provider has not answered questions about it; `None` when it did last time.
    pub silent_since: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Every accepted transition, oldest first.
    pub history: Vec<Transition>,
}

impl Order {
    /// A new order in `CREATED`, with the provider call reserved for the caller.
    pub fn new(key: &IdempotencyKey, birth: Birth, command: CreateOrder) -> Order {
        Order::named(OrderId::derive(&birth.merchant, key), birth, command)
    }

    /// The same with an id that no idempotency key has made.
    pub fn named(id: OrderId, birth: Birth, command: CreateOrder) -> Order {
        let Birth { merchant, provider, account, trace, attempt, now } = birth;
        Order {
            id,
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
            payments: Vec::new(),
            transaction_id: None,
            deposit: None,
            attempt_until: now.plus(ATTEMPT_LEASE),
            attempt_by: attempt,
            due_at: Some(now.plus(FIRST_CHECK_AFTER)),
            silent_since: None,
            updated_at: now,
            history: Vec::new(),
        }
    }

    /// This order after `to`, with the transition in its history and the version one higher.
    pub fn moved(&self, to: OrderState, change: Change<'_>) -> Order {
        let mut next = self.clone();
        if let Some(books) = change.books {
            (next.received, next.credited) = (books.received, books.credited);
            next.payments = books.payments;
        }
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
            fates: next.payments.iter().map(|payment| payment.fate).collect(),
            at: change.at,
        });
        next
    }

    /// The payment called `id`, if it was proven before.
    pub fn payment(&self, id: &str) -> Option<&Payment> {
        self.payments.iter().find(|payment| payment.id == id)
    }

    /// Whether the payment called `id` is in suspense with it.
    pub fn holds(&self, id: &str) -> bool {
        self.payment(id).is_some_and(|payment| payment.fate == PaymentFate::Held)
    }

    /// Whether something has arrived that is not credited and not refused.
    pub fn has_open_money(&self) -> bool {
        let open = |payment: &Payment| {
            matches!(payment.fate, PaymentFate::Held | PaymentFate::Review | PaymentFate::Aside)
        };
        self.payments.iter().any(open)
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
pub struct Birth {
    /// The calling merchant.
    pub merchant: MerchantId,
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
    /// The order's money afterwards, where that changes.
    pub books: Option<OrderBooks>,
    /// When.
    pub at: Timestamp,
}

/// An order's money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderBooks {
    /// Proven to have arrived.
    pub received: Money,
    /// Booked to the user.
    pub credited: Money,
    /// The payments.
    pub payments: Vec<Payment>,
}
