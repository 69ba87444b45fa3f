//! Owns what the tests of several files begin with.

use std::time::Duration;

use super::order::Birth;
use super::{
    CreateOrder, Currency, IdempotencyKey, MerchantId, Money, Order, ProviderName, Timestamp,
    TraceId, UserId,
};

/// When the sample was created.
pub const BEGAN: Timestamp = Timestamp::from_secs(1_800_000_000);

/// So many seconds later.
pub fn after(secs: u64) -> Timestamp {
    BEGAN.plus(Duration::from_secs(secs))
}

/// An order of 5.00 EUR that was created just now; it has 30 minutes.
pub fn created() -> Order {
    let birth = Birth {
        merchant: MerchantId::parse("m").unwrap(),
        provider: ProviderName::parse("trader").unwrap(),
        account: "APP".to_owned(),
        trace: TraceId::parse("t").unwrap(),
        attempt: "a".to_owned(),
        now: BEGAN,
    };
    let command = CreateOrder {
        user: UserId::parse("u").unwrap(),
        amount: Money::new(500, Currency::Eur),
        payment_method: None,
        reference: None,
        callback_url: None,
        expires_in: Duration::from_secs(1_800),
        metadata: Default::default(),
    };
    Order::new(&IdempotencyKey::parse("k").unwrap(), birth, command)
}
