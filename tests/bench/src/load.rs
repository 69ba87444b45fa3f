//! The bundle under load, over HTTP on this machine: requests leave when the plan says, whether the former ones
//! are answered or not, and their latency counts from then. At the end the books are held against the payers'.

#![expect(clippy::disallowed_methods, reason = "the time that it takes is what is measured")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use recharge_local::books;
use recharge_local::call::{API_KEYS, Client, Reply};
use recharge_local::listen::Receiver;
use recharge_local::serve;
use recharge_local::stack::{DEMO_NOTIFICATION_SECRET, Stack};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::figures::{ms, row, table};
use crate::plot::Plot;
use crate::{Section, Settings, scene};

/// Requests on their way at once: as many connections as the load comes over. What has to wait for one waits
/// in its latency.
const CONNECTIONS: usize = 128;
/// One of so many requests is sent a second time, at the same moment.
const DUPLICATE_EVERY: usize = 10;
/// Until the last notification.
const PATIENCE: Duration = Duration::from_secs(180);
const MINOR: i64 = 5_000_000;
/// Users among whom the orders are spread.
const USERS: usize = 100;

/// How many orders, and how many of them a second; all at once without.
#[derive(Debug, Clone, Copy)]
struct Plan {
    name: &'static str,
    orders: usize,
    per_second: Option<u32>,
}

/// Latencies in nanoseconds, by what was asked for.
struct Taken {
    creates: Mutex<Histogram<u64>>,
    callbacks: Mutex<Histogram<u64>>,
    /// Requests that were answered otherwise than they should.
    wrong: Mutex<Vec<String>>,
    duplicates: AtomicUsize,
    paid: Mutex<i128>,
}

/// What a plan came to.
struct Outcome {
    plan: Plan,
    taken: Arc<Taken>,
    answered: Duration,
    told: Duration,
    violations: Vec<String>,
}

/// Plays the plans and gives the section of the report.
pub(crate) fn measure(settings: &Settings) -> Result<Section, String> {
    let steady = |orders| Plan { name: "steady", orders, per_second: Some(50) };
    let steady = steady(if settings.quick { 200 } else { 1_500 });
    let plans = [Plan { name: "burst", orders: 1_000, per_second: None }, steady];
    let mut outcomes = Vec::new();
    for plan in plans {
        eprintln!("load: {} of {} orders", plan.name, plan.orders);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        outcomes.push(runtime.block_on(play(plan))?);
        runtime.shutdown_background();
    }
    let wrong = outcomes.iter().flat_map(|outcome| outcome.violations.clone()).collect();
    let plotted = plot(settings, &outcomes)?;
    Ok(Section { text: format!("{}\n{plotted}", render(&outcomes)), wrong })
}

async fn play(plan: Plan) -> Result<Outcome, String> {
    let (url, stack) = serve::in_memory_telling_loopback().await?;
    scene::allow_any_rate(&stack).await?;
    let receiver = Receiver::new(&[DEMO_NOTIFICATION_SECRET.to_owned()], false)?;
    let (listener, callback_url) = scene::listen().await?;
    tokio::spawn(receiver.serve(listener));
    let latencies = || {
        let most = u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        Histogram::new_with_max(most, 3).map(Mutex::new).map_err(|error| error.to_string())
    };
    let taken = Arc::new(Taken {
        creates: latencies()?,
        callbacks: latencies()?,
        wrong: Mutex::default(),
        duplicates: AtomicUsize::new(0),
        paid: Mutex::default(),
    });
    let sender = Arc::new(Sender {
        client: Client::new(url),
        stack: stack.clone(),
        callback_url: format!("{callback_url}/hook"),
        connections: Semaphore::new(CONNECTIONS),
        taken: taken.clone(),
    });
    let started = Instant::now();
    let mut tasks = Vec::with_capacity(plan.orders);
    for number in 0..plan.orders {
        let at = plan
            .per_second
            .map_or(Duration::ZERO, |rate| Duration::from_secs(number as u64) / rate);
        let due = started + at;
        tokio::time::sleep_until(due.into()).await;
        tasks.push(tokio::spawn(sender.clone().recharge(number, due)));
    }
    for task in tasks {
        task.await.map_err(|error| error.to_string())?;
    }
    let answered = started.elapsed();
    quiet(&stack, started).await;
    let told = started.elapsed();
    let violations = audit(&stack, plan, &taken)?;
    Ok(Outcome { plan, taken, answered, told, violations })
}

struct Sender {
    client: Client,
    stack: Arc<Stack>,
    callback_url: String,
    connections: Semaphore,
    taken: Arc<Taken>,
}

impl Sender {
    /// One user's recharge: created, paid, confirmed.
    async fn recharge(self: Arc<Sender>, number: usize, due: Instant) {
        if let Err(error) = self.try_recharge(number, due).await {
            lock(&self.taken.wrong).push(error);
        }
    }

    async fn try_recharge(&self, number: usize, due: Instant) -> Result<(), String> {
        let twice = number.is_multiple_of(DUPLICATE_EVERY);
        let order = if twice {
            self.taken.duplicates.fetch_add(2, Ordering::Relaxed);
            let (one, other) = tokio::join!(self.create(number, due), self.create(number, due));
            let (one, other) = (one?, other?);
            if one != other {
                return Err(format!("one key made {one} and {other}"));
            }
            one
        } else {
            self.create(number, due).await?
        };
        let (callback, minor) = self.stack.pay(&order, None)?;
        *lock(&self.taken.paid) += minor;
        let due = Instant::now();
        let send = || self.confirm((&callback.content_type, &callback.body), due);
        if twice {
            let (one, other) = tokio::join!(send(), send());
            one.and(other)
        } else {
            send().await
        }
    }

