//! Building the requests of `create`, `status`, `http` and `webhook` steps: bodies as the step shapes
//! them, signatures as it breaks them.

use aws_smithy_types::base64;
use http::{HeaderName, HeaderValue};
use recharge_local::events::Incoming;
use recharge_shared::auth::sign;
use recharge_shared::domain::{MerchantId, UserId, UserMark};
use recharge_shared::providers::standard::{HEADERS, signature};
use recharge_shared::providers::trader::{Fields, SIGN, SigningProfile, sign as sign_fields};
use serde_json::{Value, json};

use crate::case::{NotUnderstood, fill, only, text_of};
use crate::scene::{ACCOUNT, PROVIDER_SECRET, Scene, party};

pub const SIGN_KEYS: [&str; 13] = [
    "mode", "then", "at", "at_raw", "key", "value", "count", "valid_at", "scheme", "note", "path",
    "method", "over",
];

/// The bytes of a body: the base object patched, or what replaces it.
pub fn body(scene: &Scene<'_>, step: &Value, base: Value) -> Result<Vec<u8>, NotUnderstood> {
    if let Some(raw) = step["raw"].as_str() {
        return Ok(scene.fill(raw).into_bytes());
    }
    if let Some(encoded) = step["b64"].as_str() {
        return base64::decode(encoded).map_err(|_| NotUnderstood("b64".to_owned()));
    }
    if step["gen"].is_object() {
        let spec = &step["gen"];
        only("gen", spec, &["prefix", "repeat", "middle", "repeat2", "suffix"])?;
        let part = |name: &str| scene.fill(spec[name].as_str().unwrap_or(""));
        let repeated = |name: &str| {
            let unit = spec[name][0].as_str().unwrap_or("");
            unit.repeat(spec[name][1].as_u64().map_or(0, |n| n as usize))
        };
        let parts = [part("prefix"), repeated("repeat"), part("middle"), repeated("repeat2")];
        return Ok(format!("{}{}", parts.concat(), part("suffix")).into_bytes());
    }
    let mut base = base;
    for (name, value) in step["patch"].as_object().into_iter().flatten() {
        base[name] = value.clone();
    }
    for name in step["remove"].as_array().into_iter().flatten() {
        base.as_object_mut().and_then(|members| members.remove(name.as_str()?));
    }
    Ok(scene.fill_all(&base).to_string().into_bytes())
}

/// `{{order}}` and the other placeholders in a path.
fn path(scene: &Scene<'_>, text: &str) -> String {
    scene.fill(text)
}

/// `POST /recharges`. `distinct` gives the repetition a key and a reference of its own.
pub fn create(
    scene: &Scene<'_>,
    step: &Value,
    repetition: Option<u32>,
) -> Result<Incoming, NotUnderstood> {
    let mut base = scene.corpus.fixtures["create_body"].clone();
    if let Some(number) = repetition {
        base["idempotencyKey"] = format!("k-{number}").into();
        base["orderReference"] = format!("ref-{number}").into();
    }
    let body = body(scene, step, base)?;
    let route = ("POST", step["path"].as_str().unwrap_or("/recharges"));
    as_client(scene, step, route, body)
}

/// `GET /recharges/{id}`.
pub fn status(scene: &Scene<'_>, step: &Value) -> Result<Incoming, NotUnderstood> {
    let id = step["id"].as_str().unwrap_or("{{order}}");
    as_client(scene, step, ("GET", &path(scene, &format!("/recharges/{id}"))), Vec::new())
}

/// Any other request; signed when the step names a merchant.
pub fn other(scene: &Scene<'_>, step: &Value) -> Result<Incoming, NotUnderstood> {
    let target = path(scene, step["path"].as_str().unwrap_or("/"));
    let method = step["method"].as_str().unwrap_or("GET");
    let body = match &step["body"] {
        Value::Null => Vec::new(),
        body => scene.fill_all(body).to_string().into_bytes(),
    };
    if step["as"].as_str().is_some_and(|name| party(name).is_some()) {
        return as_client(scene, step, (method, &target), body);
    }
    let mut incoming = scene.world.unsigned((method, &target), &[], &body);
    set_headers(&mut incoming, step);
    Ok(incoming)
}

pub fn set_headers(incoming: &mut Incoming, step: &Value) {
    for (name, value) in step["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        incoming.headers.insert(name, HeaderValue::from_str(value.as_str().unwrap()).unwrap());
    }
    match &step["content_type"] {
        Value::String(text) => {
            incoming.headers.insert("content-type", HeaderValue::from_str(text).unwrap());
        }
        Value::Null if step.get("content_type").is_some() => {
            incoming.headers.remove("content-type");
        }
        _ => {}
    }
}

