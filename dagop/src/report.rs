//! What a build did, for people and for programs: its rows, their counts, and the key table.

mod summary;
mod table;
pub mod text;

use serde::{Deserialize, Serialize};

use crate::ledger::{BuildRow, CallRow, Error, Reader, VertexRow};

pub use summary::Summary;

/// A build's rows and counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The build.
    pub build: BuildRow,
    /// Its counts.
    pub summary: Summary,
    /// Its calls, in order of start.
    pub calls: Vec<CallRow>,
    /// Its vertices, in order of start.
    pub vertices: Vec<VertexRow>,
    /// What went wrong with the record itself, one sentence each.
    pub notices: Vec<String>,
}

impl Report {
    pub(crate) fn new(
        build: BuildRow,
        calls: Vec<CallRow>,
        vertices: Vec<VertexRow>,
        notices: Vec<String>,
    ) -> Self {
        let summary = Summary::of(&build, &calls, &vertices);
        Self {
            build,
            summary,
            calls,
            vertices,
            notices,
        }
    }

    /// The report of a build in the ledger: an id, the beginning of one, or `last`.
    pub fn read(ledger: &Reader, build: &str) -> Result<Self, Error> {
        let build = ledger.find(build)?;
        let calls = ledger.calls(&build.id)?;
        let vertices = ledger.vertices(&build.id)?;
        Ok(Self::new(build, calls, vertices, Vec::new()))
    }

    /// One line per call: what it was, what became of it, and its keys across the layers.
    pub fn key_table(&self) -> String {
        table::render(self)
    }
}
