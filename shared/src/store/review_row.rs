//! The row of a review: the statement and its owner as they are read, the decisions as they are read and written.

use aws_sdk_dynamodb::types::AttributeValue;

use super::StoreError;
use super::row::{
    Row, damaged, digest, money, n, number, optional_text, parsed, parsed_if_there, s, text, time,
};
use crate::domain::apply::ParkReason;
use crate::domain::{
    Action, Currency, Deposit, Dust, Earlier, Evidence, EvidenceKind, MerchantId, Money, OrderId,
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
        earlier: earlier(row)?,
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

/// The members of a decision.
pub(super) const RULING: [&str; 9] = [
    "action",
    "target",
    "targetMerchant",
    "ruledBy",
    "note",
    "ruledAt",
    "secondBy",
    "secondAt",
    "ruledAbout",
];

/// What a decision adds to a row.
pub(super) fn of_ruling(ruling: &Ruling) -> Row {
    let merchant = match &ruling.action {
        Action::CreditUser(merchant, _) => Some(merchant.as_str()),
        Action::CreditOrder(_) | Action::Reject | Action::Refund => None,
    };
    let (second, second_at) = ruling.second.as_ref().map(|(by, at)| (by, at.millis())).unzip();
    let members = [
        Some(s(ruling.action.as_str())),
        ruling.action.target().map(s),
        merchant.map(s),
        Some(s(&ruling.by)),
        Some(s(&ruling.note)),
        Some(n(ruling.at.millis())),
        second.map(s),
        second_at.map(n),
        ruling.about.map(|about| n(about.millis())),
    ];
    let named = RULING.into_iter().zip(members);
    named.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The decisions before the last one, as the row keeps them.
pub(super) fn of_earlier(earlier: &[Earlier]) -> AttributeValue {
    let of = |Earlier { ruling, refusal }: &Earlier| {
        let mut row = of_ruling(ruling);
        row.extend(refusal.as_ref().map(|refusal| ("refusal".to_owned(), s(refusal))));
        AttributeValue::M(row)
    };
    AttributeValue::L(earlier.iter().map(of).collect())
}

fn earlier(row: &Row) -> Result<Vec<Earlier>, StoreError> {
    let Some(list) = row.get("earlier") else { return Ok(Vec::new()) };
    let of = |value: &AttributeValue| {
        let row = value.as_m().map_err(|_| damaged(row, "earlier"))?;
        let ruling = ruling(row)?.ok_or_else(|| damaged(row, "action"))?;
        let refusal = optional_text(row, "refusal").map(str::to_owned);
        Ok(Earlier { ruling, refusal })
    };
    list.as_l().map_err(|_| damaged(row, "earlier"))?.iter().map(of).collect()
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
        about: match row.contains_key("ruledAbout") {
            true => Some(time(row, "ruledAbout")?),
            false => None,
        },
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
