//! What AWS does between the functions: takes batches from the queues to the worker and the notifier,
//! deletes what they did, and ticks the schedule.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use serde_json::Value;

use crate::aws::ATTEMPTS_DEFAULT;
use crate::events::sqs_event;
use crate::functions::Functions;
use crate::stack::{Names, QueueNames, Stack};

/// Workers side by side.
const WORKERS: usize = 2;

static BATCHES: AtomicU64 = AtomicU64::new(0);

/// How long a worker waits after a failure that is not a message's.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Starts the workers and the schedule in the background.
pub fn start(stack: &Arc<Stack>) {
    for _ in 0..WORKERS {
        tokio::spawn(work(stack.clone()));
        tokio::spawn(tell(stack.clone()));
    }
    tokio::spawn(keep_schedule(stack.clone()));
}

async fn work(stack: Arc<Stack>) {
    loop {
        let stack = stack.clone();
        let batch = invoke(async move { stack.settle_batch(20).await }).await;
        if let Err(error) = batch {
            tracing::error!(error, "settlement batch");
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

async fn tell(stack: Arc<Stack>) {
    loop {
        let stack = stack.clone();
        let batch = invoke(async move { stack.notify_batch(20).await }).await;
        if let Err(error) = batch {
            tracing::error!(error, "notification batch");
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

async fn keep_schedule(stack: Arc<Stack>) {
    let period_ms = stack.names.poll_every_ms;
    loop {
        let now_ms = stack.ground.clock.now_ms();
        let next_ms = (now_ms.div_euclid(period_ms) + 1) * period_ms;
        stack.ground.clock.sleep_until(next_ms).await;
        let stack = stack.clone();
        if let Err(error) = invoke(async move { stack.poll().await }).await {
            tracing::error!(error, "poller");
        }
    }
}

/// As in Lambda, a panic fails the invocation and not who invoked it.
async fn invoke<T: Send + 'static>(
    invocation: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    tokio::spawn(invocation).await.unwrap_or_else(|error| Err(error.to_string()))
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
        let Names { settlement_url, settlement_arn, batch_size, .. } = &self.names;
        let Some(batch) = self.receive(settlement_url, *batch_size, wait_secs).await? else {
            return Ok(0);
        };
        let number = BATCHES.fetch_add(1, Ordering::Relaxed);
        let event = sqs_event(&batch, settlement_arn);
        let answer = functions.settle(event, format!("{}-batch-{number}", self.run_id)).await?;
        self.delete(settlement_url, &batch, &failures(&answer)?).await?;
        Ok(batch.len())
    }

    /// Takes one batch from the notification queue to the notifier; how many messages it took.
    pub async fn notify_batch(&self, wait_secs: i32) -> Result<usize, String> {
        self.notify_batch_with(&self.functions, wait_secs).await
    }

    /// The same with another instance of the functions.
    pub async fn notify_batch_with(
        &self,
        functions: &Functions,
        wait_secs: i32,
    ) -> Result<usize, String> {
        let QueueNames { url, arn, batch_size, .. } = &self.names.notifications;
        let Some(batch) = self.receive(url, *batch_size, wait_secs).await? else {
            return Ok(0);
        };
        let number = BATCHES.fetch_add(1, Ordering::Relaxed);
        let event = sqs_event(&batch, arn);
        let answer = functions.notify(event, format!("{}-notices-{number}", self.run_id)).await?;
        self.delete(url, &batch, &failures(&answer)?).await?;
        Ok(batch.len())
    }

    async fn receive(
        &self,
        url: &str,
        batch_size: i32,
        wait_secs: i32,
    ) -> Result<Option<Vec<Message>>, String> {
        let sqs = self.ground.aws.sqs(self.ground.aws.http_client(), ATTEMPTS_DEFAULT);
        // A queue with nothing in it says nothing until the time is over: that is no stalled stream.
        let waits = aws_sdk_sqs::config::Builder::new()
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let received = sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(batch_size)
            .wait_time_seconds(wait_secs)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .customize()
            .config_override(waits)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        Ok(received.messages.filter(|messages| !messages.is_empty()))
    }

    /// Deletes what the worker has not named as failed, in one request.
    async fn delete(
        &self,
        url: &str,
        messages: &[Message],
        failed: &BTreeSet<String>,
    ) -> Result<(), String> {
        let done = messages.iter().filter(|m| !failed.contains(m.message_id().unwrap_or("")));
        let entry = |(number, message): (usize, &Message)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(number.to_string())
                .receipt_handle(message.receipt_handle().unwrap_or(""))
                .build()
                .map_err(|error| error.to_string())
        };
        let entries = done.enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        if entries.is_empty() {
            return Ok(());
        }
        let sqs = self.ground.aws.sqs(self.ground.aws.http_client(), ATTEMPTS_DEFAULT);
        let delete = sqs.delete_message_batch().queue_url(url);
        let deleted = delete.set_entries(Some(entries)).send().await;
        let deleted = deleted.map_err(|error| error.to_string())?;
        match deleted.failed() {
            [] => Ok(()),
            failed => Err(format!("{} messages not deleted: {failed:?}", failed.len())),
        }
    }

    /// Runs the poller once, after the run that is at it; its report.
    pub async fn poll(&self) -> Result<Value, String> {
        let _alone = self.polling.lock().await;
        let number = BATCHES.fetch_add(1, Ordering::Relaxed);
        self.functions.poll(format!("{}-poll-{number}", self.run_id)).await
    }

    /// Waits until the settlement queue has nothing visible or in flight, at most `at_most`.
    pub async fn settle_down(&self, at_most: Duration) {
        let busy = || {
            let depth = self.depth();
            depth.visible > 0 || depth.in_flight > 0
        };
        wait_while(busy, at_most).await;
    }

    /// Waits until the settlement queue has nothing about `order`, at most `at_most`.
    pub async fn settle_order(&self, order: &str, at_most: Duration) {
        let queues = self.ground.aws.queues();
        wait_while(|| queues.mentions(&self.names.settlement, order), at_most).await;
    }
}

async fn wait_while(busy: impl Fn() -> bool, at_most: Duration) {
    let started = tokio::time::Instant::now();
    while busy() && started.elapsed() < at_most {
        tokio::time::sleep(Duration::from_millis(10)).await;
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
