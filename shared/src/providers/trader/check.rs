//! Refuses settings that could not work or would not be safe, before the first call. Whether a genuine
//! message can be cut differently under the same signature is decided by these settings too.

use std::collections::BTreeSet;

use http::{HeaderValue, Uri};

use super::callback::FIELDS;
use super::settings::{AddressPattern, Layout, QuerySettings, Settings, SettingsError};
use super::signing::SIGN;
use crate::domain::Currency;
use crate::providers::settings::stays_here;

/// The names of requests that are not in callbacks.
const REQUEST_FIELDS: [&str; 3] = ["address", "notify_url", "username"];
/// A look of the poller makes up to four calls, and has 18 s for them.
const CALL_TIMEOUT_MS_MAX: u64 = 4_000;
/// The scale of the finest token there is.
const SCALE_MAX: u32 = 18;

impl Settings {
    /// Refuses what could not work or would not be safe; gives the account's currency.
    pub fn check(&self) -> Result<Currency, SettingsError> {
        let appid = (1..=15).contains(&self.appid.len())
            && self.appid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        require(appid, "appid must be 1 to 15 of [A-Za-z0-9-]")?;
        self.check_addresses()?;
        self.check_signing()?;
        self.check_answers()?;
        let known_scale = [0, 4].contains(&self.request_amount_scale);
        require(known_scale, "request_amount_scale must be 0 or 4")?;
        require(self.callback_amount_scale <= SCALE_MAX, "callback_amount_scale is above 18")?;
        let in_time = (1..=CALL_TIMEOUT_MS_MAX).contains(&self.call_timeout_ms);
        require(in_time, "call_timeout_ms must be 1 to 4000")?;
        self.query.as_ref().map_or(Ok(()), check_query)?;
        Currency::parse(&self.currency).ok_or(SettingsError("currency is not in the table"))
    }

    fn check_addresses(&self) -> Result<(), SettingsError> {
        let base = &self.base_url;
        let bare = self.is_safe(base) && base.matches('/').count() == 2 && !base.contains('?');
        require(
            bare,
            "base_url must be https://host[:port]; http is for this machine, if allowed",
        )?;
        if let Some(url) = &self.notify_url {
            require(url.len() <= 255, "notify_url has more than 255 characters")?;
            require(self.is_safe(url), "notify_url must be https; http is for this machine")?;
        }
        for path in [&self.order_path, &self.address_path, &self.lookup_path] {
            require(is_path(path), "a path must begin with a slash")?;
        }
        let network = (1..=32).contains(&self.network.len())
            && self.network.bytes().all(|b| b.is_ascii_alphanumeric());
        require(network, "network must be 1 to 32 of [A-Za-z0-9]")?;
        let known_pattern = match self.address_pattern {
            AddressPattern::AnyAlphanumeric => true,
            AddressPattern::Strict => self.network == "TRON",
        };
        require(known_pattern, "address_pattern strict knows the network TRON only")
    }

    /// HTTPS; or plain HTTP that is allowed and cannot leave this machine.
    fn is_safe(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else { return false };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = uri.host().unwrap_or("");
        if host.is_empty() || authority.contains('@') {
            return false;
        }
        match uri.scheme_str() {
            Some("https") => true,
            Some("http") => self.allow_http && stays_here(host),
            _ => false,
        }
    }

    /// Every field that money depends on is signed, each under a name of its own.
    fn check_signing(&self) -> Result<(), SettingsError> {
        let tolerated = || self.tolerated_callback_fields.iter().map(String::as_str);
        let signed = |field: &str| match &self.signing.signed_fields {
            Some(listed) => listed.iter().any(|name| name == field),
            None => true,
        };
        let all_signed = FIELDS.into_iter().chain(tolerated().filter(|name| *name == "status"));
        let complete = all_signed.into_iter().all(signed);
        require(complete, "signed_fields leaves out a field that money depends on")?;
        let named = tolerated().all(|name| !name.is_empty() && !REQUIRED.contains(&name));
        require(named, "tolerated_callback_fields must name fields beside the contract's own")?;
        let bounded = self.signing.layout != Layout::ValueOnly || tolerated().next().is_none();
        require(bounded, "layout value_only cannot tell a tolerated field from its neighbours")?;
        let names: BTreeSet<&str> =
            FIELDS.into_iter().chain(REQUEST_FIELDS).chain(tolerated()).collect();
        let mut signed_names = BTreeSet::new();
        let distinct = names.iter().all(|name| signed_names.insert(self.signing.signed_name(name)));
        require(distinct, "field_rename gives two fields one name")?;
        let spelt = signed_names.iter().all(|name| !name.is_empty());
        require(spelt, "field_rename leaves a field without a name")?;
        // Otherwise the end of the longer name could be read as the beginning of a value; ten digits, which
        // is what `t` has, are not.
        let extends = |name: &str, other: &str| name != other && name.starts_with(other);
        let signed_as = |name| self.signing.signed_name(name);
        let mut tolerated = tolerated().map(signed_as);
        let apart = tolerated.all(|name| {
            let others = signed_names.iter().filter(|other| **other != signed_as("t"));
            others.into_iter().all(|other| !extends(name, other) && !extends(other, name))
        });
        require(apart, "a tolerated field's name begins with another field's name")
    }

