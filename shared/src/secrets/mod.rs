//! Secrets Manager documents, cached. Current and previous version are both kept, so that a rotation
//! refuses nobody; nothing read here is ever logged, and nothing is believed when it cannot be read.

mod notification;

pub use notification::{NotificationKeys, NotificationKeysDocument};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_smithy_types::base64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::domain::{ProviderName, Timestamp};

/// The secret could not be read, or is not the document that it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the secret store does not answer")
    }
}

impl std::error::Error for Unavailable {}

/// How long a read document is believed.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// After this it is read again before use.
    pub renew_after: Duration,
    /// Until then it may still be used while reading fails.
    pub usable_for: Duration,
}

/// Client keys: revocation takes effect within a minute, even while the secret store is away.
pub const CLIENT_KEYS: Freshness =
    Freshness { renew_after: Duration::from_secs(55), usable_for: Duration::from_secs(60) };

/// Provider keys: a provider's confirmations survive an hour's outage of the secret store.
pub const PROVIDER_KEYS: Freshness =
    Freshness { renew_after: Duration::from_secs(300), usable_for: Duration::from_secs(3_600) };

/// A failed verification may cause one early read a minute.
const EARLY_READ_EVERY: Duration = Duration::from_secs(60);

/// How long nobody tries again after a read that failed, while there is a document that may still be used.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// How long a read may take while there is a document that may still be used.
const RENEWED_WITHIN: Duration = Duration::from_secs(1);

/// A document in its current and, if there is one, its previous version.
#[derive(Debug)]
pub struct Versions<T> {
    /// `AWSCURRENT`.
    pub current: T,
    /// `AWSPREVIOUS`.
    pub previous: Option<T>,
}

struct Cached<T> {
    versions: Arc<Versions<T>>,
    read_at: Timestamp,
}

struct State<T> {
    cached: Option<Cached<T>>,
    early_read_at: Option<Timestamp>,
    failed_at: Option<Instant>,
}

impl<T> State<T> {
    /// Whether a read has failed after `at`. Who has waited for it meanwhile need not try the same.
    fn failed_since(&self, at: Instant) -> bool {
        self.failed_at.is_some_and(|failed_at| failed_at > at)
    }
}

/// One JSON document in Secrets Manager.
pub struct Secret<T> {
    client: Client,
    name: String,
    freshness: Freshness,
    state: Mutex<State<T>>,
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Secret<T> {
    /// The document called `name`; read at first use.
    pub fn new(client: Client, name: String, freshness: Freshness) -> Secret<T> {
        let state = Mutex::new(State { cached: None, early_read_at: None, failed_at: None });
        Secret { client, name, freshness, state }
    }

    /// The document, read again when it is older than its freshness allows. While reading fails, one that may
    /// still be used comes at once or a second later: an outage is no reason to make everybody wait.
    pub async fn get(&self, now: Timestamp) -> Result<Arc<Versions<T>>, Unavailable> {
        let asked_at = Instant::now();
        let mut state = self.state.lock().await;
        let age = state.cached.as_ref().map(|cached| now.since(cached.read_at));
        match (&state.cached, age) {
            (Some(cached), Some(age)) if age < self.freshness.renew_after => {
                Ok(cached.versions.clone())
            }
            (Some(cached), Some(age)) if age < self.freshness.usable_for => {
                let kept = cached.versions.clone();
                Ok(self.renewed(&mut state, now).await.unwrap_or(kept))
            }
            _ if state.failed_since(asked_at) => Err(Unavailable),
            _ => self.read(&mut state, now).await,
        }
    }

    /// Reads it early because something did not verify; `None` when that was done within the last
    /// minute, or when the document in use is as fresh as it can be.
    pub async fn renew(&self, now: Timestamp) -> Result<Option<Arc<Versions<T>>>, Unavailable> {
        let asked_at = Instant::now();
        let mut state = self.state.lock().await;
        if state.early_read_at.is_some_and(|at| now.since(at) < EARLY_READ_EVERY) {
            return Ok(None);
        }
        let age = state.cached.as_ref().map(|cached| now.since(cached.read_at));
        let read = match age {
            Some(age) if age < self.freshness.usable_for => self.renewed(&mut state, now).await?,
            _ if state.failed_since(asked_at) => return Err(Unavailable),
            _ => self.read(&mut state, now).await?,
        };
        // Only a read that came back counts: without one nobody can say that the signature is wrong.
        state.early_read_at = Some(now);
        Ok(Some(read))
    }

    /// Reads it while there is a document that may still be used: within a second, or not at all for a while.
    async fn renewed(
        &self,
        state: &mut State<T>,
        now: Timestamp,
    ) -> Result<Arc<Versions<T>>, Unavailable> {
        if state.failed_at.is_some_and(|at| at.elapsed() < PAUSE_AFTER_FAILURE) {
            return Err(Unavailable);
        }
        let read = timeout(RENEWED_WITHIN, self.read(state, now)).await;
        read.unwrap_or(Err(Unavailable)).inspect_err(|_| {
            state.failed_at = Some(Instant::now());
            // Of a read that took too long nothing else says so.
            tracing::warn!(secret = self.name, "secret not renewed: the one in use is kept");
        })
    }

    async fn read(
        &self,
        state: &mut State<T>,
        now: Timestamp,
    ) -> Result<Arc<Versions<T>>, Unavailable> {
        let (current, previous) =
            futures_util::future::join(self.fetch("AWSCURRENT"), self.fetch("AWSPREVIOUS")).await;
        let read = current.and_then(|current| current.ok_or(Unavailable));
        let read = read.and_then(|current| Ok(Versions { current, previous: previous? }));
        let versions = Arc::new(read.inspect_err(|_| state.failed_at = Some(Instant::now()))?);
        state.cached = Some(Cached { versions: versions.clone(), read_at: now });
        Ok(versions)
    }

    async fn fetch(&self, stage: &str) -> Result<Option<T>, Unavailable> {
        let request = self.client.get_secret_value().secret_id(&self.name).version_stage(stage);
        let text = match request.send().await {
            Ok(output) => output.secret_string.ok_or(Unavailable)?,
            Err(error) => {
                use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
                let code = error.code().unwrap_or("no answer").to_owned();
                if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) {
                    return Ok(None);
                }
                tracing::warn!(secret = self.name, stage, code, "secret not readable");
                return Err(Unavailable);
            }
        };
        match serde_json::from_str(&text) {
            Ok(document) => Ok(Some(document)),
            // serde's message could quote the document, so it is not logged.
            Err(_) => {
                tracing::error!(
                    secret = self.name,
                    stage,
                    "secret is not the expected JSON document"
                );
                // A version that was replaced because it was wrong must not stand in the way.
                if stage == "AWSPREVIOUS" { Ok(None) } else { Err(Unavailable) }
            }
        }
    }
}

