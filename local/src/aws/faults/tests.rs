//! Each fault does what it says, seen through the SDK clients.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnConsumedCapacity, TransactWriteItem, Update,
};
use serde_json::json;

use super::super::EmbeddedAws;
use super::*;

struct Run {
    aws: EmbeddedAws,
    faults: Faults,
    client: aws_sdk_dynamodb::Client,
}

async fn run(attempts: u32, plan: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> Run {
    let aws = EmbeddedAws::open(None, SharedClock::simulated()).unwrap();
    let table = json!({
        "TableName": "rows",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" },
            { "AttributeName": "due", "AttributeType": "S" },
            { "AttributeName": "owner", "AttributeType": "S" },
        ],
        "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "due",
                "KeySchema": [{ "AttributeName": "due", "KeyType": "HASH" }],
                "Projection": { "ProjectionType": "KEYS_ONLY" },
            },
            {
                "IndexName": "owner",
                "KeySchema": [{ "AttributeName": "owner", "KeyType": "HASH" }],
                "Projection": { "ProjectionType": "ALL" },
            },
        ],
    });
    let created = aws.answer("DynamoDB_20120810.CreateTable", table.to_string().as_bytes()).await;
    assert_eq!(created.status, 200, "{}", created.body);
    let faults = Faults::new(aws.clock().clone(), plan);
    let client = aws.dynamodb(faults.wrap(aws.http_client()), attempts);
    Run { aws, faults, client }
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

impl Run {
    async fn put(&self, pk: &str) -> Result<(), String> {
        let put = self.client.put_item().table_name("rows").item("pk", s(pk)).item("owner", s("o"));
        let put = put.return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        put.send().await.map(|_| ()).map_err(|e| match e.as_service_error() {
            Some(error) => error.meta().code().unwrap_or_default().to_owned(),
            None => format!("{e:?}"),
        })
    }

    async fn holds(&self, pk: &str) -> bool {
        let bare = self.aws.dynamodb(self.aws.http_client(), 1);
        bare.get_item().table_name("rows").key("pk", s(pk)).send().await.unwrap().item.is_some()
    }

    fn trace(&self) -> Vec<String> {
        self.faults.log().iter().map(ToString::to_string).collect()
    }
}

