//! The list of what merchants were told or should have been, for those who pull: one row per notice and
//! listing under the merchant, by the time of the listing. In the table itself, not in an index: it is read
//! consistently. Rows are never changed.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::fault::{Budget, StoreFault};
use super::row::{Row, damaged, key, s, text};
use super::{Store, StoreError};
use crate::domain::{MerchantId, Notice, OrderId, Timestamp};

/// A listed notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The order.
    pub order: OrderId,
    /// Which of its notices.
    pub sequence: u32,
    /// Where it stands in the list.
    pub position: String,
}

impl Listed {
    /// Whether it was listed at `at` or later.
    pub fn is_since(&self, at: Timestamp) -> bool {
        *self.position >= *edge(at)
    }
}

/// A part of the list, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPage {
    /// The notices.
    pub found: Vec<Listed>,
    /// Whether there is more.
    pub more: bool,
}

fn list_pk(merchant: &MerchantId) -> String {
    format!("E#{merchant}")
}

/// Before everything that was listed at `at` or later, and after everything earlier.
fn edge(at: Timestamp) -> String {
    format!("{:013}", at.millis())
}

impl Store {
    /// Lists `notice` at the time `at`.
    pub async fn list_notice(&self, notice: &Notice, at: Timestamp) -> Result<(), StoreError> {
        let position = format!("{}#{}#{:05}", edge(at), notice.order.id, notice.sequence);
        let row_key = key(&list_pk(&notice.order.merchant), &position);
        let mut budget = Budget::new();
        loop {
            let request = self.client.update_item().table_name(&self.table);
            let sent = request
                .set_key(Some(row_key.clone()))
                .update_expression("SET kind = :kind")
                .expression_attribute_values(":kind", s(notice.kind.as_str()))
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await;
            let Err(error) = sent else { return Ok(()) };
            let fault = StoreFault::of(&error);
            if !fault.contended {
                return Err(fault.into());
            }
            budget.pause("list of notices").await?;
        }
    }

    /// What was listed for `merchant` from `from` on and before `until`, after the position `after`; at
    /// most `limit`.
    pub async fn listed(
        &self,
        merchant: &MerchantId,
        (from, until): (Timestamp, Timestamp),
        limit: i32,
        after: Option<&str>,
    ) -> Result<ListedPage, StoreError> {
        // The table refuses to go on from where nothing can be.
        let after = after.filter(|position| **position >= *edge(from));
        if until <= from || after.is_some_and(|position| *position >= *edge(until)) {
            return Ok(ListedPage { found: Vec::new(), more: false });
        }
        let request = self.client.query().table_name(&self.table);
        let output = request
            .key_condition_expression("pk = :list AND sk BETWEEN :from AND :until")
            .expression_attribute_values(":list", s(list_pk(merchant)))
            .expression_attribute_values(":from", s(edge(from)))
            .expression_attribute_values(":until", s(edge(until)))
            .consistent_read(true)
            .limit(limit)
            .set_exclusive_start_key(after.map(|position| key(&list_pk(merchant), position)))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        let found = output.items().iter().map(decode).collect::<Result<_, _>>()?;
        Ok(ListedPage { found, more: output.last_evaluated_key.is_some() })
    }
}

fn decode(row: &Row) -> Result<Listed, StoreError> {
    let position = text(row, "sk")?;
    let mut parts = position.splitn(3, '#').skip(1);
    let order = parts.next().and_then(OrderId::parse);
    let sequence = parts.next().and_then(|digits| digits.parse().ok());
    let (Some(order), Some(sequence)) = (order, sequence) else { return Err(damaged(row, "sk")) };
    Ok(Listed { order, sequence, position: position.to_owned() })
}