pub fn as_client(
    scene: &Scene<'_>,
    step: &Value,
    (method, target): (&str, &str),
    body: Vec<u8>,
) -> Result<Incoming, NotUnderstood> {
    let how = &step["sign"];
    only("sign", how, &SIGN_KEYS)?;
    let who = party(step["as"].as_str().unwrap_or("A"))
        .ok_or_else(|| NotUnderstood(format!("as {}", step["as"])))?;
    let secret = match how["key"].as_str() {
        None | Some("current") => who.current,
        Some("previous") => who.previous,
        Some("retired") => who.retired,
        Some(other) => return Err(NotUnderstood(format!("key {other}"))),
    };
    let timestamp = timestamp(scene, how)?;
    let signed_at = timestamp.parse().unwrap_or(0);
    let given = step["headers"]["Idempotency-Key"].as_str().unwrap_or("");
    let good = sign(secret, (method, target), (signed_at, who.key_id, given), &body);
    let mut incoming = scene.world.unsigned((method, target), &[], &body);
    let headers = &mut incoming.headers;
    let text = |text: &str| HeaderValue::from_str(text).unwrap();
    headers.insert("content-type", text("application/json"));
    headers.insert("x-api-key", text(who.key_id));
    headers.insert("x-timestamp", text(&timestamp));
    match how["mode"].as_str() {
        None | Some("valid") => drop(headers.insert("x-signature", text(&good))),
        Some("none") => {}
        Some("literal") => {
            headers.insert("x-signature", text(how["value"].as_str().unwrap_or("")));
        }
        Some("hmac_with_key") => {
            let secret = how["key"].as_str().unwrap_or("");
            let forged = sign(secret, (method, target), (signed_at, who.key_id, given), &body);
            headers.insert("x-signature", text(&forged));
        }
        Some(other) => return Err(NotUnderstood(format!("sign mode {other}"))),
    }
    set_headers(&mut incoming, step);
    for change in how["then"].as_array().into_iter().flatten() {
        break_client(&mut incoming, &text_of(change))?;
    }
    Ok(incoming)
}

pub fn timestamp(scene: &Scene<'_>, how: &Value) -> Result<String, NotUnderstood> {
    if let Some(raw) = how["at_raw"].as_str() {
        return Ok(fill(raw, "", scene.now_secs()));
    }
    let now = scene.now_secs();
    let at = how["at"].as_str().unwrap_or("now");
    let offset = at.strip_prefix("now").ok_or_else(|| NotUnderstood(format!("at {at}")))?;
    let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().unwrap_or(i64::MAX / 4) };
    Ok((now + offset).to_string())
}

/// Changes after signing, on a client's request.
fn break_client(incoming: &mut Incoming, change: &str) -> Result<(), NotUnderstood> {
    let (what, argument) = change.split_once(':').unwrap_or((change, ""));
    let signature = incoming.headers.get("x-signature").cloned();
    let digits = signature.as_ref().and_then(|s| s.to_str().ok()).unwrap_or("").to_owned();
    let set = |incoming: &mut Incoming, text: &str| {
        incoming.headers.insert("x-signature", HeaderValue::from_str(text).unwrap());
    };
    let bytes = || hex::decode(digits.trim_start_matches("v1=")).unwrap_or_default();
    match what {
        "drop_timestamp" => drop(incoming.headers.remove("x-timestamp")),
        "drop_key_id" => drop(incoming.headers.remove("x-api-key")),
        "replace_key_id" => {
            let other = party(argument).ok_or_else(|| NotUnderstood(change.to_owned()))?;
            incoming.headers.insert("x-api-key", HeaderValue::from_static(other.key_id));
        }
        "set_body" => set_body(incoming, argument),
        "flip_byte" => {
            let mut bytes = bytes();
            let at: usize = argument.parse().unwrap_or(0);
            bytes[at] ^= 1;
            set(incoming, &format!("v1={}", hex::encode(bytes)));
        }
        "truncate_bytes" => {
            let keep = bytes().len().saturating_sub(argument.parse().unwrap_or(1));
            set(incoming, &format!("v1={}", hex::encode(&bytes()[..keep])));
        }
        "append_bytes" => {
            let more = "00".repeat(argument.parse().unwrap_or(1));
            set(incoming, &format!("{digits}{more}"));
        }
        "encode" if argument == "hex_upper" => {
            let upper = digits.trim_start_matches("v1=").to_uppercase();
            set(incoming, &format!("v1={upper}"));
        }
        "encode" if argument == "base64url" => {
            let encoded = base64::encode(bytes()).replace('+', "-").replace('/', "_");
            set(incoming, &format!("v1={}", encoded.trim_end_matches('=')));
        }
        "prepend_header" => {
            let good = signature.ok_or_else(|| NotUnderstood(change.to_owned()))?;
            set(incoming, argument);
            incoming.headers.append("x-signature", good);
        }
        "prepend_timestamp_header" => {
            let good = incoming.headers.get("x-timestamp").cloned();
            incoming.headers.insert("x-timestamp", HeaderValue::from_static("1700000000"));
            good.map(|good| incoming.headers.append("x-timestamp", good));
        }
        _ => return Err(NotUnderstood(format!("then {change}"))),
    }
    Ok(())
}

