//! Client authentication: who calls, with which scopes. Constant-time, fail closed, and every
//! refusal of a signature looks the same from outside.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use lambda_http::{Request, RequestExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

mod authorizer;
pub mod keys;
pub mod registry;

use self::keys::{ClientKey, ClientKeysDocument, SECRETS_MAX};
use crate::clock::Clock;
use crate::domain::MerchantId;
use crate::http::request::header;
use crate::http::{ApiError, ErrorCode};
use crate::secrets::{Secret, Versions, is_blank};

/// How far the client's clock may be off, in seconds, either way.
const WINDOW_SECS: i64 = 300;

/// What a signed request carries.
const SIGNATURE_HEADERS: [&str; 3] = ["x-api-key", "x-timestamp", "x-signature"];

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Scope {
    /// Create and change recharges.
    RechargeWrite,
    /// Read recharges, balances and ledgers.
    RechargeRead,
    /// Pay out.
    WithdrawWrite,
    /// Operate.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 4] =
        [Scope::RechargeWrite, Scope::RechargeRead, Scope::WithdrawWrite, Scope::Admin];

    /// The word in documents, tokens and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::RechargeWrite => "recharge:write",
            Scope::RechargeRead => "recharge:read",
            Scope::WithdrawWrite => "withdraw:write",
            Scope::Admin => "admin",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

impl From<Scope> for &'static str {
    fn from(scope: Scope) -> &'static str {
        scope.as_str()
    }
}

impl TryFrom<String> for Scope {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Scope, &'static str> {
        Scope::parse(&word).ok_or("unknown scope")
    }
}

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
    trusts_authorizer: bool,
}

struct Claim<'a> {
    key_id: &'a str,
    signature: [u8; 32],
    signed: String,
}

impl Authenticator {
    /// Checks against `keys`, by `clock`.
    pub fn new(keys: Arc<Secret<ClientKeysDocument>>, clock: Arc<dyn Clock>) -> Authenticator {
        Authenticator { keys, clock, trusts_authorizer: false }
    }

    /// Whether a request without a signature may be the one of the merchant that the gateway's JWT
    /// authorizer names. Only for an API whose routes all have that authorizer.
    #[must_use]
    pub fn trusting_authorizer(self, trusts_authorizer: bool) -> Authenticator {
        Authenticator { trusts_authorizer, ..self }
    }

    /// Reads the keys, so that the first request does not wait for them.
    pub async fn warm_up(&self) {
        let _ = self.keys.get(self.clock.now()).await;
    }

    /// Who sent `request`, if the key or token has `scope`.
    pub async fn authenticate(&self, request: &Request, scope: Scope) -> Result<Caller, ApiError> {
        let is_signed = SIGNATURE_HEADERS.iter().any(|name| request.headers().contains_key(*name));
        let (caller, scopes) = if self.trusts_authorizer && !is_signed {
            authorizer::caller(request)?
        } else {
            self.signer(request).await?
        };
        if !scopes.contains(&scope) {
            return Err(ApiError::new(ErrorCode::Forbidden, "the key lacks the scope"));
        }
        Ok(caller)
    }

    async fn signer(&self, request: &Request) -> Result<(Caller, Vec<Scope>), ApiError> {
        let now = self.clock.now();
        let claim = claim(request, now.secs())?;
        let keys = self.keys.get(now).await?;
        let mut key = signer(&keys, &claim, now.secs());
        if key.is_none()
            && let Some(keys) = self.keys.renew(now).await?
        {
            key = signer(&keys, &claim, now.secs());
        }
        let Some(key) = key else {
            tracing::info!(verified = false, "client signature");
            return Err(signature_invalid());
        };
        let merchant = MerchantId::parse(&key.merchant)
            .ok_or_else(|| ApiError::unavailable("a client key names no merchant"))?;
        tracing::info!(verified = true, key = claim.key_id, merchant = %merchant, "client signature");
        Ok((Caller { merchant, key_id: claim.key_id.to_owned() }, key.scopes))
    }
}

fn signature_invalid() -> ApiError {
    ApiError::new(ErrorCode::SignatureInvalid, "the signature does not fit")
}

fn claim(request: &Request, now_secs: i64) -> Result<Claim<'_>, ApiError> {
    let of = |name| header(request, name);
    let sent = |name: &str| request.headers().contains_key(name);
    if !SIGNATURE_HEADERS.into_iter().all(sent) {
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

/// The key that made the claim's signature, with one of the secrets that are good now. An unknown key
/// costs as much as a known one.
fn signer(
    keys: &Versions<ClientKeysDocument>,
    claim: &Claim<'_>,
    now_secs: i64,
) -> Option<ClientKey> {
    let current = keys.current.get(claim.key_id);
    let secrets = current.map(|key| key.secrets(now_secs, || former(keys, claim.key_id, key)));
    // Always as many, whichever fits: how long it takes tells nothing of the key.
    let mut secrets = secrets.unwrap_or_default();
    secrets.resize(SECRETS_MAX, "");
    let fitting = secrets.into_iter().filter(|secret| fits(secret, claim)).count();
    current.filter(|_| fitting > 0).cloned()
}

/// The secret that the key had in the document before this one.
fn former<'a>(
    keys: &'a Versions<ClientKeysDocument>,
    key_id: &str,
    key: &ClientKey,
) -> Option<&'a str> {
    let former = keys.previous.as_ref()?.get(key_id)?;
    (former.merchant == key.merchant).then_some(former.secret.as_str())
}

fn fits(secret: &str, claim: &Claim<'_>) -> bool {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    let equal = mac.chain_update(&claim.signed).verify_slice(&claim.signature).is_ok();
    equal && !is_blank(secret)
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
