//! `POST /recharges`, `POST /recharges/{orderId}/cancel` and `/notify`, `POST /events/resend`,
//! `POST /users/{userId}/deposit-addresses`:
//! authenticate, read, act. Nothing is recorded before the request is believed.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::join;
use lambda_http::{Body, Request, RequestExt, Response};
use recharge_shared::app::addresses::{Wanted, addresses};
use recharge_shared::app::admission::Admission;
use recharge_shared::app::cancel::cancel;
use recharge_shared::app::create_order::{Context, Created, PROVIDER_TIME_MAX, create_order};
use recharge_shared::app::notify::announce;
use recharge_shared::app::resend::{self, resend_latest, resend_range};
use recharge_shared::auth::{Authenticator, Caller, Scope};
use recharge_shared::clock::Clock;
use recharge_shared::domain::{Merchant, TraceId, UserId};
use recharge_shared::egress::Rules;
use recharge_shared::http::request::{self, CREATE_BYTES_MAX, Resend};
use recharge_shared::http::{
    Answer, ApiError, Route, addresses_body, counting_failures, order_body, render, resent_body,
    route, sent_again_body, trace_of, xray_of,
};
use recharge_shared::metrics::{self, Metric, Metrics};
use recharge_shared::providers::{Answer as Answered, Providers};
use recharge_shared::queue::NotificationQueue;
use recharge_shared::store::Store;
use recharge_shared::xray::{self, TraceHeader};
use tokio::time::Instant;
use tracing::Instrument;

/// What this function may touch.
#[derive(Debug)]
pub struct Deps {
    /// Orders and addresses.
    pub store: Store,
    /// Client keys.
    pub auth: Authenticator,
    /// Who may create, and how fast.
    pub admission: Admission,
    /// Where notices go.
    pub notifications: NotificationQueue,
    /// Where notifications may go.
    pub rules: Rules,
    /// Where orders go.
    pub providers: Providers,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is counted and measured.
    pub metrics: Metrics,
}

/// Handles one request.
pub async fn handle(deps: &Deps, request: Request) -> Result<Response<Body>, Infallible> {
    let trace = trace_of(&request);
    let header = xray_of(&request);
    let xray = header.as_ref().map(TraceHeader::root);
    let span = tracing::error_span!("request", trace = trace.as_str(), xray);
    let work = xray::under(header, answer(deps, &request, &trace)).instrument(span);
    let work = deps.metrics.collect(deps.clock.as_ref(), counting_failures(work));
    Ok(render(&trace, work.await))
}

async fn answer(deps: &Deps, request: &Request, trace: &TraceId) -> Result<Answer, ApiError> {
    let route = route(request.method(), request.raw_http_path())?;
    let is_ours = |route: &Route| {
        use Route::{Cancel, CreateAddresses, CreateRecharge, Notify, ResendEvents};
        matches!(route, CreateRecharge | Cancel(_) | CreateAddresses(_) | Notify(_) | ResendEvents)
    };
    if !is_ours(&route) {
        return Err(ApiError::not_found());
    }
    if route != Route::CreateRecharge {
        return of_route(deps, request, route, trace).await;
    }
    let started = Instant::now();
    let created = of_route(deps, request, route, trace).await;
    count_create(&created, started);
    created
}

/// What became of a request to create an order, and how long that took unless it was refused.
fn count_create(created: &Result<Answer, ApiError>, started: Instant) {
    let outcome = match created {
        Ok(Answer::Json { replayed: true, .. }) => "replayed",
        Ok(_) => "created",
        Err(error) if error.code.status() < 500 => "refused",
        Err(_) => "failed",
    };
    metrics::add(Metric::Creates, (None, Some(outcome)), 1);
    if outcome != "refused" {
        metrics::took(Metric::CreateLatency, (None, None), started.elapsed());
    }
}

