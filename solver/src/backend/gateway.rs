//! The calls that a build allows: solving, looking into results, resolving sources.
//!
//! A solve is lazy: it returns a [`Ref`], a handle to a result that the daemon
//! computes when something needs it (reading, evaluating, mounting, exporting).
//! A ref that is absent stands for the empty filesystem.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use proto::{gateway, pb};

use super::build::{Build, Handle};
use super::client::code;
use super::control::{CacheBackend, Worker, time};
use super::error::Error;
use super::failure::Code;

/// Bytes of a file that are asked for at a time; well below the message limit.
pub const READ_CHUNK_BYTES: u64 = 4 << 20;

/// Largest file part that [`Build::read_file`] puts into memory, in bytes.
pub const READ_BYTES_MAX: u64 = 256 << 20;

/// A handle to a result of this build, valid until the build ends.
#[derive(Debug, Clone)]
pub struct Ref {
    shared: Arc<SharedRef>,
}

#[derive(Debug)]
struct SharedRef {
    id: String,
    definition: Option<pb::Definition>,
}

impl Ref {
    fn from_wire(wire: gateway::Ref) -> Option<Self> {
        let gateway::Ref { id, def } = wire;
        (!id.is_empty()).then(|| Self {
            shared: Arc::new(SharedRef {
                id,
                definition: def,
            }),
        })
    }

    /// The daemon's name of the result.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The graph the result was solved from, as the daemon loaded it.
    pub fn definition(&self) -> Option<&pb::Definition> {
        self.shared.definition.as_ref()
    }
}

/// The refs of a result.
#[derive(Debug, Clone)]
pub enum Refs {
    /// One result.
    Single(Option<Ref>),
    /// One for every platform id; `refs.platforms` in the metadata describes them.
    Platforms(BTreeMap<String, Option<Ref>>),
}

/// What a solve gives and what [`Build::finish`] takes.
#[derive(Debug, Clone)]
pub struct BuildResult {
    /// The results.
    pub refs: Refs,
    /// `containerimage.config`, `refs.platforms` and others.
    pub metadata: BTreeMap<String, Bytes>,
    /// Attestations by platform id.
    pub attestations: BTreeMap<String, gateway::Attestations>,
}

impl BuildResult {
    /// A result of one ref and no metadata.
    pub fn single(reference: Option<Ref>) -> Self {
        Self {
            refs: Refs::Single(reference),
            metadata: BTreeMap::new(),
            attestations: BTreeMap::new(),
        }
    }

    /// The ref of a result that has one; the first of several.
    pub fn reference(&self) -> Option<&Ref> {
        match &self.refs {
            Refs::Single(reference) => reference.as_ref(),
            Refs::Platforms(refs) => refs.values().flatten().next(),
        }
    }

