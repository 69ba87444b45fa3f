//! Owns why an attempt had no answer. The texts are for the delivery log that merchants read: short,
//! printable, and never more than the other side or the network said.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;

/// The longest text from a library or from the other side.
const DETAIL_BYTES_MAX: usize = 200;

/// No answer to an attempt. After `Timeout` and `Protocol` the request may have been heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EgressError {
    /// The host leads where no notification may go, or the connection went elsewhere.
    Refused {
        /// The address.
        address: IpAddr,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The host has no address, or nobody answered for it.
    Dns(String),
    /// No TCP connection.
    Connect(String),
    /// No TLS session with a certificate of the host.
    Tls(String),
    /// The deadline passed.
    Timeout(Step),
    /// The connection broke before the answer began, or the answer was no HTTP/1.1.
    Protocol(String),
}

/// How far an attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Finding the addresses of the host.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Sending the request and reading the answer.
    Answer,
}

impl EgressError {
    /// The stable name of the class, for logs and metrics.
    pub const fn class(&self) -> &'static str {
        match self {
            EgressError::Refused { .. } => "refused",
            EgressError::Dns(_) => "dns",
            EgressError::Connect(_) => "connect",
            EgressError::Tls(_) => "tls",
            EgressError::Timeout(_) => "timeout",
            EgressError::Protocol(_) => "protocol",
        }
    }
}

impl fmt::Display for EgressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EgressError::Refused { address, reason } => write!(f, "{address} refused: {reason}"),
            EgressError::Dns(detail) => write!(f, "host not resolved: {detail}"),
            EgressError::Connect(detail) => write!(f, "no connection: {detail}"),
            EgressError::Tls(detail) => write!(f, "no TLS session: {detail}"),
            EgressError::Timeout(step) => write!(f, "timed out {step}"),
            EgressError::Protocol(detail) => write!(f, "no HTTP answer: {detail}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Resolve => "resolving the host",
            Step::Connect => "connecting",
            Step::Tls => "in the TLS handshake",
            Step::Answer => "waiting for the answer",
        })
    }
}

impl Error for EgressError {}

/// What `error` and the error beneath it say.
pub(super) fn detail(error: &dyn Error) -> String {
    let text = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    printable(&text, DETAIL_BYTES_MAX)
}

/// `text` without control characters other than line ends and tabs, at most `bytes_max` long.
fn printable(text: &str, bytes_max: usize) -> String {
    let shown = |symbol: char| match symbol {
        '\n' | '\t' => symbol,
        _ if symbol.is_control() => char::REPLACEMENT_CHARACTER,
        _ => symbol,
    };
    let mut text: String = text.chars().map(shown).collect();
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_printable_and_bounded() {
        assert_eq!(printable("a\r\n\tb\u{1b}[0m\0", 99), "a\u{fffd}\n\tb\u{fffd}[0m\u{fffd}");
        assert_eq!(printable("ab\u{430}c", 3), "ab");
        assert_eq!(printable("ab\u{430}c", 4), "ab\u{430}");
    }
}
