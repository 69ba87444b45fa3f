//! `repeat_bytes_of`: an earlier request once more, with the changes that the step names and no others. Nothing
//! is signed anew.

use http::{HeaderValue, Method};
use recharge_local::events::Incoming;
use serde_json::Value;

use crate::case::{NotUnderstood, only};
use crate::scene::{Scene, party};
use crate::send::{CLIENT, body, break_client, changes, set_headers};
use crate::{deposit, events};

/// The same bytes and headers, and what the step names beside.
pub fn again(
    scene: &Scene<'_>,
    step: &Value,
    earlier: Incoming,
) -> Result<Incoming, NotUnderstood> {
    for word in ["vector", "account", "distinct", "id", "user", "of", "review", "action"] {
        if step.get(word).is_some() {
            return Err(NotUnderstood(format!("repeat_bytes_of with {word}")));
        }
    }
    let mut incoming = earlier;
    let patched = step.get("patch").is_some() || step.get("remove").is_some();
    if patched || ["raw", "b64", "gen", "body"].iter().any(|word| step.get(*word).is_some()) {
        let base = match (step.get("body"), patched) {
            (Some(body), _) => body.clone(),
            (None, true) => serde_json::from_slice(&incoming.body).unwrap_or_default(),
            (None, false) => Value::Null,
        };
        incoming.body = body(scene, step, base)?;
    }
    let method = step["method"].as_str().unwrap_or(incoming.method.as_str()).to_owned();
    let unknown = |_| NotUnderstood(format!("method {method}"));
    incoming.method = Method::from_bytes(method.as_bytes()).map_err(unknown)?;
    let provider = step["from"].as_str().map(events::route).transpose()?;
    if let Some(target) = step["path"].as_str().or(provider) {
        let target = scene.fill(target);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        (incoming.path, incoming.query) = (path.to_owned(), query.to_owned());
    }
    if let Some(name) = step["as"].as_str() {
        let who = party(name).ok_or_else(|| NotUnderstood(format!("as {name}")))?;
        incoming.headers.insert(CLIENT[0], HeaderValue::from_static(who.key_id));
    }
    set_headers(scene, &mut incoming, step)?;
    let how = &step["sign"];
    only("sign of what is repeated", how, &["then", "note"])?;
    for change in changes(how)? {
        match step["op"].as_str() {
            Some("webhook") => events::break_event(scene, &mut incoming, &change)?,
            Some("deposit_callback") => deposit::break_callback(&mut incoming, &change)?,
            _ => break_client(scene, &mut incoming, &change)?,
        }
    }
    Ok(incoming)
}
