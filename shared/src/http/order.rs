//! Orders, balances and ledgers as clients read them.

use aws_smithy_types::date_time::{DateTime, Format};
use serde_json::{Value, json};

use crate::domain::{Money, Order, OrderState, Reason, Timestamp};
use crate::store::{Balance, LedgerLine, LedgerPage};

/// RFC 3339, UTC, whole seconds.
fn rfc3339(at: Timestamp) -> String {
    DateTime::from_secs(at.secs()).fmt(Format::DateTime).unwrap_or_default()
}

fn minor(amount: Money) -> Value {
    i64::try_from(amount.minor()).map_or_else(|_| json!(amount.minor().to_string()), |n| json!(n))
}

/// The order in every answer.
pub fn order_body(order: &Order) -> Value {
    let payment = order.deposit.as_ref().map(|deposit| {
        json!({
            "address": deposit.address,
            "network": deposit.network,
            "amount": order.amount.decimal(),
            "expiresAt": rfc3339(order.expires_at),
        })
    });
    json!({
        "orderId": order.id.as_str(),
        "status": order.state.as_str(),
        "reason": order.reason.map(Reason::as_str),
        "userId": order.user.as_str(),
        "amount": minor(order.amount),
        "currency": order.amount.currency().code(),
        "receivedAmount": minor(order.received),
        "creditedAmount": minor(order.credited),
        "paymentMethod": order.provider.as_str(),
        "transactionId": order.transaction_id,
        "orderReference": order.reference.as_ref().map(|reference| reference.as_str()),
        "payment": payment,
        "metadata": order.metadata,
        "createdAt": rfc3339(order.created_at),
        "updatedAt": rfc3339(order.updated_at),
        "expiresAt": rfc3339(order.expires_at),
        "message": message(order),
    })
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

/// `GET /users/{userId}/balances`.
pub fn balances_body(user: &str, balances: &[Balance]) -> Value {
    let one = |balance: &Balance| {
        json!({
            "currency": balance.amount.currency().code(),
            "amount": minor(balance.amount),
            "decimal": balance.amount.decimal(),
            "entries": balance.entries,
            "updatedAt": rfc3339(balance.updated_at),
        })
    };
    json!({"userId": user, "balances": balances.iter().map(one).collect::<Vec<_>>()})
}

/// `GET /recharges`, newest first.
pub fn orders_body(orders: &[Order], next_cursor: Option<String>) -> Value {
    json!({
        "recharges": orders.iter().map(order_body).collect::<Vec<_>>(),
        "nextCursor": next_cursor,
    })
}

/// `GET /users/{userId}/ledger`, newest first.
pub fn ledger_body(user: &str, page: &LedgerPage, next_cursor: Option<String>) -> Value {
    json!({
        "userId": user,
        "entries": page.lines.iter().map(ledger_entry).collect::<Vec<_>>(),
        "nextCursor": next_cursor,
    })
}

fn ledger_entry(line: &LedgerLine) -> Value {
    let [gained, _] = line.entry.legs();
    let legs: Vec<Value> = line
        .entry
        .legs()
        .iter()
        .map(|leg| json!({"account": leg.account.to_string(), "amount": minor(leg.amount)}))
        .collect();
    json!({
        "entryId": line.entry_id,
        "kind": line.entry.kind().as_str(),
        "amount": minor(gained.amount),
        "currency": gained.amount.currency().code(),
        "orderId": line.order.as_str(),
        "reason": line.reason.map(Reason::as_str),
        "createdAt": rfc3339(line.at),
        "legs": legs,
    })
}
