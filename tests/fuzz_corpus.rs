//! The fuzz targets over their seeds and a fixed number of mutations: the same inputs in every run.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a scene that cannot be set up ends the test"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use recharge_tests::fuzz::{TARGETS, Target};

const MUTATIONS_PER_SEED: usize = 200;

/// What parsers stumble over.
const SPLINTERS: [&[u8]; 24] = [
    b"\0",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"&",
    b"=",
    b"%00",
    b"%",
    b"+",
    b"\\u0000",
    b"\xff",
    b"\xef\xbb\xbf",
    b"-1",
    b"1e2",
    b"99999999999999999999",
    b"null",
    b"..//",
];

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn mutated(random: &mut fastrand::Rng, seed: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(0..=bytes.len());
        let end = random.usize(at..=bytes.len().min(at + 16));
        match random.u8(0..5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let splinter = SPLINTERS[random.usize(0..SPLINTERS.len())];
                bytes.splice(at..at, splinter.iter().copied());
            }
            3 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.u8(0..8)),
            _ => {
                let other = &others[random.usize(0..others.len())];
                let from = random.usize(0..=other.len());
                bytes.splice(at..end, other[from..other.len().min(from + 64)].iter().copied());
            }
        }
    }
    bytes
}

fn run((name, target): Target) {
    let seeds = seeds(name);
    assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
    let mut random = fastrand::Rng::with_seed(1);
    for seed in &seeds {
        for number in 0..=MUTATIONS_PER_SEED {
            let input = if number == 0 { seed.clone() } else { mutated(&mut random, seed, &seeds) };
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                panic!("{name} does not hold for {:?}", String::from_utf8_lossy(&input));
            }
        }
    }
}

#[test]
fn every_promise_holds_for_the_seeds_and_their_mutations() {
    TARGETS.into_iter().for_each(run);
}
