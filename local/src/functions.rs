//! The functions of the bundle put together on embedded services: each function's dependencies, built
//! the way its `main.rs` builds them, over any wire. Holds no state of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lambda_http::request::LambdaRequest;
use lambda_http::{Body, Request, RequestExt, Response};
use lambda_runtime::{Context, LambdaEvent};
use recharge_shared::app::admission::Admission;
use recharge_shared::app::merchants::Merchants;
use recharge_shared::app::notify::Deliver;
use recharge_shared::auth::Authenticator;
use recharge_shared::clock::Clock;
use recharge_shared::domain::{MerchantId, Mode, ProviderName, Timestamp};
use recharge_shared::egress::Rules;
use recharge_shared::http::gateway::tamed;
use recharge_shared::metrics::{Metrics, Stage};
use recharge_shared::outbound::Outbound;
use recharge_shared::providers::Providers;
use recharge_shared::providers::settings::ProviderSettings;
use recharge_shared::queue::{DeadLetters, NotificationQueue, SettlementQueue};
use recharge_shared::secrets::{CLIENT_KEYS, PROVIDER_KEYS, Secret};
use recharge_shared::store::Store;
use serde_json::{Value, json};

use crate::aws::roles::{guarded, in_role};
use crate::aws::{EmbeddedAws, SharedClock};
use crate::stack::Names;

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms())
    }
}

/// What the functions are built on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The embedded services.
    pub aws: EmbeddedAws,
    /// How they are reached: directly, or through faults.
    pub wire: SharedHttpClient,
    /// How providers are reached.
    pub outbound: Arc<dyn Outbound>,
    /// Where notifications may go.
    pub rules: Rules,
    /// How merchants' receivers are reached.
    pub way: Arc<dyn Deliver>,
    /// The clock of orders, schedules and queues.
    pub clock: SharedClock,
    /// The clock by which signatures from outside are judged.
    pub door: Arc<dyn Clock>,
    /// What things are called.
    pub names: Names,
    /// `PROVIDER_SETTINGS`.
    pub provider_settings: String,
    /// How often an SDK client tries a request.
    pub attempts: u32,
    /// `POLL_LOOKAHEAD_SECONDS`.
    pub lookahead: Duration,
    /// `AUDIT_PAGE`.
    pub audit_page: u32,
    /// `MODE`.
    pub mode: Mode,
    /// Where the functions' metrics go.
    pub metrics: Metrics,
}

/// All functions, each with its own dependencies.
#[derive(Debug)]
pub struct Functions {
    /// `create-order`.
    pub create_order: create_order::Deps,
    /// `webhook`.
    pub webhook: webhook::Deps,
    /// `callback-worker`.
    pub callback_worker: callback_worker::Deps,
    /// `status-query`.
    pub status_query: status_query::Deps,
    /// Parked money and decisions.
    pub admin: admin::Deps,
    /// `reconcile-poller`.
    pub reconcile_poller: reconcile_poller::Deps,
    /// `notifier`.
    pub notifier: notifier::Deps,
    clock: SharedClock,
    invocations: AtomicU64,
}

/// Which function an HTTP route belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFunction {
    /// `create-order`.
    CreateOrder,
    /// `webhook`.
    Webhook,
    /// `status-query`.
    StatusQuery,
    /// `admin`
    Admin,
}

impl HttpFunction {
    const fn role(self) -> &'static str {
        match self {
            HttpFunction::CreateOrder => "CreateOrderRole",
            HttpFunction::Webhook => "WebhookRole",
            HttpFunction::StatusQuery => "StatusQueryRole",
            HttpFunction::Admin => "AdminRole",
        }
    }
}

