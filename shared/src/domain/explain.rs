//! Why the money is or is not there: one sentence and some codes, from the order row alone.

use super::order::{MONITORING_WINDOW, Order, PaymentFate};
use super::state::{OrderState, Reason};
use super::time::Timestamp;

/// What holds of the order, in a word that programs can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    /// The provider is being told of the order right now.
    BeingPlaced,
    /// The provider may or may not know the order; this is found out.
    HalfDone,
    /// The provider does not answer questions.
    ProviderSilent,
    /// The provider waits for the payer.
    NotPaid,
    /// A part has come.
    PartlyPaid,
    /// The payer's time is over; the order is about to be expired.
    TimeOver,
    /// Money waits for a person.
    WaitsForPerson,
    /// Credited as it should be.
    Credited,
    /// Credited, and another payment waits for a person.
    CreditedOneMoreWaits,
    /// The provider refused the order.
    Refused,
    /// A person has decided not to credit the money.
    RefusedByPerson,
    /// Withdrawn by the client, and nothing has come.
    Cancelled,
    /// Out of time, and nothing has come.
    Expired,
    /// Out of time before the provider could be reached.
    NeverPlaced,
}

impl Situation {
    /// Every situation.
    pub const ALL: [Situation; 14] = [
        Situation::BeingPlaced,
        Situation::HalfDone,
        Situation::ProviderSilent,
        Situation::NotPaid,
        Situation::PartlyPaid,
        Situation::TimeOver,
        Situation::WaitsForPerson,
        Situation::Credited,
        Situation::CreditedOneMoreWaits,
        Situation::Refused,
        Situation::RefusedByPerson,
        Situation::Cancelled,
        Situation::Expired,
        Situation::NeverPlaced,
    ];

    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Situation::BeingPlaced => "being_placed",
            Situation::HalfDone => "half_done",
            Situation::ProviderSilent => "provider_silent",
            Situation::NotPaid => "not_paid",
            Situation::PartlyPaid => "partly_paid",
            Situation::TimeOver => "time_over",
            Situation::WaitsForPerson => "waits_for_person",
            Situation::Credited => "credited",
            Situation::CreditedOneMoreWaits => "credited_one_more_waits",
            Situation::Refused => "refused",
            Situation::RefusedByPerson => "refused_by_person",
            Situation::Cancelled => "cancelled",
            Situation::Expired => "expired",
            Situation::NeverPlaced => "never_placed",
        }
    }
}

/// What the provider is known to have said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderSays {
    /// Nothing that we know of.
    Nothing,
    /// It has the order and waits.
    Waiting,
    /// Money has arrived.
    Paid,
    /// It refused the order.
    Refused,
    /// It does not answer.
    Silent,
}

impl ProviderSays {
    /// Every word.
    pub const ALL: [ProviderSays; 5] = [
        ProviderSays::Nothing,
        ProviderSays::Waiting,
        ProviderSays::Paid,
        ProviderSays::Refused,
        ProviderSays::Silent,
    ];

    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProviderSays::Nothing => "nothing",
            ProviderSays::Waiting => "waiting",
            ProviderSays::Paid => "paid",
            ProviderSays::Refused => "refused",
            ProviderSays::Silent => "silent",
        }
    }
}

/// What happens next by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// The order is brought to the provider.
    Place,
    /// The provider is asked, or at least the order looked at.
    Ask,
    /// The order ends.
    Expire,
    /// A person decides; nobody knows when.
    Decide,
}

impl NextStep {
    /// Every step.
    pub const ALL: [NextStep; 4] =
        [NextStep::Place, NextStep::Ask, NextStep::Expire, NextStep::Decide];

    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            NextStep::Place => "place",
            NextStep::Ask => "ask_provider",
            NextStep::Expire => "expire",
            NextStep::Decide => "person_decides",
        }
    }
}

/// What the client can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCan {
    /// Nothing is needed.
    Wait,
    /// Send the same request with the same key again: the order is brought to the provider at once.
    RepeatRequest,
    /// Ask the payer whether the money was sent, to which address and on which network.
    AskPayer,
    /// Withdraw the order.
    Cancel,
    /// Make a new order, with a new key.
    CreateAnother,
    /// Ask the operator, naming the order.
    AskOperator,
}

impl ClientCan {
    /// Every word.
    pub const ALL: [ClientCan; 6] = [
        ClientCan::Wait,
        ClientCan::RepeatRequest,
        ClientCan::AskPayer,
        ClientCan::Cancel,
        ClientCan::CreateAnother,
        ClientCan::AskOperator,
    ];

    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            ClientCan::Wait => "wait",
            ClientCan::RepeatRequest => "repeat_request",
            ClientCan::AskPayer => "ask_payer",
            ClientCan::Cancel => "cancel",
            ClientCan::CreateAnother => "create_another",
            ClientCan::AskOperator => "ask_operator",
        }
    }
}

