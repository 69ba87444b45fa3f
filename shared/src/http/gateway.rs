//! The way in from the gateway: its events as requests. What a stranger writes into an address must not end an
//! invocation, which would count as the function's own failure.

use lambda_http::request::LambdaRequest;
use lambda_http::{
    Adapter, Body, Error, LambdaEvent, Request, Response, Service, lambda_runtime, service_fn,
};
use std::convert::Infallible;
use std::fmt::Write as _;

/// Serves the gateway's events with `handle`, until Lambda ends the process.
pub async fn run<'a, F, W>(handle: F) -> Result<(), Error>
where
    F: FnMut(Request) -> W,
    W: Future<Output = Result<Response<Body>, Infallible>> + Send + 'a,
{
    let mut adapter = Adapter::from(service_fn(handle));
    let serve = |event: LambdaEvent<LambdaRequest>| {
        adapter.call(LambdaEvent { payload: tamed(event.payload), context: event.context })
    };
    lambda_runtime::run(service_fn(serve)).await
}

/// An event that can be made a request of. A query may come as it was typed; the characters that no address
/// may have are percent-encoded, as the client should have done: whoever signed another text is told so.
pub fn tamed(mut event: LambdaRequest) -> LambdaRequest {
    if let LambdaRequest::ApiGatewayV2(event) = &mut event
        && let Some(query) = &mut event.raw_query_string
        && !query.bytes().all(may_be_in_a_query)
    {
        let mut encoded = String::with_capacity(query.len() * 3);
        for byte in query.bytes() {
            match may_be_in_a_query(byte) {
                true => encoded.push(char::from(byte)),
                // Writing to a text cannot fail.
                false => drop(write!(encoded, "%{byte:02X}")),
            }
        }
        *query = encoded;
    }
    event
}

/// What the request's type takes in a query, and is ASCII.
const fn may_be_in_a_query(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x24..=0x3B | 0x3D | 0x3F..=0x7E)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request_of(query: &str) -> Request {
        let event = serde_json::json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/recharges",
            "rawQueryString": query, "headers": {"host": "api.example"}, "isBase64Encoded": false,
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": "api.example", "stage": "$default",
                "http": {"method": "GET", "path": "/recharges", "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1", "userAgent": "x"},
                "requestId": "r", "routeKey": "$default", "timeEpoch": 0,
            },
        });
        Request::from(tamed(serde_json::from_value(event).unwrap()))
    }

    #[test]
    fn a_query_comes_through_whatever_is_typed() {
        for (typed, wanted) in [
            ("limit=1&userId=u%201+x", "limit=1&userId=u%201+x"),
            ("userId=<x>", "userId=%3Cx%3E"),
            ("q=\"a b\"#c", "q=%22a%20b%22%23c"),
            ("q=\u{e9}\u{0}\n\u{7f}", "q=%C3%A9%00%0A%7F"),
            ("q={a|b}[^`\\]", "q={a|b}[^`\\]"),
        ] {
            assert_eq!(request_of(typed).uri().query(), Some(wanted), "{typed}");
        }
    }
}
