//! The store's scenarios: create and replay, settlement and its race, what is put aside, reviews, notices,
//! lists, addresses, merchants, the bucket.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use recharge_shared::domain::order::{Birth, Change};
use recharge_shared::domain::{
    Action, CreateOrder, Currency, Decision, Deposit, Evidence, EvidenceKind, IdempotencyKey,
    Merchant, MerchantId, Money, Order, OrderReference, OrderState, ParkReason, Policy,
    ProviderName, ReviewState, Ruling, Source, Timestamp, TraceId, UserId, apply,
};
use recharge_shared::store::{
    AddressOwner, Again, Attempt, Booking, Bucket, ListRead, NoticeState, OrderFilter, OrderWrite,
    PaidBack, Placed, Settled, Standing, Store, Take, Whose,
};

use crate::{Backend, Steps};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub async fn play(backend: &Backend, steps: &mut Steps) {
    let store = backend.store("second-opinion").await;
    create(&store, steps).await;
    settle(&store, steps).await;
    race(&store, steps).await;
    aside(&store, steps).await;
    notices(&store, steps).await;
    due(&store, steps).await;
    lists(&store, steps).await;
    addresses(&store, steps).await;
    merchants(&store, steps).await;
}

fn merchant() -> MerchantId {
    MerchantId::parse("m_1").unwrap()
}

fn user() -> UserId {
    UserId::parse("u_1").unwrap()
}

fn trader() -> ProviderName {
    ProviderName::parse("trader").unwrap()
}

fn order(key: &str, reference: Option<&str>, attempt: &str) -> Order {
    let birth = Birth {
        merchant: merchant(),
        provider: trader(),
        account: "APP".to_owned(),
        trace: TraceId::parse("t").unwrap(),
        attempt: attempt.to_owned(),
        now: NOW,
    };
    let command = CreateOrder {
        user: user(),
        amount: Money::new(500, Currency::Usdt),
        payment_method: None,
        reference: reference.map(|text| OrderReference::parse(text).unwrap()),
        callback_url: Some("https://hooks.example/r".to_owned()),
        expires_in: Duration::from_secs(1_800),
        metadata: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
    };
    Order::new(&IdempotencyKey::parse(key).unwrap(), birth, command)
}

fn paid(order: &Order, payment_id: &str, minor: i128) -> Evidence {
    Evidence {
        provider: order.provider.clone(),
        account: order.account.clone(),
        payment_id: payment_id.to_owned(),
        order_id: Some(order.id.clone()),
        deposit: None,
        transaction_id: Some("00ff".to_owned()),
        user_mark: None,
        kind: EvidenceKind::Paid(Money::new(minor, Currency::Usdt)),
        dust: None,
        source: Source::Callback,
        stale: false,
        observed_at: NOW,
        digest: [7; 32],
        raw: "amount=5".to_owned(),
    }
}

fn placed(came_to: Placed) -> String {
    match came_to {
        Placed::New => "new".to_owned(),
        Placed::Existing(order) => format!("existing {} {}", order.state.as_str(), order.version),
        Placed::ReferenceTaken => "reference taken".to_owned(),
    }
}

async fn create(store: &Store, steps: &mut Steps) {
    for (what, order) in [
        ("create", order("k-1", None, "a")),
        ("replay", order("k-1", None, "b")),
        ("its own write", order("k-1", None, "a")),
        ("with a reference", order("k-2", Some("r-1"), "a")),
        ("again with it", order("k-2", Some("r-1"), "b")),
        ("another with it", order("k-3", Some("r-1"), "a")),
    ] {
        steps.note(what, placed(store.place(&order).await.unwrap()));
    }
    let reference = OrderReference::parse("r-1").unwrap();
    steps.note("by reference", store.order_by_reference(&merchant(), &reference).await.unwrap());
    let read = store.order(&order("k-1", None, "a").id).await.unwrap().unwrap();
    steps.note("as it was", read == order("k-1", None, "a"));
    let key = IdempotencyKey::parse("nobody's").unwrap();
    let none = recharge_shared::domain::OrderId::derive(&merchant(), &key);
    steps.note("none", store.order(&none).await.unwrap().is_none());
    let change = Change { reason: None, actor: "t", evidence: None, books: None, at: NOW };
    let pending = read.moved(OrderState::Pending, change);
    steps.note("advance", store.advance(&read, &pending).await.unwrap());
    steps.note("advance again", store.advance(&read, &pending).await.unwrap());
}

