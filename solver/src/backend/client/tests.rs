//! The client against daemons that are old, broken, silent or replaced, played by a
//! small server in this process.

use std::path::PathBuf;

use bytes::Bytes;
use futures::stream::Empty;
use proto::control::control_server::{Control, ControlServer};
use proto::{pb, types};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Streaming};

use super::*;
use crate::backend::address::Endpoint as Place;
use crate::backend::control::{SolveInput, SolveOptions, SolveRequest};

/// A daemon from before `Info`, with one worker; it refuses everything else.
struct OldDaemon;

type Refusal<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Control for OldDaemon {
    type PruneStream = Empty<Result<control::UsageRecord, Status>>;
    type StatusStream = Empty<Result<control::StatusResponse, Status>>;
    type SessionStream = Empty<Result<control::BytesMessage, Status>>;
    type ListenBuildHistoryStream = Empty<Result<control::BuildHistoryEvent, Status>>;

    async fn list_workers(
        &self,
        _: Request<control::ListWorkersRequest>,
    ) -> Refusal<control::ListWorkersResponse> {
        let version = types::BuildkitVersion {
            version: "v0.10.6".to_owned(),
            ..Default::default()
        };
        let worker = types::WorkerRecord {
            id: "w".to_owned(),
            buildkit_version: Some(version),
            ..Default::default()
        };
        Ok(Response::new(control::ListWorkersResponse {
            record: vec![worker],
        }))
    }

    async fn info(&self, _: Request<control::InfoRequest>) -> Refusal<control::InfoResponse> {
        Err(Status::unimplemented("unknown method Info"))
    }

    async fn solve(&self, _: Request<control::SolveRequest>) -> Refusal<control::SolveResponse> {
        Err(Status::permission_denied("not here"))
    }

    async fn disk_usage(
        &self,
        _: Request<control::DiskUsageRequest>,
    ) -> Refusal<control::DiskUsageResponse> {
        std::future::pending().await
    }

    async fn prune(&self, _: Request<control::PruneRequest>) -> Refusal<Self::PruneStream> {
        Err(Status::unimplemented(""))
    }

    async fn status(&self, _: Request<control::StatusRequest>) -> Refusal<Self::StatusStream> {
        Err(Status::unimplemented(""))
    }

    async fn session(
        &self,
        _: Request<Streaming<control::BytesMessage>>,
    ) -> Refusal<Self::SessionStream> {
        Err(Status::unimplemented(""))
    }

    async fn listen_build_history(
        &self,
        _: Request<control::BuildHistoryRequest>,
    ) -> Refusal<Self::ListenBuildHistoryStream> {
        Err(Status::unimplemented(""))
    }

    async fn update_build_history(
        &self,
        _: Request<control::UpdateBuildHistoryRequest>,
    ) -> Refusal<control::UpdateBuildHistoryResponse> {
        Err(Status::unimplemented(""))
    }
}

/// A socket in a directory of its own.
struct Socket {
    dir: tempfile::TempDir,
}

impl Socket {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("temporary directory"),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("bk.sock")
    }

    fn address(&self) -> Address {
        Address::BuildKit(Place::Unix(self.path()))
    }

    /// Serves every connection with `serve`; aborting the task closes them all.
    fn serve<F>(&self, serve: impl Fn(UnixStream) -> F + Send + 'static) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // A socket file of an earlier server is in the way.
        let _ = std::fs::remove_file(self.path());
        let listener = UnixListener::bind(self.path()).expect("bind");
        tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        })
    }

    fn old_daemon(&self) -> JoinHandle<()> {
        self.serve(|mut stream| async move {
            // tonic serves a connection in a task that nobody can abort, so it gets
            // one end of a pipe that ends together with this task.
            let (mut near, far) = tokio::io::duplex(64 << 10);
            tokio::spawn(async move {
                let incoming = tokio_stream::once(Ok::<_, std::io::Error>(far));
                let mut server = tonic::transport::Server::builder();
                let server = server.add_service(ControlServer::new(OldDaemon));
                server.serve_with_incoming(incoming).await.expect("served");
            });
            // Fails when the client is gone, which is how a test ends.
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut near).await;
        })
    }

    async fn connect(&self) -> Result<Client, Error> {
        Client::connect(&self.address(), &ConnectOptions::default()).await
    }
}

#[tokio::test]
async fn an_old_daemon_tells_its_version_through_its_worker() {
    let socket = Socket::new();
    let server = socket.old_daemon();
    let client = socket.connect().await.expect("connected");
    assert_eq!(client.info().await.expect("info").version, "v0.10.6");
    server.abort();
}

#[tokio::test]
async fn pending_calls_end_with_the_connection_and_the_next_call_opens_another() {
    let socket = Socket::new();
    let server = socket.old_daemon();
    let client = socket.connect().await.expect("connected");
    let pending = {
        let client = client.clone();
        tokio::spawn(async move { client.disk_usage(&[]).await })
    };
    // The second call answers while the first one waits: they share the connection.
    client.workers(&[]).await.expect("workers");
    server.abort();
    let error = pending.await.expect("task").expect_err("cut off");
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    let server = socket.old_daemon();
    client.workers(&[]).await.expect("a new connection");
    server.abort();
}

#[tokio::test]
async fn what_is_no_buildkit_daemon_is_said_so() {
    let socket = Socket::new();
    let server = socket.serve(|mut stream| async move {
        // The client may hang up first.
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let error = socket.connect().await.expect_err("not HTTP/2");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    server.abort();

    let server = socket.serve(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    });
    let options = ConnectOptions {
        timeout: Duration::from_millis(100),
        ..ConnectOptions::default()
    };
    let error = Client::connect(&socket.address(), &options)
        .await
        .expect_err("silence");
    assert!(
        error.to_string().ends_with("no answer within 0.1 s"),
        "{error}"
    );
    server.abort();
}

#[tokio::test]
async fn a_refusal_and_a_message_that_is_too_large_are_told_apart() {
    let socket = Socket::new();
    let server = socket.old_daemon();
    let client = socket.connect().await.expect("connected");
    let solve = async |size: usize| {
        let definition = pb::Definition {
            def: vec![Bytes::from(vec![0; size])],
            ..Default::default()
        };
        let input = SolveInput::Definition(definition);
        client
            .solve(SolveRequest::new(input, SolveOptions::default()))
            .await
            .expect_err("refused")
    };
    let refused = solve(1).await;
    assert_eq!(code(&refused), Some(Code::PermissionDenied));
    assert_eq!(refused.to_string(), "not here");
    let large = solve(MESSAGE_SIZE_MAX + 1).await;
    assert!(
        large
            .to_string()
            .ends_with("a daemon takes 16777216 at most"),
        "{large}"
    );
    client
        .workers(&[])
        .await
        .expect("the connection is still good");
    server.abort();
}
