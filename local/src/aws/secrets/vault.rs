//! The secrets as plain data and their file. Knows stages and versions, nothing of requests.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::super::file::{self, FileError};
use super::super::wire::{JSON_1_1, WireAnswer, stable_hash, stable_uuid};

/// The stage of the version in force.
pub const CURRENT: &str = "AWSCURRENT";
/// The stage of the version that was in force before.
pub const PREVIOUS: &str = "AWSPREVIOUS";

/// AWS keeps about a hundred versions without a stage.
const VERSIONS_MAX: usize = 100;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
";

/// One secret with all its versions.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secret {
    pub name: String,
    pub arn: String,
    pub description: String,
    pub created_ms: i64,
    pub changed_ms: i64,
    /// Counts versions, for identifiers the caller does not give.
    next: u64,
    pub versions: BTreeMap<String, Version>,
}

/// One value of a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub string: Option<String>,
    /// In base64, as on the wire.
    pub binary: Option<String>,
    pub stages: Vec<String>,
    pub created_ms: i64,
    number: u64,
}

/// A value about to become a version.
pub struct NewVersion {
    pub string: Option<String>,
    pub binary: Option<String>,
    pub token: Option<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What was wrong with a request, named as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ResourceNotFoundException,
    ResourceExistsException,
    InvalidParameterException,
    InternalServiceError,
}

/// A refused request.
#[derive(Debug)]
pub struct SecretsError {
    kind: Kind,
    message: String,
}

impl SecretsError {
    pub fn new(kind: Kind, message: impl Into<String>) -> SecretsError {
        SecretsError { kind, message: message.into() }
    }

    pub fn into_answer(self) -> WireAnswer {
        let status = if self.kind == Kind::InternalServiceError { 500 } else { 400 };
        WireAnswer::error(status, JSON_1_1, &format!("{:?}", self.kind), &self.message)
    }
}

impl From<FileError> for SecretsError {
    fn from(error: FileError) -> SecretsError {
        tracing::error!(error = ?error, "the embedded secrets cannot write their file");
        SecretsError::new(
            Kind::InternalServiceError,
            "the embedded secrets cannot write their file",
        )
    }
}

impl Secret {
    /// Adds a version and gives it the stages; the same token and value again changes nothing.
    pub fn put(
        &mut self,
        new: NewVersion,
        stages: &[String],
        now_ms: i64,
    ) -> Result<String, SecretsError> {
        let id = new.token.unwrap_or_else(|| stable_uuid(&self.name, self.next));
        match self.versions.get(&id) {
            Some(old) if old.string == new.string && old.binary == new.binary => return Ok(id),
            Some(_) => {
                let message = "You can't modify the value of a version that already exists.";
                return Err(SecretsError::new(Kind::ResourceExistsException, message));
            }
            None => {}
        }
        let version = Version {
            string: new.string,
            binary: new.binary,
            stages: Vec::new(),
            created_ms: now_ms,
            number: self.next,
        };
        self.next += 1;
        self.changed_ms = now_ms;
        self.versions.insert(id.clone(), version);
        for stage in stages {
            self.move_stage(stage, &id);
        }
        // The first version of a secret is the current one, whatever stages it came with.
        if self.with_stage(CURRENT).is_none() {
            self.move_stage(CURRENT, &id);
        }
        self.forget_old_versions();
        Ok(id)
    }

    /// Takes a stage from one version and gives it to another; refused when the first does not have it.
    pub fn update_stage(
        &mut self,
        stage: &str,
        (from, to): (Option<&str>, Option<&str>),
    ) -> Result<(), SecretsError> {
        let refuse = |message: &str| SecretsError::new(Kind::InvalidParameterException, message);
        let holder = self.with_stage(stage).map(|(id, _)| id.to_owned());
        if to.is_some() && from == to {
            return Err(refuse("The versions are the same."));
        }
        if holder.as_deref() != from && holder.as_deref() != to {
            return Err(refuse("The staging label is attached to another version."));
        }
        match to {
            Some(to) if !self.versions.contains_key(to) => {
                Err(SecretsError::new(Kind::ResourceNotFoundException, "There is no such version."))
            }
            Some(to) => {
                self.move_stage(stage, to);
                Ok(())
            }
            None if stage == CURRENT => Err(refuse("AWSCURRENT can only be moved.")),
            None => {
                for version in self.versions.values_mut() {
                    version.stages.retain(|held| held != stage);
                }
                Ok(())
            }
        }
    }

    fn move_stage(&mut self, stage: &str, to: &str) {
        let holder = self.with_stage(stage).map(|(id, _)| id.to_owned());
        for version in self.versions.values_mut() {
            version.stages.retain(|held| held != stage);
        }
        if let Some(version) = self.versions.get_mut(to) {
            version.stages.push(stage.to_owned());
        }
        if let Some(was_current) = holder.filter(|id| stage == CURRENT && id != to) {
            self.move_stage(PREVIOUS, &was_current);
        }
    }

