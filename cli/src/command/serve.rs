//! `dagop serve`: one session over HTTP until a signal ends it.

use dagop::{Engine, EngineSession, Request, Response, SessionOptions};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::run::workdir;
use crate::args::ServeArgs;
use crate::config::Config;
use crate::error::CliError;
use crate::serve::{Queries, Server};
use crate::{output, progress, signal};

impl Queries for EngineSession {
    async fn execute(&self, request: Request, cancel: CancellationToken) -> Response {
        Self::execute(self, request, cancel).await
    }
}

pub(crate) async fn serve(config: &Config, args: ServeArgs) -> Result<(), CliError> {
    let address = args.http.listen;
    if !address.ip().is_loopback() && args.http.token.is_none() {
        let message = format!("refusing to serve {address} to everyone who can reach it");
        let hint = "set a token with DAGOP_SESSION_TOKEN, or listen on 127.0.0.1";
        return Err(CliError::usage(message).with_hint(hint));
    }
    let listener = TcpListener::bind(address).await;
    let listener = listener
        .map_err(|error| CliError::failed(format!("cannot listen on {address}: {error}")))?;
    let (events, display) = progress::start(config.progress(&args.progress), config.colour())?;
    let cancel = signal::listen(events.clone())?;
    let options = SessionOptions {
        workdir: workdir(args.session.session_dir.as_deref())?,
        allow: args.session.allow,
        events: Some(events),
        dump_llb: None,
    };
    let work = async {
        let start = async {
            let engine = Engine::start(config.engine_options()?).await?;
            Ok::<_, CliError>(engine.session(options).await?)
        };
        let session = tokio::select! {
            session = start => std::sync::Arc::new(session?),
            () = cancel.cancelled() => return Err(CliError::cancelled()),
        };
        announce(&listener)?;
        let server = Server::new(std::sync::Arc::clone(&session), args.http.token);
        let served = server.run(listener, cancel.clone()).await;
        let report = session.finish().await?;
        served.map(|()| report)
    };
    let done = signal::until_wound_up(&cancel, work).await;
    display.finish();
    let report = done??;
    for notice in &report.notices {
        output::to_stderr(&format!("warning: {notice}\n"));
    }
    Ok(())
}

/// One line of JSON on standard output when requests are welcome, with the port that port 0 became.
fn announce(listener: &TcpListener) -> Result<(), CliError> {
    let address = listener.local_addr();
    let address = address
        .map_err(|error| CliError::failed(format!("the listener has no address: {error}")))?;
    let line = json!({"url": format!("http://{address}/query"), "port": address.port()});
    output::to_stdout(format!("{line}\n").as_bytes())
}
