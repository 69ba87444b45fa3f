//! The crash matrix of what people, merchants and operators do, and of statements that end otherwise than in a
//! credit. Whoever asks repeats the request until it is heard.

use std::collections::BTreeSet;

use recharge_local::aws::faults::{Fault, Faults, Service};
use recharge_local::call::{ADMIN_KEYS, ApiKey};
use recharge_local::events::Incoming;
use recharge_local::functions::Functions;
use recharge_local::sim::receiver::Manner;
use recharge_local::stack::{Accounts, PAYPROTOCOL, PAYPROTOCOL_SECRET, TRADER_KEY};
use recharge_shared::domain::{EvidenceKind, Merchant, MerchantId, UserAccess, UserId};
use recharge_tests::World;
use recharge_tests::matrix::{Matrix, ONCE, Outcome, Plan, matrix, met};
use recharge_tests::sites::Site;
use recharge_tests::world::{CALLBACK_URL, until_crash};
use serde_json::{Value, json};

use crate::scene::{MINOR, arrive, enqueue, exact, merchant, order, reviews, store, usdt};

/// From here on two people decide.
const LARGE: i64 = 1_000_000_000;
const NOBODY: &str = "R0000000000000000000000000";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flow {
    /// A create that was answered comes again.
    Replay,
    /// A create with the merchant's own number.
    Reference,
    /// A create for a registered user.
    Registered,
    /// So many creates that the merchant's bucket is paid.
    Bucket,
    /// The provider gives an order up.
    Decline,
    /// Too little arrives: the order waits for a person.
    Hold,
    /// A payment for no order of ours.
    Park,
    /// A second payment, which waits for a person.
    Second,
    /// A message in the settlement queue that nobody can read.
    Unreadable,
    /// One in the notification queue.
    UnreadableNotice,
    /// A large amount: the provider is asked first.
    Confirm,
    /// The merchant wants the latest notification again.
    Again,
    /// The merchant wants those of a day again.
    Resend,
    /// The receiver was away: the poller hands the notice over again.
    Due,
    /// The second of two people agrees.
    TwoPeople,
    /// A person refuses money.
    Reject,
    /// A person sends it back.
    Refund,
    /// A decision was never handed over: the poller does it.
    Decided,
    /// A person credits what was credited before with another amount.
    Contradicted,
}

impl Flow {
    const ALL: [Flow; 19] = [
        Flow::Replay,
        Flow::Reference,
        Flow::Registered,
        Flow::Bucket,
        Flow::Decline,
        Flow::Hold,
        Flow::Park,
        Flow::Second,
        Flow::Unreadable,
        Flow::UnreadableNotice,
        Flow::Confirm,
        Flow::Again,
        Flow::Resend,
        Flow::Due,
        Flow::TwoPeople,
        Flow::Reject,
        Flow::Refund,
        Flow::Decided,
        Flow::Contradicted,
    ];
}

#[derive(Default)]
struct Scene {
    order: String,
    reviews: Vec<String>,
}

/// A world whose provider is asked before so much is credited.
async fn world_of(flow: Flow) -> World {
    if flow != Flow::Confirm {
        return World::of_trader().await;
    }
    let urls = ("http://trader.invalid", "https://recharge.invalid/recharges/callback/trader");
    let settings = recharge_local::stack::provider_settings(urls, "http://payprotocol.invalid");
    let mut settings: Value = serde_json::from_str(&settings).expect("settings are JSON");
    settings["trader"]["policy"] = json!({"confirm_from": MINOR});
    let keys = json!({"trader": {"key": TRADER_KEY}, PAYPROTOCOL: {"key": PAYPROTOCOL_SECRET}});
    let accounts = Accounts { settings, keys, default: "trader".to_owned() };
    World::with(
        Some(accounts),
        |trader| std::sync::Arc::new(trader.outbound()),
        |receiver| std::sync::Arc::new(receiver.clone()),
    )
    .await
}

