//! Money that does not match: every policy with every way in which money can come, and what becomes of the
//! order, the ledger, the parked statements and the notifications. In each row all money received is
//! credited, held, parked, or dust.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use std::fmt::Write as _;

use recharge_shared::domain::{
    AmountPolicy, Currency, Disposal, Dust, Evidence, EvidenceKind, Merchant, MerchantId,
    MerchantPolicy, Money, OrderId, ProviderName, Source, Timestamp, TraceId,
};
use recharge_shared::queue::{SettlementMessage, SettlementQueue};
use recharge_shared::store::Store;
use recharge_tests::World;
use recharge_tests::world::simulate;
use serde_json::Value;

const ASKED: i128 = 5_000_000;

/// What happens to an order.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// So many minor units arrive, as a payment of that number.
    Paid(u32, i128),
    /// The same with something finer than a minor unit.
    PaidWithDust(u32, i128),
    /// The provider gives the order up.
    Declined,
    /// The client withdraws it.
    Cancel,
    /// Its time runs out, and the schedule ticks.
    Expire,
}

use Event::{Cancel, Declined, Expire, Paid, PaidWithDust};

fn policy(words: &str) -> MerchantPolicy {
    let mut policy = MerchantPolicy::default();
    for word in words.split(' ') {
        match word.split_once('=').unwrap() {
            ("amount", word) => policy.amount = Some(AmountPolicy::parse(word).unwrap()),
            ("tolerance", minor) => policy.tolerance = Some(minor.parse().unwrap()),
            ("over", word) => policy.over_payment = Some(Disposal::parse(word).unwrap()),
            ("late", word) => policy.late_payment = Some(Disposal::parse(word).unwrap()),
            ("second", word) => policy.second_payment = Some(Disposal::parse(word).unwrap()),
            (other, _) => unreachable!("{other}"),
        }
    }
    policy
}

/// A bundle with one order of a merchant that has `policy`.
struct Scene {
    world: World,
    order: String,
    came: i128,
    dust: usize,
}

impl Scene {
    async fn open(policy: MerchantPolicy) -> Scene {
        let world = World::new().await;
        let store = store(&world);
        let merchant = Merchant { policy, ..Merchant::default() };
        store.set_merchant(&MerchantId::parse("m_demo").unwrap(), &merchant).await.unwrap();
        let created = world.create("u_1", i64::try_from(ASKED).unwrap(), "k-1").await;
        let order = created.json["orderId"].as_str().unwrap().to_owned();
        Scene { world, order, came: 0, dust: 0 }
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Paid(number, minor) => self.pay(number, minor, None).await,
            PaidWithDust(number, minor) => {
                self.dust += 1;
                self.pay(number, minor, Some(Dust { units: 250_000_000_000, scale: 18 })).await;
            }
            Declined => self.evidence("given-up", EvidenceKind::Declined, None).await,
            Cancel => {
                let path = format!("/recharges/{}/cancel", self.order);
                self.world.send(&self.world.signed(("POST", &path), "", "")).await;
            }
            Expire => {
                self.world.pass(1_801).await;
                self.world.let_pass(3).await;
            }
        }
        self.world.settle().await;
        assert_eq!(self.world.books().violations(), Vec::<String>::new());
    }

    async fn pay(&mut self, number: u32, minor: i128, dust: Option<Dust>) {
        let id = format!("payment-{number}");
        self.came += minor;
        let kind = EvidenceKind::Paid(Money::new(minor, Currency::Usdt));
        // Twice: whatever comes is delivered at least once.
        self.evidence(&id, kind, dust).await;
        self.evidence(&id, kind, dust).await;
    }

    async fn evidence(&self, payment_id: &str, kind: EvidenceKind, dust: Option<Dust>) {
        let evidence = Evidence {
            provider: ProviderName::parse("trader").unwrap(),
            account: "APPTEST0001".to_owned(),
            payment_id: payment_id.to_owned(),
            order_id: OrderId::parse(&self.order),
            deposit: None,
            transaction_id: None,
            user_mark: None,
            kind,
            dust,
            source: Source::Query,
            stale: false,
            observed_at: Timestamp::from_millis(self.world.clock().now_ms()),
            digest: [7; 32],
            raw: String::new(),
        };
        let trace = TraceId::parse("table").unwrap();
        queue(&self.world).send(&SettlementMessage { trace, evidence }).await.unwrap();
        self.world.settle().await;
    }

    /// The end, in one line; and that no money is missing.
    async fn end(self) -> String {
        self.world.let_pass(2).await;
        assert_eq!(self.world.untold().await, Vec::<String>::new());
        let order = self.world.order(&self.order).await;
        let explained = self.explain(&self.order).await;
        let books = self.world.books();
        let credited: i128 = books.balances.values().map(|held| held.amount).sum();
        let released: i128 = books.credits.iter().map(|credit| credit.held).sum();
        let held: i128 = books.held.iter().map(|part| part.amount).sum::<i128>() - released;
        let reviews = store(&self.world).reviews(None, (false, 100), None).await.unwrap().reviews;
        let fresh = |review: &&recharge_shared::domain::Review| {
            matches!(review.evidence.kind, EvidenceKind::Paid(_))
        };
        let parked: i128 =
            reviews.iter().filter(fresh).filter_map(|r| r.amount).map(Money::minor).sum();
        assert_eq!(self.came, credited + held + parked, "{order} {books:?}");
        let dust = order["payments"].as_array().unwrap().iter();
        assert_eq!(dust.filter(|payment| !payment["dust"].is_null()).count(), self.dust);
        let mut line = String::new();
        let reason = order["reason"].as_str().unwrap_or("-");
        let _ = write!(line, "{} {reason}", order["status"].as_str().unwrap());
        let _ = write!(line, " got {} put {}", order["receivedAmount"], order["creditedAmount"]);
        let fates = order["payments"].as_array().unwrap().iter();
        let fates: Vec<&str> = fates.map(|payment| payment["status"].as_str().unwrap()).collect();
        let _ = write!(line, " [{}]", fates.join(" "));
        let why: Vec<&str> = reviews.iter().map(|review| review.why.as_str()).collect();
        let _ = write!(line, " balance {credited} held {held} parked {parked} ({})", why.join(" "));
        let _ = write!(line, " told {}", self.told().join(" "));
        let _ = write!(line, " | {}", explained["situation"].as_str().unwrap());
        line
    }

    async fn explain(&self, order: &str) -> Value {
        let path = format!("/recharges/{order}/explain");
        self.world.send(&self.world.signed(("GET", &path), "", "")).await.json
    }

    fn told(&self) -> Vec<String> {
        let received = self.world.receiver.received();
        let kind = |body: &str| {
            let body: Value = serde_json::from_str(body).unwrap();
            let other = if body["data"]["orderId"] == self.order.as_str() { "" } else { "+" };
            format!("{other}{}", body["type"].as_str().unwrap().trim_start_matches("recharge."))
        };
        received.iter().map(|one| kind(&one.notification.body)).collect()
    }
}

