//! From declared resources to plain structs.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use serde_yaml_ng::Value as Yaml;

use super::intrinsics::{Resolver, text};
use super::{Function, Queue, QueueSource, Redrive, Route, Schedule, Secret, Table};
use super::{Template, TemplateError};

/// Reads every resource whose condition holds.
pub fn read(
    document: &Yaml,
    declared: &BTreeMap<String, Yaml>,
    resolver: &Resolver,
) -> Result<Template, TemplateError> {
    let mut reader = Reader {
        resolver,
        globals: match document.get("Globals").and_then(|globals| globals.get("Function")) {
            Some(globals) => resolver.resolve(globals)?.unwrap_or_default(),
            None => Json::Null,
        },
        template: Template::default(),
    };
    for (logical_id, resource) in declared {
        let properties = match resource.get("Properties") {
            Some(properties) => resolver.resolve(properties)?.unwrap_or_default(),
            None => Json::Null,
        };
        match resource.get("Type").and_then(Yaml::as_str).unwrap_or_default() {
            "AWS::DynamoDB::Table" => reader.table(logical_id, &properties),
            "AWS::SQS::Queue" => reader.queue(logical_id, &properties)?,
            "AWS::Serverless::Function" => reader.function(logical_id, &properties)?,
            "AWS::SecretsManager::Secret" => {
                let name = reader.local(logical_id);
                reader.template.secrets.push(Secret { logical_id: logical_id.clone(), name });
            }
            _ => {}
        }
    }
    Ok(reader.template)
}

struct Reader<'a> {
    resolver: &'a Resolver,
    globals: Json,
    template: Template,
}

