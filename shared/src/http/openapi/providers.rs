//! The callback that the provider `trader` sends, as far as it is the same for every account.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{AdditionalProperties, Object, ObjectBuilder, Type};
use utoipa::openapi::{Ref, Required};

use super::words;

/// What the provider sends. Which fields are signed, and how, is a setting of the account.
pub fn callback() -> Object {
    let text = |pattern: &str, example: &str, description: &str| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(pattern))
            .examples([example])
            .description(Some(description))
    };
    let id = "Whom the payment is for, in the words we gave the provider.";
    let fields = [
        (
            "amount",
            text("^[0-9]{1,15}$", "50000", "What arrived, in the account's callback scale."),
        ),
        ("appid", text("^[!-~]+$", "APPTEST0001", "Our account with the provider.")),
        ("localusermark", text("^M[0-9A-HJKMNP-TV-Z]{25}$", "M0123456789ABCDEFGHJKMNPQR", id)),
        ("orderid", text(words::ORDER_ID, "RPW1GRR7605SQ5S6QYRBC3CZ4T", "Our order id.")),
        ("t", text("^[0-9]{10}$", "1767225600", "When it was signed: Unix seconds, ten digits.")),
        ("sign", text("^[0-9A-Fa-f]+$", SIGN, "The digest over the other fields and the key.")),
    ];
    let mut object = ObjectBuilder::new()
        .description(Some(
            "A confirmed payment. Believed only when every field follows its grammar, no field is \
             unknown or repeated, and the digest fits.",
        ))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    for (name, schema) in fields {
        object = object.property(name, schema).required(name);
    }
    object.build()
}

const SIGN: &str = "5D3A9C1E7B2F4860A1C3E5F7092B4D6F8E1A3C5B";

/// The body of a callback; what a missing content type means is the provider's.
pub fn body() -> RequestBody {
    let mut body = RequestBodyBuilder::new().required(Some(Required::True)).description(Some(
        "At most 128 KiB. Form fields; as JSON one flat object of texts and integers.",
    ));
    for media in ["application/x-www-form-urlencoded", "application/json", "multipart/form-data"] {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("TraderCallback")));
        body = body.content(media, content.build());
    }
    body.build()
}
