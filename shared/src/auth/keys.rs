//! The document of client keys: what is in it, which secrets are good, and how operators change it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::domain::MerchantId;

/// The document of client keys, by key id: `{"<keyId>": {"merchant": …, "secret": …, "scopes": […]}}`.
/// A key that is not in the current version is revoked.
pub type ClientKeysDocument = BTreeMap<String, ClientKey>;

/// The most secrets of a key that are good at a time.
pub(super) const SECRETS_MAX: usize = 3;
const FORMER_MAX: usize = SECRETS_MAX - 1;

/// One key of the document.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientKey {
    /// Whose it is.
    pub(super) merchant: String,
    /// What it signs with.
    pub(super) secret: String,
    /// What it may do.
    pub(super) scopes: Vec<Scope>,
    /// Secrets from before a rotation, each good until its time. Without this member the secret of the
    /// document's previous version is good as long as that version is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) former: Option<Vec<FormerSecret>>,
}

/// A secret that was replaced.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FormerSecret {
    secret: String,
    /// Unix seconds.
    until: i64,
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey").field("merchant", &self.merchant).finish_non_exhaustive()
    }
}

/// Why a change of the document was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// 1 to 64 of `[A-Za-z0-9_-]`.
    BadKeyId,
    /// At least 32 characters of printable ASCII.
    WeakSecret,
    /// There is one of that name.
    Exists,
    /// There is none of that name.
    Unknown,
    /// A key without a scope could do nothing.
    NoScope,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyError::BadKeyId => "a key id is 1 to 64 of [A-Za-z0-9_-]",
            KeyError::WeakSecret => "a secret is at least 32 printable ASCII characters",
            KeyError::Exists => "there is a key of that name",
            KeyError::Unknown => "there is no key of that name",
            KeyError::NoScope => "a key needs a scope",
        })
    }
}

impl std::error::Error for KeyError {}

impl ClientKey {
    /// Whose it is.
    pub fn merchant(&self) -> &str {
        &self.merchant
    }

    /// What it may do.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Until when the last of its former secrets is good, Unix seconds.
    pub fn former_until(&self) -> Option<i64> {
        self.former.iter().flatten().map(|former| former.until).max()
    }

    /// The secrets that are good now. `previous` gives the one of the document's previous version.
    pub(super) fn secrets<'a>(
        &'a self,
        now_secs: i64,
        previous: impl FnOnce() -> Option<&'a str>,
    ) -> Vec<&'a str> {
        let mut good = vec![self.secret.as_str()];
        match &self.former {
            None => good.extend(previous()),
            Some(former) => good.extend(
                former.iter().filter(|f| now_secs < f.until).map(|former| former.secret.as_str()),
            ),
        }
        good.truncate(SECRETS_MAX);
        good
    }
}

/// Adds a key.
pub fn create(
    document: &mut ClientKeysDocument,
    key_id: &str,
    merchant: &MerchantId,
    scopes: &[Scope],
    secret: String,
) -> Result<(), KeyError> {
    let named = (1..=64).contains(&key_id.len())
        && key_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !named {
        return Err(KeyError::BadKeyId);
    }
    if document.contains_key(key_id) {
        return Err(KeyError::Exists);
    }
    if scopes.is_empty() {
        return Err(KeyError::NoScope);
    }
    check_secret(&secret)?;
    let merchant = merchant.as_str().to_owned();
    let key = ClientKey { merchant, secret, scopes: scopes.to_vec(), former: Some(Vec::new()) };
    document.insert(key_id.to_owned(), key);
    Ok(())
}

/// Gives a key a new secret; the one it had stays good until `until_secs`, Unix seconds, and none of those before it any
/// longer: a rotation that overlaps not at all ends them all.
pub fn rotate(
    document: &mut ClientKeysDocument,
    key_id: &str,
    secret: String,
    (now_secs, until_secs): (i64, i64),
) -> Result<(), KeyError> {
    check_secret(&secret)?;
    let key = document.get_mut(key_id).ok_or(KeyError::Unknown)?;
    let mut former = key.former.take().unwrap_or_default();
    let secret = std::mem::replace(&mut key.secret, secret);
    former.insert(0, FormerSecret { secret, until: until_secs });
    former.iter_mut().for_each(|former| former.until = former.until.min(until_secs));
    former.retain(|former| now_secs < former.until);
    former.truncate(FORMER_MAX);
    key.former = Some(former);
    Ok(())
}

