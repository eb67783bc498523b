//! Whether the steps of a recorded build are in a cache outside of the daemon, and if not, which
//! link of the chain breaks first.
//!
//! ```text
//! ledger ─> graph ─> links.rs    the build's records and links, as a cache would have them
//!                      │
//!   remote ─> Held ────┤         one document per cache behind the name
//!                      ▼
//!                   check.rs     record there, or where the chain to it breaks
//!                      │
//!   remote.stat ───────┤         are the blobs of its layers there
//!                      ▼
//!                   table.rs     a line per step; JSON says the same
//! ```
//! A step is in a cache if the cache has its record *with the same links* down to the sources.
//! There are only three ways for a chain to break at a step: its own key is not in the cache, the
//! files that it takes from an input are others, or the cache has the operation over other inputs.
//! Everything above such a step is missing for the same reason, and says so.
//!
//! A record without layers is no mistake: caches keep none for sources, and with `mode=min` none
//! for steps whose files are not part of the result. Where the blob of a layer is gone, the daemon
//! takes the record as if it had no files.
//!
//! What the ledger does not tell (a key that depended on a name that nobody resolved, content that
//! was never hashed) is [`InCache::Unknown`], with what is missing.

mod check;
mod links;
mod table;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use solver::Digest;
use solver::backend::CacheBackend;
use solver::backend::session::AuthProvider;
use solver::registry::Stored;

use super::graph::{Graph, Step};
use super::{Error, StepName, name};
use crate::ledger::{Evidence, Reader};
use crate::platform::Platform;
use crate::remote::{self, Held, Remote};
use crate::report::Report;

use check::{Check, Verdict};
use links::Wanted;

/// Blobs that are asked for at the same time.
const STATS_AT_ONCE: usize = 8;

/// What is asked of a cache.
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheQuestion<'a> {
    /// The build, as [`Reader::find`] takes it.
    pub build: &'a str,
    /// Only these steps, as [`Report::select`] takes it; all if absent.
    pub step: Option<&'a str>,
    /// Of an index only the image for this platform.
    pub platform: Option<&'a str>,
}

/// What a cache has of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheAnswer {
    /// Id of the build.
    pub build: String,
    /// Name of the cache.
    pub cache: String,
    /// What is behind the name.
    pub held: Vec<HeldCache>,
    /// The steps, inputs first.
    pub steps: Vec<StepInCache>,
}

/// One cache behind a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldCache {
    /// Digest of its manifest.
    pub manifest: String,
    /// In a registry, in a directory, or in the config of an image.
    pub kind: Evidence,
    /// The platform of the image whose config it is in.
    pub platform: Option<String>,
    /// How many records it has.
    pub records: usize,
    /// How many layers.
    pub layers: usize,
}

/// A step, and what a cache has of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepInCache {
    /// The step.
    pub step: StepName,
    /// The platform that it asks for.
    pub platform: Option<String>,
    /// What the cache has.
    pub status: InCache,
    /// Its records.
    pub records: Vec<RecordInCache>,
    /// Where the chain to it breaks, the first place first.
    pub breaks: Vec<Break>,
    /// There are more such places than are named.
    pub more: bool,
    /// All of that as one sentence.
    pub sentence: String,
}

/// What a cache has of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InCache {
    /// Its record and the blobs of its layers.
    Complete,
    /// Its record, and no layers with it.
    KeyOnly,
    /// Its record, and a blob of its layers is gone.
    BlobMissing,
    /// No record, or one with other links.
    Missing,
    /// That cannot be told.
    Unknown,
    /// Nothing, because it has no key: a directory that a client sends.
    NoKey,
}

/// A record of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordInCache {
    /// The output of the step that it is of.
    pub output: u64,
    /// Its digest.
    pub digest: String,
    /// Whether the cache has it, with all its links.
    pub found: bool,
    /// The layers of its result, lowest first.
    pub layers: Vec<BlobInCache>,
}

/// A blob of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobInCache {
    /// Its digest.
    pub blob: String,
    /// Whether it is where the cache is.
    pub there: bool,
    /// Its size there, if it is another one than the cache says.
    pub wrong_size: Option<u64>,
}

impl BlobInCache {
    /// Whether the daemon can take it.
    fn is_usable(&self) -> bool {
        self.there && self.wrong_size.is_none()
    }
}

