//! The order state table: one total function from state and event to what happens. Nothing falls through.

use OrderEvent::{Accept, Cancel, Decline, Expire, Hold, Partial, Reject, Settle};
use OrderState::{Cancelled, Created, Expired, Failed, Pending, Review, Success};

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderState {
    /// Recorded; the provider may or may not know it yet.
    Created,
    /// The provider has it; waiting for the payment.
    Pending,
    /// Money or evidence needs a person.
    Review,
    /// Paid and credited; never changes again.
    Success,
    /// The provider said no.
    Failed,
    /// Withdrawn by the client before payment.
    Cancelled,
    /// Time ran out; late money is still watched for.
    Expired,
}

/// What can happen to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderEvent {
    /// The provider took the order.
    Accept,
    /// The provider refused it, or says that it failed.
    Decline,
    /// Proven, matching payment: credit it.
    Settle,
    /// Proven payment that a person must look at.
    Hold,
    /// The client withdrew it.
    Cancel,
    /// Its time ran out.
    Expire,
    /// Proven payment of a part: the rest is waited for.
    Partial,
    /// A person has decided that what was held is not credited.
    Reject,
}

/// What an event does to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go to this state.
    Move(OrderState),
    /// This has happened before; nothing to do.
    AlreadyDone,
    /// Not allowed from here; nothing changes.
    Refuse,
}

/// Why an order is where it is: the second axis beside the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Received what was asked for.
    PaidExact,
    /// Received more than was asked for.
    PaidOver,
    /// Received less than was asked for.
    PaidUnder,
    /// Received after the order had ended.
    PaidLate,
    /// A second payment for the same order.
    PaidTwice,
    /// Decided by a person.
    Manual,
    /// The provider said no.
    ProviderDeclined,
    /// The provider did not take the order before time ran out.
    ProviderUnreachable,
    /// The evidence does not fit the order.
    EvidenceMismatch,
    /// Time ran out.
    Expired,
    /// The client withdrew the order.
    CancelledByClient,
}

impl OrderState {
    /// Every state.
    pub const ALL: [OrderState; 7] =
        [Created, Pending, Review, Success, Failed, Cancelled, Expired];

    /// What `event` does here. A new state or event does not compile until every pair is decided.
    pub const fn on(self, event: OrderEvent) -> Step {
        match (self, event) {
            (Created, Accept) => Step::Move(Pending),
            (Created | Pending, Decline) => Step::Move(Failed),
            (Created | Pending, Cancel) => Step::Move(Cancelled),
            (Created | Pending, Expire) => Step::Move(Expired),
            (Created | Pending | Review | Failed | Cancelled | Expired, Settle) => {
                Step::Move(Success)
            }
            (Created | Pending | Failed | Cancelled | Expired, Hold) => Step::Move(Review),
            (Created | Pending, Partial) => Step::Move(Pending),
            (Review, Reject) => Step::Move(Failed),
            (Pending, Accept)
            | (Review, Hold)
            | (Success, Settle)
            | (Failed, Decline)
            | (Cancelled, Cancel)
            | (Expired, Expire) => Step::AlreadyDone,
            (Created | Pending, Reject)
            | (Review, Accept | Decline | Cancel | Expire | Partial)
            | (Success, Accept | Decline | Hold | Cancel | Expire | Partial | Reject)
            | (Failed, Accept | Cancel | Expire | Partial | Reject)
            | (Cancelled, Accept | Decline | Expire | Partial | Reject)
            | (Expired, Accept | Decline | Cancel | Partial | Reject) => Step::Refuse,
        }
    }

    /// The word used in answers, logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Created => "CREATED",
            Pending => "PENDING",
            Review => "REVIEW",
            Success => "SUCCESS",
            Failed => "FAILED",
            Cancelled => "CANCELLED",
            Expired => "EXPIRED",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<OrderState> {
        OrderState::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether the order still waits for the provider or the payer.
    pub const fn is_open(self) -> bool {
        matches!(self, Created | Pending)
    }
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 11] = [
        Reason::PaidExact,
        Reason::PaidOver,
        Reason::PaidUnder,
        Reason::PaidLate,
        Reason::PaidTwice,
        Reason::Manual,
        Reason::ProviderDeclined,
        Reason::ProviderUnreachable,
        Reason::EvidenceMismatch,
        Reason::Expired,
        Reason::CancelledByClient,
    ];

    /// The word used in answers, logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::PaidExact => "paid_exact",
            Reason::PaidOver => "paid_over",
            Reason::PaidUnder => "paid_under",
            Reason::PaidLate => "paid_late",
            Reason::PaidTwice => "paid_twice",
            Reason::Manual => "manual",
            Reason::ProviderDeclined => "provider_declined",
            Reason::ProviderUnreachable => "provider_unreachable",
            Reason::EvidenceMismatch => "evidence_mismatch",
            Reason::Expired => "expired",
            Reason::CancelledByClient => "cancelled_by_client",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [OrderEvent; 8] =
        [Accept, Decline, Settle, Hold, Cancel, Expire, Partial, Reject];

    #[test]
    fn the_whole_grid_is_pinned() {
        let cell = |step| match step {
            Step::Move(state) => state.as_str().to_lowercase(),
            Step::AlreadyDone => "=".to_owned(),
            Step::Refuse => "-".to_owned(),
        };
        let grid: Vec<String> = OrderState::ALL
            .iter()
            .map(|state| {
                let row: Vec<String> = EVENTS.iter().map(|event| cell(state.on(*event))).collect();
                format!("{}: {}", state.as_str(), row.join(" "))
            })
            .collect();
        assert_eq!(
            grid,
            [
                "CREATED: pending failed success review cancelled expired pending -",
                "PENDING: = failed success review cancelled expired pending -",
                "REVIEW: - - success = - - - failed",
                "SUCCESS: - - = - - - - -",
                "FAILED: - = success review - - - -",
                "CANCELLED: - - success review = - - -",
                "EXPIRED: - - success review - = - -",
            ]
        );
    }

    #[test]
    fn success_absorbs_everything() {
        for event in EVENTS {
            assert!(!matches!(Success.on(event), Step::Move(_)), "{event:?}");
        }
    }

    #[test]
    fn words_read_back() {
        for state in OrderState::ALL {
            assert_eq!(OrderState::parse(state.as_str()), Some(state));
        }
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
    }
}
