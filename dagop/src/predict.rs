//! `dagop predict`: the keys of a marshalled LLB definition, as data and as a table.
//!
//! The work is [`solver::predict`]'s; here is what goes in (files and names from the command line)
//! and how the answer looks. Records have the form and the order of a cacheconfig document, so that
//! they can be compared with one line by line.

mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use snapshots::content::ContentStore;
use solver::cachemap::{self, Choice, Facts, Profile};
use solver::llb::{Definition, Output, Vertex};
use solver::predict::{Content, Inputs, Known, Prediction, Record};

use crate::error::{Error, Kind};

/// What to predict, and from what.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// An encoded `pb.Definition`: what `buildctl build` reads from its standard input.
    pub llb: Vec<u8>,
    /// Directories by the name of local sources.
    pub locals: Vec<(String, PathBuf)>,
    /// OCI layout directories by the id of the store that image sources name.
    pub layouts: Vec<(String, PathBuf)>,
    /// Release of the daemon; the newest known one if `None`.
    pub version: Option<String>,
    /// Also what digests of cache maps are the hash of.
    pub preimages: bool,
}

/// The answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The release that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether the formulas were compared with a daemon of that age.
    pub proven: bool,
    /// The vertices, inputs first.
    pub vertices: Vec<VertexReport>,
    /// The records, as in a cacheconfig document.
    pub records: Vec<RecordReport>,
    /// What is missing for a complete answer.
    pub missing: Vec<MissingReport>,
}

/// One vertex.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VertexReport {
    /// Raw digest.
    pub digest: String,
    /// Digest without session noise.
    pub canonical: String,
    /// Name for people.
    pub name: String,
    /// Kind of operation.
    pub kind: &'static str,
    /// Digest of its cache map; absent where that is not known, or for a local directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_map: Option<String>,
    /// Of an image, the digest of the second cache map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Its inputs.
    pub inputs: Vec<InputReport>,
    /// Its outputs, as far as they are used.
    pub outputs: Vec<OutputReport>,
    /// What the digest of the cache map is the hash of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preimages: Vec<String>,
}

/// One input.
#[derive(Debug, Clone, Serialize)]
pub struct InputReport {
    /// Raw digest of the vertex that makes it.
    pub vertex: String,
    /// Which output of that.
    pub output: i64,
    /// Which part is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Digest of its content, where it is a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Position in the list of what is missing, where the content is a key and not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<usize>,
}

/// One output.
#[derive(Debug, Clone, Serialize)]
pub struct OutputReport {
    /// Its index.
    pub output: i64,
    /// Positions of its records.
    pub records: Vec<usize>,
    /// Positions in the list of what is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<usize>,
}

/// One record.
#[derive(Debug, Clone, Serialize)]
pub struct RecordReport {
    /// Digest of cache map and output, or of content.
    pub digest: String,
    /// Links by input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Vec<LinkReport>>,
    /// Inputs whose links are not all known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownReport>,
    /// The daemon may merge vertices here and export some of the links only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub merged: bool,
}

/// A link.
#[derive(Debug, Clone, Serialize)]
pub struct LinkReport {
    /// Which part is used; absent for content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Position of the record.
    pub link: usize,
}

/// An input whose links are not all known.
#[derive(Debug, Clone, Serialize)]
pub struct UnknownReport {
    /// The input.
    pub input: usize,
    /// Position in the list of what is missing.
    pub missing: usize,
}

/// Something that is missing.
#[derive(Debug, Clone, Serialize)]
pub struct MissingReport {
    /// Raw digest of the vertex it belongs to.
    pub vertex: String,
    /// Its name.
    pub name: String,
    /// Which output, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<i64>,
    /// What it is.
    pub reason: String,
}

/// Predicts the keys of a definition.
///
/// # Errors
///
/// Of usage: a release that is no version or too old, a definition that cannot be read. Of input: a
/// layout that is none.
pub fn predict(options: &Options) -> Result<Report, Error> {
    let choice = choose(options.version.as_deref())?;
    let definition = Definition::decode(&options.llb).map_err(|error| {
        let text = format!("the LLB definition cannot be read: {error}");
        Error::new(Kind::Usage, text)
            .with_hint("it is what `buildctl build` reads, and what `dagop run --dump-llb` writes")
    })?;
    let known = inputs(options)?;
    let prediction = solver::predict::predict(&definition, &known, choice.profile)
        .map_err(|error| Error::new(Kind::Usage, format!("the LLB definition: {error}")))?;
    let preimages = if options.preimages {
        preimages(&definition, &known, choice.profile)?
    } else {
        BTreeMap::new()
    };
    Ok(report(options, choice, &prediction, preimages))
}

