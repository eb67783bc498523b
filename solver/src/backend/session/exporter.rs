//! The Exporter service: lets the client choose exporters after the result is known.
//!
//! Used only by a solve that enables session exporters. The daemon reports the result's metadata and references, gets
//! exporters back, and at the end reports what the exporters answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::exporter::exporter_server::Exporter;
use proto::exporter::{
    ExporterRequest, FinalizeExportRequest, FinalizeExportResponse, FindExportersRequest,
    FindExportersResponse,
};
use tonic::{Request, Response, Status, async_trait};

/// One exporter to run: its type (`image`, `oci`, `local` ...) and its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExporterChoice {
    /// Exporter type.
    pub kind: String,
    /// Exporter attributes.
    pub attributes: BTreeMap<String, String>,
}

/// Chooses exporters for a finished result.
#[async_trait]
pub trait ExporterProvider: Send + Sync + 'static {
    /// Exporters to run for a result with this metadata and these reference keys.
    async fn find(
        &self,
        metadata: BTreeMap<String, Vec<u8>>,
        references: Vec<String>,
    ) -> Result<Vec<ExporterChoice>, String>;

    /// All exporters have finished with these response entries.
    async fn finalize(&self, response: BTreeMap<String, String>) -> Result<(), String>;
}

/// Chooses nothing; the exporters of the solve request are the only ones.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoExporters;

#[async_trait]
impl ExporterProvider for NoExporters {
    async fn find(
        &self,
        _: BTreeMap<String, Vec<u8>>,
        _: Vec<String>,
    ) -> Result<Vec<ExporterChoice>, String> {
        Ok(Vec::new())
    }

    async fn finalize(&self, _: BTreeMap<String, String>) -> Result<(), String> {
        Ok(())
    }
}

/// Serves an [`ExporterProvider`].
pub(crate) struct ExporterService(pub(crate) Arc<dyn ExporterProvider>);

#[async_trait]
impl Exporter for ExporterService {
    async fn find_exporters(
        &self,
        request: Request<FindExportersRequest>,
    ) -> Result<Response<FindExportersResponse>, Status> {
        let request = request.into_inner();
        let metadata = request
            .metadata
            .into_iter()
            .map(|(k, v)| (k, v.to_vec()))
            .collect();
        let choices = self
            .0
            .find(metadata, request.refs)
            .await
            .map_err(Status::unknown)?;
        let exporters = choices
            .into_iter()
            .map(|choice| ExporterRequest {
                r#type: choice.kind,
                attrs: choice.attributes,
            })
            .collect();
        Ok(Response::new(FindExportersResponse { exporters }))
    }

    async fn finalize_export(
        &self,
        request: Request<FinalizeExportRequest>,
    ) -> Result<Response<FinalizeExportResponse>, Status> {
        self.0
            .finalize(request.into_inner().exporter_response)
            .await
            .map_err(Status::unknown)?;
        Ok(Response::new(FinalizeExportResponse {}))
    }
}
