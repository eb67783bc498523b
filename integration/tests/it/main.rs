//! The one integration test binary. Each module is a file of this folder and
//! one subject; the test below fails when a file is forgotten here.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bad_input;
mod bundle;
mod cache_explain;
mod cancel;
mod concurrency;
mod core_api;
mod cprogram;
mod digests;
mod engine;
mod examples;
mod explain;
mod explain_daemon;
mod explain_draft;
mod explain_edits;
mod explain_edits_graph;
mod explain_edits_neutral;
mod explain_lab;
mod explain_pipelines;
mod explain_real;
mod explain_reasons;
mod explain_record;
mod explain_undecided;
mod explain_waste;
mod explain_world;
mod explore;
mod folding;
mod formulas;
mod harness;
mod introspection;
mod join;
mod join_daemon;
mod join_registry;
mod join_status;
mod kill;
mod layering;
mod plan;
mod plan_bench;
mod plan_corpus;
mod plan_world;
mod predict;
mod predict_command;
mod predict_compare;
mod predict_daemon;
mod predict_examples;
mod predict_graphs;
mod predict_remote;
mod predict_world;
mod salt;
mod sdk;
mod secrets;
mod session;
mod tidy;
mod values;
mod verify;

/// The modules above, as text, so that the test can compare.
const THIS_FILE: &str = include_str!("main.rs");

/// A file that no `mod` names would be compiled by nobody and pass for ever.
#[test]
fn no_test_file_is_forgotten() {
    let folder = integration::workspace::root().join("integration/tests/it");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name != "main")
        .collect();
    files.sort();
    let modules: Vec<&str> = THIS_FILE
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(modules, files);
}