    fn from_wire(wire: gateway::SolveResponse) -> Self {
        use gateway::result::Result as Wire;
        let single = |id| Refs::Single(Ref::from_wire(gateway::Ref { id, def: None }));
        let Some(result) = wire.result else {
            return Self {
                refs: single(wire.r#ref),
                ..Self::single(None)
            };
        };
        let refs = match result.result {
            None => Refs::Single(None),
            Some(Wire::RefDeprecated(id)) => single(id),
            Some(Wire::RefsDeprecated(map)) => Refs::Platforms(
                map.refs
                    .into_iter()
                    .map(|(key, id)| (key, Ref::from_wire(gateway::Ref { id, def: None })))
                    .collect(),
            ),
            Some(Wire::Ref(reference)) => Refs::Single(Ref::from_wire(reference)),
            Some(Wire::Refs(map)) => Refs::Platforms(
                map.refs
                    .into_iter()
                    .map(|(key, reference)| (key, Ref::from_wire(reference)))
                    .collect(),
            ),
        };
        Self {
            refs,
            metadata: result.metadata,
            attestations: result.attestations,
        }
    }
}

impl From<BuildResult> for gateway::Result {
    fn from(result: BuildResult) -> Self {
        use gateway::result::Result as Wire;
        let wire = |reference: Option<Ref>| gateway::Ref {
            id: reference
                .map(|reference| reference.id().to_owned())
                .unwrap_or_default(),
            def: None,
        };
        let refs = match result.refs {
            Refs::Single(reference) => Wire::Ref(wire(reference)),
            Refs::Platforms(refs) => Wire::Refs(gateway::RefMap {
                refs: refs
                    .into_iter()
                    .map(|(key, reference)| (key, wire(reference)))
                    .collect(),
            }),
        };
        Self {
            result: Some(refs),
            metadata: result.metadata,
            attestations: result.attestations,
        }
    }
}

/// What to solve.
#[derive(Debug, Clone)]
pub enum GatewayInput {
    /// A graph. An empty one is the empty filesystem.
    Definition(pb::Definition),
    /// A frontend of the daemon.
    Frontend {
        /// `dockerfile.v0` or `gateway.v0`.
        name: String,
        /// Its attributes.
        opts: BTreeMap<String, String>,
        /// Its named inputs.
        inputs: BTreeMap<String, pb::Definition>,
    },
}

/// A solve inside a build.
#[derive(Debug, Clone)]
pub struct GatewaySolve {
    /// What to solve.
    pub input: GatewayInput,
    /// Compute the result before answering, instead of when it is needed.
    pub evaluate: bool,
    /// Caches to read.
    pub cache_imports: Vec<CacheBackend>,
    /// Rules for sources.
    pub source_policies: Vec<proto::sourcepolicy::Policy>,
}

impl GatewaySolve {
    /// A lazy solve of a graph.
    pub fn definition(definition: pb::Definition) -> Self {
        Self::new(GatewayInput::Definition(definition))
    }

    /// A lazy solve.
    pub fn new(input: GatewayInput) -> Self {
        Self {
            input,
            evaluate: false,
            cache_imports: Vec::new(),
            source_policies: Vec::new(),
        }
    }

    fn into_wire(self) -> gateway::SolveRequest {
        let (definition, frontend, frontend_opt, frontend_inputs) = match self.input {
            GatewayInput::Definition(definition) => (
                Some(definition),
                String::new(),
                BTreeMap::new(),
                BTreeMap::new(),
            ),
            GatewayInput::Frontend { name, opts, inputs } => (None, name, opts, inputs),
        };
        gateway::SolveRequest {
            definition,
            frontend,
            frontend_opt,
            frontend_inputs,
            allow_result_return: true,
            allow_result_array_ref: true,
            evaluate: self.evaluate,
            cache_imports: self
                .cache_imports
                .into_iter()
                .map(|cache| gateway::CacheOptionsEntry {
                    r#type: cache.kind,
                    attrs: cache.attrs,
                })
                .collect(),
            source_policies: self.source_policies,
            ..Default::default()
        }
    }
}

/// What a daemon can do, by capability id.
#[derive(Debug, Clone, Default)]
pub struct Capabilities {
    /// Of the calls of this module.
    pub frontend: BTreeMap<String, proto::caps::ApiCap>,
    /// Of vertices.
    pub llb: BTreeMap<String, proto::caps::ApiCap>,
    /// The daemon's workers, the default one first.
    pub workers: Vec<Worker>,
}

impl Capabilities {
    /// Whether a frontend capability is there and enabled.
    pub fn supports(&self, id: &str) -> bool {
        self.frontend.get(id).is_some_and(|cap| cap.enabled)
    }

    /// Whether a vertex capability is there and enabled.
    pub fn supports_llb(&self, id: &str) -> bool {
        self.llb.get(id).is_some_and(|cap| cap.enabled)
    }
}

impl From<gateway::PongResponse> for Capabilities {
    fn from(wire: gateway::PongResponse) -> Self {
        let by_id = |caps: Vec<proto::caps::ApiCap>| {
            caps.into_iter().map(|cap| (cap.id.clone(), cap)).collect()
        };
        Self {
            frontend: by_id(wire.frontend_api_caps),
            llb: by_id(wire.llb_caps),
            workers: wire.workers.into_iter().map(Worker::from).collect(),
        }
    }
}

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
    /// Block device.
    BlockDevice,
    /// Character device.
    CharDevice,
}

/// What is known about one file of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// Name: the last element of the path.
    pub name: String,
    /// Kind.
    pub kind: FileKind,
    /// Permissions with set-user-id, set-group-id and sticky bits, as in `chmod`.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: i64,
    /// Time of the last change.
    pub modified: SystemTime,
    /// Target of a symbolic link.
    pub link: String,
    /// Major and minor number of a device.
    pub device: (i64, i64),
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Bytes>,
}

