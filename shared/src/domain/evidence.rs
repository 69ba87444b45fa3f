//! What a provider has told us, after its authenticity was established. Authentic is not yet valid:
//! `apply` compares every member with the stored order.

use super::hash::{crockford, digest};
use super::ids::{OrderId, ProviderName, UserMark};
use super::money::{Currency, Money};
use super::order::{Deposit, Order};
use super::time::Timestamp;

/// Who brought the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The provider called us, signed.
    Callback,
    /// We asked the provider.
    Query,
    /// We found it in the provider's list.
    List,
    /// A person has decided.
    Operator,
    /// The order's time ran out.
    Expiry,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 5] =
        [Source::Callback, Source::Query, Source::List, Source::Operator, Source::Expiry];

    /// The word used in the history, logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Callback => "callback",
            Source::Query => "query",
            Source::List => "list",
            Source::Operator => "operator",
            Source::Expiry => "expiry",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Source> {
        Source::ALL.into_iter().find(|source| source.as_str() == text)
    }
}

/// What the evidence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceKind {
    /// This much arrived.
    Paid(Money),
    /// The provider gave the order or the payment up.
    Declined,
    /// Something arrived in a currency that we do not take: never credited, whatever its name.
    Unlisted,
    /// The order's time ran out while a part of its money was there. Ours, not the provider's.
    TimedOut,
    /// Authentic, but of a kind that we do not know.
    Unrecognised,
}

impl EvidenceKind {
    /// The word used in queue messages, logs and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            EvidenceKind::Paid(_) => "paid",
            EvidenceKind::Declined => "declined",
            EvidenceKind::Unlisted => "unlisted",
            EvidenceKind::TimedOut => "timed_out",
            EvidenceKind::Unrecognised => "unrecognised",
        }
    }
}

/// What a payment has beyond whole minor units, in the provider's finer scale: never credited, recorded
/// with the payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dust {
    /// Units at `scale` decimals; less than one minor unit.
    pub units: u128,
    /// The provider's decimals.
    pub scale: u32,
}

impl Dust {
    /// Whether both are as much, whatever their scales.
    pub fn is_as_much_as(self, other: Dust) -> bool {
        let bare = |mut dust: Dust| {
            while dust.scale > 0 && dust.units.is_multiple_of(10) {
                dust = Dust { units: dust.units / 10, scale: dust.scale - 1 };
            }
            dust
        };
        bare(self) == bare(other)
    }

    /// As in the table and in answers: `250000000000e-18`.
    pub fn text(self) -> String {
        format!("{}e-{}", self.units, self.scale)
    }

    /// Reads the text.
    pub fn parse(text: &str) -> Option<Dust> {
        let (units, scale) = text.split_once("e-")?;
        Some(Dust { units: units.parse().ok()?, scale: scale.parse().ok()? })
    }
}

