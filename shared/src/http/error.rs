//! Errors as clients see them: a closed list of codes, one status each. What went wrong inside stays
//! in the log.

use std::borrow::Cow;

use crate::providers::Refusal;
use crate::queue::NotConfirmed;
use crate::secrets::Unavailable;
use crate::store::StoreError;

/// The closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 400: a member is missing, malformed or out of range.
    InvalidArgument,
    /// 400: the callback URL leads where we do not call.
    CallbackUrlNotAllowed,
    /// 401: no credentials.
    Unauthenticated,
    /// 401: the signature does not fit.
    SignatureInvalid,
    /// 401: signed too long ago, or in the future.
    TimestampOutOfRange,
    /// 403: the key may not do this.
    Forbidden,
    /// 404: unknown, or somebody else's.
    NotFound,
    /// 405: the route exists, not with this verb.
    MethodNotAllowed,
    /// 409: the same request is being worked on.
    RequestInProgress,
    /// 409: something else stands in the way.
    Conflict,
    /// 413: more bytes than are read.
    PayloadTooLarge,
    /// 415: not a content type of this route.
    UnsupportedMediaType,
    /// 422: the key was used for another request.
    IdempotencyKeyReused,
    /// 429: too many creates; come again later.
    RateLimited,
    /// 500: our bug.
    InternalError,
    /// 502: the payment provider answered what cannot be.
    ProviderError,
    /// 503: come again.
    ServiceUnavailable,
    /// 503: the payment provider is away; come again.
    ProviderUnavailable,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [ErrorCode; 18] = [
        ErrorCode::InvalidArgument,
        ErrorCode::CallbackUrlNotAllowed,
        ErrorCode::Unauthenticated,
        ErrorCode::SignatureInvalid,
        ErrorCode::TimestampOutOfRange,
        ErrorCode::Forbidden,
        ErrorCode::NotFound,
        ErrorCode::MethodNotAllowed,
        ErrorCode::RequestInProgress,
        ErrorCode::Conflict,
        ErrorCode::PayloadTooLarge,
        ErrorCode::UnsupportedMediaType,
        ErrorCode::IdempotencyKeyReused,
        ErrorCode::RateLimited,
        ErrorCode::InternalError,
        ErrorCode::ProviderError,
        ErrorCode::ServiceUnavailable,
        ErrorCode::ProviderUnavailable,
    ];

    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorCode::InvalidArgument => "INVALID_ARGUMENT",
            ErrorCode::CallbackUrlNotAllowed => "CALLBACK_URL_NOT_ALLOWED",
            ErrorCode::Unauthenticated => "UNAUTHENTICATED",
            ErrorCode::SignatureInvalid => "SIGNATURE_INVALID",
            ErrorCode::TimestampOutOfRange => "TIMESTAMP_OUT_OF_RANGE",
            ErrorCode::Forbidden => "FORBIDDEN",
            ErrorCode::NotFound => "NOT_FOUND",
            ErrorCode::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            ErrorCode::RequestInProgress => "REQUEST_IN_PROGRESS",
            ErrorCode::Conflict => "CONFLICT",
            ErrorCode::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            ErrorCode::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            ErrorCode::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            ErrorCode::RateLimited => "RATE_LIMITED",
            ErrorCode::InternalError => "INTERNAL_ERROR",
            ErrorCode::ProviderError => "PROVIDER_ERROR",
            ErrorCode::ServiceUnavailable => "SERVICE_UNAVAILABLE",
            ErrorCode::ProviderUnavailable => "PROVIDER_UNAVAILABLE",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            ErrorCode::InvalidArgument | ErrorCode::CallbackUrlNotAllowed => 400,
            ErrorCode::Unauthenticated
            | ErrorCode::SignatureInvalid
            | ErrorCode::TimestampOutOfRange => 401,
            ErrorCode::Forbidden => 403,
            ErrorCode::NotFound => 404,
            ErrorCode::MethodNotAllowed => 405,
            ErrorCode::RequestInProgress | ErrorCode::Conflict => 409,
            ErrorCode::PayloadTooLarge => 413,
            ErrorCode::UnsupportedMediaType => 415,
            ErrorCode::IdempotencyKeyReused => 422,
            ErrorCode::RateLimited => 429,
            ErrorCode::InternalError => 500,
            ErrorCode::ProviderError => 502,
            ErrorCode::ServiceUnavailable | ErrorCode::ProviderUnavailable => 503,
        }
    }
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Which one.
    pub code: ErrorCode,
    /// A sentence for the client's engineer.
    pub message: String,
    /// The member at fault and what is wrong with it.
    pub field: Option<Box<(Cow<'static, str>, String)>>,
    /// Verbs that the route knows, for 405.
    pub allow: Option<&'static str>,
    /// Whole seconds after which to come again, for 429 and 503.
    pub retry_after_secs: Option<u32>,
    /// For the log only.
    pub cause: Option<String>,
}

