//! Events made by hand, in the ways that they can be wrong.

mod calls;

use http::HeaderMap;
use serde_json::{Value, json};

use super::*;

const KEY: &str = "standard-test-key-0123456789";
const ORDER: &str = "R0123456789ABCDEFGHJKMNPQR";
const NOW: i64 = 1_700_000_000;

fn event(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut event = json!({
        "eventId": "evt_1", "type": "payment.succeeded", "orderId": ORDER, "providerTxnId": "txn_1",
        "amount": 5_000, "currency": "USD", "status": "SUCCESS", "livemode": true,
    });
    change(&mut event);
    event.to_string().into_bytes()
}

fn headers(id: &str, timestamp: &str, signatures: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in HEADERS.into_iter().zip([id, timestamp, signatures]) {
        headers.insert(name, value.parse().unwrap());
    }
    headers
}

fn fits(headers: &HeaderMap, body: &[u8], key: &str) -> Result<bool, Refusal> {
    let received_at = Timestamp::from_secs(NOW);
    let callback = RawCallback { headers, body, received_at };
    signing::claim(&callback).map(|claim| claim.fits(key, body))
}

fn signed(body: &[u8]) -> String {
    format!("v1,{}", signature(KEY, "evt_1", "1700000000", body))
}

#[test]
fn a_signature_of_the_list_is_enough_under_the_right_key() {
    let body = event(|_| {});
    let good = signed(&body);
    let with = |list: &str| headers("evt_1", "1700000000", list);
    assert_eq!(fits(&with(&good), &body, KEY), Ok(true));
    assert_eq!(fits(&with(&format!("v1,AAAA v1a,xyz {good}")), &body, KEY), Ok(true));
    assert_eq!(fits(&with(&good), &body, "another key"), Ok(false));
    assert_eq!(fits(&with(&good), b"{}", KEY), Ok(false));
    for nothing in ["", " ", "\t\r\n", "\u{a0}"] {
        let of_nothing = format!("v1,{}", signature(nothing, "evt_1", "1700000000", &body));
        assert_eq!(fits(&with(&of_nothing), &body, nothing), Ok(false), "{nothing:?}");
    }
    for bad in ["", "v1,", "v1", good.trim_end_matches('='), &good[3..]] {
        assert_eq!(fits(&with(bad), &body, KEY), Ok(false), "{bad}");
    }
    let many = with(&[good.as_str(); 9].join(" "));
    assert_eq!(fits(&many, &body, KEY), Err(Refusal::Signature));
}

#[test]
fn the_parts_that_are_signed_cannot_be_cut_differently() {
    let body = event(|_| {});
    let good = signed(&body);
    for (id, timestamp) in [
        ("evt.1", "1700000000"),
        ("", "1700000000"),
        ("evt_1", "170000000"),
        ("evt_1", "-700000000"),
        ("evt_1", "1700000000000"),
        ("evt_1", ""),
    ] {
        let found = fits(&headers(id, timestamp, &good), &body, KEY);
        assert_eq!(found, Err(Refusal::Signature), "{id} {timestamp}");
    }
    for name in HEADERS {
        let genuine = headers("evt_1", "1700000000", &good);
        let mut twice = genuine.clone();
        twice.append(name, genuine[name].clone());
        assert_eq!(fits(&twice, &body, KEY), Err(Refusal::Signature), "{name} twice");
        let mut without = genuine;
        without.remove(name);
        assert_eq!(fits(&without, &body, KEY), Err(Refusal::Signature), "without {name}");
    }
}

