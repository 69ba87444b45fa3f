//! Owns how a notification travels: its headers, its deadline, and what is made of the receiver's answer.

use std::time::Duration;

use async_trait::async_trait;
use aws_smithy_types::date_time::{DateTime, Format};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::exchange::ANSWER_BYTES_MAX;
use super::guard::Guard;
use super::url::{Destination, Rules};
use crate::app::notify::{Deliver, Delivered, Notification};
use crate::outbound::Limits;

/// From the look-up of the name to the last byte of the answer that is read.
const LIMITS: Limits =
    Limits { deadline: Duration::from_secs(20), answer_bytes_max: ANSWER_BYTES_MAX };

/// The guard with the rules of a deployment.
#[derive(Debug, Default)]
pub struct WayOut {
    guard: Guard,
    rules: Rules,
}

impl WayOut {
    /// The production way out under `rules`.
    pub fn new(rules: Rules) -> WayOut {
        WayOut { guard: Guard::default(), rules }
    }

    /// The same with a guard that has doors of its own.
    pub const fn with_guard(guard: Guard, rules: Rules) -> WayOut {
        WayOut { guard, rules }
    }
}

fn headers(notification: &Notification) -> Option<HeaderMap> {
    let timestamp = notification.timestamp_secs.to_string();
    let entries = [
        ("content-type", "application/json"),
        ("user-agent", "recharge-notifier/1"),
        ("webhook-id", &notification.id),
        ("webhook-timestamp", &timestamp),
        ("webhook-signature", &notification.signature),
    ];
    let entry = |(name, value): (&'static str, &str)| {
        HeaderValue::from_str(value).ok().map(|value| (http::HeaderName::from_static(name), value))
    };
    entries.into_iter().map(entry).collect()
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3).
fn pause(text: &str, now_secs: i64) -> Option<Duration> {
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let at = DateTime::from_str(text, Format::HttpDate).ok()?;
    let ahead = at.secs().saturating_sub(now_secs);
    Some(Duration::from_secs(u64::try_from(ahead).unwrap_or(0)))
}

#[async_trait]
impl Deliver for WayOut {
    async fn deliver(&self, url: &str, notification: &Notification) -> Delivered {
        let unanswered =
            |error: &str| Delivered { status: 0, error: error.to_owned(), retry_after: None };
        // The rules may be stricter today than on the day when the order was made.
        let Ok(destination) = Destination::parse(url, &self.rules) else {
            return unanswered("refused");
        };
        let Some(headers) = headers(notification) else { return unanswered("protocol") };
        let body = Bytes::from(notification.body.clone());
        match self.guard.send(&destination, headers, body, LIMITS).await {
            Ok(reply) => {
                let asked = reply.headers.get("retry-after").and_then(|value| value.to_str().ok());
                let retry_after = asked.and_then(|text| pause(text, notification.timestamp_secs));
                let status = reply.status.as_u16();
                Delivered { status, error: String::new(), retry_after }
            }
            Err(error) => {
                // What the address is belongs into our log, not into the merchant's.
                tracing::warn!(id = notification.id, %error, "notification not delivered");
                unanswered(error.class())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_by_a_date() {
        let pause = |text| pause(text, 1_800_000_000).map(|pause| pause.as_secs());
        assert_eq!(pause("120"), Some(120));
        assert_eq!(pause("Fri, 15 Jan 2027 08:10:00 GMT"), Some(600));
        assert_eq!(pause("Fri, 15 Jan 2027 07:00:00 GMT"), Some(0), "over already");
        for bad in ["", "-1", "soon", "1.5", "2027-01-15T08:10:00Z", "99999999999999999999"] {
            assert_eq!(pause(bad), None, "{bad}");
        }
    }
}
