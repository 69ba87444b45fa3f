//! A review's row as it is read: the statement, its owner, the decision.

use super::StoreError;
use super::row::{
    Row, damaged, digest, money, number, optional_text, parsed, parsed_if_there, text, time,
};
use crate::domain::apply::ParkReason;
use crate::domain::{
    Action, Currency, Deposit, Dust, Evidence, EvidenceKind, MerchantId, Money, OrderId,
    ProviderName, Review, ReviewId, ReviewState, Ruling, Source, Timestamp, UserId, UserMark,
};

/// The review of `row`.
pub(super) fn decode(row: &Row) -> Result<Review, StoreError> {
    let currency = parsed_if_there(row, "currency", Currency::parse)?;
    let amount = currency.map(|currency| money(row, "amount", currency)).transpose()?;
    let owner = match row.contains_key("merchant") {
        true => {
            Some((parsed(row, "merchant", MerchantId::parse)?, parsed(row, "user", UserId::parse)?))
        }
        false => None,
    };
    let state = parsed_if_there(row, "state", ReviewState::parse)?;
    Ok(Review {
        id: parsed(row, "pk", |pk| ReviewId::parse(pk.strip_prefix("K#")?))?,
        why: parsed(row, "why", ParkReason::parse)?,
        state: state.unwrap_or(ReviewState::Open),
        evidence: evidence(row, amount)?,
        amount,
        owner,
        at: time(row, "at")?,
        ruling: ruling(row)?,
        refusal: optional_text(row, "refusal").map(str::to_owned),
        seen_again_at: match row.contains_key("seenAgainAt") {
            true => Some(time(row, "seenAgainAt")?),
            false => None,
        },
    })
}

fn evidence(row: &Row, amount: Option<Money>) -> Result<Evidence, StoreError> {
    let kind = match (text(row, "kind")?, amount) {
        ("paid", Some(amount)) => EvidenceKind::Paid(amount),
        ("declined", _) => EvidenceKind::Declined,
        ("unlisted", _) => EvidenceKind::Unlisted,
        ("timed_out", _) => EvidenceKind::TimedOut,
        ("unrecognised", _) => EvidenceKind::Unrecognised,
        _ => return Err(damaged(row, "kind")),
    };
    let deposit = match (optional_text(row, "address"), optional_text(row, "network")) {
        (Some(address), Some(network)) => {
            Some(Deposit { address: address.to_owned(), network: network.to_owned() })
        }
        _ => None,
    };
    Ok(Evidence {
        provider: parsed(row, "provider", ProviderName::parse)?,
        account: text(row, "account")?.to_owned(),
        payment_id: text(row, "paymentId")?.to_owned(),
        order_id: parsed_if_there(row, "order", OrderId::parse)?,
        deposit,
        transaction_id: optional_text(row, "transactionId").map(str::to_owned),
        user_mark: parsed_if_there(row, "userMark", UserMark::parse)?,
        kind,
        dust: parsed_if_there(row, "dust", Dust::parse)?,
        source: parsed(row, "source", Source::parse)?,
        stale: false,
        observed_at: time(row, "observedAt")?,
        digest: digest(row, "digest")?,
        raw: text(row, "raw")?.to_owned(),
    })
}

fn ruling(row: &Row) -> Result<Option<Ruling>, StoreError> {
    let Some(action) = optional_text(row, "action") else { return Ok(None) };
    let action = match action {
        "credit_order" => Action::CreditOrder(parsed(row, "target", OrderId::parse)?),
        "credit_user" => Action::CreditUser(
            parsed(row, "targetMerchant", MerchantId::parse)?,
            parsed(row, "target", UserId::parse)?,
        ),
        "reject" => Action::Reject,
        "refund" => Action::Refund,
        _ => return Err(damaged(row, "action")),
    };
    let second = match optional_text(row, "secondBy") {
        Some(by) => Some((by.to_owned(), Timestamp::from_millis(number(row, "secondAt")?))),
        None => None,
    };
    Ok(Some(Ruling {
        action,
        by: text(row, "ruledBy")?.to_owned(),
        note: text(row, "note")?.to_owned(),
        at: time(row, "ruledAt")?,
        second,
    }))
}

/// What a row adds to a review's key.
pub(super) fn amount_of(evidence: &Evidence, in_order: Option<Money>) -> Option<Money> {
    match evidence.kind {
        EvidenceKind::Paid(amount) => Some(amount),
        EvidenceKind::Declined | EvidenceKind::TimedOut => in_order,
        EvidenceKind::Unlisted | EvidenceKind::Unrecognised => None,
    }
}
