//! A world for tests: one bundle in memory on a virtual clock, with a client, a payer and an operator
//! who knows how to wait. Nothing here leaves the process.

mod outbound;
pub mod world;

pub use outbound::FaultyOutbound;
pub use world::{Answered, World};
