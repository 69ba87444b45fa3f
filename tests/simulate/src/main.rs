//! "Credited exactly once, whatever happens", as something that anybody can run: the functions' real handlers
//! over the real SDK on an in-process DynamoDB, under simulated time, network, queues, provider and clients.
//! One seed decides everything that happens in a run.

// The futures of all functions nest in one.
#![recursion_limit = "256"]

mod actors;
mod books;
mod check;
mod dice;
mod money;
mod plan;
mod points;
mod provider;
mod run;
mod sim;
mod trace;
mod wire;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use recharge_shared::bug::{self, Bug};

use crate::plan::Mode;
use crate::run::{Outcome, run};

// A fifth of a run is allocating.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plays seeds and checks what must hold.
#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// The seeds, `A..B`; B is left out. One number is one seed.
    #[arg(long, value_parser = seeds, default_value = "0..100")]
    seeds: Range<u64>,
    /// all, no-poller, no-webhooks, burst or gaps; several by commas; `every` for each of them.
    #[arg(long, value_parser = modes, default_value = "all")]
    mode: Modes,
    /// Switches a seeded bug on, M1 to M15: now a violation has to be found.
    #[arg(long, value_parser = |text: &str| Bug::parse(text).ok_or("M1 to M15"))]
    bug: Option<Bug>,
    /// Switches every seeded bug on, one after the other, and fails if one is not found.
    #[arg(long, conflicts_with_all = ["bug", "points", "trace"])]
    bugs: bool,
    /// Looks so many times for each bug, every time in the seeds after the ones before, and prints the
    /// median of the seeds that were needed.
    #[arg(long, requires = "bugs", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Prints what happened in every run.
    #[arg(long)]
    trace: bool,
    /// Prints which points were reached how often, and fails if one that has to be was not.
    #[arg(long)]
    points: bool,
    /// Stops at the first violation.
    #[arg(long)]
    first: bool,
    /// Threads; one a core without it.
    #[arg(long)]
    threads: Option<usize>,
}

/// After so many runs a word on standard error that it goes on.
const TOLD_EVERY: u64 = 1_000;

#[derive(Debug, Clone)]
struct Modes(Vec<Mode>);

