//! `POST /recharges/callback/{provider}`: raw bytes, verified by the adapter, enqueued, and only then
//! acknowledged in the provider's own words. Knows no table.

use std::convert::Infallible;
use std::sync::Arc;

use lambda_http::{Body, Request, RequestExt, Response};
use recharge_shared::bug::{self, Bug};
use recharge_shared::clock::Clock;
use recharge_shared::domain::TraceId;
use recharge_shared::http::request::{self, CALLBACK_BYTES_MAX};
use recharge_shared::http::{
    Answer, ApiError, Route, counting_failures, render, route, trace_of, xray_of,
};
use recharge_shared::metrics::{self, Metric, Metrics};
use recharge_shared::providers::{Provider, Providers, RawCallback};
use recharge_shared::queue::{SettlementMessage, SettlementQueue};
use recharge_shared::sometimes::sometimes;
use recharge_shared::xray::{self, TraceHeader};
use tracing::Instrument;

/// What this function may touch.
#[derive(Debug)]
pub struct Deps {
    /// Whose callbacks are believed.
    pub providers: Providers,
    /// Where evidence goes.
    pub queue: SettlementQueue,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is counted and measured.
    pub metrics: Metrics,
}

/// Handles one callback.
pub async fn handle(deps: &Deps, request: Request) -> Result<Response<Body>, Infallible> {
    let trace = trace_of(&request);
    let header = xray_of(&request);
    let xray = header.as_ref().map(TraceHeader::root);
    let span = tracing::error_span!("request", trace = trace.as_str(), xray);
    let work = xray::under(header, receive(deps, &request, &trace)).instrument(span);
    let work = deps.metrics.collect(deps.clock.as_ref(), counting_failures(work));
    Ok(render(&trace, work.await))
}

async fn receive(deps: &Deps, request: &Request, trace: &TraceId) -> Result<Answer, ApiError> {
    let Route::Callback(name) = route(request.method(), request.raw_http_path())? else {
        return Err(ApiError::not_found());
    };
    let provider = deps.providers.get(name.as_ref()).ok_or_else(ApiError::not_found)?;
    let received = receive_from(deps, provider.as_ref(), request, trace).await;
    let outcome = match &received {
        Ok(_) => "verified",
        Err(error) if error.code.status() < 500 => "refused",
        Err(_) => "not_taken",
    };
    // The name is that of the settings: whatever a stranger writes into a path is no dimension.
    metrics::add(Metric::Callbacks, (Some(provider.name()), Some(outcome)), 1);
    received
}

async fn receive_from(
    deps: &Deps,
    provider: &dyn Provider,
    request: &Request,
    trace: &TraceId,
) -> Result<Answer, ApiError> {
    let callback = RawCallback {
        headers: request.headers(),
        body: request::body(request, CALLBACK_BYTES_MAX)?,
        received_at: deps.clock.now(),
    };
    let verified = provider.verify(callback).await;
    let provider_name = provider.name().as_str();
    let evidence = verified.inspect_err(|refusal| {
        tracing::warn!(provider = provider_name, ?refusal, "callback refused");
    })?;
    tracing::info!(
        provider = provider_name,
        order = evidence.order_text(),
        kind = evidence.kind.as_str(),
        stale = evidence.stale,
        "callback verified for order {}",
        evidence.order_text(),
    );
    let message = SettlementMessage { trace: trace.clone(), evidence };
    let sent = deps.queue.send(&message).await;
    if sent.is_err() {
        sometimes("webhook: the queue refused");
    }
    if !bug::is(Bug::M3) {
        sent.map_err(|error| ApiError::unavailable(error.to_string()))?;
    }
    let ack = provider.acknowledgement();
    Ok(Answer::Raw { status: ack.status, content_type: ack.content_type, body: ack.body })
}
