//! Walking over the table for the audit, a page at a time, from where the last run ended. Reads everything,
//! writes its own cursor alone.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::fault::StoreFault;
use super::item::decode;
use super::row::{Row, damaged, key, money, number, s, text, time};
use super::users::Balance;
use super::{Store, StoreError};
use crate::domain::{Currency, MerchantId, Money, Order, UserId};

/// A balance and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBalance {
    /// Whose user.
    pub merchant: MerchantId,
    /// The user.
    pub user: UserId,
    /// What the row says.
    pub balance: Balance,
}

/// What a page of the table holds that the audit looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The balances.
    pub balances: Vec<HeldBalance>,
    /// The orders.
    pub orders: Vec<Order>,
    /// Rows that cannot be read.
    pub damaged: u32,
}

fn cursor_key() -> Row {
    key("C#audit", "C")
}

impl Store {
    /// The next `limit` rows of the walk; moves its cursor, back to the beginning after the last page.
    pub async fn audit_page(&self, limit: i32) -> Result<AuditPage, StoreError> {
        let request = self.client.get_item().table_name(&self.table);
        let cursor = request
            .set_key(Some(cursor_key()))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        let start = match cursor.item.as_ref().filter(|row| row.contains_key("atPk")) {
            Some(row) => Some(key(text(row, "atPk")?, text(row, "atSk")?)),
            None => None,
        };
        let request = self.client.scan().table_name(&self.table).limit(limit);
        let output = request
            .consistent_read(true)
            .set_exclusive_start_key(start)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        let mut page = AuditPage::default();
        for row in output.items() {
            match read(row) {
                Ok(Some(Known::Balance(balance))) => page.balances.push(balance),
                Ok(Some(Known::Order(order))) => page.orders.push(*order),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the audit cannot read a row");
                    page.damaged += 1;
                }
            }
        }
        self.audit_was_at(output.last_evaluated_key.as_ref()).await?;
        Ok(page)
    }

    async fn audit_was_at(&self, last: Option<&Row>) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.table);
        let request = request.set_key(Some(cursor_key()));
        let request = match last {
            Some(last) => request
                .update_expression("SET atPk = :pk, atSk = :sk")
                .expression_attribute_values(":pk", s(text(last, "pk")?))
                .expression_attribute_values(":sk", s(text(last, "sk")?)),
            None => request.update_expression("REMOVE atPk, atSk"),
        };
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        let sent = request.send().await;
        sent.map(drop).map_err(|error| StoreFault::of(&error).into())
    }

    /// The sum and the number of the user's entries in one currency; `None` when there are more than `max`.
    pub async fn sum_of_entries(
        &self,
        (merchant, user): (&MerchantId, &UserId),
        currency: Currency,
        max: u64,
    ) -> Result<Option<(Money, u64)>, StoreError> {
        let (mut sum, mut entries, mut read) = (Money::zero(currency), 0, 0);
        let mut after = None;
        loop {
            let page = self.ledger(merchant, user, 500, after.as_deref()).await?;
            for line in &page.lines {
                let amount = line.entry.amount();
                if amount.currency() == currency {
                    let added = sum.checked_add(amount);
                    sum = added.map_err(|_| StoreError::Damaged("a sum of entries".to_owned()))?;
                    entries += 1;
                }
            }
            read += page.lines.len() as u64;
            match page.next {
                None => return Ok(Some((sum, entries))),
                Some(_) if read > max => return Ok(None),
                next => after = next,
            }
        }
    }
}

enum Known {
    Balance(HeldBalance),
    Order(Box<Order>),
}

fn read(row: &Row) -> Result<Option<Known>, StoreError> {
    let (pk, sk) = (text(row, "pk")?, text(row, "sk")?);
    if pk.starts_with("O#") && sk == "O" {
        return decode(row).map(Box::new).map(Known::Order).map(Some);
    }
    let (Some(whose), Some(code)) = (pk.strip_prefix("U#"), sk.strip_prefix("B#")) else {
        return Ok(None);
    };
    let (merchant, user) = whose.split_once('#').ok_or_else(|| damaged(row, "pk"))?;
    let currency = Currency::parse(code).ok_or_else(|| damaged(row, "sk"))?;
    Ok(Some(Known::Balance(HeldBalance {
        merchant: MerchantId::parse(merchant).ok_or_else(|| damaged(row, "pk"))?,
        user: UserId::parse(user).ok_or_else(|| damaged(row, "pk"))?,
        balance: Balance {
            amount: money(row, "balance", currency)?,
            entries: number(row, "entries")?,
            updated_at: time(row, "updatedAt")?,
        },
    })))
}
