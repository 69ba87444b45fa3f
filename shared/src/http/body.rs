//! The bodies of requests and answers as types: what a member is called, in which order members stand,
//! what they mean. The OpenAPI document is made from these types; how they are filled is in `order`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

mod notices;

pub use notices::*;

/// A whole number of the currency's smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minor(pub i128);

impl Serialize for Minor {
    /// A number; as text only what no 64-bit integer holds.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(number) => serializer.serialize_i64(number),
            Err(_) => serializer.collect_str(&self.0),
        }
    }
}

/// What `POST /recharges` asks for. Unknown members, and members that appear twice, are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateRecharge {
    /// Whom to credit: a user of the calling merchant. Becomes known with the first deposit address or credit.
    #[cfg_attr(feature = "openapi", schema(example = "u_1001"))]
    pub user_id: String,
    /// How much to ask for, in minor units of `currency`; digits only, no fraction, no exponent.
    #[cfg_attr(feature = "openapi", schema(example = 5_000_000))]
    pub amount: i64,
    /// The currency's code; it fixes the number of decimals of `amount`.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::Currency))]
    pub currency: String,
    /// The payment provider. Left out: the one that is configured as default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "trader"))]
    pub payment_method: Option<String>,
    /// The merchant's own order number; unique per merchant (`409 CONFLICT`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "order-1042"))]
    pub order_reference: Option<String>,
    /// Where the merchant wants to be notified: `https`, a public host name, port 443, no user part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "https://hooks.merchant.example/recharge"))]
    pub callback_url: Option<String>,
    /// How long the payer has, in seconds; digits only. Money that comes later is still watched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = 1_800))]
    pub expires_in_seconds: Option<i64>,
    /// Members of the merchant's own, echoed back in every answer. Names are not empty; names and values
    /// together have at most 4096 bytes of UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Another way to send the `Idempotency-Key` header. When both are sent they must be equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "order-1042-try-1"))]
    pub idempotency_key: Option<String>,
}

/// A recharge order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Recharge {
    /// The order's id. The same merchant and idempotency key always give the same id.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::OrderId))]
    pub order_id: String,
    /// Where the order stands.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::OrderStatus))]
    pub status: &'static str,
    /// Why it stands there; `null` while it is on its way.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<super::openapi::Reason>))]
    pub reason: Option<&'static str>,
    /// Whom the money is credited to.
    #[cfg_attr(feature = "openapi", schema(example = "u_1001"))]
    pub user_id: String,
    /// What was asked for, in minor units of `currency`.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 5_000_000))]
    pub amount: Minor,
    /// The currency of every amount in this order.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::Currency))]
    pub currency: &'static str,
    /// What is proven to have arrived, in minor units.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 0))]
    pub received_amount: Minor,
    /// What is booked to the user, in minor units.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 0))]
    pub credited_amount: Minor,
    /// The payment provider.
    #[cfg_attr(feature = "openapi", schema(example = "trader"))]
    pub payment_method: String,
    /// The provider's own order number; `null` until the provider has confirmed the order.
    #[cfg_attr(
        feature = "openapi",
        schema(required, example = "cz-79R6ME96KC2TEJ8QBSSMKGQAKD176WJG")
    )]
    pub transaction_id: Option<String>,
    /// The merchant's own order number, if it gave one.
    #[cfg_attr(feature = "openapi", schema(required, example = "order-1042"))]
    pub order_reference: Option<String>,
    /// Where and how the payer pays; `null` until the provider has named an address, and for providers
    /// that name none.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub payment: Option<Payment>,
    /// Every payment that was proven to have arrived for the order, oldest first.
    #[cfg_attr(feature = "openapi", schema(example = json!([])))]
    pub payments: Vec<ReceivedPayment>,
    /// The merchant's own members, as they were sent.
    #[cfg_attr(feature = "openapi", schema(example = json!({"cart": "c-77"})))]
    pub metadata: BTreeMap<String, String>,
    /// When the order was recorded: RFC 3339, UTC, whole seconds.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:00:00Z"))]
    pub created_at: String,
    /// When it last changed.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:00:01Z"))]
    pub updated_at: String,
    /// When the payer's time runs out.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:30:00Z"))]
    pub expires_at: String,
    /// The state in words, for people. Programs read `status` and `reason`.
    #[cfg_attr(feature = "openapi", schema(example = "waiting for the payment"))]
    pub message: &'static str,
    /// Only where the order was made in shadow mode: payments are simulated, and nothing is credited.
    #[cfg_attr(feature = "openapi", schema(value_type = bool, required = false, nullable = false, example = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<bool>,
}