fn modes(text: &str) -> Result<Modes, String> {
    if text == "every" {
        return Ok(Modes(Mode::ALL.to_vec()));
    }
    let mode = |word| Mode::parse(word).ok_or_else(|| format!("no mode {word}"));
    text.split(',').map(mode).collect::<Result<_, _>>().map(Modes)
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |digits: &str| digits.parse::<u64>().map_err(|error| error.to_string());
    match text.split_once("..") {
        Some((first, end)) => Ok(number(first)?..number(end)?),
        None => number(text).map(|seed| seed..seed + 1),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.bugs {
        return find_bugs(&arguments);
    }
    bug::switch(arguments.bug);
    let outcomes = play_all(&arguments);
    let mut hasher = DefaultHasher::new();
    let mut violations = 0;
    for outcome in &outcomes {
        outcome.hash.hash(&mut hasher);
        violations += outcome.violations.len();
    }
    if arguments.trace {
        for line in outcomes.iter().flat_map(|outcome| &outcome.trace) {
            println!("{line}");
        }
    }
    if let Some(failed) = outcomes.iter().find(|outcome| !outcome.violations.is_empty()) {
        tell(failed, &arguments);
    }
    let missed = summary(&outcomes, &arguments);
    let Range { start, end } = arguments.seeds;
    let words: Vec<&str> = arguments.mode.0.iter().map(|mode| mode.as_str()).collect();
    let (mode, hash) = (words.join(","), hasher.finish());
    println!("seeds={start}..{end} mode={mode} violations={violations} trace={hash:016x}");
    ExitCode::from(u8::from(violations > 0 || missed > 0))
}

/// Every bug has to be found in every round: the first seed that does, in the order of seeds and modes.
fn find_bugs(arguments: &Arguments) -> ExitCode {
    let Range { start, end } = arguments.seeds;
    let length = end - start;
    let mut missed = 0;
    for bug in Bug::ALL {
        let mut needed = Vec::new();
        for round in 0..arguments.rounds {
            let first = start + round * length;
            match find(bug, first..first + length, arguments) {
                Some(seed) => needed.push(seed - first + 1),
                // Not found counts as more than all of them.
                None => needed.push(u64::MAX),
            }
        }
        missed += usize::from(needed.contains(&u64::MAX));
        if arguments.rounds > 1 {
            needed.sort_unstable();
            let all = needed.iter().filter(|seeds| **seeds <= length).count();
            // Of an even number the larger one in the middle.
            let median = match needed[needed.len() / 2] {
                u64::MAX => format!("more than {length}"),
                seeds => seeds.to_string(),
            };
            println!(
                "{bug:?} median={median} seeds, found in {all} of {} rounds",
                arguments.rounds
            );
        }
    }
    let (all, end) = (Bug::ALL.len(), start + arguments.rounds * length);
    println!("seeds={start}..{end} bugs={all} found={}", all - missed);
    ExitCode::from(u8::from(missed > 0))
}

/// The first of these seeds that finds this bug.
fn find(bug: Bug, seeds: Range<u64>, arguments: &Arguments) -> Option<u64> {
    bug::switch(Some(bug));
    let outcomes = play_all(&Arguments { first: true, seeds, ..arguments.clone() });
    bug::switch(None);
    let found = outcomes.iter().find(|outcome| !outcome.violations.is_empty());
    let Some(Outcome { seed, mode, violations, .. }) = found else {
        println!("{bug:?} not found in {} runs", outcomes.len());
        return None;
    };
    // What is wrong without the bug too is not its doing.
    if !run(*seed, *mode, false).violations.is_empty() {
        println!("{bug:?}: --seeds {seed} --mode {} fails without it", mode.as_str());
        return None;
    }
    let first: String = violations[0].chars().take(110).collect();
    println!("{bug:?} found by --seeds {seed} --mode {}: {first}", mode.as_str());
    Some(*seed)
}

/// Plays every seed in every mode on all cores; in the order of seeds and modes, whoever was faster.
fn play_all(arguments: &Arguments) -> Vec<Outcome> {
    let modes = &arguments.mode.0;
    let runs: Vec<(Mode, u64)> = arguments
        .seeds
        .clone()
        .flat_map(|seed| modes.iter().map(move |mode| (*mode, seed)))
        .collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(cores).clamp(1, runs.len().max(1));
    let next = AtomicU64::new(0);
    let stop_at = AtomicU64::new(u64::MAX);
    let work = || {
        let mut done = BTreeMap::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((mode, seed)) = usize::try_from(number).ok().and_then(|n| runs.get(n)) else {
                return done;
            };
            if number > stop_at.load(Ordering::Relaxed) {
                return done;
            }
            if number > 0 && number.is_multiple_of(TOLD_EVERY) {
                eprintln!("{number} of {} runs begun", runs.len());
            }
            let outcome = run(*seed, *mode, arguments.trace);
            if arguments.first && !outcome.violations.is_empty() {
                stop_at.fetch_min(number, Ordering::Relaxed);
            }
            done.insert(number, outcome);
        }
    };
    let mut all = BTreeMap::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all.into_iter().filter(|(n, _)| *n <= stop_at.load(Ordering::Relaxed)).map(|(_, o)| o).collect()
}

/// Everything about a run that went wrong: the command that plays it again, and how it came to that.
fn tell(failed: &Outcome, arguments: &Arguments) {
    const LINES: usize = 60;
    let Outcome { seed, mode, violations, .. } = failed;
    let mode = mode.as_str();
    println!("seed {seed} in mode {mode}: {} violations", violations.len());
    for violation in violations.iter().take(20) {
        println!("  {violation}");
    }
    let switched = arguments.bug.map_or_else(String::new, |bug| format!(" --bug {bug:?}"));
    println!(
        "again: cargo run --release -p simulate -- --seeds {seed} --mode {mode}{switched} --trace"
    );
    if !arguments.trace {
        let again = run(*seed, failed.mode, true);
        let first = again.trace.iter().position(|line| line.contains("VIOLATION"));
        let end = first.map_or(again.trace.len(), |first| first + 1);
        println!("up to the first violation:");
        for line in &again.trace[end.saturating_sub(LINES)..end] {
            println!("{line}");
        }
    }
}

/// Prints what the runs came to; how many points were missed that had to be reached.
fn summary(outcomes: &[Outcome], arguments: &Arguments) -> usize {
    let mut points: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut calls, mut most) = (0, 0);
    let mut counts = [0; 3];
    for outcome in outcomes {
        calls += outcome.tally.calls;
        most = most.max(outcome.tally.calls_of_one_max);
        for (sum, count) in counts.iter_mut().zip(outcome.counts) {
            *sum += count;
        }
        for (point, times) in &outcome.reached {
            *points.entry(point).or_default() += times;
        }
    }
    if arguments.points {
        for (point, times) in &points {
            println!("{times:>9} {point}");
        }
    }
    let missed = if arguments.points { points::missed(&points) } else { Vec::new() };
    for point in &missed {
        println!("NEVER REACHED {point}");
    }
    let [orders, credits, steps] = counts;
    println!(
        "runs={} orders={orders} credits={credits} calls={calls} most_calls_of_one={most} steps={steps}",
        outcomes.len()
    );
    missed.len()
}
