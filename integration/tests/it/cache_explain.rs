//! `dagop cache explain` against a real daemon's caches in a real registry, in a directory and in
//! an archive: what is there, and where the chain breaks if it is not.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use integration::dagop::{Outcome, finish};
use integration::registry::{PASSWORD, Registry, USER};
use integration::{daemon, dagop::Dagop, registry};
use serde_json::{Value, json};

use crate::join::{records, text};
use crate::join_status::PLATFORMS;

/// What is made in one container is copied into another one, which is published.
const DOCUMENT: &str = r#"
query Make($tools: ContainerID!, $motd: String!) {
  loadContainerFromID(id: $tools) {
    withNewFile(path: "/etc/motd", contents: $motd) {
      withExec(args: ["busybox", "sh", "-c", "cat /etc/motd > /made"]) {
        file(path: "/made") { id @export(as: "made") }
      }
    }
  }
}
query Publish($tools: ContainerID!, $made: FileID!, $last: String!, $image: String!) {
  loadContainerFromID(id: $tools) {
    withFile(path: "/copied", source: $made) {
      withExec(args: ["busybox", "sh", "-c", $last]) { publish(address: $image) }
    }
  }
}"#;

struct Build<'a> {
    image: String,
    motd: &'a str,
    last: &'a str,
}

impl<'a> Build<'a> {
    fn new(host: &str, motd: &'a str) -> Self {
        Self {
            image: format!("{host}/explained:{motd}"),
            motd,
            last: "echo last > /last",
        }
    }

    fn run(&self, user: &Dagop, flags: &[&str]) {
        let variables = [
            ("image", self.image.as_str()),
            ("motd", self.motd),
            ("last", self.last),
        ];
        let mut command = user.command_with_tools(DOCUMENT, &variables).unwrap();
        command.args(flags);
        finish(command).unwrap().json().unwrap();
    }

    /// Runs it and exports a cache.
    fn export(&self, user: &Dagop, name: &str, mode: &str) -> String {
        let host = self.image.split('/').next().unwrap();
        let cache = format!("{host}/explained-cache:{name}");
        let export = format!("type=registry,ref={cache},mode={mode}");
        self.run(user, &["--export-cache", &export]);
        cache
    }
}

fn user() -> Dagop {
    Dagop::new(daemon::shared().unwrap()).unwrap()
}

fn explain(user: &Dagop, arguments: &[&str]) -> Outcome {
    let all = ["cache", "explain"]
        .into_iter()
        .chain(arguments.iter().copied());
    user.run(all).unwrap()
}

/// Steps with what the cache has of them, by their names.
fn statuses(user: &Dagop, cache: &str) -> Vec<(String, Value)> {
    let answer = explain(user, &[cache, "--json"]).json().unwrap();
    named(&answer)
}

fn named(answer: &Value) -> Vec<(String, Value)> {
    let steps = answer["steps"].as_array().unwrap().iter();
    let pairs = steps.map(|step| (text(&step["step"]["name"]), step.clone()));
    pairs.collect()
}

fn of<'a>(steps: &'a [(String, Value)], part: &str) -> &'a Value {
    let is_meant = |name: &str| name.starts_with(part) || name.ends_with(part);
    let mut found = steps.iter().filter(|(name, _)| is_meant(name));
    let names: Vec<&String> = steps.iter().map(|(name, _)| name).collect();
    let (_, step) = found
        .next()
        .unwrap_or_else(|| panic!("no {part} in {names:?}"));
    assert!(found.next().is_none(), "several {part} in {names:?}");
    step
}

const MADE: &str = "withExec busybox sh -c \"cat /etc/motd";
const MOTD: &str = "withNewFile";
const COPIED: &str = "withFile(path: \"/copied\"";
const LAST: &str = " > /last\"";

