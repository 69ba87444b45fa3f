//! The OpenAPI document as a judge of answers: which operation a request belongs to, and what the
//! document says of status, headers and body. Knows as much JSON Schema as the document uses.

#![expect(clippy::expect_used, clippy::panic, reason = "a broken document ends the test")]

use recharge_local::events::Incoming;
use regex_lite::Regex;
use serde_json::Value;

use crate::Answered;

/// The checked-in document.
#[derive(Debug)]
pub struct Contract(Value);

impl Default for Contract {
    fn default() -> Contract {
        Contract::new()
    }
}

impl Contract {
    /// Reads the file that is served.
    pub fn new() -> Contract {
        let text = include_str!("../../docs/openapi.json");
        Contract(serde_json::from_str(text).expect("the document is JSON"))
    }

    /// `GET /recharges`, and so on.
    pub fn operations(&self) -> Vec<String> {
        let paths = self.0["paths"].as_object().expect("there are paths");
        let of = |(path, item): (&String, &Value)| {
            let methods = item.as_object().map(|item| item.keys().cloned().collect());
            let methods: Vec<String> = methods.unwrap_or_default();
            methods.into_iter().map(move |m| format!("{} {path}", m.to_uppercase())).collect()
        };
        paths.iter().flat_map(|entry| -> Vec<String> { of(entry) }).collect()
    }

    /// The operation `GET /recharges`, and so on.
    pub fn operation(&self, operation: &str) -> &Value {
        let (method, path) = operation.split_once(' ').expect("a verb and a path");
        &self.0["paths"][path][method.to_lowercase()]
    }

    /// A schema by its name.
    pub fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    fn find(&self, request: &Incoming) -> Option<String> {
        let operations = self.operations();
        let fits = |operation: &&String| {
            let (method, path) = operation.split_once(' ').expect("a verb and a path");
            let (wanted, given) = (path.split('/'), request.path.split('/'));
            let mut pairs = wanted.clone().zip(given.clone());
            method == request.method.as_str()
                && wanted.count() == given.count()
                && pairs.all(|(wanted, given)| wanted == given || wanted.starts_with('{'))
        };
        let fitting = operations.iter().filter(fits);
        fitting.min_by_key(|operation| operation.matches('{').count()).cloned()
    }

    /// Whether the document has this answer to this request; the operation's name.
    #[track_caller]
    pub fn check(&self, request: &Incoming, answered: &Answered) -> String {
        let name = self.find(request).unwrap_or_else(|| panic!("{} is in no path", request.path));
        let status = answered.status.to_string();
        let at = format!("{name} {status}");
        let response = self.resolve(&self.operation(&name)["responses"][&status]);
        assert!(response.is_object(), "{at} is not documented: {}", answered.text);
        for header in answered.headers.keys() {
            let known = response["headers"].as_object().into_iter().flatten();
            let known =
                known.map(|(name, _)| name.to_lowercase()).any(|name| name == header.as_str());
            assert!(known || header == "content-type", "{at}: header {header} is not documented");
        }
        for (header, wanted) in response["headers"].as_object().into_iter().flatten() {
            let value = answered.headers.get(header).and_then(|value| value.to_str().ok());
            let value = value.unwrap_or_else(|| panic!("{at}: header {header} is missing"));
            let number =
                value.parse::<i64>().ok().filter(|_| wanted["schema"]["type"] == "integer");
            let value = number.map_or_else(|| Value::from(value), Value::from);
            self.fits(&wanted["schema"], &value, &format!("{at}: {header}"));
        }
        let content_type = answered.headers.get("content-type").and_then(|v| v.to_str().ok());
        let content_type = content_type.unwrap_or("").split(';').next().unwrap_or("");
        let content = &response["content"][content_type];
        assert!(content.is_object(), "{at}: content type {content_type:?} is not documented");
        if content_type.ends_with("json") {
            self.fits(&content["schema"], &answered.json, &at);
        }
        at
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.0.pointer(reference.trim_start_matches('#')).unwrap_or(value),
            None => value,
        }
    }

    /// Ends the test when `value` is not what `schema` says.
    #[track_caller]
    pub fn fits(&self, schema: &Value, value: &Value, at: &str) {
        let fault = self.fault(schema, value);
        assert_eq!(fault, None, "{at}: {value}");
    }

    /// What is wrong with `value`.
    pub fn fault(&self, schema: &Value, value: &Value) -> Option<String> {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let fitting = choices.iter().filter(|one| self.fault(one, value).is_none()).count();
            return (fitting != 1).then(|| format!("fits {fitting} of oneOf"));
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect::<Vec<&str>>(),
        };
        if !types.is_empty() && !types.contains(&type_of(value)) {
            return Some(format!("is no {types:?}"));
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return Some(format!("is none of {words:?}"));
        }
        match value {
            Value::String(text) => text_fault(schema, text),
            Value::Number(number) => number_fault(schema, number.as_i64()?),
            Value::Array(items) => items.iter().find_map(|item| self.fault(&schema["items"], item)),
            Value::Object(_) => self.object_fault(schema, value),
            Value::Null | Value::Bool(_) => None,
        }
    }

    fn object_fault(&self, schema: &Value, value: &Value) -> Option<String> {
        let members = value.as_object()?;
        let mut required = schema["required"].as_array().into_iter().flatten();
        if let Some(missing) =
            required.find(|name| !members.contains_key(name.as_str().unwrap_or("")))
        {
            return Some(format!("lacks {missing}"));
        }
        let most = schema["maxProperties"].as_u64().unwrap_or(u64::MAX);
        if members.len() as u64 > most {
            return Some("has too many members".to_owned());
        }
        // An answer with a member that the document does not know is a fault of the document.
        members.iter().find_map(|(name, member)| {
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, rest @ Value::Object(_)) => self.fault(rest, member),
                (Value::Null, _) if schema["properties"].is_object() => {
                    Some(format!("unknown {name}"))
                }
                (known, _) => self.fault(known, member).map(|fault| format!("{name} {fault}")),
            }
        })
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn text_fault(schema: &Value, text: &str) -> Option<String> {
    let fits = |pattern: &str| Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
    if let Some(pattern) = schema["pattern"].as_str().filter(|pattern| !fits(pattern)) {
        return Some(format!("does not follow {pattern}"));
    }
    let time = Regex::new("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$").ok()?;
    let length = text.chars().count() as u64;
    let long = length > schema["maxLength"].as_u64().unwrap_or(u64::MAX);
    let short = length < schema["minLength"].as_u64().unwrap_or(0);
    let no_time = schema["format"] == "date-time" && !time.is_match(text);
    (long || short || no_time).then(|| format!("{text:?} has a wrong length or format"))
}

fn number_fault(schema: &Value, number: i64) -> Option<String> {
    let below = schema["minimum"].as_i64().is_some_and(|least| number < least);
    let above = schema["maximum"].as_i64().is_some_and(|most| number > most);
    (below || above).then(|| format!("{number} is out of range"))
}
