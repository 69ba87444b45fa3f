//! A simulated Pay Protocol: verifies our signatures, gives users their wallets, takes deposits to them
//! that nobody has announced, and sends each one's callback until somebody answers `success`. Reached in
//! process (tests) or over HTTP (the local stack).

mod answers;
mod file;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State as Shared;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use recharge_shared::domain::Timestamp;
use recharge_shared::domain::hash::{crockford, digest};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};
use recharge_shared::outbound_hyper::HyperOutbound;
use recharge_shared::providers::payprotocol::{HEADERS, Signed, signature};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::answers::PAGE_SIZE_MAX;
use self::file::{Recharge, Row, State};
use super::broken;
use crate::aws::{FileError, SharedClock};

/// How the provider behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Answers.
    #[default]
    Ok,
    /// Cannot be reached; nothing has an effect.
    Down,
    /// Answers after [`SLOW_FOR`].
    Slow,
    /// Does what it is asked, and the answer is lost.
    LostAnswer,
    /// Answers 500 to everything; nothing has an effect.
    Error,
    /// Says another amount in details than in callbacks.
    WrongAmount,
    /// Says a status that nobody knows in details and lists.
    UnknownStatus,
}

/// How long a slow provider takes: longer than anybody waits.
pub const SLOW_FOR: Duration = Duration::from_secs(8);

/// A currency that the provider knows.
#[derive(Debug, Clone, Copy)]
pub struct SimCurrency {
    /// The provider's number of its chain.
    pub chain_id: i32,
    /// The chain's name.
    pub network: &'static str,
    /// The provider's number of the currency.
    pub currency_id: i32,
    /// Its symbol.
    pub symbol: &'static str,
    /// Its contract; empty for a chain's own coin.
    pub contract: &'static str,
    /// Decimals of its amounts.
    pub decimals: u32,
}

/// All of them; the chains' numbers are the provider's own.
pub const CURRENCIES: [SimCurrency; 3] = [
    SimCurrency {
        chain_id: 136,
        network: "TRON",
        currency_id: 17,
        symbol: "USDT",
        contract: "TXTESTUSDTCONTRACT0000000000000001",
        decimals: 6,
    },
    SimCurrency {
        chain_id: 136,
        network: "TRON",
        currency_id: 1,
        symbol: "TRX",
        contract: "",
        decimals: 6,
    },
    SimCurrency {
        chain_id: 101,
        network: "BSC",
        currency_id: 18,
        symbol: "USDT",
        contract: "0x0000000000000000000000000000000000000b5c",
        decimals: 18,
    },
];

/// After a deposit its callback is sent at these times until one is answered `success`; never again
/// afterwards.
pub const ATTEMPTS_AFTER_SECS: [i64; 6] = [0, 15, 30, 180, 300, 600];

/// How far a request's timestamp may be off.
const CLOCK_TOLERANCE_SECS: i64 = 60;
const BODY_BYTES_MAX: usize = 64 * 1024;
const CALLBACK_LIMITS: Limits =
    Limits { deadline: Duration::from_secs(30), answer_bytes_max: BODY_BYTES_MAX };
/// More digits than any deposit has.
const UNITS_DIGITS_MAX: usize = 38;

/// A callback ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackRequest {
    /// What it speaks of.
    pub recharge_id: i32,
    /// Where it goes.
    pub url: String,
    /// Its headers, the signature among them.
    pub headers: Vec<(&'static str, String)>,
    /// The signed body.
    pub body: Vec<u8>,
}

/// Money that somebody sends to an address.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    /// A wallet's address.
    pub address: &'a str,
    /// A plain decimal number, such as `12.5`.
    pub amount: &'a str,
    /// The symbol of a currency on the wallet's chain.
    pub currency: &'a str,
    /// No callback is ever sent.
    pub silent: bool,
}

/// A deposit as the provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deposited {
    /// Its number there.
    pub recharge_id: i32,
    /// The chain.
    pub network: &'static str,
    /// The amount in the currency's smallest unit.
    pub units: u128,
    /// Decimals of that.
    pub decimals: u32,
    /// The first callback, which the caller has to send; none of a silent deposit.
    pub callback: Option<CallbackRequest>,
}

