//! `GET /admin/reviews`, `GET /admin/reviews/{reviewId}` and `POST …/resolve`: parked money, for keys with
//! the scope `admin`. Writes decisions, and no money: what was decided goes through the settlement queue.
//! Only signatures count here, never a gateway's token: two people are two keys.

use std::convert::Infallible;
use std::sync::Arc;

use lambda_http::{Body, Request, RequestExt, Response};
use recharge_shared::app::resolve::{self, Desk};
use recharge_shared::auth::{Authenticator, Caller, Scope};
use recharge_shared::clock::Clock;
use recharge_shared::domain::{MerchantId, Review, ReviewId, Ruling, TraceId};
use recharge_shared::http::query::ListReviews;
use recharge_shared::http::request::{self, CREATE_BYTES_MAX};
use recharge_shared::http::{
    Answer, ApiError, Route, counting_failures, render, review_body, reviews_body, route, trace_of,
    xray_of,
};
use recharge_shared::metrics::Metrics;
use recharge_shared::queue::SettlementQueue;
use recharge_shared::store::{Known, Store, StoreError};
use recharge_shared::xray::{self, TraceHeader};
use tracing::Instrument;

/// What this function may touch.
#[derive(Debug)]
pub struct Deps {
    /// Reviews.
    pub store: Store,
    /// Client keys.
    pub auth: Authenticator,
    /// Where decisions go.
    pub queue: SettlementQueue,
    /// The amount from which two people have to decide together, in whole units of any currency.
    pub two_from: u64,
    /// The merchant whose admins see everybody's reviews.
    pub operator: Option<MerchantId>,
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
    if !matches!(route, Route::Reviews | Route::Review(_) | Route::Resolve(_)) {
        return Err(ApiError::not_found());
    }
    request::body(request, CREATE_BYTES_MAX)?;
    let caller = deps.auth.authenticate(request, Scope::Admin).await?;
    let sees_all = deps.operator.as_ref() == Some(&caller.merchant);
    let desk = Desk {
        store: &deps.store,
        queue: &deps.queue,
        clock: deps.clock.as_ref(),
        two_from: deps.two_from,
        merchant: (!sees_all).then_some(&caller.merchant),
    };
    match route {
        Route::Review(id) => {
            let review = resolve::find(desk, &id).await?;
            Ok(Answer::ok(body(deps, &review).await?))
        }
        Route::Resolve(id) => decide(deps, request, (desk, &caller), (&id, trace)).await,
        _ => list(deps, request, (desk, &caller)).await,
    }
}

const fn is_booked(known: &Known) -> bool {
    known.booked && !known.paid_back
}

async fn body(deps: &Deps, review: &Review) -> Result<serde_json::Value, StoreError> {
    let known = deps.store.known_statements(std::slice::from_ref(&review.evidence)).await?;
    let booked = known.first().is_some_and(is_booked);
    Ok(review_body(review, booked, deps.two_from))
}

async fn decide(
    deps: &Deps,
    request: &Request,
    (desk, caller): (Desk<'_>, &Caller),
    (id, trace): (&ReviewId, &TraceId),
) -> Result<Answer, ApiError> {
    let (action, note) = request::resolution(request, desk.merchant)?;
    let (by, at) = (caller.key_id.clone(), deps.clock.now());
    let ruling = Ruling { action, by, note, at, second: None, about: None };
    let review = resolve::decide(desk, id, ruling, trace).await?;
    Ok(Answer::Json { status: 202, body: body(deps, &review).await?, replayed: false })
}

async fn list(
    deps: &Deps,
    request: &Request,
    (desk, caller): (Desk<'_>, &Caller),
) -> Result<Answer, ApiError> {
    let list = ListReviews::read(request, &caller.merchant)?;
    let wanted = (list.closed, list.limit);
    let page = deps.store.reviews(desk.merchant, wanted, list.position.as_deref()).await?;
    let statements: Vec<_> = page.reviews.iter().map(|review| review.evidence.clone()).collect();
    let known = deps.store.known_statements(&statements).await?;
    let reviews: Vec<_> =
        page.reviews.into_iter().zip(&known).map(|(review, of)| (review, is_booked(of))).collect();
    let next = page.next.as_deref().map(|position| list.cursor(position));
    Ok(Answer::ok(reviews_body(&reviews, deps.two_from, next)))
}
