//! The routes: what each takes and every status that it can answer.

use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
    PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::tag::{Tag, TagBuilder};
use utoipa::openapi::{Paths, Ref, RefOr, Required, Response, ResponseBuilder, Schema};

use super::{errors, events, headers, providers, schemas, words};
use crate::domain::OrderState;
use crate::http::query::{LIMIT_DEFAULT, LIMIT_MAX};

const RECHARGES: &str = "Recharges";
pub(super) const EVENTS: &str = "Events";
const USERS: &str = "Users";
const REVIEWS: &str = "Reviews";
const CALLBACKS: &str = "Provider callbacks";
const SERVICE: &str = "Service";

/// The groups of routes.
pub fn tags() -> Vec<Tag> {
    let tag = |name, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    vec![
        tag(RECHARGES, "Orders to top up a user's balance. Signed by the merchant."),
        tag(
            EVENTS,
            "What merchants are told of their orders, and what became of it. Signed by the merchant.",
        ),
        tag(USERS, "What a user holds, and the entries behind it. Signed by the merchant."),
        tag(
            REVIEWS,
            "Money that waits for people, and their decisions. Keys with the scope `admin`; signatures alone \
             count.",
        ),
        tag(CALLBACKS, "For payment providers; signed by their own rules."),
        tag(SERVICE, "Without authentication."),
    ]
}

/// Every route.
pub fn paths() -> Paths {
    let get = |operation: Operation| PathItem::new(HttpMethod::Get, operation);
    let post = |operation: Operation| PathItem::new(HttpMethod::Post, operation);
    let mut recharges = post(create());
    recharges.merge_operations(get(list()));
    let mut addresses = post(create_addresses());
    addresses.merge_operations(get(read_addresses()));
    PathsBuilder::new()
        .path("/recharges", recharges)
        .path("/recharges/{orderId}", get(read()))
        .path("/recharges/{orderId}/cancel", post(cancel()))
        .path("/recharges/{orderId}/explain", get(explain()))
        .path("/users/{userId}/deposit-addresses", addresses)
        .path("/admin/reviews", get(reviews()))
        .path("/admin/reviews/{reviewId}", get(review()))
        .path("/admin/reviews/{reviewId}/resolve", post(resolve()))
        .path("/recharges/{orderId}/deliveries", get(events::deliveries()))
        .path("/recharges/{orderId}/notify", post(events::notify()))
        .path("/events", get(events::events()))
        .path("/events/resend", post(events::resend()))
        .path("/users/{userId}/balances", get(balances()))
        .path("/users/{userId}/ledger", get(ledger()))
        .path("/recharges/callback", post(default_callback()))
        .path("/recharges/callback/{provider}", post(callback()))
        .path("/health", get(health()))
        .path("/openapi.json", get(openapi()))
        .path("/docs", get(docs()))
        .build()
}

/// An operation of a client whose key has `scope`.
pub(super) fn client(
    tag: &str,
    id: &str,
    (summary, description): (&str, &str),
    scope: &str,
) -> OperationBuilder {
    let operation = open(tag, id, (summary, description));
    operation.security(schemas::signed(scope)).security(schemas::authorized(scope))
}

/// An operation of a person whose key has the scope `admin`. A gateway's token does not count here.
fn person(id: &str, (summary, description): (&str, &str)) -> OperationBuilder {
    open(REVIEWS, id, (summary, description)).security(schemas::signed("admin"))
}

/// An operation that needs no signature of a client.
fn open(tag: &str, id: &str, (summary, description): (&str, &str)) -> OperationBuilder {
    OperationBuilder::new()
        .tag(tag)
        .operation_id(Some(id))
        .summary(Some(summary))
        .description(Some(description))
}

/// With the refusals of `statuses`, and what every request may carry.
pub(super) fn refused(operation: OperationBuilder, statuses: &[u16]) -> Operation {
    let mut operation = operation.parameters(Some(headers::traces()));
    for status in statuses {
        let (status, response) = errors::reference(*status);
        operation = operation.response(status, response);
    }
    operation.build()
}

