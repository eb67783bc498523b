//! The join of calls, vertices, cache records and layers, against a real daemon and registry: every
//! vertex of the daemon's status has a row, what was predicted is what the cache holds, and the
//! layers of the steps are those of the image that was pushed.

use std::{collections::BTreeSet, process::Command};

use integration::{daemon::Daemon, dagop::Dagop, dagop::Outcome, registry};
use serde_json::Value;

const DOCUMENT: &str = r#"
query Publish($tools: ContainerID!, $image: String!) {
  loadContainerFromID(id: $tools) {
    withNewFile(path: "/etc/motd", contents: "join\n") {
      withExec(args: ["busybox", "sh", "-c", "echo one > /one"]) {
        withExec(args: ["busybox", "sh", "-c", "echo two > /two"]) { publish(address: $image) }
      }
    }
  }
}"#;

pub(crate) fn run(user: &Dagop, image: &str, flags: &[&str]) -> Outcome {
    let mut command = user
        .command_with_tools(DOCUMENT, &[("image", image)])
        .unwrap();
    command.args(flags);
    integration::dagop::finish(command).unwrap()
}

/// What a registry says a name stands for: a manifest or an index.
pub(crate) fn manifest(image: &str) -> Value {
    let output = Command::new("skopeo")
        .args([
            "inspect",
            "--raw",
            "--tls-verify=false",
            &format!("docker://{image}"),
        ])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Digests of the layers of a pushed image, lowest first.
pub(crate) fn pushed(image: &str) -> Vec<String> {
    let manifest = manifest(image);
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| text(&layer["digest"])).collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Blobs of a record's layer and all below it, lowest first.
pub(crate) fn chain(cache: &Value, record: &Value) -> Vec<String> {
    let mut chain = Vec::new();
    let mut next = record["layer"].as_u64();
    while let Some(number) = next {
        let layer = &cache["layers"][usize::try_from(number).unwrap()];
        chain.push(text(&layer["blob"]));
        next = layer["parent"].as_u64();
    }
    chain.reverse();
    chain
}

pub(crate) fn records<'a>(report: &'a Value, vertex: &Value, evidence: &str) -> Vec<&'a Value> {
    let records = report["cache"]["records"].as_array().unwrap().iter();
    records
        .filter(|record| record["vertex"] == vertex["raw"] && record["evidence"] == evidence)
        .collect()
}

/// Every vertex but the daemon's own and local sources has a predicted record, and what a cache
/// says of it is the same record with the same links.
pub(crate) fn check(report: &Value, evidence: &str) -> usize {
    let mut seen = 0;
    for vertex in report["vertices"].as_array().unwrap() {
        if vertex["canonical"].is_null() || vertex["kind"] == "local" {
            continue;
        }
        let predicted = records(report, vertex, "predicted");
        assert!(!predicted.is_empty(), "no record of {vertex}");
        for found in records(report, vertex, evidence) {
            seen += 1;
            let same = predicted
                .iter()
                .find(|record| record["digest"] == found["digest"]);
            let same = same.unwrap_or_else(|| panic!("{found} was not predicted"));
            if !same["canonical"].is_null() {
                assert_eq!(same["canonical"], found["canonical"], "{vertex}");
            }
        }
    }
    seen
}

/// The layers of the two commands are those of the image, and end with its last two.
pub(crate) fn has_layers_of_image(report: &Value, evidence: &str, layers: &[String]) {
    let mut chains = BTreeSet::new();
    let vertices = report["vertices"].as_array().unwrap().iter();
    for vertex in vertices.filter(|vertex| vertex["kind"] == "exec") {
        let found = records(report, vertex, evidence);
        let own = found.iter().find(|record| record["output"] == 0).unwrap();
        let chain = chain(&report["cache"], own);
        assert_eq!(chain, layers[..chain.len()], "{vertex}");
        chains.insert(chain.len());
    }
    assert_eq!(chains, BTreeSet::from([layers.len() - 1, layers.len()]));
}

#[test]
fn steps_records_and_layers_are_joined() {
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    let image = format!("{}/join:local", registry::shared().unwrap());
    let outcome = run(
        &user,
        &image,
        &["--export-cache", "type=local,dest=cache,mode=max"],
    );
    let report = &outcome.json().unwrap()["report"];
    assert!(check(report, "local") >= 4, "{report}");
    let layers = pushed(&image);
    let cache = &report["cache"];
    let of_kind = |kind: &str| {
        let vertices = report["vertices"].as_array().unwrap().iter();
        vertices
            .filter(|vertex| vertex["kind"] == kind)
            .collect::<Vec<_>>()
    };
    has_layers_of_image(report, "local", &layers);
    // Without any cache the manifest alone says which layer the last step made.
    let last = records(report, of_kind("exec").last().unwrap(), "image");
    assert!(
        last.iter().all(|record| chain(cache, record) == layers),
        "{last:?}"
    );

    // What the ledger says afterwards is the same, also of one step, and in a bundle.
    let keys = user.run(["keys", "--json"]).unwrap().json().unwrap();
    assert_eq!(keys["cache"], *cache);
    let bundled = user.run(["bundle", "-o", "build.db"]).unwrap();
    assert_eq!(bundled.code, 0, "{bundled:?}");
    let bundled = user
        .run(["keys", "--bundle", "build.db", "--json"])
        .unwrap();
    assert_eq!(bundled.json().unwrap()["cache"], *cache);
    let step = user.run(["keys", "last", "*echo two*"]).unwrap();
    assert!(step.stdout.contains(layers.last().unwrap()), "{step:?}");
}

#[test]
fn an_inline_cache_is_read_back_from_the_image() {
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    let image = format!("{}/join:inline", registry::shared().unwrap());
    let outcome = run(&user, &image, &["--export-cache", "type=inline"]);
    let report = &outcome.json().unwrap()["report"];
    assert!(check(report, "inline") >= 2, "{report}");
    let layers = pushed(&image);
    let cache = &report["cache"];
    let inline = cache["records"].as_array().unwrap().iter();
    let inline =
        inline.filter(|record| record["evidence"] == "inline" && !record["layer"].is_null());
    let longest = inline
        .map(|record| chain(cache, record))
        .max_by_key(Vec::len);
    assert_eq!(longest.unwrap(), layers);
}

#[test]
fn an_exported_cache_serves_another_daemon() {
    let first = Daemon::start().unwrap();
    let user = Dagop::new(first.address()).unwrap();
    let image = format!("{}/join:other", registry::shared().unwrap());
    let outcome = run(
        &user,
        &image,
        &["--export-cache", "type=local,dest=cache,mode=max"],
    );
    assert!(outcome.executed().unwrap() > 0);
    let cache = format!("type=local,src={}", user.work().join("cache").display());
    let second = Daemon::start().unwrap();
    let other = Dagop::new(second.address()).unwrap();
    let outcome = run(&other, &image, &["--import-cache", &cache]);
    assert_eq!(
        outcome.executed().unwrap(),
        0,
        "{:?}",
        outcome.executed_names()
    );
    // A cache that is not there is a warning.
    let outcome = run(
        &other,
        &image,
        &["--import-cache", "type=local,src=nowhere"],
    );
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stderr.contains("the local cache is not read"),
        "{outcome:?}"
    );
}
