//! The crash matrix of money that does not follow an order: deposits, parts, and what people decide. Every
//! outside call of every flow fails in every way, once; then the world goes on without faults, and
//! everything that must hold is checked. Prints the table.

use std::collections::BTreeSet;

use recharge_local::call::ADMIN_KEYS;
use recharge_local::events::Incoming;
use recharge_local::functions::Functions;
use recharge_local::sim::payprotocol::Transfer;
use recharge_local::stack::{PAYPROTOCOL, PAYPROTOCOL_CALLBACK_PATH};
use recharge_shared::domain::{AmountPolicy, EvidenceKind, Merchant, MerchantPolicy};
use recharge_tests::World;
use recharge_tests::matrix::{BOTH, Matrix, Outcome, Plan, matrix, met};
use recharge_tests::sites::Site;
use recharge_tests::world::until_crash;
use serde_json::{Value, json};

use crate::scene::{self, MINOR, arrive, enqueue, reviews, usdt};

const PART: i64 = 2_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// A user's deposit addresses.
    Addresses,
    /// A deposit nobody announced: webhook, queue, worker. Its callback comes once.
    Deposit,
    /// A deposit without any callback: the poller finds it in the list.
    Sweep,
    /// The first part of an order's money.
    FirstPart,
    /// The part that completes it.
    LastPart,
    /// Time runs out while a part is there.
    PartExpires,
    /// The provider gives the order up while a part is there.
    PartDeclined,
    /// A second payment, credited by the merchant's rule with an order of its own.
    SecondPayment,
    /// A person credits a parked payment; who asks again until it is heard.
    Decide,
    /// A person moves the money of an order in review to a user.
    Move,
}

impl Flow {
    const ALL: [Flow; 10] = [
        Flow::Addresses,
        Flow::Deposit,
        Flow::Sweep,
        Flow::FirstPart,
        Flow::LastPart,
        Flow::PartExpires,
        Flow::PartDeclined,
        Flow::SecondPayment,
        Flow::Decide,
        Flow::Move,
    ];

    const fn amount(self) -> AmountPolicy {
        match self {
            Flow::FirstPart | Flow::LastPart | Flow::PartExpires | Flow::PartDeclined => {
                AmountPolicy::Accumulate
            }
            _ => AmountPolicy::Exact,
        }
    }
}

/// What stands before the fault.
#[derive(Default)]
struct Scene {
    order: String,
    address: String,
    review: String,
}

async fn set(flow: Flow, world: &World) -> Scene {
    let mut scene = Scene::default();
    let second = (flow == Flow::SecondPayment).then_some(recharge_shared::domain::Disposal::Credit);
    let policy = MerchantPolicy {
        amount: Some(flow.amount()),
        second_payment: second,
        ..MerchantPolicy::default()
    };
    scene::merchant(world, &Merchant { policy, ..Merchant::default() }).await;
    match flow {
        Flow::Addresses => {}
        Flow::Deposit | Flow::Sweep => {
            let made = world.send(&addresses_request(world)).await;
            scene.address = tron(&made.json);
            if flow == Flow::Sweep {
                world.transfer(&transfer(&scene.address, true));
            }
        }
        Flow::FirstPart
        | Flow::LastPart
        | Flow::PartExpires
        | Flow::PartDeclined
        | Flow::SecondPayment
        | Flow::Decide
        | Flow::Move => {
            scene.order = scene::order(world, "k-1").await;
        }
    }
    match flow {
        Flow::LastPart | Flow::PartExpires | Flow::PartDeclined => {
            arrive(world, &scene.order, "p-1", PART).await;
        }
        Flow::SecondPayment | Flow::Decide => arrive(world, &scene.order, "p-1", MINOR).await,
        Flow::Move => arrive(world, &scene.order, "p-1", PART).await,
        _ => {}
    }
    match flow {
        Flow::PartExpires => world.pass(1_860).await,
        Flow::Decide => {
            arrive(world, &scene.order, "p-2", MINOR).await;
            scene.review = reviews(world).await.remove(0);
        }
        Flow::Move => scene.review = reviews(world).await.remove(0),
        // In the queue before the fault: what hands it over is another flow.
        Flow::FirstPart => enqueue(world, &scene.order, "p-1", usdt(PART)).await,
        Flow::LastPart => enqueue(world, &scene.order, "p-2", usdt(MINOR - PART)).await,
        Flow::SecondPayment => enqueue(world, &scene.order, "p-2", usdt(MINOR)).await,
        Flow::PartDeclined => enqueue(world, &scene.order, "d-1", EvidenceKind::Declined).await,
        _ => {}
    }
    scene
}

fn transfer(address: &str, silent: bool) -> Transfer<'_> {
    Transfer { address, amount: "5", currency: "USDT", silent }
}

fn addresses_request(world: &World) -> Incoming {
    let body = json!({"paymentMethod": PAYPROTOCOL}).to_string();
    world.signed(("POST", "/users/u_1/deposit-addresses"), &body, "")
}

fn tron(made: &Value) -> String {
    let all = made["addresses"].as_array().cloned().unwrap_or_default();
    let tron = all.iter().find(|one| one["network"] == "TRON");
    tron.and_then(|one| one["address"].as_str()).expect("an address").to_owned()
}

fn decision(flow: Flow, world: &World, scene: &Scene) -> Incoming {
    let body = match flow {
        Flow::Move => json!({"action": "credit_user", "userId": "u_2", "note": "of the brother"}),
        _ => json!({"action": "credit_order", "orderId": scene.order, "note": "seen on the chain"}),
    };
    let path = format!("/admin/reviews/{}/resolve", scene.review);
    world.signed_as(ADMIN_KEYS[0], ("POST", &path), &body.to_string(), "")
}

