//! The provider's one signing rule, in both directions: base64 of HMAC-SHA256 over timestamp, method, path
//! with its query, and body, with nothing between them.

use aws_smithy_types::base64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use super::settings::Settings;
use crate::providers::{RawCallback, Refusal};
use crate::secrets::is_blank;

/// Account, time and signature of a message.
pub const HEADERS: [&str; 3] = ["x-pay-key", "x-pay-timestamp", "x-pay-sign"];

/// 32 bytes in base64, with padding.
const SIGNATURE_CHARACTERS: usize = 44;

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Unix time in seconds, as sent.
    pub timestamp: &'a str,
    /// In upper case.
    pub method: &'a str,
    /// Everything after the host, query included.
    pub path: &'a str,
    /// The bytes as sent.
    pub body: &'a [u8],
}

impl Signed<'_> {
    fn digest(self, key: &str) -> Option<[u8; 32]> {
        let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
        let mac = mac.chain_update(self.timestamp).chain_update(self.method);
        Some(mac.chain_update(self.path).chain_update(self.body).finalize().into_bytes().into())
    }
}

/// The signature under `key`, as it is sent.
pub fn signature(key: &str, signed: Signed<'_>) -> String {
    signed.digest(key).map_or_else(String::new, base64::encode)
}

/// Who says to have signed a callback, and when.
pub(super) struct Claim<'a> {
    timestamp: &'a str,
    signature: [u8; 32],
    pub(super) signed_at_secs: i64,
}

/// Reads the headers; a callback without one of them is refused, like one with two, or of another account.
pub(super) fn claim<'a>(
    settings: &Settings,
    callback: &RawCallback<'a>,
) -> Result<Claim<'a>, Refusal> {
    let [account, timestamp, signature] = HEADERS.map(|name| callback.header(name));
    let account = account.ok_or(Refusal::Signature)?;
    if !bool::from(account.as_bytes().ct_eq(settings.api_key.as_bytes())) {
        return Err(Refusal::Signature);
    }
    let ten_digits = |text: &&str| text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit());
    let timestamp = timestamp.filter(ten_digits).ok_or(Refusal::Signature)?;
    Ok(Claim {
        timestamp,
        signature: signature.and_then(decode).ok_or(Refusal::Signature)?,
        signed_at_secs: timestamp.parse().map_err(|_| Refusal::Signature)?,
    })
}

/// Base64 of exactly 32 bytes in its one spelling: the standard alphabet, padded, no spare bits.
fn decode(text: &str) -> Option<[u8; 32]> {
    if text.len() != SIGNATURE_CHARACTERS {
        return None;
    }
    let bytes: [u8; 32] = base64::decode(text).ok()?.try_into().ok()?;
    (base64::encode(bytes) == text).then_some(bytes)
}

impl Claim<'_> {
    /// Whether it is the signature of `key` over `body` and one of the paths.
    pub(super) fn fits(&self, key: &str, paths: &[String], body: &[u8]) -> bool {
        // Every path is tried, whichever fits.
        let fitting = paths.iter().fold(Choice::from(0), |found, path| {
            let signed = Signed { timestamp: self.timestamp, method: "POST", path, body };
            let wanted = signed.digest(key).unwrap_or_default();
            found | wanted.ct_eq(&self.signature)
        });
        !is_blank(key) && fitting.into()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        id: String,
        timestamp: String,
        method: String,
        path: String,
        body: String,
        signature: String,
    }

    #[derive(Deserialize)]
    struct Vectors {
        key: String,
        vectors: Vec<Vector>,
    }

    #[test]
    fn all_vectors_of_the_contract_come_out() {
        let text = include_str!("../../../../tests/vectors/payprotocol.json");
        let Vectors { key, vectors } = serde_json::from_str(text).unwrap();
        assert_eq!(vectors.len(), 8);
        for Vector { id, timestamp, method, path, body, signature: wanted } in &vectors {
            let signed = Signed { timestamp, method, path, body: body.as_bytes() };
            assert_eq!(&signature(&key, signed), wanted, "{id}");
            assert_eq!(decode(wanted), signed.digest(&key), "{id}");
            assert_ne!(&signature("another key", signed), wanted, "{id}");
        }
        let of = |id: &str| &vectors.iter().find(|vector| vector.id == id).unwrap().signature;
        assert_ne!(of("PP-2"), of("PP-2x"), "the prefix is signed");
        assert_ne!(of("PP-3"), of("PP-6"), "the bytes are signed, not what they mean");
    }

    #[test]
    fn a_signature_has_one_spelling() {
        let good = "XtpaxHdJtwZjR47esiV8sGs/POHQhuo5sY28qbBHcpQ=";
        assert!(decode(good).is_some());
        for bad in [
            "",
            "XtpaxHdJtwZjR47esiV8sGs/POHQhuo5sY28qbBHcpQ",
            "XtpaxHdJtwZjR47esiV8sGs_POHQhuo5sY28qbBHcpQ=",
            " XtpaxHdJtwZjR47esiV8sGs/POHQhuo5sY28qbBHcpQ=",
            "XtpaxHdJtwZjR47esiV8sGs/POHQhuo5sY28qbBHcpQ=\n",
            "XtpaxHdJtwZjR47esiV8 Gs/POHQhuo5sY28qbBHcpQ=",
            // The spare bits of the last digit are not zero.
            "XtpaxHdJtwZjR47esiV8sGs/POHQhuo5sY28qbBHcpR=",
            // 31 and 33 bytes.
            "XtpaxHdJtwZjR47esiV8sGs/POHQhuo5sY28qbBHcg==",
            "XtpaxHdJtwZjR47esiV8sGs/POHQhuo5sY28qbBHcpQA",
        ] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