/// Why the money is or is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// In a word.
    pub situation: Situation,
    /// In a sentence or two, for people.
    pub sentence: String,
    /// What the provider is known to have said.
    pub provider_says: ProviderSays,
    /// Since when.
    pub since: Timestamp,
    /// What happens next by itself, and when, where that is known.
    pub next: Option<(NextStep, Option<Timestamp>)>,
    /// What the client can do.
    pub client_can: Vec<ClientCan>,
}

impl Order {
    /// Explains where the money of this order is, as of `now`.
    pub fn explain(&self, now: Timestamp) -> Explanation {
        let situation = self.situation(now);
        let (provider_says, since) = self.provider_says();
        Explanation {
            situation,
            sentence: self.sentence(situation, now),
            provider_says,
            since,
            next: self.next_step(situation, now),
            client_can: self.client_can(situation),
        }
    }

    fn situation(&self, now: Timestamp) -> Situation {
        let aside = self.payments.iter().any(|payment| payment.fate == PaymentFate::Aside);
        match self.state {
            OrderState::Created | OrderState::Pending if self.received.minor() > 0 => {
                if self.expires_at <= now { Situation::TimeOver } else { Situation::PartlyPaid }
            }
            OrderState::Created | OrderState::Pending if self.expires_at <= now => {
                Situation::TimeOver
            }
            OrderState::Created | OrderState::Pending if self.silent_since.is_some() => {
                Situation::ProviderSilent
            }
            OrderState::Created if now < self.attempt_until => Situation::BeingPlaced,
            OrderState::Created => Situation::HalfDone,
            OrderState::Pending => Situation::NotPaid,
            OrderState::Review => Situation::WaitsForPerson,
            OrderState::Success if aside => Situation::CreditedOneMoreWaits,
            OrderState::Success => Situation::Credited,
            OrderState::Failed if self.reason == Some(Reason::Manual) => Situation::RefusedByPerson,
            OrderState::Failed => Situation::Refused,
            OrderState::Cancelled => Situation::Cancelled,
            OrderState::Expired if self.reason == Some(Reason::ProviderUnreachable) => {
                Situation::NeverPlaced
            }
            OrderState::Expired => Situation::Expired,
        }
    }

    fn provider_says(&self) -> (ProviderSays, Timestamp) {
        let entered = |state| {
            let step = self.history.iter().find(|step| step.to == state);
            step.map_or(self.updated_at, |step| step.at)
        };
        if let Some(payment) = self.payments.first() {
            return (ProviderSays::Paid, payment.at);
        }
        if let Some(since) = self.silent_since {
            return (ProviderSays::Silent, since);
        }
        let was_placed = self.history.iter().any(|step| step.to == OrderState::Pending);
        match self.reason {
            Some(Reason::ProviderDeclined) => (ProviderSays::Refused, entered(OrderState::Failed)),
            _ if was_placed => (ProviderSays::Waiting, entered(OrderState::Pending)),
            _ => (ProviderSays::Nothing, self.created_at),
        }
    }

    fn sentence(&self, situation: Situation, now: Timestamp) -> String {
        let (asked, got) = (self.amount.decimal(), self.received.decimal());
        let code = self.amount.currency().code();
        let provider = &self.provider;
        match situation {
            Situation::BeingPlaced => {
                format!("The order is recorded and {provider} is being told of it right now.")
            }
            Situation::HalfDone => format!(
                "The order is recorded, but the call to {provider} came to no end: whether it has the \
                 order is found out by asking, and never by sending twice."
            ),
            Situation::ProviderSilent => format!(
                "{provider} does not answer our questions. A payment may have been made that we do not \
                 know of; as soon as it answers, or sends its confirmation, the money is credited."
            ),
            Situation::NotPaid => format!(
                "{provider} has the order and has confirmed no payment. Only a confirmation that {provider} \
                 has signed, or its answer to our own question, counts."
            ),
            Situation::PartlyPaid => {
                format!("{got} of {asked} {code} has arrived and is kept; the rest is waited for.")
            }
            Situation::TimeOver if self.received.minor() > 0 => format!(
                "The time is over and only {got} of {asked} {code} has arrived: it goes to a person."
            ),
            Situation::TimeOver => "The time is over; the order expires after one last question, or in \
                                    ten minutes if it gets no answer."
                .to_owned(),
            Situation::WaitsForPerson
            | Situation::Credited
            | Situation::CreditedOneMoreWaits
            | Situation::RefusedByPerson => self.of_money(situation),
            Situation::Refused
            | Situation::Cancelled
            | Situation::Expired
            | Situation::NeverPlaced
                if !self.payments.is_empty() =>
            {
                "The order has ended. What arrived for it is not credited here: a person has decided so."
                    .to_owned()
            }
            Situation::Refused => format!("{provider} refused the order; no payment has arrived."),
            Situation::Cancelled | Situation::Expired | Situation::NeverPlaced => {
                self.of_an_end(situation, now)
            }
        }
    }

