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
//! | `DAGOP_PREDICT_EQUAL` | how many at least are equal, and not merged, refused or without an export; half of them without it |
//! | `DAGOP_PREDICT_KEEP` | a directory in which definition and local directories of each graph are left, by seed |
//! | `DAGOP_PREDICT_SHOW` | if set, what became of every graph is printed |

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use integration::daemon;
use serde_json::Value;
use snapshots::checksum::Rules;
use solver::{
    cachemap::{self, Profile},
    llb::{self, Constraints, Definition, Kind, Output},
    predict::{self, Files, InputError, Inputs, Known, Lack, Missing, Prediction, Source, predict},
};

use crate::{
    predict_compare::{Record, differences, exported, is_part, predicted},
    predict_daemon::Lab,
    predict_graphs::{Features, Growth, STORE},
    predict_remote::{Offer, Servers},
    predict_world::{Dice, Image, fill},
};

/// Graphs of a run that is not told how many.
const GRAPHS: u64 = 40;

/// Of the equal ones those whose records the daemon wrote in another order. It is arbitrary where
/// records differ only in what they are linked to.
const OTHER_ORDER: &str = "of them in another order";

/// Most rounds of fetching trees that are missing.
const ROUNDS: usize = 6;

/// What became of a graph.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// All records, selectors and links are equal; `true` if they are also in the same order.
    Equal(bool),
    /// Equal, with one of two digests of a local directory that depend on the daemon's schedule.
    Either,
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

impl Outcome {
    /// Whether it is printed in full.
    fn is_notable(&self) -> bool {
        matches!(
            self,
            Self::Refused(_) | Self::Unknown(_) | Self::Different(_)
        )
    }

    /// The class it is counted in.
    fn class(&self) -> &'static str {
        match self {
            Self::Equal(_) => "equal",
            Self::Either => "one of two",
            Self::Merged => "merged",
            Self::Empty => "none exported",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
            Self::Different(_) => "different",
        }
    }
}

/// What was built: vertices by kind, and sources by scheme.
#[derive(Default)]
struct Built(BTreeMap<String, usize>);

impl Built {
    fn add(&mut self, result: &Output) {
        for vertex in llb::vertices(result) {
            let scheme = vertex.source().and_then(|s| s.identifier.split_once("://"));
            let name = scheme.map_or(vertex.kind().as_str(), |(scheme, _)| scheme);
            *self.0.entry(name.to_owned()).or_default() += 1;
        }
    }
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.iter().map(|(name, count)| format!("{count} {name}"));
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}

/// The seeds of each class.
#[derive(Default)]
struct Outcomes(BTreeMap<&'static str, Vec<u64>>);

impl Outcomes {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.0.entry(outcome.class()).or_default().push(seed);
        if *outcome == Outcome::Equal(false) {
            self.0.entry(OTHER_ORDER).or_default().push(seed);
        }
    }

    fn seeds(&self, class: &str) -> &[u64] {
        self.0.get(class).map_or(&[], Vec::as_slice)
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |class| self.seeds(class).len();
        write!(f, "{} equal", count("equal"))?;
        if count(OTHER_ORDER) > 0 {
            write!(f, " ({} {OTHER_ORDER})", count(OTHER_ORDER))?;
        }
        for class in [
            "one of two",
            "merged",
            "none exported",
            "refused",
            "unknown",
            "different",
        ] {
            write!(f, ", {} {class}", count(class))?;
        }
        Ok(())
    }
}

/// Known inputs, and the trees of the images.
struct World<'a> {
    known: Known,
    image: &'a Image,
    rules: Rules,
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
        let scheme =
            source.and_then(|source| Some((source, source.identifier.split_once("://")?.0)));
        Ok(match scheme {
            Some((_, "oci-layout")) => Some(self.image.files.clone()),
            Some((source, "docker-image")) => {
                let limit = source.attrs.get("image.layerlimit");
                let limit = limit.map(|limit| limit.parse().unwrap());
                Some(self.image.layered_files(limit, self.rules))
            }
            _ => self.known.files(output)?,
        })
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

