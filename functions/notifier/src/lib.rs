//! Tells merchants what has happened to their orders; changes no order and no money.

mod handler;

pub use handler::{Deps, Silences, handle};
