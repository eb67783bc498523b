//! Predictions of small graphs whose keys are known from a real daemon.

use std::sync::Arc;

use snapshots::tree::MemTree;

use super::*;
use crate::llb::{
    Constraints, Output,
    file::{CopyOptions, FileOp, MkfileOptions, RmOptions},
    source::local::{LocalOptions, local},
};

fn definition(output: &Output) -> Definition {
    Definition::marshal(Some(output), &Constraints::default())
}

fn predicted(output: &Output, inputs: &dyn Inputs) -> Prediction {
    predict(&definition(output), inputs, Profile::NEWEST).unwrap()
}

fn mkfile(base: Option<Output>, path: &str, data: &str) -> Output {
    let file = FileOp::new(base).mkfile(path, 0o644, data.to_owned(), MkfileOptions::default());
    file.build(Constraints::default()).unwrap()
}

fn copy(from: &Output, source: &str, to: Option<Output>, target: &str) -> Output {
    let options = CopyOptions {
        create_parents: true,
        ..CopyOptions::default()
    };
    FileOp::new(to)
        .copy(from.clone(), source, target, options)
        .build(Constraints::default())
        .unwrap()
}

/// A local directory for every local source.
struct Local(Arc<MemTree>);

impl Inputs for Local {
    fn files(&self, output: &Output) -> Result<Option<Files>, InputError> {
        let is_local = output.vertex().source().is_some();
        Ok(is_local.then(|| Files::sent(self.0.clone())))
    }
}

fn hexes(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.digest.hex()).collect()
}

#[test]
fn a_file_on_scratch_is_one_root() {
    let prediction = predicted(&mkfile(None, "/a", "A"), &Nothing);
    assert_eq!(
        hexes(&prediction.records),
        ["76d7d6dbdf12ff4852b20a553022297d6f6914f462bf2708d2896ccf398d9f50"]
    );
    assert_eq!(prediction.records[0].outputs, [(0, 0)]);
    assert_eq!(prediction.vertices[0].outputs[0].records, [0]);
    assert!(prediction.missing.is_empty());
}

/// A copy is linked to the record of what it copies from and to the record of the content.
#[test]
fn a_copy_has_two_links_for_what_it_copies() {
    let from = mkfile(None, "/a", "A");
    let to = copy(&from, "/a", None, "/b");
    let prediction = predicted(&to, &Nothing);
    assert_eq!(prediction.records.len(), 3);
    let record = prediction
        .records
        .iter()
        .find(|record| !record.inputs.is_empty())
        .unwrap();
    let links = &record.inputs[0];
    assert_eq!(links.len(), 2);
    let selector = Digest::sha256(b"/a");
    assert!(
        links
            .iter()
            .any(|link| link.selector.as_ref() == Some(&selector))
    );
    let content = links.iter().find(|link| link.selector.is_none()).unwrap();
    assert!(prediction.records[content.record].outputs.is_empty());
}

/// The content of a local directory is a key, the directory itself is none.
#[test]
fn a_local_directory_has_no_record() {
    let source = local("context", LocalOptions::default());
    let files = MemTree::new()
        .dir("d", 0o755)
        .file("d/f", 0o644, "hi\n")
        .file("d/g.txt", 0o644, "g")
        .symlink("d/l", "f");
    let copied = copy(&source, "/d", None, "/e");
    let prediction = predicted(&copied, &Local(Arc::new(files)));
    assert_eq!(prediction.records.len(), 2);
    // The vector of the content digest, from the daemon's own debugging endpoint.
    assert!(
        hexes(&prediction.records)
            .contains(&"557f785ce318e123eae4b500091d7d0855e834896363185d96791947bc555c73")
    );
    assert!(prediction.vertices[0].outputs[0].records.is_empty());
    assert!(prediction.missing.is_empty());
}

#[test]
fn what_is_missing_is_named_and_the_rest_is_known() {
    let source = local("context", LocalOptions::default());
    let copied = copy(&source, "/d", Some(mkfile(None, "/a", "A")), "/e");
    let prediction = predicted(&copied, &Nothing);
    assert_eq!(prediction.records.len(), 2);
    let record = prediction
        .records
        .iter()
        .find(|record| !record.inputs.is_empty())
        .unwrap();
    assert_eq!(record.inputs[0].len(), 1, "the base is known");
    assert!(record.inputs[1].is_empty());
    assert_eq!(record.unknown, [(1, 0)]);
    let missing = &prediction.missing[0];
    assert_eq!(missing.what, Lack::SourceFiles);
    assert_eq!(prediction.vertices[missing.vertex].name, "local://context");
}

/// Two files with the same content, copied to the same place, are one record to the daemon.
#[test]
fn twins_are_one_marked_record() {
    let one = copy(&mkfile(None, "/a", "same"), "/a", None, "/t");
    let more = mkfile(Some(mkfile(None, "/z", "z")), "/a", "same");
    let two = copy(&more, "/a", None, "/t");
    let top = crate::llb::merge(&[Some(one), Some(two)], Constraints::default()).unwrap();
    let prediction = predicted(&top, &Nothing);
    let merged: Vec<&Record> = prediction
        .records
        .iter()
        .filter(|record| record.merged)
        .collect();
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].outputs.len(), 2);
    assert_eq!(
        merged[0].inputs[0].len(),
        3,
        "two definitions and the content"
    );
}