impl From<proto::fsutil::Stat> for FileStat {
    fn from(wire: proto::fsutil::Stat) -> Self {
        // Mode bits are those of Go's os.FileMode.
        let bit = |n: u32| wire.mode & (1 << n) != 0;
        let kind = match () {
            () if bit(31) => FileKind::Directory,
            () if bit(27) => FileKind::Symlink,
            () if bit(26) && bit(21) => FileKind::CharDevice,
            () if bit(26) => FileKind::BlockDevice,
            () if bit(25) => FileKind::Fifo,
            () if bit(24) => FileKind::Socket,
            () => FileKind::Regular,
        };
        let special = [(23, 0o4000), (22, 0o2000), (20, 0o1000)];
        let special: u32 = special
            .iter()
            .filter(|(n, _)| bit(*n))
            .map(|(_, mode)| mode)
            .sum();
        let offset = Duration::from_nanos(wire.mod_time.unsigned_abs());
        let modified = if wire.mod_time < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(offset)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(offset)
        };
        Self {
            name: wire.path,
            kind,
            permissions: special | wire.mode & 0o777,
            uid: wire.uid,
            gid: wire.gid,
            size: wire.size,
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
            link: wire.linkname,
            device: (wire.devmajor, wire.devminor),
            xattrs: wire.xattrs,
        }
    }
}

/// Where the daemon may take an image from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResolveMode {
    /// The daemon's own choice: locally if it has it, else the registry.
    #[default]
    Default,
    /// Always ask the registry.
    ForcePull,
    /// Prefer what the daemon has.
    PreferLocal,
}

impl ResolveMode {
    fn text(self) -> String {
        match self {
            Self::Default => "default",
            Self::ForcePull => "pull",
            Self::PreferLocal => "local",
        }
        .to_owned()
    }
}

/// An image reference to resolve.
#[derive(Debug, Clone, Default)]
pub struct ImageQuery {
    /// The reference, for example `docker.io/library/alpine:3`.
    pub reference: String,
    /// Platform; `None` = that of the default worker.
    pub platform: Option<pb::Platform>,
    /// Where to look.
    pub mode: ResolveMode,
    /// Name of the step in progress; empty = the daemon's own.
    pub log_name: String,
    /// Session and store id of an OCI layout that holds the image, instead of a
    /// registry.
    pub layout: Option<(String, String)>,
}

/// A resolved image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The reference after source policies; equal to the query's if none applied.
    pub reference: String,
    /// Digest of the manifest or index that the reference stands for.
    pub digest: String,
    /// The image config, JSON.
    pub config: Bytes,
}

/// What to find out about a source.
#[derive(Debug, Clone, Default)]
pub struct SourceQuery {
    /// The source.
    pub source: pb::SourceOp,
    /// Platform; `None` = that of the default worker.
    pub platform: Option<pb::Platform>,
    /// Where to look for an image.
    pub mode: ResolveMode,
    /// Name of the step in progress.
    pub log_name: String,
    /// Details for an image.
    pub image: Option<gateway::ResolveSourceImageRequest>,
    /// Details for a repository.
    pub git: Option<gateway::ResolveSourceGitRequest>,
    /// Details for a download.
    pub http: Option<gateway::ResolveSourceHttpRequest>,
}

/// What a source stands for now. One of `image`, `git` and `http` is present for
/// a source of that kind.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedSource {
    /// The source after source policies.
    pub source: pb::SourceOp,
    /// An image: digest, config, attestations if asked for.
    pub image: Option<gateway::ResolveSourceImageResponse>,
    /// A repository: commit, ref, objects if asked for.
    pub git: Option<gateway::ResolveSourceGitResponse>,
    /// A download.
    pub http: Option<ResolvedDownload>,
}

/// A resolved download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedDownload {
    /// Digest of the content.
    pub checksum: String,
    /// File name.
    pub filename: String,
    /// Time of the last change, as the server says.
    pub last_modified: Option<SystemTime>,
}

