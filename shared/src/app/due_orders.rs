//! Which orders the poller looks at, fairly: every merchant gets a look before another gets a second one, so that
//! thousands of orders of one that nobody pays do not hold up another's one. Where more are due than are read at once,
//! what has come due lately is read as well: a backlog hides nobody's order. Open orders come before those that have ended.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::domain::{OrderId, ProviderName, Timestamp};
use crate::metrics::{self, Metric};
use crate::store::{DUE_SHARDS, Due, DuePosition, Store, StoreError};

use super::reconcile::ANSWER_TAKES_AT_MOST;
use super::report::Report;
use super::turns::{reading_ends, turns};

/// Entries of the index that are read by one query.
const PAGE: i32 = 250;

/// Pages of one shard that are read before what is in them is looked at.
const PAGES_AT_ONCE: usize = 8;

/// Those that are read beside, if there are more, of what has come due lately.
const LATEST_PAGES: usize = 6;

/// What counts as lately: a run, and a half.
const LATELY: Duration = Duration::from_secs(90);

/// The orders of one provider that are due, as far as they were not read yet.
pub(super) struct DueOrders<'a> {
    store: &'a Store,
    provider: &'a ProviderName,
    until: Timestamp,
    /// When looks stop.
    deadline: Instant,
    /// Shards that have more, each with where to go on.
    rest: Vec<(u32, Option<DuePosition>)>,
    /// Those that were given out: a look may move an order to a time that is due, too.
    given: BTreeSet<OrderId>,
    begun: bool,
}

/// What was read of a shard.
#[derive(Default)]
struct Shard {
    found: Vec<Due>,
    /// What is due, and what could not be read.
    report: Report,
    /// Where it has more.
    next: Option<DuePosition>,
}

impl<'a> DueOrders<'a> {
    /// Those that are due by `until`; nothing is read yet. At `deadline` there is no time for looks any more.
    pub(super) fn new(
        store: &'a Store,
        provider: &'a ProviderName,
        (until, deadline): (Timestamp, Instant),
    ) -> Self {
        let rest = (0..DUE_SHARDS).map(|shard| (shard, None)).collect();
        let (given, begun) = (BTreeSet::new(), false);
        DueOrders { store, provider, until, deadline, rest, given, begun }
    }

    /// Whether there are more.
    pub(super) fn has_more(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The next ones, in turn by merchant, of each first those that are open and then what has waited longest; tells `report` what is due `now`, and what
    /// could not be read. However slow the table is, there is time left to look at them.
    pub(super) async fn next(&mut self, now: Timestamp, report: &mut Report) -> Vec<Due> {
        let rest = std::mem::take(&mut self.rest);
        let numbers: Vec<u32> = rest.iter().map(|(number, _)| *number).collect();
        let until = reading_ends(Instant::now(), self.deadline);
        let shards = join_all(rest.into_iter().map(|from| self.shard(from, now, until))).await;
        let mut found = Vec::new();
        for (number, shard) in numbers.into_iter().zip(shards) {
            *report = report.plus(shard.report);
            found.extend(shard.found);
            self.rest.extend(shard.next.map(|next| (number, Some(next))));
        }
        self.begun = true;
        found.retain(|due| self.given.insert(due.id.clone()));
        found.sort_by_key(|due| (is_over(due), due.due_at));
        turns(found, |due| due.merchant.clone()).into_iter().map(|(_, due)| due).collect()
    }

    /// What is due in a shard after a position, as far as it is read at once, at most until the first time; where there
    /// is more, until the second one, what has come due lately.
    async fn shard(
        &self,
        (number, after): (u32, Option<DuePosition>),
        now: Timestamp,
        (until, latest_until): (Instant, Instant),
    ) -> Shard {
        let mut shard = Shard { next: after, ..Shard::default() };
        let earliest = (Timestamp::EPOCH, PAGES_AT_ONCE, until);
        if let Err(error) = self.pages(number, earliest, &mut shard).await {
            shard.next = None;
            shard.report.failed += 1;
            metrics::add(Metric::Failures, (None, None), 1);
            tracing::warn!(provider = %self.provider, shard = number, %error, "shard not read");
        }
        let due = shard.found.iter().filter(|due| due.due_at <= now).count();
        shard.report.due = u32::try_from(due).unwrap_or(u32::MAX);
        // Oldest first.
        let oldest = shard.found.first();
        shard.report.oldest_due = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest.due_at));
        if shard.next.is_none() || self.begun {
            return shard;
        }
        tracing::warn!(provider = %self.provider, shard = number, "more orders are due than are read at once");
        let read_until = shard.found.last().map_or(Timestamp::EPOCH, |due| due.due_at);
        let from = now.minus(LATELY).max(read_until.plus(Duration::from_millis(1)));
        // It is read once more in its place, if this run comes so far; what cannot be read is told of there.
        let mut latest = Shard::default();
        let latest_pages = (from.min(self.until), LATEST_PAGES, latest_until);
        drop(self.pages(number, latest_pages, &mut latest).await);
        shard.found.extend(latest.found);
        shard
    }

    /// Adds what of a shard is due from a time on and after the position that it has come to: at most so many pages, of
    /// which none but the first begins after `until`.
    async fn pages(
        &self,
        number: u32,
        (from, most, until): (Timestamp, usize, Instant),
        shard: &mut Shard,
    ) -> Result<(), StoreError> {
        for page in 0..most {
            if page > 0 && Instant::now() >= until {
                return Ok(());
            }
            let range = (from, self.until, PAGE);
            let page = self.store.due(self.provider, number, range, shard.next.take()).await?;
            shard.found.extend(page.found);
            shard.report.failed += page.unreadable;
            shard.next = page.next;
            if shard.next.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whether the order has most likely ended: a look after its time, which waits a little for an answer then. Late money may
/// still come for it, and that can wait for others' money that is in time.
fn is_over(due: &Due) -> bool {
    due.expires_at.is_some_and(|expires_at| due.due_at > expires_at.plus(ANSWER_TAKES_AT_MOST))
}
