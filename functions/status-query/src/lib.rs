//! Reads: orders, balances, ledgers, health; and the answer to every unknown route.

mod handler;

pub use handler::{Deps, handle};
