//! What chance throws at an order: evidence of every kind, true, false, repeated and absurd; and what else
//! happens to orders.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use recharge_shared::domain::order::Birth;
use recharge_shared::domain::{
    AmountPolicy, CreateOrder, Currency, Disposal, Evidence, EvidenceKind, IdempotencyKey,
    MerchantId, Money, Order, OrderEvent, OrderId, Policy, ProviderName, Source, Timestamp,
    TraceId, UserId, UserMark,
};

/// When everything begins.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// One statement, before it is about an order.
#[derive(Debug, Clone)]
pub struct Said {
    kind: u8,
    /// Minor units, if it is not `whole`.
    amount: i128,
    /// Exactly what the order asks for.
    whole: bool,
    payment: u8,
    source: Source,
    stale: bool,
    /// Of 20: which member is another's; mostly none.
    wrong: u8,
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Act {
    /// Evidence.
    Said(Said),
    /// A person lets go of what it brought.
    LetGo(Said),
    /// Somebody else's doing.
    Event(OrderEvent),
}

/// One unit, as a payment of that number.
pub fn part(payment: u8) -> Said {
    let source = Source::Callback;
    Said { kind: 0, amount: 1, whole: false, payment, source, stale: false, wrong: 0 }
}

/// Any evidence, of amounts by `amounts`.
pub fn said(amounts: BoxedStrategy<i128>) -> impl Strategy<Value = Said> {
    let source = prop::sample::select(Source::ALL.to_vec());
    let kind =
        prop_oneof![16 => Just(0_u8), 2 => Just(1), 1 => Just(2), 2 => Just(3), 1 => Just(4)];
    // Few payments, so that they repeat; sometimes more than an order can name.
    let payment = prop_oneof![6 => 0_u8..5, 4 => 5_u8..40];
    let rest = (any::<bool>(), payment, source, prop::bool::weighted(0.1), 0_u8..20);
    (kind, amounts, rest).prop_map(|(kind, amount, (whole, payment, source, stale, wrong))| Said {
        kind,
        amount,
        whole,
        payment,
        source,
        stale,
        wrong,
    })
}

/// Anything that happens to an order.
pub fn acts() -> impl Strategy<Value = Act> {
    let amounts = prop_oneof![
        12 => 1_i128..1_500,
        2 => -2_i128..=0,
        // So large that forty of them still have a sum here; larger ones are another test.
        1 => Just(i128::MAX / 64),
        1 => Just(i128::MIN),
    ];
    let amounts = amounts.boxed();
    let events = [OrderEvent::Accept, OrderEvent::Cancel, OrderEvent::Expire];
    prop_oneof![
        10 => said(amounts.clone()).prop_map(Act::Said),
        1 => said(amounts).prop_map(Act::LetGo),
        1 => prop::sample::select(events.to_vec()).prop_map(Act::Event),
    ]
}

/// Any rules.
pub fn policies() -> impl Strategy<Value = Policy> {
    let amounts =
        [AmountPolicy::Exact, AmountPolicy::CreditReceived, AmountPolicy::Accumulate].to_vec();
    let disposal = || prop::sample::select(vec![Disposal::Credit, Disposal::Review]);
    let tolerance = prop_oneof![Just(0), 0_u64..50, Just(u64::MAX)];
    let rest = (prop::option::of(disposal()), disposal(), disposal());
    (prop::sample::select(amounts), tolerance, rest).prop_map(
        |(amount, tolerance, (over_payment, late_payment, second_payment))| Policy {
            amount,
            tolerance,
            over_payment,
            late_payment,
            second_payment,
            confirm_from: None,
            smallest: 0,
        },
    )
}

/// A new order over `minor` units.
pub fn new_order(minor: i128) -> Order {
    let birth = Birth {
        merchant: MerchantId::parse("m").expect("a merchant"),
        provider: ProviderName::parse("trader").expect("a name"),
        account: "APP".to_owned(),
        trace: TraceId::parse("t").expect("a trace"),
        attempt: "a".to_owned(),
        now: NOW,
    };
    let command = CreateOrder {
        user: UserId::parse("u_1").expect("a user"),
        amount: Money::new(minor, Currency::Usdt),
        payment_method: None,
        reference: None,
        callback_url: None,
        expires_in: Duration::from_secs(1_800),
        metadata: BTreeMap::new(),
    };
    Order::new(&IdempotencyKey::parse("k").expect("a key"), birth, command)
}

/// The evidence about `order`.
pub fn evidence(order: &Order, said: &Said) -> Evidence {
    let Said { kind, amount, whole, payment, source, stale, wrong } = said;
    let currency = if *wrong == 1 { Currency::Usd } else { order.amount.currency() };
    let minor = if *whole { order.amount.minor() } else { *amount };
    let other = OrderId::parse("R0000000000000000000000000");
    Evidence {
        provider: match wrong {
            2 => ProviderName::parse("other").expect("a name"),
            _ => order.provider.clone(),
        },
        account: if *wrong == 3 { "OTHER".to_owned() } else { order.account.clone() },
        payment_id: format!("p-{payment}"),
        order_id: if *wrong == 4 { other } else { Some(order.id.clone()) },
        deposit: None,
        transaction_id: None,
        user_mark: match wrong {
            5 => Some(UserMark::stranger()),
            6..=9 => Some(UserMark::derive(&order.merchant, &order.user)),
            _ => None,
        },
        kind: match kind {
            0 => EvidenceKind::Paid(Money::new(minor, currency)),
            1 => EvidenceKind::Declined,
            2 => EvidenceKind::Unlisted,
            3 => EvidenceKind::TimedOut,
            _ => EvidenceKind::Unrecognised,
        },
        dust: None,
        source: *source,
        stale: *stale,
        observed_at: NOW,
        digest: [*payment; 32],
        raw: String::new(),
    }
}
