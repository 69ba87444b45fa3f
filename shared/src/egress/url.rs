//! Owns which URLs may be named as the destination of a notification: https, a public host name and
//! nothing that reads differently elsewhere. Where the name leads is decided at every attempt, by
//! the guard.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::uri::PathAndQuery;

/// The longest URL.
pub const URL_BYTES_MAX: usize = 2_048;

/// The longest host name, and the longest label of one (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Names that never lead to the public internet, with all below them (RFC 6761, 6762, 7686, 8375), and those that are
/// used inside of networks and delegated to nobody (RFC 6762, appendix G; ICANN's `corp`, `home`, `mail`; Kubernetes).
const PRIVATE_TOPS: [&str; 14] = [
    "localhost",
    "local",
    "internal",
    "localdomain",
    "arpa",
    "onion",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "mail",
    "svc",
    "cluster",
];

/// What the operator allows beyond the fixed rules. The default allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Loopback literals are destinations, with any port, over http too. For local runs only.
    pub allow_loopback: bool,
    /// Ports beyond 443.
    pub ports: Vec<u16>,
    /// Our own host names: refused, with all names below them.
    pub own_hosts: Vec<String>,
}

/// A URL that may be called, if its name resolves to public addresses only.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    https: bool,
    host: Host,
    port: u16,
    target: PathAndQuery,
}

/// Where a destination is: a name to resolve, or the loopback address of a local run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Loopback(IpAddr),
}

/// Why a URL is refused, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlRefusal {
    /// Longer than [`URL_BYTES_MAX`].
    TooLong,
    /// A space, a control character, a backslash or anything beyond ASCII.
    Characters,
    /// A fragment.
    Fragment,
    /// Another scheme than https.
    Scheme,
    /// A user or a password before the host.
    UserPart,
    /// An IP address instead of a name, in any spelling.
    AddressLiteral,
    /// No well-formed host name.
    HostName,
    /// A name that never leads to the public internet.
    PrivateName,
    /// One of our own host names.
    OwnHost,
    /// A port that is not allowed.
    Port,
    /// A path or query with characters that have no place in one.
    Path,
}

impl UrlRefusal {
    /// For the answer to who gave the URL.
    pub const fn reason(self) -> &'static str {
        match self {
            UrlRefusal::TooLong => "must not be longer than 2048 bytes",
            UrlRefusal::Characters => "must be printable ASCII without spaces and backslashes",
            UrlRefusal::Fragment => "must not have a fragment",
            UrlRefusal::Scheme => "must start with https://",
            UrlRefusal::UserPart => "must not have a user part",
            UrlRefusal::AddressLiteral => "must name a host, not an address",
            UrlRefusal::HostName => "must have a well-formed host name with a dot",
            UrlRefusal::PrivateName => "must have a public host name",
            UrlRefusal::OwnHost => "must not lead to this service",
            UrlRefusal::Port => "must have an allowed port",
            UrlRefusal::Path => "must have a well-formed path and query",
        }
    }
}

impl fmt::Display for UrlRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the URL {}", self.reason())
    }
}

impl std::error::Error for UrlRefusal {}

impl Destination {
    /// Reads `text` as it stands: nothing is trimmed, decoded or repaired.
    pub fn parse(text: &str, rules: &Rules) -> Result<Destination, UrlRefusal> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlRefusal::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(UrlRefusal::Characters);
        }
        if text.contains('#') {
            return Err(UrlRefusal::Fragment);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlRefusal::Scheme)?;
        let https = scheme == "https";
        let plain = rules.allow_loopback && scheme == "http";
        if !https && !plain {
            return Err(UrlRefusal::Scheme);
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlRefusal::UserPart);
        }
        let (host, port) = split_port(authority);
        let host = parse_host(host, rules)?;
        if !https && matches!(host, Host::Name(_)) {
            return Err(UrlRefusal::Scheme);
        }
        let port = match port {
            None => default_port(https),
            Some(text) => parse_port(text).ok_or(UrlRefusal::Port)?,
        };
        let any_port = matches!(host, Host::Loopback(_));
        if !any_port && port != default_port(true) && !rules.ports.contains(&port) {
            return Err(UrlRefusal::Port);
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        // Encoded or not, a line's end has no business in a request's first line.
        let lowered = target.to_ascii_lowercase();
        if ["%00", "%0a", "%0d"].iter().any(|control| lowered.contains(control)) {
            return Err(UrlRefusal::Path);
        }
        let target = target.parse().map_err(|_| UrlRefusal::Path)?;
        Ok(Destination { https, host, port, target })
    }

    /// Whether the connection is TLS.
    pub const fn https(&self) -> bool {
        self.https
    }

    /// The host in lower case; an IPv6 address without its brackets.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::Loopback(ip) => ip.to_string(),
        }
    }

    /// Whether it is on this machine, where that is allowed.
    pub const fn is_loopback(&self) -> bool {
        matches!(self.host, Host::Loopback(_))
    }

    /// The port, written or not.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What the `Host` header says: the port only if it is not the scheme's.
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Host::Loopback(IpAddr::V6(ip)) => format!("[{ip}]"),
            Host::Loopback(_) | Host::Name(_) => self.host(),
        };
        if self.port == default_port(self.https) { host } else { format!("{host}:{}", self.port) }
    }

    pub(super) const fn place(&self) -> &Host {
        &self.host
    }

    pub(super) const fn target(&self) -> &PathAndQuery {
        &self.target
    }
}

/// Without path and query: merchants keep secrets there.
impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "Destination({scheme}://{})", self.authority())
    }
}

const fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// The last colon parts the port off, unless it is inside the brackets of an IPv6 address.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Plain digits, as they are written back: no sign, no leading zero.
fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port: &u16| *port != 0 && port.to_string() == text)
}

fn parse_host(text: &str, rules: &Rules) -> Result<Host, UrlRefusal> {
    if let Some(ip) = loopback_literal(text).filter(|_| rules.allow_loopback) {
        return Ok(Host::Loopback(ip));
    }
    if text.contains(['[', ']', ':']) {
        return Err(UrlRefusal::AddressLiteral);
    }
    let name = text.to_ascii_lowercase();
    let top = name.rsplit('.').next().unwrap_or("");
    // No top-level name starts with a digit; every spelling of an IPv4 address ends in a number.
    if top.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(UrlRefusal::AddressLiteral);
    }
    if PRIVATE_TOPS.contains(&top) {
        return Err(UrlRefusal::PrivateName);
    }
    if name.len() > HOST_BYTES_MAX || !name.contains('.') || !name.split('.').all(is_label) {
        return Err(UrlRefusal::HostName);
    }
    if rules.own_hosts.iter().any(|own| is_at_or_below(&name, own)) {
        return Err(UrlRefusal::OwnHost);
    }
    Ok(Host::Name(name))
}

/// A loopback address in its one proper spelling.
fn loopback_literal(text: &str) -> Option<IpAddr> {
    let ip = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?),
        None => IpAddr::V4(text.parse::<Ipv4Addr>().ok()?),
    };
    ip.is_loopback().then_some(ip)
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_at_or_below(name: &str, own: &str) -> bool {
    let own = own.trim_end_matches('.').to_ascii_lowercase();
    name.strip_suffix(&own).is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

#[cfg(test)]
mod tests;
