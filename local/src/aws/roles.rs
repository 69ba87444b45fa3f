//! The table's part of the functions' roles, as `infra/template.yaml` has it: what a function's role does not allow is
//! refused here as in AWS, so that nothing works on this machine alone. Queues and secrets are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use serde_json::Value as Json;
use serde_yaml_ng::Value as Yaml;

use super::faults::Service;
use super::wire::{JSON_1_0, WireAnswer, split_target};

const TEMPLATE: &str = include_str!("../../../infra/template.yaml");

static ROLES: LazyLock<BTreeMap<String, Vec<Statement>>> = LazyLock::new(|| read(TEMPLATE));

tokio::task_local! {
    static ROLE: &'static str;
}

/// Does `work` in a role, called as in the template: `CreateOrderRole`. What is done in none may do everything.
pub async fn in_role<T>(role: &'static str, work: impl Future<Output = T>) -> T {
    ROLE.scope(role, work).await
}

/// What is asked of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The action without its service, for example `PutItem`.
    pub action: String,
    /// The index that is read.
    pub index: Option<String>,
    /// The partition key of the row that is written.
    pub key: Option<String>,
    /// The attributes that are named.
    pub attributes: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Statement {
    allows: bool,
    actions: Vec<String>,
    resources: Vec<String>,
    keys: Vec<String>,
    attributes: Vec<String>,
}

impl Statement {
    fn is_about(&self, access: &Access) -> bool {
        let resource = match &access.index {
            Some(index) => format!("${{Table.Arn}}/index/{index}"),
            None => "Table.Arn".to_owned(),
        };
        let fits = |pattern: &String| {
            let start = pattern.strip_suffix('*').unwrap_or(pattern);
            access.key.as_ref().is_some_and(|key| key.starts_with(start))
        };
        self.actions.iter().any(|action| action.strip_prefix("dynamodb:") == Some(&access.action))
            && self.resources.contains(&resource)
            && (self.keys.is_empty() || self.keys.iter().any(fits))
            && (self.attributes.is_empty()
                || self.attributes.iter().any(|name| access.attributes.contains(name)))
    }
}

/// Whether `role` allows it; a role that is not in the template allows nothing.
pub fn allows(role: &str, access: &Access) -> bool {
    let statements = ROLES.get(role).map(Vec::as_slice).unwrap_or_default();
    let mut about = statements.iter().filter(|statement| statement.is_about(access)).peekable();
    about.peek().is_some() && about.all(|statement| statement.allows)
}

fn read(template: &str) -> BTreeMap<String, Vec<Statement>> {
    let document: Yaml = serde_yaml_ng::from_str(template).unwrap_or_default();
    let resources = document["Resources"].as_mapping().cloned().unwrap_or_default();
    let mut roles = BTreeMap::new();
    for (name, resource) in resources {
        let (Some(name), Some("AWS::IAM::Role")) = (name.as_str(), resource["Type"].as_str())
        else {
            continue;
        };
        let policies = resource["Properties"]["Policies"].as_sequence().cloned();
        let statements = policies.unwrap_or_default().into_iter().flat_map(|policy| {
            policy["PolicyDocument"]["Statement"].as_sequence().cloned().unwrap_or_default()
        });
        roles.insert(name.to_owned(), statements.map(|one| statement(&one)).collect());
    }
    roles
}

fn statement(statement: &Yaml) -> Statement {
    let mut read = Statement {
        allows: statement["Effect"].as_str() == Some("Allow"),
        actions: texts(&statement["Action"]),
        resources: texts(&statement["Resource"]),
        ..Statement::default()
    };
    let conditions = statement["Condition"].as_mapping().cloned().unwrap_or_default();
    for (_, condition) in conditions {
        read.keys.extend(texts(&condition["dynamodb:LeadingKeys"]));
        read.attributes.extend(texts(&condition["dynamodb:Attributes"]));
    }
    read
}

