//! Notices and their deliveries: one row per notice, written by the notifier alone. A row with something
//! left to do is in the index `due`, with its destination, so that the poller can be fair.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use std::collections::HashMap;

use super::due::{DuePage, DuePosition};
use super::fault::{Budget, StoreFault};
use super::row::{Row, damaged, key, n, number, optional_text, parsed, s, text, time};
use super::{DUE_SHARDS, Store, StoreError, Written};
use crate::domain::{Notice, NoticeKind, OrderId, Timestamp};

/// How often one notice may be sent again because somebody asked for it: its row keeps every attempt, and
/// stays far below the 400 KB that a row may have.
pub const ASKED_MAX: usize = 27;

/// Where a notice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeState {
    /// Tried, to be tried again.
    Retrying,
    /// A receiver has taken it.
    Delivered,
    /// Nobody took it, and nobody is asked any more.
    GivenUp,
    /// The merchant has named no address; it can be read all the same.
    NoAddress,
}

impl NoticeState {
    /// Every state.
    pub const ALL: [NoticeState; 4] = [
        NoticeState::Retrying,
        NoticeState::Delivered,
        NoticeState::GivenUp,
        NoticeState::NoAddress,
    ];

    /// The word in answers and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            NoticeState::Retrying => "RETRYING",
            NoticeState::Delivered => "DELIVERED",
            NoticeState::GivenUp => "GIVEN_UP",
            NoticeState::NoAddress => "NO_ADDRESS",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<NoticeState> {
        NoticeState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// The receiver's status; 0 without an answer.
    pub status: u16,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it failed: a word of a closed list; empty when it did not.
    pub error: String,
    /// Beside the plan: somebody had asked for it.
    pub asked: bool,
}

/// Where an attempt leaves a notice.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// Its state.
    pub state: NoticeState,
    /// When it is tried next.
    pub due_at: Option<Timestamp>,
    /// The merchant and the host that it goes to.
    pub destination: &'a str,
}

/// A notice's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRow {
    /// The order.
    pub order: OrderId,
    /// Which of its notices.
    pub sequence: u32,
    /// What it says.
    pub kind: NoticeKind,
    /// Where it stands.
    pub state: NoticeState,
    /// The attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it is tried next.
    pub due_at: Option<Timestamp>,
}

impl NoticeRow {
    /// Attempts that were made by the plan.
    pub fn planned(&self) -> usize {
        self.attempts.iter().filter(|attempt| !attempt.asked).count()
    }

    /// Attempts that were asked for.
    pub fn asked(&self) -> usize {
        self.attempts.len() - self.planned()
    }
}

/// A notice that wants delivering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueNotice {
    /// The order.
    pub order: OrderId,
    /// Which of its notices.
    pub sequence: u32,
    /// Since when.
    pub due_at: Timestamp,
    /// The merchant and the host that it goes to.
    pub destination: String,
}

fn notice_key(order: &OrderId, sequence: u32) -> Row {
    key(&format!("N#{order}"), &format!("{sequence:05}"))
}

/// The partition of the due index; no provider's name begins like that.
fn shard(number: u32) -> String {
    format!("!notice#{number}")
}

fn shard_of(order: &OrderId) -> u32 {
    order.as_str().bytes().next_back().map_or(0, |last| u32::from(last) % DUE_SHARDS)
}

impl Store {
    /// The notice's row, if it was tried before.
    pub async fn notice(
        &self,
        order: &OrderId,
        sequence: u32,
    ) -> Result<Option<NoticeRow>, StoreError> {
        let request = self.client.get_item().table_name(&self.table);
        let output = request
            .set_key(Some(notice_key(order, sequence)))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        output.item.as_ref().map(decode).transpose()
    }

