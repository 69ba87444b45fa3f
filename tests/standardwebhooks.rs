//! The official packages of Standard Webhooks verify what the notifier sends, and refuse what was altered:
//! the real notifier, over TCP. A language whose package is not there is skipped, and said so; `.ci/run`
//! installs them.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use recharge_local::call::{API_KEYS, Client};
use recharge_local::serve;
use recharge_local::stack::DEMO_NOTIFICATION_SECRET;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Reads `{"secret", "headers", "body"}` from its argument; prints what it verified.
const PYTHON: &str = r#"
import json, sys
from standardwebhooks.webhooks import Webhook
given = json.loads(sys.argv[1])
print(json.dumps(Webhook(given["secret"]).verify(given["body"], given["headers"])))
"#;

const NODE: &str = r#"
const { Webhook } = require("standardwebhooks");
const given = JSON.parse(process.argv[1]);
console.log(JSON.stringify(new Webhook(given.secret).verify(given.body, given.headers)));
"#;

#[expect(clippy::disallowed_methods, reason = "where .ci/run puts the packages")]
fn cache(path: &str) -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    Path::new(&home).join(".cache/recharge").join(path)
}

/// What runs `source` in `language`, with the package at hand.
fn interpreter(language: &str, source: &str) -> Command {
    let (program, option) = match language {
        "python" => (cache("venv/bin/python"), "-c"),
        _ => (PathBuf::from("node"), "-e"),
    };
    let mut command = Command::new(program);
    command.args([option, source]).env("NODE_PATH", cache("npm/node_modules"));
    command
}

fn is_installed(language: &str, question: &str) -> bool {
    interpreter(language, question).output().is_ok_and(|output| output.status.success())
}

type Deliveries = Arc<Mutex<Vec<(HeaderMap, String)>>>;

/// A receiver that takes everything, and what it took.
async fn receiver() -> (String, Deliveries) {
    let taken = Deliveries::default();
    let kept = taken.clone();
    let take = move |headers: HeaderMap, body: String| async move {
        kept.lock().unwrap().push((headers, body));
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(take)).await });
    (url, taken)
}

/// What the bundle sends of a paid order.
async fn delivery() -> (BTreeMap<String, String>, String) {
    let (callback_url, taken) = receiver().await;
    let (url, _stack) = serve::in_memory_telling_loopback().await.unwrap();
    let client = Client::new(url);
    let body = json!({"userId": "u_1", "amount": 5_000_000, "currency": "USDT",
                      "callbackUrl": callback_url, "metadata": {"note": "ü \u{1f4b0} \"/\\"}});
    let created =
        client.signed(API_KEYS[0], ("POST", "/recharges"), &body.to_string(), "k-1").await.unwrap();
    assert_eq!(created.status, 201, "{}", created.text);
    client.local("pay", json!({"orderId": created.json["orderId"]})).await.unwrap();
    for _ in 0..500 {
        if let Some((headers, body)) = taken.lock().unwrap().first() {
            let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
            let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value)));
            return (headers.collect(), body.clone());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (BTreeMap::new(), String::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_packages_verify_what_is_sent_and_refuse_what_was_altered() {
    let (headers, body) = delivery().await;
    assert!(body.contains("recharge.succeeded"), "nothing was delivered: {body:?}");
    let altered = body.replacen("5000000", "5000001", 1);
    let mut later = headers.clone();
    later.entry("webhook-timestamp".to_owned()).and_modify(|secs| secs.push('0'));
    let mut other = headers.clone();
    other.entry("webhook-id".to_owned()).and_modify(|id| id.push('x'));
    let languages = [
        ("python", PYTHON, "import standardwebhooks"),
        ("node", NODE, "require('standardwebhooks')"),
    ];
    for (language, source, question) in languages {
        if !is_installed(language, question) {
            println!("skipped: standardwebhooks is not installed for {language}: .ci/run does");
            continue;
        }
        let verify = |headers: &BTreeMap<String, String>, body: &str| {
            let given =
                json!({"secret": DEMO_NOTIFICATION_SECRET, "headers": headers, "body": body});
            interpreter(language, source).arg(given.to_string()).output().unwrap()
        };
        let good = verify(&headers, &body);
        let said: Value = serde_json::from_slice(&good.stdout).unwrap_or_default();
        assert_eq!(said, serde_json::from_str::<Value>(&body).unwrap(), "{language}: {good:?}");
        for (headers, body) in [(&headers, &altered), (&later, &body), (&other, &body)] {
            let refused = verify(headers, body);
            let why = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(
                !refused.status.success() && why.contains("WebhookVerificationError"),
                "{language}: {why}"
            );
        }
        println!("verified by standardwebhooks for {language}");
    }
}
