//! Logs: one JSON object a line, for `main.rs`. Levels come from `RUST_LOG`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts logging to standard output, where Lambda collects it.
pub fn init() {
    start(std::io::stdout);
}

/// Starts logging to standard error, for a program that has something else to say on its output.
pub fn init_on_stderr() {
    start(std::io::stderr);
}

fn start(writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(writer)
        .with_env_filter(filter)
        .finish();
    // A second call (in tests) keeps the first subscriber.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
