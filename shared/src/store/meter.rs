//! What requests to the table were charged, read from every answer in one place: an interceptor of the client.
//! A request whose condition did not hold is charged too, but its answer does not say so: it is not counted.

use aws_sdk_dynamodb::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::ConsumedCapacity;

use crate::metrics::{self, Metric};

/// Counts the capacity units of a client's requests.
#[derive(Debug, Clone, Copy)]
pub struct Meter;

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(Ok(output)) = context.output_or_error() else { return Ok(()) };
        if let Some(read) = output.downcast_ref::<GetItemOutput>() {
            count(Metric::ReadUnits, read.consumed_capacity().as_slice());
        } else if let Some(written) = output.downcast_ref::<TransactWriteItemsOutput>() {
            count(Metric::WriteUnits, written.consumed_capacity());
        } else if let Some(written) = output.downcast_ref::<UpdateItemOutput>() {
            count(Metric::WriteUnits, written.consumed_capacity().as_slice());
        } else if let Some(written) = output.downcast_ref::<PutItemOutput>() {
            count(Metric::WriteUnits, written.consumed_capacity().as_slice());
        } else if let Some(read) = output.downcast_ref::<QueryOutput>() {
            count(Metric::ReadUnits, read.consumed_capacity().as_slice());
        } else if let Some(read) = output.downcast_ref::<BatchGetItemOutput>() {
            count(Metric::ReadUnits, read.consumed_capacity());
        } else if let Some(read) = output.downcast_ref::<ScanOutput>() {
            count(Metric::ReadUnits, read.consumed_capacity().as_slice());
        }
        Ok(())
    }
}

fn count<T: std::borrow::Borrow<ConsumedCapacity>>(metric: Metric, charged: &[T]) {
    for capacity in charged {
        // Whole units, or a half: cut off, not computed with.
        if let Some(units) = capacity.borrow().capacity_units() {
            let half = units.fract() > 0.0;
            let whole = units as u64;
            metrics::add(metric, (None, None), whole.saturating_mul(2) + u64::from(half));
        }
    }
}
