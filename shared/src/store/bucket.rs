//! The merchant's token buckets: for each a row with the time at which it is full again, moved on by
//! conditional updates (the generic cell rate algorithm). Whole microseconds, no refill job.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure,
};

use super::fault::{Budget, StoreFault};
use super::row::{Row, key, n, number};
use super::{Store, StoreError};
use crate::domain::MerchantId;

/// How often one call tries again because the row was otherwise than it looked.
const RACES_MAX: usize = 8;

/// What a merchant's bucket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// Orders that are created.
    Creates,
    /// Events that are sent again.
    Resends,
}

impl Bucket {
    const fn sort_key(self) -> &'static str {
        match self {
            Bucket::Creates => "L",
            Bucket::Resends => "N",
        }
    }
}

/// What is to be taken, in microseconds; times since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// Now.
    pub now_us: i64,
    /// How much later the bucket is full again for it.
    pub cost_us: i64,
    /// When the bucket was seen to be full again: a guess.
    pub seen_full_at_us: i64,
    /// The latest time at which it may be full again afterwards; without it the bucket runs into debt.
    pub full_at_max_us: Option<i64>,
}

impl Take {
    /// In how many seconds, rounded up, this fits into a bucket that is full again at `full_at_us`.
    pub fn fits_in_secs(&self, full_at_us: i64) -> u32 {
        let max_us = self.full_at_max_us.unwrap_or(i64::MAX);
        let wait_us = full_at_us.saturating_add(self.cost_us).saturating_sub(max_us);
        u32::try_from(wait_us.max(1).div_euclid(1_000_000)).unwrap_or(60).saturating_add(1)
    }
}

/// What became of taking from the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Taken; the bucket is full again at this time, microseconds since the Unix epoch.
    Now(i64),
    /// Not enough was left; the bucket is full again at this time.
    Refused(i64),
}

impl Store {
    /// Takes from a bucket of the merchant.
    pub async fn take(
        &self,
        (merchant, bucket): (&MerchantId, Bucket),
        take: Take,
    ) -> Result<Taken, StoreError> {
        let Take { now_us, cost_us, seen_full_at_us, full_at_max_us } = take;
        let mut budget = Budget::new();
        // Whether the bucket is full is known only to the row; when the guess is wrong, it says so.
        let mut is_full = seen_full_at_us <= now_us;
        for _ in 0..RACES_MAX {
            let request = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key(&format!("L#{merchant}"), bucket.sort_key())))
                .expression_attribute_values(":now", n(now_us));
            let request = if is_full {
                request
                    .update_expression("SET fullAt = :next")
                    .condition_expression("attribute_not_exists(fullAt) OR fullAt <= :now")
                    .expression_attribute_values(":next", n(now_us.saturating_add(cost_us)))
            } else {
                let room = full_at_max_us.map_or(i64::MAX, |max| max.saturating_sub(cost_us));
                request
                    .update_expression("SET fullAt = fullAt + :cost")
                    .condition_expression("fullAt > :now AND fullAt <= :room")
                    .expression_attribute_values(":cost", n(cost_us))
                    .expression_attribute_values(":room", n(room))
            };
            let sent = request
                .return_values(ReturnValue::UpdatedNew)
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                )
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await;
            let error = match sent {
                Ok(output) => return Ok(Taken::Now(full_at(output.attributes.as_ref())?)),
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    let found = refused.item.as_ref();
                    let found = if found.is_some() { full_at(found)? } else { i64::MIN };
                    if found > now_us && !is_full {
                        return Ok(Taken::Refused(found));
                    }
                    is_full = found <= now_us;
                }
                _ => {
                    let fault = StoreFault::of(&error);
                    if !fault.contended {
                        return Err(fault.into());
                    }
                    budget.pause("bucket").await?;
                }
            }
        }
        Err(StoreError::Busy("bucket contended".to_owned()))
    }
}

fn full_at(row: Option<&Row>) -> Result<i64, StoreError> {
    let row = row.ok_or_else(|| StoreError::Damaged("bucket without a time".to_owned()))?;
    number(row, "fullAt")
}
