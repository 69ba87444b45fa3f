//! Who may create, and how fast: the merchant's settings and its token bucket in the table. A create costs the bucket no round trip of its own while it is far from empty: an instance
//! pays for a few creates at once, side by side with the order's own write. Near the limit it pays first.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::{Merchant, MerchantId, Timestamp, UserAccess, UserId};
use crate::http::{ApiError, ErrorCode};
use crate::store::{self, Store, Take, Taken};

use super::merchants::Merchants;

/// Creates that an instance lets pass before it pays for them, while the bucket is far from empty.
/// With sixteen instances the limit is exceeded by at most 48 creates, once.
const PAID_TOGETHER: i64 = 4;

/// The gate before every create.
pub struct Admission {
    store: Store,
    known: Merchants,
    buckets: Mutex<BTreeMap<MerchantId, Bucket>>,
}

/// What this instance knows of a bucket.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// When it is full again, as last seen; microseconds.
    full_at_us: i64,
    /// Creates let pass and not paid for.
    owed: i64,
}

/// A create that was let pass; what is owed is paid beside its work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "what is owed must be paid"]
pub struct Pass {
    merchant: MerchantId,
    debt: Option<Take>,
}

/// Refuses a suspended merchant.
pub(super) fn may_act(merchant: &Merchant) -> Result<(), ApiError> {
    match merchant.suspended {
        true => Err(ApiError::new(ErrorCode::Forbidden, "the merchant is suspended")),
        false => Ok(()),
    }
}

/// Refuses a user that is not registered, where the merchant registers its users.
pub(super) async fn is_its_user(
    store: &Store,
    (id, merchant): (&MerchantId, &Merchant),
    user: &UserId,
) -> Result<(), ApiError> {
    if merchant.users == UserAccess::Registered && !store.is_registered(id, user).await? {
        let mut error = ApiError::field("userId", "is not registered");
        error.code = ErrorCode::NotFound;
        return Err(error);
    }
    Ok(())
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Admission {
    /// The gate whose settings and buckets are in `store`.
    pub fn new(store: Store) -> Admission {
        Admission { known: Merchants::new(store.clone()), store, buckets: Mutex::default() }
    }

    /// Refuses a suspended merchant; gives its settings.
    pub async fn merchant(
        &self,
        id: &MerchantId,
        now: Timestamp,
    ) -> Result<Arc<Merchant>, ApiError> {
        let merchant = self.known.get(id, now).await?;
        may_act(&merchant)?;
        Ok(merchant)
    }

    /// Refuses a user for whom nothing may be created.
    pub async fn user(
        &self,
        id: &MerchantId,
        merchant: &Merchant,
        user: &UserId,
    ) -> Result<(), ApiError> {
        if merchant.suspended_users.contains(user) {
            let mut error = ApiError::field("userId", "is suspended");
            error.code = ErrorCode::Forbidden;
            return Err(error);
        }
        is_its_user(&self.store, (id, merchant), user).await
    }

    /// Lets one create of the merchant pass, or says when to come again.
    pub async fn pass(
        &self,
        id: &MerchantId,
        merchant: &Merchant,
        now: Timestamp,
    ) -> Result<Pass, ApiError> {
        let now_us = now.millis().saturating_mul(1_000);
        let one_us = 1_000_000 / i64::from(merchant.creates_per_second.max(1));
        let full_us = one_us.saturating_mul(i64::from(merchant.burst.max(1)));
        let (take, owed) = {
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            let bucket = buckets.entry(id.clone()).or_default();
            bucket.owed += 1;
            let used_us = bucket.full_at_us.max(now_us) - now_us + bucket.owed * one_us;
            let far_from_empty = used_us <= full_us / 2;
            if far_from_empty && bucket.owed < PAID_TOGETHER {
                return Ok(Pass { merchant: id.clone(), debt: None });
            }
            let owed = std::mem::take(&mut bucket.owed);
            let take = Take {
                now_us,
                cost_us: owed * one_us,
                seen_full_at_us: bucket.full_at_us,
                full_at_max_us: None,
            };
            if far_from_empty {
                return Ok(Pass { merchant: id.clone(), debt: Some(take) });
            }
            (Take { full_at_max_us: Some(now_us + full_us.max(take.cost_us)), ..take }, owed)
        };
        match self.store.take((id, store::Bucket::Creates), take).await? {
            Taken::Now(full_at_us) => {
                self.seen(id, full_at_us, 0);
                Ok(Pass { merchant: id.clone(), debt: None })
            }
            Taken::Refused(full_at_us) => {
                self.seen(id, full_at_us, owed - 1);
                Err(ApiError::rate_limited(take.fits_in_secs(full_at_us)))
            }
        }
    }

    /// Pays what the pass owes; to run beside the create. Unpaid debt is paid with the next create.
    pub async fn pay(&self, pass: Pass) {
        let Some(take) = pass.debt else { return };
        match self.store.take((&pass.merchant, store::Bucket::Creates), take).await {
            Ok(Taken::Now(full_at_us) | Taken::Refused(full_at_us)) => {
                self.seen(&pass.merchant, full_at_us, 0);
            }
            Err(error) => {
                tracing::warn!(cause = %error, "creates not counted yet");
                self.seen(&pass.merchant, 0, PAID_TOGETHER);
            }
        }
    }

    fn seen(&self, id: &MerchantId, full_at_us: i64, owed: i64) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(id.clone()).or_default();
        bucket.full_at_us = bucket.full_at_us.max(full_at_us);
        bucket.owed += owed;
    }
}
