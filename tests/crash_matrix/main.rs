//! The crash matrix: every outside call of every flow fails in every way, once; then the world goes on
//! without faults, and everything that must hold is checked. Prints the tables, and which call sites of the
//! product the flows have come to: all of them.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a scene that cannot be set up ends the test"
)]

mod audit;
mod money;
mod operator;
mod orders;
mod people;
mod providers;
mod reads;
mod scene;

use std::collections::BTreeSet;
use std::sync::Mutex;

use recharge_local::aws::faults::Fault;
use recharge_tests::matrix::{Matrix, hold, prove};
use recharge_tests::sites::{Site, listed};

/// What is called.
const SERVICES: [&str; 5] = ["dynamodb", "provider", "receiver", "secrets", "sqs"];

/// The tests that [`add`] something.
const GROUPS: usize = 7;

/// Adds a group's runs; whoever adds the last one prints what all of them came to.
fn add(group: Matrix) {
    static ALL: Mutex<Vec<Matrix>> = Mutex::new(Vec::new());
    let mut all = ALL.lock().expect("no group has panicked here");
    all.push(group);
    if all.len() < GROUPS {
        return;
    }
    let sum = |of: fn(&Matrix) -> usize| all.iter().map(of).sum::<usize>();
    let (flows, cases) = (sum(|group| group.flows), sum(|group| group.cases));
    let broken = sum(|group| group.failed.len());
    let kinds: BTreeSet<_> = all.iter().flat_map(|group| group.kinds.clone()).collect();
    for service in SERVICES {
        for fault in Fault::ALL {
            assert!(kinds.contains(&(service.to_owned(), fault)), "{fault:?} never met {service}");
        }
    }
    let (sites, kinds) = (listed().len(), Fault::ALL.len());
    println!("sites={sites} kinds={kinds} flows={flows} cases={cases} broken={broken}");
    assert!(cases > 3_000, "the matrix has become small: {cases}");
}

#[test]
fn orders_survive_every_fault() {
    add(prove(orders::every_fault));
}

#[test]
fn money_that_does_not_follow_an_order_survives_every_fault() {
    add(hold(money::every_fault()));
}

#[test]
fn what_people_decide_and_ask_for_survives_every_fault() {
    add(hold(people::every_fault()));
}

#[test]
fn commands_of_operators_survive_every_fault() {
    add(hold(operator::every_fault()));
}

#[test]
fn questions_to_providers_survive_every_fault() {
    add(hold(providers::every_fault()));
}

#[test]
fn reads_answer_by_the_contract_and_change_nothing_whatever_fails() {
    add(hold(reads::every_fault()));
}

#[test]
fn the_audit_survives_every_fault() {
    add(hold(audit::every_fault()));
}

#[test]
fn the_flows_come_to_every_call_site() {
    let met: BTreeSet<Site> = [
        audit::sites,
        orders::sites,
        money::sites,
        people::sites,
        operator::sites,
        reads::sites,
        providers::sites,
    ]
    .into_iter()
    .flat_map(|sites| sites())
    .collect();
    let listed = listed();
    let mut missing = Vec::new();
    for ((file, line), last) in &listed {
        let seen = met.range((file.clone(), *line)..=(file.clone(), *last)).next().is_some();
        println!("{} {file}:{line}", if seen { "met    " } else { "MISSING" });
        if !seen {
            missing.push(format!("{file}:{line}"));
        }
    }
    println!("sites={} missing={}", listed.len(), missing.len());
    assert!(missing.is_empty(), "no flow comes to {missing:#?}");
}

/// Two faults in one flow: some thousand runs each, so not by itself.
mod pairs {
    use super::{orders, pairs_of};

    #[test]
    #[ignore = "minutes: cargo test -p recharge-tests --test crash_matrix -- --ignored --nocapture pairs"]
    fn two_faults_in_a_settlement() {
        pairs_of("settle", orders::pairs(orders::Flow::Callback));
    }

    #[test]
    #[ignore = "minutes: cargo test -p recharge-tests --test crash_matrix -- --ignored --nocapture pairs"]
    fn two_faults_in_a_create() {
        pairs_of("create", orders::pairs(orders::Flow::FirstCreate));
    }
}

fn pairs_of(flow: &str, (cases, failed): (usize, Vec<String>)) {
    println!("pairs flow={flow} cases={cases} broken={}", failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
