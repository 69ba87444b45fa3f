//! `listen` and `exam`: a receiver as it should be passes every exercise, and one that believes everything
//! fails exactly those that a forger would pass.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::json;
use tokio::net::TcpListener;

use crate::bundle::*;

const FORGED: [&str; 6] = [
    "wrong signature",
    "altered body",
    "altered id",
    "missing headers",
    "stale",
    "from the future",
];

/// `recharge listen` on a free port; ends with the test.
struct Listening {
    child: Child,
    url: String,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Listening {
    fn start() -> Listening {
        let mut child =
            recharge(&["listen", "--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().unwrap().unwrap();
        let url = ready.strip_prefix("ready ").unwrap().to_owned();
        Listening { child, url, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exercises that the table calls failed.
fn failed(table: &str) -> Vec<&str> {
    let failed = table.lines().filter_map(|line| line.strip_prefix("FAIL"));
    failed.map(|line| line.trim().split("  ").next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_receiver_passes_the_exam() {
    let mut listening = Listening::start();
    let (code, table, errors) = run(&["exam", &format!("{}/hook?a=1", listening.url)]).await;
    assert_eq!((code, failed(&table)), (0, Vec::new()), "{table}{errors}");
    assert!(table.ends_with("12 of 12 passed\n"), "{table}");
    let first = listening.line();
    assert!(first.starts_with("ok      msg_exam") && first.ends_with("5000000 USDT"), "{first}");
    assert!(!listening.line().contains("duplicate"));
    assert!(listening.line().ends_with("duplicate: nothing to do"));
    assert!(listening.line().contains(" #2 "));
    assert!(listening.line().ends_with("late: older than what came before"));
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_believe_everything_or_nothing_fail_the_right_exercises() {
    for (status, wanted) in [(200, FORGED.to_vec()), (401, Vec::new()), (500, FORGED.to_vec())] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let status = http::StatusCode::from_u16(status).unwrap();
        let router = axum::Router::new().fallback(move |_: bytes::Bytes| async move { status });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (code, table, _) = run(&["exam", &url]).await;
        assert_eq!(code, 1, "{table}");
        let honest = ["valid", "duplicate", "reordered", "rotation", "slow", "retried"];
        let honest = if status == 200 { &[][..] } else { &honest[..] };
        assert_eq!(failed(&table), [honest, &wanted].concat(), "{table}");
    }
    let (code, table, _) = run(&["exam", "http://127.0.0.1:1/"]).await;
    assert_eq!((code, failed(&table).len()), (1, 12), "{table}");
    for wrong in [&["exam", "https://a.example/"][..], &["exam", "http://a/", "--secret", "x"]] {
        assert_eq!(run(wrong).await.0, 1, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bundle_tells_is_heard_by_listen() {
    let mut listening = Listening::start();
    let bundle = Bundle::start_on("0", &["--memory", "--allow-loopback-callbacks"]);
    let client = bundle.client();
    let body = json!({"userId": "u_1", "amount": 5_000_000, "currency": "USDT",
                      "callbackUrl": format!("{}/hook", listening.url)});
    let created =
        client.signed(DEMO, ("POST", "/recharges"), &body.to_string(), "k-1").await.unwrap();
    let order = order_of(&created);
    client.local("pay", json!({"orderId": order})).await.unwrap();
    let told = listening.line();
    assert!(
        told.contains(&format!("recharge.succeeded {order} #1 SUCCESS 5000000 USDT")),
        "{told}"
    );
    let notify = format!("/recharges/{order}/notify");
    let again = client.signed(DEMO, ("POST", &notify), "", "").await.unwrap();
    assert_eq!(again.status, 202, "{}", again.text);
    let again = listening.line();
    assert_eq!(again, format!("{told}  duplicate: nothing to do"));
}
