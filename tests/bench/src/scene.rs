//! What the bootstraps are measured on: one bundle in memory, its services and its provider on ports, and a
//! second set of services for the floor. Makes the events beforehand, each signed and each to be sent once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use lambda_http::Body;
use recharge_local::aws::template::Template;
use recharge_local::aws::{ATTEMPTS_DEFAULT, EmbeddedAws, SharedClock, server};
use recharge_local::call::{ADMIN_KEYS, API_KEYS, ApiKey};
use recharge_local::events::{Incoming, gateway_event, schedule_event};
use recharge_local::functions::HttpFunction;
use recharge_local::sim::payprotocol::SimPayProtocol;
use recharge_local::sim::receiver::SimReceiver;
use recharge_local::sim::trader::{self, SimTrader};
use recharge_local::stack::{
    Accounts, Setup, Stack, TRADER_APPID, TRADER_KEY, payprotocol_account, prepare,
    provider_settings,
};
use recharge_shared::auth::sign;
use recharge_shared::clock::{Clock, SystemClock};
use recharge_shared::domain::{Merchant, MerchantId, Mode};
use recharge_shared::egress::Rules;
use recharge_shared::metrics::Metrics;
use recharge_shared::store::Store;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const TEMPLATE: &str = include_str!("../../../infra/template.yaml");
/// Where the demo merchant's notices go: the guard refuses it before a socket is opened.
const NOWHERE: &str = "https://127.0.0.1/hook";
/// As many creates a second as the table can hold as a setting.
const CREATES_MAX: u32 = 100_000;
/// Orders that are made side by side.
const AT_ONCE: usize = 64;

/// The bundle, the floor's services, and where both are reached.
#[derive(Debug)]
pub struct Scene {
    /// The bundle.
    pub stack: Stack,
    /// Its template, with the settings of each function.
    pub template: Template,
    /// Where its services are.
    pub aws_url: String,
    /// The floor's services.
    pub floor: EmbeddedAws,
    /// Where those are.
    pub floor_url: String,
    /// Where services are in which nothing is due.
    pub quiet_url: String,
}

/// A free port of this machine.
pub async fn listen() -> Result<(TcpListener, String), String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    Ok((listener, format!("http://{address}")))
}

