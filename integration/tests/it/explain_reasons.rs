//! Reasons that are no edit, on real daemons and through the command line: imported caches that lack
//! something, and differences that are in no key.

use std::{fs, path::Path};

use integration::{
    daemon::{self, Daemon},
    dagop::{self, Dagop},
};
use serde_json::{Value, json};

/// Commands one after the other, on what a first one made.
fn pipeline(words: &[&str]) -> String {
    let steps: String = words
        .iter()
        .map(|word| {
            format!("withExec(args: [\"busybox\", \"sh\", \"-c\", \"echo {word} > /{word}\"]) {{ ")
        })
        .collect();
    let end = "} ".repeat(words.len());
    format!(
        "query Go($tools: ContainerID!) {{ loadContainerFromID(id: $tools) {{ {steps} sync {end} }} }}"
    )
}

/// Runs; the build's id, and the canonical digests of commands that ran.
fn run(user: &Dagop, document: &str, flags: &[&str]) -> (String, Vec<String>) {
    let mut command = user.command_with_tools(document, &[]).unwrap();
    command.args(flags);
    let outcome = dagop::finish(command).unwrap();
    let report = outcome.json().unwrap()["report"].take();
    let vertices = report["vertices"].as_array().unwrap().iter();
    let ran = vertices.filter(|v| v["outcome"] == "executed" && v["kind"] == "exec");
    let digests = ran.map(|vertex| vertex["canonical"].as_str().unwrap().to_owned());
    (
        report["build"]["id"].as_str().unwrap().to_owned(),
        digests.collect(),
    )
}

fn why(user: &Dagop, step: &str, against: &str) -> Value {
    let outcome = user
        .run(["why", "--json", step, "--against", against])
        .unwrap();
    assert!(outcome.code == 0 || outcome.code == 4, "{}", outcome.stderr);
    serde_json::from_str::<Value>(&outcome.stdout).unwrap()[0].take()
}

fn reasons(answer: &Value, list: &str) -> Vec<Value> {
    let causes = answer[list].as_array().unwrap().iter();
    causes.map(|cause| cause["reason"].clone()).collect()
}

/// Deletes the blob of the layer that a cache has on top of all others.
fn delete_last_layer(cache: &Path) {
    let blobs = cache.join("blobs/sha256");
    let parsed = fs::read_dir(&blobs).unwrap().filter_map(|entry| {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    let config = parsed.into_iter().find(|json| json["records"].is_array());
    let layers = config.unwrap()["layers"].take();
    let parents: Vec<i64> = layers
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|layer| layer["parent"].as_i64())
        .collect();
    let tops = (0..).zip(layers.as_array().unwrap());
    let top = tops.filter(|(number, _)| !parents.contains(number)).last();
    let blob = top.unwrap().1["blob"].as_str().unwrap();
    fs::remove_file(blobs.join(blob.strip_prefix("sha256:").unwrap())).unwrap();
}

#[test]
fn what_an_imported_cache_lacks_is_named() {
    let (first, second) = (Daemon::start().unwrap(), Daemon::start().unwrap());
    let user = Dagop::new(first.address()).unwrap();
    let (two, three) = (
        pipeline(&["one", "two"]),
        pipeline(&["one", "two", "three"]),
    );
    let (before, _) = run(&user, &three, &[]);
    run(
        &user,
        &two,
        &["--export-cache", "type=local,dest=cache,mode=max"],
    );
    let other = second.address();
    let import = |cache: &str| -> Vec<String> {
        let import = format!("type=local,src={cache}");
        ["--addr", &other, "--import-cache", &import]
            .map(str::to_owned)
            .to_vec()
    };
    let run_there = |document: &str, cache: &str| {
        let flags = import(cache);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        run(&user, document, &flags)
    };

    // A cache that is not there.
    let (_, ran) = run_there(&two, "nowhere");
    assert_eq!(ran.len(), 2);
    let found = reasons(&why(&user, &ran[1], &before), "reasons");
    let absent = json!({"reason": "import_absent", "cache": "local nowhere"});
    assert_eq!((found.len(), &found[1]), (2, &absent), "{found:?}");
    assert_eq!(found[0]["reason"], "other_daemon");

    // A record that nobody exported.
    let (_, ran) = run_there(&three, "cache");
    assert_eq!(ran.len(), 1, "the others are there by now");
    let found = reasons(&why(&user, &ran[0], &before), "reasons");
    let none = json!({"reason": "import_no_record", "cache": "local cache"});
    assert_eq!((found.len(), &found[1]), (2, &none), "{found:?}");
}

#[test]
fn a_blob_that_an_imported_cache_has_lost_is_named() {
    let (first, second) = (Daemon::start().unwrap(), Daemon::start().unwrap());
    let user = Dagop::new(first.address()).unwrap();
    let two = pipeline(&["one", "two"]);
    let export = ["--export-cache", "type=local,dest=cache,mode=max"];
    let (before, _) = run(&user, &two, &export);
    delete_last_layer(&user.work().join("cache"));
    let flags = [
        "--addr",
        &second.address(),
        "--import-cache",
        "type=local,src=cache",
    ];
    let (_, ran) = run(&user, &two, &flags);
    let answer = why(&user, ran.last().expect("it cannot be fetched"), &before);
    let found = reasons(&answer, "reasons");
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1]["reason"], "import_no_blob", "{found:?}");
    assert_eq!(found[1]["cache"], "local cache");
}

