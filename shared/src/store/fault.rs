//! SDK failures, classified once: contended (again under the budget), refused by a condition, or out.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use std::fmt;
use std::time::Duration;

use super::StoreError;
use crate::bug::{self, Bug};
use crate::sometimes::sometimes;

/// Failures that pass: the SDK does not retry the first one by itself.
const CONTENDED: [&str; 4] = [
    "TransactionConflictException",
    "TransactionInProgressException",
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
];

/// What an SDK error says, without request or response.
pub(super) struct StoreFault {
    code: String,
    pub(super) contended: bool,
    bug: bool,
}

impl StoreFault {
    pub(super) fn of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> StoreFault {
        let code = error.code().map_or_else(
            || {
                match error {
                    SdkError::TimeoutError(_) => "timeout",
                    SdkError::DispatchFailure(_) => "no answer",
                    SdkError::ConstructionFailure(_) => "request not built",
                    _ => "unreadable answer",
                }
                .to_owned()
            },
            str::to_owned,
        );
        let contended = CONTENDED.contains(&code.as_str());
        let bug = matches!(error, SdkError::ConstructionFailure(_))
            || code == "ValidationException"
            || code == "IdempotentParameterMismatchException";
        StoreFault { code, contended, bug }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)
    }
}

impl From<StoreFault> for StoreError {
    fn from(fault: StoreFault) -> StoreError {
        if fault.bug { StoreError::Damaged(fault.code) } else { StoreError::Busy(fault.code) }
    }
}

/// A budget for contended writes: six tries within about two seconds, each pause longer than the
/// last and half of it random, so that writers of one hot row do not meet again.
pub(super) struct Budget {
    tries_left: u32,
    pause_ms_max: u64,
}

impl Budget {
    pub(super) const fn new() -> Budget {
        Budget { tries_left: 6, pause_ms_max: 40 }
    }

    /// Waits before the next try; `Err` when the budget is used up.
    #[expect(clippy::disallowed_methods, reason = "pauses are random, so that writers part")]
    pub(super) async fn pause(&mut self, what: &str) -> Result<(), StoreError> {
        sometimes("budget: tried again");
        if bug::is(Bug::M10) {
            return Ok(());
        }
        self.tries_left = self.tries_left.saturating_sub(1);
        if self.tries_left == 0 {
            sometimes("budget: used up");
            return Err(StoreError::Busy(format!("{what} contended")));
        }
        let half = self.pause_ms_max / 2;
        let pause_ms = half + fastrand::u64(0..=half);
        self.pause_ms_max *= 2;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        Ok(())
    }
}
