//! Simulated payment providers: the other side of the wire, with its own books.

pub mod receiver;
pub mod trader;
