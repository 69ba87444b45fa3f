//! `queue` steps: messages put into the settlement queue under the corpus's names, handed to the worker
//! in batches, and what it reports.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use aws_sdk_sqs::types::{MessageAttributeValue, MessageSystemAttributeName};
use recharge_local::events::sqs_event;
use recharge_shared::domain::{
    Currency, Evidence, EvidenceKind, Money, OrderId, ProviderName, Source, Timestamp, TraceId,
};
use recharge_shared::queue::SettlementMessage;
use recharge_tests::world::until_crash;
use serde_json::{Value, json};

use crate::case::{NotUnderstood, text_of};
use crate::check::Finding;
use crate::fault::Instance;
use crate::scene::{ACCOUNT, Scene};
use crate::step::Played;

/// A row that cannot be read any more, and what it was.
const DAMAGED: &str = "fingerprint";

pub async fn play(scene: &Scene<'_>, step: &Value, fallback: &Value) -> Played {
    let mut mend = Vec::new();
    let specs = step["messages"].as_array().filter(|specs| !specs.is_empty()).cloned();
    let specs = specs.ok_or_else(|| NotUnderstood("queue without messages".to_owned()))?;
    for spec in &specs {
        put(scene, &text_of(spec), &mut mend).await?;
    }
    // What the scene needed for them is not the attack's doing.
    let mut counts = scene.counts();
    counts.queued = 0;
    let applied = specs.iter().any(|spec| text_of(spec).starts_with("applied"));
    scene.set_before(|before| match applied {
        true => *before = counts.clone(),
        false => before.orders = counts.orders,
    });
    let instance = scene.around(step)?;
    let responses = batches(scene, &instance).await;
    for (order, was) in mend {
        restore(scene, &order, &was);
    }
    let failed: BTreeSet<String> = responses
        .iter()
        .flat_map(|response| response["batchItemFailures"].as_array().cloned().unwrap_or_default())
        .map(|entry| scene.name_of(entry["itemIdentifier"].as_str().unwrap_or("")))
        .collect();
    let expect = step.get("expect").unwrap_or(fallback);
    let mut findings = Vec::new();
    if let Some(wanted) = expect["batchItemFailures"].as_array() {
        let wanted: BTreeSet<String> = wanted.iter().map(text_of).collect();
        if failed != wanted {
            findings.push(Finding(format!("failed are {failed:?} instead of {wanted:?}")));
        }
    }
    if expect["response_json_exact"].is_object() {
        let mut response = responses.first().cloned().unwrap_or_default();
        for entry in response["batchItemFailures"].as_array_mut().into_iter().flatten() {
            entry["itemIdentifier"] =
                scene.name_of(entry["itemIdentifier"].as_str().unwrap_or("")).into();
        }
        if response != expect["response_json_exact"] {
            findings.push(Finding(format!("the batch was answered {response}")));
        }
    }
    Ok(findings)
}

impl Scene<'_> {
    /// The corpus's name of a message.
    fn name_of(&self, id: &str) -> String {
        let messages = self.messages.borrow();
        let found = messages.iter().position(|(known, ..)| known == id);
        found.map_or_else(|| id.to_owned(), |position| format!("m{}", position + 1))
    }
}

