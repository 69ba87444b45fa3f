//! What is left after `kill -9`: every callback that was answered `success` is credited, once.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use recharge_local::call::Client;
use recharge_local::stack::{TRADER_APPID, TRADER_KEY};
use recharge_shared::clock::{Clock, SystemClock};
use recharge_shared::domain::{MerchantId, UserId, UserMark};
use recharge_shared::providers::trader::{Fields, SIGN, SigningProfile, sign};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::bundle::*;

/// What the clients of a bundle have been told while it was under load.
#[derive(Default)]
struct Told {
    /// Orders whose payment the provider has on its books.
    paid: Mutex<Vec<String>>,
    /// Orders whose callback was answered `success`.
    acknowledged: Mutex<Vec<String>>,
}

impl Told {
    fn add(list: &Mutex<Vec<String>>, order: &str) {
        list.lock().unwrap().push(order.to_owned());
    }

    fn counts(&self) -> (usize, usize) {
        (self.paid.lock().unwrap().len(), self.acknowledged.lock().unwrap().len())
    }
}

/// The provider's callback for 5 USDT, signed here: unlike the control command, whoever sends it does
/// not wait for the worker, so that acknowledged callbacks are still queued when the process dies.
fn callback(order: &str, user: &str) -> Vec<u8> {
    let merchant = MerchantId::parse(DEMO.merchant).unwrap();
    let mark = UserMark::derive(&merchant, &UserId::parse(user).unwrap());
    let now = SystemClock.now().secs().to_string();
    let mut fields: Fields = [
        ("amount", "50000"),
        ("appid", TRADER_APPID),
        ("localusermark", mark.as_str()),
        ("orderid", order),
        ("t", now.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let signature = sign(&SigningProfile::default(), &fields, TRADER_KEY);
    fields.insert(SIGN.to_owned(), signature);
    form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish().into_bytes()
}

/// Creates orders and pays them until an answer fails to come; what it was that failed.
async fn load(client: Client, name: String, directly: bool, told: Arc<Told>) -> String {
    for number in 0.. {
        let key = format!("{name}-{number}");
        if let Err(error) = create_and_pay(&client, (&name, &key), directly, &told).await {
            return error;
        }
    }
    unreachable!()
}

async fn create_and_pay(
    client: &Client,
    (user, key): (&str, &str),
    directly: bool,
    told: &Told,
) -> Result<(), String> {
    let created = create(client, user, key).await?;
    if created.status != 201 {
        return Err(created.text);
    }
    let order = order_of(&created);
    let paid = client.local("pay", json!({"orderId": order, "silent": directly})).await?;
    Told::add(&told.paid, &order);
    if directly {
        return confirm_one(client, (user, &order), told).await;
    }
    if paid["callbacks"] != json!([{"status": 200, "body": "success"}]) {
        return Err(paid.to_string());
    }
    Told::add(&told.acknowledged, &order);
    Ok(())
}

async fn confirm_one(
    client: &Client,
    (user, order): (&str, &str),
    told: &Told,
) -> Result<(), String> {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let path = "/recharges/callback/trader";
    let reply = client.send(("POST", path), &headers, &callback(order, user)).await?;
    if (reply.status, reply.text.as_str()) != (200, "success") {
        return Err(reply.text);
    }
    Told::add(&told.acknowledged, order);
    Ok(())
}

/// Orders of one user that are paid while their callbacks are kept back.
async fn burst(client: &Client, user: &str, told: &Told) -> Vec<(String, String)> {
    let keys: Vec<String> = (0..100).map(|number| format!("{user}-{number}")).collect();
    let created = join_all(keys.iter().map(|key| create(client, user, key))).await;
    let orders: Vec<String> = created.into_iter().map(|reply| order_of(&reply.unwrap())).collect();
    for order in &orders {
        client.local("pay", json!({"orderId": order, "silent": true})).await.unwrap();
        Told::add(&told.paid, order);
    }
    orders.into_iter().map(|order| (user.to_owned(), order)).collect()
}

/// Sends their callbacks faster than the workers settle them.
async fn confirm(client: Client, orders: Vec<(String, String)>, told: Arc<Told>) {
    let confirm = |(user, order): &(String, String)| {
        let (user, order) = (user.clone(), order.clone());
        let (client, told) = (&client, &told);
        async move { confirm_one(client, (&user, &order), told).await }
    };
    join_all(orders.iter().map(confirm)).await;
}

/// Messages that the dead process left in its queues, read from a copy of its file.
fn unsettled(dir: &Path) -> u32 {
    let copy = Scratch::new("copy");
    for name in ["sqs.sqlite", "sqs.sqlite-wal"] {
        std::fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    let file = rusqlite::Connection::open(copy.path().join("sqs.sqlite")).unwrap();
    file.query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_under_load_loses_no_acknowledged_callback() {
    const KILLS: usize = 3;
    const CLIENTS: usize = 8;
    const LOAD_FOR: Duration = Duration::from_millis(1_000);
    const BURST_FOR: Duration = Duration::from_millis(80);
    let dir = Scratch::new("kill-nine");
    let mut bundle = Bundle::start(dir.path());
    let aws_port = bundle.aws_url.rsplit(':').next().unwrap();
    let unlimited = ["merchants", "set", DEMO.merchant, "--rate", "10000", "--burst", "10000"];
    let (code, out, errors) = run(&[&unlimited[..], &["--aws-port", aws_port]].concat()).await;
    assert_eq!((code, out.contains("10000 per second")), (0, true), "{errors}");
    let told = Arc::new(Told::default());
    let mut unsettled_in_all = 0;
    for kill in 1..=KILLS {
        let before = told.counts();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let name = format!("kill-{kill}-{number}");
                tokio::spawn(load(bundle.client(), name, number % 4 != 0, told.clone()))
            })
            .collect();
        let burst = burst(&bundle.client(), &format!("burst-{kill}"), &told).await;
        sleep(LOAD_FOR).await;
        let under_load = state(&bundle.client()).await;
        assert_eq!(under_load["violations"], json!([]), "in the middle of it");
        assert!(!clients.iter().any(|client| client.is_finished()), "a client was refused");
        let burst = tokio::spawn(confirm(bundle.client(), burst, told.clone()));
        sleep(BURST_FOR).await;
        bundle.kill();
        join_all(clients).await;
        burst.await.unwrap();
        let left = unsettled(dir.path());
        unsettled_in_all += left;
        let started = Instant::now();
        bundle = Bundle::start_on(bundle.port(), &["--data", dir.path().to_str().unwrap()]);
        let state = drained(&bundle.client()).await;
        check_books(&state);
        check_success(&bundle.client(), &told.acknowledged, before.1).await;
        let (_, acknowledged) = told.counts();
        assert!(acknowledged > before.1, "no load in round {kill}");
        println!(
            "kill {kill}: {} acknowledged, {left} messages left, all settled and looked at {:?} later",
            acknowledged - before.1,
            started.elapsed(),
        );
    }
    assert!(unsettled_in_all > 0, "the kills came when nothing was at stake");
    // What nobody acknowledged is found by the poller, and half-done creates are finished.
    let client = bundle.client();
    client.local("clock", json!({"advanceSeconds": 120})).await.unwrap();
    for _ in 0..2 {
        client.local("poll", json!({})).await.unwrap();
    }
    // Everything acknowledged is among it.
    check_success(&client, &told.paid, 0).await;
    let state = drained(&client).await;
    check_books(&state);
    assert_eq!(state["ordersByStatus"].get("CREATED"), None, "{state}");
    println!("in the end: {:?} paid and acknowledged, {state}", told.counts());
}

async fn check_success(client: &Client, orders: &Mutex<Vec<String>>, from: usize) {
    let orders = orders.lock().unwrap()[from..].to_vec();
    for chunk in orders.chunks(16) {
        let statuses = join_all(chunk.iter().map(|order| status(client, order))).await;
        for (order, status) in chunk.iter().zip(statuses) {
            assert_eq!(status, "SUCCESS", "order {order}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_flight_when_the_process_died_is_handed_out_at_once() {
    let dir = Scratch::new("in-flight");
    let bundle = Bundle::start(dir.path());
    let sqs = sqs(&bundle);
    let long = aws_sdk_sqs::types::QueueAttributeName::VisibilityTimeout;
    let queue = sqs.create_queue().queue_name("held").attributes(long, "180").send().await.unwrap();
    let url = queue.queue_url().unwrap();
    sqs.send_message().queue_url(url).message_body("held").send().await.unwrap();
    let received = sqs.receive_message().queue_url(url).send().await.unwrap();
    assert_eq!(received.messages().len(), 1);
    assert_eq!(sqs.receive_message().queue_url(url).send().await.unwrap().messages().len(), 0);

    let bundle = bundle.kill_and_restart(dir.path());
    let sqs = self::sqs(&bundle);
    let url = sqs.get_queue_url().queue_name("held").send().await.unwrap();
    let url = url.queue_url().unwrap();
    let received = sqs.receive_message().queue_url(url).send().await.unwrap();
    assert_eq!(received.messages()[0].body(), Some("held"));
}
