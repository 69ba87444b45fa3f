//! `POST /recharges/callback/{provider}`.

mod handler;

pub use handler::{Deps, handle};
