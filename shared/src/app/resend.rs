//! Sending notices again that somebody asks for: an order's latest, or what went out in a range of time.
//! Through the queue, with the ids and bodies that they have, and not faster than the merchant may create orders:
//! it is the queue of everybody's first notices.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use crate::domain::{Merchant, MerchantId, Notice, OrderId, Timestamp, TraceId};
use crate::http::{ApiError, ErrorCode};
use crate::queue::{NotificationMessage, NotificationQueue};
use crate::store::{ASKED_MAX, Bucket, Listed, NoticeState, Store, StoreError, Take, Taken};

/// The events that one request looks at.
pub const LOOKED_AT_MAX: usize = 500;

/// The events that a merchant may have sent again at once, after a pause; it is two requests' worth.
const BURST: i64 = 1_000;

/// Events that are read at once.
const PAGE: i32 = 100;

/// Rows that are read side by side.
const SIDE_BY_SIDE: usize = 20;

/// What sending again needs.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Orders, notices and the list of events.
    pub store: &'a Store,
    /// Where notices go.
    pub queue: &'a NotificationQueue,
    /// Whose.
    pub merchant: &'a MerchantId,
    /// How fast that merchant may create orders.
    pub settings: &'a Merchant,
    /// When the request was made.
    pub now: Timestamp,
    /// The request's trace.
    pub trace: &'a TraceId,
}

/// Which events of a merchant are sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Listed then or later.
    pub from: Timestamp,
    /// Listed before.
    pub to: Timestamp,
    /// Those too that were not given up.
    pub all: bool,
}

/// What became of a request for a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resent {
    /// Events looked at.
    pub looked_at: usize,
    /// Events handed to the queue.
    pub resent: usize,
    /// Where to go on; `None` at the end of the range.
    pub next: Option<String>,
}

/// Sends the latest notice of the merchant's order `id` again; the notice.
pub async fn resend_latest(context: Context<'_>, id: &OrderId) -> Result<Notice, ApiError> {
    let order = context.store.order(id).await?;
    let order = order.filter(|order| order.merchant == *context.merchant);
    let order = order.ok_or_else(ApiError::not_found)?;
    let Some(notice) = order.last_notice() else {
        let message = format!("nothing to tell yet: the order is {}", order.state.as_str());
        return Err(ApiError::new(ErrorCode::Conflict, message));
    };
    let row = context.store.notice(id, notice.sequence).await?;
    if row.is_some_and(|row| row.asked() >= ASKED_MAX) {
        let message = format!("the notification was sent again {ASKED_MAX} times already");
        return Err(ApiError::new(ErrorCode::Conflict, message));
    }
    pay(context, 1).await?;
    context.queue.send(message(context, id, notice.sequence)).await?;
    Ok(notice)
}

/// Sends a part of `range` again, from the position `after` on. What was handed over before the queue
/// refused, or the merchant's bucket was empty, is said, with where to go on.
pub async fn resend_range(
    context: Context<'_>,
    range: &Range,
    after: Option<String>,
) -> Result<Resent, ApiError> {
    let mut done = Resent { looked_at: 0, resent: 0, next: after };
    while done.looked_at < LOOKED_AT_MAX {
        let times = (range.from, range.to);
        let store = context.store;
        let page = store.listed(context.merchant, times, PAGE, done.next.as_deref()).await?;
        match page_again(context, range.all, &page.found).await {
            Ok(resent) => done.resent += resent,
            Err(error) if done.looked_at == 0 => return Err(error),
            Err(_) => return Ok(done),
        }
        done.looked_at += page.found.len();
        done.next = page.found.last().map(|listed| listed.position.clone()).filter(|_| page.more);
        if done.next.is_none() {
            break;
        }
    }
    Ok(done)
}

/// Hands over those events of a page that are wanted; how many.
async fn page_again(context: Context<'_>, all: bool, found: &[Listed]) -> Result<usize, ApiError> {
    let mut seen = BTreeSet::new();
    let mut messages = Vec::new();
    for some in found.chunks(SIDE_BY_SIDE) {
        let wanted = some.iter().map(|listed| is_wanted(context.store, all, listed));
        for (listed, wanted) in some.iter().zip(try_join_all(wanted).await?) {
            // What was listed twice is sent once.
            if wanted && seen.insert((&listed.order, listed.sequence)) {
                messages.push(message(context, &listed.order, listed.sequence));
            }
        }
    }
    let resent = messages.len();
    pay(context, i64::try_from(resent).unwrap_or(i64::MAX)).await?;
    context.queue.send_all(messages).await?;
    Ok(resent)
}

/// Takes `events` from the merchant's bucket, or says when to come again.
async fn pay(context: Context<'_>, events: i64) -> Result<(), ApiError> {
    if events == 0 {
        return Ok(());
    }
    let now_us = context.now.millis().saturating_mul(1_000);
    let one_us = 1_000_000 / i64::from(context.settings.creates_per_second.max(1));
    let take = Take {
        now_us,
        cost_us: events.saturating_mul(one_us),
        seen_full_at_us: 0,
        full_at_max_us: Some(now_us.saturating_add(BURST * one_us)),
    };
    match context.store.take((context.merchant, Bucket::Resends), take).await? {
        Taken::Now(_) => Ok(()),
        Taken::Refused(full_at_us) => Err(ApiError::rate_limited(take.fits_in_secs(full_at_us))),
    }
}

async fn is_wanted(store: &Store, all: bool, listed: &Listed) -> Result<bool, StoreError> {
    let row = store.notice(&listed.order, listed.sequence).await?;
    // One without a row was listed, and never tried: its message may lie among the dead letters.
    let Some(row) = row else { return Ok(all) };
    Ok((all || row.state == NoticeState::GivenUp) && row.asked() < ASKED_MAX)
}

fn message(context: Context<'_>, order: &OrderId, sequence: u32) -> NotificationMessage {
    let (trace, order) = (context.trace.clone(), order.clone());
    NotificationMessage { trace, order, sequence, made: 0, again: true }
}
