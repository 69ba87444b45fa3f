//! Settles what the settlement queue brings; the only writer of money.

mod handler;
mod outbox;

pub use handler::{Deps, handle};
