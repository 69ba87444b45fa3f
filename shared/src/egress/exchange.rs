//! Owns one HTTP/1.1 exchange on a connection of its own: the request as the guard wants it, and a
//! bounded look at the answer. No redirects: 3xx is a status like any other.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::error::{EgressError, Step, detail};
use super::url::Destination;

/// The most that is read of an answer's body, whatever the limits of the call say.
pub const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 32 * 1_024;

/// Headers that say how a message is framed or who else reads it: ours to set, or nobody's.
const STRIPPED: [HeaderName; 7] = [
    header::CONNECTION,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The answer to a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, at most 32 KiB.
    pub headers: HeaderMap,
    /// Whether the body was read to its end. Nothing of it is kept. It was not, if it is longer than the limit, broke off, or took too long.
    pub whole: bool,
    /// Who answered.
    pub address: SocketAddr,
}

/// A POST of `body` to `destination`, on a connection for this one request.
pub(super) fn request(
    destination: &Destination,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, EgressError> {
    let invalid = |error: http::Error| EgressError::Protocol(detail(&error));
    let host = HeaderValue::try_from(destination.authority()).map_err(|e| invalid(e.into()))?;
    STRIPPED.iter().for_each(|name| drop(headers.remove(name)));
    headers.insert(header::HOST, host);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let mut request =
        Request::post(destination.target().as_str()).body(Full::new(body)).map_err(invalid)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Sends `request` on `stream` and reads the answer, of whose body as much as comes until `deadline`: once the
/// status is there it counts. The connection lives no longer than the call.
pub(super) async fn exchange<Stream>(
    stream: Stream,
    address: SocketAddr,
    request: Request<Full<Bytes>>,
    (deadline, answer_bytes_max): (Instant, usize),
) -> Result<Reply, EgressError>
where
    Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let protocol = |error: hyper::Error| EgressError::Protocol(detail(&error));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(protocol)?;
    let answer = async move {
        let answered = timeout_at(deadline, sender.send_request(request)).await;
        let answered = answered.map_err(|_| EgressError::Timeout(Step::Answer))?;
        let (head, body) = answered.map_err(protocol)?.into_parts();
        let whole = timeout_at(deadline, read(body, answer_bytes_max.min(ANSWER_BYTES_MAX))).await;
        let whole = whole.unwrap_or(false);
        Ok(Reply { status: head.status, headers: head.headers, whole, address })
    };
    drive(answer, connection).await
}

/// Runs `connection` for as long as `answer` needs it. Dropping both closes the connection, so a
/// deadline leaves nothing behind.
async fn drive<T>(answer: impl Future<Output = T>, connection: impl Future) -> T {
    match select(pin!(answer), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, answer)) => answer.await,
    }
}

/// Whether all of `body` was read. The status stands by then: a body that breaks off takes nothing away
/// from it.
async fn read(mut body: Incoming, bytes_max: usize) -> bool {
    let mut bytes_read = 0;
    loop {
        match body.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                bytes_read += data.len();
                if bytes_read > bytes_max {
                    return false;
                }
            }
        }
    }
}
