//! The world of one case: the corpus's merchants, users and providers, what happened before the attack,
//! and what there is to count afterwards.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use recharge_local::books::Books;
use recharge_local::events::Incoming;
use recharge_local::functions::Functions;
use recharge_local::sim::payprotocol::Deposited;
use recharge_local::sim::receiver::SimReceiver;
use recharge_local::stack::{Accounts, DEMO_NOTIFICATION_SECRET, PAYPROTOCOL, PAYPROTOCOL_SECRET};
use recharge_shared::domain::{Merchant, MerchantId, UserAccess, UserId};
use recharge_shared::outbound::Outbound;
use recharge_shared::store::Store;
use recharge_tests::standard::{ByHost, HOST, SimStandard};
use recharge_tests::{Answered, World};
use serde_json::{Value, json};

use crate::case::{Corpus, NotUnderstood, text_of};
use crate::fault::{Conditions, Instance, instance};
use crate::names::PEOPLE;
use crate::net::{Net, PUBLIC_IP};
use crate::queue::Versions;

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

/// A merchant, or one of the people who decide about reviews.
pub fn party(name: &str) -> Option<&'static Party> {
    let all = PARTIES.iter().chain(&PEOPLE);
    all.into_iter().find(|(known, _)| *known == name).map(|(_, party)| party)
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
    pub held: i128,
    pub balances: BTreeMap<String, i128>,
    pub of_order_amount: usize,
    pub attempts: usize,
    /// Connections to addresses that nothing may be sent to.
    pub connections: usize,
    pub received: usize,
}

/// Whose an order of the scene is.
#[derive(Debug, Clone)]
pub struct Owner {
    pub merchant: &'static str,
    pub user: String,
    pub method: &'static str,
}

