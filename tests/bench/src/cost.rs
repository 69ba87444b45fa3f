//! What a recharge costs, from the request of the client to the notification: counted in one run of the bundle,
//! timed by `functions`, multiplied by the list prices. Whole numbers throughout.

use recharge_local::aws::faults::{Faults, LogEntry};
use recharge_local::functions::Functions;
use recharge_tests::World;
use recharge_tests::world::simulate;
use serde_json::Value;

use crate::figures::{ms, row, table};
use crate::prices::{self, Price};
use crate::{Section, Settings};

const MINOR: i64 = 5_000_000;
/// The template's `MemorySize`.
const MEMORY_MB: u64 = 256;
/// Lambda gives one whole core at so much memory.
const MB_A_CORE: u64 = 1_769;
/// Creates that share one payment of the merchant's bucket.
const CREATES_A_BUCKET: u64 = 4;
/// A month of 730 hours: the schedule's runs.
const TICKS_A_MONTH: u64 = 43_800;

/// Waiting is billed like working. Assumed, because this machine has no network: milliseconds of one request.
const TABLE_WAITS_MS: u64 = 5;
const QUEUE_WAITS_MS: u64 = 10;
const OUTSIDE_WAITS_MS: u64 = 150;
/// Of a hundred requests that X-Ray's default rule records, and traces that a recharge has: two requests from
/// outside.
const TRACED_PERCENT: u64 = 5;
const TRACES: u64 = 2;

/// One step of a recharge.
#[derive(Debug)]
struct Step {
    what: &'static str,
    /// As `functions` calls it.
    measured: &'static str,
    path: &'static str,
    log: Vec<LogEntry>,
    /// The log is that of so many of them.
    shared_by: u64,
    trigger: Trigger,
}

/// What makes Lambda run the function.
#[derive(Debug, Clone, Copy)]
enum Trigger {
    Gateway,
    Queue,
    Schedule,
}

/// What `functions` has measured of a step.
#[derive(Debug, Clone, Copy, Default)]
struct Timed {
    cpu_ns: u64,
    cold_ns: u64,
    log_bytes: u64,
}

/// What is counted of a step, in hundredths.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    /// Write units.
    write: u64,
    /// Read units.
    read: u64,
    table: u64,
    queue: u64,
    outside: u64,
}

/// Counts, times and multiplies; the sheet.
pub(crate) fn measure(settings: &Settings) -> Result<Section, String> {
    let kept = settings.kept("functions");
    let kept = std::fs::read_to_string(kept).ok();
    let timed: Value = kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let (steps, idle) = simulate(1, async || counted().await)?;
    let mut wrong = Vec::new();
    if timed.is_null() {
        wrong.push("nothing is timed yet: `bench functions` comes first".to_owned());
    }
    Ok(Section { text: sheet(&steps, &idle, &timed), wrong })
}

async fn counted() -> Result<(Vec<Step>, Step), String> {
    let world = World::of_trader().await;
    let faults = Faults::none(world.clock().clone());
    let functions = world.instance(&faults, 3);
    let (report, log) = log_of(&faults, functions.poll("idle".to_owned())).await;
    if report.as_ref().map_or(true, |report| report["lookedAt"] != 0) {
        return Err(format!("the poller had something to do: {report:?}"));
    }
    let idle = Step {
        what: "poll, nothing due",
        measured: "reconcile-poller: idle",
        path: "functions/reconcile-poller, app/reconcile.rs",
        log,
        shared_by: 1,
        trigger: Trigger::Schedule,
    };
    // The instance meets the merchant, its keys and the user; none of it is a recharge's own.
    recharge(&world, (&functions, &faults), "met").await?;
    let steps = recharge(&world, (&functions, &faults), "counted").await?;
    Ok((steps, idle))
}

async fn log_of<T>(faults: &Faults, work: impl Future<Output = T>) -> (T, Vec<LogEntry>) {
    let before = faults.log().len();
    let done = work.await;
    (done, faults.log().split_off(before))
}

