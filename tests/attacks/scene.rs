//! The world of one case: the corpus's merchants, users and providers, what happened before the attack,
//! and what there is to count afterwards.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use recharge_local::aws::faults::{Fault, Faults};
use recharge_local::books::Books;
use recharge_local::events::Incoming;
use recharge_local::functions::Functions;
use recharge_local::sim::receiver::SimReceiver;
use recharge_local::stack::{Accounts, DEMO_NOTIFICATION_SECRET};
use recharge_shared::domain::{Merchant, MerchantId, UserAccess, UserId};
use recharge_shared::outbound::Outbound;
use recharge_shared::store::Store;
use recharge_tests::standard::{ByHost, HOST, SimStandard};
use recharge_tests::{Answered, World};
use serde_json::{Value, json};

use crate::case::{Corpus, NotUnderstood, only, text_of};
use crate::net::Net;
use crate::step::NamedFault;

/// What all providers sign with.
pub const PROVIDER_SECRET: &str = "test-secret-not-for-production";
/// The account at every provider.
pub const ACCOUNT: &str = "VunTtestAppl18";

/// A merchant of the corpus.
pub struct Party {
    pub key_id: &'static str,
    pub current: &'static str,
    pub previous: &'static str,
    pub retired: &'static str,
    pub id: &'static str,
}

/// Merchants A and B.
pub const PARTIES: [(&str, Party); 2] = [
    (
        "A",
        Party {
            key_id: "key_a",
            current: "merchant-a-current-secret-0123456789",
            previous: "merchant-a-previous-secret-012345678",
            retired: "merchant-a-retired-secret-0123456789",
            id: "m_a",
        },
    ),
    (
        "B",
        Party {
            key_id: "key_b",
            current: "merchant-b-current-secret-0123456789",
            previous: "",
            retired: "",
            id: "m_b",
        },
    ),
];

pub fn party(name: &str) -> Option<&'static Party> {
    PARTIES.iter().find(|(known, _)| *known == name).map(|(_, party)| party)
}

/// What can be counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub orders: usize,
    pub credits: usize,
    pub credited: BTreeMap<String, i128>,
    pub review: usize,
    pub provider_orders: usize,
    pub queued: usize,
    pub dead: usize,
    pub notifications: usize,
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

/// One case being played.
pub struct Scene<'a> {
    pub world: World,
    pub standard: SimStandard,
    pub net: Net,
    pub corpus: &'a Corpus,
    /// The instance that answers; outages replace it.
    pub functions: RefCell<Arc<Functions>>,
    /// The order that `{{order}}` means.
    pub order: RefCell<String>,
    pub answers: RefCell<Vec<Option<Answered>>>,
    pub requests: RefCell<Vec<Option<Incoming>>>,
    /// Messages of `queue` steps: the name `m1` → the queue's own id and the body.
    pub messages: RefCell<Vec<(String, String)>>,
    pub before: RefCell<Counts>,
    pub serial: Cell<u32>,
    /// Polls that are at it: what the provider says stays said until the last of them is done.
    pub polls: Cell<u32>,
    pub versions: Versions,
    /// Which interleaving is played; 0 is the plain one.
    pub seed: u64,
}

