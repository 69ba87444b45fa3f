//! Certificates for tests, made here: each signed with itself, of an Ed25519 key that follows from its name.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

/// PKCS #8 around the 32 bytes of an Ed25519 key.
const KEY_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const ED25519: [u8; 7] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70];
const COMMON_NAME: [u8; 5] = [6, 3, 0x55, 4, 3];
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

fn key(name: &str) -> PrivatePkcs8KeyDer<'static> {
    [&KEY_HEAD[..], &Sha256::digest(name)].concat().into()
}

/// A certificate for `name` and 127.0.0.1.
pub fn certificate(name: &str) -> CertificateDer<'static> {
    let key = rustls::crypto::aws_lc_rs::sign::any_eddsa_type(&key(name)).unwrap();
    let names = der(0x30, &[&der(0x82, &[name.as_bytes()]), &der(0x87, &[&[127, 0, 0, 1]])]);
    let extension = der(0x30, &[&SUBJECT_ALT_NAME, &der(4, &[&names])]);
    let who = der(0x30, &[&COMMON_NAME, &der(0x0c, &[name.as_bytes()])]);
    let who = der(0x30, &[&der(0x31, &[&who])]);
    let body = der(
        0x30,
        &[
            &der(0xa0, &[&[2, 1, 2]]),
            &[2, 1, 1],
            &ED25519,
            &who,
            &der(0x30, &[&der(0x17, &[b"200101000000Z"]), &der(0x18, &[b"99991231235959Z"])]),
            &who,
            key.public_key().unwrap().as_ref(),
            &der(0xa3, &[&der(0x30, &[&extension])]),
        ],
    );
    let signer = key.choose_scheme(&[SignatureScheme::ED25519]).unwrap();
    let signature = signer.sign(&body).unwrap();
    der(0x30, &[&body, &ED25519, &der(3, &[&[0], &signature])]).into()
}

/// Trust in the certificates for `names` alone.
pub fn roots(names: &[&str]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for name in names {
        roots.add(certificate(name)).unwrap();
    }
    roots
}

/// A server's side of TLS with the certificate for `name`.
pub fn acceptor(name: &str) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider);
    let config = versions.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(key(name));
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate(name)], key).unwrap()))
}
