//! Simulated payment providers: the other side of the wire, with its own books.

pub mod payprotocol;
pub mod receiver;
pub mod trader;

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};

/// Two providers behind one client, told apart by host.
#[derive(Debug)]
pub struct ByHost {
    /// The host of the one.
    pub host: &'static str,
    /// Who answers there.
    pub there: Arc<dyn Outbound>,
    /// Who answers under any other.
    pub elsewhere: Arc<dyn Outbound>,
}

#[async_trait]
impl Outbound for ByHost {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let is_there = request.uri().host() == Some(self.host);
        let answerer = if is_there { &self.there } else { &self.elsewhere };
        answerer.send(request, limits).await
    }
}

/// A response whose body never comes to its end: the client sees a broken connection.
fn broken() -> Response<Body> {
    let failure = futures_util::stream::once(async {
        Err::<Bytes, _>(std::io::Error::other("the connection breaks here"))
    });
    Response::new(Body::from_stream(failure))
}
