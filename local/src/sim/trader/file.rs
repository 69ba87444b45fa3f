//! The simulated provider's books and their file: one row per order and user, written before anybody
//! hears of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::Mode;
use crate::aws::file::{self, FileError};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS books (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        content TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    ) WITHOUT ROWID;
";

/// An order at the provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProviderOrder {
    pub transaction: String,
    pub user: String,
    pub notify_url: String,
    /// As asked for, in 1/10 000.
    pub asked: i128,
    /// As received by the last payment, in 1/10 000.
    pub paid: Option<i128>,
}

/// A user at the provider.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    /// Oldest first.
    pub addresses: Vec<String>,
}

/// A row that a change touched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Mode,
    Order(String),
    User(String),
}

/// What the provider knows.
#[derive(Debug, Default)]
pub struct State {
    pub mode: Mode,
    pub orders: BTreeMap<String, ProviderOrder>,
    /// By user mark.
    pub users: BTreeMap<String, User>,
    pub touched: BTreeSet<Row>,
    file: Option<Connection>,
}

impl State {
    /// The books kept in `dir`, or empty ones that are kept nowhere.
    pub fn open(dir: Option<&Path>) -> Result<State, FileError> {
        let mut state = State::default();
        let Some(dir) = dir else { return Ok(state) };
        let connection = file::open(dir, "trader.sqlite", SCHEMA)?;
        let mut statement = connection.prepare("SELECT kind, id, content FROM books")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (kind, id): (String, String) = (row.get(0)?, row.get(1)?);
            state.read(&kind, id, &row.get::<_, String>(2)?)?;
        }
        drop(rows);
        drop(statement);
        state.file = Some(connection);
        Ok(state)
    }

    fn read(&mut self, kind: &str, id: String, content: &str) -> Result<(), FileError> {
        match kind {
            "mode" => self.mode = serde_json::from_str(content)?,
            "order" => drop(self.orders.insert(id, serde_json::from_str(content)?)),
            "user" => drop(self.users.insert(id, serde_json::from_str(content)?)),
            _ => {
                return Err(FileError::new(format!("trader.sqlite has a row {kind:?}"), "unknown"));
            }
        }
        Ok(())
    }

    /// Writes what was touched in one transaction.
    pub fn commit(&mut self) -> Result<(), FileError> {
        let touched = std::mem::take(&mut self.touched);
        let Some(file) = self.file.as_mut().filter(|_| !touched.is_empty()) else { return Ok(()) };
        let transaction = file.transaction()?;
        for row in &touched {
            let (kind, id, content) = match row {
                Row::Mode => ("mode", "", serde_json::to_string(&self.mode)?),
                Row::Order(id) => {
                    ("order", id.as_str(), serde_json::to_string(&self.orders.get(id))?)
                }
                Row::User(id) => ("user", id.as_str(), serde_json::to_string(&self.users.get(id))?),
            };
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO books (kind, id, content) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![kind, id, content])?;
        }
        transaction.commit()?;
        Ok(())
    }
}
