//! The guard through which notifications leave to URLs that merchants gave: `url` decides what may
//! be named, `ranges` what may be connected to, `guard` makes the attempt through `connect` and
//! `exchange`. Nothing else may call such a URL.

mod connect;
mod error;
mod exchange;
mod guard;
mod ranges;
mod url;
mod way_out;

pub use connect::{Dial, Resolve, SystemResolver, TcpDialer};
pub use error::{EgressError, Step};
pub use exchange::{ANSWER_BYTES_MAX, Reply};
pub use guard::Guard;
pub use ranges::refused;
pub use url::{Destination, Rules, URL_BYTES_MAX, UrlRefusal};
pub use way_out::WayOut;
