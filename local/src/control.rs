//! `/_local/…`: what a tester does to the world around the bundle. Exists on the local stack only.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::sim::trader::Mode;
use crate::stack::Stack;

/// How long a command waits for the settlement queue to run empty before it answers.
const SETTLE_AT_MOST: Duration = Duration::from_secs(5);

/// How often one payment may be confirmed by one command.
const TIMES_MAX: usize = 1_000;

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
struct Advance {
    advance_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetMode {
    mode: Mode,
}

type Answer = (StatusCode, axum::Json<Value>);

/// Carries out one command.
pub async fn handle(stack: &Stack, method: &Method, command: &str, body: &[u8]) -> Answer {
    let done = match (method.as_str(), command) {
        ("GET", "state") => stack.state(),
        ("POST", "pay") => pay(stack, body).await,
        ("POST", "poll") => poll(stack).await,
        ("POST", "clock") => clock(stack, body),
        ("POST", _) if command.starts_with("provider/") => provider(stack, command, body),
        _ => return refuse(StatusCode::NOT_FOUND, "no such command"),
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

async fn pay(stack: &Stack, body: &[u8]) -> Result<Value, String> {
    let Pay { order_id, amount, times, silent } = read(body)?;
    let times = times.unwrap_or(1);
    if !(1..=TIMES_MAX).contains(&times) {
        return Err(format!("times must be from 1 to {TIMES_MAX}"));
    }
    let (callback, paid) = stack.pay(&order_id, amount)?;
    let deliveries = if silent { 0 } else { times };
    let answers = stack.deliver(&callback, deliveries).await;
    if !silent {
        stack.settle_down(SETTLE_AT_MOST).await;
    }
    Ok(json!({"orderId": order_id, "amount": paid, "callbacks": answers}))
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
    stack.ground.clock.advance(advance_seconds.saturating_mul(1_000));
    Ok(json!({"now": stack.ground.clock.now_ms().div_euclid(1_000)}))
}

fn provider(stack: &Stack, command: &str, body: &[u8]) -> Result<Value, String> {
    let name = command.trim_start_matches("provider/");
    if name != stack.names.default_provider {
        return Err(format!("no simulated provider {name:?}"));
    }
    let SetMode { mode } = read(body)?;
    stack.trader.set_mode(mode);
    Ok(json!({"provider": name, "mode": mode}))
}