#[test]
fn events_are_read_strictly() {
    let read =
        |body: &[u8]| event::read(Some("application/json"), "evt_1", body).map(|event| event.kind);
    let usd = EvidenceKind::Paid(Money::new(5_000, Currency::Usd));
    assert_eq!(read(&event(|_| {})), Ok(usd));
    assert_eq!(
        read(&event(|e| {
            e["type"] = "payment.failed".into();
            e["status"] = "FAILED".into();
        })),
        Ok(EvidenceKind::Declined)
    );
    for (name, value) in [("type", "payment.chargeback"), ("status", "FAILED"), ("type", "x")] {
        assert_eq!(read(&event(|e| e[name] = value.into())), Ok(EvidenceKind::Unrecognised));
    }
    for (name, value) in [
        ("amount", json!(1.5)),
        ("amount", json!("5000")),
        ("amount", json!(i64::MAX as u64 + 1)),
        ("amount", Value::Null),
        ("currency", json!("usd")),
        ("currency", json!("BTC")),
        ("providerTxnId", json!("a#b")),
        ("providerTxnId", json!("")),
        ("livemode", json!("true")),
        ("orderId", json!(7)),
        ("account", json!(7)),
        ("surprise", json!(1)),
    ] {
        let body = event(|e| e[name] = value.clone());
        assert_eq!(read(&body), Ok(EvidenceKind::Unrecognised), "{name} {value}");
    }
    for name in ["type", "orderId", "providerTxnId", "amount", "currency", "status", "livemode"] {
        let body = event(|e| drop(e.as_object_mut().unwrap().remove(name)));
        assert_eq!(read(&body), Ok(EvidenceKind::Unrecognised), "{name}");
    }
    for bad in ["", "[]", "7", "{} {}", "{\"type\":"] {
        assert!(read(bad.as_bytes()).is_err(), "{bad}");
    }
    let twice = String::from_utf8(event(|_| {})).unwrap().replacen('{', r#"{"amount":1,"#, 1);
    assert!(read(twice.as_bytes()).is_err());
    assert_eq!(
        event::read(Some("text/plain"), "evt_1", &event(|_| {})).map(|event| event.kind),
        Err(Refusal::UnsupportedMediaType)
    );
}

#[test]
fn two_unknown_statements_about_one_transaction_are_two() {
    let statement = |id: &str, kind: &str| {
        let body = event(|e| e["type"] = kind.into());
        event::read(None, id, &body).map(|event| event.payment_id)
    };
    assert_eq!(statement("evt_2", "payment.updated"), Ok("evt_2".to_owned()));
    assert_eq!(statement("evt_3", "payment.chargeback"), Ok("evt_3".to_owned()));
    assert_eq!(statement("evt_4", "payment.succeeded"), Ok("txn_1".to_owned()));
}

#[test]
fn what_is_put_aside_keeps_its_substance() {
    let body = event(|e| {
        e["type"] = "payment.chargeback".into();
        e["note"] = "é".repeat(5_000).into();
    });
    let read = event::read(None, "evt_2", &body).unwrap_or_else(|_| panic!("an event"));
    assert_eq!(read.transaction_id.as_deref(), Some("txn_1"));
    assert!(
        read.raw.len() <= crate::domain::evidence::RAW_BYTES_MAX
            && read.raw.contains(r#""amount":5000"#)
    );
}

/// The example of <https://github.com/standard-webhooks/standard-webhooks>: a secret as it is handed out.
#[test]
fn a_secret_is_what_its_base64_says() {
    let body = br#"{"test": 2432232314}"#;
    let (key, id) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek");
    let signature = signing::signature(key, id, "1614265330", body);
    assert_eq!(signature, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    for nothing in ["whsec_", "whsec_?", "whsec_AAAA", "whsec_MDEyMzQ1Njc4OTAxMjM0"] {
        assert_eq!(signing::signature(nothing, id, "1614265330", body), "");
    }
}

#[test]
fn settings_that_would_not_be_safe_are_refused() {
    let check = |change: Value| {
        let mut all = json!({"account": "A1", "base_url": "https://p.invalid", "currency": "USD"});
        for (name, value) in change.as_object().unwrap() {
            all[name] = value.clone();
        }
        serde_json::from_value::<Settings>(all).ok().and_then(|settings| settings.check().ok())
    };
    assert_eq!(check(json!({})), Some(Currency::Usd));
    for bad in [
        json!({"account": "a#b"}),
        json!({"base_url": "http://p.invalid"}),
        json!({"currency": "DOGE"}),
        json!({"order_path": "orders"}),
        json!({"call_timeout_ms": 0}),
        json!({"call_timeout_ms": 7_501}),
        json!({"typo": 1}),
    ] {
        assert_eq!(check(bad.clone()), None, "{bad}");
    }
}
