//! `POST /recharges`.

mod handler;

pub use handler::{Deps, handle};
