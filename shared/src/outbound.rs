//! HTTP to the outside: one request, one deadline, a bounded answer. No redirects, no proxies.
//! An error means "we do not know": the request may have had its effect.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

/// Bounds of one call.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the start of the call to the last byte of the answer.
    pub deadline: Duration,
    /// The longest answer that is read.
    pub answer_bytes_max: usize,
}

/// No usable answer; whether the request had its effect is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboundError {
    /// No connection was made: the request has not left.
    NotSent,
    /// The deadline passed.
    TimedOut,
    /// The connection broke, or the answer was no HTTP.
    Broken,
    /// The answer was longer than the limit.
    AnswerTooLarge,
}

impl fmt::Display for OutboundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OutboundError::NotSent => "no connection",
            OutboundError::TimedOut => "timed out",
            OutboundError::Broken => "connection broken",
            OutboundError::AnswerTooLarge => "answer too large",
        })
    }
}

impl std::error::Error for OutboundError {}

/// Sends requests to the outside.
#[async_trait]
pub trait Outbound: fmt::Debug + Send + Sync {
    /// Sends `request` and reads the whole answer, whatever its status.
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError>;
}
