//! Merchants' settings as an instance knows them: kept for a minute, so that a request costs no read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::{Merchant, MerchantId, Timestamp};
use crate::store::{Store, StoreError};

/// Settings are read again after this; a suspension takes effect within a minute.
const RENEW_AFTER: Duration = Duration::from_secs(55);
/// Until then they may still be used while reading fails.
const USABLE_FOR: Duration = Duration::from_secs(60);

/// The merchants that this instance has met.
pub struct Merchants {
    store: Store,
    known: Mutex<BTreeMap<MerchantId, Known>>,
}

#[derive(Clone)]
struct Known {
    merchant: Arc<Merchant>,
    read_at: Timestamp,
}

impl fmt::Debug for Merchants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merchants").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Merchants {
    /// Those whose settings are in `store`.
    pub fn new(store: Store) -> Merchants {
        Merchants { store, known: Mutex::default() }
    }

    /// The merchant as it was set up; at most a minute old.
    pub async fn get(&self, id: &MerchantId, now: Timestamp) -> Result<Arc<Merchant>, StoreError> {
        let kept = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let age = kept.as_ref().map(|kept| now.since(kept.read_at));
        if let (Some(kept), Some(age)) = (&kept, age)
            && age < RENEW_AFTER
        {
            return Ok(kept.merchant.clone());
        }
        match (self.store.merchant(id).await, kept, age) {
            (Ok(merchant), _, _) => {
                let merchant = Arc::new(merchant);
                let known = Known { merchant: merchant.clone(), read_at: now };
                let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(id.clone(), known);
                Ok(merchant)
            }
            (Err(_), Some(kept), Some(age)) if age < USABLE_FOR => Ok(kept.merchant),
            (Err(error), _, _) => Err(error),
        }
    }
}
