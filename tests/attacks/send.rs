//! Building the requests of clients: bodies as the step shapes them, signatures as it breaks them.

use aws_smithy_types::base64;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use recharge_local::events::Incoming;
use recharge_shared::auth::sign;
use serde_json::Value;

use crate::case::{NotUnderstood, fill, only, text_of};
use crate::scene::{Scene, party};

/// The bytes of a body: the base object patched, or what replaces it.
pub fn body(scene: &Scene<'_>, step: &Value, base: Value) -> Result<Vec<u8>, NotUnderstood> {
    if let Some(raw) = step["raw"].as_str() {
        return Ok(scene.fill(raw).into_bytes());
    }
    if let Some(encoded) = step["b64"].as_str() {
        return base64::decode(encoded).map_err(|_| NotUnderstood("b64".to_owned()));
    }
    if step["gen"].is_object() {
        return generated(scene, &step["gen"]);
    }
    let mut base = base;
    let changed = step.get("patch").is_some() || step.get("remove").is_some();
    if changed && !base.is_object() {
        return Err(NotUnderstood("patch of a body that is no object".to_owned()));
    }
    for (name, value) in step["patch"].as_object().into_iter().flatten() {
        base[name] = value.clone();
    }
    for name in step["remove"].as_array().into_iter().flatten() {
        base.as_object_mut().and_then(|members| members.remove(name.as_str()?));
    }
    Ok(scene.fill_all(&base).to_string().into_bytes())
}

fn generated(scene: &Scene<'_>, spec: &Value) -> Result<Vec<u8>, NotUnderstood> {
    only("gen", spec, &["prefix", "repeat", "middle", "repeat2", "suffix"])?;
    let part = |name: &str| match &spec[name] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(scene.fill(text)),
        other => Err(NotUnderstood(format!("gen.{name} {other}"))),
    };
    let repeated = |name: &str| match (&spec[name], spec[name][0].as_str(), spec[name][1].as_u64())
    {
        (Value::Null, ..) => Ok(String::new()),
        (_, Some(unit), Some(count)) => Ok(unit.repeat(usize::try_from(count).unwrap())),
        (other, ..) => Err(NotUnderstood(format!("gen.{name} {other}"))),
    };
    let parts = [part("prefix")?, repeated("repeat")?, part("middle")?, repeated("repeat2")?];
    Ok(format!("{}{}", parts.concat(), part("suffix")?).into_bytes())
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
    let path = scene.fill(step["path"].as_str().unwrap_or("/recharges"));
    as_client(scene, step, (step["method"].as_str().unwrap_or("POST"), &path), body)
}

/// `GET /recharges/{id}`.
pub fn status(scene: &Scene<'_>, step: &Value) -> Result<Incoming, NotUnderstood> {
    let id = step["id"].as_str().unwrap_or("{{order}}");
    let path = match step["path"].as_str() {
        Some(path) => scene.fill(path),
        None => scene.fill(&format!("/recharges/{id}")),
    };
    as_client(scene, step, (step["method"].as_str().unwrap_or("GET"), &path), Vec::new())
}

/// Any other request; signed when the step names a merchant or a signature. A text is the body itself.
pub fn other(scene: &Scene<'_>, step: &Value) -> Result<Incoming, NotUnderstood> {
    let target = scene.fill(step["path"].as_str().unwrap_or("/"));
    let method = step["method"].as_str().unwrap_or("GET");
    let shaped = ["raw", "b64", "gen", "patch", "remove"].iter().any(|w| step.get(*w).is_some());
    let body = match &step["body"] {
        Value::String(text) => scene.fill(text).into_bytes(),
        Value::Null if !shaped => Vec::new(),
        base => body(scene, step, base.clone())?,
    };
    if step.get("as").is_some() || step.get("sign").is_some() {
        return as_client(scene, step, (method, &target), body);
    }
    let mut incoming = scene.world.unsigned((method, &target), &[], &body);
    set_headers(scene, &mut incoming, step)?;
    Ok(incoming)
}

