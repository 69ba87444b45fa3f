//! The refusals that no emulator shows: throttling and transaction conflicts, as AWS writes them.

use serde_json::{Value, json};

use super::super::wire::{JSON_1_0, JSON_1_1, WireAnswer};
use super::{Call, Fault, Service};

const DYNAMODB_PREFIX: &str = "com.amazonaws.dynamodb.v20120810#";

/// The refusal that stands for `fault` on this call.
pub fn answer(call: &Call, fault: Fault, body: &[u8]) -> WireAnswer {
    match (call.service, fault, call.operation.as_str()) {
        (Service::DynamoDb, Fault::Conflict, "TransactWriteItems") => cancelled(body),
        (Service::DynamoDb, Fault::Conflict, "PutItem" | "UpdateItem" | "DeleteItem") => dynamodb(
            "TransactionConflictException",
            "Transaction is ongoing for the item (injected)",
        ),
        (Service::DynamoDb, _, _) => dynamodb(
            "ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput was exceeded (injected)",
        ),
        (Service::Sqs, _, _) => WireAnswer {
            query_error: Some("RequestThrottled;Sender".to_owned()),
            ..WireAnswer::error(
                400,
                JSON_1_0,
                "com.amazonaws.sqs#RequestThrottled",
                "Request was throttled (injected)",
            )
        },
        (Service::Secrets, _, _) => {
            WireAnswer::error(400, JSON_1_1, "ThrottlingException", "Rate exceeded (injected)")
        }
        // Their wrappers word their own refusals; this one is for whoever does not.
        (Service::Provider | Service::Receiver, _, _) => {
            WireAnswer::error(429, "application/json", "TooManyRequests", "injected")
        }
    }
}

fn dynamodb(kind: &str, message: &str) -> WireAnswer {
    WireAnswer::error(400, JSON_1_0, &format!("{DYNAMODB_PREFIX}{kind}"), message)
}

/// As many reasons as the transaction has items, of which the last one met another transaction.
fn cancelled(body: &[u8]) -> WireAnswer {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let items = request["TransactItems"].as_array().map_or(1, Vec::len).max(1);
    let mut reasons = vec![json!({ "Code": "None" }); items - 1];
    reasons.push(json!({
        "Code": "TransactionConflict",
        "Message": "Transaction is ongoing for the item",
    }));
    let codes: Vec<&str> = reasons.iter().filter_map(|reason| reason["Code"].as_str()).collect();
    let message = format!(
        "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
        codes.join(", ")
    );
    let body = json!({
        "__type": format!("{DYNAMODB_PREFIX}TransactionCanceledException"),
        "Message": message,
        "CancellationReasons": reasons,
    });
    WireAnswer { status: 400, content_type: JSON_1_0, query_error: None, body: body.to_string() }
}
