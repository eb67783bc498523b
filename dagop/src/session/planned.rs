//! What a session does in a plan, where nothing runs.
//!
//! Calls resolve and lower as always. Where the daemon would be asked to evaluate something, what
//! it would be asked for is noted as if it had been, and the call fails with
//! [`crate::error::Kind::NotRun`]: its value is not known until it runs. `sync` is the exception,
//! as its value is an ID. Names are resolved, so a plan may ask the daemon what a tag is now.

use super::BuildSession;
use crate::error::Error;
use crate::vertex::Tree;

impl BuildSession {
    /// Fails in a plan, in which `what` is not known.
    pub(super) fn runs(&self, what: &str) -> Result<(), Error> {
        if self.options.plan_only {
            return Err(Error::not_run(what));
        }
        Ok(())
    }

    /// Fails in a plan after it has noted `trees`, which something of the daemon would evaluate.
    pub(super) fn leaves(&self, what: &str, trees: &[Tree]) -> Result<(), Error> {
        if !self.options.plan_only {
            return Ok(());
        }
        for tree in trees {
            self.note(tree)?;
        }
        self.runs(what)
    }

    /// Notes a tree as evaluated.
    pub(super) fn note(&self, tree: &Tree) -> Result<(), Error> {
        if let Some(output) = self.lowered(tree)? {
            self.cell(&output);
        }
        Ok(())
    }

    /// What would be evaluated: canonical digests of vertices, and which of their outputs.
    pub(crate) fn planned(&self) -> Vec<(String, u64)> {
        let outputs = self.evaluated();
        let named = outputs.iter().map(|output| {
            let canonical = output.vertex().canonical().to_string();
            (canonical, u64::try_from(output.index()).unwrap_or(0))
        });
        named.collect()
    }
}
