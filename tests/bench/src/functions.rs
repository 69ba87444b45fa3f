//! The bootstraps of all functions, built for release, started and fed by the driver: cold start, warm cost and
//! memory, beside a floor that does the same work with the fewest SDK calls.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use recharge_local::aws::ATTEMPTS_DEFAULT;
use recharge_local::call::API_KEYS;
use recharge_local::functions::HttpFunction;
use serde_json::{Value, json};

use crate::figures::{ms, percentile, ratio, row, table};
use crate::scene::{self, Scene};
use crate::{Section, Settings};

/// The packages whose bootstraps are measured.
pub(crate) const FUNCTIONS: [&str; 7] = [
    "create-order",
    "webhook",
    "callback-worker",
    "status-query",
    "reconcile-poller",
    "notifier",
    "admin",
];
const FLOOR_TABLE: &str = "floor";
/// Starts that are not counted.
const DISCARDED: usize = 1;
const USER: &str = "u_1";
const MINOR: &str = "5000000";

/// One bootstrap doing one kind of work.
struct Subject {
    name: &'static str,
    binary: &'static str,
    /// `_HANDLER`; the floor chooses by it.
    handler: &'static str,
    /// Which of the floor's it is held against: the same work, or none.
    against: Option<&'static str>,
    /// What every answer has in it.
    expect: &'static str,
    events: Vec<Value>,
}

/// What was measured of a subject; times in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    init: u64,
    first: u64,
    cold: u64,
    cpu_cold: u64,
    cpu_warm: u64,
    warm: u64,
    rss_kib: u64,
    log_bytes: u64,
}

