//! Money that does not follow an order one to one: orders paid in parts, twice or too late through a gateway
//! whose payments have identities of their own, deposits to users' addresses that nobody announces, and people
//! who decide about what was put aside. Its own truth, actors and checks.

pub mod actors;
pub mod books;
pub mod check;
mod people;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use recharge_local::stack::{Accounts, PAYPROTOCOL, PAYPROTOCOL_SECRET, provider_settings};
use recharge_tests::standard::{HOST, SimStandard};
use serde_json::{Value, json};

use crate::dice::Dice;

/// The gateway: a provider of the kind `standard`.
pub const GATE: &str = "gate";
/// Our account there.
pub const GATE_ACCOUNT: &str = "GATE1";
/// What both sides of it sign with.
pub const GATE_KEY: &str = "gate-secret-0123456789abcdef0123456789abcdef";

/// A payment as its provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    /// Minor units; nothing finer is credited.
    pub minor: i128,
    /// Another amount that the provider has also named, under its signature.
    pub slip: Option<i128>,
    /// The order that it is for; deposits have none.
    pub order: Option<String>,
    /// What the chain calls the transfer, of a deposit: the key of the payment that it was told as first.
    pub transfer: Option<String>,
    /// Merchant and user whom it is for.
    pub owner: (String, String),
    /// Whether it is in a currency that is credited.
    pub is_listed: bool,
    /// Whether the provider has heard an acknowledgement of its callback.
    pub is_heard: bool,
    /// Whether the provider sends its callback until it hears one.
    pub persists: bool,
}

impl Paid {
    /// Whether the provider has ever named this amount.
    pub fn is_said(&self, minor: i128) -> bool {
        self.minor == minor || self.slip == Some(minor)
    }
}

/// What providers have really received, by `provider#account#payment`. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Funds(Arc<Mutex<BTreeMap<String, Paid>>>);

impl Funds {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Paid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The payment `key`.
    pub fn get(&self, key: &str) -> Option<Paid> {
        self.lock().get(key).cloned()
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, Paid> {
        self.lock().clone()
    }

    /// Something has arrived.
    pub fn arrived(&self, key: String, paid: Paid) {
        self.lock().insert(key, paid);
    }

    /// The provider says that it is twice as much.
    pub fn slipped(&self, key: &str) {
        if let Some(paid) = self.lock().get_mut(key) {
            paid.slip = Some(2 * paid.minor);
        }
    }

    /// The provider has heard the acknowledgement.
    pub fn heard(&self, key: &str) {
        if let Some(paid) = self.lock().get_mut(key) {
            paid.is_heard = true;
        }
    }
}

/// The other side of a run with this load.
#[derive(Debug, Clone)]
pub struct Money {
    /// What has arrived.
    pub funds: Funds,
    /// The gateway.
    pub gate: SimStandard,
}

impl Money {
    /// Nothing has arrived.
    pub fn new() -> Money {
        Money { funds: Funds::default(), gate: SimStandard::new(GATE_KEY) }
    }
}

/// The key of a payment of the gateway.
pub fn gate_key(payment: &str) -> String {
    format!("{GATE}#{GATE_ACCOUNT}#{payment}")
}

/// The rules of both accounts.
pub fn policy(dice: &Dice) -> Value {
    let disposals = ["credit", "review"];
    let mut policy = json!({
        "amount": dice.pick(&["exact", "credit_received", "accumulate", "accumulate"]),
        "tolerance": dice.pick(&[0, 0, 1_000]),
        "late_payment": dice.pick(&disposals),
        "second_payment": dice.pick(&disposals),
    });
    if dice.chance(600) {
        policy["over_payment"] = json!(dice.pick(&["credit", "review", "review"]));
    }
    if dice.chance(400) {
        policy["confirm_from"] = json!(dice.between(1, 4_000_000));
    }
    policy
}

/// The accounts of such a run.
pub fn accounts(policy: &Value) -> Accounts {
    let settings = provider_settings(("http://trader.invalid", ""), "http://payprotocol.invalid");
    let settings: Value = serde_json::from_str(&settings).unwrap_or_default();
    let mut deposits = settings[PAYPROTOCOL].clone();
    // Short pages, so that what arrives while they are read moves them.
    deposits["page_size"] = json!(2);
    deposits["policy"] = policy.clone();
    Accounts {
        settings: json!({
            GATE: {
                "kind": "standard", "account": GATE_ACCOUNT, "currency": "USDT",
                "base_url": format!("https://{HOST}"), "policy": policy,
            },
            PAYPROTOCOL: deposits,
        }),
        keys: json!({ GATE: {"key": GATE_KEY}, PAYPROTOCOL: {"key": PAYPROTOCOL_SECRET} }),
        default: GATE.to_owned(),
    }
}
