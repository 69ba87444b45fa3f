//! The attack corpora against the whole bundle in process: each case on a world of its own, those with
//! concurrent steps under many interleavings. `RECHARGE_ATTACKS` names another corpus.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a scene that cannot be set up ends the test"
)]

mod again;
mod case;
mod check;
mod deposit;
mod events;
mod fault;
mod given;
mod names;
mod net;
mod notify;
mod policy;
mod queue;
mod request;
mod scene;
mod send;
mod step;
mod words;

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use recharge_tests::world::simulate;
use serde_json::Value;

use crate::case::{Case, Corpus, load, words as load_words};
use crate::scene::Scene;

/// How many interleavings a case with concurrent steps is played under.
const INTERLEAVINGS: u64 = 12;

/// Cases that are played at the same time.
const THREADS: usize = 2;

/// What unoptimised code needs for one case, one deep future, with room to spare: the test harness's own
/// threads have less.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Log lines of one case.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Plays a case once; what is wrong, in words.
async fn play(corpus: &Corpus, case: &Case, seed: u64, lines: &Lines) -> Vec<String> {
    let scene = Scene::open(corpus, seed).await;
    let mut problems = Vec::new();
    if let Err(unknown) = case.unknown.clone().map_or_else(|| words::case(case), Err) {
        return vec![format!("not understood: {}", unknown.0)];
    }
    if let Err(unknown) = scene.set_given(&case.given).await {
        return vec![format!("not understood: {}", unknown.0)];
    }
    for (index, step) in case.steps.iter().enumerate() {
        match step::play(&scene, index, step, &case.expect).await {
            Ok(findings) => {
                problems.extend(findings.into_iter().map(|f| format!("step {index}: {}", f.0)))
            }
            Err(unknown) => problems.push(format!("not understood: {}", unknown.0)),
        }
    }
    scene.name_reviews().await;
    let before = scene.before.borrow().clone();
    match check::effects(&scene, &case.expect, &before) {
        Ok(findings) => problems.extend(findings.into_iter().map(|finding| finding.0)),
        Err(unknown) => problems.push(format!("not understood: {}", unknown.0)),
    }
    let lines = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    problems.extend(check::logs(&scene, &lines).into_iter().map(|finding| finding.0));
    if case.steps.iter().any(|step| step["times"].as_u64().is_some_and(|times| times >= 1_000)) {
        problems.extend(check::unguessable(&scene).into_iter().map(|finding| finding.0));
    }
    problems
}

/// Plays a case under all its interleavings; what is wrong with the first that fails.
fn run(corpus: &Corpus, case: &Case) -> Vec<String> {
    let concurrent = case.steps.iter().any(|step| step["op"] == "parallel");
    let seeds = if concurrent { INTERLEAVINGS } else { 1 };
    for seed in 0..seeds {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
            .with_writer(move || writer.clone())
            .finish();
        let played = catch_unwind(AssertUnwindSafe(|| {
            tracing::subscriber::with_default(subscriber, || {
                simulate(seed, async || play(corpus, case, seed, &lines).await)
            })
        }));
        let problems = played.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            vec![format!("panicked: {}", text.unwrap_or_else(|| "at an assertion".to_owned()))]
        });
        if !problems.is_empty() {
            return problems.into_iter().map(|p| format!("[interleaving {seed}] {p}")).collect();
        }
    }
    Vec::new()
}

/// What is wrong with each of the cases, in their order.
fn run_all(cases: &[(&Corpus, &Case)]) -> Vec<Vec<String>> {
    let next = AtomicUsize::new(0);
    let played = Mutex::new(vec![Vec::new(); cases.len()]);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((corpus, case)) = cases.get(number) else { return };
            let problems = run(corpus, case);
            played.lock().unwrap()[number] = problems;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work).unwrap();
        }
    });
    played.into_inner().unwrap()
}

/// Cases that are known not to pass, with the reason. The list may only shrink.
fn open() -> BTreeMap<String, String> {
    let list: Vec<Value> = serde_json::from_str(include_str!("open.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.iter().map(|entry| (text(&entry["id"]), text(&entry["reason"]))).collect()
}

/// A runner that passed over a word would let these pass, or find nothing to say.
#[test]
fn every_word_is_played_or_refused() {
    let corpus = load_words();
    let cases: Vec<(&Corpus, &Case)> = corpus.cases.iter().map(|case| (&corpus, case)).collect();
    let mut wrong = Vec::new();
    for ((_, case), problems) in cases.iter().zip(run_all(&cases)) {
        let held = match &case.must_say {
            None => problems.is_empty(),
            Some(text) => problems.iter().any(|problem| problem.contains(text.as_str())),
        };
        if !held {
            wrong.push(format!("{} ({:?}): {problems:#?}", case.id, case.must_say));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_attack_of_the_corpus_is_refused() {
    let corpora = load();
    let open = open();
    let cases: Vec<(&Corpus, &Case)> =
        corpora.iter().flat_map(|corpus| corpus.cases.iter().map(move |c| (corpus, c))).collect();
    let played = run_all(&cases);
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut critical, mut critical_held) = (0, 0);
    let mut wrong = Vec::new();
    for ((_, case), problems) in cases.iter().zip(played) {
        let held = problems.is_empty();
        let (passed, total) = groups.entry(&case.group).or_default();
        *passed += usize::from(held);
        *total += 1;
        critical += usize::from(case.is_critical);
        critical_held += usize::from(case.is_critical && held);
        match (held, open.get(&case.id)) {
            (true, None) => {}
            (true, Some(_)) => wrong.push(format!("{} passes: take it off the list", case.id)),
            (false, Some(reason)) => println!("open: {} {reason}", case.id),
            (false, None) => wrong.push(format!("{}: {problems:#?}", case.id)),
        }
    }
    for (group, (passed, total)) in &groups {
        println!("{group:<18} {passed:>3} / {total}");
    }
    let (passed, total) =
        groups.values().fold((0, 0), |(p, t), (passed, total)| (p + passed, t + total));
    println!("{:<18} {passed:>3} / {total}, critical {critical_held} / {critical}", "all");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
