//! Shadow mode: orders that go the whole way with simulated payments, and no money. A shadow order belongs to
//! an account of its own beside the provider's, which no real account can be called: whatever is said of the
//! one is never said of the other, in rows, messages and keys alike.

use super::evidence::Evidence;
use super::ids::OrderId;
use super::order::{Deposit, Order};

/// No account at a provider has a colon in it: the settings refuse it.
const PREFIX: &str = "SHADOW:";

/// What a deployment does with money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Providers are called, and credits are real.
    #[default]
    Live,
    /// Providers are simulated, and nothing is credited.
    Shadow,
}

impl Mode {
    /// Reads the word of the setting.
    pub fn parse(text: &str) -> Option<Mode> {
        match text {
            "live" => Some(Mode::Live),
            "shadow" => Some(Mode::Shadow),
            _ => None,
        }
    }
}

/// The shadow of a provider's account.
pub fn account_of(account: &str) -> String {
    format!("{PREFIX}{account}")
}

/// Whether an account is a shadow.
pub fn is_account(account: &str) -> bool {
    account.starts_with(PREFIX)
}

/// Where the payer of a shadow order would send the money: to nowhere, as anybody can see.
pub fn address_of(order: &OrderId) -> Deposit {
    Deposit { address: format!("SHADOW-{order}"), network: "SHADOW".to_owned() }
}

impl Order {
    /// Whether it was made in shadow mode. For good: it is never credited.
    pub fn is_shadow(&self) -> bool {
        is_account(&self.account)
    }

    /// `shadow` for logs and answers: nothing, unless it is one.
    pub fn shadow_mark(&self) -> Option<bool> {
        self.is_shadow().then_some(true)
    }
}

impl Evidence {
    /// Whether it is simulated, or about a simulated order.
    pub fn is_shadow(&self) -> bool {
        is_account(&self.account)
    }

    /// The same statement about the shadow account.
    pub fn in_shadow(&self) -> Evidence {
        Evidence { account: account_of(&self.account), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn a_mode_is_one_of_two_words() {
        let read = ["live", "shadow", "Live", ""].map(Mode::parse);
        assert_eq!(read, [Some(Mode::Live), Some(Mode::Shadow), None, None]);
    }
}