/// The least that a secret of the form `whsec_…` has to say, in bytes.
const WHSEC_BYTES_MIN: usize = 16;

/// The bytes of a secret of the form `whsec_…`, as Standard Webhooks writes them: in base64. `None` when it
/// says too little.
pub(crate) fn whsec(encoded: &str) -> Option<Vec<u8>> {
    // Zeros are what an empty key is padded with.
    let says_something = |bytes: &Vec<u8>| bytes.iter().any(|byte| *byte != 0);
    let bytes = base64::decode(encoded).ok().filter(says_something);
    bytes.filter(|bytes| bytes.len() >= WHSEC_BYTES_MIN)
}

/// Whether a secret is none: anybody can guess white space and what is not seen.
pub(crate) fn is_blank(secret: &str) -> bool {
    !secret.chars().any(|c| c.is_ascii_graphic() || c.is_alphanumeric())
}

/// What could not protect anything counts as missing.
fn is_usable(key: &str) -> bool {
    match key.strip_prefix("whsec_") {
        Some(encoded) => whsec(encoded).is_some(),
        None => !is_blank(key),
    }
}

/// The document of provider keys: `{"trader": {"key": "…"}}`; while a key is being changed with
/// `{"trader": {"key": "…", "next": "…"}}`.
pub type ProviderKeysDocument = BTreeMap<String, ProviderKey>;

/// One provider's entry in the document.
#[derive(Deserialize)]
pub struct ProviderKey {
    /// What both sides sign with.
    key: String,
    /// What they will sign with: callbacks under it are taken already.
    next: Option<String>,
}

impl ProviderKey {
    fn verifying(&self) -> impl Iterator<Item = &str> {
        let keys = [Some(self.key.as_str()), self.next.as_deref()];
        keys.into_iter().flatten().filter(|key| is_usable(key))
    }
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderKey(..)")
    }
}

/// The keys of one provider account.
#[derive(Debug, Clone)]
pub struct ProviderKeys {
    secret: Arc<Secret<ProviderKeysDocument>>,
    provider: ProviderName,
}

impl ProviderKeys {
    /// The keys of `provider` in `secret`.
    pub const fn new(
        secret: Arc<Secret<ProviderKeysDocument>>,
        provider: ProviderName,
    ) -> ProviderKeys {
        ProviderKeys { secret, provider }
    }

    /// The key to sign with.
    pub async fn signing(&self, now: Timestamp) -> Result<String, Unavailable> {
        let versions = self.secret.get(now).await?;
        self.of(&versions.current).map(str::to_owned).ok_or(Unavailable)
    }

    /// Whether `key` is the one to sign with still, by what was read within the last minute; `false` when nobody can
    /// say, as while the next one is there.
    pub async fn is_current(&self, now: Timestamp, key: &str) -> bool {
        if self.secret.renew(now).await.is_err() {
            return false;
        }
        let Ok(versions) = self.secret.get(now).await else { return false };
        let entry = versions.current.get(self.provider.as_str());
        entry.is_some_and(|entry| entry.verifying().eq([key]))
    }

    /// Whether `fits` holds for the current key, the next or those of the previous version; a miss reads the secret
    /// early, at most once a minute.
    pub async fn any(
        &self,
        now: Timestamp,
        fits: impl Fn(&str) -> bool,
    ) -> Result<bool, Unavailable> {
        let versions = self.secret.get(now).await?;
        if self.fits(&versions, &fits)? {
            return Ok(true);
        }
        match self.secret.renew(now).await? {
            Some(versions) => self.fits(&versions, &fits),
            None => Ok(false),
        }
    }

    fn fits(
        &self,
        versions: &Versions<ProviderKeysDocument>,
        fits: &impl Fn(&str) -> bool,
    ) -> Result<bool, Unavailable> {
        self.of(&versions.current).ok_or(Unavailable)?;
        let documents = [Some(&versions.current), versions.previous.as_ref()];
        let entries =
            documents.into_iter().flatten().filter_map(|keys| keys.get(self.provider.as_str()));
        Ok(entries.flat_map(ProviderKey::verifying).any(fits))
    }

    fn of<'a>(&self, document: &'a ProviderKeysDocument) -> Option<&'a str> {
        document
            .get(self.provider.as_str())
            .map(|entry| entry.key.as_str())
            .filter(|key| is_usable(key))
    }
}