/// Where and how the payer pays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// The deposit address; it belongs to this user alone.
    #[cfg_attr(feature = "openapi", schema(example = "TPRN672E5RNG9R6FSNXCNDNV3EQ7G0JAJZ"))]
    pub address: String,
    /// The network that the address is on. Money sent on another network does not arrive.
    #[cfg_attr(feature = "openapi", schema(example = "TRON"))]
    pub network: String,
    /// What to pay: a decimal with all digits of the currency, for people and wallets.
    #[cfg_attr(feature = "openapi", schema(example = "5.000000"))]
    pub amount: String,
    /// When the payer's time runs out: RFC 3339, UTC.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:30:00Z"))]
    pub expires_at: String,
}

/// A payment that was proven to have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReceivedPayment {
    /// Its identity within the provider account.
    #[cfg_attr(feature = "openapi", schema(example = "900001"))]
    pub payment_id: String,
    /// How much, in minor units of the order's currency.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 5_000_000))]
    pub amount: Minor,
    /// What of it is finer than the minor unit, as `<units>e-<decimals>`: recorded, never credited.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub dust: Option<String>,
    /// What became of it.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::PaymentStatus))]
    pub status: &'static str,
    /// The provider's own number of the transaction, like its hash on the network.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub transaction_id: Option<String>,
    /// When its evidence reached us: RFC 3339, UTC.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:05:00Z"))]
    pub received_at: String,
}

/// What `POST /users/{userId}/deposit-addresses` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateDepositAddresses {
    /// The payment provider. Left out: the one that is configured as default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "payprotocol"))]
    pub payment_method: Option<String>,
}

/// A user's deposit addresses. Of a payment method that takes no orders, whatever arrives there is the
/// user's; of one that takes orders, like `trader`, they are where the user's orders are paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DepositAddresses {
    /// The user.
    #[cfg_attr(feature = "openapi", schema(example = "u_1001"))]
    pub user_id: String,
    /// One per payment provider and network; empty before they were created.
    pub addresses: Vec<DepositAddress>,
}

/// Where a user can send money at any time. It belongs to this user for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DepositAddress {
    /// The payment provider.
    #[cfg_attr(feature = "openapi", schema(example = "payprotocol"))]
    pub payment_method: String,
    /// The network that the address is on. Money sent on another network does not arrive.
    #[cfg_attr(feature = "openapi", schema(example = "TRON"))]
    pub network: String,
    /// The address.
    #[cfg_attr(feature = "openapi", schema(example = "TPRN672E5RNG9R6FSNXCNDNV3EQ7G0JAJZ"))]
    pub address: String,
}

/// Why the money of an order is or is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The order.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::OrderId))]
    pub order_id: String,
    /// Where the order stands.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::OrderStatus))]
    pub status: &'static str,
    /// Why it stands there; `null` while it is on its way.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<super::openapi::Reason>))]
    pub reason: Option<&'static str>,
    /// The whole in a word; programs decide by this.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::Situation))]
    pub situation: &'static str,
    /// The whole in a sentence or two, for people.
    #[cfg_attr(feature = "openapi", schema(example = "5.000000 USDT is credited."))]
    pub explanation: String,
    /// What was asked for, in minor units.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 5_000_000))]
    pub amount: Minor,
    /// The currency of every amount here.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::Currency))]
    pub currency: &'static str,
    /// What is proven to have arrived for this order.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 5_000_000))]
    pub received_amount: Minor,
    /// What is booked to the user.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 5_000_000))]
    pub credited_amount: Minor,
    /// What is known from the provider.
    pub provider: ProviderView,
    /// Every payment that arrived.
    #[cfg_attr(feature = "openapi", schema(example = json!([])))]
    pub payments: Vec<ReceivedPayment>,
    /// What happens next by itself; `null` when nothing does.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub next: Option<NextView>,
    /// What the client can do, the most useful first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<super::openapi::ClientCan>))]
    pub client_can: Vec<&'static str>,
    /// Only where the order was made in shadow mode: payments are simulated, and nothing is credited.
    #[cfg_attr(feature = "openapi", schema(value_type = bool, required = false, nullable = false, example = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<bool>,
}

