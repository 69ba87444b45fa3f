//! Reviews: parked evidence as people see it, and their decisions, in the same rows. What is decided and
//! not carried out yet is in the index `due`, so that no decision is lost.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    KeysAndAttributes, ReturnConsumedCapacity, TransactWriteItem, Update,
};

use super::due::{DuePage, DuePosition};
use super::fault::{Budget, StoreFault};
use super::parked::{PARKED, parked_key};
use super::review_row::{RULING, decode, of_earlier, of_ruling};
use super::row::{Row, key, money, n, number, optional_text, parsed, s, text};
use super::settlement::payment_pk;
use super::users::row_at;
use super::{Store, StoreError, Written};
use crate::domain::apply::{ParkReason, are_two_transactions, is_beyond};
use crate::domain::{
    Currency, Dust, Evidence, EvidenceKind, MerchantId, Review, Ruling, Timestamp, UserId, UserMark,
};
pub use crate::domain::{ReviewId, ReviewState};

/// The partition of the due index; no provider's name begins like that.
const DUE: &str = "!review#0";
/// The key of the `owner` index under which closed reviews are found.
const CLOSED: &str = "parked!closed";

/// What is known of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its payment is booked, with this amount, or was paid back.
    pub booked: bool,
    /// It was paid back, outside of this service: nobody was credited.
    pub paid_back: bool,
    /// What is booked was another transaction, in another currency, or another user's: a person has to see the statement.
    pub contradicted: bool,
    /// It was put aside; not of one that waits, undecided, or was rejected, only because the provider did not confirm it yet.
    pub parked: bool,
    /// People have rejected it, for another reason than that it contradicts what is known.
    pub rejected_before: bool,
}

/// How many parts of the index one request looks at.
const PARTS_MAX: usize = 8;
/// Entries of a part, when only the rows say which ones are wanted.
const PART_ENTRIES: i32 = 100;

/// A part of the open reviews, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewPage {
    /// The reviews.
    pub reviews: Vec<Review>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<String>,
}

impl ReviewPage {
    /// Whether [`ReviewPage::next`] can say so.
    pub fn is_position(text: &str) -> bool {
        let review = row_at(text).and_then(|pk| pk.strip_prefix("K#"));
        review.and_then(ReviewId::parse).is_some()
    }
}

impl Store {
    /// The review, as of now.
    pub async fn review(&self, id: &ReviewId) -> Result<Option<Review>, StoreError> {
        let request = self.client.get_item().table_name(&self.table);
        let output = request
            .set_key(Some(parked_key(id.as_str())))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        output.item.as_ref().map(decode).transpose()
    }

    /// Open or closed reviews after `after`, oldest first, at most `limit`; only those of `merchant` where
    /// one is given. Behind many of other merchants a page can be empty and not the last.
    pub async fn reviews(
        &self,
        merchant: Option<&MerchantId>,
        (closed, limit): (bool, i32),
        after: Option<&str>,
    ) -> Result<ReviewPage, StoreError> {
        let list = if closed { CLOSED } else { PARKED };
        // The index cannot leave the others out: more of it is looked at for one merchant.
        let entries = if merchant.is_some() { limit.max(PART_ENTRIES) } else { limit };
        let most = usize::try_from(limit).unwrap_or(0);
        let mut position = after.map(str::to_owned);
        for _ in 0..PARTS_MAX {
            let start = position.as_deref().and_then(|position| {
                let (_, pk) = position.split_once('#')?;
                let mut start = key(pk, "K");
                start.insert("owner".to_owned(), s(list));
                start.insert("ownerAt".to_owned(), s(position));
                Some(start)
            });
            let mut request = self.client.query().table_name(&self.table).index_name("owner");
            if let Some(merchant) = merchant {
                request = request
                    .filter_expression("merchant = :merchant")
                    .expression_attribute_values(":merchant", s(merchant.as_str()));
            }
            let output = request
                .key_condition_expression("#owner = :owner")
                .expression_attribute_names("#owner", "owner")
                .expression_attribute_values(":owner", s(list))
                .limit(entries)
                .set_exclusive_start_key(start)
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await
                .map_err(|error| StoreFault::of(&error))?;
            let next = output.last_evaluated_key.as_ref().map(|row| text(row, "ownerAt"));
            position = next.transpose()?.map(str::to_owned);
            let (mut reviews, mut last) = (Vec::new(), None);
            let rows = output.items();
            for (index, row) in rows.iter().enumerate() {
                match decode(row) {
                    Ok(review) => {
                        reviews.push(review);
                        last = Some(text(row, "ownerAt")?.to_owned());
                    }
                    Err(error) => tracing::error!(%error, "a review cannot be read"),
                }
                if reviews.len() == most && index + 1 < rows.len() {
                    let next = Some(text(row, "ownerAt")?.to_owned());
                    return Ok(ReviewPage { reviews, next });
                }
            }
            if !reviews.is_empty() || position.is_none() {
                // A merchant's page ends at a review of its own.
                let own = last.filter(|_| merchant.is_some());
                let next = position.map(|position| own.unwrap_or(position));
                return Ok(ReviewPage { reviews, next });
            }
        }
        let of_others = |position: String| {
            // Further than the page began, whatever was put aside at one moment.
            let moment = Some(moment_of(&position)).filter(|_| merchant.is_some());
            let moment = moment.filter(|moment| after.is_none_or(|after| moment.as_str() > after));
            moment.unwrap_or(position)
        };
        Ok(ReviewPage { reviews: Vec::new(), next: position.map(of_others) })
    }

