//! The AWS JSON protocols as the embedded services speak them: a target in, a status and a body out.
//!
//! No service logic, no sockets.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::json;

/// The longest request body that any of the services takes, with room for JSON escapes.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One answer of an embedded service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The value of `content-type`.
    pub content_type: &'static str,
    /// The value of `x-amzn-query-error`, which SQS sends with its errors.
    pub query_error: Option<String>,
    /// The JSON body.
    pub body: String,
}

/// AWS JSON 1.0: DynamoDB and SQS.
pub const JSON_1_0: &str = "application/x-amz-json-1.0";
/// AWS JSON 1.1: Secrets Manager.
pub const JSON_1_1: &str = "application/x-amz-json-1.1";

impl WireAnswer {
    /// A successful answer.
    pub fn ok(content_type: &'static str, body: String) -> WireAnswer {
        WireAnswer { status: 200, content_type, query_error: None, body }
    }

    /// An error in the shape every AWS JSON client understands.
    pub fn error(status: u16, content_type: &'static str, kind: &str, message: &str) -> WireAnswer {
        let body = json!({ "__type": kind, "message": message }).to_string();
        WireAnswer { status, content_type, query_error: None, body }
    }

    /// The answer to a request whose target names no embedded service or operation.
    pub fn unknown_operation(content_type: &'static str, target: &str) -> WireAnswer {
        let message = format!("the embedded AWS services do not know the target {target:?}");
        WireAnswer::error(400, content_type, "UnknownOperationException", &message)
    }

    /// The answer when the service itself is broken, for example a full disk.
    pub fn internal(content_type: &'static str, message: &str) -> WireAnswer {
        WireAnswer::error(500, content_type, "InternalFailure", message)
    }

    /// The answer as the SDK's HTTP layer takes it.
    pub fn into_smithy(self) -> HttpResponse {
        let status = StatusCode::try_from(self.status);
        // Statuses are literals of this module; 500 stands for one that could not be.
        #[expect(clippy::expect_used, reason = "500 is a valid status")]
        let status =
            status.unwrap_or_else(|_| StatusCode::try_from(500).expect("500 is a valid status"));
        let mut response = HttpResponse::new(status, SdkBody::from(self.body));
        response.headers_mut().insert("content-type", self.content_type);
        if let Some(code) = self.query_error {
            response.headers_mut().insert("x-amzn-query-error", code);
        }
        response
    }
}

/// Splits `x-amz-target` into the service prefix and the operation.
pub fn split_target(target: &str) -> (&str, &str) {
    target.rsplit_once('.').unwrap_or((target, ""))
}

/// A stable 64-bit FNV-1a hash: the embedded services draw their identifiers from names, never from
/// the system's randomness.
pub fn stable_hash(parts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// A version-4-shaped UUID made of a name and a number.
pub fn stable_uuid(name: &str, number: u64) -> String {
    let number = number.to_string();
    let high = stable_hash(&[name, &number]);
    let low = stable_hash(&[&number, name]);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0x0fff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff,
    )
}
