//! An embedded SQS: standard queues, long polls, visibility timeouts, dead-letter queues.
//!
//! One lock around plain data, never held across an await. With a directory, every answer has been
//! written first. Identifiers come from counters, so equal runs give equal traces. Clocks other than
//! [`SharedClock`] are not read.

mod error;
mod journal;
mod message;
mod operations;
mod queue;
mod request;
mod settings;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Notify;

use self::error::SqsError;
use self::journal::Journal;
pub use self::message::{Attribute, MESSAGE_BYTES_MAX, MessageState};
use self::queue::Queues;
pub use self::queue::{ACCOUNT, arn as queue_arn};
use super::clock::SharedClock;
use super::file::FileError;
use super::wire::{JSON_1_0, WireAnswer};

/// The prefix of `x-amz-target`.
pub const TARGET: &str = "AmazonSQS";

/// A cloneable handle on the embedded queues.
#[derive(Debug, Clone)]
pub struct Sqs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: SharedClock,
    state: Mutex<State>,
    /// Told when a message may have become visible.
    arrived: Notify,
}

#[derive(Debug)]
struct State {
    queues: Queues,
    journal: Option<Journal>,
    base_url: String,
}

/// A queue as a test or an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// The queue's name.
    pub name: String,
    /// How many messages the next receive could take.
    pub visible: usize,
    /// How many messages are handed out.
    pub in_flight: usize,
    /// How many messages wait for their delay.
    pub delayed: usize,
    /// All messages, oldest first.
    pub messages: Vec<MessageView>,
}

/// A message as a test or an operator sees it. Looking does not count as receiving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageView {
    /// The message's identifier, kept across dead-letter moves.
    pub id: String,
    /// The body.
    pub body: String,
    /// The message attributes.
    pub attributes: std::collections::BTreeMap<String, Attribute>,
    /// Its `AWSTraceHeader`.
    pub trace_header: Option<String>,
    /// How often it was received, in its former queue too.
    pub receive_count: u32,
    /// When it was sent.
    pub sent_ms: i64,
    /// From when on a receive may take it.
    pub visible_at_ms: i64,
    /// Where it stands now.
    pub state: MessageState,
}

impl Sqs {
    /// Opens the queues kept in `dir`, or empty ones in memory.
    pub fn open(dir: Option<&Path>, clock: SharedClock) -> Result<Sqs, FileError> {
        let journal = dir.map(Journal::open).transpose()?;
        let queues = journal.as_ref().map(Journal::load).transpose()?.unwrap_or_default();
        let base_url = super::EMBEDDED_URL.to_owned();
        let state = Mutex::new(State { queues, journal, base_url });
        Ok(Sqs { shared: Arc::new(Shared { clock, state, arrived: Notify::new() }) })
    }

    /// Makes every message in flight visible; how many there were. For a process that has just opened
    /// the files of another one: whoever held those messages died with it. Receive counts stay.
    pub fn release_in_flight(&self) -> Result<usize, FileError> {
        let mut state = self.lock();
        let released = state.queues.release_in_flight(self.shared.clock.now_ms());
        state.commit()?;
        drop(state);
        self.shared.arrived.notify_waiters();
        Ok(released)
    }

    /// Whether a message in the queue, visible or not, has `part` in its body.
    pub fn mentions(&self, name: &str, part: &str) -> bool {
        let state = self.lock();
        let queue = state.queues.by_name.get(name);
        queue.is_some_and(|q| q.messages.values().any(|m| m.content.body.contains(part)))
    }

    /// Sets the scheme, host and port that queue URLs are given with.
    pub fn set_base_url(&self, base_url: &str) {
        self.lock().base_url = base_url.trim_end_matches('/').to_owned();
    }

    /// The URL under which clients find the queue, whether or not it exists.
    pub fn queue_url(&self, name: &str) -> String {
        self.lock().queue_url(name)
    }

