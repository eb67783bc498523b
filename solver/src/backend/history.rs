//! The daemon's record of past builds, and the blobs that belong to it.
//!
//! A record names its logs, trace, provenance and errors by descriptor. Their
//! bytes come from the content service that the daemon serves on its socket.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use proto::{content, control};

use super::client::Client;
use super::control::{Exporter, ExporterResponse, time};
use super::error::Error;
use super::failure::Failure;
use crate::Digest;

/// Largest blob that [`Client::read_blob`] puts into memory, in bytes.
pub const BLOB_BYTES_MAX: u64 = 256 << 20;

/// Which builds to list.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// Only builds that are under way.
    pub active_only: bool,
    /// Only the build with this reference; empty = all.
    pub reference: String,
    /// Stop after the builds there are now, instead of waiting for news.
    pub present_only: bool,
    /// Filters such as `status==completed`.
    pub filters: Vec<String>,
    /// At most so many builds; 0 = no bound.
    pub limit: i32,
}

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryChange {
    /// The build started.
    Started,
    /// The build ended.
    Completed,
    /// The record was removed.
    Deleted,
}

/// News of the history.
#[derive(Debug, Clone)]
pub struct HistoryEvent {
    /// What happened.
    pub change: HistoryChange,
    /// The record after it.
    pub record: HistoryRecord,
}

/// A blob in the daemon's content store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Media type.
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: String,
    /// Size in bytes.
    pub size: i64,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl From<control::Descriptor> for Blob {
    fn from(wire: control::Descriptor) -> Self {
        Self {
            media_type: wire.media_type,
            digest: wire.digest,
            size: wire.size,
            annotations: wire.annotations,
        }
    }
}

/// A build of the past or present.
#[derive(Debug, Clone)]
pub struct HistoryRecord {
    /// Reference of the build.
    pub reference: String,
    /// Its frontend; empty for LLB and gateway builds.
    pub frontend: String,
    /// Attributes of the frontend.
    pub frontend_attrs: BTreeMap<String, String>,
    /// Where results went.
    pub exporters: Vec<Exporter>,
    /// What exporters answered.
    pub response: ExporterResponse,
    /// Why it failed, usually without details; see [`Client::history_failure`].
    pub failure: Option<Failure>,
    /// Start.
    pub created: Option<SystemTime>,
    /// End.
    pub completed: Option<SystemTime>,
    /// Whether garbage collection leaves it alone.
    pub pinned: bool,
    /// Steps that were cached.
    pub cached_steps: i32,
    /// All steps.
    pub total_steps: i32,
    /// Steps that ended.
    pub completed_steps: i32,
    /// Number of warnings.
    pub warnings: i32,
    /// Progress log: length-prefixed status messages.
    pub logs: Option<Blob>,
    /// OpenTelemetry trace.
    pub trace: Option<Blob>,
    /// Full text of an error that was too large for the record.
    pub external_error: Option<Blob>,
    /// Results by platform; the empty key holds the one of a single result.
    pub results: BTreeMap<String, HistoryResult>,
}

/// The blobs of one result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryResult {
    /// Provenance and other attestations.
    pub attestations: Vec<Blob>,
    /// Exported manifests, by index of the exporter.
    pub exported: BTreeMap<i64, Blob>,
}

impl From<control::BuildResultInfo> for HistoryResult {
    fn from(wire: control::BuildResultInfo) -> Self {
        let mut exported: BTreeMap<i64, Blob> = wire
            .results
            .into_iter()
            .map(|(index, blob)| (index, blob.into()))
            .collect();
        // Daemons before v0.13 name one manifest only.
        if let (true, Some(blob)) = (exported.is_empty(), wire.result_deprecated) {
            exported.insert(0, blob.into());
        }
        Self {
            attestations: wire.attestations.into_iter().map(Blob::from).collect(),
            exported,
        }
    }
}

impl From<control::BuildHistoryRecord> for HistoryRecord {
    fn from(wire: control::BuildHistoryRecord) -> Self {
        let mut results: BTreeMap<String, HistoryResult> = wire
            .results
            .into_iter()
            .map(|(platform, result)| (platform, result.into()))
            .collect();
        if let Some(result) = wire.result {
            results.insert(String::new(), result.into());
        }
        Self {
            reference: wire.r#ref,
            frontend: wire.frontend,
            frontend_attrs: wire.frontend_attrs,
            exporters: wire
                .exporters
                .into_iter()
                .map(|exporter| Exporter {
                    kind: exporter.r#type,
                    attrs: exporter.attrs,
                })
                .collect(),
            response: wire.exporter_response,
            failure: wire.error.as_ref().map(Failure::from_rpc),
            created: time(wire.created_at),
            completed: time(wire.completed_at),
            pinned: wire.pinned,
            cached_steps: wire.num_cached_steps,
            total_steps: wire.num_total_steps,
            completed_steps: wire.num_completed_steps,
            warnings: wire.num_warnings,
            logs: wire.logs.map(Blob::from),
            trace: wire.trace.map(Blob::from),
            external_error: wire.external_error.map(Blob::from),
            results,
        }
    }
}

