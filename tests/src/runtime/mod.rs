//! A function's real binary as Lambda runs it: a process with Lambda's environment and the
//! template's settings, under a Runtime API, with the embedded services and the simulated provider
//! on ports. What the process prints is held to the rules of the log.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a scene that cannot be set up ends the test"
)]

mod api;
mod events;
mod log;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lambda_http::{Body, Response};
use recharge_local::aws::template::{Function, Template};
use recharge_local::aws::{SharedClock, server};
use recharge_local::functions::HttpFunction;
use recharge_local::sim::payprotocol::{self, SimPayProtocol};
use recharge_local::sim::receiver::SimReceiver;
use recharge_local::sim::trader::{self, SimTrader};
use recharge_local::stack::{Setup, Stack, TRADER_APPID, TRADER_KEY, payprotocol_account};
use recharge_shared::clock::{Clock, SystemClock};
use recharge_shared::domain::Mode;
use recharge_shared::egress::Rules;
use recharge_shared::metrics::{Metrics, Stage};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::api::{Invocation, RuntimeApi};
pub use self::events::{filed_order, sign_anew, sign_callback_anew};
use self::log::Unspeakable;
use crate::Answered;

const TEMPLATE: &str = include_str!("../../../infra/template.yaml");
/// Longer than any answer takes; nothing waits for ever.
const PATIENCE: Duration = Duration::from_secs(20);
/// What signs the process's AWS requests; as little to be seen in a log as a real one.
const AWS_SECRET: &str = "dummy/Secret+Access+Key/0123456789abcdef";
const AWS_SESSION: &str = "dummy-session-token-0123456789";

/// The services that a function's process talks to.
#[derive(Debug)]
pub struct Bench {
    /// The bundle: its services and its provider are the process's too.
    pub stack: Stack,
    template: Template,
    aws_url: String,
}

/// A process that did not come up.
#[derive(Debug)]
pub struct Refused {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed to standard error.
    pub stderr: String,
}

/// A function's process.
#[derive(Debug)]
pub struct Running<'a> {
    function: &'a Function,
    child: Child,
    api: RuntimeApi,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    invocations: u32,
    fed: BTreeSet<String>,
    unspeakable: Unspeakable,
}

impl Bench {
    /// Everything empty, in memory, on the machine's clock.
    pub async fn open() -> Bench {
        let (aws, aws_url) = listen().await;
        let (provider, provider_url) = listen().await;
        let (payprotocol_listener, payprotocol_url) = listen().await;
        let trader = SimTrader::open(TRADER_APPID, TRADER_KEY, None).expect("no file is read");
        let clock = SharedClock::system();
        let account = payprotocol_account("https://recharge.invalid");
        let payprotocol = SimPayProtocol::open(account, clock.clone(), None);
        let payprotocol = payprotocol.expect("no file is read");
        let setup = Setup {
            dir: None,
            clock,
            payprotocol: payprotocol.clone(),
            payprotocol_url,
            door: Arc::new(SystemClock),
            provider_url,
            notify_url: "https://recharge.invalid/recharges/callback/trader".to_owned(),
            lookahead: Duration::ZERO,
            accounts: None,
            rules: Rules::default(),
            way: Arc::new(SimReceiver::default()),
            mode: Mode::Live,
            metrics: Metrics::default(),
        };
        let outbound = Arc::new(trader.outbound());
        let stack = Stack::open(setup, trader.clone(), |aws| aws.http_client(), outbound).await;
        let stack = stack.expect("the bundle opens in memory");
        tokio::spawn(server::serve(aws, stack.ground.aws.clone()));
        tokio::spawn(trader::serve(provider, trader));
        tokio::spawn(payprotocol::serve(payprotocol_listener, payprotocol));
        let parameters = [
            ("ProviderSettings", stack.ground.provider_settings.as_str()),
            // New orders are due, so that a run of the schedule has something to do.
            ("PollLookaheadSeconds", "3600"),
        ];
        let parameters: BTreeMap<String, String> =
            parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let template = Template::read(TEMPLATE, &parameters, &aws_url).expect("it is checked");
        Bench { stack, template, aws_url }
    }