/// One recharge on an instance of all functions, step by step. The creates are four: they share what is paid
/// to the merchant's bucket.
async fn recharge(
    world: &World,
    (functions, faults): (&Functions, &Faults),
    key: &str,
) -> Result<Vec<Step>, String> {
    let (mut order, mut creates) = (String::new(), Vec::new());
    for number in 0..CREATES_A_BUCKET {
        let request = world.create_request("u_1", MINOR, &format!("{key}-{number}"));
        let (created, log) = log_of(faults, world.send_to(functions, &request)).await;
        order = created.json["orderId"].as_str().ok_or(created.text.clone())?.to_owned();
        creates.extend(log);
    }
    let callback = world.callback(&world.pay(&order, None));
    let (answered, callback) = log_of(faults, world.send_to(functions, &callback)).await;
    let (settled, settlement) = log_of(faults, world.stack.settle_batch_with(functions, 0)).await;
    let (told, notice) = log_of(faults, world.stack.notify_batch_with(functions, 0)).await;
    if answered.text != "success" || settled? != 1 || told? != 1 {
        return Err(format!("the recharge {order} did not go through"));
    }
    let step = |(what, measured, path), trigger, log| Step {
        what,
        measured,
        path,
        log,
        shared_by: 1,
        trigger,
    };
    let create = "functions/create-order, app/create_order.rs, app/submit.rs, app/admission.rs";
    let create = ("create", "create-order: create", create);
    let create = step(create, Trigger::Gateway, creates);
    let webhook = ("callback", "webhook: callback", "functions/webhook");
    let worker = "functions/callback-worker, app/settle.rs";
    let worker = ("settlement", "callback-worker: settle", worker);
    let notifier = ("notification", "notifier: notice", "functions/notifier, app/notify.rs");
    Ok(vec![
        Step { shared_by: CREATES_A_BUCKET, ..create },
        step(webhook, Trigger::Gateway, callback),
        step(worker, Trigger::Queue, settlement),
        step(notifier, Trigger::Queue, notice),
    ])
}

impl Step {
    fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        let each = 100 / self.shared_by;
        for entry in &self.log {
            let units = entry.capacity.total.in_halves() * each / 2;
            match entry.call.split_once('.').unwrap_or_default() {
                ("dynamodb", "GetItem" | "Query" | "BatchGetItem") => {
                    counted.read += units;
                    counted.table += each;
                }
                ("dynamodb", _) => {
                    counted.write += units;
                    counted.table += each;
                }
                ("sqs", _) => counted.queue += each,
                ("provider", _) => counted.outside += each,
                _ => {}
            }
        }
        // The receiver is called past the wire that counts.
        counted.outside += if self.what == "notification" { 100 } else { 0 };
        counted
    }

    fn timed(&self, all: &Value) -> Timed {
        let of = &all[self.measured];
        let number = |name: &str| of[name].as_u64().unwrap_or(0);
        Timed {
            cpu_ns: number("cpuWarmNs"),
            cold_ns: number("cpuColdNs"),
            log_bytes: number("logBytes"),
        }
    }

    /// Milliseconds that are billed: the CPU's at this memory, and the waiting, one request after the other.
    fn billed_ms(&self, all: &Value) -> u64 {
        let Counted { table, queue, outside, .. } = self.counted();
        let waits = table * TABLE_WAITS_MS + queue * QUEUE_WAITS_MS + outside * OUTSIDE_WAITS_MS;
        let cpu_ns = self.timed(all).cpu_ns * MB_A_CORE / MEMORY_MB;
        (cpu_ns + waits * 10_000).div_ceil(1_000_000)
    }

    /// What it is charged for, and how many hundredths of it.
    fn charges(&self, all: &Value) -> Vec<(Price, u64)> {
        let Counted { write, read, queue, .. } = self.counted();
        // A GB-second is much: its price is divided, not the time rounded.
        let gb_second = prices::GB_SECOND;
        let share = gb_second.pico * self.billed_ms(all) * MEMORY_MB / (1_024 * 1_000);
        let triggered = match self.trigger {
            Trigger::Gateway => (prices::API_REQUEST, 100),
            // Lambda receives the message and deletes it.
            Trigger::Queue => (prices::QUEUE_REQUEST, 200),
            Trigger::Schedule => (prices::TICK, 100),
        };
        vec![
            triggered,
            (prices::INVOCATION, 100),
            (Price { pico: share, ..gb_second }, 100),
            (prices::WRITE_UNIT, write),
            (prices::READ_UNIT, read),
            (prices::QUEUE_REQUEST, queue),
            (prices::LOG_BYTE, self.timed(all).log_bytes * 100),
        ]
    }

    fn pico(&self, all: &Value) -> u64 {
        self.charges(all).iter().map(|(price, hundredths)| price.pico * hundredths / 100).sum()
    }
}