impl Functions {
    /// Builds them; like a cold start of all of them.
    pub fn new(ground: &Ground) -> Result<Functions, String> {
        let Ground { aws, wire, names, clock, attempts, .. } = ground;
        let store = Store::new(aws.dynamodb(guarded(wire.clone()), *attempts), names.table.clone());
        let queue =
            SettlementQueue::new(aws.sqs(wire.clone(), *attempts), names.settlement_url.clone())
                .of_stage(Stage::default());
        let dead_letters =
            DeadLetters::new(aws.sqs(wire.clone(), *attempts), names.dead_letters_url.clone());
        let notifications = NotificationQueue::new(
            aws.sqs(wire.clone(), *attempts),
            names.notifications.url.clone(),
        );
        let keys = Secret::new(
            aws.secrets(wire.clone(), *attempts),
            names.client_keys.clone(),
            CLIENT_KEYS,
        );
        let auth = Authenticator::new(Arc::new(keys), ground.door.clone());
        let settings = ProviderSettings::parse(&ground.provider_settings)
            .map_err(|error| error.to_string())?;
        let policies = settings.policies();
        let asks = policies.values().any(|policy| policy.confirm_from.is_some());
        let providers = || providers_of(ground, &settings);
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        Ok(Functions {
            create_order: create_order::Deps {
                admission: Admission::new(store.clone()),
                store: store.clone(),
                auth: auth.clone(),
                notifications: notifications.clone(),
                rules: ground.rules.clone(),
                providers: providers()?,
                clock: clock.clone(),
                metrics: ground.metrics.of("create-order"),
            },
            webhook: webhook::Deps {
                providers: providers()?,
                queue: queue.clone(),
                clock: ground.door.clone(),
                metrics: ground.metrics.of("webhook"),
            },
            callback_worker: callback_worker::Deps {
                mode: ground.mode,
                stage: Stage::default(),
                merchants: Merchants::new(store.clone()),
                store: store.clone(),
                providers: asks.then(providers).transpose()?,
                two_from: names.two_from,
                policies,
                notifications: notifications.clone(),
                dead_letters,
                tries_max: names.tries_max,
                clock: clock.clone(),
                metrics: ground.metrics.of("callback-worker"),
            },
            notifier: notifier_of(ground, store.clone()),
            status_query: status_query::Deps {
                store: store.clone(),
                auth: auth.clone(),
                clock: clock.clone(),
                metrics: ground.metrics.of("status-query"),
            },
            admin: admin_of(ground, (store.clone(), auth, queue.clone())),
            reconcile_poller: poller_of(ground, (store, queue, notifications), providers()?),
            clock: ground.clock.clone(),
            invocations: AtomicU64::new(0),
        })
    }

    /// Hands a gateway event to an HTTP function, through the event's own types.
    pub async fn http(&self, function: HttpFunction, event: Value) -> Response<Body> {
        let request_id = event["requestContext"]["requestId"].as_str().unwrap_or("").to_owned();
        // The gateway's trace is the invocation's, too.
        let xray = event["headers"]["x-amzn-trace-id"].as_str().map(str::to_owned);
        // lambda_http panics on events that the gateway never makes; the runtime turns that into a 5xx.
        let request = std::panic::catch_unwind(|| {
            serde_json::from_value::<LambdaRequest>(event).ok().map(tamed).map(Request::from)
        });
        let Ok(Some(request)) = request else { return failed_invocation() };
        let mut context = self.context(request_id, 10);
        context.xray_trace_id = xray;
        let request = request.with_lambda_context(context);
        // Behind a pointer: what waits for an answer need not know how a function is built.
        let handled: BoxFuture<'_, Result<Response<Body>, Infallible>> = match function {
            HttpFunction::CreateOrder => {
                Box::pin(create_order::handle(&self.create_order, request))
            }
            HttpFunction::Webhook => Box::pin(webhook::handle(&self.webhook, request)),
            HttpFunction::Admin => Box::pin(admin::handle(&self.admin, request)),
            HttpFunction::StatusQuery => {
                Box::pin(status_query::handle(&self.status_query, request))
            }
        };
        let Ok(response) = in_role(function.role(), handled).await;
        response
    }

    /// Hands an SQS event to the worker; the answer as Lambda reads it.
    pub async fn settle(&self, event: Value, request_id: String) -> Result<Value, String> {
        let payload = serde_json::from_value(event).map_err(|error| error.to_string())?;
        let event = LambdaEvent::new(payload, self.context(request_id, 30));
        let handled = callback_worker::handle(&self.callback_worker, event).boxed();
        let answer = in_role("CallbackWorkerRole", handled).await;
        let answer = answer.map_err(|error| error.to_string())?;
        serde_json::to_value(answer).map_err(|error| error.to_string())
    }

    /// Hands an SQS event to the notifier; the answer as Lambda reads it.
    pub async fn notify(&self, event: Value, request_id: String) -> Result<Value, String> {
        let payload = serde_json::from_value(event).map_err(|error| error.to_string())?;
        let event = LambdaEvent::new(payload, self.context(request_id, 60));
        let answer = in_role("NotifierRole", notifier::handle(&self.notifier, event).boxed()).await;
        let answer = answer.map_err(|error| error.to_string())?;
        serde_json::to_value(answer).map_err(|error| error.to_string())
    }

    /// Runs the poller once; its report.
    pub async fn poll(&self, request_id: String) -> Result<Value, String> {
        let event = LambdaEvent::new(crate::events::schedule_event(), self.context(request_id, 50));
        let handled = reconcile_poller::handle(&self.reconcile_poller, event).boxed();
        let report = in_role("ReconcilePollerRole", handled).await;
        report.map_err(|error| error.to_string())
    }

    fn context(&self, request_id: String, timeout_secs: i64) -> Context {
        let mut context = Context::default();
        let number = self.invocations.fetch_add(1, Ordering::Relaxed);
        context.request_id = format!("{request_id}/{number}");
        let deadline_ms = self.clock.now_ms().saturating_add(timeout_secs * 1_000);
        context.deadline = u64::try_from(deadline_ms).unwrap_or(0);
        context
    }
}

