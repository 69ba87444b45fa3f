//! The operator's commands: client keys, merchants, users. They change Secrets Manager and the table,
//! of the running local stack or of an AWS account; functions notice within a minute.

use std::time::Duration;

use aws_credential_types::Credentials;
use clap::{Args, Subcommand, ValueEnum};
use recharge_shared::auth::Scope;
use recharge_shared::auth::keys::{self, ClientKeysDocument};
use recharge_shared::auth::registry::KeyRegistry;
use recharge_shared::clock::{Clock, SystemClock};
use recharge_shared::config::Config;
use recharge_shared::domain::merchant::CREATES_MAX;
use recharge_shared::domain::{
    AmountPolicy, Disposal, Merchant, MerchantId, MerchantPolicy, UserAccess, UserId,
};
use recharge_shared::store::{Store, Written};

use crate::stack;

/// How often a change is begun again because somebody else has changed the same.
const RACES_MAX: usize = 5;

/// The longest overlap of two secrets: thirty days.
const OVERLAP_SECS_MAX: u64 = 30 * 86_400;

/// Which deployment the commands change.
#[derive(Debug, Args)]
pub struct Target {
    /// Change an AWS account, by the environment's credentials and region, instead of the local stack.
    #[arg(long, global = true, requires_all = ["table", "client_keys"])]
    aws: bool,
    /// The table, with --aws.
    #[arg(long, global = true)]
    table: Option<String>,
    /// Name or ARN of the secret with the client keys, with --aws.
    #[arg(long, global = true)]
    client_keys: Option<String>,
}

/// `recharge keys …`
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Shows the keys, without their secrets.
    List,
    /// Makes a key and prints its secret, once.
    Create {
        /// The key's name.
        key: String,
        /// Whose it is.
        #[arg(long)]
        merchant: String,
        /// What it may do: recharge:write, recharge:read, admin; the first two without this.
        #[arg(long = "scope")]
        scopes: Vec<String>,
    },
    /// Gives a key a new secret and prints it, once; the old one stays good for a while.
    Rotate {
        /// The key's name.
        key: String,
        /// How long the old secret stays good, in seconds, and all before it at most; with 0 the new one alone is good.
        #[arg(long, default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(..=OVERLAP_SECS_MAX))]
        overlap: u64,
    },
    /// Takes a key away; it stops within a minute.
    Revoke {
        /// The key's name.
        key: String,
    },
}

/// `recharge merchants …`
#[derive(Debug, Subcommand)]
pub enum Merchants {
    /// Shows a merchant's settings.
    Show {
        /// The merchant.
        merchant: String,
    },
    /// Changes what is given and leaves the rest.
    Set {
        /// The merchant.
        merchant: String,
        /// Whether it is suspended: it may not create and cancel any more.
        #[arg(long)]
        suspended: Option<bool>,
        /// Who its users are: open or registered.
        #[arg(long)]
        users: Option<String>,
        /// Creates per second.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(CREATES_MAX)))]
        rate: Option<u32>,
        /// Creates at once after a pause.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(CREATES_MAX)))]
        burst: Option<u32>,
        /// Its rules for money that does not match.
        #[command(flatten)]
        policy: PolicyChange,
    },
}

/// The merchant's own rules for money that does not match; the word `default` takes one back, so that the
/// provider's rule holds.
#[derive(Debug, Args)]
pub struct PolicyChange {
    /// Less or more than the order's amount: exact, credit_received or accumulate.
    #[arg(long)]
    amount: Option<String>,
    /// By how many minor units less or more is as good as exact.
    #[arg(long)]
    tolerance: Option<String>,
    /// More than the order's amount: credit or review.
    #[arg(long)]
    over_payment: Option<String>,
    /// Money after the order has ended: credit or review.
    #[arg(long)]
    late_payment: Option<String>,
    /// Another payment for a paid order: credit or review.
    #[arg(long)]
    second_payment: Option<String>,
}