impl Build {
    /// Solves a graph or runs a frontend.
    ///
    /// # Errors
    /// [`Error::Exec`] when a process of an evaluated graph fails,
    /// [`Error::Daemon`] for every other refusal.
    pub async fn solve(&self, solve: GatewaySolve) -> Result<BuildResult, Error> {
        let request = self.handle.request(solve.into_wire());
        let mut bridge = self.client().bridge();
        Ok(BuildResult::from_wire(
            self.handle.call(bridge.solve(request)).await?,
        ))
    }

    /// Computes a result now.
    pub async fn evaluate(&self, reference: &Ref) -> Result<(), Error> {
        if !self.capabilities().supports("gateway.evaluate") {
            // Older daemons have no such call; looking at the root forces the result too.
            return self.stat_file(reference, "/").await.map(drop);
        }
        let request = gateway::EvaluateRequest {
            r#ref: reference.id().to_owned(),
        };
        let request = self.handle.request(request);
        self.handle
            .call(self.client().bridge().evaluate(request))
            .await?;
        Ok(())
    }

    /// Reads a file, or the part of it that `range` covers; a range that reaches
    /// past the end is cut there.
    ///
    /// # Errors
    /// [`Error::Protocol`] for more than [`READ_BYTES_MAX`] bytes; larger files
    /// are read with [`Build::file_chunks`].
    pub async fn read_file(
        &self,
        reference: &Ref,
        path: &str,
        range: Option<Range<u64>>,
    ) -> Result<Vec<u8>, Error> {
        collect(self.file_chunks(reference, path, range), path).await
    }

    /// A file, or a part of it, in chunks of at most [`READ_CHUNK_BYTES`].
    pub fn file_chunks(
        &self,
        reference: &Ref,
        path: &str,
        range: Option<Range<u64>>,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        chunks(
            self.handle.clone(),
            Tree::Ref(reference.id().to_owned()),
            path.to_owned(),
            range,
        )
    }

    /// Lists a directory, by name. `include` is a shell pattern for names; empty
    /// = all.
    pub async fn read_dir(
        &self,
        reference: &Ref,
        path: &str,
        include: &str,
    ) -> Result<Vec<FileStat>, Error> {
        read_dir(
            &self.handle,
            Tree::Ref(reference.id().to_owned()),
            path,
            include,
        )
        .await
    }

    /// Looks at one path; a symbolic link at its end is not followed.
    pub async fn stat_file(&self, reference: &Ref, path: &str) -> Result<FileStat, Error> {
        stat_file(&self.handle, Tree::Ref(reference.id().to_owned()), path).await
    }

    /// Finds out what an image reference stands for, and its config.
    pub async fn resolve_image(&self, query: ImageQuery) -> Result<ResolvedImage, Error> {
        let (session_id, store_id) = query.layout.clone().unwrap_or_default();
        let request = gateway::ResolveImageConfigRequest {
            r#ref: query.reference.clone(),
            platform: query.platform,
            resolve_mode: query.mode.text(),
            log_name: query.log_name,
            resolver_type: i32::from(query.layout.is_some()),
            session_id,
            store_id,
            source_policies: Vec::new(),
        };
        let request = self.handle.request(request);
        let mut bridge = self.client().bridge();
        let response = self
            .handle
            .call(bridge.resolve_image_config(request))
            .await?;
        // Daemons before v0.13 do not answer with the reference.
        let reference = if response.r#ref.is_empty() {
            query.reference
        } else {
            response.r#ref
        };
        Ok(ResolvedImage {
            reference,
            digest: response.digest,
            config: response.config,
        })
    }

    /// Finds out what any source stands for.
    pub async fn resolve_source(&self, query: SourceQuery) -> Result<ResolvedSource, Error> {
        let request = gateway::ResolveSourceMetaRequest {
            source: Some(query.source.clone()),
            platform: query.platform,
            log_name: query.log_name,
            resolve_mode: query.mode.text(),
            image: query.image,
            git: query.git,
            http: query.http,
            source_policies: Vec::new(),
        };
        let request = self.handle.request(request);
        let mut bridge = self.client().bridge();
        let response = self
            .handle
            .call(bridge.resolve_source_meta(request))
            .await?;
        Ok(ResolvedSource {
            source: response.source.unwrap_or(query.source),
            image: response.image,
            git: response.git,
            http: response.http.map(|http| ResolvedDownload {
                checksum: http.checksum,
                filename: http.filename,
                last_modified: time(http.last_modified),
            }),
        })
    }

    /// Adds a warning to the build's progress.
    pub async fn warn(&self, warning: gateway::WarnRequest) -> Result<(), Error> {
        let request = self.handle.request(warning);
        self.handle
            .call(self.client().bridge().warn(request))
            .await?;
        Ok(())
    }
}

