//! Chains of actions, owners and mistakes of a file op.

use proto::pb;

use super::*;
use crate::llb::source::{ImageOptions, image};

fn tree(name: &str) -> Option<Output> {
    Some(image(name, ImageOptions::default()).expect("a reference"))
}

fn actions(output: &Output) -> Vec<pb::FileAction> {
    match &output.vertex().op().op {
        Some(pb::op::Op::File(file)) => file.actions.clone(),
        other => panic!("{other:?}"),
    }
}

fn indexes(output: &Output) -> Vec<(i64, i64, i64)> {
    let actions = actions(output);
    actions
        .iter()
        .map(|a| (a.input, a.secondary_input, a.output))
        .collect()
}

fn build(chain: FileOp) -> Output {
    chain.build(Constraints::default()).expect("a valid chain")
}

#[test]
fn each_action_works_on_the_one_before() {
    let chain = FileOp::new(tree("a"))
        .mkdir("/d", 0o755, MkdirOptions::default())
        .copy(tree("b"), "/x", "/d/", CopyOptions::default())
        .copy(tree("a"), "/y", "/d/", CopyOptions::default())
        .rm("/x", RmOptions::default());
    let output = build(chain);
    assert_eq!(output.vertex().inputs().len(), 2);
    assert_eq!(
        indexes(&output),
        [(0, -1, -1), (2, 1, -1), (3, 0, -1), (4, -1, 0)]
    );
}

#[test]
fn a_chain_that_is_copied_from_is_placed_before_the_copy_and_once() {
    let source = std::sync::Arc::new(FileOp::new(None).directory("/w").mkfile(
        "f",
        0o644,
        "x",
        MkfileOptions::default(),
    ));
    let chain = FileOp::new(tree("a"))
        .mkdir("/d", 0o755, MkdirOptions::default())
        .copy(source.clone(), "f", "/d/", CopyOptions::default())
        .copy(source, "/w/f", "/e", CopyOptions::default());
    let output = build(chain);
    // One input, so actions count from 1: mkdir, mkfile, copy, copy.
    assert_eq!(
        indexes(&output),
        [(0, -1, -1), (-1, -1, -1), (1, 2, -1), (3, 2, 0)]
    );
    let Some(pb::file_action::Action::Copy(copy)) = &actions(&output)[2].action else {
        panic!("a copy");
    };
    assert_eq!(
        copy.src, "/w/f",
        "a relative source starts in the directory of its chain"
    );
}

#[test]
fn chains_nested_deeply_do_not_recurse() {
    let mut chain = FileOp::new(None).mkfile("/f", 0o644, "x", MkfileOptions::default());
    for _ in 0..10_000 {
        chain = FileOp::new(None).copy(chain, "/f", "/f", CopyOptions::default());
    }
    assert_eq!(actions(&build(chain)).len(), 10_001);
}

#[test]
fn owners_by_name_are_looked_up_in_the_base() {
    let owner = Some(Owner::parse("bob:0"));
    let options = MkdirOptions {
        owner: owner.clone(),
        ..MkdirOptions::default()
    };
    let chain = |base| FileOp::new(base).mkdir("/d", 0o755, options.clone());
    let scratch = chain(None).build(Constraints::default());
    assert_eq!(
        scratch,
        Err(Error::OwnerOnScratch {
            name: "bob".into(),
            path: "/d".into()
        })
    );
    let built = actions(&build(chain(tree("a"))));
    let Some(pb::file_action::Action::Mkdir(mkdir)) = &built[0].action else {
        panic!("a mkdir")
    };
    let owner = mkdir.owner.as_ref().expect("an owner");
    assert_eq!(
        owner.user.as_ref().and_then(|user| user.user.clone()),
        Some(pb::user_opt::User::ByName(pb::NamedUserOpt {
            name: "bob".into(),
            input: 0
        }))
    );
    assert_eq!(
        owner.group.as_ref().and_then(|group| group.user.clone()),
        Some(pb::user_opt::User::ById(0))
    );
}

#[test]
fn owners_are_numbers_root_or_names() {
    assert_eq!(Owner::parse("1000:100"), Owner::ids(1000, 100));
    assert_eq!(
        Owner::parse("root"),
        Owner {
            user: User::Id(0),
            group: None
        }
    );
    assert_eq!(Owner::parse("a:").group, Some(User::Id(0)));
}

#[test]
fn refuses_empty_chains_and_paths() {
    assert_eq!(
        FileOp::new(None).build(Constraints::default()),
        Err(Error::NoActions)
    );
    let nested = FileOp::new(None).copy(FileOp::new(None), "/a", "/b", CopyOptions::default());
    assert_eq!(nested.build(Constraints::default()), Err(Error::NoActions));
    let empty = FileOp::new(None).mkdir("", 0o755, MkdirOptions::default());
    assert!(matches!(
        empty.build(Constraints::default()),
        Err(Error::Option { .. })
    ));
}
