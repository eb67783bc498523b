//! The join of what we know of a graph with what a BuildKit cache knows.
//!
//! A vertex is named by digests of ours, a cache record by digests and links of the daemon's. The
//! prediction of a graph's keys ([`solver::predict`]) has both: it says of each output which
//! records it has. So a record of a cache belongs to a vertex if it is one of those that were
//! predicted ([`solver::cacheconfig::matches`]); its layers then are the vertex's. Content that we
//! did not hash is learnt from the cache on the way, if this build wrote it.
//!
//! Everything here is a pure function of graph, prediction and document; getting hold of them is
//! the session's business.

use std::collections::{HashMap, HashSet};

use snapshots::digest::Digest;
use snapshots::image;
use solver::cacheconfig::{self, Config};
use solver::cachemap::{self, Profile};
use solver::llb::{self, Constraints, Definition, Output};
use solver::predict::{self, Content, Inputs, Prediction};

use crate::ledger::{ContentRow, Evidence, Facts, Imported, ImportedRow, LayerRow, RecordRow};

/// The keys of everything that `outputs` need; none if there is nothing to predict.
///
/// # Errors
/// A graph that is not sound.
pub(crate) fn predict(
    outputs: &[Output],
    inputs: &dyn Inputs,
    profile: Profile,
) -> Result<Prediction, llb::Error> {
    let all: Vec<Option<Output>> = outputs.iter().cloned().map(Some).collect();
    // A merge of all is a graph of all; it is not built, and nobody is told of its own keys.
    let root = match &all[..] {
        [] => return Ok(Prediction::default()),
        [only] => only.clone(),
        _ => llb::merge(&all, Constraints::default()),
    };
    let definition = Definition::marshal(root.as_ref(), &Constraints::default());
    predict::predict(&definition, inputs, profile)
}

/// What the prediction itself says.
pub fn predicted(prediction: &Prediction) -> Facts {
    let canonical = canonical(prediction);
    let mut facts = Facts::default();
    for vertex in &prediction.vertices {
        for output in &vertex.outputs {
            for &record in &output.records {
                facts.records.push(RecordRow {
                    vertex: vertex.digest.to_string(),
                    output: unsigned(output.output),
                    evidence: Evidence::Predicted,
                    digest: prediction.records[record].digest.to_string(),
                    canonical: canonical[record].clone(),
                    layer: None,
                });
            }
        }
        for (input, keys) in vertex.inputs.iter().enumerate() {
            if let Content::Known(digest) = &keys.content {
                facts.contents.push(ContentRow {
                    vertex: vertex.digest.to_string(),
                    input: input as u64,
                    record: cachemap::record(digest, CONTENT_OUTPUT).to_string(),
                    evidence: Evidence::Predicted,
                });
            }
        }
    }
    facts
}

/// The output in whose name the content of an input is a record.
const CONTENT_OUTPUT: i64 = -1;

/// Canonical digests of predicted records; none where a link below is not known, or where the
/// daemon may have dropped one.
fn canonical(prediction: &Prediction) -> Vec<Option<String>> {
    let records = &prediction.records;
    // What is unsure makes everything that links to it unsure.
    let mut above = vec![Vec::new(); records.len()];
    let mut unsure = vec![false; records.len()];
    let mut pending = Vec::new();
    for (position, record) in records.iter().enumerate() {
        for link in record.inputs.iter().flatten() {
            above[link.record].push(position);
        }
        if record.merged || !record.unknown.is_empty() {
            pending.push(position);
        }
    }
    while let Some(position) = pending.pop() {
        if !std::mem::replace(&mut unsure[position], true) {
            pending.extend_from_slice(&above[position]);
        }
    }
    let digests = prediction.as_cache().canonical().into_iter().zip(unsure);
    digests
        .map(|(digest, unsure)| (!unsure).then(|| digest.to_string()))
        .collect()
}

/// Whose cache it is that a graph is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// This build's: what it did not hash can be learnt from it.
    ThisBuild,
    /// Anybody's.
    Anybody,
}

