//! Owns one attempt to notify: resolve once, check every address, connect to one of those checked,
//! make sure of the peer, then TLS by the name and one HTTP/1.1 exchange. No pool, no proxies, no
//! redirects, no settings from the environment.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderMap;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connect::{Dial, Resolve, SystemResolver, TcpDialer};
use super::error::{EgressError, Step, detail};
use super::exchange::{Reply, exchange, request};
use super::ranges::refused;
use super::url::{Destination, Host};
use crate::outbound::Limits;
use crate::tls;

/// Sends notifications to the URLs of merchants, and only to public addresses.
#[derive(Debug)]
pub struct Guard {
    resolver: Arc<dyn Resolve>,
    dialer: Arc<dyn Dial>,
    /// Made at first use; `None` if the TLS library refuses its own defaults.
    tls: OnceLock<Option<Arc<ClientConfig>>>,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard::new(Arc::new(SystemResolver), Arc::new(TcpDialer))
    }
}

impl Guard {
    /// With doors of one's own. The guard checks what comes through them all the same.
    pub const fn new(resolver: Arc<dyn Resolve>, dialer: Arc<dyn Dial>) -> Guard {
        Guard { resolver, dialer, tls: OnceLock::new() }
    }

    /// One attempt: a POST of `body` with `headers`, whatever the status of the answer. One deadline
    /// holds from the resolution to the last byte that is read.
    ///
    /// `host`, `content-length` and the headers about the connection are the guard's to set.
    pub async fn send(
        &self,
        destination: &Destination,
        headers: HeaderMap,
        body: Bytes,
        limits: Limits,
    ) -> Result<Reply, EgressError> {
        let deadline = Instant::now() + limits.deadline;
        let request = request(destination, headers, body)?;
        let address = within(deadline, Step::Resolve, self.locate(destination)).await?;
        let stream = within(deadline, Step::Connect, self.connect(address)).await?;
        let limits = (deadline, limits.answer_bytes_max);
        if !destination.https() {
            return exchange(stream, address, request, limits).await;
        }
        let stream = within(deadline, Step::Tls, self.secure(destination, stream)).await?;
        exchange(stream, address, request, limits).await
    }

    /// The one address of this attempt. One bad address refuses them all: a name that leads inside
    /// and outside is no mistake.
    async fn locate(&self, destination: &Destination) -> Result<SocketAddr, EgressError> {
        let ip = match destination.place() {
            Host::Loopback(ip) => *ip,
            Host::Name(name) => {
                let addresses = self.resolver.resolve(name).await;
                pick(&addresses.map_err(|error| EgressError::Dns(detail(&error)))?)?
            }
        };
        Ok(SocketAddr::new(ip, destination.port()))
    }

    async fn connect(&self, address: SocketAddr) -> Result<TcpStream, EgressError> {
        let failed = |error: std::io::Error| EgressError::Connect(detail(&error));
        let stream = self.dialer.dial(address).await.map_err(failed)?;
        let peer = stream.peer_addr().map_err(failed)?;
        if (peer.ip(), peer.port()) != (address.ip(), address.port()) {
            let reason = "connected to another address than the one that was checked";
            return Err(EgressError::Refused { address: peer.ip(), reason });
        }
        Ok(stream)
    }

    /// TLS with the host name as SNI and as the name that the certificate must have.
    async fn secure(
        &self,
        destination: &Destination,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, EgressError> {
        let config = self.tls.get_or_init(tls_config).clone();
        let config = config.ok_or_else(|| EgressError::Tls("no TLS on this machine".to_owned()))?;
        let name = ServerName::try_from(destination.host())
            .map_err(|error| EgressError::Tls(detail(&error)))?;
        let session = TlsConnector::from(config).connect(name, stream).await;
        session.map_err(|error| EgressError::Tls(detail(&error)))
    }
}

/// IPv4 first: a function without a route for IPv6 still resolves it.
fn pick(addresses: &[IpAddr]) -> Result<IpAddr, EgressError> {
    for &address in addresses {
        if let Some(reason) = refused(address) {
            return Err(EgressError::Refused { address, reason });
        }
    }
    let first = addresses.iter().find(|ip| ip.is_ipv4()).or(addresses.first());
    first.copied().ok_or_else(|| EgressError::Dns("no addresses".to_owned()))
}

fn tls_config() -> Option<Arc<ClientConfig>> {
    let mut config = tls::client_config()?;
    // A resumed session skips the certificate; every attempt looks at it anew.
    config.resumption = Resumption::disabled();
    Some(Arc::new(config))
}

async fn within<T>(
    deadline: Instant,
    step: Step,
    work: impl Future<Output = Result<T, EgressError>>,
) -> Result<T, EgressError> {
    timeout_at(deadline, work).await.unwrap_or(Err(EgressError::Timeout(step)))
}

#[cfg(test)]
mod tests;
