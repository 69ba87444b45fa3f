//! Reading requests: bounded, one JSON object, every member checked by name, the first fault named.

use std::collections::BTreeMap;
use std::time::Duration;

use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};
use serde_json::{Map, Value};

use super::answer::invocation_of;
use super::error::{ApiError, ErrorCode};
use super::{cursor, query};
use crate::app::resend::Range;
use crate::domain::{
    Action, CreateOrder, Currency, IdempotencyKey, MerchantId, Money, OrderId, OrderReference,
    ProviderName, UserId,
};
use crate::egress::{Destination, Rules, UrlRefusal};
use crate::json::Strict;

/// The longest body of a client's request, whether or not it is looked at.
pub const CREATE_BYTES_MAX: usize = 64 * 1024;
/// The longest callback body.
pub const CALLBACK_BYTES_MAX: usize = 128 * 1024;

pub(super) const EXPIRES_IN_SECS_DEFAULT: u64 = 1_800;
pub(super) const EXPIRES_IN_SECS_MIN: u64 = 60;
pub(super) const EXPIRES_IN_SECS_MAX: u64 = 86_400;
pub(super) const METADATA_MEMBERS_MAX: usize = 20;
pub(super) const METADATA_BYTES_MAX: usize = 4_096;
const KEY_GRAMMAR: &str = "must be 1 to 255 printable ASCII characters";
/// Which events are sent again: those that were given up, or whatever state they are in.
pub(super) const RESEND_STATES: [&str; 2] = ["GIVEN_UP", "ALL"];
pub(super) const MEMBERS: [&str; 9] = [
    "userId",
    "amount",
    "currency",
    "paymentMethod",
    "orderReference",
    "callbackUrl",
    "expiresInSeconds",
    "metadata",
    "idempotencyKey",
];

