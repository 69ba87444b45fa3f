//! What the process refuses, in words, and how it ends when it is told to.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::bundle::*;

#[tokio::test(flavor = "multi_thread")]
async fn bad_control_commands_are_refused_with_a_message() {
    let bundle = Bundle::start_on("0", &["--memory"]);
    let client = bundle.client();
    let order = order_of(&create(&client, "u_1", "k").await.unwrap());
    let check = async |method: &str, command: &str, body: &str, want: (u16, &str)| {
        let path = format!("/_local/{command}");
        let reply = client.send((method, &path), &[], body.as_bytes()).await.unwrap();
        let message = reply.json["message"].as_str().unwrap_or_default();
        let held = reply.status == want.0 && message.contains(want.1);
        assert!(held, "{method} {command} {body}: {} {}", reply.status, reply.text);
    };
    check("POST", "pay", "", (400, "EOF")).await;
    check("POST", "pay", "{}", (400, "missing field `orderId`")).await;
    check("POST", "pay", r#"{"orderId":"R1"}"#, (400, "no order id")).await;
    check("POST", "pay", r#"{"orderId":"R1","amuont":1}"#, (400, "unknown field")).await;
    let other = r#"{"orderId":"R0000000000000000000000000"}"#;
    check("POST", "pay", other, (400, "the provider has no such order")).await;
    for (field, message) in [
        (r#""times":0"#, "times must be"),
        (r#""times":1001"#, "times must be"),
        (r#""amount":0"#, "amount must be positive"),
        (r#""amount":-5"#, "amount must be positive"),
        (r#""amount":1.5"#, "invalid type"),
    ] {
        check("POST", "pay", &format!(r#"{{"orderId":"{order}",{field}}}"#), (400, message)).await;
    }
    check("POST", "clock", r#"{"advanceSeconds":-1}"#, (400, "invalid value")).await;
    check("POST", "clock", r#"{"advanceSeconds":999999999999}"#, (400, "ten years")).await;
    check("POST", "provider/trader", r#"{"mode":"odd"}"#, (400, "lost_answer")).await;
    check("POST", "provider/other", r#"{"mode":"ok"}"#, (400, "no simulated provider")).await;
    for (method, command) in [("GET", "pay"), ("POST", "state"), ("POST", ""), ("POST", "x")] {
        check(method, command, "{}", (404, "there are GET state and POST pay")).await;
    }
    check_books(&state(&client).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_said_in_one_line_and_exits_with_one() {
    let dir = Scratch::new("refused");
    let in_dir = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let bundle = Bundle::start(&dir.path().join("served"));
    let check = async |port: &str, aws_port: &str, data: &str, want: &str| {
        let serve = ["--port", port, "--aws-port", aws_port, "--data", data];
        let (code, out, errors) = run(&serve).await;
        assert_eq!((code, out.as_str()), (1, ""), "{errors}");
        let line = errors.strip_prefix("recharge: ").unwrap_or_default();
        assert!(line.contains(want) && line.lines().count() == 1, "{errors}");
    };
    let aws_port = bundle.aws_url.rsplit(':').next().unwrap();
    let taken = format!("port {} is taken; --port N", bundle.port());
    check(bundle.port(), "0", &in_dir("other"), &taken).await;
    let taken = format!("port {aws_port} is taken; --aws-port N");
    check("0", aws_port, &in_dir("other"), &taken).await;
    check("0", "0", &in_dir("served"), "another recharge already serves from").await;

    std::fs::write(dir.path().join("file"), "").unwrap();
    check("0", "0", &in_dir("file"), "no usable data directory").await;
    check("0", "0", &in_dir("file/below"), "no usable data directory").await;
    for damaged in ["dynamodb", "sqs", "secrets", "trader"] {
        std::fs::create_dir(dir.path().join(damaged)).unwrap();
        let file = dir.path().join(damaged).join(format!("{damaged}.sqlite"));
        std::fs::write(file, "this is no database. ".repeat(1_000)).unwrap();
        check("0", "0", &in_dir(damaged), "cannot be used: cannot open").await;
    }
    // The one that was there first goes on.
    check_books(&state(&bundle.client()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_signals_end_it_at_once_and_well_even_amid_a_slow_request() {
    let dir = Scratch::new("signals");
    for (signal, key) in [("INT", "first"), ("TERM", "second")] {
        let bundle = Bundle::start(dir.path());
        let client = bundle.client();
        client.local("provider/trader", json!({"mode": "slow"})).await.unwrap();
        let slow = tokio::spawn(async move { create(&client, "u_1", key).await });
        sleep(Duration::from_millis(200)).await;
        assert!(!slow.is_finished());
        let started = Instant::now();
        assert_eq!(bundle.stop(signal).await.code(), Some(0), "SIG{signal}");
        assert!(started.elapsed() < Duration::from_secs(2), "SIG{signal}");
        assert!(slow.await.unwrap().is_err());
    }
}
