//! Wiring of `admin` for Lambda.

use std::sync::Arc;

use admin::{Deps, handle};
use lambda_http::Error;
use recharge_shared::clock::SystemClock;
use recharge_shared::config::{self, Config};
use recharge_shared::http::gateway;
use recharge_shared::telemetry;

// A fifth of an invocation is allocating. Without huge pages: their memory is paid for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const _: () = assert!(recharge_shared::bug::MAY_SHIP, "built together with tests/simulate");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let config = Config::from_env().await?;
    let deps = Deps {
        store: config.store()?,
        auth: config.signatures()?,
        queue: config.settlement_queue()?,
        two_from: config::number("REVIEW_TWO_FROM")?,
        operator: config::operator(),
        clock: Arc::new(SystemClock),
        metrics: config::metrics("admin")?,
    };
    tokio::join!(deps.store.warm_up(), deps.auth.warm_up());
    let deps = &deps;
    gateway::run(move |request| handle(deps, request)).await
}
