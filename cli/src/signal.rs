//! Ctrl-C and SIGTERM: the first asks the work to stop, the second ends the process.

use std::time::Duration;

use dagop::event::{Event, Warning};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::error::{CANCELLED, CliError};

/// How long cancelled work may take to wind up before the process ends without it.
pub(crate) const WIND_UP_MAX: Duration = Duration::from_secs(10);

/// Listens from now on. The token is cancelled by the first signal, and the display told.
pub(crate) fn listen(display: UnboundedSender<Event>) -> Result<CancellationToken, CliError> {
    let open = |kind| {
        signal(kind)
            .map_err(|error| CliError::failed(format!("cannot listen for signals: {error}")))
    };
    let signals = (
        open(SignalKind::interrupt())?,
        open(SignalKind::terminate())?,
    );
    let token = CancellationToken::new();
    tokio::spawn(watch(signals, token.clone(), display));
    Ok(token)
}

async fn watch(
    (mut interrupt, mut terminate): (Signal, Signal),
    token: CancellationToken,
    display: UnboundedSender<Event>,
) {
    next(&mut interrupt, &mut terminate).await;
    let stopping = Warning {
        vertex: None,
        message: "stopping; a second signal ends dagop at once".to_owned(),
        detail: Vec::new(),
    };
    // Fails when the display has ended already, and with it the work.
    _ = display.send(Event::Warning(stopping));
    token.cancel();
    next(&mut interrupt, &mut terminate).await;
    end_process();
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[expect(
    clippy::exit,
    reason = "the user asked twice; unwinding is what they did not wait for"
)]
fn end_process() -> ! {
    std::process::exit(CANCELLED.into())
}

/// Runs `work` to its end; after the token is cancelled, for at most [`WIND_UP_MAX`] more.
pub(crate) async fn until_wound_up<T>(
    token: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, CliError> {
    until_expired(token, WIND_UP_MAX, work).await
}

async fn until_expired<T>(
    token: &CancellationToken,
    grace: Duration,
    work: impl Future<Output = T>,
) -> Result<T, CliError> {
    let expired = async {
        token.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        done = work => Ok(done),
        () = expired => Err(CliError::cancelled()
            .with_hint("the daemon did not confirm that it stopped the build")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_ignores_the_cancellation_is_left_behind() {
        let token = CancellationToken::new();
        let done = until_expired(&token, Duration::ZERO, async { 5 }).await;
        assert_eq!(done.unwrap(), 5);
        token.cancel();
        let stuck = until_expired(&token, Duration::ZERO, std::future::pending::<()>()).await;
        assert_eq!(stuck.unwrap_err().exit_code(), CANCELLED);
        let polite = until_wound_up(&token, token.cancelled()).await;
        assert!(polite.is_ok());
    }
}
