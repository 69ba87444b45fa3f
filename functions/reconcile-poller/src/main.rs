//! Wiring of `reconcile-poller` for Lambda.

use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use recharge_shared::clock::SystemClock;
use recharge_shared::config::{self, Config};
use recharge_shared::telemetry;
use reconcile_poller::{Deps, handle};
use serde_json::Value;

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
        queue: config.settlement_queue()?,
        notifications: config.notification_queue()?,
        providers: config.providers()?,
        lookahead: Duration::from_secs(config::number("POLL_LOOKAHEAD_SECONDS")?),
        audit_page: config::audit_page()?,
        clock: Arc::new(SystemClock),
        metrics: config::metrics("reconcile-poller")?,
    };
    deps.store.warm_up().await;
    let deps = &deps;
    run(service_fn(move |event: LambdaEvent<Value>| handle(deps, event))).await
}
