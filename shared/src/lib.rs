//! The recharge library: everything that the functions share.
//!
//! Rooms, from the inside out: `domain` decides; `app` is one use case per file; `store`, `queue`,
//! `secrets`, `auth` and `providers` talk to the outside; `http` knows the only status codes;
//! `config` and `telemetry` are for `main.rs`. Imports point inwards.

pub mod app;
pub mod auth;
pub mod bug;
pub mod clock;
pub mod config;
pub mod domain;
pub mod egress;
pub mod http;
pub mod json;
pub mod metrics;
pub mod outbound;
pub mod outbound_hyper;
pub mod providers;
pub mod queue;
pub mod secrets;
pub mod sometimes;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod xray;
