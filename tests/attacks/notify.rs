//! `notify` steps: the notifier over what is due, and what it did.

use std::net::IpAddr;

use recharge_shared::domain::OrderId;
use recharge_shared::store::{NoticeState, Store};
use recharge_tests::world::until_crash;
use serde_json::Value;

use crate::case::{NotUnderstood, fill, only, text_of};
use crate::check::Finding;
use crate::queue;
use crate::scene::Scene;
use crate::step::{Played, parse_fault};

pub async fn play(scene: &Scene<'_>, step: &Value) -> Played {
    if step["net"].is_object() {
        scene.net.set(&step["net"], &scene.world.receiver)?;
    }
    if let Some(url) = step["force_url"].as_str() {
        let order = scene.give_order(&Value::Null, "u_1001").await?;
        queue::force_url(scene, &order, &fill(url, &order, scene.now_secs()));
        queue::pay(scene, &order).await;
        *scene.order.borrow_mut() = order;
        // The order is the scene's, not the attack's.
        scene.before.borrow_mut().orders += 1;
    } else if scene.books().orders.iter().all(|order| order.state == "PENDING") {
        let order = scene.order.borrow().clone();
        queue::pay(scene, &order).await;
    }
    let before = scene.net.dialled().len();
    let started = tokio::time::Instant::now();
    let until = step["for_seconds"].as_u64().unwrap_or(0);
    loop {
        run(scene, step).await?;
        if started.elapsed().as_secs() >= until {
            break;
        }
        scene.world.pass(600).await;
    }
    check(scene, step, before, started.elapsed().as_secs()).await
}

/// What is due, once.
async fn run(scene: &Scene<'_>, step: &Value) -> Result<(), NotUnderstood> {
    let functions = scene.functions.borrow().clone();
    functions.poll("notify".to_owned()).await.map_err(NotUnderstood)?;
    let Some(fault) = step["fault"].as_str() else {
        while matches!(scene.world.stack.notify_batch_with(&functions, 0).await, Ok(1..)) {}
        return Ok(());
    };
    let fault = parse_fault(fault)?;
    let (functions, faults) = scene.faulty(&fault);
    let _ = until_crash(&faults, scene.world.stack.notify_batch_with(&functions, 0)).await;
    Ok(())
}

async fn check(scene: &Scene<'_>, step: &Value, before: usize, took_secs: u64) -> Played {
    let expect = &step["expect"];
    only("expect", expect, &["connections", "connections_to", "outcome", "seconds_max", "note"])?;
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
        let failed = matches!(state, Some(NoticeState::Retrying | NoticeState::GivenUp));
        let outcome = if failed { "failed" } else { "delivered" };
        if state.is_none() || text_of(&expect["outcome"]) != outcome {
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
