//! What happens during a build, as plain data: the one stream that progress displays draw and the
//! ledger stores, so that both tell the same story.
//!
//! A build is a tree of *calls* (one dagql field each), numbered by the engine from 1 in order of
//! start. A call that has a filesystem or an effect is lowered to LLB *vertices*; [`Lowered`] says
//! which. The daemon then reports on vertices alone, by their raw digest, and a consumer finds the
//! owning calls through [`Lowered`]. Several calls may own one vertex (file operations are folded),
//! and a vertex may belong to no call (what a frontend adds by itself, exporters).
//!
//! Order: [`Event::BuildStarted`] first, [`Event::BuildFinished`] last; a call's `CallStarted`
//! precedes everything else about it. `Lowered` may come long after `CallFinished`, since
//! evaluation is lazy. Vertex updates may repeat and each carries the full state so far.
//!
//! Nothing here may hold a secret. `CallStarted::display` is the call with sensitive arguments
//! hidden; log lines and error texts are the user's own output, shown but never stored.

mod lines;
mod status;

pub use lines::{LINE_BYTES_MAX, LineSplitter};
pub use status::Statuses;
pub(crate) use status::millis;

use serde::{Deserialize, Serialize};

use crate::ledger::{DagOpKind, VertexKind};

/// Milliseconds since the Unix epoch.
pub type UnixMillis = u64;

/// The present moment. A clock before 1970 reads as 0.
pub fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// One thing that happened. Serialised with its name under `event`, in snake case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The build begins. Sent again when the daemon has given it a name.
    BuildStarted(BuildStarted),
    /// The engine took up a call.
    CallStarted(CallStarted),
    /// A call's vertices are known.
    Lowered(Lowered),
    /// The engine has a call's value, or its error.
    CallFinished(CallFinished),
    /// The daemon reported on a vertex.
    Vertex(VertexUpdate),
    /// Bytes moved for a vertex: a pull, a context sync, an export.
    Transfer(Transfer),
    /// A line a process wrote.
    Log(LogLine),
    /// Something the user should know that is not an error.
    Warning(Warning),
    /// The build ended; nothing follows.
    BuildFinished(BuildFinished),
}

/// See [`Event::BuildStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildStarted {
    /// Our id of the build, as `dagop keys` takes it.
    pub build: String,
    /// Address of the daemon.
    pub daemon: String,
    /// Version of the daemon, empty when it did not say.
    pub daemon_version: String,
    /// The daemon's own name for the build (its `Ref` in the history), once known.
    pub daemon_ref: Option<String>,
    /// When.
    pub at_ms: UnixMillis,
}

/// One implicit input that scopes a call to a client, a session, a moment or a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeInput {
    /// What kind of scope, for example `session`.
    pub name: String,
    /// Its value as it entered the call key.
    pub value: String,
}

/// See [`Event::CallStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStarted {
    /// Number of the call in this build, from 1.
    pub call: u64,
    /// The call whose result this one is made on, when it was started in this build.
    pub parent: Option<u64>,
    /// Response keys from the query's root, joined by dots.
    pub path: String,
    /// The call itself as text, for example `withExec(args: ["make"])`, sensitive arguments hidden.
    pub display: String,
    /// Digest of the call: receiver, field, canonical arguments and scope inputs.
    pub call_key: String,
    /// The implicit inputs within that key.
    pub scopes: Vec<ScopeInput>,
    /// Digest the engine's result cache filed the call under.
    pub storage_key: String,
    /// When.
    pub at_ms: UnixMillis,
}

/// See [`Event::Lowered`]. May be sent more than once for a call; vertices add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lowered {
    /// The call.
    pub call: u64,
    /// What it was lowered as.
    pub kind: DagOpKind,
    /// The vertices this call itself brings, not those of its inputs. The last one carries the
    /// call's result.
    pub vertices: Vec<PlannedVertex>,
}

/// A vertex as we computed it, before the daemon saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedVertex {
    /// Digest of the op's bytes: what the daemon's status names it by.
    pub raw: String,
    /// The same without session noise: equal in two builds of the same thing.
    pub canonical: String,
    /// Name shown to the user.
    pub name: String,
    /// What kind of op.
    pub kind: VertexKind,
    /// The cache map digest the daemon will compute, where the op alone determines it.
    pub predicted_cache_map: Option<String>,
    /// What it asks for; the ledger describes it where it is new.
    #[serde(skip)]
    pub operation: Option<Operation>,
}

/// A vertex of LLB, equal to another if its digest is.
#[derive(Clone, Debug)]
pub struct Operation(pub std::sync::Arc<solver::llb::Vertex>);

impl PartialEq for Operation {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest() == other.0.digest()
    }
}

impl Eq for Operation {}

/// How the engine came by a call's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    /// Its resolver ran.
    Ran,
    /// The result cache had it.
    Hit,
    /// An earlier run computed and kept it.
    Recalled,
    /// The same call was in flight; this one waited for it.
    Joined,
    /// Its resolver, or the one it waited for, failed.
    Failed,
    /// Nobody wanted it any more.
    Cancelled,
}

/// See [`Event::CallFinished`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFinished {
    /// The call.
    pub call: u64,
    /// How its value came about.
    pub end: CallEnd,
    /// Why it has none.
    pub error: Option<Failure>,
    /// When.
    pub at_ms: UnixMillis,
}

/// Why a call has no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable word for the kind of failure, the only part that is stored.
    pub class: String,
    /// The message. Shown, never stored: it may quote a process's output.
    pub message: String,
}

/// See [`Event::Vertex`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexUpdate {
    /// Raw digest.
    pub digest: String,
    /// Name as the daemon reports it.
    pub name: String,
    /// When it began, if it did.
    pub started_ms: Option<UnixMillis>,
    /// When it ended, if it did.
    pub completed_ms: Option<UnixMillis>,
    /// The daemon reports it as cached.
    pub cached: bool,
    /// The daemon reports it as cached although it never looked: a consumer started without it.
    /// Seen by a start and an end at the very same nanosecond, that of the consumer's start.
    pub not_needed: bool,
    /// Its error.
    pub error: Option<String>,
}

/// See [`Event::Transfer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Raw digest of the vertex it belongs to.
    pub vertex: String,
    /// What moves: stable within the vertex, for example a layer's digest.
    pub id: String,
    /// Bytes so far.
    pub current: u64,
    /// Bytes in all; 0 when not known.
    pub total: u64,
    /// Nothing more will move.
    pub done: bool,
    /// When.
    pub at_ms: UnixMillis,
}

/// Where a process wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// See [`Event::Log`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Raw digest of the vertex that wrote it.
    pub vertex: String,
    /// Where it was written.
    pub stream: Stream,
    /// One line without its line feed ([`LineSplitter`] makes them from chunks).
    pub text: String,
    /// When.
    pub at_ms: UnixMillis,
}

/// See [`Event::Warning`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Raw digest of the vertex concerned, if one is.
    pub vertex: Option<String>,
    /// One sentence.
    pub message: String,
    /// More of it, line by line.
    pub detail: Vec<String>,
}

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildEnd {
    /// Every request was answered without an error.
    Succeeded,
    /// At least one request had an error.
    Failed,
    /// The user stopped it.
    Cancelled,
}

/// See [`Event::BuildFinished`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildFinished {
    /// How.
    pub end: BuildEnd,
    /// When.
    pub at_ms: UnixMillis,
}