/// The body, if it is no longer than `bytes_max`.
pub fn body(request: &Request, bytes_max: usize) -> Result<&[u8], ApiError> {
    let body: &[u8] = request.body();
    if body.len() > bytes_max {
        let message = format!("the body may have at most {bytes_max} bytes");
        return Err(ApiError::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(body)
}

/// What Lambda calls this invocation; unique to it.
pub fn invocation(request: &Request) -> String {
    invocation_of(request)
}

/// A header that appears once and is visible ASCII.
pub fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The header `Idempotency-Key`, if there is one. One that cannot be read is refused before anybody asks
/// whose it is: its signature cannot be read either.
pub fn key_header(request: &Request) -> Result<Option<IdempotencyKey>, ApiError> {
    if !request.headers().contains_key("idempotency-key") {
        return Ok(None);
    }
    let key = header(request, "idempotency-key").and_then(IdempotencyKey::parse);
    key.map(Some).ok_or_else(|| ApiError::field("idempotencyKey", KEY_GRAMMAR))
}

/// Reads `POST /recharges`: the command and its idempotency key. `rules` say where notifications may go.
pub fn create_order(
    request: &Request,
    rules: &Rules,
) -> Result<(IdempotencyKey, CreateOrder), ApiError> {
    let members = members(request, &MEMBERS)?;
    let key = idempotency_key(request, &members)?;
    let amount = amount(&members)?;
    let command = CreateOrder {
        user: required(&members, "userId", UserId::parse, "must be 1 to 64 of [A-Za-z0-9_-]")?,
        amount,
        payment_method: optional(&members, "paymentMethod", ProviderName::parse, "is no provider")?,
        reference: optional(
            &members,
            "orderReference",
            OrderReference::parse,
            "must be 1 to 64 of [A-Za-z0-9._-]",
        )?,
        callback_url: callback_url(request, &members, rules)?,
        expires_in: expires_in(&members)?,
        metadata: metadata(&members)?,
    };
    Ok((key, command))
}

/// Reads `POST /users/{userId}/deposit-addresses`: the provider, if it names one. No body is as good as
/// an empty one.
pub fn payment_method(request: &Request) -> Result<Option<ProviderName>, ApiError> {
    if request.body().is_empty() {
        return Ok(None);
    }
    let members = members(request, &["paymentMethod"])?;
    optional(&members, "paymentMethod", ProviderName::parse, "is no provider")
}

/// Reads `POST /admin/reviews/{reviewId}/resolve`: what to do, and why. A user is one of `merchant`, unless the body
/// says whose; without either it has to.
pub fn resolution(
    request: &Request,
    merchant: Option<&MerchantId>,
) -> Result<(Action, String), ApiError> {
    const NAMES: [&str; 5] = ["action", "orderId", "userId", "merchant", "note"];
    let members = members(request, &NAMES)?;
    let known = |word: &str| Action::WORDS.contains(&word).then(|| word.to_owned());
    let issue = format!("must be one of {}", Action::WORDS.join(", "));
    let action = required(&members, "action", known, &issue)?;
    let note = |text: &str| {
        let good = (1..=200).contains(&text.chars().count())
            && !text.trim().is_empty()
            && !text.chars().any(char::is_control);
        good.then(|| text.to_owned())
    };
    let note = required(&members, "note", note, "must be 1 to 200 printable characters")?;
    let wanted: &[&'static str] = match action.as_str() {
        "credit_order" => &["orderId"],
        "credit_user" => &["userId", "merchant"],
        _ => &[],
    };
    for name in ["orderId", "userId", "merchant"] {
        if !wanted.contains(&name) && members.contains_key(name) {
            return Err(ApiError::field(name, format!("does not go with {action}")));
        }
    }
    let action = match action.as_str() {
        "credit_order" => {
            Action::CreditOrder(required(&members, "orderId", OrderId::parse, "is no order id")?)
        }
        "credit_user" => {
            let grammar = "must be 1 to 64 of [A-Za-z0-9_-]";
            let owner = optional(&members, "merchant", MerchantId::parse, grammar)?;
            let user = required(&members, "userId", UserId::parse, grammar)?;
            let owner = owner.or_else(|| merchant.cloned());
            let owner = owner.ok_or_else(|| ApiError::field("merchant", "is required"))?;
            Action::CreditUser(owner, user)
        }
        "reject" => Action::Reject,
        _ => Action::Refund,
    };
    Ok((action, note))
}

/// A part of a merchant's events that is to be sent again, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resend {
    /// Which events.
    pub range: Range,
    /// Where to go on.
    pub position: Option<String>,
    scope: Vec<String>,
}

impl Resend {
    /// Reads `POST /events/resend` of `merchant`.
    pub fn read(request: &Request, merchant: &MerchantId) -> Result<Resend, ApiError> {
        const TIME: &str = query::TIME;
        let members = members(request, &["from", "to", "state", "cursor"])?;
        let from = required(&members, "from", query::parse_time, TIME)?;
        let to = required(&members, "to", query::parse_time, TIME)?;
        if to <= from {
            return Err(ApiError::field("to", "must be later than from"));
        }
        let all = |word: &str| RESEND_STATES.iter().position(|known| *known == word);
        let issue = format!("must be one of {}", RESEND_STATES.join(", "));
        let all = optional(&members, "state", all, &issue)?.unwrap_or(0) == 1;
        let times = [from, to].map(|time| time.millis().to_string());
        let mut scope = vec!["resend".to_owned(), merchant.as_str().to_owned()];
        scope.extend(times.into_iter().chain([all.to_string()]));
        let open = |text: &str| cursor::open(&query::borrowed(&scope), text);
        let position = optional(&members, "cursor", open, "was not given out for this range")?;
        Ok(Resend { range: Range { from, to, all }, position, scope })
    }

    /// The cursor for the events after `position`.
    pub fn cursor(&self, position: &str) -> String {
        cursor::seal(&query::borrowed(&self.scope), position)
    }
}

/// Reads a request that says everything by its path: no body, or an empty object.
pub fn no_members(request: &Request) -> Result<(), ApiError> {
    if request.body().is_empty() { Ok(()) } else { members(request, &[]).map(|_| ()) }
}

/// The members of the body, which is one JSON object with no others than `known`.
fn members(request: &Request, known: &[&str]) -> Result<Map<String, Value>, ApiError> {
    let body = body(request, CREATE_BYTES_MAX)?;
    if !body.is_empty() && !header(request, "content-type").is_some_and(is_json) {
        let message = "send the body as application/json";
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, message));
    }
    let members = match serde_json::from_slice(body) {
        Ok(Strict(Value::Object(members))) => members,
        Ok(_) => return Err(malformed("the body must be one JSON object")),
        Err(error) => {
            let at = format!("line {} column {}", error.line(), error.column());
            return Err(malformed(format!(
                "the body is not one JSON object without duplicates: {at}"
            )));
        }
    };
    let unknown = members.keys().find(|name| !known.contains(&name.as_str()));
    match (unknown, known) {
        (None, _) => Ok(members),
        (Some(_), []) => Err(malformed("this request has no members")),
        (Some(name), known) => Err(ApiError::unknown(name, "member", known)),
    }
}

