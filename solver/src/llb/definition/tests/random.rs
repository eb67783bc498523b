//! Properties of random graphs.

use proptest::prelude::*;
use prost::Message as _;
use proto::{gowire, pb};

use super::golden::{amd64, busybox};
use crate::llb::{
    Constraints, Definition, Output, diff,
    exec::{Exec, Mount},
    file::{CopyOptions, FileOp, MkdirOptions},
    merge,
    source::{LocalOptions, local},
};

/// A step of a random graph: what to do with which earlier outputs.
#[derive(Debug, Clone)]
enum Step {
    Local(String, String),
    File(usize, Option<usize>, String),
    Exec(usize, usize, Vec<String>),
    Merge(usize, usize),
    Diff(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = any::<usize>;
    let step = prop_oneof![
        ("[a-c]", "[0-9]{1,3}").prop_map(|(name, unique)| Step::Local(name, unique)),
        (any(), proptest::option::of(any()), "/[a-c]{1,3}")
            .prop_map(|(base, source, path)| Step::File(base, source, path)),
        (any(), any(), proptest::collection::vec(".{0,3}", 1..3))
            .prop_map(|(root, mount, args)| Step::Exec(root, mount, args)),
        (any(), any()).prop_map(|(a, b)| Step::Merge(a, b)),
        (any(), any()).prop_map(|(a, b)| Step::Diff(a, b)),
    ];
    proptest::collection::vec(step, 1..20)
}

/// Builds the graph; `noise` is added to the unique ids of local directories. It
/// keeps them apart: two directories that one session tells apart are two inputs
/// in every session.
fn random_graph(steps: &[Step], noise: Option<&str>) -> Output {
    let mut outputs = vec![busybox()];
    for step in steps {
        let at = |index: &usize| outputs[index % outputs.len()].clone();
        let next = match step {
            Step::Local(name, unique) => {
                let unique = Some(format!("{unique}{}", noise.unwrap_or_default()));
                Some(local(
                    name,
                    LocalOptions {
                        unique,
                        ..LocalOptions::default()
                    },
                ))
            }
            Step::File(base, source, path) => {
                let chain = FileOp::new(Some(at(base)));
                let chain = match source {
                    Some(source) => chain.copy(at(source), "/", path, CopyOptions::default()),
                    None => chain.mkdir(path, 0o755, MkdirOptions::default()),
                };
                chain.build(Constraints::default()).ok()
            }
            Step::Exec(root, mount, args) => {
                let exec = Exec::new(Some(at(root)), args.clone())
                    .mount(Mount::bind("/m", Some(at(mount))))
                    .constraints(amd64());
                exec.build().expect("a valid exec").mount("/m").cloned()
            }
            Step::Merge(a, b) => merge(&[Some(at(a)), Some(at(b))], Constraints::default()),
            Step::Diff(a, b) => diff(Some(&at(a)), Some(&at(b)), Constraints::default()),
        };
        outputs.extend(next);
    }
    outputs.last().expect("an image").clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Reading back what was written gives the same graph, also through the message.
    #[test]
    fn definitions_read_back(steps in steps()) {
        let output = random_graph(&steps, None);
        let definition = Definition::marshal(Some(&output), &Constraints::default());
        let message = pb::Definition::decode(&gowire::encode(&definition.to_pb())[..]);
        let read = Definition::from_pb(message.expect("a message")).expect("digests");
        prop_assert_eq!(&read, &definition);
        let read = read.output().expect("a valid definition").expect("a result");
        prop_assert_eq!(&read, &output);
        prop_assert_eq!(read.vertex().canonical(), output.vertex().canonical());
        let again = Definition::marshal(Some(&read), &Constraints::default());
        prop_assert_eq!(&again.metadata, &definition.metadata);
        let sorted = |definition: &Definition| { let mut def = definition.def.clone(); def.sort(); def };
        prop_assert_eq!(sorted(&again), sorted(&definition));
    }

    /// Other sessions, same canonical identity; and the identity is that of the graph without ids.
    #[test]
    fn canonical_identity_ignores_the_session_only(steps in steps(), noise in "[a-z]{1,5}") {
        let ours = random_graph(&steps, None);
        let theirs = random_graph(&steps, Some(&noise));
        prop_assert_eq!(ours.vertex().canonical(), theirs.vertex().canonical());
    }
}
