//! The report: every section into docs/performance.md, the cost sheet into docs/cost.md, the plots beside them.

use std::path::Path;

use crate::{Section, Settings, cost, functions, load, table};

const COMMAND: &str = "cargo run --release -p bench -- all";

/// Measures everything and writes it down.
pub(crate) fn write(settings: &Settings) -> Result<Section, String> {
    let functions = functions::measure(settings)?;
    let load = load::measure(settings)?;
    let table = table::measure(settings)?;
    let cost = cost::measure(settings)?;
    let machine = machine();
    let performance = format!(
        "# Performance\n\nWritten by `{COMMAND}`{}.\n{machine}\n\n\
         ## The functions, cold and warm\n\nEach bootstrap as it is deployed (release, LTO, \
         authentication and log on), fed by a Runtime API on this machine, with\nthe embedded services \
         and the simulated provider over plain HTTP. The floor (`tests/bench/floor`) does a client's \
         work\nwith the fewest SDK calls: one write for a create, one read for a status, one transaction \
         for a settlement; it knows no\nprovider, no limits and no log, and reads the machine's certificate \
         authorities, as the SDK does by itself. CPU follows\nthe requests: where the floor makes one, a create \
         here makes three to the table and one to the provider, a settlement\ntwo to the table and one to the \
         queue. Functions without a counterpart there have no ratio. The notifier's receiver is\nrefused by the \
         guard, so the exchange with it is not in its figures.\n\n{}\n\
         ## Under load\n\nThe whole bundle in one process on this machine, over HTTP, with the embedded \
         database in memory and a receiver that\ntakes the notifications. Open loop: requests leave when \
         the plan says, and their latency (milliseconds) counts from\nthen, waiting for one of 128 \
         connections included. `burst` sends all creates at once; each order is paid and confirmed\nas \
         soon as it is there; `steady` sends 50 a second. Every tenth request is sent twice. At the end \
         the books are held\nagainst themselves and against what was paid.\n\n{}\n\
         ## With the table\n\nThe same work with more and more settled orders in the table (each with \
         its payment), in this process and on its\nthread: units and requests must stay the same, CPU \
         time within 1.2 times the first. The least of all repeats.\n\n{}\n",
        if settings.quick { ", with `--quick`: the figures mean little" } else { "" },
        functions.text,
        load.text,
        table.text,
    );
    let sheet = format!(
        "# What a recharge costs\n\nWritten by `{COMMAND}`; `-- cost` alone prints it with the last \
         figures of `-- functions`.\n\n{}",
        cost.text
    );
    let docs = settings.root.join("docs");
    save(&docs.join("performance.md"), &performance)?;
    save(&docs.join("cost.md"), &sheet)?;
    let wrong = [functions.wrong, load.wrong, table.wrong, cost.wrong].concat();
    Ok(Section { text: format!("{performance}\n{sheet}"), wrong })
}

fn save(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// What the figures were taken on.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown CPU");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    format!(
        "On {cores} cores of {model}, {}; load averages at the end {load}.",
        std::env::consts::ARCH
    )
}
