//! TLS: the certificate must be trusted and must have the name of the URL; SNI says that name.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::tls::testing;

/// A guard that trusts the certificate for `name`.
fn trusting(name: &str) -> Guard {
    let guard = Guard::default();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider);
    let config = versions.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(testing::roots(&[name])).with_no_client_auth();
    guard.tls.set(Some(Arc::new(config))).unwrap();
    guard
}

/// A server with the certificate for `name`; its task gives what a client asked for by SNI.
async fn server(name: &str) -> (SocketAddr, tokio::task::JoinHandle<Option<String>>) {
    let acceptor = testing::acceptor(name);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.ok()?;
        let asked = stream.get_ref().1.server_name().map(str::to_owned);
        let _ = stream.read(&mut [0; 4_096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        asked
    });
    (address, task)
}

/// TLS for `url` over a connection to `address`: a name cannot lead to the loopback address.
async fn secure(guard: &Guard, url: &str, address: SocketAddr) -> Result<Reply, EgressError> {
    let destination = destination(url);
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = guard.secure(&destination, stream).await?;
    let request = request(&destination, HeaderMap::new(), Bytes::from_static(b"{}"))?;
    exchange(stream, address, request, (Instant::now() + super::support::LIMITS.deadline, 64)).await
}

#[tokio::test]
async fn the_certificate_must_have_the_name_and_sni_says_it() {
    let (address, asked) = server("hooks.example").await;
    let reply = secure(&trusting("hooks.example"), "https://Hooks.example/", address).await;
    assert!(reply.unwrap().whole);
    assert_eq!(asked.await.unwrap().as_deref(), Some("hooks.example"));

    let (address, asked) = server("hooks.example").await;
    let error = secure(&trusting("hooks.example"), "https://other.example/", address).await;
    assert_eq!(error.unwrap_err().class(), "tls");
    assert_eq!(asked.await.unwrap(), None, "no request was made");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (address, asked) = server("hooks.example").await;
    let url = format!("https://{address}/");
    let error = send(&Guard::default(), &destination(&url)).await.unwrap_err();
    assert_eq!(error.class(), "tls", "{error}");
    assert_eq!(asked.await.unwrap(), None, "no request was made");
}

#[tokio::test]
async fn the_whole_way_over_tls() {
    let (address, _asked) = server("hooks.example").await;
    let url = format!("https://{address}/");
    let reply = send(&trusting("hooks.example"), &destination(&url)).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.whole), (200, true));
}

#[tokio::test]
async fn a_handshake_has_the_deadline_of_the_attempt() {
    let server = Server::start(Answer::Hang).await;
    let url = format!("https://{}/", server.address);
    let error = send(&trusting("hooks.example"), &destination(&url)).await.unwrap_err();
    assert_eq!(error, EgressError::Timeout(Step::Tls));
}