    async fn create(&self, number: usize, due: Instant) -> Result<String, String> {
        let body = json!({
            "userId": format!("u_{}", number % USERS), "amount": MINOR, "currency": "USDT",
            "callbackUrl": self.callback_url,
        });
        let (body, key) = (body.to_string(), format!("load-{number}"));
        let _connection = self.connections.acquire().await;
        let reply = self.client.signed(API_KEYS[0], ("POST", "/recharges"), &body, &key).await?;
        record(&self.taken.creates, due);
        match reply {
            Reply { status: 200 | 201, json, .. } if json["orderId"].is_string() => {
                Ok(json["orderId"].as_str().unwrap_or("").to_owned())
            }
            other => Err(format!("create: {} {}", other.status, other.text)),
        }
    }

    async fn confirm(&self, (kind, body): (&str, &[u8]), due: Instant) -> Result<(), String> {
        let _connection = self.connections.acquire().await;
        let path = ("POST", "/recharges/callback/trader");
        let reply = self.client.send(path, &[("content-type", kind)], body).await?;
        record(&self.taken.callbacks, due);
        match reply.text.as_str() {
            "success" => Ok(()),
            other => Err(format!("callback: {} {other}", reply.status)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn record(histogram: &Mutex<Histogram<u64>>, due: Instant) {
    let nanos = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
    lock(histogram).saturating_record(nanos);
}

/// Waits until both queues are empty.
async fn quiet(stack: &Stack, started: Instant) {
    while started.elapsed() < PATIENCE {
        let depths = [stack.depth(), stack.notification_depth()];
        if depths.iter().all(|depth| depth.visible + depth.in_flight == 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The books held against themselves, and against what the payers have paid.
fn audit(stack: &Stack, plan: Plan, taken: &Taken) -> Result<Vec<String>, String> {
    let books = books::read(stack.ground.aws.database(), &stack.names.table)?;
    let mut found = books.violations();
    let mut must = |what: &str, is: i128, should: i128| {
        if is != should {
            found.push(format!("{}: {is} {what}, not {should}", plan.name));
        }
    };
    let (orders, paid) = (plan.orders as i128, *lock(&taken.paid));
    let settled = books.orders.iter().filter(|order| order.state == "SUCCESS").count();
    let dead = stack.depth().dead + stack.notification_depth().dead;
    must("paid by the payers", paid, orders * i128::from(MINOR));
    must("credited", books.credits.iter().map(|credit| credit.amount).sum(), paid);
    must("on balances", books.balances.values().map(|held| held.amount).sum(), paid);
    must("credits", books.credits.len() as i128, orders);
    must("orders", books.orders.len() as i128, orders);
    must("orders settled", settled as i128, orders);
    must("orders at the provider", stack.trader.provider_orders() as i128, orders);
    must("statements parked", books.parked as i128, 0);
    must("dead letters", dead as i128, 0);
    found.extend(lock(&taken.wrong).iter().cloned());
    Ok(found)
}

fn render(outcomes: &[Outcome]) -> String {
    let head = [
        "plan",
        "request",
        "sent",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "most",
        "orders a second, answered",
        "orders a second, notified",
    ];
    let mut rows = vec![row(head)];
    for Outcome { plan, taken, answered, told, .. } in outcomes {
        let pace = |time: &Duration| {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
            (plan.orders as u64 * 1_000 / millis).to_string()
        };
        for (what, histogram) in [("create", &taken.creates), ("callback", &taken.callbacks)] {
            let histogram = lock(histogram);
            let at = |quantile| ms(histogram.value_at_quantile(quantile));
            let sent = histogram.len().to_string();
            let most = ms(histogram.max());
            rows.push(row([
                plan.name,
                what,
                &sent,
                &at(0.5),
                &at(0.9),
                &at(0.99),
                &at(0.999),
                &most,
                &pace(answered),
                &pace(told),
            ]));
        }
    }
    let violations: usize = outcomes.iter().map(|outcome| outcome.violations.len()).sum();
    let duplicates: usize =
        outcomes.iter().map(|outcome| outcome.taken.duplicates.load(Ordering::Relaxed)).sum();
    format!(
        "{}\n{duplicates} of the requests were duplicates; violations={violations}\n",
        table(&rows)
    )
}

fn plot(settings: &Settings, outcomes: &[Outcome]) -> Result<String, String> {
    let places = ["p50", "p75", "p90", "p95", "p99", "p99.9"].map(str::to_owned);
    let mut lines = Vec::new();
    for Outcome { plan, taken, .. } in outcomes {
        for (what, histogram) in [("create", &taken.creates), ("callback", &taken.callbacks)] {
            let histogram = lock(histogram);
            let at = |quantile| histogram.value_at_quantile(quantile);
            let values = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999].map(at).to_vec();
            lines.push((format!("{}: {what}", plan.name), values));
        }
    }
    let title = "Latency under load, ms";
    settings.plot("load", &Plot { title, places: &places, lines: &lines, write: ms })
}
