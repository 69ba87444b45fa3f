//! The closed list of error codes, and the answers that carry them. One response per status, shared by
//! all routes.

use serde_json::json;
use utoipa::openapi::content::{Content, ContentBuilder};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};

use super::headers;
use crate::http::ErrorCode;

/// What a code means, in a line of the introduction. A new code does not compile without one.
pub fn meaning(code: ErrorCode) -> &'static str {
    use ErrorCode::*;
    match code {
        InvalidArgument => "something is missing, malformed or out of range; `details` names it",
        CallbackUrlNotAllowed => "`callbackUrl` leads where we do not call",
        Unauthenticated => "a header of the signature is missing",
        SignatureInvalid => "the signature does not fit, or the key is unknown",
        TimestampOutOfRange => "signed too long ago, or in the future",
        Forbidden => "the key lacks the scope, or the merchant or the user is suspended",
        NotFound => "unknown, or somebody else's",
        MethodNotAllowed => "the path exists, not with this verb; see `Allow`",
        Conflict => "something else stands in the way: a reference in use, an order that has ended",
        RequestInProgress => "reserved: a repeated request waits for the first one",
        PayloadTooLarge => "the body has more bytes than are read",
        UnsupportedMediaType => "not a content type of this route",
        IdempotencyKeyReused => "the key belongs to another request; nothing was executed",
        RateLimited => "too many requests; wait as `Retry-After` says",
        InternalError => "our bug; the trace finds it",
        ProviderError => "reserved: no route answers with it",
        ServiceUnavailable => "come again; see `Retry-After`",
        ProviderUnavailable => "the provider cannot be reached; see `Retry-After`",
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Every shared error response under its name.
pub fn responses() -> Vec<(&'static str, Response)> {
    NAMES
        .iter()
        .map(|(status, name, description)| (*name, response(*status, description)))
        .collect()
}

/// The reference to the shared response of `status`.
pub fn reference(status: u16) -> (String, RefOr<Response>) {
    let name = NAMES.iter().find(|(known, ..)| *known == status).map_or("", |(_, name, _)| *name);
    (status.to_string(), RefOr::Ref(Ref::from_response_name(name)))
}

const NAMES: [(u16, &str, &str); 12] = [
    (400, "BadRequest", "Malformed: the first fault is named. Nothing was executed."),
    (401, "Unauthenticated", "Not signed, or not by a known key."),
    (403, "Forbidden", "The key may not do this."),
    (404, "NotFound", "Unknown, or somebody else's."),
    (405, "MethodNotAllowed", "The path exists, not with this verb."),
    (409, "Conflict", "Something else stands in the way. Nothing was executed."),
    (413, "PayloadTooLarge", "More bytes than are read."),
    (415, "UnsupportedMediaType", "Not a content type of this route."),
    (422, "KeyReused", "The idempotency key belongs to another request. Nothing was executed."),
    (429, "RateLimited", "Too many requests. From the gateway itself it is `application/json`."),
    (500, "InternalError", "Our bug. Send the same request again; the trace helps us to find it."),
    (503, "Unavailable", "Not now: send the same request again."),
];

fn response(status: u16, description: &str) -> Response {
    let codes = ErrorCode::ALL.into_iter().filter(|code| code.status() == status);
    let examples = codes.map(ErrorCode::as_str).map(|code| {
        let (message, details) = words_of(code);
        let value = json!({
            "errorCode": code, "message": message, "details": details, "traceId": TRACE,
        });
        (code, RefOr::T(ExampleBuilder::new().value(Some(value)).build()))
    });
    let problem = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    let mut response = headers::answered(ResponseBuilder::new().description(description))
        .content("application/problem+json", problem);
    if [429, 500, 503].contains(&status) {
        let gateway = Content::new(Some(Ref::from_schema_name("GatewayMessage")));
        response = response.content("application/json", gateway);
    }
    if [429, 503].contains(&status) {
        response = response.header("Retry-After", headers::retry_after());
    }
    if status == 405 {
        response = response.header("Allow", headers::allow());
    }
    response.build()
}

/// What a typical answer with `code` says.
fn words_of(code: &str) -> (&'static str, serde_json::Value) {
    let field = |field: &str, issue: &str| json!([{"field": field, "issue": issue}]);
    let public = "must be an https URL of a public host name";
    match code {
        "INVALID_ARGUMENT" => ("userId is required", field("userId", "is required")),
        "CALLBACK_URL_NOT_ALLOWED" => {
            ("callbackUrl must be an https URL of a public host name", field("callbackUrl", public))
        }
        "UNAUTHENTICATED" => ("send X-Api-Key, X-Timestamp and X-Signature", json!([])),
        "SIGNATURE_INVALID" => ("the signature does not fit", json!([])),
        "TIMESTAMP_OUT_OF_RANGE" => {
            ("X-Timestamp must be Unix seconds within 300 of now", json!([]))
        }
        "FORBIDDEN" => ("the key lacks the scope", json!([])),
        "NOT_FOUND" => ("no such resource", json!([])),
        "METHOD_NOT_ALLOWED" => ("use GET", json!([])),
        "CONFLICT" => (
            "orderReference belongs to another order",
            field("orderReference", "belongs to another order"),
        ),
        "REQUEST_IN_PROGRESS" => ("the same request is being worked on", json!([])),
        "PAYLOAD_TOO_LARGE" => ("the body may have at most 65536 bytes", json!([])),
        "UNSUPPORTED_MEDIA_TYPE" => ("send the body as application/json", json!([])),
        "IDEMPOTENCY_KEY_REUSED" => ("the key was used for another request", json!([])),
        "RATE_LIMITED" => ("too many requests: slow down", json!([])),
        "INTERNAL_ERROR" => ("internal error", json!([])),
        "PROVIDER_UNAVAILABLE" => {
            ("the payment provider cannot be reached: send the same request again", json!([]))
        }
        _ => ("temporarily unavailable: retry", json!([])),
    }
}
