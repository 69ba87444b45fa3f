//! The queues' file: one row per queue, one row per message, written before the answer goes out.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, params};

use super::super::file::{self, FileError};
use super::message::Message;
use super::queue::{Queue, Queues, Touched};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS queues (
        name TEXT PRIMARY KEY,
        settings TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        next INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS messages (
        queue TEXT NOT NULL,
        position INTEGER NOT NULL,
        content TEXT NOT NULL,
        visible_at_ms INTEGER NOT NULL,
        receive_count INTEGER NOT NULL,
        first_received_ms INTEGER,
        receipt INTEGER NOT NULL,
        PRIMARY KEY (queue, position)
    ) WITHOUT ROWID;
";

/// Where the queues are kept between two runs.
#[derive(Debug)]
pub struct Journal {
    connection: Connection,
}

impl Journal {
    pub fn open(dir: &Path) -> Result<Journal, FileError> {
        Ok(Journal { connection: file::open(dir, "sqs.sqlite", SCHEMA)? })
    }

    /// Everything that was committed.
    pub fn load(&self) -> Result<Queues, FileError> {
        let mut queues = Queues::default();
        let mut statement =
            self.connection.prepare("SELECT name, settings, created_ms, next FROM queues")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let queue = Queue {
                settings: serde_json::from_str(&row.get::<_, String>(1)?)?,
                created_ms: row.get(2)?,
                next: row.get(3)?,
                messages: BTreeMap::new(),
            };
            queues.by_name.insert(row.get(0)?, queue);
        }
        let mut statement = self.connection.prepare(
            "SELECT queue, position, content, visible_at_ms, receive_count, first_received_ms, receipt
             FROM messages",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let message = Message {
                content: serde_json::from_str(&row.get::<_, String>(2)?)?,
                visible_at_ms: row.get(3)?,
                receive_count: row.get(4)?,
                first_received_ms: row.get(5)?,
                receipt: row.get(6)?,
            };
            if let Some(queue) = queues.by_name.get_mut(&row.get::<_, String>(0)?) {
                queue.messages.insert(row.get(1)?, message);
            }
        }
        Ok(queues)
    }

    /// Writes what is dirty in one transaction and clears the marks.
    pub fn commit(&mut self, queues: &mut Queues) -> Result<(), FileError> {
        if queues.dirty.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        for touched in &queues.dirty {
            match touched {
                Touched::Queue(name) => match queues.by_name.get(name) {
                    Some(queue) => put_queue(&transaction, name, queue)?,
                    None => {
                        let mut delete =
                            transaction.prepare_cached("DELETE FROM queues WHERE name = ?1")?;
                        delete.execute([name])?;
                    }
                },
                Touched::Message(name, position) => {
                    let queue = queues.by_name.get(name);
                    match queue.and_then(|queue| queue.messages.get(position)) {
                        Some(message) => put_message(&transaction, name, *position, message)?,
                        None => {
                            let mut delete = transaction.prepare_cached(
                                "DELETE FROM messages WHERE queue = ?1 AND position = ?2",
                            )?;
                            delete.execute(params![name, position])?;
                        }
                    }
                }
            }
        }
        transaction.commit()?;
        queues.dirty.clear();
        Ok(())
    }
}

fn put_queue(connection: &Connection, name: &str, queue: &Queue) -> Result<(), FileError> {
    let settings = serde_json::to_string(&queue.settings)?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO queues (name, settings, created_ms, next) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![name, settings, queue.created_ms, queue.next])?;
    Ok(())
}

fn put_message(
    connection: &Connection,
    name: &str,
    position: u64,
    message: &Message,
) -> Result<(), FileError> {
    let content = serde_json::to_string(&message.content)?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO messages (queue, position, content, visible_at_ms, receive_count,
                 first_received_ms, receipt) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            name,
            position,
            content,
            message.visible_at_ms,
            message.receive_count,
            message.first_received_ms,
            message.receipt,
        ])?;
    Ok(())
}
