//! Notices: what a merchant is told of an order, one per transition that it must know. A notice is a pure
//! function of the order row: it exists if and only if the transition was committed, and its body is the
//! order as it stood then, whatever came later.

use super::hash::{crockford, digest};
use super::ids::OrderId;
use super::order::{Order, Transition};
use super::state::{OrderState, Reason};

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// Paid and credited.
    Succeeded,
    /// The provider said no.
    Failed,
    /// Time ran out.
    Expired,
    /// Withdrawn by the client.
    Cancelled,
    /// Money waits for a person.
    Review,
    /// A part has arrived; the rest is waited for.
    PartiallyPaid,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [NoticeKind; 6] = [
        NoticeKind::Succeeded,
        NoticeKind::Failed,
        NoticeKind::Expired,
        NoticeKind::Cancelled,
        NoticeKind::Review,
        NoticeKind::PartiallyPaid,
    ];

    /// The `type` of the notification.
    pub const fn as_str(self) -> &'static str {
        match self {
            NoticeKind::Succeeded => "recharge.succeeded",
            NoticeKind::Failed => "recharge.failed",
            NoticeKind::Expired => "recharge.expired",
            NoticeKind::Cancelled => "recharge.cancelled",
            NoticeKind::Review => "recharge.review",
            NoticeKind::PartiallyPaid => "recharge.partially_paid",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<NoticeKind> {
        NoticeKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// What a transition means to the merchant.
    pub const fn of(step: &Transition) -> Option<NoticeKind> {
        match step.to {
            OrderState::Pending if matches!(step.reason, Some(Reason::PaidUnder)) => {
                Some(NoticeKind::PartiallyPaid)
            }
            OrderState::Created | OrderState::Pending => None,
            OrderState::Review => Some(NoticeKind::Review),
            OrderState::Success => Some(NoticeKind::Succeeded),
            OrderState::Failed => Some(NoticeKind::Failed),
            OrderState::Cancelled => Some(NoticeKind::Cancelled),
            OrderState::Expired => Some(NoticeKind::Expired),
        }
    }
}

/// One thing that the merchant is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What has happened.
    pub kind: NoticeKind,
    /// Which of the order's notices it is, from 1.
    pub sequence: u32,
    /// The order as it stood after the transition.
    pub order: Order,
}

impl Notice {
    /// The same for every attempt, for ever.
    pub fn id(&self) -> String {
        Notice::id_of(&self.order.id, self.sequence)
    }

    /// The id of the notice `sequence` of `order`.
    pub fn id_of(order: &OrderId, sequence: u32) -> String {
        let fields = [order.as_str().as_bytes(), &sequence.to_be_bytes()];
        format!("msg_{}", crockford(&digest("recharge/notice/v1", &fields), 26))
    }
}

impl Order {
    /// The notices of this order so far, oldest first.
    pub fn notices(&self) -> Vec<Notice> {
        let told =
            self.history.iter().enumerate().filter_map(|(position, step)| {
                NoticeKind::of(step).map(|kind| (position, step, kind))
            });
        told.zip(1..)
            .map(|((position, step, kind), sequence)| {
                let mut order = self.clone();
                order.state = step.to;
                order.reason = step.reason;
                order.payments.truncate(step.fates.len());
                for (payment, fate) in order.payments.iter_mut().zip(&step.fates) {
                    payment.fate = *fate;
                }
                order.received = step.received;
                order.credited = step.credited;
                order.updated_at = step.at;
                order.version = u64::try_from(position).unwrap_or(0) + 2;
                order.history.truncate(position + 1);
                // The provider's answer may come after a part of the money, and is no transition then.
                if step.to.is_open() && !order.history.iter().any(accepted) {
                    (order.deposit, order.transaction_id) = (None, None);
                }
                Notice { kind, sequence, order }
            })
            .collect()
    }

    /// The notice `sequence` of this order, if it was committed.
    pub fn notice(&self, sequence: u32) -> Option<Notice> {
        self.notices().into_iter().find(|notice| notice.sequence == sequence)
    }

    /// The latest notice.
    pub fn last_notice(&self) -> Option<Notice> {
        self.notices().pop()
    }
}

/// Whether the provider's answer was written down with this step.
fn accepted(step: &Transition) -> bool {
    step.from == OrderState::Created && step.to == OrderState::Pending && step.reason.is_none()
}

#[cfg(test)]
mod tests {
    use super::NoticeKind;
    use crate::domain::order::Change;
    use crate::domain::samples::{after, created};
    use crate::domain::{Order, OrderState, Reason};

    #[test]
    fn each_word_is_read_as_its_kind() {
        for kind in NoticeKind::ALL {
            assert_eq!(NoticeKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(NoticeKind::parse("recharge.eaten"), None);
    }

    #[test]
    fn a_notice_tells_of_the_order_as_it_was_then() {
        let moved = |order: &Order, to, secs| {
            let at = after(secs);
            order.moved(to, Change { reason: None, actor: "test", evidence: None, books: None, at })
        };
        let accepted = moved(&created(), OrderState::Pending, 1);
        let accepted = Order { transaction_id: Some("their-1".to_owned()), ..accepted };
        let mut part = moved(&accepted, OrderState::Pending, 2);
        (part.reason, part.history[1].reason) = (Some(Reason::PaidUnder), Some(Reason::PaidUnder));
        let expired = moved(&part, OrderState::Expired, 2);
        let reviewed = moved(&expired, OrderState::Review, 3);
        let credited = moved(&reviewed, OrderState::Success, 4);
        let told: Vec<Order> = credited.notices().into_iter().map(|notice| notice.order).collect();
        assert_eq!(told, [part, expired, reviewed, credited]);
    }
}
