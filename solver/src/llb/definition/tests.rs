//! Definitions written, read back, and refused.

mod golden;
mod random;

use proto::gowire;

use self::golden::{amd64, busybox, context, graph, mkfile, run_meta, several_actions};
use super::*;
use crate::llb::{
    build, diff,
    exec::Exec,
    file::{CopyOptions, FileOp, MkdirOptions, MkfileOptions, Owner},
    merge,
    source::{LocalOptions, local},
};

#[test]
fn the_bytes_of_single_vertices() {
    let mkfile_a = FileOp::new(None)
        .mkfile("/a", 0o644, "A", MkfileOptions::default())
        .build(Constraints::default())
        .expect("a valid chain");
    assert_eq!(
        hex::encode(mkfile_a.vertex().bytes()),
        "5a00222f122d08ffffffffffffffffff0110ffffffffffffffffff012a150a022f6110a4031a014128ffffffff\
         ffffffffff01"
    );
    let hex_of = |output: &Output| output.digest().hex().to_owned();
    assert_eq!(
        hex_of(&mkfile_a),
        "2dec2a92b09cdd44fc4071e1818bc3cb2be2252b8407ecf77643261af70a3ce1"
    );

    let mkfile_b = FileOp::new(None)
        .mkfile("/b", 0o644, "B", MkfileOptions::default())
        .build(Constraints::default())
        .expect("a valid chain");
    let merged = merge(
        &[Some(mkfile_a.clone()), Some(mkfile_b)],
        Constraints::default(),
    )
    .expect("two trees");
    assert_eq!(
        hex_of(&merged),
        "245bd507add3522880aa726bc6c36517a8137188b25d64f71b05367d921358fa"
    );
    let diffed = diff(Some(&mkfile_a), Some(&merged), Constraints::default()).expect("two trees");
    assert_eq!(
        hex_of(&diffed),
        "ed22defc3cbf78be8eb31ea05ea2abd35a5a11a08424ec9517326b9bb124f621"
    );

    let run = Exec::new(Some(busybox()), ["/bin/sh", "-c", "true"])
        .env("A", "1")
        .constraints(amd64())
        .build()
        .expect("a valid exec");
    let run = run.root().expect("a root");
    assert_eq!(
        hex_of(run),
        "0dc459e6d17c0f88554e55c19d59cdd30e2db68b07d020b675e6b782fc7e979b"
    );

    let owner = Some(Owner::parse("bob:0"));
    let mkdir = FileOp::new(Some(mkfile_a))
        .mkdir(
            "/q",
            0o755,
            MkdirOptions {
                parents: true,
                owner,
                timestamp: None,
            },
        )
        .build(Constraints::default())
        .expect("a valid chain");
    assert_eq!(
        hex_of(&mkdir),
        "4ec743fcf4e4aec64b613fcc23cf566b98f8b2d8ce81248e7135c46ca6f56a56"
    );

    let definition = Definition::marshal(Some(&merged), &Constraints::default());
    assert_eq!(
        Digest::sha256(definition.def.last().expect("a terminal")).hex(),
        "3881c271cb0036108bbb079151e670a993e67233bf83df70e8d03aebbf9b8e01"
    );
}

#[test]
fn scratch_has_no_vertices() {
    let definition = Definition::marshal(None, &Constraints::default());
    assert_eq!(definition, Definition::default());
    assert_eq!(definition.output(), Ok(None));
    assert_eq!(merge(&[None, None], Constraints::default()), None);
    assert_eq!(
        merge(&[None, Some(context())], Constraints::default()),
        Some(context())
    );
    assert_eq!(
        diff(None, Some(&context()), Constraints::default()),
        Some(context())
    );
    assert_eq!(diff(None, None, Constraints::default()), None);
}

#[test]
fn session_noise_is_no_part_of_the_canonical_identity() {
    let with = |options| {
        let base = FileOp::new(Some(busybox()));
        let copied = base.copy(
            local("context", options),
            "/",
            "/src",
            CopyOptions::default(),
        );
        let copied = copied.build(Constraints::default()).expect("a valid chain");
        let exec = Exec::new(Some(copied), ["make"]).constraints(amd64());
        exec.build()
            .expect("a valid exec")
            .root()
            .expect("a root")
            .clone()
    };
    let unique = |id: &str| LocalOptions {
        unique: Some(id.into()),
        ..LocalOptions::default()
    };
    let session = |id: &str| LocalOptions {
        session_id: Some(id.into()),
        ..LocalOptions::default()
    };
    let bare = with(LocalOptions::default());
    assert_eq!(bare.vertex().canonical(), bare.digest());
    for noisy in [with(unique("1")), with(unique("2")), with(session("1"))] {
        assert_ne!(noisy.digest(), bare.digest());
        assert_eq!(noisy.vertex().canonical(), bare.digest());
    }
    let hinted = LocalOptions {
        shared_key_hint: Some("h".into()),
        ..unique("1")
    };
    let filtered = LocalOptions {
        exclude: vec!["x".into()],
        ..unique("1")
    };
    for other in [hinted, filtered] {
        assert_ne!(with(other).vertex().canonical(), bare.digest());
    }
}

