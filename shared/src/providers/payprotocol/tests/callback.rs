//! Callbacks, as they come and as somebody might forge them.

use super::*;
use crate::domain::Dust;

/// A callback with its headers.
struct Post {
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// Signed by `key` for `path` at `timestamp`.
fn signed(key: &str, (timestamp, path): (&str, &str), body: &str) -> Post {
    let signed = Signed { timestamp, method: "POST", path, body: body.as_bytes() };
    Post {
        headers: vec![
            ("content-type", "application/json".to_owned()),
            (HEADERS[0], "PPTEST01".to_owned()),
            (HEADERS[1], timestamp.to_owned()),
            (HEADERS[2], signature(key, signed)),
        ],
        body: body.to_owned(),
    }
}

/// Genuine.
fn genuine(body: &str) -> Post {
    signed(KEY, ("1700000010", PATH), body)
}

impl Post {
    /// The same with another value of a header, or without the header.
    fn with(mut self, name: &str, value: Option<&str>) -> Post {
        match (self.headers.iter_mut().find(|(known, _)| *known == name), value) {
            (Some(header), Some(value)) => value.clone_into(&mut header.1),
            _ => self.headers.retain(|(known, _)| *known != name),
        }
        self
    }

    /// The same with a header once more.
    fn twice(mut self, name: &str) -> Post {
        let header = self.headers.iter().find(|(known, _)| *known == name).cloned();
        self.headers.extend(header);
        self
    }
}

async fn verify_at(bench: &Bench, post: &Post) -> Result<Evidence, Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in &post.headers {
        headers.append(*name, value.parse().unwrap());
    }
    let body = post.body.as_bytes();
    bench.provider.verify(RawCallback { headers: &headers, body, received_at: NOW }).await
}

async fn verify(post: &Post) -> Result<Evidence, Refusal> {
    verify_at(&bench(), post).await
}

/// What a genuine callback says after `change`.
async fn read(change: Value) -> Result<Evidence, Refusal> {
    verify(&genuine(&recharge(&change).to_string())).await
}

async fn is_malformed(body: &str) -> bool {
    matches!(verify(&genuine(body)).await, Err(Refusal::Malformed(_)))
}

/// The vectors' callbacks.
fn vector(id: &str) -> (String, String) {
    let text = include_str!("../../../../../tests/vectors/payprotocol.json");
    let all: Value = serde_json::from_str(text).unwrap();
    let found = all["vectors"].as_array().unwrap().iter().find(|v| v["id"] == id).unwrap();
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    (text("body"), text("signature"))
}

#[tokio::test]
async fn a_genuine_callback_is_read() {
    let evidence = read(json!({})).await.unwrap();
    assert_eq!((evidence.kind, evidence.dust), (usdt(12_345_678), None));
    assert_eq!((evidence.payment_id.as_str(), evidence.account.as_str()), ("900001", "PPTEST01"));
    let order = OrderId::of_payment(&evidence.provider, "PPTEST01", "900001");
    assert_eq!(evidence.order_id, Some(order));
    let deposit = Deposit { address: ADDRESS.to_owned(), network: "TRON".to_owned() };
    assert_eq!((evidence.deposit, evidence.user_mark), (Some(deposit), Some(mark())));
    assert_eq!(evidence.transaction_id.as_deref(), Some("00aa"));
    assert_eq!((evidence.source, evidence.stale), (Source::Callback, false));
    let more = json!({"confirmations": 20, "fee": {"amount": "1"}});
    assert_eq!(read(more).await.unwrap().kind, usdt(12_345_678), "members of a later version");
}

