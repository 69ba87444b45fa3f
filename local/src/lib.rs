//! The whole recharge bundle on one machine: API gateway, embedded AWS services, schedule, simulated
//! provider, and the real function handlers between them.

pub mod aws;
pub mod books;
pub mod call;
pub mod control;
pub mod demo;
pub mod events;
pub mod exam;
pub mod functions;
pub mod gateway;
pub mod listen;
pub mod operate;
pub mod out;
pub mod reviews;
pub mod serve;
pub mod sim;
pub mod stack;
pub mod workers;
