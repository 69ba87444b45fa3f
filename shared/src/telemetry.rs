//! Logs: one JSON object a line, for `main.rs`. Levels come from `RUST_LOG`.

use tracing_subscriber::EnvFilter;

/// Starts logging to standard output, the way Lambda collects it.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .finish();
    // A second call (in tests) keeps the first subscriber.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
