//! The crash matrix of the operator's commands: settings, users, keys, and what a cold start does first. An
//! operator who sees an error gives the command again.

use std::collections::BTreeSet;

use recharge_local::aws::faults::Faults;
use recharge_local::call::{API_KEYS, ApiKey};
use recharge_shared::auth::Scope;
use recharge_shared::auth::keys::{self, ClientKeysDocument, KeyError};
use recharge_shared::auth::registry::{KeyRegistry, RegistryError};
use recharge_shared::domain::{Disposal, Merchant, MerchantId, MerchantPolicy, UserAccess, UserId};
use recharge_shared::store::{Store, StoreError, Written};
use recharge_tests::World;
use recharge_tests::matrix::{Matrix, ONCE, Outcome, Plan, matrix, met};
use recharge_tests::sites::Site;
use recharge_tests::world::until_crash;

const SECRET: &str = "new-secret-0123456789abcdef0123456789abc";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flow {
    /// A merchant's settings are written.
    SetMerchant,
    /// A user is registered, suspended, resumed.
    Users,
    /// A key is made.
    CreateKey,
    /// A key is taken away.
    RevokeKey,
    /// A function's first calls.
    ColdStart,
}

impl Flow {
    const ALL: [Flow; 5] =
        [Flow::SetMerchant, Flow::Users, Flow::CreateKey, Flow::RevokeKey, Flow::ColdStart];
}

fn wanted() -> Merchant {
    let policy =
        MerchantPolicy { late_payment: Some(Disposal::Review), ..MerchantPolicy::default() };
    Merchant { users: UserAccess::Registered, burst: 7, policy, ..Merchant::default() }
}

fn ids() -> (MerchantId, UserId) {
    (MerchantId::parse("m_demo").expect("a merchant"), UserId::parse("u_1").expect("a user"))
}

fn store(world: &World, faults: &Faults, attempts: u32) -> Store {
    let aws = &world.stack.ground.aws;
    let client = aws.dynamodb(faults.wrap(aws.http_client()), attempts);
    Store::new(client, world.stack.names.table.clone())
}

fn registry(world: &World, faults: &Faults, attempts: u32) -> KeyRegistry {
    let aws = &world.stack.ground.aws;
    let client = aws.secrets(faults.wrap(aws.http_client()), attempts);
    KeyRegistry::new(client, world.stack.names.client_keys.clone())
}

/// Gives the command; whether it was carried out.
async fn command(flow: Flow, world: &World, faults: &Faults, attempts: u32) -> bool {
    let (merchant, user) = ids();
    let store = store(world, faults, attempts);
    match flow {
        Flow::SetMerchant => {
            let Ok(before) = store.merchant(&merchant).await else { return false };
            let written = store.change_merchant(&merchant, (&before, &wanted())).await;
            matches!(written, Ok(Written::Now))
        }
        Flow::Users => users(&store).await.is_ok(),
        Flow::CreateKey | Flow::RevokeKey => {
            let change = |document: &mut ClientKeysDocument| match flow {
                Flow::CreateKey => {
                    let scopes = [Scope::RechargeRead];
                    keys::create(document, "new", &merchant, &scopes, SECRET.to_owned())
                }
                _ => keys::revoke(document, API_KEYS[1].id),
            };
            match registry(world, faults, attempts).change(change).await {
                // The command before this one was carried out, and its answer lost.
                Err(RegistryError::Refused(KeyError::Exists | KeyError::Unknown)) | Ok(()) => true,
                Err(_) => false,
            }
        }
        Flow::ColdStart => {
            store.warm_up().await;
            let functions = world.instance(faults, attempts);
            functions.status_query.auth.warm_up().await;
            let _ = user;
            true
        }
    }
}

async fn users(store: &Store) -> Result<(), StoreError> {
    let (merchant, user) = ids();
    store.register_user(&merchant, &user).await?;
    store.suspend_user(&merchant, &user).await?;
    store.resume_user(&merchant, &user).await
}

async fn play(flow: Flow, plan: Plan, attempts: u32) -> Outcome {
    let world = World::of_trader().await;
    let faults = plan.faults(world.clock().clone());
    let done = until_crash(&faults, command(flow, &world, &faults, attempts)).await;
    let clean = Faults::none(world.clock().clone());
    let mut problems = Vec::new();
    if done != Some(true) && !command(flow, &world, &clean, 3).await {
        problems.push("the command cannot be given again".to_owned());
    }
    let (merchant, user) = ids();
    let store = store(&world, &clean, 3);
    let is = store.merchant(&merchant).await.expect("the table reads");
    let registered = store.is_registered(&merchant, &user).await.expect("the table reads");
    let (settings, known) = match flow {
        Flow::SetMerchant => (wanted(), false),
        Flow::Users => (Merchant::default(), true),
        _ => (Merchant::default(), false),
    };
    if is != settings || registered != known {
        problems.push(format!("{is:?}, registered {registered}"));
    }
    world.pass(61).await;
    let new = ApiKey { id: "new", secret: SECRET, merchant: "m_demo" };
    let gone = if flow == Flow::RevokeKey { 401 } else { 200 };
    let made = if flow == Flow::CreateKey { 200 } else { 401 };
    for (key, status) in [(API_KEYS[0], 200), (API_KEYS[1], gone), (new, made)] {
        let answered = world.send(&world.signed_as(key, ("GET", "/recharges"), "", "")).await;
        if answered.status != status {
            problems.push(format!("{}: {} instead of {status}", key.id, answered.status));
        }
    }
    Outcome { log: faults.log(), problems }
}

/// Every fault at every call.
pub fn every_fault() -> Matrix {
    matrix(1, (&Flow::ALL, ONCE), play)
}

/// Where the flows come to.
pub fn sites() -> BTreeSet<Site> {
    met(1, &Flow::ALL, play)
}
