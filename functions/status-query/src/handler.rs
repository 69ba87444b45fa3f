//! `GET /recharges`, `GET /recharges/{orderId}` and its `/explain` and `/deliveries`, `GET /events`,
//! `GET /users/{userId}/balances`, `/ledger` and `/deposit-addresses`; without authentication
//! `GET /health`, `/openapi.json` and `/docs`.
//! Every read starts from the calling merchant. Writes nothing.

use std::convert::Infallible;
use std::sync::Arc;

use lambda_http::{Body, Request, RequestExt, Response};
use recharge_shared::app::events::{Pulled, pull};
use recharge_shared::app::list_orders::{OrderPage, Wanted, find_by_reference, fits, list_orders};
use recharge_shared::auth::{Authenticator, Scope};
use recharge_shared::clock::Clock;
use recharge_shared::domain::{MerchantId, Order, OrderId, UserId};
use recharge_shared::http::query::{ListEvents, ListLedger, ListOrders};
use recharge_shared::http::request::{self, CREATE_BYTES_MAX};
use recharge_shared::http::{
    Answer, ApiError, Route, addresses_body, balances_body, counting_failures, deliveries_body,
    events_body, explanation_body, ledger_body, order_body, orders_body, render, route, trace_of,
    xray_of,
};
use recharge_shared::metrics::Metrics;
use recharge_shared::store::{OrderFilter, Store};
use recharge_shared::xray::{self, TraceHeader};
use serde_json::json;
use tracing::Instrument;

use crate::files;

/// What this function may touch.
#[derive(Debug)]
pub struct Deps {
    /// Orders, balances, payments; to read.
    pub store: Store,
    /// Client keys.
    pub auth: Authenticator,
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
    let work = xray::under(header, answer(deps, &request)).instrument(span);
    let work = deps.metrics.collect(deps.clock.as_ref(), counting_failures(work));
    Ok(render(&trace, work.await))
}

async fn answer(deps: &Deps, request: &Request) -> Result<Answer, ApiError> {
    let route = route(request.method(), request.raw_http_path())?;
    match route {
        Route::Health => return Ok(Answer::ok(json!({"status": "ok"}))),
        Route::OpenApi => return Ok(Answer::File(files::OPENAPI)),
        Route::Docs => return Ok(Answer::File(files::DOCS)),
        Route::DocsViewer => return Ok(Answer::File(files::VIEWER)),
        _ => {}
    }
    request::body(request, CREATE_BYTES_MAX)?;
    let caller = deps.auth.authenticate(request, Scope::RechargeRead).await?;
    match route {
        Route::Recharges => recharges(deps, request, &caller.merchant).await,
        Route::Recharge(id) => recharge(deps, &caller.merchant, &id).await,
        Route::Explain(id) => explain(deps, &caller.merchant, &id).await,
        Route::Addresses(user) => addresses(deps, &caller.merchant, &user).await,
        Route::Deliveries(id) => deliveries(deps, &caller.merchant, &id).await,
        Route::Events => events(deps, request, &caller.merchant).await,
        Route::Balances(user) => balances(deps, &caller.merchant, &user).await,
        Route::Ledger(user) => ledger(deps, request, &caller.merchant, &user).await,
        _ => Err(ApiError::not_found()),
    }
}

async fn own_order(deps: &Deps, merchant: &MerchantId, id: &OrderId) -> Result<Order, ApiError> {
    let order = deps.store.order(id).await?.filter(|order| order.merchant == *merchant);
    order.ok_or_else(ApiError::not_found)
}

async fn recharge(deps: &Deps, merchant: &MerchantId, id: &OrderId) -> Result<Answer, ApiError> {
    Ok(Answer::ok(order_body(&own_order(deps, merchant, id).await?)))
}

async fn deliveries(deps: &Deps, merchant: &MerchantId, id: &OrderId) -> Result<Answer, ApiError> {
    let order = own_order(deps, merchant, id).await?;
    let rows = deps.store.notices(id).await?;
    Ok(Answer::ok(deliveries_body(&order, &rows)))
}

async fn events(deps: &Deps, request: &Request, merchant: &MerchantId) -> Result<Answer, ApiError> {
    let list = ListEvents::read(request, merchant)?;
    let part = (list.limit, list.position.as_deref());
    let Pulled { notices, next, more } =
        pull(&deps.store, deps.clock.as_ref(), merchant, part).await?;
    let next = next.map(|position| list.cursor(&position));
    Ok(Answer::ok(events_body(&notices, next, more)))
}

async fn explain(deps: &Deps, merchant: &MerchantId, id: &OrderId) -> Result<Answer, ApiError> {
    let order = deps.store.order(id).await?.filter(|order| order.merchant == *merchant);
    let order = order.ok_or_else(ApiError::not_found)?;
    Ok(Answer::ok(explanation_body(&order, deps.clock.now())))
}

async fn addresses(deps: &Deps, merchant: &MerchantId, user: &UserId) -> Result<Answer, ApiError> {
    let known = deps.store.all_addresses(merchant, user).await?;
    let known = known.ok_or_else(ApiError::not_found)?;
    Ok(Answer::ok(addresses_body(user.as_str(), &known)))
}

async fn recharges(
    deps: &Deps,
    request: &Request,
    merchant: &MerchantId,
) -> Result<Answer, ApiError> {
    let mut list = ListOrders::read(request, merchant)?;
    let after = list.position.take();
    let filter = OrderFilter { merchant, user: list.user.as_ref(), from: list.from, to: list.to };
    let wanted = Wanted { filter, state: list.state, limit: list.limit };
    let OrderPage { orders, next } = match &list.reference {
        None => list_orders(&deps.store, wanted, after).await?,
        Some(reference) => {
            let order = find_by_reference(&deps.store, merchant, reference).await?;
            let orders = order.filter(|order| fits(order, wanted)).into_iter().collect();
            OrderPage { orders, next: None }
        }
    };
    let next = next.map(|position| list.cursor(&position));
    Ok(Answer::ok(orders_body(&orders, next)))
}

async fn balances(deps: &Deps, merchant: &MerchantId, user: &UserId) -> Result<Answer, ApiError> {
    let balances = deps.store.balances(merchant, user).await?.ok_or_else(ApiError::not_found)?;
    Ok(Answer::ok(balances_body(user.as_str(), &balances)))
}

async fn ledger(
    deps: &Deps,
    request: &Request,
    merchant: &MerchantId,
    user: &UserId,
) -> Result<Answer, ApiError> {
    let list = ListLedger::read(request, merchant, user)?;
    let position = list.position.as_deref();
    let page = deps.store.ledger(merchant, user, list.limit, position).await?;
    if page.lines.is_empty() && position.is_none() {
        deps.store.balances(merchant, user).await?.ok_or_else(ApiError::not_found)?;
    }
    let next = page.next.as_ref().map(|position| list.cursor(position));
    Ok(Answer::ok(ledger_body(user.as_str(), &page, next)))
}
