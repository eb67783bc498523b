//! Progress as a live tree on a terminal.
//!
//! Each frame is drawn over the last one: up by as many lines as that had, every line written and
//! cleared to its end, the rest of the screen cleared. Lines are switched not to wrap while they
//! are written, so that characters of double width cannot spoil the count. A frame never has more
//! lines than the terminal has rows: what has ended gives way first, oldest first, then what
//! running vertices wrote, then the running ones that started last.
//!
//! Nothing else may write to the terminal between the first frame and the last, which stays, with
//! the end of what failed vertices wrote below it.

use std::io::{self, Write};

use dagop::event::{Event, UnixMillis};
use dagop::ledger::Outcome;
use dagop::report::text;

use super::model::{Model, Vertex};
use super::plain::moved;
use super::{Renderer, Size};
use crate::diagnostic::printable;

/// Lines of output shown below a running vertex.
const LOG_LINES_SHOWN: usize = 4;

/// Unfinished transfers shown below a running vertex.
const TRANSFERS_SHOWN: usize = 3;

/// A call without a vertex is shown once it has run this long, in milliseconds.
const QUIET_CALL_MS: u64 = 500;

#[derive(Debug)]
pub(super) struct Tty {
    model: Model,
    colour: bool,
    /// Lines of the last frame.
    drawn: usize,
    warnings: Vec<String>,
}

/// A line of a frame and how readily it gives way: the greatest value goes first.
struct Line {
    text: String,
    yields: u8,
}

const YIELDS_ENDED: u8 = 3;
const YIELDS_OUTPUT: u8 = 2;
const YIELDS_RUNNING: u8 = 1;

impl Tty {
    pub(super) fn new(colour: bool) -> Self {
        Self {
            model: Model::default(),
            colour,
            drawn: 0,
            warnings: Vec::new(),
        }
    }

    fn header(&self, now: UnixMillis) -> String {
        let (mut ended, mut cached, mut all) = (0, 0, 0);
        for vertex in self.model.vertices() {
            all += 1;
            let outcome = vertex.outcome();
            ended += usize::from(outcome.is_some());
            cached += usize::from(matches!(
                outcome,
                Some(Outcome::Cached | Outcome::NotNeeded)
            ));
        }
        let elapsed = now.saturating_sub(self.model.started_ms.unwrap_or(now));
        let calls = self.model.calls;
        format!(
            "[+] {} {ended}/{all} vertices ({cached} cached), {calls} calls",
            text::duration(elapsed)
        )
    }

    fn body(&self, now: UnixMillis, size: Size) -> Vec<Line> {
        let columns = size.columns;
        let mut lines = Vec::new();
        // No frame shows more of the ended ones than it has rows.
        let ended = self
            .model
            .vertices()
            .filter(|vertex| vertex.outcome().is_some())
            .count();
        let mut hidden = ended.saturating_sub(size.rows);
        for vertex in self.model.vertices() {
            if hidden > 0 && vertex.outcome().is_some() {
                hidden -= 1;
            } else {
                self.vertex_lines(vertex, now, columns, &mut lines);
            }
        }
        let mut quiet: Vec<_> = self.model.running_calls.iter().collect();
        quiet.sort_by_key(|(number, _)| **number);
        for (_, call) in quiet {
            let elapsed = now.saturating_sub(call.started_ms);
            if elapsed >= QUIET_CALL_MS {
                let text = columns_of(" - ", &call.display, &text::duration(elapsed), columns);
                lines.push(Line {
                    text,
                    yields: YIELDS_RUNNING,
                });
            }
        }
        lines
    }

