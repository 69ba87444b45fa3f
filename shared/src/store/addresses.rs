//! Deposit addresses: one set per user and provider account, one address per network, created once, never
//! shared, never moved.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};

use super::cancellation::{ItemFate, Transacted};
use super::fault::StoreFault;
use super::orders::token;
use super::row::{Row, damaged, key, n, parsed, s, text};
use super::users::{user_key, user_pk};
use super::{Store, StoreError};
use crate::domain::{Deposit, MerchantId, ProviderName, Timestamp, UserId};

/// Who may create the user's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressClaim {
    /// The caller, until the claim runs out.
    Ours,
    /// Nobody: there is one.
    Known(Vec<Deposit>),
    /// Somebody else is at it.
    Busy,
}

/// What became of new addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressStored {
    /// They are the user's now: all that it has.
    Now(Vec<Deposit>),
    /// The user has got some meanwhile: use those.
    Known(Vec<Deposit>),
    /// One belongs to another user: none must be used.
    OfAnother,
}

/// Whom an address belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressUser {
    /// The user's merchant.
    pub merchant: MerchantId,
    /// The user.
    pub user: UserId,
    /// Our account at the provider.
    pub account: String,
}

/// Whose addresses: the user and the provider account.
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
    /// The user's addresses; none before they were created.
    pub async fn addresses(&self, owner: AddressOwner<'_>) -> Result<Vec<Deposit>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(owner.key()));
        let output = request
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        output.item.as_ref().map_or(Ok(Vec::new()), deposits)
    }

    /// The user's addresses at every provider; `None` when nothing is known of the user.
    pub async fn all_addresses(
        &self,
        merchant: &MerchantId,
        user: &UserId,
    ) -> Result<Option<Vec<(ProviderName, Vec<Deposit>)>>, StoreError> {
        let mut start = None;
        let mut known = false;
        let mut all = Vec::new();
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
                let Some(of) = text(row, "sk")?.strip_prefix("A#") else { continue };
                let provider = of.split_once('#').and_then(|(name, _)| ProviderName::parse(name));
                let provider = provider.ok_or_else(|| damaged(row, "sk"))?;
                all.push((provider, deposits(row)?));
            }
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(known.then_some(all));
            }
        }
    }

    /// Claims the creation of the user's addresses for `by` until `until`.
    pub async fn claim_address(
        &self,
        owner: AddressOwner<'_>,
        by: &str,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<AddressClaim, StoreError> {
        let free = "attribute_not_exists(pk) \
                    OR (attribute_not_exists(addresses) AND (claimedUntil < :now OR claimedBy = :by))";
        // Not a put: the role that may put no row here cannot replace a balance, its neighbour, either.
        let request = self.client.update_item().table_name(&self.table);
        let sent = request
            .set_key(Some(owner.key()))
            .update_expression("SET claimedBy = :by, claimedUntil = :until")
            .condition_expression(free)
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":until", n(until.millis()))
            .expression_attribute_values(":by", s(by))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await;
        let Err(error) = sent else { return Ok(AddressClaim::Ours) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                let known = refused.item.as_ref().map_or(Ok(Vec::new()), deposits)?;
                Ok(if known.is_empty() { AddressClaim::Busy } else { AddressClaim::Known(known) })
            }
            _ => Err(StoreFault::of(&error).into()),
        }
    }

    /// Makes `new` addresses the user's own, if none of them is taken and the user has no others than those `known`.
    pub async fn store_addresses(
        &self,
        owner: AddressOwner<'_>,
        (known, new): (&[Deposit], &[Deposit]),
        now: Timestamp,
    ) -> Result<AddressStored, StoreError> {
        let all = [known, new].concat();
        let mut items = vec![self.addresses_update(owner, (known, &all), now)?];
        for deposit in new {
            items.push(self.address_owner_row(owner, deposit)?);
        }
        let at = now.millis().to_string();
        let (provider, account) = owner.provider;
        let owner = [owner.merchant.as_str(), owner.user.as_str(), provider, account, &at];
        let mut fields = [&["addresses"], owner.as_slice()].concat();
        fields.extend(known.iter().map(|deposit| deposit.address.as_str()));
        fields.push("and");
        fields.extend(new.iter().map(|deposit| deposit.address.as_str()));
        let Transacted::Refused(fates) = self.transact("address", token(&fields), items).await?
        else {
            return Ok(AddressStored::Now(all));
        };
        match fates.as_slice() {
            [ItemFate::Refused(Some(row)), ..] => match deposits(row)? {
                known if known == all => Ok(AddressStored::Now(all)),
                known if !known.is_empty() => Ok(AddressStored::Known(known)),
                _ => Err(StoreError::Damaged("address row without addresses".to_owned())),
            },
            _ => Ok(AddressStored::OfAnother),
        }
    }

    fn addresses_update(
        &self,
        owner: AddressOwner<'_>,
        (known, all): (&[Deposit], &[Deposit]),
        now: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let entry = |deposit: &Deposit| {
            let (address, network) = (s(&deposit.address), s(&deposit.network));
            AttributeValue::M(HashMap::from([
                ("address".to_owned(), address),
                ("network".to_owned(), network),
            ]))
        };
        let list = |deposits: &[Deposit]| AttributeValue::L(deposits.iter().map(entry).collect());
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(owner.key()))
            .update_expression(
                "SET addresses = :addresses, createdAt = if_not_exists(createdAt, :now)",
            )
            .expression_attribute_values(":addresses", list(all))
            .expression_attribute_values(":now", n(now.millis()));
        let update = match known.is_empty() {
            true => update.condition_expression("attribute_not_exists(addresses)"),
            false => update
                .condition_expression("addresses = :known")
                .expression_attribute_values(":known", list(known)),
        };
        let update = update
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|_| StoreError::Damaged("update without a key".to_owned()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Whose address this is, at that provider.
    pub async fn owner_of_address(
        &self,
        provider: &ProviderName,
        deposit: &Deposit,
    ) -> Result<Option<AddressUser>, StoreError> {
        let request = self.client.get_item().table_name(&self.table);
        let output = request
            .set_key(Some(owner_key(provider.as_str(), deposit)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        let Some(row) = output.item else { return Ok(None) };
        Ok(Some(AddressUser {
            merchant: parsed(&row, "merchant", MerchantId::parse)?,
            user: parsed(&row, "user", UserId::parse)?,
            account: text(&row, "account")?.to_owned(),
        }))
    }

    /// The row that keeps two users from getting one address.
    fn address_owner_row(
        &self,
        owner: AddressOwner<'_>,
        new: &Deposit,
    ) -> Result<TransactWriteItem, StoreError> {
        let (provider, account) = owner.provider;
        let mut row = owner_key(provider, new);
        row.insert("merchant".to_owned(), s(owner.merchant.as_str()));
        row.insert("user".to_owned(), s(owner.user.as_str()));
        row.insert("account".to_owned(), s(account));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(row))
            .condition_expression(
                "attribute_not_exists(pk) \
                 OR (merchant = :merchant AND #user = :user AND account = :account)",
            )
            .expression_attribute_names("#user", "user")
            .expression_attribute_values(":merchant", s(owner.merchant.as_str()))
            .expression_attribute_values(":user", s(owner.user.as_str()))
            .expression_attribute_values(":account", s(account))
            .build()
            .map_err(|_| StoreError::Damaged("put without a row".to_owned()))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

fn owner_key(provider: &str, deposit: &Deposit) -> Row {
    key(&format!("A#{provider}#{}#{}", deposit.network, deposit.address), "A")
}

fn deposits(row: &Row) -> Result<Vec<Deposit>, StoreError> {
    let Some(entries) = row.get("addresses") else { return Ok(Vec::new()) };
    let entries = entries.as_l().map_err(|_| damaged(row, "addresses"))?;
    let deposit = |entry: &AttributeValue| {
        let entry = entry.as_m().map_err(|_| damaged(row, "addresses"))?;
        let (address, network) = (text(entry, "address")?, text(entry, "network")?);
        Ok(Deposit { address: address.to_owned(), network: network.to_owned() })
    };
    entries.iter().map(deposit).collect()
}
