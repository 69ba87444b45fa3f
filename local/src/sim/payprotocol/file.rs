//! The simulated provider's books and their file: one row per user and deposit, written before anybody
//! hears of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ATTEMPTS_AFTER_SECS, Mode};
use crate::aws::file::{self, FileError};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS books (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        content TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    ) WITHOUT ROWID;
";

/// The provider writes its times eight hours ahead of UTC and does not say so.
const OFFSET_SECS: i64 = 8 * 3_600;

/// A wallet at the provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wallet {
    pub wallet_id: i32,
    pub chain_id: i32,
    pub address: String,
}

/// A user at the provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    pub user_id: i32,
    pub created_ms: i64,
    pub wallets: Vec<Wallet>,
}

/// A deposit at the provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recharge {
    pub chain_id: i32,
    pub currency_id: i32,
    pub user_id: i32,
    pub uuid: String,
    pub wallet: Wallet,
    pub sender: String,
    pub hash: String,
    /// In the currency's smallest unit.
    pub units: String,
    pub status: i32,
    pub created_ms: i64,
    /// No callback is ever sent.
    pub silent: bool,
    /// Callbacks that were sent by the plan.
    pub attempts: usize,
    pub acknowledged: bool,
    /// Somebody has asked for one more.
    pub again: bool,
}

impl Recharge {
    /// When its next callback is due.
    pub fn due_ms(&self) -> Option<i64> {
        if self.again {
            return Some(self.created_ms);
        }
        if self.silent || self.acknowledged {
            return None;
        }
        let after_secs = ATTEMPTS_AFTER_SECS.get(self.attempts)?;
        Some(self.created_ms + after_secs * 1_000)
    }

    /// As in callbacks, details and lists.
    pub fn json(&self, id: i32) -> Value {
        json!({
            "rechargeId": id,
            "chainId": self.chain_id,
            "currencyId": self.currency_id,
            "userId": self.user_id,
            "uuid": self.uuid,
            "walletId": self.wallet.wallet_id,
            "walletAddress": self.wallet.address,
            "fromAddress": self.sender,
            "transferHash": self.hash,
            "rechargeAmount": self.units,
            "rechargeStatus": self.status,
            "createTime": time(self.created_ms),
            "blockTime": time(self.created_ms - 9_000),
        })
    }
}

/// A time in the provider's spelling, without a zone.
pub fn time(ms: i64) -> String {
    let time = DateTime::from_secs(ms.div_euclid(1_000) + OFFSET_SECS).fmt(Format::DateTime);
    time.unwrap_or_default().replace('T', " ").trim_end_matches('Z').to_owned()
}

/// A row that a change touched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Mode,
    User(String),
    Recharge(i32),
}

/// What the provider knows.
#[derive(Debug, Default)]
pub struct State {
    pub mode: Mode,
    /// By the merchant's name of them.
    pub users: BTreeMap<String, User>,
    pub recharges: BTreeMap<i32, Recharge>,
    pub touched: BTreeSet<Row>,
    file: Option<Connection>,
}

impl State {
    /// The books kept in `dir`, or empty ones that are kept nowhere.
    pub fn open(dir: Option<&Path>) -> Result<State, FileError> {
        let mut state = State::default();
        let Some(dir) = dir else { return Ok(state) };
        let connection = file::open(dir, "payprotocol.sqlite", SCHEMA)?;
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
        let unknown =
            || FileError::new(format!("payprotocol.sqlite has a row {kind:?}"), "unknown");
        match kind {
            "mode" => self.mode = serde_json::from_str(content)?,
            "user" => drop(self.users.insert(id, serde_json::from_str(content)?)),
            "recharge" => {
                let id = id.parse().map_err(|_| unknown())?;
                self.recharges.insert(id, serde_json::from_str(content)?);
            }
            _ => return Err(unknown()),
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
                Row::Mode => ("mode", String::new(), serde_json::to_string(&self.mode)?),
                Row::User(id) => ("user", id.clone(), serde_json::to_string(&self.users.get(id))?),
                Row::Recharge(id) => {
                    let content = serde_json::to_string(&self.recharges.get(id))?;
                    ("recharge", id.to_string(), content)
                }
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