fn create() -> Operation {
    let body = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("CreateRecharge")))
        .example(Some(json!({"userId": "u_1001", "amount": 5_000_000, "currency": "USDT",
            "orderReference": "order-1042", "metadata": {"cart": "c-77"}})));
    let body = RequestBodyBuilder::new()
        .required(Some(Required::True))
        .description(Some("One JSON object of at most 64 KiB."))
        .content("application/json", body.build());
    let words = (
        "Create an order",
        "Records the order and places it with the provider. `201` means *recorded*, never *credited*. \
         When the provider's outcome is unknown the order is `CREATED` and goes on by itself; when the \
         provider refuses, it is `FAILED`. When the provider cannot even be connected to it is \
         `503 PROVIDER_UNAVAILABLE`: the order is kept, and the same request again goes on with it. \
         With or without `paymentMethod` is the same request while the default provider is the order's. A suspended merchant or user is `403`; a merchant whose users are \
         registered gets `404` for others.",
    );
    let operation = client(RECHARGES, "createRecharge", words, "recharge:write")
        .parameter(headers::idempotency_key())
        .request_body(Some(body.build()))
        .response("201", answer("The order was recorded.", "Recharge", Some(order("PENDING"))))
        .response("200", replayed());
    refused(operation, &[400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503])
}

fn replayed() -> RefOr<Response> {
    let text = "The order was there already: the same key, the same request.";
    let header: Header = headers::replayed();
    let RefOr::T(mut response) = answer(text, "Recharge", Some(order("SUCCESS"))) else {
        return Response::new(text).into();
    };
    response.headers.insert("Idempotency-Replayed".to_owned(), header);
    response.into()
}

fn list() -> Operation {
    let time = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let states = OrderState::ALL.map(|state| format!("`{}`", state.as_str())).join(", ");
    let states_schema = Ref::from_schema_name("OrderStatus");
    let words = (
        "List orders",
        "The merchant's orders, newest first; all filters given must fit. A page may hold fewer orders \
         than `limit`: only `nextCursor: null` is the end. Unknown and repeated parameters are refused.",
    );
    let operation = client(RECHARGES, "listRecharges", words, "recharge:read")
        .parameter(query("userId", "Only this user's.", text().pattern(Some(words::USER_ID))))
        .parameter(query("status", &format!("Only in this state: {states}."), states_schema))
        .parameter(query(
            "orderReference",
            "Only the order with this reference: at most one.",
            text().pattern(Some(words::ORDER_REFERENCE)),
        ))
        .parameter(query(
            "from",
            "Only those recorded then or later: RFC 3339, years 1970 to 2286.",
            time(),
        ))
        .parameter(query("to", "Only those recorded before: RFC 3339, years 1970 to 2286.", time()))
        .parameters(Some(paging()))
        .response("200", answer("One page of orders.", "RechargePage", Some(page())));
    refused(operation, &[400, 401, 403, 413, 429, 500, 503])
}

fn read() -> Operation {
    let words = ("Read an order", "Where the order stands now.");
    let operation = client(RECHARGES, "getRecharge", words, "recharge:read")
        .parameter(order_id())
        .response("200", answer("The order.", "Recharge", Some(order("SUCCESS"))));
    refused(operation, &[401, 403, 404, 413, 429, 500, 503])
}

fn cancel() -> Operation {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("CancelRecharge")));
    let body = RequestBodyBuilder::new()
        .required(Some(Required::False))
        .description(Some("None, or an empty object."))
        .content("application/json", body.build());
    let words = (
        "Cancel an order",
        "Withdraws an order that is `CREATED` or `PENDING`. Sent again it answers the same. Once the order \
         has ended otherwise, or money has arrived, it is `409 CONFLICT`. Cancelling ends the order, not \
         the money: a payment that comes nevertheless is credited, or goes to `REVIEW`.",
    );
    let operation = client(RECHARGES, "cancelRecharge", words, "recharge:write")
        .parameter(order_id())
        .request_body(Some(body.build()))
        .response("200", answer("The order is cancelled.", "Recharge", Some(order("CANCELLED"))));
    refused(operation, &[400, 401, 403, 404, 409, 413, 415, 429, 500, 503])
}

fn explain() -> Operation {
    let words = (
        "Explain an order",
        "Why the money is or is not there: what is known from the provider and since when, each payment \
         that arrived, what happens next and when, and what the client can do.",
    );
    let operation = client(RECHARGES, "explainRecharge", words, "recharge:read")
        .parameter(order_id())
        .response("200", answer("The explanation.", "Explanation", None));
    refused(operation, &[401, 403, 404, 413, 429, 500, 503])
}

