//! A real daemon that builds graphs, and a ledger that records what it does: the status as it comes,
//! predicted keys, listings of local directories.

use std::{path::PathBuf, sync::Arc};

use dagop::event::{self, Event};
use futures::StreamExt as _;
use integration::daemon::{self, Daemon};
use solver::{
    backend::{
        Address, Build, BuildOptions, BuildResult, Client, ConnectOptions, GatewaySolve, Session,
        SessionConfig,
        control::PruneOptions,
        session::{LocalDir, LocalDirs, Secrets},
    },
    llb::Definition,
};

use crate::{
    explain_pipelines::{Context, LOCAL},
    explain_record::{self, Book},
};

/// What steps of the corpus may ask for, beside the usual.
const POWERS: [&str; 2] = ["security.insecure", "device"];

/// A private daemon, and a ledger.
pub(crate) struct Lab {
    runtime: tokio::runtime::Runtime,
    client: Client,
    secrets: Arc<Secrets>,
    version: String,
    pub(crate) book: Book,
    daemon: Daemon,
}

impl Lab {
    pub(crate) fn start() -> Self {
        let powers = format!("insecure-entitlements = {POWERS:?}\n");
        let daemon = Daemon::start_with(&daemon::tools().unwrap(), &powers).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let secrets = Secrets::new();
        for id in ["token", "key", "other"] {
            secrets.add(id, id.into());
        }
        let connected = runtime.block_on(async {
            let address: Address = daemon.address().parse().unwrap();
            let client = Client::connect(&address, &ConnectOptions::default()).await?;
            let version = client.info().await?.version;
            Ok::<_, solver::backend::Error>((client, version))
        });
        let (client, version) = connected.unwrap();
        Self {
            runtime,
            client,
            secrets: Arc::new(secrets),
            version,
            book: Book::new(),
            daemon,
        }
    }

    /// Builds a graph and records it. The build's id, and the error if a step failed.
    pub(crate) fn build(
        &self,
        definition: &Definition,
        context: &Context,
    ) -> (String, Option<String>) {
        // A session reads a directory once, so that each build has a session of its own.
        let locals = LocalDirs::new();
        locals.insert(LOCAL, LocalDir::new(PathBuf::from(context.path())));
        let config = SessionConfig {
            local_dirs: Arc::new(locals),
            secrets: self.secrets.clone(),
            ..SessionConfig::default()
        };
        let vertices = explain_record::vertices(definition);
        let address = self.daemon.address();
        let recorder = self
            .book
            .begin((&address, &self.version), &vertices, event::now());
        let recorder = Arc::new(recorder);
        let mut statuses = event::Statuses::default();
        vertices.iter().for_each(|vertex| statuses.planned(vertex));
        recorder.add(explain_record::facts(
            definition,
            &vertices,
            &context.locals(),
        ));
        self.runtime.block_on(async {
            let session = Session::start(&self.client, config).await.unwrap();
            let options = BuildOptions {
                session: session.id().to_owned(),
                entitlements: POWERS.map(str::to_owned).to_vec(),
                internal: true,
                ..BuildOptions::default()
            };
            let build = Build::start(&self.client, options).await.unwrap();
            let (mut updates, listener) = (build.updates(), Arc::clone(&recorder));
            let following = tokio::spawn(async move {
                while let Some(Ok(update)) = updates.next().await {
                    let states = update.vertices.iter();
                    for update in states.filter_map(|v| statuses.vertex(v, &str::to_owned)) {
                        listener.observe(&Event::Vertex(update));
                    }
                }
            });
            let mut solve = GatewaySolve::definition(definition.to_pb());
            solve.evaluate = true;
            let solved = build.solve(solve).await;
            build.finish(BuildResult::single(None)).await.unwrap();
            following.await.unwrap();
            session.close().await;
            let error = solved.err().map(|error| error.to_string());
            let end = match &error {
                None => event::BuildEnd::Succeeded,
                Some(_) => event::BuildEnd::Failed,
            };
            let recorder = Arc::into_inner(recorder).expect("the listener has ended");
            let id = explain_record::end(recorder, end, event::now()).await;
            (id, error)
        })
    }

    /// Makes the daemon forget everything.
    pub(crate) fn prune(&self) {
        let options = PruneOptions {
            all: true,
            ..PruneOptions::default()
        };
        self.runtime.block_on(async {
            let mut gone = Box::pin(self.client.prune(options).await.unwrap());
            while let Some(record) = gone.next().await {
                record.unwrap();
            }
        });
    }
}
