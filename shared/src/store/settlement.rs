//! Settlement: order, payment and balance in one transaction. The payment row is the `CREDIT` ledger
//! entry and the guard against a second one; it is never changed and never expires.

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};

use super::cancellation::{ItemFate, Transacted};
use super::item::{Change, change, order_key};
use super::orders::token;
use super::parked::parked_row;
use super::row::{Row, bytes, key, n, s};
use super::users::{balance_key, owner_at, owner_of};
use super::{Store, StoreError};
use crate::bug::{self, Bug};
use crate::domain::apply::ParkReason;
use crate::domain::{Entry, Evidence, Order, Timestamp};

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Booked now.
    Now,
    /// The order has changed meanwhile: read again and decide again.
    Raced,
    /// The order is as it was, but this payment was booked before, to another order.
    PaymentTaken,
}

impl Store {
    /// Books `entry` and moves the order from `before` to `after`: all of it or nothing.
    pub async fn settle(
        &self,
        (before, after): (&Order, &Order),
        entry: &Entry,
        evidence: &Evidence,
    ) -> Result<Settled, StoreError> {
        let mut items = vec![
            self.order_update(before, after)?,
            self.new_row(payment_row(after, entry, evidence))?,
            self.balance_update(after, entry)?,
        ];
        let mut token = transaction_token("settle", before, after, evidence);
        if bug::is(Bug::M1) || bug::is(Bug::M7) {
            items = items.into_iter().map(unconditional).collect();
        }
        if bug::is(Bug::M2) {
            items[0] = unconditional(items[0].clone());
        }
        if bug::is(Bug::M7) {
            token = super::orders::token(&["settle", &payment_pk(evidence)]);
        }
        match self.transact("settlement", token, items).await? {
            Transacted::Done => Ok(Settled::Now),
            Transacted::Refused(fates) => match fates.as_slice() {
                [ItemFate::Refused(_), ..] => Ok(Settled::Raced),
                [ItemFate::Fine, ItemFate::Refused(_), ..] => Ok(Settled::PaymentTaken),
                _ => Err(StoreError::Damaged("settlement refused at the balance".to_owned())),
            },
        }
    }

    /// Moves the order to `after` and puts the evidence aside: all of it or nothing.
    pub async fn hold(
        &self,
        (before, after): (&Order, &Order),
        evidence: &Evidence,
        reason: ParkReason,
    ) -> Result<Settled, StoreError> {
        let parked = parked_row(evidence, reason, Some(before), after.updated_at);
        let items = vec![self.order_update(before, after)?, self.new_row(parked)?];
        let token = transaction_token("hold", before, after, evidence);
        match self.transact("hold", token, items).await? {
            Transacted::Done => Ok(Settled::Now),
            Transacted::Refused(fates) => match fates.as_slice() {
                [ItemFate::Refused(_), ..] => Ok(Settled::Raced),
                _ => Ok(Settled::PaymentTaken),
            },
        }
    }

    fn order_update(&self, before: &Order, after: &Order) -> Result<TransactWriteItem, StoreError> {
        let Change { update, condition, names, values } = change(before, after);
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(order_key(&before.id)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(|_| StoreError::Damaged("update without a key".to_owned()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn balance_update(
        &self,
        order: &Order,
        entry: &Entry,
    ) -> Result<TransactWriteItem, StoreError> {
        let [gained, _] = entry.legs();
        let currency = gained.amount.currency();
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(balance_key(&order.merchant, &order.user, currency)))
            .update_expression("SET updatedAt = :now ADD balance :amount, entries :one")
            .expression_attribute_values(":now", n(order.updated_at.millis()))
            .expression_attribute_values(":amount", n(gained.amount.minor()))
            .expression_attribute_values(":one", n(1))
            .build()
            .map_err(|_| StoreError::Damaged("update without a key".to_owned()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// Equal for equal transactions only: DynamoDB refuses a token that comes again with other content.
fn transaction_token(what: &str, before: &Order, after: &Order, evidence: &Evidence) -> String {
    let (version, at) = (before.version.to_string(), after.updated_at.millis().to_string());
    let digest = hex::encode(evidence.digest);
    let identity = evidence.identity();
    token(&[what, before.id.as_str(), &version, &at, &identity, evidence.source.as_str(), &digest])
}

/// The row of a payment: its key is the payment's identity, for ever.
fn payment_row(order: &Order, entry: &Entry, evidence: &Evidence) -> Row {
    let [gained, _] = entry.legs();
    let at: Timestamp = order.updated_at;
    let mut row = payment_key(evidence);
    let mut put = |name: &str, value| row.insert(name.to_owned(), value);
    put("kind", s(entry.kind().as_str()));
    put("order", s(order.id.as_str()));
    put("merchant", s(order.merchant.as_str()));
    put("user", s(order.user.as_str()));
    put("provider", s(order.provider.as_str()));
    put("amount", n(gained.amount.minor()));
    put("currency", s(gained.amount.currency().code()));
    put("reason", s(order.reason.map_or("manual", crate::domain::Reason::as_str)));
    put("source", s(evidence.source.as_str()));
    put("evidence", s(evidence.identity()));
    put("digest", bytes(&evidence.digest));
    put("raw", s(&evidence.raw));
    put("trace", s(order.trace.as_str()));
    put("at", n(at.millis()));
    put("owner", s(owner_of(&order.merchant, &order.user)));
    let pk = payment_pk(evidence);
    put("ownerAt", s(owner_at(at, &pk)));
    row
}

/// The same write with a condition that always holds: what the seeded bugs do.
fn unconditional(mut item: TransactWriteItem) -> TransactWriteItem {
    let conditions = [
        item.put.as_mut().and_then(|put| put.condition_expression.as_mut()),
        item.update.as_mut().and_then(|update| update.condition_expression.as_mut()),
    ];
    for condition in conditions.into_iter().flatten() {
        condition.insert_str(0, "attribute_exists(pk) OR ");
    }
    item
}

fn payment_pk(evidence: &Evidence) -> String {
    if bug::is(Bug::M2) {
        let event = hex::encode(evidence.digest);
        return format!("P#{}#{}#{event}", evidence.provider, evidence.account);
    }
    format!("P#{}#{}#{}", evidence.provider, evidence.account, evidence.payment_id)
}

fn payment_key(evidence: &Evidence) -> Row {
    key(&payment_pk(evidence), "P")
}
