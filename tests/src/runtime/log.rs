//! The rules of the log: one JSON object a line, with level, time and message, no name in it twice;
//! no keys, no signatures, no bodies or what they say of a person. Metrics stand among them, in their own form.

#![expect(clippy::expect_used, reason = "a line of another form ends the test")]

use recharge_local::call::{ADMIN_KEYS, API_KEYS};
use recharge_local::stack::{PAYPROTOCOL_SECRET, TRADER_KEY};
use recharge_shared::json::Strict;
use recharge_shared::providers::payprotocol::HEADERS;
use serde_json::Value;

use super::events::{body, fields};

/// Members of bodies that a log line may repeat: the order, its provider, and our own words.
const SPEAKABLE: [&str; 10] = [
    "account",
    "action",
    "kind",
    "orderId",
    "orderid",
    "paymentId",
    "paymentMethod",
    "provider",
    "source",
    "traceId",
];
/// Shorter texts, and numbers, occur by accident.
const LENGTH_MIN: usize = 6;

/// What must not be seen in the log.
#[derive(Debug)]
pub struct Unspeakable(Vec<String>);

impl Unspeakable {
    /// The keys of clients and providers, and `secrets`.
    pub fn new(secrets: &[&str]) -> Unspeakable {
        let clients = API_KEYS.iter().chain(&ADMIN_KEYS).map(|key| key.secret);
        let providers = [TRADER_KEY, PAYPROTOCOL_SECRET];
        let all = clients.chain(providers).chain(secrets.iter().copied());
        Unspeakable(all.map(str::to_owned).collect())
    }

    /// What `event` adds: the sender's signature, the body and the body's members.
    pub fn learn(&mut self, event: &Value) {
        for header in ["x-signature", HEADERS[2]] {
            let signature = event["headers"][header].as_str();
            self.0.extend(signature.map(|text| text.trim_start_matches("v1=").to_owned()));
        }
        let records = event["Records"].as_array().into_iter().flatten();
        for event in records.chain([event]) {
            self.0.extend(event["body"].as_str().map(str::to_owned));
            self.0.push(String::from_utf8_lossy(&body(event)).into_owned());
            let told = |(name, value): (String, String)| {
                let accidental =
                    value.len() < LENGTH_MIN || value.bytes().all(|byte| byte.is_ascii_digit());
                (!accidental && !SPEAKABLE.contains(&name.as_str())).then_some(value)
            };
            self.0.extend(fields(event).into_iter().filter_map(told));
        }
        self.0.retain(|text| !text.is_empty());
    }

    /// The lines of `output`, after each has been held to the rules: those of the log, and the metrics.
    pub fn check(&self, output: &str) -> (Vec<Value>, Vec<Value>) {
        let lines = output.lines().map(|line| self.line(line));
        lines.partition(|line| line.get("_aws").is_none())
    }

    fn line(&self, line: &str) -> Value {
        let Strict(parsed) = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("a log line is no JSON: {error}: {line}"));
        if parsed.get("_aws").is_some() {
            check_metrics(&parsed);
        } else {
            let texts_in = ["level", "timestamp", "message"];
            assert!(texts_in.iter().all(|name| parsed[name].is_string()), "{line}");
        }
        let mut said = vec![line.to_owned()];
        texts(&parsed, &mut said);
        for secret in &self.0 {
            assert!(!said.iter().any(|text| text.contains(secret)), "{secret} is in: {line}");
        }
        parsed
    }
}

/// What CloudWatch ignores without a word: a metric or a dimension that is declared and not there.
fn check_metrics(line: &Value) {
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().expect("directives");
    assert!(!directives.is_empty() && line["_aws"]["Timestamp"].is_i64(), "{line}");
    for directive in directives {
        assert_eq!(directive["Namespace"], "Recharge", "{line}");
        let sets = directive["Dimensions"].as_array().expect("sets of dimensions");
        assert_eq!(sets[0], serde_json::json!(["Stage"]), "{line}");
        let named = sets.iter().flat_map(|set| set.as_array().expect("a set")).collect::<Vec<_>>();
        let is_told = |name: &&Value| line[name.as_str().unwrap_or("")].is_string();
        assert!(named.iter().all(is_told), "{line}");
        for metric in directive["Metrics"].as_array().expect("metrics") {
            let value = &line[metric["Name"].as_str().expect("a name")];
            assert!(value.is_number() || value.is_array(), "{metric} in {line}");
        }
    }
}

/// Every name and text in `value`, without the escapes that a line has them in.
fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            into.push(name.clone());
            texts(value, into);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_that_says_too_much_is_found() {
        let mut unspeakable = Unspeakable::new(&["k3y-0123"]);
        let body = json!({"userId": "u_1001", "orderid": "R1", "n": "123456"}).to_string();
        unspeakable.learn(&json!({"headers": {"x-signature": "v1=abcdef"}, "body": body}));
        let line =
            |said: &str| json!({"level": "INFO", "timestamp": "t", "message": said}).to_string();
        for bad in ["a k3y-0123", "abcdef", &body, "user u_1001", TRADER_KEY] {
            let found = std::panic::catch_unwind(|| unspeakable.check(&line(bad)));
            assert!(found.is_err(), "{bad}");
        }
        assert_eq!(unspeakable.check(&line("order R1 took 123456")).0.len(), 1);
        let twice = line("said").replace("timestamp", "message");
        for bad in ["plain text", "[]", "{}", &twice] {
            assert!(std::panic::catch_unwind(|| unspeakable.check(bad)).is_err(), "{bad}");
        }
    }
}
