//! Predicted cache keys are those of a real daemon: for generated graphs of all operations the
//! predicted records, selectors and links equal what the daemon exports with `mode=max`.
//!
//! Each graph is built on a daemon that was pruned of everything before, so that nothing an earlier
//! graph left is in its export. Trees that only the daemon can make (what a command writes) are
//! fetched from it when the prediction says that they are missing, never anything about keys.
//! `hack/matrix` runs this on other releases, and with more graphs.
//!
//! | variable | meaning |
//! |---|---|
//! | `DAGOP_PREDICT_GRAPHS` | how many graphs; 40 without it |
//! | `DAGOP_PREDICT_SEED` | seed of the first one; 1 without it |

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use integration::daemon;
use serde_json::Value;
use solver::{
    cachemap::Profile,
    llb::{Constraints, Definition, Kind, Output},
    predict::{Files, InputError, Inputs, Known, Lack, Prediction, Source, predict},
};

use crate::{
    predict_compare::{Record, differences, exported, is_part, predicted},
    predict_daemon::Lab,
    predict_graphs::{Features, Growth, STORE},
    predict_world::{Dice, Image, fill},
};

/// Graphs of a run that is not told how many.
const GRAPHS: u64 = 40;

/// Most rounds of fetching trees that are missing.
const ROUNDS: usize = 6;

/// What became of a graph.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// All records, selectors and links are equal; `true` if they are also in the same order.
    Equal(bool),
    /// Vertices were merged, and the export is one that merging can leave.
    Merged,
    /// There is nothing to export.
    Empty,
    /// The daemon refused the graph.
    Refused(String),
    /// Something stayed unknown.
    Unknown(Vec<String>),
    /// Something is not as predicted.
    Different(Vec<String>),
}

/// Known inputs, and the image's tree.
struct World<'a> {
    known: Known,
    image: &'a Image,
}

impl Inputs for World<'_> {
    fn platform(&self) -> Option<solver::llb::Platform> {
        self.known.platform()
    }

    fn source(&self, source: &solver::llb::Vertex) -> Result<Option<Source>, InputError> {
        self.known.source(source)
    }

    fn files(&self, output: &Output) -> Result<Option<Files>, InputError> {
        let source = output.vertex().source();
        if source.is_some_and(|source| source.identifier.starts_with("oci-layout://")) {
            return Ok(Some(self.image.files.clone()));
        }
        self.known.files(output)
    }
}

/// Predicts, fetching trees that are missing.
async fn prediction(
    lab: &Lab,
    definition: &Definition,
    world: &mut World<'_>,
    profile: Profile,
) -> anyhow::Result<Prediction> {
    let result = definition.output()?.unwrap();
    for _ in 0..ROUNDS {
        let prediction = predict(definition, world, profile)?;
        let wanted: Vec<_> = prediction
            .missing
            .iter()
            .filter(|missing| {
                matches!(
                    missing.what,
                    Lack::ExecFiles | Lack::Files(_) | Lack::SourceFiles
                )
            })
            .filter_map(|missing| {
                let digest = &prediction.vertices[missing.vertex].digest;
                find(&result, digest, missing.output?)
            })
            .collect();
        if wanted.is_empty() {
            return Ok(prediction);
        }
        for output in wanted {
            let files = lab.files(&output).await?;
            let place = (output.vertex().digest().clone(), output.index());
            world.known.outputs.insert(place, files);
        }
    }
    Ok(predict(definition, world, profile)?)
}

/// An output of a vertex below another one.
fn find(result: &Output, digest: &solver::Digest, index: i64) -> Option<Output> {
    let mut seen = std::collections::HashSet::new();
    let mut pending = vec![Arc::clone(result.vertex())];
    while let Some(vertex) = pending.pop() {
        if vertex.digest() == digest {
            return Some(vertex.output(index));
        }
        if seen.insert(vertex.digest().clone()) {
            pending.extend(
                vertex
                    .inputs()
                    .iter()
                    .map(|input| Arc::clone(input.vertex())),
            );
        }
    }
    None
}

