//! An embedded Secrets Manager: named secrets, versions, and the stages that move between them.
//!
//! One lock around plain data. With a directory, every answer has been written first. Values are
//! never logged. No rotation functions and no recovery window: a deleted secret is gone.

mod vault;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::vault::{Kind, NewVersion, Secret, SecretsError, Vault, Version};
use super::clock::SharedClock;
use super::file::FileError;
use super::wire::{JSON_1_1, WireAnswer};

/// The prefix of `x-amz-target`.
pub const TARGET: &str = "secretsmanager";

/// A cloneable handle on the embedded secrets.
#[derive(Debug, Clone)]
pub struct Secrets {
    clock: SharedClock,
    vault: Arc<Mutex<Vault>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    name: Option<String>,
    secret_id: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    client_request_token: Option<String>,
    description: Option<String>,
    version_id: Option<String>,
    version_stage: Option<String>,
    version_stages: Option<Vec<String>>,
    remove_from_version_id: Option<String>,
    move_to_version_id: Option<String>,
}

impl Request {
    fn id(&self) -> Result<&str, SecretsError> {
        self.secret_id.as_deref().filter(|id| !id.is_empty()).ok_or_else(|| missing("SecretId"))
    }

    fn new_version(&self) -> Option<NewVersion> {
        (self.secret_string.is_some() || self.secret_binary.is_some()).then(|| NewVersion {
            string: self.secret_string.clone(),
            binary: self.secret_binary.clone(),
            token: self.client_request_token.clone(),
        })
    }
}

fn missing(parameter: &str) -> SecretsError {
    SecretsError::new(Kind::InvalidParameterException, format!("{parameter} must be provided."))
}

impl Secrets {
    /// Opens the secrets kept in `dir`, or none in memory.
    pub fn open(dir: Option<&Path>, clock: SharedClock) -> Result<Secrets, FileError> {
        Ok(Secrets { clock, vault: Arc::new(Mutex::new(Vault::open(dir)?)) })
    }

