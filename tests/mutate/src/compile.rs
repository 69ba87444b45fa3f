//! Owns the copy of the workspace with the switches in it, and what of it does not compile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::Failure;
use crate::list::Mutant;
use crate::schema::{Schema, schema};

/// The module that the switches ask.
const SWITCH: &str = r#"//! Which mutant is on, and which could have been.
use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
static ON: LazyLock<usize> = LazyLock::new(|| {
    std::env::var("MUTANT").ok().and_then(|id| id.parse().ok()).unwrap_or_default()
});
static FILE: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("MUTANT_REACHED").ok());
static REACHED: [AtomicBool; 1 << 14] = [const { AtomicBool::new(false) }; 1 << 14];
/// Whether it is this one.
#[must_use]
pub fn on(id: usize) -> bool {
    if let Some(file) = &*FILE && !REACHED[id].swap(true, Ordering::Relaxed) {
        let mut file = std::fs::OpenOptions::new().append(true).open(file).expect("it is there");
        file.write_all(format!("{id}\n").as_bytes()).expect("it can be written to");
    }
    *ON == id
}
"#;

/// Copies what git knows of `workspace` to `copy`.
pub fn copy(workspace: &Path, copy: &Path) -> Result<(), Failure> {
    let output = Command::new("git").current_dir(workspace).args(["ls-files", "-z"]).output()?;
    for name in output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name)?;
        let (from, to) = (workspace.join(name), copy.join(name));
        // What is deleted and not yet committed is listed too.
        if !from.is_file() {
            continue;
        }
        std::fs::create_dir_all(to.parent().ok_or("no folder")?)?;
        let new = std::fs::read(&from)?;
        if std::fs::read(&to).ok().as_ref() != Some(&new) {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// Mutants and the compiler's error, such as `E0277`; empty for one that was not found in the syntax.
pub type Wrong = BTreeMap<usize, String>;

/// Writes the switches into `copy`'s library; what cannot be switched.
pub fn instrument(copy: &Path, files: &BTreeMap<String, Vec<Mutant>>) -> Result<Wrong, Failure> {
    let mut sources = BTreeMap::new();
    for file in files.keys() {
        sources.insert(file.clone(), std::fs::read_to_string(copy.join(file))?);
    }
    std::fs::write(copy.join("shared/src/mutant.rs"), SWITCH)?;
    let lib = copy.join("shared/src/lib.rs");
    let text = std::fs::read_to_string(&lib)?;
    std::fs::write(&lib, text.replacen("pub mod app;", "pub mod app;\npub mod mutant;", 1))?;
    let mut without = Wrong::new();
    let mut constant = BTreeSet::new();
    loop {
        let mut schemas: BTreeMap<PathBuf, Schema> = BTreeMap::new();
        for (file, mutants) in files {
            let (schema, lost) = schema(&sources[file], mutants, (&without, &constant))?;
            without.extend(lost.into_iter().map(|id| (id, String::new())));
            std::fs::write(copy.join(file), &schema.text)?;
            schemas.insert(PathBuf::from(file), schema);
        }
        let (wrong, called) = errors(copy, &schemas)?;
        if wrong.is_empty() && called.is_empty() {
            return Ok(without);
        }
        constant.extend(called);
        eprintln!("{} mutants do not compile with a switch", wrong.len());
        without.extend(wrong);
    }
}

#[derive(Deserialize)]
struct Line {
    reason: String,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    message: String,
    code: Option<Code>,
    rendered: Option<String>,
    spans: Vec<Place>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Place {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
    expansion: Option<Box<Expansion>>,
}

#[derive(Deserialize)]
struct Expansion {
    span: Place,
}

/// The mutants to which the compiler's errors belong, and the functions that constants call; an error of none is a
/// failure.
fn errors(
    copy: &Path,
    schemas: &BTreeMap<PathBuf, Schema>,
) -> Result<(Wrong, BTreeSet<String>), Failure> {
    let arguments = ["check", "-p", "recharge-shared", "--lib", "--message-format", "json"];
    let output = Command::new("cargo").current_dir(copy).args(arguments).output()?;
    let mut wrong = Wrong::new();
    let mut called = BTreeSet::new();
    let mut unknown = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Line = serde_json::from_slice(line)?;
        let (true, Some(message)) = (line.reason == "compiler-message", line.message) else {
            continue;
        };
        if message.level != "error" || message.spans.is_empty() {
            continue;
        }
        let code = message.code.map(|code| code.code).unwrap_or_default();
        // "cannot call non-const method `Money::minor` in constant functions"
        let name = message.message.split('`').nth(1).and_then(|path| path.rsplit("::").next());
        if code == "E0015" && !message.message.contains("mutant::on") {
            called.extend(name.map(|name| name.split('<').next().unwrap_or(name).to_owned()));
            continue;
        }
        let mut found = false;
        let mut primary: Vec<Place> = Vec::new();
        let mut others: Vec<Place> = Vec::new();
        for span in message.spans {
            let mut span = span;
            let is_primary = span.is_primary;
            while let Some(expansion) = span.expansion.take() {
                span = expansion.span;
            }
            if is_primary { primary.push(span) } else { others.push(span) }
        }
        for place in primary.iter().chain(&others) {
            let Some(schema) = schemas.get(Path::new(&place.file_name)) else { continue };
            let holds = |part: &&crate::schema::Part| {
                part.start <= place.byte_start && place.byte_end <= part.end
            };
            let smallest =
                schema.parts.iter().filter(holds).min_by_key(|part| part.end - part.start);
            if let Some(part) = smallest {
                for id in &part.ids {
                    wrong.entry(*id).or_insert_with(|| code.clone());
                }
                found = true;
                break;
            }
        }
        if !found {
            unknown.push(message.rendered.unwrap_or_default());
        }
    }
    if wrong.is_empty() && called.is_empty() && !output.status.success() {
        unknown.push(String::from_utf8_lossy(&output.stderr).into_owned());
        return Err(unknown.concat().into());
    }
    Ok((wrong, called))
}
