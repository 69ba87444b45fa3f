//! The secrets' scenarios: versions, their stages, and the change of the document of client keys.

use recharge_shared::auth::Scope;
use recharge_shared::auth::keys::{self, ClientKeysDocument};
use recharge_shared::auth::registry::KeyRegistry;
use recharge_shared::domain::MerchantId;

use crate::{Backend, Steps};

const SECRET: &str = "second-opinion";

pub async fn play(backend: &Backend, steps: &mut Steps) {
    let client = backend.config.secrets();
    let read = async |stage: &str| {
        let get = client.get_secret_value().secret_id(SECRET).version_stage(stage);
        match get.send().await {
            Ok(found) => {
                let mut stages = found.version_stages.unwrap_or_default();
                stages.sort();
                format!("{:?} {stages:?}", found.secret_string)
            }
            Err(error) => {
                let service = error.as_service_error();
                let missing = service.is_some_and(|e| e.is_resource_not_found_exception());
                format!("missing: {missing}")
            }
        }
    };
    steps.note("nobody's", read("AWSCURRENT").await);
    client.create_secret().name(SECRET).secret_string("{}").send().await.unwrap();
    let again = client.create_secret().name(SECRET).secret_string("{}").send().await;
    let exists =
        again.err().and_then(|error| error.into_service_error().meta().code().map(str::to_owned));
    steps.note("twice", exists);
    for stage in ["AWSCURRENT", "AWSPREVIOUS"] {
        steps.note(stage, read(stage).await);
    }
    client.put_secret_value().secret_id(SECRET).secret_string("{ }").send().await.unwrap();
    for stage in ["AWSCURRENT", "AWSPREVIOUS"] {
        steps.note(stage, read(stage).await);
    }
    let registry = KeyRegistry::new(client.clone(), SECRET.to_owned());
    let merchant = MerchantId::parse("m_1").unwrap();
    let add = |document: &mut ClientKeysDocument| {
        let secret = "a-secret-of-forty-characters-0123456789a".to_owned();
        keys::create(document, "shop", &merchant, &[Scope::RechargeRead], secret)
    };
    for what in ["a key", "a key again"] {
        steps.note(what, registry.change(add).await);
    }
    steps.note("keys", registry.read().await.unwrap().keys().collect::<Vec<_>>());
    for stage in ["AWSCURRENT", "AWSPREVIOUS", "RECHARGE-PENDING"] {
        let read = read(stage).await;
        steps.note(stage, read);
    }
}
