//! Merchants as operators set them up: one partition per merchant with its settings and its suspended
//! users, and a row per registered user beside the user's other rows.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use super::fault::StoreFault;
use super::row::{Row, damaged, key, n, number, parsed, parsed_if_there, s, text};
use super::users::user_key;
use super::{Store, StoreError, Written};
use crate::domain::{
    AmountPolicy, Disposal, Merchant, MerchantId, MerchantPolicy, UserAccess, UserId,
};

const SETTINGS: &str = "M";
const SUSPENDED: &str = "S#";
const REGISTERED: &str = "U";

fn merchant_pk(merchant: &MerchantId) -> String {
    format!("M#{merchant}")
}

impl Store {
    /// The merchant as it was set up; the defaults when it never was.
    pub async fn merchant(&self, id: &MerchantId) -> Result<Merchant, StoreError> {
        let mut merchant = Merchant::default();
        let mut start = None;
        loop {
            let request = self.client.query().table_name(&self.table);
            let output = request
                .key_condition_expression("pk = :merchant")
                .expression_attribute_values(":merchant", s(merchant_pk(id)))
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await
                .map_err(|error| StoreFault::of(&error))?;
            for row in output.items() {
                read(row, &mut merchant)?;
            }
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(merchant);
            }
        }
    }

    /// The same without its suspended users: one row.
    pub async fn merchant_settings(&self, id: &MerchantId) -> Result<Merchant, StoreError> {
        let mut merchant = Merchant::default();
        let request = self.client.get_item().table_name(&self.table);
        let output = request
            .set_key(Some(key(&merchant_pk(id), SETTINGS)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        if let Some(row) = &output.item {
            read(row, &mut merchant)?;
        }
        Ok(merchant)
    }

    /// Writes the merchant's settings, whatever they were; its suspended users stay as they are.
    pub async fn set_merchant(
        &self,
        id: &MerchantId,
        merchant: &Merchant,
    ) -> Result<(), StoreError> {
        self.put(settings_row(id, merchant)).await
    }

    /// The same if the settings are those `before`: two people who change something at once undo nothing of each other's.
    pub async fn change_merchant(
        &self,
        id: &MerchantId,
        (before, after): (&Merchant, &Merchant),
    ) -> Result<Written, StoreError> {
        let known = settings_row(id, before);
        let (mut names, mut values) = (HashMap::new(), HashMap::new());
        let same = MEMBERS.iter().enumerate().map(|(number, member)| {
            names.insert(format!("#m{number}"), (*member).to_owned());
            match known.get(*member) {
                Some(value) => {
                    values.insert(format!(":m{number}"), value.clone());
                    format!("#m{number} = :m{number}")
                }
                None => format!("attribute_not_exists(#m{number})"),
            }
        });
        let same: Vec<String> = same.collect();
        let request = self.client.put_item().table_name(&self.table);
        let sent = request
            .set_item(Some(settings_row(id, after)))
            .condition_expression(format!("attribute_not_exists(pk) OR ({})", same.join(" AND ")))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .send()
            .await;
        let Err(error) = sent else { return Ok(Written::Now) };
        let refused = error.as_service_error();
        if refused.is_some_and(|e| e.is_conditional_check_failed_exception()) {
            return Ok(Written::Raced);
        }
        Err(StoreFault::of(&error).into())
    }

    /// Suspends the user.
    pub async fn suspend_user(&self, id: &MerchantId, user: &UserId) -> Result<(), StoreError> {
        self.put(key(&merchant_pk(id), &format!("{SUSPENDED}{user}"))).await
    }

    /// Ends the user's suspension, if there is one.
    pub async fn resume_user(&self, id: &MerchantId, user: &UserId) -> Result<(), StoreError> {
        let key = key(&merchant_pk(id), &format!("{SUSPENDED}{user}"));
        let request = self.client.delete_item().table_name(&self.table).set_key(Some(key));
        request.send().await.map_err(|error| StoreFault::of(&error))?;
        Ok(())
    }

    /// Registers the user.
    pub async fn register_user(&self, id: &MerchantId, user: &UserId) -> Result<(), StoreError> {
        self.put(user_key(id, user, REGISTERED)).await
    }

    /// Whether the user is registered.
    pub async fn is_registered(&self, id: &MerchantId, user: &UserId) -> Result<bool, StoreError> {
        let key = user_key(id, user, REGISTERED);
        let request = self.client.get_item().table_name(&self.table).set_key(Some(key));
        let output = request
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        Ok(output.item.is_some())
    }

    async fn put(&self, row: HashMap<String, AttributeValue>) -> Result<(), StoreError> {
        let request = self.client.put_item().table_name(&self.table).set_item(Some(row));
        request.send().await.map_err(|error| StoreFault::of(&error))?;
        Ok(())
    }
}

/// The attributes of the row of settings, beside its key.
const MEMBERS: [&str; 9] = [
    "suspended",
    "users",
    "createsPerSecond",
    "burst",
    "amount",
    "tolerance",
    "overPayment",
    "latePayment",
    "secondPayment",
];

fn settings_row(id: &MerchantId, merchant: &Merchant) -> Row {
    let mut row = key(&merchant_pk(id), SETTINGS);
    let mut put = |name: &str, value| row.insert(name.to_owned(), value);
    put("suspended", AttributeValue::Bool(merchant.suspended));
    put("users", s(merchant.users.as_str()));
    put("createsPerSecond", n(merchant.creates_per_second));
    put("burst", n(merchant.burst));
    let MerchantPolicy { amount, tolerance, over_payment, late_payment, second_payment } =
        merchant.policy;
    let words = [
        ("amount", amount.map(AmountPolicy::as_str)),
        ("overPayment", over_payment.map(Disposal::as_str)),
        ("latePayment", late_payment.map(Disposal::as_str)),
        ("secondPayment", second_payment.map(Disposal::as_str)),
    ];
    for (name, word) in words {
        if let Some(word) = word {
            put(name, s(word));
        }
    }
    if let Some(tolerance) = tolerance {
        put("tolerance", n(tolerance));
    }
    row
}

fn read(row: &Row, merchant: &mut Merchant) -> Result<(), StoreError> {
    let sk = text(row, "sk")?;
    if let Some(user) = sk.strip_prefix(SUSPENDED) {
        let user = UserId::parse(user).ok_or_else(|| damaged(row, "sk"))?;
        merchant.suspended_users.insert(user);
    } else if sk == SETTINGS {
        let suspended = row.get("suspended").and_then(|value| value.as_bool().ok().copied());
        merchant.suspended = suspended.ok_or_else(|| damaged(row, "suspended"))?;
        merchant.users = parsed(row, "users", UserAccess::parse)?;
        merchant.creates_per_second = number(row, "createsPerSecond")?;
        merchant.burst = number(row, "burst")?;
        merchant.policy = MerchantPolicy {
            amount: parsed_if_there(row, "amount", AmountPolicy::parse)?,
            tolerance: match row.contains_key("tolerance") {
                true => Some(number(row, "tolerance")?),
                false => None,
            },
            over_payment: parsed_if_there(row, "overPayment", Disposal::parse)?,
            late_payment: parsed_if_there(row, "latePayment", Disposal::parse)?,
            second_payment: parsed_if_there(row, "secondPayment", Disposal::parse)?,
        };
    }
    Ok(())
}
