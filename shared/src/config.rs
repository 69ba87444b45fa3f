//! Settings from the environment and the clients built from them, for `main.rs`. A missing or
//! malformed setting stops the cold start; nothing falls back to a mock.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};

use crate::app::settle::Policies;
use crate::auth::Authenticator;
use crate::clock::SystemClock;
use crate::domain::{MerchantId, Mode, ProviderName};
use crate::egress::Rules;
use crate::metrics::{Metrics, Stage};
use crate::outbound::Outbound;
use crate::outbound_hyper::HyperOutbound;
use crate::providers::{Provider, Providers, settings::ProviderSettings};
use crate::queue::{DeadLetters, NotificationQueue, SettlementQueue};
use crate::secrets::{CLIENT_KEYS, NotificationKeysDocument, PROVIDER_KEYS, Secret};
use crate::store::{Meter, Store};
use crate::tls;

/// A setting is missing or malformed. Names the setting, never its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// What is read from the environment, and the AWS clients' common configuration.
#[derive(Debug)]
pub struct Config {
    sdk: SdkConfig,
    mode: Mode,
}

impl Config {
    /// Credentials, region and endpoints as Lambda hands them over; the mode from `MODE`, live without it.
    pub async fn from_env() -> Result<Config, ConfigError> {
        let mode = std_var("MODE").filter(|mode| !mode.is_empty());
        let mode = Mode::parse(mode.as_deref().unwrap_or("live"));
        let mode = mode.ok_or_else(|| ConfigError("MODE is neither live nor shadow".to_owned()))?;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_millis(1_000))
            .operation_attempt_timeout(Duration::from_millis(2_500))
            .operation_timeout(Duration::from_millis(8_000))
            .build();
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .http_client(tls::aws_client())
            // An attempt has an end: whoever watches over its bytes besides is paid for and not needed.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts)
            .load()
            .await;
        Ok(Config { sdk, mode })
    }

    /// Services that all answer at `url`, like those of the local stack.
    pub fn of_endpoint(url: &str, credentials: Credentials) -> Config {
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(url)
            .http_client(tls::aws_client())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        Config { sdk, mode: Mode::Live }
    }

    /// What the deployment does with money.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// A client of the table's service.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::config::Builder::from(&self.sdk).interceptor(Meter);
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// A client of the secrets' service.
    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.sdk)
    }

    /// The table called `TABLE_NAME`.
    pub fn store(&self) -> Result<Store, ConfigError> {
        Ok(Store::new(self.dynamodb(), variable("TABLE_NAME")?))
    }

    /// The queue at `SETTLEMENT_QUEUE_URL`.
    pub fn settlement_queue(&self) -> Result<SettlementQueue, ConfigError> {
        let client = aws_sdk_sqs::Client::new(&self.sdk);
        Ok(SettlementQueue::new(client, variable("SETTLEMENT_QUEUE_URL")?).of_stage(stage()?))
    }

    /// The queue at `SETTLEMENT_DEAD_LETTER_QUEUE_URL`.
    pub fn dead_letters(&self) -> Result<DeadLetters, ConfigError> {
        let client = aws_sdk_sqs::Client::new(&self.sdk);
        Ok(DeadLetters::new(client, variable("SETTLEMENT_DEAD_LETTER_QUEUE_URL")?))
    }

    /// The queue at `NOTIFICATION_QUEUE_URL`.
    pub fn notification_queue(&self) -> Result<NotificationQueue, ConfigError> {
        let client = aws_sdk_sqs::Client::new(&self.sdk);
        Ok(NotificationQueue::new(client, variable("NOTIFICATION_QUEUE_URL")?))
    }

    /// The queue at `NOTIFICATION_DEAD_LETTER_QUEUE_URL`.
    pub fn notification_dead_letters(&self) -> Result<DeadLetters, ConfigError> {
        let client = aws_sdk_sqs::Client::new(&self.sdk);
        Ok(DeadLetters::new(client, variable("NOTIFICATION_DEAD_LETTER_QUEUE_URL")?))
    }

    /// The merchants' secrets for notifications, from the secret `NOTIFICATION_KEYS_SECRET`.
    pub fn notification_keys(&self) -> Result<Secret<NotificationKeysDocument>, ConfigError> {
        Ok(Secret::new(self.secrets(), variable("NOTIFICATION_KEYS_SECRET")?, CLIENT_KEYS))
    }

    /// Client authentication by signatures alone, with the keys of the secret `CLIENT_KEYS_SECRET`.
    pub fn signatures(&self) -> Result<Authenticator, ConfigError> {
        let keys = Secret::new(self.secrets(), variable("CLIENT_KEYS_SECRET")?, CLIENT_KEYS);
        Ok(Authenticator::new(Arc::new(keys), Arc::new(SystemClock)))
    }

    /// Client authentication by the secret `CLIENT_KEYS_SECRET`; with `CLIENT_AUTH` =
    /// `signature_or_jwt` also by the gateway's authorizer.
    pub fn authenticator(&self) -> Result<Authenticator, ConfigError> {
        let trusts_authorizer = match variable("CLIENT_AUTH")?.as_str() {
            "signature" => false,
            "signature_or_jwt" => true,
            _ => return Err(ConfigError("CLIENT_AUTH is unknown".to_owned())),
        };
        Ok(self.signatures()?.trusting_authorizer(trusts_authorizer))
    }

    /// The providers of `PROVIDER_SETTINGS`, with their keys from the secret `PROVIDER_KEYS_SECRET`.
    pub fn providers(&self) -> Result<Providers, ConfigError> {
        let keys =
            Arc::new(Secret::new(self.secrets(), variable("PROVIDER_KEYS_SECRET")?, PROVIDER_KEYS));
        let settings = provider_settings()?;
        let outbound: Arc<dyn Outbound> = Arc::new(HyperOutbound::new(settings.allow_http()));
        let all: Vec<Arc<dyn Provider>> = settings
            .build(&keys, &outbound)
            .map_err(|error| ConfigError(format!("PROVIDER_SETTINGS: {error}")))?;
        ProviderName::parse(&variable("DEFAULT_PROVIDER")?)
            .and_then(|name| Providers::new(name, all))
            .map(|all| all.in_mode(self.mode))
            .ok_or_else(|| ConfigError("DEFAULT_PROVIDER is not in PROVIDER_SETTINGS".to_owned()))
    }
}

