//! Wiring of `callback-worker` for Lambda.

use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use callback_worker::{Deps, handle};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use recharge_shared::app::merchants::Merchants;
use recharge_shared::clock::SystemClock;
use recharge_shared::config::{self, Config};
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
    let policies = config::policies()?;
    let asks = policies.values().any(|policy| policy.confirm_from.is_some());
    let deps = Deps {
        mode: config.mode(),
        stage: config::stage()?,
        merchants: Merchants::new(store.clone()),
        store,
        providers: asks.then(|| config.providers()).transpose()?,
        two_from: config::number("REVIEW_TWO_FROM")?,
        policies,
        notifications: config.notification_queue()?,
        dead_letters: config.dead_letters()?,
        tries_max: config::number("SETTLEMENT_TRIES_MAX")?,
        clock: Arc::new(SystemClock),
        metrics: config::metrics("callback-worker")?,
    };
    deps.store.warm_up().await;
    let deps = &deps;
    run(service_fn(move |event: LambdaEvent<SqsEvent>| handle(deps, event))).await
}
