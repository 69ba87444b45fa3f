//! The queues' scenarios: what is hidden comes back, what comes back too often moves on, batches.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

use crate::{Backend, Steps};

const HIDDEN: Duration = Duration::from_secs(2);

pub async fn play(backend: &Backend, steps: &mut Steps) {
    let client = backend.sqs();
    let dead = client.create_queue().queue_name("dead").send().await.unwrap().queue_url.unwrap();
    let arn = client.get_queue_attributes().queue_url(&dead);
    let arn = arn.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
    let arn = arn.attributes.unwrap()[&QueueAttributeName::QueueArn].clone();
    let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"3"}}"#);
    let work = client
        .create_queue()
        .queue_name("work")
        .attributes(QueueAttributeName::VisibilityTimeout, HIDDEN.as_secs().to_string())
        .attributes(QueueAttributeName::RedrivePolicy, policy);
    let work = work.send().await.unwrap().queue_url.unwrap();
    comes_back(&client, (&work, &dead), steps).await;
    batches(&client, &work, steps).await;
}

async fn receive(client: &Client, url: &str, wait_secs: i32) -> Vec<Message> {
    let received = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .wait_time_seconds(wait_secs)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All");
    received.send().await.unwrap().messages.unwrap_or_default()
}

/// Bodies, and how often each was received.
fn told(messages: &[Message]) -> Vec<(String, String)> {
    let count = MessageSystemAttributeName::ApproximateReceiveCount;
    let one = |message: &Message| {
        let received = message.attributes.as_ref().and_then(|all| all.get(&count)).cloned();
        (message.body.clone().unwrap_or_default(), received.unwrap_or_default())
    };
    let mut told: Vec<_> = messages.iter().map(one).collect();
    told.sort();
    told
}

async fn comes_back(client: &Client, (work, dead): (&str, &str), steps: &mut Steps) {
    let sent = client.send_message().queue_url(work).message_body("one").send().await.unwrap();
    steps.note("digest", sent.md5_of_message_body);
    let first = receive(client, work, 0).await;
    steps.note("received", told(&first));
    steps.note("hidden", told(&receive(client, work, 0).await));
    tokio::time::sleep(HIDDEN + Duration::from_millis(300)).await;
    let second = receive(client, work, 0).await;
    steps.note("comes back", told(&second));
    let handle = second[0].receipt_handle().unwrap();
    let change = client.change_message_visibility().queue_url(work).receipt_handle(handle);
    change.visibility_timeout(0).send().await.unwrap();
    let third = receive(client, work, 0).await;
    steps.note("made visible", told(&third));
    let handle = third[0].receipt_handle().unwrap();
    let change = client.change_message_visibility().queue_url(work).receipt_handle(handle);
    change.visibility_timeout(0).send().await.unwrap();
    steps.note("too often", told(&receive(client, work, 0).await));
    let bodies = |messages: Vec<Message>| -> Vec<String> {
        told(&messages).into_iter().map(|(body, _)| body).collect()
    };
    let given_up = receive(client, dead, 1).await;
    let handle = given_up[0].receipt_handle().unwrap().to_owned();
    steps.note("given up", bodies(given_up));
    for what in ["deleted", "deleted again"] {
        let delete = client.delete_message().queue_url(dead).receipt_handle(&handle);
        steps.note(what, delete.send().await.is_ok());
    }
}

async fn batches(client: &Client, work: &str, steps: &mut Steps) {
    let entry =
        |id: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(id).build().unwrap();
    let sent = client.send_message_batch().queue_url(work);
    let sent = sent.set_entries(Some(["a", "b", "c"].map(entry).to_vec())).send().await.unwrap();
    steps.note("batch", (sent.successful().len(), sent.failed().len()));
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.extend(receive(client, work, 0).await);
    }
    steps.note("batch", told(&messages));
    let entries = messages.iter().take(2).enumerate().map(|(number, message)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
        entry.receipt_handle(message.receipt_handle().unwrap()).build().unwrap()
    });
    let delete = client.delete_message_batch().queue_url(work);
    let deleted = delete.set_entries(Some(entries.collect())).send().await.unwrap();
    steps.note("deleted", (deleted.successful().len(), deleted.failed().len()));
    tokio::time::sleep(HIDDEN + Duration::from_millis(300)).await;
    steps.note("left", receive(client, work, 0).await.len());
}
