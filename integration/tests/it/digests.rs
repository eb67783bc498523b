//! A vertex digest that we compute is the one the daemon reports: for 200
//! generated graphs, every vertex of the definition appears in the daemon's
//! Status under our digest, and nothing else appears.
//!
//! A graph is grown step by step from scratch and a root with busybox; each
//! step takes any earlier results as inputs. Everything grown is merged at the
//! end, so that no vertex is left out of the definition.

use std::{collections::BTreeSet, sync::LazyLock};

use bytes::Bytes;
use integration::{busybox, daemon};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};
use solver::{
    Digest,
    backend::{Address, Build, BuildOptions, BuildResult, Client, ConnectOptions, GatewaySolve},
    llb::{
        self, Constraints, Definition, Output,
        exec::{Exec, Mount},
        file::{
            CopyOptions, FileOp, MkdirOptions, MkfileOptions, Owner, RmOptions, SymlinkOptions,
        },
    },
};

/// How many graphs are built.
const GRAPHS: u32 = 200;

/// Most steps of one graph.
const STEPS_MAX: usize = 12;

/// The program, read once.
static BUSYBOX: LazyLock<Bytes> =
    LazyLock::new(|| std::fs::read(busybox::program().unwrap()).unwrap().into());

/// One step of growth; an [`Index`] picks among the results so far.
#[derive(Debug, Clone)]
enum Step {
    File {
        base: Index,
        actions: Vec<Action>,
    },
    Copy {
        from: Index,
        to: Index,
        exclude: bool,
        mode: Option<u32>,
    },
    Exec {
        mount: Option<Index>,
        readonly: bool,
        word: String,
    },
    Merge {
        inputs: Vec<Index>,
    },
    Diff {
        lower: Index,
        upper: Index,
    },
}

/// One action of a file operation, at a path made of one letter.
#[derive(Debug, Clone)]
enum Action {
    Mkdir(String, u32),
    Mkfile(String, Vec<u8>, u32, Option<u32>),
    Symlink(String, String),
    Rm(String),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        ("[a-d]", 0o700u32..=0o777).prop_map(|(path, mode)| Action::Mkdir(path, mode)),
        (
            "[e-k]",
            any::<Vec<u8>>(),
            0o400u32..=0o777,
            prop::option::of(0u32..2000)
        )
            .prop_map(|(path, data, mode, owner)| Action::Mkfile(path, data, mode, owner)),
        ("[a-z/]{1,9}", "[l-p]").prop_map(|(target, path)| Action::Symlink(target, path)),
        "[e-k]".prop_map(Action::Rm),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), prop::collection::vec(action(), 1..5))
            .prop_map(|(base, actions)| Step::File { base, actions }),
        3 => (index(), index(), any::<bool>(), prop::option::of(0o600u32..=0o777))
            .prop_map(|(from, to, exclude, mode)| Step::Copy { from, to, exclude, mode }),
        1 => (prop::option::of(index()), any::<bool>(), "[a-z]{0,8}")
            .prop_map(|(mount, readonly, word)| Step::Exec { mount, readonly, word }),
        2 => prop::collection::vec(index(), 1..4).prop_map(|inputs| Step::Merge { inputs }),
        2 => (index(), index()).prop_map(|(lower, upper)| Step::Diff { lower, upper }),
    ]
}

/// Grows the graph; the result depends on every step.
fn grow(steps: &[Step]) -> Result<Option<Output>, llb::Error> {
    let root = FileOp::new(None)
        .mkfile("/busybox", 0o755, BUSYBOX.clone(), MkfileOptions::default())
        .build(Constraints::default())?;
    let mut results = vec![None, Some(root.clone())];
    for step in steps {
        let pick = |index: &Index| results[index.index(results.len())].clone();
        let result = match step {
            Step::File { base, actions } => Some(file(pick(base), actions)?),
            Step::Copy {
                from,
                to,
                exclude,
                mode,
            } => copy(pick(from), pick(to), *exclude, *mode)?,
            Step::Exec {
                mount,
                readonly,
                word,
            } => {
                let mount = mount.as_ref().map(&pick);
                exec(root.clone(), mount, *readonly, word)?
            }
            // The daemon refuses a merge of nothing but empty differences: the root is always in.
            Step::Merge { inputs } => {
                let inputs: Vec<Option<Output>> = std::iter::once(Some(root.clone()))
                    .chain(inputs.iter().map(pick))
                    .collect();
                llb::merge(&inputs, Constraints::default())
            }
            // The lower side may be scratch. With scratch as upper side a daemon of v0.32.2 dies
            // of a nil pointer when it computes the layers of the result.
            Step::Diff { lower, upper } => pick(upper).and_then(|upper| {
                llb::diff(pick(lower).as_ref(), Some(&upper), Constraints::default())
            }),
        };
        results.push(result);
    }
    Ok(llb::merge(&results, Constraints::default()))
}

