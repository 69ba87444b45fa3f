//! Playing steps: each operation of the corpus's language against the scene, and what the step itself
//! expects.

use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use serde_json::{Value, json};

use crate::case::{NotUnderstood, each};
use crate::check::{self, Finding};
use crate::deposit;
use crate::fault::turn;
use crate::queue;
use crate::request;
use crate::scene::Scene;
use crate::words;

/// What a step came to: nothing, or what is wrong with it.
pub type Played = Result<Vec<Finding>, NotUnderstood>;

/// Plays one step; `fallback` is the case's own expectation, for steps that have none.
pub fn play<'s>(
    scene: &'s Scene<'_>,
    index: usize,
    step: &'s Value,
    fallback: &'s Value,
) -> LocalBoxFuture<'s, Played> {
    Box::pin(async move {
        let mut findings = Vec::new();
        for one in each(step)? {
            words::step(&one, index == INNER)?;
            findings.extend(play_one(scene, index, &one, fallback).await?);
        }
        Ok(findings)
    })
}

/// The place of a step inside a parallel one.
pub const INNER: usize = usize::MAX;

async fn play_one(scene: &Scene<'_>, index: usize, step: &Value, fallback: &Value) -> Played {
    let expect = &step["expect"];
    let leaves = ["effects", "state_in", "balance_max"].iter().any(|w| expect.get(*w).is_some());
    if leaves {
        scene.name_reviews().await;
        *scene.step_before.borrow_mut() = Some(scene.counts());
    }
    let mut findings = repeated(scene, index, step, fallback).await?;
    let before = scene.step_before.borrow_mut().take();
    if let Some(before) = before.filter(|_| leaves) {
        scene.name_reviews().await;
        findings.extend(check::effects(scene, expect, &before)?);
    }
    Ok(findings)
}

/// `times`, `every` and `for_seconds`, for operations that do not count themselves.
async fn repeated(scene: &Scene<'_>, index: usize, step: &Value, fallback: &Value) -> Played {
    let op = step["op"].as_str().unwrap_or("");
    let once = ["config", "notify", "poll", "deposit", "sweep", "parallel"].contains(&op);
    if words::is_request(op) {
        return request::play(scene, index, step, fallback).await;
    }
    let times = if once { 1 } else { step["times"].as_u64().unwrap_or(1) };
    let mut findings = Vec::new();
    for number in 0..times {
        if number > 0 {
            scene.world.pass(step["every"].as_u64().unwrap_or(0)).await;
        }
        findings.extend(operate(scene, step, fallback).await?);
    }
    Ok(findings)
}

async fn operate(scene: &Scene<'_>, step: &Value, fallback: &Value) -> Played {
    if step["op"] != "parallel" {
        scene.resolves(step)?;
    }
    match step["op"].as_str().unwrap_or("") {
        "deposit" => deposit::transfer(scene, step).await,
        "provider" => deposit::provider(scene, step),
        "sweep" => deposit::sweep(scene, step).await,
        "settle" => deposit::settle(scene).await,
        "merchant_policy" => deposit::policy(scene, step).await,
        "queue" => queue::play(scene, step, fallback).await,
        "notify" => crate::notify::play(scene, step, fallback).await,
        "poll" => poll(scene, step).await.map(|()| Vec::new()),
        "advance" => {
            let secs = step["seconds"].as_u64();
            scene.world.pass(secs.ok_or_else(|| NotUnderstood("advance".to_owned()))?).await;
            Ok(Vec::new())
        }
        "parallel" => parallel(scene, step, fallback).await,
        "drain" => {
            drain(scene).await;
            Ok(Vec::new())
        }
        "config" => config(scene, step, fallback).await,
        other => Err(NotUnderstood(format!("op {other}"))),
    }
}

async fn parallel(scene: &Scene<'_>, step: &Value, fallback: &Value) -> Played {
    let fallback = step.get("expect").unwrap_or(fallback);
    let steps = step["steps"].as_array().cloned().unwrap_or_default();
    // A repetition inside is concurrent, too, each at its own time.
    let mut flat = Vec::new();
    for step in steps {
        let times = step["times"].as_u64().unwrap_or(1);
        let mut one = step.clone();
        for counted in ["times", "every"] {
            one.as_object_mut().unwrap().remove(counted);
        }
        for number in 0..times {
            let mut one = one.clone();
            if step["distinct"] == true {
                one["distinct"] = number.into();
            }
            flat.push((turn(&step, number)?, one));
        }
    }
    let played = join_all(flat.iter().map(async |(turn, step)| {
        if *turn > Duration::ZERO {
            tokio::time::sleep(*turn).await;
        }
        play(scene, INNER, step, fallback).await
    }));
    let mut findings = Vec::new();
    for played in played.await {
        findings.extend(played?);
    }
    Ok(findings)
}

/// What the provider's query answers from now on. One that is not asked this way would go unheard.
fn says(scene: &Scene<'_>, step: &Value) -> Result<(), NotUnderstood> {
    let says = match (step.get("provider_says"), step.get("provider_says_raw")) {
        (None, None) => return Ok(()),
        (Some(says), None) => scene.fill_all(says).to_string(),
        (None, Some(raw)) => scene.fill(raw.as_str().unwrap_or("")),
        (Some(_), Some(_)) => return Err(NotUnderstood("provider_says twice".to_owned())),
    };
    if scene.is_legacy() {
        return Err(NotUnderstood("provider_says of a provider that has no query".to_owned()));
    }
    scene.standard.say(Some(says));
    Ok(())
}

