//! Compares the list of currencies that are credited with what the provider says of them: a wrong number of
//! decimals would be a wrong amount, and another contract another currency.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::PayProtocol;
use super::record::integer;
use super::settings::Listed;
use super::wire::{Call, LIST_BYTES_MAX, Reply};
use crate::domain::Timestamp;
use crate::providers::Answer;

/// How much of the provider's own text is repeated.
const TEXT_CHARACTERS_MAX: usize = 120;

impl PayProtocol {
    /// What differs; each text names the currency and the point.
    pub(super) async fn differences(&self, now: Timestamp) -> Answer<Vec<String>> {
        let currencies = &self.settings.currencies;
        let chains: BTreeSet<i32> = currencies.iter().map(|listed| listed.chain_id).collect();
        let mut differences = Vec::new();
        for chain_id in chains {
            let chain = chain_id.to_string();
            let query = [("chainId", chain.as_str())];
            let call = Call {
                answer_bytes_max: LIST_BYTES_MAX,
                ..Call::get("list_currencies", "/conf/list/currency", &query)
            };
            let theirs = match self.call(call, now).await {
                Reply::Data(Value::Array(theirs)) => theirs,
                other => return other.missing(),
            };
            for listed in currencies.iter().filter(|listed| listed.chain_id == chain_id) {
                differences.extend(differences_of(listed, &theirs));
            }
        }
        Answer::Done(differences)
    }
}

fn differences_of(listed: &Listed, theirs: &[Value]) -> Vec<String> {
    let Listed { network, currency_id, .. } = listed;
    let whose = format!("currency {currency_id} on {network}");
    let is_it = |entry: &&Map<String, Value>| {
        let number = |name| integer(entry, name).ok();
        number("currencyId") == Some(*currency_id) && number("chainId") == Some(listed.chain_id)
    };
    let Some(entry) = theirs.iter().filter_map(Value::as_object).find(is_it) else {
        return vec![format!("{whose}: not known there")];
    };
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("");
    let decimals = entry.get("decimals").and_then(Value::as_i64);
    let difference = |what: &str, theirs: &str, ours: &str| {
        let theirs: String = theirs.chars().take(TEXT_CHARACTERS_MAX).collect();
        format!("{whose}: {what} {theirs:?} there, {ours:?} here")
    };
    let mut found = Vec::new();
    if text("symbol") != listed.symbol {
        found.push(difference("symbol", text("symbol"), &listed.symbol));
    }
    if !same_contract(text("address"), &listed.contract) {
        found.push(difference("contract", text("address"), &listed.contract));
    }
    if decimals != Some(i64::from(listed.decimals)) {
        let theirs = decimals.map_or_else(|| "none".to_owned(), |decimals| decimals.to_string());
        found.push(difference("decimals", &theirs, &listed.decimals.to_string()));
    }
    found
}

/// The case of a hexadecimal address is a checksum; that of any other is part of it.
fn same_contract(one: &str, other: &str) -> bool {
    one == other || (one.starts_with("0x") && one.eq_ignore_ascii_case(other))
}