    fn check_answers(&self) -> Result<(), SettingsError> {
        let success = (200..300).contains(&self.ack_status);
        require(success, "ack_status must be 200 to 299")?;
        let header = HeaderValue::from_str(&self.ack_content_type).is_ok();
        require(header, "ack_content_type is no header value")?;
        check_prefixes(&self.duplicate_order_prefixes)?;
        check_prefixes(&self.user_not_found_prefixes)
    }
}

/// The fields that every callback has.
const REQUIRED: [&str; 6] = [FIELDS[0], FIELDS[1], FIELDS[2], FIELDS[3], FIELDS[4], SIGN];

fn check_query(query: &QuerySettings) -> Result<(), SettingsError> {
    require(is_path(&query.path), "a path must begin with a slash")?;
    require(query.amount_scale <= SCALE_MAX, "query.amount_scale is above 18")?;
    require(!query.paid.is_empty(), "query.paid names no state")?;
    let disjoint = query.paid.iter().all(|state| !query.failed.contains(state));
    require(disjoint, "query.paid and query.failed share a state")?;
    check_prefixes(&query.not_found_prefixes)
}

/// An empty beginning would fit every text.
fn check_prefixes(prefixes: &[String]) -> Result<(), SettingsError> {
    let meaningful = prefixes.iter().all(|prefix| !prefix.trim().is_empty());
    require(meaningful, "an empty prefix fits every text")
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && !path.starts_with("//") && path.parse::<Uri>().is_ok()
}

const fn require(holds: bool, otherwise: &'static str) -> Result<(), SettingsError> {
    if holds { Ok(()) } else { Err(SettingsError(otherwise)) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::Currency;

    fn check(change: &Value) -> Result<Currency, &'static str> {
        let mut all = json!({"appid": "APPTEST0001", "base_url": "https://trader.invalid"});
        for (name, value) in change.as_object().unwrap() {
            all[name] = value.clone();
        }
        let settings = serde_json::from_value::<Settings>(all).map_err(|_| "unreadable")?;
        settings.check().map_err(|SettingsError(reason)| reason)
    }

    #[test]
    fn what_works_is_accepted() {
        for change in [
            json!({}),
            json!({"base_url": "http://127.0.0.1:9000", "allow_http": true}),
            json!({"base_url": "http://[::1]:9000", "allow_http": true}),
            json!({"address_pattern": "strict"}),
            json!({"tolerated_callback_fields": ["status", "txid"]}),
            json!({"tolerated_callback_fields": ["status"], "signing": {"layout": "query_pairs"}}),
            json!({"signing": {"field_rename": {"orderid": "order_id"}}}),
        ] {
            assert_eq!(check(&change), Ok(Currency::Usdt), "{change}");
        }
    }

    #[test]
    fn what_could_not_work_or_would_not_be_safe_is_refused() {
        let all_but_amount = ["appid", "localusermark", "orderid", "t"];
        for (change, reason) in [
            (json!({"typo": 1}), "unreadable"),
            (json!({"appid": "A#B"}), "appid"),
            (json!({"currency": "DOGE"}), "currency"),
            (json!({"base_url": "http://trader.invalid"}), "base_url"),
            (json!({"base_url": "http://trader.example", "allow_http": true}), "base_url"),
            (json!({"base_url": "https://a@trader.example"}), "base_url"),
            (json!({"base_url": "https://trader.example/path"}), "base_url"),
            (json!({"notify_url": "http://shop.example/"}), "notify_url"),
            (json!({"order_path": "elsewhere"}), "path"),
            (json!({"network": "ETH", "address_pattern": "strict"}), "address_pattern"),
            (json!({"request_amount_scale": 2}), "request_amount_scale"),
            (json!({"callback_amount_scale": 19}), "callback_amount_scale"),
            (json!({"call_timeout_ms": 0}), "call_timeout_ms"),
            (json!({"call_timeout_ms": 4_001}), "call_timeout_ms"),
            (json!({"ack_status": 500}), "ack_status"),
            (json!({"ack_content_type": "a\nb"}), "ack_content_type"),
            (json!({"duplicate_order_prefixes": [""]}), "empty prefix"),
            (json!({"query": {"path": "/q", "paid": ["1"], "failed": ["1"]}}), "share a state"),
            (json!({"signing": {"signed_fields": all_but_amount}}), "signed_fields"),
            // A collision would leave one of the two unsigned.
            (json!({"signing": {"field_rename": {"amount": "t"}}}), "one name"),
            (json!({"signing": {"field_rename": {"t": ""}}}), "without a name"),
            // Digits could move between a tolerated field and its neighbour.
            (
                json!({"signing": {"layout": "value_only"},
                       "tolerated_callback_fields": ["status"]}),
                "value_only",
            ),
            (json!({"tolerated_callback_fields": ["amount1"]}), "begins with another"),
            (json!({"tolerated_callback_fields": ["sign"]}), "tolerated_callback_fields"),
        ] {
            let found = check(&change);
            assert!(matches!(found, Err(found) if found.contains(reason)), "{change}: {found:?}");
        }
    }
}
