//! The model's state, what must hold in each, and where it ends when nothing fails any more.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use recharge_shared::domain::order::Birth;
use recharge_shared::domain::{
    CreateOrder, Currency, Decision, Evidence, EvidenceKind, IdempotencyKey, MerchantId, Money,
    Order, OrderState, Policy, ProviderName, Source, Timestamp, TraceId, UserId,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A fault of the program that the search has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeded {
    /// None.
    Nothing,
    /// The worker writes whatever the order has become meanwhile, and whatever was booked.
    Unconditional,
    /// The worker writes whatever the order has become meanwhile.
    UnconditionalOrder,
    /// The worker deletes the message before it writes.
    DeleteFirst,
    /// The worker announces before it writes.
    AnnounceFirst,
    /// The poller expires whatever the order has become meanwhile.
    ExpiryUnconditional,
}

/// A message of the settlement queue; the number is a payment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    Callback(u8),
    Query(u8),
    TimeOut,
    Declined,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    pub what: What,
    /// How often it was received; more than twice is twice.
    pub received: u8,
    pub in_flight: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Worker {
    Idle,
    /// Has the message and has read this order, at a time that was late or not.
    Read(Message, u16, bool),
    /// Has written this order, or found it; will announce.
    Wrote(Message, u16),
    /// Will delete the message.
    Done(Message),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// May cancel.
    Free,
    /// Has read this order.
    Read(u16),
    /// Has cancelled, will announce.
    Wrote(u16),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Poller {
    Idle,
    /// Has read this order, and heard that nothing was paid.
    Unpaid(u16),
}

/// Everything, at one moment. Orders are numbers of [`Model::orders`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub order: u16,
    /// Payment rows, orders made by payments, statements put aside, the provider's truth, callbacks that were
    /// acknowledged: a bit a payment.
    pub booked: u8,
    pub made: u8,
    pub parked: u8,
    pub paid: u8,
    pub acknowledged: u8,
    /// Callbacks that are still to come.
    pub copies: [u8; 2],
    pub queue: Vec<Message>,
    pub workers: [Worker; 2],
    pub client: Client,
    pub poller: Poller,
    pub late: bool,
    pub declined: bool,
    pub balance: i128,
    /// Notices that the notification queue has been given.
    pub handed: u8,
    pub crashes: u8,
    pub returns: u8,
}

/// Who is there.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    /// A client who may cancel.
    pub client: bool,
    /// The poller at any time; without it, only when nothing else is left to do.
    pub poller: bool,
    /// A provider that may give the order up.
    pub declines: bool,
}

/// One scene.
pub struct Model {
    pub policy: Policy,
    pub payments: Vec<i128>,
    pub cast: Cast,
    pub seeded: Seeded,
    /// Every order row that was met, with the number of its notices.
    orders: RefCell<Vec<(Rc<Order>, u8)>>,
    /// What was decided before, by statement, order and time.
    pub decided: RefCell<HashMap<(What, u16, bool), Rc<Decision>>>,
}

impl Model {
    pub fn new(policy: Policy, payments: &[i128], cast: Cast, seeded: Seeded) -> Model {
        let orders = RefCell::new(vec![(Rc::new(first_order()), 0)]);
        let decided = RefCell::default();
        Model { policy, payments: payments.to_vec(), cast, seeded, orders, decided }
    }

    pub fn start(&self) -> State {
        State {
            order: 0,
            booked: 0,
            made: 0,
            parked: 0,
            paid: 0,
            acknowledged: 0,
            copies: [0; 2],
            queue: Vec::new(),
            workers: [Worker::Idle; 2],
            client: Client::Free,
            poller: Poller::Idle,
            late: false,
            declined: false,
            balance: 0,
            handed: 0,
            crashes: 0,
            returns: 0,
        }
    }

    pub fn order(&self, number: u16) -> Rc<Order> {
        self.orders.borrow()[usize::from(number)].0.clone()
    }

    pub fn number(&self, order: &Order) -> u16 {
        let mut orders = self.orders.borrow_mut();
        let known = orders.iter().position(|(known, _)| **known == *order);
        let number = known.unwrap_or_else(|| {
            let notices = u8::try_from(order.notices().len()).expect("not so many notices");
            orders.push((Rc::new(order.clone()), notices));
            orders.len() - 1
        });
        u16::try_from(number).expect("not so many orders")
    }

    pub fn now(&self, late: bool) -> Timestamp {
        if late { NOW.plus(Duration::from_secs(2_000)) } else { NOW }
    }

    pub fn notices(&self, number: u16) -> u8 {
        self.orders.borrow()[usize::from(number)].1
    }