    fn of_money(&self, situation: Situation) -> String {
        let (asked, got) = (self.amount.decimal(), self.received.decimal());
        let (credited, code) = (self.credited.decimal(), self.amount.currency().code());
        match situation {
            Situation::WaitsForPerson => {
                let why = match self.reason {
                    Some(Reason::PaidUnder) => "less arrived than was asked for",
                    Some(Reason::PaidOver) => "more arrived than was asked for",
                    Some(Reason::PaidLate) => "it arrived after the order had ended",
                    Some(Reason::ProviderDeclined) => {
                        "the provider gave up an order with money in it"
                    }
                    _ => "it does not fit the order",
                };
                format!("{got} {code} of {asked} {code} has arrived and waits for a person: {why}.")
            }
            Situation::RefusedByPerson => {
                format!("{got} {code} has arrived, and a person has decided not to credit it here.")
            }
            Situation::CreditedOneMoreWaits => format!(
                "{credited} {code} is credited. Another payment has arrived for this order and waits for \
                 a person."
            ),
            _ => {
                let how = match self.reason {
                    Some(Reason::PaidUnder) => ", less than was asked for",
                    Some(Reason::PaidOver) => ", more than was asked for",
                    Some(Reason::PaidLate) => ", after the order had ended",
                    Some(Reason::PaidTwice) => ", a second payment for an order that was paid",
                    Some(Reason::Manual) => ", by a person's decision",
                    _ => "",
                };
                format!("{credited} {code} is credited{how}.")
            }
        }
    }

    fn of_an_end(&self, situation: Situation, now: Timestamp) -> String {
        let what = match situation {
            Situation::Cancelled => "The client withdrew the order before any payment.",
            Situation::NeverPlaced => "The provider did not take the order before time ran out.",
            _ => "No payment was confirmed before time ran out.",
        };
        let watched = self.due_at.is_some() && now.since(self.created_at) < MONITORING_WINDOW;
        let late = if watched {
            "The provider is still asked; money that comes late is not lost."
        } else {
            "A late confirmation of the provider would still be taken."
        };
        format!("{what} {late}")
    }

    fn next_step(
        &self,
        situation: Situation,
        now: Timestamp,
    ) -> Option<(NextStep, Option<Timestamp>)> {
        match situation {
            Situation::BeingPlaced | Situation::HalfDone => {
                let at = self.due_at.map(|due| due.max(self.attempt_until).max(now));
                Some((NextStep::Place, at))
            }
            Situation::WaitsForPerson | Situation::CreditedOneMoreWaits => {
                Some((NextStep::Decide, None))
            }
            Situation::TimeOver => {
                Some((NextStep::Expire, Some(self.due_at.unwrap_or(now).max(now))))
            }
            _ => {
                let due = self.due_at?;
                let ends = self.state.is_open() && due >= self.expires_at;
                let step = if ends { NextStep::Expire } else { NextStep::Ask };
                Some((step, Some(due.max(now))))
            }
        }
    }

