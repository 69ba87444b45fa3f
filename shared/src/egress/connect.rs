//! Owns the two doors to the network: names to addresses, and one checked address to a connection.
//! Traits, so that a test sees every question and every connection. Neither door decides anything.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use tokio::net::TcpStream;

/// Finds the addresses of a host.
#[async_trait]
pub trait Resolve: fmt::Debug + Send + Sync {
    /// All addresses of `host`, a fully qualified name without its final dot.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Opens connections. It is given an address, never a name, so nothing is resolved a second time.
#[async_trait]
pub trait Dial: fmt::Debug + Send + Sync {
    /// A connection to exactly `address`.
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// The resolver of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        // The final dot keeps the search domains of the machine out of it.
        let addresses = tokio::net::lookup_host((format!("{host}."), 0)).await?;
        Ok(addresses.map(|address| address.ip()).collect())
    }
}

/// TCP, directly: no proxy.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDialer;

#[async_trait]
impl Dial for TcpDialer {
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}
