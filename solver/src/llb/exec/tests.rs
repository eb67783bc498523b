//! Mount order, outputs and mistakes of an exec.

use super::*;
use crate::llb::source::{ImageOptions, image};

fn busybox() -> Option<Output> {
    Some(image("busybox", ImageOptions::default()).expect("a reference"))
}

fn op(outputs: &ExecOutputs) -> &proto::pb::ExecOp {
    match &outputs.vertex().op().op {
        Some(proto::pb::op::Op::Exec(exec)) => exec,
        other => panic!("{other:?}"),
    }
}

fn env(exec: Exec) -> Vec<String> {
    let outputs = exec.build().expect("a valid exec");
    op(&outputs)
        .meta
        .as_ref()
        .expect("an exec has meta")
        .env
        .clone()
}

#[test]
fn a_variable_stands_where_it_was_last_set() {
    let exec = Exec::new(busybox(), ["true"])
        .env("A", "1")
        .env("B", "2")
        .env("A", "3");
    assert_eq!(env(exec.clone()), ["B=2", "A=3"]);
    assert_eq!(env(exec.clone().unset_env("B")), ["A=3"]);
    assert_eq!(env(exec.unset_env("A").env("A", "4")), ["B=2", "A=4"]);
}

#[test]
fn the_first_agent_is_announced_unless_the_variable_is_set() {
    let exec = Exec::new(busybox(), ["true"]).ssh_agent(SshAgent::new("a").target("/s"));
    assert_eq!(env(exec.clone()), ["SSH_AUTH_SOCK=/s"]);
    assert_eq!(env(exec.env("SSH_AUTH_SOCK", "/t")), ["SSH_AUTH_SOCK=/t"]);
}

#[test]
fn only_what_can_change_is_an_output() {
    let outputs = Exec::new(busybox(), ["true"])
        .mount(Mount::bind("/z", None))
        .mount(Mount::bind("/b", busybox()).readonly())
        .mount(Mount::bind("/c", busybox()).no_output())
        .mount(Mount::cache("/d", "id", CacheSharing::Locked))
        .mount(Mount::tmpfs("/e", 0))
        .mount(Mount::bind("/a", None))
        .build()
        .expect("a valid exec");
    let targets: Vec<_> = outputs
        .iter()
        .map(|(target, output)| (target, output.index()))
        .collect();
    assert_eq!(targets, [("/", 0), ("/a", 1), ("/z", 2)]);
    assert_eq!(
        outputs.vertex().inputs().len(),
        1,
        "the same image is one input"
    );
    assert!(outputs.mount("/b").is_none());

    let readonly = Exec::new(busybox(), ["true"])
        .readonly_root(true)
        .build()
        .expect("valid");
    assert!(readonly.root().is_none());
}

#[test]
fn refuses_what_the_daemon_would_refuse() {
    let exec = || Exec::new(busybox(), ["true"]);
    assert_eq!(
        Exec::new(busybox(), Vec::<String>::new()).build().err(),
        Some(Error::NoArguments)
    );
    assert_eq!(
        exec().directory("src").build().err(),
        Some(Error::RelativeDirectory { path: "src".into() })
    );
    let twice = exec()
        .mount(Mount::tmpfs("/t", 0))
        .mount(Mount::bind("/t", None));
    assert_eq!(
        twice.build().err(),
        Some(Error::DuplicateTarget {
            target: "/t".into()
        })
    );
    assert_eq!(
        exec().mount(Mount::bind("", None)).build().err(),
        Some(Error::EmptyTarget)
    );
    let filled = exec().mount(Mount::tmpfs("/t", 0).source(busybox()));
    assert_eq!(
        filled.build().err(),
        Some(Error::TmpfsSource {
            target: "/t".into()
        })
    );
    for exec in [
        exec().mount(Mount::tmpfs("/t", -1)),
        exec().mount(Mount::cache("/t", "", CacheSharing::Shared)),
        exec().secret(Secret {
            target: None,
            ..Secret::file("id", "/s")
        }),
    ] {
        assert!(matches!(exec.build(), Err(Error::Option { .. })));
    }
}

#[test]
fn a_secret_can_be_file_and_variable() {
    let secret = Secret {
        env: Some("TOKEN".into()),
        ..Secret::file("id", "/s")
    };
    let outputs = Exec::new(busybox(), ["true"])
        .secret(secret)
        .build()
        .expect("valid");
    let exec = op(&outputs);
    assert_eq!(exec.secretenv[0].name, "TOKEN");
    assert_eq!(exec.mounts[1].dest, "/s");
    assert_eq!(
        exec.mounts[1]
            .secret_opt
            .as_ref()
            .expect("a secret mount")
            .mode,
        0o400
    );
}
