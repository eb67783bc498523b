//! The record graph: which records the daemon keeps for each output, and how they are linked.
//!
//! An output has no record, one, or several that stand for each other: an image is known by its
//! descriptor and by its layers. A record of an operation has for each input the records of that
//! input with the operation's selector, and, where the input is hashed, the record of its content
//! with an empty selector. A local directory has none, its key is random; what has an input without
//! any link has none either.
//!
//! Before v0.25, if all inputs from some position on have no link, the record has only those before.
//!
//! # Twins
//! Two outputs whose records have the same digest and, for every input, a common link are one to
//! the daemon: it runs one of them and hands its result to both. An input is compared by its
//! content where that is known, by the record otherwise; several records that stand for each other
//! count as one. So twins are found by one look into a map per output, whatever the graph.
//!
//! The record then has the links of both, except one that would make it its own ancestor.

use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};

use super::graph::Edge;
use crate::{Digest, cachemap};

/// Output in the digest of a content record.
const CONTENT_OUTPUT: i64 = -1;

/// What is known about the keys of an output.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    /// Records that stand for it.
    pub(super) records: Vec<usize>,
    /// What is missing for more.
    pub(super) unknown: Vec<usize>,
    /// Before v0.25: there was a record that lacks an input in the middle, and was dropped with
    /// all links to it.
    pub(super) is_broken: bool,
    /// Equal for outputs that the daemon takes for the same.
    pub(super) class: Option<usize>,
}

impl Keys {
    /// Adds the keys of another output that the same result has.
    pub(super) fn or(&mut self, other: &Self) {
        for &record in &other.records {
            if !self.records.contains(&record) {
                self.records.push(record);
            }
        }
        self.unknown.extend(&other.unknown);
        self.class = other.class.or(self.class);
    }
}

/// A link to another record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) selector: Option<Digest>,
    pub(super) record: usize,
}

pub(super) struct Record {
    pub(super) digest: Digest,
    pub(super) inputs: Vec<Vec<Link>>,
    /// Inputs with links that are not known, and what is missing.
    pub(super) unknown: Vec<(usize, usize)>,
    /// Outputs it stands for.
    pub(super) edges: Vec<Edge>,
    /// Twins came with links of their own.
    pub(super) merged: bool,
    /// Classes of the images it is linked to.
    images: Vec<usize>,
    /// It got links after others were linked to it.
    late: bool,
}

/// One input of an operation, as a twin is looked for.
#[derive(PartialEq, Eq, Hash)]
enum Look {
    Content(usize),
    Class(Option<Digest>, usize),
}

/// What an input contributes.
pub(super) struct Input<'a> {
    pub(super) selector: Option<&'a Digest>,
    pub(super) keys: &'a Keys,
    /// The content digest, or what is missing for it; `None` if there is none.
    pub(super) content: Option<Result<&'a Digest, usize>>,
}

#[derive(Default)]
pub(super) struct Records {
    /// Where the last inputs have no link, the record has only those before, instead of none.
    cuts_inputs: bool,
    pub(super) records: Vec<Record>,
    roots: HashMap<Digest, usize>,
    twins: HashMap<(Digest, Vec<Look>), usize>,
    /// First records of images by class.
    images: HashMap<usize, BTreeSet<usize>>,
}

impl Records {
    pub(super) fn new(cuts_inputs: bool) -> Self {
        Self {
            cuts_inputs,
            ..Self::default()
        }
    }

    /// A record without inputs.
    fn root(&mut self, digest: Digest, edge: Option<Edge>) -> usize {
        let at = match self.roots.get(&digest) {
            Some(&at) => at,
            None => {
                let at = self.push(digest.clone(), Vec::new(), Vec::new());
                self.roots.insert(digest, at);
                at
            }
        };
        self.records[at].edges.extend(edge);
        at
    }

    fn push(
        &mut self,
        digest: Digest,
        inputs: Vec<Vec<Link>>,
        unknown: Vec<(usize, usize)>,
    ) -> usize {
        self.records.push(Record {
            digest,
            inputs,
            unknown,
            edges: Vec::new(),
            merged: false,
            images: Vec::new(),
            late: false,
        });
        self.records.len() - 1
    }

    /// The record of some content.
    pub(super) fn content(&mut self, content: &Digest) -> usize {
        self.root(cachemap::record(content, CONTENT_OUTPUT), None)
    }

    /// The keys of an operation or source without inputs.
    pub(super) fn without_inputs(&mut self, edge: Edge, cache_map: &Digest) -> Keys {
        let record = self.root(cachemap::record(cache_map, edge.output), Some(edge));
        Keys {
            records: vec![record],
            class: Some(record),
            ..Keys::default()
        }
    }

    /// The keys of an image; `chain` is its second cache map, or what is missing for it.
    pub(super) fn image(
        &mut self,
        edge: Edge,
        cache_map: &Digest,
        chain: Result<&Digest, usize>,
    ) -> Keys {
        let mut keys = self.without_inputs(edge, cache_map);
        let first = keys.records[0];
        match chain {
            Ok(chain) if chain != cache_map => {
                let second = self.root(cachemap::record(chain, edge.output), Some(edge));
                keys.records.push(second);
                keys.class = Some(second);
                self.images.entry(second).or_default().insert(first);
            }
            Ok(_) => {}
            Err(missing) => keys.unknown.push(missing),
        }
        keys
    }