fn choose(version: Option<&str>) -> Result<Choice, Error> {
    let Some(version) = version else {
        return Ok(Choice {
            profile: Profile::NEWEST,
            is_proven: true,
        });
    };
    Profile::of_version(version).ok_or_else(|| {
        let text = format!("{version:?} is no release of BuildKit from v0.12 on");
        Error::new(Kind::Usage, text)
    })
}

fn inputs(options: &Options) -> Result<Known, Error> {
    let mut known = Known {
        locals: options.locals.iter().cloned().collect(),
        ..Known::default()
    };
    for (name, root) in &known.locals {
        if !root.is_dir() {
            let text = format!(
                "local directory {name:?}: {} is no directory",
                root.display()
            );
            return Err(Error::input(text));
        }
    }
    for (name, root) in &options.layouts {
        let store = ContentStore::open_existing(root)
            .map_err(|error| Error::input(format!("OCI layout {name:?}: {error}")))?;
        known.layouts.insert(name.clone(), Arc::new(store));
    }
    Ok(known)
}

/// Preimages by raw digest of the vertex, of those whose cache map is known.
fn preimages(
    definition: &Definition,
    known: &Known,
    profile: Profile,
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut found = BTreeMap::new();
    let result = definition.output();
    let result = result.map_err(|error| Error::new(Kind::Usage, error.to_string()))?;
    let mut pending: Vec<Arc<Vertex>> = Vec::new();
    pending.extend(result.as_ref().map(|output| Arc::clone(output.vertex())));
    while let Some(vertex) = pending.pop() {
        if found.contains_key(vertex.digest().as_str()) {
            continue;
        }
        let inputs = vertex.inputs().iter().map(Output::vertex).cloned();
        pending.extend(inputs);
        let source = vertex.source().map(|_| known.source(&vertex));
        let source = source.transpose().ok().flatten().flatten();
        let facts = Facts {
            platform: known.platform(),
            resolved: source.and_then(|source| source.resolved),
        };
        let texts = cachemap::preimages(&vertex, profile, &facts).unwrap_or_default();
        found.insert(vertex.digest().to_string(), texts);
    }
    Ok(found)
}

fn report(
    options: &Options,
    choice: Choice,
    prediction: &Prediction,
    mut preimages: BTreeMap<String, Vec<String>>,
) -> Report {
    let digest = |at: usize| prediction.vertices[at].digest.to_string();
    let vertices = prediction.vertices.iter().map(|vertex| VertexReport {
        digest: vertex.digest.to_string(),
        canonical: vertex.canonical.to_string(),
        name: vertex.name.clone(),
        kind: vertex.kind.as_str(),
        cache_map: vertex.cache_map.as_ref().map(|map| map.digest.to_string()),
        chain: vertex.chain.as_ref().map(ToString::to_string),
        inputs: vertex
            .inputs
            .iter()
            .enumerate()
            .map(|(at, input)| {
                let map = vertex.cache_map.as_ref().and_then(|map| map.inputs.get(at));
                let selector = map.and_then(|map| map.selector.as_ref());
                let (content, unknown) = match &input.content {
                    Content::Unused => (None, None),
                    Content::Known(digest) => (Some(digest.to_string()), None),
                    Content::Unknown(lack) => (None, Some(*lack)),
                };
                InputReport {
                    vertex: digest(input.vertex),
                    output: input.output,
                    selector: selector.map(ToString::to_string),
                    content,
                    unknown,
                }
            })
            .collect(),
        outputs: vertex
            .outputs
            .iter()
            .map(|output| OutputReport {
                output: output.output,
                records: output.records.clone(),
                unknown: output.unknown.clone(),
            })
            .collect(),
        preimages: preimages.remove(vertex.digest.as_str()).unwrap_or_default(),
    });
    let missing = prediction.missing.iter().map(|missing| MissingReport {
        vertex: digest(missing.vertex),
        name: prediction.vertices[missing.vertex].name.clone(),
        output: missing.output,
        reason: missing.what.to_string(),
    });
    Report {
        version: options.version.clone(),
        proven: choice.is_proven,
        vertices: vertices.collect(),
        records: prediction.records.iter().map(record).collect(),
        missing: missing.collect(),
    }
}

fn record(record: &Record) -> RecordReport {
    let link = |link: &solver::predict::Link| LinkReport {
        selector: link.selector.as_ref().map(ToString::to_string),
        link: link.record,
    };
    let unknown = record.unknown.iter();
    RecordReport {
        digest: record.digest.to_string(),
        inputs: record
            .inputs
            .iter()
            .map(|links| links.iter().map(link).collect())
            .collect(),
        unknown: unknown
            .map(|&(input, missing)| UnknownReport { input, missing })
            .collect(),
        merged: record.merged,
    }
}
