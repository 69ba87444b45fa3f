//! The crash matrix of everything that only reads: whatever fails, the answer is the one without the fault or
//! an error that keeps the contract, and nothing has changed anywhere.

use std::collections::BTreeSet;

use recharge_local::call::{ADMIN_KEYS, API_KEYS};
use recharge_tests::matrix::{Matrix, ONCE, Outcome, Plan, matrix, met};
use recharge_tests::sites::Site;
use recharge_tests::world::{CALLBACK_URL, until_crash};
use recharge_tests::{Answered, World};
use serde_json::json;

use crate::scene::{MINOR, arrive, everything, exact, merchant, order, reviews};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flow {
    Health,
    OpenApi,
    Order,
    /// By the merchant's own number.
    Reference,
    List,
    Explain,
    Deliveries,
    Events,
    Balances,
    Ledger,
    Addresses,
    Reviews,
    ClosedReviews,
    Review,
}

impl Flow {
    const ALL: [Flow; 14] = [
        Flow::Health,
        Flow::OpenApi,
        Flow::Order,
        Flow::Reference,
        Flow::List,
        Flow::Explain,
        Flow::Deliveries,
        Flow::Events,
        Flow::Balances,
        Flow::Ledger,
        Flow::Addresses,
        Flow::Reviews,
        Flow::ClosedReviews,
        Flow::Review,
    ];

    fn path(self, scene: &Scene) -> String {
        let Scene { order, review } = scene;
        match self {
            Flow::Health => "/health".to_owned(),
            Flow::OpenApi => "/openapi.json".to_owned(),
            Flow::Order => format!("/recharges/{order}"),
            Flow::Reference => "/recharges?orderReference=ours-1".to_owned(),
            Flow::List => "/recharges?userId=u_1".to_owned(),
            Flow::Explain => format!("/recharges/{order}/explain"),
            Flow::Deliveries => format!("/recharges/{order}/deliveries"),
            Flow::Events => "/events?limit=10".to_owned(),
            Flow::Balances => "/users/u_1/balances".to_owned(),
            Flow::Ledger => "/users/u_1/ledger".to_owned(),
            Flow::Addresses => "/users/u_1/deposit-addresses".to_owned(),
            Flow::Reviews => "/admin/reviews".to_owned(),
            Flow::ClosedReviews => "/admin/reviews?status=closed".to_owned(),
            Flow::Review => format!("/admin/reviews/{review}"),
        }
    }
}

struct Scene {
    order: String,
    review: String,
}

/// One order is paid, one waits for a person, one is open; of two reviews one is closed.
async fn set(world: &World) -> Scene {
    merchant(world, &exact()).await;
    let body = json!({"paymentMethod": "payprotocol"}).to_string();
    world.send(&world.signed(("POST", "/users/u_1/deposit-addresses"), &body, "")).await;
    let body = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT",
        "orderReference": "ours-1", "callbackUrl": CALLBACK_URL});
    world.send(&world.signed(("POST", "/recharges"), &body.to_string(), "k-0")).await;
    let paid = order(world, "k-1").await;
    arrive(world, &paid, "p-1", MINOR).await;
    for (key, payment) in [("k-2", "p-2"), ("k-3", "p-3")] {
        let order = order(world, key).await;
        arrive(world, &order, payment, MINOR - 1).await;
        world.pass(1).await;
    }
    let mut reviews = reviews(world).await;
    let path = format!("/admin/reviews/{}/resolve", reviews.remove(0));
    let body = json!({"action": "reject", "note": "nobody knows"}).to_string();
    world.send(&world.signed_as(ADMIN_KEYS[0], ("POST", &path), &body, "")).await;
    world.settle().await;
    world.notify().await;
    world.pass(30).await;
    Scene { order: paid, review: reviews.remove(0) }
}

async fn play(flow: Flow, plan: Plan, attempts: u32) -> Outcome {
    let world = World::new().await;
    let scene = set(&world).await;
    let admin = matches!(flow, Flow::Reviews | Flow::ClosedReviews | Flow::Review);
    let key = if admin { ADMIN_KEYS[0] } else { API_KEYS[0] };
    let request = world.signed_as(key, ("GET", &flow.path(&scene)), "", "");
    let without = world.send(&request).await;
    let before = everything(&world);
    let faults = plan.faults(world.clock().clone());
    let functions = world.instance(&faults, attempts);
    let answered = until_crash(&faults, world.send_to(&functions, &request)).await;
    let mut problems = Vec::new();
    if without.status != 200 {
        problems.push(format!("without a fault: {without:?}"));
    }
    problems.extend(answered.and_then(|answered| wrong(&answered, &without)));
    if everything(&world) != before {
        problems.push("a read has changed something".to_owned());
    }
    let after = world.send(&request).await;
    if after.json != without.json {
        problems.push(format!("afterwards {} instead of {}", after.text, without.text));
    }
    Outcome { log: faults.log(), problems }
}

/// What is wrong with the answer that was given under the fault.
fn wrong(answered: &Answered, without: &Answered) -> Option<String> {
    let Answered { status, json, text, headers } = answered;
    if *status == 200 {
        return (*json != without.json).then(|| format!("another answer: {text}"));
    }
    let problem = headers.get("content-type").is_some_and(|t| t == "application/problem+json");
    let whole = ["message", "details", "traceId"].iter().all(|name| !json[*name].is_null());
    let named = (*status, json["errorCode"].as_str()) == (503, Some("SERVICE_UNAVAILABLE"));
    let tells = ["injected", "dynamodb", "throughput", "Throttl"].iter().any(|w| text.contains(w));
    (!problem || !whole || !named || tells).then(|| format!("no error of the contract: {text}"))
}

/// Every fault at every call.
pub fn every_fault() -> Matrix {
    matrix(1, (&Flow::ALL, ONCE), play)
}

/// Where the flows come to.
pub fn sites() -> BTreeSet<Site> {
    met(1, &Flow::ALL, play)
}
