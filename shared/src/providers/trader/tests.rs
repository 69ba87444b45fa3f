//! The adapter against scripted answers and hand-made callbacks.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::json;

use super::*;
use crate::domain::order::Birth;
use crate::domain::{CreateOrder, Dust, IdempotencyKey, MerchantId, TraceId, UserId};
use crate::outbound::OutboundError;
use crate::providers::testing::Keys;

const KEY: &str = "trader-test-key-0123";
const OLD_KEY: &str = "trader-test-key-old";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_200);
const ORDER: &str = "R0123456789ABCDEFGHJKMNPQR";
const FORM: &str = "application/x-www-form-urlencoded";

/// A provider that answers from a list and remembers what it was sent.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<VecDeque<Result<(u16, String), OutboundError>>>,
    sent: Mutex<Vec<(String, Fields)>>,
}

#[async_trait]
impl Outbound for Script {
    async fn send(
        &self,
        request: Request<Bytes>,
        _: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let fields = form_urlencoded::parse(request.body()).into_owned().collect();
        self.sent.lock().unwrap().push((request.uri().path().to_owned(), fields));
        let (status, body) =
            self.answers.lock().unwrap().pop_front().expect("an answer is left")?;
        Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
    }
}

struct Bench {
    trader: Trader,
    script: Arc<Script>,
}

fn bench_with(settings: serde_json::Value, reachable: bool) -> Bench {
    let mut all = json!({
        "appid": "APPTEST0001",
        "base_url": "https://trader.invalid",
        "min_call_interval_ms": 0,
        "query": {"path": "/api/merchant/OrderList"},
    });
    for (name, value) in settings.as_object().unwrap() {
        all[name] = value.clone();
    }
    let keys = Keys { provider: "trader", current: KEY, previous: OLD_KEY, reachable };
    let (name, keys) = keys.of();
    let script = Arc::new(Script::default());
    let settings = serde_json::from_value(all).unwrap();
    Bench { trader: Trader::new(name, settings, keys, script.clone()).unwrap(), script }
}

fn bench() -> Bench {
    bench_with(json!({}), true)
}

fn order() -> Order {
    let birth = Birth {
        merchant: MerchantId::parse("m_demo").unwrap(),
        provider: ProviderName::parse("trader").unwrap(),
        account: "APPTEST0001".to_owned(),
        trace: TraceId::parse("t").unwrap(),
        attempt: "a".to_owned(),
        now: NOW,
    };
    let command = CreateOrder {
        user: UserId::parse("u_1").unwrap(),
        amount: Money::new(30_500_000, Currency::Usdt),
        payment_method: None,
        reference: None,
        callback_url: None,
        expires_in: Duration::from_secs(1_800),
        metadata: Default::default(),
    };
    Order::new(&IdempotencyKey::parse("k-1").unwrap(), birth, command)
}

fn mark() -> UserMark {
    UserMark::derive(&MerchantId::parse("m_demo").unwrap(), &UserId::parse("u_1").unwrap())
}

