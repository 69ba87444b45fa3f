//! Building what providers send to the webhook: events of P1, the legacy forms of P2 and P3, and the messages
//! that the corpus has signed itself.

use std::collections::BTreeMap;

use aws_smithy_types::base64;
use http::{HeaderName, HeaderValue};
use recharge_local::events::Incoming;
use recharge_shared::domain::{MerchantId, UserId, UserMark};
use recharge_shared::providers::standard::{HEADERS, signature};
use recharge_shared::providers::trader::{Fields, SIGN, SigningProfile, sign as sign_fields};
use serde_json::{Value, json};

use crate::case::{NotUnderstood, only, text_of};
use crate::scene::{ACCOUNT, PROVIDER_SECRET, Scene, party};
use crate::send::{
    body, broken, changes, earlier, given, header, prepend, respelt, set_body, set_headers,
    sign_words, timestamp,
};

/// The path of a provider's callbacks.
pub fn route(provider: &str) -> Result<&'static str, NotUnderstood> {
    match provider {
        "P1" => Ok("/recharges/callback"),
        "P2" => Ok("/recharges/callback/p2"),
        "P3" => Ok("/recharges/callback/p3"),
        other => Err(NotUnderstood(format!("from {other}"))),
    }
}

/// The webhook of a provider.
pub fn webhook(
    scene: &Scene<'_>,
    step: &Value,
    repetition: Option<u32>,
) -> Result<Incoming, NotUnderstood> {
    sign_words(&step["sign"], &[])?;
    let from = step["from"].as_str().unwrap_or("P1");
    let route = route(from)?;
    let mut incoming = match (from, step["vector"].as_str()) {
        (_, Some(name)) => {
            only("sign of a vector", &step["sign"], &["then", "note"])?;
            for word in ["account", "distinct"] {
                if step.get(word).is_some() {
                    return Err(NotUnderstood(format!("vector with {word}")));
                }
            }
            vector(scene, name)?
        }
        ("P1", None) => event(scene, step, repetition)?,
        _ => legacy_event(scene, step, (from, route), repetition)?,
    };
    let other = |name: &str| step["from"].as_str().is_some() && incoming.path != name;
    if step["vector"].is_string() && other(route) {
        return Err(NotUnderstood(format!("vector from {from}")));
    }
    if let Some(method) = step["method"].as_str() {
        let method = http::Method::from_bytes(method.as_bytes());
        incoming.method =
            method.map_err(|_| NotUnderstood(format!("method {}", step["method"])))?;
    }
    if let Some(target) = step["path"].as_str() {
        let target = scene.fill(target);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        (incoming.path, incoming.query) = (path.to_owned(), query.to_owned());
    }
    for change in changes(&step["sign"])? {
        break_event(scene, &mut incoming, &change)?;
    }
    set_headers(scene, &mut incoming, step)?;
    Ok(incoming)
}

fn event(
    scene: &Scene<'_>,
    step: &Value,
    repetition: Option<u32>,
) -> Result<Incoming, NotUnderstood> {
    let mut base = scene.corpus.fixtures["event"].clone();
    if let Some(number) = repetition {
        base["eventId"] = format!("evt_{number}").into();
        base["providerTxnId"] = format!("txn_{number}").into();
        if let Some(order) = scene.books().orders.get(number as usize) {
            base["orderId"] = order.id.as_str().into();
        }
    }
    if let Some(account) = step["account"].as_str() {
        base["account"] = account.into();
    }
    let body = body(scene, step, base)?;
    let how = &step["sign"];
    let timestamp = timestamp(scene, how)?;
    let id = "msg_1";
    let make = |key: &str| format!("v1,{}", signature(key, id, &timestamp, &body));
    let secret = provider_secret(scene, how)?;
    let wrong = format!("v1,{}", base64::encode([0; 32]));
    let given = given(how, (&secret, " "), make, &wrong);
    let mut incoming = scene.world.unsigned(("POST", "/recharges/callback"), &[], &body);
    let headers = &mut incoming.headers;
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert(HEADERS[0], HeaderValue::from_static("msg_1"));
    headers.insert(HEADERS[1], header(&timestamp)?);
    if let Some(given) = given {
        headers.insert(HEADERS[2], header(&given)?);
    }
    Ok(incoming)
}

