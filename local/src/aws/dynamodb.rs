//! DynamoDB by dynoxide, in this process: wire bodies in, wire bodies out, no socket and no thread.
//!
//! A request is applied entirely, or refused, by the time [`DynamoDb::answer`] returns. Two
//! differences from AWS to know: the memory of transaction tokens follows the machine's clock, and
//! items past their TTL stay until [`DynamoDb::sweep_expired`].

use std::path::Path;
use std::sync::Arc;

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clock::SharedClock;
use super::file::FileError;
use super::wire::{JSON_1_0, WireAnswer};

/// The prefix of `x-amz-target`.
pub const TARGET: &str = "DynamoDB_20120810";

/// A cloneable handle on the embedded database.
#[derive(Clone)]
pub struct DynamoDb {
    database: Database,
}

impl std::fmt::Debug for DynamoDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DynamoDb(dynoxide)")
    }
}

impl DynamoDb {
    /// Opens `dynamodb.sqlite` in `dir`, or an empty database in memory on the given clock.
    pub fn open(dir: Option<&Path>, clock: SharedClock) -> Result<DynamoDb, FileError> {
        let database = match dir {
            None => Database::memory_with_clock(Arc::new(clock)),
            Some(dir) => {
                let path = dir.join("dynamodb.sqlite");
                let failed = |e| FileError::new(format!("cannot create {}", dir.display()), e);
                std::fs::create_dir_all(dir).map_err(failed)?;
                Database::new(&path.to_string_lossy())
            }
        };
        let database = database.map_err(|e| FileError::new("cannot open the database", e))?;
        Ok(DynamoDb { database })
    }

    /// Deletes the items whose time to live has passed and says how many they were.
    pub fn sweep_expired(&self) -> Result<usize, FileError> {
        self.database.sweep_ttl().map_err(|e| FileError::new("cannot sweep expired items", e))
    }

    /// Answers one request.
    pub fn answer(&self, operation: &str, body: &[u8]) -> WireAnswer {
        match self.run(operation, body) {
            Some(Ok(json)) => WireAnswer::ok(JSON_1_0, json),
            Some(Err(error)) => WireAnswer {
                status: error.status_code(),
                content_type: JSON_1_0,
                query_error: None,
                body: error.to_json(),
            },
            None => WireAnswer::unknown_operation(JSON_1_0, &format!("{TARGET}.{operation}")),
        }
    }

    fn run(&self, operation: &str, body: &[u8]) -> Option<Result<String, DynoxideError>> {
        let db = &self.database;
        Some(match operation {
            "PutItem" => run(body, |request| db.put_item(request)),
            "GetItem" => run(body, |request| db.get_item(request)),
            "UpdateItem" => run(body, |request| db.update_item(request)),
            "DeleteItem" => run(body, |request| db.delete_item(request)),
            "Query" => run(body, |request| db.query(request)),
            "Scan" => run(body, |request| db.scan(request)),
            "TransactWriteItems" => run(body, |request| db.transact_write_items(request)),
            "TransactGetItems" => run(body, |request| db.transact_get_items(request)),
            "BatchGetItem" => run(body, |request| db.batch_get_item(request)),
            "BatchWriteItem" => run(body, |request| db.batch_write_item(request)),
            "ExecuteStatement" => run(body, |request| db.execute_statement(request)),
            "ExecuteTransaction" => run(body, |request| db.execute_transaction(request)),
            "BatchExecuteStatement" => run(body, |request| db.batch_execute_statement(request)),
            _ => return self.run_on_tables(operation, body),
        })
    }

    fn run_on_tables(&self, operation: &str, body: &[u8]) -> Option<Result<String, DynoxideError>> {
        let db = &self.database;
        Some(match operation {
            "CreateTable" => run(body, |request| db.create_table(request)),
            "DescribeTable" => run(body, |request| db.describe_table(request)),
            "UpdateTable" => run(body, |request| db.update_table(request)),
            "DeleteTable" => run(body, |request| db.delete_table(request)),
            "ListTables" => run(body, |request| db.list_tables(request)),
            "TagResource" => run(body, |request| db.tag_resource(request).map(|_| Nothing {})),
            "UntagResource" => run(body, |request| db.untag_resource(request).map(|_| Nothing {})),
            "ListTagsOfResource" => run(body, |request| db.list_tags_of_resource(request)),
            "UpdateTimeToLive" => run(body, |request| db.update_time_to_live(request)),
            "DescribeTimeToLive" => run(body, |request| db.describe_time_to_live(request)),
            "ListStreams" => run(body, |request| db.list_streams(request)),
            "DescribeStream" => run(body, |request| db.describe_stream(request)),
            "GetShardIterator" => run(body, |request| db.get_shard_iterator(request)),
            "GetRecords" => run(body, |request| db.get_records(request)),
            _ => return None,
        })
    }
}

#[derive(Serialize)]
struct Nothing {}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<String, DynoxideError> {
    let request = serde_json::from_slice(body)
        .map_err(|e| DynoxideError::ValidationException(e.to_string()))?;
    let answer = operation(request)?;
    serde_json::to_string(&answer).map_err(|e| DynoxideError::InternalServerError(e.to_string()))
}
