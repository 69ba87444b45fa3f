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
    /// Partial payments that wait for the rest.
    Partial,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::User(merchant, user) => write!(f, "user/{merchant}/{user}"),
            Account::Provider(name) => write!(f, "provider/{name}"),
            Account::Partial => f.write_str("suspense/partial"),
        }
    }
}

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A confirmed payment, booked to the user.
    Credit,
    /// A confirmed payment of a part, booked to suspense until the rest has come.
    Hold,
}

impl EntryKind {
    /// The word used in answers and the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            EntryKind::Credit => "CREDIT",
            EntryKind::Hold => "HOLD",
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
    amount: Money,
    held: Money,
    legs: Vec<Leg>,
}

impl Entry {
    /// A confirmed payment of `amount` through `provider`, credited to the user. Of it, `held` was booked
    /// to suspense before. Positive amounts only.
    pub fn credit(
        (merchant, user): (MerchantId, UserId),
        provider: ProviderName,
        amount: Money,
        held: Money,
    ) -> Result<Entry, MoneyError> {
        let fresh = amount.checked_add(held.checked_neg()?)?;
        if amount.minor() <= 0 || held.minor() < 0 || fresh.minor() < 0 {
            return Err(MoneyError::Malformed);
        }
        let mut legs = vec![Leg { account: Account::User(merchant, user), amount }];
        if fresh.minor() > 0 || held.minor() == 0 {
            let account = Account::Provider(provider);
            legs.push(Leg { account, amount: fresh.checked_neg()? });
        }
        if held.minor() > 0 {
            legs.push(Leg { account: Account::Partial, amount: held.checked_neg()? });
        }
        Ok(Entry { kind: EntryKind::Credit, amount, held, legs })
    }

    /// A confirmed payment of a part, kept until the rest has come. Positive amounts only.
    pub fn hold(provider: ProviderName, amount: Money) -> Result<Entry, MoneyError> {
        if amount.minor() <= 0 {
            return Err(MoneyError::Malformed);
        }
        let given = Leg { account: Account::Provider(provider), amount: amount.checked_neg()? };
        let kept = Leg { account: Account::Partial, amount };
        let held = Money::zero(amount.currency());
        Ok(Entry { kind: EntryKind::Hold, amount, held, legs: vec![kept, given] })
    }

    /// What the entry is for.
    pub const fn kind(&self) -> EntryKind {
        self.kind
    }

    /// What the user gains, or suspense.
    pub const fn amount(&self) -> Money {
        self.amount
    }

    /// Of a credit, what had been in suspense before.
    pub const fn held(&self) -> Money {
        self.held
    }

    /// All sides; their amounts sum to zero.
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;

    fn usdt(minor: i128) -> Money {
        Money::new(minor, Currency::Usdt)
    }

    fn credit(minor: i128, held: i128) -> Result<Entry, MoneyError> {
        let owner = (MerchantId::parse("m").unwrap(), UserId::parse("u").unwrap());
        Entry::credit(owner, ProviderName::parse("trader").unwrap(), usdt(minor), usdt(held))
    }

    #[track_caller]
    fn check(entry: &Entry, wanted: &[(&str, i128)]) {
        let legs: Vec<_> =
            entry.legs().iter().map(|leg| (leg.account.to_string(), leg.amount.minor())).collect();
        let wanted: Vec<_> =
            wanted.iter().map(|(name, minor)| ((*name).to_owned(), *minor)).collect();
        assert_eq!(legs, wanted);
        assert_eq!(legs.iter().map(|(_, minor)| minor).sum::<i128>(), 0);
    }

    #[test]
    fn legs_sum_to_zero_and_name_their_accounts() {
        check(&credit(5, 0).unwrap(), &[("user/m/u", 5), ("provider/trader", -5)]);
        let both = [("user/m/u", 5), ("provider/trader", -2), ("suspense/partial", -3)];
        check(&credit(5, 3).unwrap(), &both);
        assert_eq!(credit(5, 3).unwrap().held().minor(), 3);
        check(&credit(5, 5).unwrap(), &[("user/m/u", 5), ("suspense/partial", -5)]);
        let hold = Entry::hold(ProviderName::parse("trader").unwrap(), usdt(3)).unwrap();
        check(&hold, &[("suspense/partial", 3), ("provider/trader", -3)]);
        assert_eq!((hold.kind().as_str(), hold.held().minor()), ("HOLD", 0));
    }

    #[test]
    fn nothing_and_less_is_no_credit() {
        for (minor, held) in [(0, 0), (-1, 0), (5, 6), (5, -1)] {
            assert!(credit(minor, held).is_err(), "{minor} {held}");
        }
        assert!(Entry::hold(ProviderName::parse("trader").unwrap(), usdt(0)).is_err());
    }
}
