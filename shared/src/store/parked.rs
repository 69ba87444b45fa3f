//! Authentic evidence that was not booked, kept where an operator finds it: the `owner` index under
//! `parked`, oldest first. One row per statement, however often it is delivered.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::fault::{Budget, StoreFault};
use super::orders::Written;
use super::row::{Row, bytes, key, n, s};
use super::users::owner_at;
use super::{Store, StoreError};
use crate::domain::apply::ParkReason;
use crate::domain::{Evidence, EvidenceKind, Order, Timestamp};

/// The key of the `owner` index under which parked evidence is found.
const PARKED: &str = "parked";

impl Store {
    /// Puts evidence aside; `Raced` when it was put aside before.
    pub async fn park(
        &self,
        evidence: &Evidence,
        reason: ParkReason,
        order: Option<&Order>,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let mut budget = Budget::new();
        loop {
            let request = self.client.put_item().table_name(&self.table);
            let sent = request
                .set_item(Some(parked_row(evidence, reason, order, now)))
                .condition_expression("attribute_not_exists(pk)")
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await;
            let Err(error) = sent else { return Ok(Written::Now) };
            if error.code() == Some("ConditionalCheckFailedException") {
                return Ok(Written::Raced);
            }
            let fault = StoreFault::of(&error);
            if !fault.contended {
                return Err(fault.into());
            }
            budget.pause("parked evidence").await?;
        }
    }
}

/// The row of parked evidence: its key is the statement's identity.
pub(super) fn parked_row(
    evidence: &Evidence,
    reason: ParkReason,
    order: Option<&Order>,
    now: Timestamp,
) -> Row {
    let pk = format!("K#{}", evidence.identity());
    let mut row = key(&pk, "K");
    let mut put = |name: &str, value| row.insert(name.to_owned(), value);
    put("why", s(reason.as_str()));
    put("provider", s(evidence.provider.as_str()));
    put("account", s(&evidence.account));
    put("paymentId", s(&evidence.payment_id));
    put("kind", s(evidence.kind.as_str()));
    put("source", s(evidence.source.as_str()));
    put("digest", bytes(&evidence.digest));
    put("raw", s(&evidence.raw));
    put("observedAt", n(evidence.observed_at.millis()));
    put("at", n(now.millis()));
    if let EvidenceKind::Paid(amount) = evidence.kind {
        put("amount", n(amount.minor()));
        put("currency", s(amount.currency().code()));
    }
    if let Some(id) = &evidence.order_id {
        put("order", s(id.as_str()));
    }
    if let Some(mark) = &evidence.user_mark {
        put("userMark", s(mark.as_str()));
    }
    if let Some(order) = order {
        put("merchant", s(order.merchant.as_str()));
        put("user", s(order.user.as_str()));
    }
    put("owner", s(PARKED));
    put("ownerAt", s(owner_at(now, &pk)));
    row
}
