//! Turns: everyone gets one before anyone gets a second, so that nobody's backlog keeps others waiting. And how long a
//! backlog is read.

use std::collections::BTreeMap;

use tokio::time::Instant;

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

/// Until when a backlog is read from those on that have waited longest, and until when what has come due lately is: a
/// quarter and half of the time. However slow the table is, the rest is left for what was found.
pub(super) fn reading_ends(began: Instant, deadline: Instant) -> (Instant, Instant) {
    let left = deadline.saturating_duration_since(began);
    (began + left / 4, began + left / 2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_backlog_is_read_in_half_of_the_time_and_not_at_all_when_it_is_over() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(reading_ends(began, at(32)), (at(8), at(16)));
        assert_eq!(reading_ends(at(40), at(32)), (at(40), at(40)));
    }
}
