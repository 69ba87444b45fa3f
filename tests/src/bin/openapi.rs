//! Writes `docs/openapi.json` from the types: `cargo run -p recharge-tests --bin openapi`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    std::fs::write(file, recharge_shared::http::openapi::text()?)?;
    Ok(())
}
