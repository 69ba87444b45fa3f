//! The schedule: one run over everything that is due, ended before the function's own deadline.

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent};
use recharge_shared::app::reconcile::{Context, reconcile};
use recharge_shared::clock::Clock;
use recharge_shared::providers::Providers;
use recharge_shared::queue::{NotificationQueue, SettlementQueue};
use recharge_shared::store::Store;
use serde_json::{Value, json};

/// What this function may touch.
#[derive(Debug)]
pub struct Deps {
    /// Due orders.
    pub store: Store,
    /// Where evidence goes.
    pub queue: SettlementQueue,
    /// Where notices go.
    pub notifications: NotificationQueue,
    /// Whom to ask.
    pub providers: Providers,
    /// How far ahead of its time an order may be looked at.
    pub lookahead: Duration,
    /// Now.
    pub clock: Arc<dyn Clock>,
}

/// Handles one tick of the schedule.
pub async fn handle(deps: &Deps, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let deadline_ms = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
    let left_ms = deadline_ms.saturating_sub(deps.clock.now().millis());
    let time_left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
    let context = Context {
        store: &deps.store,
        queue: &deps.queue,
        notifications: &deps.notifications,
        clock: deps.clock.as_ref(),
        lookahead: deps.lookahead,
        invocation: &event.context.request_id,
    };
    let report = reconcile(context, &deps.providers, time_left).await;
    let answer = json!({
        "lookedAt": report.looked_at,
        "evidence": report.evidence,
        "expired": report.expired,
        "resumed": report.resumed,
        "notices": report.notices,
        "failed": report.failed,
        "unfinished": report.unfinished,
    });
    tracing::info!(trace = event.context.request_id, report = %answer, "reconciled");
    Ok(answer)
}
