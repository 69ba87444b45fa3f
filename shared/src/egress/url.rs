//! Where a notification may go, by its URL alone: HTTPS, a public host name, a usual port. Where the name
//! leads is asked, and checked, at every attempt.

use std::net::IpAddr;

/// The longest URL.
pub const URL_BYTES_MAX: usize = 2_048;

/// What a deployment allows beyond the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The ports that may be called.
    pub ports: Vec<u16>,
    /// Our own host names, in lower case: nothing is sent there.
    pub own_hosts: Vec<String>,
    /// Lets `http://127.0.0.1:PORT` through; for the local stack.
    pub allow_loopback: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { ports: vec![443], own_hosts: Vec::new(), allow_loopback: false }
    }
}

/// A URL that may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Host name in lower case, or a loopback address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub is_https: bool,
}

/// Reads `text`, if notifications may go there.
pub fn destination(text: &str, rules: &Rules) -> Option<Destination> {
    let graphic = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if text.len() > URL_BYTES_MAX || !graphic || text.contains('#') {
        return None;
    }
    let (is_https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) if rules.allow_loopback => (false, rest),
        _ => return None,
    };
    let authority = rest.split(['/', '?']).next().unwrap_or("");
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, number(port)?),
        None => (authority, if is_https { 443 } else { 80 }),
    };
    let host = host.to_ascii_lowercase();
    if rules.allow_loopback && host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return Some(Destination { host, port, is_https });
    }
    let allowed = is_https
        && rules.ports.contains(&port)
        && is_public_name(&host)
        && !rules.own_hosts.contains(&host);
    allowed.then_some(Destination { host, port, is_https })
}

/// A port as usually written.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

/// Host names only: an address in any spelling has no letter at the start of its last label.
fn is_public_name(host: &str) -> bool {
    const PRIVATE: [&str; 7] =
        ["localhost", "local", "internal", "localdomain", "lan", "onion", "arpa"];
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let top = host.rsplit('.').next().unwrap_or("");
    host.len() <= 253
        && host.contains('.')
        && host.split('.').all(label)
        && top.starts_with(|first: char| first.is_ascii_alphabetic())
        && !PRIVATE.contains(&top)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let own_hosts = vec!["api.recharge.example".to_owned()];
        Rules { ports: vec![443, 8443], own_hosts, allow_loopback: false }
    }

    #[test]
    fn public_names_on_allowed_ports_may_be_tried() {
        for (good, port) in [
            ("https://hooks.merchant-a.example/recharge", 443),
            ("https://a.b:443/?x=1", 443),
            ("https://a.b?x=1", 443),
            ("https://A.Example:8443/", 8443),
        ] {
            let found = destination(good, &rules());
            assert_eq!(found.map(|found| found.port), Some(port), "{good}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "http://a.example/",
            "https://localhost/",
            "https://a.localhost/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://user@a.example/",
            "https://u:p@a.example/",
            "https://a.example:22/",
            "https://a.example:0443/",
            "https://a.example:+443/",
            "https://a.example:443443/",
            "https://a.example\\@b/",
            "https://a..example/",
            "https://.example/",
            "https://a.example./",
            "https://metadata.google.internal/",
            "https://printer.local/",
            "https://1.0.0.127.in-addr.arpa/",
            "ftp://a.example/",
            "file:///etc/passwd",
            "https://a.example/\r\nX: 1",
            "https://a.example/ x",
            "https://a.example/#f",
            "https://ex\u{430}mple.example/",
            "https:///path",
            "https://api.recharge.example/recharges",
            "https://API.recharge.example:443/",
            "HTTPS://a.example/",
            "//a.example/",
            "",
            "https://",
            &format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX)),
        ] {
            assert_eq!(destination(bad, &rules()), None, "{bad}");
        }
    }

    #[test]
    fn loopback_is_for_the_local_stack_alone() {
        let local = Rules { allow_loopback: true, ..Rules::default() };
        let found = destination("http://127.0.0.1:9999/hook", &local).unwrap();
        assert_eq!((found.port, found.is_https), (9_999, false));
        for bad in
            ["http://localhost:9999/", "http://10.0.0.1/", "http://a.example/", "http://127.1/"]
        {
            assert_eq!(destination(bad, &local), None, "{bad}");
        }
    }
}
