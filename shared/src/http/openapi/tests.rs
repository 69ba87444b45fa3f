//! What the document says beside what the code does.

use std::collections::BTreeSet;

use regex_lite::Regex;
use serde_json::Value;

use super::{document, words};
use crate::domain::{
    Currency, IdempotencyKey, OrderId, OrderReference, ProviderName, TraceId, UserId,
};
use crate::http::body::CreateRecharge;
use crate::http::request::{self, MEMBERS};

fn schema(name: &str) -> Value {
    let document = serde_json::to_value(document()).unwrap();
    document["components"]["schemas"][name].clone()
}

#[test]
fn a_create_has_the_members_that_are_read_and_no_others() {
    let schema = schema("CreateRecharge");
    let documented: BTreeSet<&str> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(documented, BTreeSet::from(MEMBERS));
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["userId", "amount", "currency"]));
}

#[test]
fn the_example_of_a_create_is_accepted() {
    let example = |name: &str| schema("CreateRecharge")["properties"][name]["example"].clone();
    let text = |name: &str| example(name).as_str().map(str::to_owned);
    let body = CreateRecharge {
        user_id: text("userId").unwrap(),
        amount: example("amount").as_i64().unwrap(),
        currency: Currency::Usdt.code().to_owned(),
        payment_method: text("paymentMethod"),
        order_reference: text("orderReference"),
        callback_url: text("callbackUrl"),
        expires_in_seconds: example("expiresInSeconds").as_i64(),
        metadata: None,
        idempotency_key: text("idempotencyKey"),
    };
    let mut request = lambda_http::Request::new(serde_json::to_string(&body).unwrap().into());
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let (key, command) = request::create_order(&request, &crate::egress::Rules::default()).unwrap();
    assert_eq!(Some(key.as_str().to_owned()), body.idempotency_key);
    assert_eq!(command.amount.minor(), i128::from(body.amount));
}

#[test]
fn patterns_accept_what_the_parsers_accept() {
    let mut texts: Vec<String> = (0u8..128).map(|byte| char::from(byte).to_string()).collect();
    for byte in 0u8..128 {
        let byte = char::from(byte);
        texts.extend([format!("a{byte}"), format!("{byte}a"), format!("a{byte}a")]);
        texts.push(format!("R{}", byte.to_string().repeat(25)));
    }
    for length in [25, 26, 27, 31, 32, 33, 63, 64, 65, 127, 128, 129, 254, 255, 256] {
        texts.extend(["a", "R", "A"].map(|letter| letter.repeat(length)));
    }
    texts.extend(["", "é", "trader", "u_\u{430}"].map(str::to_owned));
    let check = |pattern: &str, parses: &dyn Fn(&str) -> bool| {
        let pattern = Regex::new(pattern).unwrap();
        for text in &texts {
            assert_eq!(pattern.is_match(text), parses(text), "{pattern} {text:?}");
        }
    };
    check(words::ORDER_ID, &|text| OrderId::parse(text).is_some());
    check(words::USER_ID, &|text| UserId::parse(text).is_some());
    check(words::ORDER_REFERENCE, &|text| OrderReference::parse(text).is_some());
    check(words::PROVIDER, &|text| ProviderName::parse(text).is_some());
    check(words::IDEMPOTENCY_KEY, &|text| IdempotencyKey::parse(text).is_some());
    check(words::TRACE_ID, &|text| TraceId::parse(text).is_some());
}