/// Builds, measures, and gives the section of the report.
pub(crate) fn measure(settings: &Settings) -> Result<Section, String> {
    if !settings.built {
        build(settings)?;
    }
    let (colds, warms) = if settings.quick { (3, 20) } else { (15, 100) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let count = (DISCARDED + colds) * (1 + warms);
    eprintln!("preparing {count} events for each function");
    let (scene, subjects) = runtime.block_on(async {
        let scene = Scene::open().await?;
        let mut subjects = subjects(&scene, count).await?;
        let wanted = subjects.iter().filter(|subject| settings.wants(subject.binary));
        let floors: Vec<&str> = wanted.filter_map(|subject| subject.against).collect();
        subjects.retain(|subject| settings.wants(subject.binary) || floors.contains(&subject.name));
        Ok::<_, String>((scene, subjects))
    })?;
    // The services answer on the runtime's threads while the driver runs.
    let samples = drive(settings, &scene, &subjects, (colds, warms))?;
    let measured = sum_up(&subjects, &samples)?;
    if settings.only.is_empty() {
        keep(settings, &measured)?;
    }
    let text = render(settings, &subjects, &measured, (colds, warms));
    Ok(Section { text, wrong: Vec::new() })
}

fn build(settings: &Settings) -> Result<(), String> {
    let mut functions = vec!["build", "--release", "--locked"];
    let wanted = FUNCTIONS.iter().filter(|name| settings.wants(name));
    functions.extend(wanted.flat_map(|name| ["-p", name]));
    cargo(settings, &functions)?;
    for own in ["floor", "driver"] {
        let manifest = format!("tests/bench/{own}/Cargo.toml");
        cargo(settings, &["build", "--release", "--locked", "--manifest-path", &manifest])?;
    }
    Ok(())
}

fn cargo(settings: &Settings, arguments: &[&str]) -> Result<(), String> {
    eprintln!("cargo {}", arguments.join(" "));
    let status = Command::new("cargo")
        .args(arguments)
        .arg("--target-dir")
        .arg(&settings.target)
        .current_dir(&settings.root)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {}", arguments.join(" "))) }
}

async fn subjects(scene: &Scene, count: usize) -> Result<Vec<Subject>, String> {
    create_floor_table(scene).await?;
    let creates: Vec<Value> = (0..count).map(|n| scene::create(&format!("new-{n}"))).collect();
    let replay = vec![scene::create("again")];
    let order = scene.call(HttpFunction::CreateOrder, replay[0].clone()).await?;
    let order = order["orderId"].as_str().unwrap_or("").to_owned();
    put_floor_order(scene, &order).await?;
    let status = vec![scene::status(&order)];
    let notices = notices(scene, count).await?;
    let (messages, mut callbacks) = settlements(scene, count * 11).await?;
    callbacks.truncate(count);
    let floor_messages = floor_settlements(scene, count * 11).await?;
    let (ours_one, ours_ten) = messages.split_at(count);
    let (floor_one, floor_ten) = floor_messages.split_at(count);
    let batches = |bodies: &[String], size| bodies.chunks(size).map(scene::batch).collect();
    let ours = |name, binary, against, expect, events| Subject {
        name,
        binary,
        handler: "bootstrap",
        against,
        expect,
        events,
    };
    let floor = |name, handler, expect, events| Subject {
        name,
        binary: "floor",
        handler,
        against: None,
        expect,
        events,
    };
    const CREATED: &str = r#""statusCode":201"#;
    const GIVEN: &str = r#""statusCode":20"#;
    const NONE_FAILED: &str = r#""batchItemFailures":[]"#;
    let create = Some("floor: create");
    Ok(vec![
        floor("floor: create", "create", CREATED, creates.clone()),
        ours("create-order: create", "create-order", create, CREATED, creates),
        floor("floor: replay", "create", GIVEN, replay.clone()),
        ours("create-order: replay", "create-order", Some("floor: replay"), GIVEN, replay),
        floor("floor: status", "status", GIVEN, status.clone()),
        ours("status-query: status", "status-query", Some("floor: status"), GIVEN, status),
        floor("floor: settle", "settle", NONE_FAILED, batches(floor_one, 1)),
        ours(
            "callback-worker: settle",
            "callback-worker",
            Some("floor: settle"),
            NONE_FAILED,
            batches(ours_one, 1),
        ),
        floor("floor: settle ×10", "settle", NONE_FAILED, batches(floor_ten, 10)),
        ours(
            "callback-worker: settle ×10",
            "callback-worker",
            Some("floor: settle ×10"),
            NONE_FAILED,
            batches(ours_ten, 10),
        ),
        ours("webhook: callback", "webhook", None, GIVEN, callbacks),
        ours("notifier: notice", "notifier", None, NONE_FAILED, notices),
        ours(
            "reconcile-poller: idle",
            "reconcile-poller",
            None,
            r#""lookedAt":0"#,
            vec![scene::tick()],
        ),
        ours("admin: reviews", "admin", None, GIVEN, vec![scene::reviews()]),
    ])
}

/// Settlement messages, each of an order of its own, and their callbacks.
async fn settlements(scene: &Scene, count: usize) -> Result<(Vec<String>, Vec<Value>), String> {
    let paid = scene.paid(count, "settle").await?;
    for callback in &paid {
        scene.call(HttpFunction::Webhook, callback.clone()).await?;
    }
    let bodies = scene.bodies(&scene.stack.names.settlement);
    if bodies.len() != paid.len() {
        return Err(format!("{} messages of {} callbacks", bodies.len(), paid.len()));
    }
    Ok((bodies, paid))
}

/// One message each, of a settled order whose merchant nobody has told.
async fn notices(scene: &Scene, count: usize) -> Result<Vec<Value>, String> {
    for callback in scene.paid(count, "notice").await? {
        scene.call(HttpFunction::Webhook, callback).await?;
    }
    while scene.stack.settle_batch(0).await? > 0 {}
    let bodies = scene.bodies(&scene.stack.names.notifications.name);
    if bodies.len() != count {
        return Err(format!("{} notices of {count} orders", bodies.len()));
    }
    Ok(bodies.chunks(1).map(scene::batch).collect())
}

async fn create_floor_table(scene: &Scene) -> Result<(), String> {
    let client = scene.floor.dynamodb(scene.floor.http_client(), ATTEMPTS_DEFAULT);
    let key = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash).build();
    let attribute = AttributeDefinition::builder().attribute_name("pk");
    let attribute = attribute.attribute_type(ScalarAttributeType::S).build();
    let create = client.create_table().table_name(FLOOR_TABLE);
    let create = create.billing_mode(BillingMode::PayPerRequest);
    let create = create.key_schema(key.map_err(|e| e.to_string())?);
    let create = create.attribute_definitions(attribute.map_err(|e| e.to_string())?);
    create.send().await.map(drop).map_err(|e| e.to_string())
}

