//! A small model of one order, searched exhaustively: two workers, copies of callbacks, a queue that delivers
//! again, crashes between any two steps, the poller, the client's cancel, and a provider that is paid early,
//! late, twice or not. What a worker decides is asked of the product's own `apply` and state table; how it
//! reads, writes, announces and deletes is the model. Breadth first, so a finding is the shortest there is.

#![expect(clippy::expect_used, reason = "a scene that cannot be set up ends the test")]

mod steps;
mod world;

use std::collections::{HashMap, HashSet, VecDeque};

use recharge_shared::domain::{AmountPolicy, Disposal, Policy};

use crate::world::{Cast, Model, Seeded, State};

const ACCUMULATE: Policy = Policy { amount: AmountPolicy::Accumulate, ..Policy::EXACT };
const SECOND: Policy = Policy { second_payment: Disposal::Credit, ..Policy::EXACT };
const LATE: Policy = Policy { late_payment: Disposal::Review, ..Policy::EXACT };

/// Name, rules, payments, who is there beside the payer and the workers. All at once are too many states, so
/// the client and the poller come in turn.
const SCENES: [(&str, Policy, &[i128], Cast); 8] = [
    ("paid, cancelled", Policy::EXACT, &[500], Cast { client: true, ..NOBODY }),
    ("paid, polled", Policy::EXACT, &[500], Cast { poller: true, ..NOBODY }),
    ("paid or given up", Policy::EXACT, &[500], Cast { declines: true, ..NOBODY }),
    ("paid too little, cancelled", Policy::EXACT, &[400], Cast { client: true, ..NOBODY }),
    ("paid too little, polled", Policy::EXACT, &[400], Cast { poller: true, ..NOBODY }),
    ("late wants a person", LATE, &[500], Cast { poller: true, ..NOBODY }),
    ("paid twice, both credited", SECOND, &[500, 500], NOBODY),
    ("paid in parts", ACCUMULATE, &[200, 300], NOBODY),
];

const NOBODY: Cast = Cast { client: false, poller: false, declines: false };

/// More than can be looked at in half a minute.
const STATES_MAX: usize = 400_000;

/// What a search came to: states, steps, and the shortest way to something wrong.
struct Found {
    states: usize,
    steps: usize,
    wrong: Option<String>,
}

/// Looks at every state that can be reached.
fn search(model: &Model) -> Found {
    let mut from: HashMap<State, Option<(State, String)>> = HashMap::new();
    let mut open = VecDeque::from([model.start()]);
    let mut calm = HashSet::new();
    let mut steps = 0;
    from.insert(model.start(), None);
    while let Some(state) = open.pop_front() {
        assert!(from.len() < STATES_MAX, "the model has become large");
        let problem = model.wrong(&state).or_else(|| model.ends_badly(&state, &mut calm));
        if let Some(problem) = problem {
            let wrong = Some(format!("{problem}\n{}", way(&from, &state)));
            return Found { states: from.len(), steps, wrong };
        }
        for (name, next) in model.steps(&state) {
            steps += 1;
            if let Some(problem) = model.wrong_step(&state, &next) {
                let wrong = Some(format!("{problem}\n{}{name}", way(&from, &state)));
                return Found { states: from.len(), steps, wrong };
            }
            if !from.contains_key(&next) {
                from.insert(next.clone(), Some((state.clone(), name)));
                open.push_back(next);
            }
        }
    }
    Found { states: from.len(), steps, wrong: None }
}

/// How `state` came about.
fn way(from: &HashMap<State, Option<(State, String)>>, state: &State) -> String {
    let mut names = Vec::new();
    let mut at = state;
    while let Some(Some((before, name))) = from.get(at) {
        names.push(name.clone());
        at = before;
    }
    names.reverse();
    names.iter().map(|name| format!("{name}\n")).collect()
}

#[test]
fn no_interleaving_credits_twice_or_loses_a_payment() {
    for (name, policy, payments, cast) in SCENES {
        let model = Model::new(policy, payments, cast, Seeded::Nothing);
        let Found { states, steps, wrong } = search(&model);
        println!("{name}: states={states} steps={steps}");
        assert!(wrong.is_none(), "{name}: {}", wrong.unwrap_or_default());
        assert!(states > 1_000, "{name}: the model has become small: {states}");
    }
}

#[test]
fn the_search_finds_every_seeded_fault() {
    for (seeded, name) in [
        (Seeded::Unconditional, "paid, cancelled"),
        (Seeded::UnconditionalOrder, "paid, cancelled"),
        (Seeded::DeleteFirst, "paid twice, both credited"),
        (Seeded::AnnounceFirst, "paid, polled"),
        (Seeded::ExpiryUnconditional, "paid, polled"),
    ] {
        let scene = SCENES.iter().find(|scene| scene.0 == name).expect("a scene");
        let found = search(&Model::new(scene.1, scene.2, scene.3, seeded));
        let wrong = found.wrong.unwrap_or_default();
        let states = found.states;
        let (problem, way) = wrong.split_once('\n').unwrap_or_default();
        println!("{seeded:?} found after {states} states: {problem}\n{way}");
        assert!(!wrong.is_empty(), "{seeded:?} is not found in {states} states");
    }
}
