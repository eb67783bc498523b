//! Asks a daemon whether it computes keys as predicted.
//!
//! A small graph is built with a local cache export: a directory with a file, a copy of it by
//! pattern, a merge of both. Those are the formulas that changed between releases. Text from the
//! caller makes the graph new, so that nothing the daemon has kept is in the export. The build is
//! kept out of the daemon's history.

use std::{collections::BTreeMap, sync::Arc};

use snapshots::content::{DOCUMENT_SIZE_MAX, Memory, read_all};

use super::{Nothing, Prediction, predict};
use crate::{
    backend::{
        Client, Error as BackendError, Session, SessionConfig,
        control::{CacheBackend, SolveInput, SolveOptions, SolveRequest},
        session::ContentStores,
    },
    cacheconfig,
    cachemap::Profile,
    llb::{
        self, Constraints, Definition,
        file::{CopyOptions, FileOp, MkdirOptions, MkfileOptions},
    },
};

/// Name of the cache that the daemon exports to.
const CACHE: &str = "selftest";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The graph cannot be made.
    #[error(transparent)]
    Graph(#[from] llb::Error),
    /// The daemon refused it.
    #[error(transparent)]
    Daemon(#[from] BackendError),
    /// It takes no session.
    #[error("{0}")]
    Session(String),
    /// What it exported cannot be read.
    #[error("the daemon's cache export cannot be read: {0}")]
    Export(String),
}

/// What the daemon has and what was predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Digests of records that were predicted and are not there.
    pub missing: Vec<crate::Digest>,
    /// Digests of records that are there and were not predicted.
    pub unexpected: Vec<crate::Digest>,
}

impl Verdict {
    /// Whether the daemon computes as predicted.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }
}

/// Builds the graph on a daemon and compares. `text` should be new each time.
///
/// # Errors
///
/// If the daemon does not build it, or exports nothing that can be read.
pub async fn self_test(client: &Client, profile: Profile, text: &str) -> Result<Verdict, Error> {
    let definition = definition(text)?;
    let prediction = predict(&definition, &Nothing, profile)?;
    let store = Memory::new();
    let stores = ContentStores::new();
    stores.insert(format!("local:{CACHE}"), Arc::new(store.clone()));
    let config = SessionConfig {
        content: Arc::new(stores),
        ..SessionConfig::default()
    };
    let session = Session::start(client, config).await;
    let session = session.map_err(|error| Error::Session(error.to_string()))?;
    let attrs = [
        ("dest", CACHE),
        ("mode", "max"),
        ("compression", "uncompressed"),
    ];
    let options = SolveOptions {
        session: session.id().to_owned(),
        cache_exports: vec![CacheBackend {
            kind: "local".to_owned(),
            attrs: BTreeMap::from(attrs.map(|(key, value)| (key.to_owned(), value.to_owned()))),
        }],
        internal: true,
        ..SolveOptions::default()
    };
    let input = SolveInput::Definition(definition.to_pb());
    let answer = client.solve(SolveRequest::new(input, options)).await?;
    session.close().await;
    let manifest = answer
        .get("cache.manifest")
        .ok_or_else(|| Error::Export("there is none".to_owned()))?;
    let cache = document(&store, manifest).map_err(Error::Export)?;
    Ok(compare(&prediction, &cache))
}

fn definition(text: &str) -> Result<Definition, llb::Error> {
    let made = FileOp::new(None)
        .mkdir("/dir", 0o750, MkdirOptions::default())
        .mkfile(
            "/dir/a.txt",
            0o640,
            text.to_owned(),
            MkfileOptions::default(),
        )
        .mkfile("/dir/b.txt", 0o644, "<&>", MkfileOptions::default())
        .build(Constraints::default())?;
    let options = CopyOptions {
        wildcard: true,
        create_parents: true,
        ..CopyOptions::default()
    };
    let copied = FileOp::new(None)
        .copy(made.clone(), "/dir/*.txt", "/copied/", options)
        .build(Constraints::default())?;
    let merged = llb::merge(&[Some(made), Some(copied)], Constraints::default());
    Ok(Definition::marshal(
        merged.as_ref(),
        &Constraints::default(),
    ))
}

/// The cacheconfig document behind the descriptor of a manifest or index.
fn document(store: &Memory, descriptor: &str) -> Result<cacheconfig::Config, String> {
    let read = |digest: &str| {
        let digest = snapshots::Digest::parse(digest).map_err(|error| error.to_string())?;
        read_all(store, &digest, DOCUMENT_SIZE_MAX).map_err(|error| error.to_string())
    };
    let descriptor: serde_json::Value =
        serde_json::from_str(descriptor).map_err(|error| error.to_string())?;
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    let container = read(digest)?;
    match cacheconfig::locate(&container).map_err(|error| error.to_string())? {
        cacheconfig::Place::Document { digest, .. } => {
            let bytes = read(digest.as_str())?;
            cacheconfig::parse(&bytes).map_err(|error| error.to_string())
        }
        _ => Err("it has no cacheconfig document".to_owned()),
    }
}

fn compare(prediction: &Prediction, cache: &cacheconfig::Config) -> Verdict {
    let matches = cacheconfig::matches(prediction, cache);
    let found = &matches.records;
    let missing = prediction.records.iter().zip(found);
    let missing = missing.filter(|(_, positions)| positions.is_empty());
    let missing = missing.map(|(record, _)| record.digest.clone()).collect();
    let known: std::collections::HashSet<usize> = found.iter().flatten().copied().collect();
    let others = cache.records.iter().enumerate();
    let others = others.filter(|(position, _)| !known.contains(position));
    Verdict {
        missing,
        unexpected: others.map(|(_, record)| record.digest.clone()).collect(),
    }
}
