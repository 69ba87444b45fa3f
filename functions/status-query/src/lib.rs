//! Reads: orders, balances, ledgers, health, the interface's own description; and the answer to every unknown route.

mod files;
mod handler;

pub use handler::{Deps, handle};
