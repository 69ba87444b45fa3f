//! A recharge as the provider writes it, the same in callbacks, details and lists. What money depends on is
//! read strictly and has no default: zero means success there.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::settings::{Listed, Settings};
use crate::domain::evidence::bounded;
use crate::domain::{Currency, Dust, EvidenceKind, rounded_down};
use crate::providers::Refusal;

/// More digits than any amount has; as many as the table's numbers have.
const AMOUNT_DIGITS_MAX: usize = 38;
const HASH_CHARACTERS_MAX: usize = 128;
const TEXT_BYTES_MAX: usize = 256;

/// Members of the other messages that the provider signs with the same secret.
const OF_OTHERS: [&str; 3] = ["withdrawId", "withdrawStatus", "paymentStatus"];

/// What became of a recharge at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Success,
    Pending,
    Failure,
    Unknown,
}

/// One recharge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: i32,
    pub(super) chain_id: i32,
    currency_id: i32,
    pub(super) uuid: String,
    pub(super) address: String,
    /// In the currency's smallest unit by the provider's decimals.
    amount: u128,
    status: i64,
    hash: Option<String>,
    sender: Option<String>,
    created: Option<String>,
    confirmed: Option<String>,
}

/// Reads a recharge; members that the contract does not have are left alone.
pub(super) fn read(members: &Map<String, Value>) -> Result<Record, Refusal> {
    if OF_OTHERS.iter().any(|name| members.contains_key(*name)) {
        return Err(Refusal::Malformed("not a recharge"));
    }
    let status = members.get("rechargeStatus").and_then(Value::as_i64);
    let id = Some(integer(members, "rechargeId")?).filter(|id| *id > 0);
    let amount = text(members, "rechargeAmount")?;
    let digits = (1..=AMOUNT_DIGITS_MAX).contains(&amount.len())
        && amount.bytes().all(|byte| byte.is_ascii_digit());
    let amount = if digits { amount.parse().ok() } else { None };
    for name in ["userId", "walletId"] {
        if members.get(name).is_some_and(|value| !value.is_null()) {
            integer(members, name)?;
        }
    }
    Ok(Record {
        id: id.ok_or(Refusal::Malformed("rechargeId"))?,
        chain_id: integer(members, "chainId")?,
        currency_id: integer(members, "currencyId")?,
        uuid: text(members, "uuid")?.to_owned(),
        address: text(members, "walletAddress")?.to_owned(),
        amount: amount.ok_or(Refusal::Malformed("rechargeAmount"))?,
        status: status.ok_or(Refusal::Malformed("rechargeStatus"))?,
        hash: optional_text(members, "transferHash")?,
        sender: optional_text(members, "fromAddress")?,
        created: optional_text(members, "createTime")?,
        confirmed: optional_text(members, "blockTime")?,
    })
}

/// An integer of 32 bits; a float is none, whatever its value.
pub(super) fn integer(members: &Map<String, Value>, name: &'static str) -> Result<i32, Refusal> {
    let value = members.get(name).and_then(Value::as_i64);
    value.and_then(|value| i32::try_from(value).ok()).ok_or(Refusal::Malformed(name))
}

fn text<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, Refusal> {
    let text = members.get(name).and_then(Value::as_str);
    text.filter(|text| (1..=TEXT_BYTES_MAX).contains(&text.len())).ok_or(Refusal::Malformed(name))
}

/// Of a member that no money depends on: a text, or nothing.
fn optional_text(
    members: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<String>, Refusal> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(Refusal::Malformed(name)),
    }
}

impl Record {
    /// How much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let optional = [&self.hash, &self.sender, &self.created, &self.confirmed];
        let optional: usize = optional.into_iter().flatten().map(String::len).sum();
        size_of::<Record>() + self.uuid.len() + self.address.len() + optional
    }

    pub(super) const fn status(&self) -> Status {
        match self.status {
            0 => Status::Success,
            1 => Status::Pending,
            2 => Status::Failure,
            _ => Status::Unknown,
        }
    }

    /// What it says, and what of it is finer than our smallest unit.
    pub(super) fn kind(&self, settings: &Settings) -> (EvidenceKind, Option<Dust>) {
        let is_it = |listed: &&Listed| {
            (listed.chain_id, listed.currency_id) == (self.chain_id, self.currency_id)
        };
        match self.status() {
            Status::Failure => (EvidenceKind::Declined, None),
            Status::Pending | Status::Unknown => (EvidenceKind::Unrecognised, None),
            Status::Success => {
                let Some(listed) = settings.currencies.iter().find(is_it) else {
                    return (EvidenceKind::Unlisted, None);
                };
                let currency = Currency::parse(&listed.currency);
                let money = currency.and_then(|c| rounded_down(self.amount, listed.decimals, c));
                // What cannot be expressed is left to a person.
                money.map_or((EvidenceKind::Unrecognised, None), |(money, dust)| {
                    (EvidenceKind::Paid(money), dust)
                })
            }
        }
    }

    /// The chain's name; of one that is not on the list, a name that none on the list can have.
    pub(super) fn network(&self, settings: &Settings) -> String {
        let listed = settings.network(self.chain_id).map(str::to_owned);
        listed.unwrap_or_else(|| format!("chain-{}", self.chain_id))
    }

    /// The transaction on the chain, as far as a person can read it.
    pub(super) fn transaction_id(&self) -> Option<String> {
        let graphic = self.hash.as_ref()?.chars().filter(char::is_ascii_graphic);
        let text: String = graphic.take(HASH_CHARACTERS_MAX).collect();
        Some(text).filter(|text| !text.is_empty())
    }

    /// For the auditor: what money depends on comes first, because the end may be cut off.
    fn statement(&self) -> String {
        let Record { id, chain_id, currency_id, uuid, address, amount, status, .. } = self;
        let rest = |value: &Option<String>| value.clone().unwrap_or_default();
        let [hash, sender, created, confirmed] =
            [&self.hash, &self.sender, &self.created, &self.confirmed].map(rest);
        format!(
            "rechargeId={id}&rechargeStatus={status}&chainId={chain_id}&currencyId={currency_id}\
             &rechargeAmount={amount}&uuid={uuid}&walletAddress={address}&transferHash={hash}\
             &fromAddress={sender}&createTime={created}&blockTime={confirmed}"
        )
    }

    /// The statement within the bounds of what is kept.
    pub(super) fn raw(&self) -> String {
        bounded(self.statement())
    }

    /// Of what was asked for, the statement is what counts as received: the same in every list.
    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.statement()).into()
    }
}
