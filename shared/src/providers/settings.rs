//! The non-secret settings of all providers, one JSON document: `{"<name>": {…}}`. What each member
//! means stands with the adapter that reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::app::settle::Policies;
use crate::domain::{Policy, ProviderName};
use crate::outbound::Outbound;
use crate::providers::Provider;
use crate::providers::payprotocol::{self, PayProtocol};
use crate::providers::standard::{self, Standard};
use crate::providers::trader::{self, Trader};
use crate::secrets::{ProviderKeys, ProviderKeysDocument, Secret};

/// What is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(String);

impl SettingsError {
    pub(super) fn new(why: &str) -> SettingsError {
        SettingsError(why.to_owned())
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

/// One provider's settings, by the member `kind`: `trader` (also without it), `standard` or
/// `payprotocol`.
#[derive(Debug, Clone)]
enum Account {
    Trader(Box<trader::Settings>),
    Standard(Box<standard::Settings>),
    PayProtocol(Box<payprotocol::Settings>),
}

impl Account {
    fn read(mut value: Value) -> Result<Account, SettingsError> {
        let kind = value.as_object_mut().and_then(|members| members.remove("kind"));
        let kind = kind.unwrap_or_else(|| "trader".into());
        let read = match kind.as_str() {
            Some("trader") => serde_json::from_value(value).map(Account::Trader),
            Some("standard") => serde_json::from_value(value).map(Account::Standard),
            Some("payprotocol") => serde_json::from_value(value).map(Account::PayProtocol),
            _ => return Err(SettingsError::new("kind must be trader, standard or payprotocol")),
        };
        read.map_err(|error| SettingsError(error.to_string()))
    }

    const fn allow_http(&self) -> bool {
        match self {
            Account::Trader(settings) => settings.allow_http,
            Account::Standard(settings) => settings.allow_http,
            Account::PayProtocol(settings) => settings.allow_http,
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Account::Trader(settings) => settings.policy,
            Account::Standard(settings) => settings.policy,
            Account::PayProtocol(settings) => settings.policy(),
        }
    }
}

/// The settings of every configured provider.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    accounts: BTreeMap<ProviderName, Account>,
}

impl ProviderSettings {
    /// Reads the document; an unknown member is an error.
    pub fn parse(json: &str) -> Result<ProviderSettings, SettingsError> {
        let entries: BTreeMap<String, Value> =
            serde_json::from_str(json).map_err(|error| SettingsError(error.to_string()))?;
        let named = |(name, settings): (String, Value)| {
            let named = ProviderName::parse(&name)
                .ok_or_else(|| SettingsError(format!("{name:?} is no provider name")))?;
            let account = Account::read(settings);
            let account = account.map_err(|error| SettingsError(format!("{name}: {error}")))?;
            Ok((named, account))
        };
        let accounts = entries.into_iter().map(named).collect::<Result<_, _>>()?;
        is_each_once(&accounts)?;
        Ok(ProviderSettings { accounts })
    }

    /// Whether any provider is reached over plain HTTP; for the local stack only.
    pub fn allow_http(&self) -> bool {
        self.accounts.values().any(Account::allow_http)
    }

    /// The money rules of each provider.
    pub fn policies(&self) -> Policies {
        self.accounts.iter().map(|(name, account)| (name.clone(), account.policy())).collect()
    }

    /// The adapters.
    pub fn build(
        self,
        keys: &Arc<Secret<ProviderKeysDocument>>,
        outbound: &Arc<dyn Outbound>,
    ) -> Result<Vec<Arc<dyn Provider>>, SettingsError> {
        let build = |(name, account): (ProviderName, Account)| {
            let keys = ProviderKeys::new(keys.clone(), name.clone());
            let outbound = outbound.clone();
            let policy = account.policy();
            let provider = match account {
                Account::Trader(settings) => {
                    let trader = Trader::new(name, *settings, keys, outbound);
                    Arc::new(trader.map_err(|error| SettingsError(error.to_string()))?)
                        as Arc<dyn Provider>
                }
                Account::Standard(settings) => {
                    Arc::new(Standard::new(name, *settings, keys, outbound)?)
                }
                Account::PayProtocol(settings) => {
                    Arc::new(PayProtocol::new(name, *settings, keys, outbound)?)
                }
            };
            if provider.account().contains(':') {
                return Err(SettingsError::new("an account has no colon in its name"));
            }
            if policy.confirm_from.is_some() && !provider.can_query() && !provider.can_list() {
                return Err(SettingsError::new("confirm_from needs a provider that can be asked"));
            }
            Ok(provider)
        };
        self.accounts.into_iter().map(build).collect()
    }
}

/// Refuses two names for one account that tells its payments in a list: each of them would credit every deposit.
fn is_each_once(accounts: &BTreeMap<ProviderName, Account>) -> Result<(), SettingsError> {
    let mut seen = BTreeSet::new();
    for (name, account) in accounts {
        let Account::PayProtocol(settings) = account else { continue };
        let own = BTreeSet::from([settings.api_key.as_str(), settings.account()]);
        if !own.into_iter().all(|one| seen.insert(one)) {
            return Err(SettingsError(format!("{name}: another name has its api_key or account")));
        }
    }
    Ok(())
}

/// A loopback address, or a name that is reserved for leading nowhere.
pub(super) fn stays_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback || host == "localhost" || host.ends_with(".invalid")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_that_lists_its_payments_has_one_name() {
        let deposits = |api_key: &str| {
            let (api_key, account) = api_key.split_once('/').unwrap_or((api_key, api_key));
            json!({"kind": "payprotocol", "api_key": api_key, "account": account, "base_url": "https://pay.invalid",
                   "callback_paths": ["/a"], "currencies": []})
        };
        let read = |first: &str, second: &str| {
            let all = json!({"first": deposits(first), "second": deposits(second)});
            ProviderSettings::parse(&all.to_string()).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(read("K1", "K2"), Ok(()));
        let refused = Err("second: another name has its api_key or account".to_owned());
        for (first, second) in [("K1", "K1"), ("K1", "K2/K1"), ("K2/K1", "K2"), ("K1/A", "K2/A")] {
            assert_eq!(read(first, second), refused, "{first}, {second}");
        }
    }
}
