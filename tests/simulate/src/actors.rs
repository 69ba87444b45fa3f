//! Who acts in a run: clients, payers with their provider, forgers, and what AWS does between the functions.

use std::rc::Rc;
use std::time::Duration;

use recharge_local::call::API_KEYS;
use recharge_shared::domain::{MerchantId, UserId, UserMark};
use serde_json::json;

use crate::money;
use crate::plan::Mode;
use crate::provider;
use crate::sim::{JUNK, Sim, callback_url};

/// One order as its client and its payer want it.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its number.
    pub number: u64,
    /// The position of its merchant's API key.
    pub merchant: usize,
    /// Its user.
    pub user: String,
    /// Minor units.
    pub asked: i64,
    /// Its time limit.
    pub expires_secs: u64,
    /// When the client begins.
    pub starts_ms: u64,
    /// When, after that, the client withdraws it.
    pub cancels_ms: Option<u64>,
    /// Whether the client withdraws it at the very time of the payment.
    pub cancels_as_it_is_paid: bool,
    /// When, after that, the payer pays.
    pub pays_ms: Option<u64>,
    /// What the payer pays.
    pub pays: i64,
    /// When, after that, the provider gives it up.
    pub given_up_ms: Option<u64>,
    /// How many times each callback is sent at once.
    pub copies: u64,
    /// Whether the provider sends until it is heard.
    pub persists: bool,
}

impl Script {
    /// The client's key.
    pub fn key(&self) -> String {
        // The second merchant uses the same keys.
        format!("k-{}", self.number / 2)
    }

    /// Draws one.
    pub fn draw(sim: &Sim, number: u64) -> Script {
        let (plan, dice) = (&sim.plan, &sim.dice);
        let asked = i64::try_from(dice.between(1, 500)).unwrap_or(1) * 10_000;
        // From a thousand units on, two people decide together.
        let asked = if sim.money.is_some() && dice.chance(200) { asked * 400 } else { asked };
        let expires_secs = dice.between(300, plan.expires_secs_max.max(300));
        let limit_ms = expires_secs * 1_000;
        let around_the_end = dice.between(limit_ms.saturating_sub(8_000), limit_ms + 70_000);
        let pays_ms = match dice.below(10) {
            0..=4 => Some(dice.below(120_000)),
            5..=6 => Some(around_the_end),
            7 => Some(dice.below(2 * limit_ms)),
            _ => None,
        };
        let pays = match dice.below(10) {
            0 => asked - 5_000,
            1 => asked + 700,
            _ => asked,
        };
        let burst = plan.mode == Mode::Burst;
        Script {
            number,
            merchant: usize::from(number % 2 == 1),
            user: format!("u_{}", dice.below(plan.users)),
            asked,
            expires_secs,
            starts_ms: dice.below(plan.arrive_within_ms),
            cancels_ms: dice.chance(150).then(|| dice.below(limit_ms)),
            cancels_as_it_is_paid: dice.chance(500),
            pays_ms,
            pays,
            given_up_ms: dice.chance(150).then(|| dice.below(limit_ms)),
            copies: if burst { dice.between(2, 5) } else { dice.between(1, 2) },
            persists: plan.mode == Mode::NoPoller || dice.chance(600),
        }
    }
}

/// Somebody who acts, on a task of their own.
pub type Actor = tokio::task::JoinHandle<()>;

/// Starts everybody; returns when all of them are done.
pub async fn play(sim: &Rc<Sim>, scripts: &[Script]) {
    let actors = match &sim.money {
        Some(money) => money::actors::start(sim, money, scripts),
        None => start(sim, scripts),
    };
    let machines = machines(sim);
    tokio::time::sleep(Duration::from_millis(sim.plan.chaos_ms)).await;
    sim.is_over.set(true);
    sim.quiet();
    sim.wire.note("quiet");
    for actor in actors.into_iter().chain(machines) {
        if let Err(error) = actor.await {
            sim.violation(format!("somebody panicked: {error}"));
        }
    }
}

fn start(sim: &Rc<Sim>, scripts: &[Script]) -> Vec<Actor> {
    let mut actors = Vec::new();
    for script in scripts {
        actors.push(tokio::task::spawn_local(client(sim.clone(), script.clone())));
        actors.push(tokio::task::spawn_local(payer(sim.clone(), script.clone())));
        actors.push(tokio::task::spawn_local(stranger(sim.clone(), script.clone())));
    }
    actors.push(tokio::task::spawn_local(moods(sim.clone())));
    actors
}