/// What an instance does under the fault.
async fn act(flow: Flow, world: &World, scene: &Scene, functions: &Functions) {
    match flow {
        Flow::Addresses => {
            world.send_to(functions, &addresses_request(world)).await;
            return;
        }
        Flow::Deposit => {
            let deposited = world.transfer(&transfer(&scene.address, false));
            let callback = deposited.callback.expect("a callback");
            let headers: Vec<(&str, &str)> =
                callback.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let path = ("POST", PAYPROTOCOL_CALLBACK_PATH);
            world.send_to(functions, &world.unsigned(path, &headers, &callback.body)).await;
        }
        Flow::Sweep | Flow::PartExpires => {
            let _ = functions.poll("poll".to_owned()).await;
        }
        Flow::Decide | Flow::Move => {
            world.send_to(functions, &decision(flow, world, scene)).await;
        }
        Flow::FirstPart | Flow::LastPart | Flow::PartDeclined | Flow::SecondPayment => {}
    }
    let _ = world.stack.settle_batch_with(functions, 0).await;
    let _ = world.stack.notify_batch_with(functions, 0).await;
}

pub async fn play(flow: Flow, plan: Plan, attempts: u32) -> Outcome {
    let world = World::new().await;
    let scene = set(flow, &world).await;
    let faults = plan.faults(world.clock().clone());
    let functions = world.instance(&faults, attempts);
    until_crash(&faults, act(flow, &world, &scene, &functions)).await;
    drop(functions);
    let mut problems = recover(flow, &world, &scene).await;
    problems.extend(check(flow, &world));
    problems.extend(world.untold().await);
    Outcome { log: faults.log(), problems }
}

/// The world goes on: whoever asks repeats the request, the schedule ticks, messages come again. A callback
/// is never sent twice.
async fn recover(flow: Flow, world: &World, scene: &Scene) -> Vec<String> {
    match flow {
        Flow::Addresses => {
            world.pass(20).await;
            let made = world.send(&addresses_request(world)).await;
            if made.status != 200 {
                return vec![format!("addresses were answered {made:?}")];
            }
            let deposited = world.transfer(&transfer(&tron(&made.json), false));
            world.deliver_payprotocol(&deposited.callback.expect("a callback")).await;
        }
        Flow::Decide | Flow::Move => {
            world.pass(5).await;
            let decided = world.send(&decision(flow, world, scene)).await;
            if decided.status != 202 {
                return vec![format!("the decision was answered {decided:?}")];
            }
        }
        _ => {}
    }
    // As long as it takes a message that was in flight to come again.
    world.let_pass(8).await;
    if scene.order.is_empty() {
        return Vec::new();
    }
    let order = world.order(&scene.order).await;
    let stands = format!("{} {}", order["status"], order["reason"]).replace('"', "");
    let wanted = match flow {
        Flow::FirstPart => "PENDING paid_under",
        Flow::PartExpires => "REVIEW paid_under",
        Flow::PartDeclined => "REVIEW provider_declined",
        Flow::Move => "FAILED manual",
        _ => "SUCCESS paid_exact",
    };
    if stands == wanted { Vec::new() } else { vec![format!("{stands} instead of {wanted}")] }
}

/// The books, the queues and the providers' own truth.
fn check(flow: Flow, world: &World) -> Vec<String> {
    let books = world.books();
    let mut problems = books.violations();
    let mut expect = |what: &str, seen: i128, wanted: i128| {
        if seen != wanted {
            problems.push(format!("{what}: {seen} instead of {wanted}"));
        }
    };
    let credited: i128 = books.balances.values().map(|held| held.amount).sum();
    let count = |number: usize| i128::try_from(number).unwrap_or(i128::MAX);
    let (orders, credits, parts, parked, balance) = match flow {
        Flow::Addresses | Flow::Deposit | Flow::Sweep => (1, 1, 0, 0, MINOR),
        Flow::FirstPart => (1, 0, 1, 0, 0),
        Flow::LastPart => (1, 1, 1, 0, MINOR),
        Flow::PartExpires | Flow::PartDeclined => (1, 0, 1, 1, 0),
        Flow::SecondPayment => (2, 2, 0, 0, 2 * MINOR),
        Flow::Decide => (2, 2, 0, 1, 2 * MINOR),
        Flow::Move => (2, 1, 0, 1, PART),
    };
    expect("orders", count(books.orders.len()), orders);
    expect("credits", count(books.credits.len()), credits);
    expect("parts", count(books.held.len()), parts);
    expect("parked", count(books.parked), parked);
    expect("credited", credited, balance.into());
    let depth = world.stack.depth();
    let notices = world.stack.notification_depth();
    expect("messages left", count(depth.visible + depth.in_flight + depth.dead), 0);
    expect("notices left", count(notices.visible + notices.in_flight + notices.dead), 0);
    if matches!(flow, Flow::Addresses | Flow::Deposit | Flow::Sweep) {
        expect("users at the provider", count(world.payprotocol.users()), 1);
        expect("deposits at the provider", count(world.payprotocol.deposits()), 1);
        expect("addresses", count(books.addresses.len()), 2);
    }
    problems
}

/// Every fault at every call.
pub fn every_fault() -> Matrix {
    matrix(1, (&Flow::ALL, BOTH), play)
}

/// Where the flows come to.
pub fn sites() -> BTreeSet<Site> {
    met(1, &Flow::ALL, play)
}
