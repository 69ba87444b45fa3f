//! One run's world: the bundle, its instances, and how AWS invokes them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use recharge_local::aws::SharedClock;
use recharge_local::call::API_KEYS;
use recharge_local::events::Incoming;
use recharge_local::functions::{Functions, Ground};
use recharge_local::sim::receiver::SimReceiver;
use recharge_local::sim::trader::{CallbackRequest, SimTrader};
use recharge_local::stack::{Accounts, DEMO_NOTIFICATION_SECRET, TRADER_APPID, TRADER_KEY};
use recharge_shared::app::notify::Deliver;
use recharge_shared::bug::{self, Bug};
use recharge_shared::outbound::Outbound;
use recharge_tests::standard::ByHost;
use recharge_tests::{Answered, World};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::books::Books;
use crate::dice::Dice;
use crate::money::{self, Money};
use crate::plan::{Load, Plan};
use crate::provider::Truth;
use crate::trace::Trace;
use crate::wire::{INVOCATION, Invocation, Wire};

/// How often an SDK client tries a request, as the functions' own configuration has it.
const ATTEMPTS: u32 = 3;

/// A message that is none of ours.
pub const JUNK: &str = "not one of ours";

/// The run.
pub struct Sim {
    /// The bundle and the other side.
    pub world: World,
    /// The wire.
    pub wire: Wire,
    /// Chance.
    pub dice: Dice,
    /// What the run is like.
    pub plan: Plan,
    /// The provider's truth.
    pub truth: Truth,
    /// The other side, where payments are not orders.
    pub money: Option<Money>,
    /// What clients know.
    pub clients: RefCell<Clients>,
    /// Settlement messages that were done with: the queue may deliver them again.
    pub settled: RefCell<BTreeSet<String>>,
    /// Set when the chaos is over.
    pub is_over: Cell<bool>,
    /// What was wrong that the books do not show.
    pub violations: RefCell<Vec<String>>,
    pool: RefCell<BTreeMap<(&'static str, u64), Rc<Instance>>>,
    next_instance: Cell<u64>,
    next_invocation: Cell<u64>,
}

/// What clients know of their orders.
#[derive(Debug, Default)]
pub struct Clients {
    /// Idempotency key → order.
    pub orders: BTreeMap<String, String>,
    /// Keys whose creation was answered with 201, how often.
    pub created: BTreeMap<String, u64>,
    /// Orders whose callback the provider has heard an acknowledgement of.
    pub acknowledged: BTreeSet<String>,
    /// Callbacks as they were sent, for sending them again.
    pub callbacks: Vec<(String, CallbackRequest)>,
    /// Orders that their client has seen `SUCCESS`.
    pub seen_success: BTreeSet<String>,
}

/// An instance of the functions, with a clock of its own.
pub struct Instance {
    /// Its number.
    pub number: u64,
    /// Its functions.
    pub functions: Functions,
}

/// A message as it was received.
#[derive(Debug, Clone)]
pub struct Received {
    receipt: String,
    id: String,
    body: String,
    attributes: Value,
}

impl Sim {
    /// An empty bundle under `plan`.
    pub async fn new(plan: Plan, dice: Dice, keeps_trace: bool) -> Rc<Sim> {
        let money = (plan.load == Load::Money).then(Money::new);
        let policy = money.as_ref().map(|_| money::policy(&dice));
        let accounts = policy.as_ref().map_or_else(|| trader_account(&plan), money::accounts);
        let way = |receiver: &SimReceiver| -> Arc<dyn Deliver> { Arc::new(receiver.clone()) };
        let outbound = |trader: &SimTrader| -> Arc<dyn Outbound> {
            let other = Arc::new(trader.outbound());
            match &money {
                Some(money) => Arc::new(ByHost { standard: money.gate.clone(), other }),
                None => other,
            }
        };
        let world = World::with(Some(accounts), outbound, way).await;
        let truth = Truth::new(world.trader.clone());
        let aws = world.stack.ground.aws.clone();
        give_secrets(&world, plan.all_have_secrets).await;
        if let Some(receives_max) = plan.receives_max {
            redrive_after(&world, receives_max).await;
        }
        let funds = money.as_ref().map(|money| money.funds.clone());
        let books = (Books::new(plan.is_exact, funds), Trace::new(keeps_trace));
        let weather = (dice.clone(), plan.weather.clone());
        let wire = Wire::new((aws, truth.clone()), weather, books);
        wire.note(&format!("{plan:?}"));
        if let Some(policy) = policy {
            wire.note(&format!("policy {policy}"));
        }
        Rc::new(Sim {
            world,
            wire,
            dice,
            plan,
            truth,
            money,
            clients: RefCell::default(),
            settled: RefCell::default(),
            is_over: Cell::new(false),
            violations: RefCell::default(),
            pool: RefCell::default(),
            next_instance: Cell::new(0),
            next_invocation: Cell::new(0),
        })
    }