/// What AWS runs: workers, notifiers, the schedule.
fn machines(sim: &Rc<Sim>) -> Vec<Actor> {
    let mut machines = Vec::new();
    for place in 0..sim.plan.workers {
        machines.push(tokio::task::spawn_local(worker(sim.clone(), place)));
        machines.push(tokio::task::spawn_local(notifier(sim.clone(), place)));
    }
    if sim.plan.mode.polls() {
        for place in 0..sim.plan.pollers {
            machines.push(tokio::task::spawn_local(poller(sim.clone(), place)));
        }
    }
    machines
}

fn create(sim: &Sim, script: &Script) -> recharge_local::events::Incoming {
    let body = json!({
        "userId": script.user, "amount": script.asked, "currency": "USDT",
        "expiresInSeconds": script.expires_secs,
        "callbackUrl": callback_url(script.merchant),
    });
    let key = API_KEYS[script.merchant];
    sim.world.signed_as(key, ("POST", "/recharges"), &body.to_string(), &script.key())
}

/// One try to create; whether the order stands with the provider, or ended.
pub async fn create_once(sim: &Sim, script: &Script) -> bool {
    let Some(answered) = sim.request(&create(sim, script)).await else { return false };
    let key = format!("{}/{}", script.merchant, script.key());
    if ![200, 201].contains(&answered.status) {
        if [400, 401, 403, 404, 409, 422].contains(&answered.status) {
            sim.violation(format!("I6: {key} was answered {} {}", answered.status, answered.text));
        }
        return false;
    }
    let order = answered.json["orderId"].as_str().unwrap_or("").to_owned();
    let mut clients = sim.clients.borrow_mut();
    if answered.status == 201 {
        *clients.created.entry(key.clone()).or_default() += 1;
    }
    let known = clients.orders.entry(key.clone()).or_insert_with(|| order.clone()).clone();
    drop(clients);
    if known != order {
        sim.violation(format!("I6: {key} is {known} and {order}"));
    }
    answered.json["status"] != "CREATED"
}

/// The client of one order: creates it, perhaps withdraws it, looks at it.
pub async fn client(sim: Rc<Sim>, script: Script) {
    tokio::time::sleep(Duration::from_millis(script.starts_ms)).await;
    let began = tokio::time::Instant::now();
    let twins = if sim.plan.mode == Mode::Burst { 2 } else { 1 + sim.dice.below(2) };
    for round in 1..=15 {
        if sim.is_over.get() {
            break;
        }
        let tries = (0..twins).map(|_| create_once(&sim, &script));
        let done = futures_util::future::join_all(tries).await.contains(&true);
        if done {
            break;
        }
        sim.nap(6_000 * round).await;
    }
    let Some(order) = order_of(&sim, &script) else { return };
    if let Some(cancels_ms) = script.cancels_ms {
        tokio::time::sleep_until(began + Duration::from_millis(cancels_ms)).await;
        let path = format!("/recharges/{order}/cancel");
        if script.cancels_as_it_is_paid && script.pays_ms.is_some() {
            let paid = || sim.truth.of(&order).is_some_and(|known| known.paid.is_some());
            while !paid() && !sim.is_over.get() {
                sim.nap(2_000).await;
            }
        }
        for _ in 0..3 {
            let key = API_KEYS[script.merchant];
            let request = sim.world.signed_as(key, ("POST", &path), "", "");
            let answered = sim.request(&request).await;
            if answered.is_some_and(|answered| answered.status < 500) {
                break;
            }
            sim.nap(3_000).await;
        }
    }
    while !sim.is_over.get() {
        sim.nap(1_500_000).await;
        look(&sim, &script, &order).await;
    }
}

/// The client looks at its order: I4 and I11 as a reader sees them.
pub async fn look(sim: &Sim, script: &Script, order: &str) {
    let path = format!("/recharges/{order}");
    let own = API_KEYS[script.merchant];
    let answered = sim.request(&sim.world.signed_as(own, ("GET", &path), "", "")).await;
    if let Some(answered) = answered.filter(|answered| answered.status == 200) {
        let mut clients = sim.clients.borrow_mut();
        let is_success = answered.json["status"] == "SUCCESS";
        if is_success {
            clients.seen_success.insert(order.to_owned());
        } else if clients.seen_success.contains(order) {
            drop(clients);
            sim.violation(format!("I4: {order} was SUCCESS and is {}", answered.json));
        }
    }
    if sim.dice.chance(200) {
        let other = API_KEYS[1 - script.merchant];
        let answered = sim.request(&sim.world.signed_as(other, ("GET", &path), "", "")).await;
        if let Some(answered) = answered.filter(|a| a.status < 500 && a.status != 404) {
            sim.violation(format!("I11: a stranger saw {order}: {}", answered.text));
        }
    }
}

