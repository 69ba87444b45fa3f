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
}

/// What to do with money that arrives after the order has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatePolicy {
    /// Credit it like money in time.
    #[default]
    Credit,
    /// Leave it to a person.
    Review,
}

/// The rules for one provider account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Less or more than the order's amount.
    pub amount: AmountPolicy,
    /// Money after the order has ended.
    pub late_payment: LatePolicy,
}
