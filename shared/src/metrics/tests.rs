//! What is written of what was collected.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;
use crate::domain::Timestamp;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_760_000_000_123)
    }
}

async fn collected(work: impl Future<Output = ()>) -> Vec<Value> {
    let written = Arc::new(Mutex::new(String::new()));
    let kept = written.clone();
    let stage = Stage::parse("prod").unwrap();
    let metrics = Metrics::to(stage, move |lines| kept.lock().unwrap().push_str(lines));
    let metrics = metrics.of("create-order").of_version(Stage::parse("17"));
    metrics.collect(&Fixed, work).await;
    let written = written.lock().unwrap().clone();
    assert!(written.is_empty() || written.ends_with('\n'));
    written.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn trader() -> ProviderName {
    ProviderName::parse("trader").unwrap()
}

#[tokio::test]
async fn one_line_where_the_dimensions_agree() {
    let lines = collected(async {
        add(Metric::Creates, (None, Some("created")), 1);
        add(Metric::WriteUnits, (None, None), 7);
        add(Metric::WriteUnits, (None, None), 2);
        took(Metric::ProviderLatency, (Some(&trader()), None), Duration::from_millis(12));
        took(Metric::ProviderLatency, (Some(&trader()), None), Duration::from_millis(3));
    })
    .await;
    let directive = |dimensions: Value, name: &str, unit: &str| {
        let metrics = json!([{"Name": name, "Unit": unit}]);
        json!({"Namespace": "Recharge", "Dimensions": dimensions, "Metrics": metrics})
    };
    let wanted = json!({
        "_aws": {"Timestamp": 1_760_000_000_123_i64, "CloudWatchMetrics": [
            directive(json!([["Stage"], ["Stage", "Outcome"]]), "Creates", "Count"),
            directive(json!([["Stage"], ["Stage", "Function"]]), "WriteUnits", "Count"),
            directive(json!([["Stage"], ["Stage", "Provider"]]), "ProviderLatency", "Milliseconds"),
        ]},
        "Stage": "prod", "Function": "create-order", "Provider": "trader", "Outcome": "created",
        "Creates": 1, "WriteUnits": 4.5, "ProviderLatency": [12, 3],
    });
    assert_eq!(lines, [wanted]);
}

#[tokio::test]
async fn a_failure_says_which_version_failed() {
    let lines = collected(async { add(Metric::Failures, (None, None), 2) }).await;
    let line = &lines[0];
    let dimensions = json!([["Stage"], ["Stage", "Function", "Version"]]);
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], dimensions);
    assert_eq!((&line["Function"], &line["Version"]), (&json!("create-order"), &json!("17")));
    assert_eq!(line["Failures"], 2);
}

#[tokio::test]
async fn another_line_where_they_contradict_each_other() {
    let lines = collected(async {
        add(Metric::Creates, (None, Some("created")), 1);
        ProviderCall::start(&trader()).end("done");
        drop(ProviderCall::start(&trader()));
        assert_eq!(counted(Metric::ProviderCalls, &trader(), &["done", "unknown"]), 2);
        assert_eq!(counted(Metric::ProviderCalls, &trader(), &["not_sent"]), 0);
    })
    .await;
    let outcomes: Vec<_> = lines.iter().map(|line| line["Outcome"].clone()).collect();
    assert_eq!(outcomes, ["created", "done", "unknown"]);
    let calls: Vec<_> = lines.iter().map(|line| line["ProviderCalls"].clone()).collect();
    assert_eq!(calls, [Value::Null, json!(1), json!(1)]);
}

#[tokio::test]
async fn no_line_has_more_values_than_are_read() {
    let many = VALUES_MAX as u64 + 1;
    let lines = collected(async {
        for value in 0..many {
            add(Metric::TimeToCredit, (Some(&trader()), None), value);
        }
    })
    .await;
    let lengths: Vec<_> =
        lines.iter().map(|line| line["TimeToCredit"].as_array().map_or(1, Vec::len)).collect();
    assert_eq!(lengths, [VALUES_MAX, 1]);
}

#[tokio::test]
async fn nothing_collected_is_nothing_written_and_outside_nothing_is_collected() {
    assert!(collected(async {}).await.is_empty());
    add(Metric::Creates, (None, None), 1);
    Metrics::default().collect(&Fixed, async { add(Metric::Creates, (None, None), 1) }).await;
    assert_eq!(counted(Metric::Creates, &trader(), &[]), 0);
}

#[test]
fn a_stage_that_would_need_escaping_is_none() {
    assert!(Stage::parse("eu-prod.1_a").is_some());
    for bad in ["", "a b", "a\"b", "a\nb", "ä", &"x".repeat(65)] {
        assert_eq!(Stage::parse(bad), None, "{bad}");
    }
}

#[test]
fn the_architecture_lists_every_metric() {
    let text = include_str!("../../../ARCHITECTURE.md");
    for metric in Metric::ALL {
        assert!(text.contains(&format!("`{}`", metric.as_str())), "{metric:?}");
    }
}
