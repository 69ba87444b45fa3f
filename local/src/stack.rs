//! One bundle: the template's resources on embedded services, the functions on top, the simulated
//! provider beside them; and what a tester may see of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use recharge_shared::app::notify::Deliver;
use recharge_shared::clock::Clock;
use recharge_shared::domain::{Currency, Mode, Money, OrderId, ProviderName};
use recharge_shared::egress::Rules;
use recharge_shared::metrics::Metrics;
use recharge_shared::outbound::Outbound;
use serde_json::{Value, json};

use crate::aws::template::{QueueSource, Route, Template, apply};
use crate::aws::{ATTEMPTS_DEFAULT, EMBEDDED_URL, EmbeddedAws, SharedClock};
use crate::books;
use crate::call::{ADMIN_KEYS, API_KEYS};
use crate::functions::{Functions, Ground, HttpFunction};
use crate::gateway::GatewayRoute;
use crate::sim::payprotocol::{self, Deposited, SimAccount, SimCurrency, SimPayProtocol, Transfer};
use crate::sim::trader::{CallbackRequest, SimTrader};

/// The one definition of tables, queues, routes and schedules.
const TEMPLATE: &str = include_str!("../../infra/template.yaml");

/// The merchant that stands for whoever runs the stack: its admins see everybody's reviews.
pub const OPERATOR: &str = "operator";

/// The simulated trader account.
pub const TRADER_APPID: &str = "APPTEST0001";
/// What both sides of it sign with.
pub const TRADER_KEY: &str = "trader-test-key-0123";

/// The simulated Pay Protocol's name among the providers.
pub const PAYPROTOCOL: &str = "payprotocol";
/// The simulated account there.
pub const PAYPROTOCOL_API_KEY: &str = "PPLOCAL1";
/// What both sides of it sign with.
pub const PAYPROTOCOL_SECRET: &str = "pp-test-secret-0123456789abcdef";
/// Where its callbacks come in, as they are signed.
pub const PAYPROTOCOL_CALLBACK_PATH: &str = "/recharges/callback/payprotocol";

/// The simulated account at Pay Protocol, whose callbacks go to the bundle at `url`.
pub fn payprotocol_account(url: &str) -> SimAccount {
    SimAccount {
        api_key: PAYPROTOCOL_API_KEY.to_owned(),
        secret: PAYPROTOCOL_SECRET.to_owned(),
        notify_url: format!("{url}{PAYPROTOCOL_CALLBACK_PATH}"),
    }
}

/// A queue with its worker's dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueNames {
    /// The queue.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Its ARN.
    pub arn: String,
    /// Its dead-letter queue.
    pub dead_letters: String,
    /// The URL of that.
    pub dead_letters_url: String,
    /// How often the worker tries a message that it cannot handle before it goes there.
    pub tries_max: u32,
    /// Messages a batch.
    pub batch_size: i32,
}

/// What the demo merchant's notifications are signed with.
pub const DEMO_NOTIFICATION_SECRET: &str = "whsec_ZGVtby1ub3RpZmljYXRpb24tc2VjcmV0LTAxMjM0NTY3ODk=";

/// What the template's resources are called here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The table.
    pub table: String,
    /// The settlement queue.
    pub settlement: String,
    /// Its URL.
    pub settlement_url: String,
    /// Its ARN.
    pub settlement_arn: String,
    /// Its dead-letter queue.
    pub dead_letters: String,
    /// The URL of that.
    pub dead_letters_url: String,
    /// How often the worker tries a message that it cannot handle before it goes there.
    pub tries_max: u32,
    /// Messages a batch.
    pub batch_size: i32,
    /// The amount from which two people have to decide together, in whole units of any currency.
    pub two_from: u64,
    /// The merchant whose admins see everybody's reviews.
    pub operator: String,
    /// The notification queue.
    pub notifications: QueueNames,
    /// The secret of the merchants' notification keys.
    pub notification_keys: String,
    /// The secret of client keys.
    pub client_keys: String,
    /// The secret of provider keys.
    pub provider_keys: String,
    /// The provider of orders that name none.
    pub default_provider: String,
    /// Between two ticks of the schedule, in milliseconds.
    pub poll_every_ms: i64,
}

