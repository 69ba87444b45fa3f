//! `notify` steps: the notifier over what is due, and what it did.

use std::net::IpAddr;

use recharge_shared::domain::OrderId;
use recharge_shared::store::{NoticeState, Store};
use recharge_tests::world::until_crash;
use serde_json::Value;

use crate::case::{NotUnderstood, fill};
use crate::check::Finding;
use crate::queue;
use crate::scene::Scene;
use crate::step::Played;

pub async fn play(scene: &Scene<'_>, step: &Value, fallback: &Value) -> Played {
    if step["net"].is_object() {
        scene.net.set(&step["net"], scene)?;
    }
    if let Some(url) = step["force_url"].as_str() {
        let order = scene.give_order(&Value::Null).await?;
        queue::force_url(scene, &order, &scene.fill(&fill(url, &order, scene.now_secs())));
        queue::pay(scene, &order, 5_000).await;
        *scene.order.borrow_mut() = order;
        // The order is the scene's, not the attack's.
        scene.set_before(|before| before.orders += 1);
    } else if scene.books().orders.iter().all(|order| order.state == "PENDING") {
        let order = scene.order.borrow().clone();
        queue::pay(scene, &order, 5_000).await;
    }
    let before = scene.net.dialled().len();
    let started = tokio::time::Instant::now();
    let until = step["for_seconds"].as_u64().unwrap_or(0);
    let times = step["times"].as_u64().unwrap_or(1);
    let mut number = 0;
    while number == 0 || number < times || started.elapsed().as_secs() < until {
        if number > 0 {
            scene.world.pass(step["every"].as_u64().unwrap_or(600)).await;
        }
        run(scene, step).await?;
        number += 1;
    }
    let expect = step.get("expect").unwrap_or(fallback);
    check(scene, expect, before, started.elapsed().as_secs()).await
}

/// What is due, once.
async fn run(scene: &Scene<'_>, step: &Value) -> Result<(), NotUnderstood> {
    scene.functions().poll("notify".to_owned()).await.map_err(NotUnderstood)?;
    let instance = scene.around(step)?;
    loop {
        let batch = scene.world.stack.notify_batch_with(&instance.functions, 0);
        let handled = until_crash(&instance.faults, batch).await;
        // Under a fault what is not handled comes again later.
        if !matches!(handled, Some(Ok(1..))) || step.get("fault").is_some() {
            return Ok(());
        }
    }
}

async fn check(scene: &Scene<'_>, expect: &Value, before: usize, took_secs: u64) -> Played {
    let mut findings = Vec::new();
    let dialled = scene.net.dialled().split_off(before);
    if let Some(wanted) = expect["connections"].as_u64()
        && dialled.len() as u64 != wanted
    {
        findings.push(Finding(format!("{} connections, to {dialled:?}", dialled.len())));
    }
    for (address, wanted) in expect["connections_to"].as_object().into_iter().flatten() {
        let address: IpAddr =
            address.parse().map_err(|_| NotUnderstood(format!("address {address}")))?;
        let count = dialled.iter().filter(|dialled| dialled.ip() == address).count() as u64;
        if wanted.as_u64() != Some(count) {
            findings.push(Finding(format!("{count} connections to {address}")));
        }
    }
    if !expect["outcome"].is_null() {
        let state = state(scene).await;
        let outcomes: &[&str] = match state {
            None | Some(NoticeState::NoAddress) => &["none"],
            Some(NoticeState::Retrying) => &["failed", "retrying"],
            Some(NoticeState::GivenUp) => &["failed", "given_up"],
            Some(NoticeState::Delivered) => &["delivered"],
        };
        let all = ["none", "failed", "retrying", "given_up", "delivered"];
        let wanted = match &expect["outcome"] {
            Value::Array(all) => all.clone(),
            one => vec![one.clone()],
        };
        if let Some(other) = wanted.iter().find(|w| !all.iter().any(|known| *w == known)) {
            return Err(NotUnderstood(format!("outcome {other}")));
        }
        if !wanted.iter().any(|wanted| outcomes.iter().any(|outcome| wanted == outcome)) {
            findings.push(Finding(format!("the notice is {state:?}")));
        }
    }
    if expect["seconds_max"].as_u64().is_some_and(|most| took_secs > most) {
        findings.push(Finding(format!("took {took_secs} s")));
    }
    Ok(findings)
}

/// Where the latest notice of the order stands.
async fn state(scene: &Scene<'_>) -> Option<NoticeState> {
    let aws = &scene.world.stack.ground.aws;
    let store =
        Store::new(aws.dynamodb(aws.http_client(), 3), scene.world.stack.names.table.clone());
    let order = OrderId::parse(&scene.order.borrow())?;
    store.notices(&order).await.unwrap().pop().map(|row| row.state)
}