#[test]
fn what_is_in_no_key_is_a_remark_and_no_cause() {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap();
    let pipeline = |label: &str, volume: &str| {
        format!(
            r#"query Volume {{ cacheVolume(key: "{volume}") {{ id @export(as: "volume") }} }}
query Go($tools: ContainerID!, $volume: CacheVolumeID!) {{ loadContainerFromID(id: $tools) {{
  withLabel(name: "l", value: "{label}") {{ withMountedCache(path: "/cache", cache: $volume) {{
  withExec(args: ["busybox", "true", "remarks"]) {{ sync }} }} }} }} }}"#
        )
    };
    let (first, _) = run(&user, &pipeline("a", "v"), &[]);
    let (_, ran) = run(&user, &pipeline("b", "v"), &[]);
    assert_eq!(ran, Vec::<String>::new(), "a label is in no key");
    let answer = why(&user, "*true remarks", &first);
    assert_eq!(answer["key_differs"], false);
    let remarks = reasons(&answer, "remarks");
    assert!(
        matches!(&remarks[..], [only] if only["reason"] == "engine_key"
            && only["from"].as_str().unwrap().contains("\"a\"")
            && only["to"].as_str().unwrap().contains("\"b\"")),
        "{remarks:?}"
    );

    let (_, ran) = run(&user, &pipeline("a", "w"), &[]);
    assert_eq!(ran, Vec::<String>::new(), "a volume's id is in no key");
    let answer = why(&user, "*true remarks", &first);
    assert_eq!(answer["key_differs"], false);
    assert_eq!(answer["reasons"], json!([]));
    let remarks = reasons(&answer, "remarks");
    let kinds: Vec<&Value> = remarks.iter().map(|remark| &remark["reason"]).collect();
    assert_eq!(kinds, ["cache_volume", "engine_key"], "{remarks:?}");
    assert_eq!(remarks[0]["target"], "/cache");
}

/// A build whose values were recalled asked the daemon for nothing, and still knows its files.
#[test]
fn files_of_a_build_that_recalled_its_values_are_known() {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap().recalling();
    fs::create_dir(user.work().join("ctx")).unwrap();
    fs::write(user.work().join("ctx/file"), "recalled").unwrap();
    let document = r#"query Context { host { directory(path: "ctx") { id @export(as: "ctx") } } }
query Go($tools: ContainerID!, $ctx: DirectoryID!) { loadContainerFromID(id: $tools) {
  withDirectory(path: "/src", source: $ctx) {
  withExec(args: ["busybox", "cat", "/src/file"]) { stdout
    withExec(args: ["busybox", "true"]) { sync } } } } }"#;
    run(&user, document, &[]);
    let (recalled, _) = run(&user, document, &[]);
    let (asked, _) = run(&user, document, &["--no-recall"]);
    let outcome = user.run(["diff", "--json", &recalled, &asked]).unwrap();
    let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.code, &found["causes"]), (0, &json!([])), "{found}");
    assert_eq!(found["undecided"], json!([]));
}
