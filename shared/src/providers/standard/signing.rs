//! Standard Webhooks: base64 of HMAC-SHA256 over `id.timestamp.body`, in a short list of signatures.
//! The id has no dot and the timestamp ten digits, so that the three parts cannot be cut differently.

use aws_smithy_types::base64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::providers::{RawCallback, Refusal};
use crate::secrets::{is_blank, whsec};

/// Identity, time and signatures of a message.
pub const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// The most signatures that a message may have: two secrets in rotation, and some to spare.
const SIGNATURES_MAX: usize = 8;

/// Who says to have signed a message, and when.
pub(super) struct Claim<'a> {
    pub(super) id: &'a str,
    timestamp: &'a str,
    signatures: Vec<Vec<u8>>,
    pub(super) signed_at_secs: i64,
}

/// Reads the headers. A message without one of them is refused like one with two, or with one that nobody
/// can have signed: its signature does not fit.
pub(super) fn claim<'a>(callback: &RawCallback<'a>) -> Result<Claim<'a>, Refusal> {
    let [id, timestamp, signatures] = HEADERS.map(|name| callback.header(name));
    let signatures = signatures.ok_or(Refusal::Signature)?;
    let id = id.filter(|id| is_id(id)).ok_or(Refusal::Signature)?;
    let ten_digits = |text: &&str| text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit());
    let timestamp = timestamp.filter(ten_digits).ok_or(Refusal::Signature)?;
    if signatures.split(' ').count() > SIGNATURES_MAX {
        return Err(Refusal::Signature);
    }
    let of_v1 = |entry: &str| base64::decode(entry.strip_prefix("v1,")?).ok();
    Ok(Claim {
        id,
        timestamp,
        signatures: signatures.split(' ').filter_map(of_v1).collect(),
        signed_at_secs: timestamp.parse().map_err(|_| Refusal::Signature)?,
    })
}

fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl Claim<'_> {
    /// Whether one of the signatures is that of `key`.
    pub(super) fn fits(&self, key: &str, body: &[u8]) -> bool {
        let Some(mac) = mac(key, self.id, self.timestamp, body) else { return false };
        // Every signature is compared, whichever fits.
        let fitting = |signature: &&Vec<u8>| mac.clone().verify_slice(signature).is_ok();
        !is_blank(key) && self.signatures.iter().filter(fitting).count() > 0
    }
}

/// Under the bytes of `key`; of one that begins with `whsec_`, as the standard writes them, under what the
/// rest says in base64. `None` when it says too little.
fn mac(key: &str, id: &str, timestamp: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mac = match key.strip_prefix("whsec_") {
        Some(encoded) => Hmac::<Sha256>::new_from_slice(&whsec(encoded)?),
        None => Hmac::new_from_slice(key.as_bytes()),
    };
    let mac = mac.ok()?;
    let mac = mac.chain_update(id).chain_update(".").chain_update(timestamp).chain_update(".");
    Some(mac.chain_update(body))
}

/// The signature of a message under `key`, base64, without the `v1,` before it.
pub fn signature(key: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mac = mac(key, id, timestamp, body);
    mac.map_or_else(String::new, |mac| base64::encode(mac.finalize().into_bytes()))
}
