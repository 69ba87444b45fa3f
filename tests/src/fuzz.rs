//! What must hold for whatever bytes come in. One function per place where strangers' bytes are read;
//! `tests/fuzz` runs them with a fuzzer, `tests/fuzz_corpus.rs` over the seeds and their mutations.
//!
//! Inputs are text like an HTTP message: first line, header lines, an empty line, the body.

#![expect(clippy::expect_used, clippy::panic, reason = "a broken promise ends the run")]

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use lambda_http::Request;
use recharge_local::call::API_KEYS;
use recharge_local::events::Incoming;
use recharge_local::stack::{
    PAYPROTOCOL_API_KEY, PAYPROTOCOL_CALLBACK_PATH, PAYPROTOCOL_SECRET, TRADER_KEY,
};
use recharge_shared::auth::sign;
use recharge_shared::domain::{Currency, OrderId, UserMark};
use recharge_shared::http::{ErrorCode, request};
use recharge_shared::providers::payprotocol::{self, Signed};
use recharge_shared::providers::trader::{Fields, SIGN, SigningProfile, sign as sign_fields};
use tokio::runtime::Runtime;

use crate::world::rules;
use crate::{Answered, World};

/// A new world after so many runs: what was queued does not pile up for ever.
const RUNS_PER_WORLD: u32 = 10_000;

struct Stage {
    runtime: Runtime,
    world: World,
    runs: u32,
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// Sends a request through the gateway's event to whichever function it belongs to.
fn send(build: impl FnOnce(&World) -> Option<Incoming>) -> Option<Answered> {
    STAGE.with_borrow_mut(|stage| {
        if stage.as_ref().is_none_or(|stage| stage.runs >= RUNS_PER_WORLD) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime without I/O");
            let world = runtime.block_on(World::new());
            *stage = Some(Stage { runtime, world, runs: 0 });
        }
        let stage = stage.as_mut().expect("made above");
        stage.runs += 1;
        let incoming = build(&stage.world)?;
        let answered = stage.runtime.block_on(stage.world.send(&incoming));
        let books = stage.world.books();
        assert_eq!((books.orders.len(), books.credits.len()), (0, 0), "nobody has signed this");
        Some(answered)
    })
}

/// The parts of an input.
struct Message<'a> {
    first: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a [u8],
}

impl Message<'_> {
    fn read(data: &[u8]) -> Option<Message<'_>> {
        let end = data.windows(2).position(|pair| pair == b"\n\n")?;
        let head = std::str::from_utf8(&data[..end]).ok()?;
        let mut lines = head.split('\n');
        let first = lines.next()?;
        let headers = lines.filter_map(|line| line.split_once(": ")).collect();
        Some(Message { first, headers, body: &data[end + 2..] })
    }

    fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
                map.append(name, value);
            }
        }
        map
    }
}

fn incoming(world: &World, method: Method, target: &str, message: &Message<'_>) -> Incoming {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Incoming {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: message.header_map(),
        body: message.body.to_vec(),
        request_id: "fuzz-1".to_owned(),
        received_ms: world.clock().now_ms(),
    }
}

/// The error form: a code of the closed list with its own status, a message, a trace.
fn check_error(answered: &Answered) {
    let code = answered.json["errorCode"].as_str().unwrap_or("");
    let known = ErrorCode::ALL.into_iter().find(|known| known.as_str() == code);
    let known = known.unwrap_or_else(|| panic!("no error form: {answered:?}"));
    assert_eq!(known.status(), answered.status, "{answered:?}");
    assert!(known != ErrorCode::InternalError, "{answered:?}");
    assert!(answered.json["message"].is_string() && answered.json["traceId"].is_string());
}

/// Whatever reaches the gateway is answered by the contract; nobody gets in without a signature.
///
/// Input: `METHOD target`, headers, body.
pub fn gateway_event(data: &[u8]) {
    let Some(message) = Message::read(data) else { return };
    let Some((method, target)) = message.first.split_once(' ') else { return };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let is_uri = target.starts_with('/') && target.parse::<http::Uri>().is_ok();
    let Some(answered) = send(|world| is_uri.then(|| incoming(world, method, target, &message)))
    else {
        return;
    };
    match answered.status {
        200 => assert!(
            ["/health", "/openapi.json", "/docs"].iter().any(|open| target.starts_with(open)),
            "{target}: {answered:?}"
        ),
        _ => check_error(&answered),
    }
}

/// No header but the right one signs a request.
///
/// Input: `key id`, headers, body. A wrong key id, window or spelling is refused alike.
pub fn signature_header(data: &[u8]) {
    let Some(message) = Message::read(data) else { return };
    let answered = send(|world| {
        let mut incoming = incoming(world, Method::GET, "/recharges", &message);
        let key = HeaderValue::from_str(message.first).ok()?;
        incoming.headers.insert("x-api-key", key);
        let now = world.clock().now_ms() / 1_000;
        let right = API_KEYS.iter().find(|key| key.id == message.first).map(|key| {
            let claim = (now, key.id, "");
            sign(key.secret, ("GET", "/recharges"), claim, message.body)
        });
        let sent = incoming.headers.get("x-signature").and_then(|value| value.to_str().ok());
        assert!(right.is_none() || sent != right.as_deref(), "the fuzzer has found the secret");
        Some(incoming)
    });
    let Some(answered) = answered else { return };
    assert!([401, 503].contains(&answered.status), "{answered:?}");
    check_error(&answered);
}

