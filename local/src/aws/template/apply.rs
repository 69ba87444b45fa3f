//! Creates what the template declares and is not there yet. Safe to repeat at every start.

use serde_json::{Value as Json, json};

use super::super::{EmbeddedAws, dynamodb, sqs};
use super::{Queue, Table, Template, TemplateError};

/// Creates missing tables and queues, and gives existing queues the declared settings.
///
/// A table that was made by a different template is refused: its rows would be under other keys.
pub async fn apply(template: &Template, aws: &EmbeddedAws) -> Result<(), TemplateError> {
    for table in &template.tables {
        create_table(table, aws).await?;
    }
    // All queues before any settings: a queue must not name a dead-letter queue that is not there.
    let existing = aws.queues().queue_names();
    for queue in template.queues.iter().filter(|queue| !existing.contains(&queue.name)) {
        let request = json!({ "QueueName": queue.name });
        call(aws, sqs::TARGET, "CreateQueue", &request).await.map_err(refused)?;
    }
    for queue in &template.queues {
        let request = json!({
            "QueueUrl": aws.queues().queue_url(&queue.name),
            "Attributes": attributes(template, queue)?,
        });
        call(aws, sqs::TARGET, "SetQueueAttributes", &request).await.map_err(refused)?;
    }
    Ok(())
}

async fn create_table(table: &Table, aws: &EmbeddedAws) -> Result<(), TemplateError> {
    let name = json!({ "TableName": table.name });
    match call(aws, dynamodb::TARGET, "DescribeTable", &name).await {
        Ok(described) if layout(&described["Table"]) == layout(&table.create) => return Ok(()),
        Ok(_) => {
            return Err(TemplateError::new(format!(
                "the table {} has other keys or indexes than the template; remove the data directory",
                table.name
            )));
        }
        Err(answer) if answer.contains("ResourceNotFoundException") => {}
        Err(answer) => return Err(refused(answer)),
    }
    call(aws, dynamodb::TARGET, "CreateTable", &table.create).await.map_err(refused)?;
    if let Some(attribute) = &table.ttl_attribute {
        let request = json!({
            "TableName": table.name,
            "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": true },
        });
        call(aws, dynamodb::TARGET, "UpdateTimeToLive", &request).await.map_err(refused)?;
    }
    Ok(())
}

/// Keys and indexes, in an order of their own.
fn layout(table: &Json) -> Vec<String> {
    let mut layout = vec![keys(table)];
    for kind in ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"] {
        for index in table[kind].as_array().into_iter().flatten() {
            let projection = &index["Projection"];
            let attributes = projection["NonKeyAttributes"].as_array().into_iter().flatten();
            let mut attributes: Vec<String> = attributes.map(Json::to_string).collect();
            attributes.sort();
            layout.push(format!(
                "{kind} {} {} {} {attributes:?}",
                index["IndexName"],
                keys(index),
                projection["ProjectionType"]
            ));
        }
    }
    layout.sort();
    layout
}

fn keys(owner: &Json) -> String {
    let keys = owner["KeySchema"].as_array().into_iter().flatten();
    let keys = keys.map(|key| format!("{}:{}", key["AttributeName"], key["KeyType"]));
    keys.collect::<Vec<_>>().join(",")
}

fn attributes(template: &Template, queue: &Queue) -> Result<Json, TemplateError> {
    let mut attributes = json!({
        "VisibilityTimeout": queue.visibility_timeout_seconds.to_string(),
        "MessageRetentionPeriod": queue.retention_seconds.to_string(),
        "DelaySeconds": queue.delay_seconds.to_string(),
        "RedrivePolicy": "",
    });
    if let Some(redrive) = &queue.redrive {
        let target = template.queue(&redrive.target_logical_id).ok_or_else(|| {
            TemplateError::new(format!("{} is not declared", redrive.target_logical_id))
        })?;
        let policy = json!({
            "deadLetterTargetArn": sqs::queue_arn(&target.name),
            "maxReceiveCount": redrive.max_receive_count,
        });
        attributes["RedrivePolicy"] = policy.to_string().into();
    }
    Ok(attributes)
}

/// The answer of a successful call, or the body of the refusal.
async fn call(
    aws: &EmbeddedAws,
    prefix: &str,
    operation: &str,
    request: &Json,
) -> Result<Json, String> {
    let answer = aws.answer(&format!("{prefix}.{operation}"), request.to_string().as_bytes()).await;
    if answer.status != 200 {
        return Err(answer.body);
    }
    serde_json::from_str(&answer.body).map_err(|e| e.to_string())
}

fn refused(answer: String) -> TemplateError {
    TemplateError::new(format!("the embedded services refuse the template: {answer}"))
}