    fn vertex_lines(
        &self,
        vertex: &Vertex,
        now: UnixMillis,
        columns: usize,
        lines: &mut Vec<Line>,
    ) {
        let outcome = vertex.outcome();
        let right = match outcome {
            Some(outcome @ (Outcome::Cached | Outcome::NotNeeded)) => outcome.to_string(),
            Some(outcome) => format!("{outcome} {}", text::duration(vertex.elapsed(now))),
            None => text::duration(vertex.elapsed(now)),
        };
        let mark = if outcome.is_some() { " = " } else { " > " };
        let text = self.paint(outcome, columns_of(mark, &vertex.label(), &right, columns));
        let yields = if outcome.is_some() {
            YIELDS_ENDED
        } else {
            YIELDS_RUNNING
        };
        lines.push(Line { text, yields });
        if outcome.is_some() {
            return;
        }
        let below = |text: &str| Line {
            text: text::one_line(&format!("   | {text}"), columns),
            yields: YIELDS_OUTPUT,
        };
        let moving = vertex.transfers.iter().filter(|transfer| !transfer.done);
        lines.extend(
            moving
                .take(TRANSFERS_SHOWN)
                .map(|transfer| below(&moved(transfer))),
        );
        let first = vertex.log.len().saturating_sub(LOG_LINES_SHOWN);
        lines.extend(vertex.log.iter().skip(first).map(|line| below(line)));
    }

    /// Colour beside the word, never instead of it.
    fn paint(&self, outcome: Option<Outcome>, text: String) -> String {
        let code = match outcome {
            _ if !self.colour => return text,
            Some(Outcome::Failed) => 31,
            Some(Outcome::Cancelled | Outcome::Unknown) => 33,
            Some(Outcome::Cached | Outcome::NotNeeded) => 34,
            Some(_) => 32,
            None => return text,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Moves to where the last frame began.
    fn rewind(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match std::mem::take(&mut self.drawn) {
            0 => Ok(()),
            lines => write!(out, "\x1b[{lines}F"),
        }
    }
}

/// `left` with a mark before it and `right` at the end of the line.
fn columns_of(mark: &str, left: &str, right: &str, columns: usize) -> String {
    let room = columns.saturating_sub(mark.len() + right.chars().count() + 1);
    let left = text::one_line(left, room);
    format!("{mark}{left:<room$} {right}")
}

/// Takes away lines until at most `room` are left.
fn fit(mut lines: Vec<Line>, room: usize) -> Vec<Line> {
    for yields in [YIELDS_ENDED, YIELDS_OUTPUT] {
        let mut excess = lines.len().saturating_sub(room);
        lines.retain(|line| {
            let goes = excess > 0 && line.yields == yields;
            excess -= usize::from(goes);
            !goes
        });
    }
    lines.truncate(room);
    lines
}

impl Renderer for Tty {
    fn event(&mut self, event: &Event, _out: &mut dyn Write) -> io::Result<()> {
        if let Event::Warning(warning) = event {
            self.warnings.push(printable(&warning.message));
        }
        self.model.apply(event);
        Ok(())
    }

    fn frame(&mut self, now: UnixMillis, size: Size, out: &mut dyn Write) -> io::Result<()> {
        if self.model.started_ms.is_none() {
            return Ok(());
        }
        // The header takes one row, the cursor below the frame another.
        let lines = fit(self.body(now, size), size.rows.saturating_sub(2));
        self.rewind(out)?;
        write!(out, "\x1b[?7l")?;
        for warning in self.warnings.drain(..) {
            writeln!(out, "WARNING: {warning}\x1b[K")?;
        }
        writeln!(
            out,
            "{}\x1b[K",
            text::one_line(&self.header(now), size.columns)
        )?;
        for line in &lines {
            writeln!(out, "{}\x1b[K", line.text)?;
        }
        write!(out, "\x1b[J\x1b[?7h")?;
        self.drawn = lines.len() + 1;
        Ok(())
    }

    /// The last frame stays, and below it what the failed vertices wrote.
    fn finish(&mut self, now: UnixMillis, size: Size, out: &mut dyn Write) -> io::Result<()> {
        self.frame(now, size, out)?;
        self.drawn = 0;
        for vertex in self.model.vertices() {
            if vertex.outcome() != Some(Outcome::Failed) || vertex.log.is_empty() {
                continue;
            }
            writeln!(out, "{}", text::one_line(&vertex.label(), size.columns))?;
            for line in &vertex.log {
                writeln!(out, "   | {line}")?;
            }
        }
        Ok(())
    }
}