#[test]
fn a_complete_cache_has_every_step() {
    let (user, host) = (user(), registry::shared().unwrap());
    let build = Build::new(&host, "complete");
    let cache = build.export(&user, "complete", "max");
    build.run(&user, &["--export-cache", "type=local,dest=cache,mode=max"]);
    let packed = Command::new("tar")
        .args(["-C", "cache", "-cf", "cache.tar", "."])
        .current_dir(user.work())
        .status();
    assert!(packed.unwrap().success());
    for cache in [
        &cache,
        "./cache",
        "./cache.tar",
        "type=local,src=cache,tag=latest",
    ] {
        let steps = statuses(&user, cache);
        for part in [MOTD, MADE, COPIED, LAST] {
            let step = of(&steps, part);
            assert_eq!(step["status"], "complete", "{cache}: {step}");
            let layers = &step["records"][0]["layers"];
            assert!(
                layers
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|l| l["there"] == true),
                "{step}"
            );
        }
        // Every other step is a source or has no key; nothing is amiss.
        let others = steps
            .iter()
            .filter(|(_, step)| step["status"] != "complete");
        for (_, step) in others {
            assert!(
                ["key_only", "no_key"].contains(&step["status"].as_str().unwrap()),
                "{step}"
            );
        }
    }
    let table = explain(&user, &[&cache]);
    assert_eq!(table.code, 0, "{table:?}");
    assert!(table.stdout.contains("layers are there"), "{table:?}");
    let one = explain(&user, &[&cache, "*> /last*", "--build", "last"]);
    assert_eq!(one.stdout.matches("\nthere ").count(), 1, "{one:?}");
}

#[test]
fn a_cache_of_mode_min_has_keys_without_files() {
    let (user, host) = (user(), registry::shared().unwrap());
    let cache = Build::new(&host, "min").export(&user, "min", "min");
    let steps = statuses(&user, &cache);
    assert_eq!(of(&steps, MADE)["status"], "key_only");
    assert_eq!(of(&steps, LAST)["status"], "complete");
    let sentence = text(&of(&steps, MADE)["sentence"]);
    assert!(sentence.contains("mode=min"), "{sentence}");
}

#[test]
fn the_chain_breaks_exactly_at_the_edited_step() {
    let (user, host) = (user(), registry::shared().unwrap());
    let before = Build::new(&host, "edited");
    let cache = before.export(&user, "edited", "max");

    // The last command: nothing before it is touched.
    let last = Build {
        last: "echo other > /last",
        ..Build::new(&host, "edited")
    };
    last.run(&user, &[]);
    let steps = statuses(&user, &cache);
    for part in [MOTD, MADE, COPIED] {
        assert_eq!(of(&steps, part)["status"], "complete", "{part}");
    }
    let step = of(&steps, LAST);
    assert_eq!(step["status"], "missing", "{step}");
    let breaks = step["breaks"].as_array().unwrap();
    assert_eq!(breaks.len(), 1, "{step}");
    assert_eq!(breaks[0]["step"]["canonical"], step["step"]["canonical"]);
    assert_eq!(breaks[0]["cause"]["kind"], "key");
    let instead = text(&breaks[0]["cause"]["instead"]["name"]);
    assert!(instead.contains("echo last"), "{step}");

    // The first file: what runs on it is missing because of it. Whether what the command wrote is
    // the same is known to nobody but the daemon, so what copies it is neither there nor missing.
    let first = Build {
        motd: "edited-first",
        ..Build::new(&host, "edited")
    };
    first.run(
        &user,
        &["--import-cache", &format!("type=registry,ref={cache}")],
    );
    // The cache was read, and what it has of the other file is not taken for this one's.
    let keys = user.run(["keys", "--json"]).unwrap().json().unwrap();
    let mut vertices = keys["vertices"].as_array().unwrap().iter();
    let copied = vertices.find(|vertex| text(&vertex["name"]).starts_with(COPIED));
    assert!(records(&keys, copied.unwrap(), "registry").is_empty());
    let answer = explain(&user, &[&cache, "--json"]);
    assert_eq!(answer.code, 4, "{answer:?}");
    let steps = named(&serde_json::from_str(&answer.stdout).unwrap());
    for (part, status, at) in [
        (MOTD, "missing", MOTD),
        (MADE, "missing", MOTD),
        (COPIED, "unknown", COPIED),
        (LAST, "unknown", COPIED),
    ] {
        let step = of(&steps, part);
        assert_eq!(step["status"], status, "{step}");
        let breaks = step["breaks"].as_array().unwrap();
        assert_eq!(breaks.len(), 1, "{step}");
        let at = &of(&steps, at)["step"]["canonical"];
        assert_eq!(breaks[0]["step"]["canonical"], *at, "{step}");
    }
    let table = explain(&user, &[&cache, "*/made*"]);
    assert!(
        table.stdout.contains("the chain breaks at `withNewFile"),
        "{table:?}"
    );
}

