//! Calls: one runtime, one channel, typed requests by method path.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{CALL_TIMEOUT, Config, ContainerdError};

/// Largest message accepted (bytes); containerd's own limit.
const MESSAGE_SIZE_MAX: usize = 16 * 1024 * 1024;

/// Longest wait for the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An open connection with the runtime that drives it.
pub(super) struct Connection {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    lease: Option<MetadataValue<Ascii>>,
    pub(super) config: Config,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for the runtime would panic inside another one.
            runtime.shutdown_background();
        }
    }
}

impl Connection {
    pub(super) fn open(socket: &Path, config: Config) -> Result<Self, ContainerdError> {
        let unreachable = |reason: String| ContainerdError::Unreachable {
            path: PathBuf::from(socket),
            reason,
        };
        let header = |text: &str, what| {
            MetadataValue::try_from(text)
                .map_err(|_| ContainerdError::BadName(text.to_owned(), what))
        };
        let namespace = header(&config.namespace, "a namespace")?;
        let lease = config
            .lease
            .as_deref()
            .map(|lease| header(lease, "a lease"))
            .transpose()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("containerd")
            .enable_all()
            .build()
            .map_err(|e| unreachable(e.to_string()))?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|e| unreachable(e.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT);
        let connecting = async move { endpoint.connect().await };
        let channel = match wait(&runtime, CONNECT_TIMEOUT, connecting) {
            Some(Ok(channel)) => channel,
            Some(Err(error)) => {
                runtime.shutdown_background();
                return Err(unreachable(root_cause(&error)));
            }
            None => {
                runtime.shutdown_background();
                return Err(unreachable(format!(
                    "no connection within {CONNECT_TIMEOUT:?}"
                )));
            }
        };
        Ok(Self {
            runtime: Some(runtime),
            channel,
            namespace,
            lease,
            config,
        })
    }

    /// Runs a step of a call; the future must own what it uses.
    pub(super) fn run<T: Send + 'static>(
        &self,
        call: &'static str,
        step: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, ContainerdError> {
        let runtime = self.runtime.as_ref().expect("it is there until the drop");
        match wait(runtime, CALL_TIMEOUT, step) {
            Some(Ok(value)) => Ok(value),
            Some(Err(status)) => Err(failure(call, &status)),
            None => Err(ContainerdError::Timeout(call)),
        }
    }

    /// Starts a step without waiting for it.
    pub(super) fn spawn(&self, step: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(step);
        }
    }

    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        headers.insert("containerd-namespace", self.namespace.clone());
        if let Some(lease) = &self.lease {
            headers.insert("containerd-lease", lease.clone());
        }
        request
    }

    pub(super) fn grpc(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_SIZE_MAX)
            .max_encoding_message_size(MESSAGE_SIZE_MAX)
    }

    /// One request, one answer.
    pub(super) fn unary<Q, A>(&self, call: &'static str, message: Q) -> Result<A, ContainerdError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let (mut grpc, request) = (self.grpc(), self.request(message));
        self.run(call, async move {
            ready(&mut grpc).await?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(request, PathAndQuery::from_static(call), codec);
            answer.await.map(tonic::Response::into_inner)
        })
    }

    /// One request, a stream of answers, each handed to `each` until it returns false.
    pub(super) fn stream<Q, A>(
        &self,
        call: &'static str,
        message: Q,
        mut each: impl FnMut(A) -> bool,
    ) -> Result<(), ContainerdError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let (mut grpc, request) = (self.grpc(), self.request(message));
        let mut answers: Streaming<A> = self.run(call, async move {
            ready(&mut grpc).await?;
            let codec = ProstCodec::<Q, A>::default();
            let path = PathAndQuery::from_static(call);
            let answers = grpc.server_streaming(request, path, codec).await?;
            Ok(answers.into_inner())
        })?;
        loop {
            let (next, rest) = self.run(call, async move {
                let next = answers.message().await?;
                Ok((next, answers))
            })?;
            answers = rest;
            if !next.is_some_and(&mut each) {
                return Ok(());
            }
        }
    }
}

/// Waits until the channel takes a request.
pub(super) async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready()
        .await
        .map_err(|e| Status::unavailable(root_cause(&e)))
}

/// Runs a future on the runtime from a thread outside of it.
fn wait<T: Send + 'static>(
    runtime: &Runtime,
    limit: Duration,
    step: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (answer, answered) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        if let Ok(value) = tokio::time::timeout(limit, step).await {
            // The receiver waits below; it cannot be gone.
            let _ = answer.send(value);
        }
    });
    answered.recv().ok()
}

pub(super) fn failure(call: &'static str, status: &Status) -> ContainerdError {
    let message = status.message().to_owned();
    match status.code() {
        Code::NotFound => ContainerdError::NotFound { call, message },
        Code::AlreadyExists => ContainerdError::AlreadyExists { call, message },
        code => ContainerdError::Status {
            call,
            code: format!("{code:?}"),
            message,
        },
    }
}

/// Transport errors say "transport error"; the cause below says what happened.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
