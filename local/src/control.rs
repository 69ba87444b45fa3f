//! `/_local/…`: what a tester does to the world around the bundle. Exists on the local stack only.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::sim::payprotocol::{self, Transfer};
use crate::sim::trader::Mode;
use crate::stack::{PAYPROTOCOL, Stack};

/// How long a command waits for the worker to have done what it caused before it answers.
const SETTLE_AT_MOST: Duration = Duration::from_secs(5);

/// How often the state is read at most before it is shown.
const READINGS_MAX: usize = 5;

/// Between two readings: time for the transaction that was in between to be done.
const BETWEEN_READINGS: Duration = Duration::from_millis(10);

/// How often one payment may be confirmed by one command.
const TIMES_MAX: usize = 1_000;

/// What somebody hears who asks for something else.
const COMMANDS: &str =
    "no such command; there are GET state and POST pay, deposit, poll, clock, provider/NAME";

/// The end of year 9999, in seconds since the Unix epoch: no later time can be written down.
const CLOCK_SECONDS_MAX: u64 = 253_402_300_799;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pay {
    order_id: String,
    /// Minor units of the order's currency; the order's amount when absent.
    amount: Option<i64>,
    /// How often the provider confirms this one payment, all at once.
    times: Option<usize>,
    /// Paid, but the callback is lost.
    #[serde(default)]
    silent: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Deposit {
    address: String,
    /// A plain decimal number of the currency, such as `12.5`.
    amount: String,
    /// The provider's symbol of it.
    #[serde(default = "usdt")]
    currency: String,
    /// It arrived, and no callback is ever sent.
    #[serde(default)]
    silent: bool,
}

fn usdt() -> String {
    "USDT".to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Advance {
    advance_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetMode<M> {
    mode: M,
}

type Answer = (StatusCode, axum::Json<Value>);

/// Carries out one command.
pub async fn handle(stack: &Stack, method: &Method, command: &str, body: &[u8]) -> Answer {
    let done = match (method.as_str(), command) {
        ("GET", "state") => state(stack).await,
        ("POST", "pay") => pay(stack, body).await,
        ("POST", "deposit") => deposit(stack, body).await,
        ("POST", "poll") => poll(stack).await,
        ("POST", "clock") => clock(stack, body),
        ("POST", _) if command.starts_with("provider/") => provider(stack, command, body),
        _ => return refuse(StatusCode::NOT_FOUND, COMMANDS),
    };
    match done {
        Ok(answer) => (StatusCode::OK, axum::Json(answer)),
        Err(message) => refuse(StatusCode::BAD_REQUEST, &message),
    }
}

fn refuse(status: StatusCode, message: &str) -> Answer {
    (status, axum::Json(json!({"message": message})))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// The books are read page by page while others write, so one reading may look unbalanced when nothing
/// is wrong: what is wrong is still wrong in the next reading. One that saw the queue change is older
/// than the queue that it shows, and is read again too.
async fn state(stack: &Stack) -> Result<Value, String> {
    let mut depth = stack.depth();
    let mut state = stack.state()?;
    let mut seen = violations(&state);
    for _ in 1..READINGS_MAX {
        if seen.is_empty() && depth == stack.depth() {
            break;
        }
        tokio::time::sleep(BETWEEN_READINGS).await;
        depth = stack.depth();
        state = stack.state()?;
        let before = std::mem::replace(&mut seen, violations(&state));
        let lasting: Vec<&Value> = seen.iter().filter(|found| before.contains(found)).collect();
        state["ledgerBalanced"] = lasting.is_empty().into();
        state["violations"] = json!(lasting);
    }
    Ok(state)
}

fn violations(state: &Value) -> Vec<Value> {
    state["violations"].as_array().cloned().unwrap_or_default()
}

async fn pay(stack: &Stack, body: &[u8]) -> Result<Value, String> {
    let Pay { order_id, amount, times, silent } = read(body)?;
    let times = times.unwrap_or(1);
    if !(1..=TIMES_MAX).contains(&times) {
        return Err(format!("times must be from 1 to {TIMES_MAX}"));
    }
    if amount.is_some_and(|amount| amount < 1) {
        return Err("amount must be positive".to_owned());
    }
    let (callback, paid) = stack.pay(&order_id, amount)?;
    let deliveries = if silent { 0 } else { times };
    let answers = stack.deliver(&callback, deliveries).await;
    if !silent {
        stack.settle_order(&order_id, SETTLE_AT_MOST).await;
    }
    Ok(json!({"orderId": order_id, "amount": paid, "callbacks": answers}))
}

async fn deposit(stack: &Stack, body: &[u8]) -> Result<Value, String> {
    let Deposit { address, amount, currency, silent } = read(body)?;
    let transfer = Transfer { address: &address, amount: &amount, currency: &currency, silent };
    let (deposited, order) = stack.deposit(&transfer)?;
    let mut callbacks = Vec::new();
    if let Some(callback) = &deposited.callback {
        callbacks.push(match stack.payprotocol.deliver(callback).await {
            Ok((status, body)) => json!({"status": status, "body": body}),
            Err(error) => json!({"error": error}),
        });
        stack.settle_order(order.as_str(), SETTLE_AT_MOST).await;
    }
    Ok(json!({
        "rechargeId": deposited.recharge_id,
        "orderId": order.as_str(),
        "network": deposited.network,
        "address": address,
        "currency": currency,
        "units": deposited.units.to_string(),
        "decimals": deposited.decimals,
        "callbacks": callbacks,
    }))
}

async fn poll(stack: &Stack) -> Result<Value, String> {
    let report = stack.poll().await?;
    stack.settle_down(SETTLE_AT_MOST).await;
    Ok(report)
}

fn clock(stack: &Stack, body: &[u8]) -> Result<Value, String> {
    let Advance { advance_seconds } = read(body)?;
    if advance_seconds > 10 * 366 * 86_400 {
        return Err("advanceSeconds is more than ten years".to_owned());
    }
    let now = u64::try_from(stack.ground.clock.now_ms().div_euclid(1_000)).unwrap_or(0);
    if now + advance_seconds > CLOCK_SECONDS_MAX {
        return Err("the clock would pass the year 9999".to_owned());
    }
    stack.ground.clock.advance(advance_seconds.saturating_mul(1_000));
    Ok(json!({"now": stack.ground.clock.now_ms().div_euclid(1_000)}))
}

fn provider(stack: &Stack, command: &str, body: &[u8]) -> Result<Value, String> {
    let name = command.trim_start_matches("provider/");
    if name == PAYPROTOCOL {
        let SetMode::<payprotocol::Mode> { mode } = read(body)?;
        stack.payprotocol.set_mode(mode);
        return Ok(json!({"provider": name, "mode": mode}));
    }
    if name != stack.names.default_provider {
        return Err(format!("no simulated provider {name:?}"));
    }
    let SetMode::<Mode> { mode } = read(body)?;
    stack.trader.set_mode(mode);
    Ok(json!({"provider": name, "mode": mode}))
}