/// An order as the floor's create leaves it behind.
async fn put_floor_order(scene: &Scene, order: &str) -> Result<(), String> {
    let client = scene.floor.dynamodb(scene.floor.http_client(), ATTEMPTS_DEFAULT);
    let mut put = client.put_item().table_name(FLOOR_TABLE);
    let key = format!("ORDER#{order}");
    let texts = [
        ("pk", key.as_str()),
        ("orderId", order),
        ("merchant", "m1"),
        ("userId", USER),
        ("currency", "USDT"),
        ("status", "PENDING"),
        ("paymentMethod", "trader"),
        ("metadata", "{}"),
        ("fingerprint", "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab"),
        ("createdAt", "2026-01-01T00:00:00Z"),
        ("updatedAt", "2026-01-01T00:00:00Z"),
    ];
    for (name, value) in texts {
        put = put.item(name, AttributeValue::S(value.to_owned()));
    }
    for (name, value) in [("amount", MINOR), ("expiresAt", "1800000000"), ("version", "1")] {
        put = put.item(name, AttributeValue::N(value.to_owned()));
    }
    put.send().await.map(drop).map_err(|e| e.to_string())
}

async fn floor_settlements(scene: &Scene, count: usize) -> Result<Vec<String>, String> {
    let mut bodies = Vec::with_capacity(count);
    for number in 0..count {
        let order = format!("R{number:025}");
        put_floor_order(scene, &order).await?;
        let message = json!({
            "orderId": order, "userId": USER, "currency": "USDT", "amount": 5_000_000,
            "transactionId": format!("t{number:025}"),
        });
        bodies.push(message.to_string());
    }
    Ok(bodies)
}

