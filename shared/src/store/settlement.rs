//! Settlement: order, payment and balance in one transaction. The payment row is the `CREDIT` ledger
//! entry and the guard against a second one; it is never changed and never expires. Of a shadow order it guards
//! too, and nothing else: no balance is touched, and no ledger shows it. A deposit of which the provider has said what
//! no credit can follow has a row without money, which only a person's booking replaces, or the same words under mended
//! settings. The transfer on the chain that a deposit is has a row, too: another deposit by the same one is credited by
//! people alone.

use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, TransactWriteItem, Update};

use super::cancellation::{ItemFate, Transacted};
use super::fault::StoreFault;
use super::item::{Change, change, encode, order_key};
use super::orders::token;
use super::parked::{Whose, parked_row};
use super::reviews::ReviewState;
use super::row::{Row, bytes, key, n, optional_text, parsed_if_there, s};
use super::users::{balance_key, owner_at, owner_of};
use super::{Store, StoreError, Written};
use crate::bug::{self, Bug};
use crate::domain::apply::ParkReason;
use crate::domain::{Entry, EntryKind, Evidence, EvidenceKind, Order, OrderId, Review, Timestamp};

/// The kind of a payment that no money stands behind.
const SHADOW: &str = "SHADOW";
/// The kind of a payment of which the provider has said something else than that it arrived.
const ASIDE: &str = "ASIDE";

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Booked now.
    Now,
    /// An order has changed meanwhile: read again and decide again.
    Raced,
    /// The orders are as they were, but this payment was booked before, or this statement put aside.
    PaymentTaken,
    /// The same, but the transfer that this deposit is was booked as another one.
    TransferTaken,
}

/// What is paid back with the end of a review.
#[derive(Debug, Clone, Copy)]
pub enum PaidBack<'a> {
    /// Nothing.
    Nothing,
    /// The payment, which gets a row for it, and its transfer.
    Payment(&'a Evidence),
    /// What contradicts a payment that has a row: the transfer, which may be another one.
    Beside(&'a Evidence),
}

/// The order that a booking belongs to.
#[derive(Debug, Clone, Copy)]
pub enum OrderWrite<'a> {
    /// From one version to the next.
    Move(&'a Order, &'a Order),
    /// Made by the booking.
    New(&'a Order),
}

impl<'a> OrderWrite<'a> {
    const fn after(self) -> &'a Order {
        match self {
            OrderWrite::Move(_, after) | OrderWrite::New(after) => after,
        }
    }
}

/// What is written together: all of it or nothing.
#[derive(Debug, Clone, Copy)]
pub struct Booking<'a> {
    /// The order.
    pub order: OrderWrite<'a>,
    /// The entry.
    pub entry: &'a Entry,
    /// What proves it; names the payment.
    pub evidence: &'a Evidence,
    /// Another order, before and after, whose payment this was meant to be.
    pub noted: Option<(&'a Order, &'a Order)>,
    /// The review that this ends, as it was read.
    pub review: Option<&'a Review>,
}

impl Store {
    /// Books an entry with its order.
    pub async fn book(&self, booking: Booking<'_>) -> Result<Settled, StoreError> {
        let Booking { order, entry, evidence, noted, review } = booking;
        let after = order.after();
        let noted_alike = noted.is_none_or(|(_, noted)| noted.is_shadow() == after.is_shadow());
        if after.is_shadow() != evidence.is_shadow() || !noted_alike {
            return Err(StoreError::Damaged(format!("a booking of two modes: {}", after.id)));
        }
        let mut items = vec![
            match (review, &evidence.deposit) {
                (Some(_), _) => self.by_a_person(payment_row(after, entry, evidence))?,
                (None, Some(_)) => {
                    self.by_its_word(payment_row(after, entry, evidence), evidence)?
                }
                (None, None) => self.new_row(payment_row(after, entry, evidence))?,
            },
            match order {
                OrderWrite::Move(before, after) => self.order_update(before, after)?,
                OrderWrite::New(order) => self.new_row(encode(order))?,
            },
        ];
        if entry.kind() == EntryKind::Credit && !after.is_shadow() {
            items.push(self.balance_update(after, entry)?);
        }
        if let Some((before, after)) = noted {
            items.push(self.order_update(before, after)?);
        }
        if let Some(review) = review {
            items.push(self.close_review(review, ReviewState::Credited, after.updated_at)?);
        }
        // Last: it is known by its place.
        let is_known = review.is_some_and(Review::tells_of_another);
        let transfer = transfer_key(evidence).filter(|_| !after.is_shadow());
        let last = transfer.as_ref().map(|_| items.len());
        if let Some(key) = transfer {
            items.push(self.claim_transfer(key, (evidence, is_known), after.updated_at)?);
        }
        let before = match order {
            OrderWrite::Move(before, _) => before,
            OrderWrite::New(order) => order,
        };
        let mut token = transaction_token(entry.kind().as_str(), before, after, evidence);
        if bug::is(Bug::M1) || bug::is(Bug::M7) {
            items = items.into_iter().map(unconditional).collect();
        }
        if bug::is(Bug::M2) {
            items[1] = unconditional(items[1].clone());
        }
        if bug::is(Bug::M7) {
            token = super::orders::token(&["settle", &payment_pk(evidence)]);
        }
        let mut transacted = self.transact("settlement", token, items).await?;
        if is_transfer_taken(&mut transacted, last) {
            return Ok(Settled::TransferTaken);
        }
        Ok(settled(transacted))
    }

