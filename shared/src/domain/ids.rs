//! Identifiers that cannot be wrong: one `parse` or `derive` each, no other way to make one.

use std::fmt;

use super::hash::{crockford, digest, is_crockford};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Accepts `text` only if it follows the grammar above.
            pub fn parse(text: &str) -> Option<$name> {
                let valid: fn(&str) -> bool = $valid;
                valid(text).then(|| $name(text.to_owned()))
            }

            /// The text as accepted.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn within(text: &str, max: usize, extra: &[u8]) -> bool {
    (1..=max).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
}

identifier!(
    /// A merchant: `[A-Za-z0-9_-]{1,64}`.
    MerchantId,
    |text| within(text, 64, b"_-")
);
identifier!(
    /// A merchant's user: `[A-Za-z0-9_-]{1,64}`. Means nothing without its merchant.
    UserId,
    |text| within(text, 64, b"_-")
);
identifier!(
    /// The merchant's own order number: `[A-Za-z0-9._-]{1,64}`.
    OrderReference,
    |text| within(text, 64, b"._-")
);
identifier!(
    /// The client's idempotency key: 1 to 255 printable ASCII characters, space excluded at both ends.
    IdempotencyKey,
    |text| (1..=255).contains(&text.len())
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && text.trim() == text
);
identifier!(
    /// A payment provider's name in this system: `[a-z][a-z0-9]{0,31}`.
    ProviderName,
    |text| (1..=32).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
);
identifier!(
    /// What ties answers, log lines and queue messages of one request together: `[A-Za-z0-9._=;:-]{1,128}`.
    TraceId,
    |text| within(text, 128, b"._=;:-")
);
identifier!(
    /// An order: `R` and 25 Crockford base32 digits, a pure function of merchant and idempotency key.
    /// Upper case and digits only, so that it cannot spell a provider's field name.
    OrderId,
    |text| text.len() == 26 && text.starts_with('R') && is_crockford(&text[1..])
);
identifier!(
    /// What a provider sees instead of a user: `M` and 25 Crockford base32 digits.
    UserMark,
    |text| text.len() == 26 && text.starts_with('M') && is_crockford(&text[1..])
);

identifier!(
    /// A review: 26 Crockford base32 digits, the identity of the statement that waits for a person.
    ReviewId,
    |text| text.len() == 26 && is_crockford(text)
);

impl TraceId {
    /// For a request that nobody has named.
    pub fn untraced() -> TraceId {
        TraceId("untraced".to_owned())
    }

    /// Whether it is somebody's.
    pub fn is_known(&self) -> bool {
        *self != TraceId::untraced()
    }
}

impl OrderId {
    /// The order that `key` of `merchant` names; the same one for ever.
    pub fn derive(merchant: &MerchantId, key: &IdempotencyKey) -> OrderId {
        let fields = [merchant.as_str().as_bytes(), b"recharge", key.as_str().as_bytes()];
        OrderId(format!("R{}", crockford(&digest("recharge/order/v1", &fields), 25)))
    }
}

impl OrderId {
    /// The order that a payment makes which nobody has announced; the same one for ever.
    pub fn of_payment(provider: &ProviderName, account: &str, payment_id: &str) -> OrderId {
        let fields = [provider.as_str(), account, payment_id].map(str::as_bytes);
        OrderId(format!("R{}", crockford(&digest("recharge/order-of-payment/v1", &fields), 25)))
    }
}

impl UserMark {
    /// The mark of `user` of `merchant`; the same one for ever.
    pub fn derive(merchant: &MerchantId, user: &UserId) -> UserMark {
        let fields = [merchant.as_str().as_bytes(), user.as_str().as_bytes()];
        UserMark(format!("M{}", crockford(&digest("recharge/user-mark/v1", &fields), 25)))
    }

    /// The mark of somebody who is no user of ours: a provider that names one contradicts whatever else
    /// says whose the money is.
    pub fn stranger() -> UserMark {
        UserMark(format!("M{}", "0".repeat(25)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_is_a_pure_function_of_merchant_and_key() {
        let (a, b) = (MerchantId::parse("m_a").unwrap(), MerchantId::parse("m_b").unwrap());
        let key = IdempotencyKey::parse("k-1").unwrap();
        let id = OrderId::derive(&a, &key);
        assert_eq!(id, OrderId::derive(&a, &key));
        assert_ne!(id, OrderId::derive(&b, &key));
        assert_eq!(OrderId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.as_str().len(), 26);
    }

    #[test]
    fn grammars_refuse_what_could_mean_something_elsewhere() {
        for bad in ["", "u 1", "u#1", "u/1", "u_\u{430}", "é", &"a".repeat(65)] {
            assert_eq!(UserId::parse(bad), None, "{bad}");
        }
        assert!(UserId::parse(&"a".repeat(64)).is_some());
        for bad in ["", "\u{7f}", "a\nb", " a", "a ", &"k".repeat(256)] {
            assert_eq!(IdempotencyKey::parse(bad), None, "{bad:?}");
        }
        assert!(IdempotencyKey::parse(&"k".repeat(255)).is_some());
        for bad in ["R", "RILOU0000000000000000000000", "r0000000000000000000000000"] {
            assert_eq!(OrderId::parse(bad), None, "{bad}");
        }
        assert_eq!(ProviderName::parse("Trader"), None);
        assert_eq!(OrderReference::parse("a/b"), None);
    }
}
