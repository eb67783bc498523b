//! The end of what each running step printed, for the error of a failing one.
//!
//! The daemon's error has an exit code and no output; the output came before
//! it, as log updates. The last [`OUTPUT_KEPT`](crate::error::OUTPUT_KEPT) bytes
//! per stream are kept, and nothing of a step that ended well. As in Dagger's
//! errors the text is trimmed, and where it was cut its first bytes are
//! overwritten with `[omitting N bytes]...`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use solver::Digest;
use solver::backend::StatusUpdate;
use solver::backend::status::LogStream;

use crate::error::OUTPUT_KEPT;

#[derive(Debug, Default)]
pub(super) struct StepOutput {
    steps: Mutex<HashMap<Digest, Streams>>,
}

#[derive(Debug, Default)]
struct Streams {
    stdout: Stream,
    stderr: Stream,
}

/// The end of what was written to a stream, and how many bytes came before it.
#[derive(Debug, Default)]
struct Stream {
    dropped: usize,
    end: Vec<u8>,
}

impl Stream {
    fn push(&mut self, data: &[u8]) {
        self.end.extend_from_slice(data);
        // Cut in large steps: moving the rest for every piece would be quadratic.
        if self.end.len() > 2 * OUTPUT_KEPT {
            self.keep();
        }
    }

    fn keep(&mut self) {
        let excess = self.end.len().saturating_sub(OUTPUT_KEPT);
        self.end.drain(..excess);
        self.dropped += excess;
    }

    fn text(&mut self) -> String {
        self.keep();
        let mut end = self.end.clone();
        if self.dropped > 0 {
            let mark = format!("[omitting {} bytes]...", self.dropped);
            end.splice(..mark.len(), mark.into_bytes());
        }
        String::from_utf8_lossy(&end).trim().to_owned()
    }
}

impl StepOutput {
    /// Takes in an update.
    pub(super) fn observe(&self, update: &StatusUpdate) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        for log in &update.logs {
            let streams = steps.entry(log.vertex.clone()).or_default();
            let stream = match log.stream {
                LogStream::Stdout => &mut streams.stdout,
                _ => &mut streams.stderr,
            };
            stream.push(&log.data);
        }
        for vertex in &update.vertices {
            if vertex.completed.is_some() && vertex.error.is_empty() {
                steps.remove(&vertex.digest);
            }
        }
    }

    /// Standard output and standard error of a step.
    pub(super) fn of(&self, vertex: &Digest) -> (String, String) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match steps.get_mut(vertex) {
            Some(streams) => (streams.stdout.text(), streams.stderr.text()),
            None => Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_keeps_its_end_and_says_how_much_is_missing() {
        let mut stream = Stream::default();
        stream.push(b"\n short \n");
        assert_eq!(stream.text(), "short");
        for piece in 0..100 {
            stream.push(format!("{piece:04}{}", "x".repeat(4092)).as_bytes());
        }
        stream.push(b"the end\n");
        let text = stream.text();
        let total = 9 + 100 * 4096 + 8;
        let mark = format!("[omitting {} bytes]...", total - OUTPUT_KEPT);
        assert!(
            text.starts_with(&mark) && text.ends_with("xthe end"),
            "{text}"
        );
        // The mark replaces bytes, and the line end was trimmed.
        assert_eq!(text.len(), OUTPUT_KEPT - 1);
    }
}
