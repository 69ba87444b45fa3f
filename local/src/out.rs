//! What the commands print. Whoever has read enough of it, like `head`, may close the pipe.

use std::io::{ErrorKind, Write, stdout};

/// Prints a line to standard output.
pub fn line(text: &str) -> Result<(), String> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}
