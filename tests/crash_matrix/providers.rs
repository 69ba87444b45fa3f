//! The crash matrix of what only some providers are asked: an order at a provider of the kind `standard`, the
//! comparison of settings, and the confirmation of a large deposit.

use std::collections::BTreeSet;
use std::sync::Arc;

use recharge_local::functions::Functions;
use recharge_local::sim::payprotocol::{CallbackRequest, Transfer};
use recharge_local::stack::{
    Accounts, PAYPROTOCOL, PAYPROTOCOL_CALLBACK_PATH, PAYPROTOCOL_SECRET, TRADER_KEY,
};
use recharge_tests::World;
use recharge_tests::matrix::{Matrix, ONCE, Outcome, Plan, matrix, met};
use recharge_tests::sites::Site;
use recharge_tests::standard::{ByHost, HOST, SimStandard};
use recharge_tests::world::{CALLBACK_URL, until_crash};
use serde_json::{Value, json};

use crate::scene::{MINOR, everything};

const KEY: &str = "standard-secret-0123456789abcdef";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flow {
    /// A create at a provider of the kind `standard`.
    Create,
    /// It was paid there, and the poller asks.
    Query,
    /// The settings are compared with the provider's.
    Examine,
    /// A large deposit: the provider is asked first.
    Confirm,
}

impl Flow {
    const ALL: [Flow; 4] = [Flow::Create, Flow::Query, Flow::Examine, Flow::Confirm];
}

async fn world(standard: &SimStandard) -> World {
    let urls = ("http://trader.invalid", "https://recharge.invalid/recharges/callback/trader");
    let settings = recharge_local::stack::provider_settings(urls, "http://payprotocol.invalid");
    let mut settings: Value = serde_json::from_str(&settings).expect("settings are JSON");
    settings[PAYPROTOCOL]["policy"] = json!({"confirm_from": MINOR});
    settings["standard"] = json!({"kind": "standard", "account": "ACC", "currency": "USDT",
        "base_url": format!("https://{HOST}")});
    let keys = json!({"trader": {"key": TRADER_KEY}, PAYPROTOCOL: {"key": PAYPROTOCOL_SECRET},
        "standard": {"key": KEY}});
    let accounts = Accounts { settings, keys, default: "trader".to_owned() };
    let standard = standard.clone();
    World::with(
        Some(accounts),
        |trader| Arc::new(ByHost { standard, other: Arc::new(trader.outbound()) }),
        |receiver| Arc::new(receiver.clone()),
    )
    .await
}

#[derive(Default)]
struct Scene {
    order: String,
    callback: Option<CallbackRequest>,
    before: String,
}

async fn create(world: &World, functions: &Functions) -> String {
    let body = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT",
        "paymentMethod": "standard", "callbackUrl": CALLBACK_URL});
    let request = world.signed(("POST", "/recharges"), &body.to_string(), "k-1");
    let created = world.send_to(functions, &request).await;
    created.json["orderId"].as_str().unwrap_or("").to_owned()
}

async fn set(flow: Flow, world: &World, standard: &SimStandard) -> Scene {
    let mut scene = Scene::default();
    match flow {
        Flow::Create => {}
        Flow::Query => {
            scene.order = create(world, &world.stack.functions).await;
            let truth = json!({"status": "SUCCESS", "amount": MINOR, "currency": "USDT",
                "providerTxnId": "tx-1"});
            standard.set_paid(&scene.order, truth);
            world.pass(60).await;
        }
        Flow::Examine => {
            let minute = || world.clock().now_ms().div_euclid(60_000).rem_euclid(60);
            while minute() != 0 {
                world.pass(60).await;
            }
            scene.before = orders_of(world);
        }
        Flow::Confirm => {
            let body = json!({"paymentMethod": PAYPROTOCOL}).to_string();
            let request = world.signed(("POST", "/users/u_1/deposit-addresses"), &body, "");
            let made = world.send(&request).await;
            let all = made.json["addresses"].as_array().cloned().unwrap_or_default();
            let address = all[0]["address"].as_str().expect("an address");
            let sent = Transfer { address, amount: "5", currency: "USDT", silent: false };
            scene.callback = world.transfer(&sent).callback;
        }
    }
    scene
}

/// The books, without how far a list was read.
fn orders_of(world: &World) -> String {
    assert!(!everything(world).is_empty());
    format!("{:?}", world.books())
}

async fn act(flow: Flow, world: &World, scene: &Scene, functions: &Functions) {
    match flow {
        Flow::Create => {
            create(world, functions).await;
        }
        Flow::Query | Flow::Examine => {
            let _ = functions.poll("poll".to_owned()).await;
        }
        Flow::Confirm => {
            let callback = scene.callback.as_ref().expect("a callback");
            let headers: Vec<(&str, &str)> =
                callback.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let path = ("POST", PAYPROTOCOL_CALLBACK_PATH);
            world.send_to(functions, &world.unsigned(path, &headers, &callback.body)).await;
        }
    }
    let _ = world.stack.settle_batch_with(functions, 0).await;
    let _ = world.stack.notify_batch_with(functions, 0).await;
}

async fn play(flow: Flow, plan: Plan, attempts: u32) -> Outcome {
    let standard = SimStandard::new(KEY);
    let world = world(&standard).await;
    let scene = set(flow, &world, &standard).await;
    let faults = plan.faults(world.clock().clone());
    let functions = world.instance(&faults, attempts);
    until_crash(&faults, act(flow, &world, &scene, &functions)).await;
    drop(functions);
    world.pass(20).await;
    let mut problems = Vec::new();
    if flow == Flow::Create && create(&world, &world.stack.functions).await.is_empty() {
        problems.push("the create is not heard".to_owned());
    }
    world.let_pass(8).await;
    let books = world.books();
    problems.extend(books.violations());
    problems.extend(world.untold().await);
    let (stands, credited, at_provider) = match flow {
        Flow::Create => ("PENDING", 0, 1),
        Flow::Query => ("SUCCESS", MINOR, 1),
        Flow::Examine => ("", 0, 0),
        Flow::Confirm => ("SUCCESS", MINOR, 0),
    };
    let seen: Vec<&str> = books.orders.iter().map(|order| order.state.as_str()).collect();
    let balance: i128 = books.balances.values().map(|held| held.amount).sum();
    let seen = (seen.join(" "), balance, standard.provider_orders(), books.parked);
    let wanted = (stands.to_owned(), i128::from(credited), at_provider, 0);
    if seen != wanted {
        problems.push(format!("{seen:?} instead of {wanted:?}"));
    }
    let (depth, notices) = (world.stack.depth(), world.stack.notification_depth());
    let left = depth.visible + depth.in_flight + depth.dead;
    if left + notices.visible + notices.in_flight + notices.dead > 0 {
        problems.push(format!("messages left: {depth:?} {notices:?}"));
    }
    if flow == Flow::Examine && orders_of(&world) != scene.before {
        problems.push("comparing has changed the books".to_owned());
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