/// The contract's callback for 30 USDT, signed with `key` after `change`.
fn callback(key: &str, change: impl FnOnce(&mut Fields)) -> String {
    let mut fields: Fields = [
        ("amount", "300000"),
        ("appid", "APPTEST0001"),
        ("localusermark", mark().as_str()),
        ("orderid", ORDER),
        ("t", "1700000100"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    change(&mut fields);
    fields.insert(SIGN.to_owned(), sign(&SigningProfile::default(), &fields, key));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish()
}

async fn verify_as(bench: &Bench, content_type: &str, body: &[u8]) -> Result<Evidence, Refusal> {
    let mut headers = http::HeaderMap::new();
    headers.insert("content-type", content_type.parse().unwrap());
    bench.trader.verify(RawCallback { headers: &headers, body, received_at: NOW }).await
}

async fn verify_form(body: &str) -> Result<Evidence, Refusal> {
    verify_as(&bench(), FORM, body.as_bytes()).await
}

fn set(name: &'static str, value: &'static str) -> impl FnOnce(&mut Fields) {
    move |fields| {
        fields.insert(name.to_owned(), value.to_owned());
    }
}

#[tokio::test]
async fn a_genuine_callback_is_read_in_every_encoding() {
    let form = callback(KEY, |_| {});
    let evidence = verify_form(&form).await.unwrap();
    assert_eq!(evidence.kind, EvidenceKind::Paid(Money::new(30_000_000, Currency::Usdt)));
    assert_eq!((evidence.payment_id.as_str(), evidence.account.as_str()), (ORDER, "APPTEST0001"));
    assert_eq!((evidence.user_mark, evidence.stale), (Some(mark()), false));
    assert!(!evidence.raw.contains("sign"), "the signature is not kept: {}", evidence.raw);

    let fields: Fields = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let json = serde_json::to_string(&fields).unwrap();
    assert!(verify_as(&bench(), "application/json; charset=utf-8", json.as_bytes()).await.is_ok());
    let numbers = json.replace("\"300000\"", "300000").replace("\"1700000100\"", "1700000100");
    assert!(verify_as(&bench(), "application/json", numbers.as_bytes()).await.is_ok());

    let part = |(name, value): (&String, &String)| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let multipart = format!("{}--b--\r\n", fields.iter().map(part).collect::<String>());
    let content_type = "multipart/form-data; boundary=b";
    assert!(verify_as(&bench(), content_type, multipart.as_bytes()).await.is_ok());

    let other = verify_as(&bench(), "application/xml", form.as_bytes()).await;
    assert_eq!(other, Err(Refusal::UnsupportedMediaType));
}

#[tokio::test]
async fn the_signature_may_be_in_either_case_and_under_either_key() {
    let form = callback(KEY, |_| {});
    let (rest, signature) = form.split_once("&sign=").unwrap();
    let (signature, tail) = signature.split_at(40);
    let lower = format!("{rest}&sign={}{tail}", signature.to_lowercase());
    assert!(verify_form(&lower).await.is_ok());
    assert!(verify_form(&callback(OLD_KEY, |_| {})).await.is_ok(), "the previous key");
    assert_eq!(verify_form(&callback("another", |_| {})).await, Err(Refusal::Signature));
    assert_eq!(verify_form(&callback("", |_| {})).await, Err(Refusal::Signature));
    let unsigned = format!("{rest}{tail}");
    assert_eq!(verify_form(&unsigned).await, Err(Refusal::Signature), "no signature at all");
}

#[tokio::test]
async fn another_field_set_or_grammar_is_refused_although_it_is_signed() {
    for field in ["amount", "appid", "localusermark", "orderid", "t"] {
        let without = callback(KEY, |fields| {
            fields.remove(field);
        });
        assert!(matches!(verify_form(&without).await, Err(Refusal::Malformed(_))), "{field}");
    }
    for (name, value) in [
        ("status", "1"),
        ("extra", ""),
        ("appid", "APPTEST0002"),
        ("amount", ""),
        ("amount", "-1"),
        ("amount", "+1"),
        ("amount", "3e5"),
        ("amount", "300000.0"),
        ("amount", "1234567890123456"),
        ("amount", "300000appidAPPTEST0001"),
        ("t", "170000010"),
        ("t", "17000001000"),
        ("orderid", "SH01HF000000000000000001"),
        ("orderid", "../../etc"),
        ("localusermark", "42"),
    ] {
        let form = callback(KEY, set(name, value));
        assert!(matches!(verify_form(&form).await, Err(Refusal::Malformed(_))), "{name}={value}");
    }
    for (name, value) in [("appid", "EVIL"), ("orderid", "x"), ("amount", "1.5"), ("extra", "1")] {
        let forged = callback("another key", set(name, value));
        assert_eq!(verify_form(&forged).await, Err(Refusal::Signature), "{name}={value}");
    }
    for nothing in ["", "amount=1", "sign=00"] {
        assert_eq!(verify_form(nothing).await, Err(Refusal::Signature), "{nothing}");
    }
    let twice = format!("{}&amount=300000", callback(KEY, |_| {}));
    assert!(matches!(verify_form(&twice).await, Err(Refusal::Malformed(_))));
    let json = r#"{"amount":"1","amount":"1"}"#;
    let twice = verify_as(&bench(), "application/json", json.as_bytes()).await;
    assert!(matches!(twice, Err(Refusal::Malformed(_))));
}

#[tokio::test]
async fn the_splice_is_refused_although_its_digest_fits() {
    let genuine = callback(KEY, |_| {});
    let spliced =
        genuine.replace("amount=300000&appid=APPTEST0001", "amount=300000appidAPPTEST0001");
    assert_ne!(genuine, spliced);
    assert_eq!(verify_form(&spliced).await, Err(Refusal::Malformed("a field is missing")));
}

#[tokio::test]
async fn old_callbacks_are_held_and_future_ones_refused() {
    let stale = async |t: &'static str| {
        verify_form(&callback(KEY, set("t", t))).await.map(|evidence| evidence.stale)
    };
    assert_eq!(stale("1699999300").await, Ok(false));
    assert_eq!(stale("1699999299").await, Ok(true));
    assert_eq!(stale("1700001100").await, Ok(false));
    assert_eq!(stale("1700001101").await, Err(Refusal::Timestamp));
    let strict = bench_with(json!({"stale_callbacks": "reject"}), true);
    let form = callback(KEY, set("t", "1699999299"));
    assert_eq!(verify_as(&strict, FORM, form.as_bytes()).await, Err(Refusal::Timestamp));
}

#[tokio::test]
async fn a_tolerated_status_other_than_one_is_no_payment() {
    let tolerant = bench_with(json!({"tolerated_callback_fields": ["status"]}), true);
    let kind = async |status: &'static str| {
        let form = callback(KEY, set("status", status));
        verify_as(&tolerant, FORM, form.as_bytes()).await.unwrap().kind
    };
    assert!(matches!(kind("1").await, EvidenceKind::Paid(_)));
    assert_eq!(kind("0").await, EvidenceKind::Unrecognised);
}