/// What the function finds in its environment beside what Lambda itself sets.
fn environment(scene: &Scene, subject: &Subject) -> Result<BTreeMap<String, String>, String> {
    if subject.binary == "floor" {
        let own = [
            ("AWS_ENDPOINT_URL", scene.floor_url.as_str()),
            ("TABLE", FLOOR_TABLE),
            ("API_KEY_ID", API_KEYS[0].id),
            ("API_SECRET", API_KEYS[0].secret),
        ];
        return Ok(own.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
    let mut functions = scene.template.functions.iter();
    let function = functions.find(|function| function.crate_name() == subject.binary);
    let function = function.ok_or_else(|| format!("the template has no {}", subject.binary))?;
    let mut all = function.environment.clone();
    // The others' orders fall due while it is measured.
    let idle = subject.binary == "reconcile-poller";
    let url = if idle { &scene.quiet_url } else { &scene.aws_url };
    all.insert("AWS_ENDPOINT_URL".to_owned(), url.clone());
    Ok(all)
}

/// Runs the driver over all subjects in turn; its samples.
fn drive(
    settings: &Settings,
    scene: &Scene,
    subjects: &[Subject],
    (colds, warms): (usize, usize),
) -> Result<Value, String> {
    let kept = settings.target.join("bench");
    let release = settings.target.join("release");
    let samples = kept.join("samples.json");
    let mut driver = Command::new(release.join("lambda-driver"));
    driver
        .args(["--colds", &colds.to_string(), "--warms", &warms.to_string()])
        .args(["--discard", &DISCARDED.to_string(), "--memory", "256", "--advance", "--json"])
        .arg(&samples);
    for (number, subject) in subjects.iter().enumerate() {
        let events = write_events(&kept, number, &subject.events)?;
        driver.args(["--fn", subject.name, "--handler", subject.handler, "--expect"]);
        driver.arg(subject.expect).arg("--jsonl").arg(events);
        // Quoted: the driver splits the command line as a shell does.
        driver.arg("--cmd").arg(format!("'{}'", release.join(subject.binary).display()));
        for (name, value) in environment(scene, subject)? {
            driver.arg("--env").arg(format!("{name}={value}"));
        }
    }
    let run = driver.stdin(Stdio::null()).stdout(Stdio::null()).status();
    if !run.map_err(|error| format!("lambda-driver: {error}"))?.success() {
        return Err("not every invocation was answered as it should be".to_owned());
    }
    let text = std::fs::read_to_string(&samples).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn write_events(kept: &Path, number: usize, events: &[Value]) -> Result<PathBuf, String> {
    let mut lines = String::new();
    for event in events {
        let _ = writeln!(lines, "{event}");
    }
    let path = kept.join(format!("events-{number}.jsonl"));
    std::fs::write(&path, lines).map_err(|error| error.to_string())?;
    Ok(path)
}

fn sum_up(
    subjects: &[Subject],
    samples: &Value,
) -> Result<BTreeMap<&'static str, Measured>, String> {
    let mut measured = BTreeMap::new();
    for subject in subjects {
        let starts = samples[subject.name].as_array().ok_or("the driver has no samples")?;
        let all = |name: &str| -> Vec<u64> {
            starts.iter().filter_map(|start| start[name].as_u64()).collect()
        };
        let sums = |one: &str, other: &str| -> Vec<u64> {
            all(one).into_iter().zip(all(other)).map(|(one, other)| one + other).collect()
        };
        let warm = starts.iter().flat_map(|start| start["warm"].as_array().into_iter().flatten());
        let warm: Vec<u64> = warm.filter_map(Value::as_u64).collect();
        let least = |values: Vec<u64>| values.into_iter().min().unwrap_or(0);
        let of = Measured {
            init: least(all("init")),
            first: least(all("first")),
            cold: least(sums("init", "first")),
            cpu_cold: percentile(&sums("cpu_init", "cpu_first"), 50),
            cpu_warm: percentile(&all("cpu_warm"), 50),
            warm: percentile(&warm, 50),
            rss_kib: percentile(&all("rss_kib"), 50),
            log_bytes: percentile(&all("log_bytes"), 50),
        };
        measured.insert(subject.name, of);
    }
    Ok(measured)
}

/// Keeps what the cost sheet needs.
fn keep(settings: &Settings, measured: &BTreeMap<&'static str, Measured>) -> Result<(), String> {
    let of = |m: &Measured| {
        json!({
            "cpuColdNs": m.cpu_cold, "cpuWarmNs": m.cpu_warm, "warmNs": m.warm,
            "logBytes": m.log_bytes,
        })
    };
    let all: BTreeMap<&str, Value> = measured.iter().map(|(name, m)| (*name, of(m))).collect();
    let kept = settings.kept("functions");
    std::fs::write(kept, json!(all).to_string()).map_err(|error| error.to_string())
}

fn render(
    settings: &Settings,
    subjects: &[Subject],
    measured: &BTreeMap<&'static str, Measured>,
    (colds, warms): (usize, usize),
) -> String {
    let head = [
        "function: work",
        "init",
        "first",
        "cold",
        "CPU cold",
        "CPU warm",
        "warm",
        "RSS, MB",
        "bootstrap, MB",
        "cold ÷ floor",
        "CPU ÷ floor",
        "RSS ÷ floor",
    ];
    let mut rows = vec![row(head)];
    for subject in subjects {
        let m = measured.get(subject.name).copied().unwrap_or_default();
        let file = settings.target.join("release").join(subject.binary);
        let bytes = std::fs::metadata(file).map_or(0, |file| file.len());
        let floor = subject.against.and_then(|floor| measured.get(floor));
        let against = |part: fn(&Measured) -> u64| {
            floor.map_or_else(|| "–".to_owned(), |floor| ratio(part(&m), part(floor)))
        };
        let mut cells = vec![subject.name.to_owned()];
        cells.extend([m.init, m.first, m.cold, m.cpu_cold, m.cpu_warm, m.warm].map(ms));
        cells.push(ratio(m.rss_kib, 1_024));
        cells.push(ratio(bytes, 1_000_000));
        cells.push(against(|m| m.cold));
        cells.push(against(|m| m.cpu_warm));
        cells.push(against(|m| m.rss_kib));
        rows.push(cells);
    }
    format!(
        "{colds} starts of each bootstrap, {warms} warm invocations after the first; milliseconds. \
         init, first and cold\nare the least of all starts, warm the median of all invocations, \
         CPU and RSS the median of the starts.\n\n{}",
        table(&rows)
    )
}
