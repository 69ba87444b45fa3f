//! Delivering a notice: reads the order, says what the transition said, signs, sends, and writes down what
//! came of it. Never changes an order. Sent twice when a crash comes between; then with one id and body.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join;

use crate::clock::Clock;
use crate::domain::retry::pause_after;
use crate::domain::{MerchantId, Notice, Order, Timestamp, TraceId};
use crate::http::notice_body;
use crate::metrics::{self, Metric};
use crate::queue::{NotificationMessage, NotificationQueue};
use crate::secrets::{NotificationKeysDocument, Secret};
use crate::sometimes::sometimes;
use crate::store::{
    ASKED_MAX, Attempt, NoticeRow, NoticeState, Standing, Store, StoreError, Written,
};

use super::events;

/// In [`Delivered::error`]: the receiver was left alone; no attempt was made.
pub const SPARED: &str = "spared";

/// A signed notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`, Unix seconds of the attempt.
    pub timestamp_secs: i64,
    /// `webhook-signature`.
    pub signature: String,
    /// The body, the same in every attempt.
    pub body: String,
    /// See [`destination`]; not sent.
    pub destination: String,
}

/// What a receiver did. What it said is nobody's business here: the address may not be the merchant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its status; 0 without an answer.
    pub status: u16,
    /// Why there is no answer: a word of a closed list; empty when there is one.
    pub error: String,
    /// What it asked for in `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// The way out to merchants' receivers.
#[async_trait]
pub trait Deliver: std::fmt::Debug + Send + Sync {
    /// One attempt.
    async fn deliver(&self, url: &str, notification: &Notification) -> Delivered;
}

/// What delivering needs.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Orders to read, notices to write.
    pub store: &'a Store,
    /// The merchants' secrets.
    pub keys: &'a Secret<NotificationKeysDocument>,
    /// The way out.
    pub way: &'a dyn Deliver,
    /// Now.
    pub clock: &'a dyn Clock,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Tried; this is where the notice stands.
    Tried(NoticeState),
    /// Nothing to do: another copy of the message has done it.
    AlreadyDone,
    /// No such notice was committed.
    Unknown,
    /// Not tried for the receiver's sake, and the message is all that knows of it: it has to come again.
    LeftAlone,
}

/// Tries one notice once.
pub async fn notify(
    context: Context<'_>,
    message: &NotificationMessage,
) -> Result<Outcome, StoreError> {
    let Context { store, clock, .. } = context;
    let read = join(store.order(&message.order), store.notice(&message.order, message.sequence));
    let (order, row) = read.await;
    let order = order?;
    if let Some(order) = order.as_ref().filter(|_| !message.trace.is_known()) {
        tracing::Span::current().record("trace", order.trace.as_str());
    }
    let Some(notice) = order.and_then(|order| order.notice(message.sequence)) else {
        return Ok(Outcome::Unknown);
    };
    let row = row?;
    let Some(try_) = Try::of(row.as_ref(), message) else {
        sometimes("notice: another copy has done it");
        return Ok(Outcome::AlreadyDone);
    };
    if row.is_none() {
        // Before it is sent: whoever pulls does not wait for a slow receiver.
        events::list(store, clock, &notice).await?;
    }
    let keys = context.keys.get(clock.now()).await;
    let keys = keys.map_err(|error| StoreError::Busy(error.to_string()))?;
    let keys = keys.current.get(notice.order.merchant.as_str());
    let url = notice.order.callback_url.as_deref().or_else(|| keys?.url());
    let Some(url) = url else {
        let standing = Standing { state: NoticeState::NoAddress, due_at: None, destination: "" };
        store.record_attempt(&notice, None, standing).await?;
        return Ok(Outcome::Tried(NoticeState::NoAddress));
    };
    let body = notice_body(&notice);
    let at = clock.now();
    let started = tokio::time::Instant::now();
    let delivered = match keys.and_then(|keys| keys.sign(&notice.id(), at.secs(), &body)) {
        Some(signature) => {
            let (id, timestamp_secs) = (notice.id(), at.secs());
            let destination = destination(&notice.order.merchant, url);
            let notification = Notification { id, timestamp_secs, signature, body, destination };
            context.way.deliver(url, &notification).await
        }
        None => Delivered { status: 0, error: "no_secret".to_owned(), retry_after: None },
    };
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    record(context, (&notice, try_, url), delivered, (at, took_ms)).await
}