/// A tree whose files can be looked at.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    /// Id of a ref.
    Ref(String),
    /// Id of a container and index of one of its mounts.
    Mount(String, i32),
}

impl Tree {
    fn parts(self) -> (String, i32, bool) {
        match self {
            Self::Ref(id) => (id, 0, false),
            Self::Mount(id, index) => (id, index, true),
        }
    }
}

pub(crate) async fn read_dir(
    build: &Handle,
    tree: Tree,
    path: &str,
    include: &str,
) -> Result<Vec<FileStat>, Error> {
    let (id, mount_index, container) = tree.parts();
    let request = build.request(gateway::ReadDirRequest {
        r#ref: id,
        dir_path: path.to_owned(),
        include_pattern: include.to_owned(),
        mount_index,
    });
    let mut bridge = build.client().bridge();
    let response = if container {
        build.call(bridge.read_dir_container(request)).await
    } else {
        build.call(bridge.read_dir(request)).await
    };
    match response {
        Ok(response) => Ok(response.entries.into_iter().map(FileStat::from).collect()),
        // What our own side says about a message above the limit.
        Err(error) if code(&error) == Some(Code::OutOfRange) => Err(Error::Protocol(format!(
            "the listing of {path:?} is larger than 16 MiB; list with a pattern"
        ))),
        Err(error) => Err(error),
    }
}

pub(crate) async fn stat_file(build: &Handle, tree: Tree, path: &str) -> Result<FileStat, Error> {
    let (id, mount_index, container) = tree.parts();
    let request = build.request(gateway::StatFileRequest {
        r#ref: id,
        path: path.to_owned(),
        mount_index,
    });
    let mut bridge = build.client().bridge();
    let response = if container {
        build.call(bridge.stat_file_container(request)).await?
    } else {
        build.call(bridge.stat_file(request)).await?
    };
    let absent = || Error::Protocol(format!("the daemon answered nothing about {path:?}"));
    Ok(response.stat.ok_or_else(absent)?.into())
}

/// Reads a file chunk by chunk; a short chunk is the end.
pub(crate) fn chunks(
    build: Handle,
    tree: Tree,
    path: String,
    range: Option<Range<u64>>,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
    let range = range.unwrap_or(0..u64::MAX);
    let rest = (range.start < range.end).then_some(range);
    futures::stream::unfold(
        (rest, build, tree, path),
        |(rest, build, tree, path)| async move {
            let rest = rest?;
            let length = (rest.end - rest.start).min(READ_CHUNK_BYTES);
            let chunk = read_chunk(&build, tree.clone(), &path, rest.start, length).await;
            let next = match &chunk {
                Ok(data) if data.is_empty() => return None,
                Ok(data) if data.len() as u64 == length && rest.end > rest.start + length => {
                    Some(rest.start + length..rest.end)
                }
                _ => None,
            };
            Some((chunk, (next, build, tree, path)))
        },
    )
}

async fn read_chunk(
    build: &Handle,
    tree: Tree,
    path: &str,
    offset: u64,
    length: u64,
) -> Result<Bytes, Error> {
    let too_large = || Error::Protocol(format!("offset {offset} of {path:?} is out of range"));
    let (id, mount_index, container) = tree.parts();
    let request = build.request(gateway::ReadFileRequest {
        r#ref: id,
        file_path: path.to_owned(),
        range: Some(gateway::FileRange {
            offset: i64::try_from(offset).map_err(|_| too_large())?,
            length: i64::try_from(length).map_err(|_| too_large())?,
        }),
        mount_index,
    });
    let mut bridge = build.client().bridge();
    let response = if container {
        build.call(bridge.read_file_container(request)).await?
    } else {
        build.call(bridge.read_file(request)).await?
    };
    if response.data.len() as u64 > length {
        return Err(Error::Protocol(format!(
            "the daemon sent more of {path:?} than was asked for"
        )));
    }
    Ok(response.data)
}

