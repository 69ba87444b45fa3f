//! What happened in a run, as one number and, when asked for, as text.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hasher: DefaultHasher,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; its text is kept if `is_kept`.
    pub fn new(is_kept: bool) -> Trace {
        Trace { hasher: DefaultHasher::new(), lines: is_kept.then(Vec::new) }
    }

    /// Something happened at `at_ms` of the run.
    pub fn push(&mut self, at_ms: i64, what: &str) {
        (at_ms, what).hash(&mut self.hasher);
        if let Some(lines) = &mut self.lines {
            let (secs, ms) = (at_ms.div_euclid(1_000), at_ms.rem_euclid(1_000));
            lines.push(format!("{secs:>8}.{ms:03} {what}"));
        }
    }

    /// The number: equal for equal traces.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// The text so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.clone().unwrap_or_default()
    }
}