/// The money rules of `PROVIDER_SETTINGS`.
pub fn policies() -> Result<Policies, ConfigError> {
    Ok(provider_settings()?.policies())
}

fn provider_settings() -> Result<ProviderSettings, ConfigError> {
    ProviderSettings::parse(&variable("PROVIDER_SETTINGS")?)
        .map_err(|error| ConfigError(format!("PROVIDER_SETTINGS: {error}")))
}

/// Where notifications may go: `NOTIFICATION_PORTS`, and not to `OWN_HOSTS`. Both comma-separated; the
/// second one may be empty.
pub fn egress_rules() -> Result<Rules, ConfigError> {
    let ports = variable("NOTIFICATION_PORTS")?;
    let ports = ports.split(',').map(|port| port.trim().parse());
    let ports = ports.collect::<Result<_, _>>();
    let ports =
        ports.map_err(|_| ConfigError("NOTIFICATION_PORTS is no list of ports".to_owned()))?;
    let hosts = std_var("OWN_HOSTS").unwrap_or_default();
    let hosts = hosts.split(',').map(|host| host.trim().to_ascii_lowercase());
    let own_hosts = hosts.filter(|host| !host.is_empty()).collect();
    Ok(Rules { ports, own_hosts, allow_loopback: false })
}

/// The merchant whose admins see everybody's reviews, `OPERATOR_MERCHANT`; nobody when it is empty.
pub fn operator() -> Option<MerchantId> {
    std_var("OPERATOR_MERCHANT").and_then(|name| MerchantId::parse(&name))
}

/// The deployment's stage, `STAGE`: `local` without it.
pub fn stage() -> Result<Stage, ConfigError> {
    match std_var("STAGE").filter(|stage| !stage.is_empty()) {
        Some(name) => Stage::parse(&name).ok_or_else(|| ConfigError("STAGE is no name".to_owned())),
        None => Ok(Stage::default()),
    }
}

/// Metrics of `function` on standard output, for the stage.
pub fn metrics(function: &'static str) -> Result<Metrics, ConfigError> {
    let stage = stage()?;
    let version = std_var("AWS_LAMBDA_FUNCTION_VERSION").and_then(|text| Stage::parse(&text));
    Ok(Metrics::on_stdout(stage).of(function).of_version(version))
}

/// Rows that the audit looks at in its minute, `AUDIT_PAGE`; nothing without it.
pub fn audit_page() -> Result<u32, ConfigError> {
    match std_var("AUDIT_PAGE").filter(|rows| !rows.is_empty()) {
        Some(_) => number("AUDIT_PAGE"),
        None => Ok(0),
    }
}

/// What is logged, `RUST_LOG`.
pub(crate) fn log_levels() -> Option<String> {
    std_var("RUST_LOG").filter(|levels| !levels.is_empty())
}

/// A number from the environment.
pub fn number<T: FromStr>(name: &str) -> Result<T, ConfigError> {
    variable(name)?.parse().map_err(|_| ConfigError(format!("{name} is not a number")))
}

fn variable(name: &str) -> Result<String, ConfigError> {
    std_var(name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| ConfigError(format!("{name} is not set")))
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn std_var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
