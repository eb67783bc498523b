//! One cache against one build: which records are there, and where the chains break.
//!
//! Steps are looked at inputs first. A step whose record is there needs no reason. Of any other:
//! if the cache has no record of its key, it breaks here. If it has, the one is taken that shares
//! most links with what is wanted, and each input without a shared link is looked at: where the
//! step below is missing as well, its reasons are this step's; else the chain breaks here, at this
//! input. A step may so have several reasons, of which [`BREAKS_MAX`] are kept.

use std::collections::{BTreeSet, HashMap, HashSet};

use solver::Digest;
use solver::cacheconfig::{self, Config, Matches};

use super::super::graph::{Graph, Step, take_salts};
use super::links::Wanted;
use super::{BlobInCache, Blobs, BreakCause, Error, Instead, RecordInCache, platform, platform_of};
use crate::ledger::{Reader, VertexKind};
use crate::remote::Held;

/// Reasons kept of one step.
const BREAKS_MAX: usize = 8;

/// Records with the key of a step that are compared with what is wanted.
const CANDIDATES_MAX: usize = 1000;

/// Records in the place of a step that the ledger is asked for.
const INSTEAD_MAX: usize = 16;

/// What became of a step.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// It has no key.
    NoKey,
    /// Its records are there.
    Found,
    /// They are not.
    Broken(Broken),
}

/// Where the chains to a step break: steps with how.
#[derive(Clone, Debug, Default)]
pub(super) struct Broken {
    pub(super) causes: Vec<(usize, BreakCause)>,
    pub(super) more: bool,
}

impl Broken {
    fn add(&mut self, at: usize, cause: BreakCause) {
        if self
            .causes
            .iter()
            .any(|(step, known)| *step == at && *known == cause)
        {
            return;
        }
        if self.causes.len() == BREAKS_MAX {
            self.more = true;
            return;
        }
        self.causes.push((at, cause));
    }

    fn extend(&mut self, other: &Self) {
        for (at, cause) in &other.causes {
            self.add(*at, cause.clone());
        }
        self.more |= other.more;
    }
}

/// See the module.
pub(super) struct Check<'a> {
    graph: &'a Graph,
    wanted: &'a Wanted,
    platform: Option<&'a str>,
    config: &'a Config,
    matches: Matches,
    by_digest: HashMap<&'a Digest, Vec<usize>>,
    /// Positions of records that are the build's own.
    ours: HashSet<usize>,
    verdicts: Vec<Verdict>,
    /// What is in the place of steps whose keys the cache does not have, as far as it was asked:
    /// all steps above such a step want to know.
    instead: HashMap<usize, BreakCause>,
}

impl<'a> Check<'a> {
    /// Compares a build with a cache. An image without one has no records.
    pub(super) fn new(graph: &'a Graph, wanted: &'a Wanted, held: &'a Held) -> Self {
        static EMPTY: Config = Config {
            layers: Vec::new(),
            records: Vec::new(),
        };
        let config = held.cache.as_ref().map_or(&EMPTY, |(config, _)| config);
        let mut by_digest: HashMap<&Digest, Vec<usize>> = HashMap::new();
        for (position, record) in config.records.iter().enumerate() {
            by_digest.entry(&record.digest).or_default().push(position);
        }
        let matches = cacheconfig::known_matches(&wanted.prediction, config);
        let mut check = Self {
            graph,
            wanted,
            platform: held.platform.as_deref(),
            config,
            ours: matches.records.iter().flatten().copied().collect(),
            matches,
            by_digest,
            verdicts: Vec::with_capacity(graph.steps.len()),
            instead: HashMap::new(),
        };
        for place in 0..graph.steps.len() {
            let verdict = check.judge(place);
            check.verdicts.push(verdict);
        }
        check
    }

    pub(super) fn verdict(&self, place: usize) -> &Verdict {
        &self.verdicts[place]
    }