/// By what turns are taken: the merchant, and the host and port that `url` leads to. A merchant can name as
/// many hosts as it likes, but is one merchant.
pub fn destination(merchant: &MerchantId, url: &str) -> String {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or("").to_ascii_lowercase();
    format!("{merchant}/{}", authority.trim_end_matches(":443"))
}

/// The merchant of a [`destination`].
pub fn merchant_of(destination: &str) -> &str {
    destination.split('/').next().unwrap_or("")
}

/// Which attempt is made.
#[derive(Debug, Clone, Copy)]
enum Try {
    /// The next one of the plan, after so many.
    Planned(usize),
    /// One beside the plan: somebody has asked for it. It moves the plan only by succeeding.
    Asked(NoticeState),
}

impl Try {
    /// What `message` makes of the row; `None` when there is nothing to do.
    fn of(row: Option<&NoticeRow>, message: &NotificationMessage) -> Option<Try> {
        let Some(row) = row else { return (message.made == 0).then_some(Try::Planned(0)) };
        let made = row.planned();
        match row.state {
            NoticeState::Retrying if u32::try_from(made) == Ok(message.made) => {
                Some(Try::Planned(made))
            }
            // There may be an address by now.
            NoticeState::NoAddress if message.again => Some(Try::Planned(made)),
            state if message.again && row.asked() < ASKED_MAX => Some(Try::Asked(state)),
            _ => None,
        }
    }
}

async fn record(
    context: Context<'_>,
    (notice, try_, url): (&Notice, Try, &str),
    delivered: Delivered,
    (at, took_ms): (Timestamp, u64),
) -> Result<Outcome, StoreError> {
    let now = context.clock.now();
    if delivered.error == SPARED {
        return put_off(context, (notice, try_, url), now).await;
    }
    let (state, due_at) = match (delivered.status, try_) {
        (200..=299, _) => (NoticeState::Delivered, None),
        // Gone: the receiver wants to hear nothing more.
        (410, _) => (NoticeState::GivenUp, None),
        (_, Try::Asked(state)) => (state, None),
        (_, Try::Planned(made)) => {
            match pause_after(made + 1, &notice.id(), delivered.retry_after) {
                Some(pause) => {
                    sometimes("notice: tried again later");
                    (NoticeState::Retrying, Some(now.plus(pause)))
                }
                None => (NoticeState::GivenUp, None),
            }
        }
    };
    let taken = matches!(delivered.status, 200..=299);
    let Delivered { status, error, .. } = delivered;
    let asked = matches!(try_, Try::Asked(_));
    let attempt = Attempt { at, status, took_ms, error, asked };
    let (order, id) = (notice.order.id.as_str(), notice.id());
    let (kind, error) = (notice.kind.as_str(), attempt.error.as_str());
    tracing::info!(order, id, kind, status, error, took_ms, state = state.as_str(), "notification");
    if state == NoticeState::GivenUp && !asked {
        tracing::error!(order, id, kind, "notification given up");
    }
    let stays = asked && !taken && status != 410;
    let outcome = match (taken, state) {
        (true, _) => Some("delivered"),
        (false, NoticeState::GivenUp) => (!stays).then_some("given_up"),
        (false, _) => Some("retried"),
    };
    if let Some(outcome) = outcome {
        metrics::add(Metric::Notifications, (None, Some(outcome)), 1);
    }
    let destination = destination(&notice.order.merchant, url);
    let standing = Standing { state, due_at, destination: &destination };
    if stays
        || context.store.record_attempt(notice, Some(&attempt), standing).await? == Written::Raced
    {
        // Somebody else has delivered it meanwhile, or the plan goes on as it was; the attempt was made.
        context.store.add_attempt(notice, &attempt).await?;
    }
    Ok(Outcome::Tried(state))
}

/// No attempt was made, so none is written down or counted: it is made a little later.
async fn put_off(
    context: Context<'_>,
    (notice, try_, url): (&Notice, Try, &str),
    now: Timestamp,
) -> Result<Outcome, StoreError> {
    let pause = pause_after(1, &notice.id(), None).filter(|_| matches!(try_, Try::Planned(_)));
    let Some(pause) = pause else {
        return Ok(Outcome::LeftAlone);
    };
    let (state, due_at) = (NoticeState::Retrying, Some(now.plus(pause)));
    let destination = destination(&notice.order.merchant, url);
    let standing = Standing { state, due_at, destination: &destination };
    context.store.record_attempt(notice, None, standing).await?;
    Ok(Outcome::Tried(state))
}

