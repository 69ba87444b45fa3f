//! What the main job costs: requests and capacity units of every operation, printed and asserted.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use recharge_local::aws::faults::{Faults, LogEntry, Units};
use recharge_local::call::ADMIN_KEYS;
use recharge_local::events::Incoming;
use recharge_local::functions::Functions;
use recharge_shared::domain::{AmountPolicy, Merchant, MerchantId, MerchantPolicy, Order, OrderId};
use recharge_shared::store::Store;
use recharge_tests::World;
use recharge_tests::world::{Answered, simulate};
use serde_json::json;

const MINOR: i64 = 5_000_000;

struct Bill {
    table: Vec<LogEntry>,
    all: Vec<LogEntry>,
}

impl Bill {
    fn of(faults: &Faults) -> Bill {
        Bill::since(faults, 0)
    }

    /// Without the first `calls` outside calls.
    fn since(faults: &Faults, calls: usize) -> Bill {
        let mut all = faults.log();
        all.sort_by_key(|entry| entry.index);
        all.drain(..calls);
        let table = all.iter().filter(|e| e.call.starts_with("dynamodb.")).cloned().collect();
        Bill { table, all }
    }

    fn add(&mut self, other: Bill) {
        self.table.extend(other.table);
        self.all.extend(other.all);
    }

    fn units(&self, reads: bool) -> u64 {
        let is_read = |call: &str| call.ends_with("GetItem") || call.ends_with("Query");
        let of = |entry: &&LogEntry| is_read(&entry.call) == reads;
        self.table.iter().filter(of).map(|entry| entry.capacity.total.in_halves()).sum()
    }

    fn writes(&self) -> u64 {
        self.units(false).div_ceil(2)
    }

    fn read_halves(&self) -> u64 {
        self.units(true)
    }

    fn queue(&self) -> usize {
        self.all.iter().filter(|entry| entry.call.starts_with("sqs.")).count()
    }

    fn print(&self, what: &str) {
        let requests: Vec<&str> =
            self.table.iter().map(|e| e.call.trim_start_matches("dynamodb.")).collect();
        println!(
            "| {what} | {} | {} | {} | {} |",
            self.writes(),
            Units::halves(self.read_halves()),
            requests.join(", "),
            self.queue(),
        );
    }
}

#[test]
fn the_main_job_costs_what_the_architecture_says() {
    println!("| operation | write units | read units | table requests | queue requests |");
    println!("|---|---:|---:|---|---:|");
    simulate(1, async || {
        let world = World::new().await;
        let run = || {
            let faults = Faults::none(world.clock().clone());
            (world.instance(&faults, 3), faults)
        };

        let (functions, faults) = run();
        let first = world.send_to(&functions, &world.create_request("u_1", MINOR, "k-1")).await;
        assert_eq!(first.status, 201, "{}", first.text);
        Bill::of(&faults).print("create, the user's first");

        let (created, mut whole) = create(&world, run).await;
        let order = created.json["orderId"].as_str().unwrap().to_owned();
        let callback = world.pay(&order, None);
        let (functions, faults) = run();
        let acknowledged = world.send_to(&functions, &world.callback(&callback)).await;
        assert_eq!(acknowledged.text, "success");
        let bill = Bill::of(&faults);
        bill.print("callback");
        assert_eq!((bill.table.len(), bill.queue()), (0, 1));
        whole.add(bill);

        // On an instance that has met the merchant: it reads the settings once a minute.
        let (functions, faults) = run();
        let other = world.create("u_1", MINOR, "k-3").await;
        let early = world.pay(other.json["orderId"].as_str().unwrap(), None);
        assert_eq!(world.stack.settle_batch_with(&functions, 0).await, Ok(1));
        let bill = Bill::of(&faults);
        bill.print("settlement, with the merchant's settings");
        let before = faults.log().len();
        world.notify().await;
        world.deliver(&early).await;
        assert_eq!(world.stack.settle_batch_with(&functions, 0).await, Ok(1));
        let bill = Bill::since(&faults, before);
        bill.print("settlement");
        assert!(bill.read_halves() <= 2, "{:#?}", bill.table);
        assert!(bill.writes() <= 8, "{:#?}", bill.table);
        let transactions = bill.table.iter().filter(|e| e.call.ends_with("TransactWriteItems"));
        assert_eq!((transactions.count(), bill.table.len()), (1, 2), "{:#?}", bill.table);
        whole.add(bill);

        let (functions, faults) = run();
        assert_eq!(world.stack.notify_batch_with(&functions, 0).await, Ok(1));
        let bill = Bill::of(&faults);
        bill.print("notification");
        assert!(bill.writes() <= 2 && bill.read_halves() <= 3, "{:#?}", bill.table);
        whole.add(bill);
        whole.print("**from create to delivered notification**");
        assert!(whole.writes() <= 14 && whole.read_halves() <= 6, "{:#?}", whole.table);
        assert_eq!(whole.queue(), 2, "one message to settle, one to notify");

        let (functions, faults) = run();
        world.send_to(&functions, &world.callback(&callback)).await;
        assert_eq!(world.stack.settle_batch_with(&functions, 0).await, Ok(1));
        let bill = Bill::of(&faults);
        bill.print("the same callback again");
        assert_eq!(bill.writes(), 0, "{:#?}", bill.table);

        let reads = [
            ("status", format!("/recharges/{order}"), 2),
            ("balances", "/users/u_1/balances".to_owned(), 2),
            ("ledger", "/users/u_1/ledger".to_owned(), 2),
        ];
        for (what, path, halves_max) in reads {
            let (functions, faults) = run();
            let answered = world.send_to(&functions, &world.signed(("GET", &path), "", "")).await;
            assert_eq!(answered.status, 200, "{}", answered.text);
            let bill = Bill::of(&faults);
            bill.print(what);
            assert!(bill.read_halves() <= halves_max, "{what}: {:#?}", bill.table);
            assert_eq!((bill.table.len(), bill.writes()), (1, 0));
        }
        poller(&world, run).await;
    });
}