/// A place where the chain of links breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The step.
    pub step: StepName,
    /// How it breaks there.
    pub cause: BreakCause,
    /// The same as a sentence.
    pub sentence: String,
}

/// How a chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum BreakCause {
    /// No record has the step's key.
    Key {
        /// What the cache has in its place, where the ledger knows it.
        instead: Option<Instead>,
    },
    /// The cache is for another platform.
    Platform {
        /// The step's.
        wanted: String,
        /// The cache's.
        has: String,
    },
    /// The files that the step takes from an input are others.
    Content {
        /// Which input.
        input: usize,
        /// Name of the step that makes it.
        of: String,
    },
    /// The cache has this operation over another input.
    Link {
        /// Which input.
        input: usize,
        /// Name of the step that makes it.
        of: String,
    },
    /// The ledger does not tell the step's key.
    NoRecord,
    /// The ledger does not tell the content of an input, or what makes it.
    NoContent {
        /// Which input.
        input: usize,
    },
}

/// A step that a cache has where it does not have another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instead {
    /// Its name.
    pub name: String,
    /// Id of the newest build that the ledger knows it from.
    pub build: String,
    /// The platform that it asks for.
    pub platform: Option<String>,
}

/// What a cache has of the steps of a recorded build.
///
/// # Errors
/// A build or step that is not there, a cache that cannot be read, no image for the platform.
pub async fn in_cache(
    ledger: &Reader,
    question: CacheQuestion<'_>,
    cache: &CacheBackend,
    auth: Arc<dyn AuthProvider>,
    workdir: &Path,
) -> Result<CacheAnswer, Error> {
    let build = ledger.find(question.build)?;
    let graph = Graph::read(ledger, build)?;
    let chosen = chosen(ledger, &graph, question)?;
    let platform = match question.platform {
        Some(text) => {
            let platform = Platform::parse(text);
            let platform = platform.map_err(|e| remote::Error::Name(e.message().to_owned()))?;
            Some(platform.to_string())
        }
        None => None,
    };
    let remote = Remote::open(cache, auth, workdir).await?;
    let held = caches(&remote, platform.as_deref()).await?;
    let wanted = Wanted::of(&graph);
    let checks = held.iter().map(|held| Check::new(&graph, &wanted, held));
    let mut checks: Vec<Check<'_>> = checks.collect();
    let steps: Vec<usize> = (0..graph.steps.len())
        .filter(|&place| chosen.as_ref().is_none_or(|only| only.contains(&place)))
        .filter(|&place| graph.steps[place].is_described())
        .collect();
    let blobs = blobs(&remote, &checks, &steps).await?;
    let mut answered = Vec::with_capacity(steps.len());
    for place in steps {
        let mut best: Option<StepInCache> = None;
        for check in &mut checks {
            let step = answer(ledger, &graph, check, place, &blobs)?;
            if best.as_ref().is_none_or(|best| step.status < best.status) {
                best = Some(step);
            }
        }
        answered.extend(best);
    }
    Ok(CacheAnswer {
        build: graph.build.id.clone(),
        cache: remote.name().to_owned(),
        held: held.iter().filter_map(described).collect(),
        steps: answered,
    })
}

fn described(held: &Held) -> Option<HeldCache> {
    let (config, kind) = held.cache.as_ref()?;
    Some(HeldCache {
        manifest: held.manifest.to_string(),
        kind: *kind,
        platform: held.platform.clone(),
        records: config.records.len(),
        layers: config.layers.len(),
    })
}

/// Places of the steps that were asked for; none for all.
fn chosen(
    ledger: &Reader,
    graph: &Graph,
    question: CacheQuestion<'_>,
) -> Result<Option<BTreeSet<usize>>, Error> {
    let Some(step) = question.step else {
        return Ok(None);
    };
    let selected = Report::read(ledger, &graph.build.id)?.select(step);
    let raws: BTreeSet<&str> = selected.vertices.iter().map(|v| v.raw.as_str()).collect();
    let is_chosen = |step: &Step| step.raws.iter().any(|raw| raws.contains(raw.as_str()));
    let steps = graph.steps.iter().enumerate();
    let places = steps
        .filter(|(_, step)| is_chosen(step))
        .map(|(place, _)| place);
    let places: BTreeSet<usize> = places.collect();
    if places.is_empty() {
        return Err(Error::NoStep {
            build: graph.build.id.clone(),
            step: step.to_owned(),
        });
    }
    Ok(Some(places))
}