#[test]
fn changed_files_of_the_client_break_the_chain_where_they_are_copied() {
    const COPY: &str = r#"
query Read { host { directory(path: "src") { id @export(as: "src") } } }
query Copy($tools: ContainerID!, $src: DirectoryID!) {
  loadContainerFromID(id: $tools) {
    withDirectory(path: "/src", source: $src) {
      withExec(args: ["busybox", "cat", "/src/main.c"]) { stdout }
    }
  }
}"#;
    let (user, host) = (user(), registry::shared().unwrap());
    std::fs::create_dir(user.work().join("src")).unwrap();
    let run = |contents: &str, flags: &[&str]| {
        std::fs::write(user.work().join("src/main.c"), contents).unwrap();
        let mut command = user.command_with_tools(COPY, &[]).unwrap();
        command.args(flags);
        finish(command).unwrap().json().unwrap();
    };
    let cache = format!("{host}/explained-cache:files");
    run(
        "one",
        &[
            "--export-cache",
            &format!("type=registry,ref={cache},mode=max"),
        ],
    );
    run("two", &[]);
    let steps = statuses(&user, &cache);
    let copy = of(&steps, "withDirectory");
    assert_eq!(copy["status"], "missing", "{copy}");
    assert_eq!(copy["breaks"][0]["cause"]["kind"], "content", "{copy}");
    let cat = of(&steps, "cat /src/main.c");
    assert_eq!(
        cat["breaks"][0]["step"]["canonical"],
        copy["step"]["canonical"]
    );
}

