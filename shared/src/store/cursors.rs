//! How far each provider's list has been read, for the first time and again: one row a provider account. Whoever moves
//! the cursors says where the first one stood.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::fault::StoreFault;
use super::row::{Row, key, n, time};
use super::{Store, StoreError, Written};
use crate::domain::{ProviderName, Timestamp};

/// Which time a list is read once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Again {
    /// An hour later.
    AfterHour,
    /// A day later.
    AfterDay,
    /// Three days later.
    AfterThreeDays,
}

impl Again {
    const ALL: [Again; 3] = [Again::AfterHour, Again::AfterDay, Again::AfterThreeDays];

    /// The member of the row.
    const fn member(self) -> &'static str {
        match self {
            Again::AfterHour => "untilHour",
            Again::AfterDay => "untilDay",
            Again::AfterThreeDays => "untilThreeDays",
        }
    }
}

/// Up to when an account's list has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRead {
    /// For the first time.
    pub until: Timestamp,
    /// Once more; without those that never were.
    pub again: BTreeMap<Again, Timestamp>,
}

fn cursor_key(provider: &ProviderName, account: &str) -> Row {
    key(&format!("C#{provider}#{account}"), "C")
}

impl Store {
    /// Up to when the account's list has been read; `None` before the first time.
    pub async fn list_read_until(
        &self,
        provider: &ProviderName,
        account: &str,
    ) -> Result<Option<ListRead>, StoreError> {
        let request = self.client.get_item().table_name(&self.table);
        let output = request
            .set_key(Some(cursor_key(provider, account)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        let Some(row) = output.item else { return Ok(None) };
        let there = Again::ALL.into_iter().filter(|again| row.contains_key(again.member()));
        let again = there.map(|again| Ok((again, time(&row, again.member())?)));
        let again = again.collect::<Result<_, StoreError>>()?;
        Ok(Some(ListRead { until: time(&row, "until")?, again }))
    }

    /// Writes down how far the list was read by somebody who found it at `read`; `Raced` when somebody else has moved it
    /// meanwhile, forward or, as an operator, back. What `now` does not name of the second times stays as it is.
    pub async fn list_was_read(
        &self,
        (provider, account): (&ProviderName, &str),
        read: Option<Timestamp>,
        now: &ListRead,
    ) -> Result<Written, StoreError> {
        let mut request = self.client.update_item().table_name(&self.table);
        request = match read {
            None => request.condition_expression("attribute_not_exists(#until)"),
            Some(read) => request
                .condition_expression("#until = :read")
                .expression_attribute_values(":read", n(read.millis())),
        };
        let mut update = "SET #until = :until".to_owned();
        for (again, at) in &now.again {
            let member = again.member();
            update.push_str(&format!(", {member} = :{member}"));
            request = request.expression_attribute_values(format!(":{member}"), n(at.millis()));
        }
        let sent = request
            .set_key(Some(cursor_key(provider, account)))
            .update_expression(update)
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":until", n(now.until.millis()))
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
