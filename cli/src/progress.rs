//! Progress on standard error, in one of four forms, from the engine's events.
//!
//! A thread of its own draws, so that a slow terminal slows down neither the engine nor the
//! session's traffic. Each form is a [`Renderer`]: a state machine from events to bytes on a
//! `Write`, which the tests feed with a recorded list. When standard error fails the events are
//! read on and dropped. Where nobody may be reading it, [`Reader::Doubtful`], so is what does not
//! fit the pipe.

mod json;
mod model;
mod plain;
mod quiet;
mod tty;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::time::Duration;

use dagop::event::{self, Event, UnixMillis};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::config::ProgressMode;
use crate::error::CliError;
use crate::output::{self, Reader};

/// Time between two frames of a live display: ten a second.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// Events drawn in one write.
const BATCH_EVENTS_MAX: usize = 256;

/// Turns events into bytes.
trait Renderer: Send {
    /// Takes an event into account, and writes what can be written at once.
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()>;

    /// Draws, if this form is one that redraws.
    fn frame(&mut self, _now: UnixMillis, _size: Size, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Writes what remains; nothing follows.
    fn finish(&mut self, _now: UnixMillis, _size: Size, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Size of the terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    rows: usize,
    columns: usize,
}

impl Size {
    /// Standard error's, or the classic one when it does not tell.
    fn of_stderr() -> Self {
        let known = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).ok();
        let known = known.filter(|size| size.ws_row > 0 && size.ws_col > 0);
        known.map_or(
            Self {
                rows: 24,
                columns: 80,
            },
            |size| Self {
                rows: size.ws_row.into(),
                columns: size.ws_col.into(),
            },
        )
    }
}

/// A running display.
#[derive(Debug)]
pub(crate) struct Display {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

/// Starts to display what is sent to the returned channel.
pub(crate) fn start(
    mode: ProgressMode,
    colour: bool,
    reader: Reader,
) -> Result<(UnboundedSender<Event>, Display), CliError> {
    let renderer: Box<dyn Renderer> = match mode {
        ProgressMode::Json => Box::new(json::Json),
        ProgressMode::Tty => Box::new(tty::Tty::new(colour)),
        ProgressMode::Quiet => Box::new(quiet::Quiet),
        ProgressMode::Plain | ProgressMode::Auto => Box::new(plain::Plain::default()),
    };
    let (sender, events) = unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let cannot = |error: io::Error| CliError::failed(format!("cannot show progress: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.map_err(cannot)?;
    let work = move || runtime.block_on(draw(renderer, events, stopped, reader));
    let thread = std::thread::Builder::new()
        .name("progress".into())
        .spawn(work)
        .map_err(cannot)?;
    Ok((sender, Display { stop, thread }))
}

impl Display {
    /// Draws the events sent so far, and ends.
    pub(crate) fn finish(self) {
        // Both fail only when the thread is gone already, and then there is nothing to wait for.
        _ = self.stop.send(());
        _ = self.thread.join();
    }
}

async fn draw(
    mut renderer: Box<dyn Renderer>,
    mut events: UnboundedReceiver<Event>,
    mut stopped: oneshot::Receiver<()>,
    reader: Reader,
) {
    let mut out = Guarded {
        failed: false,
        reader,
    };
    let mut frames = tokio::time::interval(FRAME_INTERVAL);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            count = events.recv_many(&mut batch, BATCH_EVENTS_MAX) => match count {
                0 => break,
                _ => out.events(renderer.as_mut(), batch.drain(..)),
            },
            _ = frames.tick() => {
                out.attempt(|out| renderer.frame(event::now(), Size::of_stderr(), out));
            }
            _ = &mut stopped => break,
        }
    }
    out.events(
        renderer.as_mut(),
        std::iter::from_fn(|| events.try_recv().ok()),
    );
    out.attempt(|out| renderer.finish(event::now(), Size::of_stderr(), out));
}

/// Standard error, until it fails for the first time.
struct Guarded {
    failed: bool,
    reader: Reader,
}

impl Guarded {
    /// Several events in one write: a cached build makes thousands within a moment.
    fn events(&mut self, renderer: &mut dyn Renderer, mut events: impl Iterator<Item = Event>) {
        self.attempt(|out| events.try_for_each(|event| renderer.event(&event, out)));
    }

    /// One step of a renderer, written in one piece.
    fn attempt(&mut self, step: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.failed {
            return;
        }
        let mut text = Vec::new();
        let written = step(&mut text).and_then(|()| match text.is_empty() {
            true => Ok(()),
            false => output::to_reader(&text, self.reader),
        });
        self.failed = written.is_err();
    }
}
