//! The session's secrets: by id, read when a step asks.
//!
//! Ids are made from names and URIs ([`SecretStore::set`], [`SecretStore::add_uri`]),
//! so they are the same in every run and say nothing about the value. Two ids
//! are special: the init program is served as a secret, and every salt is
//! answered "not found" (see [`crate::init`] and [`crate::salt`]).
//!
//! [`SecretStore::redact`] replaces every value that was handed out by `***` in
//! text on its way to a person: init does that for our own steps, but a
//! Dockerfile's steps and the daemon's messages do not pass through it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use solver::backend::session::{SECRET_MAX, SecretBytes, SecretProvider};

use crate::error::Error;
use crate::{init, salt};

/// How long a `cmd://` secret's command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Values shorter than this are not redacted: it would garble any text.
const REDACTED_MIN: usize = 3;

/// Where a value comes from.
#[derive(Clone)]
enum Source {
    Value(SecretBytes),
    Env(String),
    File(PathBuf),
    Command(String),
    /// The same as another id.
    Alias(String),
}

/// Looks up a variable of the client's environment.
pub type Environment = Arc<dyn Fn(&str) -> Option<SecretString> + Send + Sync>;

/// All secrets of a session.
pub struct SecretStore {
    sources: RwLock<BTreeMap<String, Source>>,
    environment: Environment,
    workdir: PathBuf,
    /// Values that were handed out, for redaction.
    known: Mutex<Vec<SecretString>>,
}

impl std::fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretStore")
    }
}

impl SecretStore {
    /// No secrets yet. Files are relative to `workdir`.
    pub fn new(environment: Environment, workdir: PathBuf) -> Self {
        Self {
            sources: RwLock::default(),
            environment,
            workdir,
            known: Mutex::default(),
        }
    }

    fn insert(&self, id: String, source: Source) -> String {
        self.sources
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), source);
        id
    }

    /// Keeps a value under a name; a later value of the same name replaces it.
    pub fn set(&self, name: &str, plaintext: &str) -> String {
        let value: SecretBytes = Arc::new(SecretSlice::from(plaintext.as_bytes().to_vec()));
        self.remember(value.expose_secret());
        self.insert(format!("dagop.secret/name/{name}"), Source::Value(value))
    }

    /// Registers a URI. With a cache key, that is the identity: two URIs of one
    /// key are one secret to the cache.
    ///
    /// # Errors
    /// An unknown scheme, a variable that is not set, a file that is not there.
    pub fn add_uri(&self, uri: &str, cache_key: Option<&str>) -> Result<String, Error> {
        let fail = |reason: String| Error::input(format!("secret {uri:?}: {reason}"));
        let source = match uri.split_once("://") {
            Some(("env", name)) => {
                if (self.environment)(name).is_none() {
                    return Err(fail(format!("environment variable {name} is not set")));
                }
                Source::Env(name.to_owned())
            }
            Some(("file", path)) => {
                let path = self.workdir.join(path);
                std::fs::metadata(&path).map_err(|e| fail(e.to_string()))?;
                Source::File(path)
            }
            Some(("cmd", command)) if !command.trim().is_empty() => {
                Source::Command(command.to_owned())
            }
            Some(("cmd", _)) => return Err(fail("there is no command".to_owned())),
            _ => {
                return Err(fail(
                    "expected env://NAME, file://PATH or cmd://COMMAND".to_owned(),
                ));
            }
        };
        let id = match cache_key {
            Some(key) => format!("dagop.secret/key/{key}"),
            None => format!("dagop.secret/uri/{uri}"),
        };
        Ok(self.insert(id, source))
    }

    /// Makes a secret known by a second id, the one a Dockerfile uses.
    pub fn alias(&self, id: &str, of: &str) {
        self.insert(id.to_owned(), Source::Alias(of.to_owned()));
    }

    /// The value as text.
    ///
    /// # Errors
    /// When it cannot be read, or is not text.
    pub async fn plaintext(&self, id: &str) -> Result<String, Error> {
        let value = self.secret(id).await.map_err(Error::input)?;
        let value = value.ok_or_else(|| Error::input("the secret is not known to this session"))?;
        String::from_utf8(value.expose_secret().to_vec())
            .map_err(|_| Error::input("the secret is not text in UTF-8"))
    }

    /// `text` with every value that was handed out replaced.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = Cow::Borrowed(text);
        for value in known.iter().map(ExposeSecret::expose_secret) {
            if text.contains(value) {
                text = Cow::Owned(text.replace(value, "***"));
            }
        }
        text
    }

    fn remember(&self, value: &[u8]) {
        let Ok(text) = std::str::from_utf8(value) else {
            return;
        };
        let text = text.trim();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = known.iter().all(|value| value.expose_secret() != text);
        if text.len() >= REDACTED_MIN && is_new {
            known.push(text.to_owned().into());
            // A value that holds another one is replaced first, as a whole.
            known.sort_by_key(|value| std::cmp::Reverse(value.expose_secret().len()));
        }
    }

    fn source(&self, id: &str) -> Option<Source> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        match sources.get(id)? {
            Source::Alias(of) => sources.get(of).cloned(),
            source => Some(source.clone()),
        }
    }

    async fn read(&self, source: Source) -> Result<Option<SecretBytes>, String> {
        let bytes = match source {
            Source::Value(value) => return Ok(Some(value)),
            Source::Env(name) => match (self.environment)(&name) {
                Some(value) => value.expose_secret().as_bytes().to_vec(),
                None => return Err(format!("environment variable {name} is not set any more")),
            },
            Source::File(path) => read_file(&path).await?,
            Source::Command(command) => run(&command, &self.workdir).await?,
            // `source` follows an alias once, and an alias names no alias.
            Source::Alias(_) => return Ok(None),
        };
        Ok(Some(Arc::new(SecretSlice::from(bytes))))
    }
}

