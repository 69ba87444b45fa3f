//! What the simulated provider answers: the endpoints of the contract, after the signature has fitted.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use http::HeaderMap;
use recharge_shared::providers::payprotocol::{HEADERS, Signed, signature};
use serde_json::{Value, json};

use super::file::{Recharge, Row, User, Wallet, time};
use super::{CLOCK_TOLERANCE_SECS, CURRENCIES, Mode, SimPayProtocol, address_of};

/// Everything after the host begins with it; it is signed.
const PREFIX: &str = "/api/mer";
pub(super) const PAGE_SIZE_MAX: usize = 500;
const PAGE_SIZE_DEFAULT: usize = 10;
/// A status that no contract names.
const STRANGE_STATUS: i32 = 7;

type Query = BTreeMap<String, String>;

fn data(data: &Value) -> Value {
    json!({"code": 200, "msg": "success", "data": data})
}

fn refuse(code: i32, text: &str) -> Value {
    json!({"code": code, "msg": "error", "description": text})
}

/// The chains, each once.
fn chains() -> BTreeMap<i32, &'static str> {
    CURRENCIES.iter().map(|currency| (currency.chain_id, currency.network)).collect()
}

impl SimPayProtocol {
    /// The envelope for one request.
    pub(super) fn serve(
        &self,
        (method, target): (&str, &str),
        headers: &HeaderMap,
        body: &[u8],
    ) -> Value {
        if let Err(text) = self.check((method, target), headers, body) {
            return refuse(401, text);
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        match (method, path.strip_prefix(PREFIX).unwrap_or("")) {
            ("POST", "/user/create") => self.create_user(body),
            ("GET", "/user/detail") => self.user_detail(&query),
            ("GET", "/recharge/list") => self.list(&query),
            ("GET", "/recharge/detail") => self.detail(&query),
            ("GET", "/recharge/notify") => self.send_again(&query),
            ("GET", "/conf/list/chain") => {
                let chain = |(id, name)| json!({"chainId": id, "chainName": name});
                data(&chains().into_iter().map(chain).collect())
            }
            ("GET", "/conf/list/currency") => currencies(&query),
            _ => refuse(404, "no such path"),
        }
    }

    fn check(
        &self,
        (method, target): (&str, &str),
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), &'static str> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let [api_key, timestamp, given] = HEADERS.map(header);
        let signed = Signed { timestamp, method, path: target, body };
        if api_key != self.account.api_key || given != signature(&self.account.secret, signed) {
            return Err("sign error");
        }
        let now_secs = self.clock.now_ms().div_euclid(1_000);
        let timestamp: i64 = timestamp.parse().map_err(|_| "timestamp error")?;
        let off_secs = now_secs.saturating_sub(timestamp).saturating_abs();
        if off_secs > CLOCK_TOLERANCE_SECS { Err("timestamp expired") } else { Ok(()) }
    }

    /// A second time it is an error, as far as anybody knows.
    fn create_user(&self, body: &[u8]) -> Value {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(uuid) = body["uuid"].as_str().filter(|uuid| (1..=64).contains(&uuid.len())) else {
            return refuse(500, "uuid error");
        };
        let created_ms = self.clock.now_ms();
        self.change(|state| {
            if state.users.contains_key(uuid) {
                return refuse(500, "user exists");
            }
            let number = i32::try_from(state.users.len()).unwrap_or(i32::MAX / 4);
            let wallets = chains().into_keys().zip(0..).map(|(chain_id, nth)| Wallet {
                wallet_id: 65_000 + 2 * number + nth,
                chain_id,
                address: address_of(chain_id, &[uuid.as_bytes()]),
            });
            let user = User { user_id: 7_000 + number, created_ms, wallets: wallets.collect() };
            let answer = data(&json!(user.user_id));
            state.users.insert(uuid.to_owned(), user);
            state.touched.insert(Row::User(uuid.to_owned()));
            answer
        })
    }

