//! Use cases, one a file: load, let the domain decide, write, say what happened.

pub mod addresses;
pub mod admission;
mod audit;
pub mod cancel;
pub mod create_order;
mod due_orders;
pub mod events;
mod hand_over;
pub mod list_orders;
pub mod merchants;
pub mod notify;
pub mod reconcile;
pub mod report;
pub mod resend;
pub mod resolve;
pub mod settle;
pub mod submit;
pub mod sweep;
mod turns;