#[tokio::test]
async fn the_contracts_callbacks_are_believed_for_the_paths_that_are_set_up() {
    let believed = async |settings: Value, id: &str| {
        let (body, signature) = vector(id);
        let post = genuine(&body).with(HEADERS[2], Some(&signature));
        verify_at(&bench_with(settings, true), &post).await.map(|evidence| evidence.kind)
    };
    let with_query = format!("{PATH}?m=1");
    let forged = Err(Refusal::Signature);
    let good = Ok(usdt(12_345_678));
    assert_eq!(believed(json!({}), "PP-3").await, good);
    assert_eq!(believed(json!({}), "PP-4").await, forged);
    let candidates = json!({"callback_paths": [with_query, PATH]});
    assert_eq!(believed(candidates.clone(), "PP-4").await, good);
    assert_eq!(believed(candidates.clone(), "PP-3").await, good);
    assert_eq!(believed(candidates, "PP-5").await, forged, "the empty path is off");
    let empty = json!({"callback_paths": [PATH, ""], "allow_empty_callback_path": true});
    assert_eq!(believed(empty, "PP-5").await, good);
    // PP-6 is genuine itself, but the signature of PP-3 does not fit its bytes.
    assert_eq!(believed(json!({}), "PP-6").await, good);
    let (rewritten, _) = vector("PP-6");
    let (_, signature) = vector("PP-3");
    let post = genuine(&rewritten).with(HEADERS[2], Some(&signature));
    assert_eq!(verify(&post).await, Err(Refusal::Signature));
}

#[tokio::test]
async fn the_signature_may_be_under_either_key_and_no_other() {
    let body = recharge(&json!({})).to_string();
    let by = async |key: &str| verify(&signed(key, ("1700000010", PATH), &body)).await;
    assert!(by(OLD_KEY).await.is_ok(), "the previous key");
    assert_eq!(by("another").await, Err(Refusal::Signature));
    assert_eq!(by("").await, Err(Refusal::Signature));
    assert!(verify(&signed(KEY, ("1700000010", "/other?m=1"), &body)).await.is_ok());
    let elsewhere = signed(KEY, ("1700000010", "/other"), &body);
    assert_eq!(verify(&elsewhere).await, Err(Refusal::Signature));
    let unreachable = bench_with(json!({}), false);
    assert_eq!(verify_at(&unreachable, &genuine(&body)).await, Err(Refusal::KeysUnavailable));
}

#[tokio::test]
async fn every_header_counts_and_appears_once() {
    let post = || genuine(&recharge(&json!({})).to_string());
    for name in HEADERS {
        for post in [post().with(name, None), post().twice(name), post().with(name, Some(""))] {
            assert_eq!(verify(&post).await, Err(Refusal::Signature), "{name}");
        }
    }
    let of_another = post().with(HEADERS[0], Some("PPTEST02"));
    assert_eq!(verify(&of_another).await, Err(Refusal::Signature));
    let good = post().headers[3].1.clone();
    for bad in [
        good.trim_end_matches('=').to_owned(),
        format!("-{}", &good[1..]),
        format!("{good} "),
        format!(" {}", &good[1..]),
        format!("0x{}", "a".repeat(64)),
    ] {
        let post = post().with(HEADERS[2], Some(&bad));
        assert_eq!(verify(&post).await, Err(Refusal::Signature), "{bad}");
    }
    for (content_type, wanted) in [("application/json; charset=utf-8", true), ("text/plain", false)]
    {
        let post = post().with("content-type", Some(content_type));
        assert_eq!(verify(&post).await.is_ok(), wanted, "{content_type}");
    }
    let without = verify(&post().with("content-type", None)).await;
    assert_eq!(without, Err(Refusal::UnsupportedMediaType));
}

#[tokio::test]
async fn a_callback_is_believed_within_its_window_only() {
    let body = recharge(&json!({})).to_string();
    let at = async |timestamp: &str| verify(&signed(KEY, (timestamp, PATH), &body)).await.err();
    assert_eq!(at("1699999120").await, None);
    assert_eq!(at("1699999119").await, Some(Refusal::Timestamp));
    assert_eq!(at("1700000920").await, None);
    assert_eq!(at("1700000921").await, Some(Refusal::Timestamp));
    for bad in ["", "+700000010", "-700000010", "17000000100", "170000001", "1700000010000", "1e9"]
    {
        assert_eq!(at(bad).await, Some(Refusal::Signature), "{bad}");
    }
}

