//! `dagop plan`: which steps of a document would run, before anything does.
//!
//! ```text
//! document ── a session in which nothing runs ──► steps with their keys     planner.rs, graph.rs
//! ledger ──── earlier builds on this daemon ────► steps, keys, outcomes     graph.rs
//!                 same.rs     which planned step has a key of which earlier step
//! daemon ──── disk usage ───────────────────────► results that are there    held.rs
//!                 decide.rs   what is asked for, from the results down: hit, miss, unknown
//!                 causes.rs   why what is missed has another key than before, or no record
//! ```
//! # The rules
//! A step is looked up in two stages: by its definition (cache map and the keys of its inputs), and
//! then, where it takes files of an input, by their content. `same.rs` compares a planned step with
//! earlier ones in both ways, with three answers: it has that step's key, it does not, or a fact is
//! missing (files that a command has yet to write).
//!
//! - **hit**: an earlier build on this daemon executed the step under a key that the planned step
//!   has, the output that is asked for was kept then, and the daemon still holds its record, told by
//!   description and by a time of creation within the step's run. Or: all that ask for the step are
//!   hits themselves.
//! - **miss**: the step is asked for, and each record of the daemon that could be its result is
//!   another step's, of an earlier build, whose key the planned step does not have. So the step has
//!   none, whoever else uses the daemon.
//! - **unknown**: everything else, and the reason says what is missing.
//!
//! Records that no build of the ledger explains, and records that came out of an imported cache, may
//! be the result of anything: then there is no miss. Sources are no steps: a local directory is
//! always sent, a name always looked up.
//!
//! # Why a miss is one
//! That the daemon has nothing under a step's key is the evidence, and its root causes are the reason:
//! they are those that `dagop why` gives once the step has run ([`crate::explain`]). Each cause is
//! there once, however many steps run because of it.
//!
//! # What a plan does
//! It reads local files, asks the daemon what names stand for, and reads its disk usage. A daemon of
//! a release that the formulas were never compared with is asked once how it computes keys (see
//! `formulas.rs`); if it computes others, or does not answer, most is unknown. A plan runs nothing of
//! the document, sends no files but a Dockerfile to the daemon's frontend, and writes neither to the
//! ledger nor outside of the state directory. No time to live begins with it: a result whose time has
//! passed gets its new key from the run. A value that only a run tells (`stdout`, `entries`, an
//! export) is not known, nor what is made of it; the IDs that `@export(as:)` hands on are.

mod causes;
mod decide;
mod gate;
mod glob;
mod graph;
mod held;
mod index;
mod planner;
mod same;
mod table;
#[cfg(test)]
mod tests;
mod unknowns;

use serde::{Deserialize, Serialize};

use crate::explain;
use crate::ledger::VertexKind;

pub use gate::Gate;
pub use glob::matches;
pub use planner::Planner;
pub(crate) use unknowns::Unknowns;

/// What is known of a step beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It will not run.
    Hit,
    /// It will run.
    Miss,
    /// It cannot be told.
    Unknown,
}

impl Verdict {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a verdict is what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The daemon holds what an earlier build made.
    Held {
        /// The build that made it.
        build: String,
        /// Id of the daemon's record.
        record: String,
        /// It is found by the content of its inputs, not by what made them.
        by_content: bool,
    },
    /// An earlier run kept the value of the call.
    Recalled,
    /// Everything that uses it is a hit.
    NotNeeded,
    /// The daemon holds nothing that could be its result.
    NothingHeld,
    /// What the daemon holds of such steps was made with other inputs or another definition.
    OtherKey {
        /// How many records that are.
        records: usize,
    },
    /// An output of it was never kept, though others were.
    OutputNotKept {
        /// Which.
        output: u64,
    },
    /// The content of an input is known only when that has run.
    Content {
        /// Name of the step that makes it.
        of: String,
    },
    /// What an earlier build had as an input is not known, so that it cannot be compared.
    EarlierContent {
        /// Name of the step that makes it.
        of: String,
    },
    /// Whether it is asked for depends on a step that is unknown.
    Above {
        /// That step.
        step: String,
    },
    /// The daemon holds records that another client may have made.
    Unexplained {
        /// How many.
        records: usize,
    },
    /// The daemon holds records of an imported cache, or this build imports one.
    Imported,
    /// Its key is not known.
    Key,
    /// Its result need not have a record of its own.
    NoRecord,
    /// Several earlier steps may have made the record.
    Ambiguous,
    /// The daemon computes cache keys in another way, or nobody knows in which.
    Formulas {
        /// It was asked, and its keys were others.
        differ: bool,
    },
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Canonical digest of its vertex; absent for a call that needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical: Option<String>,
    /// Name of the vertex.
    pub name: String,
    /// The calls it belongs to.
    pub calls: Vec<String>,
    /// Kind of operation; absent for a call that needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<VertexKind>,
    /// What will become of it.
    pub verdict: Verdict,
    /// Why.
    #[serde(flatten)]
    pub reason: Reason,
    /// Of a miss, its root causes: positions in [`Plan::causes`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<usize>,
    /// The reason as a sentence: of a miss the first root cause.
    pub sentence: String,
}

/// A root cause of misses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What it is.
    pub cause: explain::Reason,
    /// The same as a sentence.
    pub sentence: String,
    /// Name of the step it is at.
    pub step: String,
    /// Canonical digest of that step.
    pub canonical: String,
    /// Its kind.
    pub kind: VertexKind,
    /// Only the earlier build has that step.
    pub removed: bool,
    /// Id of the earlier build; absent if none had the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
}

/// Something of which a plan knows nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unplanned {
    /// The operation of the document; empty for an anonymous one.
    pub operation: String,
    /// Response keys, joined by dots; empty for the whole operation.
    pub path: String,
    /// There may be steps of which the plan knows nothing; else it is a value alone.
    pub hides_steps: bool,
    /// Why.
    pub sentence: String,
}

/// What a document would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Address of the daemon.
    pub daemon: String,
    /// Its version.
    pub daemon_version: String,
    /// The steps, inputs first.
    pub steps: Vec<Step>,
    /// Root causes of the misses.
    pub causes: Vec<Cause>,
    /// Names of sources, which are always looked at.
    pub sources: Vec<String>,
    /// Values that are not known, and what could not be planned for want of them.
    pub unplanned: Vec<Unplanned>,
}

impl Plan {
    /// How many steps have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        let steps = self.steps.iter();
        steps.filter(|step| step.verdict == verdict).count()
    }
}
