//! Owns the tests' word on each mutant: of those tests that come to its place the quick ones first, then the slow
//! ones, then the simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::list::Mutant;

/// Test binaries that have a word on the library's decisions and use cases, those that fail first in front.
const BINARIES: [&str; 20] = [
    "recharge_shared",
    "cost",
    "explain",
    "payprotocol",
    "properties",
    "policies",
    "main_job",
    "limits",
    "poller",
    "keys",
    "reviews",
    "notify",
    "metrics",
    "versions",
    "shadow",
    "clients",
    "healing",
    "traces",
    "outage",
    "attacks",
];

/// Tests that no mutant meets: they take minutes, or are of other rooms.
const NEVER: [&str; 5] = ["fairness::", "egress::", "tls::", "outbound_hyper::", "runtime::"];

/// What the simulation plays of a mutant that no test noticed.
const SIMULATED: [&str; 6] = ["--seeds", "0..10", "--mode", "every", "--threads", "1"];

/// Quick tests of one binary run together until they take this long.
const TOGETHER: Duration = Duration::from_millis(300);

/// For one test, or the simulation, without a mutant.
const TIME: Duration = Duration::from_secs(60);

/// What runs, built once.
struct Built {
    /// By name: where it is, and in which folder it runs.
    binaries: BTreeMap<String, (PathBuf, PathBuf)>,
    simulate: PathBuf,
}

/// Tests of one binary that run together, or (of none) the simulation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Tests {
    binary: Option<String>,
    names: Vec<String>,
    took: Duration,
    /// The mutants to whose places they come.
    reached: BTreeSet<usize>,
}

/// One line of what cargo says of a build.
#[derive(Deserialize)]
struct Said {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Whether at least nine of ten were noticed.
pub fn all(copy: &Path, mutants: &[&Mutant]) -> Result<bool, Failure> {
    let copy = std::fs::canonicalize(copy)?;
    let built = Built::new(&copy)?;
    let measured = copy.join("measured.json");
    if !measured.exists() {
        let tests = built.measured(&copy)?;
        std::fs::write(&measured, serde_json::to_vec(&tests)?)?;
    }
    let tests: Vec<Tests> = serde_json::from_slice(&std::fs::read(&measured)?)?;

    let notes = copy.join("outcomes");
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for line in std::fs::read_to_string(&notes).unwrap_or_default().lines() {
        if let Some((outcome, name)) = line.split_once(' ') {
            known.insert(name.to_owned(), outcome.to_owned());
        }
    }
    let asked: Vec<&&Mutant> =
        mutants.iter().filter(|mutant| !known.contains_key(&mutant.name)).collect();
    let noted = Mutex::new((OpenOptions::new().append(true).create(true).open(&notes)?, 0));
    side_by_side(&asked, |mutant| {
        let outcome = built.word(mutant.id, &tests)?;
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(noted.0, "{outcome} {}", mutant.name)?;
        noted.1 += 1;
        if noted.1 % 50 == 0 {
            eprintln!("{} of {}", noted.1, asked.len());
        }
        Ok((mutant.name.clone(), outcome.to_owned()))
    })?
    .into_iter()
    .for_each(|(name, outcome)| {
        known.insert(name, outcome);
    });

    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for mutant in mutants {
        let outcome = known[&mutant.name].as_str();
        if ["missed", "unreached"].contains(&outcome) {
            println!("{outcome}: {}", mutant.name);
        }
        *counts.entry(outcome).or_default() += 1;
    }
    let count = |outcome| counts.get(outcome).copied().unwrap_or_default();
    let missed = count("missed") + count("unreached");
    println!("run={} noticed={} {counts:?}", mutants.len(), mutants.len() - missed);
    Ok(missed * 10 <= mutants.len())
}

/// Does this for each, one a core.
fn side_by_side<T: Sync, R: Send>(
    things: &[T],
    work: impl Fn(&T) -> Result<R, Failure> + Sync,
) -> Result<Vec<R>, Failure> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Result<Vec<R>, String>> = Mutex::new(Ok(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(thing);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    match (&mut *done, result) {
                        (Ok(results), Ok(result)) => results.push(result),
                        (Ok(_), Err(error)) => *done = Err(error.to_string()),
                        (Err(_), _) => return,
                    }
                }
            });
        }
    });
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner)?)
}

impl Built {
    fn new(copy: &Path) -> Result<Built, Failure> {
        let mut tests =
            vec!["test", "--no-run", "-p", "recharge-shared", "-p", "recharge-tests", "--lib"];
        for binary in BINARIES.into_iter().skip(1) {
            tests.extend(["--test", binary]);
        }
        let mut binaries = BTreeMap::new();
        for said in build(copy, &tests)? {
            let (Some(path), Some(manifest), Some(target)) =
                (said.executable, said.manifest_path, said.target)
            else {
                continue;
            };
            let folder = manifest.parent().ok_or("a manifest is nowhere")?.to_owned();
            binaries.insert(target.name, (path, folder));
        }
        let simulation = build(copy, &["build", "-p", "simulate"])?;
        let simulate = simulation.into_iter().find_map(|said| said.executable);
        Ok(Built { binaries, simulate: simulate.ok_or("no simulation was built")? })
    }