async fn poll(scene: &Scene<'_>, step: &Value) -> Result<(), NotUnderstood> {
    says(scene, step)?;
    // So that the order is due: an order is looked at for the first time after half a minute.
    match step["at"].as_str() {
        None => scene.world.pass(31).await,
        Some("expiry") => scene.world.pass(1_801).await,
        Some(other) => return Err(NotUnderstood(format!("poll at {other}"))),
    }
    let poisoned = step["poison_head"] == true;
    if poisoned {
        let head = scene.books().orders.first().map(|order| order.id.clone());
        queue::damage(scene, &head.ok_or_else(|| NotUnderstood("poison_head".to_owned()))?);
    }
    scene.polls.set(scene.polls.get() + 1);
    let times = step["times"].as_u64().unwrap_or(1);
    let lasts = Duration::from_secs(step["for_seconds"].as_u64().unwrap_or(0));
    let started = tokio::time::Instant::now();
    let mut number = 0;
    while number < times || started.elapsed() < lasts {
        if number > 0 || poisoned {
            let every = if poisoned || number >= times { 60 } else { 0 };
            scene.world.pass(step["every"].as_u64().unwrap_or(every)).await;
        }
        let instance = scene.around(step)?;
        let polled = instance.functions.poll("attack".to_owned());
        let polled = recharge_tests::world::until_crash(&instance.faults, polled).await;
        // Under a fault a run may come to nothing; the next one is its repetition.
        if let Some(Err(why)) = polled
            && step.get("fault").is_none()
            && !scene.conditions.borrow().is_faulty()
        {
            return Err(NotUnderstood(why));
        }
        number += 1;
    }
    if poisoned {
        let asked = scene.standard.asked();
        let others = scene.books().orders.len() - 1;
        assert!(asked >= others, "{asked} of {others} orders behind the head were asked for");
    }
    scene.polls.set(scene.polls.get() - 1);
    if scene.polls.get() == 0 {
        scene.standard.say(None);
    }
    Ok(())
}

/// Workers and schedule go on until the queue is empty and has been for two minutes.
async fn drain(scene: &Scene<'_>) {
    let functions = scene.functions();
    let mut quiet = 0;
    queue::from_the_next_version(scene).await;
    for _ in 0..60 {
        while matches!(scene.world.stack.settle_batch_with(&functions, 0).await, Ok(1..)) {}
        while matches!(scene.world.stack.notify_batch_with(&functions, 0).await, Ok(1..)) {}
        let (depth, notices) = (scene.world.stack.depth(), scene.world.stack.notification_depth());
        let busy = depth.visible + depth.in_flight + notices.visible + notices.in_flight;
        quiet = if busy == 0 { quiet + 1 } else { 0 };
        if quiet > 2 {
            return;
        }
        scene.world.pass(31).await;
        let _ = functions.poll("drain".to_owned()).await;
    }
}

/// All that a configuration says, together.
async fn config(scene: &Scene<'_>, step: &Value, fallback: &Value) -> Played {
    let mut understood = false;
    if let Some(secret) = step.get("webhook_secret") {
        configure_secret(scene, secret.as_str()).await;
        understood = true;
    }
    if let Some(versions) = step["mixed_versions"].as_array() {
        if versions.len() != 2 || versions[0] == versions[1] {
            return Err(NotUnderstood(format!("mixed_versions {}", step["mixed_versions"])));
        }
        scene.versions.start();
        understood = true;
    }
    if ["fault", "delay", "clock_offset"].iter().any(|word| step.get(*word).is_some()) {
        let lasts = step["for_seconds"].as_i64().map(|secs| secs.saturating_mul(1_000));
        let now_ms = scene.world.clock().now_ms();
        let until_ms = lasts.map_or(i64::MAX, |lasts| now_ms.saturating_add(lasts));
        scene.conditions.borrow_mut().last(step, until_ms)?;
        understood = true;
    }
    if step.get("for_seconds").is_some() && step.get("fault").is_none() {
        return Err(NotUnderstood("config for_seconds without a fault".to_owned()));
    }
    scene.rebuild();
    let expect = step.get("expect").unwrap_or(fallback);
    if step["check"] == "policy" {
        return crate::policy::check(expect);
    }
    if step["expect"].get("denied").is_some() || !understood {
        return Err(NotUnderstood(format!("config {step}")));
    }
    Ok(Vec::new())
}

/// The secret of all providers; `None` is none at all. Providers know the one that the service was given, as
/// long as it is one.
async fn configure_secret(scene: &Scene<'_>, secret: Option<&str>) {
    let aws = &scene.world.stack.ground.aws;
    let keys = match secret {
        Some(secret) => json!({"test": {"key": secret}, "p2": {"key": secret},
            "p3": {"key": secret}, "payprotocol": {"key": secret}}),
        None => json!({}),
    };
    // Twice: the version before must not be of help.
    for note in ["", " "] {
        let put = aws.secrets(aws.http_client(), 3).put_secret_value();
        let put = put.secret_id(&scene.world.stack.names.provider_keys);
        put.secret_string(format!("{keys}{note}")).send().await.unwrap();
    }
    if let Some(secret) = secret.filter(|secret| !secret.trim().is_empty()) {
        secret.clone_into(&mut scene.provider_secret.borrow_mut());
        scene.standard.set_key(secret);
    }
}
