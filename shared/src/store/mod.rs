//! The one place with DynamoDB expressions: one table, domain types in and out, every write
//! conditional and every outcome named. ARCHITECTURE.md shows the rows and their cost.

use std::fmt;

use aws_sdk_dynamodb::Client;

mod addresses;
mod audit;
mod bucket;
mod cancellation;
mod cursors;
mod due;
mod events;
mod fault;
mod item;
mod listing;
mod merchants;
mod meter;
mod notices;
mod orders;
mod parked;
mod review_row;
mod reviews;
mod row;
mod settlement;
mod users;

pub use addresses::{AddressClaim, AddressOwner, AddressStored, AddressUser};
pub use audit::{AuditPage, HeldBalance};
pub use bucket::{Bucket, Take, Taken};
pub use cursors::{Again, ListRead};
pub use due::{DuePage, DuePosition};
pub use events::{Listed, ListedPage};
pub use listing::{OrderFilter, OrderPosition, OrderPositions};
pub use meter::Meter;
pub use notices::{ASKED_MAX, Attempt, DueNotice, NoticeRow, NoticeState, Standing};
pub use orders::{Due, Placed, Written};
pub use parked::Whose;
pub use reviews::{Known, ReviewPage};
pub use settlement::{Booking, OrderWrite, PaidBack, Settled};
pub use users::{Balance, LedgerLine, LedgerPage};

/// Partitions of the due index per provider: what is due spreads over them by order id.
pub const DUE_SHARDS: u32 = 4;

/// The table could not do what was asked.
#[derive(Debug)]
pub enum StoreError {
    /// Not reachable, throttled or contended beyond the budget. The write may have happened.
    Busy(String),
    /// A row or an answer that cannot be: a bug, or somebody wrote past this module.
    Damaged(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Busy(what) => write!(f, "store busy: {what}"),
            StoreError::Damaged(what) => write!(f, "store damaged: {what}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// The table.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table: String,
}

impl Store {
    /// The table called `table`.
    pub const fn new(client: Client, table: String) -> Store {
        Store { client, table }
    }

    /// One cheap read, so that connection and credentials stand before the first request. Its
    /// failure is not an error yet.
    pub async fn warm_up(&self) {
        let request = self.client.get_item().table_name(&self.table);
        let key = row::key("WARM", "UP");
        if let Err(error) = request.set_key(Some(key)).send().await {
            tracing::warn!(error = %fault::StoreFault::of(&error), "table not reachable at start");
        }
    }
}