/// Dollars for a million, from 1e-12 $ for one.
fn dollars(pico: u64) -> String {
    format!("{}.{:02}", pico / 1_000_000, pico % 1_000_000 / 10_000)
}

fn sheet(steps: &[Step], idle: &Step, timed: &Value) -> String {
    let head = [
        "step",
        "write units",
        "read units",
        "table requests",
        "queue requests",
        "calls outside",
        "CPU, ms",
        "billed, ms",
        "log bytes",
        "$ a million",
        "where",
    ];
    let mut rows = vec![row(head)];
    for step in steps.iter().chain([idle]) {
        rows.push(line(step, timed));
    }
    let mut total: u64 = steps.iter().map(|step| step.pico(timed)).sum();
    let traces = prices::TRACE.pico * TRACES * TRACED_PERCENT / 100;
    total += traces;
    let mut by_price = vec![row(["item", "$ a million recharges"])];
    for price in prices::ALL {
        let of = |step: &Step| -> u64 {
            let charges = step.charges(timed).into_iter();
            let charges = charges.filter(|(charged, _)| charged.what == price.what);
            charges.map(|(price, hundredths)| price.pico * hundredths / 100).sum()
        };
        let sum: u64 = steps.iter().map(of).sum();
        let sum = if price.what == prices::TRACE.what { traces } else { sum };
        if sum > 0 {
            by_price.push(vec![price.what.to_owned(), dollars(sum)]);
        }
    }
    by_price.push(vec!["**all**".to_owned(), format!("**{}**", dollars(total))]);
    let standing = idle.pico(timed) * TICKS_A_MONTH;
    let mut listed = vec![row(["what", "list price", "page"])];
    listed.extend(prices::ALL.map(|price| row([price.what, price.listed, price.page])));
    format!(
        "**{} dollars a million recharges**, from create to delivered notification.\n\n{}\n{}\n\
         The poller's {TICKS_A_MONTH} idle runs a month cost {} dollars, however many recharges there are; the audit\n\
         of the books (`AuditPage`) comes on top.\n\n\
         Counted in one run of the bundle in this process; CPU time and log bytes are those of the \
         released bootstraps.\nBilled time is CPU × {MB_A_CORE} ÷ {MEMORY_MB}, the share of a core at \
         {MEMORY_MB} MB, and the waiting, one request after the\nother. Assumed, because this machine has no \
         network: {TABLE_WAITS_MS} ms for a table request, {QUEUE_WAITS_MS} ms for a queue request, \
         {OUTSIDE_WAITS_MS} ms for\na call to the provider or the receiver; and that X-Ray records \
         {TRACED_PERCENT} of a hundred requests. Every batch has one\nmessage in it: under load batches \
         share requests, and it costs less. Not in it: cold starts ({}), secrets\n($0.40 each a month, \
         and a few reads a minute of each instance), storage, traffic, alarms, and\nthe functions' \
         own metrics ($0.30 a month for each that is written, and every provider, outcome and function has its \
         own). On\nx86_64 Lambda's GB-seconds cost a quarter more.\n\n\
         Prices of us-east-1 and arm64 as of November 2025, without free tiers; the pages have today's:\n\n{}",
        dollars(total),
        table(&rows),
        table(&by_price),
        dollars(standing / 1_000_000),
        cold(steps, timed),
        table(&listed),
    )
}

/// What one cold start of each function on the way is billed.
fn cold(steps: &[Step], timed: &Value) -> String {
    let of = |step: &Step| format!("{} ms of CPU for {}", ms(step.timed(timed).cold_ns), step.what);
    steps.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn line(step: &Step, timed: &Value) -> Vec<String> {
    let Counted { write, read, table, queue, outside } = step.counted();
    let Timed { cpu_ns, log_bytes, .. } = step.timed(timed);
    let mut cells = vec![step.what.to_owned()];
    cells.extend([write, read, table, queue, outside].map(hundredths));
    cells.extend([ms(cpu_ns), step.billed_ms(timed).to_string(), log_bytes.to_string()]);
    cells.extend([dollars(step.pico(timed)), step.path.to_owned()]);
    cells
}

fn hundredths(number: u64) -> String {
    match number % 100 {
        0 => (number / 100).to_string(),
        rest => format!("{}.{rest:02}", number / 100),
    }
}
