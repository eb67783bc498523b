//! The real build of `examples/cprogram`: a published C program is compiled in
//! a Debian image, passes its own tests, comes out as a file and as an image
//! that other tools read; and what re-runs after a change is what depends on it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime},
};

use integration::{
    daemon::{self, Daemon},
    dagop::{Dagop, Outcome, arguments},
    env, registry, workspace,
};
use snapshots::{
    content::{ContentProvider, ContentStore},
    image,
};

use crate::predict_examples;

/// One user with a copy of the sources, so that they can be changed.
struct Build {
    user: Dagop,
    inputs: PathBuf,
}

impl Build {
    fn new() -> Self {
        Self::on(daemon::shared().unwrap())
    }

    fn on(address: String) -> Self {
        let user = Dagop::new(address).unwrap();
        let inputs = env::required_path("DAGOP_TEST_PROGRAM").unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(inputs.join("src"))
            .arg(user.work())
            .status()
            .unwrap();
        assert!(copied.success());
        let build = Self { user, inputs };
        build.make_unique();
        build
    }

    /// Other builds on the daemon of the test run must not have cached ours.
    fn make_unique(&self) {
        self.append(
            "bzlib.h",
            &format!("/* {} */\n", self.user.home().display()),
        );
    }

    fn source(&self, name: &str) -> PathBuf {
        self.user.work().join("src").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let source = self.source(name);
        let old = fs::read_to_string(&source).unwrap();
        fs::write(source, old + text).unwrap();
    }

    fn program(&self) -> PathBuf {
        self.user.work().join("out/bzip2")
    }

    fn image(&self) -> String {
        // The folder's name is unique; a repository name is lower case.
        let name = self
            .user
            .home()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_lowercase();
        format!(
            "{}/{}:latest",
            registry::shared().unwrap(),
            name.replace('.', "")
        )
    }

    fn toolchain(&self) -> PathBuf {
        self.inputs.join("toolchain.tar")
    }

    fn run(&self) -> Outcome {
        self.run_with(&[])
    }

    fn run_with(&self, flags: &[String]) -> Outcome {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let document = workspace::root().join("examples/cprogram/pipeline.graphql");
        let arguments = arguments(
            &document,
            &[
                ("toolchain", &path(&self.toolchain())),
                ("sources", &path(&self.user.work().join("src"))),
                ("program", &path(&self.program())),
                ("image", &self.image()),
            ],
        );
        let outcome = self.user.run(arguments.iter().chain(flags)).unwrap();
        outcome.json().unwrap();
        outcome
    }

    /// The `make` targets that a run executed, sorted.
    fn made(outcome: &Outcome) -> Vec<String> {
        let mut targets: Vec<String> = outcome
            .executed_names()
            .unwrap()
            .iter()
            .filter_map(|name| {
                name.split("make ")
                    .nth(1)?
                    .split_whitespace()
                    .next()
                    .map(str::to_owned)
            })
            .collect();
        targets.sort();
        targets
    }
}

#[test]
fn compiles_tests_exports_and_publishes_and_re_runs_only_what_changed() {
    let build = Build::new();
    let first = build.run();
    assert_eq!(Build::made(&first), ["bzip2", "libbz2.a", "test"]);
    let test = first.data("Test").unwrap();
    let said = test["loadContainerFromID"]["withDirectory"]["withExec"]["stdout"]
        .as_str()
        .unwrap();
    assert!(said.contains("you're in business"), "{said}");
    the_program_works(&build.program());
    other_tools_read_the_image(&build);

    // Nothing changed.
    assert_eq!(build.run().executed().unwrap(), 0);

    // Only times changed: content decides.
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for source in fs::read_dir(build.user.work().join("src")).unwrap() {
        fs::File::options()
            .append(true)
            .open(source.unwrap().path())
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    assert_eq!(build.run().executed().unwrap(), 0);

    // The program's source changed: not the library.
    build.append("bzip2.c", "/* changed */\n");
    assert_eq!(Build::made(&build.run()), ["bzip2", "test"]);

    // A file that no step uses changed.
    build.append("CHANGES", "changed\n");
    assert_eq!(build.run().executed().unwrap(), 0);
}

/// On a daemon of its own: what the shared one keeps of other builds would be in its cache, too.
#[test]
fn has_the_predicted_keys() {
    let daemon = Daemon::start().unwrap();
    let build = Build::on(daemon.address());
    build.run_with(&predict_examples::flags(&build.user));
    let folder = tempfile::tempdir().unwrap();
    let store = ContentStore::open(folder.path()).unwrap();
    image::import_path(&store, &build.toolchain()).unwrap();
    let store: Arc<dyn ContentProvider> = Arc::new(store);
    predict_examples::compare(
        &build.user,
        "cprogram/pipeline.graphql",
        BTreeMap::from([("dagop".to_owned(), store)]),
    );
}

/// What was exported runs on this machine and undoes its own work.
fn the_program_works(program: &Path) {
    assert_eq!(
        fs::metadata(program).unwrap().mode() & 0o111,
        0o111,
        "executable for all"
    );
    let pack = Command::new("sh")
        .args(["-c", "printf hello | \"$0\" | \"$0\" -d"])
        .arg(program)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&pack.stdout), "hello");
}

/// skopeo reads images as Docker does. Copying reads every blob and checks its
/// digest; what it writes is what `docker load` reads.
fn other_tools_read_the_image(build: &Build) {
    let image = format!("docker://{}", build.image());
    let inspect = skopeo(&["inspect", "--tls-verify=false", &image]);
    let inspect: serde_json::Value = serde_json::from_str(&inspect).unwrap();
    assert_eq!(inspect["Labels"]["org.opencontainers.image.title"], "bzip2");
    let config = skopeo(&["inspect", "--config", "--tls-verify=false", &image]);
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(
        config["config"]["Entrypoint"],
        serde_json::json!(["/bin/bzip2"])
    );

    let archive = build.user.work().join("image.tar");
    let target = format!("docker-archive:{}:bzip2:latest", archive.display());
    skopeo(&["copy", "--quiet", "--src-tls-verify=false", &image, &target]);
    let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(names.contains(&"manifest.json".to_owned()), "{names:?}");
}

fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "skopeo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
