//! Orders, balances and ledgers as clients read them.

use aws_smithy_types::date_time::{DateTime, Format};
use serde::Serialize;
use serde_json::Value;

use super::body::{
    Balance as BalanceBody, Balances, Decision as DecisionBody, DepositAddress, DepositAddresses,
    Explanation as ExplanationBody, Ledger, LedgerEntry, LedgerLeg, Minor, NextView, Notification,
    NotificationData, Payment, ProviderView, ReceivedPayment, Recharge, RechargePage,
    Review as ReviewBody, ReviewPage,
};
use crate::domain::{
    self, Deposit, Money, Notice, Order, OrderState, ProviderName, Reason, Review, Timestamp,
};
use crate::store::{Balance, LedgerLine, LedgerPage};

/// RFC 3339, UTC, whole seconds.
pub(super) fn rfc3339(at: Timestamp) -> String {
    DateTime::from_secs(at.secs()).fmt(Format::DateTime).unwrap_or_default()
}

fn minor(amount: Money) -> Minor {
    Minor(amount.minor())
}

/// Members keep the order of the type; text, numbers and lists of them cannot fail.
pub(super) fn json(body: impl Serialize) -> Value {
    serde_json::to_value(body).unwrap_or_default()
}

/// The order in every answer.
pub fn order_body(order: &Order) -> Value {
    json(recharge(order))
}

fn recharge(order: &Order) -> Recharge {
    let payment = order.deposit.as_ref().map(|deposit| Payment {
        address: deposit.address.clone(),
        network: deposit.network.clone(),
        amount: order.amount.decimal(),
        expires_at: rfc3339(order.expires_at),
    });
    Recharge {
        order_id: order.id.to_string(),
        status: order.state.as_str(),
        reason: order.reason.map(Reason::as_str),
        user_id: order.user.to_string(),
        amount: minor(order.amount),
        currency: order.amount.currency().code(),
        received_amount: minor(order.received),
        credited_amount: minor(order.credited),
        payment_method: order.provider.to_string(),
        transaction_id: order.transaction_id.clone(),
        order_reference: order.reference.as_ref().map(ToString::to_string),
        payment,
        payments: received(order),
        metadata: order.metadata.clone(),
        created_at: rfc3339(order.created_at),
        updated_at: rfc3339(order.updated_at),
        expires_at: rfc3339(order.expires_at),
        message: message(order),
        shadow: order.shadow_mark(),
    }
}

fn received(order: &Order) -> Vec<ReceivedPayment> {
    let one = |payment: &domain::Payment| ReceivedPayment {
        payment_id: payment.id.clone(),
        amount: minor(payment.amount),
        dust: payment.dust.map(domain::Dust::text),
        status: match (order.state, payment.fate) {
            // Nobody waits for the rest any more.
            (OrderState::Review, domain::PaymentFate::Held) => domain::PaymentFate::Review.as_str(),
            (_, fate) => fate.as_str(),
        },
        transaction_id: payment.transaction_id.clone(),
        received_at: rfc3339(payment.at),
    };
    order.payments.iter().map(one).collect()
}

/// `GET /recharges/{orderId}/explain`.
pub fn explanation_body(order: &Order, now: Timestamp) -> Value {
    let explained = order.explain(now);
    json(ExplanationBody {
        order_id: order.id.to_string(),
        status: order.state.as_str(),
        reason: order.reason.map(Reason::as_str),
        situation: explained.situation.as_str(),
        explanation: explained.sentence,
        amount: minor(order.amount),
        currency: order.amount.currency().code(),
        received_amount: minor(order.received),
        credited_amount: minor(order.credited),
        provider: ProviderView {
            name: order.provider.to_string(),
            says: explained.provider_says.as_str(),
            since: rfc3339(explained.since),
        },
        payments: received(order),
        next: explained
            .next
            .map(|(what, at)| NextView { what: what.as_str(), at: at.map(rfc3339) }),
        client_can: explained.client_can.into_iter().map(domain::ClientCan::as_str).collect(),
        shadow: order.shadow_mark(),
    })
}

/// `POST` and `GET /users/{userId}/deposit-addresses`: by provider.
pub fn addresses_body(user: &str, known: &[(ProviderName, Vec<Deposit>)]) -> Value {
    let addresses = known.iter().flat_map(|(provider, deposits)| {
        deposits.iter().map(|deposit| DepositAddress {
            payment_method: provider.to_string(),
            network: deposit.network.clone(),
            address: deposit.address.clone(),
        })
    });
    json(DepositAddresses { user_id: user.to_owned(), addresses: addresses.collect() })
}

