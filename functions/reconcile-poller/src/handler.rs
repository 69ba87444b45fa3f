//! The schedule: one run over everything that is due, ended before the function's own deadline.

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent};
use recharge_shared::app::reconcile::{Context, reconcile};
use recharge_shared::clock::Clock;
use recharge_shared::metrics::Metrics;
use recharge_shared::providers::Providers;
use recharge_shared::queue::{NotificationQueue, SettlementQueue};
use recharge_shared::store::Store;
use recharge_shared::xray::{self, TraceHeader};
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
    /// Rows that the audit looks at in its minute; nothing without any.
    pub audit_page: u32,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is counted and measured.
    pub metrics: Metrics,
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
        audit_page: deps.audit_page,
        invocation: &event.context.request_id,
    };
    let header = event.context.xray_trace_id.as_deref().and_then(TraceHeader::parse);
    let xray = header.as_ref().map(|header| header.root().to_owned());
    let run = xray::under(header, reconcile(context, &deps.providers, time_left));
    let report = deps.metrics.collect(deps.clock.as_ref(), run).await;
    let answer = json!({
        "lookedAt": report.looked_at,
        "evidence": report.evidence,
        "expired": report.expired,
        "resumed": report.resumed,
        "notices": report.notices,
        "failed": report.failed,
        "unfinished": report.unfinished,
    });
    tracing::info!(trace = event.context.request_id, xray, report = %answer, "reconciled");
    Ok(answer)
}
