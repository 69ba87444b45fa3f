//! Why a transaction was cancelled, item by item. No reason falls through to success.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::{
    TransactWriteItemsError, builders::TransactWriteItemsFluentBuilder,
};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, TransactWriteItem};

use super::fault::{Budget, StoreFault};
use super::{Store, StoreError};
use crate::bug::{self, Bug};
use crate::sometimes::sometimes;

/// What became of one item of a cancelled transaction.
#[derive(Debug, PartialEq)]
pub(super) enum ItemFate {
    /// Nothing was wrong with this one.
    Fine,
    /// Its condition did not hold; the row as it stands, where that was asked for.
    Refused(Option<HashMap<String, AttributeValue>>),
}

/// What became of a transaction.
#[derive(Debug, PartialEq)]
pub(super) enum Transacted {
    /// All of it was written.
    Done,
    /// None of it: at least one condition did not hold.
    Refused(Vec<ItemFate>),
}

enum Verdict {
    Refused(Vec<ItemFate>),
    Contended,
    Failed(StoreError),
}

impl Store {
    /// Runs one transaction; contention is tried again under the budget with the same token.
    pub(super) async fn transact(
        &self,
        what: &'static str,
        token: String,
        items: Vec<TransactWriteItem>,
    ) -> Result<Transacted, StoreError> {
        let mut budget = Budget::new();
        loop {
            let request: TransactWriteItemsFluentBuilder = self
                .client
                .transact_write_items()
                .client_request_token(&token)
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .set_transact_items(Some(items.clone()));
            let verdict = match request.send().await {
                Ok(_) => return Ok(Transacted::Done),
                Err(error) => classify(&error),
            };
            match verdict {
                Verdict::Refused(fates) => return Ok(Transacted::Refused(fates)),
                Verdict::Contended => budget.pause(what).await?,
                Verdict::Failed(error) => return Err(error),
            }
        }
    }
}

fn classify<R>(error: &SdkError<TransactWriteItemsError, R>) -> Verdict {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        let fault = StoreFault::of(error);
        return if fault.contended { Verdict::Contended } else { Verdict::Failed(fault.into()) };
    };
    let mut fates = Vec::new();
    let mut contended = false;
    for reason in cancelled.cancellation_reasons() {
        match reason.code().unwrap_or("None") {
            "None" => fates.push(ItemFate::Fine),
            "ConditionalCheckFailed" => fates.push(ItemFate::Refused(reason.item.clone())),
            "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded" => {
                contended = true;
            }
            other => return Verdict::Failed(StoreError::Damaged(format!("cancelled: {other}"))),
        }
    }
    // Beside a contended item a refusal may be about a state that is just being changed: look again.
    if contended && bug::is(Bug::M12) {
        fates.clear();
        return Verdict::Refused(vec![ItemFate::Refused(None), ItemFate::Fine]);
    }
    if contended {
        sometimes("transaction: contended");
        if !fates.iter().all(|fate| *fate == ItemFate::Fine) {
            sometimes("transaction: contended beside a refusal");
        }
        return Verdict::Contended;
    }
    if fates.iter().all(|fate| *fate == ItemFate::Fine) {
        return Verdict::Failed(StoreError::Busy("cancelled without a reason".to_owned()));
    }
    Verdict::Refused(fates)
}
