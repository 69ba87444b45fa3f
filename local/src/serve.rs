//! `cargo run`: everything in one process, each part on its own port, the state on disk.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use recharge_shared::clock::SystemClock;
use recharge_shared::outbound_hyper::HyperOutbound;
use tokio::net::TcpListener;

use crate::aws::{SharedClock, server};
use crate::call::API_KEYS;
use crate::sim::trader::SimTrader;
use crate::stack::{Setup, Stack, TRADER_APPID, TRADER_KEY};
use crate::{gateway, workers};

/// One minute's tick is looked at as due: a manual `/_local/poll` sees what the next tick would.
const LOOKAHEAD: Duration = Duration::from_secs(60);

/// Serves until the process is told to stop.
pub async fn run(port: u16, aws_port: u16, dir: Option<&Path>) -> Result<(), String> {
    recharge_shared::telemetry::init();
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    let (url, stack) = start(port, dir).await?;
    let listener = listen(aws_port).await?;
    let aws_url = local_url(&listener)?;
    stack.ground.aws.queues().set_base_url(&aws_url);
    tokio::spawn(server::serve(listener, stack.ground.aws.clone()));
    println!("{}", welcome(&url, &aws_url, dir));
    let stopped = tokio::signal::ctrl_c().await;
    stopped.map_err(|error| error.to_string())
}

/// A stack in memory on free ports; its URL and itself.
pub async fn in_memory() -> Result<(String, Arc<Stack>), String> {
    start(0, None).await
}

async fn start(port: u16, dir: Option<&Path>) -> Result<(String, Arc<Stack>), String> {
    let listener = listen(port).await?;
    let url = local_url(&listener)?;
    let trader_listener = listen(0).await?;
    let clock = SharedClock::system();
    let trader = SimTrader::open(TRADER_APPID, TRADER_KEY, dir).map_err(|e| e.to_string())?;
    let setup = Setup {
        dir,
        clock,
        door: Arc::new(SystemClock),
        provider_url: local_url(&trader_listener)?,
        notify_url: format!("{url}/recharges/callback/trader"),
        lookahead: LOOKAHEAD,
    };
    let outbound = Arc::new(HyperOutbound::new(true));
    let stack = Stack::open(setup, trader.clone(), |aws| aws.http_client(), outbound).await?;
    let stack = Arc::new(stack);
    tokio::spawn(crate::sim::trader::serve(trader_listener, trader));
    workers::start(&stack);
    tokio::spawn(gateway::serve(listener, stack.clone()));
    Ok((url, stack))
}

async fn listen(port: u16) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    listener.map_err(|error| format!("port {port}: {error}"))
}

fn local_url(listener: &TcpListener) -> Result<String, String> {
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok(format!("http://{address}"))
}

/// The first line says where; the rest is for whoever sees it for the first time.
fn welcome(url: &str, aws_url: &str, dir: Option<&Path>) -> String {
    let port = url.rsplit(':').next().unwrap_or("9000");
    let option = if port == "9000" { String::new() } else { format!(" --port {port}") };
    let state = dir.map_or_else(|| "in memory".to_owned(), |dir| dir.display().to_string());
    let mut text = format!("ready {url}\n\n");
    for key in API_KEYS {
        let _ =
            writeln!(text, "  API key   {:<6} secret {}   ({})", key.id, key.secret, key.merchant);
    }
    let _ = write!(
        text,
        "  try       cargo run --{option} call POST /recharges '{{\"userId\":\"u_1\",\"amount\":5000000,\"currency\":\"USDT\"}}'\n\
         \x20 then      curl -s {url}/_local/pay -d '{{\"orderId\":\"<orderId>\"}}'\n\
         \x20 look      cargo run --{option} call GET /users/u_1/balances\n\
         \x20 AWS       {aws_url}   (DynamoDB, SQS, Secrets Manager; any region and credentials)\n\
         \x20 state     {state}\n\
         \x20 logs      standard error, JSON lines; RUST_LOG sets the level\n"
    );
    text
}
