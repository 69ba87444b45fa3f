//! A merchant as an operator has set it up: whether it may call, who its users are, how fast it may
//! create.

use std::collections::BTreeSet;

use super::ids::UserId;
use super::policy::MerchantPolicy;

/// Who a merchant's users are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserAccess {
    /// Whoever it names: a user comes into being with the first recharge.
    #[default]
    Open,
    /// Only those that were registered.
    Registered,
}

/// The bounds of [`Merchant::creates_per_second`] and [`Merchant::burst`].
pub const CREATES_MAX: u32 = 100_000;

/// One merchant's settings. One that was never set up has the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// Nothing is created or cancelled for a suspended merchant, nor decided by its people. It may read, and money
    /// that arrives is credited all the same.
    pub suspended: bool,
    /// Who its users are.
    pub users: UserAccess,
    /// Creates that it may send for long, per second; from 1 to [`CREATES_MAX`].
    pub creates_per_second: u32,
    /// Creates that it may send at once after a pause; from 1 to [`CREATES_MAX`].
    pub burst: u32,
    /// Users for whom nothing is created.
    pub suspended_users: BTreeSet<UserId>,
    /// Its own rules for money that does not match.
    pub policy: MerchantPolicy,
}

impl Default for Merchant {
    fn default() -> Merchant {
        Merchant {
            suspended: false,
            users: UserAccess::default(),
            creates_per_second: 50,
            burst: 100,
            suspended_users: BTreeSet::new(),
            policy: MerchantPolicy::default(),
        }
    }
}

impl UserAccess {
    /// The word in the table and in commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            UserAccess::Open => "open",
            UserAccess::Registered => "registered",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<UserAccess> {
        [UserAccess::Open, UserAccess::Registered].into_iter().find(|a| a.as_str() == text)
    }
}
