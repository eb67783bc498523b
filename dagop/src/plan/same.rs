//! Whether a planned step has a key of an earlier one.
//!
//! Two steps have a key in common if their cache maps are equal and, input by input, either what
//! makes the input has a key in common and the same part of it is used, or the content is equal. This
//! is how the daemon finds candidates (the links of an input are alternatives, the inputs must
//! agree), spelled over two graphs instead of one store of links.
//!
//! A local directory has no key that outlives its session: only content can lead through it.

use super::graph::{Graph, Input, Step};
use super::index::Index;
use crate::ledger::VertexKind;

/// Whether two things are the same. Ordered: what is surer of sameness is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Same {
    No,
    Maybe,
    Yes,
}

impl Same {
    fn of(equal: bool) -> Self {
        if equal { Self::Yes } else { Self::No }
    }
}

/// The comparison of the planned steps with those of one earlier build.
pub(super) struct Relation<'a> {
    planned: &'a Graph,
    earlier: &'a Graph,
    /// By position of the planned step, the earlier ones that can be the same.
    same: Vec<Vec<(usize, Same)>>,
}

impl<'a> Relation<'a> {
    pub(super) fn new(planned: &'a Graph, earlier: &'a Graph) -> Self {
        let index = Index::new(earlier);
        let mut relation = Self {
            planned,
            earlier,
            same: Vec::with_capacity(planned.steps.len()),
        };
        for step in &planned.steps {
            let candidates = index.candidates(step, &relation.same).into_iter();
            let like = candidates
                .map(|other| (other, relation.compare(step, &earlier.steps[other])))
                .filter(|(_, same)| *same != Same::No)
                .collect();
            relation.same.push(like);
        }
        relation
    }

    /// Whether a planned step has a key of an earlier one.
    pub(super) fn same(&self, planned: usize, earlier: usize) -> Same {
        let mut like = self.like(planned);
        let found = like.find(|(step, _)| *step == earlier);
        found.map_or(Same::No, |(_, same)| same)
    }

    /// The earlier steps whose key a planned step has, or may have.
    pub(super) fn like(&self, planned: usize) -> impl Iterator<Item = (usize, Same)> {
        let like = self.same.get(planned);
        like.into_iter().flatten().copied()
    }

    fn compare(&self, step: &Step, other: &Step) -> Same {
        if step.is_source() || other.is_source() {
            return source(step, other);
        }
        if step.kind != other.kind {
            return Same::No;
        }
        let map = match (&step.cache_map, &other.cache_map) {
            (Some(map), Some(other)) => Same::of(map == other),
            _ => Same::Maybe,
        };
        let (Some(inputs), Some(others)) = (&step.inputs, &other.inputs) else {
            return map.min(Same::Maybe);
        };
        if inputs.len() != others.len() {
            return Same::No;
        }
        let pairs = inputs.iter().zip(others);
        let inputs = pairs.map(|(input, other)| self.input(input, other));
        inputs.min().unwrap_or(Same::Yes).min(map)
    }

    fn input(&self, input: &Input, other: &Input) -> Same {
        self.link(input, other).max(self.content(input, other))
    }

    /// Whether an input has the content of another.
    fn content(&self, input: &Input, other: &Input) -> Same {
        if !input.keyed_by_content || !other.keyed_by_content {
            return Same::No;
        }
        match (&input.content, &other.content) {
            (Some(content), Some(other)) => Same::of(content == other),
            _ if self.other_download(input, other) => Same::No,
            _ => Same::Maybe,
        }
    }

    /// Whether both are of one file that was downloaded, and the bytes differ.
    fn other_download(&self, input: &Input, other: &Input) -> bool {
        let checksum = |graph: &'a Graph, input: &Input| {
            let step = &graph.steps[input.step.filter(|_| input.exact)?];
            step.checksum.as_deref()
        };
        let checksums = checksum(self.planned, input).zip(checksum(self.earlier, other));
        checksums.is_some_and(|(one, other)| one != other)
    }

    /// Whether what makes an input leads to the same place.
    fn link(&self, input: &Input, other: &Input) -> Same {
        let (Some(step), Some(of)) = (input.step, other.step) else {
            return Same::Maybe;
        };
        if input.output != other.output || input.selector != other.selector {
            return Same::No;
        }
        self.same(step, of)
    }

    /// Of the inputs of a planned step, the first of which it is not known whether what makes it is
    /// that of an earlier step: what makes it in the plan, and in the earlier build. Positions fall
    /// from a step to its inputs.
    pub(super) fn first_doubt(
        &self,
        step: &Step,
        earlier: usize,
    ) -> Option<(usize, Option<usize>)> {
        let others = self.earlier.steps[earlier].inputs.as_ref()?;
        let mut pairs = step.inputs.as_ref()?.iter().zip(others);
        let doubt = pairs.find(|(input, other)| self.link(input, other) == Same::Maybe);
        let (input, other) = doubt?;
        Some((input.step?, other.step))
    }

    /// Of the inputs of a planned step whose content is known, the first that is not known of an
    /// earlier step: what makes it in the plan.
    pub(super) fn unknown_before(&self, step: &Step, earlier: usize) -> Option<usize> {
        let others = self.earlier.steps[earlier].inputs.as_ref()?;
        let mut pairs = step.inputs.as_ref()?.iter().zip(others);
        let unknown = pairs.find(|(input, other)| {
            let keyed = input.keyed_by_content && other.keyed_by_content;
            keyed && input.content.is_some() && other.content.is_none()
        });
        unknown?.0.step
    }

    /// As [`Self::link`], of the input of a pair of steps.
    pub(super) fn link_of(&self, planned: usize, earlier: usize, input: usize) -> Same {
        let inputs = |step: &'a Step| step.inputs.as_ref()?.get(input);
        let planned = inputs(&self.planned.steps[planned]);
        match planned.zip(inputs(&self.earlier.steps[earlier])) {
            Some((input, other)) => self.link(input, other),
            None => Same::Maybe,
        }
    }
}

fn source(step: &Step, other: &Step) -> Same {
    if step.kind == VertexKind::Local || other.kind == VertexKind::Local || step.kind != other.kind
    {
        return Same::No;
    }
    if step.records.intersection(&other.records).next().is_some() {
        return Same::Yes;
    }
    // With both keys known on both sides there is nothing left to have in common.
    if is_known(step) && is_known(other) {
        return Same::No;
    }
    Same::Maybe
}

/// Whether all records of a source are known: an image has two.
pub(super) fn is_known(step: &Step) -> bool {
    match step.kind {
        VertexKind::Image | VertexKind::Source => step.records.len() > 1,
        _ => !step.records.is_empty(),
    }
}