#[test]
fn a_batch_reads_its_orders_together_and_hands_its_notices_over_together() {
    simulate(1, async || {
        let world = World::new().await;
        for n in 0..10 {
            let created = world.create("u_1", MINOR, &format!("k-{n}")).await;
            let callback = world.pay(created.json["orderId"].as_str().unwrap(), None);
            world.deliver(&callback).await;
        }
        let faults = Faults::none(world.clock().clone());
        let functions = world.instance(&faults, 3);
        assert_eq!(world.stack.settle_batch_with(&functions, 0).await, Ok(10));
        let bill = Bill::of(&faults);
        bill.print("ten settlements in a batch, with the merchant's settings");
        let made =
            |call: &str| bill.table.iter().filter(|entry| entry.call.ends_with(call)).count();
        let all = (made("BatchGetItem"), made("Query"), made("TransactWriteItems"));
        assert_eq!((all, bill.table.len()), ((1, 1, 10), 12), "{:#?}", bill.table);
        assert_eq!((bill.writes(), bill.read_halves()), (80, 22), "{:#?}", bill.table);
        assert_eq!(bill.queue(), 1, "{:#?}", bill.all);
        assert_eq!(world.stack.notify_batch(0).await, Ok(10));
        let books = world.books();
        assert_eq!((books.credits.len(), books.violations()), (10, Vec::<String>::new()));
    });
}

/// A run with nothing due reads the index, and the one row that says how far a provider's list was read,
/// whatever else is in the table.
async fn poller(world: &World, run: impl Fn() -> (Functions, Faults)) {
    // The first run of all writes down from where on a list is read.
    world.stack.poll().await.unwrap();
    world.pass(1).await;
    let (functions, faults) = run();
    let report = functions.poll("idle".to_owned()).await.unwrap();
    assert_eq!(report["failed"], 0, "{report}");
    let bill = Bill::of(&faults);
    bill.print("poll, nothing due");
    let others = bill.table.iter().filter(|entry| entry.call != "dynamodb.Query");
    let others: Vec<&str> = others.map(|entry| entry.call.as_str()).collect();
    assert_eq!(others, ["dynamodb.GetItem", "dynamodb.UpdateItem"], "{:#?}", bill.table);
    assert!(bill.writes() <= 1 && bill.read_halves() <= 11, "{:#?}", bill.table);

    world.pass(60).await;
    let (functions, faults) = run();
    let report = functions.poll("one".to_owned()).await.unwrap();
    assert_eq!(report["lookedAt"], 1, "the unpaid order is due, the settled one is not: {report}");
    let bill = Bill::of(&faults);
    bill.print("poll, one order due and unpaid");
    // Three for the look, and one that says how far the other provider's list was read.
    let look = bill.writes() - 1;
    assert!(look <= 3, "{:#?}", bill.table);
}

