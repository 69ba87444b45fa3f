//! `recharge listen`: a merchant's receiver as it should be, for trying things out. Verifies by Standard
//! Webhooks, prints a line per event, knows what came before. Keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_types::base64;
use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use recharge_shared::clock::{Clock, SystemClock};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;

/// How far a delivery's time may be off, either way.
const WINDOW_SECS: u64 = 300;

/// Why a delivery is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A header is missing, or no text.
    Headers,
    /// The timestamp is no number, or too far off.
    Timestamp,
    /// No signature fits.
    Signature,
    /// Signed, but no notification.
    Body,
}

impl Refused {
    const fn as_str(self) -> &'static str {
        match self {
            Refused::Headers => "a webhook header is missing",
            Refused::Timestamp => "the timestamp is more than 5 minutes off",
            Refused::Signature => "no signature fits",
            Refused::Body => "the body is no notification",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Refused::Headers | Refused::Body => StatusCode::BAD_REQUEST,
            Refused::Timestamp | Refused::Signature => StatusCode::UNAUTHORIZED,
        }
    }
}

/// A receiver.
#[derive(Debug)]
pub struct Receiver {
    secrets: Vec<Vec<u8>>,
    prints: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    ids: BTreeSet<String>,
    /// The latest of each order.
    latest: BTreeMap<String, u64>,
}

impl Receiver {
    /// With the secrets `whsec_…`; during a rotation there are two.
    pub fn new(secrets: &[String], prints: bool) -> Result<Receiver, String> {
        let key = |secret: &String| {
            let key = secret.strip_prefix("whsec_").and_then(|text| base64::decode(text).ok());
            key.ok_or_else(|| "a secret is whsec_ and base64".to_owned())
        };
        let secrets = secrets.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Receiver { secrets, prints, seen: Mutex::default() })
    }

    /// Takes deliveries until the listener fails.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        let router = Router::new().fallback(take).with_state(Arc::new(self));
        axum::serve(listener, router).await
    }

    /// What to print of a delivery that is believed.
    fn verify(&self, headers: &HeaderMap, body: &[u8], now_secs: i64) -> Result<String, Refused> {
        let header = |name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Refused::Headers)
        };
        let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
        let signatures = header("webhook-signature")?;
        let signed_at: i64 = timestamp.parse().map_err(|_| Refused::Timestamp)?;
        if now_secs.abs_diff(signed_at) > WINDOW_SECS {
            return Err(Refused::Timestamp);
        }
        let given =
            signatures.split(' ').filter_map(|one| base64::decode(one.strip_prefix("v1,")?).ok());
        let given: Vec<Vec<u8>> = given.collect();
        let fits = |key: &Vec<u8>| {
            let Ok(mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
            // The raw bytes: a body that was read and written anew is another one.
            let mac = mac.chain_update(format!("{id}.{timestamp}.")).chain_update(body);
            given.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
        };
        if !self.secrets.iter().any(fits) {
            return Err(Refused::Signature);
        }
        self.line(id, body).ok_or(Refused::Body)
    }

    fn line(&self, id: &str, body: &[u8]) -> Option<String> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let (kind, data) = (body["type"].as_str()?, &body["data"]);
        let order = data["orderId"].as_str()?;
        let sequence = data["sequence"].as_u64()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.ids.insert(id.to_owned());
        let latest = seen.latest.entry(order.to_owned()).or_default();
        let note = match (is_new, sequence < *latest) {
            (false, _) => "  duplicate: nothing to do",
            (true, true) => "  late: older than what came before",
            (true, false) => "",
        };
        *latest = sequence.max(*latest);
        let status = data["status"].as_str().unwrap_or("");
        let credited = &data["creditedAmount"];
        let currency = data["currency"].as_str().unwrap_or("");
        Some(format!("{id} {kind} {order} #{sequence} {status} {credited} {currency}{note}"))
    }
}

async fn take(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let now = SystemClock.now().secs();
    let (status, line) = match receiver.verify(&headers, &body, now) {
        Ok(line) => (StatusCode::NO_CONTENT, format!("ok      {line}")),
        Err(refused) => (refused.status(), format!("refused {}", refused.as_str())),
    };
    if receiver.prints {
        // Whoever has closed our output does not want to hear it.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    status
}