async fn of_route(
    deps: &Deps,
    request: &Request,
    route: Route,
    trace: &TraceId,
) -> Result<Answer, ApiError> {
    request::body(request, CREATE_BYTES_MAX)?;
    if route == Route::CreateRecharge {
        request::key_header(request)?;
    }
    let caller = deps.auth.authenticate(request, Scope::RechargeWrite).await?;
    let merchant = deps.admission.merchant(&caller.merchant, deps.clock.now()).await?;
    match route {
        Route::Cancel(id) => {
            request::no_members(request)?;
            let order = cancel(&deps.store, deps.clock.as_ref(), &caller.merchant, &id).await?;
            announce(&deps.notifications, &order, trace).await;
            Ok(Answer::ok(order_body(&order)))
        }
        Route::CreateAddresses(user) => {
            let now = deps.clock.now();
            let pass = deps.admission.pass(&caller.merchant, &merchant, now).await?;
            let created = create_addresses(deps, request, (&caller, &merchant), &user);
            let (created, ()) = join(created, deps.admission.pay(pass)).await;
            created
        }
        Route::Notify(id) => {
            request::no_members(request)?;
            let notice = resend_latest(again(deps, (&caller, &merchant), trace), &id).await?;
            Ok(Answer::accepted(sent_again_body(&notice)))
        }
        Route::ResendEvents => {
            let mut wanted = Resend::read(request, &caller.merchant)?;
            let after = wanted.position.take();
            let resent =
                resend_range(again(deps, (&caller, &merchant), trace), &wanted.range, after)
                    .await?;
            let next = resent.next.as_deref().map(|position| wanted.cursor(position));
            Ok(Answer::accepted(resent_body(&resent, next)))
        }
        _ => {
            let now = deps.clock.now();
            let pass = deps.admission.pass(&caller.merchant, &merchant, now).await?;
            let created = create(deps, request, (&caller, &merchant), trace);
            let (created, ()) = join(created, deps.admission.pay(pass)).await;
            created
        }
    }
}

async fn create_addresses(
    deps: &Deps,
    request: &Request,
    (caller, merchant): (&Caller, &Merchant),
    user: &UserId,
) -> Result<Answer, ApiError> {
    let method = request::payment_method(request)?;
    deps.admission.user(&caller.merchant, merchant, user).await?;
    let provider = deps.providers.get(method.as_ref()).filter(|found| found.gives_addresses());
    let provider =
        provider.ok_or_else(|| ApiError::field("paymentMethod", "gives no deposit addresses"))?;
    let invocation = request::invocation(request);
    let wanted = Wanted { merchant: &caller.merchant, user, by: &invocation };
    let created = addresses(&deps.store, provider.as_ref(), deps.clock.as_ref(), wanted);
    match tokio::time::timeout(PROVIDER_TIME_MAX, created).await {
        Ok(answer) => match answer? {
            Answered::Done(known) => {
                let known = [(provider.name().clone(), known)];
                Ok(Answer::ok(addresses_body(user.as_str(), &known)))
            }
            Answered::Declined(_) | Answered::Unknown(_) | Answered::NotSent => {
                Err(ApiError::provider_unavailable())
            }
        },
        Err(_) => Err(ApiError::provider_unavailable()),
    }
}

fn again<'a>(
    deps: &'a Deps,
    (caller, settings): (&'a Caller, &'a Merchant),
    trace: &'a TraceId,
) -> resend::Context<'a> {
    let (store, queue, now) = (&deps.store, &deps.notifications, deps.clock.now());
    resend::Context { store, queue, merchant: &caller.merchant, settings, now, trace }
}

async fn create(
    deps: &Deps,
    request: &Request,
    (caller, merchant): (&Caller, &Merchant),
    trace: &TraceId,
) -> Result<Answer, ApiError> {
    let (key, command) = request::create_order(request, &deps.rules)?;
    deps.admission.user(&caller.merchant, merchant, &command.user).await?;
    let context = Context {
        store: &deps.store,
        providers: &deps.providers,
        clock: deps.clock.as_ref(),
        merchant: &caller.merchant,
        trace,
        invocation: &request::invocation(request),
    };
    Ok(match create_order(context, &key, command).await? {
        Created::Now(order) => {
            // The provider may have said no at once. What is not handed over here the poller finds.
            announce(&deps.notifications, &order, trace).await;
            Answer::Json { status: 201, body: order_body(&order), replayed: false }
        }
        Created::Resumed(order) => {
            announce(&deps.notifications, &order, trace).await;
            Answer::Json { status: 200, body: order_body(&order), replayed: true }
        }
        Created::Before(order) => {
            Answer::Json { status: 200, body: order_body(&order), replayed: true }
        }
    })
}