/// The order that the client knows.
pub fn order_of(sim: &Sim, script: &Script) -> Option<String> {
    let key = format!("{}/{}", script.merchant, script.key());
    sim.clients.borrow().orders.get(&key).cloned()
}

/// The mark of the script's user at the provider.
fn mark(script: &Script) -> String {
    let merchant = MerchantId::parse(API_KEYS[script.merchant].merchant);
    let user = UserId::parse(&script.user);
    let mark = merchant.zip(user).map(|(merchant, user)| UserMark::derive(&merchant, &user));
    mark.map_or_else(String::new, |mark| mark.as_str().to_owned())
}

async fn payer(sim: Rc<Sim>, script: Script) {
    tokio::time::sleep(Duration::from_millis(script.starts_ms)).await;
    let began = tokio::time::Instant::now();
    let at = |ms: u64| began + Duration::from_millis(ms);
    if let Some(given_up_ms) = script.given_up_ms {
        tokio::time::sleep_until(at(given_up_ms)).await;
        if let Some(order) = order_of(&sim, &script) {
            sim.truth.give_up(&order);
            sim.wire.note(&format!("given up {order}"));
        }
    }
    let Some(pays_ms) = script.pays_ms else { return };
    tokio::time::sleep_until(at(pays_ms)).await;
    let Some(order) = order_of(&sim, &script) else { return };
    if sim.truth.of(&order).is_none() || sim.is_over.get() {
        return;
    }
    if sim.world.stack.pay(&order, Some(script.pays)).is_err() {
        return;
    }
    sim.truth.paid(&order, i128::from(script.pays));
    sim.wire.note(&format!("paid {} of {} for {order}", script.pays, script.asked));
    if sim.plan.mode.calls_back() {
        confirm(&sim, &script, &order).await;
    }
}

/// The provider sends its callback, perhaps several times, perhaps until it is heard.
async fn confirm(sim: &Rc<Sim>, script: &Script, order: &str) {
    let signs_anew = sim.dice.chance(500);
    let mut callback = signed(sim, script, order);
    for round in 0..200u64 {
        if sim.is_over.get() {
            return;
        }
        if signs_anew {
            callback = signed(sim, script, order);
        }
        let copies = (0..script.copies).map(|_| async {
            sim.nap(if sim.plan.mode == Mode::Burst { 40 } else { 20_000 }).await;
            deliver(sim, order, &callback).await
        });
        let heard = futures_util::future::join_all(copies).await.contains(&true);
        if heard || !script.persists {
            return;
        }
        tokio::time::sleep(Duration::from_secs(5 * (round + 1).min(24))).await;
    }
}

fn signed(sim: &Sim, script: &Script, order: &str) -> recharge_local::sim::trader::CallbackRequest {
    let now_secs = sim.clock_ms() / 1_000;
    provider::callback(order, &mark(script), i128::from(script.pays), now_secs, provider::KEY)
}

/// Sends a true callback once; whether the provider has heard its acknowledgement.
pub async fn deliver(
    sim: &Sim,
    order: &str,
    callback: &recharge_local::sim::trader::CallbackRequest,
) -> bool {
    let sent = (order.to_owned(), callback.clone());
    let is_new = !sim.clients.borrow().callbacks.contains(&sent);
    if is_new {
        sim.clients.borrow_mut().callbacks.push(sent);
    }
    let answered = sim.request(&sim.world.callback(callback)).await;
    let heard = answered.is_some_and(|a| a.status == 200 && a.text == "success");
    if heard {
        sim.clients.borrow_mut().acknowledged.insert(order.to_owned());
    }
    heard
}

/// The provider sends the callbacks that it has heard nothing of, until it is heard.
pub async fn resend(sim: &Sim, scripts: &[Script]) {
    for script in scripts.iter().filter(|script| script.persists) {
        let Some(order) = order_of(sim, script) else { continue };
        let paid = sim.truth.of(&order).is_some_and(|known| known.paid.is_some());
        if paid && !sim.clients.borrow().acknowledged.contains(&order) {
            deliver(sim, &order, &signed(sim, script, &order)).await;
        }
    }
}

