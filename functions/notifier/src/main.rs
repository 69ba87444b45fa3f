//! Wiring of `notifier` for Lambda.

use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use notifier::{Deps, Silences, handle};
use recharge_shared::clock::SystemClock;
use recharge_shared::config::{self, Config};
use recharge_shared::egress::WayOut;
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
        keys: config.notification_keys()?,
        way: Arc::new(WayOut::new(config::egress_rules()?)),
        dead_letters: config.notification_dead_letters()?,
        tries_max: config::number("NOTIFICATION_TRIES_MAX")?,
        clock: Arc::new(SystemClock),
        metrics: config::metrics("notifier")?,
        silences: Silences::default(),
    };
    deps.store.warm_up().await;
    let deps = &deps;
    run(service_fn(move |event: LambdaEvent<SqsEvent>| handle(deps, event))).await
}
