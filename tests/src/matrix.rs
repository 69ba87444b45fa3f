//! The matrix: every outside call of a flow fails in every way, once, and what is wrong afterwards. Also two
//! faults in one flow, and which call sites of the product the flows come to.

#![expect(clippy::panic, reason = "a flow that fails without faults ends the test")]

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use recharge_local::aws::SharedClock;
use recharge_local::aws::faults::{Call, Fault, Faults, LogEntry};

use crate::sites::{self, Site};
use crate::world::simulate;

/// What happens to the calls of a run.
#[derive(Clone)]
pub struct Plan(Arc<dyn Fn(&Call) -> Fault + Send + Sync>);

impl Plan {
    /// Nothing.
    pub fn none() -> Plan {
        Plan(Arc::new(|_| Fault::None))
    }

    /// These calls suffer these faults.
    pub fn of(faults: &[(u64, Fault)]) -> Plan {
        let faults: BTreeMap<u64, Fault> = faults.iter().copied().collect();
        Plan(Arc::new(move |call| faults.get(&call.index).copied().unwrap_or(Fault::None)))
    }

    /// The faults of one run.
    pub fn faults(&self, clock: SharedClock) -> Faults {
        self.faults_from(clock, 0)
    }

    /// The faults of an instance that goes on after `before` calls of others.
    pub fn faults_from(&self, clock: SharedClock, before: u64) -> Faults {
        let plan = self.0.clone();
        Faults::new(clock, move |call| plan(&Call { index: call.index + before, ..call.clone() }))
    }
}

/// The calls of two instances that worked one after the other, numbered through.
pub fn both(first: &Faults, second: &Faults) -> Vec<LogEntry> {
    let before = first.calls();
    let later = second.log().into_iter();
    let later = later.map(|entry| LogEntry { index: entry.index + before, ..entry });
    first.log().into_iter().chain(later).collect()
}

impl Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plan")
    }
}

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
    /// Flows.
    pub flows: usize,
    /// Runs with a fault.
    pub cases: usize,
    /// Which fault was played at which service.
    pub kinds: BTreeSet<(String, Fault)>,
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

/// How often the SDK tries a call: as it is deployed, and once, where every fault reaches the code.
pub const BOTH: &[u32] = &[3, 1];

/// Once: what the SDK's own retries would hide is seen.
pub const ONCE: &[u32] = &[1];

/// Plays every flow without a fault, and then with every fault at every one of its calls, for each number of
/// tries that the SDK makes.
pub fn matrix<F: Copy + Debug, P: Future<Output = Outcome>>(
    seed: u64,
    (flows, tries): (&[F], &[u32]),
    play: impl Fn(F, Plan, u32) -> P,
) -> Matrix {
    let (table, kinds, failed) = (String::new(), BTreeSet::new(), Vec::new());
    let mut result = Matrix { table, flows: flows.len(), cases: 0, kinds, failed, trace: 0 };
    let mut hasher = DefaultHasher::new();
    for &flow in flows {
        for &attempts in tries {
            let tries = if attempts == 1 { "one try a call" } else { "three tries a call" };
            let _ = writeln!(result.table, "\n{flow:?}, {tries}");
            for call in clean(seed, (flow, attempts), &play) {
                let mut row = format!("  {:>2} {:<34}", call.index, call.call);
                let service = call.call.split('.').next().unwrap_or("");
                for fault in Fault::ALL {
                    let plan = Plan::of(&[(call.index, fault)]);
                    let outcome = simulate(seed, async || play(flow, plan, attempts).await);
                    outcome.log.hash(&mut hasher);
                    result.cases += 1;
                    result.kinds.insert((service.to_owned(), fault));
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

/// The outside calls of a flow without a fault, in the order in which they left.
fn clean<F: Copy + Debug, P: Future<Output = Outcome>>(
    seed: u64,
    (flow, attempts): (F, u32),
    play: impl Fn(F, Plan, u32) -> P,
) -> Vec<LogEntry> {
    let clean = simulate(seed, async || play(flow, Plan::none(), attempts).await);
    let problems = clean.problems;
    assert!(problems.is_empty(), "{flow:?} without faults: {problems:?}");
    let mut calls = clean.log;
    calls.sort_by_key(|entry| entry.index);
    calls
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
    let first = hold(first);
    assert_eq!(second.trace, first.trace, "the same seed has given another trace");
    first
}

/// Prints the table; nothing in it may be broken.
pub fn hold(matrix: Matrix) -> Matrix {
    println!("{}\n{}", head(), matrix.table);
    let Matrix { flows, cases, trace, .. } = matrix;
    println!("flows={flows} cases={cases} broken={} trace={trace:016x}", matrix.failed.len());
    assert!(matrix.failed.is_empty(), "{}", matrix.failed.join("\n"));
    matrix
}

/// The call sites that the flows come to when nothing fails.
pub fn met<F: Copy + Debug, P: Future<Output = Outcome>>(
    seed: u64,
    flows: &[F],
    play: impl Fn(F, Plan, u32) -> P,
) -> BTreeSet<Site> {
    let met = Arc::new(Mutex::new(BTreeSet::new()));
    for &flow in flows {
        let into = met.clone();
        let plan = Plan(Arc::new(move |_| {
            into.lock().unwrap_or_else(PoisonError::into_inner).extend(sites::calling());
            Fault::None
        }));
        simulate(seed, async || play(flow, plan, 3).await);
    }
    let met = met.lock().unwrap_or_else(PoisonError::into_inner);
    met.clone()
}

/// Plays every pair of faults: one at a call of the flow, the other at any later call of the run that the
/// first has made of it. Gives the number of pairs and those that went wrong.
pub fn pairs<F: Copy + Debug, P: Future<Output = Outcome>>(
    seed: u64,
    (flow, attempts): (F, u32),
    play: impl Fn(F, Plan, u32) -> P,
) -> (usize, Vec<String>) {
    let (mut cases, mut failed) = (0, Vec::new());
    for first in clean(seed, (flow, attempts), &play) {
        for fault in Fault::ALL {
            let one = (first.index, fault);
            let plan = Plan::of(&[one]);
            let run = simulate(seed, async || play(flow, plan, attempts).await);
            let later: BTreeMap<u64, String> =
                run.log.into_iter().map(|e| (e.index, e.call)).collect();
            for (index, call) in later.range(first.index + 1..) {
                for other in Fault::ALL {
                    let plan = Plan::of(&[one, (*index, other)]);
                    let outcome = simulate(seed, async || play(flow, plan, attempts).await);
                    cases += 1;
                    if !outcome.problems.is_empty() {
                        let (name, problems) = (&first.call, outcome.problems);
                        let at = first.index;
                        failed.push(format!(
                            "{flow:?}/{attempts} {at} {name} {fault:?}, {index} {call} {other:?}: {problems:#?}"
                        ));
                    }
                }
            }
        }
    }
    (cases, failed)
}
