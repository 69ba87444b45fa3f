//! What the function serves without looking anything up: the OpenAPI document, the page that shows it,
//! and the page's one script. Nothing of it comes from another host, and the policy says so to browsers.

use recharge_shared::http::File;

/// `GET /openapi.json`; written by `cargo run -p recharge-tests --bin openapi`.
pub const OPENAPI: File = File {
    content_type: "application/json",
    gzip: false,
    policy: "",
    bytes: include_bytes!("../../../docs/openapi.json"),
};

/// `GET /docs`. The viewer sets styles of its own, hence `unsafe-inline` for them, and for nothing else.
pub const DOCS: File = File {
    content_type: "text/html; charset=utf-8",
    gzip: false,
    policy: "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; \
             img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    bytes: include_bytes!("../assets/docs.html"),
};

/// `GET /docs/viewer.js`: see `assets/README.md`. Compressed beforehand, for a small function; only
/// browsers ask for it, and every browser reads gzip.
pub const VIEWER: File = File {
    content_type: "text/javascript; charset=utf-8",
    gzip: true,
    policy: "",
    bytes: include_bytes!("../assets/viewer.js.gz"),
};
