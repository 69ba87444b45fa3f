//! The places in the product where it calls something outside, as the source has them and as a running call
//! tells. Whoever adds one has to bring a flow that comes there.

#![expect(clippy::expect_used, reason = "the source is beside the tests")]

use std::backtrace::Backtrace;
use std::path::{Path, PathBuf};

/// A file below `shared/src` and a line in it.
pub type Site = (String, u32);

/// Who calls: folder or file below `shared/src`, and what a call looks like there.
const CALLERS: [(&str, &str); 7] = [
    ("store", ".send()"),
    ("queue", ".send()"),
    ("secrets", ".send()"),
    ("auth", ".send()"),
    ("providers", "outbound.send("),
    ("providers", "self.call("),
    ("app/notify.rs", ".deliver("),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/src")
}

/// Every call site in the source, with the lines that a running call may name: from the call to its `await`.
pub fn listed() -> Vec<(Site, u32)> {
    let mut sites = Vec::new();
    for (caller, call) in CALLERS {
        let mut files = Vec::new();
        collect(&source().join(caller), &mut files);
        files.sort();
        assert!(!files.is_empty(), "{caller} is not there any more");
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source file reads");
            let name = file.strip_prefix(source()).expect("below the source").to_string_lossy();
            sites.extend(in_file(&name, &text, call));
        }
    }
    sites
}

fn in_file(name: &str, text: &str, call: &str) -> Vec<(Site, u32)> {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines: Vec<&str> = product.lines().collect();
    let number = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
    let calls = lines.iter().enumerate().filter(|(_, line)| line.contains(call));
    calls
        .map(|(at, _)| {
            let awaited = lines[at..].iter().position(|line| line.contains(".await"));
            ((name.to_owned(), number(at)), number(at + awaited.unwrap_or(0)))
        })
        .collect()
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
        return;
    }
    for entry in std::fs::read_dir(path).expect("a source folder reads") {
        let path = entry.expect("a source folder reads").path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests" || name == "testing");
        if !is_test {
            collect(&path, files);
        }
    }
}

/// The lines of the product on whose behalf the current call is made.
pub fn calling() -> Vec<Site> {
    let trace = Backtrace::force_capture().to_string();
    trace.lines().filter_map(site_of).collect()
}

fn site_of(frame: &str) -> Option<Site> {
    let (_, place) = frame.trim().strip_prefix("at ")?.split_once("shared/src/")?;
    let mut parts = place.split(':');
    let (file, line) = (parts.next()?, parts.next()?);
    Some((file.to_owned(), line.parse().ok()?))
}
