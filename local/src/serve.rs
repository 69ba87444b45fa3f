//! `cargo run`: everything in one process, each part on its own port, the state on disk. One process
//! per data directory: a second one is refused.

use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use recharge_shared::clock::{Clock, SystemClock};
use recharge_shared::domain::{IdempotencyKey, MerchantId, Mode, OrderId};
use recharge_shared::egress::{Rules, WayOut};
use recharge_shared::metrics::{Metrics, Stage};
use recharge_shared::outbound_hyper::HyperOutbound;
use tokio::net::TcpListener;

use crate::aws::{SharedClock, server};
use crate::call::API_KEYS;
use crate::listen::Receiver;
use crate::sim::payprotocol::{self, SimPayProtocol};
use crate::sim::trader::SimTrader;
use crate::stack::{
    DEMO_NOTIFICATION_SECRET, Setup, Stack, TRADER_APPID, TRADER_KEY, payprotocol_account,
};
use crate::{gateway, workers};

/// One minute's tick is looked at as due: a manual `/_local/poll` sees what the next tick would.
const LOOKAHEAD: Duration = Duration::from_secs(60);

/// What the person at the keyboard may switch on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switches {
    /// Notifications may go to this machine.
    pub allow_loopback: bool,
    /// Providers are simulated, and nothing is credited.
    pub mode: Mode,
    /// The functions' metrics are printed.
    pub metrics: bool,
}

/// Serves until the process is told to stop.
pub async fn run(
    (port, aws_port): (u16, u16),
    dir: Option<&Path>,
    switches: Switches,
) -> Result<(), String> {
    recharge_shared::telemetry::init_on_stderr();
    let mut stop = Stop::listen().map_err(|error| error.to_string())?;
    // Nothing is touched before it is certain that this process can serve.
    let _held = dir.map(hold).transpose()?;
    let listener = listen(port, "--port").await?;
    let aws_listener = listen(aws_port, "--aws-port").await?;
    let aws_url = local_url(&aws_listener)?;
    let (url, stack) = start(listener, dir, switches).await.map_err(|error| match dir {
        Some(dir) => format!("the data in {} cannot be used: {error}", dir.display()),
        None => error,
    })?;
    stack.ground.aws.queues().set_base_url(&aws_url);
    tokio::spawn(server::serve(aws_listener, stack.ground.aws.clone()));
    say(&welcome(&url, &aws_url, dir));
    stop.wanted().await;
    Ok(())
}

/// Takes notifications on `port` until the process is told to stop; by default the demo merchant's.
pub async fn listen_for_notifications(port: u16, secrets: &[String]) -> Result<(), String> {
    let mut stop = Stop::listen().map_err(|error| error.to_string())?;
    let demo = [DEMO_NOTIFICATION_SECRET.to_owned()];
    let receiver = Receiver::new(if secrets.is_empty() { &demo } else { secrets }, true)?;
    let listener = listen(port, "--port").await?;
    say(&format!("ready {}", local_url(&listener)?));
    tokio::select! {
        served = receiver.serve(listener) => served.map_err(|error| error.to_string()),
        () = stop.wanted() => Ok(()),
    }
}

/// A stack in memory on free ports; its URL and itself.
pub async fn in_memory() -> Result<(String, Arc<Stack>), String> {
    start(listen(0, "--port").await?, None, Switches::default()).await
}

/// The same, with notifications allowed to this machine.
pub async fn in_memory_telling_loopback() -> Result<(String, Arc<Stack>), String> {
    let switches = Switches { allow_loopback: true, ..Switches::default() };
    start(listen(0, "--port").await?, None, switches).await
}

