//! The index `due`: the one query by which the poller reads it. A row that cannot be read is told of and
//! left out; it does not keep those behind it from their turn.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::fault::StoreFault;
use super::row::{Row, n, s};
use super::{Store, StoreError};
use crate::domain::Timestamp;

/// A part of what is due in one shard.
#[derive(Debug, Clone)]
pub struct DuePage<T> {
    /// What is due, first what has waited longest.
    pub found: Vec<T>,
    /// Rows that could not be read.
    pub unreadable: u32,
    /// Where to go on; `None` at the end.
    pub next: Option<DuePosition>,
}

/// Where to go on in what is due.
#[derive(Debug, Clone)]
pub struct DuePosition(Row);

impl Store {
    /// The rows of `shard` that have come due between `from` and `until`, at most `limit`, after `after`.
    pub(super) async fn due_page<T>(
        &self,
        shard: String,
        (from, until, limit): (Timestamp, Timestamp, i32),
        after: Option<DuePosition>,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<DuePage<T>, StoreError> {
        let request = self.client.query().table_name(&self.table).index_name("due");
        let output = request
            .key_condition_expression("dueShard = :shard AND dueAt BETWEEN :from AND :until")
            .expression_attribute_values(":shard", s(shard))
            .expression_attribute_values(":from", n(from.millis()))
            .expression_attribute_values(":until", n(until.millis()))
            .limit(limit)
            .set_exclusive_start_key(after.map(|DuePosition(start)| start))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        let mut page = DuePage { found: Vec::new(), unreadable: 0, next: None };
        for row in output.items() {
            match read(row) {
                Ok(due) => page.found.push(due),
                Err(error) => {
                    tracing::error!(%error, "a due row cannot be read");
                    page.unreadable += 1;
                }
            }
        }
        page.next = output.last_evaluated_key.map(DuePosition);
        Ok(page)
    }
}
