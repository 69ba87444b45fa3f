//! What is sent, and what is made of answers, good and bad. The server is on the loopback address.

use std::time::Duration;

use http::{HeaderValue, header};

use super::*;

/// The reply of a server that does `answer`, and the server.
async fn ask(answer: Answer) -> (Result<Reply, EgressError>, Server) {
    let server = Server::start(answer).await;
    let url = format!("http://{}/hook?x=1", server.address);
    let reply = send(&Guard::default(), &destination(&url)).await;
    (reply, server)
}

async fn once(text: &str) -> Result<Reply, EgressError> {
    ask(Answer::Once(text.to_owned())).await.0
}

fn endless(head: &'static str, again: &str, pause_ms: u64) -> Answer {
    Answer::Endless(head, again.to_owned(), Duration::from_millis(pause_ms))
}

#[tokio::test]
async fn one_request_leaves_as_the_guard_frames_it() {
    let server = Server::start(Answer::Once("HTTP/1.1 204 No Content\r\n\r\n".into())).await;
    let url = format!("http://{}/hook?x=1", server.address);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::HOST, "169.254.169.254"),
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::CONTENT_LENGTH, "7"),
        (header::TRANSFER_ENCODING, "chunked"),
        (header::EXPECT, "100-continue"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let body = Bytes::from_static(b"{}");
    let reply = Guard::default().send(&destination(&url), headers, body, LIMITS).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.address), (204, server.address));
    let heard = server.heard().to_lowercase();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.split("\r\n").collect();
    lines.sort_unstable();
    let host = format!("host: {}", server.address);
    assert_eq!(
        lines,
        [
            "connection: close",
            "content-length: 2",
            "content-type: application/json",
            &host,
            "post /hook?x=1 http/1.1",
        ]
    );
    assert_eq!((body, server.accepted()), ("{}", 1));
}

#[tokio::test]
async fn status_and_headers_come_back_and_nothing_of_the_body() {
    let answer = "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 9\r\n\r\nlater\x1b[1m";
    let reply = once(answer).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.whole), (503, true));
    assert_eq!(reply.headers["retry-after"], "7");
    assert!(!format!("{reply:?}").contains("later"), "{reply:?}");
}

#[tokio::test]
async fn a_redirect_is_a_status() {
    let target = Server::start(Answer::Hang).await;
    let location = format!("http://{}/", target.address);
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let (reply, server) = ask(Answer::Once(answer)).await;
    assert_eq!(reply.unwrap().status.as_u16(), 302);
    assert_eq!((server.accepted(), target.accepted()), (1, 0));
}

#[tokio::test]
async fn a_long_body_is_cut_and_no_error() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";
    let (reply, server) = ask(endless(HEAD, &"a".repeat(10_000), 0)).await;
    let reply = reply.unwrap();
    assert_eq!((reply.status.as_u16(), reply.whole), (200, false));
    drop(server);

    for (length, whole) in [(64 * 1_024, true), (64 * 1_024 + 1, false)] {
        let body = "a".repeat(length);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        assert_eq!(once(&answer).await.unwrap().whole, whole, "{length}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_takes_nothing_away_from_the_status() {
    let reply = once("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort").await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.whole), (200, false));
}

#[tokio::test]
async fn no_answer_outlives_the_deadline() {
    for answer in [
        Answer::Hang,
        endless("HTTP/1.1 200 OK\r\n", "x: y\r\n", 20),
        endless("", "HTTP/1.1 100 Continue\r\n\r\n", 20),
    ] {
        let began = Instant::now();
        let (reply, server) = ask(answer.clone()).await;
        assert_eq!(reply, Err(EgressError::Timeout(Step::Answer)), "{answer:?}");
        assert!(began.elapsed() < LIMITS.deadline * 4, "{answer:?}");
        assert_eq!(server.accepted(), 1);
    }
}

#[tokio::test]
async fn a_status_counts_although_its_body_does_not_end_in_time() {
    for answer in [
        endless("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", "a", 20),
        endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\na\r\n", 20),
    ] {
        let began = Instant::now();
        let (reply, _server) = ask(answer.clone()).await;
        let reply = reply.unwrap();
        assert_eq!((reply.status.as_u16(), reply.whole), (200, false), "{answer:?}");
        assert!(began.elapsed() < LIMITS.deadline * 4, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_http_answer_is_an_error() {
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    for answer in ["", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 200", &long_head, &many_headers] {
        let error = once(answer).await.unwrap_err();
        assert_eq!(error.class(), "protocol", "{answer:.30} {error}");
    }
}
