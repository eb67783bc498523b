//! The end of what each running step printed, for the error of a failing one.
//!
//! The daemon's error has an exit code and no output; the output came before
//! it, as log updates. At most [`OUTPUT_KEPT`](crate::error::OUTPUT_KEPT) bytes
//! per stream are kept, and nothing of a step that ended well.

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
    stdout: Vec<u8>,
    stderr: Vec<u8>,
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
            stream.extend_from_slice(&log.data);
            // Cut in large steps: moving the rest for every piece would be quadratic.
            if stream.len() > 2 * OUTPUT_KEPT {
                stream.drain(..stream.len() - OUTPUT_KEPT);
            }
        }
        for vertex in &update.vertices {
            if vertex.completed.is_some() && vertex.error.is_empty() {
                steps.remove(&vertex.digest);
            }
        }
    }

    /// Standard output and standard error of a step.
    pub(super) fn of(&self, vertex: &Digest) -> (String, String) {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            crate::error::tail(&text, OUTPUT_KEPT).to_owned()
        };
        match steps.get(vertex) {
            Some(streams) => (text(&streams.stdout), text(&streams.stderr)),
            None => Default::default(),
        }
    }
}