impl PolicyChange {
    fn apply(&self, old: MerchantPolicy) -> Result<MerchantPolicy, String> {
        let disposal = |given: &Option<String>, old| {
            changed(given, old, Disposal::parse, "credit, review or default")
        };
        let amounts = "exact, credit_received, accumulate or default";
        Ok(MerchantPolicy {
            amount: changed(&self.amount, old.amount, AmountPolicy::parse, amounts)?,
            tolerance: changed(
                &self.tolerance,
                old.tolerance,
                |text| text.parse().ok(),
                "a whole number of minor units or default",
            )?,
            over_payment: disposal(&self.over_payment, old.over_payment)?,
            late_payment: disposal(&self.late_payment, old.late_payment)?,
            second_payment: disposal(&self.second_payment, old.second_payment)?,
        })
    }
}

fn changed<T>(
    given: &Option<String>,
    old: Option<T>,
    parse: impl Fn(&str) -> Option<T>,
    known: &str,
) -> Result<Option<T>, String> {
    match given.as_deref() {
        None => Ok(old),
        Some("default") => Ok(None),
        Some(text) => parse(text).map(Some).ok_or_else(|| format!("{text:?} is none of {known}")),
    }
}

/// What may happen to a user.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum UserChange {
    /// Nothing is created for it any more.
    Suspend,
    /// The end of a suspension.
    Resume,
    /// Makes it known, for merchants whose users are registered.
    Register,
}

/// The deployment that a [`Target`] means.
#[derive(Debug)]
pub struct Deployment {
    store: Store,
    keys: KeyRegistry,
}

impl Target {
    /// Connects to it; `aws_port` is the local stack's.
    pub async fn open(&self, aws_port: u16) -> Result<Deployment, String> {
        if let (true, Some(table), Some(secret)) = (self.aws, &self.table, &self.client_keys) {
            let config = Config::from_env().await.map_err(|error| error.to_string())?;
            let store = Store::new(config.dynamodb(), table.clone());
            return Ok(Deployment {
                store,
                keys: KeyRegistry::new(config.secrets(), secret.clone()),
            });
        }
        let names = stack::template_names()?;
        let credentials = Credentials::new("local", "local", None, None, "local");
        let config = Config::of_endpoint(&format!("http://127.0.0.1:{aws_port}"), credentials);
        let store = Store::new(config.dynamodb(), names.table);
        Ok(Deployment { store, keys: KeyRegistry::new(config.secrets(), names.client_keys) })
    }
}

/// Carries out a command about keys; what to print.
pub async fn keys(deployment: &Deployment, command: Keys) -> Result<String, String> {
    let registry = &deployment.keys;
    let changed = match command {
        Keys::List => {
            let document = registry.read().await.map_err(|error| error.to_string())?;
            return Ok(list(&document));
        }
        Keys::Create { key, merchant, scopes } => {
            let merchant = parse_merchant(&merchant)?;
            let scopes = parse_scopes(&scopes)?;
            let secret = new_secret()?;
            let change = |document: &mut ClientKeysDocument| {
                keys::create(document, &key, &merchant, &scopes, secret.clone())
            };
            registry.change(change).await.map(|()| format!("key     {key}\nsecret  {secret}"))
        }
        Keys::Rotate { key, overlap } => {
            let secret = new_secret()?;
            let now = SystemClock.now();
            let until = now.plus(Duration::from_secs(overlap)).secs();
            let change = |document: &mut ClientKeysDocument| {
                keys::rotate(document, &key, secret.clone(), (now.secs(), until))
            };
            registry.change(change).await.map(|()| format!("key     {key}\nsecret  {secret}"))
        }
        Keys::Revoke { key } => {
            let change = |document: &mut ClientKeysDocument| keys::revoke(document, &key);
            registry
                .change(change)
                .await
                .map(|()| format!("revoked {key}; it stops within a minute"))
        }
    };
    changed.map_err(|error| error.to_string())
}

