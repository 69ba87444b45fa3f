//! Creating an order: recorded by one conditional write, then brought to the provider.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::error::Elapsed;

use crate::clock::Clock;
use crate::domain::order::{ATTEMPT_LEASE, Birth};
use crate::domain::{
    CreateOrder, IdempotencyKey, MerchantId, Order, OrderId, OrderState, ProviderName, TraceId,
    shadow,
};
use crate::http::{ApiError, ErrorCode};
use crate::providers::{Provider, Providers};
use crate::sometimes::sometimes;
use crate::store::{Placed, Store, StoreError, Written};

use super::addresses::{Wanted, owner};
use super::submit::{Heard, Submission, Submitted, is_half_done};

/// Who takes part in the transitions made here.
const ACTOR: &str = "create-order";

/// How long one request stays with the provider, over all its calls and the waiting for another request's: the function's
/// time limit (10 s) less what stands around them. What takes longer is gone on with later.
pub const PROVIDER_TIME_MAX: Duration = Duration::from_millis(7_500);

/// How long a repeated request waits for the one that is at the provider right now.
const WAIT_MS: [u64; 8] = [40, 80, 160, 320, 500, 700, 1_000, 1_200];

/// What creating needs.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The table.
    pub store: &'a Store,
    /// The configured providers.
    pub providers: &'a Providers,
    /// Now.
    pub clock: &'a dyn Clock,
    /// Who calls.
    pub merchant: &'a MerchantId,
    /// The request's trace.
    pub trace: &'a TraceId,
    /// Unique to this invocation.
    pub invocation: &'a str,
}

/// What became of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// A new order.
    Now(Box<Order>),
    /// The order that the same request made before, as it stands.
    Before(Box<Order>),
    /// The same, which has moved on while this request was at it.
    Resumed(Box<Order>),
}

/// Creates the order that `key` names, or finds it.
pub async fn create_order(
    context: Context<'_>,
    key: &IdempotencyKey,
    command: CreateOrder,
) -> Result<Created, ApiError> {
    let Some(provider) = context.providers.get(command.payment_method.as_ref()) else {
        let refusal = ApiError::field("paymentMethod", "is not offered here");
        return replay((context, command.payment_method.as_ref()), key, &command, refusal).await;
    };
    let provider = provider.as_ref();
    if !provider.takes_orders() {
        let issue = "takes no orders: ask for the user's deposit addresses, and money that arrives there \
                     makes its own order";
        let refusal = ApiError::field("paymentMethod", issue);
        return replay((context, Some(provider.name())), key, &command, refusal).await;
    }
    if let Err((field, issue)) = provider.check_amount(command.amount) {
        let refusal = ApiError::field(field, issue);
        return replay((context, Some(provider.name())), key, &command, refusal).await;
    }
    let otherwise = command.fingerprint_otherwise(provider.name());
    let now = context.clock.now();
    let birth = Birth {
        merchant: context.merchant.clone(),
        provider: provider.name().clone(),
        account: provider.account().to_owned(),
        trace: context.trace.clone(),
        attempt: context.invocation.to_owned(),
        now,
    };
    let mut order = Order::new(key, birth, command);
    if order.is_shadow() {
        order.deposit = Some(shadow::address_of(&order.id));
    }
    let wanted = Wanted { merchant: &order.merchant, user: &order.user, by: order.id.as_str() };
    // Both at once: one round trip to the table stands before the provider call.
    let address = async {
        match provider.needs_address() {
            true => context.store.addresses(owner(wanted, provider)).await,
            false => Ok(Vec::new()),
        }
    };
    let (placed, address) = futures_util::future::join(context.store.place(&order), address).await;
    match placed? {
        Placed::New => {
            let shadow = order.shadow_mark();
            tracing::info!(order = order.id.as_str(), shadow, "order {} recorded", order.id);
            let address = address.unwrap_or_default().into_iter().next();
            let first = submission(context, provider).first(order.clone(), address);
            let submitted = tokio::time::timeout(PROVIDER_TIME_MAX, first).await;
            Ok(Created::Now(Box::new(reached(submitted, order)?)))
        }
        Placed::Existing(existing) => {
            if !is_repeated(&existing, order.fingerprint, Some((provider.name(), otherwise))) {
                return Err(reused());
            }
            let state = existing.state;
            let order = match own_provider(context, &existing) {
                Some(provider) => Box::new(resume(context, provider, *existing).await?),
                None => existing,
            };
            Ok(if order.state == state { Created::Before(order) } else { Created::Resumed(order) })
        }
        Placed::ReferenceTaken => {
            let mut error = ApiError::field("orderReference", "belongs to another order");
            error.code = ErrorCode::Conflict;
            Err(error)
        }
    }
}

