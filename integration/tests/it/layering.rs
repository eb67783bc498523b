//! The edges between our crates, read from `cargo metadata`. Each crate may
//! know only what the layout allows: neither cache layer knows the other, the
//! bridge knows no terminal, and only the binary knows everything it needs.

use std::collections::BTreeMap;

use integration::workspace;
use serde_json::Value;

/// Crate -> the crates of ours it may depend on. Everything absent is forbidden.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("proto", &[]),
    ("dagql", &[]),
    ("snapshots", &[]),
    ("solver", &["proto", "snapshots"]),
    ("dagop", &["dagql", "solver", "snapshots"]),
    ("cli", &["dagop"]),
    (
        "integration",
        &["proto", "dagql", "solver", "snapshots", "dagop", "cli"],
    ),
];

/// Dependencies of others that decide what a crate can know: (crate, dependency, why not).
const FORBIDDEN: [(&str, &str, &str); 6] = [
    ("dagql", "tonic", "the API layer speaks to no daemon"),
    ("dagql", "oci-spec", "the API layer knows no containers"),
    ("solver", "apollo-compiler", "the solver knows no GraphQL"),
    ("dagop", "clap", "the bridge has no command line"),
    ("dagop", "indicatif", "the bridge has no terminal"),
    ("dagop", "miette", "the bridge renders no reports"),
];

/// Dependencies of one crate, by kind: normal, build and dev count alike.
fn dependencies(package: &Value) -> Vec<&str> {
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["name"].as_str().unwrap())
        .collect()
}

/// All violations of [`ALLOWED`] and [`FORBIDDEN`], one sentence each.
fn violations(metadata: &Value) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(may) = allowed.get(name) else {
            found.push(format!(
                "{name} is not in the layout: add it to ALLOWED with the crates it may know"
            ));
            continue;
        };
        for dependency in dependencies(package) {
            if allowed.contains_key(dependency) && !may.contains(&dependency) {
                found.push(format!("{name} must not depend on {dependency}"));
            }
            for (_, _, why) in FORBIDDEN
                .iter()
                .filter(|(c, d, _)| (*c, *d) == (name, dependency))
            {
                found.push(format!("{name} must not depend on {dependency}: {why}"));
            }
        }
    }
    found
}

#[test]
fn crates_know_only_what_the_layout_allows() {
    assert_eq!(
        violations(&workspace::metadata().unwrap()),
        Vec::<String>::new()
    );
}

#[test]
fn folder_name_is_crate_name() {
    for package in workspace::metadata().unwrap()["packages"]
        .as_array()
        .unwrap()
    {
        let name = package["name"].as_str().unwrap();
        let manifest = workspace::root().join(name).join("Cargo.toml");
        assert_eq!(
            package["manifest_path"].as_str(),
            manifest.to_str(),
            "crate {name}"
        );
    }
}

/// Metadata of one crate with the given dependencies.
fn metadata(name: &str, dependencies: &[&str]) -> Value {
    let dependencies: Vec<Value> = dependencies
        .iter()
        .map(|d| serde_json::json!({"name": d}))
        .collect();
    serde_json::json!({"packages": [{"name": name, "dependencies": dependencies}]})
}

#[test]
fn a_forbidden_edge_is_found() {
    assert_eq!(
        violations(&metadata("solver", &["dagql", "proto"])),
        ["solver must not depend on dagql"]
    );
    assert_eq!(
        violations(&metadata("cli", &["solver", "clap"])),
        ["cli must not depend on solver"]
    );
}

#[test]
fn a_dependency_that_leaks_knowledge_is_found() {
    let found = violations(&metadata("dagop", &["clap", "dagql"]));
    assert_eq!(
        found,
        ["dagop must not depend on clap: the bridge has no command line"]
    );
}

#[test]
fn a_crate_outside_the_layout_is_found() {
    assert!(violations(&metadata("util", &[]))[0].starts_with("util is not in the layout"));
}