/// The messages about an order's notices, its latest just committed; about the earlier ones too: theirs may
/// have been lost between commit and queue, and a settled order is not looked at again. A second copy does
/// nothing.
pub fn news(order: &Order, trace: &TraceId) -> Vec<NotificationMessage> {
    let message = |notice: Notice| NotificationMessage {
        trace: trace.clone(),
        order: order.id.clone(),
        sequence: notice.sequence,
        made: 0,
        again: false,
    };
    order.notices().into_iter().map(message).collect()
}

/// Hands an order's [`news`] over; whether all of them are. What is not is found by the message's redelivery
/// or by the poller.
pub async fn announce(queue: &NotificationQueue, order: &Order, trace: &TraceId) -> bool {
    match queue.send_all(news(order, trace)).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(order = order.id.as_str(), %error, "notices not handed over yet");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NoticeKind, OrderId};

    const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn row(state: NoticeState, planned: usize, asked: usize) -> NoticeRow {
        let attempt =
            |asked| Attempt { at: AT, status: 500, took_ms: 1, error: String::new(), asked };
        let (order, sequence) = (OrderId::parse("R0123456789ABCDEFGHJKMNPQR").unwrap(), 1);
        let attempts = [vec![attempt(false); planned], vec![attempt(true); asked]].concat();
        NoticeRow { order, sequence, kind: NoticeKind::Succeeded, state, attempts, due_at: None }
    }

    /// The attempt that a message about such a row makes: planned, after so many; or asked for.
    fn attempt(
        row: Option<NoticeRow>,
        made: u32,
        again: bool,
    ) -> Option<Result<usize, NoticeState>> {
        let order = OrderId::parse("R0123456789ABCDEFGHJKMNPQR").unwrap();
        let trace = TraceId::untraced();
        let message = NotificationMessage { trace, order, sequence: 1, made, again };
        Try::of(row.as_ref(), &message).map(|found| match found {
            Try::Planned(made) => Ok(made),
            Try::Asked(state) => Err(state),
        })
    }

    #[test]
    fn a_copy_of_a_message_does_nothing() {
        assert_eq!(attempt(None, 0, false), Some(Ok(0)));
        assert_eq!(attempt(None, 1, false), None);
        let retrying = || Some(row(NoticeState::Retrying, 2, 1));
        assert_eq!(attempt(retrying(), 2, false), Some(Ok(2)));
        assert_eq!(attempt(retrying(), 1, false), None);
        assert_eq!(attempt(retrying(), 3, false), None);
        for state in [NoticeState::Delivered, NoticeState::GivenUp, NoticeState::NoAddress] {
            assert_eq!(attempt(Some(row(state, 2, 0)), 2, false), None, "{state:?}");
        }
    }

    #[test]
    fn what_is_asked_for_is_beside_the_plan_and_bounded() {
        for state in [NoticeState::Delivered, NoticeState::GivenUp, NoticeState::Retrying] {
            assert_eq!(attempt(Some(row(state, 2, 0)), 7, true), Some(Err(state)));
            assert_eq!(attempt(Some(row(state, 2, ASKED_MAX - 1)), 7, true), Some(Err(state)));
            assert_eq!(attempt(Some(row(state, 2, ASKED_MAX)), 7, true), None);
            assert_eq!(attempt(Some(row(state, 2, ASKED_MAX + 1)), 7, true), None);
        }
        // An address may have been named since: that is the plan's beginning.
        assert_eq!(attempt(Some(row(NoticeState::NoAddress, 0, 0)), 0, true), Some(Ok(0)));
    }

    #[test]
    fn a_destination_is_a_merchant_its_host_and_port_and_nothing_else_of_the_url() {
        let merchant = MerchantId::parse("m_1").unwrap();
        let of = |url: &str| destination(&merchant, url);
        for same in ["/hooks/1", "", "?order=7", "/?a=https://x/", "#f", ":443", ":443/hooks"] {
            assert_eq!(of(&format!("https://Shop.example{same}")), "m_1/shop.example", "{same}");
        }
        assert_eq!(of("https://shop.example:8443/"), "m_1/shop.example:8443");
        assert_eq!(of("nowhere"), "m_1/");
        assert_eq!(merchant_of(&of("https://shop.example/")), "m_1");
        assert_eq!(merchant_of("shop.example"), "shop.example", "rows of a release before");
    }
}