fn put(pk: &str, due: Option<&str>) -> TransactWriteItem {
    let put = Put::builder().table_name("rows").item("pk", s(pk)).item("owner", s("o"));
    let put = match due {
        Some(due) => put.item("due", s(due)),
        None => put,
    };
    TransactWriteItem::builder().put(put.build().unwrap()).build()
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_never_applied_and_a_lost_answer_is() {
    for (fault, applied) in [(Fault::RequestLost, false), (Fault::AnswerLost, true)] {
        let run = run(1, move |_| fault).await;
        let error = run.put("a").await.unwrap_err();
        assert!(error.contains("injected"), "{error}");
        assert_eq!(run.holds("a").await, applied, "{fault:?}");
        let units = if applied { 2 } else { 0 };
        let at_ms = super::super::clock::VIRTUAL_EPOCH_MS + 5;
        assert_eq!(run.trace(), [format!("0 {at_ms} dynamodb.PutItem {fault:?} 0 {units}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_sdk_retries_as_a_new_call_with_a_number_of_its_own() {
    let run = run(3, |call| if call.index == 0 { Fault::Throttle } else { Fault::None }).await;
    run.put("a").await.unwrap();
    let log = run.faults.log();
    let seen: Vec<_> = log.iter().map(|entry| (entry.index, entry.fault, entry.status)).collect();
    assert_eq!(seen, [(0, Fault::Throttle, 400), (1, Fault::None, 200)]);
    assert_eq!(run.faults.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_service_throttles_by_its_own_name() {
    let run = run(1, |_| Fault::Throttle).await;
    assert_eq!(run.put("a").await.unwrap_err(), "ProvisionedThroughputExceededException");
    let sqs = run.aws.sqs(run.faults.wrap(run.aws.http_client()), 1);
    let refused = sqs.send_message().queue_url("u/q").message_body("x").send().await.unwrap_err();
    assert!(refused.into_service_error().is_request_throttled());
    let secrets = run.aws.secrets(run.faults.wrap(run.aws.http_client()), 1);
    let refused = secrets.get_secret_value().secret_id("s").send().await.unwrap_err();
    assert_eq!(refused.into_service_error().meta().code(), Some("ThrottlingException"));
    let calls: Vec<String> = run.faults.log().into_iter().map(|entry| entry.call).collect();
    assert_eq!(calls, ["dynamodb.PutItem", "sqs.SendMessage", "secrets.GetSecretValue"]);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_cancels_the_transaction_with_one_reason_per_item() {
    let run = run(1, |_| Fault::Conflict).await;
    assert_eq!(run.put("a").await.unwrap_err(), "TransactionConflictException");
    let items = vec![put("a", None), put("b", None), put("c", None)];
    let sent = run.client.transact_write_items().set_transact_items(Some(items)).send().await;
    let error = sent.unwrap_err().into_service_error();
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = error else {
        panic!("{error:?}")
    };
    let codes: Vec<_> = cancelled.cancellation_reasons().iter().map(|r| r.code()).collect();
    assert_eq!(codes, [Some("None"), Some("None"), Some("TransactionConflict")]);
    assert!(!run.holds("a").await);
}

#[tokio::test(start_paused = true)]
async fn a_crash_signals_and_never_answers() {
    for (fault, applied) in [(Fault::CrashBefore, false), (Fault::CrashAfter, true)] {
        let run = run(3, move |_| fault).await;
        tokio::select! {
            biased;
            outcome = run.put("a") => panic!("{outcome:?}"),
            () = run.faults.crashed() => {}
        }
        assert_eq!(run.holds("a").await, applied, "{fault:?}");
        assert_eq!((run.faults.calls(), run.faults.log()[0].status), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_outside_aws_shares_the_numbers_the_plan_and_the_log() {
    let run = run(1, |call| match call.service {
        Service::Provider => Fault::AnswerLost,
        _ => Fault::None,
    })
    .await;
    run.put("a").await.unwrap();
    let (call, fault) = run.faults.next(Service::Provider, "POST /pay");
    assert_eq!((call.index, fault), (1, Fault::AnswerLost));
    run.faults.record(&call, fault, 0);
    assert_eq!(run.faults.log()[1].call, "provider.POST /pay");
}

/// The charge of the last call: total, table, index `due`, index `owner`.
#[track_caller]
fn check_charge(run: &Run, subject: &str, [total, table, due, owner]: [u64; 4]) {
    let charged = run.faults.log().pop().unwrap().capacity;
    let index = |name: &str| charged.indexes.get(name).copied().unwrap_or_default();
    let got = [charged.total, charged.table, index("due"), index("owner")];
    assert_eq!(got, [total, table, due, owner].map(Units::halves), "{subject}, in half units");
}

#[tokio::test(start_paused = true)]
async fn single_writes_and_reads_are_charged_as_aws_documents_it() {
    let run = run(1, |_| Fault::None).await;
    let indexes = ReturnConsumedCapacity::Indexes;
    run.put("a").await.unwrap();
    check_charge(&run, "put into the table and one index", [4, 2, 0, 2]);
    let update = |expression: &str, value: &str| {
        let update = run.client.update_item().table_name("rows").key("pk", s("a"));
        let update = update.update_expression(expression).return_consumed_capacity(indexes.clone());
        update.expression_attribute_values(":v", s(value)).send()
    };
    update("SET due = :v", "1").await.unwrap();
    check_charge(&run, "enter the sparse index", [6, 2, 2, 2]);
    update("SET note = :v", "x").await.unwrap();
    check_charge(&run, "change what only the full index projects", [4, 2, 0, 2]);
    update("SET due = :v", "2").await.unwrap();
    check_charge(&run, "move within an index: delete and insert", [8, 2, 4, 2]);

    let get = run.client.get_item().table_name("rows").key("pk", s("a")).consistent_read(true);
    get.return_consumed_capacity(indexes.clone()).send().await.unwrap();
    check_charge(&run, "consistent get", [2, 2, 0, 0]);
    let query = run.client.query().table_name("rows").index_name("due");
    let query =
        query.key_condition_expression("due = :d").expression_attribute_values(":d", s("2"));
    query.return_consumed_capacity(indexes).send().await.unwrap();
    check_charge(&run, "query of an index: half a unit", [1, 0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn transactions_are_charged_twice_for_the_table_and_once_for_indexes() {
    let run = run(1, |_| Fault::None).await;
    let transact = |items: Vec<TransactWriteItem>| {
        let transact = run.client.transact_write_items().set_transact_items(Some(items));
        transact.return_consumed_capacity(ReturnConsumedCapacity::Indexes).send()
    };
    transact(vec![put("a", Some("1")), put("b", None)]).await.unwrap();
    check_charge(&run, "two puts, three index entries", [14, 8, 2, 4]);
    let leave =
        Update::builder().table_name("rows").key("pk", s("a")).update_expression("REMOVE due");
    let check = ConditionCheck::builder()
        .table_name("rows")
        .key("pk", s("b"))
        .condition_expression("attribute_exists(pk)");
    let items = vec![
        TransactWriteItem::builder().update(leave.build().unwrap()).build(),
        TransactWriteItem::builder().condition_check(check.build().unwrap()).build(),
    ];
    transact(items).await.unwrap();
    check_charge(&run, "leave one index, change the other, check one row", [12, 8, 2, 2]);
    assert_eq!(run.faults.capacity().total, Units::whole(13));
}
