//! A simulated trader provider: verifies our signatures, keeps its own orders and addresses, and makes
//! the callbacks. Reached in process (tests) or over HTTP (the local stack); both share the fault modes.

mod file;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State as Shared;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use recharge_shared::domain::hash::{crockford, digest};
use recharge_shared::domain::{Money, Timestamp};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};
use recharge_shared::outbound_hyper::HyperOutbound;
use recharge_shared::providers::trader::{Fields, SIGN, SigningProfile, sign, verify};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use self::file::{ProviderOrder, Row, State};
use super::broken;
use crate::aws::FileError;

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
    /// Refuses everything.
    Reject,
}

/// How long a slow provider takes: longer than anybody waits.
pub const SLOW_FOR: Duration = Duration::from_secs(8);

const BODY_BYTES_MAX: usize = 64 * 1024;
/// Each takes two sockets of this process; many systems allow 256.
const CALLBACKS_AT_ONCE_MAX: usize = 100;
const CALLBACK_LIMITS: Limits =
    Limits { deadline: Duration::from_secs(30), answer_bytes_max: BODY_BYTES_MAX };

/// A callback ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackRequest {
    /// Where it goes.
    pub url: String,
    /// Its content type.
    pub content_type: String,
    /// The signed body.
    pub body: Vec<u8>,
}

/// The provider. Clones are the same one.
#[derive(Debug, Clone)]
pub struct SimTrader {
    appid: String,
    key: String,
    state: Arc<Mutex<State>>,
    callbacks: Arc<HyperOutbound>,
    at_once: Arc<Semaphore>,
}