/// `member=value` in the body, after it was signed.
pub fn set_body(incoming: &mut Incoming, assignment: &str) {
    let (name, value) = assignment.split_once('=').unwrap_or((assignment, ""));
    let mut body: Value = serde_json::from_slice(&incoming.body).unwrap();
    body[name] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    incoming.body = body.to_string().into_bytes();
}

/// The webhook of a provider.
pub fn webhook(
    scene: &Scene<'_>,
    step: &Value,
    repetition: Option<u32>,
) -> Result<Incoming, NotUnderstood> {
    only("sign", &step["sign"], &SIGN_KEYS)?;
    only("gateway", &step["gateway"], &["isBase64Encoded"])?;
    let mut incoming = match (step["from"].as_str().unwrap_or("P1"), step["vector"].as_str()) {
        (_, Some(name)) => vector(scene, name)?,
        ("P1", None) => event(scene, step, repetition)?,
        ("P2", None) => legacy_event(scene, step)?,
        (other, None) => return Err(NotUnderstood(format!("from {other}"))),
    };
    if step["gateway"]["isBase64Encoded"] == true {
        // The gateway encodes what is no text type; the content type's parameters are not looked at.
        incoming.headers.insert("x-force-base64", HeaderValue::from_static("1"));
    }
    if let Some(target) = step["path"].as_str() {
        incoming.path = path(scene, target);
    }
    set_headers(&mut incoming, step);
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
    let good = format!("v1,{}", signature(PROVIDER_SECRET, id, &timestamp, &body));
    let given = match how["mode"].as_str() {
        None | Some("valid") => Some(good),
        Some("none") => None,
        Some("literal") => Some(text_of(&how["value"])),
        Some("hmac_with_key") => {
            let key = how["key"].as_str().unwrap_or("");
            Some(format!("v1,{}", signature(key, id, &timestamp, &body)))
        }
        Some("list") => {
            let count = how["count"].as_u64().unwrap_or(1);
            let valid_at = how["valid_at"].as_u64().unwrap_or(0);
            let wrong = format!("v1,{}", base64::encode([0; 32]));
            let entry = |at| if at == valid_at { good.clone() } else { wrong.clone() };
            Some((0..count).map(entry).collect::<Vec<_>>().join(" "))
        }
        Some(other) => return Err(NotUnderstood(format!("sign mode {other}"))),
    };
    let mut incoming = scene.world.unsigned(("POST", "/recharges/callback"), &[], &body);
    let headers = &mut incoming.headers;
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert(HEADERS[0], HeaderValue::from_static("msg_1"));
    headers.insert(HEADERS[1], HeaderValue::from_str(&timestamp).unwrap());
    if let Some(given) = given {
        headers.insert(HEADERS[2], HeaderValue::from_str(&given).unwrap());
    }
    for change in how["then"].as_array().into_iter().flatten() {
        break_event(&mut incoming, &text_of(change))?;
    }
    Ok(incoming)
}