impl Reader<'_> {
    /// The value of `!Ref`.
    fn local(&self, logical_id: &str) -> String {
        let local = self.resolver.resources.get(logical_id);
        local.map(|local| local.reference.clone()).unwrap_or_default()
    }

    fn table(&mut self, logical_id: &str, properties: &Json) {
        let name = self.local(logical_id);
        let mut create = json!({
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": properties["AttributeDefinitions"],
            "KeySchema": properties["KeySchema"],
        });
        for kind in ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"] {
            let indexes = properties[kind].as_array().into_iter().flatten().map(|index| {
                json!({
                    "IndexName": index["IndexName"],
                    "KeySchema": index["KeySchema"],
                    "Projection": index["Projection"],
                })
            });
            let indexes: Vec<Json> = indexes.collect();
            if !indexes.is_empty() {
                create[kind] = indexes.into();
            }
        }
        if let Some(view) = properties["StreamSpecification"]["StreamViewType"].as_str() {
            create["StreamSpecification"] =
                json!({ "StreamEnabled": true, "StreamViewType": view });
        }
        let ttl = &properties["TimeToLiveSpecification"];
        let ttl_attribute = (text(&ttl["Enabled"]) == "true").then(|| text(&ttl["AttributeName"]));
        let logical_id = logical_id.to_owned();
        self.template.tables.push(Table { logical_id, name, create, ttl_attribute });
    }

    fn queue(&mut self, logical_id: &str, properties: &Json) -> Result<(), TemplateError> {
        let seconds = |name: &str, default| number(logical_id, properties, name, default);
        let mut redrive = None;
        let policy = &properties["RedrivePolicy"];
        if policy.is_object() {
            let arn = text(&policy["deadLetterTargetArn"]);
            redrive = Some(Redrive {
                target_logical_id: self.queue_of_arn(logical_id, &arn)?,
                max_receive_count: number(logical_id, policy, "maxReceiveCount", 10)?,
            });
        }
        let url = self.local(logical_id);
        self.template.queues.push(Queue {
            logical_id: logical_id.to_owned(),
            name: url.rsplit('/').next().unwrap_or_default().to_owned(),
            visibility_timeout_seconds: seconds("VisibilityTimeout", 30)?,
            retention_seconds: seconds("MessageRetentionPeriod", 345_600)?,
            delay_seconds: seconds("DelaySeconds", 0)?,
            redrive,
        });
        Ok(())
    }

    fn queue_of_arn(&self, user: &str, arn: &str) -> Result<String, TemplateError> {
        let mut queues = self.resolver.resources.iter();
        let found = queues.find(|(_, local)| {
            local.attributes.contains_key("QueueName")
                && local.attributes.get("Arn").is_some_and(|known| known == arn)
        });
        found.map(|(logical_id, _)| logical_id.clone()).ok_or_else(|| {
            TemplateError::new(format!("{user} refers to a queue that is not declared: {arn}"))
        })
    }

    fn function(&mut self, logical_id: &str, properties: &Json) -> Result<(), TemplateError> {
        let mut environment = BTreeMap::new();
        for settings in [&self.globals, properties] {
            let variables = settings["Environment"]["Variables"].as_object();
            for (name, value) in variables.into_iter().flatten() {
                environment.insert(name.clone(), text(value));
            }
        }
        let setting = |name: &str, default| {
            let default = number(logical_id, &self.globals, name, default)?;
            number(logical_id, properties, name, default)
        };
        self.template.functions.push(Function {
            logical_id: logical_id.to_owned(),
            code_uri: text(properties.get("CodeUri").unwrap_or(&self.globals["CodeUri"])),
            timeout_seconds: setting("Timeout", 3)?,
            memory_mb: setting("MemorySize", 128)?,
            environment,
        });
        for event in properties["Events"].as_object().into_iter().flat_map(|events| events.values())
        {
            self.event(logical_id, event["Type"].as_str(), &event["Properties"])?;
        }
        Ok(())
    }

    fn event(
        &mut self,
        function: &str,
        kind: Option<&str>,
        properties: &Json,
    ) -> Result<(), TemplateError> {
        let function_logical_id = function.to_owned();
        match kind {
            Some("HttpApi" | "Api") => {
                let given = |name: &str| properties.get(name).map(text);
                self.template.routes.push(Route {
                    method: given("Method").map_or(Route::ANY.to_owned(), |m| m.to_uppercase()),
                    path: given("Path").unwrap_or(Route::DEFAULT.to_owned()),
                    function_logical_id,
                });
            }
            Some("Schedule" | "ScheduleV2") => {
                let off = text(&properties["Enabled"]) == "false";
                if off || text(&properties["State"]) == "DISABLED" {
                    return Ok(());
                }
                let written = ["ScheduleExpression", "Schedule"]
                    .iter()
                    .find_map(|name| properties.get(name).and_then(Json::as_str));
                let every_seconds = rate_seconds(written.unwrap_or_default()).ok_or_else(|| {
                    let message = format!("{function}: only rate(..) schedules run locally");
                    TemplateError::new(message)
                })?;
                let input = properties["Input"].as_str().map(str::to_owned);
                self.template.schedules.push(Schedule {
                    function_logical_id,
                    every_seconds,
                    input,
                });
            }
            Some("SQS") => {
                let arn = text(&properties["Queue"]);
                self.template.queue_sources.push(QueueSource {
                    queue_logical_id: self.queue_of_arn(function, &arn)?,
                    batch_size: number(function, properties, "BatchSize", 10)?,
                    function_logical_id,
                });
            }
            _ => {}
        }
        Ok(())
    }
}

fn number(user: &str, properties: &Json, name: &str, default: u32) -> Result<u32, TemplateError> {
    match properties.get(name) {
        None => Ok(default),
        Some(value) => text(value)
            .parse()
            .map_err(|_| TemplateError::new(format!("{user}: {name} is no whole number: {value}"))),
    }
}

/// `rate(5 minutes)` in seconds.
fn rate_seconds(expression: &str) -> Option<u64> {
    let (count, unit) =
        expression.trim().strip_prefix("rate(")?.strip_suffix(')')?.trim().split_once(' ')?;
    let unit_seconds = match unit.trim().trim_end_matches('s') {
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(unit_seconds).filter(|&seconds| seconds > 0)
}
