//! The graphs that `dagop run` really sends have the predicted records: for every document of
//! `examples/`, the records, selectors and links that follow from the definitions it solved equal
//! those of the cache that the daemon exports for the same run with `mode=max`.
//!
//! ```text
//! dagop run EXAMPLE --dump-llb FOLDER --export-cache type=local,mode=max,dest=CACHE
//!     FOLDER: definitions -> one graph -> prediction  <- local directories, image archives
//!     CACHE:  records of the daemon                   <- compared as graphs, both ways
//! dagop keys --json:  the records that dagop itself predicted -> the same
//! ```
//! What a command writes is not at hand here. Where its content is a key, that is learnt from the
//! exported cache, as the ledger's join does it, and counted; everything else has to be predicted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use integration::dagop::Dagop;
use serde_json::Value;
use snapshots::content::{ContentProvider, ContentStore, DOCUMENT_SIZE_MAX, read_all};
use solver::{
    cacheconfig::{self, Config, Place},
    cachemap::Profile,
    llb::{self, Constraints, Definition, Kind, Output},
    predict::{Known, Lack, Prediction, VertexKeys, predict},
};

use crate::predict_compare::{Record, differences, exported, is_part, predicted, without};

/// Folders of a run, below the user's.
const DEFINITIONS: &str = "definitions";
const CACHE: &str = "cache";

/// The flags with which a run leaves behind what is compared.
pub(crate) fn flags(user: &Dagop) -> Vec<String> {
    let definitions = user.work().join(DEFINITIONS);
    fs::create_dir(&definitions).unwrap();
    vec![
        "--dump-llb".to_owned(),
        definitions.display().to_string(),
        "--export-cache".to_owned(),
        format!("type=local,mode=max,dest={CACHE}"),
    ]
}

/// Compares what a run with [`flags`] left behind; prints figures under the name.
///
/// `layouts` are the content stores of image archives that the run read.
#[expect(clippy::print_stderr, reason = "figures, for whoever runs it by hand")]
pub(crate) fn compare(
    user: &Dagop,
    name: &str,
    layouts: BTreeMap<String, Arc<dyn ContentProvider>>,
) {
    let outputs = definitions(&user.work().join(DEFINITIONS));
    let (document, config) = cache(&user.work().join(CACHE));
    let version = user.run(["version", "--json"]).unwrap().json().unwrap();
    let version = version["daemon"]["version"].as_str().unwrap();
    let profile = Profile::for_version(version).unwrap();
    let prediction = prediction(&outputs, layouts, profile);
    for missing in &prediction.missing {
        let vertex = &prediction.vertices[missing.vertex];
        assert!(
            matches!(missing.what, Lack::ExecFiles | Lack::Files(_)) && vertex.kind != Kind::Source,
            "{name}: {}: {}",
            vertex.name,
            missing.what
        );
    }
    let mut records = predicted(&prediction);
    let learnt = learn(&mut records, &prediction, &config);
    let mut merged: Vec<bool> = prediction.records.iter().map(|r| r.merged).collect();
    merged.resize(records.len(), false);
    let mut vertices = &prediction.vertices[..];
    if outputs.len() > 1 {
        if let Some(root) = root(&prediction) {
            records = without(&records, root);
            merged.remove(root);
        }
        vertices = &vertices[..vertices.len() - 1];
    }
    let theirs = exported(&document);
    let (what, different) = match merged.contains(&true) {
        false => ("equal", differences(&records, &theirs)),
        true => (
            "merged",
            is_part(&theirs, &records, &merged).into_iter().collect(),
        ),
    };
    assert!(different.is_empty(), "{name}: {different:#?}");
    let recorded = recorded(user, vertices, &prediction, &config);
    eprintln!(
        "{name}: {what}: {} definitions, {} vertices, {} records, {} contents of commands' files \
         learnt; {recorded} predicted by dagop itself",
        outputs.len(),
        vertices.len(),
        theirs.len(),
        learnt
    );
}

/// The results of all definitions in a folder, in order of their names.
fn definitions(folder: &Path) -> Vec<Output> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no definition was written");
    let outputs = paths.iter().map(|path| {
        let definition = Definition::decode(&fs::read(path).unwrap()).unwrap();
        definition.output().unwrap().unwrap()
    });
    outputs.collect()
}

