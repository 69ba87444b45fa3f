//! The world: the bundle, whose functions can be replaced by a new instance over a faulty wire.

#![expect(clippy::expect_used, reason = "a world that cannot be set up ends the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use recharge_local::aws::SharedClock;
use recharge_local::aws::faults::Faults;
use recharge_local::books::{self, Books};
use recharge_local::call::{API_KEYS, ApiKey};
use recharge_local::events::Incoming;
use recharge_local::functions::{Functions, Ground};
use recharge_local::sim::ByHost;
use recharge_local::sim::payprotocol::{self, Deposited, SimPayProtocol, Transfer};
use recharge_local::sim::receiver::SimReceiver;
use recharge_local::sim::trader::{CallbackRequest, SimTrader};
use recharge_local::stack::{
    Accounts, DEMO_NOTIFICATION_SECRET, PAYPROTOCOL_CALLBACK_PATH, Setup, Stack, TRADER_APPID,
    TRADER_KEY, payprotocol_account, provider_settings,
};
use recharge_shared::app::notify::{Deliver, Notification};
use recharge_shared::auth::sign;
use recharge_shared::domain::{Mode, Order, OrderId};
use recharge_shared::egress::Rules;
use recharge_shared::http::notice_body;
use recharge_shared::metrics::Metrics;
use recharge_shared::outbound::Outbound;
use recharge_shared::store::Store;
use serde_json::{Value, json};

use crate::{FaultyOutbound, FaultyWay};

/// Where the demo merchant wants to hear of its orders.
pub const CALLBACK_URL: &str = "https://hooks.merchant-a.example/recharge";

/// The host under which Pay Protocol is reached.
const TRADER_URL: &str = "http://trader.invalid";
const NOTIFY_URL: &str = "https://recharge.invalid/recharges/callback/trader";
const PAYPROTOCOL_HOST: &str = "payprotocol.invalid";

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; `null` when it is no JSON.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

/// One bundle on a virtual clock.
#[derive(Debug)]
pub struct World {
    /// The bundle.
    pub stack: Stack,
    /// The provider.
    pub trader: SimTrader,
    /// The provider of deposit addresses.
    pub payprotocol: SimPayProtocol,
    /// The merchants' receivers.
    pub receiver: SimReceiver,
    requests: std::cell::Cell<u64>,
}

/// Where notifications may go in a world: as in production.
pub fn rules() -> Rules {
    Rules { own_hosts: vec!["api.recharge.example".to_owned()], ..Rules::default() }
}

/// Runs `test` on one thread whose time is virtual; the same seed gives the same run.
pub fn simulate<T>(seed: u64, test: impl AsyncFnOnce() -> T) -> T {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    runtime.block_on(test())
}

impl World {
    /// An empty bundle; call it inside [`simulate`].
    pub async fn new() -> World {
        let way = |receiver: &SimReceiver| -> Arc<dyn Deliver> { Arc::new(receiver.clone()) };
        World::with(None, |trader| Arc::new(trader.outbound()), way).await
    }

    /// An empty bundle whose only provider is the trader: nothing reads a list in it.
    pub async fn of_trader() -> World {
        let urls = (TRADER_URL, NOTIFY_URL);
        let settings = provider_settings(urls, &format!("http://{PAYPROTOCOL_HOST}"));
        let mut settings: Value = serde_json::from_str(&settings).expect("settings are JSON");
        settings.as_object_mut().expect("an object").retain(|name, _| name == "trader");
        let keys = json!({"trader": {"key": TRADER_KEY}});
        let accounts = Accounts { settings, keys, default: "trader".to_owned() };
        let way = |receiver: &SimReceiver| -> Arc<dyn Deliver> { Arc::new(receiver.clone()) };
        World::with(Some(accounts), |trader| Arc::new(trader.outbound()), way).await
    }

    /// An empty bundle with other provider accounts, reached over `outbound`, and with another way to the
    /// receivers.
    pub async fn with(
        accounts: Option<Accounts>,
        outbound: impl FnOnce(&SimTrader) -> Arc<dyn Outbound>,
        way: impl FnOnce(&SimReceiver) -> Arc<dyn Deliver>,
    ) -> World {
        let trader = SimTrader::open(TRADER_APPID, TRADER_KEY, None).expect("no file is read");
        let clock = SharedClock::simulated();
        let receiver = SimReceiver::default();
        let account = payprotocol_account("https://recharge.invalid");
        let payprotocol = SimPayProtocol::open(account, clock.clone(), None);
        let payprotocol = payprotocol.expect("no file is read");
        let setup = Setup {
            dir: None,
            door: Arc::new(clock.clone()),
            clock,
            provider_url: TRADER_URL.to_owned(),
            notify_url: NOTIFY_URL.to_owned(),
            payprotocol: payprotocol.clone(),
            payprotocol_url: format!("http://{PAYPROTOCOL_HOST}"),
            lookahead: Duration::ZERO,
            accounts,
            rules: rules(),
            way: way(&receiver),
            mode: Mode::Live,
            metrics: Metrics::default(),
        };
        let outbound = Arc::new(ByHost {
            host: PAYPROTOCOL_HOST,
            there: Arc::new(payprotocol.outbound()),
            elsewhere: outbound(&trader),
        });
        let stack = Stack::open(setup, trader.clone(), |aws| aws.http_client(), outbound).await;
        let stack = stack.expect("the bundle opens in memory");
        World { stack, trader, payprotocol, receiver, requests: std::cell::Cell::new(0) }
    }