async fn run(
    lab: &Lab,
    servers: &Servers,
    seed: u64,
    minor: u32,
    built: &mut Built,
) -> anyhow::Result<Outcome> {
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
    let offer = Offer::new(servers, &format!("n{seed}"), image, minor);
    let grown = Growth::new(seed, Features { minor }, &locals, image, &offer).grow()?;
    known.sources = grown.sources;
    let definition = Definition::marshal(Some(&grown.result), &Constraints::default());
    keep(seed, &definition, folder.path())?;
    let config = match lab.cache_of(&definition).await {
        Ok(Some(config)) => config,
        // Nothing has layers.
        Ok(None) => Value::Null,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    built.add(&grown.result);
    let profile = Profile::for_version(&lab.version().await?).unwrap();
    let rules = Rules::of_minor(minor);
    let mut world = World {
        known,
        image,
        rules,
    };
    let prediction = prediction(lab, &definition, &mut world, profile).await?;
    let is_either = |missing: &Missing| matches!(missing.what, Lack::Either { .. });
    if !prediction.missing.iter().all(is_either) {
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
    let (mut ours, theirs) = (predicted(&prediction), exported(&config));
    take_one(&mut ours, &prediction, &theirs);
    let mut merged: Vec<bool> = prediction
        .records
        .iter()
        .map(|record| record.merged)
        .collect();
    merged.resize(ours.len(), false);
    let differences = differences(&ours, &theirs);
    Ok(if merged.contains(&true) {
        match is_part(&theirs, &ours, &merged) {
            None => Outcome::Merged,
            Some(reason) => Outcome::Different([vec![reason], differences].concat()),
        }
    } else if differences.is_empty() && !prediction.missing.is_empty() {
        Outcome::Either
    } else if differences.is_empty() {
        Outcome::Equal(in_order(ours) == in_order(theirs))
    } else {
        Outcome::Different([differences, steps(&prediction)].concat())
    })
}

/// Adds the links to contents of which one of two digests was predicted: to the one that is there.
fn take_one(ours: &mut Vec<Record>, prediction: &Prediction, theirs: &[Record]) {
    for (at, record) in prediction.records.iter().enumerate() {
        for &(input, missing) in &record.unknown {
            let Lack::Either { sent, stored } = &prediction.missing[missing].what else {
                continue;
            };
            for content in [sent, stored] {
                let digest = cachemap::record(content, -1).to_string();
                let is_content = |record: &Record| record.digest == digest;
                if theirs.iter().any(is_content) {
                    let known = ours.iter().position(is_content).unwrap_or(ours.len());
                    if known == ours.len() {
                        let inputs = Vec::new();
                        ours.push(Record { digest, inputs });
                    }
                    ours[at].inputs[input].push((String::new(), known));
                    break;
                }
            }
        }
    }
}

/// Leaves a graph for whoever has to find out what is different.
fn keep(seed: u64, definition: &Definition, locals: &Path) -> anyhow::Result<()> {
    let Some(kept) = std::env::var_os("DAGOP_PREDICT_KEEP") else {
        return Ok(());
    };
    let kept = Path::new(&kept).join(seed.to_string());
    std::fs::create_dir_all(&kept)?;
    std::fs::write(kept.join("graph.llb"), definition.encode())?;
    let copied = Command::new("cp")
        .arg("-a")
        .arg(locals)
        .arg(kept.join("locals"))
        .status()?;
    anyhow::ensure!(copied.success(), "cp -a: {copied}");
    Ok(())
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

/// The daemon says itself that it has the formulas of its release, and no others.
#[expect(clippy::print_stderr, reason = "figures, for whoever runs it by hand")]
async fn self_test(lab: &Lab, version: &str) {
    let own = Profile::for_version(version).unwrap();
    for release in [
        "v0.12", "v0.13", "v0.14", "v0.17", "v0.18", "v0.21", "v0.25", "v0.26",
    ] {
        let profile = Profile::for_version(release).unwrap();
        // Links cannot be made before v0.19, and are part of the test from v0.21 on.
        if profile >= Profile::V0_21 && own < Profile::V0_18 {
            continue;
        }
        let text = format!("{version} {release}");
        let verdict = predict::self_test(lab.client(), profile, &text)
            .await
            .unwrap();
        eprintln!(
            "{version}: formulas of {release}: {} records missing, {} unexpected",
            verdict.missing.len(),
            verdict.unexpected.len()
        );
        assert_eq!(
            verdict.is_good(),
            profile == own,
            "{version}: {release}: {verdict:?}"
        );
        lab.prune().await.unwrap();
    }
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
        let servers = Servers::start().unwrap();
        let version = lab.version().await.unwrap();
        let minor = version.split('.').nth(1).unwrap().parse().unwrap();
        self_test(&lab, &version).await;
        let mut outcomes = Outcomes::default();
        let mut built = Built::default();
        for seed in first..first + count {
            let outcome = run(&lab, &servers, seed, minor, &mut built).await.unwrap();
            lab.prune().await.unwrap();
            let is_shown = std::env::var("DAGOP_PREDICT_SHOW").is_ok();
            if is_shown || outcome.is_notable() {
                eprintln!("seed {seed}: {outcome:#?}");
            }
            outcomes.add(seed, &outcome);
        }
        eprintln!("{version}: vertices that were built: {built}");
        eprintln!("{version}: seeds {first}-{}: {outcomes}", first + count - 1);
        for kind in ["unknown", "different"] {
            let seeds = outcomes.seeds(kind);
            assert!(seeds.is_empty(), "{version}: {kind}: seeds {seeds:?}");
        }
        let wanted = number("DAGOP_PREDICT_EQUAL", count / 2);
        let equal = outcomes.seeds("equal").len() as u64;
        assert!(equal >= wanted, "{equal} of at least {wanted} are equal");
    });
}
