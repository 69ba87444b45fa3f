//! What grows with the table: a run of the poller and a settlement, with a thousand to a million orders in it.
//! Units and requests have to stay the same, the time within a fifth.

#![expect(clippy::disallowed_methods, reason = "the time that it takes is what is measured")]

use std::time::Instant;

use recharge_local::aws::faults::{Faults, LogEntry, Units};
use recharge_local::functions::Functions;
use recharge_shared::domain::{IdempotencyKey, MerchantId, OrderId};
use recharge_tests::World;
use recharge_tests::world::simulate;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::figures::{ms, ratio, row, table};
use crate::plot::Plot;
use crate::{Section, Settings};

const MINOR: i64 = 5_000_000;
/// Orders that are due in each busy run, and messages in each batch.
const DUE: usize = 10;
/// Rows that `BatchWriteItem` takes at once.
const ROWS_AT_ONCE: usize = 25;
/// The user of the order whose rows are copied; nothing else has it in its name.
const COPIED_USER: &str = "u_copied";
/// Users among whom the copies are spread.
const USERS: usize = 100_000;

/// What one kind of work cost with so many orders in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Cost {
    wall: u64,
    cpu: u64,
    bill: Bill,
}

/// What the table charged: half units and requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Bill {
    write: u64,
    read: u64,
    requests: u64,
}

impl Bill {
    fn of(log: &[LogEntry]) -> Bill {
        let mut bill = Bill::default();
        for entry in log.iter().filter(|entry| entry.call.starts_with("dynamodb.")) {
            let read = entry.call.ends_with("GetItem") || entry.call.ends_with("Query");
            let of = if read { &mut bill.read } else { &mut bill.write };
            *of += entry.capacity.total.in_halves();
            bill.requests += 1;
        }
        bill
    }
}

const WORK: [&str; 3] = ["poll, nothing due", "poll, 10 orders due", "settlement of 10 messages"];

/// Fills, measures, and gives the section of the report.
pub(crate) fn measure(settings: &Settings) -> Result<Section, String> {
    let (sizes, repeats): (&[usize], usize) = if settings.quick {
        (&[1_000, 10_000], 10)
    } else {
        (&[1_000, 10_000, 100_000, 1_000_000], 60)
    };
    // A world for each size: its database's memory of transactions, which costs time too, is as long in each.
    let costs = sizes.iter().map(|size| {
        simulate(1, async || {
            let world = World::of_trader().await;
            let rows = copied_rows(&world).await?;
            fill(&world, &rows, *size)?;
            work(&world, *size, repeats).await
        })
    });
    let costs = costs.collect::<Result<Vec<_>, String>>()?;
    let plotted = plot(settings, sizes, &costs)?;
    Ok(Section {
        text: format!("{}\n{plotted}", render(sizes, &costs)),
        wrong: wrong(sizes, &costs),
    })
}

/// The rows of a settled order: itself and its payment.
async fn copied_rows(world: &World) -> Result<(String, Vec<Value>), String> {
    let created = world.create(COPIED_USER, MINOR, "copied").await;
    let order = created.json["orderId"].as_str().ok_or(created.text.clone())?.to_owned();
    world.deliver(&world.pay(&order, None)).await;
    world.settle().await;
    world.notify().await;
    let request = json!({"TableName": world.stack.names.table}).to_string();
    let scan = world.stack.ground.aws.database().answer("Scan", request.as_bytes());
    let scan: Value = serde_json::from_str(&scan.body).map_err(|error| error.to_string())?;
    let items = scan["Items"].as_array().ok_or("no rows")?.iter();
    let copied = |item: &&Value| {
        let key = item["pk"]["S"].as_str().unwrap_or("");
        key.starts_with("O#") || key.starts_with("P#")
    };
    Ok((order, items.filter(copied).cloned().collect()))
}

/// Copies the rows under `size` other ids, past the store.
fn fill(world: &World, (order, rows): &(String, Vec<Value>), size: usize) -> Result<(), String> {
    let database = world.stack.ground.aws.database();
    let merchant = MerchantId::parse("m_demo").ok_or("no merchant id")?;
    let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    eprintln!("filling the table with {size} orders");
    let mut puts: Vec<String> = Vec::with_capacity(ROWS_AT_ONCE);
    let write = |puts: &mut Vec<String>| {
        let puts = std::mem::take(puts).join(",");
        let table = &world.stack.names.table;
        let request = format!("{{\"RequestItems\":{{\"{table}\":[{puts}]}}}}");
        let answer = database.answer("BatchWriteItem", request.as_bytes());
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    };
    for number in 0..size {
        let key = IdempotencyKey::parse(&format!("copy-{number}")).ok_or("no key")?;
        let id = OrderId::derive(&merchant, &key);
        let user = format!("u_{}", number % USERS);
        for row in &rows {
            let row = row.replace(order.as_str(), id.as_str()).replace(COPIED_USER, &user);
            puts.push(format!("{{\"PutRequest\":{{\"Item\":{row}}}}}"));
        }
        if puts.len() + rows.len() > ROWS_AT_ONCE {
            write(&mut puts)?;
        }
    }
    if puts.is_empty() { Ok(()) } else { write(&mut puts) }
}

