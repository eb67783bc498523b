//! What an input is to a step, and which inputs of a pair of steps are the same by that.
//!
//! An index says nothing: it shifts when a mount or an action is added. What lasts is the role: the
//! target of a mount, the action that copies from the input, the side of a diff, the place among
//! what is merged.

use super::align::align;
use super::change::Paired;
use super::graph::{Graph, Step};
use super::similar::hash;
use super::{exec, file};

/// Inputs of a pair of steps, by role.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// Inputs with the same role: before and after.
    pub(super) shared: Vec<(usize, usize)>,
    /// Inputs that the earlier or the later step has in a role where the other has nothing.
    pub(super) alone: Vec<(Option<usize>, Option<usize>)>,
}

impl Inputs {
    /// Adds what has one role, unless it is known.
    pub(super) fn add(&mut self, before: Option<usize>, after: Option<usize>) {
        match (before, after) {
            (Some(x), Some(y)) if !self.shared.contains(&(x, y)) => self.shared.push((x, y)),
            (Some(_), Some(_)) | (None, None) => {}
            alone if !self.alone.contains(&alone) => self.alone.push(alone),
            _ => {}
        }
    }
}

/// The inputs of a pair of steps. `paired` says whether two steps below are known to be a pair.
pub(super) fn inputs(
    before: &Graph,
    i: usize,
    after: &Graph,
    j: usize,
    paired: Paired<'_>,
) -> Inputs {
    let (a, b) = (&before.steps[i], &after.steps[j]);
    let known =
        |x: usize, y: usize| paired(x, y) || before.steps[x].canonical == after.steps[y].canonical;
    if a.body("exec").is_some() && b.body("exec").is_some() {
        return exec::inputs(a, b, &known);
    }
    if let (Some(x), Some(y)) = (a.body("file"), b.body("file")) {
        return file::inputs(a, b, (x, y));
    }
    if a.body("merge").is_some() {
        return merged(before, a, after, b, &known);
    }
    let mut roles = Inputs::default();
    for side in 0..a.inputs.len().max(b.inputs.len()) {
        roles.add(at(a, side), at(b, side));
    }
    roles
}

/// The input that a side of a diff is; of other operations the one of that number.
fn at(step: &Step, side: usize) -> Option<usize> {
    let Some(diff) = step.body("diff") else {
        return (side < step.inputs.len()).then_some(side);
    };
    let name = ["lower", "upper"].get(side)?;
    super::graph::input_index(diff.get(*name)?.get("input"))
}

/// What is merged, as sequences.
fn merged(before: &Graph, a: &Step, after: &Graph, b: &Step, paired: Paired<'_>) -> Inputs {
    let (x, y) = (&a.inputs, &b.inputs);
    // A step has the signature of the first step of the other side that it is a pair of.
    let signature = |graph: &Graph, step: Option<usize>| {
        hash(&step.map(|step| graph.steps[step].canonical.clone()))
    };
    let of_before = |i: usize| {
        let pair = y.iter().find(|link| match (x[i].step, link.step) {
            (Some(x), Some(y)) => paired(x, y),
            _ => false,
        });
        match pair {
            Some(link) => signature(after, link.step),
            None => signature(before, x[i].step),
        }
    };
    let kind = |graph: &Graph, step: Option<usize>| step.map(|step| graph.steps[step].kind);
    // A step that was taken out leaves another kind of step in its place.
    let likeness = |i: usize, j: usize| {
        let same = kind(before, x[i].step) == kind(after, y[j].step);
        Some(if same { 1.0 } else { 0.2 })
    };
    let pairs = align(
        (x.len(), y.len()),
        1,
        (&|_, i| of_before(i), &|_, j| signature(after, y[j].step)),
        &likeness,
    );
    let mut roles = Inputs {
        shared: pairs,
        alone: Vec::new(),
    };
    let (left, right): (Vec<usize>, Vec<usize>) = roles.shared.iter().copied().unzip();
    for i in (0..x.len()).filter(|i| !left.contains(i)) {
        roles.add(Some(i), None);
    }
    for j in (0..y.len()).filter(|j| !right.contains(j)) {
        roles.add(None, Some(j));
    }
    roles
}
