//! The schemas of all bodies, with the limits that requests are held to, and how clients authenticate.

use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ComponentsBuilder, KnownFormat, Object, ObjectBuilder,
    SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, Ref, RefOr, Schema};

use super::{errors, providers, words};
use crate::domain::Currency;
use crate::egress::URL_BYTES_MAX;
use crate::http::body::{
    Balance, Balances, CreateDepositAddresses, CreateRecharge, Decision, Deliveries, Delivery,
    DeliveryAttempt, DepositAddress, DepositAddresses, Explanation, Ledger, LedgerEntry, LedgerLeg,
    NextView, Payment, Problem, ProblemDetail, ProviderView, ReceivedPayment, Recharge,
    RechargePage, ResendEvents, Resent, ResolveReview, Review, ReviewPage, SentAgain,
};
use crate::http::request::{
    EXPIRES_IN_SECS_DEFAULT, EXPIRES_IN_SECS_MAX, EXPIRES_IN_SECS_MIN, METADATA_MEMBERS_MAX,
};

/// The closed lists and grammars.
fn of_words() -> ComponentsBuilder {
    ComponentsBuilder::new()
        .schema_from::<words::PaymentStatus>()
        .schema_from::<words::Situation>()
        .schema_from::<words::ProviderSays>()
        .schema_from::<words::NextStep>()
        .schema_from::<words::ClientCan>()
        .schema_from::<words::ReviewStatus>()
        .schema_from::<words::StatementKind>()
        .schema_from::<words::ReviewAction>()
        .schema_from::<words::ParkReason>()
        .schema_from::<words::ReviewId>()
        .schema_from::<words::Currency>()
        .schema_from::<words::OrderStatus>()
        .schema_from::<words::Reason>()
        .schema_from::<words::EntryKind>()
        .schema_from::<words::ErrorCode>()
        .schema_from::<words::EventType>()
        .schema_from::<words::DeliveryState>()
        .schema_from::<words::ResendState>()
        .schema_from::<words::OrderId>()
}

/// Everything that the operations refer to.
pub fn components() -> Components {
    let mut builder = of_words()
        .schema_from::<Recharge>()
        .schema_from::<Payment>()
        .schema_from::<RechargePage>()
        .schema_from::<Balances>()
        .schema_from::<Balance>()
        .schema_from::<Ledger>()
        .schema_from::<LedgerEntry>()
        .schema_from::<LedgerLeg>()
        .schema_from::<Deliveries>()
        .schema_from::<Delivery>()
        .schema_from::<DeliveryAttempt>()
        .schema_from::<SentAgain>()
        .schema_from::<ResendEvents>()
        .schema_from::<Resent>()
        .schema_from::<Problem>()
        .schema_from::<ProblemDetail>()
        .schema_from::<ReceivedPayment>()
        .schema_from::<CreateDepositAddresses>()
        .schema_from::<DepositAddresses>()
        .schema_from::<DepositAddress>()
        .schema_from::<Explanation>()
        .schema_from::<ProviderView>()
        .schema_from::<NextView>()
        .schema_from::<ReviewPage>()
        .schema_from::<Review>()
        .schema_from::<Decision>()
        .schema("ResolveReview", resolve_review())
        .schema("CreateRecharge", create_recharge())
        .schema("CancelRecharge", nothing())
        .schema("EventPage", event_page())
        .schema("Event", event())
        .schema("EventData", event_data())
        .schema("TraderCallback", providers::trader())
        .schema("StandardEvent", providers::standard())
        .schema("PayProtocolCallback", providers::payprotocol())
        .schema("GatewayMessage", gateway_message())
        .schema("Health", health());
    for (name, response) in errors::responses() {
        builder = builder.response(name, response);
    }
    for (name, header, description) in SIGNATURE {
        let key = ApiKeyValue::with_description(header, description);
        builder = builder.security_scheme(name, SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "Instead of a signature, where the deployment has a JWT authorizer in front \
             (`ClientAuth` = `signature_or_jwt`): the claim `merchant` names the merchant, `scope` the \
             scopes. Elsewhere it is ignored.",
        ))
        .build();
    builder.security_scheme(TOKEN, SecurityScheme::Http(token)).build()
}

/// All three headers together, by a key with `scope`.
pub fn signed(scope: &str) -> SecurityRequirement {
    let [key, timestamp, signature] = SIGNATURE.map(|(name, ..)| name);
    let none: [&str; 0] = [];
    SecurityRequirement::new(key, [scope]).add(timestamp, none).add(signature, none)
}

/// The token of a deployment that trusts an authorizer, with `scope` in its claim.
pub fn authorized(scope: &str) -> SecurityRequirement {
    SecurityRequirement::new(TOKEN, [scope])
}

const TOKEN: &str = "token";

const SIGNATURE: [(&str, &str, &str); 3] = [
    (
        "apiKey",
        "X-Api-Key",
        "The key's id. A key belongs to one merchant and has scopes: `recharge:write` for what changes \
         something, `recharge:read` for the rest, `admin` for reviews alone.",
    ),
    (
        "timestamp",
        "X-Timestamp",
        "When the request was signed: Unix seconds, exactly ten digits, within 300 seconds of the \
         service's clock.",
    ),
    (
        "signature",
        "X-Signature",
        "`v1=` and the lower-case hex HMAC-SHA256, under the key's secret, of the string to sign:\n\n\
         ```\nv1\n<method>\n<path, with ?query exactly as sent>\n<X-Timestamp>\n<X-Api-Key>\n\
         <Idempotency-Key header, or nothing>\n<lower-case hex SHA-256 of the raw body>\n```\n\n\
         joined by LF, without one at the end. Pattern: `^v1=[0-9a-f]{64}$`.",
    ),
];