async fn set(flow: Flow, world: &World) -> Scene {
    let mut scene = Scene::default();
    merchant(world, &exact()).await;
    match flow {
        Flow::Registered => {
            let users = UserAccess::Registered;
            merchant(world, &Merchant { users, ..exact() }).await;
            let (id, user) = (MerchantId::parse("m_demo"), UserId::parse("u_1"));
            let (id, user) = (id.expect("a merchant"), user.expect("a user"));
            store(world).register_user(&id, &user).await.expect("the table writes");
        }
        Flow::Reference | Flow::Bucket => {}
        Flow::TwoPeople => {
            let created = world.create("u_1", 2 * LARGE, "k-1").await;
            scene.order = created.json["orderId"].as_str().expect("an order").to_owned();
        }
        _ => scene.order = order(world, "k-1").await,
    }
    let order = scene.order.as_str();
    match flow {
        Flow::Second | Flow::Again | Flow::Resend => arrive(world, order, "p-1", MINOR).await,
        Flow::Due => {
            world.receiver.set(CALLBACK_URL, Manner::Refuses);
            arrive(world, order, "p-1", MINOR).await;
            world.receiver.set(CALLBACK_URL, Manner::Answers(200, String::new()));
            world.pass(300).await;
        }
        Flow::TwoPeople => arrive(world, order, "p-1", LARGE).await,
        Flow::Reject | Flow::Refund | Flow::Decided => {
            arrive(world, order, "p-1", MINOR - 1).await;
        }
        Flow::Contradicted => {
            arrive(world, NOBODY, "p-1", MINOR).await;
            world.pass(1).await;
            arrive(world, NOBODY, "p-1", MINOR + 1).await;
        }
        // In the queue before the fault: what hands it over is another flow.
        Flow::Decline => enqueue(world, order, "d-1", EvidenceKind::Declined).await,
        Flow::Hold => enqueue(world, order, "p-1", usdt(MINOR - 1)).await,
        Flow::Park => enqueue(world, NOBODY, "p-1", usdt(MINOR)).await,
        _ => {}
    }
    match flow {
        Flow::Second => enqueue(world, order, "p-2", usdt(MINOR)).await,
        Flow::Unreadable => spoil(world, &world.stack.names.settlement_url).await,
        Flow::UnreadableNotice => spoil(world, &world.stack.names.notifications.url).await,
        _ => {}
    }
    scene.reviews = reviews(world).await;
    decide_before(flow, world, &scene).await;
    scene
}

/// What was decided before the fault.
async fn decide_before(flow: Flow, world: &World, scene: &Scene) {
    match flow {
        Flow::TwoPeople => {
            let first = world.send(&decision(flow, world, scene, ADMIN_KEYS[1])).await;
            assert_eq!((first.status, &first.json["status"]), (202, &json!("PROPOSED")));
        }
        Flow::Decided => {
            let away = Faults::new(world.clock().clone(), |call| match call.service {
                Service::Sqs => Fault::RequestLost,
                _ => Fault::None,
            });
            let functions = world.instance(&away, 1);
            let request = decision(flow, world, scene, ADMIN_KEYS[0]);
            assert_eq!(world.send_to(&functions, &request).await.status, 202);
            world.pass(61).await;
        }
        Flow::Contradicted => {
            let path = format!("/admin/reviews/{}/resolve", scene.reviews[0]);
            let order = &scene.order;
            let body = json!({"action": "credit_order", "orderId": order, "note": "seen"});
            let body = body.to_string();
            let first = world.signed_as(ADMIN_KEYS[2], ("POST", &path), &body, "");
            assert_eq!(world.send(&first).await.status, 202);
            world.settle().await;
            world.notify().await;
        }
        _ => {}
    }
}

async fn spoil(world: &World, url: &str) {
    let aws = &world.stack.ground.aws;
    let sqs = aws.sqs(aws.http_client(), 3);
    sqs.send_message().queue_url(url).message_body("?").send().await.expect("the queue takes it");
}

fn decision(flow: Flow, world: &World, scene: &Scene, key: ApiKey<'_>) -> Incoming {
    let body = match flow {
        Flow::Reject => json!({"action": "reject", "note": "nobody knows"}),
        Flow::Refund => json!({"action": "refund", "note": "the payer wants it back"}),
        Flow::Contradicted => {
            json!({"action": "credit_user", "merchant": "m_demo", "userId": "u_2", "note": "his"})
        }
        _ => json!({"action": "credit_order", "orderId": scene.order, "note": "agreed"}),
    };
    let review = scene.reviews.last().expect("a review");
    let path = format!("/admin/reviews/{review}/resolve");
    world.signed_as(key, ("POST", &path), &body.to_string(), "")
}

/// What is asked, and asked again until it is heard.
fn requests(flow: Flow, world: &World, scene: &Scene) -> Vec<Incoming> {
    let create = |key: &str| world.create_request("u_1", MINOR, key);
    let order = &scene.order;
    match flow {
        Flow::Replay | Flow::Registered => vec![create("k-1")],
        Flow::Bucket => ["k-1", "k-2", "k-3", "k-4"].map(create).to_vec(),
        Flow::Reference => {
            let body = json!({"userId": "u_1", "amount": MINOR, "currency": "USDT",
                "orderReference": "ours-1", "callbackUrl": CALLBACK_URL});
            vec![world.signed(("POST", "/recharges"), &body.to_string(), "k-1")]
        }
        Flow::Again => {
            vec![world.signed(("POST", &format!("/recharges/{order}/notify")), "", "")]
        }
        Flow::Resend => {
            let body = json!({"from": "2027-01-15T00:00:00Z", "to": "2027-01-16T00:00:00Z",
                "state": "ALL"});
            vec![world.signed(("POST", "/events/resend"), &body.to_string(), "")]
        }
        Flow::TwoPeople | Flow::Reject | Flow::Refund => {
            vec![decision(flow, world, scene, ADMIN_KEYS[0])]
        }
        Flow::Contradicted => vec![decision(flow, world, scene, ADMIN_KEYS[2])],
        _ => Vec::new(),
    }
}

