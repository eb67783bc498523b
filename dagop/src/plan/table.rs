//! The plan for people: one line per step with its reason, then what is not known, then counts.

use std::fmt::{self, Write as _};

use super::{Plan, Reason, Verdict};
use crate::report::text;

/// Widest a name may be, in characters.
const NAME_WIDTH_MAX: usize = 56;

impl Plan {
    /// A table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        for step in &self.steps {
            // Writing to a String cannot fail.
            _ = writeln!(
                table,
                "{:<7}  {:<NAME_WIDTH_MAX$}  {}",
                step.verdict.as_str(),
                text::one_line(&step.name, NAME_WIDTH_MAX),
                step.sentence
            );
        }
        for unplanned in &self.unplanned {
            let place = [unplanned.operation.as_str(), unplanned.path.as_str()];
            let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
            _ = writeln!(
                table,
                "{:<7}  {:<NAME_WIDTH_MAX$}  {}",
                "-",
                text::one_line(&place.join(": "), NAME_WIDTH_MAX),
                text::one_line(&unplanned.sentence, 2 * NAME_WIDTH_MAX)
            );
        }
        _ = writeln!(table, "{}", self.counts());
        table
    }

    /// How many steps have which verdict, in one line.
    #[must_use]
    pub fn counts(&self) -> String {
        let count = |verdict: Verdict| format!("{} {}", self.count(verdict), verdict.as_str());
        let counts = [Verdict::Hit, Verdict::Miss, Verdict::Unknown].map(count);
        format!("{} steps: {}", self.steps.len(), counts.join(", "))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held {
                build, by_content, ..
            } => {
                let build = build.get(..12).unwrap_or(build);
                write!(f, "the daemon holds what build {build} made")?;
                if *by_content {
                    f.write_str(", found by the content of its inputs")?;
                }
                Ok(())
            }
            Self::Recalled => f.write_str("an earlier run kept its value"),
            Self::NotNeeded => f.write_str("not needed: all that uses it is a hit"),
            Self::NothingHeld => f.write_str("the daemon holds nothing that could be its result"),
            Self::OtherKey { records } => write!(
                f,
                "its key is new: all that is held of such steps ({records}) has other keys"
            ),
            Self::OutputNotKept { output } => write!(
                f,
                "it ran before, and whether its output {output} was kept is not known"
            ),
            Self::Content { of } => write!(f, "it depends on what {of:?} writes"),
            Self::EarlierContent { of } => {
                write!(f, "what an earlier build had of {of:?} is not known")
            }
            Self::Above { step } => write!(f, "it is needed only if {step:?} runs"),
            Self::Unexplained { records } => write!(
                f,
                "never seen here, and another client may have made it: the daemon holds {records} records of unknown origin"
            ),
            Self::Imported => f.write_str("it may come out of an imported cache"),
            Self::Key => f.write_str("its key is not known"),
            Self::NoRecord => f.write_str("its result need not have a record of its own"),
            Self::Ambiguous => {
                f.write_str("several earlier steps may have made what the daemon holds")
            }
            Self::Formulas { differ: true } => {
                f.write_str("the daemon computes other cache keys than the predicted ones")
            }
            Self::Formulas { differ: false } => {
                f.write_str("how this daemon computes cache keys is not known")
            }
        }
    }
}
