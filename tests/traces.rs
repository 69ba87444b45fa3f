//! One trace from the request to the notification: X-Ray's goes with every message, and both traces stand in
//! the log lines of whoever works on it. And what the runbook looks for in the log.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use std::io;
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use recharge_local::aws::faults::{Call, Fault, Faults, Service};
use recharge_local::sim::receiver::Manner;
use recharge_tests::World;
use recharge_tests::world::{CALLBACK_URL, simulate};
use serde_json::Value;

const MINOR: i64 = 5_000_000;
const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The lines since the last time.
    fn lines(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// The same, each with the traces.
    fn all_have(&self, trace: &str, xray: &Value, what: &str) {
        let lines = self.lines();
        assert!(!lines.is_empty(), "{what}");
        for line in lines {
            assert_eq!(
                (&line["span"]["trace"], &line["span"]["xray"]),
                (&trace.into(), xray),
                "{line}"
            );
        }
    }
}

fn logged(test: impl FnOnce(Log)) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || test(log));
}

fn trace_headers(world: &World, queue: &str) -> Vec<Option<String>> {
    let view = world.stack.ground.aws.queues().view(queue).unwrap();
    view.messages.into_iter().map(|message| message.trace_header).collect()
}

#[test]
fn a_callbacks_trace_goes_with_its_messages_to_the_notification() {
    logged(|log| {
        simulate(1, async || {
            let world = World::of_trader().await;
            let created = world.create("u_1", MINOR, "k-1").await;
            let order = created.json["orderId"].as_str().unwrap().to_owned();
            log.all_have("request-1", &Value::Null, "no trace of X-Ray was given");

            let mut callback = world.callback(&world.pay(&order, None));
            let header = format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1");
            let given = format!("{header};Lineage=1:2|3");
            callback.headers.insert("x-amzn-trace-id", HeaderValue::from_str(&given).unwrap());
            callback.headers.insert("x-trace-id", HeaderValue::from_static("trace-of-callback"));
            assert_eq!(world.send(&callback).await.status, 200);
            let xray = ROOT.into();
            log.all_have("trace-of-callback", &xray, "webhook");
            let names = &world.stack.names;
            assert_eq!(trace_headers(&world, &names.settlement), [Some(header.clone())]);

            world.settle().await;
            log.all_have("trace-of-callback", &xray, "callback-worker");
            assert_eq!(trace_headers(&world, &names.notifications.name), [Some(header)]);
            world.notify().await;
            log.all_have("trace-of-callback", &xray, "notifier");
        });
    });
}

#[test]
fn a_notice_that_is_tried_again_has_its_orders_trace() {
    logged(|log| {
        simulate(1, async || {
            let world = World::of_trader().await;
            world.receiver.set(CALLBACK_URL, Manner::Answers(500, String::new()));
            let created = world.create("u_1", MINOR, "k-1").await;
            let order = created.json["orderId"].as_str().unwrap().to_owned();
            assert_eq!(world.send(&world.callback(&world.pay(&order, None))).await.status, 200);
            world.settle().await;
            world.notify().await;
            for _ in 0..2 {
                world.pass(3_600).await;
                world.stack.poll().await.unwrap();
                log.lines();
                world.notify().await;
                log.all_have("request-1", &Value::Null, "notifier");
            }
        });
    });
}

#[test]
fn a_trace_that_is_none_keeps_no_message_back() {
    // With a subscriber too: what this thread logs first shall not be switched off for the other one.
    logged(|_| {
        for given in ["", "Root=1", "Root=1-zzzzzzzz-bd862e3fe1be46a994272793;Sampled=1"] {
            simulate(1, async || {
                let world = World::of_trader().await;
                let created = world.create("u_1", MINOR, "k-1").await;
                let order = created.json["orderId"].as_str().unwrap().to_owned();
                let mut callback = world.callback(&world.pay(&order, None));
                callback.headers.insert("x-amzn-trace-id", HeaderValue::from_str(given).unwrap());
                assert_eq!(world.send(&callback).await.status, 200);
                assert_eq!(trace_headers(&world, &world.stack.names.settlement), [None]);
                world.settle().await;
                assert_eq!(world.order(&order).await["status"], "SUCCESS");
            });
        }
    });
}

#[test]
fn a_key_that_is_used_although_it_was_not_renewed_is_told_of() {
    logged(|log| {
        simulate(1, async || {
            let world = World::new().await;
            // Each read comes back, and too late for who has a key already.
            let slow = |call: &Call| if call.service == Service::Secrets { 2_000 } else { 0 };
            let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
            let functions = world.instance(&faults, 1);
            let mut told = Vec::new();
            for key in ["k-1", "k-2"] {
                let created = world.create("u_1", MINOR, key).await;
                let callback = world.pay(created.json["orderId"].as_str().unwrap(), None);
                log.lines();
                let taken = world.send_to(&functions, &world.callback(&callback)).await;
                assert_eq!(taken.text, "success");
                let lines = log.lines();
                let says = |words: &str| {
                    lines.iter().filter(|line| line.to_string().contains(words)).count()
                };
                told.push((says("secret not renewed"), says("secret not readable")));
                world.pass(360).await;
            }
            assert_eq!(told, [(0, 0), (1, 0)]);
        });
    });
}