/// Callbacks that nobody should believe, or that are true and fit nothing.
async fn stranger(sim: Rc<Sim>, script: Script) {
    if !sim.plan.mode.calls_back() || !sim.dice.chance(400) {
        return;
    }
    tokio::time::sleep(Duration::from_millis(script.starts_ms + sim.dice.below(400_000))).await;
    let Some(order) = order_of(&sim, &script) else { return };
    let (now_secs, minor) = (sim.clock_ms() / 1_000, i128::from(script.asked) * 10);
    let (mark, key) = (mark(&script), provider::KEY);
    let key_of_row = (format!("O#{order}"), "O".to_owned());
    let is_settled = sim.wire.books(|books| {
        books.rows.get(&key_of_row).is_some_and(|row| crate::books::text(row, "state") == "SUCCESS")
    });
    let (callback, is_authentic) = match sim.dice.below(6) {
        0 => (provider::callback(&order, &mark, minor, now_secs, "not-the-providers-key"), false),
        1 => (provider::callback(&order, "M0123456789ABCDEFGHJKMNPQR", minor, now_secs, key), true),
        2 => {
            let unknown = "R0123456789ABCDEFGHJKMNPQR";
            (provider::callback(unknown, &mark, minor, now_secs, key), true)
        }
        3 => (provider::callback(&order, &mark, 0, now_secs, key), true),
        _ if is_settled => (provider::callback(&order, &mark, minor, now_secs, key), true),
        4 if script.pays_ms.is_some() => {
            let pays = i128::from(script.pays);
            (provider::callback(&order, &mark, pays, now_secs - 100_000, key), true)
        }
        _ => return,
    };
    for _ in 0..sim.dice.between(1, 3) {
        let answered = sim.request(&sim.world.callback(&callback)).await;
        let believed = answered.is_some_and(|answered| answered.status == 200);
        if believed && !is_authentic {
            sim.violation(format!("I3: a forged callback for {order} was believed"));
        }
        sim.nap(2_000).await;
    }
}

async fn worker(sim: Rc<Sim>, place: u64) {
    while !sim.is_over.get() {
        let took = sim.settle(place).await;
        if took == 0 {
            sim.nap(if sim.plan.mode == Mode::Burst { 3_000 } else { 12_000 }).await;
        }
        let again = took > 0 && sim.dice.chance(sim.plan.redelivery);
        let body = {
            let settled = sim.settled.borrow();
            let position = usize::try_from(sim.dice.below(settled.len() as u64)).unwrap_or(0);
            settled.iter().nth(position).filter(|_| again).cloned()
        };
        if let Some(body) = body {
            sim.enqueue(&sim.world.stack.names.settlement_url, &body).await;
        }
        if sim.dice.chance(5) {
            sim.redrive().await;
        }
        if sim.dice.chance(1) {
            sim.enqueue(&sim.world.stack.names.settlement_url, JUNK).await;
        }
    }
}

async fn notifier(sim: Rc<Sim>, place: u64) {
    while !sim.is_over.get() {
        if sim.notify(place).await == 0 {
            sim.nap(20_000).await;
        }
    }
}

async fn poller(sim: Rc<Sim>, place: u64) {
    // Every minute while much happens, then less often: the run shall be short.
    for round in 0u64.. {
        let pause_ms = if round < 8 { 60_000 } else { 240_000 };
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        if sim.is_over.get() {
            return;
        }
        if place > 0 {
            sim.nap(300).await;
        }
        sim.poll(place).await;
    }
}

/// The moods of the provider and of the merchants' receivers.
async fn moods(sim: Rc<Sim>) {
    use recharge_local::sim::receiver::Manner;
    use recharge_local::sim::trader::Mode as Mood;
    let url = "https://hooks.merchant-0";
    while !sim.is_over.get() {
        sim.nap(300_000).await;
        if sim.plan.provider_moods {
            let moods =
                [Mood::Ok, Mood::Ok, Mood::Down, Mood::Slow, Mood::LostAnswer, Mood::Reject];
            sim.world.trader.set_mode(*sim.dice.pick(&moods));
        }
        if sim.plan.receivers_fail {
            let fine = Manner::Answers(200, String::new());
            let busy = Manner::Answers(503, "later".to_owned());
            let manners = [fine, busy, Manner::Hangs, Manner::Refuses];
            sim.world.receiver.set(url, sim.dice.pick(&manners).clone());
        }
    }
    sim.world.trader.set_mode(Mood::Ok);
    sim.world.receiver.set(url, Manner::Answers(200, String::new()));
}
