//! Who may do what with the ledger, read from the deployed policy documents: `infra/template.yaml`.

use serde_json::Value;
use serde_yaml_ng::Value as Yaml;

use crate::case::NotUnderstood;
use crate::check::Finding;
use crate::step::Played;

const TEMPLATE: &str = include_str!("../../infra/template.yaml");

/// What `denied` lists must not be allowed: `<function>:<ledger|orders>:<Action|*>`.
pub fn check(expect: &Value) -> Played {
    if !expect["denied"].is_array() {
        return Err(NotUnderstood("policy without denied".to_owned()));
    }
    let template: Yaml = serde_yaml_ng::from_str(TEMPLATE).unwrap();
    let mut findings = Vec::new();
    for entry in expect["denied"].as_array().into_iter().flatten() {
        let entry = entry.as_str().unwrap_or("");
        let parts: Vec<&str> = entry.split(':').collect();
        let [function, what, action] = parts[..] else {
            return Err(NotUnderstood(format!("denied {entry}")));
        };
        let role = match function {
            "worker" => "CallbackWorkerRole",
            "webhook" => "WebhookRole",
            "notifier" => "NotifierRole",
            "poller" => "ReconcilePollerRole",
            "status" => "StatusQueryRole",
            "create" => "CreateOrderRole",
            _ => return Err(NotUnderstood(format!("denied {entry}"))),
        };
        let keys: &[&str] = match what {
            "ledger" => &["P#test#A#txn"],
            "orders" => &["O#R0123456789ABCDEFGHJKMNPQR"],
            _ => return Err(NotUnderstood(format!("denied {entry}"))),
        };
        let actions: Vec<String> = match action {
            "*" => {
                ["PutItem", "UpdateItem", "DeleteItem"].map(|a| format!("dynamodb:{a}")).to_vec()
            }
            action => vec![format!("dynamodb:{action}Item")],
        };
        for action in &actions {
            if keys.iter().any(|key| allows(&template, role, action, key)) {
                findings.push(Finding(format!("{role} may {action} {what}")));
            }
        }
    }
    Ok(findings)
}

/// Whether a statement of the role allows `action` on the row whose partition key is `key`. A role that
/// is not there allows nothing.
fn allows(template: &Yaml, role: &str, action: &str, key: &str) -> bool {
    let policies = &template["Resources"][role]["Properties"]["Policies"];
    let policies = policies.as_sequence().cloned().unwrap_or_default();
    let statements = policies.iter().flat_map(|policy| {
        policy["PolicyDocument"]["Statement"].as_sequence().cloned().unwrap_or_default()
    });
    let listed = |value: &Yaml| match value {
        Yaml::Sequence(items) => items.iter().filter_map(Yaml::as_str).map(str::to_owned).collect(),
        Yaml::String(one) => vec![one.clone()],
        _ => Vec::new(),
    };
    statements.into_iter().any(|statement| {
        let actions: Vec<String> = listed(&statement["Action"]);
        let keys: Vec<String> =
            listed(&statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]);
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => key == pattern,
        };
        statement["Effect"].as_str() == Some("Allow")
            && actions
                .iter()
                .any(|allowed| allowed == action || allowed == "dynamodb:*" || allowed == "*")
            && (keys.is_empty() || keys.iter().any(fits))
    })
}
