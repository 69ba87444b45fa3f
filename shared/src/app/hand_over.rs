//! Handing due notices to the queue, fairly: every merchant gets its turn before another gets a second one,
//! and of a merchant every host, so that a dead receiver with a thousand notices does not hold up a healthy one
//! with one, however many names it goes by. Where more are due than one run reads, what has come due lately is read as
//! well: a backlog hides nobody's next attempt.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::domain::{Timestamp, TraceId};
use crate::metrics::{self, Metric};
use crate::queue::NotificationMessage;
use crate::sometimes::sometimes;
use crate::store::{DUE_SHARDS, DueNotice, StoreError, Written};

use super::notify::merchant_of;
use super::reconcile::{Context, LOOK_TAKES_AT_MOST};
use super::report::Report;
use super::turns::turns;

/// Notices that one run hands over: about what ten notifiers can try in a minute.
const PER_RUN_MAX: usize = 400;

/// Those of them that may be one merchant's: the rest is for those who come due meanwhile.
const PER_MERCHANT_MAX: usize = 200;

/// Entries of the index that are read at once.
const PAGE: i32 = 1_000;

/// Pages of one shard that a run looks at, from those on that have waited longest.
const PAGES_MAX: usize = 10;

/// Those of them that it looks at beside, if there are more, of what has come due in the last minutes.
const LATEST_PAGES_MAX: usize = 2;

/// What counts as lately: several runs.
const LATELY: Duration = Duration::from_secs(300);

/// Notices that are handed over side by side.
const SIDE_BY_SIDE: usize = 8;

/// How long a notice that was handed to the queue has to be tried before it is handed over again.
const HANDED_OVER_FOR: Duration = Duration::from_secs(900);

/// Hands over notices whose next attempt is due; a bounded number, so that the rest of the run is not
/// kept waiting.
pub async fn due_notices(context: Context<'_>, deadline: Instant) -> Report {
    let mut report = Report::default();
    let now = context.clock.now();
    let mut found = Vec::new();
    for shard in 0..DUE_SHARDS {
        match read(context, (shard, now), &mut found).await {
            Ok(unreadable) => report.failed += unreadable,
            Err(error) => {
                report.failed += 1;
                metrics::add(Metric::Failures, (None, None), 1);
                tracing::warn!(shard, %error, "due notices not read");
            }
        }
    }
    for chunk in in_turn(found).chunks(SIDE_BY_SIDE) {
        if Instant::now() + LOOK_TAKES_AT_MOST > deadline {
            return Report { unfinished: true, ..report };
        }
        for handed in join_all(chunk.iter().map(|due| hand_over(context, due, now))).await {
            match handed {
                Ok(handed) => report.notices += u32::from(handed),
                Err(error) => {
                    report.failed += 1;
                    metrics::add(Metric::Failures, (None, None), 1);
                    tracing::warn!(%error, "due notice not handed over");
                }
            }
        }
    }
    report
}

/// Adds what is due in a shard to `found`; how many of its rows could not be read.
async fn read(
    context: Context<'_>,
    (shard, now): (u32, Timestamp),
    found: &mut Vec<DueNotice>,
) -> Result<u32, StoreError> {
    let until = now.plus(context.lookahead);
    let before = found.len();
    let (longest, more) =
        pages(context, shard, (Timestamp::EPOCH, until), PAGES_MAX, found).await?;
    if !more {
        return Ok(longest);
    }
    tracing::warn!(shard, "more notices are due than one run looks at");
    let last = found.iter().skip(before).next_back();
    let read_until = last.map_or(Timestamp::EPOCH, |due| due.due_at);
    let from = now.minus(LATELY).max(read_until.plus(Duration::from_millis(1))).min(until);
    let (latest, _) = pages(context, shard, (from, until), LATEST_PAGES_MAX, found).await?;
    Ok(longest + latest)
}

