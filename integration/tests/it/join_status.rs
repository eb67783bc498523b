//! What the daemon says that it did, read by BuildKit's own client from the history of builds,
//! against what `dagop keys` has: every vertex of every example has a row, every row with a key a
//! record, and the layers are those of what was pushed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use integration::workspace;
use integration::{busybox, daemon, daemon::Daemon, dagop::Dagop, dagop::finish, env, registry};
use serde_json::Value;

use crate::join::{chain, manifest, pushed, records, text};

/// What `buildctl` prints for a daemon.
fn buildctl(daemon: &Daemon, arguments: &[&str]) -> String {
    let program = daemon::tools().unwrap().join("buildctl");
    let output = Command::new(program)
        .args(["--addr", &daemon.address(), "debug"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Names of all vertices of all builds of a daemon, by digest, as their Status streams have them.
fn status(daemon: &Daemon) -> BTreeMap<String, String> {
    let mut vertices = BTreeMap::new();
    let history = buildctl(daemon, &["histories", "--format", "{{json .}}"]);
    for event in history.lines().filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_str(event).unwrap();
        let reference = text(&event["record"]["Ref"]);
        let stream = buildctl(daemon, &["logs", "--progress", "rawjson", &reference]);
        for update in stream.lines().filter(|line| !line.is_empty()) {
            let update: Value = serde_json::from_str(update).unwrap();
            for vertex in update["vertexes"].as_array().into_iter().flatten() {
                vertices.insert(text(&vertex["digest"]), text(&vertex["name"]));
            }
        }
    }
    vertices
}

/// Compares the daemon's account with the ledger's; says how many vertices there were.
#[expect(clippy::print_stdout, reason = "the counts are to be quoted")]
fn compare(name: &str, daemon: &Daemon, user: &Dagop) -> Value {
    let keys = user.run(["keys", "--json"]).unwrap().json().unwrap();
    let rows = keys["vertices"].as_array().unwrap();
    let by_digest: BTreeMap<String, &Value> =
        rows.iter().map(|row| (text(&row["raw"]), row)).collect();
    let status = status(daemon);
    assert!(!status.is_empty(), "{name}: the daemon knows of no build");
    let missing: Vec<_> = status
        .iter()
        .filter(|(digest, _)| !by_digest.contains_key(*digest))
        .collect();
    assert!(missing.is_empty(), "{name}: no row of {missing:?}");
    let (mut keyed, mut layered) = (0, 0);
    for digest in status.keys() {
        let row = by_digest[digest];
        match row["kind"].as_str().unwrap() {
            // Exporters are the daemon's own, and what a client sends has no key.
            "export" | "local" => continue,
            _ => assert!(!row["canonical"].is_null(), "{name}: not ours: {row}"),
        }
        assert!(
            !records(&keys, row, "predicted").is_empty(),
            "{name}: no record of {row}"
        );
        keyed += 1;
        let all = keys["cache"]["records"].as_array().unwrap().iter();
        let mut own = all.filter(|record| record["vertex"] == row["raw"]);
        layered += usize::from(own.any(|record| !record["layer"].is_null()));
    }
    println!(
        "{name}: {} vertices in Status, {} with a row, {keyed} keyed and with records, {layered} with layers",
        status.len(),
        status.len() - missing.len(),
    );
    keys
}

fn run(user: &Dagop, document: &std::path::Path, variables: &[(&str, &str)], flags: &[&str]) {
    let arguments = integration::dagop::arguments(document, variables);
    let mut command = user.command(arguments).unwrap();
    command.args(flags).env("EXAMPLE_TOKEN", "swordfish");
    finish(command).unwrap().json().unwrap();
}

/// An example on a daemon of its own, with a cache that is read back.
fn example(name: &str, variables: &[(&str, &str)], mode: &str) -> Value {
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    let tag = name.replace(['/', '.'], "-");
    let cache = format!("{}/join-status:{tag}", registry::shared().unwrap());
    let export = format!("type=registry,ref={cache},mode={mode}");
    let document = workspace::root().join("examples").join(name);
    run(&user, &document, variables, &["--export-cache", &export]);
    compare(name, &daemon, &user)
}

#[test]
fn every_vertex_of_the_examples_has_a_row() {
    let busybox = busybox::program().unwrap().display().to_string();
    let busybox = ("busybox", busybox.as_str());
    let sources = workspace::root().join("hack");
    let sources = ("sources", sources.to_str().unwrap());
    example("hello.graphql", &[busybox], "max");
    example("files.graphql", &[], "max");
    example("commands.graphql", &[busybox], "max");
    example("mounts.graphql", &[busybox, sources], "max");
}

/// Every chain of layers that the ledger has for an evidence, lowest first.
fn chains(keys: &Value, evidence: &str) -> BTreeSet<Vec<String>> {
    let all = keys["cache"]["records"].as_array().unwrap().iter();
    let of = all.filter(|record| record["evidence"] == evidence && !record["layer"].is_null());
    of.map(|record| chain(&keys["cache"], record)).collect()
}

#[test]
fn the_published_program_has_the_layers_of_its_steps() {
    let inputs = env::required_path("DAGOP_TEST_PROGRAM").unwrap();
    let path = |name: &str| inputs.join(name).to_str().unwrap().to_owned();
    let image = format!("{}/join-status:program", registry::shared().unwrap());
    let out = tempfile::tempdir().unwrap();
    let program = out.path().join("bzip2").to_str().unwrap().to_owned();
    let keys = example(
        "cprogram/pipeline.graphql",
        &[
            ("toolchain", &path("toolchain.tar")),
            ("sources", &path("src")),
            ("program", &program),
            ("image", &image),
        ],
        // The Debian image that it compiles in is no layer of the result: nothing compresses it.
        "min",
    );
    let layers = pushed(&image);
    for evidence in ["image", "registry"] {
        assert!(
            chains(&keys, evidence).contains(&layers),
            "{evidence}: {layers:?}"
        );
    }
    println!(
        "cprogram: {} layers equal to the pushed manifest's",
        layers.len()
    );
}

/// Pushes an image for two platforms, whose root file systems are the same busybox.
pub(crate) const PLATFORMS: &str = r#"
query Program($busybox: String!) { host { file(path: $busybox) { id @export(as: "program") } } }
query Roots($program: FileID!) {
  amd64: container(platform: "linux/amd64") {
    withFile(path: "/bin/busybox", source: $program) {
      withNewFile(path: "/which", contents: "amd64\n") { id @export(as: "amd64") }
    }
  }
  arm64: container(platform: "linux/arm64") {
    withFile(path: "/bin/busybox", source: $program) {
      withNewFile(path: "/which", contents: "arm64\n") { id @export(as: "arm64") }
    }
  }
}
query Push($amd64: ContainerID!, $arm64: ContainerID!, $image: String!) {
  container { publish(address: $image, platformVariants: [$amd64, $arm64]) }
}"#;

#[test]
fn every_platform_of_an_image_has_the_layers_of_its_steps() {
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    let name = format!("{}/join-status", registry::shared().unwrap());
    let image = format!("{name}:platforms");
    let document = user.home().join("platforms.graphql");
    std::fs::write(&document, PLATFORMS).unwrap();
    let busybox = busybox::program().unwrap().display().to_string();
    run(
        &user,
        &document,
        &[("image", &image), ("busybox", &busybox)],
        &["--export-cache", "type=inline"],
    );
    let keys = compare("two platforms", &daemon, &user);
    let index = manifest(&image);
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{index}");
    for entry in entries {
        let layers = pushed(&format!("{name}@{}", text(&entry["digest"])));
        for evidence in ["image", "inline"] {
            let chains = chains(&keys, evidence);
            assert!(
                chains.contains(&layers),
                "{evidence}: {layers:?} not in {chains:?}"
            );
        }
        println!(
            "{}: {} layers equal",
            entry["platform"]["architecture"],
            layers.len()
        );
    }
}
