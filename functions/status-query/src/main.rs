//! Wiring of `status-query` for Lambda.

use std::sync::Arc;

use lambda_http::Error;
use recharge_shared::clock::SystemClock;
use recharge_shared::config::{self, Config};
use recharge_shared::http::gateway;
use recharge_shared::telemetry;
use status_query::{Deps, handle};

// A fifth of an invocation is allocating. Without huge pages: their memory is paid for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const _: () = assert!(recharge_shared::bug::MAY_SHIP, "built together with tests/simulate");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let config = Config::from_env().await?;
    let clock = Arc::new(SystemClock);
    let deps = Deps {
        store: config.store()?,
        auth: config.authenticator()?,
        clock,
        metrics: config::metrics("status-query")?,
    };
    tokio::join!(deps.store.warm_up(), deps.auth.warm_up());
    let deps = &deps;
    gateway::run(move |request| handle(deps, request)).await
}