/// The account at the provider.
#[derive(Debug, Clone)]
pub struct SimAccount {
    /// Its public name.
    pub api_key: String,
    /// What both sides sign with.
    pub secret: String,
    /// Where callbacks go, as set up in the provider's console.
    pub notify_url: String,
}

/// The provider. Clones are the same one.
#[derive(Debug, Clone)]
pub struct SimPayProtocol {
    account: Arc<SimAccount>,
    clock: SharedClock,
    state: Arc<Mutex<State>>,
    page_size_max: Arc<AtomicUsize>,
    changed: Arc<Notify>,
    callbacks: Arc<HyperOutbound>,
}

impl SimPayProtocol {
    /// `account` on `clock`, whose books are kept in `dir`, or nowhere.
    pub fn open(
        account: SimAccount,
        clock: SharedClock,
        dir: Option<&Path>,
    ) -> Result<SimPayProtocol, FileError> {
        Ok(SimPayProtocol {
            account: Arc::new(account),
            clock,
            state: Arc::new(Mutex::new(State::open(dir)?)),
            page_size_max: Arc::new(AtomicUsize::new(PAGE_SIZE_MAX)),
            changed: Arc::new(Notify::new()),
            callbacks: Arc::new(HyperOutbound::new(true)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the books; what is answered afterwards has reached the file.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        if let Err(error) = state.commit() {
            tracing::error!(?error, "the simulated provider cannot write its books");
        }
        result
    }

    /// Changes how it behaves.
    pub fn set_mode(&self, mode: Mode) {
        self.change(|state| {
            state.mode = mode;
            state.touched.insert(Row::Mode);
        });
    }

    /// From now on a page of a list has no more records than this.
    pub fn set_page_size_max(&self, records: usize) {
        self.page_size_max.store(records, Ordering::Relaxed);
    }

    /// Changes what became of a deposit, as only the provider can.
    pub fn restate(&self, recharge_id: i32, status: i32) {
        self.change(|state| {
            if let Some(recharge) = state.recharges.get_mut(&recharge_id) {
                recharge.status = status;
                state.touched.insert(Row::Recharge(recharge_id));
            }
        });
    }

    /// Gives the user `uuid` the wallets that `other` has: what a provider must never do.
    pub fn share_wallets(&self, uuid: &str, other: &str) {
        self.change(|state| {
            if let Some(user) = state.users.get(other).cloned() {
                state.users.insert(uuid.to_owned(), user);
                state.touched.insert(Row::User(uuid.to_owned()));
            }
        });
    }

    /// How many deposits it has.
    pub fn deposits(&self) -> usize {
        self.lock().recharges.len()
    }

    /// How many users it has.
    pub fn users(&self) -> usize {
        self.lock().users.len()
    }

    /// Somebody sends money to a wallet's address. The first callback is signed at `signed_at` and counts
    /// as sent.
    pub fn deposit(
        &self,
        transfer: &Transfer<'_>,
        signed_at: Timestamp,
    ) -> Result<Deposited, String> {
        let now_ms = self.clock.now_ms();
        let deposited = self.change(|state| {
            let owner = |wallet: &file::Wallet| wallet.address == transfer.address;
            let found = state.users.iter().find_map(|(uuid, user)| {
                let wallet = user.wallets.iter().find(|wallet| owner(wallet))?;
                Some((uuid.clone(), user.user_id, wallet.clone()))
            });
            let (uuid, user_id, wallet) = found.ok_or("the provider has no such address")?;
            let currency = CURRENCIES.iter().find(|currency| {
                (currency.chain_id, currency.symbol) == (wallet.chain_id, transfer.currency)
            });
            let currency = currency.ok_or("the address's chain has no such currency")?;
            let units = units(transfer.amount, currency.decimals)?;
            let id = 900_001 + i32::try_from(state.recharges.len()).map_err(|e| e.to_string())?;
            let hash = digest("payprotocol/transfer", &[&id.to_be_bytes()]);
            let recharge = Recharge {
                chain_id: currency.chain_id,
                currency_id: currency.currency_id,
                user_id,
                uuid,
                wallet,
                sender: address_of(currency.chain_id, &[b"sender", &id.to_be_bytes()]),
                hash: hex::encode(hash),
                units: units.to_string(),
                status: 0,
                created_ms: now_ms,
                silent: transfer.silent,
                attempts: 0,
                acknowledged: false,
                again: false,
            };
            state.recharges.insert(id, recharge);
            state.touched.insert(Row::Recharge(id));
            let callback = self.begin(state, id, (now_ms, signed_at));
            let SimCurrency { network, decimals, .. } = *currency;
            Ok::<_, String>(Deposited { recharge_id: id, network, units, decimals, callback })
        })?;
        self.changed.notify_one();
        Ok(deposited)
    }

    /// Tells the transfer of the recharge `id` once more, as another recharge: what a provider should never do.
    pub fn tell_again(
        &self,
        id: i32,
        signed_at: Timestamp,
    ) -> Option<(i32, Option<CallbackRequest>)> {
        let now_ms = self.clock.now_ms();
        let told = self.change(|state| {
            let recharge = Recharge {
                attempts: 0,
                acknowledged: false,
                created_ms: now_ms,
                ..state.recharges.get(&id)?.clone()
            };
            let again = 900_001 + i32::try_from(state.recharges.len()).ok()?;
            state.recharges.insert(again, recharge);
            state.touched.insert(Row::Recharge(again));
            Some((again, self.begin(state, again, (now_ms, signed_at))))
        });
        self.changed.notify_one();
        told
    }

    /// The callbacks that are due now, each signed at `signed_at` and counted as sent.
    pub fn due(&self, signed_at: Timestamp) -> Vec<CallbackRequest> {
        let now_ms = self.clock.now_ms();
        self.change(|state| {
            let ids: Vec<i32> = state.recharges.keys().copied().collect();
            let begin = |id| self.begin(state, id, (now_ms, signed_at));
            ids.into_iter().filter_map(begin).collect()
        })
    }

    /// When the next callback is due, in milliseconds since the Unix epoch.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.lock().recharges.values().filter_map(Recharge::due_ms).min()
    }

    /// The callback of the recharge, counted as sent, if one is due.
    fn begin(
        &self,
        state: &mut State,
        id: i32,
        (now_ms, signed_at): (i64, Timestamp),
    ) -> Option<CallbackRequest> {
        let recharge = state.recharges.get_mut(&id)?;
        recharge.due_ms().filter(|due_ms| *due_ms <= now_ms)?;
        if !std::mem::take(&mut recharge.again) {
            recharge.attempts += 1;
        }
        state.touched.insert(Row::Recharge(id));
        let body = recharge.json(id).to_string().into_bytes();
        Some(self.signed(id, body, signed_at))
    }

    /// A callback about the recharge with any body, as only the provider can sign it.
    pub fn signed(&self, recharge_id: i32, body: Vec<u8>, signed_at: Timestamp) -> CallbackRequest {
        let SimAccount { api_key, secret, notify_url } = &*self.account;
        let after_scheme = notify_url.find("://").map_or(0, |at| at + 3);
        let path = notify_url[after_scheme..].find('/').map(|at| &notify_url[after_scheme + at..]);
        let timestamp = signed_at.secs().to_string();
        let path = path.unwrap_or("");
        let signed = Signed { timestamp: &timestamp, method: "POST", path, body: &body };
        let signature = signature(secret, signed);
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            (HEADERS[0], api_key.clone()),
            (HEADERS[1], timestamp),
            (HEADERS[2], signature),
        ];
        CallbackRequest { recharge_id, url: notify_url.clone(), headers, body }
    }

    /// What a callback was answered: only `success`, exactly, ends the attempts.
    pub fn answered(&self, recharge_id: i32, status: u16, body: &str) {
        if (status, body) != (200, "success") {
            return;
        }
        self.change(|state| {
            if let Some(recharge) = state.recharges.get_mut(&recharge_id) {
                recharge.acknowledged = true;
                state.touched.insert(Row::Recharge(recharge_id));
            }
        });
    }

    /// Sends a callback over HTTP and takes note of the answer; its status and body.
    pub async fn deliver(&self, callback: &CallbackRequest) -> Result<(u16, String), String> {
        let mut request = Request::post(&callback.url);
        for (name, value) in &callback.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Bytes::from(callback.body.clone()));
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.callbacks.send(request, CALLBACK_LIMITS).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        self.answered(callback.recharge_id, answer.status().as_u16(), &body);
        Ok((answer.status().as_u16(), body))
    }

