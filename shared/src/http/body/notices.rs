//! The bodies about notices: notifications themselves, events to pull, deliveries, sending again.

use serde::{Deserialize, Serialize};

use super::Recharge;

/// What a merchant is told of an order: the body of a notification, in the form of Standard Webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notification {
    /// `recharge.succeeded` and the like.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// When it happened: RFC 3339, UTC.
    pub timestamp: String,
    /// The order as it stood then.
    pub data: NotificationData,
}

/// The order in a notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotificationData {
    /// The order.
    #[serde(flatten)]
    pub recharge: Recharge,
    /// Which of the order's notifications it is, from 1: a lower one that comes later is older.
    pub sequence: u32,
}

/// A notification to pull: its body, and its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The header `webhook-id` of the notification.
    pub id: String,
    /// Its body.
    #[serde(flatten)]
    pub notification: Notification,
}

/// One page of events, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// What `after` takes to go on.
    pub next: Option<String>,
    /// Whether there is more already.
    pub has_more: bool,
}

/// What was done to tell the merchant of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Deliveries {
    /// The order.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::http::openapi::OrderId))]
    pub order_id: String,
    /// One per notification, oldest first; empty while there is nothing to tell.
    pub deliveries: Vec<Delivery>,
}

/// A notification and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The header `webhook-id`, the same in every attempt.
    #[cfg_attr(feature = "openapi", schema(example = "msg_4B1W0NZ5Q4X8T2J7C9D3F6G1HK"))]
    pub id: String,
    /// What is told.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = crate::http::openapi::EventType))]
    pub kind: &'static str,
    /// Which of the order's notifications it is, from 1.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 1))]
    pub sequence: u32,
    /// Where it stands.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::http::openapi::DeliveryState))]
    pub state: &'static str,
    /// When it is tried again, at the latest; `null` when it is not: RFC 3339, UTC.
    #[cfg_attr(
        feature = "openapi",
        schema(required, format = DateTime, example = "2026-01-01T00:10:00Z")
    )]
    pub next_attempt_at: Option<String>,
    /// Every attempt, oldest first.
    pub attempts: Vec<DeliveryAttempt>,
}

/// One attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeliveryAttempt {
    /// When it began: RFC 3339, UTC.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:05:00Z"))]
    pub at: String,
    /// The receiver's HTTP status; `null` without an answer.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<i64>, example = 503))]
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 120))]
    pub duration_ms: u64,
    /// Why there is no answer: `refused` (the address is not public), `dns`, `connect`, `tls`, `timeout`,
    /// `protocol`, or `no_secret`; `null` when there is one.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub error: Option<String>,
    /// Whether it was made because somebody asked for it, beside the plan.
    pub requested: bool,
}

/// A notification that is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SentAgain {
    /// The header `webhook-id`, which it had before.
    #[cfg_attr(feature = "openapi", schema(example = "msg_4B1W0NZ5Q4X8T2J7C9D3F6G1HK"))]
    pub id: String,
    /// What is told.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = crate::http::openapi::EventType))]
    pub kind: &'static str,
    /// Which of the order's notifications it is, from 1.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 1))]
    pub sequence: u32,
}

/// What `POST /events/resend` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResendEvents {
    /// Only events that were first sent then or later: RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:00:00Z"))]
    pub from: String,
    /// Only events that were first sent before: RFC 3339, later than `from`.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-02T00:00:00Z"))]
    pub to: String,
    /// Which of them. Left out: `GIVEN_UP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::http::openapi::ResendState>))]
    pub state: Option<String>,
    /// Where to go on: `nextCursor` of the answer before, with the same other members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What became of `POST /events/resend`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Resent {
    /// How many events are sent again.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 3))]
    pub resent: usize,
    /// How many were looked at.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 500))]
    pub looked_at: usize,
    /// What `cursor` takes to go on; `null` at the end of the range.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub next_cursor: Option<String>,
}
