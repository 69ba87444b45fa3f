//! The floor: what the work costs in Rust when every request makes only the SDK calls it must. One binary,
//! `_HANDLER` chooses the function: create, settle or status. No provider, no log, no limits, no retries of
//! lost races: a measure, not an example. `cargo run --release -p bench -- functions` builds it and runs it.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use aws_sdk_dynamodb::types::{
    AttributeValue as Av, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use lambda_http::{Body, Error, Request, RequestExt, Response};
use lambda_runtime::LambdaEvent;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

const MERCHANT: &str = "m1";
type Item = HashMap<String, Av>;

struct App {
    db: Client,
    table: String,
    key_id: String,
    secret: String,
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn s(value: impl Into<String>) -> Av {
    Av::S(value.into())
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

fn rfc3339(secs: i64) -> String {
    DateTime::from_secs(secs).fmt(DateTimeFormat::DateTime).unwrap_or_default()
}

// ------------------------------------------------------------------------------ HTTP

fn answer(status: u16, body: &Value, replayed: bool) -> Response<Body> {
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let mut r = Response::builder().status(status).header("content-type", kind);
    if replayed {
        r = r.header("idempotency-replayed", "true");
    }
    r.body(body.to_string().into()).expect("static headers are valid")
}

/// An HTTP status and an error code, with the field at fault in the message.
type Refusal = (u16, &'static str, String);

fn refuse((status, code, message): Refusal) -> Response<Body> {
    answer(status, &json!({"errorCode": code, "message": message, "details": []}), false)
}

fn header<'a>(req: &'a Request, name: &str) -> &'a str {
    req.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
}

fn verify(app: &App, req: &Request) -> Result<(), Refusal> {
    let bad = || (401, "SIGNATURE_INVALID", "signature invalid".to_string());
    let (key_id, ts) = (header(req, "x-api-key"), header(req, "x-timestamp"));
    let when: i64 = ts.parse().map_err(|_| bad())?;
    if (now() - when).abs() > 300 {
        let m = "timestamp out of range".to_string();
        return Err((401, "TIMESTAMP_OUT_OF_RANGE", m));
    }
    let given = header(req, "x-signature")
        .strip_prefix("v1=")
        .and_then(|h| hex::decode(h).ok())
        .ok_or_else(bad)?;
    if key_id != app.key_id {
        return Err(bad());
    }
    let mut path = req.raw_http_path().to_string();
    if let Some(q) = req.uri().query() {
        path = format!("{path}?{q}");
    }
    let text = format!(
        "v1\n{}\n{path}\n{ts}\n{key_id}\n{}\n{}",
        req.method(),
        header(req, "idempotency-key"),
        hex::encode(Sha256::digest(req.body())),
    );
    Hmac::<Sha256>::new_from_slice(app.secret.as_bytes())
        .expect("any key length")
        .chain_update(text)
        .verify_slice(&given)
        .map_err(|_| bad())
}

// ------------------------------------------------------------------------------ create

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Command {
    user_id: String,
    amount: i64,
    currency: String,
    payment_method: Option<String>,
    order_reference: Option<String>,
    callback_url: Option<String>,
    expires_in_seconds: Option<i64>,
    #[serde(default)]
    metadata: Map<String, Value>,
}

fn max_amount(currency: &str) -> Option<i64> {
    Some(match currency {
        "USDT" => 1_000_000_000_000,
        "USD" | "CNY" | "EUR" => 100_000_000,
        "JPY" => 100_000_000,
        _ => return None,
    })
}

fn word(text: &str, extra: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

fn parse(body: &[u8]) -> Result<Command, Refusal> {
    let no = |field: &str| (400, "INVALID_ARGUMENT", format!("invalid {field}"));
    if body.len() > 65_536 {
        return Err((413, "PAYLOAD_TOO_LARGE", "body too large".into()));
    }
    let c: Command = serde_json::from_slice(body).map_err(|_| no("body"))?;
    let max = max_amount(&c.currency).ok_or_else(|| no("currency"))?;
    let checks = [
        (word(&c.user_id, "_-"), "userId"),
        ((1..=max).contains(&c.amount), "amount"),
        (c.payment_method.as_deref().is_none_or(|p| p == "trader"), "paymentMethod"),
        (c.order_reference.as_deref().is_none_or(|r| word(r, "._-")), "orderReference"),
        (c.callback_url.as_deref().is_none_or(|u| u.starts_with("https://")), "callbackUrl"),
        (c.expires_in_seconds.is_none_or(|e| (60..=86_400).contains(&e)), "expiresInSeconds"),
        (c.metadata.len() <= 20 && c.metadata.values().all(Value::is_string), "metadata"),
    ];
    match checks.iter().find(|(good, _)| !good) {
        Some((_, field)) => Err(no(field)),
        None => Ok(c),
    }
}

fn crockford(bytes: &[u8], len: usize) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let bit = |i: usize| (bytes[i / 8] >> (7 - i % 8)) & 1;
    (0..len)
        .map(|c| {
            let v = (0..5).fold(0, |v, b| v << 1 | bit(c * 5 + b));
            ALPHABET[usize::from(v)] as char
        })
        .collect()
}

fn view(item: &Item) -> Value {
    let text = |k: &str| item.get(k).and_then(|v| v.as_s().ok());
    let number =
        |k: &str| item.get(k).and_then(|v| v.as_n().ok()?.parse::<i64>().ok()).unwrap_or(0);
    let metadata: Value =
        text("metadata").and_then(|m| serde_json::from_str(m).ok()).unwrap_or_else(|| json!({}));
    json!({
        "orderId": text("orderId"), "status": text("status"), "reason": null, "userId": text("userId"),
        "amount": number("amount"), "currency": text("currency"), "receivedAmount": 0,
        "creditedAmount": number("creditedAmount"), "paymentMethod": text("paymentMethod"),
        "transactionId": text("transactionId"), "orderReference": text("orderReference"), "payment": null,
        "metadata": metadata, "createdAt": text("createdAt"), "updatedAt": text("updatedAt"),
        "message": "waiting for the payment",
    })
}

async fn create(app: &App, req: &Request) -> Result<Response<Body>, Error> {
    let command = match verify(app, req).and_then(|()| parse(req.body())) {
        Ok(c) => c,
        Err(r) => return Ok(refuse(r)),
    };
    let key = header(req, "idempotency-key");
    if key.is_empty() || key.len() > 255 {
        let m = "Idempotency-Key is required".into();
        return Ok(refuse((400, "INVALID_ARGUMENT", m)));
    }
    let id = Sha256::digest(format!("recharge\n{MERCHANT}\ncreate\n{key}"));
    let order_id = format!("R{}", crockford(&id, 25));
    let metadata = serde_json::to_string(&command.metadata)?;
    let fingerprint = hex::encode(Sha256::digest(
        json!([
            command.user_id,
            command.amount,
            command.currency,
            command.payment_method,
            command.order_reference,
            command.callback_url,
            command.expires_in_seconds,
            metadata
        ])
        .to_string(),
    ));
    let at = rfc3339(now());
    let expires = now() + command.expires_in_seconds.unwrap_or(1800);
    let mut item = Item::from([
        ("pk".into(), s(format!("ORDER#{order_id}"))),
        ("orderId".into(), s(order_id)),
        ("merchant".into(), s(MERCHANT)),
        ("userId".into(), s(command.user_id)),
        ("amount".into(), Av::N(command.amount.to_string())),
        ("currency".into(), s(command.currency)),
        ("status".into(), s("PENDING")),
        ("paymentMethod".into(), s(command.payment_method.unwrap_or_else(|| "trader".into()))),
        ("metadata".into(), s(metadata)),
        ("fingerprint".into(), s(fingerprint.clone())),
        ("createdAt".into(), s(at.clone())),
        ("updatedAt".into(), s(at)),
        ("expiresAt".into(), Av::N(expires.to_string())),
        ("version".into(), Av::N("1".into())),
    ]);
    for (name, value) in
        [("orderReference", command.order_reference), ("callbackUrl", command.callback_url)]
    {
        if let Some(v) = value {
            item.insert(name.into(), s(v));
        }
    }
    let body = view(&item);
    let put = app
        .db
        .put_item()
        .table_name(&app.table)
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(pk)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await;
    match put {
        Ok(_) => Ok(answer(201, &body, false)),
        Err(SdkError::ServiceError(e)) => match e.into_err() {
            PutItemError::ConditionalCheckFailedException(e) => {
                let old = e.item().cloned().unwrap_or_default();
                if old.get("fingerprint") == Some(&s(fingerprint)) {
                    return Ok(answer(200, &view(&old), true));
                }
                let m = "the key was used with another request".into();
                Ok(refuse((422, "IDEMPOTENCY_KEY_REUSED", m)))
            }
            e => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}

// ------------------------------------------------------------------------------ status

async fn status(app: &App, req: &Request) -> Result<Response<Body>, Error> {
    if let Err(r) = verify(app, req) {
        return Ok(refuse(r));
    }
    let params = req.path_parameters();
    let id = params.first("orderId").unwrap_or("");
    let got =
        app.db.get_item().table_name(&app.table).key("pk", s(format!("ORDER#{id}"))).send().await?;
    Ok(match got.item() {
        Some(i) if i.get("merchant") == Some(&s(MERCHANT)) => answer(200, &view(i), false),
        _ => refuse((404, "NOT_FOUND", "no such order".into())),
    })
}

// ------------------------------------------------------------------------------ settle

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settlement {
    order_id: String,
    user_id: String,
    currency: String,
    amount: i64,
    transaction_id: String,
}

async fn settle_one(app: &App, body: &str) -> Result<(), Error> {
    let m: Settlement = serde_json::from_str(body)?;
    if m.amount <= 0 {
        return Err("amount must be positive".into());
    }
    let at = rfc3339(now());
    let amount = Av::N(m.amount.to_string());
    let order = Update::builder()
        .table_name(&app.table)
        .key("pk", s(format!("ORDER#{}", m.order_id)))
        .update_expression(
            "SET #s = :success, creditedAmount = :a, transactionId = :t, updatedAt = :now ADD version :one",
        )
        .condition_expression(
            "#s = :pending AND userId = :u AND amount = :a AND currency = :c AND merchant = :m",
        )
        .expression_attribute_names("#s", "status")
        .expression_attribute_values(":success", s("SUCCESS"))
        .expression_attribute_values(":pending", s("PENDING"))
        .expression_attribute_values(":u", s(&m.user_id))
        .expression_attribute_values(":c", s(&m.currency))
        .expression_attribute_values(":m", s(MERCHANT))
        .expression_attribute_values(":a", amount.clone())
        .expression_attribute_values(":t", s(&m.transaction_id))
        .expression_attribute_values(":now", s(&at))
        .expression_attribute_values(":one", Av::N("1".into()))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()?;
    let ledger = Put::builder()
        .table_name(&app.table)
        .item("pk", s(format!("LEDGER#trader#{}", m.transaction_id)))
        .item("kind", s("CREDIT"))
        .item("orderId", s(&m.order_id))
        .item("merchant", s(MERCHANT))
        .item("userId", s(&m.user_id))
        .item("amount", amount.clone())
        .item("currency", s(&m.currency))
        .item("createdAt", s(&at))
        .condition_expression("attribute_not_exists(pk)")
        .build()?;
    let balance = Update::builder()
        .table_name(&app.table)
        .key("pk", s(format!("BAL#{MERCHANT}#{}#{}", m.user_id, m.currency)))
        .update_expression("SET updatedAt = :now ADD balance :a")
        .expression_attribute_values(":a", amount)
        .expression_attribute_values(":now", s(&at))
        .build()?;
    let sent = app
        .db
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().update(order).build())
        .transact_items(TransactWriteItem::builder().put(ledger).build())
        .transact_items(TransactWriteItem::builder().update(balance).build())
        .send()
        .await;
    match sent {
        Ok(_) => Ok(()),
        Err(SdkError::ServiceError(e)) => match e.into_err() {
            TransactWriteItemsError::TransactionCanceledException(e) => {
                // a redelivery finds its own credit on the order: done already
                let old = e.cancellation_reasons().first().and_then(|r| r.item());
                let done = old.is_some_and(|o| {
                    o.get("status") == Some(&s("SUCCESS"))
                        && o.get("transactionId") == Some(&s(&m.transaction_id))
                });
                if done { Ok(()) } else { Err(e.into()) }
            }
            e => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}

async fn settle(app: &App, event: SqsEvent) -> SqsBatchResponse {
    let results = join_all(event.records.iter().map(|r| async move {
        let done = settle_one(app, r.body.as_deref().unwrap_or("")).await;
        done.is_err().then(|| r.message_id.clone().unwrap_or_default())
    }))
    .await;
    let mut response = SqsBatchResponse::default();
    for id in results.into_iter().flatten() {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        response.batch_item_failures.push(failure);
    }
    response
}

// ------------------------------------------------------------------------------ main

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let app = App {
        db: Client::new(&config),
        table: env("TABLE"),
        key_id: env("API_KEY_ID"),
        secret: env("API_SECRET"),
    };
    let app = &app;
    match env("_HANDLER").as_str() {
        "create" => {
            lambda_http::run(lambda_http::service_fn(
                |r: Request| async move { create(app, &r).await },
            ))
            .await
        }
        "status" => {
            lambda_http::run(lambda_http::service_fn(
                |r: Request| async move { status(app, &r).await },
            ))
            .await
        }
        "settle" => {
            lambda_runtime::run(lambda_runtime::service_fn(|e: LambdaEvent<SqsEvent>| async move {
                Ok::<_, Error>(settle(app, e.payload).await)
            }))
            .await
        }
        other => Err(format!("_HANDLER={other}: want create, status or settle").into()),
    }
}
