//! Who watches calls: the seam for progress display and for the ledger.
//!
//! Every call of a session is announced once when it starts and once when it ends; a hit, which does
//! both at once, may be taken in one piece. Methods run on the caller's task between two steps of the engine and must not block.

use std::time::Duration;

use crate::{CallInfo, Error, Id};

/// How a call got its result. Each word is backed by what the cache did, never inferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// This call ran the resolver and it succeeded.
    Executed,
    /// The result was already there.
    Hit,
    /// The value was computed by an earlier run and kept; the resolver did not run.
    Recalled,
    /// Another caller was already computing it; this one waited.
    Joined,
    /// No result: the resolver failed, or the caller left.
    Failed,
}

/// The end of a call.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// How the result came about.
    pub outcome: Outcome,
    /// From the announcement to now; for the caller, not for the resolver.
    pub duration: Duration,
    /// The ID of the returned object, where it is not the call's own.
    pub result_id: Option<&'a Id>,
    /// Why it failed.
    pub error: Option<&'a Error>,
}

/// Watches calls.
pub trait Observer: Send + Sync {
    /// A call begins.
    fn call_started(&self, call: &CallInfo) {
        let _ = call;
    }

    /// A call found its result at once; `result_id` as in [`Finished`].
    fn call_hit(&self, call: &CallInfo, result_id: Option<&Id>) {
        self.call_started(call);
        let finished = Finished {
            outcome: Outcome::Hit,
            duration: Duration::ZERO,
            result_id,
            error: None,
        };
        self.call_finished(call, &finished);
    }

    /// A call ends.
    fn call_finished(&self, call: &CallInfo, finished: &Finished<'_>) {
        let (_, _) = (call, finished);
    }
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