/// Decides and writes, as the worker does.
async fn book(store: &Store, before: &Order, evidence: &Evidence) -> Settled {
    match apply(before, evidence, Policy::EXACT, NOW.plus(Duration::from_secs(60))) {
        Decision::Settle { order, entry } => {
            let order = OrderWrite::Move(before, &order);
            let booking = Booking { order, entry: &entry, evidence, noted: None, review: None };
            store.book(booking).await.unwrap()
        }
        Decision::Hold { order, reason } => {
            store.hold((before, &order), evidence, reason).await.unwrap()
        }
        other => panic!("{other:?}"),
    }
}

async fn settle(store: &Store, steps: &mut Steps) {
    let before = store.order(&order("k-1", None, "a").id).await.unwrap().unwrap();
    let evidence = paid(&before, "p-1", 500);
    steps.note("settle", book(store, &before, &evidence).await);
    let mut later = evidence.clone();
    later.observed_at = NOW.plus(Duration::from_secs(5));
    steps.note("settle from what was", book(store, &before, &later).await);
    let other = store.order(&order("k-2", None, "a").id).await.unwrap().unwrap();
    steps.note(
        "the payment with another order",
        book(store, &other, &paid(&other, "p-1", 500)).await,
    );
    let settled = store.order(&before.id).await.unwrap().unwrap();
    steps
        .note("stands", (settled.state, settled.version, settled.credited, settled.payments.len()));
    steps.note("balances", store.balances(&merchant(), &user()).await.unwrap());
    let ledger = store.ledger(&merchant(), &user(), 10, None).await.unwrap();
    steps.note("ledger", ledger.lines.iter().map(|line| line.entry.clone()).collect::<Vec<_>>());
    steps.note("booked with", store.booked_with(&evidence).await.unwrap() == Some(before.id));
}

/// Fifty workers at once.
async fn race(store: &Store, steps: &mut Steps) {
    for round in 0..5 {
        let new = order(&format!("race-{round}"), None, "a");
        store.place(&new).await.unwrap();
        let workers = (0..50).map(|worker| {
            let (store, new) = (store.clone(), new.clone());
            tokio::spawn(async move {
                let mut evidence = paid(&new, &format!("race-{round}"), 500);
                // Each its own transaction: the request token is no guard here.
                evidence.observed_at = NOW.plus(Duration::from_millis(worker));
                loop {
                    let before = store.order(&new.id).await.unwrap().unwrap();
                    if before.state == OrderState::Success {
                        return false;
                    }
                    if book(&store, &before, &evidence).await == Settled::Now {
                        return true;
                    }
                }
            })
        });
        let won = join_all(workers).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
        steps.note("credits of fifty", won);
    }
    steps.note("balance", store.balances(&merchant(), &user()).await.unwrap());
}

async fn aside(store: &Store, steps: &mut Steps) {
    let lost = order("lost", None, "a");
    let evidence = paid(&lost, "p-lost", 500);
    for what in ["park", "park again"] {
        let whose = Whose::default();
        let came_to = store.park(&evidence, ParkReason::UnknownOrder, whose, NOW).await;
        steps.note(what, came_to.unwrap());
    }
    let held = order("held", None, "a");
    store.place(&held).await.unwrap();
    let short = paid(&held, "p-held", 400);
    steps.note("hold", book(store, &held, &short).await);
    steps.note("hold again", book(store, &held, &short).await);
    let both = [evidence.clone(), short.clone(), paid(&held, "p-1", 500)];
    let known = store.known_statements(&both).await.unwrap();
    steps.note("known", known.iter().map(|k| (k.booked, k.parked)).collect::<Vec<_>>());
    let first = store.reviews(None, (false, 1), None).await.unwrap();
    let second = store.reviews(None, (false, 1), first.next.as_deref()).await.unwrap();
    let why = |page: &recharge_shared::store::ReviewPage| {
        page.reviews.iter().map(|review| (review.why, review.state)).collect::<Vec<_>>()
    };
    steps.note("reviews", (why(&first), why(&second)));
    let review = first.reviews.into_iter().chain(second.reviews);
    let review = review.into_iter().find(|one| one.evidence.payment_id == "p-held").unwrap();
    let ruling = Ruling {
        action: Action::Reject,
        by: "ann".to_owned(),
        note: "n".to_owned(),
        at: NOW,
        second: None,
        about: None,
    };
    for what in ["rule", "rule again"] {
        let came_to = store.rule(&review, (ReviewState::Approved, &ruling), NOW).await;
        steps.note(what, came_to.unwrap());
    }
    steps.note("due", store.due_reviews((NOW, 10), None).await.unwrap().found.len());
    let ruled = store.review(&review.id).await.unwrap().unwrap();
    for what in ["end", "end again"] {
        let state = (ReviewState::Rejected, NOW);
        let came_to = store.end_review(&ruled, state, None, PaidBack::Payment(&short)).await;
        steps.note(what, came_to.unwrap());
    }
    steps.note("reopen", store.reopen_review(&ruled, ("x", None)).await.unwrap());
    steps.note("closed", why(&store.reviews(None, (true, 10), None).await.unwrap()));
    steps.note("due", store.due_reviews((NOW, 10), None).await.unwrap().found.len());
}

