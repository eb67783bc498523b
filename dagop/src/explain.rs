//! Why a step ran again: the exact root cause, from what the ledger keeps of two builds.
//!
//! ```text
//! ledger ──► graph      a build's steps, salts taken out, session noise gone
//!              │
//!   two graphs ▼
//!            pair        which step is which, across edits and renames
//!              │
//!              ▼
//!            causes      keys compared inputs first: root causes, and cascades of them
//!              │           ├── change     fields of operations: exec, file, source
//!              │           ├── role       which input is which
//!              │           ├── files      files of local directories
//!              │           └── scope      salts: scopes, times to live, calls
//!              ▼
//!            answer      per step: what became of it, and why
//!                        ├── imports    what caches that were read have of it
//!                        └── remark     what differs and is in no key
//! ```
//! [`compare`] gives all root causes between two builds (`dagop diff`), [`why`] answers for one
//! step (`dagop why`), [`reasons`] for all steps of a build at once, `ahead` for steps that a plan
//! expects to run. [`waste`] finds steps that ran to make what was there already, and
//! [`cache::in_cache`] which steps a cache elsewhere has. A [`Reason`] is data and renders to one
//! sentence.
//!
//! Nothing is guessed. Where a fact is missing the reason is [`Reason::Unknown`] and names it. That
//! the daemon has lost a record is concluded only when no key differs, the daemons are the same and
//! an earlier build had the record.
//!
//! Needs no daemon, and is linear (but for sorting) in the size of the builds.

mod against;
mod ahead;
mod align;
mod answer;
pub mod cache;
mod causes;
mod change;
mod exec;
mod file;
mod files;
mod graph;
mod imports;
mod pair;
mod reason;
mod remark;
mod role;
mod scope;
mod sentence;
mod similar;
mod source;
mod waste;

use std::sync::Arc;

use serde::Serialize;

use crate::event::UnixMillis;
use crate::ledger::{self, BuildRow, Outcome, Reader, VertexKind};

pub(crate) use ahead::{Expected, ahead};
pub use answer::{Answer, Status};
pub use reason::{Reason, Setting};
pub use waste::{Proof, Waste, WastedStep};

use causes::{At, Causes, Key};
use graph::Graph;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The cache could not be read.
    #[error(transparent)]
    Remote(#[from] crate::remote::Error),
    /// The build has no such step.
    #[error("build {build} has no step {step:?}")]
    NoStep {
        /// The build.
        build: String,
        /// What was asked for.
        step: String,
    },
}

/// A step, as an explanation names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepName {
    /// Canonical digest; of a vertex that is not ours the raw one.
    pub canonical: String,
    /// Raw digest of its first vertex.
    pub raw: String,
    /// Name.
    pub name: String,
    /// Kind of operation.
    pub kind: VertexKind,
    /// What became of it.
    pub outcome: Outcome,
    /// When it began.
    pub started_ms: Option<UnixMillis>,
    /// When it ended.
    pub completed_ms: Option<UnixMillis>,
}

/// A root cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Its number in the comparison, from 0.
    pub number: u32,
    /// What differs.
    pub reason: Reason,
    /// The same as a sentence.
    pub sentence: String,
    /// The first step at which it does.
    pub step: StepName,
    /// That step is of the earlier build, because only that has it.
    pub removed: bool,
    /// At how many steps it is a cause by itself.
    pub steps: usize,
}

/// A step whose key differs between two builds, or that ran for a cause that is no part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The step in the later build.
    pub step: StepName,
    /// The same step in the earlier one; absent if it was added.
    pub before: Option<StepName>,
    /// Numbers of the causes that are its own.
    pub own: Vec<u32>,
    /// Numbers of all causes; those that are not its own it is a cascade of.
    pub causes: Vec<u32>,
    /// Numbers of those that are causes only if the content of an input differs, which is not
    /// known.
    pub possible: Vec<u32>,
    /// Whether its key differs.
    pub key_differs: bool,
    /// There are more causes than are named.
    pub more: bool,
}

/// What differs between two builds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The earlier build.
    pub before: BuildRow,
    /// The later build.
    pub after: BuildRow,
    /// The root causes.
    pub causes: Vec<Cause>,
    /// The steps whose keys differ, or that ran with the same key for one of the causes, inputs
    /// first.
    pub differences: Vec<Difference>,
    /// Steps that did not run, and whose keys are the same if the content of an input is, which is
    /// not known. Their causes are all possible ones.
    pub undecided: Vec<Difference>,
    /// How many steps have equal keys.
    pub equal: usize,
}

/// Two builds with everything that was found out about them.
struct Compared {
    before: Graph,
    after: Arc<Graph>,
    pairs: pair::Pairs,
    causes: Causes,
}

impl Compared {
    fn new(ledger: &Reader, before: Graph, after: Arc<Graph>) -> Result<Self, Error> {
        Self::across([ledger; 2], before, after)
    }

    /// Of builds that have a ledger each.
    fn across(ledgers: [&Reader; 2], before: Graph, after: Arc<Graph>) -> Result<Self, Error> {
        let pairs = pair::pair(&before, &after);
        let causes = causes::find(ledgers, &before, &after, &pairs)?;
        Ok(Self {
            before,
            after,
            pairs,
            causes,
        })
    }