    /// Every test without a mutant: how long it takes, and to which mutants' places it comes. Quick ones of a binary
    /// together and in the binaries' order, then slow ones, then the simulation.
    fn measured(&self, copy: &Path) -> Result<Vec<Tests>, Failure> {
        let mut tests = Vec::new();
        for binary in BINARIES {
            let listed = self.binary(binary)?.args(["--list", "--format", "terse"]).output()?;
            for line in std::str::from_utf8(&listed.stdout)?.lines() {
                let Some(name) = line.strip_suffix(": test") else { continue };
                if !NEVER.iter().any(|never| name.contains(never)) {
                    let (binary, names) = (Some(binary.to_owned()), vec![name.to_owned()]);
                    tests.push(Tests { binary, names, ..Tests::default() });
                }
            }
        }
        tests.push(Tests::default());
        let numbered: Vec<(usize, Tests)> = tests.into_iter().enumerate().collect();
        let mut tests = side_by_side(&numbered, |(number, tests)| {
            let reached = copy.join(format!("reached-{number}"));
            drop(File::create(&reached)?);
            let started = Instant::now();
            let mut command = self.command(tests)?;
            if !passes(command.env("MUTANT_REACHED", &reached), failure(tests), TIME)? {
                return Err(format!("{:?} {:?} fail as they are", tests.binary, tests.names).into());
            }
            let took = started.elapsed();
            let lines = std::fs::read_to_string(&reached)?;
            std::fs::remove_file(&reached)?;
            let reached = lines.lines().map(str::parse).collect::<Result<_, _>>()?;
            Ok((*number, Tests { took, reached, ..tests.clone() }))
        })?;
        // Back in the order of the binaries, and in each those that come to little first.
        tests.sort_by_key(|(number, tests)| (tests.took > TOGETHER, *number));
        let (quick, mut slow): (Vec<Tests>, Vec<Tests>) =
            tests.into_iter().map(|(_, tests)| tests).partition(|tests| tests.took <= TOGETHER);
        slow.sort_by_key(|tests| (tests.binary.is_none(), tests.took));
        Ok(quick.into_iter().chain(slow).collect())
    }

    /// What noticed the mutant.
    fn word(&self, id: usize, tests: &[Tests]) -> Result<&'static str, Failure> {
        let mut rest = tests.iter().filter(|tests| tests.reached.contains(&id)).peekable();
        if rest.peek().is_none() {
            return Ok("unreached");
        }
        while let Some(first) = rest.next() {
            let mut together = first.clone();
            while let Some(more) = rest.next_if(|more| {
                more.binary == together.binary && together.took + more.took <= TOGETHER
            }) {
                together.names.extend(more.names.iter().cloned());
                together.took += more.took;
            }
            let time = together.took * 5 + Duration::from_secs(5);
            let mut command = self.command(&together)?;
            if !passes(command.env("MUTANT", id.to_string()), failure(&together), time)? {
                return Ok(if together.binary.is_some() { "tests" } else { "simulation" });
            }
        }
        Ok("missed")
    }

    fn command(&self, tests: &Tests) -> Result<Command, Failure> {
        let Some(binary) = &tests.binary else {
            let mut simulation = Command::new(&self.simulate);
            simulation.args(SIMULATED);
            return Ok(simulation);
        };
        let mut command = self.binary(binary)?;
        command.args(["-q", "--test-threads", "1", "--exact"]).args(&tests.names);
        Ok(command)
    }

    fn binary(&self, name: &str) -> Result<Command, Failure> {
        let (path, folder) = self.binaries.get(name).ok_or("a test binary is not there")?;
        let mut command = Command::new(path);
        command.current_dir(folder);
        Ok(command)
    }
}

/// How a program says that something is wrong.
fn failure(tests: &Tests) -> i32 {
    if tests.binary.is_some() { 101 } else { 1 }
}

/// Whether it ended well; not if with `failed`, or not in time: what does not end was noticed, too.
fn passes(command: &mut Command, failed: i32, time: Duration) -> Result<bool, Failure> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = quiet.spawn()?;
    let started = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(true),
            // A panic, or a signal, is noticed as well.
            Some(status) if [Some(failed), Some(101), None].contains(&status.code()) => {
                return Ok(false);
            }
            Some(status) => return Err(format!("{command:?}: {status}").into()),
            None if started.elapsed() > time => {
                child.kill()?;
                child.wait()?;
                return Ok(false);
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Builds, and tells what cargo says of each thing that it built.
fn build(copy: &Path, arguments: &[&str]) -> Result<Vec<Said>, Failure> {
    let mut command = Command::new("cargo");
    command.current_dir(copy).args(arguments).args([
        "--profile",
        "sim",
        "--message-format",
        "json",
    ]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("a build failed".into());
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
}
