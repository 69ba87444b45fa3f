//! DynamoDB, SQS and Secrets Manager in this process, behind the ordinary SDK clients.
//!
//! A request never leaves the process: [`EmbeddedAws::http_client`] routes it by `x-amz-target`.
//! `server` puts the same services on a port, `faults` breaks the wire on purpose, `roles` holds the
//! functions to what they may do with the table, and `template` creates what the SAM template declares. Signatures are not checked; nothing here is for production.

pub mod clock;
pub mod dynamodb;
pub mod faults;
pub mod file;
pub mod roles;
pub mod secrets;
pub mod server;
pub mod sqs;
pub mod template;
pub mod wire;

use std::path::Path;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::retry::RetryConfig;

pub use self::clock::SharedClock;
pub use self::dynamodb::DynamoDb;
pub use self::file::FileError;
pub use self::secrets::Secrets;
pub use self::sqs::Sqs;
use self::wire::{JSON_1_0, WireAnswer, split_target};

/// The endpoint of clients whose requests never leave the process; `.invalid` never resolves.
pub const EMBEDDED_URL: &str = "http://embedded.invalid";

/// How often the SDK tries a request unless told otherwise: its own default.
pub const ATTEMPTS_DEFAULT: u32 = 3;

/// The three services and their clock. Clones share everything.
#[derive(Debug, Clone)]
pub struct EmbeddedAws {
    dynamodb: DynamoDb,
    sqs: Sqs,
    secrets: Secrets,
    clock: SharedClock,
}

impl EmbeddedAws {
    /// Opens the services on the files in `dir`, or empty ones in memory.
    pub fn open(dir: Option<&Path>, clock: SharedClock) -> Result<EmbeddedAws, FileError> {
        Ok(EmbeddedAws {
            dynamodb: DynamoDb::open(dir, clock.clone())?,
            sqs: Sqs::open(dir, clock.clone())?,
            secrets: Secrets::open(dir, clock.clone())?,
            clock,
        })
    }

    /// The clock all three services read.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The queues, for looking into them.
    pub fn queues(&self) -> &Sqs {
        &self.sqs
    }

    /// The database, for sweeping it.
    pub fn database(&self) -> &DynamoDb {
        &self.dynamodb
    }

    /// Answers one request by its `x-amz-target`.
    ///
    /// Dropped before its first poll it does nothing. Polled once, the request is applied entirely;
    /// only a `ReceiveMessage` that finds nothing waits, and takes nothing while it does.
    pub async fn answer(&self, target: &str, body: &[u8]) -> WireAnswer {
        match split_target(target) {
            (dynamodb::TARGET, operation) => self.dynamodb.answer(operation, body),
            (sqs::TARGET, operation) => self.sqs.answer(operation, body).await,
            (secrets::TARGET, operation) => self.secrets.answer(operation, body),
            // The stream API of DynamoDB has a prefix of its own.
            ("DynamoDBStreams_20120810", operation) => self.dynamodb.answer(operation, body),
            _ => WireAnswer::unknown_operation(JSON_1_0, target),
        }
    }

    /// The services as the transport of SDK clients.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(InProcess(self.clone()))
    }

    /// A DynamoDB client over `http`, with a retry budget of its own.
    pub fn dynamodb(&self, http: SharedHttpClient, attempts: u32) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region())
            .endpoint_url(EMBEDDED_URL)
            .credentials_provider(credentials())
            .http_client(http)
            .interceptor(recharge_shared::store::Meter)
            .retry_partition(retry_partition("embedded-dynamodb"))
            .retry_config(retries(attempts))
            .sleep_impl(sleep())
            .time_source(self.time_source());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// An SQS client over `http`, with a retry budget of its own.
    pub fn sqs(&self, http: SharedHttpClient, attempts: u32) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region())
            .endpoint_url(EMBEDDED_URL)
            .credentials_provider(credentials())
            .http_client(http)
            .retry_partition(retry_partition("embedded-sqs"))
            .retry_config(retries(attempts))
            .sleep_impl(sleep())
            .time_source(self.time_source());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// A Secrets Manager client over `http`, with a retry budget of its own.
    pub fn secrets(&self, http: SharedHttpClient, attempts: u32) -> aws_sdk_secretsmanager::Client {
        let config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region())
            .endpoint_url(EMBEDDED_URL)
            .credentials_provider(credentials())
            .http_client(http)
            .retry_partition(retry_partition("embedded-secrets"))
            .retry_config(retries(attempts))
            .sleep_impl(sleep())
            .time_source(self.time_source());
        aws_sdk_secretsmanager::Client::from_conf(config.build())
    }

    fn time_source(&self) -> SharedTimeSource {
        SharedTimeSource::new(self.clock.clone())
    }
}

fn region() -> Region {
    Region::from_static("us-east-1")
}

fn credentials() -> SharedCredentialsProvider {
    let key = Credentials::new("AKIDEMBEDDED", "not-a-secret", None, None, "embedded");
    SharedCredentialsProvider::new(key)
}

fn sleep() -> SharedAsyncSleep {
    SharedAsyncSleep::new(TokioSleep::new())
}

/// The default token bucket is shared by the whole process: one test would use up another's retries.
fn retry_partition(name: &'static str) -> RetryPartition {
    RetryPartition::custom(name).token_bucket(TokenBucket::default()).build()
}

fn retries(attempts: u32) -> RetryConfig {
    match attempts {
        0 | 1 => RetryConfig::disabled(),
        more => RetryConfig::standard().with_max_attempts(more),
    }
}

#[derive(Debug, Clone)]
struct InProcess(EmbeddedAws);

impl HttpClient for InProcess {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let InProcess(aws) = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
            let body = request.body().bytes().unwrap_or_default();
            Ok(aws.answer(&target, body).await.into_smithy())
        })
    }
}
