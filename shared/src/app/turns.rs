//! Turns: everyone gets one before anyone gets a second, so that nobody's backlog keeps others waiting.

use std::collections::BTreeMap;

/// All of `found`, with the turn in which each comes among those of its `whose`. Within a turn the order stays.
pub(super) fn turns<T>(found: Vec<T>, whose: impl Fn(&T) -> String) -> Vec<(usize, T)> {
    let mut before: BTreeMap<String, usize> = BTreeMap::new();
    let number = |due| {
        let next = before.entry(whose(&due)).or_default();
        *next += 1;
        (*next - 1, due)
    };
    let mut turns: Vec<(usize, T)> = found.into_iter().map(number).collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns
}
