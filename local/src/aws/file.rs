//! The SQLite files of the embedded queues and secrets: a few tables, one writer, one transaction per
//! answered request.
//!
//! Write-ahead log with `synchronous = NORMAL`: a committed transaction is in the operating system's
//! hands, so `kill -9` loses nothing. A power cut may lose the last moments; this is a developer tool.

use std::path::Path;

use rusqlite::Connection;

/// The embedded services could not open or write their files.
#[derive(Debug)]
pub struct FileError {
    what: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl FileError {
    /// `what` was being done when `source` happened.
    pub fn new(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> FileError {
        FileError { what: what.into(), source: source.into() }
    }
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

impl From<rusqlite::Error> for FileError {
    fn from(source: rusqlite::Error) -> FileError {
        FileError::new("a statement on an embedded service's file failed", source)
    }
}

impl From<serde_json::Error> for FileError {
    fn from(source: serde_json::Error) -> FileError {
        FileError::new("a row of an embedded service's file is not what was written", source)
    }
}

/// Opens or creates `name` in `dir` and runs `schema`, which must be repeatable.
pub fn open(dir: &Path, name: &str, schema: &str) -> Result<Connection, FileError> {
    let path = dir.join(name);
    let failed = |source| FileError::new(format!("cannot open {}", path.display()), source);
    std::fs::create_dir_all(dir)
        .map_err(|e| FileError::new(format!("cannot create {}", dir.display()), e))?;
    let connection = Connection::open(&path).map_err(failed)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(failed)?;
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
        .map_err(failed)?;
    connection.execute_batch(schema).map_err(failed)?;
    Ok(connection)
}