    /// What is known of each of these statements.
    pub async fn known_statements(
        &self,
        statements: &[Evidence],
    ) -> Result<Vec<Known>, StoreError> {
        let mut found: HashMap<String, Row> = HashMap::new();
        let keys =
            |evidence: &Evidence| [payment_pk(evidence), format!("K#{}", evidence.identity())];
        // Two keys a statement, a hundred keys a request.
        for chunk in statements.chunks(50) {
            let mut wanted: Vec<String> = chunk.iter().flat_map(keys).collect();
            wanted.sort_unstable();
            wanted.dedup();
            let mut wanted: Vec<Row> = wanted.iter().map(|pk| key(pk, &pk[..1])).collect();
            let mut budget = Budget::new();
            while !wanted.is_empty() {
                let asked = KeysAndAttributes::builder()
                    .set_keys(Some(wanted))
                    .projection_expression(
                        "pk, amount, currency, held, transactionId, merchant, #user, why, #state, kind, dust, #order",
                    )
                    .expression_attribute_names("#user", "user")
                    .expression_attribute_names("#state", "state")
                    .expression_attribute_names("#order", "order")
                    .build()
                    .map_err(|_| StoreError::Damaged("no keys".to_owned()))?;
                let request = self.client.batch_get_item().request_items(&self.table, asked);
                let request = request.return_consumed_capacity(ReturnConsumedCapacity::Indexes);
                let output = request.send().await.map_err(|error| StoreFault::of(&error))?;
                for rows in output.responses.into_iter().flat_map(HashMap::into_values) {
                    for row in rows {
                        found.insert(text(&row, "pk")?.to_owned(), row);
                    }
                }
                let left = output.unprocessed_keys.unwrap_or_default().remove(&self.table);
                wanted = left.map(|left| left.keys).unwrap_or_default();
                if !wanted.is_empty() {
                    budget.pause("statements").await?;
                }
            }
        }
        let is_known = |evidence: &Evidence| {
            let [payment, parked] = keys(evidence);
            let row = found.get(&payment);
            // The same payment with another amount is not known: a person has to see it.
            let booked = row.is_some_and(|row| {
                let amount = number::<i128>(row, "amount").ok();
                row.contains_key("held")
                    || match evidence.kind {
                        EvidenceKind::Paid(money) => amount == Some(money.minor()),
                        _ => false,
                    }
            });
            let contradicted = row.is_some_and(|row| is_of_another(row, evidence));
            let review = found.get(&parked);
            let parked = review.is_some_and(|row| booked || !may_be_confirmed(row));
            let rejected_before = review.is_some_and(is_rejected_before);
            let kind = row.and_then(|row| optional_text(row, "kind"));
            let paid_back = kind == Some("REFUND");
            Known { booked, paid_back, contradicted, parked, rejected_before }
        };
        Ok(statements.iter().map(is_known).collect())
    }

    /// Writes a decision down, if the review stands as it was read. An approved one is due at `due_at`.
    pub async fn rule(
        &self,
        before: &Review,
        (state, ruling): (ReviewState, &Ruling),
        due_at: Timestamp,
    ) -> Result<Written, StoreError> {
        let mut values = HashMap::from([(":state".to_owned(), s(state.as_str()))]);
        let (mut sets, mut removes) = (vec!["#state = :state".to_owned()], vec!["refusal"]);
        let mut row = of_ruling(ruling);
        for name in RULING {
            let attribute = if name == "action" { "#action" } else { name };
            match row.remove(name) {
                Some(value) => {
                    sets.push(format!("{attribute} = :{name}"));
                    values.insert(format!(":{name}"), value);
                }
                None => removes.push(attribute),
            }
        }
        let earlier = before.ruled(state, ruling.clone()).earlier;
        if earlier != before.earlier {
            sets.push("earlier = :earlier".to_owned());
            values.insert(":earlier".to_owned(), of_earlier(&earlier));
        }
        if state == ReviewState::Approved {
            values.insert(":due".to_owned(), n(due_at.millis()));
            values.insert(":shard".to_owned(), s(DUE));
            sets.extend(["dueAt = :due".to_owned(), "dueShard = :shard".to_owned()]);
        }
        let condition = as_read(before, &mut values);
        let request = self.client.update_item().table_name(&self.table);
        let sent = request
            .set_key(Some(parked_key(before.id.as_str())))
            .update_expression(format!("SET {} REMOVE {}", sets.join(", "), removes.join(", ")))
            .condition_expression(condition)
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#action", "action")
            .set_expression_attribute_values(Some(values))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await;
        written(sent.map(drop).map_err(|error| {
            let refused = error.as_service_error();
            let raced = refused.is_some_and(|e| e.is_conditional_check_failed_exception());
            (raced, StoreFault::of(&error).into())
        }))
    }