/// `GET /admin/reviews/{reviewId}`, and the answer to a decision.
pub fn review_body(review: &Review, booked: bool, two_from: u64) -> Value {
    json(review_of(review, booked, two_from))
}

/// `GET /admin/reviews`, oldest first.
pub fn reviews_body(
    reviews: &[(Review, bool)],
    two_from: u64,
    next_cursor: Option<String>,
) -> Value {
    let reviews = reviews.iter().map(|(review, booked)| review_of(review, *booked, two_from));
    json(ReviewPage { reviews: reviews.collect(), next_cursor })
}

fn review_of(review: &Review, booked: bool, two_from: u64) -> ReviewBody {
    let evidence = &review.evidence;
    let (merchant, user) = review.owner.as_ref().map_or((None, None), |(merchant, user)| {
        (Some(merchant.to_string()), Some(user.to_string()))
    });
    ReviewBody {
        review_id: review.id.to_string(),
        status: review.state.as_str(),
        why: review.why.as_str(),
        booked,
        takes_two: review.takes_two(two_from),
        kind: evidence.kind.as_str(),
        amount: review.amount.map(minor),
        currency: review.amount.map(|amount| amount.currency().code()),
        dust: evidence.dust.map(domain::Dust::text),
        payment_method: evidence.provider.to_string(),
        payment_id: evidence.payment_id.clone(),
        transaction_id: evidence.transaction_id.clone(),
        order_id: evidence.order_id.as_ref().map(ToString::to_string),
        merchant,
        user_id: user,
        address: evidence.deposit.as_ref().map(|deposit| deposit.address.clone()),
        network: evidence.deposit.as_ref().map(|deposit| deposit.network.clone()),
        statement: evidence.raw.clone(),
        created_at: rfc3339(review.at),
        decision: review.ruling.as_ref().map(decision_of),
        earlier_decisions: review.earlier.iter().map(earlier_of).collect(),
        refusal: review.refusal.clone(),
        shadow: evidence.is_shadow().then_some(true),
    }
}

fn decision_of(ruling: &domain::Ruling) -> DecisionBody {
    let (order, user, merchant) = match &ruling.action {
        domain::Action::CreditOrder(id) => (Some(id.to_string()), None, None),
        domain::Action::CreditUser(merchant, user) => {
            (None, Some(user.to_string()), Some(merchant.to_string()))
        }
        domain::Action::Reject | domain::Action::Refund => (None, None, None),
    };
    DecisionBody {
        action: ruling.action.as_str(),
        order_id: order,
        user_id: user,
        merchant,
        by: ruling.by.clone(),
        note: ruling.note.clone(),
        at: rfc3339(ruling.at),
        second: ruling.second.as_ref().map(|(second, _)| second.clone()),
        refusal: None,
    }
}

fn earlier_of(earlier: &domain::Earlier) -> DecisionBody {
    DecisionBody { refusal: earlier.refusal.clone(), ..decision_of(&earlier.ruling) }
}

fn message(order: &Order) -> &'static str {
    match (order.state, order.reason) {
        (OrderState::Created, _) => {
            "recorded; the provider has not confirmed it yet, this goes on by itself"
        }
        (OrderState::Pending, Some(Reason::PaidUnder)) => {
            "a part of the payment has arrived; waiting for the rest"
        }
        (OrderState::Pending, _) => "waiting for the payment",
        (OrderState::Review, _) => "money has arrived that a person must look at",
        (OrderState::Success, Some(Reason::PaidUnder)) => {
            "credited; less arrived than was asked for"
        }
        (OrderState::Success, Some(Reason::PaidOver)) => {
            "credited; more arrived than was asked for"
        }
        (OrderState::Success, Some(Reason::PaidLate)) => "credited; the payment came late",
        (OrderState::Success, Some(Reason::PaidTwice)) => {
            "credited; a second payment for an order that was paid"
        }
        (OrderState::Success, Some(Reason::Manual)) => "credited by a person's decision",
        (OrderState::Success, _) => "paid and credited",
        (OrderState::Failed, Some(Reason::Manual)) => {
            "a person has decided not to credit what arrived"
        }
        (OrderState::Failed, _) => "the provider refused the order",
        (OrderState::Cancelled, _) => "cancelled by the client",
        (OrderState::Expired, _) => "time ran out; a late payment is still watched for",
    }
}

