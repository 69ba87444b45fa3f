//! Which orders the poller looks at, fairly: every merchant gets a look before another gets a second one, so that
//! thousands of orders of one that nobody pays do not hold up another's one. Where more are due than are read at once,
//! what has come due lately is read as well: a backlog hides nobody's order.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::{OrderId, ProviderName, Timestamp};
use crate::metrics::{self, Metric};
use crate::store::{DUE_SHARDS, Due, DuePage, DuePosition, Store, StoreError};

use super::report::Report;
use super::turns::turns;

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
    /// Shards that have more, each with where to go on.
    rest: Vec<(u32, Option<DuePosition>)>,
    /// Those that were given out: a look may move an order to a time that is due, too.
    given: BTreeSet<OrderId>,
    begun: bool,
}

impl<'a> DueOrders<'a> {
    /// Those that are due by `until`; nothing is read yet.
    pub(super) fn new(store: &'a Store, provider: &'a ProviderName, until: Timestamp) -> Self {
        let rest = (0..DUE_SHARDS).map(|shard| (shard, None)).collect();
        DueOrders { store, provider, until, rest, given: BTreeSet::new(), begun: false }
    }

    /// Whether there are more.
    pub(super) fn has_more(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The next ones, in turn by merchant, first what has waited longest; tells `report` what is due `now`, and what
    /// could not be read.
    pub(super) async fn next(&mut self, now: Timestamp, report: &mut Report) -> Vec<Due> {
        let mut found = Vec::new();
        for (shard, after) in std::mem::take(&mut self.rest) {
            let before = found.len();
            let went_on = match self.read(shard, after, &mut found).await {
                Ok((unreadable, next)) => {
                    report.failed += unreadable;
                    next
                }
                Err(error) => {
                    report.failed += 1;
                    metrics::add(Metric::Failures, (None, None), 1);
                    tracing::warn!(provider = %self.provider, shard, %error, "shard not read");
                    None
                }
            };
            let read = &found[before..];
            let due = read.iter().filter(|due| due.due_at <= now).count();
            report.due += u32::try_from(due).unwrap_or(u32::MAX);
            // Oldest first.
            let waited = read.first().map_or(Duration::ZERO, |oldest| now.since(oldest.due_at));
            report.oldest_due = report.oldest_due.max(waited);
            let Some(next) = went_on else { continue };
            let last = read.last().map_or(Timestamp::EPOCH, |due| due.due_at);
            if !self.begun {
                self.read_latest((shard, now, last), &mut found).await;
            }
            self.rest.push((shard, Some(next)));
        }
        self.begun = true;
        found.retain(|due| self.given.insert(due.id.clone()));
        found.sort_by_key(|due| due.due_at);
        turns(found, |due| due.merchant.clone()).into_iter().map(|(_, due)| due).collect()
    }

    /// Adds what is due in the shard after `after`, as far as it is read at once; how many rows could not be read, and
    /// where to go on.
    async fn read(
        &self,
        shard: u32,
        mut after: Option<DuePosition>,
        found: &mut Vec<Due>,
    ) -> Result<(u32, Option<DuePosition>), StoreError> {
        let mut unreadable = 0;
        for _ in 0..PAGES_AT_ONCE {
            let page = self.page(shard, Timestamp::EPOCH, after).await?;
            found.extend(page.found);
            unreadable += page.unreadable;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok((unreadable, after))
    }

    /// Adds what has come due lately. It is read once more in its place, if this run comes so far; what cannot be read is
    /// told of there.
    async fn read_latest(
        &self,
        (shard, now, read_until): (u32, Timestamp, Timestamp),
        found: &mut Vec<Due>,
    ) {
        tracing::warn!(provider = %self.provider, shard, "more orders are due than are read at once");
        let from = now.minus(LATELY).max(read_until.plus(Duration::from_millis(1)));
        let mut after = None;
        for _ in 0..LATEST_PAGES {
            let Ok(page) = self.page(shard, from.min(self.until), after).await else { return };
            found.extend(page.found);
            after = page.next;
            if after.is_none() {
                return;
            }
        }
    }

    async fn page(
        &self,
        shard: u32,
        from: Timestamp,
        after: Option<DuePosition>,
    ) -> Result<DuePage<Due>, StoreError> {
        self.store.due(self.provider, shard, (from, self.until, PAGE), after).await
    }
}