impl<'a> Scene<'a> {
    /// The start situation.
    pub async fn open(corpus: &'a Corpus, seed: u64) -> Scene<'a> {
        let standard = SimStandard::new(PROVIDER_SECRET);
        let by_host = {
            let standard = standard.clone();
            move |trader: &recharge_local::sim::trader::SimTrader| -> Arc<dyn Outbound> {
                Arc::new(ByHost { standard, other: Arc::new(trader.outbound()) })
            }
        };
        let net = Net::default();
        let way = {
            let net = net.clone();
            move |receiver: &SimReceiver| net.way(receiver)
        };
        let world = World::with(Some(accounts()), by_host, way).await;
        let functions = RefCell::new(Arc::new(instance(&world, seed, |_, _| Fault::None)));
        let scene = Scene {
            world,
            standard,
            net,
            corpus,
            functions,
            order: RefCell::default(),
            answers: RefCell::default(),
            requests: RefCell::default(),
            messages: RefCell::default(),
            before: RefCell::default(),
            serial: Cell::new(0),
            polls: Cell::new(0),
            versions: Versions::default(),
            seed,
        };
        scene.register().await;
        scene
    }

    /// Keys, merchants and users of the fixtures.
    async fn register(&self) {
        let aws = &self.world.stack.ground.aws;
        let mut document = serde_json::Map::new();
        for (_, party) in &PARTIES {
            let former = match party.previous {
                "" => json!([]),
                secret => json!([{"secret": secret, "until": 4_000_000_000_i64}]),
            };
            let key = json!({"merchant": party.id, "secret": party.current, "former": former,
                             "scopes": ["recharge:write", "recharge:read"]});
            document.insert(party.key_id.to_owned(), key);
        }
        let put = aws.secrets(aws.http_client(), 3).put_secret_value();
        let put = put.secret_id(&self.world.stack.names.client_keys);
        put.secret_string(Value::Object(document).to_string()).send().await.unwrap();
        let secret = json!({"secrets": [DEMO_NOTIFICATION_SECRET]});
        let secrets: BTreeMap<&str, &Value> =
            PARTIES.iter().map(|(_, party)| (party.id, &secret)).collect();
        let put = aws.secrets(aws.http_client(), 3).put_secret_value();
        let put = put.secret_id(&self.world.stack.names.notification_keys);
        put.secret_string(json!(secrets).to_string()).send().await.unwrap();

        let store =
            Store::new(aws.dynamodb(aws.http_client(), 3), self.world.stack.names.table.clone());
        for (name, party) in &PARTIES {
            let id = MerchantId::parse(party.id).unwrap();
            let users = UserAccess::Registered;
            let merchant = Merchant { users, ..self.limits() };
            store.set_merchant(&id, &merchant).await.unwrap();
            let fixture = &self.corpus.fixtures["merchants"][*name];
            let list = |member: &str| fixture[member].as_array().cloned().unwrap_or_default();
            for user in list("users").iter().chain(&list("suspended")) {
                store.register_user(&id, &UserId::parse(&text_of(user)).unwrap()).await.unwrap();
            }
            for user in list("suspended") {
                store.suspend_user(&id, &UserId::parse(&text_of(&user)).unwrap()).await.unwrap();
            }
        }
    }

    /// The contract's limits; cases that are not about them need more than a burst.
    fn limits(&self) -> Merchant {
        Merchant { creates_per_second: 10_000, burst: 10_000, ..Merchant::default() }
    }

    /// Goes back to the contract's limits for the merchants.
    pub async fn limit(&self) {
        let aws = &self.world.stack.ground.aws;
        let store =
            Store::new(aws.dynamodb(aws.http_client(), 3), self.world.stack.names.table.clone());
        for (_, party) in &PARTIES {
            let id = MerchantId::parse(party.id).unwrap();
            let merchant = Merchant { users: UserAccess::Registered, ..Merchant::default() };
            store.set_merchant(&id, &merchant).await.unwrap();
        }
        self.replace(|_, _| Fault::None);
    }

    /// A new instance under `plan`, for everything that comes.
    pub fn replace(&self, plan: impl Fn(&str, u64) -> Fault + Send + Sync + 'static) {
        *self.functions.borrow_mut() = Arc::new(instance(&self.world, self.seed, plan));
    }

    /// An instance of its own under the fault, and the fault's switch.
    pub fn faulty(&self, fault: &NamedFault) -> (Functions, Faults) {
        let counted = Mutex::new(BTreeMap::<String, u64>::new());
        let plan: Vec<(String, Fault, Range<u64>)> = fault.plan();
        let faults = Faults::new(self.world.clock().clone(), move |call| {
            let name = format!("{}.{}", call.service.name(), call.operation);
            let mut counted = counted.lock().unwrap();
            let before = counted.entry(name.clone()).or_default();
            let number = *before;
            *before += 1;
            let meant = plan
                .iter()
                .find(|(port, ..)| name == *port || name.starts_with(&format!("{port}.")));
            match meant {
                Some((_, kind, which)) if which.contains(&number) => *kind,
                _ => Fault::None,
            }
        });
        (self.world.instance(&faults, 3), faults)
    }

    pub fn now_secs(&self) -> i64 {
        self.world.clock().now_ms().div_euclid(1_000)
    }

    pub fn next(&self) -> u32 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    pub fn books(&self) -> Books {
        self.world.books()
    }

    pub fn counts(&self) -> Counts {
        let books = self.books();
        let mut credited = BTreeMap::new();
        for credit in &books.credits {
            *credited.entry(credit.account.1.clone()).or_default() += credit.amount;
        }
        let depth = self.world.stack.depth();
        let told: BTreeSet<String> =
            self.world.receiver.received().into_iter().map(|one| one.notification.id).collect();
        Counts {
            orders: books.orders.len(),
            credits: books.credits.len(),
            credited,
            review: books.parked,
            provider_orders: self.standard.provider_orders() + self.world.trader.provider_orders(),
            queued: depth.visible + depth.in_flight,
            dead: depth.dead,
            notifications: told.len(),
        }
    }

    /// What the case says was there before.
    pub async fn set_given(&self, given: &Value) -> Result<(), NotUnderstood> {
        only("given", given, &["order", "orders", "note"])?;
        if given["order"].is_object() {
            only("given.order", &given["order"], &["state", "provider", "provider_error"])?;
            let order = self.give_order(&given["order"], "u_1001").await?;
            *self.order.borrow_mut() = order;
        }
        match &given["orders"] {
            Value::Null => {}
            Value::String(text) => {
                let count = text.strip_suffix(" pending").and_then(|count| count.parse().ok());
                let count: usize = count.ok_or_else(|| NotUnderstood(format!("given {text}")))?;
                for _ in 0..count {
                    self.give_order(&Value::Null, "u_1001").await?;
                }
            }
            Value::Array(orders) => {
                for order in orders {
                    only("given.orders", order, &["id", "user", "provider", "paid"])?;
                    self.give_order(order, &text_of(&order["user"])).await?;
                }
            }
            other => return Err(NotUnderstood(format!("given {other}"))),
        }
        *self.before.borrow_mut() = self.counts();
        Ok(())
    }

    /// An order of merchant A as `given` describes it; its id.
    pub async fn give_order(&self, given: &Value, user: &str) -> Result<String, NotUnderstood> {
        let number = self.next();
        let method = match given["provider"].as_str() {
            None | Some("P1") => "test",
            Some("P2") => "p2",
            Some(other) => return Err(NotUnderstood(format!("provider {other}"))),
        };
        let body = json!({
            "userId": user, "amount": 5_000, "currency": "USD", "paymentMethod": method,
            "idempotencyKey": format!("given-{number}"),
            "callbackUrl": "https://hooks.merchant-a.example/recharge",
        });
        self.standard.reject(given["provider_error"].as_str().map(str::to_owned));
        let created = self.send(&self.signed("A", ("POST", "/recharges"), &body.to_string())).await;
        self.standard.reject(None);
        let order = text_of(&created.json["orderId"]);
        assert!(created.status == 201 && !order.is_empty(), "{}", created.text);
        match given["state"].as_str() {
            None | Some("PENDING") => {}
            Some("SUCCESS") => crate::queue::pay(self, &order).await,
            Some("EXPIRED") => {
                self.world.pass(1_801).await;
                self.world.stack.poll().await.unwrap();
            }
            Some("FAILED") if created.json["status"] == "FAILED" => {}
            Some(other) => return Err(NotUnderstood(format!("given state {other}"))),
        }
        Ok(order)
    }

    /// A request signed by a merchant's current key, in the body's idempotency key only.
    pub fn signed(&self, who: &str, route: (&str, &str), body: &str) -> Incoming {
        let party = party(who).unwrap();
        let key = recharge_local::call::ApiKey {
            id: party.key_id,
            secret: party.current,
            merchant: party.id,
        };
        self.world.signed_as(key, route, body, "")
    }

    pub async fn send(&self, incoming: &Incoming) -> Answered {
        let functions = self.functions.borrow().clone();
        self.world.send_to(&functions, incoming).await
    }
}

/// An instance whose calls take a while that depends on the seed, so that callers interleave.
pub fn instance(
    world: &World,
    seed: u64,
    plan: impl Fn(&str, u64) -> Fault + Send + Sync + 'static,
) -> Functions {
    let counted = Mutex::new(BTreeMap::<String, u64>::new());
    let faults = Faults::with_latency(
        world.clock().clone(),
        move |call| {
            let name = format!("{}.{}", call.service.name(), call.operation);
            let mut counted = counted.lock().unwrap();
            let before = counted.entry(name.clone()).or_default();
            *before += 1;
            plan(&name, *before - 1)
        },
        move |_| if seed == 0 { 0 } else { fastrand::u64(0..12) },
    );
    world.instance(&faults, 3)
}

/// P1 is `test`, P2 the trader's kind with values alone in the string to sign, P3 with MD5 over pairs.
fn accounts() -> Accounts {
    let trader = |signing: Value| {
        json!({
            "appid": ACCOUNT, "base_url": "http://trader.invalid", "allow_http": true,
            "currency": "USD", "min_call_interval_ms": 0, "callback_window_seconds": 300,
            "stale_callbacks": "reject", "signing": signing,
        })
    };
    Accounts {
        settings: json!({
            "test": {"kind": "standard", "account": ACCOUNT, "currency": "USD",
                     "base_url": format!("https://{HOST}")},
            "p2": trader(json!({"algorithm": "hmac_sha256", "layout": "value_only"})),
            "p3": trader(json!({"algorithm": "md5_suffix_key", "layout": "query_pairs"})),
        }),
        keys: json!({
            "test": {"key": PROVIDER_SECRET}, "p2": {"key": PROVIDER_SECRET},
            "p3": {"key": PROVIDER_SECRET},
        }),
        default: "test".to_owned(),
    }
}