/// What a cache says of a predicted graph.
pub(crate) fn found(
    prediction: &Prediction,
    cache: &Config,
    evidence: Evidence,
    writer: Writer,
) -> Facts {
    let matches = match writer {
        Writer::ThisBuild => cacheconfig::matches(prediction, cache),
        Writer::Anybody => cacheconfig::known_matches(prediction, cache),
    };
    let canonical = cache.canonical();
    let mut facts = Facts {
        layers: layers(cache),
        ..Facts::default()
    };
    for vertex in &prediction.vertices {
        for output in &vertex.outputs {
            for &predicted in &output.records {
                for &position in &matches.records[predicted] {
                    let record = &cache.records[position];
                    facts.records.push(RecordRow {
                        vertex: vertex.digest.to_string(),
                        output: unsigned(output.output),
                        evidence,
                        digest: record.digest.to_string(),
                        canonical: Some(canonical[position].to_string()),
                        layer: record.results.first().map(|&layer| layer as u64),
                    });
                }
                for &(input, position) in &matches.contents[predicted] {
                    facts.contents.push(ContentRow {
                        vertex: vertex.digest.to_string(),
                        input: input as u64,
                        record: cache.records[position].digest.to_string(),
                        evidence,
                    });
                }
            }
        }
    }
    facts
}

/// What an imported cache, which may be of several documents, has of each output of a predicted
/// graph. `blobs` says of blobs whether they are there; of others that is not known, and no blob is
/// said to be missing.
pub(crate) fn imported<'a>(
    prediction: &Prediction,
    configs: impl Iterator<Item = &'a Config>,
    import: u64,
    blobs: &HashMap<solver::Digest, bool>,
) -> Facts {
    let canonical = canonical(prediction);
    let configs: Vec<_> = configs
        .map(|config| {
            let records = config.records.iter().map(|record| &record.digest);
            let digests: HashSet<_> = records.collect();
            let matches = cacheconfig::known_matches(prediction, config);
            (config, digests, matches)
        })
        .collect();
    let mut facts = Facts::default();
    for vertex in &prediction.vertices {
        for output in &vertex.outputs {
            let mut best = None;
            for &predicted in &output.records {
                let record = &prediction.records[predicted];
                for (config, digests, matches) in &configs {
                    let found = &matches.records[predicted];
                    for &position in found {
                        best = better(best, held(config, position, blobs));
                    }
                    let alike = digests.contains(&record.digest);
                    if found.is_empty() && alike && canonical[predicted].is_none() {
                        best = better(best, (Imported::Unclear, None));
                    }
                }
            }
            // Nothing is known of the key of an output without predicted records.
            if output.records.is_empty() {
                continue;
            }
            let (state, blob) = best.unwrap_or((Imported::NoRecord, None));
            facts.imported.push(ImportedRow {
                import,
                vertex: vertex.digest.to_string(),
                output: unsigned(output.output),
                state,
                blob,
            });
        }
    }
    facts
}

/// What a cache has of one of its records.
type Holding = (Imported, Option<String>);

fn better(best: Option<Holding>, other: Holding) -> Option<Holding> {
    match best {
        Some(best) if best.0.rank() >= other.0.rank() => Some(best),
        _ => Some(other),
    }
}

/// Whether the layers of a record's first result are there.
fn held(config: &Config, position: usize, blobs: &HashMap<solver::Digest, bool>) -> Holding {
    let mut next = config.records[position].results.first().copied();
    if next.is_none() {
        return (Imported::NoResult, None);
    }
    // A layer's parent has a smaller number, so that this ends.
    while let Some(number) = next {
        let layer = &config.layers[number];
        if blobs.get(&layer.blob) == Some(&false) {
            return (Imported::NoBlob, Some(layer.blob.to_string()));
        }
        next = layer.parent.filter(|&parent| parent < number);
    }
    (Imported::Whole, None)
}

/// The layers of a cache as rows, with chain ids where all diff ids below are known.
fn layers(cache: &Config) -> Vec<LayerRow> {
    let mut chains: Vec<Option<Digest>> = Vec::with_capacity(cache.layers.len());
    let mut rows = Vec::with_capacity(cache.layers.len());
    for (number, layer) in cache.layers.iter().enumerate() {
        let diff_id = layer.diff_id.as_ref();
        let diff_id = diff_id.and_then(|digest| Digest::parse(digest.as_str()).ok());
        let chain = match (layer.parent, &diff_id) {
            (_, None) => None,
            (None, Some(own)) => Some(own.clone()),
            (Some(parent), Some(own)) => {
                let below = chains[parent].clone();
                below.and_then(|below| image::chain_ids(&[below, own.clone()]).pop())
            }
        };
        rows.push(LayerRow {
            number: number as u64,
            parent: layer.parent.map(|parent| parent as u64),
            blob: layer.blob.to_string(),
            diff_id: diff_id.map(|id| id.to_string()),
            chain_id: chain.as_ref().map(ToString::to_string),
            size: layer.size,
            media_type: layer.media_type.clone(),
        });
        chains.push(chain);
    }
    rows
}

