//! What can happen next: the payer, the provider, the queue, the workers, the client, the poller, and faults.

use std::rc::Rc;

use recharge_shared::domain::order::Change;
use recharge_shared::domain::{Decision, Order, OrderEvent, OrderState, PaymentFate, Step, apply};
use recharge_tests::rules;

use crate::world::{Client, Message, Model, Poller, Seeded, State, What, Worker};

/// Instances that die, of any kind.
const CRASHES_MAX: u8 = 1;
/// Messages that come again although their worker is still at it.
const RETURNS_MAX: u8 = 1;
/// Times that the provider sends each callback.
const COPIES: u8 = 2;

type Steps = Vec<(String, State)>;

impl Model {
    /// Every next state, with what leads there.
    pub fn steps(&self, state: &State) -> Steps {
        let mut steps = Vec::new();
        self.outside(state, &mut steps);
        self.queue(state, &mut steps);
        for number in 0..state.workers.len() {
            self.worker(state, number, &mut steps);
        }
        if self.cast.client {
            self.client(state, &mut steps);
        }
        if self.cast.poller {
            self.poller(state, &mut steps);
        }
        // Which of the two workers it is makes no difference.
        for (_, next) in &mut steps {
            next.workers.sort_unstable();
        }
        steps
    }

    fn outside(&self, state: &State, steps: &mut Steps) {
        for number in 0..self.payments.len() {
            let bit = 1_u8 << number;
            if state.paid & bit == 0 {
                let mut next = State { paid: state.paid | bit, ..state.clone() };
                next.copies[number] = COPIES;
                steps.push((format!("the payer pays {number}"), next));
            }
            // One that is lost is one that never comes.
            if state.copies[number] > 0 {
                let mut next = state.clone();
                next.copies[number] -= 1;
                next.acknowledged |= bit;
                enqueue(&mut next, What::Callback(u8::try_from(number).expect("few payments")));
                steps.push((format!("a callback of {number} is acknowledged"), next));
            }
        }
        if self.cast.declines && !state.declined && state.paid == 0 {
            let mut next = State { declined: true, ..state.clone() };
            enqueue(&mut next, What::Declined);
            steps.push(("the provider gives the order up".to_owned(), next));
        }
        if !state.late {
            steps.push(("time runs out".to_owned(), State { late: true, ..state.clone() }));
        }
    }

    fn queue(&self, state: &State, steps: &mut Steps) {
        for (at, message) in state.queue.iter().enumerate() {
            let held = state.workers.iter().any(|worker| holds(worker) == Some(*message));
            let returns = state.returns + u8::from(held);
            if message.in_flight && returns <= RETURNS_MAX {
                let mut next = State { returns, ..state.clone() };
                next.queue[at].in_flight = false;
                next.queue.sort_unstable();
                steps.push((format!("{:?} comes again", message.what), next));
            }
        }
    }

    fn worker(&self, state: &State, number: usize, steps: &mut Steps) {
        let worker = state.workers[number];
        let goes_on = |next: Worker| {
            let mut after = state.clone();
            after.workers[number] = next;
            after
        };
        match worker {
            Worker::Idle => {
                for (at, message) in state.queue.iter().enumerate() {
                    if message.in_flight {
                        continue;
                    }
                    let received = (message.received + 1).min(2);
                    let taken = Message { received, in_flight: true, ..*message };
                    let mut next = goes_on(Worker::Read(taken, state.order, state.late));
                    next.queue[at] = taken;
                    next.queue.sort_unstable();
                    if self.seeded == Seeded::DeleteFirst {
                        delete(&mut next, taken);
                    }
                    if self.seeded == Seeded::AnnounceFirst {
                        let decision = self.decide(message.what, state.order, state.late);
                        let after = rules::after(&decision).map(|after| after.notices().len());
                        let after = u8::try_from(after.unwrap_or(0)).expect("few notices");
                        next.handed = next.handed.max(after);
                    }
                    let what = message.what;
                    steps.push((format!("worker {number} takes {what:?} and reads"), next));
                }
            }
            Worker::Read(message, before, late) => {
                let mut next = state.clone();
                next.workers[number] = self.write(&mut next, message, (before, late));
                steps.push((format!("worker {number} writes"), next));
            }
            Worker::Wrote(message, order) => {
                let mut next = goes_on(Worker::Done(message));
                next.handed = next.handed.max(self.notices(order));
                steps.push((format!("worker {number} announces"), next));
            }
            Worker::Done(message) => {
                let mut next = goes_on(Worker::Idle);
                delete(&mut next, message);
                steps.push((format!("worker {number} deletes"), next));
            }
        }
        if worker != Worker::Idle && state.crashes < CRASHES_MAX {
            let next = State { crashes: state.crashes + 1, ..goes_on(Worker::Idle) };
            steps.push((format!("worker {number} dies"), next));
        }
    }

