//! The X-Ray trace that the work in this task belongs to: taken from the invocation or the message, written
//! into its log lines, and sent on with the messages that it causes.

use std::collections::HashMap;
use std::fmt;

/// SQS's name for it, among a message's system attributes.
const ATTRIBUTE: &str = "AWSTraceHeader";

/// A tracing header: its root, and what else of it is sent on. Strictly read: a queue would refuse a message
/// whose header is none, and money must not wait for a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeader {
    root: String,
    rest: String,
}

impl TraceHeader {
    /// Reads `Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=<0 or 1>`; only the root must be there, and
    /// members of other names are dropped.
    pub fn parse(text: &str) -> Option<TraceHeader> {
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let (mut root, mut parent, mut sampled) = (None, None, None);
        for (name, value) in text.split(';').filter_map(|member| member.split_once('=')) {
            match name.trim() {
                "Root" => root = Some(value),
                "Parent" if is_hex(value, 16) => parent = Some(value),
                "Sampled" if matches!(value, "0" | "1") => sampled = Some(value),
                _ => {}
            }
        }
        let root = root.filter(|root| {
            let mut parts = root.split('-');
            parts.next() == Some("1")
                && parts.next().is_some_and(|time| is_hex(time, 8))
                && parts.next().is_some_and(|unique| is_hex(unique, 24))
                && parts.next().is_none()
        })?;
        let mut rest = String::new();
        for (name, value) in [("Parent", parent), ("Sampled", sampled)] {
            if let Some(value) = value {
                rest.extend([";", name, "=", value]);
            }
        }
        Some(TraceHeader { root: root.to_owned(), rest })
    }

    /// That of a queue's message, from its attributes.
    pub fn of_message(attributes: &HashMap<String, String>) -> Option<TraceHeader> {
        attributes.get(ATTRIBUTE).and_then(|header| TraceHeader::parse(header))
    }

    /// The trace's id, as log lines name it.
    pub fn root(&self) -> &str {
        &self.root
    }
}

impl fmt::Display for TraceHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root={}{}", self.root, self.rest)
    }
}

tokio::task_local! {
    static CURRENT: Option<TraceHeader>;
}

/// Does `work` as a part of a trace.
pub fn under<T>(
    header: Option<TraceHeader>,
    work: impl Future<Output = T>,
) -> impl Future<Output = T> {
    CURRENT.scope(header, work)
}

/// The header to send on.
pub fn current() -> Option<TraceHeader> {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, wanted: Option<&str>) {
        assert_eq!(TraceHeader::parse(text).map(|header| header.to_string()).as_deref(), wanted);
    }

    #[test]
    fn headers_are_read_strictly_and_written_again() {
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
        let whole = format!("{root};Parent=53995c3f42cd8ad8;Sampled=1");
        check(&whole, Some(&whole));
        check(root, Some(root));
        check(&format!("{whole};Lineage=a:1|b"), Some(&whole));
        check(&format!("Self=1-0-0;{root};Parent=xyz;Sampled=?"), Some(root));
        for bad in ["", "Root=", "Root=1-5759e988", "Root=2-5759e988-bd862e3fe1be46a994272793"] {
            check(bad, None);
        }
        check(&format!("{root}-1"), None);
        check("Root=1-5759e98\n-bd862e3fe1be46a994272793", None);
    }
}
