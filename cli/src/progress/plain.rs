//! Progress as lines that are only ever added, for logs and pipes.
//!
//! Every vertex has a number. Its first line names it, later ones carry the number: what it writes,
//! what it moves, and how it ended (`DONE`, `CACHED`, `NOT NEEDED`, `ERROR`, `CANCELLED`). The form
//! is close to that of `buildctl --progress plain`, which people have scripts and eyes for.

use std::collections::BTreeMap;
use std::io::{self, Write};

use dagop::event::{Event, Transfer, UnixMillis};
use dagop::ledger::Outcome;
use dagop::report::text;

use super::model::{Model, VERTICES_KEPT_MAX, Vertex};
use super::{Renderer, Size};
use crate::diagnostic::printable;

/// Least time between two lines about one vertex's transfers, in milliseconds.
const TRANSFER_INTERVAL_MS: u64 = 1000;

#[derive(Debug, Default)]
pub(super) struct Plain {
    model: Model,
    /// What was last written about each vertex the model keeps, by its number.
    written: BTreeMap<usize, Written>,
}

#[derive(Debug, Default)]
struct Written {
    end: Option<(Outcome, Option<UnixMillis>)>,
    transfer_ms: UnixMillis,
}

impl Renderer for Plain {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        if let Event::Warning(warning) = event {
            writeln!(out, "WARNING: {}", printable(&warning.message))?;
            for line in &warning.detail {
                writeln!(out, "  {}", printable(line))?;
            }
        }
        let Some(vertex) = self.model.apply(event) else {
            return Ok(());
        };
        let number = vertex.number;
        if self.written.len() > VERTICES_KEPT_MAX {
            self.written.pop_first();
        }
        let written = self.written.entry(number).or_insert_with(|| {
            // A Vec of bytes takes every write; a real failure shows at the next line.
            _ = writeln!(out, "#{number} {}", one_line(&vertex.label()));
            Written::default()
        });
        match event {
            Event::Log(line) => {
                let after = line
                    .at_ms
                    .saturating_sub(vertex.started_ms.unwrap_or(line.at_ms));
                let seconds = format!("{}.{:03}", after / 1000, after % 1000);
                writeln!(out, "#{number} {seconds} {}", printable(&line.text))
            }
            Event::Transfer(transfer) => {
                let due =
                    transfer.at_ms.saturating_sub(written.transfer_ms) >= TRANSFER_INTERVAL_MS;
                if !transfer.done && !due {
                    return Ok(());
                }
                written.transfer_ms = transfer.at_ms;
                writeln!(out, "#{number} {}", moved(transfer))
            }
            _ => ended(vertex, written, out),
        }
    }

    fn finish(&mut self, _now: UnixMillis, _size: Size, out: &mut dyn Write) -> io::Result<()> {
        for vertex in self.model.vertices().filter(|vertex| vertex.is_running()) {
            writeln!(out, "#{} did not end", vertex.number)?;
        }
        Ok(())
    }
}

/// The line about a vertex's end, once per end: a source may end twice.
fn ended(vertex: &Vertex, written: &mut Written, out: &mut dyn Write) -> io::Result<()> {
    let Some(outcome) = vertex.outcome() else {
        return Ok(());
    };
    let end = Some((outcome, vertex.completed_ms));
    if std::mem::replace(&mut written.end, end) == end {
        return Ok(());
    }
    let number = vertex.number;
    match outcome {
        Outcome::Cached => writeln!(out, "#{number} CACHED"),
        Outcome::NotNeeded => writeln!(out, "#{number} NOT NEEDED"),
        Outcome::Cancelled => writeln!(out, "#{number} CANCELLED"),
        Outcome::Failed => {
            let error = vertex.error.as_deref().unwrap_or("unknown");
            writeln!(out, "#{number} ERROR: {}", one_line(error))
        }
        _ => writeln!(out, "#{number} DONE {}", text::duration(vertex.elapsed(0))),
    }
}

/// `layer 1.0MB / 3.4MB`, or the same with `done`.
pub(super) fn moved(transfer: &Transfer) -> String {
    let mut line = format!(
        "{} {}",
        one_line(&transfer.id),
        text::bytes(transfer.current)
    );
    if transfer.total > 0 {
        line.push_str(&format!(" / {}", text::bytes(transfer.total)));
    }
    if transfer.done {
        line.push_str(" done");
    }
    line
}

/// Longest label in a log, in characters.
const LABEL_MAX: usize = 200;

fn one_line(text: &str) -> String {
    text::one_line(text, LABEL_MAX)
}