    /// What the product decides.
    fn decide(&self, what: What, order: u16, late: bool) -> Rc<Decision> {
        if let Some(decided) = self.decided.borrow().get(&(what, order, late)) {
            return decided.clone();
        }
        let (before, evidence) = (self.order(order), self.evidence(what, late));
        let decision = apply(&before, &evidence, self.policy, self.now(late));
        let problems = rules::wrong(&before, &evidence, &decision);
        assert!(problems.is_empty(), "{problems:?}");
        let decision = Rc::new(decision);
        self.decided.borrow_mut().insert((what, order, late), decision.clone());
        decision
    }

    /// One conditional transaction, as the store makes it of the decision.
    fn write(&self, state: &mut State, message: Message, (read, late): (u16, bool)) -> Worker {
        let decision = self.decide(message.what, read, late);
        let bit = match message.what {
            What::Callback(number) | What::Query(number) => 1_u8 << number,
            What::TimeOut | What::Declined => 0,
        };
        let after = rules::after(&decision);
        let same = state.order == read
            || matches!(self.seeded, Seeded::Unconditional | Seeded::UnconditionalOrder);
        let row = state.booked & bit == 0 || self.seeded == Seeded::Unconditional;
        let (entry, makes) = match &*decision {
            Decision::AlreadyDone if message.received > 1 => return Worker::Wrote(message, read),
            Decision::AlreadyDone => return Worker::Done(message),
            Decision::Park(_) => {
                state.parked |= bit;
                return Worker::Done(message);
            }
            Decision::Settle { entry, .. } | Decision::Part { entry, .. } => (Some(entry), false),
            Decision::Make { entry, .. } => (Some(entry), true),
            Decision::Hold { .. } | Decision::Note { .. } | Decision::Decline { .. } => {
                (None, false)
            }
        };
        if !same {
            return Worker::Read(message, state.order, state.late);
        }
        match entry {
            Some(_) if !row => {
                state.parked |= bit;
                return Worker::Done(message);
            }
            Some(entry) => {
                state.booked |= bit;
                let credits = matches!(*decision, Decision::Settle { .. }) || makes;
                state.balance += if credits { entry.amount().minor() } else { 0 };
                state.made |= if makes { bit } else { 0 };
            }
            None => {}
        }
        let Some(after) = after else { return Worker::Done(message) };
        state.order = self.number(after);
        Worker::Wrote(message, state.order)
    }

    fn client(&self, state: &State, steps: &mut Steps) {
        let goes_on = |client: Client| State { client, ..state.clone() };
        match state.client {
            Client::Free => {
                steps.push(("the client cancels".to_owned(), goes_on(Client::Read(state.order))));
            }
            Client::Read(read) => {
                let before = self.order(read);
                let open_money = before.state.is_open() && before.has_open_money();
                let next = match before.state.on(OrderEvent::Cancel) {
                    Step::Move(to) if !open_money => {
                        match self.advance(state, &before, (to, false)) {
                            Some(next) => State { client: Client::Wrote(next.order), ..next },
                            None => goes_on(Client::Free),
                        }
                    }
                    _ => goes_on(Client::Done),
                };
                steps.push(("the cancel is written".to_owned(), next));
                if state.crashes < CRASHES_MAX {
                    let next = State { crashes: state.crashes + 1, ..goes_on(Client::Done) };
                    steps.push(("the cancel dies".to_owned(), next));
                }
            }
            Client::Wrote(order) => {
                let handed = state.handed.max(self.notices(order));
                let next = State { handed, ..goes_on(Client::Done) };
                steps.push(("the cancel is announced".to_owned(), next));
                if state.crashes < CRASHES_MAX {
                    let next = State { crashes: state.crashes + 1, ..goes_on(Client::Done) };
                    steps.push(("the cancel is not announced".to_owned(), next));
                }
            }
            Client::Done => {}
        }
    }

