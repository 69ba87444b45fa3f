//! The settings of a `payprotocol` account. Every point that the provider's contract leaves open is one of
//! them; so is the list of currencies that are credited, because ids differ between environments.

use std::collections::{BTreeMap, BTreeSet};

use http::Uri;
use serde::Deserialize;

use crate::domain::{Currency, Policy};
use crate::providers::settings::{SettingsError, stays_here};

/// The most path candidates that a callback's signature is tried against.
const CALLBACK_PATHS_MAX: usize = 4;
const CALLBACK_PATH_BYTES_MAX: usize = 512;
/// The contract's limit on a page.
const PAGE_SIZE_MAX: u32 = 500;
/// As long as a create may stay with a provider; a look of the poller has 18 s.
const CALL_TIMEOUT_MS_MAX: u64 = 7_500;
/// A thousand whole units, in minor ones.
const CONFIRM_FROM: u64 = 1_000_000_000;
/// More decimals than a 38-digit amount has digits would say nothing.
const DECIMALS_MAX: u32 = 38;

/// A currency that is credited, as the provider describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// The provider's own number of the chain; not the chain's id anywhere else.
    pub chain_id: i32,
    /// The chain's name in our answers, such as `TRON`; 1 to 32 of `[A-Za-z0-9]`.
    pub network: String,
    /// The provider's number of the currency.
    pub currency_id: i32,
    /// The provider's symbol; anybody can call a token so, so it only serves to compare.
    pub symbol: String,
    /// The token's contract address; empty for a chain's own coin.
    pub contract: String,
    /// Decimals of the provider's amounts in this currency.
    pub decimals: u32,
    /// Our code of the currency that is credited.
    pub currency: String,
}

/// The settings of one account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Our account there, sent as `X-PAY-KEY`: 1 to 32 of `[A-Za-z0-9_-]`.
    pub api_key: String,
    /// What the account is called in what is stored, 1 to 32 of `[A-Za-z0-9_-]`; without it the `api_key`. Part of
    /// every payment's identity and of every deposit address: when the provider gives the account another `api_key`,
    /// the first one stays here.
    #[serde(default)]
    pub account: Option<String>,
    /// Scheme, host and the prefix that is signed with every path, without a slash at the end:
    /// `https://api.payprotocol.network/api/mer`.
    pub base_url: String,
    /// Lets `base_url` be plain HTTP on this machine; for the local stack.
    #[serde(default)]
    pub allow_http: bool,
    /// What the provider may sign a callback with as its path: the path and query that are registered
    /// there first, then others.
    pub callback_paths: Vec<String>,
    /// Lets one of `callback_paths` be empty.
    #[serde(default)]
    pub allow_empty_callback_path: bool,
    /// How far a callback's timestamp may be off, in seconds: a retry may carry the first one's.
    #[serde(default = "callback_window")]
    pub callback_window_seconds: u32,
    /// The query parameter that names a user: the provider's pages disagree on its case.
    #[serde(default = "uuid_parameter")]
    pub uuid_parameter: String,
    /// The codes that mean "no such user" and "no such recharge". Without it every code but 200 means that the user
    /// is not known, save 401, 403 and 429: one who is not there is met all the time. Of a recharge only 404 does: the
    /// provider itself has told us of it, and "busy" shall not make it a matter for a person.
    #[serde(default)]
    pub not_found_codes: Option<Vec<i64>>,
    /// What is credited; anything else is left to a person.
    pub currencies: Vec<Listed>,
    /// Records on a page of a list.
    #[serde(default = "page_size")]
    pub page_size: u32,
    /// From the start of a call to the last byte of its answer, in milliseconds.
    #[serde(default = "timeout")]
    pub call_timeout_ms: u64,
    /// What to do with money that does not match.
    #[serde(default)]
    pub policy: Policy,
}

