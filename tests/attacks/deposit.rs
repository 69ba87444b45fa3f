//! Steps about deposits: what the simulated Pay Protocol does, its callbacks as somebody sends them, the
//! addresses that users ask for, and the reading of the provider's list.

use std::time::Duration;

use aws_smithy_types::base64;
use http::{HeaderName, HeaderValue};
use recharge_local::events::Incoming;
use recharge_local::sim::payprotocol::{Mode, Transfer};
use recharge_local::stack::{PAYPROTOCOL_API_KEY, PAYPROTOCOL_CALLBACK_PATH, PAYPROTOCOL_SECRET};
use recharge_shared::domain::{
    AmountPolicy, Disposal, Merchant, MerchantId, MerchantPolicy, UserAccess,
};
use recharge_shared::providers::payprotocol::{HEADERS, Signed, signature};
use serde_json::{Value, json};

use crate::case::{NotUnderstood, only, text_of};
use crate::names::mark;
use crate::scene::{Scene, party};
use crate::send;
use crate::step::Played;

/// `deposit`: somebody sends money to an address; `after_ms` from now, so that it can come in between.
pub async fn transfer(scene: &Scene<'_>, step: &Value) -> Played {
    tokio::time::sleep(Duration::from_millis(step["after_ms"].as_u64().unwrap_or(0))).await;
    let address = scene.fill(step["address"].as_str().unwrap_or("{{address:A/u_1001/TRON}}"));
    for _ in 0..step["times"].as_u64().unwrap_or(1) {
        let transfer = Transfer {
            address: &address,
            amount: step["amount"].as_str().unwrap_or("5"),
            currency: step["currency"].as_str().unwrap_or("USDT"),
            silent: step["silent"] == true,
        };
        let made = scene.world.stack.deposit(&transfer).map_err(NotUnderstood)?.0;
        scene.deposits.borrow_mut().push(made);
    }
    Ok(Vec::new())
}

/// `provider`: how Pay Protocol behaves from now on, or what it says of a deposit or a user.
pub fn provider(scene: &Scene<'_>, step: &Value) -> Played {
    let provider = &scene.world.payprotocol;
    if let Some(mode) = step.get("mode") {
        let mode: Mode = serde_json::from_value(mode.clone())
            .map_err(|_| NotUnderstood(format!("mode {mode}")))?;
        provider.set_mode(mode);
    }
    if let Some(status) = step["restate"].as_i64() {
        let deposits = scene.deposits.borrow();
        let last = deposits.last().ok_or_else(|| NotUnderstood("restate".to_owned()))?;
        provider.restate(last.recharge_id, i32::try_from(status).unwrap());
    }
    if let Some(both) = step["share_wallets"].as_array().map(Vec::as_slice) {
        let [one, other] = both else {
            return Err(NotUnderstood(format!("share_wallets {}", step["share_wallets"])));
        };
        let [one, other] = [one, other].map(|whose| mark(&text_of(whose)).unwrap());
        provider.share_wallets(one.as_str(), other.as_str());
    }
    Ok(Vec::new())
}

/// `sweep`: the schedule ticks, `wait` seconds from now.
pub async fn sweep(scene: &Scene<'_>, step: &Value) -> Played {
    let functions = scene.functions();
    for _ in 0..step["times"].as_u64().unwrap_or(1) {
        scene.world.pass(step["wait"].as_u64().unwrap_or(0)).await;
        functions.poll("sweep".to_owned()).await.map_err(NotUnderstood)?;
    }
    Ok(Vec::new())
}

/// `settle`: the worker takes what is in the queue, until nothing is.
pub async fn settle(scene: &Scene<'_>) -> Played {
    let functions = scene.functions();
    while matches!(scene.world.stack.settle_batch_with(&functions, 0).await, Ok(1..)) {}
    Ok(Vec::new())
}

