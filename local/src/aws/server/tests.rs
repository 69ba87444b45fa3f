//! The port as an ordinary client sees it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::{EmbeddedAws, SharedClock};
use super::serve;

#[tokio::test]
async fn the_aws_port_answers_sdk_clients_over_tcp() {
    let aws = EmbeddedAws::open(None, SharedClock::system()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(serve(listener, aws.clone()));
    let key = aws_sdk_sqs::config::Credentials::new("AKID", "any", None, None, "test");
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_sqs::config::Region::from_static("us-east-1"))
        .endpoint_url(&endpoint)
        .credentials_provider(key)
        .build();
    let client = aws_sdk_sqs::Client::from_conf(config);
    let url = client.create_queue().queue_name("work").send().await.unwrap().queue_url.unwrap();
    assert_eq!(url, format!("{endpoint}/000000000000/work"));
    let receive = client.receive_message().queue_url(&url).wait_time_seconds(20);
    let send = client.send_message().queue_url(&url).message_body("by wire");
    let (received, _) = tokio::join!(receive.send(), send.send());
    assert_eq!(received.unwrap().messages()[0].body(), Some("by wire"));
    let refused = client.get_queue_url().queue_name("nowhere").send().await.unwrap_err();
    assert!(refused.into_service_error().is_queue_does_not_exist());
    serving.abort();
}

#[tokio::test]
async fn the_aws_port_routes_by_target_and_refuses_unknown_ones() {
    let aws = EmbeddedAws::open(None, SharedClock::system()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, aws));
    let check = |target: &'static str, body: &'static str, want: [&'static str; 2]| async move {
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{target}");
        let request = format!("{head}content-length: {length}\r\n\r\n{body}");
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let [status, part] = want;
        let status_line = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&status_line) && answer.contains(part), "{answer}");
    };
    let tables = "x-amz-target: DynamoDB_20120810.ListTables\r\n";
    check(tables, "{}", ["200", r#"{"TableNames":[]}"#]).await;
    let secrets = "x-amz-target: secretsmanager.ListSecrets\r\n";
    check(secrets, "{}", ["200", r#"{"SecretList":[]}"#]).await;
    let foreign = "x-amz-target: Kinesis_20131202.ListStreams\r\n";
    check(foreign, "{}", ["400", "UnknownOperationException"]).await;
    let unknown = "x-amz-target: AmazonSQS.CancelMessageMoveTask\r\n";
    check(unknown, "{}", ["400", "UnknownOperationException"]).await;
    check("", "Action=ListQueues", ["400", "MissingAction"]).await;
    serving.abort();
}