    /// A change without money, if the order is still what was read.
    fn advance(
        &self,
        state: &State,
        before: &Order,
        (to, unconditional): (OrderState, bool),
    ) -> Option<State> {
        if *self.order(state.order) != *before && !unconditional {
            return None;
        }
        let at = self.now(state.late);
        let change = Change { reason: None, actor: "model", evidence: None, books: None, at };
        let mut after = before.moved(to, change);
        after.due_at = after.next_check(at);
        Some(State { order: self.number(&after), ..state.clone() })
    }

    /// Reads a due order, asks the provider, and hands over what was paid; or expires in two steps.
    fn poller(&self, state: &State, steps: &mut Steps) {
        if let Poller::Unpaid(read) = state.poller {
            let before = self.order(read);
            let unconditional = self.seeded == Seeded::ExpiryUnconditional;
            let idle = State { poller: Poller::Idle, ..state.clone() };
            let next = match before.state.on(OrderEvent::Expire) {
                Step::Move(to) => self.advance(&idle, &before, (to, unconditional)),
                _ => None,
            };
            steps.push(("the poller expires".to_owned(), next.unwrap_or(idle)));
            return;
        }
        let order = self.order(state.order);
        if order.due_at.is_none() {
            return;
        }
        let unknown = (0_u8..).zip(&self.payments).map(|(number, _)| number).find(|number| {
            state.paid & (1 << number) != 0 && order.payment(&format!("p-{number}")).is_none()
        });
        let mut next = state.clone();
        match unknown {
            Some(number) => enqueue(&mut next, What::Query(number)),
            None if !order.state.is_open() => {
                next.handed = next.handed.max(self.notices(state.order));
            }
            None if !state.late => {}
            None if order.payments.iter().any(|one| one.fate == PaymentFate::Held) => {
                enqueue(&mut next, What::TimeOut);
            }
            None => next.poller = Poller::Unpaid(state.order),
        }
        if next != *state {
            steps.push(("the poller looks".to_owned(), next));
        }
    }

    /// The next step when nothing fails: work that was begun, then the queue, time, and the poller.
    pub fn calm_step(&self, state: &State) -> Option<State> {
        let mut steps = Vec::new();
        for number in 0..state.workers.len() {
            if state.workers[number] != Worker::Idle {
                self.worker(state, number, &mut steps);
                return steps.into_iter().next().map(|(_, next)| next);
            }
        }
        if let Some(at) = state.queue.iter().position(|message| message.in_flight) {
            let mut next = state.clone();
            next.queue[at].in_flight = false;
            return Some(next);
        }
        self.worker(state, 0, &mut steps);
        if !matches!(state.client, Client::Free | Client::Done) {
            self.client(state, &mut steps);
        }
        if !state.late {
            steps.push((String::new(), State { late: true, ..state.clone() }));
        }
        self.poller(state, &mut steps);
        steps.into_iter().next().map(|(_, next)| next)
    }
}

fn holds(worker: &Worker) -> Option<Message> {
    match worker {
        Worker::Idle => None,
        Worker::Read(message, ..) | Worker::Wrote(message, _) | Worker::Done(message) => {
            Some(*message)
        }
    }
}

/// One of each kind is enough: a second one is the first one delivered again.
fn enqueue(state: &mut State, what: What) {
    let waits = |message: &Message| message.what == what && !message.in_flight;
    if !state.queue.iter().any(waits) {
        state.queue.push(Message { what, received: 0, in_flight: false });
        state.queue.sort_unstable();
    }
}

fn delete(state: &mut State, message: Message) {
    let own = |one: &Message| (one.what, one.received) == (message.what, message.received);
    if let Some(at) = state.queue.iter().position(own) {
        state.queue.remove(at);
    }
}
