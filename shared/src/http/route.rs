//! The routes: which path means what, and with which verb. Unknown paths and wrong verbs end here.

use http::Method;

use super::error::ApiError;
use crate::domain::{OrderId, ProviderName, ReviewId, UserId};

/// A request's meaning by verb and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `POST /recharges`
    CreateRecharge,
    /// `GET /recharges`
    Recharges,
    /// `GET /recharges/{orderId}`
    Recharge(OrderId),
    /// `POST /recharges/{orderId}/cancel`
    Cancel(OrderId),
    /// `GET /recharges/{orderId}/explain`
    Explain(OrderId),
    /// `GET /users/{userId}/deposit-addresses`
    Addresses(UserId),
    /// `POST /users/{userId}/deposit-addresses`
    CreateAddresses(UserId),
    /// `GET /admin/reviews`
    Reviews,
    /// `GET /admin/reviews/{reviewId}`
    Review(ReviewId),
    /// `POST /admin/reviews/{reviewId}/resolve`
    Resolve(ReviewId),
    /// `GET /recharges/{orderId}/deliveries`
    Deliveries(OrderId),
    /// `POST /recharges/{orderId}/notify`
    Notify(OrderId),
    /// `GET /events`
    Events,
    /// `POST /events/resend`
    ResendEvents,
    /// `POST /recharges/callback` and `POST /recharges/callback/{provider}`
    Callback(Option<ProviderName>),
    /// `GET /users/{userId}/balances`
    Balances(UserId),
    /// `GET /users/{userId}/ledger`
    Ledger(UserId),
    /// `GET /health`
    Health,
    /// `GET /openapi.json`
    OpenApi,
    /// `GET /docs`
    Docs,
    /// `GET /docs/viewer.js`, which the page at `/docs` consists of.
    DocsViewer,
}

/// What `method` and `path` mean. An identifier that cannot exist is 404 like one that does not.
pub fn route(method: &Method, path: &str) -> Result<Route, ApiError> {
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let (verb, found) = match segments.as_slice() {
        ["recharges"] => return recharges(method),
        ["recharges", "callback"] => ("POST", Some(Route::Callback(None))),
        ["recharges", "callback", provider] => {
            ("POST", ProviderName::parse(provider).map(|name| Route::Callback(Some(name))))
        }
        ["recharges", id] => ("GET", OrderId::parse(id).map(Route::Recharge)),
        ["recharges", id, "cancel"] => ("POST", OrderId::parse(id).map(Route::Cancel)),
        ["recharges", id, "explain"] => ("GET", OrderId::parse(id).map(Route::Explain)),
        ["users", id, "deposit-addresses"] => return addresses(method, id),
        ["admin", "reviews"] => ("GET", Some(Route::Reviews)),
        ["admin", "reviews", id] => ("GET", ReviewId::parse(id).map(Route::Review)),
        ["admin", "reviews", id, "resolve"] => ("POST", ReviewId::parse(id).map(Route::Resolve)),
        ["recharges", id, "deliveries"] => ("GET", OrderId::parse(id).map(Route::Deliveries)),
        ["recharges", id, "notify"] => ("POST", OrderId::parse(id).map(Route::Notify)),
        ["events"] => ("GET", Some(Route::Events)),
        ["events", "resend"] => ("POST", Some(Route::ResendEvents)),
        ["users", id, "balances"] => ("GET", UserId::parse(id).map(Route::Balances)),
        ["users", id, "ledger"] => ("GET", UserId::parse(id).map(Route::Ledger)),
        ["health"] => ("GET", Some(Route::Health)),
        ["openapi.json"] => ("GET", Some(Route::OpenApi)),
        ["docs"] => ("GET", Some(Route::Docs)),
        ["docs", "viewer.js"] => ("GET", Some(Route::DocsViewer)),
        _ => return Err(ApiError::not_found()),
    };
    if method.as_str() != verb {
        return Err(ApiError::method_not_allowed(verb));
    }
    found.ok_or_else(ApiError::not_found)
}

fn recharges(method: &Method) -> Result<Route, ApiError> {
    match method.as_str() {
        "POST" => Ok(Route::CreateRecharge),
        "GET" => Ok(Route::Recharges),
        _ => Err(ApiError::method_not_allowed("GET, POST")),
    }
}

fn addresses(method: &Method, user: &str) -> Result<Route, ApiError> {
    let user = UserId::parse(user);
    let found = match method.as_str() {
        "POST" => user.map(Route::CreateAddresses),
        "GET" => user.map(Route::Addresses),
        _ => return Err(ApiError::method_not_allowed("GET, POST")),
    };
    found.ok_or_else(ApiError::not_found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ErrorCode;

    #[track_caller]
    fn check(method: Method, path: &str, wanted: Result<Route, ErrorCode>) {
        assert_eq!(route(&method, path).map_err(|error| error.code), wanted, "{method} {path}");
    }

    #[test]
    fn paths_and_verbs_mean_one_thing() {
        let order = "R0123456789ABCDEFGHJKMNPQR";
        check(Method::POST, "/recharges", Ok(Route::CreateRecharge));
        check(
            Method::GET,
            &format!("/recharges/{order}"),
            Ok(Route::Recharge(OrderId::parse(order).unwrap())),
        );
        check(
            Method::POST,
            &format!("/recharges/{order}/cancel"),
            Ok(Route::Cancel(OrderId::parse(order).unwrap())),
        );
        let id = OrderId::parse(order).unwrap();
        let deliveries = Route::Deliveries(id.clone());
        check(Method::GET, &format!("/recharges/{order}/deliveries"), Ok(deliveries));
        check(Method::POST, &format!("/recharges/{order}/notify"), Ok(Route::Notify(id)));
        check(Method::GET, "/events", Ok(Route::Events));
        check(Method::POST, "/events/resend", Ok(Route::ResendEvents));
        check(Method::GET, "/recharges", Ok(Route::Recharges));
        check(Method::POST, "/recharges/callback", Ok(Route::Callback(None)));
        let trader = ProviderName::parse("trader");
        check(Method::POST, "/recharges/callback/trader", Ok(Route::Callback(trader)));
        check(Method::GET, "/health", Ok(Route::Health));
        check(Method::GET, "/openapi.json", Ok(Route::OpenApi));
        check(Method::GET, "/docs", Ok(Route::Docs));
        check(Method::GET, "/docs/viewer.js", Ok(Route::DocsViewer));
        for (method, path) in [
            (Method::PUT, "/recharges"),
            (Method::GET, "/recharges/callback"),
            (Method::GET, "/recharges/R0123456789ABCDEFGHJKMNPQR/cancel"),
            (Method::GET, "/recharges/R0123456789ABCDEFGHJKMNPQR/notify"),
            (Method::GET, "/events/resend"),
            (Method::TRACE, "/recharges"),
            (Method::POST, "/health"),
        ] {
            check(method, path, Err(ErrorCode::MethodNotAllowed));
        }
        for path in
            ["/", "", "/recharges/", "/recharges/x", "/nope", "/users/u%201/ledger", "//health"]
        {
            check(Method::GET, path, Err(ErrorCode::NotFound));
        }
    }
}
