//! One suite, two back ends: the store, the queues and the secrets on the embedded services and on ministack,
//! an emulator that others have written. Both have to do the same, step by step. Without ministack the second
//! half is skipped, and said so; `.ci/run` installs it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a scene that cannot be set up ends the test"
)]

mod queues;
mod secrets;
mod store;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use bytes::Bytes;
use http::Request;
use recharge_local::aws::template::Template;
use recharge_local::aws::{EmbeddedAws, SharedClock, server};
use recharge_shared::config::Config;
use recharge_shared::outbound::{Limits, Outbound};
use recharge_shared::outbound_hyper::HyperOutbound;
use recharge_shared::store::Store;
use serde_json::Value;
use tokio::net::TcpListener;

const TEMPLATE: &str = include_str!("../../infra/template.yaml");

/// Where ministack does otherwise, and what AWS does: there we keep to AWS.
const KNOWN: [(&str, &str, &str); 1] = [(
    "deleted again: true",
    "deleted again: false",
    "SQS takes a receipt handle of a deleted message without an error",
)];

/// One back end, over TCP.
struct Backend {
    url: String,
    config: Config,
}

/// What a scenario came to, step by step.
#[derive(Default)]
struct Steps(Vec<String>);

impl Steps {
    /// Writes a step down; nothing in it may be the back end's own, like an id or a time.
    fn note(&mut self, what: &str, came_to: impl std::fmt::Debug) {
        self.0.push(format!("{what}: {came_to:?}"));
    }
}

fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "test")
}

impl Backend {
    fn at(url: String) -> Backend {
        let config = Config::of_endpoint(&url, credentials());
        Backend { url, config }
    }

    fn sqs(&self) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(&self.url)
            .credentials_provider(credentials());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// The template's table under another name.
    async fn store(&self, name: &str) -> Store {
        let template = Template::read(TEMPLATE, &Default::default(), &self.url).unwrap();
        let mut create = template.tables[0].create.clone();
        create["TableName"] = name.into();
        let (status, body) = self.raw("DynamoDB_20120810.CreateTable", &create).await;
        assert_eq!(status, 200, "{body}");
        Store::new(self.config.dynamodb(), name.to_owned())
    }

    /// A request as it is, past the SDK.
    async fn raw(&self, target: &str, body: &Value) -> (u16, String) {
        let authorization = "AWS4-HMAC-SHA256 Credential=test/20270101/us-east-1/dynamodb/aws4_request, \
                             SignedHeaders=host, Signature=0";
        let request = Request::post(&self.url)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", authorization)
            .body(Bytes::from(body.to_string()))
            .unwrap();
        let limits = Limits { deadline: Duration::from_secs(20), answer_bytes_max: 1 << 20 };
        let answer = HyperOutbound::new(true).send(request, limits).await.unwrap();
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
    }
}

async fn embedded() -> Backend {
    let aws = EmbeddedAws::open(None, SharedClock::system()).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(server::serve(listener, aws));
    Backend::at(url)
}

/// Ministack while it is needed.
struct Ministack {
    child: Child,
    backend: Backend,
}

impl Drop for Ministack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "where .ci/run puts the package")]
fn binary() -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    let given = std::env::var("RECHARGE_MINISTACK").ok();
    let usual = Path::new(&home).join(".cache/recharge/venv-ministack/bin/ministack");
    given.map_or(usual, PathBuf::from)
}

/// Starts it, if it is installed.
async fn ministack() -> Option<Ministack> {
    let binary = binary();
    if !binary.exists() {
        println!("skipped: {} is not installed", binary.display());
        return None;
    }
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let child = Command::new(binary)
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("MINISTACK_HOST", "127.0.0.1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ministack = Ministack { child, backend: Backend::at(format!("http://127.0.0.1:{port}")) };
    for _ in 0..600 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Some(ministack);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("ministack does not listen after a minute");
}

/// Plays every scenario; what the steps came to.
async fn play(backend: &Backend) -> Vec<String> {
    let mut steps = Steps::default();
    store::play(backend, &mut steps).await;
    queues::play(backend, &mut steps).await;
    secrets::play(backend, &mut steps).await;
    steps.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_embedded_services_and_ministack_do_the_same() {
    let ours = play(&embedded().await).await;
    println!("{}", ours.join("\n"));
    let Some(ministack) = ministack().await else { return };
    let theirs = play(&ministack.backend).await;
    let steps = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs);
    let is_known =
        |ours: &str, theirs: &str| KNOWN.iter().any(|one| (one.0, one.1) == (ours, theirs));
    let (known, differ): (Vec<_>, Vec<_>) =
        steps.partition(|(ours, theirs)| is_known(ours, theirs));
    for (_, theirs, why) in KNOWN {
        println!("known: ministack {theirs}; {why}");
    }
    assert_eq!(known.len(), KNOWN.len(), "a known difference is gone");
    let differ: Vec<String> = differ
        .into_iter()
        .map(|(ours, theirs)| format!("embedded  {ours}\nministack {theirs}"))
        .collect();
    println!("steps={} known={} differences={}", ours.len(), known.len(), differ.len());
    assert_eq!(ours.len(), theirs.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