    /// Answers one request, entirely and at once.
    pub fn answer(&self, operation: &str, body: &[u8]) -> WireAnswer {
        let now_ms = self.clock.now_ms();
        // A panic inside would be a bug of this module; the data itself is whole after each change.
        let mut vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = parse(body).and_then(|request: Request| match operation {
            "CreateSecret" => create(&mut vault, &request, now_ms).map(Some),
            "GetSecretValue" => get_value(&vault, &request).map(Some),
            "PutSecretValue" => put_value(&mut vault, &request, now_ms).map(Some),
            "UpdateSecretVersionStage" => update_stage(&mut vault, &request).map(Some),
            "UpdateSecret" => update(&mut vault, &request, now_ms).map(Some),
            "DescribeSecret" => vault.find(request.id()?).map(|secret| Some(describe(secret))),
            "ListSecrets" => Ok(Some(list(&vault))),
            "DeleteSecret" => delete(&mut vault, &request, now_ms).map(Some),
            _ => Ok(None),
        });
        match answered {
            Ok(Some(body)) => WireAnswer::ok(JSON_1_1, body.to_string()),
            Ok(None) => WireAnswer::unknown_operation(JSON_1_1, &format!("{TARGET}.{operation}")),
            Err(error) => error.into_answer(),
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, SecretsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|e| {
        let message = format!("The request cannot be read: {e}");
        SecretsError::new(Kind::InvalidParameterException, message)
    })
}

fn create(vault: &mut Vault, request: &Request, now_ms: i64) -> Result<Value, SecretsError> {
    let name = request.name.as_deref().filter(|n| !n.is_empty()).ok_or_else(|| missing("Name"))?;
    let description = request.description.clone().unwrap_or_default();
    let mut secret = vault.create(name, description, now_ms)?;
    let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
    if let Some(new) = request.new_version() {
        answer["VersionId"] = secret.put(new, &[vault::CURRENT.to_owned()], now_ms)?.into();
    }
    vault.save(secret)?;
    Ok(answer)
}

fn get_value(vault: &Vault, request: &Request) -> Result<Value, SecretsError> {
    let secret = vault.find(request.id()?)?;
    let (id, version) =
        secret.version(request.version_id.as_deref(), request.version_stage.as_deref())?;
    let mut answer = json!({
        "ARN": secret.arn,
        "Name": secret.name,
        "VersionId": id,
        "VersionStages": version.stages,
        "CreatedDate": timestamp(version.created_ms),
    });
    if let Some(text) = &version.string {
        answer["SecretString"] = text.as_str().into();
    }
    if let Some(encoded) = &version.binary {
        answer["SecretBinary"] = encoded.as_str().into();
    }
    Ok(answer)
}

fn put_value(vault: &mut Vault, request: &Request, now_ms: i64) -> Result<Value, SecretsError> {
    let mut secret = vault.find(request.id()?)?.clone();
    let new = request.new_version().ok_or_else(|| missing("SecretString or SecretBinary"))?;
    let stages = request.version_stages.clone().unwrap_or_else(|| vec![vault::CURRENT.to_owned()]);
    let id = secret.put(new, &stages, now_ms)?;
    let stages = secret.versions.get(&id).map(|version| version.stages.clone());
    let answer = json!({
        "ARN": secret.arn, "Name": secret.name, "VersionId": id, "VersionStages": stages,
    });
    vault.save(secret)?;
    Ok(answer)
}

fn update_stage(vault: &mut Vault, request: &Request) -> Result<Value, SecretsError> {
    let mut secret = vault.find(request.id()?)?.clone();
    let stage = request.version_stage.as_deref().ok_or_else(|| missing("VersionStage"))?;
    let (from, to) = (&request.remove_from_version_id, &request.move_to_version_id);
    secret.update_stage(stage, (from.as_deref(), to.as_deref()))?;
    let answer = json!({ "ARN": secret.arn, "Name": secret.name });
    vault.save(secret)?;
    Ok(answer)
}

fn update(vault: &mut Vault, request: &Request, now_ms: i64) -> Result<Value, SecretsError> {
    let mut secret = vault.find(request.id()?)?.clone();
    if let Some(description) = &request.description {
        secret.description.clone_from(description);
        secret.changed_ms = now_ms;
    }
    let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
    if let Some(new) = request.new_version() {
        answer["VersionId"] = secret.put(new, &[vault::CURRENT.to_owned()], now_ms)?.into();
    }
    vault.save(secret)?;
    Ok(answer)
}

fn delete(vault: &mut Vault, request: &Request, now_ms: i64) -> Result<Value, SecretsError> {
    let secret = vault.find(request.id()?)?.clone();
    vault.delete(&secret.name)?;
    Ok(json!({ "ARN": secret.arn, "Name": secret.name, "DeletionDate": timestamp(now_ms) }))
}

fn list(vault: &Vault) -> Value {
    let secrets: Vec<Value> = vault
        .all()
        .map(|secret| {
            let mut entry = describe(secret);
            if let Some(versions) =
                entry.as_object_mut().and_then(|e| e.remove("VersionIdsToStages"))
            {
                entry["SecretVersionsToStages"] = versions;
            }
            entry
        })
        .collect();
    json!({ "SecretList": secrets })
}

fn describe(secret: &Secret) -> Value {
    let staged = |(id, version): (&String, &Version)| {
        (!version.stages.is_empty()).then(|| (id.clone(), json!(version.stages)))
    };
    let versions: serde_json::Map<String, Value> =
        secret.versions.iter().filter_map(staged).collect();
    json!({
        "ARN": secret.arn,
        "Name": secret.name,
        "Description": secret.description,
        "CreatedDate": timestamp(secret.created_ms),
        "LastChangedDate": timestamp(secret.changed_ms),
        "VersionIdsToStages": versions,
    })
}

/// AWS JSON writes times as seconds; whole ones are enough here.
fn timestamp(ms: i64) -> Value {
    (ms / 1_000).into()
}
