//! What AWS does between the functions: takes batches from the settlement queue to the worker and
//! deletes what it did, and ticks the schedule.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_sqs::types::MessageSystemAttributeName;
use serde_json::Value;

use crate::aws::ATTEMPTS_DEFAULT;
use crate::events::sqs_event;
use crate::functions::Functions;
use crate::stack::Stack;

/// Workers side by side.
const WORKERS: usize = 2;

static BATCHES: AtomicU64 = AtomicU64::new(0);

/// Starts the workers and the schedule in the background.
pub fn start(stack: &Arc<Stack>) {
    for _ in 0..WORKERS {
        let stack = stack.clone();
        tokio::spawn(async move {
            loop {
                if let Err(error) = stack.settle_batch(20).await {
                    tracing::error!(error, "settlement batch");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        });
    }
    let stack = stack.clone();
    tokio::spawn(async move {
        let period_ms = stack.names.poll_every_ms;
        loop {
            let now_ms = stack.ground.clock.now_ms();
            let next_ms = (now_ms.div_euclid(period_ms) + 1) * period_ms;
            stack.ground.clock.sleep_until(next_ms).await;
            if let Err(error) = stack.poll().await {
                tracing::error!(error, "poller");
            }
        }
    });
}

impl Stack {
    /// Takes one batch from the settlement queue to the worker, waiting up to `wait_secs` for it;
    /// how many messages it took.
    pub async fn settle_batch(&self, wait_secs: i32) -> Result<usize, String> {
        self.settle_batch_with(&self.functions, wait_secs).await
    }

    /// The same with another instance of the functions.
    pub async fn settle_batch_with(
        &self,
        functions: &Functions,
        wait_secs: i32,
    ) -> Result<usize, String> {
        let sqs = self.ground.aws.sqs(self.ground.aws.http_client(), ATTEMPTS_DEFAULT);
        let received = sqs
            .receive_message()
            .queue_url(&self.names.settlement_url)
            .max_number_of_messages(self.names.batch_size)
            .wait_time_seconds(wait_secs)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let messages = received.messages();
        if messages.is_empty() {
            return Ok(0);
        }
        let number = BATCHES.fetch_add(1, Ordering::Relaxed);
        let event = sqs_event(messages, &self.names.settlement_arn);
        let answer = functions.settle(event, format!("{}-batch-{number}", self.run_id)).await?;
        let failed = failures(&answer)?;
        for message in messages {
            let id = message.message_id().unwrap_or("");
            let Some(receipt) = message.receipt_handle().filter(|_| !failed.contains(id)) else {
                continue;
            };
            let delete = sqs.delete_message().queue_url(&self.names.settlement_url);
            let deleted = delete.receipt_handle(receipt).send().await;
            deleted.map_err(|error| error.to_string())?;
        }
        Ok(messages.len())
    }

    /// Runs the poller once, after the run that is at it; its report.
    pub async fn poll(&self) -> Result<Value, String> {
        let _alone = self.polling.lock().await;
        let number = BATCHES.fetch_add(1, Ordering::Relaxed);
        self.functions.poll(format!("{}-poll-{number}", self.run_id)).await
    }

    /// Waits until the settlement queue has nothing visible or in flight, at most `at_most`.
    pub async fn settle_down(&self, at_most: Duration) {
        let started = tokio::time::Instant::now();
        while started.elapsed() < at_most {
            let depth = self.depth();
            if depth.visible == 0 && depth.in_flight == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Read as Lambda does: an answer that names no failures deletes the whole batch.
fn failures(answer: &Value) -> Result<BTreeSet<String>, String> {
    let Some(entries) = answer.get("batchItemFailures").and_then(Value::as_array) else {
        return Ok(BTreeSet::new());
    };
    entries
        .iter()
        .map(|entry| {
            let id = entry["itemIdentifier"].as_str().filter(|id| !id.is_empty());
            id.map(str::to_owned).ok_or_else(|| "a failure without itemIdentifier".to_owned())
        })
        .collect()
}
