//! The rules of segments, and chains that are long.

use super::*;

fn call() -> CallRef {
    CallRef {
        digest: dagql::Digest::parse("blake3:00").unwrap_or_else(|_| panic!("a digest")),
        name: "withNewFile".into(),
    }
}

fn act(base: Tree, action: FileAction) -> Tree {
    Some(Edge::first(DagOp::new(
        Kind::Fs,
        call(),
        None,
        Work::File { base, action },
    )))
}

fn write(base: Tree, size: usize) -> Tree {
    let data = vec![b'x'; size].into();
    act(
        base,
        FileAction::MakeFile {
            path: "/f".into(),
            mode: 0o644,
            data,
            owner: None,
        },
    )
}

fn copy(base: Tree) -> Tree {
    act(
        base,
        FileAction::Copy(Box::new(CopyAction::new(None, "/a", "/b"))),
    )
}

fn fold(tree: &Tree) -> Fold {
    tree.as_ref().expect("not scratch").op.fold
}

#[test]
fn small_writes_share_a_segment_up_to_the_limit() {
    let mut tree = None;
    let mut begins = 0;
    for _ in 0..5000 {
        tree = write(tree, 1);
        begins += usize::from(fold(&tree).begins);
    }
    assert_eq!(begins, 5000 / SEGMENT_ACTIONS);
}

#[test]
fn data_fills_a_segment_too() {
    let half = SEGMENT_BYTES / 2 + 1;
    let first = write(None, half);
    assert!(fold(&first).begins);
    assert!(fold(&write(first.clone(), half)).begins);
    assert!(!fold(&write(first, 10)).begins);
}

#[test]
fn a_copy_stands_alone_in_a_short_chain_and_is_folded_in_a_long_one() {
    let mut tree = write(None, 1);
    tree = copy(tree);
    assert!(fold(&tree).begins);
    tree = write(tree, 1);
    assert!(fold(&tree).begins, "what follows a copy does not repeat it");
    let mut layers = 0;
    for _ in 0..1000 {
        tree = copy(tree);
        layers += usize::from(fold(&tree).begins);
    }
    assert!(
        layers <= LAYERS_SHORT + 1000 / SEGMENT_ACTIONS + 1,
        "{layers} layers"
    );
}

#[test]
fn where_a_segment_begins_depends_on_the_chain_alone() {
    let base = write(write(None, 1), 1);
    let (one, other) = (write(base.clone(), 1), write(base, 1));
    assert_eq!(fold(&one), fold(&other));
}

#[test]
fn a_long_chain_is_freed_without_recursion() {
    let mut tree = None;
    for _ in 0..200_000 {
        tree = write(tree, 0);
    }
    drop(tree);
}