    /// Makes the transfer the payment's. Where `is_known`, people have seen that it is another one's, and it stays so.
    fn claim_transfer(
        &self,
        key: Row,
        (evidence, is_known): (&Evidence, bool),
        now: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let free = "attribute_not_exists(payment) OR payment = :payment".to_owned();
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression("SET payment = if_not_exists(payment, :payment), #at = :now")
            .set_condition_expression((!is_known).then_some(free))
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":payment", s(&evidence.payment_id))
            .expression_attribute_values(":now", n(now.millis()))
            .build()
            .map_err(|_| StoreError::Damaged("update without a key".to_owned()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Whether the provider has said of the payment what no credit can follow, and nobody has booked it since.
    pub async fn is_aside(&self, evidence: &Evidence) -> Result<bool, StoreError> {
        let row = self.payment(evidence).await?;
        Ok(row.is_some_and(|row| optional_text(&row, "kind") == Some(ASIDE)))
    }

    /// Puts a statement aside that no credit of its payment can follow; `Raced` when it was put aside before,
    /// `None` when the payment has a row already.
    pub(super) async fn park_against(
        &self,
        evidence: &Evidence,
        parked: Row,
        now: Timestamp,
    ) -> Result<Option<Written>, StoreError> {
        let items = vec![self.new_row(parked)?, self.new_row(aside_row(evidence, now))?];
        let at = now.millis().to_string();
        let digest = hex::encode(evidence.digest);
        let token = token(&["aside", &evidence.identity(), &digest, &at]);
        Ok(match self.transact("parked evidence", token, items).await? {
            Transacted::Done => Some(Written::Now),
            Transacted::Refused(fates) => match fates.first() {
                Some(ItemFate::Refused(_)) => Some(Written::Raced),
                _ => None,
            },
        })
    }

    /// The same about a statement that was put aside before for another reason.
    pub(super) async fn put_against(
        &self,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let items = vec![self.new_row(aside_row(evidence, now))?];
        let at = now.millis().to_string();
        let digest = hex::encode(evidence.digest);
        let token = token(&["aside-alone", &evidence.identity(), &digest, &at]);
        self.transact("parked evidence", token, items).await?;
        Ok(())
    }

    /// That the provider has said more than one thing of a deposit that is put aside: no words of it are enough any more.
    pub(super) async fn note_against(
        &self,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut row = aside_row(evidence, now);
        row.remove("raw");
        let mut item = self.new_row(row)?;
        if let Some(put) = item.put.as_mut() {
            put.condition_expression = Some("kind = :aside AND #raw <> :raw".to_owned());
            let values = [(":aside".to_owned(), s(ASIDE)), (":raw".to_owned(), s(&evidence.raw))];
            put.expression_attribute_values = Some(values.into());
            put.expression_attribute_names = Some([("#raw".to_owned(), "raw".to_owned())].into());
        }
        let at = now.millis().to_string();
        let digest = hex::encode(evidence.digest);
        let token = token(&["aside-more", &evidence.identity(), &digest, &at]);
        self.transact("parked evidence", token, vec![item]).await?;
        Ok(())
    }

    /// A row of a payment that people have decided about: new, or in the place of one without money.
    fn by_a_person(&self, row: Row) -> Result<TransactWriteItem, StoreError> {
        let mut item = self.new_row(row)?;
        if let Some(put) = item.put.as_mut() {
            put.condition_expression = Some("attribute_not_exists(pk) OR kind = :aside".to_owned());
            put.expression_attribute_values = Some([(":aside".to_owned(), s(ASIDE))].into());
        }
        Ok(item)
    }

    /// A row of a deposit: new, or in the place of what the same words of its provider came to under other settings of ours.
    fn by_its_word(&self, row: Row, evidence: &Evidence) -> Result<TransactWriteItem, StoreError> {
        let mut item = self.new_row(row)?;
        if let Some(put) = item.put.as_mut() {
            let free = "attribute_not_exists(pk) OR (kind = :aside AND #raw = :raw)";
            put.condition_expression = Some(free.to_owned());
            let values = [(":aside".to_owned(), s(ASIDE)), (":raw".to_owned(), s(&evidence.raw))];
            put.expression_attribute_values = Some(values.into());
            put.expression_attribute_names = Some([("#raw".to_owned(), "raw".to_owned())].into());
        }
        Ok(item)
    }

    /// The order that the payment of `evidence` is booked with.
    pub async fn booked_with(&self, evidence: &Evidence) -> Result<Option<OrderId>, StoreError> {
        let row = self.payment(evidence).await?;
        let order = row.as_ref().map(|row| parsed_if_there(row, "order", OrderId::parse));
        Ok(order.transpose()?.flatten())
    }

    async fn payment(&self, evidence: &Evidence) -> Result<Option<Row>, StoreError> {
        let request = self.client.get_item().table_name(&self.table);
        let output = request
            .set_key(Some(payment_key(evidence)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send()
            .await
            .map_err(|error| StoreFault::of(&error))?;
        Ok(output.item)
    }

    /// Moves the order to `after` and puts the evidence aside.
    pub async fn hold(
        &self,
        (before, after): (&Order, &Order),
        evidence: &Evidence,
        reason: ParkReason,
    ) -> Result<Settled, StoreError> {
        let now = after.updated_at.max(evidence.observed_at);
        let parked = parked_row(evidence, reason, Whose::of(after), now);
        let items = vec![self.new_row(parked)?, self.order_update(before, after)?];
        let token = transaction_token("hold", before, after, evidence);
        Ok(settled(self.transact("hold", token, items).await?))
    }

    /// Moves the order to `after` at `now`, with a statement that was put aside before; `PaymentTaken` when its review is
    /// closed.
    pub async fn hold_again(
        &self,
        (before, after): (&Order, &Order),
        evidence: &Evidence,
        (reason, now): (ParkReason, Timestamp),
    ) -> Result<Settled, StoreError> {
        let review = self.still_open(&evidence.identity(), (reason, now))?;
        let what = format!("hold-again-{}", now.millis());
        let token = transaction_token(&what, before, after, evidence);
        let items = vec![review, self.order_update(before, after)?];
        Ok(settled(self.transact("hold", token, items).await?))
    }

    /// The same with a statement that a person has rejected, whose review is opened again; `PaymentTaken` when it was
    /// credited or paid back.
    pub async fn hold_rejected(
        &self,
        (before, after): (&Order, &Order),
        evidence: &Evidence,
        (reason, now): (ParkReason, Timestamp),
    ) -> Result<Settled, StoreError> {
        let review = self.open_again(&evidence.identity(), (reason, now))?;
        let what = format!("hold-rejected-{}", now.millis());
        let token = transaction_token(&what, before, after, evidence);
        let items = vec![review, self.order_update(before, after)?];
        Ok(settled(self.transact("hold", token, items).await?))
    }

    /// Opens the review of a deposit again that a person has rejected; `PaymentTaken` when it is not rejected any more.
    pub async fn review_again(
        &self,
        evidence: &Evidence,
        (reason, now): (ParkReason, Timestamp),
    ) -> Result<Settled, StoreError> {
        let review = self.open_again(&evidence.identity(), (reason, now))?;
        let at = now.millis().to_string();
        let token = token(&["review-again", &evidence.identity(), &at]);
        Ok(settled(self.transact("review", token, vec![review]).await?))
    }

    /// Ends a review without a credit, if it stands as it was read; `order` before and after, where that
    /// changes one. `PaymentTaken` when the payment that is paid back has a row: booked, or paid back before;
    /// `TransferTaken` when another one by the same transfer has, and the review does not say so.
    pub async fn end_review(
        &self,
        review: &Review,
        (state, now): (ReviewState, Timestamp),
        order: Option<(&Order, &Order)>,
        paid_back: PaidBack<'_>,
    ) -> Result<Settled, StoreError> {
        let mut items = Vec::new();
        let (marked, refunded) = match paid_back {
            PaidBack::Nothing => (None, None),
            PaidBack::Payment(evidence) => (Some(evidence), Some(evidence)),
            PaidBack::Beside(evidence) => (None, Some(evidence)),
        };
        if let Some(evidence) = marked {
            items.push(self.by_a_person(refund_row(evidence, now))?);
        }
        items.push(self.close_review(review, state, now)?);
        if let Some((before, after)) = order {
            items.push(self.order_update(before, after)?);
        }
        // What goes back is not credited by another name either. Last: it is known by its place.
        let mut last = None;
        if let Some((evidence, key)) = refunded.and_then(|one| Some((one, transfer_key(one)?))) {
            last = Some(items.len());
            items.push(self.claim_transfer(key, (evidence, review.tells_of_another()), now)?);
        }
        let at = now.millis().to_string();
        let ruled = review.ruling.as_ref().map_or(0, |ruling| ruling.at.millis()).to_string();
        let seen = review.seen_again_at.map_or(0, Timestamp::millis).to_string();
        let version = order.map_or(0, |(before, _)| before.version).to_string();
        let [marked_as, refunded_as] = [marked, refunded]
            .map(|evidence| evidence.map_or("", |evidence| evidence.payment_id.as_str()));
        let (id, state) = (review.id.as_str(), state.as_str());
        let fields = ["end", id, state, &at, &ruled, &seen, &version, marked_as, refunded_as];
        let token = token(&fields);
        let mut transacted = self.transact("review", token, items).await?;
        if is_transfer_taken(&mut transacted, last) {
            return Ok(Settled::TransferTaken);
        }
        match (transacted, marked) {
            (transacted, Some(_)) => Ok(settled(transacted)),
            (Transacted::Done, None) => Ok(Settled::Now),
            (Transacted::Refused(_), None) => Ok(Settled::Raced),
        }
    }

    fn order_update(&self, before: &Order, after: &Order) -> Result<TransactWriteItem, StoreError> {
        let Change { update, condition, names, values } = change(before, after);
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(order_key(&before.id)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(|_| StoreError::Damaged("update without a key".to_owned()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn balance_update(
        &self,
        order: &Order,
        entry: &Entry,
    ) -> Result<TransactWriteItem, StoreError> {
        let gained = entry.amount();
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(balance_key(&order.merchant, &order.user, gained.currency())))
            .update_expression("SET updatedAt = :now ADD balance :amount, entries :one")
            .expression_attribute_values(":now", n(order.updated_at.millis()))
            .expression_attribute_values(":amount", n(gained.minor()))
            .expression_attribute_values(":one", n(1))
            .build()
            .map_err(|_| StoreError::Damaged("update without a key".to_owned()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// Whether nothing but the transfer's item, the `last` one, was refused, which then is taken out: whatever else was
/// refused says more. A payment of its own may be taken, and its transfer another one's.
fn is_transfer_taken(transacted: &mut Transacted, last: Option<usize>) -> bool {
    let (Transacted::Refused(fates), Some(last)) = (transacted, last) else { return false };
    fates.truncate(last);
    fates.iter().all(|fate| *fate == ItemFate::Fine)
}

/// What the whole came to: the payment stands first.
fn settled(transacted: Transacted) -> Settled {
    match transacted {
        Transacted::Done => Settled::Now,
        Transacted::Refused(fates) => match fates.split_first() {
            Some((ItemFate::Refused(_), rest)) if rest.iter().all(|f| *f == ItemFate::Fine) => {
                Settled::PaymentTaken
            }
            _ => Settled::Raced,
        },
    }
}

/// Equal for equal transactions only: DynamoDB refuses a token that comes again with other content.
fn transaction_token(what: &str, before: &Order, after: &Order, evidence: &Evidence) -> String {
    let (version, at) = (before.version.to_string(), after.updated_at.millis().to_string());
    let digest = hex::encode(evidence.digest);
    let identity = evidence.identity();
    let (source, trace) = (evidence.source.as_str(), after.trace.as_str());
    // A note moves neither the version nor the time.
    let noted: String = before.payments.iter().map(|payment| payment.fate.letter()).collect();
    let seen = evidence.observed_at.millis().to_string();
    let fields = [what, before.id.as_str(), &version, &at, &identity, source, &digest, trace];
    token(&[&fields[..], &[&noted, &seen]].concat())
}

/// The row of a payment that nothing credits by itself.
fn aside_row(evidence: &Evidence, now: Timestamp) -> Row {
    let mut row = payment_key(evidence);
    let mut put = |name: &str, value| row.insert(name.to_owned(), value);
    put("kind", s(ASIDE));
    put("provider", s(evidence.provider.as_str()));
    put("source", s(evidence.source.as_str()));
    put("evidence", s(evidence.identity()));
    put("raw", s(&evidence.raw));
    put("at", n(now.millis()));
    row
}

/// The row of a payment that goes back: it is never credited afterwards, whatever comes to prove it.
fn refund_row(evidence: &Evidence, now: Timestamp) -> Row {
    let mut row = payment_key(evidence);
    let mut put = |name: &str, value| row.insert(name.to_owned(), value);
    put("kind", s("REFUND"));
    put("provider", s(evidence.provider.as_str()));
    if let EvidenceKind::Paid(amount) = evidence.kind {
        put("amount", n(amount.minor()));
        put("currency", s(amount.currency().code()));
    }
    put("source", s(evidence.source.as_str()));
    put("evidence", s(evidence.identity()));
    put("digest", bytes(&evidence.digest));
    put("raw", s(&evidence.raw));
    put("at", n(now.millis()));
    row
}

/// The row of a payment: its key is the payment's identity, for ever.
fn payment_row(order: &Order, entry: &Entry, evidence: &Evidence) -> Row {
    let at: Timestamp = order.updated_at;
    let mut row = payment_key(evidence);
    let mut put = |name: &str, value| row.insert(name.to_owned(), value);
    put("kind", s(if order.is_shadow() { SHADOW } else { entry.kind().as_str() }));
    put("order", s(order.id.as_str()));
    put("merchant", s(order.merchant.as_str()));
    put("user", s(order.user.as_str()));
    put("provider", s(order.provider.as_str()));
    put("amount", n(entry.amount().minor()));
    put("currency", s(order.amount.currency().code()));
    put("reason", s(order.reason.map_or("manual", crate::domain::Reason::as_str)));
    put("source", s(evidence.source.as_str()));
    put("evidence", s(evidence.identity()));
    put("digest", bytes(&evidence.digest));
    put("raw", s(&evidence.raw));
    put("trace", s(order.trace.as_str()));
    put("at", n(at.millis()));
    if entry.held().minor() > 0 {
        put("held", n(entry.held().minor()));
    }
    if let Some(dust) = evidence.dust {
        put("dust", s(dust.text()));
    }
    if let Some(id) = &evidence.transaction_id {
        put("transactionId", s(id));
    }
    // Only what the user gains stands in the user's ledger.
    if entry.kind() == EntryKind::Credit && !order.is_shadow() {
        put("owner", s(owner_of(&order.merchant, &order.user)));
        let pk = payment_pk(evidence);
        put("ownerAt", s(owner_at(at, &pk)));
    }
    row
}

/// The same write with a condition that always holds: what the seeded bugs do.
fn unconditional(mut item: TransactWriteItem) -> TransactWriteItem {
    let conditions = [
        item.put.as_mut().and_then(|put| put.condition_expression.as_mut()),
        item.update.as_mut().and_then(|update| update.condition_expression.as_mut()),
    ];
    for condition in conditions.into_iter().flatten() {
        condition.insert_str(0, "attribute_exists(pk) OR ");
    }
    item
}

pub(super) fn payment_pk(evidence: &Evidence) -> String {
    if bug::is(Bug::M2) {
        let event = hex::encode(evidence.digest);
        return format!("P#{}#{}#{event}", evidence.provider, evidence.account);
    }
    format!("P#{}#{}#{}", evidence.provider, evidence.account, evidence.payment_id)
}

fn payment_key(evidence: &Evidence) -> Row {
    key(&payment_pk(evidence), "P")
}

/// The row of the transfer that a deposit is, where the chain's name for it is known.
fn transfer_key(evidence: &Evidence) -> Option<Row> {
    evidence.transfer().map(|transfer| key(&format!("T#{transfer}"), "T"))
}
