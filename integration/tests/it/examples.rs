//! Every document of `examples/` runs, answers what its comments promise, has
//! the predicted cache keys, and executes nothing the second time.

use std::{collections::BTreeMap, path::Path};

use integration::{busybox, daemon::Daemon, dagop::Dagop, dagop::Outcome, workspace};

use crate::predict_examples;

/// Runs an example twice: the second run must execute nothing and answer alike.
///
/// On a daemon of its own: two builds that ask for the same thing at the same
/// time share a vertex, and the daemon reports it to both under the digest of
/// one of them, which the other did not compute.
fn twice(name: &str, variables: &[(&str, &str)]) -> Outcome {
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    run_twice(&user, name, variables)
}

fn run_twice(user: &Dagop, name: &str, variables: &[(&str, &str)]) -> Outcome {
    let run = |flags: &[String]| {
        let busybox = busybox::program().unwrap().display().to_string();
        let mut all = vec![("busybox", busybox.as_str())];
        all.extend_from_slice(variables);
        let mut command = user
            .command(integration::dagop::arguments(&example(name), &all))
            .unwrap();
        command.env("EXAMPLE_TOKEN", "swordfish").args(flags);
        integration::dagop::finish(command).unwrap()
    };
    let first = run(&predict_examples::flags(user));
    predict_examples::compare(user, name, BTreeMap::new());
    let second = run(&[]);
    for outcome in [&first, &second] {
        let foreign = outcome.foreign_vertices().unwrap();
        assert!(
            foreign.is_empty(),
            "{name}: digests we did not compute: {foreign:?}"
        );
    }
    assert_eq!(
        first.json().unwrap()["data"],
        second.json().unwrap()["data"],
        "{name}"
    );
    assert_eq!(
        second.executed().unwrap(),
        0,
        "{name}: {:?}",
        second.executed_names()
    );
    second
}

fn example(name: &str) -> std::path::PathBuf {
    workspace::root().join("examples").join(name)
}

#[test]
fn hello() {
    let data = twice("hello.graphql", &[]).data("Hello").unwrap();
    let stdout = &data["container"]["withFile"]["withNewFile"]["withExec"]["stdout"];
    assert_eq!(stdout, "hello from a stock BuildKit daemon\n");
}

#[test]
fn files() {
    let outcome = twice("files.graphql", &[]);
    let tree = outcome.data("Tree").unwrap();
    let tree = &tree["directory"]["withNewFile"]["withNewFile"]["withNewFile"]["withSymlink"];
    assert_eq!(
        tree["withoutObjects"]["entries"],
        serde_json::json!(["main.c"])
    );
    let sources = tree["sources"]["glob"].as_array().unwrap();
    assert!(
        sources.contains(&"src/main.c".into()) && !sources.contains(&"src/main.o".into()),
        "{sources:?}"
    );

    let copy = outcome.data("Copy").unwrap();
    let file = &copy["directory"]["withDirectory"]["withTimestamps"]["file"];
    assert_eq!(file["contents"], "int main(void) { return 0; }\n");
    assert_eq!(file["size"], 29);
    let rest = copy["rest"]["diff"]["glob"].as_array().unwrap();
    assert!(rest.contains(&"doc/manual.txt".into()), "{rest:?}");
}

#[test]
fn commands() {
    let outcome = twice("commands.graphql", &[]);
    let data = outcome.data("Commands").unwrap();
    let tools =
        &data["container"]["withFile"]["withEnvVariable"]["withEnvVariable"]["withEnvVariable"];
    assert_eq!(tools["expanded"], "hello again");
    assert_eq!(tools["sorted"]["file"]["contents"], "apple\npear\n");
    assert_eq!(tools["failed"]["exitCode"], 7);
    assert_eq!(tools["failed"]["stderr"], "no such luck\n");
    let branches = outcome.data("Branches").unwrap();
    assert_eq!(
        branches["left"]["withWorkdir"]["withExec"]["stdout"],
        "/left\n"
    );
    assert_eq!(
        branches["right"]["withUser"]["withExec"]["stdout"],
        "1000\n"
    );
}

#[test]
fn mounts() {
    let sources = workspace::root().join("hack");
    let outcome = twice("mounts.graphql", &[("sources", sources.to_str().unwrap())]);
    let data = outcome.data("Mounts").unwrap();
    let mounts =
        &data["loadContainerFromID"]["withMountedDirectory"]["withMountedCache"]["withMountedTemp"];
    let listing = mounts["withExec"]["stdout"].as_str().unwrap();
    assert!(
        listing.contains("quickstart\n") && !listing.contains(".tsv"),
        "{listing}"
    );
    assert_eq!(
        mounts["mounts"],
        serde_json::json!(["/sources", "/cache", "/memory"])
    );
    let data = outcome.data("Secrets").unwrap();
    let secrets = &data["loadContainerFromID"]["withSecretVariable"]["withMountedSecret"];
    assert_eq!(secrets["withExec"]["stdout"], "same\n");
    assert!(!format!("{outcome:?}").contains("swordfish"), "{outcome:?}");
}

/// A new example without a test would rot.
#[test]
fn every_document_has_a_test() {
    let tested = [
        "commands.graphql",
        "files.graphql",
        "hello.graphql",
        "mounts.graphql",
        "cprogram/pipeline.graphql",
    ];
    let documents = workspace::files().unwrap().into_iter().filter(|path| {
        path.starts_with("examples")
            && path
                .extension()
                .is_some_and(|extension| extension == "graphql")
    });
    for document in documents {
        let name = document.strip_prefix("examples").unwrap();
        assert!(
            tested.iter().any(|tested| Path::new(tested) == name),
            "{} has no test",
            document.display()
        );
    }
}
