//! The image config: what an image says about its containers.
//!
//! The parts that fields change are typed; everything else of a base image's
//! config (health check, stop signal, volumes, history ...) is kept as it came
//! and written again on export.

use std::collections::{BTreeMap, BTreeSet};

use crate::platform::Platform;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::Error;

/// The typed part of an image config, and the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ImageConfig {
    /// `NAME=value`, each name once, in the order of the image.
    pub(crate) env: Vec<String>,
    /// `user[:group]`, empty for root.
    pub(crate) user: String,
    /// Working directory, empty for `/`.
    pub(crate) workdir: String,
    /// What is put before the arguments when asked for.
    pub(crate) entrypoint: Vec<String>,
    /// The arguments when none are given.
    pub(crate) cmd: Vec<String>,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// `port/protocol`.
    pub(crate) exposed_ports: BTreeSet<String>,
    /// Other members of the config object.
    other: Map<String, Value>,
    /// Other members of the image document, `history` among them.
    document: Map<String, Value>,
}

/// The config object of an OCI image as JSON has it.
#[derive(Deserialize, Serialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Wire {
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_default"
    )]
    user: String,
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_default"
    )]
    exposed_ports: BTreeMap<String, Value>,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    env: Vec<String>,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    entrypoint: Vec<String>,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    cmd: Vec<String>,
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_default"
    )]
    working_dir: String,
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_default"
    )]
    labels: BTreeMap<String, String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Docker writes null where it has nothing.
fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl ImageConfig {
    /// Reads an OCI or Docker image document.
    ///
    /// # Errors
    /// When it is not one.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, Error> {
        let bad = |e: serde_json::Error| Error::input(format!("image config: {e}"));
        let mut document: Map<String, Value> = serde_json::from_slice(document).map_err(bad)?;
        let config = match document.remove("config") {
            None | Some(Value::Null) => Wire::default(),
            Some(config) => serde_json::from_value(config).map_err(bad)?,
        };
        // What an exporter must compute anew for the image it writes.
        for computed in ["rootfs", "architecture", "os", "variant", "os.version"] {
            document.remove(computed);
        }
        Ok(Self {
            env: config.env,
            user: config.user,
            workdir: config.working_dir,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            labels: config.labels,
            exposed_ports: config.exposed_ports.into_keys().collect(),
            other: config.other,
            document,
        })
    }

    /// The image document for an exporter, which adds the layers.
    pub(crate) fn document(&self, platform: &Platform) -> Vec<u8> {
        let config = Wire {
            user: self.user.clone(),
            exposed_ports: self
                .exposed_ports
                .iter()
                .map(|p| (p.clone(), json!({})))
                .collect(),
            env: self.env.clone(),
            entrypoint: self.entrypoint.clone(),
            cmd: self.cmd.clone(),
            working_dir: self.workdir.clone(),
            labels: self.labels.clone(),
            other: self.other.clone(),
        };
        let mut document = self.document.clone();
        document.insert("architecture".into(), platform.architecture.clone().into());
        document.insert("os".into(), platform.os.clone().into());
        if !platform.variant.is_empty() {
            document.insert("variant".into(), platform.variant.clone().into());
        }
        document.insert("config".into(), json!(config));
        document.insert("rootfs".into(), json!({"type": "layers", "diff_ids": []}));
        Value::Object(document).to_string().into_bytes()
    }

    /// The working directory, `/` if none is set.
    pub(crate) fn workdir_or_root(&self) -> String {
        if self.workdir.is_empty() {
            "/".to_owned()
        } else {
            self.workdir.clone()
        }
    }

    /// The value of a variable.
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets a variable where it stands, or at the end.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.env.iter_mut().find(|e| variable(e) == name) {
            Some(old) => *old = entry,
            None => self.env.push(entry),
        }
    }

    /// Removes a variable.
    pub(crate) fn unset_env(&mut self, name: &str) {
        self.env.retain(|entry| variable(entry) != name);
    }
}

/// The name of a `NAME=value` entry.
pub(super) fn variable(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = r#"{"architecture":"arm64","os":"linux","created":"2020-01-01T00:00:00Z",
        "config":{"Env":["PATH=/bin","A=1"],"Cmd":null,"Entrypoint":["/e"],"WorkingDir":"/w",
        "ExposedPorts":{"80/tcp":{}},"Healthcheck":{"Test":["CMD","true"]},"Labels":null},
        "rootfs":{"type":"layers","diff_ids":["sha256:00"]},"history":[{"created_by":"x"}]}"#;

    #[test]
    fn what_no_field_changes_survives() {
        let config = ImageConfig::parse(DOCKER.as_bytes()).expect("an image document");
        let platform = Platform::parse("linux/amd64").expect("a platform");
        let written: Value =
            serde_json::from_slice(&config.document(&platform)).expect("a document");
        assert_eq!(written["config"]["Healthcheck"]["Test"][0], "CMD");
        assert_eq!(written["history"][0]["created_by"], "x");
        assert_eq!(written["architecture"], "amd64");
        assert_eq!(written["rootfs"]["diff_ids"], json!([]));
        assert_eq!(written["config"]["ExposedPorts"], json!({"80/tcp": {}}));
        assert!(written["config"].get("Cmd").is_none());
    }

    #[test]
    fn a_variable_keeps_its_place() {
        let mut config = ImageConfig::parse(DOCKER.as_bytes()).expect("an image document");
        config.set_env("PATH", "/usr/bin");
        config.set_env("B", "2");
        assert_eq!(config.env, ["PATH=/usr/bin", "A=1", "B=2"]);
        config.unset_env("A");
        assert_eq!((config.env("A"), config.env("B")), (None, Some("2")));
    }

    #[test]
    fn an_image_without_config_is_an_empty_one() {
        let config = ImageConfig::parse(b"{}").expect("a document");
        assert_eq!(config, ImageConfig::default());
        assert!(ImageConfig::parse(b"[]").is_err());
    }
}