    /// The rows of an order's notices, oldest first.
    pub async fn notices(&self, order: &OrderId) -> Result<Vec<NoticeRow>, StoreError> {
        let mut rows = Vec::new();
        let mut start = None;
        loop {
            let request = self.client.query().table_name(&self.table);
            let output = request
                .key_condition_expression("pk = :notices")
                .expression_attribute_values(":notices", s(format!("N#{order}")))
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await
                .map_err(|error| StoreFault::of(&error))?;
            for row in output.items() {
                rows.push(decode(row)?);
            }
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Writes down where a notice stands after an attempt, or after none. A delivery that somebody else
    /// has seen is never taken back, nor that the receiver wants no more.
    pub async fn record_attempt(
        &self,
        notice: &Notice,
        attempt: Option<&Attempt>,
        standing: Standing<'_>,
    ) -> Result<Written, StoreError> {
        let Standing { state, due_at, destination } = standing;
        let mut values = HashMap::from([
            (":state".to_owned(), s(state.as_str())),
            (":kind".to_owned(), s(notice.kind.as_str())),
            (":tried".to_owned(), AttributeValue::L(attempt.iter().map(|a| encode(a)).collect())),
            (":none".to_owned(), AttributeValue::L(Vec::new())),
        ]);
        let mut expression = "SET #state = :state, kind = :kind, \
                              attempts = list_append(if_not_exists(attempts, :none), :tried)"
            .to_owned();
        match due_at {
            Some(due_at) => {
                values.insert(":due".to_owned(), n(due_at.millis()));
                values.insert(":shard".to_owned(), s(shard(shard_of(&notice.order.id))));
                values.insert(":destination".to_owned(), s(destination));
                expression
                    .push_str(", dueAt = :due, dueShard = :shard, destination = :destination");
            }
            None => expression.push_str(" REMOVE dueAt, dueShard, destination"),
        }
        let mut unless = |last: &[NoticeState]| {
            let names: Vec<&str> = [":done", ":given_up"].into_iter().take(last.len()).collect();
            for (name, state) in names.iter().zip(last) {
                values.insert((*name).to_owned(), s(state.as_str()));
            }
            format!("attribute_not_exists(#state) OR NOT #state IN ({})", names.join(", "))
        };
        let condition = match state {
            NoticeState::Delivered => None,
            NoticeState::GivenUp => Some(unless(&[NoticeState::Delivered])),
            NoticeState::Retrying | NoticeState::NoAddress => {
                Some(unless(&[NoticeState::Delivered, NoticeState::GivenUp]))
            }
        };
        self.update_notice(notice, Change { expression, condition, values }).await
    }

    /// Adds an attempt that leaves a notice where it stands.
    pub async fn add_attempt(
        &self,
        notice: &Notice,
        attempt: &Attempt,
    ) -> Result<Written, StoreError> {
        let values =
            HashMap::from([(":tried".to_owned(), AttributeValue::L(vec![encode(attempt)]))]);
        let expression = "SET attempts = list_append(attempts, :tried)".to_owned();
        let condition = Some("attribute_exists(#state)".to_owned());
        self.update_notice(notice, Change { expression, condition, values }).await
    }

    async fn update_notice(&self, notice: &Notice, change: Change) -> Result<Written, StoreError> {
        let mut budget = Budget::new();
        loop {
            let request = self.client.update_item().table_name(&self.table);
            let sent = request
                .set_key(Some(notice_key(&notice.order.id, notice.sequence)))
                .update_expression(&change.expression)
                .set_condition_expression(change.condition.clone())
                .expression_attribute_names("#state", "state")
                .set_expression_attribute_values(Some(change.values.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await;
            let Err(error) = sent else { return Ok(Written::Now) };
            let refused = error.as_service_error();
            if refused.is_some_and(|e| e.is_conditional_check_failed_exception()) {
                return Ok(Written::Raced);
            }
            let fault = StoreFault::of(&error);
            if !fault.contended {
                return Err(fault.into());
            }
            budget.pause("notice").await?;
        }
    }

    /// Notices that have come due between `from` and `until` in one shard after `after`, those first that have waited
    /// longest; at most `limit`.
    pub async fn due_notices(
        &self,
        shard_number: u32,
        bounds: (Timestamp, Timestamp, i32),
        after: Option<DuePosition>,
    ) -> Result<DuePage<DueNotice>, StoreError> {
        let due = |row: &Row| {
            let (order, sequence) = identity(row)?;
            let due_at = Timestamp::from_millis(number(row, "dueAt")?);
            let destination = text(row, "destination")?.to_owned();
            Ok(DueNotice { order, sequence, due_at, destination })
        };
        self.due_page(shard(shard_number), bounds, after, due).await
    }

    /// Takes a due notice and says when it is looked at again should the attempt be lost.
    pub async fn postpone_notice(
        &self,
        due: &DueNotice,
        next: Timestamp,
    ) -> Result<Written, StoreError> {
        let request = self.client.update_item().table_name(&self.table);
        let sent = request
            .set_key(Some(notice_key(&due.order, due.sequence)))
            .update_expression("SET dueAt = :next")
            .condition_expression("dueAt = :seen")
            .expression_attribute_values(":next", n(next.millis()))
            .expression_attribute_values(":seen", n(due.due_at.millis()))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await;
        let Err(error) = sent else { return Ok(Written::Now) };
        let refused = error.as_service_error();
        if refused.is_some_and(|e| e.is_conditional_check_failed_exception()) {
            return Ok(Written::Raced);
        }
        Err(StoreFault::of(&error).into())
    }
}

/// An update of a notice's row; `#state` is its state.
struct Change {
    expression: String,
    condition: Option<String>,
    values: HashMap<String, AttributeValue>,
}

fn identity(row: &Row) -> Result<(OrderId, u32), StoreError> {
    let order = parsed(row, "pk", |pk| OrderId::parse(pk.strip_prefix("N#")?))?;
    let sequence = text(row, "sk")?.parse().map_err(|_| damaged(row, "sk"))?;
    Ok((order, sequence))
}

fn decode(row: &Row) -> Result<NoticeRow, StoreError> {
    let (order, sequence) = identity(row)?;
    let attempts = row.get("attempts").and_then(|value| value.as_l().ok());
    let attempts = attempts.ok_or_else(|| damaged(row, "attempts"))?;
    Ok(NoticeRow {
        order,
        sequence,
        kind: parsed(row, "kind", NoticeKind::parse)?,
        state: parsed(row, "state", NoticeState::parse)?,
        attempts: attempts
            .iter()
            .map(|value| decode_attempt(row, value))
            .collect::<Result<_, _>>()?,
        due_at: row.contains_key("dueAt").then(|| time(row, "dueAt")).transpose()?,
    })
}

fn encode(attempt: &Attempt) -> AttributeValue {
    let mut entry = HashMap::from([
        ("at".to_owned(), n(attempt.at.millis())),
        ("status".to_owned(), n(attempt.status)),
        ("ms".to_owned(), n(attempt.took_ms)),
    ]);
    if !attempt.error.is_empty() {
        entry.insert("error".to_owned(), s(&attempt.error));
    }
    if attempt.asked {
        entry.insert("asked".to_owned(), AttributeValue::Bool(true));
    }
    AttributeValue::M(entry)
}

/// Reads an attempt. Earlier releases wrote down what the receiver said; that is left where it is.
fn decode_attempt(row: &Row, value: &AttributeValue) -> Result<Attempt, StoreError> {
    let entry = value.as_m().map_err(|_| damaged(row, "attempts"))?;
    Ok(Attempt {
        at: time(entry, "at")?,
        status: number(entry, "status")?,
        took_ms: number(entry, "ms")?,
        error: optional_text(entry, "error").unwrap_or("").to_owned(),
        asked: entry.contains_key("asked"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_with_a_receivers_words_is_read_without_them() {
        let (at, error) = (Timestamp::from_secs(1_800_000_000), String::new());
        let attempt = Attempt { at, status: 503, took_ms: 7, error, asked: true };
        let AttributeValue::M(mut entry) = encode(&attempt) else { panic!("a map") };
        assert!(!entry.contains_key("excerpt"));
        entry.insert("excerpt".to_owned(), s("try later"));
        let read = decode_attempt(&Row::new(), &AttributeValue::M(entry)).unwrap();
        assert_eq!(read, attempt);
    }
}
