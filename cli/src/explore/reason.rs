//! Why a step ran again, in words: the root causes that [`dagop::explain`] found, with the step that
//! each is at.

use std::collections::HashMap;

use dagop::explain::{Answer, Cause, Status};
use dagop::report::{Report, text};

use super::graph::identity;

/// Causes told of one step; `dagop why` tells all.
const CAUSES_MAX: usize = 3;

/// Characters of the name of a step that a cause is at.
const NAME_WIDTH: usize = 80;

/// For each vertex, why it ran: null where it did not.
pub(super) fn of_vertices(report: &Report, answers: &[Answer]) -> Vec<Option<String>> {
    let sentences: HashMap<&str, String> = answers
        .iter()
        .filter(|answer| answer.status != Status::DidNotRun)
        .filter_map(|answer| {
            let step = &answer.step.canonical;
            let causes: Vec<&Cause> = answer.reasons.iter().collect();
            Some((step.as_str(), told(step, &causes, answer.more)?))
        })
        .collect();
    let vertices = report.vertices.iter();
    vertices
        .map(|vertex| sentences.get(identity(vertex)).cloned())
        .collect()
}

/// The causes of what became of the step with the digest `step`, what is known before what is not;
/// none if there are none.
pub(super) fn told(step: &str, causes: &[&Cause], more: bool) -> Option<String> {
    let (last, first): (Vec<&Cause>, Vec<&Cause>) =
        causes.iter().partition(|cause| cause.reason.is_unknown());
    let sentences = first.iter().chain(&last).take(CAUSES_MAX).map(|cause| {
        if cause.step.canonical == step {
            return cause.sentence.clone();
        }
        let name = text::one_line(&cause.step.name, NAME_WIDTH);
        format!("{} (at {name})", cause.sentence)
    });
    let mut told = sentences.collect::<Vec<_>>().join("; ");
    if told.is_empty() {
        return None;
    }
    if more || causes.len() > CAUSES_MAX {
        told.push_str("; and for more causes");
    }
    Some(told)
}

#[cfg(test)]
mod tests {
    use dagop::explain::{Reason, StepName};
    use dagop::ledger::{Outcome, VertexKind};

    use super::*;

    fn cause(step: &str) -> Cause {
        let reason = Reason::StepAdded;
        Cause {
            number: 0,
            sentence: reason.to_string(),
            reason,
            step: StepName {
                canonical: step.into(),
                raw: step.into(),
                name: format!("name of {step}"),
                kind: VertexKind::Exec,
                outcome: Outcome::Executed,
                started_ms: None,
                completed_ms: None,
            },
            removed: false,
            steps: 1,
        }
    }

    #[test]
    fn a_cause_elsewhere_names_its_step() {
        let (here, below) = (cause("here"), cause("below"));
        let sentence = &here.sentence;
        assert_eq!(told("here", &[], false), None);
        assert_eq!(told("here", &[&here], false).as_ref(), Some(sentence));
        assert_eq!(
            told("here", &[&here, &below], false),
            Some(format!("{sentence}; {sentence} (at name of below)"))
        );
        let many = told("here", &[&here; 4], false).unwrap();
        assert_eq!(many.matches(sentence.as_str()).count(), CAUSES_MAX);
        assert!(many.ends_with("and for more causes"), "{many}");

        let mut unknown = cause("here");
        unknown.reason = Reason::Unknown {
            missing: "the files".into(),
        };
        unknown.sentence = unknown.reason.to_string();
        assert_eq!(
            told("here", &[&unknown, &here], false),
            Some(format!("{sentence}; {}", unknown.sentence))
        );
    }
}
