//! Reading a provider's list of what has arrived: the only way to find a deposit whose callbacks were all
//! lost. Windows overlap, from a stored cursor; what is booked or parked already is left out.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::domain::{Evidence, Timestamp, TraceId};
use crate::metrics::{self, Metric};
use crate::providers::{Answer, Provider};
use crate::queue::{SettlementMessage, SettlementQueue};
use crate::sometimes::sometimes;
use crate::store::{Again, Known, ListRead, Store, StoreError, Written};

/// How far before the cursor each window begins: the provider may list late what it dates early.
const OVERLAP: Duration = Duration::from_secs(300);
/// How far a look-back's windows reach where a list is read by minutes: three runs, one for each of them.
const OVERLAP_OF_SLOW: Duration = Duration::from_secs(180);
/// The longest window that a run begins with: more than what lies between two runs, and no more of a busy list
/// than can be read. The next ones are twice as long each, as long as they are read quickly.
const WINDOW_FIRST: Duration = Duration::from_secs(600);
/// The longest window that is asked for at once.
const WINDOW_MAX: Duration = Duration::from_secs(6 * 3_600);
/// What a run goes on with when a window was not read in its time: what comes up between two runs.
const WINDOW_MIN: Duration = Duration::from_secs(60);
/// How many times as long a window is tried that gave no list.
const WIDER: u32 = 4;
/// How often that is done in a run; the last time with the longest window.
const WIDENED_MAX: u32 = 2;
/// The most windows that one run reads on: almost thirteen days. After a longer pause the next run goes on.
const WINDOWS_MAX: usize = 56;
/// How far back the first sweep of an account begins: its addresses were given out by this deployment.
const FIRST_LOOK_BACK: Duration = Duration::from_secs(3_600);
/// How long ago ends what is read again, so that each moment is read once more after an hour, a day and three. Each has
/// a cursor of its own: what falls due while nothing can be read is read afterwards.
const LOOK_BACKS: [(Again, Duration); 3] = [
    (Again::AfterHour, Duration::from_secs(3_600)),
    (Again::AfterDay, Duration::from_secs(86_400)),
    (Again::AfterThreeDays, Duration::from_secs(3 * 86_400)),
];

/// What a sweep needs.
#[derive(Debug, Clone, Copy)]
pub struct Sweep<'a> {
    /// Cursors and payments.
    pub store: &'a Store,
    /// Where evidence goes.
    pub queue: &'a SettlementQueue,
    /// Now.
    pub clock: &'a dyn Clock,
    /// The provider; one that can list.
    pub provider: &'a dyn Provider,
    /// Unique to this invocation: the trace of what is found.
    pub invocation: &'a str,
    /// No window is begun after this, and no list is read on.
    pub deadline: Instant,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Statements handed to the settlement queue.
    pub evidence: u32,
    /// Windows that could not be read whole.
    pub failed: u32,
    /// Whether the time ran out before the work did.
    pub unfinished: bool,
}

/// What became of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// All that is new in it is handed on; twice as much would have been in time.
    Quickly,
    /// All that is new in it is handed on.
    Slowly,
    /// Not all of it.
    Failed,
    /// Nothing of it: the provider gave no list that could be used.
    Unlisted,
    /// The time that it had was over before the list was read.
    TooLong,
}

