//! The gate: which of the steps that somebody named may run.
//!
//! A name is a glob over the names of steps and over their calls. What is unknown does not pass: a
//! gate that lets through what it does not know is none. Nor does a glob that names nothing, which
//! is a mistake in most cases, unless the plan has no steps for a good reason:
//!
//! - An operation could not be planned for want of a value: the step may be in it. Unknown.
//! - An earlier run kept values. What they were made of is not planned step by step and does not
//!   run; its calls are those of the step that stands for the value, and a glob that names none of
//!   them may name one of its vertices. Nothing is said against it.

use super::{Plan, Reason, Step, Verdict, matches};

/// What keeps a plan from passing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate<'a> {
    /// Steps that will run.
    pub misses: Vec<&'a Step>,
    /// Steps that may run.
    pub unknown: Vec<&'a Step>,
    /// Globs that no step matches.
    pub unmatched: Vec<&'a str>,
    /// Globs that may be about a part of the document that could not be planned.
    pub unplanned: Vec<&'a str>,
}

impl Plan {
    /// Holds the plan against globs, all of which must be hits; see [`matches()`].
    #[must_use]
    pub fn gate<'a>(&'a self, globs: &'a [String]) -> Gate<'a> {
        let mut gate = Gate::default();
        let named = |step: &Step, glob: &str| {
            matches(glob, &step.name) || step.calls.iter().any(|call| matches(glob, call))
        };
        for step in &self.steps {
            if !globs.iter().any(|glob| named(step, glob)) {
                continue;
            }
            match step.verdict {
                Verdict::Hit => {}
                Verdict::Miss => gate.misses.push(step),
                Verdict::Unknown => gate.unknown.push(step),
            }
        }
        let has_gap = self.unplanned.iter().any(|unplanned| unplanned.hides_steps);
        let recalled = self
            .steps
            .iter()
            .any(|step| step.reason == Reason::Recalled);
        for glob in globs {
            if self.steps.iter().any(|step| named(step, glob)) {
                continue;
            }
            if has_gap {
                gate.unplanned.push(glob);
            } else if !recalled {
                gate.unmatched.push(glob);
            }
        }
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Unplanned;

    fn plan(verdicts: &[(&str, Verdict)]) -> Plan {
        let steps = verdicts.iter().map(|&(name, verdict)| Step {
            canonical: None,
            name: name.to_owned(),
            calls: vec![format!("call of {name}")],
            kind: None,
            verdict,
            reason: Reason::NotNeeded,
            causes: Vec::new(),
            sentence: String::new(),
        });
        Plan {
            steps: steps.collect(),
            ..Plan::default()
        }
    }

    fn globs(globs: &[&str]) -> Vec<String> {
        globs.iter().map(|&glob| glob.to_owned()).collect()
    }

    #[test]
    fn only_a_hit_passes() {
        let plan = plan(&[
            ("fetch", Verdict::Hit),
            ("make", Verdict::Miss),
            ("test", Verdict::Unknown),
        ]);
        assert_eq!(plan.gate(&globs(&["fetch"])), Gate::default());
        let all = globs(&["*"]);
        let gate = plan.gate(&all);
        assert_eq!(
            (gate.misses[0].name.as_str(), gate.misses.len()),
            ("make", 1)
        );
        assert_eq!(
            (gate.unknown[0].name.as_str(), gate.unknown.len()),
            ("test", 1)
        );
        let two = globs(&["fetch", "call of te?t"]);
        let gate = plan.gate(&two);
        assert_eq!((gate.misses.len(), gate.unknown.len()), (0, 1));
    }

    #[test]
    fn a_glob_that_names_nothing_does_not_pass() {
        let mut plan = plan(&[("fetch", Verdict::Hit)]);
        let wanted = globs(&["fetch", "fetsh"]);
        assert_eq!(plan.gate(&wanted).unmatched, ["fetsh"]);
        plan.unplanned.push(Unplanned {
            operation: "B".to_owned(),
            path: String::new(),
            hides_steps: true,
            sentence: String::new(),
        });
        let gate = plan.gate(&wanted);
        assert_eq!((gate.unmatched.len(), gate.unplanned), (0, vec!["fetsh"]));
        plan.unplanned.clear();
        plan.steps[0].reason = Reason::Recalled;
        assert_eq!(plan.gate(&wanted), Gate::default());
    }
}
