//! Which records of a cache are those of a predicted graph.
//!
//! A record of the cache is a predicted one if the digests are equal and, input by input, one of
//! its links is a predicted link: same selector, and leading to a record that is the predicted one
//! in turn. Where a prediction lacks the content of an input, the cache knows it: what is beside a
//! predicted link is that content, and is reported as what was learnt. Where an input has no
//! predicted link at all, as a directory that was not hashed, any content can be taken for it; that
//! is right for a cache of the predicted build itself ([`matches()`]), and a guess for any other one
//! ([`known_matches`] does not make it).
//!
//! Predicted records are visited below first, and candidates are found through the links of what
//! is already matched, so that a thousand steps with the same digest cost no more than others.

use std::collections::{HashMap, HashSet};

use super::{Config, Link, canonical};
use crate::{Digest, predict};

/// What [`matches()`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    /// By predicted record: positions in the cache.
    pub records: Vec<Vec<usize>>,
    /// By predicted record: inputs with the cache's records of their content, where the prediction
    /// did not know it.
    pub contents: Vec<Vec<(usize, usize)>>,
}

/// Finds predicted records in a cache that the predicted build wrote.
#[must_use]
pub fn matches(prediction: &predict::Prediction, cache: &Config) -> Matches {
    find(Search::new(prediction, cache, true))
}

/// Finds predicted records in any cache; those that only an unknown content could lead to are not
/// found.
#[must_use]
pub fn known_matches(prediction: &predict::Prediction, cache: &Config) -> Matches {
    find(Search::new(prediction, cache, false))
}

fn find(mut search: Search<'_>) -> Matches {
    for position in search.order() {
        search.visit(position);
    }
    search.found
}

struct Search<'a> {
    predicted: &'a [predict::Record],
    cache: &'a Config,
    by_digest: HashMap<&'a Digest, Vec<usize>>,
    /// Records of the cache that link to each.
    above: Vec<Vec<usize>>,
    found: Matches,
    /// Whether any content may stand for one that is unknown.
    learns: bool,
}

impl<'a> Search<'a> {
    fn new(prediction: &'a predict::Prediction, cache: &'a Config, learns: bool) -> Self {
        let mut by_digest: HashMap<&Digest, Vec<usize>> = HashMap::new();
        let mut above = vec![Vec::new(); cache.records.len()];
        for (position, record) in cache.records.iter().enumerate() {
            by_digest.entry(&record.digest).or_default().push(position);
            for link in record.inputs.iter().flatten() {
                above[link.record].push(position);
            }
        }
        let count = prediction.records.len();
        Self {
            learns,
            predicted: &prediction.records,
            cache,
            by_digest,
            above,
            found: Matches {
                records: vec![Vec::new(); count],
                contents: vec![Vec::new(); count],
            },
        }
    }

    /// Predicted records, linked ones first.
    fn order(&self) -> Vec<usize> {
        canonical::order(&predict::as_cache(self.predicted).records)
    }

    fn visit(&mut self, position: usize) {
        let predicted = &self.predicted[position];
        let mut contents = Vec::new();
        let mut matched = Vec::new();
        for candidate in self.candidates(predicted) {
            let before = contents.len();
            if self.is_match(predicted, candidate, &mut contents) {
                matched.push(candidate);
            } else {
                contents.truncate(before);
            }
        }
        contents.sort_unstable();
        contents.dedup();
        self.found.records[position] = matched;
        self.found.contents[position] = contents;
    }

    /// Records of the cache that may be this one.
    fn candidates(&self, predicted: &predict::Record) -> Vec<usize> {
        let linked = predicted.inputs.iter().enumerate().find(|(input, links)| {
            !links.is_empty()
                && !predicted
                    .unknown
                    .iter()
                    .any(|(unknown, _)| unknown == input)
        });
        let Some((_, links)) = linked else {
            let same = self.by_digest.get(&predicted.digest);
            return same.cloned().unwrap_or_default();
        };
        let mut seen = HashSet::new();
        links
            .iter()
            .flat_map(|link| &self.found.records[link.record])
            .flat_map(|&below| &self.above[below])
            .copied()
            .filter(|&above| self.cache.records[above].digest == predicted.digest)
            .filter(|&above| seen.insert(above))
            .collect()
    }

    fn is_match(
        &self,
        predicted: &predict::Record,
        candidate: usize,
        contents: &mut Vec<(usize, usize)>,
    ) -> bool {
        let record = &self.cache.records[candidate];
        if record.inputs.len() != predicted.inputs.len() {
            return false;
        }
        let inputs = record.inputs.iter().zip(&predicted.inputs).enumerate();
        for (input, (links, wanted)) in inputs {
            let is_wanted = |link: &Link| {
                wanted.iter().any(|want| {
                    want.selector == link.selector
                        && self.found.records[want.record].contains(&link.record)
                })
            };
            let mut fits = links.iter().any(is_wanted);
            if predicted
                .unknown
                .iter()
                .any(|(unknown, _)| *unknown == input)
            {
                let of_content = links.iter().filter(|link| {
                    let linked = &self.cache.records[link.record];
                    link.selector.is_none() && linked.inputs.is_empty() && !is_wanted(link)
                });
                if fits || (self.learns && wanted.is_empty()) {
                    for link in of_content {
                        contents.push((input, link.record));
                        fits = true;
                    }
                }
            }
            if !fits {
                return false;
            }
        }
        true
    }
}
