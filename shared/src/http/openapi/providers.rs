//! The callbacks of payment providers: of the kind `trader`, as far as all accounts are alike, of the kind
//! `standard`, which follows Standard Webhooks, and of the kind `payprotocol`, which speaks of deposits.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{
    AdditionalProperties, KnownFormat, Object, ObjectBuilder, OneOfBuilder, SchemaFormat, Type,
};
use utoipa::openapi::{Ref, Required};

use super::words;
use crate::providers::payprotocol;
use crate::providers::standard::HEADERS;

fn text(pattern: &str, example: &str, description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .examples([example])
        .description(Some(description))
}

fn closed(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .description(Some(description))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

/// What a provider of the kind `trader` sends. Which fields are signed, and how, is a setting.
pub fn trader() -> Object {
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
    let mut object = closed(
        "A confirmed payment. Believed only when every field follows its grammar, no field is unknown \
         or repeated, and the digest fits.",
    );
    for (name, schema) in fields {
        if name == "amount" || name == "t" {
            let number = ObjectBuilder::new()
                .schema_type(Type::Integer)
                .description(Some("The same as a JSON integer; in a form everything is text."));
            let either = OneOfBuilder::new().item(schema).item(number);
            object = object.property(name, either).required(name);
            continue;
        }
        object = object.property(name, schema).required(name);
    }
    object.build()
}

const SIGN: &str = "5D3A9C1E7B2F4860A1C3E5F7092B4D6F8E1A3C5B";

/// What a provider of the kind `standard` sends.
pub fn standard() -> Object {
    let any = |example: &str, description: &str| text("^[^\\x00]{1,128}$", example, description);
    let fields = [
        ("eventId", any("evt_1", "The provider's own number of the event.")),
        ("type", any("payment.succeeded", "`payment.succeeded` or `payment.failed`.")),
        ("orderId", any("RPW1GRR7605SQ5S6QYRBC3CZ4T", "Our order id.")),
        (
            "providerTxnId",
            text("^[A-Za-z0-9._-]{1,64}$", "txn-9", "The payment; credited once, for ever."),
        ),
        ("currency", any("USD", "The currency's code.")),
        ("status", any("SUCCESS", "`SUCCESS` or `FAILED`, as `type` says.")),
        ("occurredAt", any("2026-01-01T00:05:00Z", "When it happened, by the provider's clock.")),
        ("account", any("acct_1", "Our account with the provider; ours when it is left out.")),
    ];
    let mut object = closed(
        "A payment event. A type that is not known, or does not go with its status, is acknowledged and \
         kept for a person.",
    );
    for (name, schema) in fields {
        object = object.property(name, schema);
    }
    let amount = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .examples([5_000])
        .description(Some("What arrived, in minor units of `currency`."));
    let livemode = ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some("Whether real money was moved; the account is of one kind."));
    object = object.property("amount", amount).property("livemode", livemode);
    for name in ["type", "orderId", "providerTxnId", "status", "livemode"] {
        object = object.required(name);
    }
    object.build()
}

/// What a provider of the kind `payprotocol` sends. It may have members that are not listed here.
pub fn payprotocol() -> Object {
    let integer = |description: &str, example: i64| {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .examples([example])
            .description(Some(description))
    };
    let any = |example: &str, description: &str| text("^.{1,256}$", example, description);
    ObjectBuilder::new()
        .description(Some(
            "Money that has arrived at a deposit address. Believed only when the signature fits the path, the \
             time and the bytes of the body.",
        ))
        .property("rechargeId", integer("The payment; credited once, for ever.", 900_001))
        .property("rechargeStatus", integer("0: it has arrived. 1: not yet. 2: it will not.", 0))
        .property("chainId", integer("The network.", 136))
        .property("currencyId", integer("The currency on it, as the account lists it.", 17))
        .property(
            "rechargeAmount",
            text("^[0-9]{1,38}$", "5000000", "In the currency's smallest unit by the provider's decimals."),
        )
        .property("uuid", any("M0123456789ABCDEFGHJKMNPQR", "Whose address, in our words."))
        .property("walletAddress", any("TPRN672E5RNG9R6FSNXCNDNV3EQ7G0JAJZ", "The deposit address."))
        .required("rechargeId")
        .required("rechargeStatus")
        .required("chainId")
        .required("currencyId")
        .required("rechargeAmount")
        .required("uuid")
        .required("walletAddress")
        .build()
}

/// The headers that a provider of the kind `standard` or `payprotocol` signs with.
pub fn headers() -> [Parameter; 6] {
    let says = [
        ("msg_1", "Of the kind `standard`: the message, 1 to 64 of `[A-Za-z0-9_-]`."),
        ("1767225600", "Of the kind `standard`: Unix seconds, ten digits."),
        (
            "v1,1kVq0Wb3YbSDgPZdl8M6m1ZxX1bVZJ0tQv8rW2f5a0c=",
            "Of the kind `standard`: up to eight entries separated by spaces, each `v1,` and the base64 of \
             HMAC-SHA256 over id, `.`, timestamp, `.` and the raw body.",
        ),
        ("PPLOCAL1", "Of the kind `payprotocol`: our account."),
        ("1767225600", "Of the kind `payprotocol`: Unix seconds, ten digits."),
        (
            "XtpaxHdJtwZjR47esiV8sGs/POHQhuo5sY28qbBHcpQ=",
            "Of the kind `payprotocol`: the base64 of HMAC-SHA256 over timestamp, method, path with query and \
             raw body, with nothing between them.",
        ),
    ];
    let mut named = HEADERS.into_iter().chain(payprotocol::HEADERS);
    says.map(|(example, description)| {
        ParameterBuilder::new()
            .name(named.next().unwrap_or_default())
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
            .example(Some(example.into()))
            .build()
    })
}

/// The body of a callback; what a missing content type means is the provider's.
pub fn body() -> RequestBody {
    let trader = || Ref::from_schema_name("TraderCallback");
    let either = OneOfBuilder::new()
        .item(trader())
        .item(Ref::from_schema_name("StandardEvent"))
        .item(Ref::from_schema_name("PayProtocolCallback"));
    let json = ContentBuilder::new().schema(Some(either)).build();
    let mut body = RequestBodyBuilder::new()
        .required(Some(Required::True))
        .description(Some(
            "At most 128 KiB, in the form of the provider's kind. `trader` sends form fields, or as JSON \
             one flat object of texts and integers; `standard` and `payprotocol` send JSON.",
        ))
        .content("application/json", json);
    for media in ["application/x-www-form-urlencoded", "multipart/form-data"] {
        body = body.content(media, ContentBuilder::new().schema(Some(trader())).build());
    }
    body.build()
}
