//! All mutants of `cargo mutants` in one build, each behind a switch, and the tests run on each.
//!
//! `cargo mutants` builds once a mutant; most of its time is building. This takes its list, writes every mutant into a
//! copy of the workspace so that an environment variable switches it, builds that once, optimised, and runs the tests
//! once a mutant. What cannot be written behind a switch (it does not compile, or not like that) is told at the end, for
//! `cargo mutants` itself.

#![expect(
    clippy::disallowed_methods,
    reason = "it waits for other processes, in real time and with nothing beside it"
)]

mod compile;
mod list;
mod run;
mod schema;

use std::collections::BTreeMap;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::list::Mutant;

/// What ends the program.
pub type Failure = Box<dyn Error>;

/// Runs the tests on each mutant.
#[derive(Debug, Parser)]
struct Arguments {
    /// The workspace.
    #[arg(long, default_value = ".")]
    workspace: PathBuf,
    /// Where the copy is made, and what was found is noted: a run that was stopped goes on. A folder of its own for
    /// each state of the workspace.
    #[arg(long, default_value = "/tmp/mutants")]
    to: PathBuf,
    /// Folders of the library.
    #[arg(long, default_values = ["shared/src/domain", "shared/src/app"])]
    folder: Vec<String>,
    /// Of those that can be switched every so-manieth alone: a sample, spread over all files.
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    every: NonZeroUsize,
    /// How many of them are left out before the first: another sample.
    #[arg(long, default_value_t = 0)]
    from: usize,
    /// Only writes the copy and tells what cannot be switched.
    #[arg(long)]
    prepare: bool,
}

fn main() -> ExitCode {
    match work(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the error is the mutant's own, switch or not: a value that the type does not have, an operator that the types
/// do not have, a match that does not name everything any more, an alternative to a pattern.
fn cannot_compile(mutant: &Mutant, code: &str) -> bool {
    match &*mutant.genre {
        "FnValue" => {
            !mutant.name.contains("impl ")
                && ["E0277", "E0282", "E0308", "E0599", "E0624"].contains(&code)
        }
        "BinaryOperator" => {
            ["E0277", "E0369"].contains(&code)
                || (code.is_empty() && mutant.name.contains("replace && with ||"))
        }
        "MatchArm" => code == "E0004",
        _ => false,
    }
}

fn work(arguments: &Arguments) -> Result<bool, Failure> {
    let files = list::mutants(&arguments.workspace, &arguments.folder)?;
    // What cannot be switched; where that is known the copy is as it should be.
    let prepared = arguments.to.join("without.json");
    if !prepared.exists() {
        compile::copy(&arguments.workspace, &arguments.to)?;
        let without = compile::instrument(&arguments.to, &files)?;
        std::fs::write(&prepared, serde_json::to_vec(&without)?)?;
    }
    let without: compile::Wrong = serde_json::from_slice(&std::fs::read(&prepared)?)?;
    let all: BTreeMap<usize, &Mutant> =
        files.values().flatten().map(|mutant| (mutant.id, mutant)).collect();
    let mut impossible = 0;
    for (id, code) in &without {
        let mutant = all[id];
        if cannot_compile(mutant, code) {
            impossible += 1;
        } else {
            println!("without a switch, {code}: {}", mutant.name);
        }
    }
    let (all_of_them, switched) = (all.len(), all.len() - without.len());
    let others = without.len() - impossible;
    println!(
        "mutants={all_of_them} do_not_compile={impossible} switched={switched} others={others}"
    );
    if arguments.prepare {
        return Ok(true);
    }
    let switched = all.values().filter(|mutant| !without.contains_key(&mutant.id));
    let sample = switched.skip(arguments.from).step_by(arguments.every.get());
    let switched: Vec<&Mutant> = sample.copied().collect();
    run::all(&arguments.to, &switched)
}