    fn client_can(&self, situation: Situation) -> Vec<ClientCan> {
        match situation {
            Situation::BeingPlaced | Situation::HalfDone => {
                vec![ClientCan::Wait, ClientCan::RepeatRequest, ClientCan::Cancel]
            }
            Situation::ProviderSilent => vec![ClientCan::Wait, ClientCan::Cancel],
            Situation::NotPaid => {
                vec![ClientCan::Wait, ClientCan::AskPayer, ClientCan::Cancel]
            }
            Situation::PartlyPaid => vec![ClientCan::Wait, ClientCan::AskPayer],
            Situation::TimeOver | Situation::Credited => vec![ClientCan::Wait],
            Situation::WaitsForPerson
            | Situation::CreditedOneMoreWaits
            | Situation::RefusedByPerson => vec![ClientCan::AskOperator],
            Situation::Refused
            | Situation::Cancelled
            | Situation::Expired
            | Situation::NeverPlaced => vec![ClientCan::CreateAnother, ClientCan::AskPayer],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::domain::order::{Change, OrderBooks, Payment};
    use crate::domain::samples::{BEGAN, after};
    use crate::domain::{Currency, Money, samples};

    /// Begun, and being placed for 20 seconds.
    fn created() -> Order {
        Order { attempt_until: after(20), due_at: Some(after(30)), ..samples::created() }
    }

    fn moved(order: &Order, to: OrderState, reason: Option<Reason>) -> Order {
        let at = after(100 + 10 * order.version);
        order.moved(to, Change { reason, actor: "test", evidence: None, books: None, at })
    }

    fn pending() -> Order {
        moved(&created(), OrderState::Pending, None)
    }

    /// The same with payments of 4.00 each, 300 seconds after the beginning.
    fn with(order: Order, fates: &[PaymentFate], credited: i128) -> Order {
        let amount = Money::new(400, Currency::Eur);
        let payment = |fate: &PaymentFate| Payment {
            id: "p".to_owned(),
            amount,
            dust: None,
            transaction_id: None,
            at: after(300),
            fate: *fate,
        };
        let payments: Vec<Payment> = fates.iter().map(payment).collect();
        let books = OrderBooks {
            received: Money::new(400 * payments.len() as i128, Currency::Eur),
            credited: Money::new(credited, Currency::Eur),
            payments,
        };
        let OrderBooks { received, credited, payments } = books;
        Order { received, credited, payments, ..order }
    }

    fn in_words(name: &str, order: &Order, at_secs: u64) -> String {
        let Explanation { situation, sentence, provider_says, since, next, client_can } =
            order.explain(after(at_secs));
        let offset = |at: Timestamp| (at.millis() - BEGAN.millis()) / 1_000;
        let mut line = format!("{name} at {at_secs}: {}", situation.as_str());
        let _ = write!(line, ", {} since {}", provider_says.as_str(), offset(since));
        let next = next.map_or("nothing".to_owned(), |(step, at)| {
            format!(
                "{} at {}",
                step.as_str(),
                at.map_or("-".to_owned(), |at| offset(at).to_string())
            )
        });
        let can: Vec<&str> = client_can.into_iter().map(ClientCan::as_str).collect();
        let _ = write!(line, ", next {next}, can {}\n  {sentence}\n", can.join(" "));
        line
    }

    #[test]
    fn every_situation_is_explained_as_it_was_agreed() {
        use OrderState::{Cancelled, Expired, Failed, Review, Success};
        use PaymentFate::{Aside, Credited, Held, Refused};
        let mut told = String::new();
        let silent = |order: Order| Order { silent_since: Some(after(90)), ..order };
        for at in [19, 20, 1_799, 1_800] {
            told += &in_words("created", &created(), at);
            told += &in_words("created, silent", &silent(created()), at);
        }
        for at in [120, 1_799, 1_800] {
            told += &in_words("pending", &pending(), at);
            told += &in_words("pending, silent", &silent(pending()), at);
            told += &in_words("pending, with a part", &with(pending(), &[Held], 0), at);
            let last = Order { due_at: Some(after(1_800)), ..pending() };
            told += &in_words("pending, no more looks before its end", &last, at);
        }
        let reasons = || Reason::ALL.into_iter().map(Some).chain([None]);
        for reason in reasons() {
            let word = reason.map_or("-", Reason::as_str);
            let review = with(moved(&pending(), Review, reason), &[PaymentFate::Review], 0);
            told += &in_words(&format!("review {word}"), &review, 400);
            let success = with(moved(&pending(), Success, reason), &[Credited], 400);
            told += &in_words(&format!("success {word}"), &success, 400);
        }
        let success = moved(&pending(), Success, None);
        told += &in_words("success and more", &with(success, &[Credited, Aside], 400), 400);
        for reason in [Reason::ProviderDeclined, Reason::Manual] {
            let failed = moved(&pending(), Failed, Some(reason));
            told += &in_words(&format!("failed {}", reason.as_str()), &failed, 400);
            let failed = with(failed, &[Refused], 0);
            told += &in_words(&format!("failed {}, with money", reason.as_str()), &failed, 400);
            let at_once = moved(&created(), Failed, Some(reason));
            told += &in_words(&format!("failed {} at once", reason.as_str()), &at_once, 400);
        }
        let days = 72 * 3_600;
        for (to, reason) in [
            (Cancelled, Reason::CancelledByClient),
            (Expired, Reason::Expired),
            (Expired, Reason::ProviderUnreachable),
        ] {
            for (name, from) in [("created", created()), ("pending", pending())] {
                let ended = moved(&from, to, Some(reason));
                let name = format!("{name}, then {}", reason.as_str());
                told += &in_words(&name, &ended, days - 1);
                told += &in_words(&name, &ended, days);
                let decided = with(ended.clone(), &[Refused], 0);
                told += &in_words(&format!("{name}, with money"), &decided, 1_900);
                let unwatched = Order { due_at: None, ..ended };
                told += &in_words(&format!("{name}, not due"), &unwatched, 1_900);
            }
        }
        let agreed = include_str!("explain.txt");
        assert!(told == agreed, "{told}");
    }
}