    /// A new instance of all functions whose outside calls go through `faults`.
    pub fn instance(&self, faults: &Faults, attempts: u32) -> Functions {
        let inner = self.stack.ground.outbound.clone();
        let way = self.stack.ground.way.clone();
        let ground = Ground {
            wire: faults.wrap(self.stack.ground.aws.http_client()),
            outbound: Arc::new(FaultyOutbound { inner, faults: faults.clone() }),
            way: Arc::new(FaultyWay { inner: way, faults: faults.clone() }),
            attempts,
            ..self.stack.ground.clone()
        };
        Functions::new(&ground).expect("the same settings have built the first instance")
    }

    /// This world's clock.
    pub fn clock(&self) -> &SharedClock {
        &self.stack.ground.clock
    }

    /// Moves time on, for everybody.
    pub async fn pass(&self, secs: u64) {
        tokio::time::sleep(Duration::from_secs(secs)).await;
    }

    /// A request as the gateway received it.
    pub fn incoming(
        &self,
        method: &str,
        target: &str,
        headers: HeaderMap,
        body: &[u8],
    ) -> Incoming {
        self.requests.set(self.requests.get() + 1);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Incoming {
            method: Method::from_bytes(method.as_bytes()).expect("a verb"),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: body.to_vec(),
            request_id: format!("request-{}", self.requests.get()),
            received_ms: self.clock().now_ms(),
        }
    }

    /// A request signed by the demo merchant.
    pub fn signed(&self, (method, target): (&str, &str), body: &str, key: &str) -> Incoming {
        self.signed_as(API_KEYS[0], (method, target), body, key)
    }

    /// A request signed by any merchant.
    pub fn signed_as(
        &self,
        api_key: ApiKey<'_>,
        (method, target): (&str, &str),
        body: &str,
        key: &str,
    ) -> Incoming {
        let now = self.clock().now_ms() / 1_000;
        let claim = (now, api_key.id, key);
        let signature = sign(api_key.secret, (method, target), claim, body.as_bytes());
        let mut headers = headers(&[
            ("x-api-key", api_key.id),
            ("x-timestamp", &now.to_string()),
            ("x-signature", &signature),
            ("content-type", "application/json"),
        ]);
        if !key.is_empty() {
            headers.insert("idempotency-key", HeaderValue::from_str(key).expect("a header value"));
        }
        self.incoming(method, target, headers, body.as_bytes())
    }

    /// A request without credentials.
    pub fn unsigned(
        &self,
        (method, target): (&str, &str),
        given: &[(&str, &str)],
        body: &[u8],
    ) -> Incoming {
        self.incoming(method, target, headers(given), body)
    }

    /// The provider's callback as it reaches the gateway.
    pub fn callback(&self, callback: &CallbackRequest) -> Incoming {
        let headers = [("content-type", callback.content_type.as_str())];
        self.unsigned(("POST", "/recharges/callback/trader"), &headers, &callback.body)
    }

    /// Sends a request to the bundle's own instance.
    pub async fn send(&self, incoming: &Incoming) -> Answered {
        self.send_to(&self.stack.functions, incoming).await
    }