/// Providers have one secret at a time.
fn provider_secret(scene: &Scene<'_>, how: &Value) -> Result<String, NotUnderstood> {
    match how["key"].as_str() {
        _ if how["mode"] == "hmac_with_key" => Ok(String::new()),
        None | Some("current") => Ok(scene.provider_secret.borrow().clone()),
        Some(other) => Err(NotUnderstood(format!("key {other} of a provider"))),
    }
}

/// Changes after signing, on what any provider sends.
pub fn break_event(
    scene: &Scene<'_>,
    incoming: &mut Incoming,
    change: &str,
) -> Result<(), NotUnderstood> {
    let content_type = incoming.headers.get("content-type").and_then(|value| value.to_str().ok());
    if content_type == Some(FORM) {
        return break_legacy(scene, incoming, change);
    }
    let (what, argument) = change.split_once(':').unwrap_or((change, ""));
    let [id, timestamp, signature] = HEADERS.map(HeaderName::from_static);
    match what {
        "drop_timestamp" => drop(incoming.headers.remove(timestamp)),
        "drop_key_id" => drop(incoming.headers.remove(id)),
        // What names the message is what is signed beside its time.
        "replace_key_id" => {
            let other = party(argument).map_or(argument, |party| party.key_id);
            incoming.headers.insert(id, header(other)?);
        }
        "set_body" => set_body(incoming, argument)?,
        "prepend_header" => prepend(&mut incoming.headers, &signature, argument)?,
        "prepend_timestamp_header" => {
            prepend(&mut incoming.headers, &timestamp, &earlier(scene, argument))?;
        }
        _ => {
            let given = incoming.headers.get(&signature).and_then(|value| value.to_str().ok());
            let digest = given.and_then(|given| base64::decode(given.strip_prefix("v1,")?).ok());
            let digest = digest.filter(|digest| digest.len() >= 8);
            let digest = digest.ok_or_else(|| NotUnderstood(format!("then {change}: unsigned")))?;
            let other = broken(&digest, change)?.map(base64::encode);
            let other = other.or_else(|| respelt(&digest, change));
            let other = other.ok_or_else(|| NotUnderstood(format!("then {change}")))?;
            incoming.headers.insert(signature, header(&format!("v1,{other}"))?);
        }
    }
    Ok(())
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Changes after signing, on a form of P2 or P3: time, account and signature are fields.
fn break_legacy(
    scene: &Scene<'_>,
    incoming: &mut Incoming,
    change: &str,
) -> Result<(), NotUnderstood> {
    let (what, argument) = change.split_once(':').unwrap_or((change, ""));
    let mut fields: Vec<(String, String)> =
        form_urlencoded::parse(&incoming.body).into_owned().collect();
    let set = |fields: &mut Vec<(String, String)>, name: &str, value: String| {
        fields.retain(|(known, _)| known != name);
        fields.push((name.to_owned(), value));
    };
    match what {
        "drop_timestamp" => fields.retain(|(name, _)| name != "t"),
        "drop_key_id" => fields.retain(|(name, _)| name != "appid"),
        "replace_key_id" => set(&mut fields, "appid", argument.to_owned()),
        "set_body" => {
            let assignment = argument.split_once('=');
            let assignment = assignment.ok_or_else(|| NotUnderstood(format!("then {change}")))?;
            set(&mut fields, assignment.0, assignment.1.to_owned());
        }
        "prepend_header" => fields.insert(0, (SIGN.to_owned(), argument.to_owned())),
        "prepend_timestamp_header" => {
            fields.insert(0, ("t".to_owned(), earlier(scene, argument)));
        }
        _ => {
            let given = fields.iter().find(|(name, _)| name == SIGN);
            let digest = given.and_then(|(_, given)| hex::decode(given).ok());
            let digest = digest.filter(|digest| digest.len() >= 8);
            let digest = digest.ok_or_else(|| NotUnderstood(format!("then {change}: unsigned")))?;
            let other = broken(&digest, change)?.map(hex::encode);
            let other = other.or_else(|| respelt(&digest, change));
            let other = other.ok_or_else(|| NotUnderstood(format!("then {change}")))?;
            set(&mut fields, SIGN, other);
        }
    }
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    incoming.body = body.into_bytes();
    Ok(())
}

/// The own form of P2 and P3, about the given order.
fn legacy_event(
    scene: &Scene<'_>,
    step: &Value,
    (from, route): (&str, &str),
    repetition: Option<u32>,
) -> Result<Incoming, NotUnderstood> {
    let how = &step["sign"];
    let orders = repetition.map(|_| scene.books().orders).unwrap_or_default();
    let order = repetition.and_then(|number| orders.get(number as usize)).map(|row| row.id.clone());
    let order = order.unwrap_or_else(|| scene.order.borrow().clone());
    let owner = scene.owner(&order);
    let merchant = MerchantId::parse(owner.merchant).unwrap();
    let mark = UserMark::derive(&merchant, &UserId::parse(&owner.user).unwrap());
    let base = json!({
        "amount": "500000", "appid": step["account"].as_str().unwrap_or(ACCOUNT),
        "localusermark": mark.as_str(), "orderid": order, "t": timestamp(scene, how)?,
    });
    let body = body(scene, step, base)?;
    let mut fields = fields(&body)?;
    let secret = provider_secret(scene, how)?;
    let make = |key: &str| sign_fields(&profile(from), &fields, key);
    if let Some(given) = given(how, (&secret, " "), make, &"0".repeat(64)) {
        fields.insert(SIGN.to_owned(), given);
    }
    Ok(form(scene, route, &fields))
}

/// A form's fields, from an object of plain values or from the form itself.
fn fields(body: &[u8]) -> Result<Fields, NotUnderstood> {
    let unknown = || NotUnderstood(format!("form {}", String::from_utf8_lossy(body)));
    let Ok(members) = serde_json::from_slice::<BTreeMap<String, Value>>(body) else {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let fields: Fields = pairs.iter().cloned().collect();
        // One that says something twice, or nothing, cannot be signed by a rule that sorts by name.
        let is_form = fields.len() == pairs.len() && fields.len() > 1;
        return if is_form { Ok(fields) } else { Err(unknown()) };
    };
    let text = |(name, value): (String, Value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Number(_) | Value::Bool(_) => Ok((name, value.to_string())),
        _ => Err(unknown()),
    };
    members.into_iter().map(text).collect()
}

/// How P2 and P3 sign.
fn profile(from: &str) -> SigningProfile {
    let profile = match from {
        "P2" => json!({"algorithm": "hmac_sha256", "layout": "value_only"}),
        _ => json!({"algorithm": "md5_suffix_key", "layout": "query_pairs"}),
    };
    serde_json::from_value(profile).unwrap()
}

fn form(scene: &Scene<'_>, path: &str, fields: &Fields) -> Incoming {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    scene.world.unsigned(("POST", path), &[("content-type", FORM)], body.as_bytes())
}

/// A message of the corpus's vectors, with the signature that stands beside it.
fn vector(scene: &Scene<'_>, name: &str) -> Result<Incoming, NotUnderstood> {
    let unknown = || NotUnderstood(format!("vector {name}"));
    let (id, which) = name.rsplit_once('-').ok_or_else(unknown)?;
    let vector = scene.corpus.vectors.iter().find(|vector| vector["id"] == id);
    let vector = vector.ok_or_else(unknown)?;
    if vector["secret"] != PROVIDER_SECRET {
        return Err(NotUnderstood(format!("vector {name}: another secret")));
    }
    let message = vector.get(which).filter(|_| which == "genuine" || which == "forged");
    let message = message.ok_or_else(unknown)?;
    let given = text_of(&vector["signature"]);
    if let (Some(id), Some(body)) = (message["id"].as_str(), message["body"].as_str()) {
        let raw = hex::decode(&given).map_err(|_| unknown())?;
        let path = ("POST", "/recharges/callback");
        let timestamp = text_of(&message["timestamp"]);
        let signature = format!("v1,{}", base64::encode(raw));
        let headers = [
            ("content-type", "application/json"),
            (HEADERS[0], id),
            (HEADERS[1], timestamp.as_str()),
            (HEADERS[2], signature.as_str()),
        ];
        return Ok(scene.world.unsigned(path, &headers, body.as_bytes()));
    }
    let mut fields: Fields = serde_json::from_value(message.clone()).map_err(|_| unknown())?;
    fields.insert(SIGN.to_owned(), given);
    let provider = if fields.contains_key("localusermark") { "P2" } else { "P3" };
    Ok(form(scene, route(provider)?, &fields))
}
