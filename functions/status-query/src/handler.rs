//! `GET /recharges/{orderId}`, `GET /users/{userId}/balances`, `GET /users/{userId}/ledger`,
//! `GET /health`: one read each, started from the calling merchant. Writes nothing.

use std::convert::Infallible;

use lambda_http::{Body, Request, RequestExt, Response};
use recharge_shared::auth::{Authenticator, Scope};
use recharge_shared::domain::{MerchantId, OrderId, UserId};
use recharge_shared::http::{
    Answer, ApiError, Route, balances_body, ledger_body, ledger_position, order_body, render,
    route, trace_of,
};
use recharge_shared::store::Store;
use serde_json::json;
use tracing::Instrument;

/// Entries of a ledger page, unless the caller wants fewer or more.
const LEDGER_LIMIT_DEFAULT: i32 = 20;
const LEDGER_LIMIT_MAX: i32 = 100;

/// What this function may touch.
#[derive(Debug)]
pub struct Deps {
    /// Orders, balances, payments; to read.
    pub store: Store,
    /// Client keys.
    pub auth: Authenticator,
}

/// Handles one request.
pub async fn handle(deps: &Deps, request: Request) -> Result<Response<Body>, Infallible> {
    let trace = trace_of(&request);
    let span = tracing::error_span!("request", trace = trace.as_str());
    Ok(render(&trace, answer(deps, &request).instrument(span).await))
}

async fn answer(deps: &Deps, request: &Request) -> Result<Answer, ApiError> {
    let route = route(request.method(), request.raw_http_path())?;
    if route == Route::Health {
        return Ok(Answer::ok(json!({"status": "ok"})));
    }
    let caller = deps.auth.authenticate(request, Scope::RechargeRead).await?;
    match route {
        Route::Recharge(id) => recharge(deps, &caller.merchant, &id).await,
        Route::Balances(user) => balances(deps, &caller.merchant, &user).await,
        Route::Ledger(user) => ledger(deps, request, &caller.merchant, &user).await,
        Route::CreateRecharge | Route::Callback(_) | Route::Health => Err(ApiError::not_found()),
    }
}

async fn recharge(deps: &Deps, merchant: &MerchantId, id: &OrderId) -> Result<Answer, ApiError> {
    let order = deps.store.order(id).await?.filter(|order| order.merchant == *merchant);
    let order = order.ok_or_else(ApiError::not_found)?;
    Ok(Answer::ok(order_body(&order)))
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
    let query = request.query_string_parameters();
    let limit = match query.first("limit") {
        None => LEDGER_LIMIT_DEFAULT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LEDGER_LIMIT_MAX).contains(limit))
            .ok_or_else(|| {
                ApiError::field("limit", format!("must be an integer from 1 to {LEDGER_LIMIT_MAX}"))
            })?,
    };
    let position = match query.first("cursor") {
        None => None,
        Some(cursor) => Some(
            ledger_position(cursor)
                .ok_or_else(|| ApiError::field("cursor", "is not one that was given out"))?,
        ),
    };
    let page = deps.store.ledger(merchant, user, limit, position.as_deref()).await?;
    if page.lines.is_empty() && position.is_none() {
        deps.store.balances(merchant, user).await?.ok_or_else(ApiError::not_found)?;
    }
    Ok(Answer::ok(ledger_body(user.as_str(), &page)))
}
