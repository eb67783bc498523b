//! Builds and caches made by hand: what is there, and where a chain breaks.

use std::collections::BTreeSet;

use solver::cacheconfig::{Config, Layer, Link as CacheLink, Record};

use super::super::graph::Link;
use super::*;
use crate::ledger::{BuildRow, Outcome, VertexKind};

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn step(name: &str, kind: VertexKind, inputs: Vec<Link>) -> Step {
    let platform = serde_json::json!({"OS": "linux", "Architecture": "amd64"});
    let keys = match kind {
        VertexKind::Local => BTreeSet::new(),
        _ => BTreeSet::from([(0, digest(name).to_string())]),
    };
    Step {
        raws: vec![digest(name).to_string()],
        outcome: Outcome::Executed,
        fields: serde_json::json!({"exec": {}, "platform": platform}),
        inputs,
        keys,
        ..Step::new(digest(name).to_string(), name.to_owned(), kind)
    }
}

fn on(below: usize) -> Link {
    Link {
        step: Some(below),
        ..Link::default()
    }
}

/// An input that is keyed by what it holds.
fn files(below: usize, content: Option<&str>) -> Link {
    Link {
        content: Some(Vec::new()),
        contents: content
            .map(|text| digest(text).to_string())
            .into_iter()
            .collect(),
        ..on(below)
    }
}

fn graph(steps: Vec<Step>) -> Graph {
    Graph {
        is_predicted: true,
        build: BuildRow::default(),
        steps,
        calls: Vec::new(),
        imports: Vec::new(),
    }
}

/// image, source -> copy -> run -> use
fn pipeline() -> Graph {
    graph(vec![
        step("image", VertexKind::Image, Vec::new()),
        step("source", VertexKind::Local, Vec::new()),
        step(
            "copy",
            VertexKind::File,
            vec![on(0), files(1, Some("main.c"))],
        ),
        step("run", VertexKind::Exec, vec![on(2)]),
        step("use", VertexKind::Exec, vec![on(3)]),
    ])
}

fn record(name: &str, inputs: &[usize], results: &[usize]) -> Record {
    let link = |&record: &usize| {
        vec![CacheLink {
            record,
            selector: None,
        }]
    };
    Record {
        digest: digest(name),
        inputs: inputs.iter().map(link).collect(),
        results: results.to_vec(),
    }
}

/// The cache of [`pipeline`] with a word of it replaced.
fn cache(from: &str, to: &str) -> Held {
    let is = |name: &str| {
        if name == from {
            to.to_owned()
        } else {
            name.to_owned()
        }
    };
    let layer = |number: usize| Layer {
        blob: digest(&format!("blob {number}")),
        parent: number.checked_sub(1),
        diff_id: None,
        size: Some(10),
        media_type: None,
    };
    let config = Config {
        layers: (0..3).map(layer).collect(),
        records: vec![
            record(&is("image"), &[], &[]),
            record(&is("main.c"), &[], &[]),
            record(&is("copy"), &[0, 1], &[0]),
            record(&is("run"), &[2], &[1]),
            record(&is("use"), &[3], &[2]),
        ],
    };
    Held {
        manifest: digest("manifest"),
        platform: None,
        layers: Vec::new(),
        cache: Some((config, Evidence::Registry)),
    }
}

/// For each step the places where its chain breaks, with the words for it.
fn broken(graph: &Graph, held: &Held) -> Vec<Vec<(String, String)>> {
    let wanted = Wanted::of(graph);
    let check = Check::new(graph, &wanted, held);
    let of = |place: usize| match check.verdict(place) {
        Verdict::Found | Verdict::NoKey => Vec::new(),
        Verdict::Broken(broken) => {
            let causes = broken.causes.iter();
            causes
                .map(|(at, cause)| (graph.steps[*at].name.clone(), table::cause(cause)))
                .collect()
        }
    };
    (0..graph.steps.len()).map(of).collect()
}

/// The only place where all of the last `count` steps break, none before them.
fn breaks_at(graph: &Graph, held: &Held, count: usize) -> (String, String) {
    let broken = broken(graph, held);
    let (before, after) = broken.split_at(broken.len() - count);
    assert!(before.iter().all(Vec::is_empty), "{broken:?}");
    assert!(after.iter().all(|step| step == &after[0]), "{broken:?}");
    assert_eq!(after[0].len(), 1, "{broken:?}");
    after[0][0].clone()
}

