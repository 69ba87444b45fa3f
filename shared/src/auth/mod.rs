//! Client authentication: who calls, with which scopes. Constant-time, fail closed, and every
//! refusal of a signature looks the same from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use lambda_http::{Request, RequestExt};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::domain::MerchantId;
use crate::http::request::header;
use crate::http::{ApiError, ErrorCode};
use crate::secrets::{Secret, Versions};

/// How far the client's clock may be off, in seconds, either way.
const WINDOW_SECS: i64 = 300;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Scope {
    /// Create and change recharges.
    #[serde(rename = "recharge:write")]
    RechargeWrite,
    /// Read recharges, balances and ledgers.
    #[serde(rename = "recharge:read")]
    RechargeRead,
    /// Pay out.
    #[serde(rename = "withdraw:write")]
    WithdrawWrite,
    /// Operate.
    #[serde(rename = "admin")]
    Admin,
}

/// One key of the document.
#[derive(Clone, Deserialize)]
pub struct ClientKey {
    merchant: String,
    secret: String,
    scopes: Vec<Scope>,
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey").field("merchant", &self.merchant).finish_non_exhaustive()
    }
}

/// The document of client keys: `{"<keyId>": {"merchant": …, "secret": …, "scopes": […]}}`.
/// A key that is not in the current version is revoked; one that is may also be used with the secret
/// that it had in the previous version.
pub type ClientKeysDocument = BTreeMap<String, ClientKey>;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The merchant; the start of every read and write.
    pub merchant: MerchantId,
    /// The key used, for the log.
    pub key_id: String,
}

/// Checks signatures.
#[derive(Debug, Clone)]
pub struct Authenticator {
    keys: Arc<Secret<ClientKeysDocument>>,
    clock: Arc<dyn Clock>,
}

struct Claim<'a> {
    key_id: &'a str,
    signature: [u8; 32],
    signed: String,
}

impl Authenticator {
    /// Checks against `keys`, by `clock`.
    pub fn new(keys: Arc<Secret<ClientKeysDocument>>, clock: Arc<dyn Clock>) -> Authenticator {
        Authenticator { keys, clock }
    }

    /// Reads the keys, so that the first request does not wait for them.
    pub async fn warm_up(&self) {
        let _ = self.keys.get(self.clock.now()).await;
    }

    /// Who signed `request`, if the key has `scope`.
    pub async fn authenticate(&self, request: &Request, scope: Scope) -> Result<Caller, ApiError> {
        let now = self.clock.now();
        let claim = claim(request, now.secs())?;
        let keys = self.keys.get(now).await?;
        let mut key = signer(&keys, &claim);
        if key.is_none()
            && let Some(keys) = self.keys.renew(now).await?
        {
            key = signer(&keys, &claim);
        }
        let Some(key) = key else {
            tracing::info!(verified = false, "client signature");
            return Err(signature_invalid());
        };
        let merchant = MerchantId::parse(&key.merchant)
            .ok_or_else(|| ApiError::unavailable("a client key names no merchant"))?;
        tracing::info!(verified = true, key = claim.key_id, merchant = %merchant, "client signature");
        if !key.scopes.contains(&scope) {
            return Err(ApiError::new(ErrorCode::Forbidden, "the key lacks the scope"));
        }
        Ok(Caller { merchant, key_id: claim.key_id.to_owned() })
    }
}

fn signature_invalid() -> ApiError {
    ApiError::new(ErrorCode::SignatureInvalid, "the signature does not fit")
}

fn claim(request: &Request, now_secs: i64) -> Result<Claim<'_>, ApiError> {
    let of = |name| header(request, name);
    let sent = |name: &str| request.headers().contains_key(name);
    if !(sent("x-api-key") && sent("x-timestamp") && sent("x-signature")) {
        let message = "send X-Api-Key, X-Timestamp and X-Signature";
        return Err(ApiError::new(ErrorCode::Unauthenticated, message));
    }
    let timestamp = of("x-timestamp").unwrap_or("");
    let ten_digits = timestamp.len() == 10 && timestamp.bytes().all(|b| b.is_ascii_digit());
    let signed_at: i64 = timestamp.parse().unwrap_or(0);
    if !ten_digits || (now_secs - signed_at).abs() > WINDOW_SECS {
        let message = "X-Timestamp must be Unix seconds within 300 of now";
        return Err(ApiError::new(ErrorCode::TimestampOutOfRange, message));
    }
    let key_id = of("x-api-key").ok_or_else(signature_invalid)?;
    let signature = of("x-signature").and_then(read_signature).ok_or_else(signature_invalid)?;
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let idempotency_key = if sent("idempotency-key") {
        of("idempotency-key").ok_or_else(signature_invalid)?
    } else {
        ""
    };
    let signed = format!(
        "v1\n{}\n{}{query}\n{timestamp}\n{key_id}\n{idempotency_key}\n{}",
        request.method(),
        request.raw_http_path(),
        hex::encode(Sha256::digest(request.body().as_ref())),
    );
    Ok(Claim { key_id, signature, signed })
}

/// `v1=` and 64 lower-case hex digits: one spelling per signature.
fn read_signature(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("v1=")?;
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut signature = [0; 32];
    hex::decode_to_slice(digits, &mut signature).ok()?;
    Some(signature)
}

/// The key that made the claim's signature, with its current or its previous secret. An unknown key
/// costs as much as a known one.
fn signer(keys: &Versions<ClientKeysDocument>, claim: &Claim<'_>) -> Option<ClientKey> {
    let current = keys.current.get(claim.key_id);
    let previous = keys.previous.as_ref().and_then(|document| document.get(claim.key_id));
    let previous = previous.filter(|old| current.is_some_and(|key| key.merchant == old.merchant));
    let by_current = fits(current, claim);
    let by_previous = fits(previous, claim);
    current.filter(|_| by_current || by_previous).cloned()
}

fn fits(key: Option<&ClientKey>, claim: &Claim<'_>) -> bool {
    let secret = key.map_or("", |key| key.secret.as_str());
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    let equal = mac.chain_update(&claim.signed).verify_slice(&claim.signature).is_ok();
    equal && !secret.is_empty()
}

/// The headers that sign a request: `X-Timestamp` and `X-Signature`. For clients: the local stack's
/// `call` command and the tests.
pub fn sign(
    secret: &str,
    (method, path_and_query): (&str, &str),
    (timestamp_secs, key_id, idempotency_key): (i64, &str, &str),
    body: &[u8],
) -> String {
    let digest = hex::encode(Sha256::digest(body));
    let signed = format!(
        "v1\n{method}\n{path_and_query}\n{timestamp_secs}\n{key_id}\n{idempotency_key}\n{digest}"
    );
    Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map(|mac| format!("v1={}", hex::encode(mac.chain_update(signed).finalize().into_bytes())))
        .unwrap_or_default()
}
