//! `dagop session`: what Dagger's SDKs start as their CLI (`_EXPERIMENTAL_DAGGER_CLI_BIN`).
//!
//! The first line on standard output is `{"port":N,"session_token":"..."}` and nothing else is ever
//! written there. The session ends when standard input does, or by a signal, and that is success:
//! SDKs raise an error for any other exit code. Standard error is progress; an SDK may hold its pipe
//! without reading it, so what the pipe does not take is dropped.

use std::net::Ipv4Addr;

use dagop::SessionOptions;
use serde_json::json;

use super::run::workdir;
use super::serve;
use crate::args::SessionArgs;
use crate::config::{Config, Token};
use crate::error::{CANCELLED, CliError};
use crate::output::Reader;
use crate::{output, progress, signal};

pub(crate) async fn session(config: &Config, args: SessionArgs) -> Result<(), CliError> {
    let listener = serve::listen((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let token = Token::random()?;
    let line = json!({"port": serve::port(&listener)?, "session_token": token.expose()});
    let mode = config.progress(&args.progress);
    let (events, display) = progress::start(mode, config.colour(), Reader::Doubtful)?;
    let cancel = signal::listen(events.clone())?;
    if let Some(first) = args.unknown.first() {
        let line = format!("warning: {} and what follows is ignored\n", first.display());
        _ = output::to_reader(line.as_bytes(), Reader::Doubtful);
    }
    let options = SessionOptions {
        workdir: workdir(args.workdir.as_deref())?,
        events: Some(events),
        api_version: args.api_version(),
        ..SessionOptions::default()
    };
    let ended = cancel.clone();
    std::thread::spawn(move || {
        end_of_input();
        ended.cancel();
    });
    let ready = || output::to_stdout(format!("{line}\n").as_bytes());
    let stop = cancel.cancelled();
    let work = serve::until(
        config,
        options,
        (listener, Some(token)),
        &cancel,
        stop,
        ready,
    );
    let done = signal::until_wound_up(&cancel, work).await;
    display.finish();
    match done.and_then(|served| served) {
        Ok(report) => {
            for notice in report.notices {
                let line = format!("warning: {notice}\n");
                _ = output::to_reader(line.as_bytes(), Reader::Doubtful);
            }
            Ok(())
        }
        Err(error) if error.exit_code() == CANCELLED => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns when standard input ends or fails; nothing that comes there means anything.
fn end_of_input() {
    let mut input = std::io::stdin().lock();
    // An error is an end as well.
    _ = std::io::copy(&mut input, &mut std::io::sink());
}
