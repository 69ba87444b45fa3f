//! The queues as plain data: send, hand out, delete, give up. No clock, no waiting, no files.
//!
//! Every change marks what it touched in `dirty`; the journal writes exactly that before the answer.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::wire::{stable_hash, stable_uuid};
use super::error::{Kind, SqsError};
use super::message::{Attributes, Content, Message, MessageState};

/// The account in every queue's URL and ARN.
pub const ACCOUNT: &str = "000000000000";

/// What a queue was created with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub visibility_seconds: u32,
    pub retention_seconds: u32,
    pub delay_seconds: u32,
    pub receive_wait_seconds: u32,
    pub redrive: Option<Redrive>,
}

impl Default for Settings {
    /// The defaults of SQS.
    fn default() -> Settings {
        Settings {
            visibility_seconds: 30,
            retention_seconds: 345_600,
            delay_seconds: 0,
            receive_wait_seconds: 0,
            redrive: None,
        }
    }
}

/// Where a message goes that was received too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// The dead-letter queue's name.
    pub target: String,
    /// A message that was received this often moves instead of being received again.
    pub max_receive_count: u32,
}

/// One standard queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub settings: Settings,
    pub created_ms: i64,
    /// The position of the next message; positions are never used twice.
    pub next: u64,
    pub messages: BTreeMap<u64, Message>,
}

/// What a change touched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    Queue(String),
    Message(String, u64),
}

/// All queues.
#[derive(Debug, Default)]
pub struct Queues {
    pub by_name: BTreeMap<String, Queue>,
    pub dirty: BTreeSet<Touched>,
}

/// A message to be queued, already checked.
#[derive(Debug)]
pub struct Outgoing {
    pub body: String,
    pub attributes: Attributes,
    pub system: Attributes,
    pub delay_seconds: Option<u32>,
}

/// A message handed out.
#[derive(Debug)]
pub struct Handed {
    pub receipt_handle: String,
    pub message: Message,
}

impl Queues {
    pub fn get(&self, name: &str) -> Result<&Queue, SqsError> {
        self.by_name.get(name).ok_or_else(|| no_such_queue(name))
    }

    fn get_mut(&mut self, name: &str) -> Result<&mut Queue, SqsError> {
        self.by_name.get_mut(name).ok_or_else(|| no_such_queue(name))
    }

    /// Creates the queue, or changes the settings of the one that is there.
    pub fn put_settings(&mut self, name: &str, settings: Settings, now_ms: i64) {
        let queue = self.by_name.entry(name.to_owned()).or_insert_with(|| Queue {
            settings: Settings::default(),
            created_ms: now_ms,
            next: 1,
            messages: BTreeMap::new(),
        });
        queue.settings = settings;
        self.dirty.insert(Touched::Queue(name.to_owned()));
    }

    /// Queues one message and returns its identifier.
    pub fn send(&mut self, name: &str, out: Outgoing, now_ms: i64) -> Result<String, SqsError> {
        let queue = self.get_mut(name)?;
        let delay_seconds = out.delay_seconds.unwrap_or(queue.settings.delay_seconds);
        let id = stable_uuid(name, queue.next);
        let content = Content {
            id: id.clone(),
            body: out.body,
            attributes: out.attributes,
            system: out.system,
            sent_ms: now_ms,
            source_arn: None,
        };
        let message = Message {
            content,
            visible_at_ms: now_ms + seconds(delay_seconds),
            receive_count: 0,
            first_received_ms: None,
            receipt: 0,
        };
        self.append(name, message)?;
        Ok(id)
    }

    fn append(&mut self, name: &str, message: Message) -> Result<(), SqsError> {
        let queue = self.get_mut(name)?;
        let position = queue.next;
        queue.next += 1;
        queue.messages.insert(position, message);
        self.dirty.insert(Touched::Queue(name.to_owned()));
        self.dirty.insert(Touched::Message(name.to_owned(), position));
        Ok(())
    }

    /// Hands out up to `max` visible messages, oldest first, and moves the worn-out ones away.
    pub fn receive(
        &mut self,
        name: &str,
        max: usize,
        visibility_seconds: Option<u32>,
        now_ms: i64,
    ) -> Result<Vec<Handed>, SqsError> {
        self.expire(name, now_ms)?;
        let redrive = self.get(name)?.settings.redrive.clone();
        let redrive = redrive.filter(|redrive| self.by_name.contains_key(&redrive.target));
        let queue = self.get_mut(name)?;
        let hidden_ms = seconds(visibility_seconds.unwrap_or(queue.settings.visibility_seconds));
        let mut handed = Vec::new();
        let mut worn_out = Vec::new();
        for (&position, message) in &mut queue.messages {
            if handed.len() == max {
                break;
            }
            if message.visible_at_ms > now_ms {
                continue;
            }
            if redrive.as_ref().is_some_and(|r| message.receive_count >= r.max_receive_count) {
                worn_out.push(position);
                continue;
            }
            message.receive_count += 1;
            message.receipt += 1;
            message.first_received_ms.get_or_insert(now_ms);
            message.visible_at_ms = now_ms + hidden_ms;
            let receipt_handle = receipt_handle(name, position, message.receipt);
            handed.push((position, Handed { receipt_handle, message: message.clone() }));
        }
        self.dirty.extend(
            handed.iter().map(|(position, _)| Touched::Message(name.to_owned(), *position)),
        );
        if let Some(redrive) = redrive {
            self.give_up(name, &redrive.target, worn_out, now_ms)?;
        }
        Ok(handed.into_iter().map(|(_, handed)| handed).collect())
    }

