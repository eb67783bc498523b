//! Folding, salts and execs as LLB.

use std::sync::Arc;

use super::*;
use crate::init;
use crate::platform::Platform;
use crate::salt::Salt;
use crate::vertex::{CallRef, ExecWork, FileAction, Kind};

fn call(name: &str) -> CallRef {
    let digest = format!("blake3:{}", blake3::hash(name.as_bytes()).to_hex());
    CallRef {
        digest: dagql::Digest::parse(&digest).expect("a digest"),
        name: name.into(),
    }
}

fn write_salted(base: Tree, path: &str, salt: Option<Salt>) -> Tree {
    let action = FileAction::MakeFile {
        path: path.to_owned(),
        mode: 0o644,
        data: path.to_owned().into(),
        owner: None,
    };
    let work = Work::File { base, action };
    Some(Edge::first(DagOp::new(Kind::Fs, call(path), salt, work)))
}

fn write(base: Tree, path: &str) -> Tree {
    write_salted(base, path, None)
}

fn exec(root: Tree, salt: Option<Salt>) -> Edge {
    let work = ExecWork {
        args: init::command_line(&init::InitOptions::default(), &["true".to_owned()]),
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/".to_owned(),
        user: String::new(),
        platform: Platform::host(),
        root,
        mounts: Vec::new(),
        secret_env: Vec::new(),
        stdin: None,
        insecure: false,
        exit_codes: Vec::new(),
    };
    Edge::first(DagOp::new(
        Kind::Ctr,
        call("withExec"),
        salt,
        Work::Exec(Box::new(work)),
    ))
}

fn lowered(tree: &Tree) -> Output {
    let edge = tree.as_ref().expect("not scratch");
    lower(edge, &mut Vec::new())
        .expect("lowers")
        .expect("has files")
}

/// Vertices of a graph.
fn count(output: &Output) -> usize {
    llb::vertices(output).len()
}

#[test]
fn five_thousand_files_are_fifty_vertices() {
    let mut tree = None;
    for i in 0..5000 {
        tree = write(tree, &format!("/dir/{i}"));
    }
    let mut made = Vec::new();
    let output = lower(tree.as_ref().expect("not scratch"), &mut made).expect("lowers");
    assert_eq!(count(&output.expect("has files")), 50);
    assert_eq!(made.len(), 5000, "every call has its vertex");
}

#[test]
fn a_graph_lowers_to_the_same_vertices_whoever_asks_first() {
    let chain = || {
        let base = write(write(None, "/a"), "/b");
        let end = write(write(base.clone(), "/c"), "/d");
        (base, end)
    };
    let (base, end) = chain();
    let (early, late) = (lowered(&base), lowered(&end));
    let (base, end) = chain();
    let swapped = (lowered(&end), lowered(&base));
    assert_eq!((late, early), swapped);
}

#[test]
fn parents_are_made_once_per_op() {
    let tree = write(write(None, "/x/1"), "/x/2");
    let names: Vec<_> = llb::vertices(&lowered(&tree))
        .iter()
        .map(|v| v.bytes().len())
        .collect();
    let again = write(None, "/x/1");
    let single = lowered(&again).vertex().bytes().len();
    // Two files, one mkdir: less than twice the op of one file.
    assert!(names[0] < 2 * single, "{names:?} {single}");
}

#[test]
fn a_salt_changes_the_vertex_and_the_same_salt_does_not() {
    let salt = |key: &str| Some(Salt::new(key));
    let file = |key| lowered(&write_salted(None, "/a", key));
    assert_ne!(file(None), file(salt("k1")));
    assert_ne!(file(salt("k1")), file(salt("k2")));
    assert_eq!(file(salt("k1")), file(salt("k1")));
    let run = |key| lowered(&Some(exec(write(None, "/a"), key)));
    assert_ne!(run(None), run(salt("k1")));
    assert_ne!(run(salt("k1")), run(salt("k2")));
    assert_eq!(run(salt("k1")), run(salt("k1")));
}

#[test]
fn a_diff_of_a_grown_tree_shares_what_it_grew_from() {
    let lower = write(write(None, "/a"), "/b");
    let upper = write(write(lower.clone(), "/c"), "/d");
    let vertex = |lower: &Tree| lowered(lower).vertex().digest().clone();
    let work = Work::Diff {
        lower: lower.clone(),
        upper,
    };
    let diff = lowered(&Some(Edge::first(DagOp::new(
        Kind::Fs,
        call("diff"),
        None,
        work,
    ))));
    let inputs = diff.vertex().inputs();
    assert_eq!(inputs[0].digest(), &vertex(&lower));
    assert_eq!(inputs[1].vertex().inputs()[0].digest(), &vertex(&lower));
}

#[test]
fn a_diff_towards_scratch_is_scratch() {
    let lower = write(None, "/a");
    let work = Work::Diff { lower, upper: None };
    let edge = Edge::first(DagOp::new(Kind::Fs, call("diff"), None, work));
    assert_eq!(super::lower(&edge, &mut Vec::new()).expect("lowers"), None);
}

#[test]
fn an_exec_has_a_root_and_a_meta_output() {
    let root = exec(write(None, "/a"), None);
    let meta = Edge {
        op: Arc::clone(&root.op),
        output: ExecWork::META,
    };
    let root = lower(&root, &mut Vec::new())
        .expect("lowers")
        .expect("a root");
    let meta = lower(&meta, &mut Vec::new())
        .expect("lowers")
        .expect("a meta mount");
    assert_eq!(root.digest(), meta.digest());
    assert_ne!(root.index(), meta.index());
}

#[test]
fn an_exec_of_another_architecture_is_refused() {
    let mut edge = exec(None, None);
    let op = Arc::get_mut(&mut edge.op).expect("not shared yet");
    if let Work::Exec(work) = &mut op.work {
        work.platform.architecture = "riscv64".to_owned();
    }
    let error = lower(&edge, &mut Vec::new()).expect_err("no init for it");
    assert!(error.message().contains("linux/riscv64"), "{error}");
}

#[test]
fn a_long_chain_of_execs_lowers_without_recursion() {
    let mut tree = write(None, "/a");
    for _ in 0..10_000 {
        tree = Some(exec(tree, None));
    }
    assert_eq!(count(&lowered(&tree)), 10_002);
}
