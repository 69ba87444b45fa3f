//! What the guard connects to, and what it does not.

mod answers;
mod support;
mod tls;

use std::io;

use support::{
    Answer, Dialer, LIMITS, PUBLIC, Resolver, Server, SilentResolver, destination, ip, send,
};

use tokio::net::TcpListener;

use super::*;

fn refusal(error: &EgressError) -> (&IpAddr, &'static str) {
    let EgressError::Refused { address, reason } = error else { panic!("{error:?}") };
    (address, reason)
}

#[tokio::test]
async fn a_name_that_is_rebound_is_never_followed() {
    let server = Server::start(Answer::Hang).await;
    let resolver = Resolver::with([Ok(vec![ip(PUBLIC)]), Ok(vec![ip("127.0.0.1")])]);
    let dialer = Dialer::unreachable();
    let guard = Guard::new(resolver.clone(), dialer.clone());
    let destination = destination(&format!("https://a.example:{}/", server.port()));

    let first = send(&guard, &destination).await.unwrap_err();
    assert_eq!(first.class(), "connect");
    assert_eq!(resolver.asked(), ["a.example"], "once per attempt");
    assert_eq!(dialer.dialed(), [SocketAddr::new(ip(PUBLIC), server.port())]);

    let second = send(&guard, &destination).await.unwrap_err();
    assert_eq!(refusal(&second), (&ip("127.0.0.1"), "loopback"));
    assert_eq!(resolver.asked().len(), 2);
    assert_eq!(dialer.dialed().len(), 1);
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn one_refused_address_refuses_the_attempt_and_nothing_is_connected_to() {
    for (addresses, bad, reason) in [
        (vec!["127.0.0.1"], "127.0.0.1", "loopback"),
        (vec!["::1"], "::1", "loopback"),
        (vec![PUBLIC, "127.0.0.1"], "127.0.0.1", "loopback"),
        (vec!["127.0.0.1", PUBLIC], "127.0.0.1", "loopback"),
        (vec![PUBLIC, "2606:4700::1", "fd00:ec2::254"], "fd00:ec2::254", "private network"),
        (vec!["169.254.169.254"], "169.254.169.254", "link-local"),
        (vec!["0.0.0.0"], "0.0.0.0", "this network"),
        (vec!["::"], "::", "unspecified"),
        (vec!["::ffff:127.0.0.1"], "::ffff:127.0.0.1", "IPv4-mapped"),
        (vec!["::ffff:8.8.8.8"], "::ffff:8.8.8.8", "IPv4-mapped"),
        (vec!["64:ff9b::7f00:1"], "64:ff9b::7f00:1", "NAT64 of a refused address"),
    ] {
        let server = Server::start(Answer::Hang).await;
        let resolver = Resolver::with([Ok(addresses.iter().map(|text| ip(text)).collect())]);
        let dialer = Dialer::leading_to(server.address);
        let guard = Guard::new(resolver, dialer.clone());
        let url = format!("https://a.example:{}/", server.port());
        let error = send(&guard, &destination(&url)).await.unwrap_err();
        assert_eq!(refusal(&error), (&ip(bad), reason), "{addresses:?}");
        assert_eq!((dialer.dialed(), server.accepted()), (vec![], 0), "{addresses:?}");
    }
}

#[tokio::test]
async fn names_are_held_to_public_addresses_in_a_local_run_too() {
    let server = Server::start(Answer::Hang).await;
    let guard = Guard::new(Resolver::with([Ok(vec![ip("127.0.0.1")])]), Arc::new(TcpDialer));
    let url = format!("https://a.example:{}/", server.port());
    let error = send(&guard, &destination(&url)).await.unwrap_err();
    assert_eq!((error.class(), server.accepted()), ("refused", 0));
}

#[tokio::test]
async fn a_name_without_an_address_is_said_to_have_none() {
    for answer in [Err(io::Error::other("NXDOMAIN")), Ok(vec![])] {
        let dialer = Dialer::unreachable();
        let guard = Guard::new(Resolver::with([answer]), dialer.clone());
        let error = send(&guard, &destination("https://a.example/")).await.unwrap_err();
        assert_eq!((error.class(), dialer.dialed()), ("dns", vec![]));
    }
}

#[tokio::test]
async fn one_address_is_tried_and_that_is_ipv4_if_there_is_one() {
    for (addresses, dialed) in [
        (vec!["2606:4700::1", PUBLIC, "8.8.8.8"], PUBLIC),
        (vec!["2606:4700::1", "2606:4700::2"], "2606:4700::1"),
    ] {
        let dialer = Dialer::unreachable();
        let resolver = Resolver::with([Ok(addresses.into_iter().map(ip).collect())]);
        let guard = Guard::new(resolver, dialer.clone());
        let error = send(&guard, &destination("https://a.example/")).await.unwrap_err();
        assert_eq!(error.class(), "connect");
        assert_eq!(dialer.dialed(), [SocketAddr::new(ip(dialed), 443)]);
    }
}

#[tokio::test]
async fn a_connection_that_went_elsewhere_hears_nothing() {
    let server = Server::start(Answer::Hang).await;
    let dialer = Dialer::leading_to(server.address);
    let guard = Guard::new(Resolver::with([Ok(vec![ip(PUBLIC)])]), dialer);
    let url = format!("https://a.example:{}/", server.port());
    let error = send(&guard, &destination(&url)).await.unwrap_err();
    assert_eq!(refusal(&error).0, &ip("127.0.0.1"));
    assert!(refusal(&error).1.contains("another address"));
    assert_eq!(server.heard(), "");
}

#[tokio::test]
async fn the_deadline_holds_for_resolver_and_dialer() {
    let guard = Guard::new(Arc::new(SilentResolver), Dialer::unreachable());
    let error = send(&guard, &destination("https://a.example/")).await.unwrap_err();
    assert_eq!(error, EgressError::Timeout(Step::Resolve));

    let guard = Guard::new(Resolver::with([Ok(vec![ip(PUBLIC)])]), Dialer::silent());
    let error = send(&guard, &destination("https://a.example/")).await.unwrap_err();
    assert_eq!(error, EgressError::Timeout(Step::Connect));
}

#[tokio::test]
async fn nobody_listening_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = send(&Guard::default(), &destination(&url)).await.unwrap_err();
    assert_eq!(error.class(), "connect");
}
