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
        self.fingerprint_by(self.payment_method.as_ref())
    }

    /// The fingerprint of the request that means the same while `provider` is the one that this command goes
    /// to: with the method spelled out where this one leaves it out, and the other way round.
    pub fn fingerprint_otherwise(&self, provider: &ProviderName) -> [u8; 32] {
        self.fingerprint_by(self.payment_method.is_none().then_some(provider))
    }

    fn fingerprint_by(&self, method: Option<&ProviderName>) -> [u8; 32] {
        let amount = self.amount.minor().to_be_bytes();
        let expires_in_secs = self.expires_in.as_secs().to_be_bytes();
        let optional =
            |text: Option<&str>| text.map_or_else(Vec::new, |t| [b"+", t.as_bytes()].concat());
        let method = optional(method.map(ProviderName::as_str));
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

#[cfg(test)]
mod tests {
    use super::super::money::Currency;
    use super::*;

    fn command(method: Option<&ProviderName>) -> CreateOrder {
        CreateOrder {
            user: UserId::parse("u_1").unwrap(),
            amount: Money::new(5, Currency::Usdt),
            payment_method: method.cloned(),
            reference: None,
            callback_url: None,
            expires_in: Duration::from_secs(1_800),
            metadata: BTreeMap::new(),
        }
    }

    #[test]
    fn otherwise_is_the_other_spelling_and_only_that() {
        let provider = |name: &str| ProviderName::parse(name).unwrap();
        let (ours, other) = (provider("trader"), provider("second"));
        let (bare, named) = (command(None), command(Some(&ours)));
        assert_ne!(bare.fingerprint(), named.fingerprint());
        assert_eq!(bare.fingerprint_otherwise(&ours), named.fingerprint());
        assert_eq!(named.fingerprint_otherwise(&ours), bare.fingerprint());
        assert_ne!(bare.fingerprint_otherwise(&other), named.fingerprint());
    }
}