    /// The keys of an output of an operation with inputs.
    pub(super) fn with_inputs(
        &mut self,
        edge: Edge,
        cache_map: &Digest,
        inputs: &[Input<'_>],
    ) -> Keys {
        let digest = cachemap::record(cache_map, edge.output);
        let mut links: Vec<Vec<Link>> = Vec::with_capacity(inputs.len());
        let mut looks = Vec::with_capacity(inputs.len());
        let mut unknown = Vec::new();
        let mut images = Vec::new();
        let mut linked = Vec::with_capacity(inputs.len());
        for (position, input) in inputs.iter().enumerate() {
            images.extend(input.keys.class);
            let (of_input, look, missing) = self.links(input);
            linked.push(!of_input.is_empty() || !missing.is_empty());
            unknown.extend(missing.into_iter().map(|lack| (position, lack)));
            links.push(of_input);
            looks.push(look);
        }
        if linked.contains(&false) {
            match self.kept(inputs, &linked) {
                Ok(0) => return self.without_inputs(edge, cache_map),
                Ok(kept) => {
                    links.truncate(kept);
                    looks.truncate(kept);
                }
                Err(keys) => return keys,
            }
        }
        images.retain(|class| self.images.contains_key(class));
        // An input that is known by nothing has no twin.
        let looks: Option<Vec<Look>> = looks.into_iter().collect();
        let twin = looks.map(|looks| (digest.clone(), looks));
        let record = match twin.as_ref().and_then(|twin| self.twins.get(twin)) {
            Some(&record) => {
                self.unite(record, links);
                self.records[record].unknown.extend(unknown);
                record
            }
            None => self.push(digest, links, unknown),
        };
        if let Some(twin) = twin {
            self.twins.entry(twin).or_insert(record);
        }
        self.records[record].edges.push(edge);
        self.records[record].images.extend(images);
        Keys {
            records: vec![record],
            class: Some(record),
            ..Keys::default()
        }
    }

    /// The links to one input, how a twin has it, and what is missing for more links.
    fn links(&mut self, input: &Input<'_>) -> (Vec<Link>, Option<Look>, Vec<usize>) {
        let mut links: Vec<Link> = Vec::new();
        let mut add = |selector: Option<&Digest>, record| {
            let link = Link {
                selector: selector.cloned(),
                record,
            };
            if !links.contains(&link) {
                links.push(link);
            }
        };
        for &record in &input.keys.records {
            add(input.selector, record);
        }
        let mut missing = input.keys.unknown.clone();
        let class = input.keys.class;
        let mut look = class.map(|class| Look::Class(input.selector.cloned(), class));
        match input.content {
            None => {}
            Some(Ok(content)) => {
                let record = self.content(content);
                add(None, record);
                look = Some(Look::Content(record));
            }
            Some(Err(lack)) => missing.push(lack),
        }
        (links, look, missing)
    }

    /// How many inputs a record keeps of which some have no link; the keys if there is no record.
    fn kept(&self, inputs: &[Input<'_>], linked: &[bool]) -> Result<usize, Keys> {
        if !self.cuts_inputs {
            return Err(Keys::default());
        }
        let was_linked = inputs
            .iter()
            .zip(linked)
            .map(|(input, linked)| *linked || input.keys.is_broken);
        let kept = was_linked.collect::<Vec<_>>();
        let kept = kept
            .iter()
            .rposition(|linked| *linked)
            .map_or(0, |at| at + 1);
        if linked[..kept].contains(&false) {
            return Err(Keys {
                is_broken: true,
                ..Keys::default()
            });
        }
        Ok(kept)
    }

    /// Adds the links of a twin.
    fn unite(&mut self, record: usize, links: Vec<Vec<Link>>) {
        for (input, links) in links.into_iter().enumerate() {
            for link in links {
                if self.records[record].inputs[input].contains(&link) {
                    continue;
                }
                if self.is_below(link.record, record) {
                    continue;
                }
                let united = &mut self.records[record];
                united.inputs[input].push(link);
                united.merged = true;
                united.late = true;
            }
        }
    }

    /// Whether `record` is `other` or is linked, over any number of others, to it. A record is
    /// younger than those it is linked to, unless it got links late.
    fn is_below(&self, record: usize, other: usize) -> bool {
        let mut seen = HashSet::new();
        let mut pending = vec![record];
        while let Some(at) = pending.pop() {
            if at == other {
                return true;
            }
            if (at > other || self.records[at].late) && seen.insert(at) {
                let links = self.records[at].inputs.iter().flatten();
                pending.extend(links.map(|link| link.record));
            }
        }
        false
    }

    /// Marks what is linked to an image that the daemon may take for another one with the same
    /// layers. Which of the descriptors its records are then linked to depends on which image was
    /// first, so they get links to all of them.
    pub(super) fn mark_images(&mut self) {
        for record in &mut self.records {
            for class in &record.images {
                let descriptors = &self.images[class];
                if descriptors.len() < 2 {
                    continue;
                }
                record.merged = true;
                for links in &mut record.inputs {
                    let to_image: Vec<Link> = links
                        .iter()
                        .filter(|link| link.record == *class || descriptors.contains(&link.record))
                        .cloned()
                        .collect();
                    for Link { selector, .. } in to_image {
                        for &descriptor in descriptors {
                            let link = Link {
                                selector: selector.clone(),
                                record: descriptor,
                            };
                            if !links.contains(&link) {
                                links.push(link);
                            }
                        }
                    }
                }
            }
        }
    }
}
