//! Wiring of `webhook` for Lambda.

use std::sync::Arc;

use lambda_http::Error;
use recharge_shared::clock::{Clock, SystemClock};
use recharge_shared::config::{self, Config};
use recharge_shared::http::gateway;
use recharge_shared::telemetry;
use webhook::{Deps, handle};

// A fifth of an invocation is allocating. Without huge pages: their memory is paid for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const _: () = assert!(recharge_shared::bug::MAY_SHIP, "built together with tests/simulate");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let config = Config::from_env().await?;
    let deps = Deps {
        providers: config.providers()?,
        queue: config.settlement_queue()?,
        clock: Arc::new(SystemClock),
        metrics: config::metrics("webhook")?,
    };
    deps.providers.warm_up(SystemClock.now()).await;
    let deps = &deps;
    gateway::run(move |request| handle(deps, request)).await
}