#[async_trait::async_trait]
impl SecretProvider for SecretStore {
    async fn secret(&self, id: &str) -> Result<Option<SecretBytes>, String> {
        if id.starts_with(salt::SECRET_PREFIX) {
            return Ok(None);
        }
        if id == init::secret_id() {
            return Ok(Some(Arc::new(SecretSlice::from(init::PROGRAM.to_vec()))));
        }
        let Some(source) = self.source(id) else {
            return Ok(None);
        };
        let value = self.read(source).await?;
        if let Some(value) = &value {
            self.remember(value.expose_secret());
        }
        Ok(value)
    }
}

async fn read_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let fail = |e: std::io::Error| format!("secret file {}: {e}", path.display());
    let size = tokio::fs::metadata(path).await.map_err(fail)?.len();
    if size > SECRET_MAX as u64 {
        return Err(format!(
            "secret file {} is larger than {SECRET_MAX} bytes",
            path.display()
        ));
    }
    tokio::fs::read(path).await.map_err(fail)
}

/// Standard output of a shell command without its last line feed. What it
/// complains about stays with the terminal: it may quote the value.
async fn run(command: &str, workdir: &std::path::Path) -> Result<Vec<u8>, String> {
    let child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(workdir)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_TIMEOUT, child)
        .await
        .map_err(|_| {
            format!(
                "secret command took longer than {} s",
                COMMAND_TIMEOUT.as_secs()
            )
        })?
        .map_err(|e| format!("secret command: {e}"))?;
    if !output.status.success() {
        return Err(format!("secret command failed: {}", output.status));
    }
    let mut value = output.stdout;
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> SecretStore {
        let environment: Environment =
            Arc::new(|name| (name == "TOKEN").then(|| "canary-value".to_owned().into()));
        SecretStore::new(environment, PathBuf::from("/"))
    }

    #[tokio::test]
    async fn ids_come_from_names_and_values_stay_out_of_them() {
        let store = store();
        let id = store.set("password", "canary");
        assert_eq!(id, "dagop.secret/name/password");
        assert_eq!(store.plaintext(&id).await.expect("known"), "canary");
        let id = store.add_uri("env://TOKEN", None).expect("set");
        assert_eq!(id, "dagop.secret/uri/env://TOKEN");
        assert_eq!(store.plaintext(&id).await.expect("known"), "canary-value");
        let id = store
            .add_uri("cmd://printf abc", Some("k"))
            .expect("a command");
        assert_eq!(
            (
                id.as_str(),
                store.plaintext(&id).await.expect("known").as_str()
            ),
            ("dagop.secret/key/k", "abc")
        );
    }

    #[tokio::test]
    async fn unknown_secrets_are_refused_by_name() {
        let store = store();
        let error = store.add_uri("env://NOPE", None).expect_err("not set");
        assert_eq!(
            error.message(),
            "secret \"env://NOPE\": environment variable NOPE is not set"
        );
        assert!(store.add_uri("file:///does/not/exist", None).is_err());
        assert!(store.add_uri("vault://x", None).is_err());
        assert!(store.plaintext("dagop.secret/name/none").await.is_err());
    }

    #[tokio::test]
    async fn the_init_program_is_served_and_a_salt_is_not() {
        let store = store();
        let program = store.secret(&init::secret_id()).await.expect("no error");
        assert_eq!(
            program.map(|p| p.expose_secret().len()),
            Some(init::PROGRAM.len())
        );
        let salt = salt::Salt::new("key").secret_id();
        assert!(store.secret(&salt).await.expect("no error").is_none());
    }

    #[tokio::test]
    async fn what_was_handed_out_is_redacted() {
        let store = store();
        let id = store.add_uri("env://TOKEN", None).expect("set");
        assert_eq!(store.redact("a canary-value b"), "a canary-value b");
        store.secret(&id).await.expect("no error");
        assert_eq!(store.redact("a canary-value b"), "a *** b");
    }
}