/// Changes after signing, on an event of P1.
fn break_event(incoming: &mut Incoming, change: &str) -> Result<(), NotUnderstood> {
    let (what, argument) = change.split_once(':').unwrap_or((change, ""));
    let given = incoming.headers.get(HEADERS[2]).and_then(|value| value.to_str().ok());
    let given = given.unwrap_or("").trim_start_matches("v1,").to_owned();
    let bytes = || base64::decode(given.as_str()).unwrap_or_default();
    let set = |incoming: &mut Incoming, text: String| {
        incoming.headers.insert(HEADERS[2], HeaderValue::from_str(&format!("v1,{text}")).unwrap());
    };
    match what {
        "drop_timestamp" => drop(incoming.headers.remove(HEADERS[1])),
        "drop_key_id" => drop(incoming.headers.remove(HEADERS[0])),
        "set_body" => set_body(incoming, argument),
        "flip_byte" => {
            let mut bytes = bytes();
            bytes[argument.parse::<usize>().unwrap_or(0)] ^= 1;
            set(incoming, base64::encode(bytes));
        }
        "truncate_bytes" => {
            let keep = bytes().len().saturating_sub(argument.parse().unwrap_or(1));
            set(incoming, base64::encode(&bytes()[..keep]));
        }
        "append_bytes" => {
            let mut bytes = bytes();
            bytes.resize(bytes.len() + argument.parse::<usize>().unwrap_or(1), 0);
            set(incoming, base64::encode(bytes));
        }
        "encode" if argument == "hex_upper" => set(incoming, hex::encode_upper(bytes())),
        "encode" if argument == "base64url" => {
            set(incoming, given.replace('+', "-").replace('/', "_"));
        }
        "b64_insert_space" => set(incoming, format!("{} {}", &given[..8], &given[8..])),
        "b64_double_padding" => set(incoming, format!("{given}=")),
        "b64_nonzero_trailing_bits" => {
            // 32 bytes end in a digit whose last two bits mean nothing.
            let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let mut text = given.into_bytes();
            let last = text.len() - 2;
            let at = digits.iter().position(|digit| *digit == text[last]).unwrap();
            text[last] = digits[at | 1];
            set(incoming, String::from_utf8(text).unwrap());
        }
        "prepend_header" => {
            let good = incoming.headers.get(HEADERS[2]).cloned();
            incoming.headers.insert(HEADERS[2], HeaderValue::from_str(argument).unwrap());
            good.map(|good| incoming.headers.append(HEADERS[2], good));
        }
        "prepend_timestamp_header" => {
            let good = incoming.headers.get(HEADERS[1]).cloned();
            incoming.headers.insert(HEADERS[1], HeaderValue::from_static("1700000000"));
            good.map(|good| incoming.headers.append(HEADERS[1], good));
        }
        _ => return Err(NotUnderstood(format!("then {change}"))),
    }
    Ok(())
}

/// P2's own form, about the given order.
fn legacy_event(scene: &Scene<'_>, step: &Value) -> Result<Incoming, NotUnderstood> {
    let mark =
        UserMark::derive(&MerchantId::parse("m_a").unwrap(), &UserId::parse("u_1001").unwrap());
    let base = json!({
        "amount": "500000", "appid": ACCOUNT, "localusermark": mark.as_str(),
        "orderid": "{{order}}", "t": scene.now_secs().to_string(),
    });
    let fields: Value = serde_json::from_slice(&body(scene, step, base)?)
        .map_err(|_| NotUnderstood("a raw body of P2".to_owned()))?;
    let mut fields: Fields = serde_json::from_value(fields)
        .map_err(|_| NotUnderstood("fields of P2 are texts".to_owned()))?;
    match step["sign"]["mode"].as_str() {
        None | Some("valid") => {
            let signed = sign_fields(&value_only(), &fields, PROVIDER_SECRET);
            fields.insert(SIGN.to_owned(), signed);
        }
        Some("none") => {}
        Some(other) => return Err(NotUnderstood(format!("sign mode {other}"))),
    }
    Ok(form(scene, "/recharges/callback/p2", &fields))
}

/// How P2 signs.
fn value_only() -> SigningProfile {
    let profile = json!({"algorithm": "hmac_sha256", "layout": "value_only"});
    serde_json::from_value(profile).unwrap()
}

fn form(scene: &Scene<'_>, path: &str, fields: &Fields) -> Incoming {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    scene.world.unsigned(("POST", path), &form, body.as_bytes())
}

/// A message of the corpus's vectors, with the signature that stands beside it.
fn vector(scene: &Scene<'_>, name: &str) -> Result<Incoming, NotUnderstood> {
    let (id, which) = name.rsplit_once('-').ok_or_else(|| NotUnderstood(name.to_owned()))?;
    let vector = scene.corpus.vectors.iter().find(|vector| vector["id"] == id);
    let vector = vector.ok_or_else(|| NotUnderstood(name.to_owned()))?;
    let message = &vector[which];
    let given = text_of(&vector["signature"]);
    if let (Some(id), Some(body)) = (message["id"].as_str(), message["body"].as_str()) {
        let raw = hex::decode(&given).map_err(|_| NotUnderstood(name.to_owned()))?;
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
    let mut fields: Fields =
        serde_json::from_value(message.clone()).map_err(|_| NotUnderstood(name.to_owned()))?;
    fields.insert(SIGN.to_owned(), given);
    let provider = if fields.contains_key("localusermark") { "p2" } else { "p3" };
    Ok(form(scene, &format!("/recharges/callback/{provider}"), &fields))
}