/// One case being played.
pub struct Scene<'a> {
    pub world: World,
    pub standard: SimStandard,
    pub net: Net,
    pub corpus: &'a Corpus,
    /// The instance that answers; configurations replace it.
    running: RefCell<Rc<Instance>>,
    /// What the service has been configured to suffer.
    pub conditions: RefCell<Conditions>,
    /// What the providers sign with.
    pub provider_secret: RefCell<String>,
    /// What there was before the step, if it says what it leaves.
    pub step_before: RefCell<Option<Counts>>,
    owners: RefCell<BTreeMap<String, Owner>>,
    /// The order that `{{order}}` means.
    pub order: RefCell<String>,
    pub answers: RefCell<Vec<Option<Answered>>>,
    pub requests: RefCell<Vec<Option<Incoming>>>,
    /// Messages of `queue` steps: the name `m1` → the queue's own id, the body, and the stage that it names.
    pub messages: RefCell<Vec<(String, String, Option<String>)>>,
    pub before: RefCell<Counts>,
    pub serial: Cell<u32>,
    /// Polls that are at it: what the provider says stays said until the last of them is done.
    pub polls: Cell<u32>,
    pub versions: Versions,
    /// What placeholders beyond `{{order}}` mean.
    pub names: RefCell<BTreeMap<String, String>>,
    /// The deposits that were made.
    pub deposits: RefCell<Vec<Deposited>>,
    /// Reviews that nobody has ended, and the money that waits with them and nowhere else.
    pub open_reviews: Cell<(usize, i128)>,
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
        let running = instance(&world, &standard, seed, &Conditions::default());
        let scene = Scene {
            world,
            standard,
            net,
            corpus,
            running: RefCell::new(Rc::new(running)),
            conditions: RefCell::default(),
            provider_secret: RefCell::new(PROVIDER_SECRET.to_owned()),
            step_before: RefCell::default(),
            owners: RefCell::default(),
            order: RefCell::default(),
            answers: RefCell::default(),
            requests: RefCell::default(),
            messages: RefCell::default(),
            before: RefCell::default(),
            serial: Cell::new(0),
            polls: Cell::new(0),
            versions: Versions::default(),
            names: RefCell::default(),
            deposits: RefCell::default(),
            open_reviews: Cell::new((0, 0)),
            seed,
        };
        scene.register().await;
        scene.name_users();
        scene.call("public_ip", PUBLIC_IP);
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
        for (_, person) in &PEOPLE {
            let key = json!({"merchant": person.id, "secret": person.current, "scopes": ["admin"]});
            document.insert(person.key_id.to_owned(), key);
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
        self.rebuild();
    }

    pub fn functions(&self) -> Arc<Functions> {
        self.running.borrow().functions.clone()
    }

    /// A new instance under the configuration, for everything that comes.
    pub fn rebuild(&self) {
        let conditions = self.conditions.borrow().clone();
        let fresh = instance(&self.world, &self.standard, self.seed, &conditions);
        *self.running.borrow_mut() = Rc::new(fresh);
    }

    /// The instance for a step: one of its own if something goes wrong around it.
    pub fn around(&self, step: &Value) -> Result<Rc<Instance>, NotUnderstood> {
        if ["fault", "delay", "clock_offset"].iter().all(|word| step.get(*word).is_none()) {
            return Ok(self.running.borrow().clone());
        }
        let conditions = self.conditions.borrow().and(step)?;
        Ok(Rc::new(instance(&self.world, &self.standard, self.seed, &conditions)))
    }

    /// Whose `order` is; the fixtures' user, if the scene has not made it.
    pub fn owner(&self, order: &str) -> Owner {
        let owner = self.owners.borrow().get(order).cloned();
        owner.unwrap_or_else(|| Owner { merchant: "m_a", user: "u_1001".into(), method: "test" })
    }

    /// Changes what there was before: the scene has done something that is not the attack's doing.
    pub fn set_before(&self, change: impl Fn(&mut Counts)) {
        change(&mut self.before.borrow_mut());
        if let Some(before) = self.step_before.borrow_mut().as_mut() {
            change(before);
        }
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

    pub fn own(&self, order: &str, owner: Owner) {
        self.owners.borrow_mut().insert(order.to_owned(), owner);
    }

    pub fn counts(&self) -> Counts {
        let books = self.books();
        let mut credited = BTreeMap::new();
        for credit in &books.credits {
            *credited.entry(credit.account.1.clone()).or_default() += credit.amount;
        }
        let depth = self.world.stack.depth();
        let received = self.world.receiver.received();
        let told: BTreeSet<&String> = received.iter().map(|one| &one.notification.id).collect();
        let forbidden = |to: &std::net::SocketAddr| recharge_shared::egress::refused(to.ip());
        Counts {
            of_order_amount: books.credits.iter().filter(|c| c.amount == 5_000).count(),
            attempts: self.standard.attempts() as usize,
            connections: self.net.dialled().iter().filter(|to| forbidden(to).is_some()).count(),
            received: received.len(),
            orders: books.orders.len(),
            credits: books.credits.len(),
            credited,
            review: books.parked,
            provider_orders: self.standard.provider_orders() + self.world.trader.provider_orders(),
            queued: depth.visible + depth.in_flight,
            dead: depth.dead,
            notifications: told.len(),
            held: books.held.iter().map(|part| part.amount).sum::<i128>()
                - books.credits.iter().map(|credit| credit.held).sum::<i128>(),
            balances: books
                .balances
                .iter()
                .map(|((merchant, user, currency), held)| {
                    (format!("{merchant}/{user}/{currency}"), held.amount)
                })
                .collect(),
        }
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
        let functions = self.functions();
        self.world.send_to(&functions, incoming).await
    }
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
    let urls = ("http://trader.invalid", "");
    let settings = recharge_local::stack::provider_settings(urls, "http://payprotocol.invalid");
    let settings: Value = serde_json::from_str(&settings).unwrap();
    let mut deposits = settings[PAYPROTOCOL].clone();
    // Short pages, so that what arrives while they are read moves them.
    deposits["page_size"] = 2.into();
    // What is large is asked for again.
    deposits["policy"] = json!({"confirm_from": 1_000_000_000});
    Accounts {
        settings: json!({
            PAYPROTOCOL: deposits,
            "test": {"kind": "standard", "account": ACCOUNT, "currency": "USD",
                     "base_url": format!("https://{HOST}")},
            "p2": trader(json!({"algorithm": "hmac_sha256", "layout": "value_only"})),
            "p3": trader(json!({"algorithm": "md5_suffix_key", "layout": "query_pairs"})),
        }),
        keys: json!({
            PAYPROTOCOL: {"key": PAYPROTOCOL_SECRET},
            "test": {"key": PROVIDER_SECRET}, "p2": {"key": PROVIDER_SECRET},
            "p3": {"key": PROVIDER_SECRET},
        }),
        default: "test".to_owned(),
    }
}
