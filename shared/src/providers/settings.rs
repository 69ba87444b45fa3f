//! The non-secret settings of all providers, one JSON document: `{"<name>": {…}}`. What each member
//! means stands with the adapter that reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::app::settle::Policies;
use crate::domain::ProviderName;
use crate::outbound::Outbound;
use crate::providers::Provider;
use crate::providers::trader::{self, Trader};
use crate::secrets::{ProviderKeys, ProviderKeysDocument, Secret};

/// What is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

/// The settings of every configured provider.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    traders: BTreeMap<ProviderName, trader::Settings>,
}

impl ProviderSettings {
    /// Reads the document; an unknown member is an error.
    pub fn parse(json: &str) -> Result<ProviderSettings, SettingsError> {
        let entries: BTreeMap<String, trader::Settings> =
            serde_json::from_str(json).map_err(|error| SettingsError(error.to_string()))?;
        let named = |(name, settings): (String, trader::Settings)| {
            let name = ProviderName::parse(&name)
                .ok_or_else(|| SettingsError(format!("{name:?} is no provider name")))?;
            Ok((name, settings))
        };
        let traders = entries.into_iter().map(named).collect::<Result<_, _>>()?;
        Ok(ProviderSettings { traders })
    }

    /// Whether any provider is reached over plain HTTP; for the local stack only.
    pub fn allow_http(&self) -> bool {
        self.traders.values().any(|settings| settings.allow_http)
    }

    /// The money rules of each provider.
    pub fn policies(&self) -> Policies {
        self.traders.iter().map(|(name, settings)| (name.clone(), settings.policy)).collect()
    }

    /// The adapters.
    pub fn build(
        self,
        keys: &Arc<Secret<ProviderKeysDocument>>,
        outbound: &Arc<dyn Outbound>,
    ) -> Result<Vec<Arc<dyn Provider>>, SettingsError> {
        let build = |(name, settings): (ProviderName, trader::Settings)| {
            let keys = ProviderKeys::new(keys.clone(), name.clone());
            let trader = Trader::new(name, settings, keys, outbound.clone());
            let trader = trader.map_err(|error| SettingsError(error.to_string()))?;
            Ok(Arc::new(trader) as Arc<dyn Provider>)
        };
        self.traders.into_iter().map(build).collect()
    }
}
