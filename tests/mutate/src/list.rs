//! Owns what `cargo mutants --list --json` says, in bytes of the files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::Failure;

/// One change of the source that the tests should notice.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// From 1, in the order of the list; what the environment variable names.
    pub id: usize,
    /// `FnValue`, `BinaryOperator`, …
    pub genre: String,
    /// `file:line:column: what`.
    pub name: String,
    /// What it puts at its place.
    pub replacement: String,
    /// Its place: first byte and the one after the last.
    pub place: (usize, usize),
}

#[derive(Deserialize)]
struct Listed {
    file: String,
    genre: String,
    name: String,
    replacement: String,
    span: Span,
}

#[derive(Deserialize)]
struct Span {
    start: Position,
    end: Position,
}

/// Line and column, from 1; the column counts characters.
#[derive(Deserialize)]
struct Position {
    line: usize,
    column: usize,
}

/// The mutants of the library's files below these folders, by file.
pub fn mutants(
    workspace: &Path,
    folders: &[String],
) -> Result<BTreeMap<String, Vec<Mutant>>, Failure> {
    let mut command = Command::new("cargo");
    command.current_dir(workspace).args(["mutants", "--list", "--json", "-p", "recharge-shared"]);
    for folder in folders {
        command.arg("-f").arg(format!("{folder}/**"));
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let listed: Vec<Listed> = serde_json::from_slice(&output.stdout)?;
    let mut files: BTreeMap<String, (Lines, Vec<Mutant>)> = BTreeMap::new();
    for (index, listed) in listed.into_iter().enumerate() {
        if !files.contains_key(&listed.file) {
            let text = std::fs::read_to_string(workspace.join(&listed.file))?;
            files.insert(listed.file.clone(), (Lines::of(&text), Vec::new()));
        }
        let Some((lines, mutants)) = files.get_mut(&listed.file) else { continue };
        let Span { start, end } = listed.span;
        let place =
            (lines.byte(start.line, start.column - 1), lines.byte(end.line, end.column - 1));
        let (genre, name, replacement) = (listed.genre, listed.name, listed.replacement);
        mutants.push(Mutant { id: index + 1, genre, name, replacement, place });
    }
    Ok(files.into_iter().map(|(file, (_, mutants))| (file, mutants)).collect())
}

/// Where the characters of a text are.
pub struct Lines(Vec<Vec<usize>>);

impl Lines {
    /// Of this text.
    pub fn of(text: &str) -> Lines {
        let mut lines = vec![Vec::new()];
        for (byte, character) in text.char_indices() {
            lines.last_mut().expect("there is one").push(byte);
            if character == '\n' {
                lines.push(Vec::new());
            }
        }
        lines.last_mut().expect("there is one").push(text.len());
        Lines(lines)
    }

    /// The byte at this line, from 1, and column, from 0.
    pub fn byte(&self, line: usize, column: usize) -> usize {
        self.0[line - 1][column]
    }
}