/// `merchant_policy`: the merchant's own rules for money that does not match.
pub async fn policy(scene: &Scene<'_>, step: &Value) -> Played {
    let words = &step["policy"];
    only(
        "policy",
        words,
        &["amount", "tolerance", "over_payment", "late_payment", "second_payment"],
    )?;
    let amount = words["amount"].as_str().map(|word| AmountPolicy::parse(word).unwrap());
    let disposal = |name: &str| words[name].as_str().map(|word| Disposal::parse(word).unwrap());
    let policy = MerchantPolicy {
        amount,
        tolerance: words["tolerance"].as_u64(),
        over_payment: disposal("over_payment"),
        late_payment: disposal("late_payment"),
        second_payment: disposal("second_payment"),
    };
    let who = party(step["as"].as_str().unwrap_or("A")).unwrap();
    let merchant = Merchant {
        users: UserAccess::Registered,
        creates_per_second: 10_000,
        burst: 10_000,
        policy,
        ..Merchant::default()
    };
    scene.store().set_merchant(&MerchantId::parse(who.id).unwrap(), &merchant).await.unwrap();
    scene.rebuild();
    Ok(Vec::new())
}

/// `addresses`: a merchant asks for a user's deposit addresses.
pub fn addresses(scene: &Scene<'_>, step: &Value) -> Result<Incoming, NotUnderstood> {
    let user = scene.fill(step["user"].as_str().unwrap_or("u_1001"));
    let path = match step["path"].as_str() {
        Some(path) => scene.fill(path),
        None => format!("/users/{user}/deposit-addresses"),
    };
    let method = step["method"].as_str().unwrap_or("POST");
    let body = match method {
        "GET" => Vec::new(),
        _ => send::body(scene, step, json!({"paymentMethod": "payprotocol"}))?,
    };
    send::as_client(scene, step, (method, &path), body)
}

/// Remembers what was answered, for `{{address:A/u_1001/TRON}}`.
pub fn remember(scene: &Scene<'_>, step: &Value, answer: &Value) {
    let merchant = step["as"].as_str().unwrap_or("A");
    let user = step["user"].as_str().unwrap_or("u_1001");
    for one in answer["addresses"].as_array().into_iter().flatten() {
        let network = text_of(&one["network"]);
        scene.call(format!("address:{merchant}/{user}/{network}"), text_of(&one["address"]));
    }
}

/// `deposit_callback`: the provider's callback about a deposit of the scene (`of`; the last one, unless said
/// otherwise), or, where there is none, about the one of the fixtures.
pub fn callback(
    scene: &Scene<'_>,
    step: &Value,
    repetition: Option<u32>,
) -> Result<Incoming, NotUnderstood> {
    let how = &step["sign"];
    send::sign_words(how, &["path", "method", "over"])?;
    let deposits = scene.deposits.borrow();
    let made = match step["of"].as_u64() {
        None => deposits.last(),
        Some(number) => deposits.get(usize::try_from(number).unwrap()),
    };
    let genuine = made.and_then(|made| made.callback.as_ref());
    let mut base = match genuine {
        Some(callback) => serde_json::from_slice(&callback.body).unwrap(),
        None => scene.corpus.fixtures["recharge"].clone(),
    };
    if let Some(number) = repetition {
        base["rechargeId"] = (950_001 + number).into();
        base["transferHash"] = format!("hash-{number}").into();
    }
    let body = send::body(scene, step, base)?;
    let timestamp = send::timestamp(scene, how)?;
    let signed_body = match how["over"].as_str() {
        None => body.clone(),
        // What a parser and a writer make of it: the same meaning, other bytes.
        Some("compact") => {
            let value: Value = serde_json::from_slice(&body).unwrap();
            value.to_string().into_bytes()
        }
        Some(other) => return Err(NotUnderstood(format!("over {other}"))),
    };
    let path = how["path"].as_str().unwrap_or(PAYPROTOCOL_CALLBACK_PATH);
    let method = how["method"].as_str().unwrap_or("POST");
    let signed = Signed { timestamp: &timestamp, method, path, body: &signed_body };
    let given = match how["mode"].as_str() {
        None | Some("valid") => Some(signature(PAYPROTOCOL_SECRET, signed)),
        Some("none") => None,
        Some("literal") => Some(text_of(&how["value"])),
        Some("hmac_with_key") => Some(signature(&text_of(&how["key"]), signed)),
        Some(other) => return Err(NotUnderstood(format!("sign mode {other}"))),
    };
    let target = scene.fill(step["path"].as_str().unwrap_or(PAYPROTOCOL_CALLBACK_PATH));
    let mut incoming = scene.world.unsigned(("POST", &target), &[], &body);
    let mut set = |name, text: &str| {
        incoming.headers.insert(name, HeaderValue::from_str(text).unwrap());
    };
    set(HeaderName::from_static("content-type"), "application/json");
    set(HeaderName::from_static(HEADERS[0]), PAYPROTOCOL_API_KEY);
    set(HeaderName::from_static(HEADERS[1]), &timestamp);
    if let Some(given) = given {
        set(HeaderName::from_static(HEADERS[2]), &given);
    }
    send::set_headers(scene, &mut incoming, step)?;
    for change in send::changes(how)? {
        break_callback(&mut incoming, &change)?;
    }
    Ok(incoming)
}