/// A create body is a command within its bounds, or an error that names a code of the list.
///
/// Input: the body alone.
pub fn create_body(data: &[u8]) {
    let mut request = Request::new(data.to_vec().into());
    request.headers_mut().insert("idempotency-key", HeaderValue::from_static("k-1"));
    match request::create_order(&request, &rules()) {
        Ok((_, command)) => {
            let currency: Currency = command.amount.currency();
            assert!((1..=currency.order_max_minor()).contains(&command.amount.minor()));
            assert!((60..=86_400).contains(&command.expires_in.as_secs()));
            assert!(command.metadata.len() <= 20);
            // What was understood does not depend on how it was written.
            let value: serde_json::Value = serde_json::from_slice(data).expect("it was JSON");
            let mut again = Request::new(value.to_string().into());
            again.headers_mut().insert("idempotency-key", HeaderValue::from_static("k-1"));
            let (_, again) = request::create_order(&again, &rules()).expect("the same members");
            assert_eq!(command.fingerprint(), again.fingerprint());
        }
        Err(error) => {
            assert!([400, 413, 415].contains(&error.code.status()), "{error:?}");
            assert!(!error.message.is_empty());
        }
    }
}

/// A callback is believed only with the provider's signature over exactly the contract's fields.
///
/// Input: the content type, no headers, body. Sent as it is, and once more signed with the real key.
pub fn trader_callback(data: &[u8]) {
    let Some(message) = Message::read(data) else { return };
    let Ok(content_type) = HeaderValue::from_str(message.first) else { return };
    let post = |world: &World, content_type: HeaderValue, body: &[u8]| {
        let mut incoming = incoming(world, Method::POST, "/recharges/callback/trader", &message);
        incoming.headers.insert("content-type", content_type);
        incoming.body = body.to_vec();
        incoming
    };
    let forged = send(|world| Some(post(world, content_type, message.body)));
    check_error(&forged.expect("it was sent"));

    let mut fields: Fields = form_urlencoded::parse(message.body).into_owned().collect();
    fields.remove(SIGN);
    let signature = sign_fields(&SigningProfile::default(), &fields, TRADER_KEY);
    let mut signed = fields.clone();
    signed.insert(SIGN.to_owned(), signature);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&signed).finish();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let answered = send(|world| Some(post(world, form, body.as_bytes()))).expect("it was sent");
    if answered.status != 200 {
        return check_error(&answered);
    }
    assert_eq!(answered.text, "success");
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["amount", "appid", "localusermark", "orderid", "t"]);
    assert!(OrderId::parse(&fields["orderid"]).is_some(), "{fields:?}");
    assert!(UserMark::parse(&fields["localusermark"]).is_some(), "{fields:?}");
    let digits = |name: &str| fields[name].bytes().all(|byte| byte.is_ascii_digit());
    assert!(digits("amount") && digits("t"), "{fields:?}");
}

/// A callback is believed only with the provider's signature, and taken only if it is a recharge.
///
/// Input: the content type, headers, body. Sent as it is, and once more signed with the real key.
pub fn payprotocol_callback(data: &[u8]) {
    let Some(message) = Message::read(data) else { return };
    let Ok(content_type) = HeaderValue::from_str(message.first) else { return };
    let forged = send(|world| {
        let mut incoming = incoming(world, Method::POST, PAYPROTOCOL_CALLBACK_PATH, &message);
        incoming.headers.insert("content-type", content_type);
        Some(incoming)
    });
    check_error(&forged.expect("it was sent"));

    let answered = send(|world| {
        let path = PAYPROTOCOL_CALLBACK_PATH;
        let mut incoming = incoming(world, Method::POST, path, &message);
        let timestamp = (world.clock().now_ms() / 1_000).to_string();
        let signed = Signed { timestamp: &timestamp, method: "POST", path, body: message.body };
        let signature = payprotocol::signature(PAYPROTOCOL_SECRET, signed);
        let values = [PAYPROTOCOL_API_KEY, &timestamp, &signature];
        for (name, value) in payprotocol::HEADERS.into_iter().zip(values) {
            incoming.headers.insert(name, HeaderValue::from_str(value).ok()?);
        }
        let json = HeaderValue::from_static("application/json");
        incoming.headers.insert("content-type", json);
        Some(incoming)
    });
    let answered = answered.expect("it was sent");
    if answered.status != 200 {
        return check_error(&answered);
    }
    assert_eq!(answered.text, "success");
    let members: serde_json::Value = serde_json::from_slice(message.body).expect("it was JSON");
    for name in ["rechargeId", "chainId", "currencyId", "rechargeStatus"] {
        assert!(members[name].is_i64(), "{name} of {members}");
    }
    let amount = members["rechargeAmount"].as_str().unwrap_or("");
    let digits = amount.bytes().all(|byte| byte.is_ascii_digit());
    assert!(digits && (1..=38).contains(&amount.len()), "{members}");
    assert!(members["walletAddress"].is_string() && members["withdrawId"].is_null(), "{members}");
}

/// A place where strangers' bytes are read, by the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 5] = [
    ("gateway_event", gateway_event),
    ("signature_header", signature_header),
    ("create_body", create_body),
    ("trader_callback", trader_callback),
    ("payprotocol_callback", payprotocol_callback),
];