#[test]
fn a_blob_that_is_gone_is_found_behind_a_password() {
    let private = Registry::start().unwrap();
    let user = user();
    let build = Build::new(private.address(), "gone");
    // Without credentials not even the question is answered, and nothing of them is shown.
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let docker = user.home().join(".docker");
    std::fs::create_dir_all(&docker).unwrap();
    let config = json!({"auths": {private.address(): {"auth": pair}}}).to_string();
    std::fs::write(docker.join("config.json"), config).unwrap();
    let cache = build.export(&user, "gone", "max");
    let steps = statuses(&user, &cache);
    let layers = of(&steps, MADE)["records"][0]["layers"]
        .as_array()
        .unwrap()
        .clone();
    let blob = text(&layers.last().unwrap()["blob"]);
    remove_blob(private.folder(), &blob);
    let steps = statuses(&user, &cache);
    let made = of(&steps, MADE);
    assert_eq!(made["status"], "blob_missing", "{made}");
    assert!(text(&made["sentence"]).contains(&blob), "{made}");
    // What does not lie on top of it is as it was.
    assert_eq!(of(&steps, MOTD)["status"], "complete");
    assert_eq!(of(&steps, LAST)["status"], "complete");

    std::fs::remove_file(docker.join("config.json")).unwrap();
    let refused = explain(&user, &[&cache]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("denies access to explained-cache"),
        "{refused:?}"
    );
    let config = json!({"auths": {private.address(): {"auth":
        base64::engine::general_purpose::STANDARD.encode(format!("{USER}:wrong-canary"))}}});
    std::fs::write(docker.join("config.json"), config.to_string()).unwrap();
    let refused = explain(&user, &[&cache]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(!refused.stderr.contains("wrong-canary"), "{refused:?}");
}

/// Deletes what a registry keeps of a blob, as a careless garbage collection does.
fn remove_blob(folder: &Path, digest: &str) {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let blobs = folder.join("images/docker/registry/v2/blobs/sha256");
    std::fs::remove_dir_all(blobs.join(&hex[..2]).join(hex)).unwrap();
}

const PLATFORM: &str = r#"
query Program($busybox: String!) { host { file(path: $busybox) { id @export(as: "program") } } }
query Build($program: FileID!, $image: String!, $platform: Platform!) {
  container(platform: $platform) {
    withFile(path: "/bin/busybox", source: $program, permissions: 493) {
      withExec(args: ["/bin/busybox", "sh", "-c", "echo hi > /x"]) { publish(address: $image) }
    }
  }
}"#;

#[test]
fn the_platform_of_a_cache_is_named() {
    let (user, host) = (user(), registry::shared().unwrap());
    let busybox = integration::busybox::program()
        .unwrap()
        .display()
        .to_string();
    let image = format!("{host}/explained:platform");
    let run = |platform: &str, flags: &[&str]| {
        let variables = [
            ("busybox", busybox.as_str()),
            ("image", image.as_str()),
            ("platform", platform),
        ];
        let document = user.home().join("platform.graphql");
        std::fs::write(&document, PLATFORM).unwrap();
        let arguments = integration::dagop::arguments(&document, &variables);
        let mut command = user.command(arguments).unwrap();
        command.args(flags);
        finish(command).unwrap().json().unwrap();
    };
    // A cache of its own says nothing of platforms; the ledger knows what it was made from.
    let cache = format!("{host}/explained-cache:platform");
    let export = format!("type=registry,ref={cache},mode=max");
    run("linux/amd64/v2", &["--export-cache", &export]);
    run("linux/amd64", &[]);
    let steps = statuses(&user, &cache);
    let exec = of(&steps, "withExec");
    let cause = &exec["breaks"][0]["cause"];
    let expected = json!({"kind": "platform", "wanted": "linux/amd64", "has": "linux/amd64/v2"});
    assert_eq!(*cause, expected, "{exec}");

    // An image says it itself, and an index has one for each.
    let images = format!("{host}/explained:images");
    let document = user.home().join("images.graphql");
    std::fs::write(&document, PLATFORMS).unwrap();
    let arguments =
        integration::dagop::arguments(&document, &[("image", &images), ("busybox", &busybox)]);
    let mut command = user.command(arguments).unwrap();
    command.args(["--export-cache", "type=inline"]);
    finish(command).unwrap().json().unwrap();
    let answer = explain(&user, &[&images, "--platform", "linux/arm64/v8", "--json"]);
    let answer = answer.json().unwrap();
    let held = answer["held"].as_array().unwrap();
    assert_eq!(held.len(), 1, "{answer}");
    assert_eq!(held[0]["platform"], "linux/arm64");
    let wrong = explain(&user, &[&images, "--platform", "linux/s390x"]);
    assert_eq!(wrong.code, 1, "{wrong:?}");
    let expected = "has nothing for linux/s390x, only for linux/amd64, linux/arm64";
    assert!(wrong.stderr.contains(expected), "{wrong:?}");
    let of_arm = ["--build", "2", "--platform", "linux/arm64", "--json"];
    let all = [&[images.as_str()][..], &of_arm].concat();
    let answer = explain(&user, &all).json().unwrap();
    let mut steps = answer["steps"].as_array().unwrap().iter();
    let exec = steps.find(|step| step["step"]["kind"] == "exec").unwrap();
    let expected = json!({"kind": "platform", "wanted": "linux/amd64", "has": "linux/arm64"});
    let mut causes = exec["breaks"].as_array().unwrap().iter();
    assert!(causes.any(|one| one["cause"] == expected), "{exec}");
}

#[test]
fn what_is_not_there_is_said() {
    let (user, host) = (user(), registry::shared().unwrap());
    let nothing = explain(&user, &[&format!("{host}/a:b")]);
    assert_eq!(nothing.code, 1, "{nothing:?}");
    assert!(
        nothing.stderr.contains("no build has been recorded yet"),
        "{nothing:?}"
    );
    let build = Build::new(&host, "not-there");
    build.run(&user, &[]);
    let cases = [
        (
            vec![format!("{host}/explained:no-such")],
            1,
            "has no manifest explained:no-such",
        ),
        (vec![build.image.clone()], 1, "has no cache: it is an image"),
        (vec!["./nowhere".to_owned()], 1, "nowhere"),
        (
            vec!["type=gha".to_owned()],
            1,
            "can be read by the daemon alone",
        ),
        (vec!["type=local".to_owned()], 2, "needs src="),
        (
            vec!["127.0.0.1:1/a:b".to_owned()],
            1,
            "cannot ask 127.0.0.1:1",
        ),
        (
            vec![build.image.clone(), "--build".into(), "99".into()],
            2,
            "no recorded build",
        ),
        (
            vec![build.image.clone(), "no-such-step".into()],
            1,
            "has no step",
        ),
    ];
    for (arguments, code, expected) in cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let outcome = explain(&user, &arguments);
        assert_eq!(outcome.code, code, "{arguments:?}: {outcome:?}");
        assert!(
            outcome.stderr.contains(expected),
            "{arguments:?}: {outcome:?}"
        );
    }
}