/// A provider's `units` at `scale` decimals in `currency`, rounded down, and what that leaves; `None` if it does not
/// fit.
pub fn rounded_down(units: u128, scale: u32, currency: Currency) -> Option<(Money, Option<Dust>)> {
    let exponent = currency.exponent();
    let (minor, rest) = if scale >= exponent {
        let divisor = 10u128.checked_pow(scale - exponent)?;
        (units / divisor, units % divisor)
    } else {
        (units.checked_mul(10u128.checked_pow(exponent - scale)?)?, 0)
    };
    let money = Money::new(i128::try_from(minor).ok()?, currency);
    Some((money, (rest > 0).then_some(Dust { units: rest, scale })))
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
    /// The order that the provider names; `None` when it is none of ours, or none is named. A deposit
    /// without an order names the one that it makes: [`OrderId::of_payment`].
    pub order_id: Option<OrderId>,
    /// The address that the money came to, of a deposit that nobody has announced.
    pub deposit: Option<Deposit>,
    /// The provider's own number of the transaction, for people.
    pub transaction_id: Option<String>,
    /// The user that the provider names, where its statements name one.
    pub user_mark: Option<UserMark>,
    /// What it says.
    pub kind: EvidenceKind,
    /// What of the payment is finer than our smallest unit.
    pub dust: Option<Dust>,
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

/// The beginning of a statement, as much of it as is kept.
pub fn bounded(mut statement: String) -> String {
    statement.truncate(statement.floor_char_boundary(RAW_BYTES_MAX));
    statement
}

impl Evidence {
    /// The same, whoever's the provider says it is: a person has decided about it.
    pub fn of_anybody(&self) -> Evidence {
        Evidence { user_mark: None, ..self.clone() }
    }

    /// That the time of `order` is over while a part of its money is there.
    pub fn time_out(order: &Order, now: Timestamp) -> Evidence {
        let payment_id = format!("expired-{}", order.id);
        Evidence {
            provider: order.provider.clone(),
            account: order.account.clone(),
            digest: digest("recharge/time-out/v1", &[order.id.as_str().as_bytes()]),
            payment_id,
            order_id: Some(order.id.clone()),
            deposit: None,
            transaction_id: None,
            user_mark: None,
            kind: EvidenceKind::TimedOut,
            dust: None,
            source: Source::Expiry,
            stale: false,
            observed_at: now,
            raw: String::new(),
        }
    }

    /// The order's id, for logs; empty without one.
    pub fn order_text(&self) -> &str {
        self.order_id.as_ref().map_or("", OrderId::as_str)
    }

    /// What the chain knows a deposit by, whatever the provider calls the payment and says of its amount and currency:
    /// transaction and address. `None` where the transaction is not told; one of zeros is none.
    pub fn transfer(&self) -> Option<String> {
        let deposit = self.deposit.as_ref()?;
        let transaction = bare(self.transaction_id.as_deref()?);
        if transaction.bytes().all(|byte| byte == b'0') {
            return None;
        }
        let fields = [
            self.provider.as_str(),
            &self.account,
            &deposit.network,
            &deposit.address,
            &transaction,
        ];
        Some(crockford(&digest("recharge/transfer/v1", &fields.map(str::as_bytes)), 51))
    }

    /// The same for every delivery of the same statement, whatever path it took.
    pub fn identity(&self) -> String {
        let amount = match self.kind {
            EvidenceKind::Paid(money) => format!("{}{}", money.minor(), money.currency().code()),
            EvidenceKind::Declined | EvidenceKind::Unlisted | EvidenceKind::TimedOut => {
                String::new()
            }
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

/// A transaction's name as it is compared: hexadecimal digits are the same in either case, with `0x` and without.
pub(super) fn bare(transaction: &str) -> String {
    let lower = transaction.trim().to_ascii_lowercase();
    lower.strip_prefix("0x").unwrap_or(&lower).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(units: u128, scale: u32, wanted: Option<(i128, u128)>) {
        let found = rounded_down(units, scale, Currency::Usdt);
        let found = found.map(|(money, dust)| (money.minor(), dust.map_or(0, |dust| dust.units)));
        assert_eq!(found, wanted, "{units}e-{scale}");
    }

    #[test]
    fn dust_is_as_much_at_every_scale() {
        let dust = |units, scale| Dust { units, scale };
        for (one, other, same) in [
            (dust(1, 4), dust(1, 4), true),
            (dust(1, 4), dust(10_000, 8), true),
            (dust(250, 18), dust(25, 17), true),
            (dust(1, 4), dust(1, 5), false),
            (dust(1, 4), dust(2, 4), false),
            (dust(0, 4), dust(0, 0), true),
        ] {
            assert_eq!(one.is_as_much_as(other), same, "{one:?} {other:?}");
            assert_eq!(other.is_as_much_as(one), same, "{other:?} {one:?}");
        }
    }

    /// A deposit of 1 USDT.
    fn deposited() -> Evidence {
        let text = str::to_owned;
        Evidence {
            provider: ProviderName::parse("p").unwrap(),
            account: text("a"),
            payment_id: text("1"),
            order_id: None,
            deposit: Some(Deposit { network: text("TRON"), address: text("T1") }),
            transaction_id: Some(text("00aa")),
            user_mark: None,
            kind: EvidenceKind::Paid(Money::new(1_000_000, Currency::Usdt)),
            dust: None,
            source: Source::Callback,
            stale: false,
            observed_at: Timestamp::EPOCH,
            digest: [0; 32],
            raw: String::new(),
        }
    }

    #[test]
    fn a_transfer_is_its_transaction_and_address_whatever_it_is_called_and_said_to_be() {
        let told = deposited().transfer();
        assert!(told.is_some());
        let text = str::to_owned;
        let alike: [fn(&mut Evidence); 7] = [
            |other| other.payment_id = "2".to_owned(),
            |other| other.transaction_id = Some("0x00AA".to_owned()),
            |other| other.kind = EvidenceKind::Paid(Money::new(2, Currency::Usdt)),
            |other| other.kind = EvidenceKind::Paid(Money::new(1_000_000, Currency::Usd)),
            |other| other.kind = EvidenceKind::Unlisted,
            |other| other.kind = EvidenceKind::Unrecognised,
            |other| other.source = Source::List,
        ];
        for change in alike {
            let mut other = deposited();
            change(&mut other);
            assert_eq!(other.transfer(), told, "{other:?}");
        }
        let different: [fn(&mut Evidence); 5] = [
            |other| other.transaction_id = Some("00ab".to_owned()),
            |other| other.deposit.as_mut().unwrap().address = "T2".to_owned(),
            |other| other.deposit.as_mut().unwrap().network = "ETH".to_owned(),
            |other| other.account = "b".to_owned(),
            |other| other.provider = ProviderName::parse("q").unwrap(),
        ];
        for change in different {
            let mut other = deposited();
            change(&mut other);
            assert!(other.transfer().is_some_and(|other| Some(other) != told), "{other:?}");
        }
        for none in [None, Some(text("")), Some(text(" 0x ")), Some(text("0x0000"))] {
            assert_eq!(Evidence { transaction_id: none, ..deposited() }.transfer(), None);
        }
        assert_eq!(Evidence { deposit: None, ..deposited() }.transfer(), None);
    }

    #[test]
    fn amounts_are_rounded_down_and_what_is_left_is_kept() {
        check(12_345_678, 6, Some((12_345_678, 0)));
        check(20_000_000_000_000_000_000, 18, Some((20_000_000, 0)));
        check(25_000_000_250_000_000_000, 18, Some((25_000_000, 250_000_000_000)));
        check(999_999_999_999, 18, Some((0, 999_999_999_999)));
        check(5, 0, Some((5_000_000, 0)));
        check(0, 18, Some((0, 0)));
        check(10u128.pow(38) - 1, 38, Some((999_999, 10u128.pow(32) - 1)));
        check(10u128.pow(38) - 1, 6, Some((10i128.pow(38) - 1, 0)));
        check(10u128.pow(38) - 1, 5, None);
        check(10u128.pow(38) - 1, 0, None);
    }
}
