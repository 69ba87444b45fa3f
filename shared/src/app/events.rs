//! The list of events that merchants pull, so that nothing is missed however long their receiver was
//! away: notices in the order in which they were listed.
//!
//! A cursor must never pass an event that comes to light later. An event's position is therefore not the
//! time of its transition, which may lie hours back by the time the notifier gets to it, but the time at
//! which it is listed; it is read from the table itself, not from an index that may be behind; and a
//! position counts only if the write was confirmed within [`LISTED_WITHIN`] of it, otherwise the event is
//! listed again, now. Readers see what is older than [`SHOWN_AFTER`]. So a cursor can pass an event only
//! if two clocks of the service differ by more than ten seconds. What is listed twice has one id.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::{MerchantId, Notice, OrderId, Timestamp};
use crate::store::{Listed, Store, StoreError};

/// How long the listing of an event may take until it is confirmed.
const LISTED_WITHIN: Duration = Duration::from_secs(5);

/// How old an event is before it is shown.
pub const SHOWN_AFTER: Duration = Duration::from_secs(15);

/// How long, in milliseconds, an event whose order cannot be read stops a cursor, so that whoever mends it in time has
/// hidden nothing. After that it stops nobody any more.
const UNREADABLE_MS: i64 = 86_400_000;

/// How often an event is listed again because the table was slow.
const LISTINGS_MAX: usize = 3;

/// Lists a notice that is met for the first time.
pub async fn list(store: &Store, clock: &dyn Clock, notice: &Notice) -> Result<(), StoreError> {
    for _ in 0..LISTINGS_MAX {
        let at = clock.now();
        store.list_notice(notice, at).await?;
        if clock.now().since(at) <= LISTED_WITHIN {
            return Ok(());
        }
        tracing::warn!(order = notice.order.id.as_str(), "listed too slowly: listed again");
    }
    Err(StoreError::Busy("the list of events is slow".to_owned()))
}

/// A part of a merchant's events, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The events.
    pub notices: Vec<Notice>,
    /// Where to go on: also when nothing is left, for what will come. `None` before the first event.
    pub next: Option<String>,
    /// Whether there is more already.
    pub more: bool,
}

/// The events of `merchant` after `after`, at most `limit`, 100 at most.
pub async fn pull(
    store: &Store,
    clock: &dyn Clock,
    merchant: &MerchantId,
    (limit, after): (i32, Option<&str>),
) -> Result<Pulled, StoreError> {
    let age = i64::try_from(SHOWN_AFTER.as_millis()).unwrap_or(i64::MAX);
    let until = Timestamp::from_millis(clock.now().millis().saturating_sub(age));
    let page = store.listed(merchant, (Timestamp::EPOCH, until), limit, after).await?;
    let ids: BTreeSet<&OrderId> = page.found.iter().map(|listed| &listed.order).collect();
    let ids: Vec<OrderId> = ids.into_iter().cloned().collect();
    let orders = store.orders(&ids).await?;
    let notice = |listed: &Listed| {
        let order = orders.iter().find(|order| order.id == listed.order)?;
        order.notice(listed.sequence)
    };
    let waits_since = Timestamp::from_millis(clock.now().millis().saturating_sub(UNREADABLE_MS));
    let (mut notices, mut last, mut more) = (Vec::new(), None, page.more);
    for listed in &page.found {
        let position = listed.position.as_str();
        match notice(listed) {
            Some(notice) => notices.push(notice),
            None if !listed.is_since(waits_since) => {
                tracing::error!(position, "an event is left out: its order cannot be read");
            }
            None if last.is_some() => {
                more = true;
                break;
            }
            None => return Err(StoreError::Damaged(format!("no notice at {position}"))),
        }
        last = Some(position);
    }
    Ok(Pulled { notices, next: last.or(after).map(str::to_owned), more })
}