fn create_addresses() -> Operation {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("CreateDepositAddresses")));
    let body = RequestBodyBuilder::new()
        .required(Some(Required::False))
        .description(Some("None, or one JSON object."))
        .content("application/json", body.build());
    let words = (
        "Create a user's deposit addresses",
        "Once per user and payment method; sent again it answers the same addresses, and those of networks that were added since. Of a payment method that \
         takes no orders (`payprotocol`), whatever arrives there is credited to the user, with an order that \
         the payment makes; of one that takes orders (`trader`), they are where the user's orders are paid. \
         While the provider's answer is unknown it is `503`: the same request again goes on with it. It is \
         `503 PROVIDER_UNAVAILABLE` as well when the provider refuses to give addresses, and then for as long \
         as it does.",
    );
    let operation = client(USERS, "createDepositAddresses", words, "recharge:write")
        .parameter(user_id())
        .request_body(Some(body.build()))
        .response("200", answer("The addresses.", "DepositAddresses", None));
    refused(operation, &[400, 401, 403, 404, 413, 415, 429, 500, 503])
}

fn read_addresses() -> Operation {
    let words = (
        "Read a user's deposit addresses",
        "Those that were created, by hand or with an order, at every provider.",
    );
    let operation = client(USERS, "getDepositAddresses", words, "recharge:read")
        .parameter(user_id())
        .response("200", answer("The addresses.", "DepositAddresses", None));
    refused(operation, &[401, 403, 404, 413, 429, 500, 503])
}

fn reviews() -> Operation {
    let which = text().enum_values(Some(["open", "closed"])).default(Some("open".into()));
    let words = (
        "List reviews",
        "Authentic statements of providers that were put aside, oldest first. A merchant's admins see the \
         merchant's; the operator's see everybody's. A page can be empty and have a nextCursor.",
    );
    let operation = person("listReviews", words)
        .parameter(query("status", "Those that are open, or those that are closed.", which))
        .parameters(Some(paging()))
        .response("200", answer("One page of reviews.", "ReviewPage", None));
    refused(operation, &[400, 401, 403, 413, 429, 500, 503])
}

fn review() -> Operation {
    let words = ("Read a review", "Where it stands now.");
    let operation = person("getReview", words)
        .parameter(review_id())
        .response("200", answer("The review.", "Review", None));
    refused(operation, &[401, 403, 404, 413, 429, 500, 503])
}

fn resolve() -> Operation {
    let body = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ResolveReview")))
        .example(Some(json!({"action": "reject", "note": "a test payment"})));
    let body = RequestBodyBuilder::new()
        .required(Some(Required::True))
        .description(Some("One JSON object."))
        .content("application/json", body.build());
    let words = (
        "Decide a review",
        "From an amount on that the deployment sets, two keys have to decide the same. A whole decision is \
         carried out by the settlement worker, by the same rules and with the same guard against a second \
         credit as every payment; one that cannot be carried out opens the review again, with the reason.",
    );
    let operation = person("resolveReview", words)
        .parameter(review_id())
        .request_body(Some(body.build()))
        .response("202", answer("Written down.", "Review", None));
    refused(operation, &[400, 401, 403, 404, 409, 413, 415, 429, 500, 503])
}

fn review_id() -> Parameter {
    let example = "0123456789ABCDEFGHJKMNPQRS";
    path("reviewId", "The review.", example, Ref::from_schema_name("ReviewId"))
}

fn balances() -> Operation {
    let words = ("Read a user's balances", "What the user holds, per currency.");
    let operation = client(USERS, "getBalances", words, "recharge:read")
        .parameter(user_id())
        .response("200", answer("The balances.", "Balances", None));
    refused(operation, &[401, 403, 404, 413, 429, 500, 503])
}

fn ledger() -> Operation {
    let words = (
        "Read a user's ledger",
        "The entries behind the balances, newest first. An entry may be missing for a moment after it \
         was booked; balances and orders are never behind.",
    );
    let operation = client(USERS, "getLedger", words, "recharge:read")
        .parameter(user_id())
        .parameters(Some(paging()))
        .response("200", answer("One page of the ledger.", "Ledger", None));
    refused(operation, &[400, 401, 403, 404, 413, 429, 500, 503])
}

const CALLBACK: &str = "Acknowledged once the confirmation is safe in the queue; send it again until then. \
    Authentic ones that fit no order are kept for a person. The digest and its time are checked before \
    anything is believed.";

fn default_callback() -> Operation {
    let words = ("Confirm a payment to the default provider's account", CALLBACK);
    confirmed(open(CALLBACKS, "defaultCallback", words), &[])
}

fn callback() -> Operation {
    let words = ("Confirm a payment", CALLBACK);
    let name = text().pattern(Some(words::PROVIDER));
    let operation = open(CALLBACKS, "callback", words);
    confirmed(operation.parameter(path("provider", "The provider.", "trader", name)), &[404])
}