    /// The queue and its messages as they stand, or nothing when there is no such queue.
    pub fn view(&self, name: &str) -> Option<QueueView> {
        let now_ms = self.shared.clock.now_ms();
        let state = self.lock();
        let queue = state.queues.by_name.get(name)?;
        let messages: Vec<MessageView> = queue
            .messages
            .values()
            .map(|message| MessageView {
                id: message.content.id.clone(),
                body: message.content.body.clone(),
                attributes: message.content.attributes.clone(),
                trace_header: message
                    .content
                    .system
                    .get("AWSTraceHeader")
                    .and_then(|header| header.string_value.clone()),
                receive_count: message.receive_count,
                sent_ms: message.content.sent_ms,
                visible_at_ms: message.visible_at_ms,
                state: message.state(now_ms),
            })
            .collect();
        let count = |state| messages.iter().filter(|message| message.state == state).count();
        Some(QueueView {
            name: name.to_owned(),
            visible: count(MessageState::Visible),
            in_flight: count(MessageState::InFlight),
            delayed: count(MessageState::Delayed),
            messages,
        })
    }

    /// The names of all queues, in order.
    pub fn queue_names(&self) -> Vec<String> {
        self.lock().queues.by_name.keys().cloned().collect()
    }

    /// Answers one request. Dropped before its first poll it does nothing; only a receive waits.
    pub async fn answer(&self, operation: &str, body: &[u8]) -> WireAnswer {
        let answered = if operation == "ReceiveMessage" {
            self.receive(body).await
        } else {
            self.apply(|state, now_ms| operations::run(state, operation, body, now_ms))
        };
        match answered {
            Ok(Some(body)) => WireAnswer::ok(JSON_1_0, body.to_string()),
            Ok(None) => WireAnswer::unknown_operation(JSON_1_0, &format!("{TARGET}.{operation}")),
            Err(error) => error.into_answer(),
        }
    }

    /// Runs one change under the lock and writes it to the file before anyone hears of it.
    fn apply<T>(
        &self,
        change: impl FnOnce(&mut State, i64) -> Result<T, SqsError>,
    ) -> Result<T, SqsError> {
        let mut state = self.lock();
        let outcome = change(&mut state, self.shared.clock.now_ms());
        let changed = !state.queues.dirty.is_empty();
        state.commit()?;
        drop(state);
        if changed {
            self.shared.arrived.notify_waiters();
        }
        outcome
    }

    async fn receive(&self, body: &[u8]) -> Result<Option<Value>, SqsError> {
        let asked = operations::Asked::parse(body)?;
        let shared = &*self.shared;
        let mut until_ms = None;
        loop {
            let mut arrived = std::pin::pin!(shared.arrived.notified());
            // Registered before looking, or a message sent in between would be slept through.
            arrived.as_mut().enable();
            let (found, next_ms, wait_ms) =
                self.apply(|state, now_ms| asked.take(state, now_ms))?;
            let now_ms = shared.clock.now_ms();
            let until_ms = *until_ms.get_or_insert(now_ms.saturating_add(wait_ms));
            if !found.is_empty() || now_ms >= until_ms {
                // AWS leaves the member out when there is nothing.
                let empty = json!({});
                let messages = json!({ "Messages": found });
                return Ok(Some(if found.is_empty() { empty } else { messages }));
            }
            tokio::select! {
                biased;
                () = arrived => {}
                () = shared.clock.sleep_until(next_ms.map_or(until_ms, |ms| ms.min(until_ms))) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside would be a bug of this module; the data itself is whole after each change.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue_url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.base_url)
    }

    /// Writes the changes. When that fails the file is the truth: memory goes back to it.
    fn commit(&mut self) -> Result<(), FileError> {
        let Some(journal) = &mut self.journal else {
            self.queues.dirty.clear();
            return Ok(());
        };
        if let Err(error) = journal.commit(&mut self.queues) {
            self.queues = journal.load()?;
            return Err(error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