/// A create and its replay on an instance that has met the merchant: it reads the settings once a minute.
async fn create(world: &World, run: impl Fn() -> (Functions, Faults)) -> (Answered, Bill) {
    let (functions, faults) = run();
    world.send_to(&functions, &world.create_request("u_1", MINOR, "k-1")).await;
    let met = faults.log().len();
    let created = world.send_to(&functions, &world.create_request("u_1", MINOR, "k-2")).await;
    assert_eq!((created.status, &created.json["status"]), (201, &"PENDING".into()));
    let bill = Bill::since(&faults, met);
    bill.print("create");
    assert!(bill.writes() <= 4, "{:#?}", bill.table);
    let provider = bill.all.iter().position(|e| e.call.starts_with("provider.")).unwrap();
    let before: Vec<&str> = bill.all[..provider]
        .iter()
        .map(|e| e.call.as_str())
        .filter(|call| call.starts_with("dynamodb."))
        .collect();
    // Both leave together: one round trip.
    assert_eq!(before, ["dynamodb.PutItem", "dynamodb.GetItem"]);
    let whole = bill;

    let met = faults.log().len();
    let replayed = world.send_to(&functions, &world.create_request("u_1", MINOR, "k-2")).await;
    assert_eq!((replayed.status, &replayed.json), (200, &created.json));
    let bill = Bill::since(&faults, met);
    bill.print("replay");
    assert_eq!(bill.table.len(), 2, "one round trip, two requests side by side");
    let refused: Vec<u16> =
        bill.table.iter().filter(|e| e.call == "dynamodb.PutItem").map(|e| e.status).collect();
    assert_eq!(refused, [400], "one write, whose condition fails: {:#?}", bill.table);
    assert!(bill.writes() == 0 && bill.read_halves() <= 1, "{:#?}", bill.table);

    // The fourth create of this instance: it pays the merchant's bucket for all of them.
    let met = faults.log().len();
    world.send_to(&functions, &world.create_request("u_1", MINOR, "k-2")).await;
    let bill = Bill::since(&faults, met);
    bill.print("replay, with the bucket paid for four creates");
    assert!(bill.writes() <= 1, "{:#?}", bill.table);
    (created, whole)
}

/// What one request costs a new instance; at most that many write units and halves of read units.
async fn ask(world: &World, what: &str, request: &Incoming, most: (u64, u64)) -> Answered {
    let faults = Faults::none(world.clock().clone());
    let answered = world.send_to(&world.instance(&faults, 3), request).await;
    let bill = Bill::of(&faults);
    bill.print(what);
    assert!(bill.writes() <= most.0 && bill.read_halves() <= most.1, "{what}: {:#?}", bill.table);
    answered
}

/// The same for the one message in the settlement queue.
async fn work(world: &World, what: &str, most: (u64, u64)) {
    let faults = Faults::none(world.clock().clone());
    let functions = world.instance(&faults, 3);
    assert_eq!(world.stack.settle_batch_with(&functions, 0).await, Ok(1));
    let bill = Bill::of(&faults);
    bill.print(what);
    assert!(bill.writes() <= most.0 && bill.read_halves() <= most.1, "{what}: {:#?}", bill.table);
}

