//! Listing a merchant's orders: the index narrows by time and user, the rows by state. Bounded work:
//! a page may hold fewer orders than asked for and still have a next one.

use crate::domain::{MerchantId, Order, OrderId, OrderReference, OrderState, Timestamp};
use crate::store::{OrderFilter, OrderPosition, Store, StoreError};

/// How many parts of the index one request looks at.
const PARTS_MAX: usize = 8;
/// Entries of a part, when the index itself leaves out other users' orders.
const USER_PART_ENTRIES: i32 = 1_000;
/// Entries of a part, when only the rows say which ones are wanted.
const STATE_PART_ENTRIES: i32 = 100;
/// Orders that one read of rows may ask for.
const ORDERS_PER_READ: usize = 100;
/// Rows that one request reads, each for a read unit: who looks for a state that few have goes on with the next page.
const ROWS_MAX: usize = 400;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What the index can narrow down.
    pub filter: OrderFilter<'a>,
    /// Only in this state.
    pub state: Option<OrderState>,
    /// Orders of the page.
    pub limit: i32,
}

/// A page of orders, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPage {
    /// The orders.
    pub orders: Vec<Order>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<String>,
}

/// The orders after `after`.
pub async fn list_orders(
    store: &Store,
    wanted: Wanted<'_>,
    mut after: Option<OrderPosition>,
) -> Result<OrderPage, StoreError> {
    let limit = usize::try_from(wanted.limit).unwrap_or(1);
    let entries = match (wanted.filter.user, wanted.state) {
        (Some(_), _) => USER_PART_ENTRIES,
        (None, Some(_)) => STATE_PART_ENTRIES,
        (None, None) => wanted.limit,
    };
    let (mut orders, mut rows) = (Vec::new(), 0);
    for _ in 0..PARTS_MAX {
        let part = store.order_positions(wanted.filter, entries, after.as_ref()).await?;
        for some in part.found.chunks(ORDERS_PER_READ) {
            let ids: Vec<OrderId> = some.iter().map(|position| position.id.clone()).collect();
            for order in store.orders(&ids).await? {
                if !fits(&order, wanted) {
                    continue;
                }
                let (created_at, id) = (order.created_at, order.id.clone());
                orders.push(order);
                if orders.len() == limit {
                    let next = Some(write_position(&OrderPosition { created_at, id }));
                    return Ok(OrderPage { orders, next });
                }
            }
            rows += some.len();
            if let Some(last) = some.last().filter(|_| rows >= ROWS_MAX) {
                return Ok(OrderPage { orders, next: Some(write_position(last)) });
            }
        }
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    Ok(OrderPage { orders, next: after.as_ref().map(write_position) })
}

/// The order with the merchant's `reference`.
pub async fn find_by_reference(
    store: &Store,
    merchant: &MerchantId,
    reference: &OrderReference,
) -> Result<Option<Order>, StoreError> {
    let Some(id) = store.order_by_reference(merchant, reference).await? else { return Ok(None) };
    Ok(store.order(&id).await?.filter(|order| order.merchant == *merchant))
}

/// Whether `order` is one of those wanted.
pub fn fits(order: &Order, wanted: Wanted<'_>) -> bool {
    let OrderFilter { merchant, user, from, to } = wanted.filter;
    order.merchant == *merchant
        && user.is_none_or(|user| order.user == *user)
        && from.is_none_or(|from| order.created_at >= from)
        && to.is_none_or(|to| order.created_at < to)
        && wanted.state.is_none_or(|state| order.state == state)
}

fn write_position(position: &OrderPosition) -> String {
    format!("{}#{}", position.created_at.millis(), position.id)
}

/// Reads what [`OrderPage::next`] says, in its one spelling.
pub fn read_position(text: &str) -> Option<OrderPosition> {
    let (at, id) = text.split_once('#')?;
    let created_at = Timestamp::from_millis(at.parse().ok()?);
    let position = OrderPosition { created_at, id: OrderId::parse(id)? };
    (write_position(&position) == text).then_some(position)
}
