//! What can go wrong around a step: faults at named ports, slow ports, a clock that is off, and the instances
//! of the functions that suffer it. A port or a kind without a meaning here is not understood.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use recharge_local::aws::SharedClock;
use recharge_local::aws::faults::{Call, Fault, Faults};
use recharge_local::functions::{Functions, Ground};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};
use recharge_tests::standard::SimStandard;
use recharge_tests::{FaultyOutbound, FaultyWay, World};
use serde_json::Value;

use crate::case::NotUnderstood;

/// What `<port>:slow` means: longer than a worker has before its messages are handed out again.
const SLOW_MS: u64 = 40_000;

/// A fault as the corpus spells it: `<port>:<kind>[*N]`. Clones count together.
#[derive(Debug, Clone)]
pub struct NamedFault {
    calls: &'static [&'static str],
    kind: Fault,
    /// Which of the calls, counted from 0.
    which: Range<u64>,
    /// The provider cannot even be connected to.
    refuses: bool,
    /// Whether the call is made by the worker, too, that comes after a callback.
    pub reaches_worker: bool,
    /// Whether the call is made by nobody else.
    pub is_of_worker: bool,
    until_ms: i64,
    counted: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl NamedFault {
    pub fn parse(text: &str) -> Result<NamedFault, NotUnderstood> {
        let unknown = || NotUnderstood(format!("fault {text}"));
        let (port, kind) = text.split_once(':').ok_or_else(unknown)?;
        let (kind, times) = match kind.split_once('*') {
            Some((kind, times)) => (kind, times.parse().map_err(|_| unknown())?),
            None => (kind, u64::MAX),
        };
        // The notifier's first write is the list of events, before anything is sent.
        let first = u64::from(port == "notify.mark");
        let refuses = port.starts_with("provider") && kind == "before";
        let kind = match kind {
            "before" | "down" => Fault::RequestLost,
            "after" => Fault::AnswerLost,
            "crash" | "crash_before" => Fault::CrashBefore,
            "crash_after" => Fault::CrashAfter,
            "throttle" => Fault::Throttle,
            "conflict" => Fault::Conflict,
            _ => return Err(unknown()),
        };
        Ok(NamedFault {
            calls: calls(port).ok_or_else(unknown)?,
            kind,
            which: first..times.saturating_add(first),
            refuses,
            reaches_worker: ["store", "worker", "outbox"].iter().any(|of| port.starts_with(of)),
            is_of_worker: port.starts_with("worker."),
            until_ms: i64::MAX,
            counted: Arc::default(),
        })
    }

    /// What happens to the call that is made now.
    fn next(&self, call: &str, now_ms: i64) -> Fault {
        if !is_meant(self.calls, call) || now_ms >= self.until_ms {
            return Fault::None;
        }
        let mut counted = self.counted.lock().unwrap();
        let before = counted.entry(call.to_owned()).or_default();
        *before += 1;
        if self.which.contains(&(*before - 1)) { self.kind } else { Fault::None }
    }
}

/// The calls that a port stands for.
fn calls(port: &str) -> Option<&'static [&'static str]> {
    Some(match port {
        "provider" => &["provider"],
        "provider.create" => &["provider.orders", "provider.TraderRechargeorder"],
        "provider.query" => &["provider.query"],
        "store" => &["dynamodb"],
        "store.put" => &["dynamodb.PutItem"],
        "store.get" => &["dynamodb.GetItem"],
        "store.update" | "notify.mark" => &["dynamodb.UpdateItem"],
        "store.query" => &["dynamodb.Query"],
        "store.transact" | "worker.credit" => &["dynamodb.TransactWriteItems"],
        "queue" => &["sqs"],
        // Whoever sends: the webhook to the settlement queue, the worker to the notifications.
        "queue.send" | "outbox.relay" => &["sqs.SendMessage", "sqs.SendMessageBatch"],
        "secrets" => &["secrets"],
        "notify.send" => &["receiver"],
        _ => return None,
    })
}

fn is_meant(calls: &[&str], call: &str) -> bool {
    calls.iter().any(|name| {
        call.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// A slow port: `<port>:<N>s`, `<port>:<N>ms` or `<port>:slow`.
#[derive(Debug, Clone, Copy)]
struct Delay {
    calls: &'static [&'static str],
    takes_ms: u64,
}

impl Delay {
    fn parse(text: &str) -> Result<Delay, NotUnderstood> {
        let unknown = || NotUnderstood(format!("delay {text}"));
        let (port, time) = text.split_once(':').ok_or_else(unknown)?;
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| unknown());
        let takes_ms = match (time.strip_suffix("ms"), time.strip_suffix('s')) {
            _ if time == "slow" => SLOW_MS,
            (Some(digits), _) => number(digits)?,
            (None, Some(digits)) => number(digits)?.saturating_mul(1_000),
            (None, None) => return Err(unknown()),
        };
        Ok(Delay { calls: calls(port).ok_or_else(unknown)?, takes_ms })
    }
}

/// All that goes wrong around an instance.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    faults: Vec<NamedFault>,
    delays: Vec<Delay>,
    clock_offset_secs: i64,
}

