//! Requests to the provider and the envelope of its answers. Only a well-formed error is an error;
//! everything else that is not a success leaves the outcome unknown.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Map, Value};

use super::record::integer;
use super::settings::{Settings, is_unreserved};
use super::signing::{HEADERS, Signed, signature};
use crate::domain::{Deposit, UserMark};
use crate::json::Strict;
use crate::providers::Answer;

/// One call.
pub(super) struct Call<'a> {
    /// For the log.
    pub(super) operation: &'static str,
    pub(super) method: Method,
    /// Below the prefix.
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: String,
    pub(super) answer_bytes_max: usize,
}

impl<'a> Call<'a> {
    pub(super) fn get(
        operation: &'static str,
        path: &'a str,
        query: &'a [(&'a str, &'a str)],
    ) -> Call<'a> {
        let answer_bytes_max = ANSWER_BYTES_MAX;
        Call { operation, method: Method::GET, path, query, body: String::new(), answer_bytes_max }
    }
}

/// The longest answer about one thing.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest page of a list, and the longest list of currencies, which brings their images.
pub(super) const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The signed request of a call; `None` when something in it would have to be escaped.
pub(super) fn request(
    settings: &Settings,
    call: &Call<'_>,
    (key, now_secs): (&str, i64),
) -> Option<Request<Bytes>> {
    let plain = |text: &str| !text.is_empty() && text.bytes().all(is_unreserved);
    if !call.query.iter().all(|(name, value)| plain(name) && plain(value)) {
        return None;
    }
    let pairs: Vec<String> = call.query.iter().map(|(n, v)| format!("{n}={v}")).collect();
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    let prefix = settings.path_prefix();
    let path = format!("{prefix}{}{query}", call.path);
    let origin = settings.base_url.strip_suffix(prefix)?;
    let timestamp = now_secs.to_string();
    let (method, body) = (call.method.as_str(), call.body.as_bytes());
    let signed = signature(key, Signed { timestamp: &timestamp, method, path: &path, body });
    let mut request = Request::builder()
        .method(&call.method)
        .uri(format!("{origin}{path}"))
        .header("accept", "application/json");
    if call.method == Method::POST {
        request = request.header("content-type", "application/json");
    }
    request
        .header(HEADERS[0], &settings.api_key)
        .header(HEADERS[1], timestamp)
        .header(HEADERS[2], signed)
        .body(Bytes::from(call.body.clone()))
        .ok()
}

/// What came back.
#[derive(Debug)]
pub(super) enum Reply {
    /// The code is 200; `null` when there is no data.
    Data(Value),
    /// Any other code, and the provider's text for the log.
    Refused(i64, String),
    /// No envelope at all.
    Unreadable(&'static str),
    /// The request has not left.
    NotSent,
}

impl Reply {
    /// Why there is no answer; nothing that was refused says anything about what was asked.
    pub(super) fn missing<T>(self) -> Answer<T> {
        match self {
            Reply::Data(_) => Answer::Unknown("not the contract's data".to_owned()),
            Reply::Refused(code, text) => Answer::Unknown(format!("code {code}: {text}")),
            Reply::Unreadable(why) => Answer::Unknown(why.to_owned()),
            Reply::NotSent => Answer::NotSent,
        }
    }

    /// The one thing that was asked for; `None` when the provider does not know it, as it says with codes for which
    /// `not_found` holds.
    pub(super) fn one(self, not_found: impl Fn(i64) -> bool) -> Answer<Option<Map<String, Value>>> {
        match self {
            Reply::Data(Value::Object(members)) => Answer::Done(Some(members)),
            Reply::Data(Value::Null) => Answer::Done(None),
            Reply::Refused(code, _) if not_found(code) => Answer::Done(None),
            other => other.missing(),
        }
    }
}

/// Reads the envelope `{"code": 200, "msg": …, "data": …}`.
pub(super) fn reply(status: u16, body: &[u8]) -> Reply {
    // The contract lists 201 for POST, and names 404 without a body.
    match status {
        200 | 201 => {}
        404 => return Reply::Refused(404, "HTTP status".to_owned()),
        _ => return Reply::Unreadable("HTTP status"),
    }
    let Ok(Strict(Value::Object(mut members))) = serde_json::from_slice(body) else {
        return Reply::Unreadable("not one JSON object without duplicates");
    };
    match members.get("code").and_then(Value::as_i64) {
        Some(200) => Reply::Data(members.shift_remove("data").unwrap_or(Value::Null)),
        Some(code) => {
            let text = |name: &str| members.get(name).and_then(Value::as_str).map(for_log);
            let texts = [text("msg"), text("description")];
            Reply::Refused(code, texts.into_iter().flatten().collect::<Vec<_>>().join(", "))
        }
        None => Reply::Unreadable("no code"),
    }
}

/// A provider's text, fit for a log line.
pub(super) fn for_log(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

/// The user's wallets on the chains of the list, one per chain; of anybody else, no answer.
pub(super) fn wallets(
    settings: &Settings,
    user: &UserMark,
    members: &Map<String, Value>,
) -> Answer<Vec<Deposit>> {
    if members.get("uuid").and_then(Value::as_str) != Some(user.as_str()) {
        return Answer::Unknown("the answer speaks of somebody else".to_owned());
    }
    let listed = match members.get("userWallet") {
        Some(Value::Array(listed)) => listed.as_slice(),
        None | Some(Value::Null) => &[],
        Some(_) => return Answer::Unknown("userWallet is no list".to_owned()),
    };
    // Of several on one chain the oldest, whatever their order.
    let mut by_chain: BTreeMap<i32, (i32, Deposit)> = BTreeMap::new();
    for wallet in listed {
        let Some((chain_id, wallet_id, address)) = wallet.as_object().and_then(wallet_of) else {
            return Answer::Unknown("a wallet is unreadable".to_owned());
        };
        let Some(network) = settings.network(chain_id) else { continue };
        if !is_address(address) {
            return Answer::Unknown("an address is none".to_owned());
        }
        let deposit = Deposit { address: one_spelling(address), network: network.to_owned() };
        match by_chain.get(&chain_id) {
            Some((older, _)) if *older <= wallet_id => {}
            _ => drop(by_chain.insert(chain_id, (wallet_id, deposit))),
        }
    }
    Answer::Done(by_chain.into_values().map(|(_, deposit)| deposit).collect())
}

fn wallet_of(wallet: &Map<String, Value>) -> Option<(i32, i32, &str)> {
    let number = |name| integer(wallet, name).ok();
    let address = wallet.get("walletAddress").and_then(Value::as_str);
    Some((number("chainId")?, number("walletId")?, address?))
}

/// 20 to 128 ASCII letters and digits: what every chain's addresses have in common.
pub(super) fn is_address(text: &str) -> bool {
    (20..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The case of a hexadecimal address is a checksum that not everybody writes; that of any other is part of it.
pub(super) fn one_spelling(address: &str) -> String {
    if address.starts_with("0x") { address.to_ascii_lowercase() } else { address.to_owned() }
}
