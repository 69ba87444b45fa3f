//! What a merchant wants done with money that does not match, with the provider's default.

use serde::Deserialize;

/// What to do when less or more than the order's amount arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AmountPolicy {
    /// Credit the order's amount only; anything else goes to review.
    #[default]
    Exact,
    /// Credit what arrived.
    CreditReceived,
    /// Too little waits for the rest: several payments add up. What has come when the time runs out
    /// goes to review. Needs a provider whose payments have identities of their own.
    Accumulate,
}

impl AmountPolicy {
    const ALL: [AmountPolicy; 3] =
        [AmountPolicy::Exact, AmountPolicy::CreditReceived, AmountPolicy::Accumulate];

    /// The word in the table, in settings and in commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            AmountPolicy::Exact => "exact",
            AmountPolicy::CreditReceived => "credit_received",
            AmountPolicy::Accumulate => "accumulate",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<AmountPolicy> {
        AmountPolicy::ALL.into_iter().find(|policy| policy.as_str() == text)
    }
}

/// What to do with money that came otherwise than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposal {
    /// Credit it like any other.
    #[default]
    Credit,
    /// Leave it to a person.
    Review,
}

impl Disposal {
    /// The word in the table, in settings and in commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Disposal::Credit => "credit",
            Disposal::Review => "review",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Disposal> {
        [Disposal::Credit, Disposal::Review].into_iter().find(|disposal| disposal.as_str() == text)
    }
}

/// The rules for one provider account, perhaps with a merchant's own over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Less or more than the order's amount.
    pub amount: AmountPolicy,
    /// By how much less or more is still as good as exact; minor units.
    pub tolerance: u64,
    /// More than the order's amount; left out: `review` under `exact`, `credit` otherwise.
    pub over_payment: Option<Disposal>,
    /// Money after the order has ended.
    pub late_payment: Disposal,
    /// Another payment for an order that was paid. Credited, it makes an order of its own.
    pub second_payment: Disposal,
    /// From this amount on, in minor units, a callback alone is not enough: the provider is asked, and
    /// both have to agree. Left out: a callback is always enough.
    pub confirm_from: Option<u64>,
    /// What is less than that, in minor units, is put aside: it neither credits an order nor ends it.
    pub smallest: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::EXACT
    }
}

/// A merchant's own rules; what is left out is as the provider's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MerchantPolicy {
    /// See [`Policy::amount`].
    pub amount: Option<AmountPolicy>,
    /// See [`Policy::tolerance`].
    pub tolerance: Option<u64>,
    /// See [`Policy::over_payment`].
    pub over_payment: Option<Disposal>,
    /// See [`Policy::late_payment`].
    pub late_payment: Option<Disposal>,
    /// See [`Policy::second_payment`].
    pub second_payment: Option<Disposal>,
}

impl Policy {
    /// What holds where nothing else was said.
    pub const EXACT: Policy = Policy {
        amount: AmountPolicy::Exact,
        tolerance: 0,
        over_payment: None,
        late_payment: Disposal::Credit,
        second_payment: Disposal::Review,
        confirm_from: None,
        smallest: 0,
    };

    /// When a person has decided: everything that arrived is credited.
    pub const BY_HAND: Policy = Policy {
        amount: AmountPolicy::CreditReceived,
        tolerance: 0,
        over_payment: Some(Disposal::Credit),
        late_payment: Disposal::Credit,
        second_payment: Disposal::Credit,
        confirm_from: None,
        smallest: 0,
    };

    /// These rules with the merchant's own over them.
    pub fn with(self, own: MerchantPolicy) -> Policy {
        Policy {
            amount: own.amount.unwrap_or(self.amount),
            tolerance: own.tolerance.unwrap_or(self.tolerance),
            over_payment: own.over_payment.or(self.over_payment),
            late_payment: own.late_payment.unwrap_or(self.late_payment),
            second_payment: own.second_payment.unwrap_or(self.second_payment),
            confirm_from: self.confirm_from,
            smallest: self.smallest,
        }
    }

    /// What to do with more than the order's amount.
    pub const fn over(self) -> Disposal {
        match (self.over_payment, self.amount) {
            (Some(disposal), _) => disposal,
            (None, AmountPolicy::Exact) => Disposal::Review,
            (None, AmountPolicy::CreditReceived | AmountPolicy::Accumulate) => Disposal::Credit,
        }
    }

    /// Whether so much is too little to be looked at by itself.
    pub fn is_too_small(self, minor: i128) -> bool {
        minor < i128::from(self.smallest)
    }

    /// Whether the provider has to confirm a callback about so much.
    pub fn wants_confirmation(self, minor: i128) -> bool {
        self.confirm_from.is_some_and(|from| minor >= i128::from(from))
    }
}