async fn start(
    listener: TcpListener,
    dir: Option<&Path>,
    switches: Switches,
) -> Result<(String, Arc<Stack>), String> {
    let rules = Rules { allow_loopback: switches.allow_loopback, ..Rules::default() };
    let stage = Stage::parse("local").filter(|_| switches.metrics);
    let url = local_url(&listener)?;
    let trader_listener = listen(0, "--port").await?;
    let payprotocol_listener = listen(0, "--port").await?;
    let clock = SharedClock::system();
    let trader = SimTrader::open(TRADER_APPID, TRADER_KEY, dir).map_err(|e| e.to_string())?;
    let payprotocol = SimPayProtocol::open(payprotocol_account(&url), clock.clone(), dir);
    let payprotocol = payprotocol.map_err(|e| e.to_string())?;
    let setup = Setup {
        dir,
        clock,
        door: Arc::new(SystemClock),
        provider_url: local_url(&trader_listener)?,
        notify_url: format!("{url}/recharges/callback/trader"),
        payprotocol: payprotocol.clone(),
        payprotocol_url: local_url(&payprotocol_listener)?,
        lookahead: LOOKAHEAD,
        accounts: None,
        way: Arc::new(WayOut::new(rules.clone())),
        mode: switches.mode,
        metrics: stage.map(Metrics::on_stdout).unwrap_or_default(),
        rules,
    };
    let outbound = Arc::new(HyperOutbound::new(true));
    let stack = Stack::open(setup, trader.clone(), |aws| aws.http_client(), outbound).await?;
    // Whoever was working on these messages died with the former process.
    let released = stack.ground.aws.queues().release_in_flight();
    match released.map_err(|error| error.to_string())? {
        0 => {}
        released => tracing::info!(released, "messages of the former process are visible again"),
    }
    let stack = Arc::new(stack);
    tokio::spawn(crate::sim::trader::serve(trader_listener, trader));
    tokio::spawn(payprotocol::serve(payprotocol_listener, payprotocol.clone()));
    workers::start(&stack);
    tokio::spawn(gateway::serve(listener, stack.clone()));
    // What a former process has not delivered is sent now that there is somebody to take it.
    tokio::spawn(payprotocol.keep_sending(|| SystemClock.now()));
    Ok((url, stack))
}

async fn listen(port: u16, option: &str) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    listener.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("port {port} is taken; {option} N chooses another, {option} 0 any free one")
        }
        _ => format!("port {port}: {error}"),
    })
}

fn local_url(listener: &TcpListener) -> Result<String, String> {
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok(format!("http://{address}"))
}

/// Makes `dir` this process's own for as long as the file is open. The lock goes with the process,
/// however it ends.
fn hold(dir: &Path) -> Result<File, String> {
    let unusable = |error| format!("{} is no usable data directory: {error}", dir.display());
    std::fs::create_dir_all(dir).map_err(unusable)?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let file = file.map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another recharge already serves from {}; stop it, or choose another with --data DIR",
            dir.display()
        )),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// The signals that end the process in an orderly way.
struct Stop {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Stop {
    /// From now on the signals are noticed.
    fn listen() -> std::io::Result<Stop> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Stop { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Stop {
    fn listen() -> std::io::Result<Stop> {
        Ok(Stop {})
    }

    async fn wanted(&mut self) {
        // Without a handler the system's own one ends the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whoever has closed our output does not want to hear it: no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// The first line says where; the rest is for whoever sees it for the first time, and works when pasted
/// as it is: the key decides the order's id.
fn welcome(url: &str, aws_url: &str, dir: Option<&Path>) -> String {
    const KEY: &str = "first-1";
    let port = url.rsplit(':').next().unwrap_or("9000");
    let option = if port == "9000" { String::new() } else { format!(" --port {port}") };
    let state = dir.map_or_else(|| "in memory".to_owned(), |dir| dir.display().to_string());
    let order = MerchantId::parse(API_KEYS[0].merchant).zip(IdempotencyKey::parse(KEY));
    let order = order.map(|(merchant, key)| OrderId::derive(&merchant, &key));
    let order = order.as_ref().map_or("", OrderId::as_str);
    let mut text = format!("ready {url}\n\n");
    for key in API_KEYS {
        let _ =
            writeln!(text, "  API key   {:<6} secret {}   ({})", key.id, key.secret, key.merchant);
    }
    let _ = write!(
        text,
        "  try       cargo run --{option} call POST /recharges '{{\"userId\":\"u_1\",\"amount\":5000000,\"currency\":\"USDT\"}}' --key {KEY}\n\
         \x20 then      curl -s {url}/_local/pay -d '{{\"orderId\":\"{order}\"}}'\n\
         \x20 look      cargo run --{option} call GET /users/u_1/balances\n\
         \x20 AWS       {aws_url}   (DynamoDB, SQS, Secrets Manager; any region and credentials)\n\
         \x20 state     {state}\n\
         \x20 logs      standard error, JSON lines; RUST_LOG sets the level\n"
    );
    text
}
