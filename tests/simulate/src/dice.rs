//! The one source of chance in a run: everything drawn from it follows from the seed.

use std::sync::{Arc, Mutex, PoisonError};

/// Seeded chance. Clones draw from the same stream.
#[derive(Debug, Clone)]
pub struct Dice(Arc<Mutex<fastrand::Rng>>);

impl Dice {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Dice {
        Dice(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// A number from 0 up to `bound`, which is left out; 0 when the bound is 0.
    pub fn below(&self, bound: u64) -> u64 {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rng.u64(0..bound.max(1))
    }

    /// A number from `first` to `last`.
    pub fn between(&self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// True in `per_mille` of a thousand cases.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of `all`, which must not be empty.
    pub fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap_or(0)]
    }
}
