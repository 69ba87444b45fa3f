//! Orders, balances and ledgers as clients read them.

use aws_smithy_types::date_time::{DateTime, Format};
use serde::Serialize;
use serde_json::Value;

use super::body::{
    Balance as BalanceBody, Balances, Ledger, LedgerEntry, LedgerLeg, Minor, Notification,
    NotificationData, Payment, Recharge, RechargePage,
};
use crate::domain::{Money, Notice, Order, OrderState, Reason, Timestamp};
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
        metadata: order.metadata.clone(),
        created_at: rfc3339(order.created_at),
        updated_at: rfc3339(order.updated_at),
        expires_at: rfc3339(order.expires_at),
        message: message(order),
    }
}

fn message(order: &Order) -> &'static str {
    match (order.state, order.reason) {
        (OrderState::Created, _) => {
            "recorded; the provider has not confirmed it yet, this goes on by itself"
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
        (OrderState::Success, _) => "paid and credited",
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
    let [gained, _] = line.entry.legs();
    let legs = line.entry.legs().iter();
    LedgerEntry {
        entry_id: line.entry_id.clone(),
        kind: line.entry.kind().as_str(),
        amount: minor(gained.amount),
        currency: gained.amount.currency().code(),
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
            entry: Entry::credit(merchant, user, provider, amount).unwrap(),
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