    /// Milliseconds of the clock.
    pub fn clock_ms(&self) -> i64 {
        self.world.clock().now_ms()
    }

    /// Something was wrong.
    pub fn violation(&self, what: String) {
        self.wire.note(&format!("VIOLATION {what}"));
        self.violations.borrow_mut().push(what);
    }

    /// Waits up to `ms_max`.
    pub async fn nap(&self, ms_max: u64) {
        tokio::time::sleep(Duration::from_millis(self.dice.below(ms_max))).await;
    }

    /// The instance that serves `role` at `place`; a new one where there is none.
    fn instance(&self, role: &'static str, place: u64) -> Rc<Instance> {
        if let Some(found) = self.pool.borrow().get(&(role, place)) {
            return found.clone();
        }
        let number = self.next_instance.get();
        self.next_instance.set(number + 1);
        let main = &self.world.stack.ground;
        let skew = i64::try_from(self.dice.between(0, 2 * self.plan.skew_ms_max)).unwrap_or(0)
            - i64::try_from(self.plan.skew_ms_max).unwrap_or(0);
        let clock = match skew {
            0 => main.clock.clone(),
            skew => SharedClock::starting_at(main.clock.now_ms() + skew),
        };
        let ground = Ground {
            wire: self.wire.aws_of(number),
            outbound: self.wire.provider_of(number, main.outbound.clone()),
            door: Arc::new(clock.clone()),
            clock,
            attempts: ATTEMPTS,
            ..main.clone()
        };
        #[expect(clippy::expect_used, reason = "the same settings have opened the world")]
        let functions = Functions::new(&ground).expect("the settings are whole");
        let instance = Rc::new(Instance { number, functions });
        self.pool.borrow_mut().insert((role, place), instance.clone());
        instance
    }

    /// From now on there are only fresh instances with right clocks, and nothing dies.
    pub fn quiet(&self) {
        self.wire.quiet();
        self.pool.borrow_mut().clear();
    }

