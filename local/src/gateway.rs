//! The API gateway: TCP in, true HTTP API v2 events to the functions, their answers out. Routes come
//! from the template; `/_local` is the control interface.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body as TcpBody, to_bytes};
use axum::extract::State;
use axum::response::IntoResponse;
use http::{Request, Response, StatusCode};
use lambda_http::Body;
use serde_json::json;

use crate::control;
use crate::events::{Incoming, gateway_event};
use crate::functions::{Functions, HttpFunction};
use crate::stack::Stack;

/// API Gateway's own limit.
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Serves `stack` until the listener fails.
pub async fn serve(listener: tokio::net::TcpListener, stack: Arc<Stack>) -> std::io::Result<()> {
    let router = Router::new().fallback(handle).with_state(stack);
    axum::serve(listener, router).await
}

async fn handle(State(stack): State<Arc<Stack>>, request: Request<TcpBody>) -> Response<TcpBody> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    if let Some(command) = parts.uri.path().strip_prefix("/_local/") {
        return control::handle(&stack, &parts.method, command, &body).await.into_response();
    }
    let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let incoming = Incoming {
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        method: parts.method,
        headers: parts.headers,
        body: body.to_vec(),
        request_id: format!("{}-{number}", stack.run_id),
        received_ms: stack.ground.clock.now_ms(),
    };
    answer(stack.request(&incoming).await)
}

fn answer(response: Response<Body>) -> Response<TcpBody> {
    let (parts, body) = response.into_parts();
    let bytes: Vec<u8> = match body {
        Body::Empty => Vec::new(),
        Body::Text(text) => text.into_bytes(),
        Body::Binary(bytes) => bytes,
        _ => Vec::new(),
    };
    Response::from_parts(parts, TcpBody::from(bytes))
}

fn message(status: StatusCode, text: &str) -> Response<TcpBody> {
    let body = TcpBody::from(json!({"message": text}).to_string());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

impl Stack {
    /// Hands a request to the function that the template routes it to.
    pub async fn request(&self, incoming: &Incoming) -> Response<Body> {
        self.request_to(&self.functions, incoming).await
    }

    /// The same with another instance of the functions.
    pub async fn request_to(&self, functions: &Functions, incoming: &Incoming) -> Response<Body> {
        let found = find(&self.routes, incoming.method.as_str(), &incoming.path);
        let Some((route, parameters)) = found else {
            let mut response = Response::new(json!({"message": "Not Found"}).to_string().into());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        };
        let event = gateway_event(incoming, &route.key, &parameters);
        functions.http(route.function, event).await
    }
}

/// One route of the template.
#[derive(Debug, Clone)]
pub struct GatewayRoute {
    /// As the gateway names it: `POST /recharges`, or `$default`.
    pub key: String,
    /// Who serves it.
    pub function: HttpFunction,
}

/// The route for a request: static segments win over parameters, `$default` takes the rest.
fn find<'a>(
    routes: &'a [GatewayRoute],
    method: &str,
    path: &str,
) -> Option<(&'a GatewayRoute, BTreeMap<String, String>)> {
    let matching = routes.iter().filter_map(|route| {
        let (verb, pattern) = route.key.split_once(' ')?;
        if verb != method && verb != "ANY" {
            return None;
        }
        matches(pattern, path).map(|parameters| (route, parameters))
    });
    let default = || {
        let route = routes.iter().find(|route| route.key == "$default")?;
        Some((route, BTreeMap::new()))
    };
    matching.min_by_key(|(_, parameters)| parameters.len()).or_else(default)
}

fn matches(pattern: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let (wanted, given): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), path.split('/').collect());
    if wanted.len() != given.len() {
        return None;
    }
    let mut parameters = BTreeMap::new();
    for (wanted, given) in wanted.into_iter().zip(given) {
        match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) if !given.is_empty() => {
                parameters.insert(name.to_owned(), given.to_owned());
            }
            _ if wanted == given => {}
            _ => return None,
        }
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_segments_win_and_default_takes_the_rest() {
        let route = |key: &str, function| GatewayRoute { key: key.to_owned(), function };
        let routes = [
            route("GET /recharges/{orderId}", HttpFunction::StatusQuery),
            route("POST /recharges/callback/{provider}", HttpFunction::Webhook),
            route("POST /recharges/callback", HttpFunction::Webhook),
            route("$default", HttpFunction::StatusQuery),
        ];
        let key = |method, path| find(&routes, method, path).map(|(route, _)| route.key.clone());
        assert_eq!(key("GET", "/recharges/R1").as_deref(), Some("GET /recharges/{orderId}"));
        assert_eq!(key("POST", "/recharges/callback").as_deref(), Some("POST /recharges/callback"));
        assert_eq!(key("PUT", "/recharges/R1").as_deref(), Some("$default"));
        let (_, parameters) = find(&routes, "POST", "/recharges/callback/trader").unwrap();
        assert_eq!(parameters.get("provider").map(String::as_str), Some("trader"));
    }
}
