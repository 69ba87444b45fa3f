//! Changing the document of client keys in Secrets Manager, for operators. Two changes at once end up in
//! one document.

use std::fmt;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;

use super::keys::{ClientKeysDocument, KeyError};

const CURRENT: &str = "AWSCURRENT";
/// The stage of a version that is not in force yet.
const PENDING: &str = "RECHARGE-PENDING";

/// How often a change is applied again because another one came between.
const RACES_MAX: usize = 5;

/// Why the document was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryError {
    /// The change itself makes no sense.
    Refused(KeyError),
    /// Secrets Manager did not do it; the code of its error.
    Unavailable(String),
    /// The secret is not the document that it should be; nothing was changed.
    Damaged,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegistryError::Refused(why) => why.fmt(f),
            RegistryError::Unavailable(code) => write!(f, "the secret store: {code}"),
            RegistryError::Damaged => f.write_str("the secret is no document of client keys"),
        }
    }
}

impl std::error::Error for RegistryError {}

impl From<KeyError> for RegistryError {
    fn from(error: KeyError) -> RegistryError {
        RegistryError::Refused(error)
    }
}

/// The document of client keys, to change.
#[derive(Debug, Clone)]
pub struct KeyRegistry {
    client: Client,
    secret: String,
}

struct Version {
    id: Option<String>,
    document: ClientKeysDocument,
}

impl KeyRegistry {
    /// The document in the secret called `secret`.
    pub const fn new(client: Client, secret: String) -> KeyRegistry {
        KeyRegistry { client, secret }
    }

    /// The document as it is.
    pub async fn read(&self) -> Result<ClientKeysDocument, RegistryError> {
        Ok(self.version(CURRENT).await?.document)
    }

    /// Changes the document. The new version comes into force only if it replaces the one that was
    /// read; otherwise the change is made again on the one that came between.
    pub async fn change(
        &self,
        change: impl Fn(&mut ClientKeysDocument) -> Result<(), KeyError>,
    ) -> Result<(), RegistryError> {
        for _ in 0..RACES_MAX {
            let mut before = self.version(CURRENT).await?;
            change(&mut before.document)?;
            let text =
                serde_json::to_string(&before.document).map_err(|_| RegistryError::Damaged)?;
            let put = self.client.put_secret_value().secret_id(&self.secret).secret_string(text);
            let put = put.version_stages(PENDING).send().await.map_err(|e| unavailable(&e))?;
            let refused = match &before.id {
                // The first version of a secret comes into force by itself.
                None => None,
                Some(old) => {
                    let update = self.client.update_secret_version_stage();
                    let update = update.secret_id(&self.secret).version_stage(CURRENT);
                    let update = update.remove_from_version_id(old);
                    match update.set_move_to_version_id(put.version_id.clone()).send().await {
                        Ok(_) => return Ok(()),
                        Err(error) => Some(error),
                    }
                }
            };
            // Also when the answer to our own move was lost.
            let now = self.version(CURRENT).await?;
            if now.id == put.version_id {
                return Ok(());
            }
            if let Some(error) = refused.filter(|_| now.id == before.id) {
                return Err(unavailable(&error));
            }
        }
        Err(RegistryError::Unavailable("the document keeps changing".to_owned()))
    }

    async fn version(&self, stage: &str) -> Result<Version, RegistryError> {
        let request = self.client.get_secret_value().secret_id(&self.secret).version_stage(stage);
        let output = match request.send().await {
            Ok(output) => output,
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|e| e.is_resource_not_found_exception()) =>
            {
                return Ok(Version { id: None, document: ClientKeysDocument::new() });
            }
            Err(error) => return Err(unavailable(&error)),
        };
        let text = output.secret_string.ok_or(RegistryError::Damaged)?;
        let document = serde_json::from_str(&text).map_err(|_| RegistryError::Damaged)?;
        Ok(Version { id: output.version_id, document })
    }
}

fn unavailable(error: &impl ProvideErrorMetadata) -> RegistryError {
    RegistryError::Unavailable(error.code().unwrap_or("no answer").to_owned())
}