async fn notices(store: &Store, steps: &mut Steps) {
    let order = store.order(&order("k-1", None, "a").id).await.unwrap().unwrap();
    let notice = order.last_notice().unwrap();
    let attempt = Attempt { at: NOW, status: 503, took_ms: 7, error: String::new(), asked: false };
    let standing = |state, due_at| Standing { state, due_at, destination: "hooks.example" };
    let retrying = standing(NoticeState::Retrying, Some(NOW));
    steps.note("tried", store.record_attempt(&notice, Some(&attempt), retrying).await.unwrap());
    let mut found = Vec::new();
    for shard in 0..4 {
        found.extend(
            store.due_notices(shard, (Timestamp::EPOCH, NOW, 10), None).await.unwrap().found,
        );
    }
    steps.note("due", found.len());
    let next = NOW.plus(Duration::from_secs(60));
    for what in ["postpone", "postpone again"] {
        steps.note(what, store.postpone_notice(&found[0], next).await.unwrap());
    }
    let delivered = standing(NoticeState::Delivered, None);
    steps.note("taken", store.record_attempt(&notice, Some(&attempt), delivered).await.unwrap());
    steps.note("late", store.record_attempt(&notice, Some(&attempt), retrying).await.unwrap());
    steps.note("asked", store.add_attempt(&notice, &attempt).await.unwrap());
    steps.note("row", store.notice(&order.id, notice.sequence).await.unwrap());
    steps.note("rows", store.notices(&order.id).await.unwrap().len());
    for secs in [1, 2, 3] {
        store.list_notice(&notice, NOW.plus(Duration::from_secs(secs))).await.unwrap();
    }
    let range = (NOW, NOW.plus(Duration::from_secs(3)));
    let first = store.listed(&merchant(), range, 1, None).await.unwrap();
    let after = first.found[0].position.clone();
    let rest = store.listed(&merchant(), range, 10, Some(&after)).await.unwrap();
    steps.note("listed", (first.found, first.more, rest.found, rest.more));
}

async fn due(store: &Store, steps: &mut Steps) {
    let open = order("due", None, "a");
    store.place(&open).await.unwrap();
    let due_at = open.due_at.unwrap();
    let mut found = Vec::new();
    for shard in 0..4 {
        found.extend(
            store.due(&trader(), shard, (Timestamp::EPOCH, due_at, 50), None).await.unwrap().found,
        );
    }
    steps.note("due", (found.len(), found.iter().any(|one| one.id == open.id)));
    let next = Some(due_at.plus(Duration::from_secs(9)));
    for what in ["look", "look again"] {
        steps.note(what, store.reschedule(&open, next).await.unwrap());
    }
    let until = NOW.plus(Duration::from_secs(99));
    for what in ["take over", "take over again"] {
        steps.note(what, store.take_over(&open, "b", until).await.unwrap());
    }
    for since in [Some(NOW), Some(NOW), None, None] {
        steps.note("silence", store.note_silence(&open.id, since).await.unwrap());
    }
    let (name, account) = (trader(), "APP");
    steps.note("never read", store.list_read_until(&name, account).await.unwrap());
    let at = |secs| NOW.plus(Duration::from_secs(secs));
    for (read, until) in
        [(Some(4), 5), (None, 5), (None, 6), (Some(4), 6), (Some(5), 3), (Some(5), 9)]
    {
        let again = [(Again::AfterDay, at(until + 1))].into();
        let now = ListRead { until: at(until), again };
        let moved = store.list_was_read((&name, account), read.map(at), &now).await.unwrap();
        steps.note("moved", moved);
        steps.note("read until", store.list_read_until(&name, account).await.unwrap());
    }
}

