//! The parsed request to create an order, and the fingerprint by which two requests are compared.

use std::collections::BTreeMap;
use std::time::Duration;

use super::hash::digest;
use super::ids::{OrderReference, ProviderName, UserId};
use super::money::Money;

/// What a client asked for; every member has passed its grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOrder {
    /// Whom to credit.
    pub user: UserId,
    /// How much to ask for.
    pub amount: Money,
    /// The provider, when the client chose one.
    pub payment_method: Option<ProviderName>,
    /// The merchant's own order number.
    pub reference: Option<OrderReference>,
    /// Where to report.
    pub callback_url: Option<String>,
    /// How long the payer has.
    pub expires_in: Duration,
    /// Echoed back.
    pub metadata: BTreeMap<String, String>,
}

impl CreateOrder {
    /// SHA-256 over the command's meaning: member order, white space and escapes do not matter.
    pub fn fingerprint(&self) -> [u8; 32] {
        let amount = self.amount.minor().to_be_bytes();
        let expires_in_secs = self.expires_in.as_secs().to_be_bytes();
        let optional =
            |text: Option<&str>| text.map_or_else(Vec::new, |t| [b"+", t.as_bytes()].concat());
        let method = optional(self.payment_method.as_ref().map(ProviderName::as_str));
        let reference = optional(self.reference.as_ref().map(OrderReference::as_str));
        let callback = optional(self.callback_url.as_deref());
        let mut fields: Vec<&[u8]> = vec![
            self.user.as_str().as_bytes(),
            &amount,
            self.amount.currency().code().as_bytes(),
            &method,
            &reference,
            &callback,
            &expires_in_secs,
        ];
        for (name, value) in &self.metadata {
            fields.push(name.as_bytes());
            fields.push(value.as_bytes());
        }
        digest("recharge/create/v1", &fields)
    }
}