impl Settings {
    /// Refuses what could not work or would not be safe.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let api_key = is_word(&self.api_key, b"_-");
        require(api_key, "api_key must be 1 to 32 of [A-Za-z0-9_-]")?;
        let account = is_word(self.account(), b"_-");
        require(account, "account must be 1 to 32 of [A-Za-z0-9_-]")?;
        require(
            self.is_base_url(),
            "base_url must be https://host[:port][/path]; http is for this machine, if allowed",
        )?;
        self.check_callbacks()?;
        let parameter = is_word(&self.uuid_parameter, b"_-");
        require(parameter, "uuid_parameter must be 1 to 32 of [A-Za-z0-9_-]")?;
        let codes = self.not_found_codes.as_ref();
        let failures = codes.is_none_or(|codes| !codes.is_empty() && !codes.contains(&200));
        require(failures, "not_found_codes must name codes other than 200")?;
        let page_size = (1..=PAGE_SIZE_MAX).contains(&self.page_size);
        require(page_size, "page_size must be 1 to 500")?;
        let in_time = (1..=CALL_TIMEOUT_MS_MAX).contains(&self.call_timeout_ms);
        require(in_time, "call_timeout_ms must be 1 to 7500")?;
        self.check_currencies()
    }

    /// What to do with money that does not match. A deposit has no order that could tell a forged one from a genuine one:
    /// from a thousand units on the provider is asked, unless the settings name another amount.
    pub fn policy(&self) -> Policy {
        let confirm_from = self.policy.confirm_from.or(Some(CONFIRM_FROM));
        Policy { confirm_from, ..self.policy }
    }

    /// What the account is called in what is stored.
    pub fn account(&self) -> &str {
        self.account.as_ref().unwrap_or(&self.api_key)
    }

    fn is_base_url(&self) -> bool {
        let Ok(uri) = self.base_url.parse::<Uri>() else { return false };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = uri.host().unwrap_or("");
        let bare = !host.is_empty() && !authority.contains('@') && !self.base_url.ends_with('/');
        let unreserved = self.path_prefix().bytes().all(|b| b == b'/' || is_unreserved(b));
        match uri.scheme_str() {
            Some("https") => bare && unreserved,
            Some("http") => bare && unreserved && self.allow_http && stays_here(host),
            _ => false,
        }
    }

    fn check_callbacks(&self) -> Result<(), SettingsError> {
        let paths = &self.callback_paths;
        let few = (1..=CALLBACK_PATHS_MAX).contains(&paths.len());
        require(few, "callback_paths must name 1 to 4 paths")?;
        let distinct: BTreeSet<&String> = paths.iter().collect();
        require(distinct.len() == paths.len(), "callback_paths names a path twice")?;
        let spelt = |path: &String| match path.as_str() {
            "" => self.allow_empty_callback_path,
            path => {
                path.starts_with('/')
                    && path.len() <= CALLBACK_PATH_BYTES_MAX
                    && path.bytes().all(|b| b.is_ascii_graphic())
            }
        };
        require(
            paths.iter().all(spelt),
            "a callback path must begin with a slash; the empty one has to be allowed",
        )?;
        require(self.callback_window_seconds > 0, "callback_window_seconds must be positive")
    }

    fn check_currencies(&self) -> Result<(), SettingsError> {
        require(!self.currencies.is_empty(), "currencies names none")?;
        let mut pairs = BTreeSet::new();
        let mut by_chain: BTreeMap<i32, &str> = BTreeMap::new();
        for listed in &self.currencies {
            require(is_word(&listed.network, b""), "network must be 1 to 32 of [A-Za-z0-9]")?;
            require(listed.decimals <= DECIMALS_MAX, "decimals is above 38")?;
            require(!listed.symbol.is_empty(), "symbol is empty")?;
            let known = Currency::parse(&listed.currency).is_some();
            require(known, "currency is not in the table")?;
            let pair = (listed.chain_id, listed.currency_id);
            require(pairs.insert(pair), "currencies names one twice")?;
            let named = by_chain.insert(listed.chain_id, &listed.network);
            let same = named.is_none_or(|named| named == listed.network);
            require(same, "currencies gives one chain two names")?;
        }
        let networks: BTreeSet<&&str> = by_chain.values().collect();
        require(networks.len() == by_chain.len(), "currencies gives two chains one name")
    }

    /// The part of `base_url` that is signed: everything after the host.
    pub(super) fn path_prefix(&self) -> &str {
        let after_scheme = self.base_url.find("://").map_or(0, |at| at + 3);
        let path = self.base_url[after_scheme..].find('/');
        path.map_or("", |at| &self.base_url[after_scheme + at..])
    }

    /// The name of a chain that is on the list.
    pub(super) fn network(&self, chain_id: i32) -> Option<&str> {
        let listed = self.currencies.iter().find(|listed| listed.chain_id == chain_id);
        listed.map(|listed| listed.network.as_str())
    }

    /// Whether a code of the provider's means that it does not know the user.
    pub(super) fn means_no_user(&self, code: i64) -> bool {
        match &self.not_found_codes {
            Some(codes) => codes.contains(&code),
            None => is_about_the_matter(code),
        }
    }

    /// Whether it means that it does not know the recharge.
    pub(super) fn means_no_recharge(&self, code: i64) -> bool {
        match &self.not_found_codes {
            Some(codes) => codes.contains(&code),
            None => code == 404,
        }
    }
}

/// A refused key, a forbidden sender and too many requests say nothing about what was asked for.
pub(super) fn is_about_the_matter(code: i64) -> bool {
    ![200, 401, 403, 429].contains(&code)
}

/// What goes into a path or a query without an escape, which the two sides might spell differently.
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_word(text: &str, extra: &[u8]) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
}

