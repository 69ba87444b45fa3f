//! The corpus as data: cases, their placeholders, and the guard that nothing in it goes unread.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// A corpus, as its file says it.
pub struct Corpus {
    pub fixtures: Value,
    pub vectors: Vec<Value>,
    pub cases: Vec<Case>,
}

/// One attack.
#[derive(Clone)]
pub struct Case {
    pub id: String,
    pub group: String,
    pub is_critical: bool,
    pub given: Value,
    pub steps: Vec<Value>,
    pub expect: Value,
    /// Members that nobody has a use for.
    pub unknown: Option<NotUnderstood>,
    /// In the corpus about the runner itself: how a finding has to read.
    pub must_say: Option<String>,
}

/// What a case is told by.
const MEMBERS: [&str; 10] =
    ["id", "class", "group", "severity", "title", "given", "steps", "expect", "invariants", "why"];

/// The repository's corpora, or the one that `RECHARGE_ATTACKS` names.
#[expect(
    clippy::disallowed_methods,
    reason = "another corpus is chosen by the caller's environment"
)]
pub fn load() -> Vec<Corpus> {
    match std::env::var_os("RECHARGE_ATTACKS") {
        Some(path) => vec![read(&PathBuf::from(path))],
        None => ["corpus.json", "own.json"].map(|name| read(&own(name))).into(),
    }
}

/// The corpus about the runner itself: in the situation of the published one, and each case holds, or has a
/// finding that reads as `must_say`.
pub fn words() -> Corpus {
    let Corpus { fixtures, vectors, .. } = read(&own("corpus.json"));
    let text = std::fs::read_to_string(own("words.json")).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    let take = |case: &mut Value| case.as_object_mut().unwrap().remove("must_say");
    let said: Vec<Option<Value>> =
        file["cases"].as_array_mut().unwrap().iter_mut().map(take).collect();
    let mut words = of_file(&file);
    for (case, said) in words.cases.iter_mut().zip(said) {
        case.must_say = said.map(|text| text.as_str().unwrap().to_owned());
    }
    Corpus { fixtures, vectors, ..words }
}

fn own(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("attacks").join(name)
}

fn read(path: &Path) -> Corpus {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    of_file(&serde_json::from_str(&text).unwrap())
}

fn of_file(file: &Value) -> Corpus {
    let case = |case: &Value| Case {
        id: text_of(&case["id"]),
        group: text_of(&case["group"]),
        is_critical: case["severity"] == "critical",
        given: case["given"].clone(),
        steps: case["steps"].as_array().cloned().unwrap_or_default(),
        expect: case["expect"].clone(),
        unknown: only("case", case, &MEMBERS).err(),
        must_say: None,
    };
    Corpus {
        fixtures: file["fixtures"].clone(),
        vectors: file["vectors"].as_array().cloned().unwrap_or_default(),
        cases: file["cases"].as_array().unwrap().iter().map(case).collect(),
    }
}

pub fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What this runner cannot do; never a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUnderstood(pub String);

/// Refuses an object with members that are not among `known`.
pub fn only(what: &str, value: &Value, known: &[&str]) -> Result<(), NotUnderstood> {
    let none = Map::new();
    let members = value.as_object().unwrap_or(&none);
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(NotUnderstood(format!("{what}: {name}"))),
        None => Ok(()),
    }
}

/// The steps that a step stands for: one for each element of the member that ends with `_each`, or itself.
pub fn each(step: &Value) -> Result<Vec<Value>, NotUnderstood> {
    let members = step.as_object().ok_or_else(|| NotUnderstood(format!("step {step}")))?;
    let mut lists = members.iter().filter(|(name, _)| name.ends_with("_each"));
    let Some((name, list)) = lists.next() else { return Ok(vec![step.clone()]) };
    let plain = name.trim_end_matches("_each");
    let list = list.as_array().filter(|list| !list.is_empty());
    let list = list.filter(|_| !members.contains_key(plain) && lists.next().is_none());
    let list = list.ok_or_else(|| NotUnderstood(name.clone()))?;
    let one = |value: &Value| {
        let mut one = step.clone();
        one.as_object_mut().unwrap().remove(name);
        one[plain] = value.clone();
        one
    };
    Ok(list.iter().map(one).collect())
}

/// Replaces `{{order}}`, `{{now}}` and `{{filler:N}}` in a text.
pub fn fill(text: &str, order: &str, now_secs: i64) -> String {
    let mut text = text.replace("{{order}}", order).replace("{{now}}", &now_secs.to_string());
    while let Some(start) = text.find("{{filler:") {
        let end = start + text[start..].find("}}").unwrap_or(text.len() - start - 2) + 2;
        let count = text[start + 9..end - 2].parse().unwrap_or(0);
        text.replace_range(start..end, &"a".repeat(count));
    }
    text
}

/// The same for every text inside a value.
pub fn fill_all(value: &Value, order: &str, now_secs: i64) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text, order, now_secs)),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| fill_all(item, order, now_secs)).collect())
        }
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), fill_all(value, order, now_secs)))
                .collect(),
        ),
        other => other.clone(),
    }
}
