//! Settings of a trader account. Every point that the provider's contract leaves open is one of them,
//! with its default here.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::domain::Policy;
use crate::domain::policy::AmountPolicy;

/// What is wrong with the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingsError(pub &'static str);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for SettingsError {}

/// How a digest is made of the string to sign and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// SHA-1 over the string followed by the key: the official rule.
    #[default]
    Sha1SuffixKey,
    /// MD5 over the string followed by the key.
    Md5SuffixKey,
    /// HMAC-SHA256 of the string under the key.
    HmacSha256,
}

/// How the fields become one string, sorted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `name` `value` `name` `value`, nothing between: the official rule.
    #[default]
    NameValue,
    /// Values only. Neighbouring values touch: avoid.
    ValueOnly,
    /// `name=value` joined by `&`.
    QueryPairs,
}

/// The case of hex digits that we send; either is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HexCase {
    /// `A` to `F`: the official rule.
    #[default]
    Upper,
    /// `a` to `f`.
    Lower,
}

/// Exactly one signing rule per account: trying several would make the weakest one the real one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigningProfile {
    /// The digest.
    pub algorithm: Algorithm,
    /// The string.
    pub layout: Layout,
    /// The case of what we send.
    pub hex_case: HexCase,
    /// Names that are signed under another name than they are sent with.
    pub field_rename: BTreeMap<String, String>,
    /// Which fields are signed; all but `sign` when absent.
    pub signed_fields: Option<Vec<String>>,
}

/// How requests are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestEncoding {
    /// `application/x-www-form-urlencoded`.
    #[default]
    Form,
    /// `application/json`.
    Json,
}

/// What to do with an authentic callback that was signed too long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleCallbacks {
    /// Acknowledge it and leave it to a person: it may never come again.
    #[default]
    Hold,
    /// Refuse it.
    Reject,
}

/// What counts as a deposit address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressPattern {
    /// 20 to 64 ASCII letters and digits: the documented test address is no real one.
    #[default]
    AnyAlphanumeric,
    /// The network's own form; for TRON `T` and 33 Base58 digits.
    Strict,
}

/// The query endpoint, which the contract does not promise.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuerySettings {
    /// Its path.
    pub path: String,
    /// The field that says where the order stands.
    #[serde(default = "text::status")]
    pub state_field: String,
    /// Values of it that mean paid.
    #[serde(default = "text::paid")]
    pub paid: Vec<String>,
    /// Values of it that mean given up.
    #[serde(default = "text::failed")]
    pub failed: Vec<String>,
    /// The field with the received amount.
    #[serde(default = "text::amount")]
    pub amount_field: String,
    /// Decimals of that amount: 0 is a plain decimal number, more an integer in that scale.
    #[serde(default = "text::four")]
    pub amount_scale: u32,
    /// The field with our order number.
    #[serde(default = "text::orderid")]
    pub order_field: String,
    /// The field with our user mark.
    #[serde(default = "text::localusermark")]
    pub user_field: String,
    /// The field with the provider's order number.
    #[serde(default = "text::ordersn")]
    pub transaction_field: String,
    /// Beginnings of error texts that mean "no such order".
    #[serde(default = "text::order_not_found")]
    pub not_found_prefixes: Vec<String>,
}