/// A value as it stands in the file, also one that no client library would send.
pub fn header(text: &str) -> Result<HeaderValue, NotUnderstood> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| NotUnderstood(format!("header {text:?}")))
}

/// `headers`: a text replaces, a list sends several, null takes away.
pub fn set_headers(
    scene: &Scene<'_>,
    incoming: &mut Incoming,
    step: &Value,
) -> Result<(), NotUnderstood> {
    for (name, value) in step["headers"].as_object().into_iter().flatten() {
        let unknown = || NotUnderstood(format!("headers {name}: {value}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unknown())?;
        incoming.headers.remove(&name);
        let values = match value {
            Value::Null => Vec::new(),
            Value::Array(values) => values.iter().collect(),
            one => vec![one],
        };
        for value in values {
            let text = scene.fill(value.as_str().ok_or_else(unknown)?);
            incoming.headers.append(&name, header(&text)?);
        }
    }
    match step.get("content_type") {
        Some(Value::String(text)) => {
            incoming.headers.insert("content-type", header(text)?);
        }
        Some(_) => drop(incoming.headers.remove("content-type")),
        None => {}
    }
    Ok(())
}

/// Refuses what a signature of this kind has no use for.
pub fn sign_words(how: &Value, more: &[&str]) -> Result<(), NotUnderstood> {
    let own: &[&str] = match how["mode"].as_str() {
        None if how.get("mode").is_none() => &["key"],
        Some("valid") => &["key"],
        Some("none") => &[],
        Some("literal") => &["value"],
        Some("hmac_with_key") => &["key"],
        Some("list") => &["count", "valid_at"],
        _ => return Err(NotUnderstood(format!("sign mode {}", how["mode"]))),
    };
    only("sign", how, &[&["mode", "then", "at", "at_raw", "note"], own, more].concat())?;
    let needed = match how["mode"].as_str() {
        Some("literal") => how["value"].is_string(),
        Some("hmac_with_key") => how["key"].is_string(),
        Some("list") => how["count"].is_u64() && how.get("valid_at").is_some(),
        _ => how.get("key").is_none() || how["key"].is_string(),
    };
    if needed { Ok(()) } else { Err(NotUnderstood(format!("sign {how}"))) }
}

/// The changes after signing.
pub fn changes(how: &Value) -> Result<Vec<String>, NotUnderstood> {
    match &how["then"] {
        Value::Null => Ok(Vec::new()),
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(all) if all.iter().all(Value::is_string) => {
            Ok(all.iter().map(text_of).collect())
        }
        other => Err(NotUnderstood(format!("then {other}"))),
    }
}

/// What of `sign` travels as the signature; `make` signs with a secret.
pub fn given(
    how: &Value,
    (secret, separator): (&str, &str),
    make: impl Fn(&str) -> String,
    wrong: &str,
) -> Option<String> {
    match how["mode"].as_str() {
        Some("none") => None,
        Some("literal") => Some(text_of(&how["value"])),
        Some("hmac_with_key") => Some(make(how["key"].as_str().unwrap_or(""))),
        Some("list") => {
            let (count, valid_at) = (how["count"].as_u64().unwrap_or(0), how["valid_at"].as_u64());
            let good = make(secret);
            let entry = |at| if Some(at) == valid_at { good.clone() } else { wrong.to_owned() };
            Some((0..count).map(entry).collect::<Vec<_>>().join(separator))
        }
        _ => Some(make(secret)),
    }
}

pub fn as_client(
    scene: &Scene<'_>,
    step: &Value,
    (method, target): (&str, &str),
    body: Vec<u8>,
) -> Result<Incoming, NotUnderstood> {
    let how = &step["sign"];
    sign_words(how, &[])?;
    let who = party(step["as"].as_str().unwrap_or("A"))
        .ok_or_else(|| NotUnderstood(format!("as {}", step["as"])))?;
    let secret = match how["key"].as_str() {
        _ if how["mode"] == "hmac_with_key" => "",
        None | Some("current") => who.current,
        Some("previous") if !who.previous.is_empty() => who.previous,
        Some("retired") if !who.retired.is_empty() => who.retired,
        Some(other) => return Err(NotUnderstood(format!("key {other}"))),
    };
    let timestamp = timestamp(scene, how)?;
    // What a lenient reader would take it for, so that only its spelling can be what is refused.
    let digits = timestamp.trim().split('.').next().unwrap_or("");
    let signed_at = digits.parse().unwrap_or(0);
    let keys = step["headers"].as_object().into_iter().flatten();
    let mut keys = keys.filter(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"));
    let key = scene.fill(keys.next().and_then(|(_, value)| value.as_str()).unwrap_or(""));
    let claim = (signed_at, who.key_id, key.as_str());
    let make = |secret: &str| sign(secret, (method, target), claim, &body);
    let wrong = format!("v1={}", "0".repeat(64));
    let given = given(how, (secret, " "), make, &wrong);
    Method::from_bytes(method.as_bytes()).map_err(|_| NotUnderstood(format!("method {method}")))?;
    let mut incoming = scene.world.unsigned((method, target), &[], &body);
    let headers = &mut incoming.headers;
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("x-api-key", HeaderValue::from_static(who.key_id));
    headers.insert("x-timestamp", header(&timestamp)?);
    if let Some(given) = given {
        headers.insert("x-signature", header(&given)?);
    }
    set_headers(scene, &mut incoming, step)?;
    for change in changes(how)? {
        break_client(scene, &mut incoming, &change)?;
    }
    Ok(incoming)
}

pub fn timestamp(scene: &Scene<'_>, how: &Value) -> Result<String, NotUnderstood> {
    match (&how["at_raw"], &how["at"]) {
        (Value::String(raw), Value::Null) => Ok(fill(raw, "", scene.now_secs())),
        (Value::Number(raw), Value::Null) => Ok(raw.to_string()),
        (Value::Null, Value::Number(at)) if at.is_i64() => Ok(at.to_string()),
        (Value::Null, Value::Null) => Ok(scene.now_secs().to_string()),
        (Value::Null, Value::String(at)) => moment(scene, at),
        _ => Err(NotUnderstood(format!("at {how}"))),
    }
}

/// `now`, `now-301`.
fn moment(scene: &Scene<'_>, at: &str) -> Result<String, NotUnderstood> {
    let unknown = || NotUnderstood(format!("at {at}"));
    let offset = at.strip_prefix("now").ok_or_else(unknown)?;
    let (sign, digits) = match offset.as_bytes().first() {
        None => return Ok(scene.now_secs().to_string()),
        Some(b'+') => (1, &offset[1..]),
        Some(b'-') => (-1, &offset[1..]),
        Some(_) => return Err(unknown()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(unknown());
    }
    let secs: i64 = digits.parse().unwrap_or(i64::MAX / 4);
    Ok((scene.now_secs() + sign * secs).to_string())
}

/// Puts another value before the one that is there.
pub fn prepend(
    headers: &mut HeaderMap,
    name: &HeaderName,
    text: &str,
) -> Result<(), NotUnderstood> {
    let good = headers.get(name).cloned();
    headers.insert(name, header(text)?);
    good.map(|good| headers.append(name, good));
    Ok(())
}

/// What `prepend_timestamp_header:ARGUMENT` puts before.
pub fn earlier(scene: &Scene<'_>, argument: &str) -> String {
    moment(scene, argument).unwrap_or_else(|_| argument.to_owned())
}

/// The number behind a change.
pub fn count(change: &str, argument: &str) -> Result<usize, NotUnderstood> {
    argument.parse().map_err(|_| NotUnderstood(format!("then {change}")))
}

/// A digest that is written otherwise, or is another one; `None` when the change is about something else.
pub fn broken(digest: &[u8], change: &str) -> Result<Option<Vec<u8>>, NotUnderstood> {
    let (what, argument) = change.split_once(':').unwrap_or((change, ""));
    let mut bytes = digest.to_vec();
    match what {
        "flip_byte" => {
            let at = count(change, argument)?;
            *bytes.get_mut(at).ok_or_else(|| NotUnderstood(format!("then {change}")))? ^= 1;
        }
        "truncate_bytes" => bytes.truncate(bytes.len().saturating_sub(count(change, argument)?)),
        "append_bytes" => bytes.resize(bytes.len() + count(change, argument)?, 0),
        _ => return Ok(None),
    }
    Ok(Some(bytes))
}

/// The same digest in another spelling of it.
pub fn respelt(digest: &[u8], change: &str) -> Option<String> {
    let text = base64::encode(digest);
    Some(match change {
        "encode:hex_upper" => hex::encode_upper(digest),
        "encode:base64url" => {
            text.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
        }
        "b64_insert_space" => format!("{} {}", &text[..8], &text[8..]),
        "b64_double_padding" => format!("{text}="),
        "b64_nonzero_trailing_bits" => {
            // 32 bytes end in a digit whose last two bits mean nothing.
            let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let mut text = text.into_bytes();
            let last = text.iter().rposition(|digit| *digit != b'=')?;
            let at = digits.iter().position(|digit| *digit == text[last])?;
            text[last] = digits[at | 1];
            String::from_utf8(text).ok()?
        }
        _ => return None,
    })
}

/// Changes after signing, on a client's request.
pub fn break_client(
    scene: &Scene<'_>,
    incoming: &mut Incoming,
    change: &str,
) -> Result<(), NotUnderstood> {
    let (what, argument) = change.split_once(':').unwrap_or((change, ""));
    let [key, timestamp, signature] = CLIENT.map(HeaderName::from_static);
    let given = incoming.headers.get(&signature).and_then(|value| value.to_str().ok());
    let digest = given.map(|text| hex::decode(text.trim_start_matches("v1=")).unwrap_or_default());
    match what {
        "drop_timestamp" => drop(incoming.headers.remove(timestamp)),
        "drop_key_id" => drop(incoming.headers.remove(key)),
        "replace_key_id" => {
            let other = party(argument).map_or(argument, |party| party.key_id);
            incoming.headers.insert(key, header(other)?);
        }
        "set_body" => set_body(incoming, argument)?,
        "prepend_header" => prepend(&mut incoming.headers, &signature, argument)?,
        "prepend_timestamp_header" => {
            prepend(&mut incoming.headers, &timestamp, &earlier(scene, argument))?;
        }
        _ => {
            let digest = digest.filter(|digest| digest.len() >= 8);
            let digest = digest.ok_or_else(|| NotUnderstood(format!("then {change}: unsigned")))?;
            let other = broken(&digest, change)?.map(hex::encode);
            let other = other.or_else(|| respelt(&digest, change));
            let other = other.ok_or_else(|| NotUnderstood(format!("then {change}")))?;
            incoming.headers.insert(signature, header(&format!("v1={other}"))?);
        }
    }
    Ok(())
}

/// Who, when and the signature, in a client's request.
pub const CLIENT: [&str; 3] = ["x-api-key", "x-timestamp", "x-signature"];

/// `member=value` in the body, after it was signed.
pub fn set_body(incoming: &mut Incoming, assignment: &str) -> Result<(), NotUnderstood> {
    let unknown = || NotUnderstood(format!("then set_body:{assignment}"));
    let (name, value) = assignment.split_once('=').ok_or_else(unknown)?;
    let mut body: Value = serde_json::from_slice(&incoming.body).map_err(|_| unknown())?;
    let members = body.as_object_mut().ok_or_else(unknown)?;
    members.insert(name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into()));
    incoming.body = body.to_string().into_bytes();
    Ok(())
}
