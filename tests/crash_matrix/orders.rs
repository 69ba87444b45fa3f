//! The crash matrix: every outside call of every flow fails in every way, once; then the world goes on
//! without faults, and everything that must hold is checked. Prints the table.

use std::collections::BTreeSet;

use recharge_local::aws::faults::{Fault, Faults};
use recharge_local::events::Incoming;
use recharge_local::functions::Functions;
use recharge_tests::World;
use recharge_tests::matrix::{
    BOTH, Matrix, Outcome, Plan, both, matrix, met, pairs as matrix_pairs,
};
use recharge_tests::sites::Site;
use recharge_tests::world::until_crash;

const MINOR: i64 = 5_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// The user's first order: address looked up, created, stored.
    FirstCreate,
    /// A later order of the same user.
    Create,
    /// The client's retry of a create whose first instance died at the provider.
    Retry,
    /// A callback: webhook, queue, worker.
    Callback,
    /// Paid, callback lost: the poller asks.
    Poll,
    /// A half-done create, resumed by the poller.
    Resume,
    /// Unpaid and out of time.
    Expire,
    /// Withdrawn by the client, who asks again until it is heard.
    Cancel,
}

impl Flow {
    const ALL: [Flow; 8] = [
        Flow::FirstCreate,
        Flow::Create,
        Flow::Retry,
        Flow::Callback,
        Flow::Poll,
        Flow::Resume,
        Flow::Expire,
        Flow::Cancel,
    ];
}

/// What stands before the fault: how many orders, and the one that it is about.
struct Scene {
    orders: usize,
    key: &'static str,
}

async fn set(flow: Flow, world: &World) -> Scene {
    match flow {
        Flow::FirstCreate => Scene { orders: 1, key: "k-1" },
        Flow::Create => {
            world.create("u_1", MINOR, "k-0").await;
            Scene { orders: 2, key: "k-1" }
        }
        Flow::Retry | Flow::Resume => {
            world.create("u_1", MINOR, "k-0").await;
            die_at_the_provider(world).await;
            world.pass(if flow == Flow::Retry { 20 } else { 60 }).await;
            Scene { orders: 2, key: "k-1" }
        }
        Flow::Callback | Flow::Poll | Flow::Expire | Flow::Cancel => {
            let created = world.create("u_1", MINOR, "k-1").await;
            let order = created.json["orderId"].as_str().expect("an order");
            if flow == Flow::Poll {
                world.pay(order, None);
            }
            world.pass(if flow == Flow::Expire { 1_860 } else { 60 }).await;
            Scene { orders: 1, key: "k-1" }
        }
    }
}

/// The instance dies after the provider took the order and before that is written down.
async fn die_at_the_provider(world: &World) {
    let faults = Faults::new(world.clock().clone(), |call| {
        let dies = call.operation == "TraderRechargeorder";
        if dies { Fault::CrashAfter } else { Fault::None }
    });
    let functions = world.instance(&faults, 3);
    let request = world.create_request("u_1", MINOR, "k-1");
    let died = until_crash(&faults, world.send_to(&functions, &request)).await;
    assert!(died.is_none(), "the instance was to die at the provider");
}

/// What an instance does under the fault.
async fn act(flow: Flow, world: &World, functions: &Functions) {
    match flow {
        Flow::FirstCreate | Flow::Create | Flow::Retry => {
            world.send_to(functions, &world.create_request("u_1", MINOR, "k-1")).await;
        }
        Flow::Callback => {
            let order = order_of(world, "k-1").await;
            let callback = world.pay(&order, None);
            world.send_to(functions, &world.callback(&callback)).await;
            let _ = world.stack.settle_batch_with(functions, 0).await;
            let _ = world.stack.notify_batch_with(functions, 0).await;
        }
        Flow::Cancel => {
            let order = order_of(world, "k-1").await;
            world.send_to(functions, &cancel_request(world, &order)).await;
            let _ = world.stack.notify_batch_with(functions, 0).await;
        }
        Flow::Poll | Flow::Resume | Flow::Expire => {
            let _ = functions.poll("poll".to_owned()).await;
            let _ = world.stack.settle_batch_with(functions, 0).await;
            let _ = world.stack.notify_batch_with(functions, 0).await;
        }
    }
}

fn cancel_request(world: &World, order: &str) -> Incoming {
    world.signed(("POST", &format!("/recharges/{order}/cancel")), "", "")
}

/// The order that `key` names, asked for the way a client does: by the same request again.
async fn order_of(world: &World, key: &str) -> String {
    for _ in 0..10 {
        let answered = world.create("u_1", MINOR, key).await;
        if let Some(order) = answered.json["orderId"].as_str() {
            return order.to_owned();
        }
        world.pass(20).await;
    }
    panic!("the create never succeeds")
}

