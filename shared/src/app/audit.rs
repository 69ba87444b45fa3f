//! The audit: walks over the table, a page every five minutes. Compares each balance with the sum of its
//! entries, asks providers about orders that were credited more than a day ago, and finds orders whose provider is
//! no longer in the settings. Mends nothing: it counts and logs, for a person.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{EvidenceKind, UserMark};
use crate::domain::{Order, OrderId, OrderState, Reason, Timestamp};
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
    let (mut unbalanced, mut without_record, mut without_provider) = (0, 0, 0);
    let is_time = now.secs().div_euclid(60).rem_euclid(EVERY_MINUTES) == 0;
    if is_time && Instant::now() + LOOK_TAKES_AT_MOST <= deadline {
        let page = context.store.audit_page(limit).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the audit has read no page");
            report.failed += 1;
            AuditPage::default()
        });
        report.failed += page.damaged;
        for held in &page.balances {
            match balances(context.store, held).await {
                Ok(true) => {}
                Ok(false) => unbalanced += 1,
                Err(error) => {
                    tracing::warn!(%error, "a balance was not audited");
                    report.failed += 1;
                }
            }
        }
        for order in page.orders.iter().filter(|order| is_left_alone(order, providers, now)) {
            tracing::error!(
                order = order.id.as_str(),
                provider = order.provider.as_str(),
                "an order is due, and its provider is not in the settings: nobody looks at it"
            );
            without_provider += 1;
        }
        let asked = page.orders.iter().filter(|order| is_asked_about(order, now)).take(ASKED_MAX);
        for order in asked {
            without_record += u64::from(!is_on_record(providers, order, now).await);
        }
    }
    metrics::add(Metric::BooksUnbalanced, (None, None), unbalanced);
    metrics::add(Metric::PaidWithoutRecord, (None, None), without_record);
    metrics::add(Metric::OrdersWithoutProvider, (None, None), without_provider);
    report
}

/// Whether a balance is the sum of its entries. One that is not is looked at once more: it may have been
/// changing.
async fn balances(store: &Store, held: &HeldBalance) -> Result<bool, StoreError> {
    let HeldBalance { merchant, user, balance } = held;
    let currency = balance.amount.currency();
    if balance.entries > ENTRIES_MAX {
        return Ok(true);
    }
    let mut says = Some((balance.amount, balance.entries));
    for last in [false, true] {
        let sum = store.sum_of_entries((merchant, user), currency, ENTRIES_MAX).await?;
        if sum.is_none() || sum == says {
            return Ok(true);
        }
        if last {
            let mark = UserMark::derive(merchant, user);
            tracing::error!(
                merchant = merchant.as_str(),
                user_mark = mark.as_str(),
                currency = currency.code(),
                balance = says.map_or(0, |(amount, _)| amount.minor()),
                entries = sum.map_or(0, |(amount, _)| amount.minor()),
                "a balance is not the sum of its entries"
            );
            break;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
        let now = store.balances(merchant, user).await?.unwrap_or_default();
        let now = now.into_iter().find(|now| now.amount.currency() == currency);
        says = now.map(|now| (now.amount, now.entries));
    }
    Ok(false)
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
