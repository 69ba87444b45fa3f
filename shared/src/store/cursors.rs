//! How far each provider's list has been read: one row a provider account. Whoever moves it says where it stood.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::fault::StoreFault;
use super::row::{Row, key, n, time};
use super::{Store, StoreError, Written};
use crate::domain::{ProviderName, Timestamp};

fn cursor_key(provider: &ProviderName, account: &str) -> Row {
    key(&format!("C#{provider}#{account}"), "C")
}

impl Store {
    /// Up to when the account's list has been read; `None` before the first time.
    pub async fn list_read_until(
        &self,
        provider: &ProviderName,
        account: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        let request = self.client.get_item().table_name(&self.table);
        let output = request
            .set_key(Some(cursor_key(provider, account)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        output.item.as_ref().map(|row| time(row, "until")).transpose()
    }

    /// Writes down that the list was read up to `until` by somebody who found it at `read`; `Raced` when somebody
    /// else has moved it meanwhile, forward or, as an operator, back.
    pub async fn list_was_read(
        &self,
        (provider, account): (&ProviderName, &str),
        read: Option<Timestamp>,
        until: Timestamp,
    ) -> Result<Written, StoreError> {
        let mut request = self.client.update_item().table_name(&self.table);
        request = match read {
            None => request.condition_expression("attribute_not_exists(#until)"),
            Some(read) => request
                .condition_expression("#until = :read")
                .expression_attribute_values(":read", n(read.millis())),
        };
        let sent = request
            .set_key(Some(cursor_key(provider, account)))
            .update_expression("SET #until = :until")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":until", n(until.millis()))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await;
        let Err(error) = sent else { return Ok(Written::Now) };
        let refused = error.as_service_error();
        if refused.is_some_and(|e| e.is_conditional_check_failed_exception()) {
            return Ok(Written::Raced);
        }
        Err(StoreFault::of(&error).into())
    }
}
