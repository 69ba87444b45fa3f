//! Orders: recorded once, moved on by version, found when due.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem,
};

use super::cancellation::{ItemFate, Transacted};
use super::due::{DuePage, DuePosition};
use super::fault::{Budget, StoreFault};
use super::item::{Change, change, decode, due_shard, encode, order_key};
use super::row::{Row, key, n, number, optional_text, parsed, s, text, time};
use super::{Store, StoreError};
use crate::bug::{self, Bug};
use crate::domain::hash::{crockford, digest};
use crate::domain::{MerchantId, Order, OrderId, OrderReference, ProviderName, Timestamp};
use crate::sometimes::sometimes;

/// What became of a new order.
#[derive(Debug)]
pub enum Placed {
    /// Recorded now.
    New,
    /// The key was seen before; the order as it stands.
    Existing(Box<Order>),
    /// Another order of the merchant has the reference.
    ReferenceTaken,
}

/// What became of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Written now.
    Now,
    /// Somebody was faster: read again and decide again.
    Raced,
}

/// An order that wants looking at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The order.
    pub id: OrderId,
    /// Since when.
    pub due_at: Timestamp,
    /// Its merchant, for taking turns; empty in an index that does not have it.
    pub merchant: String,
    /// When its time is over, if the index has that.
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// Records a new order, or finds the one that its idempotency key made before. One round trip.
    pub async fn place(&self, order: &Order) -> Result<Placed, StoreError> {
        let existing = match &order.reference {
            None => self.put_order(order).await?,
            Some(reference) => match self.put_order_and_reference(order, reference).await? {
                PutWithReference::Done => None,
                PutWithReference::ReferenceTaken => return Ok(Placed::ReferenceTaken),
                PutWithReference::Existing(row) => Some(row),
            },
        };
        let Some(row) = existing else { return Ok(Placed::New) };
        let existing = decode(&row)?;
        // The SDK sends again when an answer is lost, and then meets its own write.
        let own = existing.attempt_by == order.attempt_by && existing.version == order.version;
        sometimes(if own { "create: met its own write" } else { "create: found the order" });
        Ok(if own { Placed::New } else { Placed::Existing(Box::new(existing)) })
    }

    async fn put_order(&self, order: &Order) -> Result<Option<Row>, StoreError> {
        let mut budget = Budget::new();
        loop {
            let request = self.client.put_item().table_name(&self.table);
            let sent = request
                .set_item(Some(encode(order)))
                .condition_expression("attribute_not_exists(pk)")
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                )
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await;
            let Err(error) = sent else { return Ok(None) };
            if let Some(PutItemError::ConditionalCheckFailedException(refused)) =
                error.as_service_error()
            {
                let row = refused.item.clone();
                return row.map(Some).ok_or_else(|| StoreError::Damaged("no old item".to_owned()));
            }
            let fault = StoreFault::of(&error);
            if !fault.contended {
                return Err(fault.into());
            }
            budget.pause("order").await?;
        }
    }

    async fn put_order_and_reference(
        &self,
        order: &Order,
        reference: &OrderReference,
    ) -> Result<PutWithReference, StoreError> {
        let mut pointer = reference_key(&order.merchant, reference);
        pointer.insert("order".to_owned(), s(order.id.as_str()));
        let items = [encode(order), pointer].map(|row| self.new_row(row));
        let items = items.into_iter().collect::<Result<Vec<_>, _>>()?;
        let token = token(&[order.id.as_str(), &order.attempt_by]);
        let Transacted::Refused(mut fates) = self.transact("order", token, items).await? else {
            return Ok(PutWithReference::Done);
        };
        match (fates.remove(0), fates.pop()) {
            (ItemFate::Refused(Some(row)), _) => Ok(PutWithReference::Existing(row)),
            (ItemFate::Fine, Some(ItemFate::Refused(_))) => Ok(PutWithReference::ReferenceTaken),
            _ => Err(StoreError::Damaged("no old item".to_owned())),
        }
    }

    /// The put of a row that must be new; a refusal returns the row that is there.
    pub(super) fn new_row(&self, row: Row) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(row))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|_| StoreError::Damaged("put without a row".to_owned()))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The order, as of now.
    pub async fn order(&self, id: &OrderId) -> Result<Option<Order>, StoreError> {
        let request = self.client.get_item().table_name(&self.table);
        let output = request
            .set_key(Some(order_key(id)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        output.item.as_ref().map(decode).transpose()
    }

    /// Turns `before` into `after`, if the row is still `before`. For changes without money.
    pub async fn advance(&self, before: &Order, after: &Order) -> Result<Written, StoreError> {
        let Change { update, mut condition, names, values } = change(before, after);
        if bug::is(Bug::M13) && after.state == crate::domain::OrderState::Expired {
            condition =
                "attribute_exists(pk) OR #state = :fromState OR #version = :fromVersion".to_owned();
        }
        self.update(&before.id, &update, &condition, (names, values)).await
    }

    /// Takes a half-done create on: the provider call belongs to `by` until `until`.
    pub async fn take_over(
        &self,
        order: &Order,
        by: &str,
        until: Timestamp,
    ) -> Result<Written, StoreError> {
        let names = HashMap::from([("#state".to_owned(), "state".to_owned())]);
        let values = HashMap::from([
            (":created".to_owned(), s("CREATED")),
            (":seenUntil".to_owned(), n(order.attempt_until.millis())),
            (":seenBy".to_owned(), s(&order.attempt_by)),
            (":until".to_owned(), n(until.millis())),
            (":by".to_owned(), s(by)),
        ]);
        let update = "SET attemptUntil = :until, attemptBy = :by";
        let condition = "#state = :created AND attemptUntil = :seenUntil AND attemptBy = :seenBy";
        self.update(&order.id, update, condition, (names, values)).await
    }

    /// Takes the look at a due order and says when the next one is; `None` when there is none.
    pub async fn reschedule(
        &self,
        order: &Order,
        next: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        let Some(seen) = order.due_at else { return Ok(Written::Raced) };
        let mut values = HashMap::from([(":seen".to_owned(), n(seen.millis()))]);
        let update = match next {
            Some(next) => {
                values.insert(":next".to_owned(), n(next.millis()));
                "SET dueAt = :next"
            }
            None => "REMOVE dueShard, dueAt",
        };
        self.update(&order.id, update, "dueAt = :seen", (HashMap::new(), values)).await
    }

    /// Writes down since when the provider has not answered about the order, or that it has again. Not a
    /// transition: whatever else happens to the order goes first, and one that nobody looks at any more
    /// stays as it is.
    pub async fn note_silence(
        &self,
        id: &OrderId,
        since: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        let names = HashMap::new();
        match since {
            Some(since) => {
                let values = HashMap::from([(":since".to_owned(), n(since.millis()))]);
                let condition = "attribute_exists(dueAt) AND attribute_not_exists(silentSince)";
                self.update(id, "SET silentSince = :since", condition, (names, values)).await
            }
            None => {
                let condition = "attribute_exists(dueAt) AND attribute_exists(silentSince)";
                self.update(id, "REMOVE silentSince", condition, (names, HashMap::new())).await
            }
        }
    }

    async fn update(
        &self,
        id: &OrderId,
        update: &str,
        condition: &str,
        (names, values): (HashMap<String, String>, HashMap<String, AttributeValue>),
    ) -> Result<Written, StoreError> {
        let mut budget = Budget::new();
        loop {
            let request = self.client.update_item().table_name(&self.table);
            let sent = request
                .set_key(Some(order_key(id)))
                .update_expression(update)
                .condition_expression(condition)
                .set_expression_attribute_names((!names.is_empty()).then(|| names.clone()))
                .set_expression_attribute_values((!values.is_empty()).then(|| values.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await;
            let Err(error) = sent else { return Ok(Written::Now) };
            let refused = error.as_service_error();
            if refused.is_some_and(|e| e.is_conditional_check_failed_exception()) {
                return Ok(Written::Raced);
            }
            let fault = StoreFault::of(&error);
            if !fault.contended {
                return Err(fault.into());
            }
            budget.pause("order").await?;
        }
    }

    /// Orders of `provider` that have come due between `from` and `until` in one shard after `after`, oldest first, at
    /// most `limit`.
    pub async fn due(
        &self,
        provider: &ProviderName,
        shard: u32,
        bounds: (Timestamp, Timestamp, i32),
        after: Option<DuePosition>,
    ) -> Result<DuePage<Due>, StoreError> {
        let due = |row: &Row| {
            let id = parsed(row, "pk", |pk| OrderId::parse(pk.strip_prefix("O#")?))?;
            let due_at = Timestamp::from_millis(number(row, "dueAt")?);
            let merchant = optional_text(row, "merchant").unwrap_or_default().to_owned();
            let expires_at = row.contains_key("expiresAt").then(|| time(row, "expiresAt"));
            Ok(Due { id, due_at, merchant, expires_at: expires_at.transpose()? })
        };
        self.due_page(due_shard(provider, shard), bounds, after, due).await
    }

    /// The order that has the merchant's `reference`.
    pub async fn order_by_reference(
        &self,
        merchant: &MerchantId,
        reference: &OrderReference,
    ) -> Result<Option<OrderId>, StoreError> {
        let request = self.client.get_item().table_name(&self.table);
        let output = request
            .set_key(Some(reference_key(merchant, reference)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        let Some(row) = output.item else { return Ok(None) };
        OrderId::parse(text(&row, "order")?)
            .map(Some)
            .ok_or_else(|| super::row::damaged(&row, "order"))
    }
}

enum PutWithReference {
    Done,
    Existing(Row),
    ReferenceTaken,
}

fn reference_key(merchant: &MerchantId, reference: &OrderReference) -> Row {
    key(&format!("R#{merchant}#{reference}"), "R")
}

/// A request token for one transaction: equal fields, equal token, within DynamoDB's 36 characters.
pub(super) fn token(fields: &[&str]) -> String {
    let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
    crockford(&digest("recharge/token/v1", &fields), 32)
}
