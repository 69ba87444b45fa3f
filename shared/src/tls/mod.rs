//! Owns whom TLS is spoken with: the certificate authorities that are compiled in, so that a cold
//! start need not parse a machine's hundred and more, and the machine's own for a certificate that
//! none of those has signed.
//!
//! Source of `amazon.pem`: <https://www.amazontrust.com/repository/>; of all the others Mozilla's
//! list, as the crate `webpki-roots` carries it.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Amazon's authorities, who sign for the services of AWS.
const AMAZON: &str = include_str!("amazon.pem");

/// TLS to providers and to receivers of notifications; `None` if the TLS library refuses its own
/// defaults. Without ALPN: the exchanges are HTTP/1.1.
pub fn client_config() -> Option<ClientConfig> {
    // By name: the process-wide default is undecided where another crate brings a second one.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    config_trusting(roots, OnceLock::new(), provider)
}

fn config_trusting(
    roots: RootCertStore,
    machine: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
    provider: Arc<CryptoProvider>,
) -> Option<ClientConfig> {
    let compiled_in = verifier(roots, &provider)?;
    let trust = Arc::new(Trust { compiled_in, machine, provider: provider.clone() });
    let versions = ClientConfig::builder_with_provider(provider);
    let versions = versions.with_safe_default_protocol_versions().ok()?;
    Some(versions.dangerous().with_custom_certificate_verifier(trust).with_no_client_auth())
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok()
}

/// The library's verification by one set of roots, and if that refuses, by another.
#[derive(Debug)]
struct Trust {
    compiled_in: Arc<WebPkiServerVerifier>,
    /// Read when first needed; `None` where the machine has none.
    machine: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    fn machine(&self) -> Option<&Arc<WebPkiServerVerifier>> {
        let read = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            verifier(roots, &self.provider)
        };
        self.machine.get_or_init(read).as_ref()
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict =
            self.compiled_in.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        verdict.or_else(|refused| match self.machine() {
            Some(machine) => machine.verify_server_cert(end_entity, intermediates, name, ocsp, now),
            None => Err(refused),
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.compiled_in.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.compiled_in.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.compiled_in.supported_verify_schemes()
    }
}

/// The HTTP client of all AWS clients: one pool of connections, Amazon's authorities alone. After a
/// certificate that those do not vouch for the machine's authorities hold instead, from the
/// clients' next attempt on.
pub fn aws_client() -> SharedHttpClient {
    aws_client_trusting(TrustStore::empty().with_pem_certificate(AMAZON), TrustStore::default())
}

fn aws_client_trusting(amazon: TrustStore, machine: TrustStore) -> SharedHttpClient {
    let [amazon, machine] = [amazon, machine].map(|roots| {
        let context = TlsContext::builder().with_trust_store(roots).build();
        let context = context.unwrap_or_default();
        Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context)
    });
    SharedHttpClient::new(AwsClient {
        amazon: amazon.build_https(),
        machine: machine.build_https(),
        distrusted: Arc::default(),
    })
}

/// Of the two clients one is made at its first use. Without `validate_base_client_config`, in which
/// the library makes one for each AWS client and drops it.
#[derive(Debug)]
struct AwsClient {
    amazon: SharedHttpClient,
    machine: SharedHttpClient,
    /// Whether `amazon` has met a certificate of somebody else.
    distrusted: Arc<AtomicBool>,
}

impl HttpClient for AwsClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        if self.distrusted.load(Ordering::Relaxed) {
            return self.machine.http_connector(settings, components);
        }
        SharedHttpConnector::new(Watched {
            inner: self.amazon.http_connector(settings, components),
            distrusted: self.distrusted.clone(),
        })
    }
}

#[derive(Debug)]
struct Watched {
    inner: SharedHttpConnector,
    distrusted: Arc<AtomicBool>,
}

impl HttpConnector for Watched {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.inner.call(request);
        let distrusted = self.distrusted.clone();
        HttpConnectorFuture::new(async move {
            let answer = answer.await;
            if answer.as_ref().is_err_and(|error| is_of_a_certificate(error)) {
                distrusted.store(true, Ordering::Relaxed);
            }
            answer
        })
    }
}

/// Whether somewhere under `error` a certificate was refused. Behind an I/O error comes what it
/// carries: its `source` is already the next one.
fn is_of_a_certificate(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
    .any(|error| matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
