//! Dagger's SDKs for Python, TypeScript and Go, unmodified, against a real
//! daemon: each starts `dagop session` as its CLI and runs the same pipeline.

use std::{collections::BTreeMap, fs, process::Command};

use integration::{
    busybox, daemon,
    dagop::{self, Dagop, Outcome, binary},
    registry,
    sdk::Sdk,
};
use serde_json::{Value, json};

/// A user whose folder `in` is there, and the image of the pipelines, pushed by that user.
fn user() -> (Dagop, String) {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap();
    let rootfs = user.home().join("rootfs");
    busybox::write_rootfs(&rootfs).unwrap();
    fs::create_dir(user.work().join("in")).unwrap();
    let image = format!("{}/sdk:latest", registry::shared().unwrap());
    let text = r#"
query Root($root: String!) { host { directory(path: $root) { id @export(as: "tree") } } }
query Image($tree: DirectoryID!, $image: String!) { container { withDirectory(path: "/", source: $tree) {
  withEnvVariable(name: "PATH", value: "/bin") { publish(address: $image) } } } }"#;
    let root = rootfs.display().to_string();
    let published = user.query(text, &[("root", &root), ("image", &image)]);
    let data = published.unwrap().data("Image").unwrap();
    // Pinned by its digest: what a tag means is asked once per session.
    let image = &data["container"]["withDirectory"]["withEnvVariable"]["publish"];
    let image = image.as_str().unwrap().to_owned();
    (user, image)
}

/// Runs one part of the pipeline, which prints JSON.
fn pipeline(sdk: Sdk, user: &Dagop, part: &str, image: &str) -> Outcome {
    let mut command = sdk.program(user, "pipeline").unwrap();
    arguments(&mut command, user, part, image);
    command.env("_EXPERIMENTAL_DAGGER_CLI_BIN", binary().unwrap());
    dagop::finish(command).unwrap()
}

fn arguments(command: &mut Command, user: &Dagop, part: &str, image: &str) {
    command.args([part, image]).arg(user.work().join("out"));
}

/// What every SDK must get from the pipeline.
fn expected() -> Value {
    json!({
        "host": ["kept"],
        "contents": "é\n\"x\"",
        "size": 4,
        "synced": "after sync\n",
        "argument": "keptkept",
        "secret": "same\n***",
        "name": "password",
        "exitCode": 7,
        "failure": [3, "out", "err", ["sh", "-c", "echo out; echo err >&2; exit 3"]],
        "missing": true,
        "parallel": (0..8).map(|index| format!("p{index}\n")).collect::<Vec<_>>(),
        "labels": [["one", "1"], ["two", "2"]],
        "ports": [[53, "UDP"]],
        "absent": null,
        // A step that writes more than a pipe holds: Python leaves our progress unread.
        "noisy": "quiet\n",
    })
}

/// What the pipeline wrote to the host, in place of what was there.
fn check_exports(user: &Dagop) {
    let out = user.work().join("out");
    let text = |path: &str| fs::read_to_string(out.join(path)).unwrap();
    assert_eq!(
        (text("tree/kept"), text("file")),
        ("kept".into(), "kept".into())
    );
    assert!(!out.join("tree/stale").exists());
    let image = fs::File::open(out.join("image.tar")).unwrap();
    let mut archive = tar::Archive::new(image);
    let mut names = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        entry.path().unwrap().display().to_string()
    });
    assert!(names.any(|name| name == "oci-layout"));
}

fn run_everything(sdk: Sdk) {
    let (user, image) = user();
    fs::create_dir_all(user.work().join("out/tree")).unwrap();
    fs::write(user.work().join("out/tree/stale"), "").unwrap();
    let outcome = pipeline(sdk, &user, "everything", &image);
    assert_eq!(outcome.json().unwrap(), expected());
    check_exports(&user);
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains("canary-plaintext"), "{text}");
    }
}

#[test]
fn python_runs_a_pipeline() {
    run_everything(Sdk::Python);
}

#[test]
fn typescript_runs_a_pipeline() {
    run_everything(Sdk::Node);
}

#[test]
fn go_runs_a_pipeline() {
    run_everything(Sdk::Go);
}

/// An SDK that finds a session in its environment starts none of its own.
#[test]
fn a_program_is_served_with_the_session_in_its_environment() {
    let (user, image) = user();
    for sdk in Sdk::ALL {
        let program = sdk.program(&user, "pipeline").unwrap();
        let mut command = user.command(["serve", "--"]).unwrap();
        command.arg(program.get_program()).args(program.get_args());
        arguments(&mut command, &user, "keys", &image);
        // Would fail if it were started.
        command.env("_EXPERIMENTAL_DAGGER_CLI_BIN", "/nonexistent");
        let data = dagop::finish(command).unwrap().json().unwrap();
        assert_eq!(data["stdout"], "hi\nhellob\nempty\n", "{sdk:?}");
    }
    let mut failing = user.command(["serve", "--", "sh", "-c", "exit 5"]).unwrap();
    failing.env("PATH", "/bin:/usr/bin");
    assert_eq!(dagop::finish(failing).unwrap().code, 5);
}

/// Digest and spelling of each call of the user's last build.
fn calls(user: &Dagop) -> BTreeMap<String, String> {
    let report = user.run(["keys", "--json"]).unwrap().json().unwrap();
    let rows = report["calls"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.map(|row| (text(&row["call_key"]), text(&row["display"])))
        .collect()
}

/// Python leaves defaults out, TypeScript spells them, Go shuffles its arguments:
/// the ledger must show the same calls under the same keys.
#[test]
fn the_three_spellings_of_a_call_have_one_key() {
    let (user, image) = user();
    let mut seen = Vec::new();
    for sdk in Sdk::ALL {
        let data = pipeline(sdk, &user, "keys", &image).json().unwrap();
        assert_eq!(data["entries"], json!(["a.txt", "b/", "empty/"]), "{sdk:?}");
        let mut calls = calls(&user);
        // Python asks for it when it connects.
        calls.retain(|_, display| display != "version");
        seen.push(calls);
    }
    let displays: Vec<_> = seen[0].values().collect();
    for wanted in [
        "withExec(",
        "withMountedCache(",
        "withNewFile(",
        "stdout",
        "entries",
    ] {
        let found = displays.iter().any(|display| display.starts_with(wanted));
        assert!(found, "no {wanted} in {displays:?}");
    }
    assert_eq!(seen[0], seen[1], "Python and TypeScript");
    assert_eq!(seen[0], seen[2], "Python and Go");
}