fn providers_of(ground: &Ground, settings: &ProviderSettings) -> Result<Providers, String> {
    let Ground { aws, wire, names, attempts, .. } = ground;
    let keys = aws.secrets(wire.clone(), *attempts);
    let keys = Secret::new(keys, names.provider_keys.clone(), PROVIDER_KEYS);
    let all = settings.clone().build(&Arc::new(keys), &ground.outbound);
    let all = all.map_err(|error| error.to_string())?;
    ProviderName::parse(&names.default_provider)
        .and_then(|default| Providers::new(default, all))
        .map(|all| all.in_mode(ground.mode))
        .ok_or_else(|| "the default provider is not configured".to_owned())
}

fn poller_of(
    ground: &Ground,
    (store, queue, notifications): (Store, SettlementQueue, NotificationQueue),
    providers: Providers,
) -> reconcile_poller::Deps {
    reconcile_poller::Deps {
        store,
        queue,
        notifications,
        providers,
        lookahead: ground.lookahead,
        audit_page: ground.audit_page,
        clock: Arc::new(ground.clock.clone()),
        metrics: ground.metrics.of("reconcile-poller"),
    }
}

fn admin_of(
    ground: &Ground,
    (store, auth, queue): (Store, Authenticator, SettlementQueue),
) -> admin::Deps {
    admin::Deps {
        store,
        auth,
        queue,
        two_from: ground.names.two_from,
        operator: MerchantId::parse(&ground.names.operator),
        clock: Arc::new(ground.clock.clone()),
        metrics: ground.metrics.of("admin"),
    }
}

fn notifier_of(ground: &Ground, store: Store) -> notifier::Deps {
    let Ground { aws, wire, names, attempts, .. } = ground;
    let keys = aws.secrets(wire.clone(), *attempts);
    let dead_letters = aws.sqs(wire.clone(), *attempts);
    notifier::Deps {
        store,
        keys: Secret::new(keys, names.notification_keys.clone(), CLIENT_KEYS),
        way: ground.way.clone(),
        dead_letters: DeadLetters::new(dead_letters, names.notifications.dead_letters_url.clone()),
        tries_max: names.notifications.tries_max,
        clock: Arc::new(ground.clock.clone()),
        metrics: ground.metrics.of("notifier"),
        silences: notifier::Silences::default(),
    }
}

/// What the gateway answers when a function fails.
fn failed_invocation() -> Response<Body> {
    let mut response =
        Response::new(json!({"message": "Internal Server Error"}).to_string().into());
    *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    response
}