fn list(document: &ClientKeysDocument) -> String {
    let line = |(id, key): (&String, &keys::ClientKey)| {
        let scopes: Vec<&str> = key.scopes().iter().map(|scope| scope.as_str()).collect();
        let former = key.former_until().map(|until| format!("  former secret until {until}"));
        let (merchant, scopes) = (key.merchant(), scopes.join(" "));
        format!("{id:<16} {merchant:<16} {scopes}{}", former.unwrap_or_default())
    };
    document.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Carries out a command about merchants; what to print.
pub async fn merchants(deployment: &Deployment, command: Merchants) -> Result<String, String> {
    let store = &deployment.store;
    let read = async |id: &MerchantId| store.merchant(id).await.map_err(|error| error.to_string());
    match command {
        Merchants::Show { merchant } => {
            let id = parse_merchant(&merchant)?;
            Ok(show(&id, &read(&id).await?))
        }
        Merchants::Set { merchant, suspended, users, rate, burst, policy } => {
            let id = parse_merchant(&merchant)?;
            let users = users.map(|word| UserAccess::parse(&word).ok_or("open or registered"));
            let users = users.transpose()?;
            for _ in 0..RACES_MAX {
                let before = read(&id).await?;
                let mut settings = before.clone();
                settings.users = users.unwrap_or(settings.users);
                settings.suspended = suspended.unwrap_or(settings.suspended);
                settings.creates_per_second = rate.unwrap_or(settings.creates_per_second);
                settings.burst = burst.unwrap_or(settings.burst);
                settings.policy = policy.apply(settings.policy)?;
                let written = store.change_merchant(&id, (&before, &settings)).await;
                if written.map_err(|error| error.to_string())? == Written::Now {
                    return Ok(show(&id, &settings));
                }
            }
            Err(format!("the settings of {id} keep changing: try again"))
        }
    }
}

fn show(id: &MerchantId, merchant: &Merchant) -> String {
    let Merchant { suspended, users, creates_per_second, burst, suspended_users, policy } =
        merchant;
    let word = |word: Option<&'static str>| word.unwrap_or("default");
    let disposal = |disposal: Option<Disposal>| word(disposal.map(Disposal::as_str));
    let policy = format!(
        "amount {}, tolerance {}, over {}, late {}, second {}",
        word(policy.amount.map(AmountPolicy::as_str)),
        policy.tolerance.map_or("default".to_owned(), |minor| minor.to_string()),
        disposal(policy.over_payment),
        disposal(policy.late_payment),
        disposal(policy.second_payment),
    );
    let suspended_users: Vec<&str> = suspended_users.iter().map(UserId::as_str).collect();
    format!(
        "merchant         {id}\nsuspended        {suspended}\nusers            {}\n\
         creates          {creates_per_second} per second, {burst} at once\nsuspended users  {}\n\
         money            {policy}",
        users.as_str(),
        suspended_users.join(" "),
    )
}

/// Changes a user; what to print.
pub async fn user(
    deployment: &Deployment,
    change: UserChange,
    (merchant, user): (&str, &str),
) -> Result<String, String> {
    let id = parse_merchant(merchant)?;
    let user = UserId::parse(user).ok_or("a user is 1 to 64 of [A-Za-z0-9_-]")?;
    let store = &deployment.store;
    let (done, word) = match change {
        UserChange::Suspend => (store.suspend_user(&id, &user).await, "suspended"),
        UserChange::Resume => (store.resume_user(&id, &user).await, "resumed"),
        UserChange::Register => (store.register_user(&id, &user).await, "registered"),
    };
    done.map_err(|error| error.to_string())?;
    Ok(format!("{word} {user} of {id}"))
}

fn parse_merchant(text: &str) -> Result<MerchantId, String> {
    MerchantId::parse(text).ok_or_else(|| "a merchant is 1 to 64 of [A-Za-z0-9_-]".to_owned())
}

fn parse_scopes(words: &[String]) -> Result<Vec<Scope>, String> {
    if words.is_empty() {
        return Ok(vec![Scope::RechargeWrite, Scope::RechargeRead]);
    }
    let scope = |word: &String| {
        let known = Scope::ALL.map(Scope::as_str).join(", ");
        Scope::parse(word).ok_or_else(|| format!("unknown scope {word:?}; known are {known}"))
    };
    words.iter().map(scope).collect()
}

/// 256 bits from the operating system, as hex.
#[expect(clippy::disallowed_methods, reason = "the one place that makes secrets")]
fn new_secret() -> Result<String, String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(hex::encode(bytes))
}