/// What an instance does under the fault.
async fn act(flow: Flow, world: &World, scene: &Scene, functions: &Functions) {
    for request in requests(flow, world, scene) {
        world.send_to(functions, &request).await;
    }
    if flow == Flow::Confirm {
        let callback = world.pay(&scene.order, None);
        world.send_to(functions, &world.callback(&callback)).await;
    }
    if matches!(flow, Flow::Due | Flow::Decided) {
        let _ = functions.poll("poll".to_owned()).await;
    }
    let rounds = if matches!(flow, Flow::Unreadable | Flow::UnreadableNotice) { 5 } else { 1 };
    for _ in 0..rounds {
        let _ = world.stack.settle_batch_with(functions, 0).await;
        let _ = world.stack.notify_batch_with(functions, 0).await;
        if rounds > 1 {
            world.pass(361).await;
        }
    }
}

async fn play(flow: Flow, plan: Plan, attempts: u32) -> Outcome {
    let world = world_of(flow).await;
    let scene = set(flow, &world).await;
    let faults = plan.faults(world.clock().clone());
    let functions = world.instance(&faults, attempts);
    until_crash(&faults, act(flow, &world, &scene, &functions)).await;
    drop(functions);
    let mut problems = Vec::new();
    world.pass(20).await;
    for request in requests(flow, &world, &scene) {
        let answered = world.send(&request).await;
        let heard = matches!(answered.status, 200..=202);
        // A review that was opened again for its contradiction refuses the same decision.
        if !heard && flow != Flow::Contradicted {
            problems.push(format!("asked again: {answered:?}"));
        }
    }
    // As long as it takes a message that was in flight to come again, as often as it may; a notice that was
    // taken and not handed over is due again after a quarter of an hour.
    let minutes = match flow {
        Flow::Unreadable | Flow::UnreadableNotice => 40,
        Flow::Due => 20,
        _ => 8,
    };
    world.let_pass(minutes).await;
    problems.extend(check(flow, &world).await);
    problems.extend(world.untold().await);
    Outcome { log: faults.log(), problems }
}

/// The books, the queues and the provider's own truth.
async fn check(flow: Flow, world: &World) -> Vec<String> {
    let books = world.books();
    let mut problems = books.violations();
    // How the orders stand, what was credited, what was put aside.
    let (stands, credited, parked) = match flow {
        Flow::Replay | Flow::Reference | Flow::Registered => ("PENDING", 0, 0),
        Flow::Bucket => ("PENDING PENDING PENDING PENDING", 0, 0),
        Flow::Decline => ("FAILED", 0, 0),
        Flow::Hold => ("REVIEW", 0, 1),
        Flow::Park => ("PENDING", 0, 1),
        Flow::Second => ("SUCCESS", MINOR, 1),
        // The time of an open order has run out while the message was tried.
        Flow::Unreadable | Flow::UnreadableNotice => ("EXPIRED", 0, 0),
        Flow::Confirm | Flow::Again | Flow::Resend | Flow::Due => ("SUCCESS", MINOR, 0),
        Flow::TwoPeople => ("SUCCESS", LARGE, 1),
        Flow::Reject | Flow::Refund => ("FAILED", 0, 1),
        Flow::Decided => ("SUCCESS", MINOR - 1, 1),
        Flow::Contradicted => ("SUCCESS", MINOR, 2),
    };
    let mut seen: Vec<&str> = books.orders.iter().map(|order| order.state.as_str()).collect();
    seen.sort_unstable();
    let mut expect = |what: &str, seen: String, wanted: String| {
        if seen != wanted {
            problems.push(format!("{what}: {seen} instead of {wanted}"));
        }
    };
    let balance: i128 = books.balances.values().map(|held| held.amount).sum();
    expect("orders", seen.join(" "), stands.to_owned());
    expect("credited", balance.to_string(), credited.to_string());
    expect("parked", books.parked.to_string(), parked.to_string());
    expect("refunds", books.refunds.to_string(), u8::from(flow == Flow::Refund).to_string());
    let at_provider = world.trader.provider_orders().to_string();
    expect("orders at the provider", at_provider, books.orders.len().to_string());
    let open = reviews(world).await.len().to_string();
    let waits = matches!(flow, Flow::Hold | Flow::Park | Flow::Second | Flow::Contradicted);
    expect("open reviews", open, u8::from(waits).to_string());
    let (depth, notices) = (world.stack.depth(), world.stack.notification_depth());
    let left = depth.visible + depth.in_flight + notices.visible + notices.in_flight;
    expect("messages left", left.to_string(), "0".to_owned());
    let (dead, dead_notices) = (depth.dead.min(1), notices.dead.min(1));
    let wanted = (u8::from(flow == Flow::Unreadable), u8::from(flow == Flow::UnreadableNotice));
    expect("dead letters", format!("{:?}", (dead, dead_notices)), format!("{wanted:?}"));
    let again = matches!(flow, Flow::Again | Flow::Resend);
    let told = world.receiver.received().len();
    expect("told again", (again && told < 2).to_string(), "false".to_owned());
    problems
}

/// Every fault at every call.
pub fn every_fault() -> Matrix {
    matrix(1, (&Flow::ALL, ONCE), play)
}

/// Where the flows come to.
pub fn sites() -> BTreeSet<Site> {
    met(1, &Flow::ALL, play)
}
