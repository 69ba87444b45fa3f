//! The real `recharge` process from outside: its answers, what it refuses, how it stops, and what is
//! left after `kill -9` under load.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, like the tests")]

mod bundle;
mod kill_nine;
mod notifications;
mod refusals;
mod reviews;
mod signing;

use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use recharge_local::call::{Client, Reply};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::bundle::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_confirmed_a_hundred_times_is_credited_once_and_survives_a_restart() {
    let dir = Scratch::new("main-job");
    let bundle = Bundle::start(dir.path());
    let client = bundle.client();
    let created = create(&client, "u_1", "key-1").await.unwrap();
    assert_eq!((created.status, &created.json["status"]), (201, &json!("PENDING")));
    let order = order_of(&created);

    let again = join_all((0..50).map(|_| create(&client, "u_1", "key-1"))).await;
    for reply in again.into_iter().map(Result::unwrap) {
        assert_eq!((reply.status, reply.replayed, &reply.json), (200, true, &created.json));
    }
    let at_once = join_all((0..50).map(|_| create(&client, "u_2", "key-2"))).await;
    let at_once: Vec<Reply> = at_once.into_iter().map(Result::unwrap).collect();
    assert_eq!(at_once.iter().filter(|reply| reply.status == 201 && !reply.replayed).count(), 1);
    assert!(at_once.iter().all(|reply| order_of(reply) == order_of(&at_once[0])));

    let paid = client.local("pay", json!({"orderId": order, "times": 100})).await.unwrap();
    let acknowledged = json!({"status": 200, "body": "success"});
    assert_eq!(paid["callbacks"], json!(vec![acknowledged; 100]));
    assert_eq!(status(&client, &order).await, "SUCCESS");

    check_one_credit(&client).await;
    let bundle = bundle.kill_and_restart(dir.path());
    check_one_credit(&bundle.client()).await;
    let replayed = create(&bundle.client(), "u_1", "key-1").await.unwrap();
    assert_eq!((replayed.replayed, &replayed.json["status"]), (true, &json!("SUCCESS")));
}

