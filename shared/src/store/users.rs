//! A user's balances and ledger. Every read starts from the merchant and the user.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::fault::StoreFault;
use super::row::{Row, damaged, key, money, number, parsed, s, text, time};
use super::{Store, StoreError};
use crate::domain::hash::{crockford, digest};
use crate::domain::{
    Currency, Entry, MerchantId, Money, OrderId, ProviderName, Reason, Timestamp, UserId,
};

/// What a user holds in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// The sum of the user's ledger entries.
    pub amount: Money,
    /// How many entries that is.
    pub entries: u64,
    /// When the last one was booked.
    pub updated_at: Timestamp,
}

/// One ledger entry as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerLine {
    /// Stable and unique.
    pub entry_id: String,
    /// The booking; its legs sum to zero.
    pub entry: Entry,
    /// The order that it settled.
    pub order: OrderId,
    /// Why.
    pub reason: Option<Reason>,
    /// When.
    pub at: Timestamp,
}

/// A part of a user's ledger, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPage {
    /// The entries.
    pub lines: Vec<LedgerLine>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<String>,
}

pub(super) fn user_pk(merchant: &MerchantId, user: &UserId) -> String {
    format!("U#{merchant}#{user}")
}

pub(super) fn user_key(merchant: &MerchantId, user: &UserId, sk: &str) -> Row {
    key(&user_pk(merchant, user), sk)
}

pub(super) fn balance_key(merchant: &MerchantId, user: &UserId, currency: Currency) -> Row {
    user_key(merchant, user, &format!("B#{}", currency.code()))
}

/// The `owner` index key of a user's ledger.
pub(super) fn owner_of(merchant: &MerchantId, user: &UserId) -> String {
    format!("L#{merchant}#{user}")
}

/// The `owner` index position of a row: by time, then by its own key.
pub(super) fn owner_at(at: Timestamp, pk: &str) -> String {
    format!("{:013}#{pk}", at.millis())
}

/// The row at a position in the `owner` index, as [`owner_at`] writes it.
pub(super) fn row_at(position: &str) -> Option<&str> {
    let (at, pk) = position.split_once('#')?;
    let is_time = at.len() >= 13 && at.bytes().all(|byte| byte.is_ascii_digit());
    is_time.then_some(pk)
}

impl LedgerPage {
    /// Whether [`LedgerPage::next`] can say so.
    pub fn is_position(text: &str) -> bool {
        let payment = row_at(text).and_then(|pk| pk.strip_prefix("P#"));
        payment.is_some_and(|payment| !payment.is_empty())
    }
}

impl Store {
    /// What the user holds; `None` when nothing is known of the user.
    pub async fn balances(
        &self,
        merchant: &MerchantId,
        user: &UserId,
    ) -> Result<Option<Vec<Balance>>, StoreError> {
        let mut start = None;
        let mut known = false;
        let mut balances = Vec::new();
        loop {
            let request = self.client.query().table_name(&self.table);
            let output = request
                .key_condition_expression("pk = :user")
                .expression_attribute_values(":user", s(user_pk(merchant, user)))
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await
                .map_err(|error| StoreFault::of(&error))?;
            for row in output.items() {
                known = true;
                if let Some(code) = text(row, "sk")?.strip_prefix("B#") {
                    let currency = Currency::parse(code).ok_or_else(|| damaged(row, "sk"))?;
                    balances.push(Balance {
                        amount: money(row, "balance", currency)?,
                        entries: number(row, "entries")?,
                        updated_at: time(row, "updatedAt")?,
                    });
                }
            }
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(known.then_some(balances));
            }
        }
    }

    /// A page of the user's ledger after `after`, newest first, at most `limit` entries.
    pub async fn ledger(
        &self,
        merchant: &MerchantId,
        user: &UserId,
        limit: i32,
        after: Option<&str>,
    ) -> Result<LedgerPage, StoreError> {
        let owner = owner_of(merchant, user);
        let start = after.and_then(|position| {
            let (_, pk) = position.split_once('#')?;
            let mut start = key(pk, "P");
            start.insert("owner".to_owned(), s(&owner));
            start.insert("ownerAt".to_owned(), s(position));
            Some(start)
        });
        let request = self.client.query().table_name(&self.table).index_name("owner");
        let output = request
            .key_condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", s(&owner))
            .scan_index_forward(false)
            .limit(limit)
            .set_exclusive_start_key(start)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        let lines = output.items().iter().map(ledger_line).collect::<Result<_, _>>()?;
        let next =
            output.last_evaluated_key.as_ref().map(|row| text(row, "ownerAt")).transpose()?;
        Ok(LedgerPage { lines, next: next.map(str::to_owned) })
    }
}

fn ledger_line(row: &Row) -> Result<LedgerLine, StoreError> {
    let currency = parsed(row, "currency", Currency::parse)?;
    let held = match row.contains_key("held") {
        true => money(row, "held", currency)?,
        false => Money::zero(currency),
    };
    let entry = Entry::credit(
        (parsed(row, "merchant", MerchantId::parse)?, parsed(row, "user", UserId::parse)?),
        parsed(row, "provider", ProviderName::parse)?,
        money(row, "amount", currency)?,
        held,
    );
    let pk = text(row, "pk")?;
    Ok(LedgerLine {
        entry_id: format!("E{}", crockford(&digest("recharge/entry/v1", &[pk.as_bytes()]), 25)),
        entry: entry.map_err(|_| damaged(row, "amount"))?,
        order: parsed(row, "order", OrderId::parse)?,
        reason: Reason::parse(text(row, "reason")?),
        at: time(row, "at")?,
    })
}