#[tokio::test]
async fn zero_is_a_success_and_nothing_else_is() {
    let kind = async |status: Value| read(json!({"rechargeStatus": status})).await.map(|e| e.kind);
    assert_eq!(kind(json!(0)).await, Ok(usdt(12_345_678)));
    assert_eq!(kind(json!(1)).await, Ok(EvidenceKind::Unrecognised));
    assert_eq!(kind(json!(2)).await, Ok(EvidenceKind::Declined));
    assert_eq!(kind(json!(7)).await, Ok(EvidenceKind::Unrecognised));
    assert_eq!(kind(json!(-1)).await, Ok(EvidenceKind::Unrecognised));
    for bad in [json!(null), json!("0"), json!(""), json!(false), json!([0])] {
        assert_eq!(kind(bad.clone()).await, Err(Refusal::Malformed("rechargeStatus")), "{bad}");
    }
    let text = recharge(&json!({})).to_string();
    assert!(is_malformed(&text.replace(r#""rechargeStatus":0,"#, "")).await, "missing");
    assert!(is_malformed(&text.replace(r#""rechargeStatus":0"#, r#""rechargeStatus":0.0"#)).await);
    let twice = text.replace(r#""rechargeStatus":0"#, r#""rechargeStatus":2,"rechargeStatus":0"#);
    assert!(is_malformed(&twice).await, "twice");
}

#[tokio::test]
async fn another_type_or_shape_is_refused_although_it_is_signed() {
    for name in ["rechargeId", "chainId", "currencyId", "uuid", "walletAddress", "rechargeAmount"] {
        let mut members = recharge(&json!({}));
        members.as_object_mut().unwrap().remove(name);
        assert!(is_malformed(&members.to_string()).await, "without {name}");
    }
    for change in [
        json!({"rechargeId": "900001"}),
        json!({"rechargeId": 0}),
        json!({"rechargeId": -1}),
        json!({"rechargeId": 2_147_483_648_i64}),
        json!({"chainId": "136"}),
        json!({"currencyId": null}),
        json!({"userId": "7046"}),
        json!({"walletId": [1]}),
        json!({"uuid": 1}),
        json!({"uuid": ""}),
        json!({"walletAddress": null}),
        json!({"transferHash": 1}),
        json!({"createTime": {}}),
        json!({"rechargeAmount": 12_345_678}),
        json!({"rechargeAmount": ""}),
        json!({"rechargeAmount": "-1"}),
        json!({"rechargeAmount": "+1"}),
        json!({"rechargeAmount": "1.5"}),
        json!({"rechargeAmount": "1e6"}),
        json!({"rechargeAmount": " 1"}),
        json!({"rechargeAmount": "١"}),
        json!({"rechargeAmount": "9".repeat(39)}),
        json!({"withdrawId": 1}),
    ] {
        assert!(is_malformed(&recharge(&change).to_string()).await, "{change}");
    }
    let float = recharge(&json!({})).to_string().replace("900001", "900001.0");
    assert!(is_malformed(&float).await);
    let payout = json!({
        "withdrawId": 1, "chainId": 136, "currencyId": 17, "outTradeNo": "WD01",
        "withdrawAmount": "25500000", "withdrawAddress": ADDRESS, "withdrawStatus": 0,
    });
    for body in [payout.to_string().as_str(), "", "[]", "null", "{}", "{} {}", "\u{feff}{}"] {
        assert!(is_malformed(body).await, "{body}");
    }
}

#[tokio::test]
async fn a_hexadecimal_address_has_one_spelling() {
    let lower = "0x00000000000000000000000000000000000000b5";
    for spelt in [lower, "0x00000000000000000000000000000000000000B5"] {
        let evidence = read(json!({"chainId": 101, "walletAddress": spelt})).await.unwrap();
        assert_eq!(evidence.deposit.unwrap().address, lower);
    }
}

#[tokio::test]
async fn amounts_of_eighteen_decimals_are_exact_and_dust_is_kept() {
    let bsc = async |amount: &str| {
        let change = json!({"chainId": 101, "currencyId": 18, "rechargeAmount": amount});
        let evidence = read(change).await.unwrap();
        (evidence.kind, evidence.dust.map(Dust::text), evidence.deposit.unwrap().network)
    };
    let network = || "BSC".to_owned();
    // More than 64 bits hold.
    assert_eq!(bsc("20000000000000000000").await, (usdt(20_000_000), None, network()));
    let dust = Some("250000000000e-18".to_owned());
    assert_eq!(bsc("25000000250000000000").await, (usdt(25_000_000), dust, network()));
    let dust = Some("999999999999e-18".to_owned());
    assert_eq!(bsc("999999999999").await, (usdt(0), dust, network()));
    let largest = "9".repeat(38);
    let minor = 10i128.pow(26) - 1;
    let dust = Some("999999999999e-18".to_owned());
    assert_eq!(bsc(&largest).await, (usdt(minor), dust, network()));
}

#[tokio::test]
async fn an_amount_that_we_cannot_express_is_left_to_a_person() {
    let whole = json!({"currencies": [{
        "chain_id": 136, "network": "TRON", "currency_id": 17, "symbol": "USDT",
        "contract": "TCONTRACT", "decimals": 0, "currency": "USDT",
    }]});
    let body = recharge(&json!({"rechargeAmount": "9".repeat(38)})).to_string();
    let evidence = verify_at(&bench_with(whole, true), &genuine(&body)).await.unwrap();
    assert_eq!((evidence.kind, evidence.dust), (EvidenceKind::Unrecognised, None));
}

#[tokio::test]
async fn what_is_not_on_the_list_is_never_a_payment() {
    let network = async |change: Value| {
        let evidence = read(change).await.unwrap();
        assert_eq!((evidence.kind, evidence.dust), (EvidenceKind::Unlisted, None));
        evidence.deposit.map(|deposit| deposit.network)
    };
    assert_eq!(network(json!({"currencyId": 1})).await.as_deref(), Some("TRON"));
    assert_eq!(network(json!({"currencyId": 18})).await.as_deref(), Some("TRON"));
    assert_eq!(network(json!({"chainId": 9})).await.as_deref(), Some("chain-9"));
    let elsewhere = json!({"chainId": 9, "walletAddress": "kaspa:qq0000"});
    assert_eq!(network(elsewhere).await, None);
    let nobodys = read(json!({"walletAddress": "kaspa:qq0000"})).await.unwrap();
    assert_eq!((nobodys.kind, nobodys.deposit), (EvidenceKind::Unrecognised, None));
}

#[tokio::test]
async fn what_people_read_is_bounded_and_a_stranger_is_none_of_our_users() {
    let evidence = read(json!({
        "uuid": "U-000001", "transferHash": format!("ab\ncd{}", "é0".repeat(200)),
        "fromAddress": "é".repeat(400),
    }));
    let evidence = evidence.await.unwrap();
    assert_eq!((evidence.user_mark, evidence.kind), (Some(UserMark::stranger()), usdt(12_345_678)));
    let transaction = evidence.transaction_id.unwrap();
    assert!(transaction.starts_with("abcd0") && transaction.len() <= 128, "{transaction}");
    assert!(evidence.raw.len() <= 400, "{} bytes", evidence.raw.len());
    assert!(evidence.raw.starts_with("rechargeId=900001&rechargeStatus=0&"), "{}", evidence.raw);
    assert_eq!(read(json!({"transferHash": null})).await.unwrap().transaction_id, None);
}

#[test]
fn the_acknowledgement_is_seven_bytes_of_plain_text() {
    let Acknowledgement { status, content_type, body } = bench().provider.acknowledgement();
    assert_eq!(
        (status, content_type.as_str(), body.as_bytes()),
        (200, "text/plain", &b"success"[..])
    );
}

#[tokio::test]
async fn a_payment_is_the_same_under_another_api_key_of_the_account() {
    let before = verify(&genuine(&recharge(&json!({})).to_string())).await.unwrap();
    let bench = bench_with(json!({"api_key": "PPTEST02", "account": "PPTEST01"}), true);
    let post = genuine(&recharge(&json!({})).to_string()).with(HEADERS[0], Some("PPTEST02"));
    let after = verify_at(&bench, &post).await.unwrap();
    assert_eq!(bench.provider.account(), "PPTEST01");
    assert_eq!((after.identity(), after.order_id), (before.identity(), before.order_id));
    // The former api_key is nobody's now.
    let old = genuine(&recharge(&json!({})).to_string());
    assert!(verify_at(&bench, &old).await.is_err());
}