/// Changes after signing, on a callback of Pay Protocol.
pub fn break_callback(incoming: &mut Incoming, change: &str) -> Result<(), NotUnderstood> {
    let (what, argument) = change.split_once(':').unwrap_or((change, ""));
    let given = incoming.headers.get(HEADERS[2]).and_then(|value| value.to_str().ok());
    let given = given.unwrap_or("").to_owned();
    let bytes = || base64::decode(given.as_str()).unwrap_or_default();
    let set = |incoming: &mut Incoming, text: &str| {
        incoming.headers.insert(HEADERS[2], HeaderValue::from_str(text).unwrap());
    };
    let before = |incoming: &mut Incoming, name: &'static str, text: &str| {
        let good = incoming.headers.get(name).cloned();
        incoming.headers.insert(name, HeaderValue::from_str(text).unwrap());
        good.map(|good| incoming.headers.append(name, good));
    };
    match what {
        "drop_key_id" => drop(incoming.headers.remove(HEADERS[0])),
        "drop_timestamp" => drop(incoming.headers.remove(HEADERS[1])),
        "replace_key_id" => {
            incoming.headers.insert(HEADERS[0], HeaderValue::from_str(argument).unwrap());
        }
        "set_body" => send::set_body(incoming, argument)?,
        "pretty_body" => {
            let value: Value = serde_json::from_slice(&incoming.body).unwrap();
            incoming.body = serde_json::to_vec_pretty(&value).unwrap();
        }
        "flip_byte" => {
            let mut bytes = bytes();
            bytes[send::count(change, argument)?] ^= 1;
            set(incoming, &base64::encode(bytes));
        }
        "truncate_bytes" => {
            let keep = bytes().len().saturating_sub(send::count(change, argument)?);
            set(incoming, &base64::encode(&bytes()[..keep]));
        }
        "encode" if argument == "hex" => set(incoming, &hex::encode(bytes())),
        "encode" if argument == "base64url" => {
            set(incoming, &given.replace('+', "-").replace('/', "_"));
        }
        "encode" if argument == "unpadded" => set(incoming, given.trim_end_matches('=')),
        "prepend_header" => before(incoming, HEADERS[2], argument),
        "repeat_header" => before(incoming, HEADERS[2], &given),
        "prepend_key_header" => before(incoming, HEADERS[0], argument),
        "prepend_timestamp_header" => before(incoming, HEADERS[1], argument),
        _ => return Err(NotUnderstood(format!("then {change}"))),
    }
    Ok(())
}

/// `resolve`: somebody decides about a review.
pub fn resolve(scene: &Scene<'_>, step: &Value) -> Result<Incoming, NotUnderstood> {
    let id = scene.fill(step["review"].as_str().unwrap_or("{{review}}"));
    let base = match step["action"].as_str().unwrap_or("credit_order") {
        "credit_order" => json!({"action": "credit_order", "orderId": "{{order}}"}),
        action => json!({"action": action}),
    };
    let mut base = base;
    base["note"] = "the payer has shown the transfer".into();
    let body = send::body(scene, step, base)?;
    send::as_client(scene, step, ("POST", &format!("/admin/reviews/{id}/resolve")), body)
}

/// `review`: somebody reads one review, or the list of them when `review` is empty.
pub fn review(scene: &Scene<'_>, step: &Value) -> Result<Incoming, NotUnderstood> {
    let path = match step["review"].as_str().unwrap_or("{{review}}") {
        "" => "/admin/reviews".to_owned(),
        id => scene.fill(&format!("/admin/reviews/{id}")),
    };
    send::as_client(scene, step, ("GET", &path), Vec::new())
}
