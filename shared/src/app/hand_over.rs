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
use crate::store::{DUE_SHARDS, DueNotice, DuePosition, StoreError, Written};

use super::notify::merchant_of;
use super::reconcile::{Context, LOOK_TAKES_AT_MOST};
use super::report::Report;
use super::turns::{reading_ends, turns};

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
    // However slow the table is, there is time left to hand over what is found.
    let looks_end = deadline.checked_sub(LOOK_TAKES_AT_MOST).unwrap_or(deadline);
    let until = reading_ends(Instant::now(), looks_end);
    let mut found = Vec::new();
    for shard in join_all((0..DUE_SHARDS).map(|shard| read(context, (shard, now), until))).await {
        found.extend(shard.found);
        report.failed += shard.failed;
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

/// What was read of a shard.
#[derive(Default)]
struct Shard {
    found: Vec<DueNotice>,
    /// Rows that could not be read, or the shard itself.
    failed: u32,
    /// Where it has more.
    next: Option<DuePosition>,
}

/// What is due in a shard, as far as a run looks at it, at most until the first time; where there is more, until the
/// second one, what has come due lately.
async fn read(
    context: Context<'_>,
    (number, now): (u32, Timestamp),
    (until, latest_until): (Instant, Instant),
) -> Shard {
    let mut shard = Shard::default();
    let due_by = now.plus(context.lookahead);
    let earliest = ((Timestamp::EPOCH, due_by), PAGES_MAX, until);
    pages(context, number, earliest, &mut shard).await;
    if shard.next.take().is_none() {
        return shard;
    }
    tracing::warn!(shard = number, "more notices are due than one run looks at");
    let read_until = shard.found.last().map_or(Timestamp::EPOCH, |due| due.due_at);
    let from = now.minus(LATELY).max(read_until.plus(Duration::from_millis(1))).min(due_by);
    pages(context, number, ((from, due_by), LATEST_PAGES_MAX, latest_until), &mut shard).await;
    shard
}

/// Adds what of a shard has come due in that time: at most so many pages, of which none but the first begins after
/// `until`.
async fn pages(
    context: Context<'_>,
    number: u32,
    ((from, due_by), most, until): ((Timestamp, Timestamp), usize, Instant),
    shard: &mut Shard,
) {
    for page in 0..most {
        if page > 0 && Instant::now() >= until {
            return;
        }
        let range = (from, due_by, PAGE);
        match context.store.due_notices(number, range, shard.next.take()).await {
            Ok(page) => {
                shard.found.extend(page.found);
                shard.failed += page.unreadable;
                shard.next = page.next;
            }
            Err(error) => {
                shard.failed += 1;
                metrics::add(Metric::Failures, (None, None), 1);
                tracing::warn!(shard = number, %error, "due notices not read");
            }
        }
        if shard.next.is_none() {
            return;
        }
    }
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
