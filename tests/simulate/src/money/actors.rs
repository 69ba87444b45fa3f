//! Who pays: by the gateway for orders, in parts or more than once, and to deposit addresses.

use std::rc::Rc;
use std::time::Duration;

use recharge_local::call::API_KEYS;
use recharge_local::events::Incoming;
use recharge_local::sim::payprotocol::{self, Transfer};
use recharge_local::stack::{PAYPROTOCOL, PAYPROTOCOL_API_KEY, PAYPROTOCOL_CALLBACK_PATH};
use recharge_shared::providers::standard::{HEADERS, signature};
use recharge_tests::Answered;
use serde_json::{Value, json};

use super::{GATE, GATE_KEY, Money, Paid, gate_key, people};
use crate::actors::{Actor, Script, client, order_of};
use crate::plan::Mode;
use crate::sim::Sim;

/// Everybody of this load besides the machines.
pub fn start(sim: &Rc<Sim>, money: &Money, scripts: &[Script]) -> Vec<Actor> {
    let mut actors: Vec<Actor> = Vec::new();
    for script in scripts {
        actors.push(tokio::task::spawn_local(client(sim.clone(), script.clone())));
        let own = (sim.clone(), money.clone(), script.clone());
        actors.push(tokio::task::spawn_local(payer(own.0, own.1, own.2)));
        if sim.dice.chance(500) {
            let own = (sim.clone(), money.clone(), script.clone());
            actors.push(tokio::task::spawn_local(depositor(own.0, own.1, own.2)));
        }
    }
    actors.push(tokio::task::spawn_local(postman(sim.clone(), money.clone())));
    actors.push(tokio::task::spawn_local(people::operator(sim.clone(), money.clone())));
    actors.push(tokio::task::spawn_local(moods(sim.clone(), money.clone())));
    actors
}

/// What the parts come to: the whole, less, more, or the whole and something after it.
fn parts(sim: &Sim, asked: i64) -> Vec<i64> {
    let dice = &sim.dice;
    let share = i64::try_from(dice.between(1, 9)).unwrap_or(1) * asked / 10;
    // The amounts that two people decide about: the payment that is put aside may be small all the same.
    let kinds = if asked >= 1_000_000_000 { 14 } else { 10 };
    let parts = match dice.below(kinds) {
        0 | 1 => vec![asked],
        2 | 3 => vec![share, asked - share],
        4 => vec![share],
        5 => vec![asked, share],
        6 => vec![asked + 700],
        7 | 8 => vec![share, share, asked],
        _ => vec![asked - asked / 10, asked / 10 + 700],
    };
    // A query tells of one payment: without callbacks there is no more to know.
    let most = if sim.plan.mode.calls_back() { parts.len() } else { 1 };
    parts.into_iter().filter(|part| *part > 0).take(most).collect()
}

async fn payer(sim: Rc<Sim>, money: Money, script: Script) {
    let Some(pays_ms) = script.pays_ms else { return };
    tokio::time::sleep(Duration::from_millis(script.starts_ms + pays_ms)).await;
    let Some(order) = order_of(&sim, &script) else { return };
    let parts = parts(&sim, script.asked);
    let mut sends = Vec::new();
    let last = parts.len().saturating_sub(1);
    for (position, minor) in parts.into_iter().enumerate() {
        if sim.is_over.get() || !money.gate.has(&order) {
            break;
        }
        let payment = format!("g-{}-{position}", script.number);
        // Of several payments the query tells the last alone.
        let is_told = position == last && (last == 0 || sim.plan.mode.polls());
        let persists = script.persists || !is_told;
        let owner = (API_KEYS[script.merchant].merchant.to_owned(), script.user.clone());
        let paid = Paid {
            minor: minor.into(),
            slip: None,
            order: Some(order.clone()),
            transfer: None,
            owner,
            is_listed: true,
            is_heard: false,
            persists,
        };
        money.gate.set_paid(&order, told(&payment, minor));
        money.funds.arrived(gate_key(&payment), paid);
        sim.wire.note(&format!("{minor} of {} paid for {order} as {payment}", script.asked));
        if sim.plan.mode.calls_back() && sim.dice.chance(100) {
            say_odd(&sim, &money, (&order, &payment)).await;
        }
        if sim.plan.mode.calls_back() {
            let sent = confirm(sim.clone(), money.clone(), (payment, script.copies));
            sends.push(tokio::task::spawn_local(sent));
        }
        sim.nap(script.expires_secs * 700).await;
    }
    for sent in sends {
        if let Err(error) = sent.await {
            sim.violation(format!("a provider panicked: {error}"));
        }
    }
}