pub(crate) async fn collect(
    chunks: impl Stream<Item = Result<Bytes, Error>>,
    path: &str,
) -> Result<Vec<u8>, Error> {
    let mut chunks = std::pin::pin!(chunks);
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() as u64 > READ_BYTES_MAX {
            return Err(Error::Protocol(format!(
                "{path:?} has more than {READ_BYTES_MAX} bytes"
            )));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(mode: u32) -> FileStat {
        proto::fsutil::Stat {
            mode,
            ..Default::default()
        }
        .into()
    }

    #[test]
    fn go_modes_become_kinds_and_permissions() {
        assert_eq!(
            (stat(0o644).kind, stat(0o644).permissions),
            (FileKind::Regular, 0o644)
        );
        let sticky = stat(1 << 31 | 1 << 20 | 0o777);
        assert_eq!(
            (sticky.kind, sticky.permissions),
            (FileKind::Directory, 0o1777)
        );
        let setuid = stat(1 << 23 | 1 << 22 | 0o755);
        assert_eq!(
            (setuid.kind, setuid.permissions),
            (FileKind::Regular, 0o6755)
        );
        assert_eq!(stat(1 << 27 | 0o777).kind, FileKind::Symlink);
        assert_eq!(stat(1 << 26).kind, FileKind::BlockDevice);
        assert_eq!(stat(1 << 26 | 1 << 21).kind, FileKind::CharDevice);
        assert_eq!(stat(1 << 25).kind, FileKind::Fifo);
        assert_eq!(stat(1 << 24).kind, FileKind::Socket);
    }

    #[test]
    fn times_before_1970_and_extremes_are_no_panic() {
        for mod_time in [i64::MIN, -1, 0, i64::MAX] {
            let _: FileStat = proto::fsutil::Stat {
                mod_time,
                ..Default::default()
            }
            .into();
        }
    }

    #[test]
    fn results_of_old_and_new_daemons_are_read() {
        let id = |response| {
            BuildResult::from_wire(response)
                .reference()
                .map(|r| r.id().to_owned())
        };
        let result = |result| gateway::SolveResponse {
            result: Some(gateway::Result {
                result: Some(result),
                ..Default::default()
            }),
            ..Default::default()
        };
        use gateway::result::Result as Wire;
        let reference = |id: &str| gateway::Ref {
            id: id.to_owned(),
            def: None,
        };
        assert_eq!(
            id(gateway::SolveResponse {
                r#ref: "a".into(),
                ..Default::default()
            })
            .as_deref(),
            Some("a")
        );
        assert_eq!(
            id(result(Wire::RefDeprecated("b".into()))).as_deref(),
            Some("b")
        );
        assert_eq!(id(result(Wire::Ref(reference("c")))).as_deref(), Some("c"));
        assert_eq!(
            id(result(Wire::Ref(reference("")))),
            None,
            "an empty id is scratch"
        );
        let refs = [
            ("p".to_owned(), reference("")),
            ("q".to_owned(), reference("d")),
        ]
        .into();
        assert_eq!(
            id(result(Wire::Refs(gateway::RefMap { refs }))).as_deref(),
            Some("d")
        );
    }

    #[test]
    fn a_result_is_sent_back_with_empty_ids_for_scratch() {
        let wire: gateway::Result = BuildResult::single(None).into();
        assert_eq!(
            wire.result,
            Some(gateway::result::Result::Ref(gateway::Ref::default()))
        );
    }

    #[test]
    fn a_solve_never_names_both_a_definition_and_a_frontend() {
        let wire = GatewaySolve::definition(pb::Definition::default()).into_wire();
        assert!(wire.definition.is_some() && wire.frontend.is_empty());
        assert!(wire.allow_result_return && wire.allow_result_array_ref);
        let frontend = GatewayInput::Frontend {
            name: "dockerfile.v0".into(),
            opts: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        let wire = GatewaySolve::new(frontend).into_wire();
        assert!(wire.definition.is_none() && wire.frontend == "dockerfile.v0");
    }
}