impl Conditions {
    /// These and what `step` says beside: `fault`, `delay`, `clock_offset`.
    pub fn and(&self, step: &Value) -> Result<Conditions, NotUnderstood> {
        let mut all = self.clone();
        all.faults.extend(step["fault"].as_str().map(NamedFault::parse).transpose()?);
        all.delays.extend(step["delay"].as_str().map(Delay::parse).transpose()?);
        all.clock_offset_secs += step["clock_offset"].as_i64().unwrap_or(0);
        Ok(all)
    }

    pub fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// From now on and, of a fault, until `until_ms`. Nobody would start a process again that dies for
    /// itself.
    pub fn last(&mut self, step: &Value, until_ms: i64) -> Result<(), NotUnderstood> {
        if step["fault"] == "none" {
            self.faults.clear();
            let mut step = step.clone();
            step.as_object_mut().unwrap().remove("fault");
            *self = self.and(&step)?;
            return Ok(());
        }
        *self = self.and(step)?;
        if let (Some(text), Some(fault)) = (step["fault"].as_str(), self.faults.last_mut()) {
            if matches!(fault.kind, Fault::CrashBefore | Fault::CrashAfter) {
                return Err(NotUnderstood(format!("config fault {text}")));
            }
            fault.until_ms = until_ms;
        }
        Ok(())
    }
}

/// The functions under some conditions, and whether they have died of them.
pub struct Instance {
    pub functions: Arc<Functions>,
    pub faults: Faults,
}

/// An instance whose calls take a while that depends on the seed, so that callers interleave.
pub fn instance(
    world: &World,
    standard: &SimStandard,
    seed: u64,
    conditions: &Conditions,
) -> Instance {
    let name = |call: &Call| format!("{}.{}", call.service.name(), call.operation);
    let (refusing, others): (Vec<NamedFault>, Vec<NamedFault>) =
        conditions.faults.iter().cloned().partition(|fault| fault.refuses);
    let (clock, delays) = (world.clock().clone(), conditions.delays.clone());
    let faults = Faults::with_latency(
        world.clock().clone(),
        move |call| {
            let suffered = others.iter().map(|fault| fault.next(&name(call), clock.now_ms()));
            // All of them count the call, whichever strikes.
            suffered
                .fold(Fault::None, |first, next| if first == Fault::None { next } else { first })
        },
        move |call| {
            let slow = delays.iter().filter(|delay| is_meant(delay.calls, &name(call)));
            let slow: u64 = slow.map(|delay| delay.takes_ms).sum();
            slow + if seed == 0 { 0 } else { fastrand::u64(0..12) }
        },
    );
    let mut ground = world.stack.ground.clone();
    let inner = Arc::new(Refusing {
        inner: ground.outbound.clone(),
        standard: standard.clone(),
        faults: refusing,
        clock: world.clock().clone(),
    });
    if conditions.clock_offset_secs != 0 {
        let now_ms = world.clock().now_ms();
        let off = SharedClock::starting_at(now_ms + conditions.clock_offset_secs * 1_000);
        ground = Ground { clock: off.clone(), door: Arc::new(off), ..ground };
    }
    let ground = Ground {
        wire: faults.wrap(ground.aws.http_client()),
        outbound: Arc::new(FaultyOutbound { inner, faults: faults.clone() }),
        way: Arc::new(FaultyWay { inner: ground.way.clone(), faults: faults.clone() }),
        attempts: 3,
        ..ground
    };
    // The same settings have built the first instance.
    let functions = Functions::new(&ground).unwrap();
    Instance { functions: Arc::new(functions), faults }
}

/// Providers that cannot be connected to while a fault says so.
#[derive(Debug)]
struct Refusing {
    inner: Arc<dyn Outbound>,
    standard: SimStandard,
    faults: Vec<NamedFault>,
    clock: SharedClock,
}

#[async_trait]
impl Outbound for Refusing {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let operation = request.uri().path().rsplit('/').next().unwrap_or("");
        let (call, now_ms) = (format!("provider.{operation}"), self.clock.now_ms());
        if self.faults.iter().any(|fault| fault.next(&call, now_ms) != Fault::None) {
            self.standard.tried(request.uri().path());
            return Err(OutboundError::NotSent);
        }
        self.inner.send(request, limits).await
    }
}

/// How long a repetition waits for its turn.
pub fn turn(step: &Value, number: u64) -> Result<Duration, NotUnderstood> {
    if let Some(every) = step["every"].as_u64() {
        return Ok(Duration::from_secs(every.saturating_mul(number)));
    }
    let Some(rate) = step["rate"].as_str() else { return Ok(Duration::ZERO) };
    // A multiple of the contract's 50 a second.
    let times = rate.strip_suffix('x').and_then(|times| times.parse::<u64>().ok());
    let times = times.filter(|times| *times > 0);
    let times = times.ok_or_else(|| NotUnderstood(format!("rate {rate}")))?;
    Ok(Duration::from_micros(number * 1_000_000 / (50 * times)))
}
