//! The examples of `docs/signing.md`, taken out of the document and run against the real process. An
//! interpreter that is not installed is skipped, and said so.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::bundle::*;

const DOCUMENT: &str = include_str!("../../../docs/signing.md");

/// The block of the document in `language`.
fn example(language: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0
}

/// What `program` prints when it is given `source` on its standard input.
fn run_with(program: &[&str], source: &str, url: &str) -> Output {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).env("RECHARGE_URL", url).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn installed(program: &str) -> bool {
    let mut asked = Command::new(program);
    asked.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok()
}

/// The example in `language` creates an order and finds it in the list.
fn check(language: &str, program: &[&str], needed: &[&str]) {
    if let Some(missing) = needed.iter().find(|program| !installed(program)) {
        println!("skipped: {missing} is not installed");
        return;
    }
    let bundle = Bundle::start_on("0", &["--memory"]);
    let output = run_with(program, example(language), &bundle.url);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert!(output.status.success() && lines.len() == 2, "{language}: {output:?}");
    let status = |line: &str, wanted: &str| {
        line.starts_with(&format!("{wanted} ")) || line.ends_with(&format!(" {wanted}"))
    };
    assert!(status(lines[0], "201") && lines[0].contains("PENDING"), "{language}: {text}");
    assert!(status(lines[1], "200") && lines[1].contains("recharges"), "{language}: {text}");
    assert!(lines[1].contains("PENDING"), "{language}: {text}");
}

#[test]
fn the_shell_example_signs_a_create_and_a_list() {
    check("sh", &["sh", "-s"], &["curl", "openssl"]);
}

#[test]
fn the_python_example_signs_a_create_and_a_list() {
    check("python", &["python3", "-"], &["python3"]);
}

#[test]
fn the_node_example_signs_a_create_and_a_list() {
    check("js", &["node", "-"], &["node"]);
}
