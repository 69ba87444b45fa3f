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
        "Why an order stands where it stands, or why an entry was booked.\n\n\
         - `paid_exact`, `paid_over`, `paid_under`: as much as was asked for, more, less.\n\
         - `paid_late`: after the order had ended.\n\
         - `paid_twice`: a second payment for an order that was paid; this order was made for it.\n\
         - `manual`: a person has decided.\n\
         - `provider_declined`, `provider_unreachable`: the provider said no, or did not take the order in time.\n\
         - `evidence_mismatch`: reserved: no order has it.\n\
         - `expired`, `cancelled_by_client`: time ran out, or the client withdrew it.",
    ))
);
word!(
    /// `kind` of a ledger entry.
    EntryKind,
    list([domain::EntryKind::Credit.as_str()])
        .description(Some("`CREDIT`: a confirmed payment, or the last of several, booked to the user."))
);
word!(
    /// `status` of a payment.
    PaymentStatus,
    list(["HELD", "REVIEW", "CREDITED", "CREDITED_ELSEWHERE", "REFUSED"]).description(Some(
        "- `HELD`: waits for the rest of the amount.\n\
         - `REVIEW`: waits for a person.\n\
         - `CREDITED`: booked to the user with this order.\n\
         - `CREDITED_ELSEWHERE`: booked with another order.\n\
         - `REFUSED`: a person has decided not to credit it.",
    ))
);
word!(
    /// `situation` of an explanation.
    Situation,
    list(domain::Situation::ALL.map(domain::Situation::as_str)).description(Some(
        "- `being_placed`: the provider is being told right now.\n\
         - `half_done`: the provider may or may not know the order; this is found out.\n\
         - `provider_silent`: the provider does not answer questions.\n\
         - `not_paid`: the provider waits for the payer.\n\
         - `partly_paid`: a part has come.\n\
         - `time_over`: the order is about to end.\n\
         - `waits_for_person`: money waits for a person.\n\
         - `credited`: the money is there.\n\
         - `credited_one_more_waits`: the money is there, and another payment waits for a person.\n\
         - `refused`: the provider said no.\n\
         - `refused_by_person`: a person has decided not to credit the money.\n\
         - `cancelled`, `expired`, `never_placed`: the order has ended and nothing has come.",
    ))
);
word!(
    /// `says` of a provider.
    ProviderSays,
    list(domain::ProviderSays::ALL.map(domain::ProviderSays::as_str))
        .description(Some("What the provider is known to have said of the order."))
);
word!(
    /// `what` of a next step.
    NextStep,
    list(domain::NextStep::ALL.map(domain::NextStep::as_str))
        .description(Some("What happens next by itself."))
);
word!(
    /// A word of `clientCan`.
    ClientCan,
    list(domain::ClientCan::ALL.map(domain::ClientCan::as_str)).description(Some(
        "`wait`: nothing is needed. `repeat_request`: the same request with the same key brings the order \
         to the provider at once. `ask_payer`: was the money sent, to this address, on this network? \
         `cancel`: withdraw the order. `create_another`: a new order with a new key. `ask_operator`: name \
         the order to whoever runs this service.",
    ))
);
word!(
    /// `status` of a review.
    ReviewStatus,
    list(domain::ReviewState::ALL.map(domain::ReviewState::as_str)).description(Some(
        "- `OPEN`: nobody has decided.\n\
         - `PROPOSED`: one person has; another one has to agree.\n\
         - `APPROVED`: decided, and about to be carried out.\n\
         - `CREDITED`, `REJECTED`, `REFUND`: closed. What was rejected is `OPEN` again when the provider has said it since and it \
         is a matter for a person.",
    ))
);
word!(
    /// `action` of a decision.
    ReviewAction,
    list(domain::Action::WORDS).description(Some(
        "- `credit_order`: credit it with the order `orderId`.\n\
         - `credit_user`: credit it to `userId`, with an order of its own.\n\
         - `reject`: credit nobody; it is no money of ours.\n\
         - `refund`: credit nobody; the money goes back, outside of this service, and no later proof of the payment that the \
         statement names credits it. Of an amount that nobody can read two people decide. A statement that contradicts another one, \
         or names no payment, keeps nothing from being credited.",
    ))
);
word!(
    /// `why` of a review.
    ParkReason,
    list(domain::ParkReason::ALL.map(domain::ParkReason::as_str))
        .description(Some(
            "Why the statement was put aside.\n\n\
             - `unknown_order`, `unknown_address`: about an order, or to an address, that is nobody's here.\n\
             - `wrong_account`, `wrong_user`, `wrong_currency`: the order's is another.\n\
             - `nothing_received`: nothing, or less than is taken, has arrived.\n\
             - `amount_conflict`: the same payment, now with another amount, transaction or address.\n\
             - `amount_mismatch`: less or more than was asked for, and the rules want a person; or above every limit.\n\
             - `second_payment`, `late`: another payment, or one after the end, and the rules want a person.\n\
             - `same_transfer`: a second deposit by one transaction to one address.\n\
             - `under_review`: the order waits for a person; so does this.\n\
             - `incomplete`: a part has come, and the rest will not.\n\
             - `too_many_payments`: more than an order can name.\n\
             - `stale`: signed too long ago to be believed without a person.\n\
             - `unconfirmed`: so large that the provider was asked, and it does not say the same.\n\
             - `unlisted_currency`: in a currency that is not taken.\n\
             - `unrecognised`: authentic, and of a kind or in words that are not known.\n\
             - `declined_late`: the provider gave up what is not open.",
        ))
);
word!(
    /// `kind` of a review.
    StatementKind,
    list(["paid", "declined", "unlisted", "timed_out", "unrecognised"]).description(Some(
        "- `paid`: this much has arrived.\n\
         - `declined`: the provider gave the order or the payment up.\n\
         - `unlisted`: something in a currency that is not taken.\n\
         - `timed_out`: the order's time is over, and a part of its money is there.\n\
         - `unrecognised`: authentic, and nobody knows what it says.",
    ))
);
word!(
    /// `reviewId`.
    ReviewId,
    ObjectBuilder::new()
        .pattern(Some(REVIEW_ID))
        .examples(["0123456789ABCDEFGHJKMNPQRS"])
        .description(Some("A review's id: 26 Crockford base32 digits."))
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
/// A review.
pub const REVIEW_ID: &str = "^[0-9A-HJKMNP-TV-Z]{26}$";
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