/// Takes a key away.
pub fn revoke(document: &mut ClientKeysDocument, key_id: &str) -> Result<(), KeyError> {
    document.remove(key_id).map(|_| ()).ok_or(KeyError::Unknown)
}

fn check_secret(secret: &str) -> Result<(), KeyError> {
    let printable = secret.bytes().all(|byte| byte.is_ascii_graphic());
    if secret.len() >= 32 && printable { Ok(()) } else { Err(KeyError::WeakSecret) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "first-secret-0123456789abcdef012345";
    const SECOND: &str = "second-secret-0123456789abcdef01234";

    fn document() -> ClientKeysDocument {
        let mut document = ClientKeysDocument::new();
        let merchant = MerchantId::parse("m_a").unwrap();
        let scopes = [Scope::RechargeRead];
        create(&mut document, "k", &merchant, &scopes, FIRST.to_owned()).unwrap();
        document
    }

    #[test]
    fn a_rotated_key_has_two_secrets_until_the_overlap_ends() {
        let mut document = document();
        rotate(&mut document, "k", SECOND.to_owned(), (100, 200)).unwrap();
        fn old<'a>() -> Option<&'a str> {
            Some("of the previous version")
        }
        assert_eq!(document["k"].secrets(199, old), [SECOND, FIRST]);
        assert_eq!(document["k"].secrets(200, old), [SECOND]);
        rotate(&mut document, "k", FIRST.to_owned(), (300, 400)).unwrap();
        assert_eq!(document["k"].secrets(300, old), [FIRST, SECOND], "the first one had run out");
        for _ in 0..5 {
            rotate(&mut document, "k", SECOND.to_owned(), (300, 400)).unwrap();
        }
        assert_eq!(document["k"].secrets(300, old).len(), 1 + FORMER_MAX);
        rotate(&mut document, "k", FIRST.to_owned(), (300, 350)).unwrap();
        assert_eq!(document["k"].secrets(349, old).len(), 1 + FORMER_MAX);
        assert_eq!(document["k"].secrets(350, old), [FIRST], "none longer than the last one");
        rotate(&mut document, "k", SECOND.to_owned(), (300, 300)).unwrap();
        assert_eq!(document["k"].secrets(300, old), [SECOND]);
    }

    #[test]
    fn a_plain_key_goes_by_the_documents_versions() {
        let json = format!(r#"{{"k":{{"merchant":"m_a","secret":"{FIRST}","scopes":["admin"]}}}}"#);
        let plain: ClientKeysDocument = serde_json::from_str(&json).unwrap();
        assert_eq!(plain["k"].secrets(0, || Some(SECOND)), [FIRST, SECOND]);
        assert_eq!(serde_json::to_string(&plain).unwrap(), json);
    }

    #[test]
    fn changes_that_make_no_sense_are_refused() {
        let mut document = document();
        let merchant = MerchantId::parse("m_a").unwrap();
        let scopes = [Scope::Admin];
        let mut create = |id: &str, scopes: &[Scope], secret: &str| {
            super::create(&mut document, id, &merchant, scopes, secret.to_owned())
        };
        assert_eq!(create("k", &scopes, SECOND), Err(KeyError::Exists));
        assert_eq!(create("a b", &scopes, SECOND), Err(KeyError::BadKeyId));
        assert_eq!(create("k2", &[], SECOND), Err(KeyError::NoScope));
        assert_eq!(create("k2", &scopes, "short"), Err(KeyError::WeakSecret));
        assert_eq!(revoke(&mut document, "k2"), Err(KeyError::Unknown));
        assert_eq!(rotate(&mut document, "k2", SECOND.to_owned(), (0, 1)), Err(KeyError::Unknown));
        assert_eq!(revoke(&mut document, "k"), Ok(()));
        assert!(document.is_empty());
    }
}
