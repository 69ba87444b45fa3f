//! Headers, in requests and in answers.

use serde_json::Value;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::{Required, ResponseBuilder};

use super::words;

/// An optional text header of a request.
fn given(name: &str, description: &str, example: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema.schema_type(Type::String).build()))
        .example(Some(Value::from(example)))
        .build()
}

/// The trace that a request continues.
pub fn traces() -> [Parameter; 2] {
    [
        given(
            "X-Trace-Id",
            "The caller's trace: 1 to 128 of `[A-Za-z0-9._=;:-]`. Another is not refused, and not continued.",
            "checkout-7f3a",
            ObjectBuilder::new(),
        ),
        given(
            "traceparent",
            "W3C trace context; its trace id is continued when there is no `X-Trace-Id`.",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ObjectBuilder::new(),
        ),
    ]
}

/// `Idempotency-Key`.
pub fn idempotency_key() -> Parameter {
    given(
        "Idempotency-Key",
        "Names the order for ever, within the merchant: 1 to 255 printable ASCII characters, no space \
         at either end. Required, unless the member `idempotencyKey` is sent. Only the header is part \
         of the string to sign.",
        "order-1042-try-1",
        ObjectBuilder::new()
            .pattern(Some(words::IDEMPOTENCY_KEY))
            .min_length(Some(1))
            .max_length(Some(255)),
    )
}

fn answered_with(description: &str, schema: impl Into<Object>) -> Header {
    HeaderBuilder::new().schema(schema.into()).description(Some(description)).build()
}

/// What answers carry that say how something stands.
pub fn answered(response: ResponseBuilder) -> ResponseBuilder {
    let no_store = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["no-store"]));
    response
        .header("X-Trace-Id", trace())
        .header("Cache-Control", answered_with("Keep no copy.", no_store))
}

/// `X-Trace-Id`.
pub fn trace() -> Header {
    answered_with(
        "Finds everything that the request caused in the logs.",
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(words::TRACE_ID))
            .examples(["4bf92f3577b34da6a3ce929d0e0e4736"]),
    )
}

/// What files carry, which are the same for everybody.
pub fn filed(response: ResponseBuilder) -> ResponseBuilder {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let nosniff = text().enum_values(Some(["nosniff"]));
    response
        .header("X-Trace-Id", trace())
        .header("Cache-Control", answered_with("How long a copy is good.", text()))
        .header("X-Content-Type-Options", answered_with("It is what it says.", nosniff))
}

/// `Content-Security-Policy`.
pub fn policy() -> Header {
    answered_with("Nothing from other hosts.", Object::with_type(Type::String))
}

/// `Idempotency-Replayed`.
pub fn replayed() -> Header {
    answered_with(
        "`true`: the order was there already.",
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["true"])),
    )
}

/// `Retry-After`.
pub fn retry_after() -> Header {
    answered_with(
        "Seconds to wait before the same request is sent again.",
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)),
    )
}

/// `Allow`.
pub fn allow() -> Header {
    answered_with("The verbs that the path knows.", Object::with_type(Type::String))
}
