//! Owns the tests' word on each mutant: first the quick tests; where they noticed nothing the slow ones, then the
//! simulation.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::Failure;
use crate::list::Mutant;

/// Test binaries that have a word on the library's decisions and use cases, those that fail first in front.
const BINARIES: [&str; 18] = [
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
];

/// Tests that take as long as many others, and their binaries.
const SLOW: [(&str, &str); 14] = [
    ("policies", "every_policy_meets"),
    ("properties", "sequence"),
    ("limits", "the_limit_holds_with_sixteen"),
    ("healing", "whatever_call"),
    ("healing", "nobody_looked_at_for_days"),
    ("notify", "reading::"),
    ("notify", "seventy_hours"),
    ("notify", "never_comes_back"),
    ("healing", "cannot_be_read_is_for_a_person"),
    ("poller", "a_backlog"),
    ("poller", "look_back"),
    ("poller", "read_in_one_run"),
    ("poller", "never_speaks_again"),
    ("reviews", "whatever_fails"),
];

/// Tests that no mutant meets: they take minutes, or are of other rooms.
const NEVER: [&str; 5] = ["fairness::", "egress::", "tls::", "outbound_hyper::", "runtime::"];

/// What the simulation plays of a mutant that no test noticed.
const SIMULATED: [&str; 4] = ["--seeds", "0..10", "--mode", "every"];

/// For one binary, or the simulation, of one mutant. What does not end was noticed, too.
const TIME: Duration = Duration::from_secs(40);

/// What runs, built once.
struct Built {
    copy: PathBuf,
    /// By name: where it is, and in which folder it runs.
    binaries: BTreeMap<String, (PathBuf, PathBuf)>,
    simulate: PathBuf,
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
    let built = Built::new(copy)?;
    if built.quickly("0")?.or(built.slowly("0")?).is_some() {
        return Err("the tests fail without any mutant".into());
    }
    each(&built, mutants, "unnoticed", |id| built.quickly(id))?;
    let counts = each(&built, mutants, "missed", |id| built.slowly(id))?;
    let missed = counts.get("missed").copied().unwrap_or_default();
    println!("run={} noticed={} {counts:?}", mutants.len(), mutants.len() - missed);
    Ok(missed * 10 <= mutants.len())
}

/// Asks about each mutant that nothing is known of, or that is `unnoticed`; `otherwise` is what the others become.
fn each(
    built: &Built,
    mutants: &[&Mutant],
    otherwise: &'static str,
    ask: impl Fn(&str) -> Result<Option<&'static str>, Failure>,
) -> Result<BTreeMap<String, usize>, Failure> {
    let notes = built.copy.join("outcomes");
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for line in std::fs::read_to_string(&notes).unwrap_or_default().lines() {
        if let Some((outcome, name)) = line.split_once(' ') {
            known.insert(name.to_owned(), outcome.to_owned());
        }
    }
    let mut file = OpenOptions::new().append(true).create(true).open(&notes)?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (done, mutant) in mutants.iter().enumerate() {
        let outcome = match known.get(&mutant.name) {
            Some(outcome) if outcome != "unnoticed" || otherwise == "unnoticed" => outcome.clone(),
            _ => {
                let outcome = ask(&mutant.id.to_string())?.unwrap_or(otherwise);
                writeln!(file, "{outcome} {}", mutant.name)?;
                outcome.to_owned()
            }
        };
        if outcome == "missed" {
            println!("missed: {}", mutant.name);
        }
        *counts.entry(outcome).or_default() += 1;
        if done % 50 == 49 {
            eprintln!("{} of {}: {counts:?}", done + 1, mutants.len());
        }
    }
    Ok(counts)
}

impl Built {
    fn new(copy: &Path) -> Result<Built, Failure> {
        let copy = std::fs::canonicalize(copy)?;
        let mut tests =
            vec!["test", "--no-run", "-p", "recharge-shared", "-p", "recharge-tests", "--lib"];
        for binary in BINARIES.into_iter().skip(1).chain(SLOW.map(|(binary, _)| binary)) {
            tests.extend(["--test", binary]);
        }
        let mut binaries = BTreeMap::new();
        for said in build(&copy, &tests)? {
            let (Some(path), Some(manifest), Some(target)) =
                (said.executable, said.manifest_path, said.target)
            else {
                continue;
            };
            let folder = manifest.parent().ok_or("a manifest is nowhere")?.to_owned();
            binaries.insert(target.name, (path, folder));
        }
        let simulation = build(&copy, &["build", "-p", "simulate"])?;
        let simulate = simulation.into_iter().find_map(|said| said.executable);
        Ok(Built { copy, binaries, simulate: simulate.ok_or("no simulation was built")? })
    }

    /// By what of the quick tests the mutant was noticed.
    fn quickly(&self, id: &str) -> Result<Option<&'static str>, Failure> {
        let skipped = NEVER.into_iter().chain(SLOW.map(|(_, test)| test));
        let skipped: Vec<&str> = skipped.flat_map(|test| ["--skip", test]).collect();
        for binary in BINARIES {
            if !passes(self.binary(binary)?.args(&skipped).env("MUTANT", id), 101)? {
                return Ok(Some("tests"));
            }
        }
        Ok(None)
    }

    /// By what else it was noticed.
    fn slowly(&self, id: &str) -> Result<Option<&'static str>, Failure> {
        for (binary, test) in SLOW {
            if !passes(self.binary(binary)?.arg(test).env("MUTANT", id), 101)? {
                return Ok(Some("tests"));
            }
        }
        let mut simulation = Command::new(&self.simulate);
        // What it says of violations.
        if !passes(simulation.args(SIMULATED).env("MUTANT", id), 1)? {
            return Ok(Some("simulation"));
        }
        Ok(None)
    }

    fn binary(&self, name: &str) -> Result<Command, Failure> {
        let (path, folder) = self.binaries.get(name).ok_or("a test binary is not there")?;
        let mut command = Command::new(path);
        command.current_dir(folder).arg("-q");
        Ok(command)
    }
}

/// Whether it ended well; not if with `failed`, or not in time.
fn passes(command: &mut Command, failed: i32) -> Result<bool, Failure> {
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
            None if started.elapsed() > TIME => {
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
