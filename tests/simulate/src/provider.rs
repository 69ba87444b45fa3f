//! The provider's truth, kept apart from ours: which orders it took, which it gave up, what was really paid.
//! The simulated provider answers; this stands before it and takes notes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use recharge_local::sim::trader::{CallbackRequest, SimTrader};
use recharge_local::stack::{TRADER_APPID, TRADER_KEY};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};
use recharge_shared::providers::trader::{Fields, SIGN, SigningProfile, sign};
use serde_json::{Value, json};

/// What the provider knows of one order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provided {
    /// Minor units that have arrived.
    pub paid: Option<i128>,
    /// Whether it says that the order has failed.
    pub given_up: bool,
}

/// The provider's truth. Clones are the same.
#[derive(Debug, Clone)]
pub struct Truth {
    trader: SimTrader,
    orders: Arc<Mutex<BTreeMap<String, Provided>>>,
}

impl Truth {
    /// The truth of `trader`.
    pub fn new(trader: SimTrader) -> Truth {
        Truth { trader, orders: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Provided>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the provider knows of `order`.
    pub fn of(&self, order: &str) -> Option<Provided> {
        self.lock().get(order).cloned()
    }

    /// All its orders.
    pub fn orders(&self) -> BTreeMap<String, Provided> {
        self.lock().clone()
    }

    /// Somebody has paid.
    pub fn paid(&self, order: &str, minor: i128) {
        self.lock().entry(order.to_owned()).or_default().paid = Some(minor);
    }

    /// The provider gives an unpaid order up.
    pub fn give_up(&self, order: &str) {
        if let Some(found) = self.lock().get_mut(order) {
            found.given_up = true;
        }
    }

    /// Lets `inner` answer, and takes note of it.
    pub async fn serve(
        &self,
        inner: &dyn Outbound,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let path = request.uri().path().to_owned();
        let fields: BTreeMap<String, String> =
            form_urlencoded::parse(request.body()).into_owned().collect();
        let order = fields.get("orderid").cloned().unwrap_or_default();
        let call = call_of(&path, &order);
        let answered = inner.send(request, limits).await;
        let Some(call) = call else { return answered };
        if call == Call::Create && self.trader.has(&order) {
            self.lock().entry(order.clone()).or_default();
        }
        let Ok(response) = &answered else { return answered };
        let mut answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let given_up = self.of(&order).is_some_and(|o| o.given_up && o.paid.is_none());
        if call == Call::Query && given_up && answer["data"].is_object() {
            answer["data"]["status"] = json!("2");
            return Ok(Response::new(Bytes::from(answer.to_string())));
        }
        answered
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Create,
    Query,
}

fn call_of(path: &str, order: &str) -> Option<Call> {
    match path.rsplit('/').next() {
        _ if order.is_empty() => None,
        Some("TraderRechargeorder") => Some(Call::Create),
        Some("OrderList") => Some(Call::Query),
        _ => None,
    }
}

/// A callback that says what it is told to say, signed with `key`.
pub fn callback(order: &str, mark: &str, minor: i128, at_secs: i64, key: &str) -> CallbackRequest {
    let fields = [
        ("amount", (minor / 100).to_string()),
        ("appid", TRADER_APPID.to_owned()),
        ("localusermark", mark.to_owned()),
        ("orderid", order.to_owned()),
        ("t", at_secs.to_string()),
    ];
    let mut all: Fields =
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let signature = sign(&SigningProfile::default(), &all, key);
    all.insert(SIGN.to_owned(), signature);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&all).finish();
    CallbackRequest {
        url: String::new(),
        content_type: "application/x-www-form-urlencoded".to_owned(),
        body: body.into_bytes(),
    }
}

/// What the provider signs with.
pub const KEY: &str = TRADER_KEY;
