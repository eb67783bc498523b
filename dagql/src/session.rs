//! One client's session: who asks, what its resolvers need, and which results it owns.
//!
//! A session owns every result that one of its calls returned, until it is released; then results
//! that no other session owns may stay for the next one, as long as the cache's budget allows.
//! Results that are bound to the session, or that were true for its time only (`client`, `session`
//! and `call` scopes), are dropped. Releasing also cancels what the session is still doing:
//! a call that finishes later neither returns nor stores anything.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::cache::{self, SessionKey};
use crate::call::{self, Caller};
use crate::portable::Portables;
use crate::{
    Cache, Error, Id, Literal, Object, Observer, Request, Response, Schema, Server, Value, View,
    exec,
};

/// What a session is opened with.
#[derive(Clone)]
pub struct SessionOptions {
    /// Names the session in calls that are cached per session.
    pub session_id: String,
    /// Names the client in calls that are cached per client.
    pub client_id: String,
    /// What the resolvers of this session need; see [`crate::Cx::extension`].
    pub extension: Arc<dyn Any + Send + Sync>,
    /// Whether values that earlier runs kept may answer calls. Values are kept either way.
    pub recall: bool,
    /// Which of the schema's definitions the client sees.
    pub view: View,
}

impl SessionOptions {
    /// Options with an extension.
    pub fn new(
        session_id: impl Into<String>,
        client_id: impl Into<String>,
        extension: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            session_id: session_id.into(),
            client_id: client_id.into(),
            extension,
            recall: true,
            view: View::NEWEST,
        }
    }

    /// The same options for a client of another API version.
    #[must_use]
    pub fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// The same options, with calls answered by earlier runs or not.
    #[must_use]
    pub fn recall(mut self, recall: bool) -> Self {
        self.recall = recall;
        self
    }
}

/// An open session.
pub struct Session {
    server: Server,
    schema: Schema,
    options: SessionOptions,
    key: SessionKey,
    closed: CancellationToken,
    portables: Portables,
    known: exec::Known,
}

impl Session {
    pub(crate) fn open(server: Server, options: SessionOptions) -> Arc<Self> {
        let key = server.cache().table.open_session();
        Arc::new(Self {
            schema: server.schema().in_view(options.view),
            server,
            options,
            key,
            closed: CancellationToken::new(),
            portables: Portables::default(),
            known: exec::Known::default(),
        })
    }

    /// Answers one request. Dropping the future, or cancelling the token, leaves the calls that are
    /// under way; those that nobody else waits for stop.
    pub async fn execute(
        self: &Arc<Self>,
        request: Request,
        cancel: CancellationToken,
    ) -> Response {
        let caller = Caller::of_query(self, cancel.clone());
        match self.guarded(cancel, exec::execute(caller, request)).await {
            Ok(response) => response,
            Err(error) => Response::failed(vec![error]),
        }
    }

    /// The object that an ID names; see [`crate::Cx::load`].
    ///
    /// # Errors
    /// As [`crate::Cx::load`], or when the session ends or `cancel` is cancelled.
    pub async fn load(
        self: &Arc<Self>,
        id: &Id,
        cancel: CancellationToken,
    ) -> Result<Object, Error> {
        let caller = Caller::of_query(self, cancel.clone());
        self.guarded(cancel, call::load_object(&caller, id)).await?
    }

    /// Calls one field; see [`crate::Cx::select`].
    ///
    /// # Errors
    /// As [`crate::Cx::select`], or when the session ends or `cancel` is cancelled.
    pub async fn select(
        self: &Arc<Self>,
        receiver: &Object,
        field: &str,
        args: Vec<(Arc<str>, Literal)>,
        cancel: CancellationToken,
    ) -> Result<Value, Error> {
        let caller = Caller::of_query(self, cancel.clone());
        let answer = self
            .guarded(cancel, call::select(&caller, receiver, field, args))
            .await??;
        Ok(answer.value)
    }

    async fn guarded<T>(
        &self,
        cancel: CancellationToken,
        work: impl Future<Output = T>,
    ) -> Result<T, Error> {
        if self.closed.is_cancelled() {
            return Err(cache::closed());
        }
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(cache::closed()),
            () = cancel.cancelled() => Err(Error::cancelled()),
            done = work => Ok(done),
        }
    }

    /// Ends the session: cancels its calls and drops what only it owned. Idempotent.
    pub fn release(&self) {
        self.closed.cancel();
        self.server.cache().table.release_session(self.key);
    }

    /// Whether the session has ended.
    pub fn is_released(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// The session's ID.
    pub fn session_id(&self) -> &str {
        &self.options.session_id
    }

    /// The client's ID.
    pub fn client_id(&self) -> &str {
        &self.options.client_id
    }

    /// The extension as its own type.
    ///
    /// # Errors
    /// Internal error when the session was opened with another type.
    pub fn extension<T: Any + Send + Sync>(&self) -> Result<Arc<T>, Error> {
        Arc::clone(&self.options.extension)
            .downcast::<T>()
            .map_err(|_| {
                Error::internal(format!(
                    "the session's extension is not a {}",
                    std::any::type_name::<T>()
                ))
            })
    }

    /// The query root.
    pub fn root(&self) -> Object {
        self.server.root()
    }

    /// The schema as the session's client sees it.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The documents sent last.
    pub(crate) fn known(&self) -> &exec::Known {
        &self.known
    }

    pub(crate) fn cache(&self) -> &Cache {
        self.server.cache()
    }

    pub(crate) fn observer(&self) -> &dyn Observer {
        self.server.observer()
    }

    pub(crate) fn portables(&self) -> &Portables {
        &self.portables
    }

    pub(crate) fn recalls(&self) -> bool {
        self.options.recall
    }

    pub(crate) fn key(&self) -> SessionKey {
        self.key
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("session", &self.options.session_id)
            .field("client", &self.options.client_id)
            .finish_non_exhaustive()
    }
}
