//! A user's deposit addresses at one provider: stored, else known to the provider, else created by whoever
//! holds the claim. Whatever stops half-way is gone on with by the next caller. What is stored never changes; a
//! network that it lacks is added once the provider has an address there.

use std::time::Duration;

use tokio::time::timeout;

use crate::clock::Clock;
use crate::domain::order::ATTEMPT_LEASE;
use crate::domain::{Deposit, MerchantId, Timestamp, UserId, UserMark};
use crate::providers::{Answer, Provider};
use crate::sometimes::sometimes;
use crate::store::{AddressClaim, AddressOwner, AddressStored, Store, StoreError};

/// How long the creation of addresses belongs to one caller.
const LEASE: Duration = ATTEMPT_LEASE;

/// How long a caller waits for the addresses that somebody else is creating.
const WAIT_MS: [u64; 4] = [100, 200, 400, 800];

/// How long the provider may take to say whether there are more addresses than those that are stored.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(2);

/// Whose addresses, and by whom they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The user's merchant.
    pub merchant: &'a MerchantId,
    /// The user.
    pub user: &'a UserId,
    /// Unique to the caller: the claim that it may take up again.
    pub by: &'a str,
}

/// The row of `wanted`'s addresses at `provider`.
pub fn owner<'a>(wanted: Wanted<'a>, provider: &'a dyn Provider) -> AddressOwner<'a> {
    let provider = (provider.name().as_str(), provider.account());
    AddressOwner { merchant: wanted.merchant, user: wanted.user, provider }
}

/// The user's addresses at `provider`; at least one when the answer is `Done`.
pub async fn addresses(
    store: &Store,
    provider: &dyn Provider,
    clock: &dyn Clock,
    wanted: Wanted<'_>,
) -> Result<Answer<Vec<Deposit>>, StoreError> {
    let now = clock.now();
    let owner = owner(wanted, provider);
    match store.claim_address(owner, wanted.by, (now, now.plus(LEASE))).await? {
        AddressClaim::Known(known) => {
            return complete(store, provider, (owner, wanted), (known, now))
                .await
                .map(Answer::Done);
        }
        AddressClaim::Busy => {
            sometimes("address: somebody else is at it");
            return wait(store, owner).await;
        }
        AddressClaim::Ours => {}
    }
    let mark = UserMark::derive(wanted.merchant, wanted.user);
    let found = match provider.find_addresses(&mark, now).await {
        Answer::Done(none) if none.is_empty() => provider.new_addresses(&mark, now).await,
        found => found,
    };
    let Answer::Done(new) = found else { return Ok(found) };
    if new.is_empty() {
        return Ok(Answer::Unknown("no address came".to_owned()));
    }
    match store.store_addresses(owner, (&[], &new), clock.now()).await? {
        AddressStored::Now(all) | AddressStored::Known(all) => Ok(Answer::Done(all)),
        AddressStored::OfAnother => {
            shared_address(wanted);
            Ok(Answer::Unknown("an address of somebody else".to_owned()))
        }
    }
}

fn shared_address(wanted: Wanted<'_>) {
    let user = wanted.user.as_str();
    tracing::error!(user, "the provider gave two users one address; it is not used");
}

/// The stored addresses, with those on networks that they lack and the provider has by now. Without its answer they
/// are what they are.
async fn complete(
    store: &Store,
    provider: &dyn Provider,
    (owner, wanted): (AddressOwner<'_>, Wanted<'_>),
    (known, now): (Vec<Deposit>, Timestamp),
) -> Result<Vec<Deposit>, StoreError> {
    let is_there = |network: &str| known.iter().any(|known| known.network == network);
    if provider.networks().into_iter().all(is_there) {
        return Ok(known);
    }
    let mark = UserMark::derive(wanted.merchant, wanted.user);
    let found = timeout(LOOKED_UP_WITHIN, provider.find_addresses(&mark, now)).await;
    let Ok(Answer::Done(found)) = found else { return Ok(known) };
    let new: Vec<Deposit> = found.into_iter().filter(|new| !is_there(&new.network)).collect();
    if new.is_empty() {
        return Ok(known);
    }
    match store.store_addresses(owner, (&known, &new), now).await? {
        AddressStored::Now(all) | AddressStored::Known(all) => Ok(all),
        AddressStored::OfAnother => {
            shared_address(wanted);
            Ok(known)
        }
    }
}

/// Waits a moment for the addresses that somebody else is creating.
async fn wait(store: &Store, owner: AddressOwner<'_>) -> Result<Answer<Vec<Deposit>>, StoreError> {
    for wait_ms in WAIT_MS {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let known = store.addresses(owner).await?;
        if !known.is_empty() {
            return Ok(Answer::Done(known));
        }
    }
    Ok(Answer::Unknown("the address is still being created".to_owned()))
}