/// The cacheconfig document of a local cache, raw and read.
fn cache(folder: &Path) -> (Value, Config) {
    let store = ContentStore::open_existing(folder).unwrap();
    let read = |digest: &str| {
        let digest = snapshots::Digest::parse(digest).unwrap();
        read_all(&store, &digest, DOCUMENT_SIZE_MAX).unwrap()
    };
    let manifest = store.index().unwrap().manifests()[0].digest().to_string();
    let Place::Document { digest, .. } = cacheconfig::locate(&read(&manifest)).unwrap() else {
        panic!("{manifest} is no cache");
    };
    let bytes = read(digest.as_str());
    let document = serde_json::from_slice(&bytes).unwrap();
    (document, cacheconfig::parse(&bytes).unwrap())
}

/// The keys of all outputs as one graph: if there are several, below a merge that nobody built.
fn prediction(
    outputs: &[Output],
    layouts: BTreeMap<String, Arc<dyn ContentProvider>>,
    profile: Profile,
) -> Prediction {
    let all: Vec<Option<Output>> = outputs.iter().cloned().map(Some).collect();
    let result = match &all[..] {
        [only] => only.clone().unwrap(),
        _ => llb::merge(&all, Constraints::default()).unwrap(),
    };
    let mut known = Known {
        layouts,
        ..Known::default()
    };
    for vertex in llb::vertices(&result) {
        let source = vertex.source().map(|source| source.identifier.as_str());
        if let Some(name) = source.and_then(|source| source.strip_prefix("local://")) {
            // dagop calls a directory by its path.
            assert!(Path::new(name).is_dir(), "{name} is no directory");
            known.locals.insert(name.to_owned(), name.into());
        }
    }
    let definition = Definition::marshal(Some(&result), &Constraints::default());
    predict(&definition, &known, profile).unwrap()
}

/// Position of the record of the merge of all; it has none if one of them is a local directory.
fn root(prediction: &Prediction) -> Option<usize> {
    let root = prediction.vertices.last().unwrap();
    assert_eq!(root.kind, Kind::Merge);
    root.outputs[0].records.first().copied()
}

/// Adds the links to contents that only the daemon knows; returns how many.
fn learn(records: &mut Vec<Record>, prediction: &Prediction, cache: &Config) -> usize {
    let found = cacheconfig::matches(prediction, cache);
    let mut count = 0;
    for (at, contents) in found.contents.into_iter().enumerate() {
        for (input, position) in contents {
            let digest = cache.records[position].digest.to_string();
            let is_same = |record: &Record| record.inputs.is_empty() && record.digest == digest;
            let content = records.iter().position(is_same).unwrap_or_else(|| {
                records.push(Record {
                    digest: digest.clone(),
                    inputs: Vec::new(),
                });
                records.len() - 1
            });
            records[at].inputs[input].push((String::new(), content));
            count += 1;
        }
    }
    count
}

/// Checks the records that the run itself predicted, which it noted in the ledger: they are those
/// of `prediction`, and in the cache with the same links below. Returns how many there are.
fn recorded(
    user: &Dagop,
    vertices: &[VertexKeys],
    prediction: &Prediction,
    cache: &Config,
) -> usize {
    let keys = user.run(["keys", "--json"]).unwrap().json().unwrap();
    let of_vertex = |vertex: &VertexKeys| {
        let outputs = vertex.outputs.iter();
        let digests = outputs.flat_map(|output| &output.records);
        let digests = digests.map(|&at| prediction.records[at].digest.to_string());
        (vertex.digest.to_string(), digests.collect())
    };
    let expected: BTreeMap<String, BTreeSet<String>> = vertices.iter().map(of_vertex).collect();
    let canonical: BTreeSet<String> = cache.canonical().iter().map(|d| d.to_string()).collect();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut count = 0;
    for record in keys["cache"]["records"].as_array().unwrap() {
        if record["evidence"] != "predicted" {
            continue;
        }
        count += 1;
        let text = |field: &str| record[field].as_str().map(str::to_owned);
        if let Some(known) = text("canonical") {
            assert!(canonical.contains(&known), "not exported: {record}");
        }
        let digests = seen.entry(text("vertex").unwrap()).or_default();
        digests.insert(text("digest").unwrap());
    }
    for (vertex, digests) in &expected {
        if !digests.is_empty() {
            assert_eq!(seen.get(vertex), Some(digests), "{vertex}");
        }
    }
    count
}
