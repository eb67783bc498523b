//! Earlier steps by what a planned step must have in common with them: so that each step is compared
//! with the few that it can be, also where hundreds of steps run the same command over different
//! inputs.
//!
//! A step that may have a key of the planned one has the same cache map, and of the first input the
//! same maker or the same content. Where either is not known, the other decides, and where neither
//! is, all steps with that cache map are candidates. Sources are compared by their records.

use std::collections::HashMap;

use super::graph::{Graph, Step};
use super::same::{Same, is_known};
use crate::ledger::VertexKind;

/// Positions of steps.
type Places = Vec<usize>;

/// See the module.
#[derive(Default)]
pub(super) struct Index<'a> {
    by_map: HashMap<&'a str, Places>,
    /// By cache map and what makes the first input.
    by_link: HashMap<(&'a str, usize), Places>,
    /// By cache map and the content of the first input.
    by_content: HashMap<(&'a str, &'a str), Places>,
    /// By cache map, those of whose first input too little is known.
    open: HashMap<&'a str, Places>,
    /// Those without a known cache map.
    without_map: HashMap<VertexKind, Places>,
    by_kind: HashMap<VertexKind, Places>,
    /// Sources by their records.
    by_record: HashMap<&'a str, Places>,
    /// Sources that may have more records than are known.
    sources: HashMap<VertexKind, Places>,
}

impl<'a> Index<'a> {
    pub(super) fn new(graph: &'a Graph) -> Self {
        let mut index = Self::default();
        for (place, step) in graph.steps.iter().enumerate() {
            index.by_kind.entry(step.kind).or_default().push(place);
            if step.is_source() {
                index.add_source(place, step);
            } else {
                index.add(place, step);
            }
        }
        index
    }

    fn add_source(&mut self, place: usize, step: &'a Step) {
        for record in &step.records {
            self.by_record.entry(record).or_default().push(place);
        }
        if !is_known(step) {
            self.sources.entry(step.kind).or_default().push(place);
        }
    }

    fn add(&mut self, place: usize, step: &'a Step) {
        let Some(map) = step.cache_map.as_deref() else {
            self.without_map.entry(step.kind).or_default().push(place);
            return;
        };
        self.by_map.entry(map).or_default().push(place);
        let first = step.inputs.as_ref().and_then(|inputs| inputs.first());
        let made = first.and_then(|input| Some((input, input.step?)));
        let Some((input, maker)) = made else {
            self.open.entry(map).or_default().push(place);
            return;
        };
        self.by_link.entry((map, maker)).or_default().push(place);
        match &input.content {
            Some(content) => {
                let places = self.by_content.entry((map, content)).or_default();
                places.push(place);
            }
            None if input.keyed_by_content => self.open.entry(map).or_default().push(place),
            None => {}
        }
    }

    /// The steps that a planned one may be, in order. `like` are those that the steps behind its
    /// inputs may be.
    pub(super) fn candidates(&self, step: &'a Step, like: &[Vec<(usize, Same)>]) -> Places {
        let mut found = Places::new();
        let mut add = |places: Option<&Places>| found.extend(places.into_iter().flatten());
        if step.kind == VertexKind::Local {
            return found;
        }
        if step.is_source() {
            for record in &step.records {
                add(self.by_record.get(record.as_str()));
            }
            add(match is_known(step) {
                true => self.sources.get(&step.kind),
                false => self.by_kind.get(&step.kind),
            });
        } else if let Some(map) = step.cache_map.as_deref() {
            add(self.without_map.get(&step.kind));
            let first = step.inputs.as_ref().and_then(|inputs| inputs.first());
            match first.and_then(|input| Some((input, input.step?))) {
                Some((input, maker)) if !input.keyed_by_content || input.content.is_some() => {
                    for (earlier, _) in like.get(maker).into_iter().flatten() {
                        add(self.by_link.get(&(map, *earlier)));
                    }
                    if let Some(content) = &input.content {
                        add(self.by_content.get(&(map, content.as_str())));
                    }
                    add(self.open.get(map));
                }
                _ => add(self.by_map.get(map)),
            }
        } else {
            add(self.by_kind.get(&step.kind));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