impl ApiError {
    /// An error with a sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        let (message, retry_after_secs) = (message.into(), None);
        ApiError { code, message, field: None, allow: None, retry_after_secs, cause: None }
    }

    /// 400 for one member: `issue` completes the sentence that starts with its name.
    pub fn field(name: impl Into<Cow<'static, str>>, issue: impl Into<String>) -> ApiError {
        let (name, issue) = (name.into(), issue.into());
        let error = ApiError::new(ErrorCode::InvalidArgument, format!("{name} {issue}"));
        ApiError { field: Some(Box::new((name, issue))), ..error }
    }

    /// 400 for a member or parameter that there is not. It is named if it looks like one: nothing else that was sent is
    /// repeated.
    pub fn unknown(name: &str, what: &str, known: &[&str]) -> ApiError {
        let known = known.join(", ");
        let like_one = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        match like_one {
            true => {
                ApiError::field(name.to_owned(), format!("is no {what}; known ones are {known}"))
            }
            false => {
                let message = format!("unknown {what}; known ones are {known}");
                ApiError::new(ErrorCode::InvalidArgument, message)
            }
        }
    }

    /// 404, the same for unknown and for somebody else's.
    pub fn not_found() -> ApiError {
        ApiError::new(ErrorCode::NotFound, "no such resource")
    }

    /// 405 with the verbs that would do.
    pub fn method_not_allowed(allow: &'static str) -> ApiError {
        let error = ApiError::new(ErrorCode::MethodNotAllowed, format!("use {allow}"));
        ApiError { allow: Some(allow), ..error }
    }

    /// 429: to come again after `secs` seconds.
    pub fn rate_limited(secs: u32) -> ApiError {
        let error = ApiError::new(ErrorCode::RateLimited, "too many requests: slow down");
        ApiError { retry_after_secs: Some(secs), ..error }
    }

    /// 503.
    pub fn unavailable(cause: impl Into<String>) -> ApiError {
        let error = ApiError::new(ErrorCode::ServiceUnavailable, "temporarily unavailable: retry");
        ApiError { cause: Some(cause.into()), retry_after_secs: Some(1), ..error }
    }

    /// 503: the payment provider cannot be reached.
    pub fn provider_unavailable() -> ApiError {
        let message = "the payment provider cannot be reached: send the same request again";
        let error = ApiError::new(ErrorCode::ProviderUnavailable, message);
        ApiError { retry_after_secs: Some(30), ..error }
    }

    fn internal(cause: impl Into<String>) -> ApiError {
        let error = ApiError::new(ErrorCode::InternalError, "internal error");
        ApiError { cause: Some(cause.into()), ..error }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match error {
            StoreError::Busy(_) => ApiError::unavailable(error.to_string()),
            StoreError::Damaged(_) => ApiError::internal(error.to_string()),
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> ApiError {
        ApiError::unavailable(error.to_string())
    }
}

impl From<NotConfirmed> for ApiError {
    fn from(error: NotConfirmed) -> ApiError {
        ApiError::unavailable(error.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        match refusal {
            Refusal::Malformed(issue) => ApiError::new(ErrorCode::InvalidArgument, issue),
            Refusal::UnsupportedMediaType => ApiError::new(
                ErrorCode::UnsupportedMediaType,
                "not a content type of this provider",
            ),
            Refusal::Signature => {
                ApiError::new(ErrorCode::SignatureInvalid, "the signature does not fit")
            }
            Refusal::Timestamp => {
                ApiError::new(ErrorCode::TimestampOutOfRange, "signed outside the time window")
            }
            Refusal::KeysUnavailable => ApiError::unavailable("provider keys"),
        }
    }
}
