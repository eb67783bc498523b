//! `dagop verify`: which steps do not give the same output twice.
//!
//! ```text
//! document ── a session in which commands are salted ──► every command runs: first outputs
//! each command again, over the very same inputs, under another salt ───────► second outputs
//!     both outputs as archives ── compare.rs ──► the first path that differs
//! ```
//! Because the second run of a step has the inputs of the first, a difference is the step's own: it
//! is a *cause*. A step that gave the same twice over inputs that come from a cause is a
//! *consequence*: in another build it sees other inputs.
//!
//! Both runs carry a salt that no other build has ([`crate::salt`]), so nothing of what others cached
//! is used, and nothing is filed under a key that others use; the records are left to the daemon's
//! garbage collection. File operations and sources are not repeated: BuildKit makes the same of the
//! same. Exports are evaluated and not written, so nothing is published twice.
//!
//! Compared are kind, mode, owner, link target, extended attributes and bytes of every path of every
//! writable mount, and what the command printed; on request also the modification times of what is no
//! directory. The order of what it printed on its two streams is not.

mod compare;
mod verifier;

use serde::{Deserialize, Serialize};

pub use compare::{Difference, What};
pub use verifier::{Options, Verifier};

use crate::plan::Unplanned;

/// What was found out about a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It gave the same twice.
    Same,
    /// It did not.
    Differs {
        /// Where first.
        difference: Difference,
    },
    /// It gave the same over the same inputs, and its inputs are the work of steps that do not.
    Consequence {
        /// Those steps.
        of: Vec<String>,
    },
    /// Its second run failed.
    Failed {
        /// How.
        error: String,
    },
}

/// A step that was run twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The command.
    pub name: String,
    /// The call.
    pub call: String,
    /// What was found out.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What was found out about a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Its commands, inputs first.
    pub steps: Vec<Step>,
    /// What was not looked at, for want of a value.
    pub skipped: Vec<Unplanned>,
}

impl Verification {
    /// Whether some step gave two results.
    pub fn has_causes(&self) -> bool {
        let mut steps = self.steps.iter();
        steps.any(|step| {
            matches!(
                step.verdict,
                Verdict::Differs { .. } | Verdict::Failed { .. }
            )
        })
    }

    /// One line per step.
    #[must_use]
    pub fn table(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for step in &self.steps {
            let (word, more) = match &step.verdict {
                Verdict::Same => ("same", String::new()),
                Verdict::Differs { difference } => ("differs", difference.to_string()),
                Verdict::Consequence { of } => {
                    ("follows", format!("it uses what {} made", of.join(", ")))
                }
                Verdict::Failed { error } => ("failed", error.clone()),
            };
            lines.push(
                format!("{word:<8} {}  {more}", step.name)
                    .trim_end()
                    .to_owned(),
            );
        }
        for skipped in &self.skipped {
            lines.push(format!("-        {}  {}", skipped.path, skipped.sentence));
        }
        lines.join("\n") + "\n"
    }
}