/// What is known from the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProviderView {
    /// The provider.
    #[cfg_attr(feature = "openapi", schema(example = "trader"))]
    pub name: String,
    /// What it says of the order.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::ProviderSays))]
    pub says: &'static str,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:05:00Z"))]
    pub since: String,
}

/// What happens next by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NextView {
    /// What.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::NextStep))]
    pub what: &'static str,
    /// When at the earliest; `null` when nobody knows.
    #[cfg_attr(feature = "openapi", schema(required, format = DateTime, example = "2026-01-01T00:06:00Z"))]
    pub at: Option<String>,
}

/// A page of reviews, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReviewPage {
    /// The reviews.
    pub reviews: Vec<Review>,
    /// What `cursor` takes to go on; `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub next_cursor: Option<String>,
}

/// An authentic statement of a provider that was put aside for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::ReviewId))]
    pub review_id: String,
    /// Where it stands.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::ReviewStatus))]
    pub status: &'static str,
    /// Why it was put aside.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::ParkReason))]
    pub why: &'static str,
    /// Whether the payment that it speaks of was booked meanwhile: then nothing is left to credit.
    #[cfg_attr(feature = "openapi", schema(example = false))]
    pub booked: bool,
    /// Whether two people have to decide together, whatever they decide. A decision that moves more than this
    /// payment, because other money waits with the order, takes two as well.
    #[cfg_attr(feature = "openapi", schema(example = false))]
    pub takes_two: bool,
    /// What the statement says.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::StatementKind))]
    pub kind: &'static str,
    /// How much, in minor units; `null` where it is nothing that could be credited.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<i64>, example = 5_000_000))]
    pub amount: Option<Minor>,
    /// The currency of `amount`.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<super::openapi::Currency>))]
    pub currency: Option<&'static str>,
    /// What of it is finer than the minor unit, as `<units>e-<decimals>`.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub dust: Option<String>,
    /// The payment provider.
    #[cfg_attr(feature = "openapi", schema(example = "trader"))]
    pub payment_method: String,
    /// The payment's identity within the provider account.
    #[cfg_attr(feature = "openapi", schema(example = "900001"))]
    pub payment_id: String,
    /// The provider's own number of the transaction.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub transaction_id: Option<String>,
    /// The order that it names or would make.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<super::openapi::OrderId>))]
    pub order_id: Option<String>,
    /// Whose it is, where that is known.
    #[cfg_attr(feature = "openapi", schema(required, example = "m_demo"))]
    pub merchant: Option<String>,
    /// The user, where that is known.
    #[cfg_attr(feature = "openapi", schema(required, example = "u_1001"))]
    pub user_id: Option<String>,
    /// The address that the money came to.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub address: Option<String>,
    /// The network of the address.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub network: Option<String>,
    /// What the provider said, without its signature.
    #[cfg_attr(feature = "openapi", schema(example = "amount=50000&orderid=…"))]
    pub statement: String,
    /// When it was put aside: RFC 3339, UTC.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:05:00Z"))]
    pub created_at: String,
    /// What was decided.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub decision: Option<Decision>,
    /// The last 20 decisions that were replaced.
    pub earlier_decisions: Vec<Decision>,
    /// Why a decision could not be carried out; the review is open again.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub refusal: Option<String>,
    /// Only where the statement is about a shadow order: nothing is credited, whatever is decided.
    #[cfg_attr(feature = "openapi", schema(value_type = bool, required = false, nullable = false, example = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<bool>,
}

