//! The matrix: every outside call of a flow fails in every way, once, and what is wrong afterwards.

#![expect(clippy::panic, reason = "a flow that fails without faults ends the test")]

use std::collections::hash_map::DefaultHasher;
use std::fmt::{Debug, Write as _};
use std::future::Future;
use std::hash::{Hash, Hasher};

use recharge_local::aws::faults::{Fault, LogEntry};

use crate::world::simulate;

/// What one run of a flow came to.
#[derive(Debug)]
pub struct Outcome {
    /// Its outside calls.
    pub log: Vec<LogEntry>,
    /// What is wrong afterwards.
    pub problems: Vec<String>,
}

/// All runs of all flows.
#[derive(Debug)]
pub struct Matrix {
    /// A row a call, a column a fault.
    pub table: String,
    /// Runs with a fault.
    pub cases: usize,
    /// Those that went wrong.
    pub failed: Vec<String>,
    /// Of all calls of all runs.
    pub trace: u64,
}

/// The head of [`Matrix::table`].
pub fn head() -> String {
    let heads: Vec<String> =
        Fault::ALL.iter().map(|f| format!("{:<13}", format!("{f:?}"))).collect();
    format!("{:<38}{}", "outside call", heads.join(" "))
}

/// Plays every flow without a fault, and then with every fault at every one of its calls; each with an SDK
/// that tries thrice and with one that tries once.
pub fn matrix<F: Copy + Debug, P: Future<Output = Outcome>>(
    seed: u64,
    flows: &[F],
    play: impl Fn(F, Option<(u64, Fault)>, u32) -> P,
) -> Matrix {
    let mut result = Matrix { table: String::new(), cases: 0, failed: Vec::new(), trace: 0 };
    let mut hasher = DefaultHasher::new();
    for &flow in flows {
        for attempts in [3, 1] {
            let clean = simulate(seed, async || play(flow, None, attempts).await);
            let problems = clean.problems;
            assert!(problems.is_empty(), "{flow:?} without faults: {problems:?}");
            let tries = if attempts == 1 { "one try a call" } else { "three tries a call" };
            let _ = writeln!(result.table, "\n{flow:?}, {tries}");
            let mut calls = clean.log;
            calls.sort_by_key(|entry| entry.index);
            for call in &calls {
                let mut row = format!("  {:>2} {:<34}", call.index, call.call);
                for fault in Fault::ALL {
                    let at = Some((call.index, fault));
                    let outcome = simulate(seed, async || play(flow, at, attempts).await);
                    outcome.log.hash(&mut hasher);
                    result.cases += 1;
                    let held = outcome.problems.is_empty();
                    let _ = write!(row, " {:<13}", if held { "ok" } else { "BROKEN" });
                    if !held {
                        let (index, name) = (call.index, &call.call);
                        let problems = outcome.problems;
                        let case = format!("{flow:?}/{attempts} {index} {name} {fault:?}");
                        result.failed.push(format!("{case}: {problems:#?}"));
                    }
                }
                let _ = writeln!(result.table, "{}", row.trim_end());
            }
        }
    }
    result.trace = hasher.finish();
    result
}

/// Runs `matrix` twice, side by side: the same seed has to give the same trace, and nothing may be broken.
pub fn prove(matrix: impl Fn() -> Matrix + Sync) -> Matrix {
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(&matrix);
        let first = matrix();
        match second.join() {
            Ok(second) => (first, second),
            Err(_) => panic!("the second run did not end like the first"),
        }
    });
    println!("{}\n{}", head(), first.table);
    println!("cases={} broken={} trace={:016x}", first.cases, first.failed.len(), first.trace);
    assert!(first.failed.is_empty(), "{}", first.failed.join("\n"));
    assert_eq!(second.trace, first.trace, "the same seed has given another trace");
    first
}
