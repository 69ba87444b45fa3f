//! The test vectors of `docs/signing.md`, held against the service's own signature, both ways: the table
//! is what the code signs, and what the table signs is believed.

#![expect(clippy::unwrap_used, reason = "a broken table ends the test")]

use recharge_shared::auth::sign;

const DOCUMENT: &str = include_str!("../docs/signing.md");
const SECRET: &str = "demo-secret-0123456789abcdef0123456789ab";
const AT_SECS: i64 = 1_767_225_600;

/// The rows of the vectors' table, without the marks around the values.
fn vectors() -> Vec<[String; 5]> {
    let (_, table) = DOCUMENT.split_once("| method | path and query |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| -> Vec<String> {
        let line = line.strip_prefix("| ").unwrap().strip_suffix(" |").unwrap();
        line.split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    rows.map(|line| cells(line).try_into().unwrap()).collect()
}

#[test]
fn the_vectors_are_what_the_service_signs() {
    let preamble = format!("Key id `demo`, secret `{SECRET}`, timestamp `{AT_SECS}`.");
    assert!(DOCUMENT.contains(&preamble));
    let vectors = vectors();
    assert_eq!(vectors.len(), 8);
    for [method, target, key, body, signature] in vectors {
        let signed = sign(SECRET, (&method, &target), (AT_SECS, "demo", &key), body.as_bytes());
        assert_eq!(signed, signature, "{method} {target}");
    }
}

#[test]
fn every_part_that_is_signed_changes_the_signature() {
    let [method, target, key, body, signature] = vectors().remove(0);
    let of = |method: &str, target: &str, at, id: &str, key: &str, body: &str| {
        sign(SECRET, (method, target), (at, id, key), body.as_bytes())
    };
    let others = [
        of("GET", &target, AT_SECS, "demo", &key, &body),
        of(&method, "/recharges?", AT_SECS, "demo", &key, &body),
        of(&method, &target, AT_SECS + 1, "demo", &key, &body),
        of(&method, &target, AT_SECS, "demo2", &key, &body),
        of(&method, &target, AT_SECS, "demo", "", &body),
        of(&method, &target, AT_SECS, "demo", &key, ""),
    ];
    assert!(others.iter().all(|other| *other != signature));
}