/// Provider accounts instead of the simulated ones.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// `PROVIDER_SETTINGS`.
    pub settings: Value,
    /// The document of their keys.
    pub keys: Value,
    /// The provider of orders that name none.
    pub default: String,
}

/// How a stack is set up.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Where state is kept; nowhere without it.
    pub dir: Option<&'a Path>,
    /// The clock of orders, queues and the schedule.
    pub clock: SharedClock,
    /// The clock by which signatures from outside are judged.
    pub door: Arc<dyn Clock>,
    /// The provider's base URL, as the functions call it.
    pub provider_url: String,
    /// Where the provider sends its callbacks.
    pub notify_url: String,
    /// The simulated Pay Protocol.
    pub payprotocol: SimPayProtocol,
    /// Its scheme and host, as the functions call it.
    pub payprotocol_url: String,
    /// How far ahead the poller looks.
    pub lookahead: Duration,
    /// Other provider accounts than the simulated ones.
    pub accounts: Option<Accounts>,
    /// Where notifications may go.
    pub rules: Rules,
    /// The way to merchants' receivers.
    pub way: Arc<dyn Deliver>,
    /// Whether money is real.
    pub mode: Mode,
    /// Where the functions' metrics go.
    pub metrics: Metrics,
}

/// One bundle.
#[derive(Debug)]
pub struct Stack {
    /// What the functions are built on.
    pub ground: Ground,
    /// The functions.
    pub functions: Functions,
    /// What things are called.
    pub names: Names,
    /// The gateway's routes.
    pub routes: Vec<GatewayRoute>,
    /// The simulated trader provider.
    pub trader: SimTrader,
    /// The simulated Pay Protocol.
    pub payprotocol: SimPayProtocol,
    /// Tells this run's requests from those of other runs.
    pub run_id: String,
    /// Held while the poller runs: whoever polls by hand sees its work done.
    pub polling: tokio::sync::Mutex<()>,
}

/// How full the settlement queue is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Waiting.
    pub visible: usize,
    /// Being worked on.
    pub in_flight: usize,
    /// Given up.
    pub dead: usize,
}

/// What the template's resources are called in a local stack.
pub fn template_names() -> Result<Names, String> {
    names(template()?)
}

/// The template with nothing but its defaults, read once in a process.
fn template() -> Result<&'static Template, String> {
    static READ: LazyLock<Result<Template, String>> = LazyLock::new(|| {
        let template = Template::read(TEMPLATE, &BTreeMap::new(), EMBEDDED_URL);
        template.map_err(|error| error.to_string())
    });
    READ.as_ref().map_err(String::clone)
}

/// The services with the template's resources and the demo merchants' and provider's keys.
pub async fn prepare(aws: &EmbeddedAws) -> Result<(Names, Vec<GatewayRoute>), String> {
    let template = template()?;
    apply(template, aws).await.map_err(|error| error.to_string())?;
    let names = names(template)?;
    let mut clients = serde_json::Map::new();
    for key in API_KEYS {
        let scopes = ["recharge:write", "recharge:read"];
        let entry = json!({"merchant": key.merchant, "secret": key.secret, "scopes": scopes});
        clients.insert(key.id.to_owned(), entry);
    }
    for key in ADMIN_KEYS {
        let entry = json!({"merchant": key.merchant, "secret": key.secret, "scopes": ["admin"]});
        clients.insert(key.id.to_owned(), entry);
    }
    put_secret(aws, &names.client_keys, Value::Object(clients)).await?;
    let providers = json!({
        &names.default_provider: {"key": TRADER_KEY},
        PAYPROTOCOL: {"key": PAYPROTOCOL_SECRET},
    });
    put_secret(aws, &names.provider_keys, providers).await?;
    let notifications = json!({API_KEYS[0].merchant: {"secrets": [DEMO_NOTIFICATION_SECRET]}});
    put_secret(aws, &names.notification_keys, notifications).await?;
    Ok((names, routes(template)?))
}