/// Puts `spec`, like `ok*3` or `raw:x`, into the queue.
async fn put(
    scene: &Scene<'_>,
    spec: &str,
    mend: &mut Vec<(String, Value)>,
) -> Result<(), NotUnderstood> {
    if let Some(text) = spec.strip_prefix("raw:") {
        enqueue(scene, scene.fill(text), None).await;
        return Ok(());
    }
    if let Some(name) = spec.strip_prefix("repeat:") {
        let number = name.strip_prefix('m').and_then(|number| number.parse::<usize>().ok());
        let number = number.filter(|number| *number > 0);
        let number = number.ok_or_else(|| NotUnderstood(spec.to_owned()))?;
        for _ in 0..1_000 {
            let sent = scene.messages.borrow().get(number - 1).cloned();
            if let Some((_, body, stage)) = sent {
                send(scene, &body, stage.as_deref()).await;
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        return Err(NotUnderstood(spec.to_owned()));
    }
    let (spec, flags) = match spec.split_once(':') {
        Some((spec, flags)) => (spec, flags),
        None => (spec, ""),
    };
    let (kind, count) = spec.split_once('*').unwrap_or((spec, "1"));
    let count: u32 = count.parse().map_err(|_| NotUnderstood(spec.to_owned()))?;
    for _ in 0..count {
        let order = scene.give_order(&Value::Null).await?;
        let mut body = message(&order, scene.next(), 5_000);
        let mut stage = None;
        match (kind, flags) {
            ("ok", "" | "same_user") => {}
            ("ok", "order_expired") => scene.world.pass(1_801).await,
            ("poison", "") => damage(scene, &order),
            ("fail", "") => mend.push((order.clone(), damage_for_now(scene, &order))),
            ("applied", "") => {
                send(scene, &body, None).await;
                while scene.world.stack.settle_batch(0).await.unwrap_or(0) > 0 {}
                scene.world.notify().await;
            }
            ("schema", version) => {
                let mut wire: Value = serde_json::from_str(&body).unwrap();
                let version = version.parse::<u32>();
                wire["version"] = version.map_err(|_| NotUnderstood(spec.to_owned()))?.into();
                body = wire.to_string();
            }
            ("env", name) => stage = Some(name),
            _ => return Err(NotUnderstood(format!("message {spec}:{flags}"))),
        }
        enqueue(scene, body, stage).await;
    }
    Ok(())
}

/// A queued success event for `order`.
fn message(order: &str, number: u32, minor: i128) -> String {
    let evidence = Evidence {
        provider: ProviderName::parse("test").unwrap(),
        account: ACCOUNT.to_owned(),
        payment_id: format!("txn_m{number}"),
        order_id: OrderId::parse(order),
        deposit: None,
        transaction_id: None,
        dust: None,
        user_mark: None,
        kind: EvidenceKind::Paid(Money::new(minor, Currency::Usd)),
        source: Source::Callback,
        stale: false,
        observed_at: Timestamp::from_secs(1_700_000_000),
        digest: [7; 32],
        raw: String::new(),
    };
    SettlementMessage { trace: TraceId::parse("attack").unwrap(), evidence }.encode()
}

async fn enqueue(scene: &Scene<'_>, body: String, stage: Option<&str>) {
    let id = send(scene, &body, stage).await;
    scene.messages.borrow_mut().push((id, body, stage.map(str::to_owned)));
}

/// Settles `order` as paid with so much; nobody is told yet.
pub async fn pay(scene: &Scene<'_>, order: &str, minor: i128) {
    send(scene, &message(order, scene.next(), minor), None).await;
    while scene.world.stack.settle_batch(0).await.unwrap_or(0) > 0 {}
}

/// Gives an order another callback URL, past everything that would refuse it.
pub fn force_url(scene: &Scene<'_>, order: &str, url: &str) {
    let update = json!({
        "Key": row_key(order), "UpdateExpression": "SET callbackUrl = :url",
        "ExpressionAttributeValues": {":url": {"S": url}},
    });
    database(scene, "UpdateItem", update);
}

/// Sends it, as a function of `stage` does; its id in the queue.
async fn send(scene: &Scene<'_>, body: &str, stage: Option<&str>) -> String {
    let stack = &scene.world.stack;
    let sqs = stack.ground.aws.sqs(stack.ground.aws.http_client(), 3);
    let mut sent = sqs.send_message().queue_url(&stack.names.settlement_url).message_body(body);
    if let Some(stage) = stage {
        let name = MessageAttributeValue::builder().data_type("String").string_value(stage);
        sent = sent.message_attributes("stage", name.build().unwrap());
    }
    sent.send().await.unwrap().message_id.unwrap_or_default()
}

/// Hands everything visible to the worker, ten at a time, and deletes what it does not name.
async fn batches(scene: &Scene<'_>, instance: &Instance) -> Vec<Value> {
    let stack = &scene.world.stack;
    let sqs = stack.ground.aws.sqs(stack.ground.aws.http_client(), 3);
    let mut responses = Vec::new();
    loop {
        let received = sqs
            .receive_message()
            .queue_url(&stack.names.settlement_url)
            .max_number_of_messages(stack.names.batch_size)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .send()
            .await
            .unwrap();
        let messages = received.messages();
        if messages.is_empty() {
            return responses;
        }
        let event = sqs_event(messages, &stack.names.settlement_arn);
        let settled = instance.functions.settle(event, format!("batch-{}", scene.next()));
        let settled = until_crash(&instance.faults, settled).await;
        // A batch without an answer comes again as a whole.
        let Some(Ok(response)) = settled else { continue };
        let failed: Vec<&str> = response["batchItemFailures"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["itemIdentifier"].as_str())
            .collect();
        for message in messages {
            if !failed.contains(&message.message_id().unwrap_or("")) {
                let delete = sqs.delete_message().queue_url(&stack.names.settlement_url);
                delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
            }
        }
        responses.push(response);
    }
}

/// What was written as a newer version of the code would.
#[derive(Default)]
pub struct Versions {
    is_mixed: Cell<bool>,
    marked: RefCell<Vec<String>>,
    unknown: RefCell<Vec<String>>,
}

impl Versions {
    pub fn start(&self) {
        self.is_mixed.set(true);
    }

    /// Whether it is time to write; once.
    pub fn is_mixed(&self) -> bool {
        self.is_mixed.replace(false)
    }

    pub fn marked(&self, orders: impl Iterator<Item = String>) {
        self.marked.borrow_mut().extend(orders);
    }

    pub fn unknown_state(&self, order: String) {
        self.unknown.borrow_mut().push(order);
    }

    /// Orders with an unknown member, and those in an unknown state.
    pub fn written(&self) -> (Vec<String>, Vec<String>) {
        (self.marked.borrow().clone(), self.unknown.borrow().clone())
    }
}

/// What a newer version of the code would have written, when versions are mixed: a member that this one
/// does not know, in every other order and message, and an order in a state that it does not know.
pub async fn from_the_next_version(scene: &Scene<'_>) {
    if !scene.versions.is_mixed() {
        return;
    }
    let orders: Vec<String> = scene.books().orders.into_iter().map(|order| order.id).collect();
    for order in orders.iter().step_by(2) {
        let update = json!({
            "Key": row_key(order), "UpdateExpression": "SET fromNext = :mark",
            "ExpressionAttributeValues": {":mark": {"S": "kept"}},
        });
        database(scene, "UpdateItem", update);
    }
    scene.versions.marked(orders.into_iter().step_by(2));
    let order = scene.give_order(&json!({"user": "u_1002"})).await.unwrap();
    let update = json!({
        "Key": row_key(&order),
        "UpdateExpression": "SET #state = :state, #version = #version + :one, \
                             history = list_append(history, :step)",
        "ExpressionAttributeNames": {"#state": "state", "#version": "version"},
        "ExpressionAttributeValues": {
            ":state": {"S": "FROM_NEXT"}, ":one": {"N": "1"},
            ":step": {"L": [{"M": {"from": {"S": "PENDING"}, "to": {"S": "FROM_NEXT"},
                                   "by": {"S": "next"}, "at": {"N": "1700000000000"}}}]},
        },
    });
    database(scene, "UpdateItem", update);
    scene.versions.unknown_state(order);
    let stack = &scene.world.stack;
    let sqs = stack.ground.aws.sqs(stack.ground.aws.http_client(), 3);
    let received = sqs.receive_message().queue_url(&stack.names.settlement_url);
    let received = received.max_number_of_messages(10).send().await.unwrap();
    for message in received.messages() {
        let mut body: Value = serde_json::from_str(message.body().unwrap()).unwrap();
        body["fromNext"] = "member".into();
        send(scene, &body.to_string(), None).await;
        let delete = sqs.delete_message().queue_url(&stack.names.settlement_url);
        delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
    }
}

/// What of a newer version's writing has not survived.
pub fn lost_of_the_next_version(scene: &Scene<'_>) -> Vec<Finding> {
    let row = |order: &String| database(scene, "GetItem", json!({"Key": row_key(order)}));
    let (marked, unknown) = scene.versions.written();
    let lost = marked.iter().filter(|order| row(order)["Item"]["fromNext"]["S"] != "kept");
    let overwritten = unknown.iter().filter(|o| row(o)["Item"]["state"]["S"] != "FROM_NEXT");
    lost.chain(overwritten)
        .map(|order| Finding(format!("{order} has lost a newer member")))
        .collect()
}

fn row_key(order: &str) -> Value {
    json!({"pk": {"S": format!("O#{order}")}, "sk": {"S": "O"}})
}

fn database(scene: &Scene<'_>, operation: &str, mut request: Value) -> Value {
    let stack = &scene.world.stack;
    request["TableName"] = stack.names.table.as_str().into();
    let answer = stack.ground.aws.database().answer(operation, request.to_string().as_bytes());
    serde_json::from_str(&answer.body).unwrap_or_default()
}

/// Makes an order's row unreadable, for good.
pub fn damage(scene: &Scene<'_>, order: &str) {
    damage_for_now(scene, order);
}

fn damage_for_now(scene: &Scene<'_>, order: &str) -> Value {
    let found = database(scene, "GetItem", json!({"Key": row_key(order)}));
    let was = found["Item"][DAMAGED].clone();
    assert!(!was.is_null(), "no order {order:?} to damage");
    let update = json!({"Key": row_key(order), "UpdateExpression": format!("REMOVE {DAMAGED}")});
    database(scene, "UpdateItem", update);
    was
}

fn restore(scene: &Scene<'_>, order: &str, was: &Value) {
    let update = json!({
        "Key": row_key(order), "UpdateExpression": format!("SET {DAMAGED} = :was"),
        "ExpressionAttributeValues": {":was": was},
    });
    database(scene, "UpdateItem", update);
}
