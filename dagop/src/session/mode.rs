//! What a session does where something would leave it or run.
//!
//! | mode | commands | values | exports |
//! |---|---|---|---|
//! | [`Mode::Run`] | as they are | read | written |
//! | [`Mode::Plan`] | nothing runs | not known | not known |
//! | [`Mode::Verify`] | under keys of their own | read | evaluated, not written |
//!
//! In a plan, calls resolve and lower as always. Where the daemon would be asked to evaluate
//! something, what it would be asked for is noted as if it had been, and the call fails with
//! [`crate::error::Kind::NotRun`]: its value is not known until it runs. `sync` is the exception,
//! as its value is an ID. Names are resolved, so a plan may ask the daemon what a tag is now, and its
//! frontend what a Dockerfile says.

use std::sync::{Arc, PoisonError};

use super::BuildSession;
use crate::error::Error;
use crate::lower::Made;
use crate::vertex::{DagOp, Tree, Work};

/// What a session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To do what is asked.
    Run,
    /// To find out what it would do.
    Plan,
    /// To run every command again, under keys that have this text in them.
    Verify(String),
}

impl BuildSession {
    pub(super) fn is_plan(&self) -> bool {
        self.options.mode == Mode::Plan
    }

    /// Fails in a plan, in which `what` is not known.
    pub(super) fn runs(&self, what: &str) -> Result<(), Error> {
        if self.is_plan() {
            return Err(Error::not_run(what));
        }
        Ok(())
    }

    /// Fails in a plan after it has noted `trees`, which something of the daemon would evaluate.
    pub(super) fn evaluates(&self, what: &str, trees: &[Tree]) -> Result<(), Error> {
        if !self.is_plan() {
            return Ok(());
        }
        for tree in trees {
            self.note(tree)?;
        }
        self.runs(what)
    }

    /// Fails in a plan after it has noted `trees`, from which further steps would be made.
    pub(super) fn opens(&self, what: &str, trees: &[Tree]) -> Result<(), Error> {
        if !self.is_plan() {
            return Ok(());
        }
        for tree in trees {
            self.note(tree)?;
        }
        Err(Error::not_planned(what))
    }

    /// Fails where nothing leaves the session; `trees` are noted in a plan, and evaluated in a
    /// verification.
    pub(super) async fn leaves(&self, what: &str, trees: &[Tree]) -> Result<(), Error> {
        match self.options.mode {
            Mode::Run => Ok(()),
            Mode::Plan => self.evaluates(what, trees),
            Mode::Verify(_) => {
                for tree in trees {
                    self.evaluate(tree).await?;
                }
                Err(Error::not_run(what))
            }
        }
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

    /// What makes the keys of commands those of this session alone.
    pub(crate) fn fresh_keys(&self) -> Option<&str> {
        match &self.options.mode {
            Mode::Verify(text) => Some(text),
            _ => None,
        }
    }

    /// Keeps the commands that were lowered, for a verification.
    pub(super) fn keep_commands(&self, made: &[Made]) {
        if self.fresh_keys().is_none() {
            return;
        }
        let is_command = |op: &&Arc<DagOp>| matches!(op.work, Work::Exec(_));
        let ops = made.iter().map(|made| &made.op).filter(is_command);
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.extend(ops.cloned());
    }

    /// The commands that were lowered, inputs before those that use them.
    pub(crate) fn commands(&self) -> Vec<Arc<DagOp>> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.clone()
    }
}
