//! Reconciliation: looks at what is due, asks the provider, feeds the settlement queue, expires, and
//! finishes half-done creates. Each provider is worked on by itself; the run stops before its deadline
//! and the next one carries on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all, join3};
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::bug::{self, Bug};
use crate::clock::Clock;
use crate::domain::order::{Change, FIRST_CHECK_AFTER, MONITORING_WINDOW};
use crate::domain::{
    Evidence, EvidenceKind, MerchantId, Order, OrderEvent, OrderState, Reason, Step, Timestamp,
    TraceId, shadow,
};
use crate::metrics::{self, Metric};
use crate::providers::{Answer, Found, Provider, Providers};
use crate::queue::{NotificationQueue, ResolutionMessage, SettlementMessage, SettlementQueue};
use crate::sometimes::sometimes;
use crate::store::{Due, Store, StoreError, Written};
use crate::xray::{self, TraceHeader};

use super::audit::audit;
use super::due_orders::DueOrders;
use super::hand_over::due_notices;
use super::notify::announce;
use super::report::Report;
use super::submit::{Heard, Submission, Submitted, is_half_done, log};
use super::sweep::Sweep;

const ACTOR: &str = "reconcile-poller";
/// Decisions of people that one run hands over again, about.
const DECISIONS: i32 = 50;
/// Pages that it looks for them in.
const DECISION_PAGES: usize = 10;
/// How long after its expiry an order may stay open although the provider says that it is paid.
const PROOF_TAKES_AT_MOST: Duration = Duration::from_secs(3_600);
/// How long an order whose time is over waits for a provider that gives no answer, or that nobody asks any more in this
/// run: it may have been paid in time.
pub(super) const ANSWER_TAKES_AT_MOST: Duration = Duration::from_secs(600);
/// How long after its expiry an open order is one that should not be.
const OPEN_AT_MOST: Duration = Duration::from_secs(900);
/// Orders of one provider that are looked at side by side.
const SIDE_BY_SIDE: usize = 8;
/// No new look starts when less than this is left: four provider calls and the writes around them.
pub(super) const LOOK_TAKES_AT_MOST: Duration = Duration::from_secs(18);
/// How long a create may be gone on with: calls wait for each other, of a provider that wants a pause between them.
const RESUMED_WITHIN: Duration = Duration::from_secs(16);
/// How long a create is the run's that goes on with it: until it is over, and the write before it.
const RESUME_LEASE: Duration = Duration::from_secs(30);
const _: () = assert!(RESUME_LEASE.as_secs() >= RESUMED_WITHIN.as_secs() + 10);
/// Unanswered calls in a row after which a provider is left alone for the rest of the run, or about one merchant.
const UNANSWERED_MAX: u32 = 5;
/// Those about one merchant that count for all others: it may be its orders alone that get no answer.
const UNANSWERED_OF_ONE_MAX: u32 = 2;

/// What a run needs.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The table.
    pub store: &'a Store,
    /// Where evidence goes.
    pub queue: &'a SettlementQueue,
    /// Where notices go.
    pub notifications: &'a NotificationQueue,
    /// Now.
    pub clock: &'a dyn Clock,
    /// How far ahead of its time an order may be looked at.
    pub lookahead: Duration,
    /// Rows that the audit looks at in its minute; nothing without any.
    pub audit_page: u32,
    /// Unique to this invocation.
    pub invocation: &'a str,
}

/// One run over everything that is due, within `time_left`.
pub async fn reconcile(context: Context<'_>, providers: &Providers, time_left: Duration) -> Report {
    let deadline = Instant::now() + time_left;
    let runs = providers.all().map(|provider| {
        let run =
            Run { context, provider: provider.as_ref(), deadline, unanswered: Mutex::default() };
        async move { run.all().await }
    });
    let others = join3(
        due_notices(context, deadline),
        decisions(context, deadline),
        audit(context, providers, deadline),
    );
    let (reports, (notices, decisions, audited)) = join(join_all(runs), others).await;
    let report = reports.into_iter().fold(notices.plus(decisions).plus(audited), Report::plus);
    count(&report, providers);
    report
}