fn require(holds: bool, otherwise: &str) -> Result<(), SettingsError> {
    if holds { Ok(()) } else { Err(SettingsError::new(otherwise)) }
}

fn callback_window() -> u32 {
    900
}

fn uuid_parameter() -> String {
    "uuid".to_owned()
}

fn page_size() -> u32 {
    PAGE_SIZE_MAX
}

fn timeout() -> u64 {
    5_000
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn usdt(chain_id: i32, network: &str, currency_id: i32) -> Value {
        json!({"chain_id": chain_id, "network": network, "currency_id": currency_id, "symbol": "USDT",
               "contract": "TCONTRACT", "decimals": 6, "currency": "USDT"})
    }

    fn check(change: &Value) -> Result<(), String> {
        let mut all = json!({
            "api_key": "PPTEST01",
            "base_url": "https://payprotocol.invalid/api/mer",
            "callback_paths": ["/recharges/callback/payprotocol"],
            "currencies": [usdt(136, "TRON", 17)],
        });
        for (name, value) in change.as_object().unwrap() {
            all[name] = value.clone();
        }
        let settings = serde_json::from_value::<Settings>(all).map_err(|_| "unreadable")?;
        settings.check().map_err(|error| error.to_string())
    }

    #[test]
    fn what_works_is_accepted() {
        for change in [
            json!({}),
            json!({"base_url": "https://payprotocol.invalid"}),
            json!({"base_url": "http://127.0.0.1:9000/api/mer", "allow_http": true}),
            json!({"callback_paths": ["/a?m=1", "/a", ""], "allow_empty_callback_path": true}),
            json!({"currencies": [usdt(136, "TRON", 17), usdt(136, "TRON", 18)]}),
            json!({"currencies": [usdt(136, "TRON", 17), usdt(101, "BSC", 17)]}),
            json!({"uuid_parameter": "UUID", "not_found_codes": [404, 500]}),
            json!({"account": "PPFIRST1"}),
        ] {
            assert_eq!(check(&change), Ok(()), "{change}");
        }
    }

    #[test]
    fn what_could_not_work_or_would_not_be_safe_is_refused() {
        let with = |name: &str, value: Value| {
            let mut entry = usdt(136, "TRON", 17);
            entry[name] = value;
            json!({"currencies": [entry]})
        };
        for (change, reason) in [
            (json!({"typo": 1}), "unreadable"),
            (json!({"api_key": "A#B"}), "api_key"),
            (json!({"account": "A#B"}), "account"),
            (json!({"account": ""}), "account"),
            (json!({"base_url": "http://payprotocol.invalid/api/mer"}), "base_url"),
            (json!({"base_url": "http://payprotocol.example", "allow_http": true}), "base_url"),
            (json!({"base_url": "https://a@payprotocol.example/api"}), "base_url"),
            (json!({"base_url": "https://payprotocol.example/api/mer/"}), "base_url"),
            (json!({"base_url": "https://payprotocol.example/api?x=1"}), "base_url"),
            (json!({"callback_paths": []}), "1 to 4"),
            (json!({"callback_paths": ["/1", "/2", "/3", "/4", "/5"]}), "1 to 4"),
            (json!({"callback_paths": ["/a", "/a"]}), "twice"),
            (json!({"callback_paths": ["a"]}), "slash"),
            (json!({"callback_paths": ["/a b"]}), "slash"),
            (json!({"callback_paths": ["/a", ""]}), "slash"),
            (json!({"callback_window_seconds": 0}), "callback_window_seconds"),
            (json!({"uuid_parameter": "a&b"}), "uuid_parameter"),
            (json!({"not_found_codes": [200]}), "not_found_codes"),
            (json!({"not_found_codes": []}), "not_found_codes"),
            (json!({"page_size": 501}), "page_size"),
            (json!({"call_timeout_ms": 0}), "call_timeout_ms"),
            (json!({"call_timeout_ms": 7_501}), "call_timeout_ms"),
            (json!({"currencies": []}), "names none"),
            (json!({"currencies": [usdt(136, "TRON", 17), usdt(136, "TRON", 17)]}), "twice"),
            (json!({"currencies": [usdt(136, "TRON", 17), usdt(136, "ETH", 18)]}), "two names"),
            (json!({"currencies": [usdt(136, "TRON", 17), usdt(101, "TRON", 17)]}), "one name"),
            (with("network", json!("chain-136")), "network"),
            (with("decimals", json!(39)), "decimals"),
            (with("currency", json!("TRX")), "currency"),
            (with("symbol", json!("")), "symbol"),
            (with("chain_id", json!("136")), "unreadable"),
        ] {
            let found = check(&change);
            let refused = found.as_ref().is_err_and(|found| found.contains(reason));
            assert!(refused, "{change}: {found:?}");
        }
    }
}
