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

/// The longest path, and the longest query, that are read; the gateway itself takes less of both. An address of the
/// request's type ends at 65,534 bytes, and a path may grow to three times its length there.
const PART_BYTES_MAX: usize = 12 * 1024;

/// An event that can be made a request of. A query may come as it was typed; the characters that no address
/// may have are percent-encoded, as the client should have done: whoever signed another text is told so. What is longer
/// than anything that is served is cut: nothing is found there, and no signature fits.
pub fn tamed(mut event: LambdaRequest) -> LambdaRequest {
    let LambdaRequest::ApiGatewayV2(request) = &mut event else { return event };
    // The gateway knows its own name; nothing depends on what the client calls it.
    request.headers.remove("host");
    request.headers.remove("x-forwarded-proto");
    if let Some(path) = &mut request.raw_path {
        path.truncate(path.floor_char_boundary(PART_BYTES_MAX));
    }
    if let Some(query) = &mut request.raw_query_string
        && (query.len() > PART_BYTES_MAX || !query.bytes().all(may_be_in_a_query))
    {
        let mut encoded = String::new();
        for byte in query.bytes().take(PART_BYTES_MAX) {
            match may_be_in_a_query(byte) {
                true => encoded.push(char::from(byte)),
                // Writing to a text cannot fail.
                false => drop(write!(encoded, "%{byte:02X}")),
            }
        }
        encoded.truncate(PART_BYTES_MAX);
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
        request("/recharges", query, &[("host", "api.example")])
    }

    fn request(path: &str, query: &str, headers: &[(&str, &str)]) -> Request {
        let headers: std::collections::BTreeMap<_, _> = headers.iter().copied().collect();
        let event = serde_json::json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path,
            "rawQueryString": query, "headers": headers, "isBase64Encoded": false,
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

    #[test]
    fn nothing_that_a_client_writes_keeps_an_event_from_being_a_request() {
        for value in ["", " ", "a b", "https", "[", "\u{e9}", "a:b:c", "%", "//"] {
            for name in ["host", "x-forwarded-proto"] {
                let made = request("/recharges", "", &[(name, value)]);
                assert_eq!(made.uri().path(), "/recharges", "{name}: {value}");
            }
        }
        for long in ["a".repeat(70_000), "\u{e9}".repeat(40_000), " <\"".repeat(30_000)] {
            let made = request(&format!("/recharges/{long}"), &format!("cursor={long}"), &[]);
            assert!(made.uri().path().starts_with("/recharges/"));
            let query = made.uri().query().unwrap();
            assert!(
                query.starts_with("cursor=") && query.len() == PART_BYTES_MAX,
                "{}",
                query.len()
            );
        }
    }
}