/// What the manifest of an image says of the vertex that made its root file system: its layers,
/// which end with that vertex's.
pub(crate) fn image(
    output: &Output,
    prediction: &Prediction,
    layers: Vec<cacheconfig::Layer>,
) -> Facts {
    let config = Config {
        layers,
        records: Vec::new(),
    };
    let layers = self::layers(&config);
    let keys = prediction
        .vertices
        .iter()
        .find(|keys| keys.digest == *output.digest());
    let outputs = keys.map_or(&[][..], |keys| &keys.outputs);
    let records = outputs
        .iter()
        .filter(|keys| keys.output == output.index())
        .flat_map(|keys| &keys.records);
    let canonical = canonical(prediction);
    let records = records.map(|&record| RecordRow {
        vertex: output.digest().to_string(),
        output: unsigned(output.index()),
        evidence: Evidence::Image,
        digest: prediction.records[record].digest.to_string(),
        canonical: canonical[record].clone(),
        layer: layers.len().checked_sub(1).map(|top| top as u64),
    });
    Facts {
        records: records.collect(),
        layers,
        ..Facts::default()
    }
}

/// Outputs of vertices are never negative; the -1 of content is none.
fn unsigned(output: i64) -> u64 {
    u64::try_from(output).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use solver::llb::exec::Exec;
    use solver::llb::file::{CopyOptions, FileOp};
    use solver::llb::source::{self, LocalOptions};

    use super::*;

    fn step(base: Option<Output>, word: &str) -> Output {
        let exec = Exec::new(base, ["/step", word]).constraints(Constraints::default());
        exec.build().unwrap().root().unwrap().clone()
    }

    fn prediction(outputs: &[Output]) -> Prediction {
        predict(outputs, &predict::Nothing, Profile::NEWEST).unwrap()
    }

    #[test]
    fn two_results_are_one_graph() {
        let base = step(None, "base");
        let (left, right) = (step(Some(base.clone()), "l"), step(Some(base), "r"));
        let facts = predicted(&prediction(&[left.clone(), right.clone()]));
        for output in [left, right] {
            let records = facts.records.iter();
            let own: Vec<_> = records
                .filter(|r| r.vertex == output.digest().as_str())
                .collect();
            assert_eq!(own.len(), 1);
            assert!(own[0].canonical.is_some());
        }
    }

    #[test]
    fn a_record_above_unknown_content_has_no_canonical_digest() {
        let local = source::local("src", LocalOptions::default());
        let copy = FileOp::new(None).copy(local, "/a", "/b", CopyOptions::default());
        let copy = copy.build(Constraints::default()).unwrap();
        let top = step(Some(copy), "use");
        let facts = predicted(&prediction(&[top]));
        assert_eq!(facts.records.len(), 2);
        assert!(
            facts
                .records
                .iter()
                .all(|record| record.canonical.is_none())
        );
    }

    #[test]
    fn a_chain_id_ends_where_a_diff_id_is_missing() {
        let digest = |number: u8| solver::Digest::sha256(&[number]);
        let layer = |number: u8, parent, diff_id: Option<u8>| cacheconfig::Layer {
            blob: digest(number),
            parent,
            diff_id: diff_id.map(digest),
            size: None,
            media_type: None,
        };
        let config = Config {
            layers: vec![
                layer(0, None, Some(10)),
                layer(1, Some(0), Some(11)),
                layer(2, Some(1), None),
                layer(3, Some(2), Some(13)),
            ],
            records: Vec::new(),
        };
        let rows = layers(&config);
        assert_eq!(rows[0].chain_id, rows[0].diff_id);
        let text = format!("{} {}", digest(10), digest(11));
        let chain = solver::Digest::sha256(text.as_bytes()).to_string();
        assert_eq!(rows[1].chain_id.as_deref(), Some(chain.as_str()));
        assert_eq!((&rows[2].chain_id, &rows[3].chain_id), (&None, &None));
    }
}