fn count(report: &Report, providers: &Providers) {
    let all = (None, None);
    metrics::add(Metric::DueBacklog, all, report.due.into());
    metrics::add(Metric::OldestDueSeconds, all, report.oldest_due.as_secs());
    metrics::add(Metric::PendingBeyondSla, all, report.beyond_sla.into());
    if report.is_failure() {
        metrics::add(Metric::Failures, all, 1);
    }
    for provider in providers.all() {
        let name = provider.name();
        let answered = metrics::counted(Metric::ProviderCalls, name, &["done", "declined"]);
        let not = metrics::counted(Metric::ProviderCalls, name, &["unknown", "not_sent"]);
        let silent = answered == 0 && not > 0;
        metrics::add(Metric::ProviderSilent, (Some(name), None), silent.into());
    }
}

/// Decisions of people that the worker has not carried out: handed to it again.
async fn decisions(context: Context<'_>, deadline: Instant) -> Report {
    let mut report = Report::default();
    let now = context.clock.now();
    let mut due = Vec::new();
    let mut after = None;
    for _ in 0..DECISION_PAGES {
        match context.store.due_reviews((now, DECISIONS), after).await {
            Ok(page) => {
                report.failed += page.unreadable;
                due.extend(page.found);
                after = page.next;
            }
            Err(error) => {
                report.failed += 1;
                metrics::add(Metric::Failures, (None, None), 1);
                tracing::warn!(%error, "due decisions not read");
                break;
            }
        }
        if after.is_none() || due.len() >= DECISIONS as usize {
            break;
        }
    }
    for review in due {
        if Instant::now() + LOOK_TAKES_AT_MOST > deadline {
            return Report { unfinished: true, ..report };
        }
        let trace = TraceId::parse(context.invocation).unwrap_or_else(TraceId::untraced);
        match context.queue.resolve(&ResolutionMessage { trace, review }).await {
            Ok(()) => report.evidence += 1,
            Err(error) => {
                report.failed += 1;
                metrics::add(Metric::Failures, (None, None), 1);
                tracing::warn!(%error, "decision not handed over");
            }
        }
    }
    report
}

/// What the provider said of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Nothing that settles it.
    Nothing,
    /// Something that settles it, or should; it is on its way to the worker.
    Proof,
    /// No usable answer.
    Unknown,
}

struct Run<'a> {
    context: Context<'a>,
    provider: &'a dyn Provider,
    deadline: Instant,
    unanswered: Mutex<Unanswered>,
}

/// Calls that were not answered, by whose orders they were about.
#[derive(Default)]
struct Unanswered {
    /// Since the last answer about the merchant.
    own: BTreeMap<MerchantId, u32>,
    /// Since the last answer about anybody.
    all: BTreeMap<MerchantId, u32>,
}

impl Unanswered {
    /// Whether an order of `merchant` may be asked about.
    fn may_ask(&self, merchant: &MerchantId) -> bool {
        let all: u32 = self.all.values().map(|n| UNANSWERED_OF_ONE_MAX.min(*n)).sum();
        let own = self.own.get(merchant).copied().unwrap_or_default();
        all < UNANSWERED_MAX && own < UNANSWERED_MAX
    }

    /// What became of a call about an order of `merchant`.
    fn note(&mut self, merchant: &MerchantId, is_answered: bool) {
        if is_answered {
            self.own.remove(merchant);
            self.all.clear();
            return;
        }
        *self.own.entry(merchant.clone()).or_default() += 1;
        *self.all.entry(merchant.clone()).or_default() += 1;
    }
}