/// One trader account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Our public identifier; part of every payment's identity.
    pub appid: String,
    /// Scheme and host, without a slash at the end.
    pub base_url: String,
    /// Lets URLs be plain HTTP on this machine; for the local stack.
    #[serde(default)]
    pub allow_http: bool,
    /// Where callbacks go; the console's setting when absent.
    #[serde(default)]
    pub notify_url: Option<String>,
    /// How requests are encoded.
    #[serde(default)]
    pub content_type: RequestEncoding,
    /// How both sides sign.
    #[serde(default)]
    pub signing: SigningProfile,
    /// Decimals of the amount in requests: 0 is a plain decimal number, 4 an integer ×10 000.
    #[serde(default)]
    pub request_amount_scale: u32,
    /// Decimals of the amount in callbacks.
    #[serde(default = "text::four")]
    pub callback_amount_scale: u32,
    /// Callback fields beside the six of the contract that are tolerated. Their values may not spell a
    /// field's name.
    #[serde(default)]
    pub tolerated_callback_fields: Vec<String>,
    /// How far `t` may be off, in seconds.
    #[serde(default = "text::window")]
    pub callback_window_seconds: u32,
    /// What becomes of older ones.
    #[serde(default)]
    pub stale_callbacks: StaleCallbacks,
    /// HTTP status of the acknowledgement.
    #[serde(default = "text::ok")]
    pub ack_status: u16,
    /// `Content-Type` of the acknowledgement.
    #[serde(default = "text::plain")]
    pub ack_content_type: String,
    /// The acknowledgement, byte for byte.
    #[serde(default = "text::success")]
    pub ack_body: String,
    /// Time limit of one call, in milliseconds.
    #[serde(default = "text::call_timeout")]
    pub call_timeout_ms: u64,
    /// Least time between two queries, in milliseconds: the provider limits them to one a second.
    #[serde(default = "text::call_interval")]
    pub min_call_interval_ms: u64,
    /// The network of the addresses.
    #[serde(default = "text::tron")]
    pub network: String,
    /// What counts as an address.
    #[serde(default)]
    pub address_pattern: AddressPattern,
    /// The currency of the account.
    #[serde(default = "text::usdt")]
    pub currency: String,
    /// The money rules: by contract, what arrives is what is credited.
    #[serde(default = "text::policy")]
    pub policy: Policy,
    /// Beginnings of error texts that mean "this order exists already".
    #[serde(default = "text::duplicate_order")]
    pub duplicate_order_prefixes: Vec<String>,
    /// Beginnings of error texts that mean "no address for this user".
    #[serde(default = "text::user_not_found")]
    pub user_not_found_prefixes: Vec<String>,
    /// Path of the order call.
    #[serde(default = "text::order_path")]
    pub order_path: String,
    /// Path of the address call.
    #[serde(default = "text::address_path")]
    pub address_path: String,
    /// Path of the address look-up.
    #[serde(default = "text::lookup_path")]
    pub lookup_path: String,
    /// The query endpoint; the contract promises none.
    #[serde(default)]
    pub query: Option<QuerySettings>,
}

/// Defaults, by the name of what they stand for.
mod text {
    use super::{AmountPolicy, Policy};

    macro_rules! texts {
        ($($name:ident = $value:literal;)+) => { $(pub fn $name() -> String { $value.to_owned() })+ };
    }

    texts! {
        status = "status";
        amount = "amount";
        orderid = "orderid";
        localusermark = "localusermark";
        ordersn = "ordersn";
        plain = "text/plain";
        success = "success";
        tron = "TRON";
        usdt = "USDT";
        order_path = "/api/merchant/TraderRechargeorder";
        address_path = "/api/merchant/newAddress";
        lookup_path = "/api/merchant/finduseraddress";
    }

    pub const fn four() -> u32 {
        4
    }

    pub const fn window() -> u32 {
        900
    }

    pub const fn ok() -> u16 {
        200
    }

    pub const fn call_timeout() -> u64 {
        4_000
    }

    pub const fn call_interval() -> u64 {
        1_000
    }

    pub const fn policy() -> Policy {
        Policy { amount: AmountPolicy::CreditReceived, ..Policy::EXACT }
    }

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    pub fn paid() -> Vec<String> {
        list(&["1"])
    }

    pub fn failed() -> Vec<String> {
        list(&["2"])
    }

    pub fn duplicate_order() -> Vec<String> {
        list(&["订单号已存在", "订单已存在", "duplicate orderid", "orderid already exists"])
    }

    pub fn user_not_found() -> Vec<String> {
        list(&["用户不存在", "地址不存在", "user not found", "address not found"])
    }

    pub fn order_not_found() -> Vec<String> {
        list(&["订单不存在", "order not found"])
    }
}