    fn with_stage(&self, stage: &str) -> Option<(&str, &Version)> {
        let holds = |version: &Version| version.stages.iter().any(|held| held == stage);
        let mut versions = self.versions.iter();
        versions.find(|(_, version)| holds(version)).map(|(id, version)| (id.as_str(), version))
    }

    fn forget_old_versions(&mut self) {
        while self.versions.len() > VERSIONS_MAX {
            let unstaged = self.versions.iter().filter(|(_, version)| version.stages.is_empty());
            let oldest = unstaged.min_by_key(|(_, version)| version.number);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { return };
            self.versions.remove(&id);
        }
    }

    /// The version with this identifier and stage; the current one when neither is given.
    pub fn version<'a>(
        &'a self,
        id: Option<&'a str>,
        stage: Option<&str>,
    ) -> Result<(&'a str, &'a Version), SecretsError> {
        let found = match id {
            Some(id) => {
                self.versions.get(id).map(|version| (id, version)).filter(|(_, version)| {
                    stage.is_none_or(|stage| version.stages.iter().any(|held| held == stage))
                })
            }
            None => self.with_stage(stage.unwrap_or(CURRENT)),
        };
        found.ok_or_else(|| {
            let wanted = match (id, stage) {
                (Some(id), _) => format!("version {id}"),
                (None, stage) => format!("staging label: {}", stage.unwrap_or(CURRENT)),
            };
            let message =
                format!("Secrets Manager can't find the specified secret value for {wanted}");
            SecretsError::new(Kind::ResourceNotFoundException, message)
        })
    }
}

/// All secrets, and their file when they have one.
#[derive(Debug)]
pub struct Vault {
    secrets: BTreeMap<String, Secret>,
    file: Option<Connection>,
}

impl Vault {
    pub fn open(dir: Option<&Path>) -> Result<Vault, FileError> {
        let file = dir.map(|dir| file::open(dir, "secrets.sqlite", SCHEMA)).transpose()?;
        let mut secrets = BTreeMap::new();
        if let Some(connection) = &file {
            let mut statement = connection.prepare("SELECT name, content FROM secrets")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                secrets.insert(row.get(0)?, serde_json::from_str(&row.get::<_, String>(1)?)?);
            }
        }
        Ok(Vault { secrets, file })
    }

    pub fn all(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.values()
    }

    /// By name, by ARN, or by ARN without the six characters at its end.
    pub fn find(&self, id: &str) -> Result<&Secret, SecretsError> {
        let by_arn = || {
            let mut all = self.secrets.values();
            all.find(|s| s.arn == id || s.arn.rsplit_once('-').is_some_and(|(arn, _)| arn == id))
        };
        self.secrets.get(id).or_else(by_arn).ok_or_else(|| {
            let message = "Secrets Manager can't find the specified secret.";
            SecretsError::new(Kind::ResourceNotFoundException, message)
        })
    }

    /// A new secret without versions, not saved yet.
    pub fn create(
        &self,
        name: &str,
        description: String,
        now_ms: i64,
    ) -> Result<Secret, SecretsError> {
        if self.secrets.contains_key(name) {
            let message = format!("The operation failed because the secret {name} already exists.");
            return Err(SecretsError::new(Kind::ResourceExistsException, message));
        }
        let suffix = stable_hash(&[name]) & 0xff_ffff;
        Ok(Secret {
            name: name.to_owned(),
            arn: format!(
                "arn:aws:secretsmanager:us-east-1:000000000000:secret:{name}-{suffix:06x}"
            ),
            description,
            created_ms: now_ms,
            changed_ms: now_ms,
            next: 1,
            versions: BTreeMap::new(),
        })
    }

    /// Keeps the secret as it is now, on disk first.
    pub fn save(&mut self, secret: Secret) -> Result<(), SecretsError> {
        if let Some(connection) = &self.file {
            let content = serde_json::to_string(&secret).map_err(FileError::from)?;
            let sql = "INSERT OR REPLACE INTO secrets (name, content) VALUES (?1, ?2)";
            connection.execute(sql, params![secret.name, content]).map_err(FileError::from)?;
        }
        self.secrets.insert(secret.name.clone(), secret);
        Ok(())
    }

    /// Forgets the secret and all its versions.
    pub fn delete(&mut self, name: &str) -> Result<(), SecretsError> {
        if let Some(connection) = &self.file {
            let sql = "DELETE FROM secrets WHERE name = ?1";
            connection.execute(sql, [name]).map_err(FileError::from)?;
        }
        self.secrets.remove(name);
        Ok(())
    }
}