fn store(world: &World) -> Store {
    let aws = &world.stack.ground.aws;
    Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone())
}

fn queue(world: &World) -> SettlementQueue {
    let aws = &world.stack.ground.aws;
    SettlementQueue::new(aws.sqs(aws.http_client(), 3), world.stack.names.settlement_url.clone())
}

const UNDER: i128 = 4_000_000;
const NEARLY: i128 = 4_999_990;
const OVER: i128 = 6_000_000;

const SCENES: [(&str, &[Event]); 16] = [
    ("nothing", &[Expire]),
    ("under", &[Paid(1, UNDER)]),
    ("nearly", &[Paid(1, NEARLY)]),
    ("exact", &[Paid(1, ASKED)]),
    ("over", &[Paid(1, OVER)]),
    ("dust", &[PaidWithDust(1, ASKED)]),
    ("late, expired", &[Expire, Paid(1, ASKED)]),
    ("late, cancelled", &[Cancel, Paid(1, ASKED)]),
    ("late, failed", &[Declined, Paid(1, ASKED)]),
    ("late and under", &[Expire, Paid(1, UNDER)]),
    ("second", &[Paid(1, ASKED), Paid(2, ASKED)]),
    ("two parts", &[Paid(1, 2_000_000), Paid(2, 3_000_000)]),
    ("two parts, over", &[Paid(1, 2_000_000), Paid(2, OVER)]),
    ("part, then expired", &[Paid(1, UNDER), Expire]),
    ("part, then cancelled", &[Paid(1, UNDER), Cancel]),
    ("part, then given up", &[Paid(1, UNDER), Declined]),
];

const POLICIES: [&str; 8] = [
    "amount=exact",
    "amount=exact tolerance=10",
    "amount=exact over=credit late=review",
    "amount=credit_received",
    "amount=credit_received over=review late=review",
    "amount=accumulate",
    "amount=accumulate over=review late=review tolerance=10",
    "amount=exact second=credit",
];

#[test]
fn every_policy_meets_every_way_in_which_money_comes() {
    let mut table = String::new();
    for words in POLICIES {
        let _ = writeln!(table, "{words}");
        for (name, events) in SCENES {
            let line = simulate(1, async || {
                let mut scene = Scene::open(policy(words)).await;
                for event in events {
                    scene.happen(*event).await;
                }
                scene.end().await
            });
            let _ = writeln!(table, "  {name}: {line}");
        }
    }
    let pinned = include_str!("policies.txt");
    assert!(table == pinned, "{table}");
}

#[test]
fn a_second_payment_says_so_where_it_waits_and_where_it_is_credited() {
    for second in ["second=review", "second=credit"] {
        simulate(1, async || {
            let mut scene = Scene::open(policy(second)).await;
            scene.happen(Paid(1, ASKED)).await;
            scene.happen(Paid(2, UNDER)).await;
            let first = scene.explain(&scene.order).await;
            let all = scene.world.books().orders;
            let Some(made) = all.iter().find(|made| made.id != scene.order) else {
                let sentence = "5.000000 USDT is credited. Another payment has arrived for this order and waits \
                                for a person.";
                assert_eq!((second, &first["explanation"]), ("second=review", &sentence.into()));
                return;
            };
            assert_eq!(first["explanation"], "5.000000 USDT is credited.");
            let sentence =
                "4.000000 USDT is credited, a second payment for an order that was paid.";
            let second_says = &scene.explain(&made.id).await["explanation"];
            assert_eq!((second, second_says), ("second=credit", &sentence.into()));
        });
    }
}
