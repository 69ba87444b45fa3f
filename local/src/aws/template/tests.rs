//! A small template in the style of the real one, and the real one.

use super::super::{EMBEDDED_URL, EmbeddedAws, SharedClock};
use super::*;

const SMALL: &str = r#"
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: { Type: String, Default: dev }
  Issuer: { Type: String, Default: "" }
  Origins: { Type: CommaDelimitedList, Default: "a, b" }
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  HasIssuer: !Not [!Equals [!Ref Issuer, ""]]
  Both: !And [!Condition IsProd, { Condition: HasIssuer }]
  Either: !Or [!Condition IsProd, !Condition HasIssuer]
Globals:
  Function:
    Timeout: 10
    Environment: { Variables: { TABLE_NAME: !Ref Table, RUST_LOG: info } }
Resources:
  Api: { Type: AWS::Serverless::HttpApi }
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: ../functions/worker/
      MemorySize: 256
      Timeout: !If [IsProd, 60, 30]
      Environment:
        Variables:
          QUEUE_URL: !Ref Queue
          KEYS: !Ref Keys
          RUST_LOG: !If [IsProd, warn, !Ref "AWS::NoValue"]
          NAME: !Sub "${AWS::StackName}-${Stage}-${!literal}"
          WITH: !Sub ["${x}/${Queue.QueueName}", { x: !Join ["-", [a, !Ref Stage]] }]
          ORIGINS: !Ref Origins
          API: !Sub "https://${Api}.${AWS::Region}"
          ROLE: { "Fn::GetAtt": [Role, Arn] }
          LIMIT: 5
          SECOND: !Select [1, !Split [",", "x,y"]]
      Events:
        Queue: { Type: SQS, Properties: { Queue: !GetAtt Queue.Arn, BatchSize: 7 } }
        Tick: { Type: ScheduleV2, Properties: { ScheduleExpression: rate(5 minutes) } }
        Get: { Type: HttpApi, Properties: { Path: "/recharges/{orderId}", Method: get } }
        Rest: { Type: HttpApi, Properties: { ApiId: !Ref Api } }
  OnlyProd:
    Type: AWS::SQS::Queue
    Condition: IsProd
  OnlyBoth:
    Type: AWS::SQS::Queue
    Condition: Both
  EitherOne:
    Type: AWS::SQS::Queue
    Condition: Either
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 180
      RedrivePolicy: { deadLetterTargetArn: !GetAtt Zombies.Arn, maxReceiveCount: 5 }
  Zombies:
    Type: AWS::SQS::Queue
    Properties: { QueueName: !Sub "${AWS::StackName}-zombies", MessageRetentionPeriod: 1209600 }
  Keys: { Type: AWS::SecretsManager::Secret, Properties: { Name: !Sub "${Stage}/keys" } }
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      AttributeDefinitions:
        - { AttributeName: pk, AttributeType: S }
        - { AttributeName: owner, AttributeType: S }
      KeySchema: [{ AttributeName: pk, KeyType: HASH }]
      GlobalSecondaryIndexes:
        - IndexName: owner
          KeySchema: [{ AttributeName: owner, KeyType: HASH }]
          Projection: { ProjectionType: INCLUDE, NonKeyAttributes: [b, a] }
      TimeToLiveSpecification: { AttributeName: expiresAt, Enabled: true }
"#;

fn read(parameters: &[(&str, &str)]) -> Template {
    let parameters = parameters.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Template::read(SMALL, &parameters, "http://127.0.0.1:4566").unwrap()
}

fn queue_ids(template: &Template) -> Vec<&str> {
    template.queues.iter().map(|queue| queue.logical_id.as_str()).collect()
}

#[test]
fn references_resolve_to_local_names() {
    let template = read(&[]);
    let worker = template.function("Worker").unwrap();
    let check = |name: &str, want: &str| assert_eq!(worker.environment[name], want, "{name}");
    check("TABLE_NAME", "table");
    check("QUEUE_URL", "http://127.0.0.1:4566/000000000000/queue");
    check("KEYS", "dev/keys");
    check("RUST_LOG", "info");
    check("NAME", "recharge-dev-${literal}");
    check("WITH", "a-dev/queue");
    check("ORIGINS", "a,b");
    check("API", "https://${Api}.us-east-1");
    check("ROLE", "${Role.Arn}");
    check("LIMIT", "5");
    check("SECOND", "y");
    assert_eq!((worker.timeout_seconds, worker.memory_mb), (30, 256));
    assert_eq!(worker.crate_name(), "worker");
    let secret = Secret { logical_id: "Keys".into(), name: "dev/keys".into() };
    assert_eq!(template.secrets, [secret]);
}

