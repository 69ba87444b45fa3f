//! Authentic evidence that was not booked, kept where an operator finds it: the `owner` index under
//! `parked`, oldest first. One row per statement, however often it is delivered.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::fault::{Budget, StoreFault};
use super::orders::Written;
use super::review_row::amount_of;
use super::row::{Row, bytes, key, n, s};
use super::users::owner_at;
use super::{Store, StoreError};
use crate::domain::apply::ParkReason;
use crate::domain::{Evidence, EvidenceKind, MerchantId, Money, Order, Timestamp, UserId};

/// The key of the `owner` index under which parked evidence is found.
pub(super) const PARKED: &str = "parked";

/// Whom parked evidence concerns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Whose<'a> {
    /// The user, where it is known.
    pub owner: Option<(&'a MerchantId, &'a UserId)>,
    /// What is in the order that waits with it.
    pub in_order: Option<Money>,
}

impl<'a> Whose<'a> {
    /// That of an order.
    pub fn of(order: &'a Order) -> Whose<'a> {
        let in_order = Some(order.received).filter(|received| received.minor() > 0);
        Whose { owner: Some((&order.merchant, &order.user)), in_order }
    }
}

impl Store {
    /// Puts evidence aside; `Raced` when it was put aside before. Of a deposit of which it says what no credit can follow,
    /// nothing is credited by itself any more.
    pub async fn park(
        &self,
        evidence: &Evidence,
        reason: ParkReason,
        whose: Whose<'_>,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let speaks_against = evidence.deposit.is_some() && speaks_against(reason);
        if speaks_against {
            let parked = parked_row(evidence, reason, whose, now);
            match self.park_against(evidence, parked, now).await? {
                Some(Written::Raced) => {
                    // It may have been put aside before it was known whose the address is.
                    self.put_against(evidence, now).await?;
                    self.note_against(evidence, now).await?;
                    return Ok(Written::Raced);
                }
                Some(Written::Now) => return Ok(Written::Now),
                None => {}
            }
        }
        // Another amount, too, is another word about the deposit, for whatever reason it is put aside.
        let is_another_word = matches!(evidence.kind, EvidenceKind::Paid(_));
        if evidence.deposit.is_some() && (speaks_against || is_another_word) {
            self.note_against(evidence, now).await?;
        }
        let mut budget = Budget::new();
        loop {
            let request = self.client.put_item().table_name(&self.table);
            let sent = request
                .set_item(Some(parked_row(evidence, reason, whose, now)))
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

/// Whether a statement that is put aside for this reason and one that could be credited contradict each other, if they are
/// about one deposit: its failure, another user, another currency, or nothing; or a transfer that another deposit is credited
/// with, of which this one would be told another transaction. What cannot be read contradicts nothing.
const fn speaks_against(reason: ParkReason) -> bool {
    matches!(
        reason,
        ParkReason::DeclinedLate
            | ParkReason::WrongUser
            | ParkReason::UnlistedCurrency
            | ParkReason::NothingReceived
            | ParkReason::SameTransfer
    )
}

pub(super) fn parked_key(identity: &str) -> Row {
    key(&format!("K#{identity}"), "K")
}

/// The row of parked evidence: its key is the statement's identity.
pub(super) fn parked_row(
    evidence: &Evidence,
    reason: ParkReason,
    whose: Whose<'_>,
    now: Timestamp,
) -> Row {
    let pk = format!("K#{}", evidence.identity());
    let mut row = parked_key(&evidence.identity());
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
    let in_order = whose.in_order.filter(|_| reason == ParkReason::Incomplete);
    if let Some(amount) = amount_of(evidence, in_order) {
        put("amount", n(amount.minor()));
        put("currency", s(amount.currency().code()));
    }
    if let Some(id) = &evidence.order_id {
        put("order", s(id.as_str()));
    }
    if let Some(mark) = &evidence.user_mark {
        put("userMark", s(mark.as_str()));
    }
    if let Some(deposit) = &evidence.deposit {
        put("address", s(&deposit.address));
        put("network", s(&deposit.network));
    }
    if let Some(id) = &evidence.transaction_id {
        put("transactionId", s(id));
    }
    if let Some(dust) = evidence.dust {
        put("dust", s(dust.text()));
    }
    if let Some((merchant, user)) = whose.owner {
        put("merchant", s(merchant.as_str()));
        put("user", s(user.as_str()));
    }
    put("owner", s(PARKED));
    put("ownerAt", s(owner_at(now, &pk)));
    row
}