/// The caches behind a name, of an index those for one platform if that is wanted.
async fn caches(remote: &Remote, platform: Option<&str>) -> Result<Vec<Held>, remote::Error> {
    let mut held = remote.read().await?;
    if let Some(wanted) = platform {
        let fits = |held: &Held| held.platform.as_deref().is_none_or(|own| own == wanted);
        if !held.iter().any(fits) {
            return Err(remote::Error::Platform {
                name: remote.name().to_owned(),
                platform: wanted.to_owned(),
                has: held
                    .iter()
                    .filter_map(|held| held.platform.clone())
                    .collect(),
            });
        }
        held.retain(fits);
    }
    held.retain(|held| held.cache.is_some());
    if held.is_empty() {
        return Err(remote::Error::NoCache(remote.name().to_owned()));
    }
    Ok(held)
}

/// What is there of some blobs.
type Blobs = HashMap<Digest, Option<Stored>>;

/// Which blobs of the layers of some steps are there.
async fn blobs(
    remote: &Remote,
    checks: &[Check<'_>],
    steps: &[usize],
) -> Result<Blobs, remote::Error> {
    let mut wanted: BTreeSet<Digest> = BTreeSet::new();
    for check in checks {
        for &place in steps {
            wanted.extend(check.blobs(place));
        }
    }
    let asked = stream::iter(wanted).map(|digest| async move {
        let stored = remote.stat(&digest).await?;
        Ok::<_, remote::Error>((digest, stored))
    });
    asked.buffer_unordered(STATS_AT_ONCE).try_collect().await
}

/// What one cache has of a step.
fn answer(
    ledger: &Reader,
    graph: &Graph,
    check: &mut Check<'_>,
    place: usize,
    blobs: &Blobs,
) -> Result<StepInCache, Error> {
    let step = &graph.steps[place];
    let records = check.records(place, blobs);
    let (status, breaks, more) = match check.verdict(place) {
        Verdict::NoKey => (InCache::NoKey, Vec::new(), false),
        Verdict::Found => (of_blobs(&records), Vec::new(), false),
        Verdict::Broken(broken) => {
            let (causes, more) = (broken.causes.clone(), broken.more);
            let mut breaks = Vec::with_capacity(causes.len());
            for (at, cause) in causes {
                let cause = match cause {
                    BreakCause::Key { .. } => check.instead(ledger, at)?,
                    known => known,
                };
                breaks.push(Break {
                    step: name(&graph.steps[at]),
                    sentence: table::cause(&cause),
                    cause,
                });
            }
            let is_unknown = |cause: &Break| {
                let cause = &cause.cause;
                matches!(cause, BreakCause::NoRecord | BreakCause::NoContent { .. })
            };
            let status = match breaks.iter().all(is_unknown) {
                true => InCache::Unknown,
                false => InCache::Missing,
            };
            (status, breaks, more)
        }
    };
    let mut answered = StepInCache {
        step: name(step),
        platform: platform(step),
        status,
        records,
        breaks,
        more,
        sentence: String::new(),
    };
    answered.sentence = table::sentence(&answered, step.inputs.is_empty());
    Ok(answered)
}

/// What a step whose records are there has of blobs.
fn of_blobs(records: &[RecordInCache]) -> InCache {
    let layers = || records.iter().flat_map(|record| &record.layers);
    if layers().any(|layer| !layer.is_usable()) {
        return InCache::BlobMissing;
    }
    match records.iter().any(|record| !record.layers.is_empty()) {
        true => InCache::Complete,
        false => InCache::KeyOnly,
    }
}

/// The platform that an operation asks for.
fn platform(step: &Step) -> Option<String> {
    platform_of(&step.fields)
}

fn platform_of(fields: &serde_json::Value) -> Option<String> {
    let platform = fields.get("platform")?;
    let part = |name: &str| platform.get(name).and_then(serde_json::Value::as_str);
    let parts = [part("OS"), part("Architecture"), part("Variant")];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    let text = parts.join("/");
    Some(Platform::parse(&text).map_or(text, |platform| platform.to_string()))
}
