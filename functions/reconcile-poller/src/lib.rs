//! Looks at due orders each minute.

mod handler;

pub use handler::{Deps, handle};
