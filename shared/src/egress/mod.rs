//! The way out to merchants' receivers. An address is asked for once per attempt, checked, and then the
//! very address that was checked is connected to: what the name says a moment later does not matter. No
//! redirects, no proxies, no connection is used twice.

mod ranges;
#[cfg(test)]
mod tests;
mod url;

use std::fmt;
use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;

pub use ranges::is_public;
pub use url::{Destination, Rules, URL_BYTES_MAX, destination};

use crate::app::notify::{Deliver, Delivered, Notification};

/// From the look-up of the name to the last byte of the answer that is read.
const DEADLINE: Duration = Duration::from_secs(20);

/// The part of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Says where a name leads.
#[async_trait]
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `host`; none when it has none, or nobody knows.
    async fn resolve(&self, host: &str) -> Vec<IpAddr>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> Vec<IpAddr> {
        let found = tokio::net::lookup_host((host, 0)).await;
        found.map(|all| all.map(|address| address.ip()).collect()).unwrap_or_default()
    }
}

/// The guard at the way out.
pub struct Guard {
    rules: Rules,
    resolver: Arc<dyn Resolve>,
    tls: OnceLock<Option<ClientConfig>>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Gives the one address that was checked, whatever the name.
#[derive(Clone)]
struct Checked(SocketAddr);

impl tower_service::Service<Name> for Checked {
    type Response = std::iter::Once<SocketAddr>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(std::iter::once(self.0)))
    }
}

impl Guard {
    /// Lets through what `rules` allow; names are looked up by `resolver`.
    pub fn new(rules: Rules, resolver: Arc<dyn Resolve>) -> Guard {
        Guard { rules, resolver, tls: OnceLock::new() }
    }

    /// One attempt; the error is a word of the list in the delivery log.
    async fn attempt(
        &self,
        url: &str,
        notification: &Notification,
    ) -> Result<Response<Incoming>, &'static str> {
        let destination = destination(url, &self.rules).ok_or("refused_url")?;
        let address = self.checked(&destination).await?;
        let tls = self.tls().ok_or("tls")?;
        let mut http = HttpConnector::new_with_resolver(Checked(address));
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = https.enable_http1().wrap_connector(http);
        let client: Client<_, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let request = Request::post(url)
            .header("content-type", "application/json")
            .header("user-agent", "recharge-notifier")
            .header("connection", "close")
            .header("webhook-id", &notification.id)
            .header("webhook-timestamp", notification.timestamp_secs)
            .header("webhook-signature", &notification.signature)
            .body(Full::from(notification.body.clone()))
            .map_err(|_| "refused_url")?;
        let answered = client.request(request).await;
        answered.map_err(|error| if error.is_connect() { "connect" } else { "protocol" })
    }

    /// An address of the destination, if all of them are public: one that is not makes the name suspect.
    async fn checked(&self, destination: &Destination) -> Result<SocketAddr, &'static str> {
        let Destination { host, port, .. } = destination;
        if let Ok(address) = host.parse::<IpAddr>() {
            // The URL's rules let loopback addresses through, where they do, and no others.
            return Ok(SocketAddr::new(address, *port));
        }
        let addresses = self.resolver.resolve(host).await;
        if !addresses.iter().all(|address| is_public(*address)) {
            tracing::warn!(host, "a receiver's name leads to an address that is not public");
            return Err("refused_address");
        }
        let first = addresses.first().ok_or("dns")?;
        Ok(SocketAddr::new(*first, *port))
    }

    fn tls(&self) -> Option<ClientConfig> {
        let build = || {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider);
            let builder = builder.with_safe_default_protocol_versions().ok()?;
            Some(builder.with_native_roots().ok()?.with_no_client_auth())
        };
        self.tls.get_or_init(build).clone()
    }
}

/// The beginning of a body, as text.
async fn beginning(mut body: Incoming) -> String {
    let mut read = Vec::new();
    while read.len() < ANSWER_BYTES_MAX {
        match body.frame().await {
            Some(Ok(frame)) => read.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Some(Err(_)) | None => break,
        }
    }
    read.truncate(ANSWER_BYTES_MAX);
    String::from_utf8_lossy(&read).chars().filter(|c| !c.is_control()).take(1_024).collect()
}

#[async_trait]
impl Deliver for Guard {
    async fn deliver(&self, url: &str, notification: &Notification) -> Delivered {
        let attempt = async {
            let response = self.attempt(url, notification).await?;
            let status = response.status().as_u16();
            let retry_after = response.headers().get("retry-after");
            let secs = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
            let retry_after = secs.map(Duration::from_secs);
            let excerpt = beginning(response.into_body()).await;
            Ok(Delivered { status, error: String::new(), retry_after, excerpt })
        };
        let error = match tokio::time::timeout(DEADLINE, attempt).await {
            Ok(Ok(delivered)) => return delivered,
            Ok(Err(error)) => error,
            Err(_) => "timeout",
        };
        let error = error.to_owned();
        Delivered { status: 0, error, retry_after: None, excerpt: String::new() }
    }
}
