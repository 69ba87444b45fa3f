//! The rules of a destination's URL, one row per URL.

use super::*;

fn rules(allow_loopback: bool) -> Rules {
    let own_hosts = vec!["api.recharge.example".to_owned(), "Recharge-Pay.example.".to_owned()];
    Rules { allow_loopback, ports: vec![8443], own_hosts }
}

#[track_caller]
fn check(url: &str, refusal: UrlRefusal) {
    assert_eq!(Destination::parse(url, &rules(false)), Err(refusal), "{url}");
}

#[track_caller]
fn check_good(url: &str, authority: &str, port: u16, target: &str) {
    let destination = Destination::parse(url, &rules(true)).expect(url);
    assert_eq!(destination.authority(), authority, "{url}");
    assert_eq!((destination.port(), destination.target().as_str()), (port, target), "{url}");
    assert_eq!(destination.https(), url.starts_with("https:"), "{url}");
}

#[test]
fn public_names_over_https_are_destinations() {
    for (url, authority, port, target) in [
        ("https://hooks.merchant-a.example/recharge", "hooks.merchant-a.example", 443, "/recharge"),
        ("https://a.b:443/?x=1", "a.b", 443, "/?x=1"),
        ("https://A.Example:8443", "a.example:8443", 8443, "/"),
        ("https://a.example?to=u@b:c", "a.example", 443, "/?to=u@b:c"),
        ("https://a.example//b/../c;d=%20", "a.example", 443, "//b/../c;d=%20"),
        ("https://xn--e1afmkfd.xn--p1ai/", "xn--e1afmkfd.xn--p1ai", 443, "/"),
        ("https://127.0.0.1.nip.example/", "127.0.0.1.nip.example", 443, "/"),
        ("https://a.test/", "a.test", 443, "/"),
        ("https://a.invalid/", "a.invalid", 443, "/"),
    ] {
        assert!(Destination::parse(url, &rules(false)).is_ok(), "{url}");
        check_good(url, authority, port, target);
    }
}

#[test]
fn each_refusal_is_named() {
    use UrlRefusal::*;
    for (url, refusal) in [
        ("", Scheme),
        ("https:/a.example/", Scheme),
        ("//a.example/", Scheme),
        ("ftp://a.example/", Scheme),
        ("http://a.example/", Scheme),
        ("http://127.0.0.1/", Scheme),
        ("HTTPS://a.example/", Scheme),
        (" https://a.example/", Characters),
        ("https://a.example/ ", Characters),
        ("https://a.example/\r\nx: y", Characters),
        ("https://a.example/\0", Characters),
        ("https://a.example/\t", Characters),
        ("https://a.example\\@b.example/", Characters),
        ("https://\u{430}.example/", Characters),
        ("https://a\u{3002}example/", Characters),
        ("https://a.example/#", Fragment),
        ("https://a.example#@b.example/", Fragment),
        ("https://user@a.example/", UserPart),
        ("https://user:word@a.example/", UserPart),
        ("https://@a.example/", UserPart),
        ("https://a.example:80/", Port),
        ("https://a.example:/", Port),
        ("https://a.example:0/", Port),
        ("https://a.example:0443/", Port),
        ("https://a.example:+443/", Port),
        ("https://a.example:65979/", Port),
        ("https://a.example:22/", Port),
        ("https:///", HostName),
        ("https://:443/", HostName),
        ("https://a/", HostName),
        ("https://a..example/", HostName),
        ("https://.a.example/", HostName),
        ("https://a.example./", HostName),
        ("https://-a.example/", HostName),
        ("https://a-.example/", HostName),
        ("https://a_b.example/", HostName),
        ("https://%61.example/", HostName),
        ("https://a.example%2f@b/", UserPart),
        ("https://a.-x/", HostName),
        ("https://localhost/", PrivateName),
        ("https://a.LOCALHOST/", PrivateName),
        ("https://metadata.google.internal/", PrivateName),
        ("https://printer.local/", PrivateName),
        ("https://localhost.localdomain/", PrivateName),
        ("https://router.home.arpa/", PrivateName),
        ("https://1.0.0.127.in-addr.arpa/", PrivateName),
        ("https://a.onion/", PrivateName),
        ("https://router.lan/", PrivateName),
        ("https://wiki.corp/", PrivateName),
        ("https://kubernetes.default.svc/", PrivateName),
        ("https://api.recharge.example/", OwnHost),
        ("https://API.Recharge.example:8443/x", OwnHost),
        ("https://v1.api.recharge.example/", OwnHost),
        ("https://recharge-pay.example/", OwnHost),
        ("https://a.example/`", Path),
        ("https://a.example/<x>", Path),
        ("https://a.example/%0d%0aX:1", Path),
        ("https://a.example/x?y=%0A", Path),
        ("https://a.example/%00", Path),
    ] {
        check(url, refusal);
    }
    assert!(Destination::parse("https://not-api.recharge.example/", &rules(false)).is_ok());
}

#[test]
fn addresses_are_refused_in_every_spelling() {
    for host in [
        "127.0.0.1",
        "8.8.8.8",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7f.0x0.0x0.0x1",
        "017700000001",
        "0177.0.0.1",
        "00127.0.0.1",
        "1.2.3.4.5",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[2606:4700:4700::1111]",
        "[fe80::1%25eth0]",
        "[v1.a]",
        "::1",
        "[::1]:443",
        "127.0.0.1:443",
        "a.example:443:443",
    ] {
        check(&format!("https://{host}/"), UrlRefusal::AddressLiteral);
    }
    check("https://127.0.0.1./", UrlRefusal::HostName);
}

#[test]
fn a_local_run_may_call_the_loopback_address_and_nothing_else_more() {
    check_good("http://127.0.0.1:9000/x", "127.0.0.1:9000", 9000, "/x");
    check_good("http://127.9.9.9", "127.9.9.9", 80, "/");
    check_good("http://[::1]:9000", "[::1]:9000", 9000, "/");
    check_good("https://[::1]", "[::1]", 443, "/");
    for url in [
        "http://a.example/",
        "http://a.example:8443/",
        "http://localhost/",
        "https://localhost/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::]/",
        "http://127.0.0.1:0/",
        "http://u@127.0.0.1/",
        "ftp://127.0.0.1/",
        "https://a.example:80/",
    ] {
        assert!(Destination::parse(url, &rules(true)).is_err(), "{url}");
    }
}

#[test]
fn every_length_is_bounded() {
    let path = |length: usize| format!("https://a.example/{}", "x".repeat(length - 18));
    assert!(Destination::parse(&path(URL_BYTES_MAX), &rules(false)).is_ok());
    check(&path(URL_BYTES_MAX + 1), UrlRefusal::TooLong);
    let label = |length: usize| format!("https://{}.example/", "x".repeat(length));
    assert!(Destination::parse(&label(63), &rules(false)).is_ok());
    check(&label(64), UrlRefusal::HostName);
    let name = |length: usize| format!("https://{}b/", "a.".repeat((length - 1) / 2));
    assert!(Destination::parse(&name(253), &rules(false)).is_ok());
    check(&name(255), UrlRefusal::HostName);
}

#[test]
fn path_and_query_are_not_shown() {
    let url = "https://a.example:8443/secret?key=secret";
    let destination = Destination::parse(url, &rules(false)).unwrap();
    assert_eq!(format!("{destination:?}"), "Destination(https://a.example:8443)");
}
