//! The adapter's own calls against scripted answers.

use http::Response;

use super::*;
use crate::domain::order::Birth;
use crate::domain::{CreateOrder, IdempotencyKey, MerchantId, TraceId, UserId};
use crate::providers::testing::Keys;

/// A provider that always answers alike.
#[derive(Debug)]
struct Says(String);

#[async_trait]
impl Outbound for Says {
    async fn send(&self, _: Request<Bytes>, _: Limits) -> Result<Response<Bytes>, OutboundError> {
        Ok(Response::new(Bytes::from(self.0.clone())))
    }
}

fn adapter(says: &str) -> Standard {
    with_key(KEY, says)
}

fn with_key(key: &'static str, says: &str) -> Standard {
    let settings = json!({"account": "A1", "base_url": "https://p.invalid", "currency": "USD"});
    let keys = Keys { provider: "standard", current: key, previous: key, reachable: true };
    let (name, keys) = keys.of();
    let settings = serde_json::from_value(settings).unwrap();
    Standard::new(name, settings, keys, Arc::new(Says(says.to_owned()))).unwrap()
}

fn order() -> Order {
    let birth = Birth {
        merchant: MerchantId::parse("m_demo").unwrap(),
        provider: ProviderName::parse("standard").unwrap(),
        account: "A1".to_owned(),
        trace: TraceId::parse("t").unwrap(),
        attempt: "a".to_owned(),
        now: Timestamp::from_secs(NOW),
    };
    let command = CreateOrder {
        user: UserId::parse("u_1").unwrap(),
        amount: Money::new(5_000, Currency::Usd),
        payment_method: None,
        reference: None,
        callback_url: None,
        expires_in: Duration::from_secs(1_800),
        metadata: Default::default(),
    };
    Order::new(&IdempotencyKey::parse("k-1").unwrap(), birth, command)
}

async fn query(says: &str) -> Answer<Found> {
    adapter(says).query(&order(), Timestamp::from_secs(NOW)).await
}

/// What the provider says of the order, after `change`.
fn paid(change: impl FnOnce(&mut Value)) -> String {
    let mut answer = json!({
        "status": "SUCCESS", "orderId": order().id.as_str(), "providerTxnId": "txn_1",
        "amount": 5_000, "currency": "USD",
    });
    change(&mut answer);
    answer.to_string()
}

#[tokio::test]
async fn a_query_proves_only_what_is_said_of_our_account_and_mode() {
    let usd = EvidenceKind::Paid(Money::new(5_000, Currency::Usd));
    for ours in [json!({}), json!({"livemode": true}), json!({"account": "A1", "livemode": true})] {
        let says = paid(|answer| {
            answer.as_object_mut().unwrap().extend(ours.as_object().unwrap().clone())
        });
        let Answer::Done(Found::Proof(found)) = query(&says).await else { panic!("{ours}") };
        assert_eq!((&found.kind, found.account.as_str()), (&usd, "A1"), "{ours}");
    }
    for (name, value) in [
        ("livemode", json!(false)),
        ("livemode", json!("true")),
        ("livemode", Value::Null),
        ("account", json!("A2")),
        ("account", json!("a1")),
        ("account", json!(1)),
        ("account", Value::Null),
    ] {
        for status in ["SUCCESS", "FAILED", "PENDING", "NOT_FOUND"] {
            let says = paid(|answer| {
                answer["status"] = status.into();
                answer[name] = value.clone();
            });
            let found = query(&says).await;
            // Money that may be somebody else's is for a person, and credits nothing of ours.
            if let ("SUCCESS", Answer::Done(Found::Proof(found))) = (status, &found) {
                assert_eq!(found.kind, EvidenceKind::Unrecognised, "{name} {value}");
                assert_ne!(found.account, "A1", "{name} {value}");
                continue;
            }
            assert_ne!(status, "SUCCESS", "{name} {value}: {found:?}");
            assert!(matches!(found, Answer::Unknown(_)), "{status} {name} {value}: {found:?}");
        }
    }
}

#[tokio::test]
async fn what_is_paid_and_cannot_be_read_is_for_a_person() {
    let mut identities = std::collections::BTreeSet::new();
    for (name, value) in [
        ("amount", json!("5000")),
        ("amount", json!(50.5)),
        ("amount", Value::Null),
        ("currency", json!("XYZ")),
        ("providerTxnId", json!("a b")),
        ("providerTxnId", Value::Null),
    ] {
        let says = paid(|answer| answer[name] = value.clone());
        let elsewhen = paid(|answer| {
            answer[name] = value.clone();
            answer["asOf"] = json!("2026-01-01T00:00:00Z");
        });
        let (first, again) = (query(&says).await, query(&elsewhen).await);
        let Answer::Done(Found::Proof(found)) = first else { panic!("{name} {value}: {first:?}") };
        let Answer::Done(Found::Proof(again)) = again else { panic!("{name} {value}: {again:?}") };
        assert_eq!((found.kind, found.source), (EvidenceKind::Unrecognised, Source::Query));
        assert_eq!(found.order_id.as_ref(), Some(&order().id));
        // Said twice it is one statement.
        assert_eq!(found.identity(), again.identity());
        identities.insert(found.identity());
    }
    assert_eq!(identities.len(), 6);
    let says = paid(|answer| {
        answer["amount"] = json!("5000");
        answer["orderId"] = json!("R0000000000000000000000000");
    });
    assert!(matches!(query(&says).await, Answer::Unknown(_)), "of another order");
}

#[tokio::test]
async fn an_answer_that_can_be_read_two_ways_says_nothing() {
    for twice in [r#"{"amount":1,"#, r#"{"status":"FAILED","#, r#"{"x":{"a":1,"a":1},"#] {
        let says = paid(|_| {}).replacen('{', twice, 1);
        assert!(matches!(query(&says).await, Answer::Unknown(_)), "{says}");
        let created = adapter(&says).create(&order(), None, Timestamp::from_secs(NOW)).await;
        assert!(matches!(created, Answer::Unknown(_)), "{says}");
    }
}

#[tokio::test]
async fn a_secret_that_protects_nothing_is_none() {
    let now = Timestamp::from_secs(NOW);
    let body = event(|_| {});
    // The last one says fifteen bytes.
    for blank in [
        "",
        " ",
        " \t\r\n",
        "\u{a0}",
        "\0",
        "\0\0",
        "\u{feff}",
        "\u{200b}",
        "whsec_AAAAAAAAAAAAAAAAAAAAAA==",
        "whsec_",
        "whsec_ ",
        "whsec_MDEyMzQ1Njc4OTAxMjM0",
    ] {
        let adapter = with_key(blank, &paid(|_| {}));
        let signed = format!("v1,{}", signature(blank, "evt_1", "1700000000", &body));
        let headers = headers("evt_1", "1700000000", &signed);
        let callback = RawCallback { headers: &headers, body: &body, received_at: now };
        let refused = adapter.verify(callback).await.map(|_| ());
        assert_eq!(refused, Err(Refusal::KeysUnavailable), "{blank:?}");
        assert!(matches!(adapter.query(&order(), now).await, Answer::Unknown(_)), "{blank:?}");
    }
    let key = "whsec_MDEyMzQ1Njc4OTAxMjM0NQ==";
    let found = with_key(key, &paid(|_| {})).query(&order(), now).await;
    assert!(matches!(found, Answer::Done(_)), "sixteen bytes are enough: {found:?}");
}