    fn cause(&self, number: u32) -> Cause {
        let cause = &self.causes.list[number as usize];
        let (step, removed) = match cause.at {
            At::Before(step) => (&self.before.steps[step], true),
            At::After(step) => (&self.after.steps[step], false),
        };
        Cause {
            number,
            sentence: cause.reason.to_string(),
            reason: cause.reason.clone(),
            step: name(step),
            removed,
            steps: cause.steps,
        }
    }

    /// Numbers of the causes that a step of the later build has by itself.
    fn own(&self, step: usize) -> Vec<u32> {
        let found = &self.causes.steps[step];
        let at = |&number: &u32| self.causes.list[number as usize].at == At::After(step);
        let fresh = found.fresh.iter().copied().filter(at);
        found.own.iter().copied().chain(fresh).collect()
    }

    /// Numbers of all its causes.
    fn all(&self, step: usize) -> Vec<u32> {
        let found = &self.causes.steps[step];
        found.all.iter().chain(&found.fresh).copied().collect()
    }

    fn numbers(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.causes.list.len()).unwrap_or(u32::MAX)
    }
}

fn name(step: &graph::Step) -> StepName {
    StepName {
        canonical: step.canonical.clone(),
        raw: step.raws.first().unwrap_or(&step.canonical).clone(),
        name: step.name.clone(),
        kind: step.kind,
        outcome: step.outcome,
        started_ms: step.times.0,
        completed_ms: step.times.1,
    }
}

/// All root causes between two builds, given as [`Reader::find`] takes them, and every other
/// difference with the causes it follows from.
///
/// # Errors
/// A build that is not in the ledger, or a ledger that cannot be read.
pub fn compare(ledger: &Reader, before: &str, after: &str) -> Result<Comparison, Error> {
    let before = Graph::read(ledger, ledger.find(before)?)?;
    let after = Arc::new(Graph::read(ledger, ledger.find(after)?)?);
    let compared = Compared::new(ledger, before, after)?;
    let differences = differences(&compared, |difference| {
        difference.key == Key::Other || !difference.fresh.is_empty()
    });
    let undecided = self::differences(&compared, |difference| {
        difference.key == Key::Perhaps && difference.fresh.is_empty()
    });
    Ok(Comparison {
        causes: compared
            .numbers()
            .map(|number| compared.cause(number))
            .collect(),
        equal: compared.after.steps.len() - differences.len() - undecided.len(),
        differences,
        undecided,
        before: compared.before.build,
        after: compared.after.build.clone(),
    })
}

/// The steps of the later build that `is` chooses.
fn differences(compared: &Compared, is: impl Fn(&causes::Difference) -> bool) -> Vec<Difference> {
    let steps = compared.causes.steps.iter().enumerate();
    let chosen = steps.filter(|(_, difference)| is(difference));
    let one = |(step, difference): (usize, &causes::Difference)| Difference {
        step: name(&compared.after.steps[step]),
        before: compared.pairs.before[step].map(|pair| name(&compared.before.steps[pair])),
        own: compared.own(step),
        causes: compared.all(step),
        possible: difference.possible.to_vec(),
        key_differs: difference.key == Key::Other,
        more: difference.more,
    };
    chosen.map(one).collect()
}

/// Why the steps that `step` chooses (see [`crate::report::Report::select`]) became what they are.
/// Without `against` the build to compare with is chosen for each step: on the same daemon the
/// newest earlier build in which the step had the very same key; if there is none, the newest
/// earlier build of the same pipeline that had the step (`against.rs`).
///
/// # Errors
/// [`Error::NoStep`], a build that is not there, a ledger that cannot be read.
pub fn why(
    ledger: &Reader,
    build: &str,
    step: &str,
    against: Option<&str>,
) -> Result<Vec<Answer>, Error> {
    answer::why(ledger, build, step, against)
}

/// The answers for all steps of a build, inputs first, against one other build: the given one, or
/// the newest earlier build of the same pipeline on the same daemon. That one is the second value;
/// there may be none.
///
/// # Errors
/// As [`why`].
pub fn reasons(
    ledger: &Reader,
    build: &str,
    against: Option<&str>,
) -> Result<(Vec<Answer>, Option<BuildRow>), Error> {
    answer::all(ledger, build, against)
}

/// The ids of all builds that [`why`] and [`reasons`] compare a build with by themselves, whatever
/// the step; there may be none. From a ledger of these builds alone they give the same answers.
///
/// # Errors
/// As [`compare`].
pub fn compared_with(ledger: &Reader, build: &str) -> Result<Vec<String>, Error> {
    against::all(ledger, ledger.find(build)?)
}

/// The id of the build that [`reasons`] compares a build with by itself, if there is one.
///
/// # Errors
/// As [`compare`].
pub fn before(ledger: &Reader, build: &str) -> Result<Option<String>, Error> {
    let after = Arc::new(Graph::read(ledger, ledger.find(build)?)?);
    let chosen = against::for_build(ledger, &after)?;
    Ok(chosen.map(|compared| compared.before.build.id))
}

/// Steps that ran in a build although an earlier build had made the same output under another key.
/// Each of the builds is compared with the one before it in the list.
///
/// # Errors
/// As [`compare`].
pub fn waste(ledger: &Reader, builds: &[String]) -> Result<Waste, Error> {
    waste::waste(ledger, builds)
}