async fn run(lab: &Lab, seed: u64, minor: u32) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let mut dice = Dice::new(seed);
    let image = &Image::make(&format!("image {seed}"));
    lab.offer_layout(STORE, Arc::clone(&image.store));
    let mut known = Known::default();
    known
        .layouts
        .insert(STORE.to_owned(), Arc::clone(&image.store));
    let mut locals = Vec::new();
    for name in ["one", "two"] {
        // A name of its own: a daemon that has an older copy of a directory brings that up to date,
        // and keeps what it knows of directories that only changed their mode.
        let name = &format!("{name}-{seed}");
        let root: PathBuf = folder.path().join(name);
        std::fs::create_dir(&root)?;
        let listing = fill(&root, &mut dice, &format!("{seed}"));
        lab.offer_directory(name, &root);
        known.locals.insert(name.to_owned(), root);
        locals.push((name.to_owned(), listing));
    }
    let result = Growth::new(seed, Features { minor }, &locals, image).grow()?;
    let definition = Definition::marshal(Some(&result), &Constraints::default());
    let config = match lab.cache_of(&definition).await {
        Ok(Some(config)) => config,
        // Nothing has layers.
        Ok(None) => Value::Null,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    let profile = Profile::for_version(&lab.version().await?).unwrap();
    let mut world = World { known, image };
    let prediction = prediction(lab, &definition, &mut world, profile).await?;
    if !prediction.missing.is_empty() {
        let missing = prediction.missing.iter();
        let missing = missing.map(|missing| {
            format!(
                "{}: {}",
                prediction.vertices[missing.vertex].name, missing.what
            )
        });
        return Ok(Outcome::Unknown(missing.collect()));
    }
    if config.is_null() {
        // Records without inputs are exported without layers, merges and the like may have none, and
        // a document without layers is not exported at all.
        let with_layers = prediction.records.iter().filter(|record| {
            let mut kinds = record
                .outputs
                .iter()
                .map(|&(at, _)| prediction.vertices[at].kind);
            let makes_files = kinds.any(|kind| matches!(kind, Kind::Exec | Kind::File));
            makes_files && !record.inputs.is_empty()
        });
        let unexpected: Vec<String> = with_layers
            .map(|record| record.digest.to_string())
            .collect();
        return Ok(match unexpected.is_empty() {
            true => Outcome::Empty,
            false => Outcome::Different(unexpected),
        });
    }
    let (ours, theirs) = (predicted(&prediction), exported(&config));
    let merged: Vec<bool> = prediction
        .records
        .iter()
        .map(|record| record.merged)
        .collect();
    let differences = differences(&ours, &theirs);
    Ok(if merged.contains(&true) {
        match is_part(&theirs, &ours, &merged) {
            None => Outcome::Merged,
            Some(reason) => Outcome::Different([vec![reason], differences].concat()),
        }
    } else if differences.is_empty() {
        Outcome::Equal(in_order(ours) == in_order(theirs))
    } else {
        Outcome::Different([differences, steps(&prediction)].concat())
    })
}

/// The graph in words, for whoever has to find out what is different.
fn steps(prediction: &Prediction) -> Vec<String> {
    let vertices = prediction.vertices.iter().enumerate();
    vertices
        .map(|(at, vertex)| {
            let inputs = vertex.inputs.iter();
            let inputs: Vec<String> = inputs
                .map(|input| format!("{}@{}", input.vertex, input.output))
                .collect();
            format!("{at}: {} of [{}]", vertex.name, inputs.join(" "))
        })
        .collect()
}

/// The records with links of one position in order of their selectors, which is arbitrary.
fn in_order(mut records: Vec<Record>) -> Vec<Record> {
    for links in records.iter_mut().flat_map(|record| &mut record.inputs) {
        links.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    }
    records
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn generated_graphs_have_the_predicted_records() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let tools = daemon::tools().unwrap();
    let first = number("DAGOP_PREDICT_SEED", 1);
    let count = number("DAGOP_PREDICT_GRAPHS", GRAPHS);
    runtime.block_on(async {
        let lab = Lab::start(&tools).await.unwrap();
        let version = lab.version().await.unwrap();
        let minor = version.split('.').nth(1).unwrap().parse().unwrap();
        let mut outcomes: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for seed in first..first + count {
            let outcome = run(&lab, seed, minor).await.unwrap();
            lab.prune().await.unwrap();
            let kind = match &outcome {
                Outcome::Equal(true) => "equal",
                Outcome::Equal(false) => "equal in another order",
                Outcome::Merged => "merged",
                Outcome::Empty => "empty",
                Outcome::Refused(_) => "refused",
                Outcome::Unknown(_) => "unknown",
                Outcome::Different(_) => "different",
            };
            if std::env::var("DAGOP_PREDICT_SHOW").is_ok()
                || !matches!(
                    outcome,
                    Outcome::Equal(_) | Outcome::Merged | Outcome::Empty
                )
            {
                eprintln!("seed {seed}: {outcome:#?}");
            }
            outcomes.entry(kind).or_default().push(seed);
        }
        for (kind, seeds) in &outcomes {
            eprintln!("{version}: {} {kind}: {seeds:?}", seeds.len());
        }
        assert!(!outcomes.contains_key("different"));
    });
}
