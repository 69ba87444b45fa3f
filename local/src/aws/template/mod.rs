//! The SAM template as the one source of tables, queues, routes and schedules, locally too.
//!
//! Reads what the local bundle needs and resolves it to local names; ignores the rest (roles, alarms,
//! logs). A resource without a physical name is called by its logical id in lower case.

mod apply;
mod intrinsics;
mod resources;

use std::collections::BTreeMap;

use serde_json::Value as Json;
use serde_yaml_ng::Value as Yaml;

pub use self::apply::apply;
use self::intrinsics::{Local, Resolver};
use super::sqs::ACCOUNT;

/// The template cannot be read, or does not fit what is there already.
#[derive(Debug)]
pub struct TemplateError(String);

impl TemplateError {
    fn new(message: impl Into<String>) -> TemplateError {
        TemplateError(message.into())
    }
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

/// What the template declares, in the order of logical ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Template {
    /// The tables.
    pub tables: Vec<Table>,
    /// The queues.
    pub queues: Vec<Queue>,
    /// The functions.
    pub functions: Vec<Function>,
    /// The HTTP routes.
    pub routes: Vec<Route>,
    /// The schedules.
    pub schedules: Vec<Schedule>,
    /// The queues that functions consume.
    pub queue_sources: Vec<QueueSource>,
    /// The secrets.
    pub secrets: Vec<Secret>,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// The table's local name.
    pub name: String,
    /// The body of the `CreateTable` request.
    pub create: Json,
    /// The attribute that holds the time to live.
    pub ttl_attribute: Option<String>,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// The queue's local name.
    pub name: String,
    /// How long a received message stays hidden.
    pub visibility_timeout_seconds: u32,
    /// How long a message is kept.
    pub retention_seconds: u32,
    /// How long a new message stays hidden.
    pub delay_seconds: u32,
    /// Where worn-out messages go.
    pub redrive: Option<Redrive>,
}

/// Where a queue's worn-out messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The dead-letter queue's logical id.
    pub target_logical_id: String,
    /// How often a message is received before it moves.
    pub max_receive_count: u32,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// Where its code is, as written.
    pub code_uri: String,
    /// The longest run.
    pub timeout_seconds: u32,
    /// The memory it is given.
    pub memory_mb: u32,
    /// Its settings, resolved to local names where they have one.
    pub environment: BTreeMap<String, String>,
}

impl Function {
    /// The last part of `code_uri`, which is the name of the crate.
    pub fn crate_name(&self) -> &str {
        self.code_uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }
}

/// An HTTP route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The method in upper case, or [`Route::ANY`].
    pub method: String,
    /// The path with its variables, for example `/recharges/{orderId}`, or [`Route::DEFAULT`].
    pub path: String,
    /// Who answers.
    pub function_logical_id: String,
}

impl Route {
    /// The method of a route that takes every method.
    pub const ANY: &'static str = "ANY";
    /// The path of the route that takes what no other route takes.
    pub const DEFAULT: &'static str = "$default";
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Who is called.
    pub function_logical_id: String,
    /// How often.
    pub every_seconds: u64,
    /// What it is called with, as JSON; nothing means the scheduler's own event.
    pub input: Option<String>,
}

/// A function that consumes a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSource {
    /// The queue.
    pub queue_logical_id: String,
    /// The consumer.
    pub function_logical_id: String,
    /// The most messages it is given at once.
    pub batch_size: u32,
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// The secret's local name.
    pub name: String,
}

impl Template {
    /// Reads `text`. `parameters` go before the template's defaults; `base_url` is what the URLs of
    /// queues begin with (the AWS port, or [`super::EMBEDDED_URL`]).
    pub fn read(
        text: &str,
        parameters: &BTreeMap<String, String>,
        base_url: &str,
    ) -> Result<Template, TemplateError> {
        let document: Yaml = serde_yaml_ng::from_str(text)
            .map_err(|e| TemplateError::new(format!("the template is not YAML: {e}")))?;
        let mut resolver = Resolver {
            parameters: read_parameters(&document, parameters)?,
            conditions: section(&document, "Conditions"),
            resources: BTreeMap::new(),
        };
        let mut declared = BTreeMap::new();
        for (logical_id, resource) in section(&document, "Resources") {
            let condition = resource.get("Condition").and_then(Yaml::as_str);
            if condition.map_or(Ok(true), |condition| resolver.condition(condition))? {
                declared.insert(logical_id, resource);
            }
        }
        for (logical_id, resource) in &declared {
            if let Some(local) = local_name(&resolver, logical_id, resource, base_url)? {
                resolver.resources.insert(logical_id.clone(), local);
            }
        }
        resources::read(&document, &declared, &resolver)
    }

    /// The queue with this logical id.
    pub fn queue(&self, logical_id: &str) -> Option<&Queue> {
        self.queues.iter().find(|queue| queue.logical_id == logical_id)
    }

    /// The function with this logical id.
    pub fn function(&self, logical_id: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.logical_id == logical_id)
    }
}

fn section(document: &Yaml, name: &str) -> BTreeMap<String, Yaml> {
    let entries = document.get(name).and_then(Yaml::as_mapping).into_iter().flatten();
    let named = entries.filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.clone())));
    named.collect()
}

fn read_parameters(
    document: &Yaml,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Json>, TemplateError> {
    let mut parameters = BTreeMap::new();
    for (name, parameter) in section(document, "Parameters") {
        let default = parameter
            .get("Default")
            .map(|default| intrinsics::text(&serde_json::to_value(default).unwrap_or_default()));
        let Some(value) = given.get(&name).cloned().or(default) else { continue };
        let kind = parameter.get("Type").and_then(Yaml::as_str).unwrap_or("String");
        let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
        let list = || value.split(',').map(|item| Json::from(item.trim())).collect();
        parameters.insert(name, if is_list { list() } else { Json::String(value.clone()) });
    }
    match given.keys().find(|name| !parameters.contains_key(*name)) {
        Some(name) => Err(TemplateError::new(format!("the template has no parameter {name}"))),
        None => Ok(parameters),
    }
}

/// What `!Ref` and `!GetAtt` mean for a table, a queue or a secret; nothing for anything else.
fn local_name(
    resolver: &Resolver,
    logical_id: &str,
    resource: &Yaml,
    base_url: &str,
) -> Result<Option<Local>, TemplateError> {
    let kind = resource.get("Type").and_then(Yaml::as_str).unwrap_or_default();
    let property = match kind {
        "AWS::DynamoDB::Table" => "TableName",
        "AWS::SQS::Queue" => "QueueName",
        "AWS::SecretsManager::Secret" => "Name",
        _ => return Ok(None),
    };
    let given = resource.get("Properties").and_then(|properties| properties.get(property));
    let given = given.map(|name| resolver.resolve(name)).transpose()?.flatten();
    let given = given.as_ref().and_then(Json::as_str).map(str::to_owned);
    let name = given.unwrap_or_else(|| logical_id.to_lowercase());
    Ok(Some(match property {
        "TableName" => {
            let arn = format!("arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{name}");
            Local { reference: name, attributes: [("Arn", arn)].into() }
        }
        "QueueName" => {
            let url = format!("{}/{ACCOUNT}/{name}", base_url.trim_end_matches('/'));
            let arn = format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{name}");
            let attributes = [("Arn", arn), ("QueueName", name), ("QueueUrl", url.clone())];
            Local { reference: url, attributes: attributes.into() }
        }
        _ => Local { attributes: [("Id", name.clone())].into(), reference: name },
    }))
}

#[cfg(test)]
mod tests;
