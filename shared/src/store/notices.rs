//! Notices and their deliveries: one row per notice, written by the notifier alone. A row with something
//! left to do is in the index `due`; every row is in `owner` under its merchant, by the time of the notice.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use std::collections::HashMap;

use super::fault::{Budget, StoreFault};
use super::row::{Row, damaged, key, n, number, optional_text, parsed, s, text, time};
use super::users::owner_at;
use super::{DUE_SHARDS, Store, StoreError, Written};
use crate::domain::{MerchantId, Notice, NoticeKind, OrderId, Timestamp};

/// The attempts that are kept: all of the plan, and some that were asked for.
const ATTEMPTS_KEPT: usize = 40;

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
    const ALL: [NoticeState; 4] = [
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
    /// The beginning of a refusal.
    pub excerpt: String,
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

/// A notice that wants delivering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueNotice {
    /// The order.
    pub order: OrderId,
    /// Which of its notices.
    pub sequence: u32,
    /// Since when.
    pub due_at: Timestamp,
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

/// The `owner` index key of a merchant's notices.
fn owner_of(merchant: &MerchantId) -> String {
    format!("E#{merchant}")
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
        let request = self.client.query().table_name(&self.table);
        let output = request
            .key_condition_expression("pk = :notices")
            .expression_attribute_values(":notices", s(format!("N#{order}")))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        output.items().iter().map(decode).collect()
    }

    /// Writes down where a notice stands after an attempt, or after none. A delivery that somebody else
    /// has seen is never taken back.
    pub async fn record_attempt(
        &self,
        notice: &Notice,
        attempt: Option<&Attempt>,
        (state, due_at): (NoticeState, Option<Timestamp>),
    ) -> Result<Written, StoreError> {
        let order = &notice.order;
        let row_key = notice_key(&order.id, notice.sequence);
        let position = owner_at(order.updated_at, &format!("N#{}#{}", order.id, notice.sequence));
        let mut values = HashMap::from([
            (":state".to_owned(), s(state.as_str())),
            (":kind".to_owned(), s(notice.kind.as_str())),
            (":owner".to_owned(), s(owner_of(&order.merchant))),
            (":position".to_owned(), s(position)),
            (":tried".to_owned(), AttributeValue::L(attempt.iter().map(|a| encode(a)).collect())),
            (":none".to_owned(), AttributeValue::L(Vec::new())),
        ]);
        let mut names = HashMap::from([("#state", "state"), ("#owner", "owner")]);
        let mut update =
            "SET #state = :state, kind = :kind, #owner = :owner, ownerAt = :position, \
                          attempts = list_append(if_not_exists(attempts, :none), :tried)"
                .to_owned();
        match due_at {
            Some(due_at) => {
                values.insert(":due".to_owned(), n(due_at.millis()));
                values.insert(":shard".to_owned(), s(shard(shard_of(&order.id))));
                update.push_str(", dueAt = :due, dueShard = :shard");
            }
            None => update.push_str(" REMOVE dueAt, dueShard"),
        }
        let condition = if state == NoticeState::Delivered {
            None
        } else {
            values.insert(":delivered".to_owned(), s(NoticeState::Delivered.as_str()));
            Some("attribute_not_exists(#state) OR #state <> :delivered")
        };
        let names: HashMap<String, String> =
            names.drain().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut budget = Budget::new();
        loop {
            let request = self.client.update_item().table_name(&self.table);
            let sent = request
                .set_key(Some(row_key.clone()))
                .update_expression(&update)
                .set_condition_expression(condition.map(str::to_owned))
                .set_expression_attribute_names(Some(names.clone()))
                .set_expression_attribute_values(Some(values.clone()))
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

    /// Notices that are due by `until` in one shard, oldest first, at most `limit`.
    pub async fn due_notices(
        &self,
        shard_number: u32,
        (until, limit): (Timestamp, i32),
    ) -> Result<Vec<DueNotice>, StoreError> {
        let request = self.client.query().table_name(&self.table).index_name("due");
        let output = request
            .key_condition_expression("dueShard = :shard AND dueAt <= :until")
            .expression_attribute_values(":shard", s(shard(shard_number)))
            .expression_attribute_values(":until", n(until.millis()))
            .limit(limit)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        let due = |row: &Row| {
            let (order, sequence) = identity(row)?;
            Ok(DueNotice { order, sequence, due_at: Timestamp::from_millis(number(row, "dueAt")?) })
        };
        output.items().iter().map(due).collect()
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

fn identity(row: &Row) -> Result<(OrderId, u32), StoreError> {
    let order = parsed(row, "pk", |pk| OrderId::parse(pk.strip_prefix("N#")?))?;
    let sequence = text(row, "sk")?.parse().map_err(|_| damaged(row, "sk"))?;
    Ok((order, sequence))
}

fn decode(row: &Row) -> Result<NoticeRow, StoreError> {
    let (order, sequence) = identity(row)?;
    let attempts = row.get("attempts").and_then(|value| value.as_l().ok());
    let attempts = attempts.ok_or_else(|| damaged(row, "attempts"))?;
    let attempts = attempts.iter().rev().take(ATTEMPTS_KEPT).rev();
    Ok(NoticeRow {
        order,
        sequence,
        kind: parsed(row, "kind", NoticeKind::parse)?,
        state: parsed(row, "state", NoticeState::parse)?,
        attempts: attempts.map(|value| decode_attempt(row, value)).collect::<Result<_, _>>()?,
        due_at: row.contains_key("dueAt").then(|| time(row, "dueAt")).transpose()?,
    })
}

fn encode(attempt: &Attempt) -> AttributeValue {
    let mut entry = HashMap::from([
        ("at".to_owned(), n(attempt.at.millis())),
        ("status".to_owned(), n(attempt.status)),
        ("ms".to_owned(), n(attempt.took_ms)),
    ]);
    for (name, text) in [("error", &attempt.error), ("excerpt", &attempt.excerpt)] {
        if !text.is_empty() {
            entry.insert(name.to_owned(), s(text));
        }
    }
    AttributeValue::M(entry)
}

fn decode_attempt(row: &Row, value: &AttributeValue) -> Result<Attempt, StoreError> {
    let entry = value.as_m().map_err(|_| damaged(row, "attempts"))?;
    Ok(Attempt {
        at: time(entry, "at")?,
        status: number(entry, "status")?,
        took_ms: number(entry, "ms")?,
        error: optional_text(entry, "error").unwrap_or("").to_owned(),
        excerpt: optional_text(entry, "excerpt").unwrap_or("").to_owned(),
    })
}
