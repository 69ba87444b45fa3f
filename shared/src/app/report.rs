//! What a run of the poller did, summed over its parts.

use std::time::Duration;

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Orders looked at.
    pub looked_at: u32,
    /// Statements handed to the settlement queue.
    pub evidence: u32,
    /// Orders expired.
    pub expired: u32,
    /// Half-done creates taken on.
    pub resumed: u32,
    /// Notices handed over to be tried (again).
    pub notices: u32,
    /// Looks that failed; their orders stay due or come due again.
    pub failed: u32,
    /// Whether the time ran out before the work did.
    pub unfinished: bool,
    /// Orders that were due.
    pub due: u32,
    /// How long the oldest of them had been due.
    pub oldest_due: Duration,
    /// Orders that are open long after their expiry.
    pub beyond_sla: u32,
}

impl Report {
    /// Both parts of a run.
    pub fn plus(self, other: Report) -> Report {
        Report {
            looked_at: self.looked_at + other.looked_at,
            evidence: self.evidence + other.evidence,
            expired: self.expired + other.expired,
            resumed: self.resumed + other.resumed,
            notices: self.notices + other.notices,
            failed: self.failed + other.failed,
            unfinished: self.unfinished || other.unfinished,
            due: self.due + other.due,
            oldest_due: self.oldest_due.max(other.oldest_due),
            beyond_sla: self.beyond_sla + other.beyond_sla,
        }
    }

    /// Whether orders were due, and none could be looked at.
    pub const fn is_failure(&self) -> bool {
        self.looked_at == 0 && self.failed > 0 && self.due > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_everything_of_both() {
        let report = |n: u32, unfinished| Report {
            looked_at: n,
            evidence: n + 1,
            expired: n + 2,
            resumed: n + 3,
            notices: n + 4,
            failed: n + 5,
            unfinished,
            due: n + 6,
            oldest_due: Duration::from_secs(n.into()),
            beyond_sla: n + 7,
        };
        let sum = |unfinished| Report {
            looked_at: 110,
            evidence: 112,
            expired: 114,
            resumed: 116,
            notices: 118,
            failed: 120,
            unfinished,
            due: 122,
            oldest_due: Duration::from_secs(100),
            beyond_sla: 124,
        };
        assert_eq!(report(10, false).plus(report(100, false)), sum(false));
        assert_eq!(report(100, true).plus(report(10, false)), sum(true));
        assert_eq!(report(10, false).plus(report(100, true)), sum(true));
    }

    #[test]
    fn a_run_has_failed_that_looked_at_nothing_of_what_was_due() {
        let of = |looked_at, failed, due| Report { looked_at, failed, due, ..Report::default() };
        assert!(of(0, 1, 1).is_failure());
        assert!(of(0, 2, 3).is_failure());
        assert!(!of(1, 1, 2).is_failure(), "one was looked at");
        assert!(!of(0, 0, 1).is_failure(), "there was no time");
        assert!(!of(0, 1, 0).is_failure(), "nothing was due");
    }
}