    /// The steps below are judged already.
    fn judge(&self, place: usize) -> Verdict {
        let step = &self.graph.steps[place];
        let keys = &self.wanted.keys[place];
        let mut broken = Broken::default();
        if keys.is_empty() {
            if step.kind == VertexKind::Local {
                return Verdict::NoKey;
            }
            broken.add(place, BreakCause::NoRecord);
            return Verdict::Broken(broken);
        }
        let outputs: BTreeSet<u64> = keys.iter().map(|(output, _)| *output).collect();
        for output in outputs {
            let own = || keys.iter().filter(|(of, _)| *of == output);
            let is_there = |(_, record): &&(u64, usize)| !self.matches.records[*record].is_empty();
            // An image has two; one is enough, and what breaks one of them breaks both.
            if let (None, Some((_, record))) = (own().find(is_there), own().next()) {
                self.breaks(place, *record, &mut broken);
            }
        }
        match broken.causes.is_empty() {
            true => Verdict::Found,
            false => {
                // Steps are numbered inputs first: the earliest is the first link to break.
                broken.causes.sort_by_key(|(at, _)| *at);
                Verdict::Broken(broken)
            }
        }
    }

    /// Whether a record of the cache has a wanted link for an input.
    fn shares(&self, record: usize, position: usize, input: usize) -> bool {
        let wanted = &self.wanted.prediction.records[record].inputs;
        let links = self.config.records[position].inputs.get(input);
        let (Some(wanted), Some(links)) = (wanted.get(input), links) else {
            return false;
        };
        links.iter().any(|link| {
            wanted.iter().any(|want| {
                want.selector == link.selector
                    && self.matches.records[want.record].contains(&link.record)
            })
        })
    }

    /// Notes where the chain to a record breaks.
    fn breaks(&self, place: usize, record: usize, broken: &mut Broken) {
        let step = &self.graph.steps[place];
        let wanted = &self.wanted.prediction.records[record];
        let inputs = wanted.inputs.len();
        let same_key = self.by_digest.get(&wanted.digest).into_iter().flatten();
        let misses = same_key
            .filter(|&&position| self.config.records[position].inputs.len() == inputs)
            .take(CANDIDATES_MAX)
            .map(|&position| {
                let missed = (0..inputs).filter(|&input| !self.shares(record, position, input));
                missed.collect::<Vec<usize>>()
            });
        let nearest = misses.min_by_key(Vec::len);
        let missed = match nearest {
            // All links are there, but not in one record: then they are no chain.
            Some(missed) => missed,
            None => {
                broken.add(place, self.own_key(step));
                (0..inputs).collect()
            }
        };
        for input in missed {
            self.breaks_at(place, record, input, broken);
        }
        if broken.causes.is_empty() {
            broken.add(place, BreakCause::Key { instead: None });
        }
    }

    fn own_key(&self, step: &Step) -> BreakCause {
        match (platform(step), self.platform) {
            (Some(wanted), Some(has)) if wanted != has => BreakCause::Platform {
                wanted,
                has: has.to_owned(),
            },
            _ => BreakCause::Key { instead: None },
        }
    }

    /// Notes why an input of a step has no wanted link.
    fn breaks_at(&self, place: usize, record: usize, input: usize, broken: &mut Broken) {
        let own_key = broken.causes.iter().any(|(at, _)| *at == place);
        let link = &self.graph.steps[place].inputs[input];
        let Some(below) = link.step else {
            if !own_key {
                broken.add(place, BreakCause::NoContent { input });
            }
            return;
        };
        let wanted = &self.wanted.prediction.records[record];
        // Other files may be the same: then it is there by their content, whatever is below.
        if !own_key && wanted.unknown.iter().any(|(unknown, _)| *unknown == input) {
            broken.add(place, BreakCause::NoContent { input });
            return;
        }
        if let Verdict::Broken(reasons) = &self.verdicts[below] {
            broken.extend(reasons);
            return;
        }
        // Where its own key differs nothing can be said of its links.
        if own_key {
            return;
        }
        let of = self.graph.steps[below].name.clone();
        let cause = match link.content {
            Some(_) => BreakCause::Content { input, of },
            None => BreakCause::Link { input, of },
        };
        broken.add(place, cause);
    }

