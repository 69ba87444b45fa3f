//! Deposit addresses: one per user and provider account, created once, never shared, never moved.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::cancellation::{ItemFate, Transacted};
use super::fault::StoreFault;
use super::orders::token;
use super::row::{Row, key, n, optional_text, s};
use super::users::user_key;
use super::{Store, StoreError};
use crate::domain::{Deposit, MerchantId, Timestamp, UserId};

/// Who may create the user's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressClaim {
    /// The caller, until the claim runs out.
    Ours,
    /// Nobody: there is one.
    Known(Deposit),
    /// Somebody else is at it.
    Busy,
}

/// What became of a new address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressStored {
    /// It is the user's now.
    Now,
    /// The user has got one meanwhile: use that.
    Known(Deposit),
    /// It belongs to another user: it must not be used.
    OfAnother,
}

/// Whose address: the user and the provider account.
#[derive(Debug, Clone, Copy)]
pub struct AddressOwner<'a> {
    /// The user's merchant.
    pub merchant: &'a MerchantId,
    /// The user.
    pub user: &'a UserId,
    /// The provider's name and our account there.
    pub provider: (&'a str, &'a str),
}

impl AddressOwner<'_> {
    fn key(&self) -> Row {
        let (provider, account) = self.provider;
        user_key(self.merchant, self.user, &format!("A#{provider}#{account}"))
    }
}

impl Store {
    /// The user's address, if there is one.
    pub async fn address(&self, owner: AddressOwner<'_>) -> Result<Option<Deposit>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(owner.key()));
        let output = request
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        Ok(output.item.as_ref().and_then(deposit))
    }

    /// Claims the creation of the user's address for `by` until `until`.
    pub async fn claim_address(
        &self,
        owner: AddressOwner<'_>,
        by: &str,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<AddressClaim, StoreError> {
        let mut row = owner.key();
        row.insert("claimedBy".to_owned(), s(by));
        row.insert("claimedUntil".to_owned(), n(until.millis()));
        let free = "attribute_not_exists(pk) \
                    OR (attribute_not_exists(address) AND (claimedUntil < :now OR claimedBy = :by))";
        let request = self.client.put_item().table_name(&self.table);
        let sent = request
            .set_item(Some(row))
            .condition_expression(free)
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":by", s(by))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await;
        let Err(error) = sent else { return Ok(AddressClaim::Ours) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                let known = refused.item.as_ref().and_then(deposit);
                Ok(known.map_or(AddressClaim::Busy, AddressClaim::Known))
            }
            _ => Err(StoreFault::of(&error).into()),
        }
    }

    /// Makes the address the user's own, if neither of them is taken.
    pub async fn store_address(
        &self,
        owner: AddressOwner<'_>,
        new: &Deposit,
        now: Timestamp,
    ) -> Result<AddressStored, StoreError> {
        let items = vec![self.address_update(owner, new)?, self.address_owner_row(owner, new)?];
        let at = now.millis().to_string();
        let token = token(&["address", owner.user.as_str(), &new.address, &at]);
        let Transacted::Refused(fates) = self.transact("address", token, items).await? else {
            return Ok(AddressStored::Now);
        };
        match fates.as_slice() {
            [ItemFate::Refused(Some(row)), ..] => match deposit(row) {
                Some(known) if known == *new => Ok(AddressStored::Now),
                Some(known) => Ok(AddressStored::Known(known)),
                None => Err(StoreError::Damaged("address row without address".to_owned())),
            },
            _ => Ok(AddressStored::OfAnother),
        }
    }

    fn address_update(
        &self,
        owner: AddressOwner<'_>,
        new: &Deposit,
    ) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(owner.key()))
            .update_expression("SET address = :address, network = :network")
            .condition_expression("attribute_not_exists(address)")
            .expression_attribute_values(":address", s(&new.address))
            .expression_attribute_values(":network", s(&new.network))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|_| StoreError::Damaged("update without a key".to_owned()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// The row that keeps two users from getting one address.
    fn address_owner_row(
        &self,
        owner: AddressOwner<'_>,
        new: &Deposit,
    ) -> Result<TransactWriteItem, StoreError> {
        let (provider, account) = owner.provider;
        let mut row = key(&format!("A#{provider}#{}#{}", new.network, new.address), "A");
        row.insert("merchant".to_owned(), s(owner.merchant.as_str()));
        row.insert("user".to_owned(), s(owner.user.as_str()));
        row.insert("account".to_owned(), s(account));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(row))
            .condition_expression(
                "attribute_not_exists(pk) OR (merchant = :merchant AND #user = :user)",
            )
            .expression_attribute_names("#user", "user")
            .expression_attribute_values(":merchant", s(owner.merchant.as_str()))
            .expression_attribute_values(":user", s(owner.user.as_str()))
            .build()
            .map_err(|_| StoreError::Damaged("put without a row".to_owned()))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

fn deposit(row: &Row) -> Option<Deposit> {
    let (address, network) = (optional_text(row, "address")?, optional_text(row, "network")?);
    Some(Deposit { address: address.to_owned(), network: network.to_owned() })
}