async fn lists(store: &Store, steps: &mut Steps) {
    let (merchant, user) = (merchant(), user());
    for found in [Some(&user), None] {
        let filter = OrderFilter { merchant: &merchant, user: found, from: Some(NOW), to: None };
        let (mut after, mut ids) = (None, Vec::new());
        loop {
            let page = store.order_positions(filter, 3, after.as_ref()).await.unwrap();
            ids.extend(page.found.into_iter().map(|position| position.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let orders = store.orders(&ids).await.unwrap();
        let same = orders.iter().zip(&ids).all(|(order, id)| order.id == *id);
        ids.sort();
        ids.dedup();
        steps.note("listed", (ids.len(), orders.len(), same));
    }
}

async fn addresses(store: &Store, steps: &mut Steps) {
    let (merchant, user, other) = (merchant(), user(), UserId::parse("u_2").unwrap());
    let owner = AddressOwner { merchant: &merchant, user: &user, provider: ("trader", "APP") };
    let second = AddressOwner { user: &other, ..owner };
    let until = NOW.plus(Duration::from_secs(10));
    for by in ["a", "b", "a"] {
        steps.note("claim", store.claim_address(owner, by, (NOW, until)).await.unwrap());
    }
    let new = [Deposit { address: "T1".to_owned(), network: "TRON".to_owned() }];
    steps.note("store", store.store_addresses(owner, (&[], &new), NOW).await.unwrap());
    let later = NOW.plus(Duration::from_secs(1));
    steps.note("store again", store.store_addresses(owner, (&[], &new), later).await.unwrap());
    store.claim_address(second, "a", (NOW, until)).await.unwrap();
    steps.note("of another", store.store_addresses(second, (&[], &new), NOW).await.unwrap());
    steps.note("claim", store.claim_address(owner, "c", (NOW, until)).await.unwrap());
    let more = [Deposit { address: "0xB".to_owned(), network: "BSC".to_owned() }];
    for what in ["add", "add again"] {
        let came_to = store.store_addresses(owner, (&new, &more), NOW).await;
        steps.note(what, came_to.unwrap());
    }
    steps.note("add to former", store.store_addresses(owner, (&more, &new), NOW).await.unwrap());
    steps.note("known", store.addresses(owner).await.unwrap());
    steps.note("all", store.all_addresses(&merchant, &user).await.unwrap());
    steps.note("whose", store.owner_of_address(&trader(), &new[0]).await.unwrap());
}

async fn merchants(store: &Store, steps: &mut Steps) {
    let (id, user) = (merchant(), user());
    steps.note("as it is", store.merchant(&id).await.unwrap());
    store.set_merchant(&id, &Merchant { burst: 3, ..Merchant::default() }).await.unwrap();
    store.suspend_user(&id, &user).await.unwrap();
    steps.note("suspended", store.merchant(&id).await.unwrap());
    store.resume_user(&id, &user).await.unwrap();
    steps.note("resumed", store.merchant(&id).await.unwrap());
    steps.note("registered", store.is_registered(&id, &user).await.unwrap());
    store.register_user(&id, &user).await.unwrap();
    steps.note("registered", store.is_registered(&id, &user).await.unwrap());
    for (now_us, seen_full_at_us) in
        [(1_000, 0), (1_000, 0), (1_000, 1_500), (1_000, 2_000), (9_000, 9_500)]
    {
        let take = Take { now_us, cost_us: 500, seen_full_at_us, full_at_max_us: Some(2_000) };
        steps.note("take", store.take((&id, Bucket::Creates), take).await.unwrap());
    }
}