    /// Opens a review again whose decision cannot be carried out, and says why; only if the decision is the one that was
    /// read. `reason` is why it waits from now on, where that is another one.
    pub async fn reopen_review(
        &self,
        review: &Review,
        (why, reason): (&str, Option<ParkReason>),
    ) -> Result<Written, StoreError> {
        if review.ruling.is_none() {
            return Err(StoreError::Damaged(format!("review {} is not decided", review.id)));
        }
        let mut values = HashMap::from([
            (":open".to_owned(), s(ReviewState::Open.as_str())),
            (":refusal".to_owned(), s(why)),
            (":why".to_owned(), s(reason.unwrap_or(review.why).as_str())),
        ]);
        let condition = as_read(review, &mut values);
        let request = self.client.update_item().table_name(&self.table);
        let sent = request
            .set_key(Some(parked_key(review.id.as_str())))
            .update_expression(
                "SET #state = :open, refusal = :refusal, why = :why REMOVE dueAt, dueShard",
            )
            .condition_expression(condition)
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#action", "action")
            .set_expression_attribute_values(Some(values))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await;
        written(sent.map(drop).map_err(|error| {
            let refused = error.as_service_error();
            let raced = refused.is_some_and(|e| e.is_conditional_check_failed_exception());
            (raced, StoreFault::of(&error).into())
        }))
    }

    /// Decisions that are due by `until` after `after`, oldest first, at most `limit`.
    pub async fn due_reviews(
        &self,
        bounds: (Timestamp, i32),
        after: Option<DuePosition>,
    ) -> Result<DuePage<ReviewId>, StoreError> {
        let due = |row: &Row| parsed(row, "pk", |pk| ReviewId::parse(pk.strip_prefix("K#")?));
        let bounds = (Timestamp::EPOCH, bounds.0, bounds.1);
        self.due_page(DUE.to_owned(), bounds, after, due).await
    }