/// Creates the secret if it is not there; one that somebody has changed stays as it is.
async fn put_secret(aws: &EmbeddedAws, name: &str, document: Value) -> Result<(), String> {
    let client = aws.secrets(aws.http_client(), ATTEMPTS_DEFAULT);
    let create = client.create_secret().name(name).secret_string(document.to_string());
    match create.send().await {
        Ok(_) => Ok(()),
        Err(error)
            if error.as_service_error().is_some_and(|e| e.is_resource_exists_exception()) =>
        {
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn names(template: &Template) -> Result<Names, String> {
    let missing = |what: &str| format!("the template has no {what}");
    let secret = |id: &str| {
        let found = template.secrets.iter().find(|secret| secret.logical_id == id);
        found.map(|secret| secret.name.clone()).ok_or_else(|| missing(id))
    };
    let settlement = queue_of(template, "callback-worker")?;
    let schedule = template.schedules.first().ok_or_else(|| missing("schedule"))?;
    let webhook = template.functions.iter().find(|function| function.crate_name() == "webhook");
    let default_provider = webhook.and_then(|f| f.environment.get("DEFAULT_PROVIDER").cloned());
    Ok(Names {
        table: template.tables.first().ok_or_else(|| missing("table"))?.name.clone(),
        settlement_url: settlement.url,
        settlement_arn: settlement.arn,
        settlement: settlement.name,
        dead_letters_url: settlement.dead_letters_url,
        dead_letters: settlement.dead_letters,
        tries_max: settlement.tries_max,
        batch_size: settlement.batch_size,
        two_from: setting(template, "callback-worker", "REVIEW_TWO_FROM")?,
        operator: OPERATOR.to_owned(),
        notifications: queue_of(template, "notifier")?,
        notification_keys: secret("NotificationKeysSecret")?,
        client_keys: secret("ClientKeysSecret")?,
        provider_keys: secret("ProviderKeysSecret")?,
        default_provider: default_provider.ok_or_else(|| missing("DEFAULT_PROVIDER"))?,
        poll_every_ms: i64::try_from(schedule.every_seconds * 1_000).unwrap_or(60_000),
    })
}

/// A number that the template gives to a function.
fn setting(template: &Template, function: &str, name: &str) -> Result<u64, String> {
    let found = template.functions.iter().find(|found| found.crate_name() == function);
    let value = found.and_then(|found| found.environment.get(name));
    let number = value.and_then(|value| value.parse().ok());
    number.ok_or_else(|| format!("the template gives {function} no {name}"))
}

/// The queue that a function consumes.
fn queue_of(template: &Template, function: &str) -> Result<QueueNames, String> {
    let missing = || format!("the template has no queue of {function}");
    let consumes = |source: &&QueueSource| {
        let consumer = template.function(&source.function_logical_id);
        consumer.is_some_and(|consumer| consumer.crate_name() == function)
    };
    let source = template.queue_sources.iter().find(consumes).ok_or_else(missing)?;
    let queue = template.queue(&source.queue_logical_id).ok_or_else(missing)?;
    let redrive = queue.redrive.as_ref().ok_or_else(missing)?;
    let dead = template.queue(&redrive.target_logical_id).ok_or_else(missing)?;
    let consumer = template.function(&source.function_logical_id).ok_or_else(missing)?;
    let tries = consumer.environment.iter().find(|(name, _)| name.ends_with("_TRIES_MAX"));
    let tries = tries.and_then(|(_, value)| value.parse().ok());
    let url = |name: &str| format!("{EMBEDDED_URL}/{}/{name}", crate::aws::sqs::ACCOUNT);
    Ok(QueueNames {
        url: url(&queue.name),
        arn: format!("arn:aws:sqs:us-east-1:{}:{}", crate::aws::sqs::ACCOUNT, queue.name),
        name: queue.name.clone(),
        dead_letters_url: url(&dead.name),
        dead_letters: dead.name.clone(),
        tries_max: tries.ok_or_else(missing)?,
        batch_size: i32::try_from(source.batch_size).unwrap_or(10),
    })
}

fn routes(template: &Template) -> Result<Vec<GatewayRoute>, String> {
    let route = |route: &Route| {
        let function = template.function(&route.function_logical_id);
        let function = match function.map(|function| function.crate_name()) {
            Some("create-order") => HttpFunction::CreateOrder,
            Some("webhook") => HttpFunction::Webhook,
            Some("status-query") => HttpFunction::StatusQuery,
            Some("admin") => HttpFunction::Admin,
            other => return Err(format!("no function {other:?} behind {}", route.path)),
        };
        let key = match route.path.as_str() {
            Route::DEFAULT => Route::DEFAULT.to_owned(),
            path => format!("{} {path}", route.method),
        };
        Ok(GatewayRoute { key, function })
    };
    template.routes.iter().map(route).collect()
}

/// `PROVIDER_SETTINGS` for the simulated providers. The trader offers a query, and wants no pacing; of Pay
/// Protocol's currencies only USDT is credited.
pub fn provider_settings((trader_url, notify_url): (&str, &str), payprotocol_url: &str) -> String {
    let credited = payprotocol::CURRENCIES.iter().filter(|currency| currency.symbol == "USDT");
    let listed = |currency: &SimCurrency| {
        json!({
            "chain_id": currency.chain_id,
            "network": currency.network,
            "currency_id": currency.currency_id,
            "symbol": currency.symbol,
            "contract": currency.contract,
            "decimals": currency.decimals,
            "currency": "USDT",
        })
    };
    json!({
        "trader": {
            "appid": TRADER_APPID,
            "base_url": trader_url,
            "notify_url": notify_url,
            "allow_http": true,
            "min_call_interval_ms": 0,
            "query": {"path": "/api/merchant/OrderList"},
        },
        PAYPROTOCOL: {
            "kind": "payprotocol",
            "api_key": PAYPROTOCOL_API_KEY,
            "base_url": format!("{payprotocol_url}/api/mer"),
            "allow_http": true,
            "callback_paths": [PAYPROTOCOL_CALLBACK_PATH],
            "currencies": credited.map(listed).collect::<Vec<Value>>(),
        },
    })
    .to_string()
}

impl Stack {
    /// Opens the services and builds everything, over `wire` and `outbound` as made from them.
    pub async fn open(
        setup: Setup<'_>,
        trader: SimTrader,
        wire: impl FnOnce(&EmbeddedAws) -> SharedHttpClient,
        outbound: Arc<dyn Outbound>,
    ) -> Result<Stack, String> {
        let aws = EmbeddedAws::open(setup.dir, setup.clock.clone()).map_err(|e| e.to_string())?;
        let (mut names, routes) = prepare(&aws).await?;
        let trader_urls = (setup.provider_url.as_str(), setup.notify_url.as_str());
        let mut settings = provider_settings(trader_urls, &setup.payprotocol_url);
        if let Some(accounts) = setup.accounts {
            let client = aws.secrets(aws.http_client(), ATTEMPTS_DEFAULT);
            let put = client.put_secret_value().secret_id(&names.provider_keys);
            let put = put.secret_string(accounts.keys.to_string()).send().await;
            put.map_err(|error| error.to_string())?;
            settings = accounts.settings.to_string();
            names.default_provider = accounts.default;
        }
        let run_id = format!("local-{:x}", setup.clock.now_ms());
        let ground = Ground {
            wire: wire(&aws),
            aws,
            outbound,
            rules: setup.rules,
            way: setup.way,
            clock: setup.clock,
            door: setup.door,
            names: names.clone(),
            provider_settings: settings,
            attempts: ATTEMPTS_DEFAULT,
            lookahead: setup.lookahead,
            audit_page: 0,
            mode: setup.mode,
            metrics: setup.metrics,
        };
        let functions = Functions::new(&ground)?;
        let polling = tokio::sync::Mutex::new(());
        let payprotocol = setup.payprotocol;
        Ok(Stack { ground, functions, names, routes, trader, payprotocol, run_id, polling })
    }

    /// How full the settlement queue is.
    pub fn depth(&self) -> Depth {
        let view = |name: &str| self.ground.aws.queues().view(name);
        let queue = view(&self.names.settlement);
        let dead = view(&self.names.dead_letters);
        Depth {
            visible: queue.as_ref().map_or(0, |view| view.visible + view.delayed),
            in_flight: queue.as_ref().map_or(0, |view| view.in_flight),
            dead: dead.map_or(0, |view| view.messages.len()),
        }
    }

    /// How full the notification queue is.
    pub fn notification_depth(&self) -> Depth {
        let view = |name: &str| self.ground.aws.queues().view(name);
        let queue = view(&self.names.notifications.name);
        let dead = view(&self.names.notifications.dead_letters);
        Depth {
            visible: queue.as_ref().map_or(0, |view| view.visible + view.delayed),
            in_flight: queue.as_ref().map_or(0, |view| view.in_flight),
            dead: dead.map_or(0, |view| view.messages.len()),
        }
    }

    /// `GET /_local/state`.
    pub fn state(&self) -> Result<Value, String> {
        let books = books::read(self.ground.aws.database(), &self.names.table)?;
        let depth = |Depth { visible, in_flight, dead }: Depth| json!({"visible": visible, "inFlight": in_flight, "dead": dead});
        let balances: BTreeMap<String, Value> = books
            .balances
            .iter()
            .map(|((merchant, user, currency), held)| {
                // As a text where no JSON number is long enough.
                let amount = i64::try_from(held.amount)
                    .map_or_else(|_| json!(held.amount.to_string()), |amount| json!(amount));
                (format!("{merchant}/{user}/{currency}"), amount)
            })
            .collect();
        let violations = books.violations();
        Ok(json!({
            "now": self.ground.clock.now_ms().div_euclid(1_000),
            "orders": books.orders.len(),
            "ordersByStatus": books.orders_by_state(),
            "credits": books.credits.len(),
            "balances": balances,
            "ledgerBalanced": violations.is_empty(),
            "violations": violations,
            "providerOrders": self.trader.provider_orders(),
            "providerDeposits": self.payprotocol.deposits(),
            "queues": {
                "settlement": depth(self.depth()),
                "notifications": depth(self.notification_depth()),
            },
            "parked": books.parked,
        }))
    }

    /// The simulated payer pays `order`: `amount` minor units, or what was asked for. Gives the
    /// provider's callback and the amount.
    pub fn pay(&self, order: &str, amount: Option<i64>) -> Result<(CallbackRequest, i128), String> {
        let id = OrderId::parse(order).ok_or("orderId is no order id")?;
        let amount = amount.map(|minor| Money::new(i128::from(minor), Currency::Usdt));
        let paid = self.trader.pay(id.as_str(), amount, self.ground.door.now());
        paid.map_err(|error| error.to_string())
    }

    /// Somebody sends money to a deposit address; the deposit, and the order that it makes here.
    pub fn deposit(&self, transfer: &Transfer<'_>) -> Result<(Deposited, OrderId), String> {
        let name = ProviderName::parse(PAYPROTOCOL).ok_or("no provider of that name")?;
        let deposited = self.payprotocol.deposit(transfer, self.ground.door.now())?;
        let payment_id = deposited.recharge_id.to_string();
        let order = OrderId::of_payment(&name, PAYPROTOCOL_API_KEY, &payment_id);
        Ok((deposited, order))
    }

    /// The provider sends `callback` `times` times at once, over its own HTTP client; the answers.
    pub async fn deliver(&self, callback: &CallbackRequest, times: usize) -> Vec<Value> {
        let deliveries = (0..times).map(|_| self.trader.deliver(callback));
        let answers = futures_util::future::join_all(deliveries).await;
        let answer = |answer: Result<(u16, String), String>| match answer {
            Ok((status, body)) => json!({"status": status, "body": body}),
            Err(error) => json!({"error": error}),
        };
        answers.into_iter().map(answer).collect()
    }
}