/// Each on a new instance, which reads the merchant's settings first.
#[test]
fn deposits_and_decisions_cost_what_the_architecture_says() {
    simulate(1, async || {
        let world = World::new().await;
        let aws = &world.stack.ground.aws;
        let store = Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone());
        let policy =
            MerchantPolicy { amount: Some(AmountPolicy::Exact), ..MerchantPolicy::default() };
        let settings = Merchant { policy, ..Merchant::default() };
        store.set_merchant(&MerchantId::parse("m_demo").unwrap(), &settings).await.unwrap();

        let path = ("POST", "/users/u_1/deposit-addresses");
        let wanted = world.signed(path, r#"{"paymentMethod":"payprotocol"}"#, "");
        let made = ask(&world, "deposit addresses", &wanted, (7, 2)).await;
        let again = ask(&world, "deposit addresses, again", &wanted, (0, 2)).await;
        assert_eq!(made.json, again.json);
        let address = made.json["addresses"][0]["address"].as_str().unwrap();
        let deposited = world.deposit(address, "12.5").callback.unwrap();
        world.deliver_payprotocol(&deposited).await;
        // Two of them for the transfer's own row, which an order's settlement does not have.
        work(&world, "settlement of a deposit", (10, 6)).await;

        let created = world.create("u_1", MINOR, "k-1").await;
        let order = created.json["orderId"].as_str().unwrap();
        world.deliver(&world.pay(order, Some(MINOR - 100))).await;
        work(&world, "payment put aside with its order", (5, 4)).await;
        let explain = world.signed(("GET", &format!("/recharges/{order}/explain")), "", "");
        ask(&world, "explain", &explain, (0, 2)).await;
        let list = world.signed_as(ADMIN_KEYS[0], ("GET", "/admin/reviews"), "", "");
        let open = ask(&world, "reviews, one open", &list, (0, 3)).await;
        let review = open.json["reviews"][0]["reviewId"].as_str().unwrap();
        let path = format!("/admin/reviews/{review}/resolve");
        let body = format!(r#"{{"action":"credit_order","orderId":"{order}","note":"agreed"}}"#);
        let decision = world.signed_as(ADMIN_KEYS[0], ("POST", &path), &body, "");
        assert_eq!(ask(&world, "decision", &decision, (3, 8)).await.status, 202);
        work(&world, "decision carried out", (13, 4)).await;
        assert_eq!(world.order(order).await["reason"], "manual");

        let created = world.create("u_1", MINOR, "k-2").await;
        let order = created.json["orderId"].as_str().unwrap();
        world.deliver(&world.pay(order, Some(MINOR - 100))).await;
        world.settle().await;
        let open = world.send(&list).await;
        let review = open.json["reviews"][0]["reviewId"].as_str().unwrap();
        let path = format!("/admin/reviews/{review}/resolve");
        let body = r#"{"action":"reject","note":"agreed"}"#;
        let decision = world.signed_as(ADMIN_KEYS[0], ("POST", &path), body, "");
        assert_eq!(world.send(&decision).await.status, 202);
        work(&world, "rejection carried out", (7, 4)).await;
        assert_eq!(world.order(order).await["status"], "FAILED");
    });
}

/// A state that few of a user's orders have: who looks for it reads no more than a request may.
#[test]
fn looking_for_a_rare_state_costs_a_bounded_page() {
    simulate(1, async || {
        let world = World::new().await;
        let created = world.create("u_1", MINOR, "k-1").await;
        let aws = &world.stack.ground.aws;
        let store = Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone());
        let id = OrderId::parse(created.json["orderId"].as_str().unwrap()).unwrap();
        let first = store.order(&id).await.unwrap().unwrap();
        for number in 0..899 {
            let id = OrderId::parse(&format!("R{number:025}")).unwrap();
            store.place(&Order { id, reference: None, ..first.clone() }).await.unwrap();
        }
        let (mut after, mut pages) = (String::new(), Vec::new());
        loop {
            let faults = Faults::none(world.clock().clone());
            let functions = world.instance(&faults, 3);
            let target = format!("/recharges?userId=u_1&status=SUCCESS{after}");
            let asked = world.signed(("GET", &target), "", "");
            let page = world.send_to(&functions, &asked).await;
            assert_eq!((page.status, &page.json["recharges"]), (200, &json!([])), "{}", page.text);
            pages.push(Bill::of(&faults).read_halves().div_ceil(2));
            let Some(next) = page.json["nextCursor"].as_str() else { break };
            after = format!("&cursor={next}");
        }
        println!("read units of each page: {pages:?}");
        assert!(pages.len() == 3 && pages.iter().all(|units| *units < 500), "{pages:?}");
    });
}