async fn check_one_credit(client: &Client) {
    let balances = get(client, "/users/u_1/balances").await;
    assert_eq!(balances["balances"][0]["amount"], 5_000_000);
    let ledger = get(client, "/users/u_1/ledger").await;
    assert_eq!(ledger["entries"].as_array().map(Vec::len), Some(1));
    let state = drained(client).await;
    assert_eq!((&state["orders"], &state["credits"]), (&json!(2), &json!(1)));
    check_books(&state);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_plays_every_step_and_ends_well() {
    let (code, out, errors) = run(&["demo"]).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.len() >= 10, "{out}");
    for (number, line) in lines.into_iter().enumerate() {
        assert!(line.starts_with(&format!("{:>2} ok  ", number + 1)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn call_signs_sends_and_prints_the_answer() {
    let bundle = Bundle::start_on("0", &["--memory"]);
    let port = bundle.port();
    let body = r#"{"userId":"u_1","amount":5000000,"currency":"USDT"}"#;
    let post = ["call", "POST", "/recharges", body, "--key", "k", "--port", port];
    let (code, out, _) = run(&post).await;
    assert!(code == 0 && out.starts_with("201\n{\n") && out.contains("\"PENDING\""), "{out}");
    let (code, out, _) = run(&post).await;
    assert!(code == 0 && out.starts_with("200 (replayed)\n"), "{out}");
    // The port may also come first.
    let (code, out, errors) = run(&["--port", port, "call", "GET", "/recharges/nothing"]).await;
    assert!(code == 1 && out.starts_with("404\n"), "{out}");
    assert_eq!(errors, "recharge: answered 404\n");
    let (code, _, errors) =
        run(&["call", "GET", "/users/u_1/balances", "--as", "x", "--port", port]).await;
    assert_eq!((code, errors.contains("known are demo, demo2")), (1, true), "{errors}");
    let (code, _, errors) = run(&["call", "GET", "/users/u_1/balances", "--port", "1"]).await;
    assert_eq!((code, errors.starts_with("recharge: ")), (1, true), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_welcome_shows_works_when_pasted() {
    let bundle = Bundle::start_on("0", &["--memory"]);
    assert!(bundle.welcome.contains(" secret "), "{}", bundle.welcome);
    let paste = |start: &str| {
        let line = after(&bundle.welcome, start).replace("cargo run --", &format!("'{RECHARGE}'"));
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(paste("  try ").starts_with("201\n"));

    // Not every machine has curl: this is what it sends, its content type too.
    let curl = after(&bundle.welcome, "  then ");
    let (url, body) = curl.strip_prefix("curl -s ").unwrap().split_once(" -d '").unwrap();
    let path = url.strip_prefix(&bundle.url).unwrap();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let body = body.strip_suffix('\'').unwrap();
    let reply = bundle.client().send(("POST", path), &headers, body.as_bytes()).await.unwrap();
    assert_eq!((reply.status, &reply.json["callbacks"][0]["status"]), (200, &json!(200)));

    assert!(paste("  look ").contains("5000000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_aws_clients_see_the_table_the_queue_and_the_secrets() {
    let bundle = Bundle::start_on("0", &["--memory"]);
    let region = aws_sdk_sqs::config::Region::from_static("eu-west-3");
    let key = aws_sdk_sqs::config::Credentials::new("any", "thing", None, None, "test");
    let dynamodb = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(region.clone())
        .endpoint_url(&bundle.aws_url)
        .credentials_provider(key.clone());
    let tables = aws_sdk_dynamodb::Client::from_conf(dynamodb.build()).list_tables().send().await;
    assert_eq!(tables.unwrap().table_names().len(), 1);

    let queues = sqs(&bundle).list_queues().send().await.unwrap();
    assert_eq!(queues.queue_urls().len(), 4);
    assert!(queues.queue_urls().iter().all(|url| url.starts_with(&bundle.aws_url)), "{queues:?}");

    let secrets = aws_sdk_secretsmanager::Config::builder()
        .behavior_version_latest()
        .region(region)
        .endpoint_url(&bundle.aws_url)
        .credentials_provider(key);
    let secrets = aws_sdk_secretsmanager::Client::from_conf(secrets.build());
    let listed = secrets.list_secrets().send().await.unwrap();
    let names = listed.secret_list().iter().filter_map(|secret| secret.name());
    let mut keys_of_clients = 0;
    for name in names {
        let value = secrets.get_secret_value().secret_id(name).send().await.unwrap();
        keys_of_clients += usize::from(value.secret_string().unwrap().contains(DEMO.secret));
    }
    assert_eq!((listed.secret_list().len(), keys_of_clients), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_of_the_clock_disturbs_neither_worker_nor_schedule() {
    let bundle = Bundle::start_on("0", &["--memory"]);
    let client = bundle.client();
    for (number, seconds) in [90, 3_600, 86_400].into_iter().enumerate() {
        let order = create(&client, "u_1", &format!("before-{number}")).await.unwrap();
        client.local("clock", json!({"advanceSeconds": seconds})).await.unwrap();
        let order = order_of(&order);
        client.local("pay", json!({"orderId": order})).await.unwrap();
        assert_eq!(status(&client, &order).await, "SUCCESS", "paid after {seconds} s");

        // A payment whose callback is lost is found at once: a fresh order is looked at as well.
        let order = create(&client, "u_1", &format!("after-{number}")).await.unwrap();
        let order = order_of(&order);
        client.local("pay", json!({"orderId": order, "silent": true})).await.unwrap();
        client.local("poll", json!({})).await.unwrap();
        assert_eq!(status(&client, &order).await, "SUCCESS", "polled after {seconds} s");
    }
    // The schedule itself: the jump passes its next minute.
    let order = order_of(&create(&client, "u_1", "scheduled").await.unwrap());
    client.local("pay", json!({"orderId": order, "silent": true})).await.unwrap();
    client.local("clock", json!({"advanceSeconds": 60})).await.unwrap();
    let found = async {
        while status(&client, &order).await != "SUCCESS" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), found).await.unwrap();
    check_books(&drained(&client).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_rotates_and_revokes_keys_and_sets_merchants_up() {
    let bundle = Bundle::start_on("0", &["--memory"]);
    let aws_port = bundle.aws_url.rsplit(':').next().unwrap();
    let operate = async |command: &[&str]| {
        let (code, out, errors) = run(&[command, &["--aws-port", aws_port]].concat()).await;
        (code, format!("{out}{errors}"))
    };
    let (code, made) = operate(&["keys", "create", "shop", "--merchant", "m_shop"]).await;
    assert_eq!(code, 0, "{made}");
    let secret = after(&made, "secret").trim().to_owned();
    let list = ["call", "GET", "/recharges", "--as", "shop", "--secret", &secret];
    let list = [&list[..], &["--port", bundle.port()]].concat();
    let (code, out, _) = run(&list).await;
    assert!(code == 0 && out.contains("\"recharges\": []"), "{out}");

    let (code, rotated) = operate(&["keys", "rotate", "shop", "--overlap", "3600"]).await;
    assert!(code == 0 && !rotated.contains(&secret), "{rotated}");
    let (_, keys) = operate(&["keys", "list"]).await;
    assert!(keys.contains("m_shop") && keys.contains("former secret until"), "{keys}");
    assert!(!keys.contains(&secret) && !keys.contains(DEMO.secret), "{keys}");
    let (code, out, _) = run(&list).await;
    assert_eq!(code, 0, "the old secret is good for an hour: {out}");

    assert_eq!(operate(&["keys", "revoke", "shop"]).await.0, 0);
    let (code, refused) = operate(&["keys", "revoke", "shop"]).await;
    assert_eq!((code, refused.as_str()), (1, "recharge: there is no key of that name\n"));
    let set = ["merchants", "set", "m_shop", "--rate", "5", "--users", "registered"];
    assert!(operate(&set).await.1.contains("5 per second, 100 at once"));
    assert_eq!(operate(&["users", "suspend", "m_shop", "u_9"]).await.0, 0);
    let (_, shown) = operate(&["merchants", "show", "m_shop"]).await;
    assert!(shown.contains("registered") && shown.contains("u_9"), "{shown}");
    let (code, refused) = operate(&["keys", "create", "x", "--merchant", "a b"]).await;
    assert_eq!((code, refused.contains("a merchant is")), (1, true), "{refused}");
}