pub async fn play(flow: Flow, plan: Plan, attempts: u32) -> Outcome {
    play_on(flow, plan, attempts, false).await
}

/// `goes_on`: who goes on after the first instance suffers the rest of the plan.
async fn play_on(flow: Flow, plan: Plan, attempts: u32, goes_on: bool) -> Outcome {
    let world = World::of_trader().await;
    let scene = set(flow, &world).await;
    let faults = plan.faults(world.clock().clone());
    let functions = world.instance(&faults, attempts);
    until_crash(&faults, act(flow, &world, &functions)).await;
    drop(functions);
    let later = plan.faults_from(world.clock().clone(), faults.calls());
    if goes_on {
        let functions = world.instance(&later, attempts);
        until_crash(&later, go_on(flow, &world, &functions)).await;
    }
    let mut problems = recover(flow, &world, &scene, goes_on).await;
    problems.extend(check(&world, &scene));
    Outcome { log: both(&faults, &later), problems }
}

/// The world goes on: the client repeats its request, the schedule ticks, messages come again; whoever
/// has not paid pays. A callback is never sent twice: this provider does not repeat itself.
async fn recover(flow: Flow, world: &World, scene: &Scene, twice: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if flow == Flow::Resume {
        world.let_pass(6).await;
    }
    let order = order_of(world, scene.key).await;
    if flow == Flow::Cancel {
        let answered = world.send(&cancel_request(world, &order)).await;
        if answered.status != 200 {
            problems.push(format!("the cancel was answered {answered:?}"));
        }
    }
    world.let_pass(6).await;
    let state = world.order(&order).await["status"].as_str().unwrap_or("").to_owned();
    let wanted = match flow {
        Flow::Callback | Flow::Poll => "SUCCESS",
        Flow::Expire => "EXPIRED",
        Flow::Cancel => "CANCELLED",
        Flow::FirstCreate | Flow::Create | Flow::Retry | Flow::Resume => "PENDING",
    };
    if state != wanted {
        problems.push(format!("{state} instead of {wanted} after six minutes"));
    }
    if state != "SUCCESS" {
        let callback = world.pay(&order, None);
        let answered = world.deliver(&callback).await;
        if (answered.status, answered.text.as_str()) != (200, "success") {
            problems.push(format!("the callback was answered {answered:?}"));
        }
        world.settle().await;
    }
    // As long as it takes a message that was in flight to come again.
    world.let_pass(8).await;
    if twice && !world.untold().await.is_empty() {
        // Not taken, and the next attempt lost between the poller and the queue: it is handed over again a quarter of an
        // hour later.
        world.let_pass(10).await;
    }
    problems.extend(world.untold().await);
    let order = world.order(&order).await;
    if order["status"] != "SUCCESS" || order["creditedAmount"] != MINOR {
        problems.push(format!("not credited: {order}"));
    }
    problems
}

/// I1 to I9 on the books, the queues and the provider's own truth.
fn check(world: &World, scene: &Scene) -> Vec<String> {
    let books = world.books();
    let mut problems = books.violations();
    let mut expect = |what: &str, seen: usize, wanted: usize| {
        if seen != wanted {
            problems.push(format!("{what}: {seen} instead of {wanted}"));
        }
    };
    let depth = world.stack.depth();
    let notices = world.stack.notification_depth();
    expect("orders", books.orders.len(), scene.orders);
    expect("orders at the provider", world.trader.provider_orders(), scene.orders);
    expect("credits", books.credits.len(), 1);
    expect("addresses", books.addresses.len(), 1);
    expect("addresses made by the provider", world.trader.addresses_made(), 1);
    expect("messages left", depth.visible + depth.in_flight, 0);
    expect("dead letters", depth.dead, 0);
    expect("notices left", notices.visible + notices.in_flight + notices.dead, 0);
    expect("parked", books.parked, 0);
    let due = books.orders.iter().filter(|order| order.due && order.state == "SUCCESS").count();
    expect("settled orders still due", due, 0);
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

/// What goes on under the second fault: the client's request again, then the schedule and the queues.
async fn go_on(flow: Flow, world: &World, functions: &Functions) {
    world.pass(200).await;
    if matches!(flow, Flow::FirstCreate | Flow::Create | Flow::Retry) {
        world.send_to(functions, &world.create_request("u_1", MINOR, "k-1")).await;
    }
    let _ = functions.poll("poll".to_owned()).await;
    let _ = world.stack.settle_batch_with(functions, 0).await;
    let _ = world.stack.notify_batch_with(functions, 0).await;
}

/// Every pair of faults in `flow` and in what goes on after it.
pub fn pairs(flow: Flow) -> (usize, Vec<String>) {
    matrix_pairs(1, (flow, 1), |flow, plan, attempts| play_on(flow, plan, attempts, true))
}
