//! Notices as merchants read them: the events to pull, and the log of deliveries.

use serde_json::Value;

use super::body::{
    Deliveries, Delivery, DeliveryAttempt, Event, EventPage, Resent as ResentBody, SentAgain,
};
use super::order::{json, notification, rfc3339};
use crate::app::resend::Resent;
use crate::domain::{Notice, Order};
use crate::store::{Attempt, NoticeRow, NoticeState};

/// The state of a notice that was not tried yet.
pub(super) const PENDING: &str = "PENDING";

/// `GET /events`, oldest first.
pub fn events_body(notices: &[Notice], next: Option<String>, has_more: bool) -> Value {
    let event = |notice: &Notice| Event { id: notice.id(), notification: notification(notice) };
    json(EventPage { events: notices.iter().map(event).collect(), next, has_more })
}

/// `GET /recharges/{orderId}/deliveries`.
pub fn deliveries_body(order: &Order, rows: &[NoticeRow]) -> Value {
    let delivery = |notice: &Notice| {
        let row = rows.iter().find(|row| row.sequence == notice.sequence);
        let due_at =
            row.filter(|row| row.state == NoticeState::Retrying).and_then(|row| row.due_at);
        Delivery {
            id: notice.id(),
            kind: notice.kind.as_str(),
            sequence: notice.sequence,
            state: row.map_or(PENDING, |row| row.state.as_str()),
            next_attempt_at: due_at.map(rfc3339),
            attempts: row.into_iter().flat_map(|row| row.attempts.iter().map(attempt)).collect(),
        }
    };
    let deliveries = order.notices().iter().map(delivery).collect();
    json(Deliveries { order_id: order.id.to_string(), deliveries })
}

fn attempt(attempt: &Attempt) -> DeliveryAttempt {
    DeliveryAttempt {
        at: rfc3339(attempt.at),
        status: (attempt.status != 0).then_some(attempt.status),
        duration_ms: attempt.took_ms,
        error: (!attempt.error.is_empty()).then(|| attempt.error.clone()),
        requested: attempt.asked,
    }
}

/// `POST /recharges/{orderId}/notify`.
pub fn sent_again_body(notice: &Notice) -> Value {
    let (kind, sequence) = (notice.kind.as_str(), notice.sequence);
    json(SentAgain { id: notice.id(), kind, sequence })
}

/// `POST /events/resend`.
pub fn resent_body(resent: &Resent, next_cursor: Option<String>) -> Value {
    let Resent { resent, looked_at, .. } = *resent;
    json(ResentBody { resent, looked_at, next_cursor })
}