    pub fn evidence(&self, what: What, late: bool) -> Evidence {
        let order = self.order(0);
        let time_out = Evidence::time_out(&order, self.now(late));
        let (kind, payment_id, source) = match what {
            What::TimeOut => return Evidence { observed_at: NOW, ..time_out },
            What::Declined => (EvidenceKind::Declined, "p-0".to_owned(), Source::Callback),
            What::Callback(number) | What::Query(number) => {
                let amount = self.payments[usize::from(number)];
                let callback = matches!(what, What::Callback(_));
                let source = if callback { Source::Callback } else { Source::Query };
                let kind = EvidenceKind::Paid(Money::new(amount, Currency::Usdt));
                (kind, format!("p-{number}"), source)
            }
        };
        Evidence { kind, payment_id, source, observed_at: NOW, ..time_out }
    }

    /// What is wrong with a state, if anything.
    pub fn wrong(&self, state: &State) -> Option<String> {
        let order = self.order(state.order);
        let made: i128 = self.sum_of(state.made);
        let checks = [
            (state.balance == order.credited.minor() + made, "the balance is not what is credited"),
            (state.balance <= self.sum_of(state.paid), "more is credited than was paid"),
            (state.booked & !state.paid == 0, "booked what nobody has paid"),
            (order.credited.minor() <= order.received.minor(), "credited what has not arrived"),
            (state.handed <= self.notices(state.order), "announced what was not committed"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what.to_owned())
    }

    /// What is wrong with a step, if anything.
    pub fn wrong_step(&self, before: &State, after: &State) -> Option<String> {
        let (old, new) = (self.order(before.order), self.order(after.order));
        if old.state == OrderState::Success && (new.state, new.version) != (old.state, old.version)
        {
            return Some("SUCCESS has changed".to_owned());
        }
        let added = new.history.len().saturating_sub(old.history.len());
        let grown = new.history.starts_with(&old.history) && added <= 1;
        if !grown || new.version != old.version + added as u64 {
            return Some("what has happened was forgotten".to_owned());
        }
        let lost = after.balance < before.balance;
        lost.then(|| "a balance has shrunk".to_owned())
    }

    fn sum_of(&self, bits: u8) -> i128 {
        let amounts = self.payments.iter().enumerate();
        amounts.filter(|(number, _)| bits & (1 << number) != 0).map(|(_, amount)| amount).sum()
    }

    /// What is wrong in the end when from `state` on nothing fails and no callback comes any more. `seen`
    /// are states from which the end was looked at.
    pub fn ends_badly(&self, state: &State, seen: &mut HashSet<State>) -> Option<String> {
        let mut state = State { copies: [0; 2], ..state.clone() };
        let mut path = HashSet::new();
        let wrong = loop {
            if seen.contains(&state) {
                break None;
            }
            if !path.insert(state.clone()) {
                break Some("it goes on for ever".to_owned());
            }
            match self.calm_step(&state) {
                Some(next) => state = next,
                None => break self.wrong_end(&state),
            }
        };
        seen.extend(path);
        wrong
    }

    fn wrong_end(&self, state: &State) -> Option<String> {
        let order = self.order(state.order);
        let ended = matches!(order.state, OrderState::Success | OrderState::Review);
        for number in 0..self.payments.len() {
            let bit = 1 << number;
            let id = format!("p-{number}");
            let kept = order.payment(&id).is_some() || (state.made | state.parked) & bit != 0;
            if state.acknowledged & bit != 0 && !kept {
                return Some(format!("the acknowledged payment {id} is nowhere"));
            }
        }
        if state.paid != 0 && !ended && state.parked & state.paid == 0 {
            return Some(format!("paid, and {} in the end", order.state.as_str()));
        }
        if state.paid == 0 && order.state.is_open() {
            return Some("an unpaid order never ends".to_owned());
        }
        let notices = self.notices(state.order);
        let untold = format!("{notices} notices, {} handed over", state.handed);
        (state.handed != notices).then_some(untold)
    }
}

fn first_order() -> Order {
    let birth = Birth {
        merchant: MerchantId::parse("m").expect("a merchant"),
        provider: ProviderName::parse("trader").expect("a name"),
        account: "APP".to_owned(),
        trace: TraceId::parse("t").expect("a trace"),
        attempt: "a".to_owned(),
        now: NOW,
    };
    let command = CreateOrder {
        user: UserId::parse("u").expect("a user"),
        amount: Money::new(500, Currency::Usdt),
        payment_method: None,
        reference: None,
        callback_url: None,
        expires_in: Duration::from_secs(1_800),
        metadata: BTreeMap::new(),
    };
    Order::new(&IdempotencyKey::parse("k").expect("a key"), birth, command)
}
