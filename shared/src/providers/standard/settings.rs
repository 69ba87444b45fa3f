//! The settings of a `standard` account.

use serde::Deserialize;

use crate::domain::{Currency, Policy};
use crate::providers::settings::SettingsError;

/// The settings of one account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Our account there: 1 to 32 of `[A-Za-z0-9_-]`. Part of every payment's identity.
    pub account: String,
    /// Scheme and host, without a slash at the end.
    pub base_url: String,
    /// Lets `base_url` be plain HTTP; for the local stack.
    #[serde(default)]
    pub allow_http: bool,
    /// Where orders are registered.
    #[serde(default = "order_path")]
    pub order_path: String,
    /// Where an order is asked for.
    #[serde(default = "query_path")]
    pub query_path: String,
    /// The currency of the account.
    pub currency: String,
    /// Whether real money is moved; events of the other kind are put aside, answers of it say nothing.
    #[serde(default = "yes")]
    pub livemode: bool,
    /// How far an event's timestamp may be off, in seconds.
    #[serde(default = "window")]
    pub window_seconds: u32,
    /// From the start of a call to the last byte of its answer, in milliseconds.
    #[serde(default = "timeout")]
    pub call_timeout_ms: u64,
    /// What to do with money that does not match.
    #[serde(default)]
    pub policy: Policy,
}

impl Settings {
    /// Refuses what could not work or would not be safe; gives the account's currency.
    pub(super) fn check(&self) -> Result<Currency, SettingsError> {
        let refuse = |why: &str| Err(SettingsError::new(why));
        let account = (1..=32).contains(&self.account.len())
            && self.account.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !account {
            return refuse("account must be 1 to 32 of [A-Za-z0-9_-]");
        }
        let https = self.base_url.starts_with("https://");
        let http = self.allow_http && self.base_url.starts_with("http://");
        if !https && !http {
            return refuse("base_url must be https");
        }
        if !self.order_path.starts_with('/') || !self.query_path.starts_with('/') {
            return refuse("a path must begin with a slash");
        }
        // As long as a create may stay with a provider; a look of the poller, of two calls, has 18 s.
        if !(1..=7_500).contains(&self.call_timeout_ms) {
            return refuse("call_timeout_ms must be 1 to 7500");
        }
        let currency = Currency::parse(&self.currency);
        currency.ok_or_else(|| SettingsError::new("currency is not in the table"))
    }
}

fn order_path() -> String {
    "/orders".to_owned()
}

fn query_path() -> String {
    "/orders/query".to_owned()
}

const fn yes() -> bool {
    true
}

const fn window() -> u32 {
    300
}

const fn timeout() -> u64 {
    5_000
}
