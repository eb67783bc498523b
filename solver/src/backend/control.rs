//! The daemon's administrative calls and plain solves (service `Control`).
//!
//! A solve has three shapes, told apart by what is absent from the request:
//! a definition; a frontend with its inputs; or neither, in which case the caller
//! plays the frontend over LLBBridge ([`Build`](super::build::Build) does that).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt as _};
use proto::{control, pb};

use super::client::{Client, DaemonInfo, check_size};
use super::error::Error;
use super::session::metadata::is_true;
use super::session::new_id;

/// One worker of a daemon. The first one listed is the default.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Worker id.
    pub id: String,
    /// Labels, for example `org.mobyproject.buildkit.worker.snapshotter`.
    pub labels: BTreeMap<String, String>,
    /// Platforms it can run, the native one first.
    pub platforms: Vec<pb::Platform>,
    /// Version of the daemon, where it is reported per worker.
    pub version: DaemonInfo,
}

impl From<proto::types::WorkerRecord> for Worker {
    fn from(wire: proto::types::WorkerRecord) -> Self {
        Self {
            id: wire.id,
            labels: wire.labels,
            platforms: wire.platforms,
            version: wire.buildkit_version.unwrap_or_default().into(),
        }
    }
}

/// A record of the daemon's cache on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// Snapshot record id.
    pub id: String,
    /// Whether it can still be written to.
    pub mutable: bool,
    /// Whether something holds it now.
    pub in_use: bool,
    /// Whether others share its layers.
    pub shared: bool,
    /// Size in bytes.
    pub size: i64,
    /// Records it is made of.
    pub parents: Vec<String>,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When it was last used.
    pub last_used: Option<SystemTime>,
    /// How often it was used.
    pub usage_count: i64,
    /// Kind, for example `regular`, `source.local`, `exec.cachemount`.
    pub kind: String,
    /// What it holds, in words.
    pub description: String,
}

impl From<control::UsageRecord> for UsageRecord {
    fn from(wire: control::UsageRecord) -> Self {
        Self {
            id: wire.id,
            mutable: wire.mutable,
            in_use: wire.in_use,
            shared: wire.shared,
            size: wire.size,
            parents: wire.parents,
            created: time(wire.created_at),
            last_used: time(wire.last_used_at),
            usage_count: wire.usage_count,
            kind: wire.record_type,
            description: wire.description,
        }
    }
}

/// What to remove from the daemon's cache; the default removes all that is unused.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Only records that match one of these filters (containerd syntax).
    pub filters: Vec<String>,
    /// Internal and frontend records too.
    pub all: bool,
    /// Keep what was used within this time.
    pub keep: Duration,
    /// Bytes that are kept in any case.
    pub reserved_bytes: i64,
    /// Bytes above which is pruned; 0 = no such bound.
    pub used_bytes_max: i64,
    /// Free bytes of the disk to reach; 0 = no such bound.
    pub free_bytes_min: i64,
}

/// One exporter of a solve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exporter {
    /// `image`, `oci`, `docker`, `local`, `tar` or `moby`.
    pub kind: String,
    /// Attributes of that kind.
    pub attrs: BTreeMap<String, String>,
}

/// One cache to import from or export to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheBackend {
    /// `registry`, `local`, `inline`, `gha`, `s3`, `azblob`.
    pub kind: String,
    /// Attributes of that kind.
    pub attrs: BTreeMap<String, String>,
}

impl CacheBackend {
    /// Whether its registry needs no certificate (`registry.insecure`), as the daemon reads it.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        let insecure = self.attrs.get("registry.insecure");
        insecure.is_some_and(|text| is_true(text))
    }
}

/// Everything about a solve except what is built.
#[derive(Debug, Clone, Default)]
pub struct SolveOptions {
    /// Id of the session that serves files, secrets and credentials; empty = none.
    pub session: String,
    /// Where results go.
    pub exporters: Vec<Exporter>,
    /// Caches to read.
    pub cache_imports: Vec<CacheBackend>,
    /// Caches to write.
    pub cache_exports: Vec<CacheBackend>,
    /// Powers the user granted to this build: `network.host`,
    /// `security.insecure`, `device=…`. Nothing is granted otherwise.
    pub entitlements: Vec<String>,
    /// Attributes of the frontend; also `attest:*` and `build-arg:SOURCE_DATE_EPOCH`.
    pub frontend_attrs: BTreeMap<String, String>,
    /// Rules for sources.
    pub source_policy: Option<proto::sourcepolicy::Policy>,
    /// Let the session's `Exporter` service choose further exporters at the end.
    pub session_exporters: bool,
    /// Keep the build out of the daemon's history.
    pub internal: bool,
}