    fn user_detail(&self, query: &Query) -> Value {
        let state = self.lock();
        let uuid = query.get("uuid").or_else(|| query.get("UUID"));
        let user_id = query.get("userId").and_then(|id| id.parse::<i32>().ok());
        let is_it = |(name, user): &(&String, &User)| {
            uuid.is_some_and(|uuid| uuid == *name) || user_id == Some(user.user_id)
        };
        let Some((uuid, user)) = state.users.iter().find(is_it) else {
            return refuse(500, "user not found");
        };
        let chain_id = query.get("chainId").and_then(|id| id.parse::<i32>().ok());
        let wallet = |wallet: &Wallet| {
            let Wallet { wallet_id, chain_id, address } = wallet;
            json!({"walletId": wallet_id, "chainId": chain_id, "walletAddress": address})
        };
        let on_chain = |wallet: &&Wallet| chain_id.is_none_or(|id| id == wallet.chain_id);
        let wallets: Vec<Value> = user.wallets.iter().filter(on_chain).map(wallet).collect();
        data(&json!({
            "userId": user.user_id,
            "uuid": uuid,
            "createTime": time(user.created_ms),
            "userType": 0,
            "userWallet": wallets,
        }))
    }

    fn detail(&self, query: &Query) -> Value {
        let state = self.lock();
        let id = query.get("rechargeId").and_then(|id| id.parse::<i32>().ok());
        let found = id.and_then(|id| Some((id, state.recharges.get(&id)?)));
        let Some((id, recharge)) = found else { return refuse(404, "recharge not found") };
        let mut said = said(id, recharge, state.mode);
        if state.mode == Mode::WrongAmount {
            said["rechargeAmount"] = format!("{}0", recharge.units).into();
        }
        data(&said)
    }

    /// Newest first, so that what arrives moves the pages.
    fn list(&self, query: &Query) -> Value {
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<i64>().ok());
        let text = |name: &str| query.get(name).map(String::as_str);
        let uuid = text("UUID").or_else(|| text("uuid"));
        let state = self.lock();
        let wanted = |(_, recharge): &(&i32, &Recharge)| {
            let secs = recharge.created_ms.div_euclid(1_000);
            let is = |name: &str, value: i32| number(name).is_none_or(|n| n == i64::from(value));
            is("chainId", recharge.chain_id)
                && is("orderStatus", recharge.status)
                && uuid.is_none_or(|uuid| uuid == recharge.uuid)
                && text("transactionHash").is_none_or(|hash| hash == recharge.hash)
                && number("startTime").is_none_or(|start| start <= secs)
                && number("endTime").is_none_or(|end| secs <= end)
        };
        let all: Vec<(&i32, &Recharge)> = state.recharges.iter().rev().filter(wanted).collect();
        let positive = |name: &str| number(name).and_then(|n| usize::try_from(n).ok());
        let size_max = self.page_size_max.load(Ordering::Relaxed);
        let size = positive("size").unwrap_or(PAGE_SIZE_DEFAULT).clamp(1, size_max);
        let page = positive("page").unwrap_or(1).max(1);
        let on_page = all.iter().skip((page - 1).saturating_mul(size)).take(size);
        let listed: Vec<Value> =
            on_page.map(|(id, recharge)| said(**id, recharge, state.mode)).collect();
        data(&json!({"count": all.len(), "page": page, "size": size, "list": listed}))
    }

    fn send_again(&self, query: &Query) -> Value {
        let id = query.get("rechargeId").and_then(|id| id.parse::<i32>().ok());
        let answer = self.change(|state| {
            let found = id.and_then(|id| Some((id, state.recharges.get_mut(&id)?)));
            let Some((id, recharge)) = found else { return refuse(404, "recharge not found") };
            recharge.again = true;
            state.touched.insert(Row::Recharge(id));
            data(&Value::Null)
        });
        self.changed.notify_one();
        answer
    }
}

/// What is said of a recharge when it is asked for.
fn said(id: i32, recharge: &Recharge, mode: Mode) -> Value {
    let mut said = recharge.json(id);
    if mode == Mode::UnknownStatus {
        said["rechargeStatus"] = STRANGE_STATUS.into();
    }
    said
}

fn currencies(query: &Query) -> Value {
    let chain_id = query.get("chainId").and_then(|id| id.parse::<i32>().ok());
    let on_chain = CURRENCIES.iter().filter(|c| chain_id.is_none_or(|id| id == c.chain_id));
    let entry = |currency: &super::SimCurrency| {
        json!({
            "currencyId": currency.currency_id,
            "chainId": currency.chain_id,
            "name": currency.symbol,
            "symbol": currency.symbol,
            "address": currency.contract,
            "decimals": currency.decimals,
            "createTime": "2024-03-29 17:45:18",
            "icon": "",
        })
    };
    data(&on_chain.map(entry).collect())
}