/// The provider that the order was made for, whatever is the default one today.
fn own_provider<'a>(context: Context<'a>, order: &Order) -> Option<&'a dyn Provider> {
    let provider = context.providers.get(Some(&order.provider))?.as_ref();
    (provider.account() == order.account).then_some(provider)
}

/// Whether `existing` was made by the same request: by one with this fingerprint, or, if it went to the
/// same provider, by one that only named or did not name it.
fn is_repeated(
    existing: &Order,
    as_sent: [u8; 32],
    otherwise: Option<(&ProviderName, [u8; 32])>,
) -> bool {
    let otherwise = otherwise.filter(|(provider, _)| existing.provider == **provider);
    existing.fingerprint == as_sent
        || otherwise.is_some_and(|(_, fingerprint)| existing.fingerprint == fingerprint)
}

fn reused() -> ApiError {
    let message = "the idempotency key was used for another request";
    ApiError::new(ErrorCode::IdempotencyKeyReused, message)
}

/// What could not be made today may have been made before: then it is a replay like any other. `provider` is
/// the one that it would go to. That the key was used for another request is said first, as everywhere.
async fn replay(
    (context, provider): (Context<'_>, Option<&ProviderName>),
    key: &IdempotencyKey,
    command: &CreateOrder,
    refusal: ApiError,
) -> Result<Created, ApiError> {
    let existing = context.store.order(&OrderId::derive(context.merchant, key)).await?;
    let otherwise = provider.map(|provider| (provider, command.fingerprint_otherwise(provider)));
    match existing {
        None => Err(refusal),
        Some(order) if is_repeated(&order, command.fingerprint(), otherwise) => {
            Ok(Created::Before(Box::new(order)))
        }
        Some(_) => Err(reused()),
    }
}

fn submission<'a>(context: Context<'a>, provider: &'a dyn Provider) -> Submission<'a> {
    Submission { store: context.store, provider, clock: context.clock, actor: ACTOR }
}

/// The order after a submission. When time ran out nobody knows, and `order` stands as it was; when the
/// provider could not be reached at all the client hears so: the order waits for its retry or the poller.
fn reached(
    submitted: Result<Result<Submitted, StoreError>, Elapsed>,
    order: Order,
) -> Result<Order, ApiError> {
    match submitted {
        Err(_) => {
            sometimes("create: out of time at the provider");
            Ok(order)
        }
        Ok(Ok(Submitted { order, heard })) if heard != Heard::NotSent || !order.state.is_open() => {
            Ok(order)
        }
        Ok(Ok(_)) => Err(ApiError::provider_unavailable()),
        Ok(Err(error)) => Err(error.into()),
    }
}

/// Finishes an order that an earlier request left half-done, or waits for the request that is at it.
async fn resume(
    context: Context<'_>,
    provider: &dyn Provider,
    mut order: Order,
) -> Result<Order, ApiError> {
    let ends_at = Instant::now() + PROVIDER_TIME_MAX;
    for wait_ms in WAIT_MS {
        let now = context.clock.now();
        if order.state != OrderState::Created || now >= order.expires_at {
            return Ok(order);
        }
        if is_half_done(&order, now) {
            let until = now.plus(ATTEMPT_LEASE);
            let by = context.invocation;
            if context.store.take_over(&order, by, until).await? == Written::Now {
                sometimes("create: taken on by a retry");
                order.attempt_until = until;
                order.attempt_by = by.to_owned();
                let again = submission(context, provider).again(order.clone());
                let submitted = tokio::time::timeout_at(ends_at, again).await;
                return reached(submitted, order);
            }
        } else {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        let read = context.store.order(&order.id).await?;
        order = read.ok_or_else(ApiError::not_found)?;
    }
    Ok(order)
}
