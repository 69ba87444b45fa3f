//! Money that waits for people, and their decisions.

mod handler;

pub use handler::{Deps, handle};
