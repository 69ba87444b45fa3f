//! The crash matrix of the audit: whatever fails in it, the books stay as they are, and its walk goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use recharge_local::aws::faults::Faults;
use recharge_local::functions::{Functions, Ground};
use recharge_tests::matrix::{Matrix, ONCE, Outcome, Plan, matrix, met};
use recharge_tests::sites::Site;
use recharge_tests::world::until_crash;
use recharge_tests::{FaultyOutbound, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flow {
    /// The poller's run that reads a page with a balance, and with an order that its provider is asked about.
    Page,
}

impl Flow {
    const ALL: [Flow; 1] = [Flow::Page];
}

const ROWS: u32 = 50;
const EVERY_SECS: u64 = 300;

fn auditor(world: &World, faults: &Faults, attempts: u32) -> Functions {
    let ground = &world.stack.ground;
    let (inner, faults) = (ground.outbound.clone(), faults.clone());
    let wire = faults.wrap(ground.aws.http_client());
    let outbound = Arc::new(FaultyOutbound { inner, faults });
    let ground = Ground { wire, outbound, attempts, audit_page: ROWS, ..ground.clone() };
    Functions::new(&ground).expect("the same settings have built the first instance")
}

async fn play(_: Flow, plan: Plan, attempts: u32) -> Outcome {
    let world = World::of_trader().await;
    let created = world.create("u_1", 5_000_000, "k-1").await;
    let order = created.json["orderId"].as_str().expect("an order").to_owned();
    let callback = world.pay(&order, None);
    world.deliver(&callback).await;
    world.settle().await;
    world.notify().await;
    // Until its provider is asked about it, and the next page is due.
    world.pass(90_000).await;
    let minute = u64::try_from(world.clock().now_ms() / 1_000).expect("after 1970") % EVERY_SECS;
    world.pass(EVERY_SECS - minute).await;
    let before = world.books();
    let faults = plan.faults(world.clock().clone());
    let functions = auditor(&world, &faults, attempts);
    let _ = until_crash(&faults, functions.poll("audit".to_owned())).await;
    drop(functions);
    let mut problems = before.violations();
    world.pass(EVERY_SECS).await;
    let clean = auditor(&world, &Faults::none(world.clock().clone()), 3);
    match clean.poll("again".to_owned()).await {
        Ok(report) if report["failed"] == 0 => {}
        other => problems.push(format!("the next run came to {other:?}")),
    }
    if world.books() != before {
        problems.push(format!("the audit changed the books: {before:?} to {:?}", world.books()));
    }
    Outcome { log: faults.log(), problems }
}

/// Every fault at every call.
pub fn every_fault() -> Matrix {
    matrix(1, (&Flow::ALL, ONCE), play)
}

/// Where the flow comes to.
pub fn sites() -> BTreeSet<Site> {
    met(1, &Flow::ALL, play)
}