impl Run<'_> {
    async fn all(&self) -> Report {
        let mut report =
            if self.provider.takes_orders() { self.all_due().await } else { Report::default() };
        if !self.provider.can_list() {
            return report;
        }
        let Context { store, queue, clock, invocation, .. } = self.context;
        let deadline = self.deadline.checked_sub(LOOK_TAKES_AT_MOST).unwrap_or(self.deadline);
        let sweep = Sweep { store, queue, clock, provider: self.provider, invocation, deadline };
        match sweep.run().await {
            Ok(swept) => {
                report.evidence += swept.evidence;
                report.failed += swept.failed;
                report.unfinished |= swept.unfinished;
            }
            Err(error) => {
                report.failed += 1;
                metrics::add(Metric::Failures, (None, None), 1);
                tracing::warn!(provider = %self.provider.name(), %error, "list not swept");
            }
        }
        report
    }

    async fn all_due(&self) -> Report {
        let mut report = Report::default();
        let Context { store, clock, lookahead, .. } = self.context;
        let until = clock.now().plus(lookahead);
        let deadline = self.deadline.checked_sub(LOOK_TAKES_AT_MOST).unwrap_or(self.deadline);
        let mut orders = DueOrders::new(store, self.provider.name(), (until, deadline));
        while orders.has_more() {
            if self.out_of_time() {
                return Report { unfinished: true, ..report };
            }
            let due = orders.next(clock.now(), &mut report).await;
            for chunk in due.chunks(SIDE_BY_SIDE) {
                if self.out_of_time() {
                    return Report { unfinished: true, ..report };
                }
                let looks = join_all(chunk.iter().map(|due| self.look(due))).await;
                for (look, due) in looks.into_iter().zip(chunk) {
                    report = report.plus(look.unwrap_or_else(|error| {
                        // One damaged row fails in every version, every minute.
                        if matches!(error, StoreError::Busy(_)) {
                            metrics::add(Metric::Failures, (None, None), 1);
                        }
                        tracing::warn!(order = due.id.as_str(), %error, "look failed");
                        Report { failed: 1, ..Report::default() }
                    }));
                }
            }
        }
        report
    }

    fn out_of_time(&self) -> bool {
        Instant::now() + LOOK_TAKES_AT_MOST > self.deadline
    }

    fn unanswered(&self) -> MutexGuard<'_, Unanswered> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, due: &Due) -> Result<Report, StoreError> {
        let Some(order) = self.context.store.order(&due.id).await? else {
            return Ok(Report::default());
        };
        let header = xray::current();
        let xray = header.as_ref().map(TraceHeader::root);
        let span = tracing::error_span!("look", trace = order.trace.as_str(), xray);
        self.look_at(order, due.due_at).instrument(span).await
    }

    async fn look_at(&self, order: Order, due_at: Timestamp) -> Result<Report, StoreError> {
        let mut report = Report { looked_at: 1, ..Report::default() };
        let now = self.context.clock.now();
        if order.state.is_open() && now.since(order.expires_at) > OPEN_AT_MOST {
            report.beyond_sla = 1;
        }
        let at_the_provider = order.state == OrderState::Created && now < order.attempt_until;
        if order.due_at != Some(due_at) || at_the_provider {
            return Ok(report);
        }
        let in_shadow = shadow::is_account(self.provider.account());
        let foreign = order.is_shadow() != in_shadow;
        if foreign && in_shadow {
            // Live: it waits, and its age can be seen.
            return Ok(report);
        }
        let over = order.state.is_open() && now >= order.expires_at;
        // What was begun in shadow mode ends by its time: no provider knows of it. So does what was begun
        // with an account that the provider no longer has: another account would take it for a new order.
        let unknown_there = foreign || order.account != self.provider.account();
        let can_ask = self.provider.can_query() || is_half_done(&order, now);
        let asks = !unknown_there && can_ask && self.unanswered().may_ask(&order.merchant);
        let may_wait = !over || now.since(order.expires_at) <= ANSWER_TAKES_AT_MOST;
        if !asks && may_wait && !unknown_there && can_ask {
            return Ok(report);
        }
        // Whoever moves the date has the look; a crash after this costs one interval, not the order. It
        // leaves the index with the last step only, when nothing is left to do.
        let planned = self.next_look(&order, now);
        let until_then = planned.unwrap_or_else(|| now.plus(self.last_interval()));
        if self.context.store.reschedule(&order, Some(until_then)).await? == Written::Raced {
            sometimes("poller: another run has the look");
            return Ok(report);
        }
        let order = Order { due_at: Some(until_then), ..order };
        report.notices += u32::from(self.announce_anew(&order).await?);
        if asks && is_half_done(&order, now) {
            report.resumed += u32::from(self.resume(order).await?);
            return Ok(report);
        }
        let said = if asks { self.ask(&order, now, &mut report).await } else { Said::Nothing };
        if asks && report.failed == 0 {
            self.note_silence(&order, said, now).await?;
        }
        // A statement that does not settle an order in an hour never will: it is parked.
        let overdue = now.since(order.expires_at) > PROOF_TAKES_AT_MOST;
        match said {
            Said::Proof if over && !overdue => {
                sometimes("poller: paid at the last moment");
                return Ok(report);
            }
            Said::Unknown if report.failed > 0 => return Ok(report),
            Said::Unknown if may_wait && !is_given_up(&order, now) => return Ok(report),
            Said::Proof | Said::Unknown | Said::Nothing => {}
        }
        if over && !foreign && order.received.minor() > 0 {
            // Money decides, and only the worker decides about money.
            report.evidence += u32::from(self.time_out(&order, now).await?);
        } else if over {
            report.expired += u32::from(self.expire(&order, now).await?);
        } else if planned.is_none() {
            self.context.store.reschedule(&order, None).await?;
        }
        Ok(report)
    }

    /// Writes down when the provider falls silent, and when it speaks again; not every time.
    async fn note_silence(
        &self,
        order: &Order,
        said: Said,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match (order.silent_since, said) {
            (None, Said::Unknown) => self.context.store.note_silence(&order.id, Some(now)).await?,
            (Some(_), Said::Proof | Said::Nothing) => {
                self.context.store.note_silence(&order.id, None).await?
            }
            _ => return Ok(()),
        };
        Ok(())
    }

    /// Until when a look that should be the last one is the last one only if it succeeds.
    fn last_interval(&self) -> Duration {
        if self.provider.can_query() { Duration::from_secs(4 * 3_600) } else { FIRST_CHECK_AFTER }
    }

    /// Whether the latest notice was lost between its commit and the queue; then hands it over.
    async fn announce_anew(&self, order: &Order) -> Result<bool, StoreError> {
        if bug::is(Bug::M9) {
            return Ok(false);
        }
        let Some(notice) = order.last_notice() else { return Ok(false) };
        if self.context.store.notice(&order.id, notice.sequence).await?.is_some() {
            return Ok(false);
        }
        match announce(self.context.notifications, order, &order.trace).await {
            true => {
                sometimes("poller: announced what was lost");
                Ok(true)
            }
            false => Err(StoreError::Busy("the notice was not handed over".to_owned())),
        }
    }

    fn next_look(&self, order: &Order, now: Timestamp) -> Option<Timestamp> {
        if self.provider.can_query() || is_half_done(order, now) {
            return order.next_check(now);
        }
        (order.state.is_open() && now < order.expires_at).then_some(order.expires_at)
    }

    /// Asks the provider and hands on what settles the order.
    async fn ask(&self, order: &Order, now: Timestamp, report: &mut Report) -> Said {
        let answer = self.provider.query(order, now).await;
        let is_answered = matches!(answer, Answer::Done(_) | Answer::Declined(_));
        self.unanswered().note(&order.merchant, is_answered);
        let evidence = match answer {
            Answer::Done(Found::Proof(evidence)) => evidence,
            Answer::Done(Found::Nothing | Found::Open(_)) | Answer::Declined(_) => {
                return Said::Nothing;
            }
            Answer::Unknown(_) | Answer::NotSent => return Said::Unknown,
        };
        let paid = match evidence.kind {
            EvidenceKind::Paid(amount) => Some(amount),
            _ => None,
        };
        // Put aside once, however often the same is said; it settles nothing. Before that the callback has its time.
        let unreadable = evidence.kind == EvidenceKind::Unrecognised;
        let foreign = evidence.account != order.account;
        if unreadable && !foreign && now < order.expires_at {
            return Said::Unknown;
        }
        if paid.is_none() && !unreadable && !order.state.is_open() {
            return Said::Nothing;
        }
        // A part that the order has already does not settle it.
        let known = order.payment(&evidence.payment_id).map(|payment| payment.amount);
        if paid.is_some() && known == paid {
            return Said::Nothing;
        }
        // Nor does another amount of it, which is put aside once.
        if known.is_some() && self.is_put_aside_as_conflict(&evidence).await {
            return Said::Nothing;
        }
        // What is said of another account, or mode, is for a person at once, and settles this one's order as little as
        // no answer does.
        if foreign && self.is_put_aside(&evidence).await {
            return if order.state.is_open() { Said::Unknown } else { Said::Nothing };
        }
        let message = SettlementMessage { trace: order.trace.clone(), evidence: *evidence };
        match self.context.queue.send(&message).await {
            Ok(()) => {
                report.evidence += 1;
                match (unreadable, order.state.is_open()) {
                    (false, _) => Said::Proof,
                    (true, true) => Said::Unknown,
                    // It is put aside by now: no look is the last one only when it can be read.
                    (true, false) => Said::Nothing,
                }
            }
            // The order comes due again, and the provider will say the same.
            Err(error) => {
                report.failed += 1;
                metrics::add(Metric::Failures, (None, None), 1);
                sometimes("poller: evidence not handed over");
                tracing::warn!(order = order.id.as_str(), %error, "evidence not handed over");
                Said::Unknown
            }
        }
    }

    /// Whether the statement was put aside already; `false` when that cannot be read.
    async fn is_put_aside(&self, evidence: &Evidence) -> bool {
        let known = self.context.store.known_statements(std::slice::from_ref(evidence)).await;
        known.is_ok_and(|known| known.iter().any(|known| known.parked))
    }

    /// The same, unless people have rejected it for another reason than the one that it has now.
    async fn is_put_aside_as_conflict(&self, evidence: &Evidence) -> bool {
        let known = self.context.store.known_statements(std::slice::from_ref(evidence)).await;
        known.is_ok_and(|known| known.iter().any(|known| known.parked && !known.rejected_before))
    }

    async fn resume(&self, order: Order) -> Result<bool, StoreError> {
        let Context { store, clock, invocation, .. } = self.context;
        let until = clock.now().plus(RESUME_LEASE);
        if store.take_over(&order, invocation, until).await? == Written::Raced {
            sometimes("poller: another has taken the create on");
            return Ok(false);
        }
        let order = Order { attempt_until: until, attempt_by: invocation.to_owned(), ..order };
        let submission = Submission { store, provider: self.provider, clock, actor: ACTOR };
        let merchant = order.merchant.clone();
        let Ok(submitted) = timeout(RESUMED_WITHIN, submission.again(order)).await else {
            sometimes("poller: out of time at the provider");
            self.unanswered().note(&merchant, false);
            return Ok(false);
        };
        let Submitted { order, heard } = submitted?;
        // The provider may have said no.
        announce(self.context.notifications, &order, &order.trace).await;
        let answered = heard == Heard::Answer || order.state != OrderState::Created;
        self.unanswered().note(&order.merchant, answered);
        Ok(true)
    }

    /// Tells the worker that the time of an order with a part of its money is over.
    async fn time_out(&self, order: &Order, now: Timestamp) -> Result<bool, StoreError> {
        let evidence = Evidence::time_out(order, now);
        let message = SettlementMessage { trace: order.trace.clone(), evidence };
        match self.context.queue.send(&message).await {
            Ok(()) => Ok(true),
            Err(error) => Err(StoreError::Busy(error.to_string())),
        }
    }

    async fn expire(&self, order: &Order, now: Timestamp) -> Result<bool, StoreError> {
        let Step::Move(to) = order.state.on(OrderEvent::Expire) else { return Ok(false) };
        let reason = if order.state == OrderState::Created {
            Reason::ProviderUnreachable
        } else {
            Reason::Expired
        };
        let change =
            Change { reason: Some(reason), actor: ACTOR, evidence: None, books: None, at: now };
        let mut after = order.moved(to, change);
        // At least once more: to see that the notice went out.
        let soon = now.plus(FIRST_CHECK_AFTER);
        let next = after.next_check(now).filter(|_| self.provider.can_query());
        after.due_at = next.or(Some(soon));
        if self.context.store.advance(order, &after).await? == Written::Raced {
            sometimes("poller: expiry lost the race");
            return Ok(false);
        }
        log(order, &after);
        announce(self.context.notifications, &after, &after.trace).await;
        Ok(true)
    }
}

/// Whether a provider that still says nothing of an ended order, as long again as it was to be asked, is asked no more.
fn is_given_up(order: &Order, now: Timestamp) -> bool {
    !order.state.is_open() && now.since(order.created_at) > 2 * MONITORING_WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merchant_whose_orders_get_no_answer_stops_its_own_looks_alone() {
        let [one, two, three] = ["m_1", "m_2", "m_3"].map(|id| MerchantId::parse(id).unwrap());
        let mut unanswered = Unanswered::default();
        for _ in 0..UNANSWERED_MAX {
            assert!(unanswered.may_ask(&one));
            unanswered.note(&one, false);
        }
        assert!(!unanswered.may_ask(&one));
        assert!(unanswered.may_ask(&two));
        // That others are answered says nothing of it.
        unanswered.note(&two, true);
        assert!(!unanswered.may_ask(&one));
        // Nobody is answered.
        for merchant in [&one, &one, &two, &two, &three] {
            assert!(unanswered.may_ask(&three));
            unanswered.note(merchant, false);
        }
        assert!(!unanswered.may_ask(&three));
        unanswered.note(&two, true);
        assert!(unanswered.may_ask(&three) && !unanswered.may_ask(&one));
    }
}