    /// Sends a request to `functions`, along the template's routes.
    pub async fn send_to(&self, functions: &Functions, incoming: &Incoming) -> Answered {
        let response = self.stack.request_to(functions, incoming).await;
        let (parts, body) = response.into_parts();
        let text = String::from_utf8_lossy(&body).into_owned();
        Answered {
            status: parts.status.as_u16(),
            headers: parts.headers,
            json: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }

    /// `POST /recharges` for `user` by the demo merchant.
    pub async fn create(&self, user: &str, minor: i64, key: &str) -> Answered {
        self.send(&self.create_request(user, minor, key)).await
    }

    /// The request of [`World::create`].
    pub fn create_request(&self, user: &str, minor: i64, key: &str) -> Incoming {
        let body = serde_json::json!({
            "userId": user, "amount": minor, "currency": "USDT", "callbackUrl": CALLBACK_URL,
        });
        self.signed(("POST", "/recharges"), &body.to_string(), key)
    }

    /// The payer pays; the callback that the provider makes of it.
    pub fn pay(&self, order: &str, minor: Option<i64>) -> CallbackRequest {
        self.stack.pay(order, minor).expect("the provider has the order").0
    }

    /// Sends the callback to the webhook.
    pub async fn deliver(&self, callback: &CallbackRequest) -> Answered {
        self.send(&self.callback(callback)).await
    }

    /// Somebody sends USDT to a deposit address, a plain decimal number of it; the deposit with its first
    /// callback, which is not sent yet.
    pub fn deposit(&self, address: &str, amount: &str) -> Deposited {
        self.transfer(&Transfer { address, amount, currency: "USDT", silent: false })
    }

    /// Somebody sends anything to a deposit address.
    pub fn transfer(&self, transfer: &Transfer<'_>) -> Deposited {
        self.stack.deposit(transfer).expect("the provider has the address").0
    }

    /// Sends Pay Protocol's callback to the webhook, and tells it the answer.
    pub async fn deliver_payprotocol(&self, callback: &payprotocol::CallbackRequest) -> Answered {
        let headers: Vec<(&str, &str)> =
            callback.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let path = ("POST", PAYPROTOCOL_CALLBACK_PATH);
        let answered = self.send(&self.unsigned(path, &headers, &callback.body)).await;
        self.payprotocol.answered(callback.recharge_id, answered.status, &answered.text);
        answered
    }

    /// Sends whatever callbacks Pay Protocol wants to send by now; how many.
    pub async fn deliver_due(&self) -> usize {
        let due = self.payprotocol.due(self.stack.ground.door.now());
        for callback in &due {
            self.deliver_payprotocol(callback).await;
        }
        due.len()
    }

    /// Runs the worker until the settlement queue has nothing to take.
    pub async fn settle(&self) {
        while self.stack.settle_batch(0).await.expect("a batch") > 0 {}
    }

    /// Runs the notifier until the notification queue has nothing to take.
    pub async fn notify(&self) {
        while self.stack.notify_batch(0).await.expect("a batch") > 0 {}
    }

    /// Polls, settles and notifies once a minute for `minutes`.
    pub async fn let_pass(&self, minutes: u64) {
        for _ in 0..minutes {
            self.pass(60).await;
            self.stack.poll().await.expect("a run");
            self.settle().await;
            self.notify().await;
        }
    }

    /// Gives the demo merchant an address at which it hears of orders that name none.
    pub async fn give_default_address(&self) {
        let aws = &self.stack.ground.aws;
        let keys = json!({"secrets": [DEMO_NOTIFICATION_SECRET], "url": CALLBACK_URL});
        let put = aws.secrets(aws.http_client(), 3).put_secret_value();
        let put = put.secret_id(&self.stack.names.notification_keys);
        let put = put.secret_string(json!({API_KEYS[0].merchant: keys}).to_string());
        put.send().await.expect("the secret is there");
    }

    /// The order as the demo merchant sees it.
    pub async fn order(&self, id: &str) -> Value {
        self.send(&self.signed(("GET", &format!("/recharges/{id}")), "", "")).await.json
    }

    /// What is wrong with what merchants were told: every committed notice has reached its receiver, every
    /// notification is of a committed notice, and one id never had two bodies.
    pub async fn untold(&self) -> Vec<String> {
        // Orders that payments make have no address of their own, and the demo merchant no default.
        self.untold_of(|order| order.callback_url.is_some()).await
    }

    /// The same of those orders that somebody `wants` to hear of.
    pub async fn untold_of(&self, wants: impl Fn(&Order) -> bool) -> Vec<String> {
        let aws = &self.stack.ground.aws;
        let store = Store::new(aws.dynamodb(aws.http_client(), 3), self.stack.names.table.clone());
        let mut wanted = BTreeMap::new();
        for row in self.books().orders {
            let id = OrderId::parse(&row.id).expect("an order id");
            let order =
                store.order(&id).await.expect("the table reads").expect("the order is there");
            if !wants(&order) {
                continue;
            }
            wanted.extend(order.notices().iter().map(|n| (n.id(), notice_body(n))));
        }
        let mut told = BTreeSet::new();
        let mut problems = Vec::new();
        for received in self.receiver.received() {
            let Notification { id, body, .. } = received.notification;
            if wanted.get(&id) != Some(&body) {
                problems.push(format!("told {id} with {body}, committed is {:?}", wanted.get(&id)));
            }
            told.insert(id);
        }
        let missing = wanted.keys().filter(|id| !told.contains(*id));
        problems.extend(missing.map(|id| format!("nobody was told {id}: {}", wanted[id])));
        problems
    }

    /// The books.
    pub fn books(&self) -> Books {
        let database = self.stack.ground.aws.database();
        books::read(database, &self.stack.names.table).expect("the table reads")
    }
}

/// Runs `work` until it is done or `faults` kill it.
pub async fn until_crash<T>(faults: &Faults, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = faults.crashed() => None,
    }
}

fn headers(given: &[(&str, &str)]) -> HeaderMap {
    given
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            (name, HeaderValue::from_str(value).expect("a header value"))
        })
        .collect()
}
