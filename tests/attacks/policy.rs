//! Who may do what with the ledger, read from the deployed policy documents: `infra/template.yaml`.

use std::collections::BTreeSet;

use recharge_local::aws::roles::{Access, allows};
use serde_json::Value;

use crate::case::NotUnderstood;
use crate::check::Finding;
use crate::step::Played;

/// What `denied` lists must not be allowed: `<function>:<ledger|orders>:<Action|*>`.
pub fn check(expect: &Value) -> Played {
    if !expect["denied"].is_array() {
        return Err(NotUnderstood("policy without denied".to_owned()));
    }
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
            "admin" => "AdminRole",
            _ => return Err(NotUnderstood(format!("denied {entry}"))),
        };
        // Each with an attribute that is written: a ban may be one on attributes.
        let mut rows = match what {
            "ledger" => vec![("P#test#A#txn", "amount")],
            "orders" => vec![("O#R0123456789ABCDEFGHJKMNPQR", "state")],
            _ => return Err(NotUnderstood(format!("denied {entry}"))),
        };
        // Of the ledger the worker alone may write balances, and has to.
        if what == "ledger" && function != "worker" {
            rows.push(("U#m_demo#u_1", "balance"));
        }
        let actions: Vec<String> = match action {
            "*" => ["PutItem", "UpdateItem", "DeleteItem"].map(str::to_owned).to_vec(),
            action => vec![format!("{action}Item")],
        };
        for action in &actions {
            let may = |(key, attribute): &(&str, &str)| {
                let attributes = BTreeSet::from(["pk", "sk", attribute].map(str::to_owned));
                let key = Some((*key).to_owned());
                allows(role, &Access { action: action.clone(), index: None, key, attributes })
            };
            if rows.iter().any(may) {
                findings.push(Finding(format!("{role} may {action} {what}")));
            }
        }
    }
    Ok(findings)
}