#[tokio::test]
async fn an_amount_finer_than_our_smallest_unit_is_rounded_down_and_the_rest_kept() {
    let finer = bench_with(json!({"callback_amount_scale": 8}), true);
    for (amount, minor, rest) in [
        ("500000000", 5_000_000, None),
        ("500000001", 5_000_000, Some(1)),
        ("500000199", 5_000_001, Some(99)),
        ("99", 0, Some(99)),
    ] {
        let form = callback(KEY, set("amount", amount));
        let read = verify_as(&finer, FORM, form.as_bytes()).await.unwrap();
        assert_eq!(read.kind, EvidenceKind::Paid(Money::new(minor, Currency::Usdt)), "{amount}");
        assert_eq!(read.dust, rest.map(|units| Dust { units, scale: 8 }), "{amount}");
    }
}

#[tokio::test]
async fn nothing_is_believed_while_the_key_cannot_be_read() {
    let bench = bench_with(json!({}), false);
    let form = callback(KEY, |_| {});
    assert_eq!(verify_as(&bench, FORM, form.as_bytes()).await, Err(Refusal::KeysUnavailable));
    let deposit = Deposit { address: "T".repeat(34), network: "TRON".to_owned() };
    let created = bench.trader.create(&order(), Some(&deposit), NOW).await;
    assert!(matches!(created, Answer::Unknown(_)));
    assert!(bench.script.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_blank_key_is_none() {
    for blank in ["", " ", "\t\r\n"] {
        let keys = Keys { provider: "trader", current: blank, previous: blank, reachable: true };
        let (_, keys) = keys.of();
        let mut bench = bench();
        bench.trader.keys = keys;
        let form = callback(blank, |_| {});
        let refused = verify_as(&bench, FORM, form.as_bytes()).await;
        assert_eq!(refused, Err(Refusal::KeysUnavailable), "{blank:?}");
        let fields: Fields = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let profile = SigningProfile::default();
        assert!(!verify(&profile, &fields, blank, &fields[SIGN]), "{blank:?}");
    }
}

/// One call of `operation` answered with `answer`.
async fn create_with(answer: Result<(u16, &str), OutboundError>) -> Answer<Accepted> {
    let bench = bench();
    let answer = answer.map(|(status, body)| (status, body.to_owned()));
    bench.script.answers.lock().unwrap().push_back(answer);
    let deposit = Deposit { address: "T".repeat(34), network: "TRON".to_owned() };
    bench.trader.create(&order(), Some(&deposit), NOW).await
}

#[tokio::test]
async fn creates_send_what_the_contract_names_and_nothing_of_the_users_own() {
    let bench = bench();
    let answer = Ok((200, r#"{"status":1,"data":{"msg":"ok","ordersn":"cz-01"}}"#.to_owned()));
    bench.script.answers.lock().unwrap().push_back(answer);
    let deposit = Deposit { address: "T".repeat(34), network: "TRON".to_owned() };
    let created = bench.trader.create(&order(), Some(&deposit), NOW).await;
    assert_eq!(created, Answer::Done(Accepted { transaction_id: Some("cz-01".to_owned()) }));
    let sent = bench.script.sent.lock().unwrap();
    let (path, fields) = &sent[0];
    assert_eq!(path, "/api/merchant/TraderRechargeorder");
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    let wanted = ["address", "amount", "appid", "localusermark", "orderid", "sign", "username"];
    assert_eq!(names, wanted);
    assert_eq!(fields["amount"], "30.5");
    assert!(fields["username"].len() <= 14);
    let own = fields["username"].chars().chain(fields["orderid"].chars());
    assert!(own.chain(fields["localusermark"].chars()).all(|c| !c.is_ascii_lowercase()));
}

#[tokio::test]
async fn only_a_well_formed_refusal_is_a_refusal() {
    let unknown = |answer: &Answer<Accepted>| matches!(answer, Answer::Unknown(_));
    for answer in [
        Err(OutboundError::TimedOut),
        Err(OutboundError::Broken),
        Ok((500, r#"{"status":0}"#)),
        Ok((429, r#"{"status":1,"data":{}}"#)),
        Ok((200, "<html>maintenance</html>")),
        Ok((200, "{}")),
        Ok((200, "[]")),
        Ok((200, "")),
    ] {
        let described = format!("{answer:?}");
        assert!(unknown(&create_with(answer).await), "{described}");
    }
    assert_eq!(create_with(Err(OutboundError::NotSent)).await, Answer::NotSent);
    for body in [r#"{"status":0,"err":"no"}"#, r#"{"status":"0"}"#, r#"{"status":2,"data":{}}"#] {
        assert!(matches!(create_with(Ok((200, body))).await, Answer::Declined(_)), "{body}");
    }
    let none = Answer::Done(Accepted::default());
    let known = [
        r#"{"status":0,"err":"duplicate orderid [312]"}"#,
        r#"{"status":0,"err":"订单号已存在 88"}"#,
        r#"{"status":"1","data":{"ordersn":"<script>"}}"#,
        r#"{"status":1}"#,
    ];
    for body in known {
        assert_eq!(create_with(Ok((200, body))).await, none, "{body}");
    }
}

#[tokio::test]
async fn an_address_counts_only_if_the_answer_speaks_of_the_user() {
    let (name, mark) = (username(&mark()), mark());
    let found = async |mark_seen: &str, name_seen: &str, address: &str| {
        let bench = bench();
        let body = json!({"status": 1, "data": {
            "info": {"username": name_seen, "localusermark": mark_seen},
            "data": {"address": address, "m_localusermark": mark_seen},
        }});
        bench.script.answers.lock().unwrap().push_back(Ok((200, body.to_string())));
        bench.trader.find_addresses(&mark, NOW).await
    };
    let good = "TXTESTADDRESS000000000000000000001";
    let deposit = Deposit { address: good.to_owned(), network: "TRON".to_owned() };
    assert_eq!(found(mark.as_str(), &name, good).await, Answer::Done(vec![deposit]));
    assert!(matches!(found("M1", &name, good).await, Answer::Unknown(_)));
    assert!(matches!(found(mark.as_str(), "U1", good).await, Answer::Unknown(_)));
    assert!(matches!(found(mark.as_str(), &name, "T<b>").await, Answer::Unknown(_)));
    let bench = bench();
    let missing = Ok((200, r#"{"status":0,"err":"User not found."}"#.to_owned()));
    bench.script.answers.lock().unwrap().push_back(missing);
    assert_eq!(bench.trader.find_addresses(&mark, NOW).await, Answer::Done(vec![]));
}

#[tokio::test]
async fn new_addresses_come_as_a_string_or_an_object() {
    let address = "TXTESTADDRESS000000000000000000001";
    for data in [json!(address), json!({"address": address})] {
        let bench = bench();
        let body = json!({"status": 1, "data": data}).to_string();
        bench.script.answers.lock().unwrap().push_back(Ok((200, body)));
        let deposit = Deposit { address: address.to_owned(), network: "TRON".to_owned() };
        assert_eq!(bench.trader.new_addresses(&mark(), NOW).await, Answer::Done(vec![deposit]));
    }
}

#[tokio::test]
async fn a_query_proves_only_what_it_says_about_the_order_asked_for() {
    let order = order();
    let query = async |change: serde_json::Value| {
        let bench = bench();
        let mut data = json!({
            "orderid": order.id.as_str(),
            "localusermark": mark().as_str(),
            "status": 1,
            "amount": "300000",
            "ordersn": "cz-01",
        });
        for (name, value) in change.as_object().unwrap() {
            data[name] = value.clone();
        }
        let body = json!({"status": 1, "data": data}).to_string();
        bench.script.answers.lock().unwrap().push_back(Ok((200, body)));
        bench.trader.query(&order, NOW).await
    };
    let Answer::Done(Found::Proof(paid)) = query(json!({})).await else { panic!("paid") };
    assert_eq!(paid.kind, EvidenceKind::Paid(Money::new(30_000_000, Currency::Usdt)));
    assert_eq!((paid.source, paid.user_mark), (Source::Query, Some(mark())));
    let Answer::Done(Found::Proof(failed)) = query(json!({"status": "2"})).await else {
        panic!("failed")
    };
    assert_eq!(failed.kind, EvidenceKind::Declined);
    let open = Accepted { transaction_id: Some("cz-01".to_owned()) };
    assert_eq!(query(json!({"status": 0})).await, Answer::Done(Found::Open(open)));
    let scaled = async |scale: u32, amount: &str| {
        let query = json!({"path": "/api/merchant/OrderList", "amount_scale": scale});
        let bench = bench_with(json!({"query": query}), true);
        let (order_id, mark) = (order.id.as_str(), mark());
        let data = json!({
            "orderid": order_id, "localusermark": mark.as_str(), "status": 1, "amount": amount,
        });
        let body = json!({"status": 1, "data": data}).to_string();
        bench.script.answers.lock().unwrap().push_back(Ok((200, body)));
        let Answer::Done(Found::Proof(paid)) = bench.trader.query(&order, NOW).await else {
            panic!("paid")
        };
        (paid.kind, paid.dust)
    };
    let paid = |minor| EvidenceKind::Paid(Money::new(minor, Currency::Usdt));
    let dust = |units, scale| Some(Dust { units, scale });
    assert_eq!(scaled(0, "30.5").await, (paid(30_500_000), None));
    assert_eq!(scaled(0, "30.50000019").await, (paid(30_500_000), dust(19, 8)));
    assert_eq!(scaled(8, "3050000019").await, (paid(30_500_000), dust(19, 8)));
    for change in [
        json!({"orderid": "R0000000000000000000000000"}),
        json!({"localusermark": "42"}),
        json!({"orderid": null}),
    ] {
        assert!(matches!(query(change.clone()).await, Answer::Unknown(_)), "{change}");
    }
    for change in [json!({"amount": "30.5"}), json!({"amount": -1}), json!({"amount": null})] {
        let Answer::Done(Found::Proof(odd)) = query(change.clone()).await else {
            panic!("{change}")
        };
        assert_eq!((odd.kind, odd.source), (EvidenceKind::Unrecognised, Source::Query), "{change}");
    }
}

#[tokio::test]
async fn an_answer_that_can_be_read_two_ways_says_nothing() {
    for body in [
        r#"{"status":0,"err":"no","status":1,"data":{"ordersn":"cz-01"}}"#,
        r#"{"status":1,"data":{"ordersn":"cz-01","ordersn":"cz-02"}}"#,
        r#"{"status":1,"status":0,"err":"no"}"#,
    ] {
        let answer = create_with(Ok((200, body))).await;
        assert!(matches!(answer, Answer::Unknown(_)), "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn the_same_payment_has_one_identity_on_both_paths() {
    let mut form = verify_form(&callback(KEY, |_| {})).await.unwrap();
    let bench = bench();
    let order = order();
    form.order_id = Some(order.id.clone());
    form.payment_id = order.id.to_string();
    let body = json!({"status": 1, "data": {
        "orderid": order.id.as_str(), "localusermark": mark().as_str(), "status": 1, "amount": "300000",
    }});
    bench.script.answers.lock().unwrap().push_back(Ok((200, body.to_string())));
    let Answer::Done(Found::Proof(query)) = bench.trader.query(&order, NOW).await else {
        panic!("paid")
    };
    assert_eq!(form.identity(), query.identity());
}
