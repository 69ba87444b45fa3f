//! Wiring of `create-order` for Lambda.

use std::sync::Arc;

use create_order::{Deps, handle};
use lambda_http::Error;
use recharge_shared::app::admission::Admission;
use recharge_shared::clock::{Clock, SystemClock};
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
    let store = config.store()?;
    let deps = Deps {
        admission: Admission::new(store.clone()),
        store,
        notifications: config.notification_queue()?,
        rules: config::egress_rules()?,
        auth: config.authenticator()?,
        providers: config.providers()?,
        clock: Arc::new(SystemClock),
        metrics: config::metrics("create-order")?,
    };
    let now = SystemClock.now();
    tokio::join!(deps.store.warm_up(), deps.auth.warm_up(), deps.providers.warm_up(now));
    let deps = &deps;
    gateway::run(move |request| handle(deps, request)).await
}
