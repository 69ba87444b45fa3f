//! The closed lists and grammars of the domain as schemas: taken from the lists that the code itself
//! goes by, each under a name of its own. The markers here hold nothing.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::store::NoticeState;
use crate::{domain, http};

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $schema:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let object: ObjectBuilder = $schema;
                RefOr::T(object.schema_type(Type::String).build().into())
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    };
}

word!(
    /// `currency`.
    Currency,
    list(domain::Currency::ALL.map(domain::Currency::code)).description(Some(
        "A currency's code. The number of decimals of its minor unit, and the most that one order may ask \
         for, are in the introduction.",
    ))
);
word!(
    /// `status` of an order.
    OrderStatus,
    list(domain::OrderState::ALL.map(domain::OrderState::as_str)).description(Some(
        "- `CREATED`: recorded; the provider may or may not know it yet. This goes on by itself.\n\
         - `PENDING`: the provider has it; waiting for the payment.\n\
         - `REVIEW`: money has arrived that a person must look at; nothing is credited beyond what is proven.\n\
         - `SUCCESS`: paid and credited. Never changes again.\n\
         - `FAILED`: the provider said no.\n\
         - `CANCELLED`: withdrawn by the client before payment.\n\
         - `EXPIRED`: time ran out.\n\n\
         `FAILED`, `CANCELLED` and `EXPIRED` end the order, not the money: a proven payment that comes \
         afterwards is credited, or goes to `REVIEW`.",
    ))
);
word!(
    /// `reason` of an order or ledger entry.
    Reason,
    list(domain::Reason::ALL.map(domain::Reason::as_str)).description(Some(
        "Why an order stands where it stands, or why an entry was booked.",
    ))
);
word!(
    /// `kind` of a ledger entry.
    EntryKind,
    list([domain::EntryKind::Credit.as_str()])
        .description(Some("`CREDIT`: a confirmed payment, booked to the user."))
);
word!(
    /// `type` of an event.
    EventType,
    list(domain::NoticeKind::ALL.map(domain::NoticeKind::as_str))
        .description(Some("What has happened; the order in it says how it stood then."))
);
word!(
    /// `state` of a delivery.
    DeliveryState,
    list(delivery_states()).description(Some(
        "- `PENDING`: not tried yet.\n\
         - `RETRYING`: tried, to be tried again at `nextAttemptAt`.\n\
         - `DELIVERED`: a receiver has taken it.\n\
         - `GIVEN_UP`: nobody took it in three days, or the receiver said `410`.\n\
         - `NO_ADDRESS`: neither the order nor the merchant has named an address.",
    ))
);
word!(
    /// `state` of `POST /events/resend`.
    ResendState,
    list(http::request::RESEND_STATES)
        .description(Some("`GIVEN_UP`: what nobody took; `ALL`: whatever became of it."))
);
word!(
    /// `errorCode` of a refusal.
    ErrorCode,
    list(http::ErrorCode::ALL.map(http::ErrorCode::as_str))
        .description(Some("The closed list; what each code means is in the introduction."))
);
word!(
    /// `orderId`.
    OrderId,
    ObjectBuilder::new()
        .pattern(Some(ORDER_ID))
        .min_length(Some(26))
        .max_length(Some(26))
        .examples(["RPW1GRR7605SQ5S6QYRBC3CZ4T"])
        .description(Some("An order's id: `R` and 25 Crockford base32 digits."))
);

/// The grammars, as `domain` reads them.
pub const ORDER_ID: &str = "^R[0-9A-HJKMNP-TV-Z]{25}$";
/// A user.
pub const USER_ID: &str = "^[A-Za-z0-9_-]{1,64}$";
/// The merchant's own order number.
pub const ORDER_REFERENCE: &str = "^[A-Za-z0-9._-]{1,64}$";
/// A payment provider.
pub const PROVIDER: &str = "^[a-z][a-z0-9]{0,31}$";
/// Printable ASCII, no space at either end.
pub const IDEMPOTENCY_KEY: &str = "^[!-~]([ -~]{0,253}[!-~])?$";
/// A trace.
pub const TRACE_ID: &str = "^[A-Za-z0-9._=;:-]{1,128}$";

fn delivery_states() -> [&'static str; 5] {
    let [retrying, delivered, given_up, no_address] = NoticeState::ALL.map(NoticeState::as_str);
    [http::notice::PENDING, retrying, delivered, given_up, no_address]
}

fn list<const N: usize>(words: [&'static str; N]) -> ObjectBuilder {
    ObjectBuilder::new().enum_values(Some(words)).examples([words[0]])
}
