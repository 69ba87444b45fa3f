//! Points in the code that a simulation must have reached at least once: a fault that never happens proves
//! nothing. Without the feature `simulate` nothing is counted and nothing is compiled.

/// Counts that this point was reached.
#[cfg(not(feature = "simulate"))]
#[inline(always)]
pub const fn sometimes(_: &'static str) {}

#[cfg(feature = "simulate")]
pub use counting::{reached, sometimes};

#[cfg(feature = "simulate")]
mod counting {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    thread_local! {
        static REACHED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Counts that this point was reached, by this thread.
    pub fn sometimes(point: &'static str) {
        REACHED.with_borrow_mut(|reached| *reached.entry(point).or_default() += 1);
    }

    /// How often this thread has reached which point since it last asked.
    pub fn reached() -> BTreeMap<&'static str, u64> {
        REACHED.take()
    }
}