impl Sweep<'_> {
    /// Reads on from the cursor, then the look-backs.
    pub async fn run(self) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let account = (self.provider.name(), self.provider.account());
        let now = self.clock.now();
        if now.secs().div_euclid(60).rem_euclid(60) == 0 {
            self.examine(now).await;
        }
        let cursors = self.store.list_read_until(account.0, account.1).await?;
        if let Some(read) = &cursors {
            let behind = behind(read, now).as_secs();
            metrics::add(Metric::ListBehindSeconds, (Some(account.0), None), behind);
        }
        let begin = cursors.as_ref().map_or_else(|| now.minus(FIRST_LOOK_BACK), |read| read.until);
        let again = LOOK_BACKS.map(|(again, back)| (again, now.minus(back)));
        // Written down before the first answer: what arrives while the provider gives none counts.
        if cursors.is_none() && !self.moved(None, begin, BTreeMap::from(again)).await? {
            return Ok(swept);
        }
        let mut read = begin;
        let mut from = begin.minus(OVERLAP);
        let mut begun = from;
        let (mut windows, mut longest, mut widened) = (0, WINDOW_FIRST, 0);
        while from < now {
            windows += 1;
            if windows > WINDOWS_MAX || self.deadline <= Instant::now() {
                sometimes("sweep: goes on in the next run");
                return Ok(Swept { unfinished: true, ..swept });
            }
            let until = from.plus(longest).min(now);
            let left = self.deadline.saturating_duration_since(Instant::now());
            let within = if widened == 0 { left / 2 } else { left };
            match self.window((from, until), within, &mut swept).await? {
                Read::Quickly => longest = (longest * 2).min(WINDOW_MAX),
                Read::Slowly => {}
                // It may be the few records in it that cannot be read; among more they are put aside.
                Read::Unlisted if until < now && widened < WIDENED_MAX => {
                    widened += 1;
                    longest = if widened < WIDENED_MAX { longest * WIDER } else { WINDOW_MAX };
                    continue;
                }
                Read::Failed | Read::Unlisted => return Ok(swept),
                // A busy list, or a slow one: the same again would come to the same, in every run. What was read
                // before is left to the look-backs.
                Read::TooLong if longest > WINDOW_MIN => {
                    longest = WINDOW_MIN;
                    if from < read {
                        (from, begun) = (read, read);
                    }
                    continue;
                }
                Read::TooLong => return Ok(Swept { unfinished: true, ..swept }),
            }
            // A clock that is behind takes nobody back. The last step is written down with the look-backs.
            if until > read && until < now {
                if !self.moved(Some(read), until, BTreeMap::new()).await? {
                    return Ok(swept);
                }
                read = until;
            }
            from = until;
        }
        let before = cursors.map_or_else(|| BTreeMap::from(again), |cursors| cursors.again);
        let paces = (longest, &mut windows);
        let again = self.look_back(&before, (now, begun), paces, &mut swept).await?;
        if now > read {
            self.moved(Some(read), now, again).await?;
        }
        Ok(swept)
    }

    /// Reads once more what was read before, at least its last minutes; not from `begun` on, because that was read just
    /// now. Gives the cursors afterwards.
    async fn look_back(
        self,
        cursors: &BTreeMap<Again, Timestamp>,
        (now, begun): (Timestamp, Timestamp),
        (longest, windows): (Duration, &mut usize),
        swept: &mut Swept,
    ) -> Result<BTreeMap<Again, Timestamp>, StoreError> {
        let mut moved = BTreeMap::new();
        // In turn: where time is left for one of them only, each is read every third minute.
        let turn = now.secs().div_euclid(60).rem_euclid(3);
        let (later, first) = LOOK_BACKS.split_at(usize::try_from(turn).unwrap_or(0));
        for (again, back) in first.iter().chain(later) {
            let until = now.minus(*back);
            // Of a slow list less is read once more: what makes a whole of three turns.
            let slow = longest <= WINDOW_MIN;
            let mut span = if slow { WINDOW_MIN } else { longest };
            let mut widened = false;
            let least = until.minus(if slow { OVERLAP_OF_SLOW } else { OVERLAP });
            let mut from = cursors.get(again).copied().unwrap_or(least).min(least);
            let end = until.min(begun);
            while from < end {
                let left = self.deadline.saturating_duration_since(Instant::now());
                if *windows >= WINDOWS_MAX || left.is_zero() {
                    return Ok(moved);
                }
                *windows += 1;
                let to = from.plus(span).min(end);
                // Time is left to read a minute of what is too much.
                let within = if span > WINDOW_MIN { left / 2 } else { left };
                match self.window((from, to), within, swept).await? {
                    Read::Quickly => span = (span * 2).min(WINDOW_MAX),
                    Read::Slowly => {}
                    Read::Unlisted if !widened && span < WINDOW_MAX && to < end => {
                        (span, widened) = (WINDOW_MAX, true);
                        continue;
                    }
                    Read::TooLong if span > WINDOW_MIN => {
                        span = WINDOW_MIN;
                        continue;
                    }
                    Read::Failed | Read::Unlisted | Read::TooLong => break,
                }
                from = to;
                moved.insert(*again, if to == end { until } else { to });
            }
        }
        Ok(moved)
    }

    /// Moves the cursors; `false` when the first is no longer where it was read: whoever has moved it goes on, or the
    /// next run does.
    async fn moved(
        self,
        read: Option<Timestamp>,
        until: Timestamp,
        again: BTreeMap<Again, Timestamp>,
    ) -> Result<bool, StoreError> {
        let account = (self.provider.name(), self.provider.account());
        let written = self.store.list_was_read(account, read, &ListRead { until, again }).await?;
        if written == Written::Raced {
            sometimes("sweep: somebody has moved the cursor");
        }
        Ok(written == Written::Now)
    }

    /// Hands on what is new in one window, whose list has to be there `within` that time.
    async fn window(
        &self,
        (from, until): (Timestamp, Timestamp),
        within: Duration,
        swept: &mut Swept,
    ) -> Result<Read, StoreError> {
        let provider = self.provider.name().as_str();
        let begun = Instant::now();
        let list = self.provider.list(from, until, self.clock.now());
        let listed: Vec<Evidence> = match timeout(within, list).await {
            Ok(Answer::Done(listed)) => listed,
            Ok(Answer::Unknown(why)) => {
                tracing::warn!(provider, why, "list not read");
                swept.failed += 1;
                return Ok(Read::Unlisted);
            }
            Ok(Answer::Declined(why)) => {
                let seconds = until.since(from).as_secs();
                tracing::warn!(provider, seconds, why, "too much for one list");
                swept.failed += 1;
                return Ok(Read::TooLong);
            }
            Ok(Answer::NotSent) => {
                tracing::warn!(provider, "list not reached");
                swept.failed += 1;
                return Ok(Read::Failed);
            }
            Err(_) => {
                let seconds = until.since(from).as_secs();
                tracing::warn!(provider, seconds, "list not read in its time");
                swept.failed += 1;
                return Ok(Read::TooLong);
            }
        };
        let quickly = begun.elapsed() < within / 4;
        let known = self.store.known_statements(&listed).await?;
        let settled = |known: &Known| (known.booked && !known.contradicted) || known.parked;
        let new = listed.into_iter().zip(known).filter(|(_, known)| !settled(known));
        for (evidence, _) in new {
            // What is handed on already is known to the next run.
            if self.deadline <= Instant::now() {
                swept.unfinished = true;
                return Ok(Read::Failed);
            }
            let trace = TraceId::parse(self.invocation).unwrap_or_else(TraceId::untraced);
            let order = evidence.order_text().to_owned();
            let message = SettlementMessage { trace, evidence };
            if let Err(error) = self.queue.send(&message).await {
                metrics::add(Metric::Failures, (None, None), 1);
                tracing::warn!(provider, order, %error, "evidence not handed over");
                swept.failed += 1;
                return Ok(Read::Failed);
            }
            tracing::info!(provider, order, "found in the list");
            swept.evidence += 1;
        }
        Ok(if quickly { Read::Quickly } else { Read::Slowly })
    }

    async fn examine(&self, now: Timestamp) {
        let provider = self.provider.name().as_str();
        match self.provider.examine(now).await {
            Answer::Done(differences) => {
                for difference in differences {
                    tracing::error!(provider, difference, "the settings differ from the provider");
                }
            }
            Answer::Declined(_) | Answer::Unknown(_) | Answer::NotSent => {
                tracing::warn!(provider, "settings not compared");
            }
        }
    }
}

/// How far the reading on, or the second reading that is furthest behind, is from where it should be.
fn behind(read: &ListRead, now: Timestamp) -> Duration {
    let again = LOOK_BACKS.iter().filter_map(|(again, back)| {
        read.again.get(again).map(|until| now.minus(*back).since(*until))
    });
    again.fold(now.since(read.until), Duration::max)
}
