//! What is missing for a complete answer.

use std::{collections::HashMap, fmt};

use crate::{Digest, cachemap::Unknown};

/// One thing that is not known, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Position of the vertex that it belongs to.
    pub vertex: usize,
    /// Which of its outputs, where it is about one.
    pub output: Option<i64>,
    /// What it is.
    pub what: Lack,
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// The cache map of the vertex does not follow.
    CacheMap(Unknown),
    /// The layers of an image, and with them its second key.
    Layers,
    /// The files of a source.
    SourceFiles,
    /// The files that a process writes.
    ExecFiles,
    /// The files that an operation makes, which cannot be told from its inputs.
    Files(String),
    /// The files are there, what is asked of them is not: the build would fail.
    Content(String),
    /// The content of a local directory, of which the daemon hashes what was sent or what it has
    /// stored, depending on the order of its work.
    Either {
        /// Digest of what was sent.
        sent: Digest,
        /// Digest of what is stored.
        stored: Digest,
    },
    /// The graph that a build operation runs.
    Graph(String),
    /// An input could not be read.
    Input(String),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CacheMap(unknown) => write!(f, "{unknown}"),
            Self::Layers => f.write_str("the layers of the image are not known"),
            Self::SourceFiles => f.write_str("the files of the source are not at hand"),
            Self::ExecFiles => f.write_str("the files that the command writes are not at hand"),
            Self::Files(reason) => write!(f, "its result cannot be told: {reason}"),
            Self::Content(reason) => write!(f, "its files cannot be hashed: {reason}"),
            Self::Either { sent, stored } => write!(
                f,
                "a step builds on it, and the daemon hashes it before that, to {sent}, or after it, to {stored}"
            ),
            Self::Graph(reason) => write!(f, "the graph it builds is not known: {reason}"),
            Self::Input(reason) => write!(f, "it cannot be read: {reason}"),
        }
    }
}

/// The list of what is missing, each thing once.
#[derive(Default)]
pub(super) struct Lacks {
    pub(super) list: Vec<Missing>,
    positions: HashMap<(usize, Option<i64>, String), usize>,
}

impl Lacks {
    /// Position of this lack in the list.
    pub(super) fn add(&mut self, vertex: usize, output: Option<i64>, what: Lack) -> usize {
        let key = (vertex, output, what.to_string());
        let list = &mut self.list;
        *self.positions.entry(key).or_insert_with(|| {
            list.push(Missing {
                vertex,
                output,
                what,
            });
            list.len() - 1
        })
    }
}
