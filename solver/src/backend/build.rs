//! A build in which we are the frontend.
//!
//! `Control.Solve` with neither definition nor frontend stays open for the whole
//! build. The daemon registers an LLBBridge under the build's reference, and every
//! call to it names that reference in its metadata. `Return` hands the daemon the
//! result; it then exports, writes caches, and the Solve call answers.
//!
//! # Three tasks, one token
//! [`Build::start`] runs the Solve call and the Status reader as tasks and pings
//! the bridge, so that a refused build fails here with the daemon's reason. The
//! token of the build ends all of them: cancelling it drops the Solve call, which
//! the daemon sees as a cancelled request and answers by stopping the work. Both
//! [`Build::cancel`] and dropping the build do that.
//!
//! # Which error is the real one
//! When a build ends early, the Solve call knows why and the calls on the bridge
//! only see it vanish. So every bridge call is raced against the outcome of Solve,
//! and an error that means no more than "gone" waits a moment for that outcome.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use proto::control;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use super::client::{Client, code};
use super::control::{ExporterResponse, SolveOptions};
use super::error::Error;
use super::failure::{Code, Failure};
use super::gateway::{BuildResult, Capabilities};
use super::session::new_id;
use super::status::Progress;
use super::updates::{Hub, Updates};

/// Metadata key that ties a bridge call to its build.
const BUILD_ID_KEY: &str = "buildkit-controlapi-buildid";

/// How long progress may be silent after the build ended before it is given up.
const QUIET_MAX: Duration = Duration::from_secs(5);

/// Bound for [`Build::cancel`] and for the end of progress in [`Build::finish`].
pub const CANCEL_WAIT: Duration = Duration::from_secs(10);

/// How long an error that says only "gone" waits for the build's own error.
const CAUSE_WAIT: Duration = Duration::from_secs(1);

/// Options of a gateway build: a solve without input.
pub type BuildOptions = SolveOptions;

/// A running build; dropping it stops the daemon's work for it.
#[derive(Debug)]
pub struct Build {
    pub(crate) handle: Handle,
    capabilities: Capabilities,
    _cancel: DropGuard,
}

/// What containers and processes need of their build; does not keep it running.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    reference: String,
    build_id: MetadataValue<Ascii>,
    cancel: CancellationToken,
    outcome: watch::Receiver<Option<Result<ExporterResponse, Error>>>,
    hub: Hub,
}

impl Build {
    /// Starts a build and waits until the daemon is ready for calls.
    ///
    /// # Errors
    /// The daemon's reason when it refuses the build (entitlements, exporters, a
    /// session that does not come).
    pub async fn start(client: &Client, options: BuildOptions) -> Result<Self, Error> {
        let reference = new_id();
        let build_id = reference
            .parse()
            .map_err(|_| Error::Protocol(format!("{reference:?} cannot name a build")))?;
        let cancel = CancellationToken::new();
        let (sender, outcome) = watch::channel(None);
        let request = options.request(reference.clone());
        let handle = Handle {
            shared: Arc::new(Shared {
                client: client.clone(),
                reference,
                build_id,
                cancel: cancel.clone(),
                outcome,
                hub: Hub::new(),
            }),
        };
        tokio::spawn(run_solve(client.clone(), request, cancel.clone(), sender));
        tokio::spawn(run_status(handle.clone()));
        let guard = cancel.drop_guard();
        let capabilities = handle.ping().await?;
        Ok(Self {
            handle,
            capabilities,
            _cancel: guard,
        })
    }

    /// Reference of the build, its name in the daemon's history.
    pub fn reference(&self) -> &str {
        &self.handle.shared.reference
    }

    /// The connection the build runs on.
    pub fn client(&self) -> &Client {
        &self.handle.shared.client
    }

    /// What the daemon can do, as it said when the build started.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Asks again what the daemon can do; also a check that the build lives.
    pub async fn ping(&self) -> Result<Capabilities, Error> {
        self.handle.ping().await
    }

    /// Progress from now on, after one update with all that is known already.
    pub fn updates(&self) -> Updates {
        self.handle.shared.hub.subscribe()
    }

    /// What is known about the vertices now.
    pub fn progress(&self) -> Progress {
        self.handle.shared.hub.progress()
    }

    /// Resolves when the build ends without our doing, with the reason.
    pub async fn ended_early(&self) -> Error {
        self.handle.ended_early().await
    }

    /// Hands the result to the daemon and waits for exports and caches. When this
    /// returns, progress is complete and [`Updates`] have ended or are about to.
    ///
    /// # Errors
    /// The daemon's reason when evaluating or exporting the result fails.
    pub async fn finish(&self, result: BuildResult) -> Result<ExporterResponse, Error> {
        let request = proto::gateway::ReturnRequest {
            result: Some(result.into()),
            error: None,
        };
        self.give_back(request).await
    }

