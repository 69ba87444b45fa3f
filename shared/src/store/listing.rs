//! A merchant's orders, newest first, by the index `orders`. The index says which; the rows say how
//! they stand.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnConsumedCapacity};

use super::fault::{Budget, StoreFault};
use super::item::{decode, order_key};
use super::row::{Row, n, number, parsed, s, text};
use super::{Store, StoreError};
use crate::domain::{MerchantId, Order, OrderId, Timestamp, UserId};

/// Which orders are looked for.
#[derive(Debug, Clone, Copy)]
pub struct OrderFilter<'a> {
    /// Whose; the start of the read.
    pub merchant: &'a MerchantId,
    /// Only this user's.
    pub user: Option<&'a UserId>,
    /// Only recorded then or later.
    pub from: Option<Timestamp>,
    /// Only recorded before.
    pub to: Option<Timestamp>,
}

/// Where an order stands in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPosition {
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Which one it is.
    pub id: OrderId,
}

/// A part of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPositions {
    /// What fits the filter.
    pub found: Vec<OrderPosition>,
    /// Where to go on; `None` at the end.
    pub next: Option<OrderPosition>,
}

impl Store {
    /// Looks at `limit` entries of the index after `after`, newest first.
    pub async fn order_positions(
        &self,
        filter: OrderFilter<'_>,
        limit: i32,
        after: Option<&OrderPosition>,
    ) -> Result<OrderPositions, StoreError> {
        let OrderFilter { merchant, user, from, to } = filter;
        let first = from.map_or(0, Timestamp::millis);
        let last = to.map_or(i64::MAX, |to| to.millis().saturating_sub(1));
        if first > last {
            return Ok(OrderPositions { found: Vec::new(), next: None });
        }
        let start = after.map(|position| {
            let mut start = order_key(&position.id);
            start.insert("merchant".to_owned(), s(merchant.as_str()));
            start.insert("createdAt".to_owned(), n(position.created_at.millis()));
            start
        });
        let mut request = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("orders")
            .key_condition_expression("merchant = :merchant AND createdAt BETWEEN :first AND :last")
            .expression_attribute_values(":merchant", s(merchant.as_str()))
            .expression_attribute_values(":first", n(first))
            .expression_attribute_values(":last", n(last));
        if let Some(user) = user {
            request = request
                .filter_expression("#user = :user")
                .expression_attribute_names("#user", "user")
                .expression_attribute_values(":user", s(user.as_str()));
        }
        let output = request
            .scan_index_forward(false)
            .limit(limit)
            .set_exclusive_start_key(start)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        let found = output.items().iter().map(position).collect::<Result<_, _>>()?;
        let next = output.last_evaluated_key.as_ref().map(position).transpose()?;
        Ok(OrderPositions { found, next })
    }

    /// The orders as they stand now, in the order of `ids`; at most 100. One that cannot be read is left out, so that
    /// it hides no other; the audit counts it.
    pub async fn orders(&self, ids: &[OrderId]) -> Result<Vec<Order>, StoreError> {
        let mut found: HashMap<String, Order> = HashMap::new();
        let mut keys: Vec<Row> = ids.iter().map(order_key).collect();
        let mut budget = Budget::new();
        while !keys.is_empty() {
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true);
            let wanted =
                wanted.build().map_err(|_| StoreError::Damaged("read without keys".to_owned()))?;
            let request = self.client.batch_get_item().request_items(&self.table, wanted);
            let output = request
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await
                .map_err(|error| StoreFault::of(&error))?;
            for row in output.responses.iter().flat_map(HashMap::values).flatten() {
                match decode(row) {
                    Ok(order) => drop(found.insert(order.id.as_str().to_owned(), order)),
                    Err(error) => tracing::error!(%error, "an order cannot be read"),
                }
            }
            let left = output.unprocessed_keys.and_then(|mut left| left.remove(&self.table));
            keys = left.map(|left| left.keys).unwrap_or_default();
            if !keys.is_empty() {
                budget.pause("orders").await?;
            }
        }
        Ok(ids.iter().filter_map(|id| found.remove(id.as_str())).collect())
    }
}

fn position(row: &Row) -> Result<OrderPosition, StoreError> {
    let id = parsed(row, "pk", |pk| OrderId::parse(pk.strip_prefix("O#")?))?;
    text(row, "merchant")?;
    Ok(OrderPosition { created_at: Timestamp::from_millis(number(row, "createdAt")?), id })
}
