//! DagOps: the work behind engine calls, as vertices.
//!
//! A [`DagOp`] is what one call adds to a build: a file action, an exec, a
//! diff, or a graph that is LLB already (a source, a frontend's result). It
//! names the call it belongs to, its kind as the engine sees it ([`Kind`]),
//! its inputs (inside [`Work`]) and, for a scoped or TTL call, the [`Salt`].
//! DagOps are immutable and shared; nothing is sent anywhere until
//! [`lower`](crate::lower) turns one into LLB, at most once.
//!
//! # Segments
//! One LLB vertex per file action would be correct but not buildable: every
//! file op is a layer, and a daemon cannot mount a stack of a few hundred
//! ("mount options is too long"). So consecutive file actions are folded: a
//! *segment* is a run of actions along a base chain that lowers to one file
//! op. Where a segment begins is decided when the action is made, from its
//! chain alone and never from who else uses it or what ran before; so the same
//! pipeline always gives the same LLB, and the second run finds every key of
//! the first. The rules, in `Fold::after`:
//!
//! - The first action on something that is no file action begins a segment.
//! - While the chain is short ([`LAYERS_SHORT`]), a copy is a segment of its
//!   own, as a `COPY` of a Dockerfile is a vertex of its own: its key is then
//!   the key any other LLB client gives it, and changing a small file does not
//!   repeat a large copy.
//! - Everything else joins the segment of its base, up to
//!   [`SEGMENT_ACTIONS`] actions and [`SEGMENT_BYTES`] of file data.
//!
//! A consumer of an action in the middle of a segment gets a file op that ends
//! there. That repeats a few cheap actions, which is the price of keys that
//! depend on nothing but the chain. One consumer needs more: a diff between two
//! trees of one chain is lowered with what they share as one vertex, since
//! files that are written twice have two times (`lower/file.rs`).

use std::sync::{Arc, OnceLock};

use solver::llb;

use crate::salt::Salt;

mod bound;

pub(crate) use bound::{mount_is_bound, tree_is_bound};

/// Actions in one file op.
pub const SEGMENT_ACTIONS: usize = 100;

/// Bytes of `mkfile` data in one file op; keeps a definition under the
/// daemon's message limit however many files it makes.
pub const SEGMENT_BYTES: usize = 1 << 20;

/// Segments in a row below which each copy is a segment of its own. A chain
/// has this many layers before copies are folded too.
pub const LAYERS_SHORT: usize = 64;

/// The engine's name for what a vertex yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file system: a directory or a file.
    Fs,
    /// A plain value read from one: text, a listing, a number.
    Raw,
    /// A container: its root, its meta output and its writable mounts.
    Ctr,
}

impl Kind {
    /// The word used in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fs => "fs",
            Self::Raw => "raw",
            Self::Ctr => "ctr",
        }
    }
}

/// The engine call a vertex belongs to.
#[derive(Clone, Debug)]
pub struct CallRef {
    /// Recipe digest of the call.
    pub digest: dagql::Digest,
    /// The last step of the call for people, arguments included and secrets hidden.
    pub name: Arc<str>,
}

/// One output of a DagOp.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The vertex.
    pub op: Arc<DagOp>,
    /// Which of its outputs.
    pub output: usize,
}

impl Edge {
    /// Output 0 of `op`.
    pub fn first(op: DagOp) -> Self {
        Self {
            op: Arc::new(op),
            output: 0,
        }
    }
}

/// A file system tree: an output, or nothing yet (scratch).
pub type Tree = Option<Edge>;

/// What a vertex does.
#[derive(Debug)]
pub enum Work {
    /// Outputs that are LLB already.
    Llb(Vec<Option<llb::Output>>),
    /// One change of a tree.
    File {
        /// The tree that is changed.
        base: Tree,
        /// The change.
        action: FileAction,
    },
    /// What leads from one tree to another.
    Diff {
        /// The tree to start from.
        lower: Tree,
        /// The tree to arrive at.
        upper: Tree,
    },
    /// A process in a container.
    Exec(Box<ExecWork>),
    /// A value that is read from a tree. A stock daemon computes no values: the
    /// tree is all it sees, and the reading is done through its gateway.
    Read(Tree),
}