impl SimTrader {
    /// The account `appid`, whose books are kept in `dir`, or nowhere.
    pub fn open(appid: &str, key: &str, dir: Option<&Path>) -> Result<SimTrader, FileError> {
        Ok(SimTrader {
            appid: appid.to_owned(),
            key: key.to_owned(),
            state: Arc::new(Mutex::new(State::open(dir)?)),
            callbacks: Arc::new(HyperOutbound::new(true)),
            at_once: Arc::new(Semaphore::new(CALLBACKS_AT_ONCE_MAX)),
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

    /// How many orders it has.
    pub fn provider_orders(&self) -> usize {
        self.lock().orders.len()
    }

    /// Whether it has an order under this number.
    pub fn has(&self, order: &str) -> bool {
        self.lock().orders.contains_key(order)
    }

    /// How many addresses it has made.
    pub fn addresses_made(&self) -> usize {
        self.lock().users.values().map(|user| user.addresses.len()).sum()
    }

    /// Somebody pays `amount`, or what was asked for, to the order. Gives the callback and the amount
    /// in minor units.
    pub fn pay(
        &self,
        order: &str,
        amount: Option<Money>,
        now: Timestamp,
    ) -> Result<(CallbackRequest, i128), String> {
        let scaled = amount.map(|amount| amount.to_scaled(4).map_err(|e| e.to_string()));
        let scaled = scaled.transpose()?;
        let (received, user, url) = self.change(|state| {
            let found = state.orders.get_mut(order).ok_or("the provider has no such order")?;
            let received = scaled.unwrap_or(found.asked);
            found.paid = Some(received);
            state.touched.insert(Row::Order(order.to_owned()));
            Ok::<_, String>((received, found.user.clone(), found.notify_url.clone()))
        })?;
        let t = now.secs().to_string();
        let fields = self.signed(&[
            ("amount", &received.to_string()),
            ("appid", &self.appid),
            ("localusermark", &user),
            ("orderid", order),
            ("t", &t),
        ]);
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
        let content_type = "application/x-www-form-urlencoded".to_owned();
        let callback = CallbackRequest { url, content_type, body: body.into_bytes() };
        Ok((callback, received * 100))
    }

    fn signed(&self, fields: &[(&str, &str)]) -> Fields {
        let mut all: Fields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let signature = sign(&SigningProfile::default(), &all, &self.key);
        all.insert(SIGN.to_owned(), signature);
        all
    }

    /// Sends a callback over HTTP; the answer's status and body.
    pub async fn deliver(&self, callback: &CallbackRequest) -> Result<(u16, String), String> {
        // A closed semaphore would be no reason to keep a callback back; it is never closed.
        let _turn = self.at_once.acquire().await;
        let request = Request::post(&callback.url)
            .header("content-type", &callback.content_type)
            .body(Bytes::from(callback.body.clone()))
            .map_err(|error| error.to_string())?;
        let answer = self.callbacks.send(request, CALLBACK_LIMITS).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status().as_u16(), body))
    }

    /// The provider without a socket, for deterministic runs.
    pub fn outbound(&self) -> InProcess {
        InProcess(self.clone())
    }

    /// One request under the current mode; `None` is a broken connection.
    async fn answer(&self, path: &str, body: &[u8]) -> Option<(StatusCode, String)> {
        let mode = self.lock().mode;
        match mode {
            Mode::Down => None,
            Mode::Reject => Some((StatusCode::OK, refuse("rejected by the provider").to_string())),
            Mode::Ok => Some(self.serve(path, body)),
            Mode::Slow => {
                tokio::time::sleep(SLOW_FOR).await;
                Some(self.serve(path, body))
            }
            Mode::LostAnswer => {
                self.serve(path, body);
                None
            }
        }
    }

    fn serve(&self, path: &str, body: &[u8]) -> (StatusCode, String) {
        let fields: Fields = form_urlencoded::parse(body).into_owned().collect();
        let mut unsigned = fields.clone();
        let signature = unsigned.remove(SIGN).unwrap_or_default();
        let known = fields.get("appid") == Some(&self.appid);
        if !known || !verify(&SigningProfile::default(), &unsigned, &self.key, &signature) {
            return (StatusCode::OK, refuse("sign error").to_string());
        }
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let answer = match path {
            "/api/merchant/finduseraddress" => {
                self.find_address(&field("username"), &field("localusermark"))
            }
            "/api/merchant/newAddress" => {
                self.new_address(&field("username"), &field("localusermark"))
            }
            "/api/merchant/TraderRechargeorder" => self.create(&fields),
            "/api/merchant/OrderList" => self.query(&field("orderid")),
            _ => return (StatusCode::NOT_FOUND, "<html>404</html>".to_owned()),
        };
        (StatusCode::OK, answer.to_string())
    }

    fn find_address(&self, username: &str, mark: &str) -> Value {
        match self.lock().users.get(mark) {
            Some(user) if user.name == username => json!({"status": 1, "data": {
                "info": {"username": username, "localusermark": mark},
                "data": {
                    "merchant_id": 1,
                    "address": user.addresses.last(),
                    "m_localusermark": mark,
                    "uuid": mark,
                    "addtime": 1_700_000_000,
                },
            }}),
            _ => refuse("user not found"),
        }
    }

    /// Another one each time, as the real one does.
    fn new_address(&self, username: &str, mark: &str) -> Value {
        self.change(|state| {
            state.touched.insert(Row::User(mark.to_owned()));
            let user = state.users.entry(mark.to_owned()).or_default();
            if user.addresses.is_empty() {
                username.clone_into(&mut user.name);
            }
            let number = user.addresses.len().to_be_bytes();
            let address = format!(
                "T{}",
                crockford(&digest("trader/address", &[mark.as_bytes(), &number]), 33)
            );
            user.addresses.push(address.clone());
            json!({"status": 1, "data": address})
        })
    }

    fn create(&self, fields: &Fields) -> Value {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let (order, user) = (field("orderid"), field("localusermark"));
        let asked = recharge_shared::domain::Currency::parse("USDT")
            .and_then(|usdt| Money::parse(&field("amount"), usdt).ok())
            .and_then(|amount| amount.to_scaled(4).ok());
        let Some(asked) = asked else { return refuse("amount error") };
        self.change(|state| {
            let own = state
                .users
                .get(&user)
                .is_some_and(|known| known.addresses.contains(&field("address")));
            if !own {
                return refuse("address is not this user's");
            }
            if state.orders.contains_key(&order) {
                return refuse("duplicate orderid");
            }
            let hash = digest("trader/order", &[order.as_bytes()]);
            let transaction = format!("cz-{}", crockford(&hash, 32));
            let answer = json!({"status": 1, "data": {"msg": "ok", "ordersn": transaction}});
            let notify_url = field("notify_url");
            let entry = ProviderOrder { transaction, user, notify_url, asked, paid: None };
            state.touched.insert(Row::Order(order.clone()));
            state.orders.insert(order, entry);
            answer
        })
    }

    fn query(&self, order: &str) -> Value {
        match self.lock().orders.get(order) {
            None => refuse("order not found"),
            Some(found) => json!({"status": 1, "data": {
                "orderid": order,
                "localusermark": found.user,
                "ordersn": found.transaction,
                "status": i32::from(found.paid.is_some()),
                "amount": found.paid.unwrap_or(0).to_string(),
            }}),
        }
    }
}

fn refuse(text: &str) -> Value {
    json!({"status": 0, "err": text})
}

/// The provider without a socket.
#[derive(Debug, Clone)]
pub struct InProcess(SimTrader);

#[async_trait]
impl Outbound for InProcess {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let path = request.uri().path().to_owned();
        let answering = self.0.answer(&path, request.body());
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
pub async fn serve(listener: tokio::net::TcpListener, trader: SimTrader) -> std::io::Result<()> {
    async fn handle(Shared(trader): Shared<SimTrader>, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let body = to_bytes(request.into_body(), BODY_BYTES_MAX).await.unwrap_or_default();
        match trader.answer(&path, &body).await {
            Some((status, text)) => {
                let mut response = Response::new(Body::from(text));
                *response.status_mut() = status;
                response
            }
            None => broken(),
        }
    }
    axum::serve(listener, Router::new().fallback(handle).with_state(trader)).await
}
