//! The OpenAPI document, made from the types of `body`, the lists of `domain` and the constants of
//! `request`. Only with the feature `openapi`; the functions carry the finished document as a file.

mod words;

pub use words::{Currency, EntryKind, OrderId, OrderStatus, Reason};