/// Whether a content type says JSON in UTF-8, which no page of another site can make a browser send without asking.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or("");
    essence.eq_ignore_ascii_case("application/json")
        && parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message)
}

fn idempotency_key(
    request: &Request,
    members: &Map<String, Value>,
) -> Result<IdempotencyKey, ApiError> {
    let in_body = optional(members, "idempotencyKey", IdempotencyKey::parse, KEY_GRAMMAR)?;
    match (key_header(request)?, in_body) {
        (Some(header), Some(body)) if header != body => {
            Err(ApiError::field("idempotencyKey", "differs from the Idempotency-Key header"))
        }
        (Some(key), _) | (None, Some(key)) => Ok(key),
        (None, None) => Err(ApiError::field(
            "idempotencyKey",
            "is required: send the Idempotency-Key header or the member",
        )),
    }
}

fn amount(members: &Map<String, Value>) -> Result<Money, ApiError> {
    let codes = Currency::ALL.map(Currency::code).join(", ");
    let issue = format!("must be one of {codes}");
    let currency = required(members, "currency", Currency::parse, &issue)?;
    let max = currency.order_max_minor();
    let issue = || {
        let code = currency.code();
        ApiError::field(
            "amount",
            format!("must be an integer from 1 to {max}, in {code} minor units"),
        )
    };
    let minor = members.get("amount").and_then(Value::as_i64).map(i128::from).ok_or_else(issue)?;
    if (1..=max).contains(&minor) { Ok(Money::new(minor, currency)) } else { Err(issue()) }
}

fn required<T>(
    members: &Map<String, Value>,
    name: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    issue: &str,
) -> Result<T, ApiError> {
    let missing = || ApiError::field(name, "is required");
    match members.get(name) {
        None | Some(Value::Null) => Err(missing()),
        Some(value) => value.as_str().and_then(parse).ok_or_else(|| ApiError::field(name, issue)),
    }
}

fn optional<T>(
    members: &Map<String, Value>,
    name: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    issue: &str,
) -> Result<Option<T>, ApiError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => required(members, name, parse, issue).map(Some),
    }
}

fn expires_in(members: &Map<String, Value>) -> Result<Duration, ApiError> {
    let secs = match members.get("expiresInSeconds") {
        None | Some(Value::Null) => Some(EXPIRES_IN_SECS_DEFAULT),
        Some(value) => value.as_u64(),
    };
    secs.filter(|secs| (EXPIRES_IN_SECS_MIN..=EXPIRES_IN_SECS_MAX).contains(secs))
        .map(Duration::from_secs)
        .ok_or_else(|| {
            let range = format!("from {EXPIRES_IN_SECS_MIN} to {EXPIRES_IN_SECS_MAX}");
            ApiError::field("expiresInSeconds", format!("must be an integer {range}"))
        })
}

