//! Settles what the settlement queue brings; the only writer of money.

mod handler;

pub use handler::{Deps, handle};