fn confirmed(operation: OperationBuilder, also: &[u16]) -> Operation {
    let body = ContentBuilder::new().schema(Some(text().build())).example(Some("success".into()));
    let empty = ContentBuilder::new().schema(Some(ObjectBuilder::new().build()));
    let safe = ResponseBuilder::new()
        .description("Safe, in the words that the provider's kind expects.")
        .header("X-Trace-Id", headers::trace())
        .content("text/plain", body.build())
        .content("application/json", empty.example(Some(json!({}))).build());
    let operation = operation
        .parameters(Some(providers::headers()))
        .request_body(Some(providers::body()))
        .response("200", safe.build());
    refused(operation, &[&[400, 401, 413, 415, 429, 500, 503], also].concat())
}

fn health() -> Operation {
    let words = ("Whether the service answers", "Looks at nothing behind it.");
    let operation = open(SERVICE, "health", words)
        .response("200", answer("It does.", "Health", Some(json!({"status": "ok"}))));
    refused(operation, &[429])
}

fn openapi() -> Operation {
    let words = ("This document", "OpenAPI 3.1.");
    let response = file("The document.", "application/json", ObjectBuilder::new().build());
    refused(open(SERVICE, "openapi", words).response("200", response.build()), &[429])
}

fn docs() -> Operation {
    let words = ("This document, for people", "A page that asks no other host for anything.");
    let response = file("The page.", "text/html", text().build());
    let response = response.header("Content-Security-Policy", headers::policy());
    refused(open(SERVICE, "docs", words).response("200", response.build()), &[429])
}

fn file(description: &str, content_type: &str, schema: Object) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    headers::filed(ResponseBuilder::new().description(description)).content(content_type, content)
}

/// A JSON answer by the name of its schema.
pub(super) fn answer(description: &str, schema: &str, example: Option<Value>) -> RefOr<Response> {
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).example(example).build();
    headers::answered(ResponseBuilder::new().description(description))
        .content("application/json", content)
        .build()
        .into()
}

/// Text.
pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// The order of the path.
pub(super) fn order_id() -> Parameter {
    path("orderId", "The order.", "RPW1GRR7605SQ5S6QYRBC3CZ4T", Ref::from_schema_name("OrderId"))
}

fn user_id() -> Parameter {
    path("userId", "The merchant's user.", "u_1001", text().pattern(Some(words::USER_ID)))
}

fn path(
    name: &str,
    description: &str,
    example: &str,
    schema: impl Into<RefOr<Schema>>,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(schema))
        .example(Some(example.into()))
        .build()
}

/// An optional parameter of the query.
pub(super) fn query(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// How long a page is, and where it begins.
pub(super) fn paging() -> [Parameter; 2] {
    let limit = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(1))
        .maximum(Some(LIMIT_MAX as isize))
        .default(Some(LIMIT_DEFAULT.into()));
    let cursor =
        "Where to go on: the `nextCursor` of the page before, with the same other parameters.";
    [query("limit", "The most entries of the page.", limit), query("cursor", cursor, text())]
}

/// An order in `status`, as an example.
pub(super) fn order(status: &str) -> Value {
    let (reason, paid, message) = match status {
        "SUCCESS" => (json!("paid_exact"), 5_000_000, "paid and credited"),
        "CANCELLED" => (json!("cancelled_by_client"), 0, "cancelled by the client"),
        _ => (Value::Null, 0, "waiting for the payment"),
    };
    json!({
        "orderId": "RPW1GRR7605SQ5S6QYRBC3CZ4T", "status": status, "reason": reason, "userId": "u_1001",
        "amount": 5_000_000, "currency": "USDT", "receivedAmount": paid, "creditedAmount": paid,
        "paymentMethod": "trader", "transactionId": "cz-79R6ME96KC2TEJ8QBSSMKGQAKD176WJG",
        "orderReference": "order-1042", "payments": [],
        "payment": {"address": "TPRN672E5RNG9R6FSNXCNDNV3EQ7G0JAJZ", "network": "TRON",
            "amount": "5.000000", "expiresAt": "2026-01-01T00:30:00Z"},
        "metadata": {"cart": "c-77"}, "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:05:00Z", "expiresAt": "2026-01-01T00:30:00Z", "message": message,
    })
}

fn page() -> Value {
    json!({"recharges": [order("SUCCESS")], "nextCursor": null})
}
