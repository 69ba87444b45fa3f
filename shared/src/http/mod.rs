//! HTTP in and out: the only status codes of the repository, the error form, request parsing.

mod answer;
pub mod body;
mod cursor;
mod error;
pub mod gateway;
mod notice;
#[cfg(feature = "openapi")]
pub mod openapi;
mod order;
pub mod query;
pub mod request;
mod route;

pub use answer::{Answer, File, counting_failures, render, trace_of, xray_of};
pub use error::{ApiError, ErrorCode};
pub use notice::{deliveries_body, events_body, resent_body, sent_again_body};
pub use order::{
    addresses_body, balances_body, explanation_body, ledger_body, notice_body, order_body,
    orders_body, review_body, reviews_body,
};
pub use route::{Route, route};