    fn function(&self, binary: &str) -> &Function {
        let name = Path::new(binary).file_stem().and_then(|name| name.to_str());
        let mut functions = self.template.functions.iter();
        let function = functions.find(|function| Some(function.crate_name()) == name);
        function.unwrap_or_else(|| panic!("the template has no function {binary}"))
    }

    /// The process with Lambda's environment and the template's, and nothing else.
    fn command(&self, binary: &str, runtime_api: &str) -> Command {
        let function = self.function(binary);
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
            .env("AWS_LAMBDA_FUNCTION_NAME", function.crate_name())
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mb.to_string())
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "ASIADUMMY")
            .env("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
            .env("AWS_SESSION_TOKEN", AWS_SESSION)
            .env("AWS_ENDPOINT_URL", &self.aws_url)
            .envs(&function.environment)
            // What the functions in this process say of theirs.
            .env("STAGE", Stage::default().as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts `binary`.
    pub async fn start(&self, binary: &str) -> Running<'_> {
        let api = RuntimeApi::serve().await.expect("a port is free");
        let mut child =
            self.command(binary, &api.address.to_string()).spawn().expect("it is built");
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        Running {
            function: self.function(binary),
            child,
            api,
            stdout,
            stderr,
            invocations: 0,
            fed: BTreeSet::new(),
            unspeakable: Unspeakable::new(&[AWS_SECRET, AWS_SESSION]),
        }
    }

    /// Starts `binary` without one of its settings, and waits for its end.
    pub async fn start_without(&self, binary: &str, setting: &str) -> Refused {
        let present = self.function(binary).environment.contains_key(setting);
        assert!(present, "the template does not give {setting} to {binary}");
        let mut command = self.command(binary, "127.0.0.1:9");
        let ended = timeout(PATIENCE, command.env_remove(setting).output()).await;
        let output = ended.unwrap_or_else(|_| panic!("{binary} runs without {setting}"));
        let output = output.expect("it is built");
        Unspeakable::new(&[AWS_SECRET, AWS_SESSION]).check(&text(&output.stdout));
        Refused { code: output.status.code(), stderr: text(&output.stderr) }
    }

    /// `binary` does not come up with `setting` at `value`, and says what is wrong with it.
    pub async fn refuses_to_start_with(&self, binary: &str, (setting, value): (&str, &str)) {
        let mut command = self.command(binary, "127.0.0.1:9");
        let ended = timeout(PATIENCE, command.env(setting, value).output()).await;
        let output = ended.unwrap_or_else(|_| panic!("{binary} runs with {setting}={value}"));
        let output = output.expect("it is built");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{setting}={value}: {stderr}");
        assert!(stderr.contains(setting) && !stderr.contains(value), "the name alone: {stderr}");
    }

    /// `binary` does not come up without any of `settings`, and says which one is missing.
    pub async fn refuses_to_start_without(&self, binary: &str, settings: &[&str]) {
        for setting in settings {
            let Refused { code, stderr } = self.start_without(binary, setting).await;
            assert_eq!(code, Some(1), "without {setting}: {stderr}");
            assert!(stderr.contains(&format!("{setting} is not set")), "{setting}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "no more than that: {stderr}");
        }
    }

    /// Hands a filed HTTP event, signed now, to the function of that name in this process.
    pub async fn in_process(&self, function: HttpFunction, file: &str) -> Response<Body> {
        self.in_process_changed(function, file, |_| {}).await
    }

    /// The same after `change` of its JSON body.
    pub async fn in_process_changed(
        &self,
        function: HttpFunction,
        file: &str,
        change: impl FnOnce(&mut Value),
    ) -> Response<Body> {
        let mut event = events::event(file);
        if let Some(Ok(mut body)) = event["body"].as_str().map(serde_json::from_str::<Value>) {
            change(&mut body);
            event["body"] = body.to_string().into();
        }
        match function {
            HttpFunction::Webhook => sign_callback_anew(&mut event),
            HttpFunction::CreateOrder | HttpFunction::StatusQuery | HttpFunction::Admin => {
                sign_anew(&mut event)
            }
        }
        self.stack.functions.http(function, event).await
    }

    /// The bodies in the settlement queue, oldest first.
    pub fn settlement_messages(&self) -> Vec<String> {
        messages(&self.stack, &self.stack.names.settlement)
    }

    /// The bodies in the dead-letter queue, oldest first.
    pub fn dead_letters(&self) -> Vec<String> {
        messages(&self.stack, &self.stack.names.dead_letters)
    }
}

impl Running<'_> {
    /// The event in `events/<file>`, as filed.
    pub fn event(&mut self, file: &str) -> Value {
        self.fed.insert(file.to_owned());
        events::event(file)
    }

    /// The function's answer to `event`.
    pub async fn invoke(&mut self, event: &Value) -> Value {
        self.unspeakable.learn(event);
        self.invocations += 1;
        let request_id = format!("00000000-0000-4000-8000-{:012}", self.invocations);
        let name = self.function.crate_name();
        let invocation = Invocation {
            request_id: request_id.clone(),
            deadline_ms: SystemClock.now().millis()
                + i64::from(self.function.timeout_seconds) * 1_000,
            function_arn: format!("arn:aws:lambda:us-east-1:000000000000:function:{name}:live"),
            event: event.to_string(),
        };
        let sent = self.api.invocations.send(invocation).await;
        sent.expect("the Runtime API runs as long as the test");
        let answered = tokio::select! {
            answered = timeout(PATIENCE, self.api.outcomes.recv()) => answered,
            ended = self.child.wait() => panic!("{name} has ended: {ended:?}"),
        };
        match answered {
            Ok(Some((id, Ok(body)))) if id == request_id => {
                serde_json::from_slice(&body).expect("an answer is JSON")
            }
            Ok(Some((_, outcome))) => panic!("{name} has failed: {outcome:?}"),
            Ok(None) | Err(_) => panic!("{name} does not answer"),
        }
    }

    /// The function's answer to an HTTP event, as the gateway sends it on.
    pub async fn http(&mut self, event: &Value) -> Answered {
        let answer = self.invoke(event).await;
        assert_eq!(answer["isBase64Encoded"], false);
        let text = answer["body"].as_str().unwrap_or("").to_owned();
        let headers = serde_json::from_value(answer["headers"].clone());
        let headers: HashMap<String, String> = headers.expect("headers are texts");
        let answered = Answered {
            status: answer["statusCode"]
                .as_u64()
                .and_then(|n| n.try_into().ok())
                .expect("a status"),
            headers: (&headers).try_into().expect("headers"),
            json: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        };
        let trace = answered.headers.get("x-trace-id").and_then(|trace| trace.to_str().ok());
        assert_eq!(trace, event["requestContext"]["requestId"].as_str(), "the gateway's own id");
        if answered.status >= 400 {
            let form = ["errorCode", "message", "details", "traceId"];
            assert!(form.iter().all(|name| answered.json.get(name).is_some()), "{}", answered.text);
            assert_eq!(answered.headers["content-type"], "application/problem+json");
        }
        answered
    }

    /// Ends the process as Lambda does, without asking it. Gives its log lines, after each has been
    /// held to the rules. All files of the function must have been fed.
    pub async fn stop(mut self) -> Vec<Value> {
        assert_eq!(
            self.fed,
            events::claimed_by(self.function.crate_name()),
            "files of the function"
        );
        self.child.start_kill().expect("the process still runs");
        let ended = timeout(PATIENCE, async {
            self.child.wait().await.expect("the process ends");
            (self.stdout.await, self.stderr.await)
        });
        let (stdout, stderr) = ended.await.expect("a killed process ends");
        assert_eq!(stderr.expect("standard error is read"), "", "standard error");
        let (log, metrics) = self.unspeakable.check(&stdout.expect("standard output is read"));
        let of_table = |line: &Value| line.get("ReadUnits").or(line.get("WriteUnits")).is_some();
        let knows_no_table = !self.function.environment.contains_key("TABLE_NAME");
        assert!(!metrics.is_empty() && (knows_no_table || metrics.iter().any(of_table)));
        log
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let address = listener.local_addr().expect("a bound port has an address");
    (listener, format!("http://{address}"))
}

fn collect(stream: Option<impl AsyncRead + Send + Unpin + 'static>) -> JoinHandle<String> {
    let mut stream = stream.expect("the stream is a pipe");
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("a pipe reads");
        text(&bytes)
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn messages(stack: &Stack, queue: &str) -> Vec<String> {
    let view = stack.ground.aws.queues().view(queue).expect("the template has the queue");
    view.messages.into_iter().map(|message| message.body).collect()
}
