//! Numbers from commands: what the functions cost against a floor, how the bundle behaves under load, what grows
//! with the table, and what a recharge costs. `all` writes docs/performance.md, docs/cost.md and docs/plots.

mod cost;
mod figures;
mod functions;
mod load;
mod plot;
mod prices;
mod report;
mod scene;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::plot::Plot;

/// Measures and prints.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Fewer repeats, for a look at whether everything runs; the figures mean less.
    #[arg(long, global = true)]
    quick: bool,
    /// Builds nothing: takes the bootstraps, the floor and the driver as they lie there.
    #[arg(long, global = true)]
    built: bool,
    /// Of `functions` only this one, and the floor's work that it is held against; may be given several times. The
    /// figures are not kept for `cost`.
    #[arg(long, global = true, value_name = "FUNCTION", value_parser = functions::FUNCTIONS)]
    only: Vec<String>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Cold and warm cost of every function's bootstrap, against the floor.
    Functions,
    /// Creates and callbacks over HTTP, a tenth of them twice; latency, throughput and the books.
    Load,
    /// The poller and a settlement with up to a million orders in the table.
    Table,
    /// Dollars a million recharges, with the figures of the last `functions`.
    Cost,
    /// All of it, into docs/performance.md, docs/cost.md and docs/plots.
    All,
}

/// What a command found out, and what of it must not be.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) text: String,
    pub(crate) wrong: Vec<String>,
}

/// How thoroughly, and where to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Fewer repeats.
    pub(crate) quick: bool,
    /// Builds nothing.
    pub(crate) built: bool,
    /// The functions that are measured; all, if there are none.
    pub(crate) only: Vec<String>,
    /// The repository.
    pub(crate) root: PathBuf,
    /// Where builds are kept, and between two commands the figures.
    pub(crate) target: PathBuf,
}

impl Settings {
    fn new(arguments: &Arguments) -> Result<Settings, String> {
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let root = root.canonicalize().map_err(|error| error.to_string())?;
        // This program lies in TARGET/PROFILE/bench.
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let target = own.ancestors().nth(2).ok_or("this program lies nowhere")?.to_owned();
        std::fs::create_dir_all(target.join("bench")).map_err(|error| error.to_string())?;
        let (quick, built, only) = (arguments.quick, arguments.built, arguments.only.clone());
        Ok(Settings { quick, built, only, root, target })
    }

    /// Whether the function `name` is measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Where the figures of `command` are kept.
    pub(crate) fn kept(&self, command: &str) -> PathBuf {
        self.target.join("bench").join(format!("{command}.json"))
    }

    /// Saves the plot as docs/plots/NAME.svg; the line that shows it.
    pub(crate) fn plot(&self, name: &str, plot: &Plot<'_>) -> Result<String, String> {
        plot.save(&self.root.join(format!("docs/plots/{name}.svg")))?;
        Ok(format!("![{}](plots/{name}.svg)\n", plot.title))
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let settings = Settings::new(arguments)?;
    let section = match arguments.command {
        Command::Functions => functions::measure(&settings)?,
        Command::Load => load::measure(&settings)?,
        Command::Table => table::measure(&settings)?,
        Command::Cost => cost::measure(&settings)?,
        Command::All => report::write(&settings)?,
    };
    println!("{}", section.text);
    if section.wrong.is_empty() { Ok(()) } else { Err(section.wrong.join("\nbench: ")) }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