    fn give_up(
        &mut self,
        name: &str,
        target: &str,
        positions: Vec<u64>,
        now_ms: i64,
    ) -> Result<(), SqsError> {
        for position in positions {
            let Some(mut message) = self.remove(name, position)? else { continue };
            message.content.source_arn = Some(arn(name));
            message.visible_at_ms = now_ms;
            message.receipt = 0;
            self.append(target, message)?;
        }
        Ok(())
    }

    fn remove(&mut self, name: &str, position: u64) -> Result<Option<Message>, SqsError> {
        let removed = self.get_mut(name)?.messages.remove(&position);
        self.dirty.insert(Touched::Message(name.to_owned(), position));
        Ok(removed)
    }

    /// Deletes by receipt. As in SQS, a receipt that is not the newest deletes nothing and is no error.
    pub fn delete(&mut self, name: &str, handle: &str) -> Result<(), SqsError> {
        let (position, receipt) = parse_receipt(name, handle)?;
        let current = self.get(name)?.messages.get(&position);
        if current.is_some_and(|message| message.receipt == receipt) {
            self.remove(name, position)?;
        }
        Ok(())
    }

    /// Moves the visibility deadline of a message in flight.
    pub fn change_visibility(
        &mut self,
        name: &str,
        handle: &str,
        visibility_seconds: u32,
        now_ms: i64,
    ) -> Result<(), SqsError> {
        let (position, receipt) = parse_receipt(name, handle)?;
        let queue = self.get_mut(name)?;
        let current = queue.messages.get_mut(&position).filter(|m| m.receipt == receipt);
        let message = current.ok_or_else(|| {
            let reason =
                "Message does not exist or is not available for visibility timeout change.";
            SqsError::invalid("ReceiptHandle", handle, reason)
        })?;
        if message.visible_at_ms <= now_ms {
            return Err(SqsError::new(Kind::MessageNotInflight, "The message is not in flight."));
        }
        message.visible_at_ms = now_ms + seconds(visibility_seconds);
        self.dirty.insert(Touched::Message(name.to_owned(), position));
        Ok(())
    }

    /// Ends the visibility timeout of everything handed out; how many messages that were.
    pub fn release_in_flight(&mut self, now_ms: i64) -> usize {
        let mut released = 0;
        for (name, queue) in &mut self.by_name {
            for (&position, message) in &mut queue.messages {
                if message.state(now_ms) == MessageState::InFlight {
                    message.visible_at_ms = now_ms;
                    self.dirty.insert(Touched::Message(name.clone(), position));
                    released += 1;
                }
            }
        }
        released
    }

    /// Drops every message of the queue.
    pub fn purge(&mut self, name: &str) -> Result<(), SqsError> {
        let positions: Vec<u64> = self.get(name)?.messages.keys().copied().collect();
        for position in positions {
            self.remove(name, position)?;
        }
        Ok(())
    }

    /// Drops the queue and its messages.
    pub fn drop_queue(&mut self, name: &str) -> Result<(), SqsError> {
        self.purge(name)?;
        self.by_name.remove(name);
        self.dirty.insert(Touched::Queue(name.to_owned()));
        Ok(())
    }

    /// Drops what is older than the retention period, looking no further than the oldest kept.
    pub fn expire(&mut self, name: &str, now_ms: i64) -> Result<(), SqsError> {
        loop {
            let queue = self.get(name)?;
            let kept_ms = seconds(queue.settings.retention_seconds);
            let oldest = queue.messages.iter().next();
            match oldest.filter(|(_, m)| m.content.sent_ms + kept_ms <= now_ms) {
                Some((&position, _)) => self.remove(name, position)?,
                None => return Ok(()),
            };
        }
    }

    /// When the next hidden message of the queue becomes visible.
    pub fn next_visible_ms(&self, name: &str, now_ms: i64) -> Option<i64> {
        let messages = self.by_name.get(name)?.messages.values();
        messages.map(|message| message.visible_at_ms).filter(|&at_ms| at_ms > now_ms).min()
    }
}

fn seconds(seconds: u32) -> i64 {
    i64::from(seconds) * 1_000
}

/// The ARN of a queue.
pub fn arn(name: &str) -> String {
    format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{name}")
}

fn no_such_queue(name: &str) -> SqsError {
    let message = format!("The specified queue does not exist: {name:?}");
    SqsError::new(Kind::QueueDoesNotExist, message)
}

fn receipt_handle(name: &str, position: u64, receipt: u32) -> String {
    format!("{:016x}-{position:016x}-{receipt:08x}", stable_hash(&[name]))
}

fn parse_receipt(name: &str, handle: &str) -> Result<(u64, u32), SqsError> {
    let parse = || {
        let (queue, rest) = handle.split_once('-')?;
        let (position, receipt) = rest.split_once('-')?;
        let position = u64::from_str_radix(position, 16).ok()?;
        let receipt = u32::from_str_radix(receipt, 16).ok()?;
        (queue == format!("{:016x}", stable_hash(&[name]))).then_some((position, receipt))
    };
    let message = format!("The input receipt handle {handle:?} is not a valid receipt handle.");
    parse().ok_or_else(|| SqsError::new(Kind::ReceiptHandleIsInvalid, message))
}
