//! Keys for the adapters' tests, from a secret store that answers from memory.

use std::sync::Arc;

use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use serde_json::json;

use crate::domain::ProviderName;
use crate::secrets::{PROVIDER_KEYS, ProviderKeys, Secret};

/// A secret store that holds the current and the previous key, or does not answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    pub(super) provider: &'static str,
    pub(super) current: &'static str,
    pub(super) previous: &'static str,
    pub(super) reachable: bool,
}

impl HttpConnector for Keys {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let key = if body.contains("AWSPREVIOUS") { self.previous } else { self.current };
        let document = json!({self.provider: {"key": key}}).to_string();
        let (status, body) = if self.reachable {
            (200, json!({"Name": "keys", "SecretString": document}))
        } else {
            (400, json!({"__type": "AccessDeniedException"}))
        };
        let status = status.try_into().unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body.to_string()))))
    }
}

impl HttpClient for Keys {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(*self)
    }
}

impl Keys {
    /// The provider's name and its keys in this store.
    pub(super) fn of(self) -> (ProviderName, ProviderKeys) {
        let config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("AKID", "secret", None, None, "test"))
            .http_client(SharedHttpClient::new(self))
            .build();
        let client = aws_sdk_secretsmanager::Client::from_conf(config);
        let secret = Arc::new(Secret::new(client, "keys".to_owned(), PROVIDER_KEYS));
        let name = ProviderName::parse(self.provider).unwrap();
        (name.clone(), ProviderKeys::new(secret, name))
    }
}