/// The three kinds of work, the least of all repeats; the bill is the same in each.
async fn work(world: &World, size: usize, repeats: usize) -> Result<[Cost; 3], String> {
    eprintln!("measuring with {size} orders");
    let faults = Faults::none(world.clock().clone());
    let functions = world.instance(&faults, 3);
    let mut least: [Option<Cost>; 3] = [None, None, None];
    for repeat in 0..repeats {
        let costs = cycle(world, (&functions, &faults), &format!("{size}-{repeat}")).await?;
        for ((kept, cost), what) in least.iter_mut().zip(costs).zip(WORK) {
            let Some(kept) = kept else {
                *kept = Some(cost);
                continue;
            };
            if kept.bill != cost.bill {
                return Err(format!("{what}: {:?} once, {:?} then", kept.bill, cost.bill));
            }
            kept.wall = kept.wall.min(cost.wall);
            kept.cpu = kept.cpu.min(cost.cpu);
        }
    }
    Ok(least.map(Option::unwrap_or_default))
}

async fn cycle(
    world: &World,
    (functions, faults): (&Functions, &Faults),
    name: &str,
) -> Result<[Cost; 3], String> {
    // Each in its own minute, so that each reads what is read once a minute.
    world.pass(60).await;
    let idle = costs(faults, functions.poll(format!("idle-{name}"))).await;
    let mut orders = Vec::with_capacity(DUE);
    for number in 0..DUE {
        let created = world.create("u_new", MINOR, &format!("{name}-{number}")).await;
        orders.push(created.json["orderId"].as_str().ok_or(created.text.clone())?.to_owned());
    }
    world.pass(60).await;
    let busy = costs(faults, functions.poll(format!("busy-{name}"))).await;
    for order in &orders {
        world.deliver(&world.pay(order, None)).await;
    }
    world.pass(60).await;
    let settled = costs(faults, world.stack.settle_batch_with(functions, 0)).await;
    world.notify().await;
    let (idle, busy, settled) = (expect(idle, 0)?, expect(busy, DUE)?, settled);
    let (taken, settled) = (settled.0?, settled.1);
    if taken != DUE {
        return Err(format!("{taken} messages settled"));
    }
    Ok([idle, busy, settled])
}

fn expect(run: (Result<Value, String>, Cost), looked_at: usize) -> Result<Cost, String> {
    let (report, cost) = (run.0?, run.1);
    if report["lookedAt"] != looked_at || report["failed"] != 0 {
        return Err(format!("{looked_at} orders were due: {report}"));
    }
    Ok(cost)
}

/// What `work` gives, and what it cost.
async fn costs<T>(faults: &Faults, work: impl Future<Output = T>) -> (T, Cost) {
    let before = faults.log().len();
    let (started, cpu) = (Instant::now(), thread_cpu());
    let done = work.await;
    let wall = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let cpu = thread_cpu().saturating_sub(cpu);
    (done, Cost { wall, cpu, bill: Bill::of(&faults.log()[before..]) })
}

/// The CPU time of this thread, which does everything here; in nanoseconds.
fn thread_cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    u64::try_from(nanos).unwrap_or(0)
}

fn wrong(sizes: &[usize], costs: &[[Cost; 3]]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (work, what) in WORK.iter().enumerate() {
        let first = &costs[0][work];
        for (size, cost) in sizes.iter().zip(costs).skip(1) {
            let cost = &cost[work];
            if cost.bill != first.bill {
                wrong.push(format!("{what}, {size} orders: {:?}, not {:?}", cost.bill, first.bill));
            }
            if cost.cpu * 10 > first.cpu * 12 {
                let times = ratio(cost.cpu, first.cpu);
                wrong.push(format!("{what}, {size} orders: {times} times the CPU time"));
            }
        }
    }
    wrong
}

fn render(sizes: &[usize], costs: &[[Cost; 3]]) -> String {
    let head = [
        "work",
        "orders",
        "write units",
        "read units",
        "requests",
        "wall, ms",
        "CPU, ms",
        "÷ first",
    ];
    let mut rows = vec![row(head)];
    for (work, what) in WORK.iter().enumerate() {
        for (size, cost) in sizes.iter().zip(costs) {
            let Cost { wall, cpu, bill } = &cost[work];
            let units = |halves| Units::halves(halves).to_string();
            let requests = bill.requests.to_string();
            let times = ratio(*cpu, costs[0][work].cpu);
            let (write, read) = (units(bill.write), units(bill.read));
            let cells =
                [*what, &size.to_string(), &write, &read, &requests, &ms(*wall), &ms(*cpu), &times];
            rows.push(row(cells));
        }
    }
    table(&rows)
}

fn plot(settings: &Settings, sizes: &[usize], costs: &[[Cost; 3]]) -> Result<String, String> {
    let lines: Vec<(String, Vec<u64>)> = WORK
        .iter()
        .enumerate()
        .map(|(work, what)| ((*what).to_owned(), costs.iter().map(|cost| cost[work].cpu).collect()))
        .collect();
    let places: Vec<String> = sizes.iter().map(usize::to_string).collect();
    let title = "CPU time over orders in the table, ms";
    settings.plot("table", &Plot { title, places: &places, lines: &lines, write: ms })
}