#[test]
fn metadata_of_equal_vertices_is_merged_and_announced() {
    let named = |constraints| {
        FileOp::new(None)
            .mkfile("/a", 0o644, "A", MkfileOptions::default())
            .build(constraints)
            .expect("a valid chain")
    };
    let first = named(Constraints::default().named("first").ignore_cache());
    let second = named(
        Constraints::default()
            .described("k", "v")
            .export_cache(false),
    );
    assert_eq!(first, second, "metadata is no part of the digest");
    let merged = merge(&[Some(first.clone()), Some(second)], Constraints::default());
    let defaults = Constraints::default()
        .progress_group("g", "group", true)
        .named("default");
    let definition = Definition::marshal(merged.as_ref(), &defaults);
    assert_eq!(definition.def.len(), 3);
    let metadata = &definition.metadata[first.digest()];
    assert!(metadata.ignore_cache);
    assert_eq!(metadata.description["llb.customname"], "first");
    assert_eq!(metadata.description["k"], "v");
    assert_eq!(
        metadata.progress_group.as_ref().map(|group| group.weak),
        Some(true)
    );
    let terminal = Digest::sha256(&definition.def[2]);
    let caps: Vec<_> = definition.metadata[&terminal]
        .caps
        .keys()
        .map(String::as_str)
        .collect();
    let all = [
        "constraints",
        "meta.description",
        "meta.exportcache",
        "meta.ignorecache",
        "platform",
    ];
    assert_eq!(caps, all);
}

#[test]
fn names_are_those_of_the_daemon() {
    let names = |output: &Output| {
        let definition = Definition::marshal(Some(output), &Constraints::default());
        let vertices = definition.vertices().expect("a valid definition");
        vertices
            .last()
            .map(|vertex| (vertex.kind, vertex.name.clone()))
            .expect("a vertex")
    };
    let diffed = diff(Some(&busybox()), None, Constraints::default()).expect("a tree");
    assert_eq!(
        names(&diffed),
        (
            Kind::Diff,
            "diff (docker-image://docker.io/library/busybox:latest) -> (scratch)".into()
        )
    );
    assert_eq!(
        names(&several_actions()),
        (
            Kind::File,
            "mkdir /wd/d1, mkfile /wd/f1, rm /x, symlink /new -> /old, copy /z /wd/z".into()
        )
    );
    let merged = merge(
        &[Some(mkfile("/m")), Some(context())],
        Constraints::default(),
    );
    assert_eq!(
        names(&merged.expect("two trees")),
        (Kind::Merge, "merge (mkfile /m, local://context)".into())
    );
    assert_eq!(names(&run_meta()), (Kind::Exec, "x y".into()));
    let built = build(&context(), Some("f.llb"), amd64());
    assert_eq!(names(&built), (Kind::Build, "build".into()));
    assert_eq!(
        names(&graph("requires")),
        (Kind::Passthrough, "passthrough pid".into())
    );
}

#[test]
fn a_chain_of_ten_thousand_vertices_does_not_recurse() {
    const LENGTH: usize = 10_000;
    let mut output = context();
    for step in 0..LENGTH {
        output = FileOp::new(Some(output))
            .mkfile(format!("/{step}"), 0o644, "", MkfileOptions::default())
            .build(Constraints::default())
            .expect("a valid chain");
    }
    assert_ne!(output.digest(), output.vertex().canonical());
    let definition = Definition::marshal(Some(&output), &Constraints::default());
    assert_eq!(definition.def.len(), LENGTH + 2);
    drop(output);
    let read = definition
        .output()
        .expect("a valid definition")
        .expect("a result");
    assert_eq!(
        Definition::marshal(Some(&read), &Constraints::default()),
        definition
    );
    assert_eq!(
        definition.vertices().expect("a valid definition").len(),
        LENGTH + 1
    );
}

fn broken(change: impl FnOnce(&mut Definition)) -> String {
    let mut definition = Definition::marshal(Some(&several_actions()), &Constraints::default());
    change(&mut definition);
    definition.output().expect_err("it is broken").to_string()
}

#[test]
fn broken_definitions_are_refused_with_their_place() {
    let terminal = |inputs| {
        Bytes::from(gowire::encode(&pb::Op {
            inputs,
            ..pb::Op::default()
        }))
    };
    let input = |digest: &str, index| pb::Input {
        digest: digest.into(),
        index,
    };
    let text = broken(|d| drop(d.def.remove(0)));
    assert!(
        text.contains("vertex 1") && text.contains("is not part of the definition"),
        "{text}"
    );
    let text = broken(|d| drop(d.def.pop()));
    assert!(
        text.contains("the last vertex is not the terminal"),
        "{text}"
    );
    let text = broken(|d| d.def[0] = Bytes::from_static(&[0xff]));
    assert!(text.contains("vertex 0"), "{text}");
    let text = broken(|d| d.def.push(terminal(vec![])));
    assert!(text.contains("the terminal vertex has no input"), "{text}");
    let text = broken(|d| d.def.push(terminal(vec![input("sha256:zz", 0)])));
    assert!(text.contains("invalid digest"), "{text}");
    let digest = context().digest().to_string();
    let text = broken(|d| d.def.push(terminal(vec![input(&digest, -1)])));
    assert!(text.contains("negative output -1"), "{text}");
    let text = broken(|d| {
        let first = Digest::sha256(d.def.last().expect("a terminal"));
        d.def.push(terminal(vec![input(first.as_str(), 0)]));
    });
    assert!(text.contains("it has no operation"), "{text}");
    let filed = pb::Definition {
        metadata: [("x".to_owned(), OpMetadata::default())].into(),
        ..pb::Definition::default()
    };
    assert!(matches!(Definition::from_pb(filed), Err(Error::Digest(_))));
}