    /// Sends callbacks as they fall due, for ever; `signed_at` says the receiver's time.
    pub async fn keep_sending(self, signed_at: impl Fn() -> Timestamp) {
        loop {
            let due = self.due(signed_at());
            let deliveries = due.iter().map(|callback| self.deliver(callback));
            for answer in futures_util::future::join_all(deliveries).await {
                if let Err(error) = answer {
                    tracing::warn!(error, "a simulated callback did not get through");
                }
            }
            let next_ms = self.next_due_ms().unwrap_or(i64::MAX);
            tokio::select! {
                () = self.clock.sleep_until(next_ms) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// The provider without a socket, for deterministic runs.
    pub fn outbound(&self) -> InProcess {
        InProcess(self.clone())
    }

    /// One request under the current mode; `None` is a broken connection.
    async fn answer(
        &self,
        (method, target): (&Method, &str),
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<(StatusCode, String)> {
        let serve = || {
            let answer = self.serve((method.as_str(), target), headers, body);
            (StatusCode::OK, answer.to_string())
        };
        let mode = self.lock().mode;
        match mode {
            Mode::Down => None,
            Mode::Error => Some((StatusCode::INTERNAL_SERVER_ERROR, "<html>500</html>".to_owned())),
            Mode::Ok | Mode::WrongAmount | Mode::UnknownStatus => Some(serve()),
            Mode::Slow => {
                tokio::time::sleep(SLOW_FOR).await;
                Some(serve())
            }
            Mode::LostAnswer => {
                serve();
                None
            }
        }
    }
}

/// `amount` in a currency's smallest unit; exact or refused.
fn units(amount: &str, decimals: u32) -> Result<u128, String> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return Err(
            "amount must be a plain decimal number in a string, such as \"12.5\"".to_owned()
        );
    }
    let fraction = fraction.trim_end_matches('0');
    let decimals = decimals as usize;
    if fraction.len() > decimals {
        return Err(format!("amount has more than the currency's {decimals} decimals"));
    }
    let digits = format!("{whole}{fraction:0<decimals$}");
    let digits = digits.trim_start_matches('0');
    match digits.parse() {
        _ if digits.is_empty() => Err("amount must be positive".to_owned()),
        Ok(units) if digits.len() <= UNITS_DIGITS_MAX => Ok(units),
        _ => Err("amount is out of range".to_owned()),
    }
}

/// An address that looks like the chain's own.
fn address_of(chain_id: i32, seed: &[&[u8]]) -> String {
    let hash = digest(&format!("payprotocol/address/{chain_id}"), seed);
    if chain_id == 136 {
        return format!("T{}", crockford(&hash, 33));
    }
    format!("0x{}", &hex::encode(hash)[..40])
}

/// The provider without a socket.
#[derive(Debug, Clone)]
pub struct InProcess(SimPayProtocol);

#[async_trait]
impl Outbound for InProcess {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let answering = self.0.answer((&parts.method, target), &parts.headers, &body);
        let answered = tokio::time::timeout(limits.deadline, answering).await;
        let (status, body) = match answered {
            Err(_) => return Err(OutboundError::TimedOut),
            Ok(None) => return Err(OutboundError::Broken),
            Ok(Some(answer)) => answer,
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        Ok(response)
    }
}

/// Serves the provider over HTTP until the listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    provider: SimPayProtocol,
) -> std::io::Result<()> {
    async fn handle(
        Shared(provider): Shared<SimPayProtocol>,
        request: Request<Body>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
        match provider.answer((&parts.method, target), &parts.headers, &body).await {
            Some((status, text)) => {
                let mut response = Response::new(Body::from(text));
                *response.status_mut() = status;
                response
            }
            None => broken(),
        }
    }
    axum::serve(listener, Router::new().fallback(handle).with_state(provider)).await
}

#[cfg(test)]
mod tests;