fn texts(value: &Yaml) -> Vec<String> {
    match value {
        Yaml::Sequence(values) => values.iter().flat_map(texts).collect(),
        Yaml::Tagged(tagged) => texts(&tagged.value),
        Yaml::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

/// What a request to the table comes to.
fn accesses(operation: &str, body: &Json) -> Vec<Access> {
    const WRITES: [(&str, &str); 4] = [
        ("Put", "PutItem"),
        ("Update", "UpdateItem"),
        ("Delete", "DeleteItem"),
        ("ConditionCheck", "ConditionCheckItem"),
    ];
    match operation {
        "TransactWriteItems" => {
            let items = body["TransactItems"].as_array().into_iter().flatten();
            let each = |item: &Json| {
                let of = |(name, action): &(&str, &str)| {
                    item.get(*name).map(|request| access(action, request))
                };
                WRITES.iter().find_map(of)
            };
            items.filter_map(each).collect()
        }
        _ => vec![access(operation, body)],
    }
}

fn access(action: &str, request: &Json) -> Access {
    let row = if request["Item"].is_object() { &request["Item"] } else { &request["Key"] };
    let mut attributes: BTreeSet<String> =
        row.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    for expression in ["UpdateExpression", "ConditionExpression", "ProjectionExpression"] {
        let text = request[expression].as_str().unwrap_or("");
        let names = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_#:".contains(c)));
        attributes.extend(names.filter(|name| !name.starts_with(':')).map(str::to_owned));
    }
    let named = request["ExpressionAttributeNames"].as_object();
    let named = named.into_iter().flatten().filter_map(|(_, name)| name.as_str());
    attributes.extend(named.map(str::to_owned));
    Access {
        action: action.to_owned(),
        index: request["IndexName"].as_str().map(str::to_owned),
        key: row["pk"]["S"].as_str().map(str::to_owned),
        attributes,
    }
}

/// The way to the services, on which the role in which something is done is held to.
pub fn guarded(wire: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(Guarded(wire))
}

#[derive(Debug)]
struct Guarded(SharedHttpClient);

#[derive(Debug)]
struct GuardedConnector(SharedHttpConnector);

impl HttpClient for Guarded {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.0.http_connector(settings, components);
        SharedHttpConnector::new(GuardedConnector(inner))
    }
}

impl HttpConnector for GuardedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match ROLE.try_with(|role| refusal(role, &request)).ok().flatten() {
            Some(refused) => HttpConnectorFuture::ready(Ok(refused.into_smithy())),
            None => self.0.call(request),
        }
    }
}

fn refusal(role: &str, request: &HttpRequest) -> Option<WireAnswer> {
    let target = request.headers().get("x-amz-target").unwrap_or("");
    if Service::of_target(target) != Service::DynamoDb {
        return None;
    }
    let body = serde_json::from_slice(request.body().bytes().unwrap_or_default());
    let wanted = accesses(split_target(target).1, &body.unwrap_or_default());
    let denied = wanted.into_iter().find(|access| !allows(role, access))?;
    let Access { action, index, key, .. } = denied;
    let message = format!("{role} is not authorized to perform dynamodb:{action}");
    tracing::error!(role, action, index, key, "refused by the function's role");
    Some(WireAnswer::error(400, JSON_1_0, "AccessDeniedException", &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(role: &str, action: &str, key: &str, attribute: &str) -> bool {
        let attributes = BTreeSet::from(["pk".to_owned(), attribute.to_owned()]);
        let key = Some(key.to_owned());
        allows(role, &Access { action: action.to_owned(), index: None, key, attributes })
    }

    #[test]
    fn a_role_allows_what_the_template_says() {
        for (role, action, key, attribute, wanted) in [
            ("CreateOrderRole", "PutItem", "O#R1", "state", true),
            ("CreateOrderRole", "UpdateItem", "U#m#u", "addresses", true),
            ("CreateOrderRole", "UpdateItem", "U#m#u", "balance", false),
            ("CreateOrderRole", "PutItem", "U#m#u", "addresses", false),
            ("CreateOrderRole", "UpdateItem", "M#m", "suspended", false),
            ("ReconcilePollerRole", "UpdateItem", "C#audit", "atPk", true),
            ("ReconcilePollerRole", "UpdateItem", "U#m#u", "balance", false),
            ("ReconcilePollerRole", "PutItem", "O#R1", "state", false),
            ("CallbackWorkerRole", "UpdateItem", "U#m#u", "balance", true),
            ("CallbackWorkerRole", "PutItem", "P#p#a#1", "amount", true),
            ("CallbackWorkerRole", "UpdateItem", "P#p#a#1", "amount", false),
            ("StatusQueryRole", "PutItem", "O#R1", "state", false),
            ("WebhookRole", "GetItem", "O#R1", "state", false),
            ("NobodysRole", "GetItem", "O#R1", "state", false),
        ] {
            assert_eq!(writes(role, action, key, attribute), wanted, "{role} {action} {key}");
        }
    }

    #[test]
    fn indexes_are_resources_of_their_own() {
        let query = |index: &str| Access {
            action: "Query".to_owned(),
            index: Some(index.to_owned()),
            key: None,
            attributes: BTreeSet::new(),
        };
        assert!(allows("ReconcilePollerRole", &query("due")));
        assert!(!allows("ReconcilePollerRole", &query("orders")));
        assert!(!allows("CreateOrderRole", &query("due")));
    }

    #[test]
    fn each_write_of_a_transaction_is_looked_at() {
        let body = serde_json::json!({"TransactItems": [
            {"Put": {"Item": {"pk": {"S": "O#R1"}, "sk": {"S": "O"}}}},
            {"Update": {"Key": {"pk": {"S": "U#m#u"}, "sk": {"S": "B#USDT"}},
                "UpdateExpression": "SET updatedAt = :now ADD #b :amount",
                "ExpressionAttributeNames": {"#b": "balance"}}},
        ]});
        let wanted = accesses("TransactWriteItems", &body);
        let allowed = |role| wanted.iter().map(|one| allows(role, one)).collect::<Vec<_>>();
        assert_eq!(allowed("CallbackWorkerRole"), [true, true]);
        assert_eq!(allowed("CreateOrderRole"), [true, false]);
    }
}