    /// What the cache has in the place of a step whose key it does not have: a record over the same
    /// inputs that is none of this build's, by the name that the ledger has for it.
    pub(super) fn instead(&mut self, ledger: &Reader, place: usize) -> Result<BreakCause, Error> {
        if let Some(known) = self.instead.get(&place) {
            return Ok(known.clone());
        }
        let found = self.find_instead(ledger, place)?;
        self.instead.insert(place, found.clone());
        Ok(found)
    }

    fn find_instead(&self, ledger: &Reader, place: usize) -> Result<BreakCause, Error> {
        let step = &self.graph.steps[place];
        let below: HashSet<usize> = self.wanted.keys[place]
            .iter()
            .flat_map(|(_, record)| {
                self.wanted.prediction.records[*record]
                    .inputs
                    .iter()
                    .flatten()
            })
            .flat_map(|link| self.matches.records[link.record].iter().copied())
            .collect();
        let is_source = step.inputs.is_empty();
        let records = self.config.records.iter().enumerate();
        let in_its_place = records.filter(|(position, record)| {
            let mut links = record.inputs.iter().flatten();
            let fits = match is_source {
                true => record.inputs.is_empty(),
                false => links.any(|link| below.contains(&link.record)),
            };
            fits && !self.ours.contains(position)
        });
        for (_, record) in in_its_place.take(INSTEAD_MAX) {
            let Some(known) = ledger.with_record(record.digest.as_str())? else {
                continue;
            };
            if known.kind != step.kind {
                continue;
            }
            let fields = ledger.operation(&known.canonical)?.map(|mut operation| {
                take_salts(&mut operation.fields, operation.inputs.len());
                operation.fields
            });
            let has = fields.as_ref().and_then(platform_of);
            if let (Some(wanted), Some(has), Some(fields)) = (platform(step), &has, &fields)
                && wanted != *has
                && without_platform(fields) == without_platform(&step.fields)
            {
                let has = has.clone();
                return Ok(BreakCause::Platform { wanted, has });
            }
            let instead = Some(Instead {
                name: known.name,
                build: known.build,
                platform: has,
            });
            return Ok(BreakCause::Key { instead });
        }
        Ok(BreakCause::Key { instead: None })
    }

    /// The blobs of everything that the cache has for a step.
    pub(super) fn blobs(&self, place: usize) -> impl Iterator<Item = Digest> + '_ {
        let keys = self.wanted.keys[place].iter();
        let found = keys.flat_map(|(_, record)| &self.matches.records[*record]);
        let tops = found.flat_map(|&position| &self.config.records[position].results);
        let layers = tops.flat_map(|&top| self.config.chain(top));
        layers.map(|layer| self.config.layers[layer].blob.clone())
    }

    /// The records of a step, with the layers of the most complete result.
    pub(super) fn records(&self, place: usize, blobs: &Blobs) -> Vec<RecordInCache> {
        let record = |&(output, record): &(u64, usize)| {
            let found = &self.matches.records[record];
            let results = found
                .iter()
                .flat_map(|&position| &self.config.records[position].results)
                .map(|&top| self.layers(top, blobs));
            let gone = |layers: &Vec<BlobInCache>| {
                let gone = layers.iter().filter(|layer| !layer.is_usable());
                gone.count()
            };
            RecordInCache {
                output,
                digest: self.wanted.prediction.records[record].digest.to_string(),
                found: !found.is_empty(),
                layers: results.min_by_key(gone).unwrap_or_default(),
            }
        };
        self.wanted.keys[place].iter().map(record).collect()
    }

    fn layers(&self, top: usize, blobs: &Blobs) -> Vec<BlobInCache> {
        let layer = |position: usize| {
            let layer = &self.config.layers[position];
            let there = blobs.get(&layer.blob).copied().flatten();
            let differs = |size: &u64| layer.size.is_some_and(|expected| expected != *size);
            BlobInCache {
                blob: layer.blob.to_string(),
                there: there.is_some(),
                wrong_size: there.and_then(|stored| stored.size).filter(differs),
            }
        };
        self.config.chain(top).into_iter().map(layer).collect()
    }
}

/// An operation without its platform.
fn without_platform(fields: &serde_json::Value) -> serde_json::Value {
    let mut fields = fields.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("platform");
    }
    fields
}