/// A copy of a copy to the same place is the copy, and cannot be linked to itself.
#[test]
fn no_record_is_its_own_ancestor() {
    let first = copy(&mkfile(None, "/a", "A"), "/a", None, "/a");
    let again = copy(&first, "/a", None, "/a");
    let prediction = predicted(&again, &Nothing);
    assert_eq!(prediction.records.len(), 3);
    for (at, record) in prediction.records.iter().enumerate() {
        assert!(record.inputs.iter().flatten().all(|link| link.record != at));
    }
}

/// What a file operation does to a tree shows in the content of the next copy.
#[test]
fn trees_follow_from_operations() {
    let made = mkfile(Some(mkfile(None, "/gone", "x")), "/kept", "y");
    let removed = FileOp::new(Some(made))
        .rm("/gone", RmOptions::default())
        .build(Constraints::default())
        .unwrap();
    let all = |from: &Output| {
        let prediction = predicted(&copy(from, "/", None, "/t"), &Nothing);
        let contents = prediction.vertices.iter().flat_map(|vertex| &vertex.inputs);
        let known = contents.filter_map(|input| match &input.content {
            Content::Known(digest) => Some(digest.clone()),
            _ => None,
        });
        known.collect::<Vec<_>>().pop().unwrap()
    };
    assert_eq!(all(&removed), all(&mkfile(None, "/kept", "y")));
    assert_ne!(all(&removed), all(&mkfile(None, "/kept", "z")));
}

/// A chain of any length is walked without recursion.
#[test]
fn long_chains_cost_no_stack() {
    let mut chain = mkfile(None, "/f", "0");
    for round in 0..20_000 {
        chain = mkfile(Some(chain), "/f", &round.to_string());
    }
    let prediction = predicted(&copy(&chain, "/f", None, "/g"), &Nothing);
    assert_eq!(prediction.vertices.len(), 20_002);
    assert!(prediction.missing.is_empty());
}

/// Before v0.25 a merge whose last input has no record is known by those before; later releases
/// have no record for it. In the middle an input without a record is the end of both.
#[test]
fn releases_differ_in_what_an_input_without_a_record_means() {
    let source = local("context", LocalOptions::default());
    let file = mkfile(None, "/a", "A");
    let merged = |inputs: [&Output; 2]| {
        let inputs = inputs.map(|input| Some(input.clone()));
        definition(&crate::llb::merge(&inputs, Constraints::default()).unwrap())
    };
    let records = |definition: &Definition, profile| {
        let prediction = predict(definition, &Nothing, profile).unwrap();
        let top = prediction.vertices.last().unwrap();
        let own = top.outputs[0].records.first();
        own.map(|&at| prediction.records[at].inputs.len())
    };
    let last = merged([&file, &source]);
    let first = merged([&source, &file]);
    let none = merged([&source, &source]);
    for (definition, before) in [(&last, Some(1)), (&first, None), (&none, Some(0))] {
        assert_eq!(records(definition, Profile::V0_18), before);
        assert_eq!(records(definition, Profile::V0_25), None);
    }
}

/// The mode that a copy sets is that of directories it makes above its target, from v0.21 on.
#[test]
fn releases_differ_in_the_mode_of_directories_that_a_copy_makes() {
    let options = CopyOptions {
        create_parents: true,
        mode: Some(crate::llb::file::CopyMode::Bits(0o600)),
        ..CopyOptions::default()
    };
    let copied = FileOp::new(None)
        .copy(mkfile(None, "/a", "A"), "/a", "/made/a", options)
        .build(Constraints::default())
        .unwrap();
    let again = definition(&copy(&copied, "/made", None, "/t"));
    let content = |profile| {
        let prediction = predict(&again, &Nothing, profile).unwrap();
        prediction.vertices.last().unwrap().inputs[0]
            .content
            .clone()
    };
    assert_ne!(content(Profile::V0_18), content(Profile::V0_21));
    assert_eq!(content(Profile::V0_21), content(Profile::NEWEST));
}

/// Seen on v0.32.2: which of the two it is changes with the order of the inputs of a merge. What is
/// sent has no entry for the root, so it is the digest of everything that differs.
#[test]
fn content_of_a_local_directory_that_is_built_on_is_one_of_two() {
    let predicted_of = |path: &str| {
        let tree = Local(Arc::new(MemTree::new().dir("d", 0o755)));
        let source = local("context", LocalOptions::default());
        let above = mkfile(Some(source.clone()), "/a", "A");
        let copied = copy(&above, "/d", None, "/c");
        predicted(&copy(&source, path, Some(copied), "/e"), &tree)
    };
    assert_eq!(predicted_of("/d").missing, []);
    let prediction = predicted_of("/");
    let [missing] = &prediction.missing[..] else {
        panic!("{:?}", prediction.missing);
    };
    assert!(matches!(&missing.what, Lack::Either { sent, stored } if sent != stored));
    let name = &prediction.vertices[missing.vertex].name;
    assert_eq!(name, "local://context");
}