/// What the gateway answers when it is asked.
fn told(payment: &str, minor: i64) -> Value {
    json!({"status": "SUCCESS", "providerTxnId": payment, "amount": minor, "currency": "USDT"})
}

/// The gateway sends its event, perhaps several times, perhaps until it is heard.
async fn confirm(sim: Rc<Sim>, money: Money, (payment, copies): (String, u64)) {
    let persists = money.funds.get(&gate_key(&payment)).is_some_and(|paid| paid.persists);
    for round in 0..200u64 {
        if sim.is_over.get() {
            return;
        }
        let sends = (0..copies).map(|copy| {
            let (sim, money, payment) = (&sim, &money, &payment);
            async move {
                sim.nap(if sim.plan.mode == Mode::Burst { 40 } else { 20_000 }).await;
                tell(sim, money, (payment, copy), GATE_KEY).await
            }
        });
        let heard = futures_util::future::join_all(sends).await.contains(&true);
        if heard || !persists {
            return;
        }
        tokio::time::sleep(Duration::from_secs(5 * (round + 1).min(24))).await;
    }
}

/// Sends the event of a payment once, as another message each time; whether it was acknowledged.
async fn tell(sim: &Sim, money: &Money, (payment, copy): (&str, u64), key: &str) -> bool {
    let Some(paid) = money.funds.get(&gate_key(payment)) else { return false };
    let minor = i64::try_from(paid.minor).unwrap_or(0);
    let order = paid.order.unwrap_or_default();
    let said = json!({
        "eventId": format!("{payment}-{copy}"), "type": "payment.succeeded", "orderId": order,
        "providerTxnId": payment, "amount": minor, "currency": "USDT", "status": "SUCCESS",
        "livemode": true,
    });
    let answered = sim.request(&event(sim, &format!("m-{payment}-{copy}"), &said, key)).await;
    let heard = answered.is_some_and(|answered| answered.status == 200);
    if heard && key == GATE_KEY {
        money.funds.heard(&gate_key(payment));
    }
    if heard && key != GATE_KEY {
        sim.violation(format!("I3: a forged event about {payment} was believed"));
    }
    heard
}

/// A signed event of the gateway.
fn event(sim: &Sim, id: &str, said: &Value, key: &str) -> Incoming {
    let (body, timestamp) = (said.to_string(), (sim.clock_ms() / 1_000).to_string());
    let signed = format!("v1,{}", signature(key, id, &timestamp, body.as_bytes()));
    let headers = [
        ("content-type", "application/json"),
        (HEADERS[0], id),
        (HEADERS[1], &timestamp),
        (HEADERS[2], &signed),
    ];
    let path = format!("/recharges/callback/{GATE}");
    sim.world.unsigned(("POST", &path), &headers, body.as_bytes())
}

/// Says of an order that it has failed, as only the gateway can: as a transaction of its own, or as one that
/// has paid a part.
pub async fn say_failed(sim: &Sim, money: &Money, order: &str) {
    let gate = gate_key("");
    let funds = money.funds.all();
    let its = funds.iter().filter(|(_, paid)| paid.order.as_deref() == Some(order));
    let its: Vec<&str> = its.filter_map(|(key, _)| key.strip_prefix(&gate)).collect();
    let payment = match its.is_empty() || sim.dice.chance(500) {
        true => format!("f-{}", order.to_lowercase()),
        false => (*sim.dice.pick(&its)).to_owned(),
    };
    let said = json!({
        "eventId": format!("f-{order}"), "type": "payment.failed", "orderId": order,
        "providerTxnId": payment, "status": "FAILED", "livemode": true,
    });
    sim.wire.note(&format!("the gateway fails {order} by {payment}"));
    sim.request(&event(sim, &format!("m-f-{order}"), &said, GATE_KEY)).await;
}

/// Says of a payment what nobody can read, but for its transaction: people may pay it back by that, or reject it.
async fn say_odd(sim: &Sim, money: &Money, (order, payment): (&str, &str)) {
    let minor = money.funds.get(&gate_key(payment)).map_or(0, |paid| paid.minor);
    let said = json!({
        "eventId": format!("o-{payment}"), "type": "payment.settled", "orderId": order,
        "providerTxnId": payment, "amount": i64::try_from(minor).unwrap_or(0), "currency": "USDT",
        "status": "SETTLED", "livemode": true,
    });
    sim.wire.note(&format!("the gateway says of {payment} what nobody can read"));
    sim.request(&event(sim, &format!("m-o-{payment}"), &said, GATE_KEY)).await;
}

