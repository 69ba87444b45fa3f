//! What notifications are signed with, and where they go when an order does not say.

use std::collections::BTreeMap;
use std::fmt;

use aws_smithy_types::base64;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

/// The document: `{"<merchant>": {"secrets": ["whsec_…"], "url": "https://…"}}`. During a rotation a
/// merchant has two secrets, and its notifications two signatures.
pub type NotificationKeysDocument = BTreeMap<String, NotificationKeys>;

/// One merchant's entry.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationKeys {
    secrets: Vec<String>,
    #[serde(default)]
    url: Option<String>,
}

impl fmt::Debug for NotificationKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotificationKeys").field("url", &self.url).finish_non_exhaustive()
    }
}

impl NotificationKeys {
    /// Where notifications go that the order has no address for.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The header `webhook-signature` of Standard Webhooks: `v1,` and base64 for each secret. `None`
    /// without a usable secret.
    pub fn sign(&self, id: &str, timestamp_secs: i64, body: &str) -> Option<String> {
        let one = |secret: &String| {
            let key = super::whsec(secret.strip_prefix("whsec_")?)?;
            let mac = Hmac::<Sha256>::new_from_slice(&key).ok().filter(|_| key.len() >= 24)?;
            let mac = mac.chain_update(format!("{id}.{timestamp_secs}.{body}"));
            Some(format!("v1,{}", base64::encode(mac.finalize().into_bytes())))
        };
        let signatures: Vec<String> = self.secrets.iter().filter_map(one).take(2).collect();
        (!signatures.is_empty()).then(|| signatures.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secrets: &[&str]) -> NotificationKeys {
        let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        NotificationKeys { secrets, url: None }
    }

    #[test]
    fn the_published_example_comes_out() {
        // The example of the Standard Webhooks specification.
        let keys = keys(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = keys.sign(id, 1_614_265_330, "{\"test\": 2432232314}").unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_make_two_signatures_and_a_weak_one_none() {
        let good = "whsec_ZGVtby1ub3RpZmljYXRpb24tc2VjcmV0LTAxMjM0NTY3ODk=";
        let two =
            keys(&[good, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).sign("i", 1, "b").unwrap();
        assert_eq!(two.split(' ').count(), 2);
        for bad in ["", "whsec_", "whsec_AAAA", "ZGVtby1ub3RpZmljYXRpb24tc2VjcmV0LTAxMjM0NTY3ODk="]
        {
            assert_eq!(keys(&[bad]).sign("i", 1, "b"), None, "{bad}");
        }
    }
}
