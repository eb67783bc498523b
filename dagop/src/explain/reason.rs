//! Reasons: everything that can make a step run again, as data.
//!
//! One enum, tagged `reason` in JSON. A reason holds its operands and nothing else, so that two
//! reasons are equal if and only if they say the same; where it applies is said by the cause that
//! holds it. `from` is always the earlier build. Sentences are made in `sentence.rs`.
//!
//! Values come from the ledger, in which secrets are replaced before anything is stored.

use serde::{Deserialize, Serialize};

use crate::event::UnixMillis;
use crate::ledger::Outcome;

/// Why a step has another key, or has no record for the key it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// An argument of the command, counted from 0.
    Argument {
        /// Which, in the earlier build if it is only there.
        index: u64,
        /// Before; absent if it was added.
        from: Option<String>,
        /// After; absent if it was removed.
        to: Option<String>,
    },
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
        /// Before; absent if it was added.
        from: Option<String>,
        /// After; absent if it was removed.
        to: Option<String>,
    },
    /// The same things in another order.
    Order {
        /// What: `environment`, `mounts`.
        of: String,
    },
    /// A setting of a command: working directory, user, host name, network, security ...
    Setting {
        /// Its name.
        setting: Setting,
        /// Which one, where there are several: a host, a limit, a device.
        name: Option<String>,
        /// Before; absent for the default.
        from: Option<String>,
        /// After.
        to: Option<String>,
    },
    /// The platform.
    Platform {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// A mount that only the later build has.
    MountAdded {
        /// Its target.
        target: String,
        /// Its kind.
        kind: String,
    },
    /// A mount that only the earlier build has.
    MountRemoved {
        /// Its target.
        target: String,
        /// Its kind.
        kind: String,
    },
    /// A mount at another target.
    MountMoved {
        /// Target before.
        from: String,
        /// Target after.
        to: String,
    },
    /// An option of a mount.
    Mount {
        /// Its target.
        target: String,
        /// Which option: `kind`, `readonly`, `sharing`, `size`, `id`, `mode` ...
        option: String,
        /// Before; absent for the default.
        from: Option<String>,
        /// After.
        to: Option<String>,
    },
    /// Another part of an input is used.
    Selector {
        /// Where it is used: target of a mount.
        target: String,
        /// Path before.
        from: String,
        /// Path after.
        to: String,
    },
    /// A file action that only the later build has.
    ActionAdded {
        /// The action, as `copy /a /b`.
        action: String,
    },
    /// A file action that only the earlier build has.
    ActionRemoved {
        /// The action.
        action: String,
    },
    /// A file action at another place among the others.
    ActionMoved {
        /// The action.
        action: String,
    },
    /// A field of a file action.
    Action {
        /// The action as it is now.
        action: String,
        /// Which field: `path`, `content`, `mode`, `owner`, `timestamp`, `include` ...
        field: String,
        /// Before; absent for the default.
        from: Option<String>,
        /// After.
        to: Option<String>,
    },
    /// A file of a local directory was added.
    FileAdded {
        /// The directory.
        source: String,
        /// The path in it.
        path: String,
    },
    /// A file of a local directory was removed.
    FileRemoved {
        /// The directory.
        source: String,
        /// The path in it.
        path: String,
    },
    /// The bytes, or extended attributes, of a file of a local directory.
    FileContent {
        /// The directory.
        source: String,
        /// The path in it.
        path: String,
        /// Digest before, of header and bytes as the cache hashes them.
        from: String,
        /// Digest after.
        to: String,
    },
    /// A property of a file of a local directory.
    FileProperty {
        /// The directory.
        source: String,
        /// The path in it.
        path: String,
        /// Which: `mode`, `uid`, `gid`, `type`, `link`.
        property: String,
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// More files of a local directory than are named.
    MoreFiles {
        /// The directory.
        source: String,
        /// How many.
        count: u64,
    },
    /// A tag stands for another image.
    ImageMoved {
        /// The reference without digest.
        image: String,
        /// Digest before.
        from: String,
        /// Digest after.
        to: String,
    },
    /// Another commit.
    Commit {
        /// The repository.
        repository: String,
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// A download with other bytes.
    Checksum {
        /// The URL.
        url: String,
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// Another source altogether.
    Source {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// An option of a source.
    SourceOption {
        /// The source.
        source: String,
        /// Which option.
        option: String,
        /// Before; absent for the default.
        from: Option<String>,
        /// After.
        to: Option<String>,
    },
    /// A scope of the call is part of the key, and is another one.
    Scope {
        /// The call.
        call: String,
        /// `client`, `session`, `call`, `key`, `schema`, `ttl`.
        scope: String,
        /// Before; absent if the call had no such scope.
        from: Option<String>,
        /// After.
        to: Option<String>,
    },
    /// The time to live of a call's result has passed, so that it has a new key.
    Expired {
        /// The call.
        call: String,
        /// The time to live, in seconds.
        seconds: String,
        /// When the earlier build asked for the call.
        from_ms: UnixMillis,
        /// When the later one did.
        to_ms: UnixMillis,
    },
    /// A scoped step has the engine's key in its own, and that differs by something that is no
    /// part of any step.
    Call {
        /// The call before.
        from: String,
        /// The call after.
        to: String,
    },
    /// A step that only the later build has.
    StepAdded,
    /// A step that only the earlier build has.
    StepRemoved,
    /// A step at another place in the chain.
    StepMoved,
    /// An input is another step.
    Rewired {
        /// What the input is to the step.
        input: String,
        /// The step before; absent if there was none.
        from: Option<String>,
        /// The step after.
        to: Option<String>,
    },
    /// A local directory is used as a root or written to: its key is the session.
    SessionKeyed {
        /// The directory.
        source: String,
    },
    /// No earlier build of the ledger had this step.
    FirstBuild {
        /// The daemon.
        daemon: String,
    },
    /// An earlier build had the record and nothing differs: the daemon does not have it any more.
    Evicted {
        /// That build.
        build: String,
        /// What the step was there: it was executed, or found in the cache.
        outcome: Outcome,
        /// When.
        at_ms: Option<UnixMillis>,
    },
    /// Only another daemon had the record.
    OtherDaemon {
        /// The daemon that had it.
        from: String,
        /// The daemon that was asked.
        to: String,
    },
    /// Another build ran the step when this one began.
    Concurrent {
        /// That build.
        build: String,
    },
    /// The daemons compute keys in different ways.
    Formula {
        /// Version before.
        from: String,
        /// Version after.
        to: String,
    },
    /// The definition says that the step runs whatever the cache has.
    NoCache,
    /// A cache that was imported has no record of the key.
    ImportNoRecord {
        /// The cache.
        cache: String,
    },
    /// A cache that was imported has a record of the key, and no result with it.
    ImportNoResult {
        /// The cache.
        cache: String,
    },
    /// A cache that was imported has a record of the key, and a blob of its result is not there.
    ImportNoBlob {
        /// The cache.
        cache: String,
        /// Digest of the blob.
        blob: String,
    },
    /// There is no cache under the name that was to be imported.
    ImportAbsent {
        /// The name.
        cache: String,
    },
    /// The engine's key of a call is another one, and the daemon's key of its step is the same. No
    /// cause of anything that ran; said because the engine's own cache cannot have the value.
    EngineKey {
        /// The call.
        call: String,
        /// The first call that differs, before.
        from: String,
        /// The same after.
        to: String,
    },
    /// A cache volume at a target is another one, and that is in no key: both builds share the
    /// record. No cause of anything that ran.
    CacheVolume {
        /// Target of the mount.
        target: String,
        /// Id of the volume before.
        from: String,
        /// Id after.
        to: String,
    },
    /// The earlier build has no result of it.
    NoResult {
        /// That build.
        build: String,
        /// What became of the step there.
        outcome: Outcome,
    },
    /// What would decide is not known.
    Unknown {
        /// What is missing.
        missing: String,
    },
}

/// A setting of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Working directory.
    Workdir,
    /// User.
    User,
    /// Host name.
    Hostname,
    /// Network mode.
    Network,
    /// Security mode.
    Security,
    /// Control group that the process is put under.
    CgroupParent,
    /// Exit codes that are no failure.
    ValidExitCodes,
    /// Whether the empty targets of mounts are removed with their parents.
    MountStubs,
    /// A resource limit.
    Ulimit,
    /// A host in `/etc/hosts`; its address is in no key.
    ExtraHost,
    /// A variable whose value is a secret: the id of that, which is in the key.
    SecretEnv,
    /// A device.
    Device,
    /// A file that is standard input, or gets standard output or error.
    Redirection,
    /// A field that this version has no name for.
    Other,
}

impl Reason {
    /// Whether it is a matter of the circumstances in which a chain of steps runs, and not of one
    /// step: the same reason at two steps is then one cause.
    pub(super) fn is_shared(&self) -> bool {
        matches!(
            self,
            Self::Env { .. }
                | Self::Setting { .. }
                | Self::Platform { .. }
                | Self::MountAdded { .. }
                | Self::MountRemoved { .. }
                | Self::MountMoved { .. }
                | Self::Mount { .. }
                | Self::Selector { .. }
                | Self::Order { .. }
                | Self::ImageMoved { .. }
                | Self::Commit { .. }
                | Self::Checksum { .. }
                | Self::FileAdded { .. }
                | Self::FileRemoved { .. }
                | Self::FileContent { .. }
                | Self::FileProperty { .. }
                | Self::MoreFiles { .. }
                | Self::Formula { .. }
        )
    }

    /// Whether it only says that something is missing.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}
