//! `dagop serve`: one session over HTTP, until a signal or the command it is served to ends it.
//!
//! Without a command the address is announced as a line of JSON on standard output. With one
//! (`dagop serve -- python pipeline.py`) standard output is the command's; Dagger's SDKs find the
//! session in its environment, and its exit code becomes ours.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use dagop::report::Report;
use dagop::{CacheStats, Engine, EngineSession, SessionOptions};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::child;
use super::run::workdir;
use crate::args::ServeArgs;
use crate::config::{Config, Token};
use crate::error::CliError;
use crate::output::Reader;
use crate::serve::{Queries, Server};
use crate::{output, progress, signal};

/// Where requests are awaited if nothing else is said.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

impl Queries for EngineSession {
    fn cache_stats(&self) -> CacheStats {
        Self::cache_stats(self)
    }
}

pub(crate) async fn serve(config: &Config, args: ServeArgs) -> Result<u8, CliError> {
    let own_command = !args.program.is_empty();
    let token = match args.http.token {
        None if own_command => Some(Token::random()?),
        token => token,
    };
    let address = match args.http.listen {
        None if own_command => (Ipv4Addr::LOCALHOST, 0).into(),
        address => address.unwrap_or(LISTEN_DEFAULT),
    };
    if !address.ip().is_loopback() && token.is_none() {
        let message = format!("refusing to serve {address} to everyone who can reach it");
        let hint = "set a token with DAGOP_SESSION_TOKEN, or listen on 127.0.0.1";
        return Err(CliError::usage(message).with_hint(hint));
    }
    let listener = listen(address).await?;
    let port = port(&listener)?;
    let mode = config.progress(&args.progress);
    let (events, display) = progress::start(mode, config.colour(), Reader::Present)?;
    let cancel = signal::listen(events.clone())?;
    let options = SessionOptions {
        workdir: workdir(args.session.session_dir.as_deref())?,
        allow: args.session.allow,
        cache_imports: args.session.import_cache,
        cache_exports: args.session.export_cache,
        events: Some(events),
        no_recall: args.session.no_recall,
        ..SessionOptions::default()
    };
    let ended = CancellationToken::new();
    let mut program = None;
    let ready = || match (&token, args.program.as_slice()) {
        (Some(token), [command, arguments @ ..]) => {
            let child = child::start(command, arguments, port, token)?;
            let waiting = child::wait(child, cancel.clone(), ended.clone());
            program = Some(tokio::spawn(waiting));
            Ok(())
        }
        _ => announce(address.ip(), port),
    };
    let stop = async {
        tokio::select! {
            () = cancel.cancelled(), if !own_command => {}
            () = ended.cancelled() => {}
        }
    };
    let work = until(
        config,
        options,
        (listener, token.clone()),
        &cancel,
        stop,
        ready,
    );
    let done = signal::until_wound_up(&cancel, work).await;
    display.finish();
    for notice in done??.notices {
        output::to_stderr(&format!("warning: {notice}\n"));
    }
    match program {
        Some(program) => child::exit_code(program.await),
        None => Ok(0),
    }
}

/// Opens an address for requests.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, CliError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| CliError::failed(format!("cannot listen on {address}: {error}")))
}

/// The port that port 0 became.
pub(super) fn port(listener: &TcpListener) -> Result<u16, CliError> {
    let address = listener.local_addr();
    let address = address
        .map_err(|error| CliError::failed(format!("the listener has no address: {error}")))?;
    Ok(address.port())
}

/// Starts an engine and serves one session of it until `stop`. `ready` is called when requests are
/// welcome; until then `cancel` ends the attempt.
pub(super) async fn until(
    config: &Config,
    options: SessionOptions,
    (listener, token): (TcpListener, Option<Token>),
    cancel: &CancellationToken,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce() -> Result<(), CliError>,
) -> Result<Report, CliError> {
    let start = async {
        let engine = Engine::start(config.engine_options()?).await?;
        Ok::<_, CliError>(engine.session(options)?)
    };
    let session = tokio::select! {
        session = start => Arc::new(session?),
        () = cancel.cancelled() => return Err(CliError::cancelled()),
    };
    ready()?;
    let closing = CancellationToken::new();
    let server = Server::new(Arc::clone(&session), token);
    let close = async {
        stop.await;
        closing.cancel();
    };
    let (served, ()) = tokio::join!(server.run(listener, closing.clone()), close);
    let caches = session.export_caches().await;
    let report = session.finish().await?;
    caches?;
    served.map(|()| report)
}

/// One line of JSON on standard output when requests are welcome.
fn announce(ip: std::net::IpAddr, port: u16) -> Result<(), CliError> {
    let address = SocketAddr::new(ip, port);
    let line = json!({"url": format!("http://{address}/query"), "port": port});
    output::to_stdout(format!("{line}\n").as_bytes())
}