/// Lets the gateway send what it has heard nothing of, and what it sends for ever; forged copies beside it.
pub async fn resend(sim: &Sim, money: &Money, everything: bool) {
    for (key, paid) in money.funds.all() {
        let gate = gate_key("");
        let Some(payment) = key.strip_prefix(&gate) else { continue };
        if everything || (paid.persists && !paid.is_heard) {
            tell(sim, money, (payment, 0), GATE_KEY).await;
        }
    }
    deliver_due(sim, money).await;
}

/// Somebody's deposits: the client asks for the addresses, and money comes to them, whenever.
async fn depositor(sim: Rc<Sim>, money: Money, script: Script) {
    tokio::time::sleep(Duration::from_millis(script.starts_ms)).await;
    let path = format!("/users/{}/deposit-addresses", script.user);
    let body = json!({"paymentMethod": PAYPROTOCOL}).to_string();
    let mut addresses = Vec::new();
    for round in 1..=15 {
        if sim.is_over.get() {
            return;
        }
        let key = API_KEYS[script.merchant];
        let twins = (0..=sim.dice.below(2)).map(|_| async {
            sim.request(&sim.world.signed_as(key, ("POST", &path), &body, "")).await
        });
        for answered in futures_util::future::join_all(twins).await.into_iter().flatten() {
            if [200, 201].contains(&answered.status) {
                addresses = answered.json["addresses"].as_array().cloned().unwrap_or_default();
            }
        }
        if !addresses.is_empty() {
            break;
        }
        sim.nap(6_000 * round).await;
    }
    for _ in 0..sim.dice.between(1, 3) {
        sim.nap(400_000).await;
        let address = addresses.iter().filter_map(|entry| entry["address"].as_str());
        let addresses: Vec<&str> = address.collect();
        if addresses.is_empty() || sim.is_over.get() {
            return;
        }
        deposit(&sim, &money, (&script, *sim.dice.pick(&addresses))).await;
    }
}

async fn deposit(sim: &Rc<Sim>, money: &Money, (script, address): (&Script, &str)) {
    let dice = &sim.dice;
    // From a thousand units on, two people decide together.
    let whole = if dice.chance(150) { dice.between(999, 1_001) } else { dice.below(3) };
    let amount = format!("{whole}.{:06}", dice.between(1, 999_999));
    let currency = if dice.chance(150) { "TRX" } else { "USDT" };
    let silent = !sim.plan.mode.calls_back() || (sim.plan.mode.polls() && dice.chance(300));
    let transfer = Transfer { address, amount: &amount, currency, silent };
    let signed_at = sim.world.stack.ground.door.now();
    // Not every chain has every currency.
    let Ok(deposited) = sim.world.payprotocol.deposit(&transfer, signed_at) else { return };
    let finer = 10u128.pow(deposited.decimals.saturating_sub(6));
    let key = format!("{PAYPROTOCOL}#{PAYPROTOCOL_API_KEY}#{}", deposited.recharge_id);
    let paid = Paid {
        minor: i128::try_from(deposited.units / finer).unwrap_or(0),
        slip: None,
        order: None,
        transfer: Some(key.clone()),
        owner: (API_KEYS[script.merchant].merchant.to_owned(), script.user.clone()),
        is_listed: currency == "USDT",
        is_heard: false,
        persists: false,
    };
    sim.wire.note(&format!("deposit {key} of {amount} {currency}, silent: {silent}"));
    money.funds.arrived(key.clone(), paid.clone());
    let slip = if dice.chance(150) { slip(sim, money, (&key, &deposited)) } else { None };
    let mut callbacks = vec![deposited.callback];
    let told_later = dice.chance(120).then(|| dice.below(2) * 600_000);
    if told_later == Some(0) {
        callbacks.push(tell_again(sim, money, (deposited.recharge_id, paid.clone())));
    }
    let copies = callbacks
        .iter()
        .flatten()
        .flat_map(|callback| (0..script.copies).map(move |_| carry(sim, money, callback)));
    let slipped = async {
        if let Some(slip) = slip {
            say(sim, &slip).await;
        }
    };
    futures_util::future::join(futures_util::future::join_all(copies), slipped).await;
    if let Some(later_ms) = told_later.filter(|later_ms| *later_ms > 0) {
        // When people may have credited the first one or paid it back.
        sim.nap(later_ms).await;
        if sim.is_over.get() {
            return;
        }
        if let Some(callback) = tell_again(sim, money, (deposited.recharge_id, paid)) {
            carry(sim, money, &callback).await;
        }
    }
}

