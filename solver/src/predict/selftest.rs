//! Asks a daemon whether it computes keys as predicted.
//!
//! A small graph of files is built with a local cache export. No two profiles predict the same
//! records for it, so it tells all formulas apart that ever changed:
//!
//! | in the graph | since |
//! |---|---|
//! | a merge is keyed by a digest | v0.13 |
//! | a copy that may replace what is there | v0.14 |
//! | indexes of inputs that are zero | v0.17 |
//! | an owner | v0.17, v0.18 |
//! | directories above a copy that sets a mode, as content | v0.21 |
//! | a link in a directory that a pattern matches, as content | v0.25 |
//! | files that a pattern matches, as content | v0.26 |
//!
//! Text from the caller makes the graph new, so that nothing the daemon has kept is in the export,
//! and its paths have names that nobody uses. The build is kept out of the daemon's history.

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
        file::{CopyMode, CopyOptions, FileOp, MkdirOptions, MkfileOptions, Owner, SymlinkOptions},
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
    let definition = definition(text, profile)?;
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

/// Directory of everything in the graph.
const ROOT: &str = "/dagop-self-test";

fn definition(text: &str, profile: Profile) -> Result<Definition, llb::Error> {
    let plain = MkfileOptions::default;
    let path = |name: &str| format!("{ROOT}/{name}");
    let owned = MkdirOptions {
        parents: true,
        owner: Some(Owner::ids(7, 0)),
        ..MkdirOptions::default()
    };
    let mut made = FileOp::new(None)
        .mkdir(path("dir/inner"), 0o750, owned)
        .mkfile(path("dir/a.txt"), 0o640, text.to_owned(), plain())
        .mkfile(path("dir/inner/b.txt"), 0o644, "<&>", plain());
    // Links cannot be made before, and all profiles from there on are told apart by this one.
    if profile >= Profile::V0_21 {
        let options = SymlinkOptions::default();
        made = made.symlink("../a.txt", path("dir/inner/link"), options);
    }
    let made = made.build(Constraints::default())?;
    let pattern = CopyOptions {
        wildcard: true,
        create_parents: true,
        follow_symlinks: true,
        ..CopyOptions::default()
    };
    let copied = FileOp::new(None)
        .copy(made.clone(), path("dir/*"), path("copied/"), pattern)
        .build(Constraints::default())?;
    let with_mode = CopyOptions {
        mode: Some(CopyMode::Bits(0o700)),
        create_parents: true,
        replace: true,
        ..CopyOptions::default()
    };
    let deep = FileOp::new(None)
        .copy(
            made.clone(),
            path("dir/a.txt"),
            path("above/x/a"),
            with_mode,
        )
        .build(Constraints::default())?;
    let again = FileOp::new(None)
        .copy(
            deep,
            path("above"),
            path("again"),
            CopyOptions {
                create_parents: true,
                ..CopyOptions::default()
            },
        )
        .build(Constraints::default())?;
    let all = [Some(made), Some(copied), Some(again)];
    let merged = llb::merge(&all, Constraints::default());
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

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [Profile; 8] = [
        Profile::V0_12,
        Profile::V0_13,
        Profile::V0_14,
        Profile::V0_17,
        Profile::V0_18,
        Profile::V0_21,
        Profile::V0_25,
        Profile::V0_26,
    ];

    /// What a daemon with these formulas exports of the graph.
    fn export(definition: &Definition, daemon: Profile) -> cacheconfig::Config {
        predict(definition, &Nothing, daemon).unwrap().as_cache()
    }

    #[test]
    fn nothing_of_the_graph_is_unknown_and_all_profiles_are_told_apart() {
        for ours in PROFILES {
            let definition = definition("text", ours).unwrap();
            let prediction = predict(&definition, &Nothing, ours).unwrap();
            assert_eq!(prediction.missing, [], "{ours:?}");
            for daemon in PROFILES {
                let verdict = compare(&prediction, &export(&definition, daemon));
                assert_eq!(verdict.is_good(), ours == daemon, "{ours:?} {daemon:?}");
            }
        }
    }
}
