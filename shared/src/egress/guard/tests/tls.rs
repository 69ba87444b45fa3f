//! TLS: the certificate must be trusted and must have the name of the URL; SNI says that name.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// PKCS #8 around the 32 bytes of an Ed25519 key.
const KEY_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const ED25519: [u8; 7] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
const SUBJECT_ALT_NAME: [u8; 5] = [6, 3, 0x55, 0x1d, 0x11];

/// One value in DER, its length in the shortest spelling.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let head = match u16::try_from(content.len()).unwrap().to_be_bytes() {
        [0, short @ 0..0x80] => vec![tag, short],
        [0, long] => vec![tag, 0x81, long],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [head, content].concat()
}

fn key() -> PrivatePkcs8KeyDer<'static> {
    [&KEY_HEAD[..], &[7; 32]].concat().into()
}

/// A certificate of the key for `name` and 127.0.0.1, signed with itself.
fn certificate(name: &str) -> CertificateDer<'static> {
    let key = rustls::crypto::aws_lc_rs::sign::any_eddsa_type(&key()).unwrap();
    let names = der(0x30, &[&der(0x82, &[name.as_bytes()]), &der(0x87, &[&[127, 0, 0, 1]])]);
    let extension = der(0x30, &[&SUBJECT_ALT_NAME, &der(4, &[&names])]);
    let body = der(
        0x30,
        &[
            &der(0xa0, &[&[2, 1, 2]]),
            &[2, 1, 1],
            &ED25519,
            &der(0x30, &[]),
            &der(0x30, &[&der(0x17, &[b"200101000000Z"]), &der(0x18, &[b"99991231235959Z"])]),
            &der(0x30, &[]),
            key.public_key().unwrap().as_ref(),
            &der(0xa3, &[&der(0x30, &[&extension])]),
        ],
    );
    let signer = key.choose_scheme(&[SignatureScheme::ED25519]).unwrap();
    let signature = signer.sign(&body).unwrap();
    der(0x30, &[&body, &ED25519, &der(3, &[&[0], &signature])]).into()
}

/// A guard that trusts the certificate for `name`.
fn trusting(name: &str) -> Guard {
    let guard = Guard::default();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(name)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider);
    let config = versions.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    guard.tls.set(Some(Arc::new(config))).unwrap();
    guard
}

/// A server with the certificate for `name`; its task gives what a client asked for by SNI.
async fn server(name: &str) -> (SocketAddr, tokio::task::JoinHandle<Option<String>>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider);
    let config = versions.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(key());
    let config = config.with_single_cert(vec![certificate(name)], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.ok()?;
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
    exchange(stream, address, request, 64).await
}

#[tokio::test]
async fn the_certificate_must_have_the_name_and_sni_says_it() {
    let (address, asked) = server("hooks.example").await;
    let reply = secure(&trusting("hooks.example"), "https://Hooks.example/", address).await;
    assert_eq!(reply.unwrap().excerpt, "ok");
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
    assert_eq!((reply.status.as_u16(), &*reply.excerpt), (200, "ok"));
}

#[tokio::test]
async fn a_handshake_has_the_deadline_of_the_attempt() {
    let server = Server::start(Answer::Hang).await;
    let url = format!("https://{}/", server.address);
    let error = send(&trusting("hooks.example"), &destination(&url)).await.unwrap_err();
    assert_eq!(error, EgressError::Timeout(Step::Tls));
}