/// What people have decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What is to be done.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::ReviewAction))]
    pub action: &'static str,
    /// The order, of `credit_order`.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<super::openapi::OrderId>))]
    pub order_id: Option<String>,
    /// The user, of `credit_user`.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub user_id: Option<String>,
    /// The user's merchant, of `credit_user`.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub merchant: Option<String>,
    /// The key of whoever has decided.
    #[cfg_attr(feature = "openapi", schema(example = "admin"))]
    pub by: String,
    /// Why, in their words.
    #[cfg_attr(feature = "openapi", schema(example = "agreed with the provider"))]
    pub note: String,
    /// When.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:05:00Z"))]
    pub at: String,
    /// The key of whoever has agreed; `null` before, and where one person is enough.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub second: Option<String>,
    /// Of an earlier decision: why it was not carried out.
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false, nullable = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// What `POST /admin/reviews/{reviewId}/resolve` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveReview {
    /// What is to be done.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::ReviewAction))]
    pub action: String,
    /// The order, of `credit_order`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<super::openapi::OrderId>))]
    pub order_id: Option<String>,
    /// The user, of `credit_user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "u_1001"))]
    pub user_id: Option<String>,
    /// The user's merchant, of `credit_user`; the caller's without this. An operator has to name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "m_demo"))]
    pub merchant: Option<String>,
    /// Why: 1 to 200 characters, kept with the money.
    #[cfg_attr(feature = "openapi", schema(example = "agreed with the provider"))]
    pub note: String,
}

/// One page of orders, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RechargePage {
    /// The orders.
    pub recharges: Vec<Recharge>,
    /// What `cursor` takes to go on; `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub next_cursor: Option<String>,
}

/// What a user holds, per currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Balances {
    /// The user.
    #[cfg_attr(feature = "openapi", schema(example = "u_1001"))]
    pub user_id: String,
    /// One per currency that was ever credited; empty before the first credit.
    pub balances: Vec<Balance>,
}

/// What a user holds in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// The currency.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::Currency))]
    pub currency: &'static str,
    /// The sum of the user's ledger entries, in minor units.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 5_000_000))]
    pub amount: Minor,
    /// The same as a decimal with all digits of the currency.
    #[cfg_attr(feature = "openapi", schema(example = "5.000000"))]
    pub decimal: String,
    /// How many ledger entries that is.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 1))]
    pub entries: u64,
    /// When the last entry was booked: RFC 3339, UTC.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:05:00Z"))]
    pub updated_at: String,
}

/// One page of a user's ledger, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// The user.
    #[cfg_attr(feature = "openapi", schema(example = "u_1001"))]
    pub user_id: String,
    /// The entries. They never change; a correction is a new entry.
    pub entries: Vec<LedgerEntry>,
    /// What `cursor` takes to go on; `null` on the last page.
    #[cfg_attr(feature = "openapi", schema(required, example = json!(null)))]
    pub next_cursor: Option<String>,
}

/// One booking, in double entry: its legs sum to zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// Stable and unique.
    #[cfg_attr(feature = "openapi", schema(example = "EJ6DGCZ11R6JCHJ640ZMWA4VDE"))]
    pub entry_id: String,
    /// What the entry is for.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::EntryKind))]
    pub kind: &'static str,
    /// What the user gains, in minor units.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 5_000_000))]
    pub amount: Minor,
    /// The currency of every amount in this entry.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::Currency))]
    pub currency: &'static str,
    /// The order that the money came for.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::OrderId))]
    pub order_id: String,
    /// Why it was booked.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<super::openapi::Reason>))]
    pub reason: Option<&'static str>,
    /// When it was booked: RFC 3339, UTC.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, example = "2026-01-01T00:05:00Z"))]
    pub created_at: String,
    /// Both sides of the booking.
    pub legs: Vec<LedgerLeg>,
}

/// One side of a booking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LedgerLeg {
    /// `user/{merchant}/{userId}`, `provider/{name}`, or `suspense/partial` for parts that came before.
    #[cfg_attr(feature = "openapi", schema(example = "user/m_demo/u_1001"))]
    pub account: String,
    /// What the account gains, in minor units; negative when it gives.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 5_000_000))]
    pub amount: Minor,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Which one; programs decide by this.
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::ErrorCode))]
    pub error_code: &'static str,
    /// A sentence for the client's engineer; may change.
    #[cfg_attr(feature = "openapi", schema(example = "userId is required"))]
    pub message: String,
    /// The members or parameters at fault, if it is theirs.
    pub details: Vec<ProblemDetail>,
    /// The trace of the request, as in `X-Trace-Id`.
    #[cfg_attr(feature = "openapi", schema(example = "4bf92f3577b34da6a3ce929d0e0e4736"))]
    pub trace_id: String,
}

/// A member or parameter at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProblemDetail {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(example = "userId"))]
    pub field: String,
    /// What is wrong with it; completes the sentence that starts with its name.
    #[cfg_attr(feature = "openapi", schema(example = "is required"))]
    pub issue: String,
}
