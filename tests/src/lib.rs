//! A world for tests: one bundle in memory on a virtual clock, with a client, a payer and an operator
//! who knows how to wait. Nothing there leaves the process. `runtime` is for the real binaries instead:
//! the machine's clock, and ports on the loopback address.

pub mod contract;
pub mod fuzz;
pub mod matrix;
mod outbound;
pub mod rules;
pub mod runtime;
pub mod sites;
pub mod standard;
pub mod world;

pub use outbound::{FaultyOutbound, FaultyWay};
pub use world::{Answered, World};
