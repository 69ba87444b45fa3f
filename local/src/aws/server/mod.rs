//! The embedded services on one TCP port, for ordinary AWS clients: aws-cli, boto3, function binaries.
//!
//! `POST` to any path, routed by `x-amz-target`; SQS clients may post to the queue's URL. Signatures
//! are not checked. Bind to the loopback address: there is no other protection.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use tokio::net::TcpListener;

use super::EmbeddedAws;
use super::wire::{BODY_BYTES_MAX, JSON_1_0, WireAnswer};

/// Answers on `listener` until the future is dropped. Queue URLs name this port from now on.
pub async fn serve(listener: TcpListener, aws: EmbeddedAws) -> std::io::Result<()> {
    let port = listener.local_addr()?.port();
    aws.queues().set_base_url(&format!("http://127.0.0.1:{port}"));
    let router = Router::new().fallback(answer).with_state(aws);
    axum::serve(listener, router).await
}

async fn answer(State(aws): State<EmbeddedAws>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let answer = match (target, to_bytes(body, BODY_BYTES_MAX).await) {
        (Some(target), Ok(body)) => aws.answer(target, &body).await,
        (None, Ok(_)) => {
            let message = "this port speaks the AWS JSON protocols: x-amz-target is missing";
            WireAnswer::error(400, JSON_1_0, "MissingAction", message)
        }
        (_, Err(_)) => {
            let message = format!("the request is longer than {BODY_BYTES_MAX} bytes");
            WireAnswer::error(413, JSON_1_0, "RequestEntityTooLarge", &message)
        }
    };
    render(answer)
}

fn render(answer: WireAnswer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert("x-amzn-requestid", HeaderValue::from_static("embedded"));
    if let Some(code) = answer.query_error.and_then(|code| HeaderValue::from_str(&code).ok()) {
        headers.insert("x-amzn-query-error", code);
    }
    response
}

#[cfg(test)]
mod tests;