/// A change to make to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryUpdate {
    /// Keep it from, or give it to, garbage collection.
    Pin(bool),
    /// Remove it.
    Delete,
    /// Write its trace now instead of after a delay.
    Finalize,
}

impl Client {
    /// Builds of the past and present, then news until the stream is dropped
    /// (unless the query asks for the present only).
    pub async fn history(
        &self,
        query: HistoryQuery,
    ) -> Result<impl Stream<Item = Result<HistoryEvent, Error>> + Send + use<>, Error> {
        let request = control::BuildHistoryRequest {
            active_only: query.active_only,
            r#ref: query.reference,
            early_exit: query.present_only,
            filter: query.filters,
            limit: query.limit,
        };
        let stream = self
            .long_call(self.control().listen_build_history(request))
            .await?;
        Ok(self
            .items(stream)
            .map(|event| event.and_then(history_event)))
    }

    /// Changes one record.
    pub async fn update_history(
        &self,
        reference: &str,
        update: HistoryUpdate,
    ) -> Result<(), Error> {
        let mut request = control::UpdateBuildHistoryRequest {
            r#ref: reference.to_owned(),
            ..Default::default()
        };
        match update {
            HistoryUpdate::Pin(pinned) => request.pinned = pinned,
            HistoryUpdate::Delete => request.delete = true,
            HistoryUpdate::Finalize => request.finalize = true,
        }
        self.long_call(self.control().update_build_history(request))
            .await?;
        Ok(())
    }

    /// Why a build failed, with all details. The record itself carries the message
    /// only; the status with its details is a blob beside it.
    pub async fn history_failure(&self, record: &HistoryRecord) -> Result<Option<Failure>, Error> {
        let Some(blob) = &record.external_error else {
            return Ok(record.failure.clone());
        };
        let digest: Digest = blob.digest.parse().map_err(|error| {
            Error::Protocol(format!("the history record {}: {error}", record.reference))
        })?;
        let bytes = self.read_blob(&digest).await?;
        let status = proto::rpc::Status::decode(bytes.as_slice())
            .map_err(|error| Error::Protocol(format!("blob {digest} is no status: {error}")))?;
        Ok(Some(Failure::from_rpc(&status)))
    }

    /// A blob of the daemon's content store as chunks, in order.
    pub async fn blob_chunks(
        &self,
        digest: &Digest,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        let request = content::ReadContentRequest {
            digest: digest.to_string(),
            offset: 0,
            size: 0,
        };
        let stream = self.long_call(self.content().read(request)).await?;
        Ok(self
            .items(stream)
            .map(|chunk| chunk.map(|chunk| chunk.data)))
    }

    /// A whole blob of the daemon's content store.
    ///
    /// # Errors
    /// [`Error::Protocol`] above [`BLOB_BYTES_MAX`], or when the bytes are not
    /// those of the digest.
    pub async fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let mut chunks = std::pin::pin!(self.blob_chunks(digest).await?);
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk?);
            if bytes.len() as u64 > BLOB_BYTES_MAX {
                return Err(Error::Protocol(format!(
                    "blob {digest} has over {BLOB_BYTES_MAX} bytes"
                )));
            }
        }
        if Digest::sha256(&bytes) != *digest {
            return Err(Error::Protocol(format!(
                "blob {digest} arrived with other bytes"
            )));
        }
        Ok(bytes)
    }
}

fn history_event(wire: control::BuildHistoryEvent) -> Result<HistoryEvent, Error> {
    use control::BuildHistoryEventType as Wire;
    let change = match wire.r#type() {
        Wire::Started => HistoryChange::Started,
        Wire::Complete => HistoryChange::Completed,
        Wire::Deleted => HistoryChange::Deleted,
    };
    let record = wire.record.ok_or_else(|| {
        Error::Protocol("the daemon sent a history event without a record".to_owned())
    })?;
    Ok(HistoryEvent {
        change,
        record: record.into(),
    })
}
