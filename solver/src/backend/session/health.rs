//! The health service of the session's server.
//!
//! The daemon calls `Check` every five seconds and closes the session after two failures, so the answer must not
//! depend on anything that can block: the session serves as long as its connection lives.

use std::pin::Pin;

use futures::Stream;
use proto::health::health_check_response::ServingStatus;
use proto::health::health_server::Health;
use proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use tonic::{Request, Response, Status, async_trait};

/// Always SERVING.
pub(crate) struct HealthService;

fn serving() -> HealthCheckResponse {
    HealthCheckResponse {
        status: ServingStatus::Serving.into(),
    }
}

#[async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(serving()))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Ok(Response::new(HealthListResponse {
            statuses: [(String::new(), serving())].into(),
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// The state never changes: one message, then an open stream until the caller or the connection goes away.
    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let once = futures::stream::once(async { Ok(serving()) });
        Ok(Response::new(Box::pin(futures::StreamExt::chain(
            once,
            futures::stream::pending(),
        ))))
    }
}