    /// Runs `work` as an invocation of `role`: within its time limit, and perhaps not to its end.
    async fn invoke<T>(
        &self,
        (role, place, limit_secs, records): (&'static str, u64, u64, usize),
        work: impl AsyncFnOnce(&Functions, String) -> T,
    ) -> Option<T> {
        let number = self.next_invocation.get();
        self.next_invocation.set(number + 1);
        let name = format!("{role}#{number}");
        let instance = self.instance(role, place);
        let invocation = Arc::new(Invocation {
            name: name.clone(),
            records: records as u64,
            calls: AtomicU64::new(0),
            crash: Notify::new(),
        });
        let dies_after_ms = (!self.is_over.get() && self.dice.chance(self.plan.crash))
            .then(|| self.dice.below(*self.dice.pick(&[20, 200, 4_000])));
        let work = INVOCATION.scope(invocation.clone(), work(&instance.functions, name.clone()));
        let end = tokio::select! {
            biased;
            done = work => Ok(done),
            () = invocation.crash.notified() => Err("died on the wire"),
            () = after(dies_after_ms) => Err("died"),
            () = self.limit(instance.number, limit_secs) => Err("ran out of time"),
        };
        match end {
            Ok(done) => Some(done),
            Err(how) => {
                self.wire.note(&format!("{name} {how}"));
                self.pool.borrow_mut().remove(&(role, place));
                None
            }
        }
    }

    /// The time limit of an invocation: it stands still with its instance.
    async fn limit(&self, instance: u64, limit_secs: u64) {
        tokio::time::sleep(Duration::from_secs(limit_secs)).await;
        loop {
            let left = self.wire.frozen_until_ms(instance) - self.clock_ms();
            let Ok(left @ 1..) = u64::try_from(left) else { return };
            tokio::time::sleep(Duration::from_millis(left + 100)).await;
        }
    }

    /// A request through the gateway; nothing when the invocation died.
    pub async fn request(&self, incoming: &Incoming) -> Option<Answered> {
        let place = self.dice.below(self.plan.instances);
        let role = match incoming.path.as_str() {
            path if path.contains("/callback/") => "webhook",
            path if path.starts_with("/admin/") => "admin",
            _ if incoming.method == http::Method::GET => "status",
            _ => "create",
        };
        let answered = self
            .invoke((role, place, 10, 1), async |functions, _| {
                self.world.send_to(functions, incoming).await
            })
            .await;
        let status = answered.as_ref().map_or(0, |answered| answered.status);
        self.wire.note(&format!("{} {} {status}", incoming.method, incoming.path));
        // The answer may be lost on its way to the client.
        answered.filter(|_| self.is_over.get() || !self.dice.chance(30))
    }

    /// One run of the poller.
    pub async fn poll(&self, place: u64) {
        let report = self
            .invoke(("poller", place, 50, 1), async |functions, name| functions.poll(name).await);
        if let Some(Ok(report)) = report.await {
            self.wire.note(&format!("polled {report}"));
        }
    }

    /// One batch from the settlement queue to a worker; how many messages it took.
    pub async fn settle(&self, place: u64) -> usize {
        let names = &self.world.stack.names;
        let size = self.dice.between(1, u64::try_from(names.batch_size).unwrap_or(1));
        let batch = self.receive(&names.settlement_url, size).await;
        if batch.is_empty() {
            return 0;
        }
        let event = event(&batch, &names.settlement_arn);
        let answer = self
            .invoke(("worker", place, 30, batch.len()), async |functions, name| {
                functions.settle(event, name).await
            })
            .await;
        if let Some(Ok(mut answer)) = answer {
            // The handler's type spells the key for it; a bug of this kind has to be put here.
            if bug::is(Bug::M11) {
                answer = json!({"batchItemFailure": answer["batchItemFailures"]});
            }
            let done = self.delete(&names.settlement_url, &batch, &answer).await;
            self.settled.borrow_mut().extend(done);
        }
        batch.len()
    }

    /// One batch from the notification queue to a notifier; how many messages it took.
    pub async fn notify(&self, place: u64) -> usize {
        let queue = &self.world.stack.names.notifications;
        let batch = self.receive(&queue.url, 10).await;
        if batch.is_empty() {
            return 0;
        }
        let event = event(&batch, &queue.arn);
        let answer = self
            .invoke(("notifier", place, 60, batch.len()), async |functions, name| {
                functions.notify(event, name).await
            })
            .await;
        if let Some(Ok(answer)) = answer {
            self.delete(&queue.url, &batch, &answer).await;
        }
        batch.len()
    }

    async fn sqs(&self, operation: &str, request: Value) -> Value {
        let target = format!("AmazonSQS.{operation}");
        let body = request.to_string();
        let answer = self.world.stack.ground.aws.answer(&target, body.as_bytes()).await;
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    async fn receive(&self, url: &str, size: u64) -> Vec<Received> {
        let request = json!({
            "QueueUrl": url, "MaxNumberOfMessages": size, "WaitTimeSeconds": 0,
            "MessageSystemAttributeNames": ["All"],
        });
        let answer = self.sqs("ReceiveMessage", request).await;
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        let text = |message: &Value, name: &str| message[name].as_str().unwrap_or("").to_owned();
        messages
            .iter()
            .map(|message| Received {
                receipt: text(message, "ReceiptHandle"),
                id: text(message, "MessageId"),
                body: text(message, "Body"),
                attributes: message["Attributes"].clone(),
            })
            .collect()
    }

    /// Deletes what the answer does not name as failed, as Lambda does: an answer without the key, or with
    /// an empty one, deletes everything. Gives the bodies of what was done with.
    async fn delete(&self, url: &str, batch: &[Received], answer: &Value) -> Vec<String> {
        let failed = answer["batchItemFailures"].as_array().cloned().unwrap_or_default();
        let failed: BTreeSet<&str> =
            failed.iter().filter_map(|entry| entry["itemIdentifier"].as_str()).collect();
        let mut done = Vec::new();
        for message in batch.iter().filter(|message| !failed.contains(message.id.as_str())) {
            done.push(message.body.clone());
            if !self.is_over.get() && self.dice.chance(self.plan.delete_lost) {
                continue;
            }
            let request = json!({"QueueUrl": url, "ReceiptHandle": message.receipt});
            self.sqs("DeleteMessage", request).await;
        }
        done
    }

    /// Puts a message into a queue, as the queue itself or an operator does.
    pub async fn enqueue(&self, url: &str, body: &str) {
        self.sqs("SendMessage", json!({"QueueUrl": url, "MessageBody": body})).await;
    }

    /// Moves all dead letters back to their queues; how many there were.
    pub async fn redrive(&self) -> usize {
        let names = &self.world.stack.names;
        let notifications = &names.notifications;
        let mut moved = 0;
        for (from, to) in [
            (&names.dead_letters_url, &names.settlement_url),
            (&notifications.dead_letters_url, &notifications.url),
        ] {
            loop {
                let batch = self.receive(from, 10).await;
                if batch.is_empty() {
                    break;
                }
                for Received { receipt, body, .. } in batch {
                    // The operator throws away what was never ours.
                    if body != JUNK {
                        self.enqueue(to, &body).await;
                    }
                    let request = json!({"QueueUrl": from, "ReceiptHandle": receipt});
                    self.sqs("DeleteMessage", request).await;
                    moved += 1;
                }
            }
        }
        if moved > 0 {
            self.wire.note(&format!("redriven {moved}"));
        }
        moved
    }
}

async fn after(ms: Option<u64>) {
    match ms {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}

fn trader_account(plan: &Plan) -> Accounts {
    let amount = if plan.is_exact { "exact" } else { "credit_received" };
    let late = if plan.late_to_review { "review" } else { "credit" };
    let query = plan.can_query.then(|| json!({"path": "/api/merchant/OrderList"}));
    Accounts {
        settings: json!({"trader": {
            "appid": TRADER_APPID, "base_url": "http://trader.invalid", "allow_http": true,
            "notify_url": "https://recharge.invalid/recharges/callback/trader",
            "min_call_interval_ms": 0, "query": query,
            "policy": {"amount": amount, "late_payment": late},
        }}),
        keys: json!({"trader": {"key": TRADER_KEY}}),
        default: "trader".to_owned(),
    }
}

/// Where a merchant hears of its orders.
pub fn callback_url(merchant: usize) -> String {
    format!("https://hooks.merchant-{merchant}.example/recharge")
}

/// The merchants' notification secrets, and where they hear of orders that name no address; a merchant without
/// them hears nothing.
async fn give_secrets(world: &World, all: bool) {
    let keys = |merchant: usize| json!({"secrets": [DEMO_NOTIFICATION_SECRET], "url": callback_url(merchant)});
    let mut document = json!({API_KEYS[0].merchant: keys(0)});
    if all {
        document[API_KEYS[1].merchant] = keys(1);
    }
    let request = json!({
        "SecretId": world.stack.names.notification_keys, "SecretString": document.to_string(),
        "ClientRequestToken": "00000000-0000-4000-8000-000000000001",
    });
    let aws = &world.stack.ground.aws;
    aws.answer("secretsmanager.PutSecretValue", request.to_string().as_bytes()).await;
}

/// Lowers the number of receives after which a settlement message becomes a dead letter.
async fn redrive_after(world: &World, receives_max: u64) {
    let names = &world.stack.names;
    let target = recharge_local::aws::sqs::queue_arn(&names.dead_letters);
    let policy = json!({"deadLetterTargetArn": target, "maxReceiveCount": receives_max});
    let request = json!({
        "QueueUrl": names.settlement_url, "Attributes": {"RedrivePolicy": policy.to_string()},
    });
    let aws = &world.stack.ground.aws;
    aws.answer("AmazonSQS.SetQueueAttributes", request.to_string().as_bytes()).await;
}

/// The event that Lambda makes of a batch.
fn event(batch: &[Received], queue_arn: &str) -> Value {
    let record = |message: &Received| {
        json!({
            "messageId": message.id,
            "receiptHandle": message.receipt,
            "body": message.body,
            "attributes": message.attributes,
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn,
            "awsRegion": "us-east-1",
        })
    };
    json!({"Records": batch.iter().map(record).collect::<Vec<_>>()})
}
