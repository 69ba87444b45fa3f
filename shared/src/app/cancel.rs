//! Cancelling an order for the client, as long as nothing has been paid. Cancelling ends the order, not
//! the money: what arrives later is treated by the merchant's rule for late payments.

use crate::clock::Clock;
use crate::domain::order::{Change, FIRST_CHECK_AFTER};
use crate::domain::{MerchantId, Order, OrderEvent, OrderId, Reason, Step};
use crate::http::{ApiError, ErrorCode};
use crate::sometimes::sometimes;
use crate::store::{Store, StoreError, Written};

use super::submit::log;

const ACTOR: &str = "client";

/// How often a lost race for the order row is run again.
const RACES_MAX: usize = 5;

/// Cancels the merchant's order `id`, or finds it cancelled.
pub async fn cancel(
    store: &Store,
    clock: &dyn Clock,
    merchant: &MerchantId,
    id: &OrderId,
) -> Result<Order, ApiError> {
    for _ in 0..RACES_MAX {
        let order = store.order(id).await?.filter(|order| order.merchant == *merchant);
        let order = order.ok_or_else(ApiError::not_found)?;
        if order.state.is_open() && order.has_open_money() {
            let message = "a part of the money has arrived already";
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        let to = match order.state.on(OrderEvent::Cancel) {
            Step::Move(to) => to,
            Step::AlreadyDone => return Ok(order),
            Step::Refuse => {
                let message = format!("the order is {} already", order.state.as_str());
                return Err(ApiError::new(ErrorCode::Conflict, message));
            }
        };
        let at = clock.now();
        let reason = Some(Reason::CancelledByClient);
        let mut cancelled =
            order.moved(to, Change { reason, actor: ACTOR, evidence: None, books: None, at });
        // Late money is still watched for; at least once more, to see that the notice went out.
        let soon = at.plus(FIRST_CHECK_AFTER);
        cancelled.due_at = cancelled.next_check(at).or(Some(soon));
        if store.advance(&order, &cancelled).await? == Written::Now {
            log(&order, &cancelled);
            return Ok(cancelled);
        }
        sometimes("cancel: lost the race");
    }
    Err(StoreError::Busy(format!("order {id} keeps changing")).into())
}
