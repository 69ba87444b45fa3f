//! Turning outcomes into responses: JSON, the error form, the trace id on everything.

use std::borrow::Cow;

use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use serde_json::{Value, json};

use super::body::{Problem, ProblemDetail};
use super::error::{ApiError, ErrorCode};
use crate::domain::TraceId;
use crate::metrics::{self, Metric};
use crate::xray::TraceHeader;

/// What a handler wants to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// JSON with a status, and whether it repeats an earlier answer.
    Json {
        /// HTTP status.
        status: u16,
        /// The body.
        body: Value,
        /// Sends `Idempotency-Replayed: true`.
        replayed: bool,
    },
    /// A file of the repository.
    File(File),
    /// Bytes for a provider.
    Raw {
        /// HTTP status.
        status: u16,
        /// `Content-Type`.
        content_type: String,
        /// The body.
        body: String,
    },
}

/// A file that is the same for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Whether `bytes` are compressed with gzip.
    pub gzip: bool,
    /// `Content-Security-Policy`; empty for what is no page.
    pub policy: &'static str,
    /// The bytes.
    pub bytes: &'static [u8],
}

impl Answer {
    /// JSON with 200.
    pub const fn ok(body: Value) -> Answer {
        Answer::Json { status: 200, body, replayed: false }
    }

    /// JSON with 202: it will be done, not here and not yet.
    pub const fn accepted(body: Value) -> Answer {
        Answer::Json { status: 202, body, replayed: false }
    }
}

/// The trace of a request: the caller's, continued, or the gateway's own request id.
pub fn trace_of(request: &Request) -> TraceId {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let given = header("x-trace-id").and_then(TraceId::parse);
    let parent = || header("traceparent").and_then(|text| TraceId::parse(trace_of_parent(text)?));
    let own = || gateway_id(request).and_then(TraceId::parse);
    given.or_else(parent).or_else(own).unwrap_or_else(TraceId::untraced)
}

/// The trace of a W3C `traceparent`; `None` of one that is none, as its rules ask.
fn trace_of_parent(text: &str) -> Option<&str> {
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        let is_hex = |part: &&str| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        parts.next().filter(is_hex)
    };
    let (version, trace, parent, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let is_zero = |id: &str| id.bytes().all(|b| b == b'0');
    let whole = version != "00" || parts.next().is_none();
    (version != "ff" && whole && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

/// The X-Ray trace that Lambda runs this invocation in.
pub fn xray_of(request: &Request) -> Option<TraceHeader> {
    let context = request.lambda_context_ref();
    context.and_then(|context| TraceHeader::parse(context.xray_trace_id.as_deref()?))
}

/// What Lambda calls this invocation; unique to it.
pub(super) fn invocation_of(request: &Request) -> String {
    request.lambda_context_ref().map(|context| context.request_id.clone()).unwrap_or_default()
}

fn gateway_id(request: &Request) -> Option<&str> {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.as_deref(),
        _ => None,
    }
}

/// Works on one request, and counts it if it fails by our own or our services' fault.
pub async fn counting_failures(
    work: impl Future<Output = Result<Answer, ApiError>>,
) -> Result<Answer, ApiError> {
    let outcome = work.await;
    let codes = [ErrorCode::InternalError, ErrorCode::ServiceUnavailable];
    if outcome.as_ref().is_err_and(|error| codes.contains(&error.code)) {
        metrics::add(Metric::Failures, (None, None), 1);
    }
    outcome
}

/// The response for an outcome; errors are logged here, once, with their cause.
pub fn render(trace: &TraceId, outcome: Result<Answer, ApiError>) -> Response<Body> {
    let builder = Response::builder().header("x-trace-id", trace.as_str());
    let built = match outcome {
        Ok(Answer::Json { status, body, replayed }) => {
            let builder = builder
                .status(status)
                .header("content-type", "application/json")
                .header("cache-control", "no-store");
            let builder =
                if replayed { builder.header("idempotency-replayed", "true") } else { builder };
            builder.body(Body::Text(body.to_string()))
        }
        Ok(Answer::File(file)) => {
            let mut builder = builder
                .header("content-type", file.content_type)
                .header("cache-control", "public, max-age=300")
                .header("x-content-type-options", "nosniff");
            if file.gzip {
                builder = builder.header("content-encoding", "gzip");
            }
            if !file.policy.is_empty() {
                builder = builder.header("content-security-policy", file.policy);
            }
            builder.body(match std::str::from_utf8(file.bytes) {
                Ok(text) if !file.gzip => Body::Text(text.to_owned()),
                _ => Body::Binary(file.bytes.to_vec()),
            })
        }
        Ok(Answer::Raw { status, content_type, body }) => {
            builder.status(status).header("content-type", content_type).body(Body::Text(body))
        }
        Err(error) => {
            log(trace, &error);
            let mut builder = builder
                .status(error.code.status())
                .header("content-type", "application/problem+json")
                .header("cache-control", "no-store");
            if let Some(secs) = error.retry_after_secs {
                builder = builder.header("retry-after", secs);
            }
            if let Some(allow) = error.allow {
                builder = builder.header("allow", allow);
            }
            builder.body(Body::Text(json!(problem(trace, &error)).to_string()))
        }
    };
    built.unwrap_or_else(|error| {
        tracing::error!(trace = trace.as_str(), %error, "response not built");
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

fn problem(trace: &TraceId, error: &ApiError) -> Problem {
    let detail = |(field, issue): &(Cow<'_, str>, String)| ProblemDetail {
        field: field.to_string(),
        issue: issue.clone(),
    };
    Problem {
        error_code: error.code.as_str(),
        message: error.message.clone(),
        details: error.field.as_deref().into_iter().map(detail).collect(),
        trace_id: trace.as_str().to_owned(),
    }
}

fn log(trace: &TraceId, error: &ApiError) {
    let (trace, code) = (trace.as_str(), error.code.as_str());
    let cause = error.cause.as_deref().unwrap_or("");
    match error.code.status() {
        500 => tracing::error!(trace, code, cause, "request failed"),
        503 => tracing::warn!(trace, code, cause, "request put off"),
        _ => tracing::info!(trace, code, detail = error.message, "request refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_any_id_still_has_a_trace() {
        assert_eq!(trace_of(&Request::default()).as_str(), "untraced");
    }

    #[test]
    fn a_trace_is_continued_only_if_it_cannot_forge_a_log_line() {
        let with = |name: &str, value: &str| {
            let mut request = Request::default();
            request.headers_mut().insert(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
            trace_of(&request)
        };
        assert_eq!(with("x-trace-id", "abc-1").as_str(), "abc-1");
        assert_eq!(with("x-trace-id", "a b\"c").as_str(), "untraced");
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(with("traceparent", parent).as_str(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }
}