#[test]
fn a_cache_of_the_same_build_has_every_step() {
    let broken = broken(&pipeline(), &cache("", ""));
    assert!(broken.iter().all(Vec::is_empty), "{broken:?}");
}

#[test]
fn the_chain_breaks_where_the_difference_is_and_nowhere_else() {
    let key = "its key is not in the cache";
    for (changed, above) in [("run", 2), ("copy", 3), ("use", 1)] {
        let (at, why) = breaks_at(&pipeline(), &cache(changed, "other"), above);
        assert_eq!((at.as_str(), why.as_str()), (changed, key));
    }
    let (at, why) = breaks_at(&pipeline(), &cache("main.c", "other"), 3);
    assert_eq!(at, "copy");
    assert_eq!(
        why,
        "the files it takes from input 1, `source`, are not those of the cache"
    );
    // Everything that is on another image is another step.
    let broken = broken(&pipeline(), &cache("image", "other"));
    assert!(
        broken[2..].iter().all(|step| step == &broken[0]),
        "{broken:?}"
    );
    assert_eq!(broken[0][0], ("image".to_owned(), key.to_owned()));
}

#[test]
fn every_break_is_named_the_first_one_first() {
    let mut held = cache("copy", "other");
    let (config, _) = held.cache.as_mut().unwrap();
    config.records[4].digest = digest("another");
    let broken = broken(&pipeline(), &held);
    let at: Vec<&str> = broken[4].iter().map(|(at, _)| at.as_str()).collect();
    assert_eq!(at, ["copy", "use"]);
}

#[test]
fn the_same_operation_over_another_input_is_a_broken_link() {
    let mut held = cache("", "");
    let (config, _) = held.cache.as_mut().unwrap();
    config.records[4].inputs[0][0].record = 2;
    let (at, why) = breaks_at(&pipeline(), &held, 1);
    assert_eq!(at, "use");
    assert_eq!(why, "the cache has it over another input 0 than `run`");
}

#[test]
fn what_nobody_hashed_is_not_guessed() {
    let mut graph = pipeline();
    graph.steps[2].inputs[1] = files(1, None);
    let (at, why) = breaks_at(&graph, &cache("", ""), 3);
    assert_eq!(at, "copy");
    assert_eq!(why, "the ledger does not tell the content of its input 1");
    let mut graph = pipeline();
    graph.steps[3].keys.clear();
    let (at, why) = breaks_at(&graph, &cache("", ""), 2);
    assert_eq!(
        (at.as_str(), why.as_str()),
        ("run", "the ledger does not tell its key")
    );
}

#[test]
fn an_image_for_another_platform_is_named() {
    let mut held = cache("run", "other");
    held.platform = Some("linux/arm64".to_owned());
    let (at, why) = breaks_at(&pipeline(), &held, 2);
    assert_eq!(at, "run");
    assert_eq!(
        why,
        "it is for linux/amd64, and the cache has it for linux/arm64"
    );
}

#[test]
fn of_several_results_the_most_complete_counts() {
    let graph = pipeline();
    let mut held = cache("", "");
    let (config, _) = held.cache.as_mut().unwrap();
    config.layers.push(Layer {
        blob: digest("blob 3"),
        parent: None,
        ..config.layers[0].clone()
    });
    config.records[4].results.push(3);
    let wanted = Wanted::of(&graph);
    let check = Check::new(&graph, &wanted, &held);
    let status = |blobs: &[(&str, Option<u64>)]| {
        let blobs = blobs
            .iter()
            .map(|&(name, size)| (digest(name), Some(Stored { size })));
        of_blobs(&check.records(4, &blobs.collect()))
    };
    assert_eq!(check.blobs(4).collect::<BTreeSet<_>>().len(), 4);
    let whole = ("blob 3", Some(10));
    assert_eq!(status(&[whole]), InCache::Complete);
    assert_eq!(status(&[("blob 3", None)]), InCache::Complete);
    assert_eq!(
        status(&[("blob 0", Some(10)), ("blob 1", Some(10))]),
        InCache::BlobMissing
    );
    assert_eq!(status(&[("blob 3", Some(9))]), InCache::BlobMissing);
    assert_eq!(
        of_blobs(&check.records(0, &HashMap::new())),
        InCache::KeyOnly
    );
}
