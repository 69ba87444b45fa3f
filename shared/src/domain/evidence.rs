//! What a provider has told us, after its authenticity was established. Authentic is not yet valid:
//! `apply` compares every member with the stored order.

use super::hash::{crockford, digest};
use super::ids::{OrderId, ProviderName, UserMark};
use super::money::Money;
use super::time::Timestamp;

/// Who brought the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The provider called us, signed.
    Callback,
    /// We asked the provider.
    Query,
}

impl Source {
    /// The word used in the history, logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Callback => "callback",
            Source::Query => "query",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Source> {
        [Source::Callback, Source::Query].into_iter().find(|source| source.as_str() == text)
    }
}

/// What the evidence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceKind {
    /// This much arrived.
    Paid(Money),
    /// The provider gave the order up.
    Declined,
    /// Authentic, but of a kind that we do not know.
    Unrecognised,
}

impl EvidenceKind {
    /// The word used in queue messages, logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            EvidenceKind::Paid(_) => "paid",
            EvidenceKind::Declined => "declined",
            EvidenceKind::Unrecognised => "unrecognised",
        }
    }
}

/// One authentic statement of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The provider.
    pub provider: ProviderName,
    /// Our account at the provider.
    pub account: String,
    /// The payment's identity within that account, for ever.
    pub payment_id: String,
    /// The order that the provider names; `None` when it is none of ours, or none is named.
    pub order_id: Option<OrderId>,
    /// The user that the provider names, where its statements name one.
    pub user_mark: Option<UserMark>,
    /// What it says.
    pub kind: EvidenceKind,
    /// Who brought it.
    pub source: Source,
    /// Authentic, but signed longer ago than is believed without a person.
    pub stale: bool,
    /// When it reached us.
    pub observed_at: Timestamp,
    /// SHA-256 of the bytes as received.
    pub digest: [u8; 32],
    /// The provider's statement without its signature, for the auditor; at most [`RAW_BYTES_MAX`].
    pub raw: String,
}

/// The longest statement that is kept with a payment: the row stays within one write unit.
pub const RAW_BYTES_MAX: usize = 400;

impl Evidence {
    /// The order's id, for logs; empty without one.
    pub fn order_text(&self) -> &str {
        self.order_id.as_ref().map_or("", OrderId::as_str)
    }

    /// The same for every delivery of the same statement, whatever path it took.
    pub fn identity(&self) -> String {
        let amount = match self.kind {
            EvidenceKind::Paid(money) => format!("{}{}", money.minor(), money.currency().code()),
            EvidenceKind::Declined => String::new(),
            // Nobody knows what it says, so only the same bytes are the same statement.
            EvidenceKind::Unrecognised => crockford(&self.digest, 51),
        };
        let fields = [
            self.provider.as_str(),
            &self.account,
            &self.payment_id,
            self.order_text(),
            self.user_mark.as_ref().map_or("", UserMark::as_str),
            self.kind.as_str(),
            &amount,
        ];
        crockford(&digest("recharge/evidence/v1", &fields.map(str::as_bytes)), 26)
    }
}
