//! The one clock of the local bundle: tokio's clock, plus an epoch, plus an offset that can jump.
//!
//! Under paused tokio time it is a virtual clock; otherwise it follows the machine. It never goes
//! back, and a jump wakes everyone who sleeps on it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_async::time::TimeSource;
use tokio::sync::watch;
use tokio::time::Instant;

/// Where a virtual clock starts, in milliseconds since the Unix epoch.
pub const VIRTUAL_EPOCH_MS: i64 = 1_800_000_000_000;

/// A cloneable handle on one clock; all clones show the same time.
#[derive(Debug, Clone)]
pub struct SharedClock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    epoch_ms: i64,
    started: Instant,
    offset_ms: watch::Sender<i64>,
}

impl SharedClock {
    /// A clock that starts at the machine's time.
    #[expect(
        clippy::disallowed_methods,
        reason = "the local bundle's one look at the machine's clock"
    )]
    pub fn system() -> SharedClock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        SharedClock::starting_at(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// A clock that starts at [`VIRTUAL_EPOCH_MS`], for runs under paused tokio time.
    ///
    /// Make it inside the runtime whose time is paused.
    pub fn simulated() -> SharedClock {
        SharedClock::starting_at(VIRTUAL_EPOCH_MS)
    }

    /// A clock that shows `epoch_ms` now.
    pub fn starting_at(epoch_ms: i64) -> SharedClock {
        let (offset_ms, _) = watch::channel(0);
        SharedClock { inner: Arc::new(Inner { epoch_ms, started: Instant::now(), offset_ms }) }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        let elapsed_ms = i64::try_from(self.inner.started.elapsed().as_millis());
        let offset_ms = *self.inner.offset_ms.borrow();
        self.inner.epoch_ms.saturating_add(elapsed_ms.unwrap_or(i64::MAX)).saturating_add(offset_ms)
    }

    /// The current time as the standard library writes it.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(self.now_ms()).unwrap_or(0))
    }

    /// Jumps forward by `ms` and wakes every sleeper, so that passed deadlines are noticed at once.
    pub fn advance(&self, ms: u64) {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        self.inner.offset_ms.send_modify(|offset_ms| *offset_ms = offset_ms.saturating_add(ms));
    }

    /// Returns once the clock shows `deadline_ms` or later.
    pub async fn sleep_until(&self, deadline_ms: i64) {
        let mut jumps = self.inner.offset_ms.subscribe();
        loop {
            jumps.mark_unchanged();
            let left_ms = deadline_ms.saturating_sub(self.now_ms());
            let Ok(left_ms @ 1..) = u64::try_from(left_ms) else { return };
            tokio::select! {
                biased;
                // The sender lives in `self`, so this never fails.
                _ = jumps.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(left_ms)) => {}
            }
        }
    }

    /// Returns after `ms` of this clock.
    pub async fn sleep_ms(&self, ms: u64) {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        self.sleep_until(self.now_ms().saturating_add(ms)).await;
    }
}

impl TimeSource for SharedClock {
    fn now(&self) -> SystemTime {
        SharedClock::now(self)
    }
}

impl dynoxide::storage_backend::Clock for SharedClock {
    fn now_unix_secs(&self) -> u64 {
        u64::try_from(self.now_ms()).unwrap_or(0) / 1_000
    }

    #[expect(clippy::disallowed_types, reason = "the trait's signature; a time, not an amount")]
    fn now_unix_secs_f64(&self) -> f64 {
        Duration::from_millis(u64::try_from(self.now_ms()).unwrap_or(0)).as_secs_f64()
    }
}
