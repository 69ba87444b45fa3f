//! A bundle in a process of its own, and what the tests ask it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use recharge_local::call::{API_KEYS, ApiKey, Client, Reply};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

pub const RECHARGE: &str = env!("CARGO_BIN_EXE_recharge");
pub const DEMO: ApiKey = API_KEYS[0];

/// A directory that goes with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("recharge-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn recharge(arguments: &[&str]) -> Command {
    let mut command = Command::new(RECHARGE);
    command.args(arguments).env("RUST_LOG", "error").stdin(Stdio::null());
    command
}

/// A process that serves. Killed with `kill -9` when it goes out of scope.
pub struct Bundle {
    pub child: Child,
    pub url: String,
    pub aws_url: String,
    /// Everything it said until it served.
    pub welcome: String,
}

impl Bundle {
    /// On a port that it can have again after a restart.
    pub fn start(dir: &Path) -> Bundle {
        Bundle::start_on(&lasting_port().to_string(), &["--data", dir.to_str().unwrap()])
    }

    pub fn start_on(port: &str, state: &[&str]) -> Bundle {
        let ports = ["--port", port, "--aws-port", "0"];
        let mut child = recharge(&[&ports, state].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let mut welcome = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !welcome.contains("\n  logs ") {
            let read = out.read_line(&mut welcome).unwrap();
            assert_ne!(read, 0, "it ended after saying {welcome:?}");
        }
        let url = welcome.lines().next().unwrap().strip_prefix("ready ").unwrap().to_owned();
        let aws_url = after(&welcome, "  AWS ").split(' ').next().unwrap().to_owned();
        Bundle { child, url, aws_url, welcome }
    }

    pub fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap()
    }

    pub fn client(&self) -> Client {
        Client::new(self.url.clone())
    }

    /// `SIGKILL`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// `SIGKILL`, and the same data directory and port again.
    pub fn kill_and_restart(mut self, dir: &Path) -> Bundle {
        self.kill();
        Bundle::start_on(self.port(), &["--data", dir.to_str().unwrap()])
    }

    pub async fn stop(mut self, signal: &str) -> ExitStatus {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        ended(&mut self.child).await
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port below those that systems give to whoever asks for any: nobody takes it in between.
fn lasting_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 10;
    loop {
        let port = first + TAKEN.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The rest of the line that starts with `start`.
pub fn after<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(start)).unwrap().trim()
}

pub async fn ended(child: &mut Child) -> ExitStatus {
    let ended = async {
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), ended).await.unwrap()
}

/// Exit code, output and errors of a run that ends by itself.
pub async fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = recharge(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let code = ended(&mut child).await.code().unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(output.stdout), text(output.stderr))
}

pub async fn create(client: &Client, user: &str, key: &str) -> Result<Reply, String> {
    let body = json!({"userId": user, "amount": 5_000_000, "currency": "USDT"}).to_string();
    client.signed(DEMO, ("POST", "/recharges"), &body, key).await
}

pub fn order_of(reply: &Reply) -> String {
    reply.json["orderId"].as_str().unwrap().to_owned()
}

pub async fn get(client: &Client, path: &str) -> Value {
    client.signed(DEMO, ("GET", path), "", "").await.unwrap().json
}

pub async fn status(client: &Client, order: &str) -> String {
    let order = get(client, &format!("/recharges/{order}")).await;
    order["status"].as_str().unwrap_or_default().to_owned()
}

pub async fn state(client: &Client) -> Value {
    client.local("state", Value::Null).await.unwrap()
}

/// Waits for an empty queue, much shorter than a visibility timeout; the state then.
pub async fn drained(client: &Client) -> Value {
    let empty = async {
        loop {
            let state = state(client).await;
            let queue = &state["queues"]["settlement"];
            if queue["visible"] == 0 && queue["inFlight"] == 0 {
                return state;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), empty).await.unwrap()
}

#[track_caller]
pub fn check_books(state: &Value) {
    let successes = state["ordersByStatus"]["SUCCESS"].as_u64().unwrap_or(0);
    let held = state["ledgerBalanced"] == true
        && state["credits"] == successes
        && state["queues"]["settlement"]["dead"] == 0
        && state["parked"] == 0;
    assert!(held, "{state}");
}

/// An ordinary SDK client at the AWS port.
pub fn sqs(bundle: &Bundle) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_sqs::config::Region::from_static("eu-west-3"))
        .endpoint_url(&bundle.aws_url)
        .credentials_provider(aws_sdk_sqs::config::Credentials::new("a", "b", None, None, "test"));
    aws_sdk_sqs::Client::from_conf(config.build())
}