/// The body of a notification: the order as it stood then.
pub fn notice_body(notice: &Notice) -> String {
    json(notification(notice)).to_string()
}

pub(super) fn notification(notice: &Notice) -> Notification {
    Notification {
        kind: notice.kind.as_str(),
        timestamp: rfc3339(notice.order.updated_at),
        data: NotificationData { recharge: recharge(&notice.order), sequence: notice.sequence },
    }
}

/// `GET /users/{userId}/balances`.
pub fn balances_body(user: &str, balances: &[Balance]) -> Value {
    let one = |balance: &Balance| BalanceBody {
        currency: balance.amount.currency().code(),
        amount: minor(balance.amount),
        decimal: balance.amount.decimal(),
        entries: balance.entries,
        updated_at: rfc3339(balance.updated_at),
    };
    let balances = balances.iter().map(one).collect();
    json(Balances { user_id: user.to_owned(), balances })
}

/// `GET /recharges`, newest first.
pub fn orders_body(orders: &[Order], next_cursor: Option<String>) -> Value {
    json(RechargePage { recharges: orders.iter().map(recharge).collect(), next_cursor })
}

/// `GET /users/{userId}/ledger`, newest first.
pub fn ledger_body(user: &str, page: &LedgerPage, next_cursor: Option<String>) -> Value {
    let entries = page.lines.iter().map(ledger_entry).collect();
    json(Ledger { user_id: user.to_owned(), entries, next_cursor })
}

fn ledger_entry(line: &LedgerLine) -> LedgerEntry {
    let gained = line.entry.amount();
    let legs = line.entry.legs().iter();
    LedgerEntry {
        entry_id: line.entry_id.clone(),
        kind: line.entry.kind().as_str(),
        amount: minor(gained),
        currency: gained.currency().code(),
        order_id: line.order.to_string(),
        reason: line.reason.map(Reason::as_str),
        created_at: rfc3339(line.at),
        legs: legs
            .map(|leg| LedgerLeg { account: leg.account.to_string(), amount: minor(leg.amount) })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Currency, Entry, MerchantId, OrderId, ProviderName, UserId};

    #[test]
    fn amounts_are_numbers_for_as_long_as_a_number_holds_them() {
        let of = |minor| json(Minor(minor)).to_string();
        assert_eq!(of(-5_000_000), "-5000000");
        assert_eq!(of(i128::from(i64::MAX)), "9223372036854775807");
        assert_eq!(of(i128::from(i64::MAX) + 1), "\"9223372036854775808\"");
    }

    #[test]
    fn balances_and_ledgers_keep_their_members_in_order() {
        let (amount, at) = (Money::new(5_000_000, Currency::Usdt), Timestamp::from_secs(1));
        let balance = Balance { amount, entries: 1, updated_at: at };
        let balances = concat!(
            r#"{"userId":"u_1","balances":[{"currency":"USDT","amount":5000000,"#,
            r#""decimal":"5.000000","entries":1,"updatedAt":"1970-01-01T00:00:01Z"}]}"#
        );
        assert_eq!(balances_body("u_1", &[balance]).to_string(), balances);

        let merchant = MerchantId::parse("m").unwrap();
        let (user, provider) = (UserId::parse("u_1").unwrap(), ProviderName::parse("p").unwrap());
        let line = LedgerLine {
            entry_id: "E1".to_owned(),
            entry: Entry::credit((merchant, user), provider, amount, Money::zero(Currency::Usdt))
                .unwrap(),
            order: OrderId::parse("R0000000000000000000000000").unwrap(),
            reason: None,
            at,
        };
        let ledger = concat!(
            r#"{"userId":"u_1","entries":[{"entryId":"E1","kind":"CREDIT","amount":5000000,"#,
            r#""currency":"USDT","orderId":"R0000000000000000000000000","reason":null,"#,
            r#""createdAt":"1970-01-01T00:00:01Z","legs":[{"account":"user/m/u_1","#,
            r#""amount":5000000},{"account":"provider/p","amount":-5000000}]}],"nextCursor":"31"}"#
        );
        let page = LedgerPage { lines: vec![line], next: None };
        assert_eq!(ledger_body("u_1", &page, Some("31".to_owned())).to_string(), ledger);
    }
}