    /// That nobody has closed a review, as a part of what makes an order wait for it, for the reason `why`.
    pub(super) fn still_open(
        &self,
        identity: &str,
        (why, now): (ParkReason, Timestamp),
    ) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(parked_key(identity)))
            .update_expression("SET seenAgainAt = :now, why = :why")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(closedAt)")
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":why", s(why.as_str()))
            .build()
            .map_err(|_| StoreError::Damaged("update without a key".to_owned()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// The same of a review that was rejected: a person has refused a statement that moved no order, and now one
    /// does. It is open again.
    pub(super) fn open_again(
        &self,
        identity: &str,
        (why, now): (ParkReason, Timestamp),
    ) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(parked_key(identity)))
            .update_expression(
                "SET #state = :open, #owner = :parked, refusal = :refusal, seenAgainAt = :now, \
                 why = :why REMOVE closedAt",
            )
            .condition_expression("#state = :rejected")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":open", s(ReviewState::Open.as_str()))
            .expression_attribute_values(":rejected", s(ReviewState::Rejected.as_str()))
            .expression_attribute_values(":parked", s(PARKED))
            .expression_attribute_values(":refusal", s(SAID_AGAIN))
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":why", s(why.as_str()))
            .build()
            .map_err(|_| StoreError::Damaged("update without a key".to_owned()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// The end of an approved review, as a part of what carries it out: only if the decision is the one that
    /// was read, and no order has come to wait for it since.
    pub(super) fn close_review(
        &self,
        review: &Review,
        state: ReviewState,
        now: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        if review.state != ReviewState::Approved || review.ruling.is_none() {
            return Err(StoreError::Damaged(format!("review {} is not decided", review.id)));
        }
        let mut values = HashMap::from([
            (":state".to_owned(), s(state.as_str())),
            (":closed".to_owned(), s(CLOSED)),
            (":now".to_owned(), n(now.millis())),
        ]);
        let condition = as_read(review, &mut values);
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(parked_key(review.id.as_str())))
            .update_expression(
                "SET #state = :state, #owner = :closed, closedAt = :now REMOVE dueAt, dueShard",
            )
            .condition_expression(condition)
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#action", "action")
            .expression_attribute_names("#owner", "owner")
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(|_| StoreError::Damaged("update without a key".to_owned()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// The position before every review that was put aside at the moment of `position`: whose that was is not said.
fn moment_of(position: &str) -> String {
    let (moment, _) = position.split_once('#').unwrap_or((position, ""));
    format!("{moment}#K#{}", "0".repeat(26))
}

/// What a rejected review says that is open again.
const SAID_AGAIN: &str = "it was rejected, and the provider has said it since";

/// Whether a payment's row names another transaction, currency or user than the statement about it.
fn is_of_another(row: &Row, evidence: &Evidence) -> bool {
    let ids = (optional_text(row, "transactionId"), evidence.transaction_id.as_deref());
    let merchant = optional_text(row, "merchant").and_then(MerchantId::parse);
    let user = optional_text(row, "user").and_then(UserId::parse);
    let mark = merchant.zip(user).map(|(merchant, user)| UserMark::derive(&merchant, &user));
    let marks = mark.as_ref().zip(evidence.user_mark.as_ref());
    let currency = match evidence.kind {
        EvidenceKind::Paid(money) => Some(money.currency().code()),
        _ => None,
    };
    let currencies = optional_text(row, "currency").zip(currency);
    // Of a deposit all is told: none is none. What people have booked has what their statement said.
    let said = evidence.dust.filter(|_| currency.is_some());
    let booked = optional_text(row, "dust").and_then(Dust::parse);
    let dust = match (booked, said) {
        (Some(one), Some(other)) => !one.is_as_much_as(other),
        (one, other) => one != other && evidence.deposit.is_some() && row.contains_key("order"),
    };
    dust || are_two_transactions(ids)
        || marks.is_some_and(|(booked, named)| booked != named)
        || currencies.is_some_and(|(booked, named)| booked != named)
}

fn is_rejected_before(row: &Row) -> bool {
    let state = optional_text(row, "state").and_then(ReviewState::parse);
    let why = optional_text(row, "why").and_then(ParkReason::parse);
    state == Some(ReviewState::Rejected) && why != Some(ParkReason::AmountConflict)
}

/// Whether what was put aside waits, or was rejected, only because the provider did not confirm it, which may have known
/// less then than it does now; and nobody is about to decide. Of what only people credit, they have the statement already.
fn may_be_confirmed(row: &Row) -> bool {
    let currency = optional_text(row, "currency").and_then(Currency::parse);
    let amount = currency.and_then(|currency| money(row, "amount", currency).ok());
    if amount.is_some_and(is_beyond) {
        return false;
    }
    let why = optional_text(row, "why").and_then(ParkReason::parse);
    let state = optional_text(row, "state").map_or(Some(ReviewState::Open), ReviewState::parse);
    why == Some(ParkReason::Unconfirmed)
        && matches!(state, Some(ReviewState::Open | ReviewState::Rejected))
}

/// That the review stands as it was read, decision and all, and that no order has come to wait for it since.
fn as_read(before: &Review, values: &mut Row) -> String {
    let mut condition = match before.state {
        ReviewState::Open => "(attribute_not_exists(#state) OR #state = :was)",
        _ => "#state = :was",
    }
    .to_owned();
    values.insert(":was".to_owned(), s(before.state.as_str()));
    if let Some(known) = &before.ruling {
        condition.push_str(" AND #action = :known AND ruledBy = :knownBy AND ruledAt = :knownAt");
        values.insert(":known".to_owned(), s(known.action.as_str()));
        values.insert(":knownBy".to_owned(), s(&known.by));
        values.insert(":knownAt".to_owned(), n(known.at.millis()));
        match known.action.target() {
            Some(target) => {
                condition.push_str(" AND target = :knownTarget");
                values.insert(":knownTarget".to_owned(), s(target));
            }
            None => condition.push_str(" AND attribute_not_exists(target)"),
        }
    } else {
        condition.push_str(" AND attribute_not_exists(#action)");
    }
    match before.seen_again_at {
        Some(at) => {
            condition.push_str(" AND seenAgainAt = :seenAgain");
            values.insert(":seenAgain".to_owned(), n(at.millis()));
        }
        None => condition.push_str(" AND attribute_not_exists(seenAgainAt)"),
    }
    condition
}

fn written(sent: Result<(), (bool, StoreError)>) -> Result<Written, StoreError> {
    match sent {
        Ok(()) => Ok(Written::Now),
        Err((true, _)) => Ok(Written::Raced),
        Err((false, error)) => Err(error),
    }
}