impl Work {
    /// Calls `visit` for every tree this work reads.
    fn for_each_input<'a>(&'a self, mut visit: impl FnMut(&'a Edge)) {
        let mut tree = |t: &'a Tree| {
            if let Some(edge) = t {
                visit(edge);
            }
        };
        match self {
            Self::Llb(_) => {}
            Self::File { base, action } => {
                tree(base);
                if let FileAction::Copy(copy) = action {
                    tree(&copy.source);
                }
            }
            Self::Read(input) => tree(input),
            Self::Diff { lower, upper } => {
                tree(lower);
                tree(upper);
            }
            Self::Exec(exec) => {
                tree(&exec.root);
                for mount in &exec.mounts {
                    match &mount.kind {
                        MountKind::Bind { source, .. } | MountKind::Cache { source, .. } => {
                            tree(source);
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Who owns what a file action makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerId {
    /// A number.
    Id(u32),
    /// A name, looked up in the tree that is changed.
    Name(String),
}

/// Owner of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: OwnerId,
    /// The group; the user's own when absent.
    pub group: Option<OwnerId>,
}

impl Owner {
    /// Whether a part is a name.
    pub fn has_name(&self) -> bool {
        let named = |id: &OwnerId| matches!(id, OwnerId::Name(_));
        named(&self.user) || self.group.as_ref().is_some_and(named)
    }
}

/// One change of a tree. Paths are absolute and clean.
#[derive(Debug)]
pub enum FileAction {
    /// Writes a file, replacing what is there.
    MakeFile {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Content.
        data: bytes::Bytes,
        /// Owner, root by default.
        owner: Option<Owner>,
    },
    /// Makes a directory and its parents.
    MakeDir {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Removes a path; a missing one is fine.
    Remove {
        /// What; `*`, `?` and `[]` are wildcards when `wildcard` is set.
        path: String,
        /// Whether wildcards have a meaning.
        wildcard: bool,
    },
    /// Makes a symbolic link.
    Symlink {
        /// What it says.
        target: String,
        /// Where it is.
        path: String,
    },
    /// Copies from another tree.
    Copy(Box<CopyAction>),
}

impl FileAction {
    /// The tree it copies from.
    pub(crate) fn source(&self) -> Option<&Edge> {
        match self {
            Self::Copy(copy) => copy.source.as_ref(),
            _ => None,
        }
    }
}

/// A copy between trees.
#[derive(Debug)]
pub struct CopyAction {
    /// Where from.
    pub source: Tree,
    /// The file or directory in it.
    pub from: String,
    /// Where to.
    pub to: String,
    /// Whether the *content* of a directory goes into `to`.
    pub contents: bool,
    /// Only paths that match one of these, if any are given.
    pub include: Vec<String>,
    /// No paths that match these.
    pub exclude: Vec<String>,
    /// New owner of everything copied.
    pub owner: Option<Owner>,
    /// New permission bits of everything copied.
    pub mode: Option<u32>,
    /// New modification time of everything copied, in nanoseconds since 1970.
    pub timestamp: Option<i64>,
}

impl CopyAction {
    /// Copies what is in a directory into another.
    pub fn contents(source: Tree, from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            contents: true,
            ..Self::new(source, from, to)
        }
    }

    /// Copies one path to another, as it is.
    pub fn new(source: Tree, from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            source,
            from: from.into(),
            to: to.into(),
            contents: false,
            include: Vec::new(),
            exclude: Vec::new(),
            owner: None,
            mode: None,
            timestamp: None,
        }
    }
}

/// A process and what it sees.
///
/// Outputs of the vertex: [`ExecWork::ROOT`], [`ExecWork::META`], then one for
/// each writable bind mount in order of `mounts`.
#[derive(Clone, Debug)]
pub struct ExecWork {
    /// The whole command line, init included.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// `user[:group]`, empty for root.
    pub user: String,
    /// Where the process runs.
    pub platform: crate::platform::Platform,
    /// The root file system.
    pub root: Tree,
    /// Everything else that is mounted.
    pub mounts: Vec<ExecMount>,
    /// Environment variables from secrets: variable and secret id.
    pub secret_env: Vec<(String, String)>,
    /// Content of standard input, if the call gave one.
    pub stdin: Option<String>,
    /// All capabilities and devices; needs an entitlement.
    pub insecure: bool,
    /// Exit codes that are no failure.
    pub exit_codes: Vec<i32>,
}

impl ExecWork {
    /// Output number of the root file system.
    pub const ROOT: usize = 0;
    /// Output number of the meta mount.
    pub const META: usize = 1;
    /// Output number of the first writable mount.
    pub const FIRST_MOUNT: usize = 2;
}

/// One mount of an exec.
#[derive(Clone, Debug)]
pub struct ExecMount {
    /// Absolute path in the container.
    pub target: String,
    /// What is mounted.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum MountKind {
    /// A directory or file of a tree.
    Bind {
        /// The tree; scratch when absent.
        source: Tree,
        /// The path in it.
        selector: String,
        /// Whether the exec may change it.
        readonly: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// The daemon-wide id.
        id: String,
        /// What several users of it may do at once.
        sharing: Sharing,
        /// What it holds at first.
        source: Tree,
        /// The path in `source`.
        selector: String,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; the daemon's default when absent.
        size: Option<i64>,
    },
    /// A secret as a file.
    Secret {
        /// The id under which the session serves it.
        id: String,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    /// A Unix socket of the client's.
    Socket {
        /// The id under which the session serves it.
        id: String,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// What several users of a cache volume may do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Use it together.
    Shared,
    /// Have one each.
    Private,
    /// Wait for each other.
    Locked,
}

/// A vertex of the engine's graph.
#[derive(Debug)]
pub struct DagOp {
    pub(crate) kind: Kind,
    pub(crate) call: CallRef,
    pub(crate) salt: Option<Salt>,
    pub(crate) work: Work,
    pub(crate) fold: Fold,
    /// Whether only the session that made it can do it.
    bound: bool,
    /// The LLB outputs, once lowered.
    pub(crate) lowered: OnceLock<Vec<Option<llb::Output>>>,
    /// The first LLB vertex that does this work, for the ledger: a folded
    /// action may never be lowered on its own.
    pub(crate) covered_by: OnceLock<Arc<llb::Vertex>>,
}

impl DagOp {
    /// A vertex of `call` that does `work`.
    pub fn new(kind: Kind, call: CallRef, salt: Option<Salt>, work: Work) -> Self {
        let fold = Fold::of(&work);
        Self {
            bound: Self::is_bound(&work),
            kind,
            call,
            salt,
            work,
            fold,
            lowered: OnceLock::new(),
            covered_by: OnceLock::new(),
        }
    }

    /// The engine call it belongs to.
    pub fn call(&self) -> &CallRef {
        &self.call
    }

    /// What it yields.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The salt, for a scoped or TTL call.
    pub fn salt(&self) -> Option<&Salt> {
        self.salt.as_ref()
    }

    /// The LLB vertex that does this work, if any was made.
    pub fn vertex(&self) -> Option<&Arc<llb::Vertex>> {
        self.covered_by.get()
    }

    /// Calls `visit` for every tree this work reads.
    pub(crate) fn for_each_input<'a>(&'a self, visit: impl FnMut(&'a Edge)) {
        self.work.for_each_input(visit);
    }

    /// Takes the inputs out, so that a long chain is freed in a loop.
    fn take_inputs(&mut self, into: &mut Vec<Arc<Self>>) {
        let mut tree = |t: &mut Tree| into.extend(t.take().map(|edge| edge.op));
        match &mut self.work {
            Work::Llb(_) => {}
            Work::File { base, action } => {
                tree(base);
                if let FileAction::Copy(copy) = action {
                    tree(&mut copy.source);
                }
            }
            Work::Read(input) => tree(input),
            Work::Diff { lower, upper } => {
                tree(lower);
                tree(upper);
            }
            Work::Exec(exec) => {
                tree(&mut exec.root);
                for mount in &mut exec.mounts {
                    match &mut mount.kind {
                        MountKind::Bind { source, .. } | MountKind::Cache { source, .. } => {
                            tree(source);
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// A chain of thousands of vertices must not be freed by recursion.
impl Drop for DagOp {
    fn drop(&mut self) {
        let mut pending = Vec::new();
        self.take_inputs(&mut pending);
        while let Some(op) = pending.pop() {
            if let Some(mut op) = Arc::into_inner(op) {
                op.take_inputs(&mut pending);
            }
        }
    }
}

/// Where an action stands in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fold {
    /// Whether a segment begins here.
    pub(crate) begins: bool,
    /// Actions of the segment up to and including this one.
    actions: usize,
    /// Bytes of file data in them.
    bytes: usize,
    /// Segments of the chain up to and including this one.
    layers: usize,
    /// Whether this is a copy.
    copy: bool,
}

impl Fold {
    fn of(work: &Work) -> Self {
        let Work::File { base, action } = work else {
            return Self {
                begins: true,
                actions: 0,
                bytes: 0,
                layers: 0,
                copy: false,
            };
        };
        let (copy, bytes) = match action {
            FileAction::Copy(_) => (true, 0),
            FileAction::MakeFile { data, .. } => (false, data.len()),
            _ => (false, 0),
        };
        let base = base.as_ref().map(|edge| &edge.op);
        match base.filter(|op| matches!(op.work, Work::File { .. })) {
            None => Self {
                begins: true,
                actions: 1,
                bytes,
                layers: 1,
                copy,
            },
            Some(op) => op.fold.after(copy, bytes),
        }
    }

    /// The place of an action whose base stands here.
    fn after(self, copy: bool, bytes: usize) -> Self {
        let alone = self.layers < LAYERS_SHORT && (copy || self.copy);
        let full = self.actions >= SEGMENT_ACTIONS || self.bytes + bytes > SEGMENT_BYTES;
        if alone || full {
            Self {
                begins: true,
                actions: 1,
                bytes,
                layers: self.layers + 1,
                copy,
            }
        } else {
            Self {
                begins: false,
                actions: self.actions + 1,
                bytes: self.bytes + bytes,
                layers: self.layers,
                copy,
            }
        }
    }
}

#[cfg(test)]
mod tests;
