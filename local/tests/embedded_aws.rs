//! The embedded queues and secrets through the ordinary SDK clients, in memory and on disk.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, like the tests")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_sdk_secretsmanager::types::SecretListEntry;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName, SendMessageBatchRequestEntry,
};
use recharge_local::aws::sqs::MessageState;
use recharge_local::aws::{ATTEMPTS_DEFAULT, EmbeddedAws, SharedClock};

fn in_memory() -> EmbeddedAws {
    EmbeddedAws::open(None, SharedClock::simulated()).unwrap()
}

fn sqs(aws: &EmbeddedAws) -> aws_sdk_sqs::Client {
    aws.sqs(aws.http_client(), ATTEMPTS_DEFAULT)
}

fn secrets(aws: &EmbeddedAws) -> aws_sdk_secretsmanager::Client {
    aws.secrets(aws.http_client(), ATTEMPTS_DEFAULT)
}

/// A queue `work` with a visibility timeout of 30 s that gives up after two receives into `dead`.
async fn make_queues(client: &aws_sdk_sqs::Client) -> String {
    client.create_queue().queue_name("dead").send().await.unwrap();
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":"2"}"#;
    let created = client
        .create_queue()
        .queue_name("work")
        .attributes(QueueAttributeName::VisibilityTimeout, "30")
        .attributes(QueueAttributeName::RedrivePolicy, policy)
        .send()
        .await
        .unwrap();
    created.queue_url.unwrap()
}

async fn send(client: &aws_sdk_sqs::Client, url: &str, body: &str) -> String {
    let sent = client.send_message().queue_url(url).message_body(body).send().await.unwrap();
    sent.message_id.unwrap()
}

async fn receive(client: &aws_sdk_sqs::Client, url: &str, wait_seconds: i32) -> Vec<Message> {
    let received = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .wait_time_seconds(wait_seconds)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All")
        .send()
        .await
        .unwrap();
    received.messages.unwrap_or_default()
}

fn attribute(message: &Message, name: MessageSystemAttributeName) -> &str {
    &message.attributes.as_ref().unwrap()[&name]
}