fn metadata(members: &Map<String, Value>) -> Result<BTreeMap<String, String>, ApiError> {
    let issue = || {
        let limit = format!("{METADATA_MEMBERS_MAX} string members, {METADATA_BYTES_MAX} bytes");
        ApiError::field("metadata", format!("must be an object of at most {limit}"))
    };
    let entries = match members.get("metadata") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(issue()),
    };
    let bytes: usize =
        entries.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    if entries.len() > METADATA_MEMBERS_MAX || bytes > METADATA_BYTES_MAX {
        return Err(issue());
    }
    let member = |(name, value): (&String, &Value)| {
        let value = value.as_str().filter(|_| !name.is_empty()).ok_or_else(issue)?;
        Ok((name.clone(), value.to_owned()))
    };
    entries.iter().map(member).collect()
}

fn callback_url(
    request: &Request,
    members: &Map<String, Value>,
    rules: &Rules,
) -> Result<Option<String>, ApiError> {
    let parse = |text: &str| Some(text.to_owned());
    let Some(text) = optional(members, "callbackUrl", parse, "must be a string")? else {
        return Ok(None);
    };
    let refusal = match Destination::parse(&text, rules) {
        Ok(destination) if is_this_api(request, &destination) => UrlRefusal::OwnHost,
        Ok(_) => return Ok(Some(text)),
        Err(refusal) => refusal,
    };
    let mut error = ApiError::field("callbackUrl", refusal.reason());
    error.code = ErrorCode::CallbackUrlNotAllowed;
    Err(error)
}