impl Scene {
    /// Everything empty, in memory, on the machine's clock; the trader is the only provider, as in the
    /// template's defaults.
    pub async fn open() -> Result<Scene, String> {
        let (aws, aws_url) = listen().await?;
        let (provider, provider_url) = listen().await?;
        let (floor_listener, floor_url) = listen().await?;
        let (quiet_listener, quiet_url) = listen().await?;
        let trader = SimTrader::open(TRADER_APPID, TRADER_KEY, None).map_err(|e| e.to_string())?;
        let clock = SharedClock::system();
        let account = payprotocol_account("https://recharge.invalid");
        let payprotocol = SimPayProtocol::open(account, clock.clone(), None);
        let notify_url = "https://recharge.invalid/recharges/callback/trader".to_owned();
        let settings = provider_settings((&provider_url, &notify_url), "http://none.invalid");
        let mut settings: Value = serde_json::from_str(&settings).map_err(|e| e.to_string())?;
        if let Some(settings) = settings.as_object_mut() {
            settings.retain(|name, _| name == "trader");
        }
        let keys = json!({"trader": {"key": TRADER_KEY}});
        let accounts = Accounts { settings, keys, default: "trader".to_owned() };
        let setup = Setup {
            dir: None,
            clock: clock.clone(),
            payprotocol: payprotocol.map_err(|e| e.to_string())?,
            payprotocol_url: "http://none.invalid".to_owned(),
            door: Arc::new(SystemClock),
            provider_url,
            notify_url,
            lookahead: Duration::ZERO,
            accounts: Some(accounts),
            mode: Mode::Live,
            metrics: Metrics::default(),
            rules: Rules::default(),
            way: Arc::new(SimReceiver::default()),
        };
        let outbound = Arc::new(trader.outbound());
        let stack = Stack::open(setup, trader.clone(), |aws| aws.http_client(), outbound).await?;
        let parameters = [("ProviderSettings", stack.ground.provider_settings.clone())];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value)).into();
        let template = Template::read(TEMPLATE, &parameters, &aws_url);
        let template = template.map_err(|e| e.to_string())?;
        let floor = EmbeddedAws::open(None, clock.clone()).map_err(|e| e.to_string())?;
        let quiet = EmbeddedAws::open(None, clock).map_err(|e| e.to_string())?;
        prepare(&quiet).await?;
        tokio::spawn(server::serve(aws, stack.ground.aws.clone()));
        tokio::spawn(server::serve(floor_listener, floor.clone()));
        tokio::spawn(server::serve(quiet_listener, quiet));
        tokio::spawn(trader::serve(provider, trader));
        let scene = Scene { stack, template, aws_url, floor, floor_url, quiet_url };
        scene.prepare().await?;
        Ok(scene)
    }

    /// The demo merchant may create as much as it likes, and its notices go nowhere.
    async fn prepare(&self) -> Result<(), String> {
        allow_any_rate(&self.stack).await?;
        let aws = &self.stack.ground.aws;
        let secret = recharge_local::stack::DEMO_NOTIFICATION_SECRET;
        let keys = json!({API_KEYS[0].merchant: {"secrets": [secret], "url": NOWHERE}});
        let secrets = aws.secrets(aws.http_client(), ATTEMPTS_DEFAULT);
        let put = secrets.put_secret_value().secret_id(&self.stack.names.notification_keys);
        let put = put.secret_string(keys.to_string()).send().await;
        put.map(drop).map_err(|e| e.to_string())
    }

    /// The callbacks of `count` orders that were just paid, as the gateway hands them over.
    pub async fn paid(&self, count: usize, name: &str) -> Result<Vec<Value>, String> {
        let mut paid = Vec::with_capacity(count);
        let numbers: Vec<usize> = (0..count).collect();
        for chunk in numbers.chunks(AT_ONCE) {
            let made = chunk.iter().map(|number| self.pay(format!("{name}-{number}")));
            for made in futures_util::future::join_all(made).await {
                paid.push(made?);
            }
        }
        Ok(paid)
    }

    async fn pay(&self, key: String) -> Result<Value, String> {
        let answer = self.call(HttpFunction::CreateOrder, create(&key)).await?;
        let order = answer["orderId"].as_str().ok_or_else(|| answer.to_string())?;
        let (callback, _) = self.stack.pay(order, None)?;
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_str(&callback.content_type).map_err(|e| e.to_string())?;
        headers.insert("content-type", kind);
        let route = "/recharges/callback/{provider}";
        let parameters = [("provider", "trader")];
        let target = ("POST", "/recharges/callback/trader", route);
        Ok(event(target, headers, &callback.body, &parameters))
    }

    /// The function's JSON answer to `event`; `null` when it is no JSON.
    pub async fn call(&self, function: HttpFunction, event: Value) -> Result<Value, String> {
        let response = self.stack.functions.http(function, event).await;
        let status = response.status();
        let text = match response.into_body() {
            Body::Text(text) => text,
            _ => String::new(),
        };
        if !status.is_success() {
            return Err(format!("{status}: {text}"));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Takes all messages that wait in `queue`, as they would reach a function.
    pub fn bodies(&self, queue: &str) -> Vec<String> {
        let view = self.stack.ground.aws.queues().view(queue);
        view.into_iter().flat_map(|view| view.messages).map(|message| message.body).collect()
    }
}

/// Lifts the demo merchant's limit of creates.
pub async fn allow_any_rate(stack: &Stack) -> Result<(), String> {
    let aws = &stack.ground.aws;
    let client = aws.dynamodb(aws.http_client(), ATTEMPTS_DEFAULT);
    let store = Store::new(client, stack.names.table.clone());
    let merchant = MerchantId::parse(API_KEYS[0].merchant).ok_or("no merchant id")?;
    let limits =
        Merchant { creates_per_second: CREATES_MAX, burst: CREATES_MAX, ..Merchant::default() };
    store.set_merchant(&merchant, &limits).await.map_err(|e| e.to_string())
}

/// `POST /recharges`, signed now.
pub fn create(key: &str) -> Value {
    let body = json!({"userId": "u_1", "amount": 5_000_000, "currency": "USDT"}).to_string();
    signed(API_KEYS[0], ("POST", "/recharges", "/recharges"), (&body, key), &[])
}

/// `GET /recharges/{orderId}`, signed now.
pub fn status(order: &str) -> Value {
    let path = format!("/recharges/{order}");
    let target = ("GET", path.as_str(), "/recharges/{orderId}");
    signed(API_KEYS[0], target, ("", ""), &[("orderId", order)])
}

/// `GET /admin/reviews`, signed now.
pub fn reviews() -> Value {
    signed(ADMIN_KEYS[0], ("GET", "/admin/reviews", "/admin/reviews"), ("", ""), &[])
}

/// The scheduler's own event.
pub fn tick() -> Value {
    schedule_event()
}

/// A batch of queue messages as Lambda hands it over.
pub fn batch(bodies: &[String]) -> Value {
    let record = |(number, body): (usize, &String)| {
        json!({
            "messageId": format!("059f36b4-87a3-44ab-83d2-{number:012}"),
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a1",
            "body": body,
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1700000100000",
                "SenderId": "AROAEXAMPLE:webhook",
                "ApproximateFirstReceiveTimestamp": "1700000100005",
            },
            "messageAttributes": {},
            "md5OfBody": "9bfb8868e8ac3484e9771de48a785f42",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:queue",
            "awsRegion": "us-east-1",
        })
    };
    json!({"Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>()})
}

fn signed(
    key: ApiKey<'_>,
    (method, path, route): (&str, &str, &str),
    (body, idempotency_key): (&str, &str),
    parameters: &[(&str, &str)],
) -> Value {
    let now = SystemClock.now().secs();
    let claim = (now, key.id, idempotency_key);
    let signature = sign(key.secret, (method, path), claim, body.as_bytes());
    let now = now.to_string();
    let given = [
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("idempotency-key", idempotency_key),
        ("user-agent", "merchant-backend/1.4"),
        ("x-api-key", key.id),
        ("x-signature", signature.as_str()),
        ("x-timestamp", now.as_str()),
    ];
    let header = |(name, value): (&'static str, &str)| {
        let value = HeaderValue::from_str(value).ok().filter(|value| !value.is_empty())?;
        Some((HeaderName::from_static(name), value))
    };
    let headers: HeaderMap = given.into_iter().filter_map(header).collect();
    event((method, path, route), headers, body.as_bytes(), parameters)
}

fn event(
    (method, path, route): (&str, &str, &str),
    headers: HeaderMap,
    body: &[u8],
    parameters: &[(&str, &str)],
) -> Value {
    let now_ms = SystemClock.now().millis();
    let incoming = Incoming {
        method: Method::from_bytes(method.as_bytes()).unwrap_or_default(),
        path: path.to_owned(),
        query: String::new(),
        headers,
        body: body.to_vec(),
        request_id: format!("bench-{now_ms}"),
        received_ms: now_ms,
    };
    let parameters: BTreeMap<String, String> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    gateway_event(&incoming, &format!("{method} {route}"), &parameters)
}