fn scratch(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("recharge-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

#[tokio::test(start_paused = true)]
async fn a_deleted_message_is_gone_and_a_sent_one_comes_with_its_digest() {
    let aws = in_memory();
    let client = sqs(&aws);
    let url = make_queues(&client).await;
    let id = send(&client, &url, "This is a test message").await;

    let [message] = receive(&client, &url, 0).await.try_into().unwrap();
    assert_eq!(message.message_id(), Some(id.as_str()));
    assert_eq!(message.md5_of_body(), Some("fafb00f5732ab283681e124bf8747ed1"));
    assert_eq!(attribute(&message, MessageSystemAttributeName::ApproximateReceiveCount), "1");
    assert_eq!(attribute(&message, MessageSystemAttributeName::SentTimestamp), "1800000000000");
    assert_eq!(aws.queues().view("work").unwrap().in_flight, 1);

    let handle = message.receipt_handle().unwrap();
    client.delete_message().queue_url(&url).receipt_handle(handle).send().await.unwrap();
    assert!(aws.queues().view("work").unwrap().messages.is_empty());
    // Deleting twice is no error, as in SQS.
    client.delete_message().queue_url(&url).receipt_handle(handle).send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_undeleted_message_comes_back_when_its_visibility_timeout_passes() {
    let aws = in_memory();
    let client = sqs(&aws);
    let url = make_queues(&client).await;
    send(&client, &url, "again").await;
    let [first] = receive(&client, &url, 0).await.try_into().unwrap();

    tokio::time::sleep(Duration::from_secs(29)).await;
    assert!(receive(&client, &url, 0).await.is_empty());
    let before_ms = aws.clock().now_ms();
    let [second] = receive(&client, &url, 20).await.try_into().unwrap();
    assert_eq!(aws.clock().now_ms() - before_ms, 1_000, "the long poll wakes at the deadline");
    assert_eq!(attribute(&second, MessageSystemAttributeName::ApproximateReceiveCount), "2");

    // The former receipt is worth nothing now: no error, and nothing deleted.
    let handle = first.receipt_handle().unwrap();
    client.delete_message().queue_url(&url).receipt_handle(handle).send().await.unwrap();
    assert_eq!(aws.queues().view("work").unwrap().in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_received_too_often_moves_to_the_dead_letter_queue() {
    let aws = in_memory();
    let client = sqs(&aws);
    let url = make_queues(&client).await;
    let id = send(&client, &url, "poison").await;
    for _ in 0..2 {
        assert_eq!(receive(&client, &url, 0).await.len(), 1);
        aws.clock().advance(30_000);
    }
    assert_eq!(aws.queues().view("work").unwrap().visible, 1);
    assert!(receive(&client, &url, 0).await.is_empty());
    assert!(aws.queues().view("work").unwrap().messages.is_empty());

    let dead = aws.queues().view("dead").unwrap();
    assert_eq!((dead.visible, dead.messages[0].receive_count), (1, 2));
    assert_eq!((dead.messages[0].id.as_str(), dead.messages[0].body.as_str()), (&*id, "poison"));
    let [message] = receive(&client, &aws.queues().queue_url("dead"), 0).await.try_into().unwrap();
    assert_eq!(
        attribute(&message, MessageSystemAttributeName::DeadLetterQueueSourceArn),
        "arn:aws:sqs:us-east-1:000000000000:work"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_wakes_for_a_message_a_jump_of_the_clock_and_its_own_end() {
    let aws = in_memory();
    let client = sqs(&aws);
    let url = make_queues(&client).await;
    let started_ms = aws.clock().now_ms();
    let (received, ()) = tokio::join!(receive(&client, &url, 20), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        send(&client, &url, "late").await;
    });
    assert_eq!((received.len(), aws.clock().now_ms() - started_ms), (1, 3_000));

    let at = tokio::time::Instant::now();
    let (received, ()) = tokio::join!(receive(&client, &url, 20), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        aws.clock().advance(29_000);
    });
    assert_eq!((received.len(), at.elapsed()), (1, Duration::from_secs(1)));

    let at = tokio::time::Instant::now();
    assert!(receive(&client, &url, 4).await.is_empty());
    assert_eq!(at.elapsed(), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_long_poll_takes_nothing() {
    let aws = in_memory();
    let client = sqs(&aws);
    let url = make_queues(&client).await;
    let poll = tokio::time::timeout(Duration::from_secs(1), receive(&client, &url, 20));
    assert!(poll.await.is_err());
    send(&client, &url, "for the next").await;
    tokio::task::yield_now().await;
    assert_eq!(aws.queues().view("work").unwrap().visible, 1);
}

#[tokio::test(start_paused = true)]
async fn visibility_can_be_changed_only_while_the_message_is_in_flight() {
    let aws = in_memory();
    let client = sqs(&aws);
    let url = make_queues(&client).await;
    send(&client, &url, "hold").await;
    let [message] = receive(&client, &url, 0).await.try_into().unwrap();
    let change = |handle: String, seconds| {
        let change = client.change_message_visibility().queue_url(&url).receipt_handle(handle);
        change.visibility_timeout(seconds).send()
    };
    let handle = message.receipt_handle.unwrap();
    change(handle.clone(), 100).await.unwrap();
    aws.clock().advance(99_000);
    assert_eq!(aws.queues().view("work").unwrap().in_flight, 1);
    change(handle.clone(), 0).await.unwrap();
    assert_eq!(aws.queues().view("work").unwrap().visible, 1);

    let refused = change(handle, 10).await.unwrap_err().into_service_error();
    assert!(refused.is_message_not_inflight(), "{refused:?}");
    let refused = change("no-handle".to_owned(), 10).await.unwrap_err().into_service_error();
    assert!(refused.is_receipt_handle_is_invalid(), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn one_bad_entry_of_a_batch_fails_alone() {
    let aws = in_memory();
    let client = sqs(&aws);
    let url = make_queues(&client).await;
    let entry = |id: &str, body: &str| {
        SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap()
    };
    let entries = vec![entry("a", "one"), entry("b", "\u{1}"), entry("c", "three")];
    let batch = client.send_message_batch().queue_url(&url).set_entries(Some(entries));
    let sent = batch.send().await.unwrap();
    let ids = |ids: Vec<&str>| ids.join(" ");
    assert_eq!(ids(sent.successful().iter().map(|entry| entry.id()).collect()), "a c");
    let [failed] = sent.failed() else { panic!("{sent:?}") };
    assert_eq!(
        (failed.id(), failed.code(), failed.sender_fault()),
        ("b", "InvalidMessageContents", true)
    );

    let [first, _] = receive(&client, &url, 0).await.try_into().unwrap();
    let entry = |id: &str, handle: &str| {
        DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle).build().unwrap()
    };
    let entries = vec![entry("x", first.receipt_handle().unwrap()), entry("y", "nonsense")];
    let batch = client.delete_message_batch().queue_url(&url).set_entries(Some(entries));
    let deleted = batch.send().await.unwrap();
    assert_eq!(deleted.successful()[0].id(), "x");
    assert_eq!(deleted.failed()[0].code(), "ReceiptHandleIsInvalid");

    let same = vec![entry("x", "h"), entry("x", "h")];
    let batch = client.delete_message_batch().queue_url(&url).set_entries(Some(same));
    assert!(batch.send().await.unwrap_err().into_service_error().is_batch_entry_ids_not_distinct());
}

#[tokio::test(start_paused = true)]
async fn message_attributes_come_back_with_the_digest_of_those_asked_for() {
    let aws = in_memory();
    let client = sqs(&aws);
    let url = make_queues(&client).await;
    let text = |kind: &str, text: &str| {
        MessageAttributeValue::builder().data_type(kind).string_value(text).build().unwrap()
    };
    let bytes = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(aws_smithy_types::Blob::new([0u8, 255, 7]))
        .build()
        .unwrap();
    let send = client.send_message().queue_url(&url).message_body("with attributes");
    let sent = send
        .message_attributes("timestamp", text("Number.java.lang.Long", "1493147359900"))
        .message_attributes("raw", bytes.clone())
        .send()
        .await
        .unwrap();
    let [message] = receive(&client, &url, 0).await.try_into().unwrap();
    assert_eq!(message.md5_of_message_attributes(), sent.md5_of_message_attributes());
    assert_eq!(message.message_attributes().unwrap()["raw"], bytes);

    aws.clock().advance(30_000);
    let receive = client.receive_message().queue_url(&url).message_attribute_names("time.*");
    let [message] = receive.send().await.unwrap().messages.unwrap().try_into().unwrap();
    assert_eq!(message.message_attributes().unwrap().len(), 1);
    assert_eq!(message.md5_of_message_attributes(), Some("2e2e4876d8e0bd6b8c2c8f556831c349"));
}

#[tokio::test(start_paused = true)]
async fn delays_limits_and_unknown_queues_are_those_of_sqs() {
    let aws = in_memory();
    let client = sqs(&aws);
    let url = make_queues(&client).await;
    let send = || client.send_message().queue_url(&url);
    send().message_body("later").delay_seconds(60).send().await.unwrap();
    assert_eq!(aws.queues().view("work").unwrap().messages[0].state, MessageState::Delayed);
    let asked = client.get_queue_attributes().queue_url(&url);
    let shown = asked.attribute_names(QueueAttributeName::All).send().await.unwrap();
    let shown = shown.attributes.unwrap();
    assert_eq!(shown[&QueueAttributeName::ApproximateNumberOfMessagesDelayed], "1");
    assert_eq!(shown[&QueueAttributeName::QueueArn], "arn:aws:sqs:us-east-1:000000000000:work");
    assert!(shown[&QueueAttributeName::RedrivePolicy].contains(r#""maxReceiveCount":2"#));
    aws.clock().advance(60_000);
    assert_eq!(receive(&client, &url, 0).await.len(), 1);

    send().message_body("x".repeat(262_144)).send().await.unwrap();
    let refused = send().message_body("x".repeat(262_145)).send().await.unwrap_err();
    assert_eq!(refused.into_service_error().meta().code(), Some("InvalidParameterValue"));
    let unknown = client.send_message().queue_url("http://elsewhere/1/nowhere").message_body("x");
    let refused = unknown.send().await.unwrap_err().into_service_error();
    assert!(refused.is_queue_does_not_exist(), "{refused:?}");

    client.purge_queue().queue_url(&url).send().await.unwrap();
    assert!(aws.queues().view("work").unwrap().messages.is_empty());
    let listed = client.list_queues().queue_name_prefix("wo").send().await.unwrap();
    assert_eq!(listed.queue_urls(), [url]);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_there_after_a_restart() {
    let dir = scratch("restart");
    let clock = SharedClock::simulated();
    let url;
    {
        let aws = EmbeddedAws::open(Some(&dir), clock.clone()).unwrap();
        let client = sqs(&aws);
        url = make_queues(&client).await;
        send(&client, &url, "in flight").await;
        assert_eq!(receive(&client, &url, 0).await.len(), 1);
        send(&client, &url, "visible").await;
        let create = secrets(&aws).create_secret().name("keys").secret_string("one");
        create.send().await.unwrap();
    }
    let aws = EmbeddedAws::open(Some(&dir), clock.clone()).unwrap();
    let client = sqs(&aws);
    let view = aws.queues().view("work").unwrap();
    assert_eq!((view.visible, view.in_flight), (1, 1));
    assert_eq!(view.messages[0].visible_at_ms, clock.now_ms() + 30_000);
    clock.advance(30_000);
    let bodies: Vec<Message> = receive(&client, &url, 0).await;
    let bodies: Vec<&str> = bodies.iter().filter_map(|message| message.body()).collect();
    assert_eq!(bodies, ["in flight", "visible"]);
    let value = secrets(&aws).get_secret_value().secret_id("keys").send().await.unwrap();
    assert_eq!(value.secret_string(), Some("one"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test(start_paused = true)]
async fn equal_runs_give_equal_identifiers() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let aws = in_memory();
        let client = sqs(&aws);
        let url = make_queues(&client).await;
        let id = send(&client, &url, "same").await;
        let [message] = receive(&client, &url, 0).await.try_into().unwrap();
        runs.push((id, message.receipt_handle));
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_value_becomes_current_and_the_former_one_previous() {
    let aws = in_memory();
    let client = secrets(&aws);
    let created = client.create_secret().name("keys").send().await.unwrap();
    let get = |stage: &str| client.get_secret_value().secret_id("keys").version_stage(stage).send();
    let refused = get("AWSCURRENT").await.unwrap_err().into_service_error();
    assert!(refused.is_resource_not_found_exception(), "a secret without a value: {refused:?}");

    for value in ["one", "two", "three"] {
        let put = client.put_secret_value().secret_id(created.arn().unwrap());
        put.secret_string(value).send().await.unwrap();
    }
    let current = client.get_secret_value().secret_id("keys").send().await.unwrap();
    assert_eq!(current.secret_string(), Some("three"));
    let previous = get("AWSPREVIOUS").await.unwrap();
    assert_eq!(previous.secret_string(), Some("two"));
    assert_eq!(previous.version_stages(), ["AWSPREVIOUS"]);
    let by_id = client.get_secret_value().secret_id("keys");
    let by_id = by_id.version_id(previous.version_id().unwrap()).send().await.unwrap();
    assert_eq!(by_id.secret_string(), Some("two"));
    let described = client.describe_secret().secret_id("keys").send().await.unwrap();
    assert_eq!(described.version_ids_to_stages().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn secrets_refuse_by_the_names_of_aws() {
    let aws = in_memory();
    let client = secrets(&aws);
    let missing = client.get_secret_value().secret_id("nothing").send().await.unwrap_err();
    assert!(missing.into_service_error().is_resource_not_found_exception());
    let create = || client.create_secret().name("keys").secret_string("one").send();
    create().await.unwrap();
    assert!(create().await.unwrap_err().into_service_error().is_resource_exists_exception());
    let put = |value: &str| {
        let put = client.put_secret_value().secret_id("keys").client_request_token("t".repeat(32));
        put.secret_string(value).send()
    };
    put("two").await.unwrap();
    put("two").await.unwrap();
    assert!(put("other").await.unwrap_err().into_service_error().is_resource_exists_exception());

    let listed = client.list_secrets().send().await.unwrap();
    let names: Vec<_> = listed.secret_list().iter().filter_map(SecretListEntry::name).collect();
    assert_eq!(names, ["keys"]);
    let delete = client.delete_secret().secret_id("keys").force_delete_without_recovery(true);
    delete.send().await.unwrap();
    create().await.unwrap();
}

/// Sends until it is killed, and says what was acknowledged. Runs only as a child of the next test.
#[test]
#[ignore = "the child process of kill_nine_loses_no_acknowledged_message"]
fn sender_that_is_killed() {
    let dir = std::env::current_dir().unwrap();
    if !dir.join("to-be-killed").exists() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let aws = EmbeddedAws::open(Some(&dir), SharedClock::system()).unwrap();
        let client = sqs(&aws);
        let url = make_queues(&client).await;
        for number in 0..1_000_000 {
            let id = send(&client, &url, &number.to_string()).await;
            println!("acknowledged {id}");
        }
    });
}

#[test]
fn kill_nine_loses_no_acknowledged_message() {
    let dir = scratch("kill");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("to-be-killed"), "").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sender_that_is_killed", "--ignored", "--nocapture"])
        .current_dir(&dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let acknowledged = |line: String| line.split_once("acknowledged ").map(|(_, id)| id.to_owned());
    let mut ids: Vec<String> = lines.by_ref().filter_map(acknowledged).take(200).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    ids.extend(lines.filter_map(acknowledged).filter(|id| id.len() == 36));

    let aws = EmbeddedAws::open(Some(&dir), SharedClock::system()).unwrap();
    let view = aws.queues().view("work").unwrap();
    let kept: Vec<&String> = view.messages.iter().map(|message| &message.id).collect();
    assert!(ids.len() >= 200 && ids.iter().all(|id| kept.contains(&id)), "{}", ids.len());
    std::fs::remove_dir_all(&dir).unwrap();
}