#[test]
fn events_become_routes_schedules_and_sources() {
    let template = read(&[]);
    let routes: Vec<_> = template.routes.iter().map(|r| (&*r.method, &*r.path)).collect();
    assert_eq!(routes, [("GET", "/recharges/{orderId}"), ("ANY", "$default")]);
    assert_eq!(template.schedules[0].every_seconds, 300);
    let source = &template.queue_sources[0];
    assert_eq!((&*source.queue_logical_id, &*source.function_logical_id), ("Queue", "Worker"));
    assert_eq!(source.batch_size, 7);
    let queue = template.queue("Queue").unwrap();
    let redrive = Redrive { target_logical_id: "Zombies".into(), max_receive_count: 5 };
    assert_eq!((queue.visibility_timeout_seconds, queue.redrive.clone()), (180, Some(redrive)));
    assert_eq!(template.queue("Zombies").unwrap().name, "recharge-zombies");
}

#[test]
fn a_false_condition_removes_the_resource() {
    assert_eq!(queue_ids(&read(&[])), ["Queue", "Zombies"]);
    let prod = read(&[("Stage", "prod")]);
    assert_eq!(queue_ids(&prod), ["EitherOne", "OnlyProd", "Queue", "Zombies"]);
    assert_eq!(prod.function("Worker").unwrap().timeout_seconds, 60);
    assert_eq!(prod.function("Worker").unwrap().environment["RUST_LOG"], "warn");
    let both = read(&[("Stage", "prod"), ("Issuer", "x")]);
    assert_eq!(queue_ids(&both), ["EitherOne", "OnlyBoth", "OnlyProd", "Queue", "Zombies"]);
}

#[test]
fn what_is_wrong_is_named() {
    let check = |text: &str, want: &str| {
        let error = Template::read(text, &BTreeMap::new(), EMBEDDED_URL).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    check("a: [", "not YAML");
    check("Resources: { Q: { Type: AWS::SQS::Queue, Condition: Nowhere } }", "Nowhere");
    check(
        "{ Conditions: { A: !Condition A }, Resources: { Q: { Condition: A } } }",
        "A is not defined",
    );
    let function = "Type: AWS::Serverless::Function, Properties: { Events: ";
    let schedule = "E: { Type: Schedule, Properties: { Schedule: cron(0 3 * * ? *) } }";
    check(&format!("Resources: {{ F: {{ {function}{{ {schedule} }} }} }} }}"), "only rate(..)");
    let unknown = [("Typo".to_owned(), String::new())].into();
    assert!(
        Template::read(SMALL, &unknown, EMBEDDED_URL).unwrap_err().to_string().contains("Typo")
    );
}

#[tokio::test(start_paused = true)]
async fn applying_twice_changes_nothing_and_a_different_table_is_refused() {
    let aws = EmbeddedAws::open(None, SharedClock::simulated()).unwrap();
    let template = read(&[]);
    apply(&template, &aws).await.unwrap();
    aws.sqs(aws.http_client(), 1)
        .send_message()
        .queue_url(aws.queues().queue_url("queue"))
        .message_body("kept")
        .send()
        .await
        .unwrap();
    apply(&template, &aws).await.unwrap();
    assert_eq!(aws.queues().queue_names(), ["queue", "recharge-zombies"]);
    assert_eq!(aws.queues().view("queue").unwrap().visible, 1);

    let client = aws.dynamodb(aws.http_client(), 1);
    let ttl = client.describe_time_to_live().table_name("table").send().await.unwrap();
    let ttl = ttl.time_to_live_description.unwrap();
    assert_eq!(ttl.attribute_name(), Some("expiresAt"));
    let mut other = template.clone();
    other.tables[0].create["GlobalSecondaryIndexes"][0]["IndexName"] = "another".into();
    let refused = apply(&other, &aws).await.unwrap_err().to_string();
    assert!(refused.contains("remove the data directory"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_real_template_runs_here() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/template.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let template = Template::read(&text, &BTreeMap::new(), EMBEDDED_URL).unwrap();
    let aws = EmbeddedAws::open(None, SharedClock::simulated()).unwrap();
    apply(&template, &aws).await.unwrap();
    apply(&template, &aws).await.unwrap();
    assert!(!template.tables.is_empty() && !template.queue_sources.is_empty());
    for function in &template.functions {
        let unresolved = function.environment.values().find(|value| value.contains("${"));
        assert_eq!(unresolved, None, "{}", function.logical_id);
    }
    for queue in template.queues.iter().filter(|queue| queue.redrive.is_none()) {
        assert_eq!(queue.retention_seconds, 1_209_600, "{}: dead letters keep", queue.logical_id);
    }
}