fn file(base: Option<Output>, actions: &[Action]) -> Result<Output, llb::Error> {
    let mut op = FileOp::new(base);
    for action in actions {
        op = match action {
            Action::Mkdir(path, mode) => {
                let options = MkdirOptions {
                    parents: true,
                    ..MkdirOptions::default()
                };
                op.mkdir(format!("/{path}"), *mode, options)
            }
            Action::Mkfile(path, data, mode, owner) => {
                let owner = owner.map(|id| Owner::ids(id, id));
                let options = MkfileOptions {
                    owner,
                    ..MkfileOptions::default()
                };
                op.mkfile(format!("/{path}"), *mode, data.clone(), options)
            }
            // A link that exists is an error of the daemon: remove what is there.
            Action::Symlink(target, path) => op
                .rm(
                    format!("/{path}"),
                    RmOptions {
                        allow_not_found: true,
                        ..RmOptions::default()
                    },
                )
                .symlink(
                    target.clone(),
                    format!("/{path}"),
                    SymlinkOptions::default(),
                ),
            Action::Rm(path) => {
                let options = RmOptions {
                    allow_not_found: true,
                    ..RmOptions::default()
                };
                op.rm(format!("/{path}"), options)
            }
        };
    }
    op.build(Constraints::default())
}

/// Copies all of one result below a folder of another. Scratch has nothing to copy.
fn copy(
    from: Option<Output>,
    to: Option<Output>,
    exclude: bool,
    mode: Option<u32>,
) -> Result<Option<Output>, llb::Error> {
    let Some(from) = from else { return Ok(to) };
    let options = CopyOptions {
        mode: mode.map(llb::file::CopyMode::Bits),
        contents_only: true,
        create_parents: true,
        exclude: if exclude {
            vec!["busybox".to_owned(), "z*".to_owned()]
        } else {
            Vec::new()
        },
        ..CopyOptions::default()
    };
    FileOp::new(to)
        .copy(from, "/", "/copied/", options)
        .build(Constraints::default())
        .map(Some)
}

/// Runs a command that succeeds; the result is its mount if it has one, else its root.
fn exec(
    root: Output,
    mount: Option<Option<Output>>,
    readonly: bool,
    word: &str,
) -> Result<Option<Output>, llb::Error> {
    let mut exec = Exec::new(Some(root), ["/busybox", "echo", word])
        .env("WORD", word)
        .directory("/")
        .readonly_root(readonly);
    if let Some(source) = mount {
        exec = exec.mount(Mount::bind("/mnt", source));
    }
    let outputs = exec.build()?;
    Ok(outputs.mount("/mnt").or_else(|| outputs.root()).cloned())
}

/// Solves the graph and returns the digests that the daemon reported.
async fn reported(
    client: &Client,
    definition: &Definition,
) -> Result<BTreeSet<Digest>, TestCaseError> {
    let fail = |error: solver::backend::Error| TestCaseError::fail(format!("{error}"));
    let build = Build::start(client, BuildOptions::default())
        .await
        .map_err(fail)?;
    let mut updates = build.updates();
    let mut solve = GatewaySolve::definition(definition.to_pb());
    solve.evaluate = true;
    let result = build.solve(solve).await.map_err(fail)?;
    build
        .finish(BuildResult::single(result.reference().cloned()))
        .await
        .map_err(fail)?;
    let mut digests = BTreeSet::new();
    while let Some(update) = updates.next().await {
        digests.extend(
            update
                .map_err(fail)?
                .vertices
                .iter()
                .map(|vertex| vertex.digest.clone()),
        );
    }
    Ok(digests)
}

#[test]
fn the_daemon_reports_the_digests_we_computed() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let address: Address = daemon::shared().unwrap().parse().unwrap();
    let client = runtime
        .block_on(Client::connect(&address, &ConnectOptions::default()))
        .unwrap();
    // No shrinking: when a graph kills the daemon, every smaller one fails as well.
    let config = Config {
        cases: GRAPHS,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    // Fixed seed: a failure is the same failure for everybody.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let steps = prop::collection::vec(step(), 1..=STEPS_MAX);
    let outcome = runner.run(&steps, |steps| {
        let output = grow(&steps).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let definition = Definition::marshal(output.as_ref(), &Constraints::default());
        let ours = definition
            .vertices()
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        let ours: BTreeSet<Digest> = ours.into_iter().map(|vertex| vertex.digest).collect();
        prop_assert_eq!(runtime.block_on(reported(&client, &definition))?, ours);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("{why}\nin the graph {steps:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
