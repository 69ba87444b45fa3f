//! Both sets of roots, each with certificates of its own and of strangers.

use std::net::SocketAddr;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use rustls::CertificateError;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::testing::{acceptor, certificate, roots};
use super::*;

/// A verifier that has `compiled` compiled in, and `machine` on the machine.
fn trust(compiled: &str, machine: Option<&str>) -> Trust {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let machine = machine.map(|name| OnceLock::from(verifier(roots(&[name]), &provider)));
    Trust {
        compiled_in: verifier(roots(&[compiled]), &provider).unwrap(),
        machine: machine.unwrap_or_default(),
        provider,
    }
}

/// What `trust` says of the certificate for `of`, as the one of a server called `name`.
fn verdict(trust: &Trust, of: &str, name: &'static str) -> Result<(), CertificateError> {
    let name = ServerName::try_from(name).unwrap();
    match trust.verify_server_cert(&certificate(of), &[], &name, &[], UnixTime::now()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_machine_is_asked_for_what_nobody_compiled_in_vouches_for() {
    let both = trust("a.example", Some("b.example"));
    assert_eq!(verdict(&both, "a.example", "a.example"), Ok(()));
    assert_eq!(verdict(&both, "b.example", "b.example"), Ok(()));
    assert_eq!(verdict(&both, "c.example", "c.example"), Err(CertificateError::UnknownIssuer));
}

#[test]
fn the_machines_roots_are_read_when_first_needed() {
    let trust = trust("a.example", None);
    assert_eq!(verdict(&trust, "a.example", "a.example"), Ok(()));
    assert!(trust.machine.get().is_none());
    assert_eq!(verdict(&trust, "c.example", "c.example"), Err(CertificateError::UnknownIssuer));
    assert!(trust.machine.get().is_some());
}

#[test]
fn a_name_must_be_right_with_either_set() {
    let both = trust("a.example", Some("b.example"));
    verdict(&both, "a.example", "c.example").unwrap_err();
    let error = verdict(&both, "b.example", "c.example").unwrap_err();
    assert!(matches!(error, CertificateError::NotValidForNameContext { .. }), "{error}");
}

/// As told in <https://www.amazontrust.com/repository/>; the file says the same above each.
#[test]
fn amazon_roots_are_the_published_ones() {
    let told = AMAZON.lines().filter_map(|line| line.split_once(", SHA-256 "));
    let told: Vec<&str> = told.map(|(_, fingerprint)| fingerprint).collect();
    let kept = CertificateDer::pem_slice_iter(AMAZON.as_bytes());
    let kept: Vec<CertificateDer<'_>> = kept.collect::<Result<_, _>>().unwrap();
    let fingerprints: Vec<String> =
        kept.iter().map(|one| hex::encode(Sha256::digest(one))).collect();
    assert_eq!(fingerprints, told);
    assert_eq!(
        told,
        [
            "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
            "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
            "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
            "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
            "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
        ]
    );
    let mut store = RootCertStore::empty();
    assert_eq!(store.add_parsable_certificates(kept), (5, 0));
    for root in &store.roots {
        assert!(
            webpki_roots::TLS_SERVER_ROOTS.iter().any(|other| {
                other.subject == root.subject
                    && other.subject_public_key_info == root.subject_public_key_info
            }),
            "Mozilla no longer trusts one of them"
        );
    }
}

/// A table's service behind the certificate for `name`, which answers `{}`. Answers are counted.
async fn service(name: &str) -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    let acceptor = acceptor(name);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers = Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = answers.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            if stream.read(&mut [0; 8_192]).await.is_ok_and(|bytes| bytes > 0) {
                counted.fetch_add(1, Ordering::Relaxed);
                let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
                let _ = stream.write_all(answer).await;
            }
        }
    });
    (address, answers)
}

/// Trust of the SDK in the certificate for `name`.
fn store(name: &str) -> TrustStore {
    let der = aws_smithy_types::base64::encode(certificate(name));
    let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    TrustStore::empty().with_pem_certificate(pem)
}

/// Whether a read comes back from `address` by `http`.
async fn reads(http: &SharedHttpClient, address: SocketAddr) -> bool {
    let config = aws_sdk_dynamodb::config::Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new("a", "b", None, None, "test"))
        .region(Region::from_static("us-east-1"))
        .endpoint_url(format!("https://{address}"))
        .http_client(http.clone());
    let client = aws_sdk_dynamodb::Client::from_conf(config.build());
    let key = aws_sdk_dynamodb::types::AttributeValue::S("k".to_owned());
    client.get_item().table_name("t").key("pk", key).send().await.is_ok()
}

#[tokio::test]
async fn aws_clients_go_over_to_the_machines_roots_by_themselves() {
    let http = aws_client_trusting(store("amazon.example"), store("own.example"));
    let (amazon, answers) = service("amazon.example").await;
    assert!(reads(&http, amazon).await);
    assert_eq!(answers.load(Ordering::Relaxed), 1);

    let (own, answers) = service("own.example").await;
    assert!(reads(&http, own).await, "by the second attempt of the same call");
    assert!(reads(&http, own).await);
    assert_eq!(answers.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn aws_clients_speak_to_nobody_whom_neither_trusts() {
    let http = aws_client_trusting(store("amazon.example"), store("own.example"));
    let (stranger, answers) = service("stranger.example").await;
    assert!(!reads(&http, stranger).await);
    assert_eq!(answers.load(Ordering::Relaxed), 0);
}
