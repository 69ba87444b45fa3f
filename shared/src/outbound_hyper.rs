//! HTTP to the outside in production: hyper and rustls, the same TLS stack as the AWS SDK's. Built at
//! first use, so that a cold start that calls no provider does not pay for it.

use std::fmt;
use std::sync::OnceLock;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::outbound::{Limits, Outbound, OutboundError};
use crate::tls;

type HyperClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The production client.
pub struct HyperOutbound {
    allow_http: bool,
    client: OnceLock<Option<HyperClient>>,
}

impl fmt::Debug for HyperOutbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperOutbound")
            .field("allow_http", &self.allow_http)
            .finish_non_exhaustive()
    }
}

impl HyperOutbound {
    /// HTTPS only, unless `allow_http`.
    pub const fn new(allow_http: bool) -> HyperOutbound {
        HyperOutbound { allow_http, client: OnceLock::new() }
    }

    fn client(&self) -> Option<&HyperClient> {
        let build = || {
            let builder = HttpsConnectorBuilder::new().with_tls_config(tls::client_config()?);
            let connector = if self.allow_http {
                builder.https_or_http().enable_http1().build()
            } else {
                builder.https_only().enable_http1().build()
            };
            Some(Client::builder(TokioExecutor::new()).build(connector))
        };
        self.client.get_or_init(build).as_ref()
    }
}

/// What is at the bottom of it: a name that is not found, a refused connection, a certificate.
fn cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map_or_else(String::new, ToString::to_string)
}

async fn exchange(
    client: &HyperClient,
    request: Request<Bytes>,
    answer_bytes_max: usize,
) -> Result<Response<Bytes>, OutboundError> {
    let uri = request.uri().clone();
    let answer = client.request(request.map(Full::new)).await.map_err(|error| {
        let found = if error.is_connect() { OutboundError::NotSent } else { OutboundError::Broken };
        tracing::warn!(host = uri.host(), cause = cause(&error), "{found}");
        found
    })?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, answer_bytes_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            OutboundError::AnswerTooLarge
        } else {
            OutboundError::Broken
        }
    })?;
    Ok(Response::from_parts(parts, body.to_bytes()))
}

#[async_trait]
impl Outbound for HyperOutbound {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let client = self.client().ok_or(OutboundError::NotSent)?;
        let exchange = exchange(client, request, limits.answer_bytes_max);
        tokio::time::timeout(limits.deadline, exchange)
            .await
            .unwrap_or(Err(OutboundError::TimedOut))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMITS: Limits = Limits { deadline: Duration::from_millis(500), answer_bytes_max: 64 };

    /// A server that answers one request with `answer`, or not at all.
    async fn server(answer: Option<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => tokio::time::sleep(Duration::from_secs(60)).await,
            }
        });
        url
    }

    async fn get(url: &str, allow_http: bool) -> Result<(u16, Bytes), OutboundError> {
        let request = Request::get(url).body(Bytes::new()).unwrap();
        let answer = HyperOutbound::new(allow_http).send(request, LIMITS).await?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    fn answer(length: usize) -> Option<String> {
        Some(format!(
            "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: {length}\r\n\r\n{}",
            "a".repeat(length)
        ))
    }

    #[tokio::test]
    async fn answers_come_back_as_they_are_and_redirects_are_not_followed() {
        let url = server(answer(3)).await;
        assert_eq!(get(&url, true).await, Ok((302, Bytes::from_static(b"aaa"))));
    }

    #[test]
    fn what_is_told_of_a_failure_is_what_is_at_the_bottom_of_it() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let around = std::io::Error::other(std::io::Error::other(refused));
        assert_eq!(cause(&around), "connection refused");
    }

    #[tokio::test]
    async fn every_bound_holds() {
        let url = server(None).await;
        assert_eq!(get(&url, true).await, Err(OutboundError::TimedOut));
        let url = server(answer(65)).await;
        assert_eq!(get(&url, true).await, Err(OutboundError::AnswerTooLarge));
        assert_eq!(get("http://127.0.0.1:1", true).await, Err(OutboundError::NotSent));
        let url = server(answer(3)).await;
        assert_eq!(get(&url, false).await, Err(OutboundError::NotSent), "plain HTTP is refused");
    }
}
