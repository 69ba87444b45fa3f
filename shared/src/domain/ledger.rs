//! Double entry: immutable entries whose legs sum to zero by construction. A correction is a new entry.

use std::fmt;

use super::ids::{MerchantId, ProviderName, UserId};
use super::money::{Money, MoneyError};

/// Where money is booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// What a merchant's user holds.
    User(MerchantId, UserId),
    /// What a provider has received for us.
    Provider(ProviderName),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::User(merchant, user) => write!(f, "user/{merchant}/{user}"),
            Account::Provider(name) => write!(f, "provider/{name}"),
        }
    }
}

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A confirmed payment, booked to the user.
    Credit,
}

impl EntryKind {
    /// The word used in answers and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            EntryKind::Credit => "CREDIT",
        }
    }
}

/// One side of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// The account.
    pub account: Account,
    /// What it gains; negative when it gives.
    pub amount: Money,
}

/// A balanced booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    kind: EntryKind,
    legs: [Leg; 2],
}

impl Entry {
    /// A confirmed payment of `amount` through `provider`, credited to the user. Positive amounts only.
    pub fn credit(
        merchant: MerchantId,
        user: UserId,
        provider: ProviderName,
        amount: Money,
    ) -> Result<Entry, MoneyError> {
        if amount.minor() <= 0 {
            return Err(MoneyError::Malformed);
        }
        let given = Leg { account: Account::Provider(provider), amount: amount.checked_neg()? };
        let gained = Leg { account: Account::User(merchant, user), amount };
        Ok(Entry { kind: EntryKind::Credit, legs: [gained, given] })
    }

    /// What the entry is for.
    pub const fn kind(&self) -> EntryKind {
        self.kind
    }

    /// Both sides; their amounts sum to zero.
    pub const fn legs(&self) -> &[Leg; 2] {
        &self.legs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;

    fn credit(minor: i128) -> Result<Entry, MoneyError> {
        Entry::credit(
            MerchantId::parse("m").unwrap(),
            UserId::parse("u").unwrap(),
            ProviderName::parse("trader").unwrap(),
            Money::new(minor, Currency::Usdt),
        )
    }

    #[test]
    fn legs_sum_to_zero_and_name_their_accounts() {
        let entry = credit(5).unwrap();
        let [gained, given] = entry.legs();
        assert_eq!(gained.amount.checked_add(given.amount).unwrap().minor(), 0);
        assert_eq!(gained.account.to_string(), "user/m/u");
        assert_eq!(given.account.to_string(), "provider/trader");
    }

    #[test]
    fn nothing_and_less_is_no_credit() {
        assert!(credit(0).is_err());
        assert!(credit(-1).is_err());
    }
}
