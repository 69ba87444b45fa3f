//! What a restart does to the queues, on their files.

use serde_json::{Value, json};

use super::{Sqs, TARGET};
use crate::aws::SharedClock;
use crate::aws::wire::split_target;

async fn ask(sqs: &Sqs, target: &str, body: Value) -> Value {
    let (service, operation) = split_target(target);
    assert_eq!(service, TARGET);
    let answer = sqs.answer(operation, body.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

async fn send(sqs: &Sqs, url: &Value, body: &str, delay_seconds: u32) {
    let message = json!({"QueueUrl": url, "MessageBody": body, "DelaySeconds": delay_seconds});
    ask(sqs, "AmazonSQS.SendMessage", message).await;
}

async fn receive(sqs: &Sqs, url: &Value) -> Vec<(String, String)> {
    let wanted = json!({
        "QueueUrl": url,
        "MaxNumberOfMessages": 10,
        "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
    });
    let received = ask(sqs, "AmazonSQS.ReceiveMessage", wanted).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let messages = received["Messages"].as_array().cloned().unwrap_or_default();
    messages
        .iter()
        .map(|m| (text(&m["Body"]), text(&m["Attributes"]["ApproximateReceiveCount"])))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn released_messages_are_visible_at_once_keep_their_count_and_stay_so_on_disk() {
    let dir = std::env::temp_dir().join(format!("recharge-release-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let clock = SharedClock::simulated();
    let open = || Sqs::open(Some(&dir), clock.clone()).unwrap();
    let pair = |body: &str, count: &str| (body.to_owned(), count.to_owned());
    let first = open();
    let url = ask(&first, "AmazonSQS.CreateQueue", json!({"QueueName": "work"})).await;
    let url = url["QueueUrl"].clone();
    send(&first, &url, "held", 0).await;
    assert_eq!(receive(&first, &url).await, [pair("held", "1")]);
    send(&first, &url, "delayed", 60).await;
    drop(first);

    let second = open();
    assert_eq!(receive(&second, &url).await, [], "opening alone releases nothing");
    assert!(second.mentions("work", "eld") && !second.mentions("work", "other"));
    assert_eq!(second.release_in_flight().unwrap(), 1, "a delay is no consumer that died");
    drop(second);

    let third = open();
    assert_eq!(receive(&third, &url).await, [pair("held", "2")]);
    drop(third);
    std::fs::remove_dir_all(&dir).unwrap();
}