/// The derived schema, with the limits of `request` and `domain` put in.
fn create_recharge() -> Schema {
    let RefOr::T(Schema::Object(mut object)) = <CreateRecharge as utoipa::PartialSchema>::schema()
    else {
        return Schema::default();
    };
    let grammar = |pattern: &'static str| move |member: &mut Object| pattern_of(member, pattern);
    limit(&mut object, "userId", grammar(words::USER_ID));
    limit(&mut object, "paymentMethod", grammar(words::PROVIDER));
    limit(&mut object, "orderReference", grammar(words::ORDER_REFERENCE));
    limit(&mut object, "idempotencyKey", grammar(words::IDEMPOTENCY_KEY));
    limit(&mut object, "amount", |member| {
        let max = Currency::ALL.map(Currency::order_max_minor).into_iter().max();
        member.minimum = Some(1.into());
        member.maximum = max.and_then(|max| isize::try_from(max).ok()).map(Into::into);
    });
    limit(&mut object, "expiresInSeconds", |member| {
        member.minimum = Some(number(EXPIRES_IN_SECS_MIN));
        member.maximum = Some(number(EXPIRES_IN_SECS_MAX));
        member.default = Some(EXPIRES_IN_SECS_DEFAULT.into());
    });
    limit(&mut object, "callbackUrl", |member| {
        pattern_of(member, "^https://");
        member.max_length = Some(URL_BYTES_MAX);
    });
    limit(&mut object, "metadata", |member| {
        member.max_properties = Some(METADATA_MEMBERS_MAX);
        let name = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).build();
        member.property_names = Some(Box::new(name.into()));
    });
    object.into()
}

fn resolve_review() -> Schema {
    let RefOr::T(Schema::Object(mut object)) = <ResolveReview as utoipa::PartialSchema>::schema()
    else {
        return Schema::default();
    };
    limit(&mut object, "userId", |member| pattern_of(member, words::USER_ID));
    limit(&mut object, "merchant", |member| pattern_of(member, words::USER_ID));
    limit(&mut object, "note", |member| {
        member.min_length = Some(1);
        member.max_length = Some(200);
    });
    object.into()
}

fn pattern_of(member: &mut Object, pattern: &str) {
    member.pattern = Some(pattern.to_owned());
}

fn number(value: u64) -> utoipa::Number {
    usize::try_from(value).unwrap_or(usize::MAX).into()
}

fn limit(object: &mut Object, name: &str, set: impl FnOnce(&mut Object)) {
    if let Some(RefOr::T(Schema::Object(member))) = object.properties.get_mut(name) {
        set(member);
    }
}

fn event_page() -> Object {
    let events = ArrayBuilder::new().items(Ref::from_schema_name("Event"));
    let more = ObjectBuilder::new().schema_type(Type::Boolean);
    ObjectBuilder::new()
        .description(Some("One page of events, oldest first."))
        .property("events", events)
        .property("next", or_null(
            "What `after` takes to go on: now, if there is more, or later. `null` before the first event.",
        ))
        .property("hasMore", more.description(Some("Whether there is more already.")))
        .required("events")
        .required("next")
        .required("hasMore")
        .build()
}

/// A notification's body, and its id.
fn event() -> Object {
    let time = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some("When it happened: RFC 3339, UTC."))
        .examples(["2026-01-01T00:05:00Z"]);
    let id = "The header `webhook-id` of the notification: keep it to know what comes twice.";
    let mut object = ObjectBuilder::new()
        .description(Some("A notification: the members beside `id` are its body."))
        .property(
            "id",
            ObjectBuilder::from(text("msg_4B1W0NZ5Q4X8T2J7C9D3F6G1HK")).description(Some(id)),
        )
        .property("type", Ref::from_schema_name("EventType"))
        .property("timestamp", time)
        .property("data", Ref::from_schema_name("EventData"));
    for name in ["id", "type", "timestamp", "data"] {
        object = object.required(name);
    }
    object.build()
}

/// The order, and which of its notifications it is.
fn event_data() -> Schema {
    let RefOr::T(Schema::Object(mut object)) = <Recharge as utoipa::PartialSchema>::schema() else {
        return Schema::default();
    };
    let sequence = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).description(
        Some("Which of the order's events it is: a lower one that comes later is older."),
    );
    object.description = Some("The order as it stood then.".to_owned());
    object.properties.insert("sequence".to_owned(), sequence.into());
    object.required.push("sequence".to_owned());
    object.into()
}

fn or_null(description: &str) -> ObjectBuilder {
    let types = SchemaType::from_iter([Type::String, Type::Null]);
    ObjectBuilder::new().schema_type(types).description(Some(description))
}

fn nothing() -> Object {
    ObjectBuilder::new()
        .description(Some("Nothing: the path says it all."))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .build()
}

fn gateway_message() -> Object {
    ObjectBuilder::new()
        .description(Some("What the gateway says before the service sees a request."))
        .property("message", text("Too Many Requests"))
        .required("message")
        .build()
}

fn health() -> Object {
    let status = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["ok"]));
    ObjectBuilder::new().property("status", status).required("status").build()
}

fn text(example: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).examples([example]).build()
}