/// Whether it is the API that the request came to, by the name that was called or by the gateway's own: nobody has to
/// have said so before.
fn is_this_api(request: &Request, destination: &Destination) -> bool {
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return false;
    };
    let host = destination.host();
    let called = context.domain_name.as_deref();
    let called = called.is_some_and(|called| called.eq_ignore_ascii_case(&host));
    let api = context.apiid.as_deref().filter(|api| !api.is_empty());
    let own = api.and_then(|api| host.strip_prefix(&api.to_ascii_lowercase()));
    (called && !destination.is_loopback())
        || own.is_some_and(|rest| rest.starts_with(".execute-api."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<(IdempotencyKey, CreateOrder), ApiError> {
        let mut request = Request::new(body.to_owned().into());
        request.headers_mut().insert("idempotency-key", "k-1".parse().unwrap());
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        create_order(&request, &Rules::default())
    }

    fn patched(name: &str, value: Value) -> Result<(IdempotencyKey, CreateOrder), ApiError> {
        let mut body =
            serde_json::json!({"userId": "u_1", "amount": 5_000_000, "currency": "USDT"});
        body[name] = value;
        parse(&body.to_string())
    }

    #[track_caller]
    fn check(name: &'static str, value: Value) {
        let error = patched(name, value.clone()).expect_err("must be refused");
        assert_eq!(error.field.unwrap().0, name, "{value}");
    }

    #[test]
    fn each_wrong_member_is_named() {
        for value in ["", "u 1", "u_\u{430}"] {
            check("userId", value.into());
        }
        check("userId", 1.into());
        for value in
            [0.into(), (-1).into(), "5000".into(), Value::Null, 1_000_000_000_001i64.into()]
        {
            check("amount", value);
        }
        check("currency", "usd".into());
        check("paymentMethod", "Trader".into());
        check("orderReference", "a/b".into());
        for value in [59.into(), 86_401.into(), "60".into(), Value::from(-60)] {
            check("expiresInSeconds", value);
        }
        check("idempotencyKey", "k-2".into());
        check("idempotencyKey", "".into());
        check("metadata", serde_json::json!({"a": 1}));
        check("metadata", serde_json::json!({"a": "x".repeat(4_096)}));
        check(
            "metadata",
            (0..21).map(|i| (i.to_string(), "".into())).collect::<Map<_, _>>().into(),
        );
    }

    #[test]
    fn numbers_that_are_no_plain_integers_are_refused() {
        for amount in ["1e2", "5.0", "18446744073709551616", "-0.0", "1e400", &"9".repeat(60_000)] {
            let body = format!(r#"{{"userId":"u_1","amount":{amount},"currency":"USDT"}}"#);
            assert!(parse(&body).is_err(), "{amount:.20}");
        }
    }

    #[test]
    fn bodies_that_are_not_one_plain_object_are_refused() {
        for body in ["", "[]", "null", "{} {}", "{\"userId\":\"u\",\"userId\":\"u\"}", "\u{feff}{}"]
        {
            assert_eq!(parse(body).expect_err(body).code, ErrorCode::InvalidArgument);
        }
        assert!(patched("Amount", 1.into()).is_err());
        assert!(patched("status", "SUCCESS".into()).is_err());
    }

    #[test]
    fn a_member_that_there_is_not_is_named_if_it_looks_like_one() {
        for name in ["foo", "user_id", "X-1.a"] {
            check(name, 1.into());
        }
        for name in ["", "a b", "\u{430}", "<x>", &"x".repeat(65)] {
            let error = patched(name, 1.into()).expect_err(name);
            assert_eq!((error.field, error.message.contains("userId")), (None, true), "{name}");
        }
    }

    #[test]
    fn a_body_says_that_it_is_json() {
        let read = |content_type: Option<&str>| {
            let body = r#"{"userId":"u_1","amount":1,"currency":"USDT","idempotencyKey":"k"}"#;
            let mut request = Request::new(body.into());
            if let Some(content_type) = content_type {
                request.headers_mut().insert("content-type", content_type.parse().unwrap());
            }
            create_order(&request, &Rules::default()).map_err(|error| error.code)
        };
        for good in [
            "application/json",
            "Application/JSON;charset=utf-8",
            r#"application/json; charset="UTF-8""#,
            "application/json; profile=x",
        ] {
            assert!(read(Some(good)).is_ok(), "{good}");
        }
        for bad in [
            None,
            Some(""),
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/json; charset=utf-16"),
            Some("application/jsonp"),
            Some("text/plain; application/json"),
        ] {
            assert_eq!(read(bad).expect_err("refused"), ErrorCode::UnsupportedMediaType, "{bad:?}");
        }
    }

    #[test]
    fn notifications_do_not_go_to_the_api_that_was_called() {
        let read = |url: &str| {
            let context = serde_json::json!({
                "apiId": "a1b2c3", "domainName": "Pay.Shop.example", "http": {"method": "POST"},
            });
            let context = RequestContext::ApiGatewayV2(serde_json::from_value(context).unwrap());
            let body = serde_json::json!({
                "userId": "u_1", "amount": 1, "currency": "USDT", "callbackUrl": url,
            });
            let mut request = Request::new(body.to_string().into()).with_request_context(context);
            request.headers_mut().insert("idempotency-key", "k-1".parse().unwrap());
            request.headers_mut().insert("content-type", "application/json".parse().unwrap());
            create_order(&request, &Rules::default()).map_err(|error| error.code)
        };
        for own in [
            "https://pay.shop.example/recharges",
            "https://PAY.shop.example",
            "https://a1b2c3.execute-api.us-east-1.amazonaws.com/x",
            "https://A1B2C3.Execute-Api.eu-west-1.amazonaws.com",
        ] {
            assert_eq!(read(own).expect_err(own), ErrorCode::CallbackUrlNotAllowed);
        }
        for other in [
            "https://shop.example/",
            "https://hooks.pay.shop.example/",
            "https://a1b2c3d.execute-api.us-east-1.amazonaws.com/x",
            "https://a1b2c3.example/",
        ] {
            assert!(read(other).is_ok(), "{other}");
        }
    }

    #[test]
    fn requests_that_mean_the_same_have_the_same_fingerprint() {
        let one = r#"{"userId":"u_1","amount":5000000,"currency":"USDT"}"#;
        let other = r#"{ "currency":"US\u0044T", "amount":5000000, "expiresInSeconds":1800, "userId":"u_1" }"#;
        let print = |body| parse(body).unwrap().1.fingerprint();
        assert_eq!(print(one), print(other));
        assert_ne!(print(one), patched("amount", 5_000_001.into()).unwrap().1.fingerprint());
        assert_ne!(print(one), patched("orderReference", "r".into()).unwrap().1.fingerprint());
    }
}