impl SolveOptions {
    /// The request of a gateway build under `reference`: no definition, no frontend.
    pub(crate) fn request(self, reference: String) -> control::SolveRequest {
        // Daemons before v0.13 know one exporter, in fields of its own; newer
        // ones ignore those where the list is not empty.
        let first = self.exporters.first().cloned();
        let (kind, attrs) = first.map(|e| (e.kind, e.attrs)).unwrap_or_default();
        control::SolveRequest {
            r#ref: reference,
            session: self.session,
            exporter_deprecated: kind,
            exporter_attrs_deprecated: attrs,
            exporters: self
                .exporters
                .into_iter()
                .map(|exporter| control::Exporter {
                    r#type: exporter.kind,
                    attrs: exporter.attrs,
                })
                .collect(),
            enable_session_exporter: self.session_exporters,
            cache: Some(control::CacheOptions {
                exports: self.cache_exports.into_iter().map(cache_entry).collect(),
                imports: self.cache_imports.into_iter().map(cache_entry).collect(),
                ..Default::default()
            }),
            entitlements: self.entitlements,
            frontend_attrs: self.frontend_attrs,
            source_policy: self.source_policy,
            internal: self.internal,
            ..Default::default()
        }
    }
}

fn cache_entry(backend: CacheBackend) -> control::CacheOptionsEntry {
    control::CacheOptionsEntry {
        r#type: backend.kind,
        attrs: backend.attrs,
    }
}

/// What to build in a plain solve.
#[derive(Debug, Clone)]
pub enum SolveInput {
    /// A graph, built to the end and exported.
    Definition(pb::Definition),
    /// A frontend.
    Frontend {
        /// `dockerfile.v0` or `gateway.v0`.
        name: String,
        /// Named inputs.
        inputs: BTreeMap<String, pb::Definition>,
    },
}

/// A plain solve.
#[derive(Debug, Clone)]
pub struct SolveRequest {
    /// Name of the build for [`Client::status`]; unique among live builds.
    pub reference: String,
    /// What to build.
    pub input: SolveInput,
    /// The rest.
    pub options: SolveOptions,
}

impl SolveRequest {
    /// A solve under a fresh reference.
    pub fn new(input: SolveInput, options: SolveOptions) -> Self {
        Self {
            reference: new_id(),
            input,
            options,
        }
    }
}

/// What exporters and cache exporters answered: `containerimage.digest`,
/// `containerimage.descriptor`, `image.name`, `cache.manifest` and others.
pub type ExporterResponse = BTreeMap<String, String>;

impl Client {
    /// The workers of the daemon, filtered (containerd syntax; none = all).
    pub async fn workers(&self, filters: &[String]) -> Result<Vec<Worker>, Error> {
        let request = control::ListWorkersRequest {
            filter: filters.to_vec(),
        };
        let response = self.call(self.control().list_workers(request)).await?;
        Ok(response.record.into_iter().map(Worker::from).collect())
    }

    /// The records of the daemon's cache on disk.
    pub async fn disk_usage(&self, filters: &[String]) -> Result<Vec<UsageRecord>, Error> {
        let request = control::DiskUsageRequest {
            filter: filters.to_vec(),
            age_limit: 0,
        };
        // Sizes are computed on the daemon's disk, which takes its time.
        let response = self.long_call(self.control().disk_usage(request)).await?;
        Ok(response.record.into_iter().map(UsageRecord::from).collect())
    }

    /// Removes records from the daemon's cache; yields each one that went.
    pub async fn prune(
        &self,
        options: PruneOptions,
    ) -> Result<impl Stream<Item = Result<UsageRecord, Error>> + Send + use<>, Error> {
        let keep = i64::try_from(options.keep.as_nanos())
            .map_err(|_| Error::Protocol("a time to keep records of over 292 years".to_owned()))?;
        let request = control::PruneRequest {
            filter: options.filters,
            all: options.all,
            keep_duration: keep,
            reserved_space: options.reserved_bytes,
            max_used_space: options.used_bytes_max,
            min_free_space: options.free_bytes_min,
        };
        let stream = self.long_call(self.control().prune(request)).await?;
        Ok(self
            .items(stream)
            .map(|record| record.map(UsageRecord::from)))
    }

    /// Builds and exports; returns when everything is done. Dropping the future
    /// stops the work of the daemon.
    pub async fn solve(&self, request: SolveRequest) -> Result<ExporterResponse, Error> {
        let mut wire = request.options.request(request.reference);
        match request.input {
            SolveInput::Definition(definition) => wire.definition = Some(definition),
            SolveInput::Frontend { name, inputs } => {
                wire.frontend = name;
                wire.frontend_inputs = inputs;
            }
        }
        check_size(&wire)?;
        Ok(self
            .long_call(self.control().solve(wire))
            .await?
            .exporter_response)
    }

    /// A stream of the daemon with its errors typed; ends after the first error.
    pub(crate) fn items<T: Send + 'static>(
        &self,
        stream: tonic::Streaming<T>,
    ) -> impl Stream<Item = Result<T, Error>> + Send + use<T> {
        let client = self.clone();
        futures::stream::unfold(Some((client, stream)), |state| async {
            let (client, mut stream) = state?;
            match stream.message().await {
                Ok(Some(item)) => Some((Ok(item), Some((client, stream)))),
                Ok(None) => None,
                Err(status) => Some((Err(client.error(status).await), None)),
            }
        })
    }
}

/// A timestamp of the daemon; `None` when it is absent or out of range.
pub(crate) fn time(wire: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    SystemTime::try_from(wire?).ok()
}
