//! The audit: walks over the table, a page every five minutes. Compares each balance with the sum of its
//! entries, asks providers about orders that were credited more than a day ago, and finds orders whose provider is
//! no longer in the settings. Mends nothing: it counts and logs, for a person.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{EvidenceKind, Money, Order, OrderId, OrderState, Reason, Timestamp, UserMark};
use crate::metrics::{self, Metric};
use crate::providers::{Answer, Found, Providers};
use crate::store::{AuditPage, HeldBalance, Store, StoreError};

use super::reconcile::{Context, LOOK_TAKES_AT_MOST};
use super::report::Report;

/// Between two pages.
const EVERY_MINUTES: i64 = 5;
/// Entries that are summed for one balance; what has more is for the books' export.
const ENTRIES_MAX: u64 = 5_000;
/// How long a settlement that runs meanwhile, and its index, have until a balance is compared again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Orders of one page that providers are asked about.
const ASKED_MAX: usize = 3;
/// What a provider is asked about is older than this, so that it has closed its own books on it,
const ASKED_AFTER: Duration = Duration::from_secs(86_400);
/// and no older than this: some forget.
const ASKED_UNTIL: Duration = Duration::from_secs(30 * 86_400);

/// Audits one page, if it is time.
pub(super) async fn audit(
    context: Context<'_>,
    providers: &Providers,
    deadline: Instant,
) -> Report {
    let mut report = Report::default();
    let Ok(limit @ 1..) = i32::try_from(context.audit_page) else { return report };
    let now = context.clock.now();
    let out_of_time = || Instant::now() + LOOK_TAKES_AT_MOST > deadline;
    let is_time = now.secs().div_euclid(60).rem_euclid(EVERY_MINUTES) == 0;
    for metric in
        [Metric::BooksUnbalanced, Metric::PaidWithoutRecord, Metric::OrdersWithoutProvider]
    {
        metrics::add(metric, (None, None), 0);
    }
    if !is_time || out_of_time() {
        return report;
    }
    let page = context.store.audit_page(limit).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the audit has read no page");
        report.failed += 1;
        AuditPage::default()
    });
    report.failed += page.damaged;
    for order in page.orders.iter().filter(|order| is_left_alone(order, providers, now)) {
        tracing::error!(
            order = order.id.as_str(),
            provider = order.provider.as_str(),
            "an order is due, and its provider is not in the settings: nobody looks at it"
        );
        metrics::add(Metric::OrdersWithoutProvider, (None, None), 1);
    }
    balances(context.store, &page.balances, deadline, &mut report).await;
    let asked = page.orders.iter().filter(|order| is_asked_about(order, now)).take(ASKED_MAX);
    for order in asked {
        if out_of_time() {
            report.unfinished = true;
            break;
        }
        let without = !is_on_record(providers, order, now).await;
        metrics::add(Metric::PaidWithoutRecord, (None, None), without.into());
    }
    report
}

/// Compares the balances of a page with the sums of their entries, as far as there is time; those that do not fit once
/// more, a moment later.
async fn balances(store: &Store, page: &[HeldBalance], deadline: Instant, report: &mut Report) {
    let mut doubtful = Vec::new();
    for held in page {
        match sum(store, held).await {
            Ok(sum) if fits(sum, held) => {}
            Ok(_) => doubtful.push(held),
            Err(error) => {
                tracing::warn!(%error, "a balance was not audited");
                report.failed += 1;
            }
        }
        if Instant::now() + LOOK_TAKES_AT_MOST > deadline {
            tracing::warn!("no time is left for the rest of the audit's page");
            report.unfinished = true;
            break;
        }
    }
    if !doubtful.is_empty() {
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    for held in doubtful {
        if Instant::now() + LOOK_TAKES_AT_MOST / 2 > deadline {
            report.unfinished = true;
            break;
        }
        match is_unbalanced(store, held).await {
            Ok(unbalanced) => {
                metrics::add(Metric::BooksUnbalanced, (None, None), unbalanced.into());
            }
            Err(error) => {
                tracing::warn!(%error, "a balance was not audited");
                report.failed += 1;
            }
        }
    }
}

/// The sum of a balance's entries and their number; `None` when there are too many.
async fn sum(store: &Store, held: &HeldBalance) -> Result<Option<(Money, u64)>, StoreError> {
    let HeldBalance { merchant, user, balance } = held;
    if balance.entries > ENTRIES_MAX {
        return Ok(None);
    }
    store.sum_of_entries((merchant, user), balance.amount.currency(), ENTRIES_MAX).await
}

/// Whether the balance is that sum.
fn fits(sum: Option<(Money, u64)>, held: &HeldBalance) -> bool {
    sum.is_none_or(|sum| sum == (held.balance.amount, held.balance.entries))
}

/// Whether a balance that was not the sum of its entries a moment ago is still not it. One that has changed meanwhile is
/// left to the next walk: its entries may be in the index a little later.
async fn is_unbalanced(store: &Store, held: &HeldBalance) -> Result<bool, StoreError> {
    let HeldBalance { merchant, user, balance } = held;
    let sum = sum(store, held).await?;
    if fits(sum, held) {
        return Ok(false);
    }
    let currency = balance.amount.currency();
    let now = store.balances(merchant, user).await?.unwrap_or_default();
    let now = now.into_iter().find(|now| now.amount.currency() == currency);
    if now.map(|now| (now.amount, now.entries)) != Some((balance.amount, balance.entries)) {
        return Ok(false);
    }
    let mark = UserMark::derive(merchant, user);
    tracing::error!(
        merchant = merchant.as_str(),
        user_mark = mark.as_str(),
        currency = currency.code(),
        balance = balance.amount.minor(),
        entries = sum.map_or(0, |(amount, _)| amount.minor()),
        "a balance is not the sum of its entries"
    );
    Ok(true)
}

/// Whether the order should be looked at, and the poller has no provider of that name any more.
fn is_left_alone(order: &Order, providers: &Providers, now: Timestamp) -> bool {
    order.due_at.is_some_and(|due_at| due_at <= now)
        && providers.get(Some(&order.provider)).is_none()
}

/// Credited by a statement of the provider, about an order that the provider was given.
fn is_asked_about(order: &Order, now: Timestamp) -> bool {
    let age = now.since(order.updated_at);
    let made = |payment: &crate::domain::Payment| {
        OrderId::of_payment(&order.provider, &order.account, &payment.id) == order.id
    };
    order.state == OrderState::Success
        && order.reason != Some(Reason::Manual)
        && (ASKED_AFTER..ASKED_UNTIL).contains(&age)
        && !order.payments.iter().any(made)
}

/// Whether the order's provider knows a payment of it; also when it cannot be asked, or gives no answer that can be read.
async fn is_on_record(providers: &Providers, order: &Order, now: Timestamp) -> bool {
    let provider = providers.get(Some(&order.provider));
    let asked = provider.filter(|found| found.can_query() && found.account() == order.account);
    let Some(provider) = asked else { return true };
    match provider.query(order, now).await {
        Answer::Done(Found::Proof(found))
            if matches!(found.kind, EvidenceKind::Paid(_) | EvidenceKind::Unrecognised) =>
        {
            true
        }
        Answer::Done(_) => {
            let order = order.id.as_str();
            tracing::error!(order, "order {order} was credited, and its provider knows no payment");
            false
        }
        Answer::Declined(_) | Answer::Unknown(_) | Answer::NotSent => true,
    }
}
