//! Logs: one JSON object a line, for `main.rs`. Levels come from `RUST_LOG`: one, or several by
//! target (`info,aws_smithy_runtime=debug`); `info` without a readable one.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::config;

/// Starts logging to standard output, where Lambda collects it.
pub fn init() {
    start(std::io::stdout);
}

/// Starts logging to standard error, for a program that has something else to say on its output.
pub fn init_on_stderr() {
    start(std::io::stderr);
}

fn start(writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static) {
    let levels = config::log_levels().and_then(|levels| levels.parse::<Targets>().ok());
    // A misspelt level reads like the name of a target.
    let levels = levels.unwrap_or_default();
    let levels = match levels.default_level() {
        None => levels.with_default(LevelFilter::INFO),
        Some(_) => levels,
    };
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(writer)
        .with_max_level(LevelFilter::TRACE)
        .finish()
        .with(levels);
    // A second call (in tests) keeps the first subscriber.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