    /// Ends the build as failed, with `failure` as the reason in the daemon's
    /// history, and waits for the end.
    pub async fn fail(&self, failure: &Failure) -> Result<(), Error> {
        let request = proto::gateway::ReturnRequest {
            result: None,
            error: Some(failure.to_rpc()),
        };
        match self.give_back(request).await {
            // The Solve call fails with the very error that was returned.
            Ok(_) | Err(Error::Daemon(_) | Error::Exec { .. } | Error::Cancelled) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn give_back(
        &self,
        request: proto::gateway::ReturnRequest,
    ) -> Result<ExporterResponse, Error> {
        let Handle { shared } = &self.handle;
        if let Some(outcome) = shared.outcome.borrow().clone() {
            let done = Error::Protocol("the build has ended already".to_owned());
            return Err(outcome.err().unwrap_or(done));
        }
        let mut bridge = shared.client.bridge();
        let returning = shared
            .client
            .long_call(bridge.r#return(self.handle.request(request)));
        tokio::select! {
            returned = returning => match returned {
                Ok(_) => {}
                Err(error) => return Err(self.handle.cause(error).await),
            },
            outcome = self.handle.outcome() => {
                outcome?;
            }
        }
        let outcome = self.handle.outcome().await;
        self.handle.progress_end().await;
        outcome
    }

    /// Stops the work and waits until the daemon has let go of the build, for at
    /// most [`CANCEL_WAIT`]. Its processes are killed by then or within moments.
    /// Pending calls end with [`Error::Cancelled`].
    pub async fn cancel(&self) {
        self.handle.shared.cancel.cancel();
        self.handle.progress_end().await;
    }
}

impl Handle {
    pub(crate) fn client(&self) -> &Client {
        &self.shared.client
    }

    /// A request for this build's bridge.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert(BUILD_ID_KEY, self.shared.build_id.clone());
        request
    }

    /// Awaits a bridge call, or the early end of the build.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            result = self.client().long_call(call) => match result {
                Ok(response) => Ok(response),
                Err(error) => Err(self.cause(error).await),
            },
            error = self.ended_early() => Err(error),
        }
    }

    /// The build's own error in place of one that only says that it is gone.
    pub(crate) async fn cause(&self, error: Error) -> Error {
        let vague = match &error {
            Error::Cancelled => true,
            error => code(error) == Some(Code::NotFound) || code(error) == Some(Code::Unavailable),
        };
        if !vague {
            return error;
        }
        match tokio::time::timeout(CAUSE_WAIT, self.outcome()).await {
            Ok(Err(cause)) => cause,
            Ok(Ok(_)) | Err(_) => error,
        }
    }

    async fn outcome(&self) -> Result<ExporterResponse, Error> {
        let mut outcome = self.shared.outcome.clone();
        let gone = || Error::Protocol("the task of the build is gone".to_owned());
        let ended = outcome.wait_for(Option::is_some).await;
        ended
            .map_err(|_| gone())?
            .clone()
            .unwrap_or_else(|| Err(gone()))
    }

    pub(crate) async fn ended_early(&self) -> Error {
        match self.outcome().await {
            Err(error) => error,
            Ok(_) => Error::Protocol("the build has ended".to_owned()),
        }
    }

    async fn progress_end(&self) {
        // Giving up here is no error: the build's outcome is known without it.
        let _ = tokio::time::timeout(CANCEL_WAIT, self.shared.hub.closed()).await;
    }

    async fn ping(&self) -> Result<Capabilities, Error> {
        let request = self.request(proto::gateway::PingRequest {});
        let mut bridge = self.client().bridge();
        Ok(self.call(bridge.ping(request)).await?.into())
    }
}

/// Keeps the Solve call open until it answers or the build is cancelled.
async fn run_solve(
    client: Client,
    request: control::SolveRequest,
    cancel: CancellationToken,
    outcome: watch::Sender<Option<Result<ExporterResponse, Error>>>,
) {
    let mut control = client.control();
    let result = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Cancelled),
        result = client.long_call(control.solve(request)) => result.map(|r| r.exporter_response),
    };
    outcome.send_replace(Some(result));
}

/// Publishes the daemon's progress until it ends, or is silent for too long after
/// the build ended.
async fn run_status(build: Handle) {
    let end = follow(&build).await;
    // Progress that breaks off together with the build adds nothing to its error.
    let over = build.shared.outcome.borrow().is_some() || build.shared.cancel.is_cancelled();
    build.shared.hub.close(if over { Ok(()) } else { end });
}

async fn follow(build: &Handle) -> Result<(), Error> {
    let Shared {
        client,
        reference,
        hub,
        ..
    } = &*build.shared;
    let updates = tokio::select! {
        updates = client.status(reference) => updates?,
        () = silence(build) => return Ok(()),
    };
    let mut updates = std::pin::pin!(updates);
    loop {
        let update = tokio::select! {
            biased;
            update = updates.next() => update,
            () = silence(build) => None,
        };
        let Some(update) = update else { return Ok(()) };
        hub.publish(update?).await;
    }
}

/// Resolves some time after the end of the build; progress should be over by then.
async fn silence(build: &Handle) {
    // The outcome itself is of no interest here.
    let _ = build.outcome().await;
    tokio::time::sleep(QUIET_MAX).await;
}
