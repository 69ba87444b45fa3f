//! One run: chaos, then quiet, then the last look.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use recharge_shared::sometimes::reached;

use crate::actors::{self, Script};
use crate::check;
use crate::dice::Dice;
use crate::money;
use crate::plan::{Mode, Plan};
use crate::sim::Sim;
use crate::wire::Tally;

/// Calls of one invocation beyond which its work is not bounded any more (I14).
const CALLS_OF_ONE_MAX: u64 = 300;

/// How long after the faults everything has to come right.
const HORIZON: Duration = Duration::from_secs(5 * 86_400);

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Its mode.
    pub mode: Mode,
    /// Its trace as a number.
    pub hash: u64,
    /// Its trace as text, where that was asked for.
    pub trace: Vec<String>,
    /// What was wrong.
    pub violations: Vec<String>,
    /// Points that were reached, how often.
    pub reached: BTreeMap<String, u64>,
    /// What went over the wire.
    pub tally: Tally,
    /// Orders, credits and steps that were checked.
    pub counts: [u64; 3],
}

/// Plays `seed` in `mode`.
#[expect(clippy::expect_used, reason = "without a runtime there is no run")]
pub fn run(seed: u64, mode: Mode, keeps_trace: bool) -> Outcome {
    // The SDK draws its pauses from this one.
    let salt = Mode::ALL.iter().position(|known| *known == mode).unwrap_or(0) as u64;
    let salted = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (salt << 56);
    fastrand::seed(salted);
    let _ = reached();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let dice = Dice::new(salted);
        let plan = Plan::draw(mode, &dice);
        let sim = Sim::new(plan, dice, keeps_trace).await;
        play(&sim).await;
        outcome(&sim, seed)
    })
}

async fn play(sim: &Rc<Sim>) {
    let scripts: Vec<Script> = (0..sim.plan.orders).map(|n| Script::draw(sim, n)).collect();
    actors::play(sim, &scripts).await;
    if sim.plan.mode == Mode::Gaps {
        gaps(sim, &scripts).await;
    }
    quiet_time(sim, &scripts).await;
    for violation in check::last_look(sim).await {
        sim.violation(violation);
    }
    let most = sim.wire.tally().calls_of_one_max;
    if most > CALLS_OF_ONE_MAX {
        sim.violation(format!("I14: one invocation made {most} calls"));
    }
}

/// Long pauses; after each, everything that was ever sent comes once more.
async fn gaps(sim: &Rc<Sim>, scripts: &[Script]) {
    const MINUTE: u64 = 60;
    const DAY: u64 = 86_400;
    for gap_secs in [11 * MINUTE, 25 * 3_600, 10 * DAY, 31 * DAY] {
        if sim.dice.chance(400) {
            continue;
        }
        sim.wire.note(&format!("gap of {gap_secs} s"));
        consume(sim).await;
        let looks = sim.dice.below(4);
        for _ in 0..looks {
            tokio::time::sleep(Duration::from_secs(gap_secs / (looks + 1))).await;
            round(sim, scripts).await;
        }
        tokio::time::sleep(Duration::from_secs(gap_secs / (looks + 1))).await;
        if let Some(money) = sim.money.as_ref().filter(|_| sim.plan.mode.calls_back()) {
            money::actors::resend(sim, money, true).await;
        }
        let callbacks = sim.clients.borrow().callbacks.clone();
        for (order, callback) in callbacks {
            actors::deliver(sim, &order, &callback).await;
        }
        let settled = sim.settled.borrow().clone();
        for body in settled {
            sim.enqueue(&sim.world.stack.names.settlement_url, &body).await;
        }
        for script in scripts {
            actors::create_once(sim, script).await;
        }
        round(sim, scripts).await;
    }
}

/// Takes what is in the queues, with what comes back after its visibility timeout: they keep a message for four
/// days, and their consumers never stand still that long. Nor does an operator leave dead letters lying for the
/// fourteen days that they are kept.
async fn consume(sim: &Rc<Sim>) {
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(400)).await;
        sim.redrive().await;
        while sim.settle(0).await > 0 {}
        while sim.notify(0).await > 0 {}
    }
}

/// Everything once: dead letters, poller, worker, notifier, callbacks.
async fn round(sim: &Rc<Sim>, scripts: &[Script]) {
    sim.redrive().await;
    if sim.plan.mode.polls() {
        sim.poll(0).await;
    }
    match &sim.money {
        _ if !sim.plan.mode.calls_back() => {}
        Some(money) => money::actors::resend(sim, money, false).await,
        None => actors::resend(sim, scripts).await,
    }
    while sim.settle(0).await > 0 {}
    while sim.notify(0).await > 0 {}
}

/// No more faults: everything has to come right by itself, and to stay so.
async fn quiet_time(sim: &Rc<Sim>, scripts: &[Script]) {
    let began = tokio::time::Instant::now();
    // What was on its way when the faults stopped arrives within five minutes.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let missing = loop {
        round(sim, scripts).await;
        let missing = check::missing(sim, scripts);
        if missing.is_empty() || began.elapsed() >= HORIZON {
            break missing;
        }
        // Ever longer looks at what does not come right: a run has some hundred of them, not thousands.
        let pause = next_pause(sim).max(began.elapsed() / 16);
        tokio::time::sleep(pause).await;
    };
    for what in missing {
        sim.violation(what);
    }
    sim.wire.note("everything has come right");
    for script in scripts {
        if !sim.plan.mode.polls() {
            break;
        }
        actors::create_once(sim, script).await;
        if let Some(order) = actors::order_of(sim, script) {
            actors::look(sim, script, &order).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    round(sim, scripts).await;
}

/// Until something is due, a minute at least: the schedule's tick.
fn next_pause(sim: &Sim) -> Duration {
    let now_ms = sim.clock_ms();
    let next_ms = sim.wire.books(|books| books.next_due_ms()).unwrap_or(i64::MAX / 2);
    let depth = sim.world.stack.depth();
    let notices = sim.world.stack.notification_depth();
    let waits = depth.in_flight + notices.in_flight > 0;
    let longest = if waits { 200_000 } else { 6 * 3_600_000 };
    let ms = (next_ms - now_ms + 1_000).clamp(60_000, longest);
    Duration::from_millis(u64::try_from(ms).unwrap_or(60_000))
}

fn outcome(sim: &Sim, seed: u64) -> Outcome {
    let mut violations = sim.wire.books(|books| books.violations.clone());
    violations.extend(sim.wire.violations());
    violations.extend(sim.violations.borrow().iter().cloned());
    let mut points: BTreeMap<String, u64> =
        reached().into_iter().map(|(point, times)| (point.to_owned(), times)).collect();
    let tally = sim.wire.tally();
    let counts = sim.wire.books(|books| {
        let of = |kind: &str, times: &BTreeMap<String, u64>| -> Vec<(String, u64)> {
            times.iter().map(|(what, times)| (format!("{kind}: {what}"), *times)).collect()
        };
        points.extend(of("parked", &books.parked));
        points.extend(of("order", &books.transitions));
        points.extend(books.money.clone());
        let credits = books.rows.keys().filter(|key| key.0.starts_with("P#")).count();
        [books.orders().count() as u64, credits as u64, books.steps]
    });
    points.extend(tally.faults.iter().map(|(what, times)| (format!("fault: {what}"), *times)));
    let (hash, trace) = sim.wire.trace();
    Outcome { seed, mode: sim.plan.mode, hash, trace, violations, reached: points, tally, counts }
}