/// Adds what of a shard has come due in that time, at most so many pages; how many rows could not be read, and whether
/// there are more.
async fn pages(
    context: Context<'_>,
    shard: u32,
    (from, until): (Timestamp, Timestamp),
    most: usize,
    found: &mut Vec<DueNotice>,
) -> Result<(u32, bool), StoreError> {
    let mut after = None;
    let mut unreadable = 0;
    for _ in 0..most {
        let page = context.store.due_notices(shard, (from, until, PAGE), after).await?;
        found.extend(page.found);
        unreadable += page.unreadable;
        after = page.next;
        if after.is_none() {
            return Ok((unreadable, false));
        }
    }
    Ok((unreadable, true))
}

/// Those that are handed over, in turn by merchant, and of each by destination: first the one that has waited
/// longest.
fn in_turn(mut found: Vec<DueNotice>) -> Vec<DueNotice> {
    found.sort_by_key(|due| due.due_at);
    let found = turns(found, |due| due.destination.clone()).into_iter().map(|(_, due)| due);
    let turns = turns(found.collect(), |due| merchant_of(&due.destination).to_owned());
    let few = turns.into_iter().take_while(|(turn, _)| *turn < PER_MERCHANT_MAX);
    few.take(PER_RUN_MAX).map(|(_, due)| due).collect()
}

/// Hands a due notice over; whether it did.
async fn hand_over(
    context: Context<'_>,
    due: &DueNotice,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let next = now.plus(HANDED_OVER_FOR);
    if context.store.postpone_notice(due, next).await? == Written::Raced {
        sometimes("notice: another run hands it over");
        return Ok(false);
    }
    let Some(row) = context.store.notice(&due.order, due.sequence).await? else { return Ok(false) };
    let message = NotificationMessage {
        trace: TraceId::untraced(),
        order: due.order.clone(),
        sequence: due.sequence,
        made: u32::try_from(row.planned()).unwrap_or(u32::MAX),
        again: false,
    };
    let sent = context.notifications.send(message).await;
    sent.map(|()| true).map_err(|error| StoreError::Busy(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::OrderId;

    fn due(destination: &str, at: i64) -> DueNotice {
        DueNotice {
            order: OrderId::parse("R0123456789ABCDEFGHJKMNPQR").unwrap(),
            sequence: 1,
            due_at: Timestamp::from_millis(at),
            destination: destination.to_owned(),
        }
    }

    #[test]
    fn everyone_gets_a_turn_before_anyone_gets_two() {
        let mut found: Vec<DueNotice> = (0..1_000).map(|at| due("dead", at)).collect();
        found.extend([due("late", 5_000), due("slow", 4_000), due("late", 6_000)]);
        let chosen = in_turn(found);
        let first: Vec<(&str, i64)> =
            chosen[..5].iter().map(|d| (d.destination.as_str(), d.due_at.millis())).collect();
        assert_eq!(
            first,
            [("dead", 0), ("slow", 4_000), ("late", 5_000), ("dead", 1), ("late", 6_000)]
        );
        assert_eq!(chosen.len(), PER_MERCHANT_MAX + 3);
        let many = (0..1_000).map(|at| due(&format!("host-{at}"), at)).collect();
        assert_eq!(in_turn(many).len(), PER_RUN_MAX);
    }

    #[test]
    fn a_merchant_of_many_hosts_is_one_merchant_and_each_host_has_its_turn() {
        let mut found: Vec<DueNotice> =
            (0..500).map(|at| due(&format!("m_many/x{at}.example"), at)).collect();
        found.extend((500..700).map(|at| due("m_two/dead.example", at)));
        found.extend([due("m_two/good.example", 900), due("m_one/shop.example", 1_000)]);
        let chosen = in_turn(found);
        let first: Vec<&str> = chosen[..5].iter().map(|due| due.destination.as_str()).collect();
        assert_eq!(
            first,
            [
                "m_many/x0.example",
                "m_two/dead.example",
                "m_one/shop.example",
                "m_many/x1.example",
                "m_two/good.example",
            ]
        );
        assert_eq!(chosen.len(), PER_RUN_MAX);
        let of_many = chosen.iter().filter(|due| merchant_of(&due.destination) == "m_many").count();
        assert_eq!(of_many, PER_MERCHANT_MAX);
    }
}