/// Something else that the provider says of a deposit, once, before or after what is so: twice the amount, that it has failed,
/// is somebody else's, in another currency, nothing, or what nobody can read.
fn slip(
    sim: &Sim,
    money: &Money,
    (key, deposited): (&str, &payprotocol::Deposited),
) -> Option<payprotocol::CallbackRequest> {
    let mut said: Value = serde_json::from_slice(&deposited.callback.as_ref()?.body).ok()?;
    let (member, value) = match sim.dice.below(6) {
        0 => {
            money.funds.slipped(key);
            ("rechargeAmount", (deposited.units * 2).to_string().into())
        }
        1 => ("rechargeStatus", 2.into()),
        2 => ("uuid", "M0123456789ABCDEFGHJKMNPQR".into()),
        3 => ("currencyId", 1.into()),
        4 => ("rechargeStatus", 9.into()),
        _ => ("rechargeAmount", "0".into()),
    };
    sim.wire.note(&format!("{key} is also told with {member} {value}"));
    said[member] = value;
    let signed_at = sim.world.stack.ground.door.now();
    let body = said.to_string().into_bytes();
    Some(sim.world.payprotocol.signed(deposited.recharge_id, body, signed_at))
}

/// The provider tells a transfer as another deposit.
fn tell_again(
    sim: &Sim,
    money: &Money,
    (first, paid): (i32, Paid),
) -> Option<payprotocol::CallbackRequest> {
    let signed_at = sim.world.stack.ground.door.now();
    let (again, callback) = sim.world.payprotocol.tell_again(first, signed_at)?;
    sim.wire.note(&format!("deposit {first} is told as {again}, too"));
    money.funds.arrived(format!("{PAYPROTOCOL}#{PAYPROTOCOL_API_KEY}#{again}"), paid);
    callback
}

/// Carries one callback of the deposits' provider.
async fn carry(sim: &Sim, money: &Money, callback: &payprotocol::CallbackRequest) {
    let Some(answered) = say(sim, callback).await else { return };
    sim.world.payprotocol.answered(callback.recharge_id, answered.status, &answered.text);
    if (answered.status, answered.text.as_str()) == (200, "success") {
        let id = callback.recharge_id;
        money.funds.heard(&format!("{PAYPROTOCOL}#{PAYPROTOCOL_API_KEY}#{id}"));
    }
}

/// Delivers it, whatever comes of it.
async fn say(sim: &Sim, callback: &payprotocol::CallbackRequest) -> Option<Answered> {
    sim.nap(if sim.plan.mode == Mode::Burst { 40 } else { 5_000 }).await;
    let headers: Vec<(&str, &str)> =
        callback.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let path = ("POST", PAYPROTOCOL_CALLBACK_PATH);
    sim.request(&sim.world.unsigned(path, &headers, &callback.body)).await
}

/// Carries what the deposits' provider wants to send by now.
async fn deliver_due(sim: &Sim, money: &Money) {
    for callback in sim.world.payprotocol.due(sim.world.stack.ground.door.now()) {
        carry(sim, money, &callback).await;
    }
}

/// The deposits' provider keeps sending, by its plan; forgers send too.
async fn postman(sim: Rc<Sim>, money: Money) {
    while sim.plan.mode.calls_back() && !sim.is_over.get() {
        sim.nap(60_000).await;
        deliver_due(&sim, &money).await;
        let payments: Vec<String> = money.funds.all().into_keys().collect();
        if sim.dice.chance(100) && !payments.is_empty() {
            let payment = sim.dice.pick(&payments).rsplit('#').next().unwrap_or("").to_owned();
            tell(&sim, &money, (&payment, 9), "not-the-gateways-secret").await;
        }
    }
}

/// The moods of both providers and of the merchants' receivers.
async fn moods(sim: Rc<Sim>, money: Money) {
    use payprotocol::Mode as Mood;
    use recharge_local::sim::receiver::Manner;
    let url = "https://hooks.merchant-0";
    while !sim.is_over.get() {
        sim.nap(300_000).await;
        if sim.plan.provider_moods {
            let moods = [Mood::Ok, Mood::Ok, Mood::Down, Mood::Slow, Mood::LostAnswer, Mood::Error];
            sim.world.payprotocol.set_mode(*sim.dice.pick(&moods));
            money.gate.set_down(sim.dice.chance(200));
        }
        if sim.plan.receivers_fail {
            let fine = Manner::Answers(200, String::new());
            let manners = [fine.clone(), fine, Manner::Hangs, Manner::Refuses];
            sim.world.receiver.set(url, sim.dice.pick(&manners).clone());
        }
    }
    sim.world.payprotocol.set_mode(Mood::Ok);
    money.gate.set_down(false);
    sim.world.receiver.set(url, Manner::Answers(200, String::new()));
}
