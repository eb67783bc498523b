//! `dagop predict` as a user runs it: no daemon, an LLB file or standard input, a table or JSON.

use std::{fs, io::Write as _, process::Stdio};

use integration::dagop::Dagop;
use serde_json::Value;
use solver::llb::{
    Constraints, Definition,
    file::{CopyOptions, FileOp, MkfileOptions},
    source::{LocalOptions, local},
};

/// What is in a file that a graph makes.
const CONTENT: &str = "swordfish in a file";

/// A user without a daemon.
fn user() -> Dagop {
    Dagop::new("unix:///nowhere/at/all.sock").unwrap()
}

/// A copy of a local directory onto a file.
fn graph() -> Vec<u8> {
    let base = FileOp::new(None)
        .mkfile("/made", 0o644, CONTENT, MkfileOptions::default())
        .build(Constraints::default())
        .unwrap();
    let source = local("context", LocalOptions::default());
    let copied = FileOp::new(Some(base))
        .copy(source, "/d", "/copied", CopyOptions::default())
        .build(Constraints::default())
        .unwrap();
    Definition::marshal(Some(&copied), &Constraints::default()).encode()
}

/// A user with the graph in `graph.llb` and a directory `context`.
fn prepared() -> Dagop {
    let user = user();
    fs::write(user.work().join("graph.llb"), graph()).unwrap();
    fs::create_dir_all(user.work().join("context/d")).unwrap();
    fs::write(user.work().join("context/d/f"), "hi\n").unwrap();
    user
}

const LOCAL: [&str; 2] = ["--local", "context=context"];

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["predict", "--llb", "graph.llb"], more].concat()
}

#[test]
fn records_have_the_form_of_a_cacheconfig_document() {
    let user = prepared();
    let outcome = user.run(arguments(&[&LOCAL[..], &["--json"]].concat()));
    let json = outcome.unwrap().json().unwrap();
    let records = json["records"].as_array().unwrap();
    assert_eq!(records.len(), 3, "{json:#}");
    let digests: Vec<&str> = records
        .iter()
        .map(|record| record["digest"].as_str().unwrap())
        .collect();
    assert!(digests.is_sorted());
    let copied = records
        .iter()
        .find(|record| record["inputs"].is_array())
        .unwrap();
    // The base by its definition, the directory by its content only.
    assert_eq!(copied["inputs"].as_array().unwrap().len(), 2);
    assert_eq!(copied["inputs"][1].as_array().unwrap().len(), 1);
    assert_eq!(json["missing"], Value::Array(Vec::new()));
    assert_eq!(json["proven"], true);
    let vertices = json["vertices"].as_array().unwrap();
    assert_eq!(vertices.len(), 3);
    let source = vertices
        .iter()
        .find(|vertex| vertex["name"] == "local://context")
        .unwrap();
    assert!(source["cacheMap"].is_null());
}

#[test]
fn standard_input_is_read_and_what_is_missing_is_said() {
    let user = prepared();
    let mut command = user.command(["predict", "--llb", "-"]).unwrap();
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&graph()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("VERTEX"), "{text}");
    assert!(
        text.contains("(1)") && text.contains("the files of the source are not at hand"),
        "{text}"
    );
}

#[test]
fn preimages_have_sizes_in_place_of_contents() {
    let user = prepared();
    for more in [&["--preimages"][..], &["--preimages", "--json"]] {
        let outcome = user.run(arguments(&[&LOCAL[..], more].concat())).unwrap();
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, CONTENT);
        for secret in [CONTENT, &encoded] {
            assert!(!outcome.stdout.contains(secret), "{}", outcome.stdout);
        }
        let size = format!("({} bytes)", CONTENT.len());
        assert!(
            outcome.stdout.contains("buildkit.file.v0") && outcome.stdout.contains(&size),
            "{}",
            outcome.stdout
        );
    }
}

#[test]
fn other_releases_have_other_keys() {
    let user = prepared();
    let records = |version: &str| {
        let more = [&LOCAL[..], &["--json", "--profile", version]].concat();
        let json = user.run(arguments(&more)).unwrap().json().unwrap();
        (json["records"].clone(), json["proven"].clone())
    };
    let (current, proven) = records("v0.32.2");
    assert_eq!(proven, true);
    let (future, proven) = records("v9.0.0");
    assert_eq!(proven, false);
    assert_eq!(current, future);
}

#[test]
fn errors_name_what_is_wrong() {
    let user = prepared();
    fs::write(user.work().join("text"), "not a definition").unwrap();
    for (arguments, code, what) in [
        (vec!["predict", "--llb", "text"], 2, "LLB definition"),
        (vec!["predict", "--llb", "absent"], 1, "absent"),
        (arguments(&["--local", "context"]), 2, "NAME=DIR"),
        (arguments(&["--local", "context=graph.llb"]), 1, "graph.llb"),
        (arguments(&["--oci-layout", "x=context"]), 1, "OCI layout"),
        (arguments(&["--profile", "v0.9.0"]), 2, "v0.9.0"),
        (arguments(&["--profile", "new"]), 2, "new"),
    ] {
        let outcome = user.run(&arguments).unwrap();
        assert_eq!(outcome.code, code, "{arguments:?}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(what),
            "{arguments:?}: {}",
            outcome.stderr
        );
        assert!(outcome.stdout.is_empty(), "{arguments:?}");
    }
}
