//! The rules of the business: money, orders, ledger, evidence, and the one function that decides.
//!
//! Refuses everything that is not a decision: no I/O, no clock, no randomness, no AWS, no HTTP.

pub mod apply;
pub mod command;
pub mod evidence;
pub mod explain;
pub mod hash;
pub mod ids;
pub mod ledger;
pub mod merchant;
pub mod money;
pub mod notice;
pub mod order;
pub mod policy;
pub mod retry;
pub mod review;
#[cfg(test)]
pub mod samples;
pub mod shadow;
pub mod state;
pub mod time;

pub use apply::{Decision, ParkReason, apply};
pub use command::CreateOrder;
pub use evidence::{Dust, Evidence, EvidenceKind, Source, rounded_down};
pub use explain::{ClientCan, Explanation, NextStep, ProviderSays, Situation};
pub use ids::{
    IdempotencyKey, MerchantId, OrderId, OrderReference, ProviderName, ReviewId, TraceId, UserId,
    UserMark,
};
pub use ledger::{Account, Entry, EntryKind};
pub use merchant::{Merchant, UserAccess};
pub use money::{Currency, Money, MoneyError, decimal_units};
pub use notice::{Notice, NoticeKind};
pub use order::{Deposit, Order, Payment, PaymentFate, Transition};
pub use policy::{AmountPolicy, Disposal, MerchantPolicy, Policy};
pub use review::{Action, Earlier, Review, ReviewState, Ruled, Ruling};
pub use shadow::Mode;
pub use state::{OrderEvent, OrderState, Reason, Step};
pub use time::Timestamp;
