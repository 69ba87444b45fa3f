//! Merchants' settings as an instance knows them: kept for a minute, so that a request costs no read, and read once for
//! all who want them at the same time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::domain::{Merchant, MerchantId, Timestamp};
use crate::store::{Store, StoreError};

/// Settings are read again after this; a suspension takes effect within a minute.
const RENEW_AFTER: Duration = Duration::from_secs(55);
/// Until then they may still be used while reading fails.
const USABLE_FOR: Duration = Duration::from_secs(60);

/// The merchants that this instance has met.
pub struct Merchants {
    store: Store,
    known: std::sync::Mutex<BTreeMap<MerchantId, Arc<Mutex<Known>>>>,
}

/// What is known of one merchant. Whoever reads holds it; the others wait and share what comes of it.
#[derive(Default)]
struct Known {
    read: Option<(Arc<Merchant>, Timestamp)>,
    failed_at: Option<Instant>,
}

impl fmt::Debug for Merchants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merchants").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Merchants {
    /// Those whose settings are in `store`.
    pub fn new(store: Store) -> Merchants {
        Merchants { store, known: std::sync::Mutex::default() }
    }

    /// The merchant as it was set up; at most a minute old.
    pub async fn get(&self, id: &MerchantId, now: Timestamp) -> Result<Arc<Merchant>, StoreError> {
        let asked_at = Instant::now();
        let known = {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(id.clone()).or_default().clone()
        };
        let mut known = known.lock().await;
        let kept = known.read.as_ref().map(|(merchant, at)| (merchant.clone(), now.since(*at)));
        if let Some((merchant, age)) = &kept
            && *age < RENEW_AFTER
        {
            return Ok(merchant.clone());
        }
        let read = match known.failed_at.is_some_and(|at| at > asked_at) {
            true => Err(StoreError::Busy("the merchant's settings".to_owned())),
            false => {
                let read = self.store.merchant(id).await;
                read.inspect_err(|_| known.failed_at = Some(Instant::now()))
            }
        };
        match (read, kept) {
            (Ok(merchant), _) => {
                let merchant = Arc::new(merchant);
                known.read = Some((merchant.clone(), now));
                Ok(merchant)
            }
            (Err(error), kept) => {
                kept.filter(|(_, age)| *age < USABLE_FOR).map(|(merchant, _)| merchant).ok_or(error)
            }
        }
    }
}
