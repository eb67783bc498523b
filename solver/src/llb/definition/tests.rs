//! `testdata/llb-golden.json` holds graphs as BuildKit's Go client v0.32.2 marshals them on
//! linux/amd64: a name, the operations in base64, and the metadata by digest.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use prost::Message as _;
use proto::gowire;

use super::*;
use crate::llb::{
    NetMode, Platform, SecurityMode, build, diff,
    exec::{CacheSharing, ContentCache, Exec, Mount, Secret, SshAgent},
    file::{
        CopyMode, CopyOptions, FileOp, MkdirOptions, MkfileOptions, Owner, RmOptions,
        SymlinkOptions,
    },
    merge, passthrough,
    source::{
        BlobOptions, GitOptions, HttpOptions, ImageOptions, LocalOptions, OciLayoutOptions,
        OciStore, ResolveMode, git, http, image, image_blob, local, oci_layout,
    },
};

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Golden {
    name: String,
    def: Vec<String>,
    meta: BTreeMap<String, GoldenMetadata>,
}

#[derive(serde::Deserialize)]
struct GoldenMetadata {
    caps: BTreeMap<String, bool>,
}

impl Golden {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("../../../testdata/llb-golden.json")).expect("JSON")
    }

    fn definition(&self) -> Definition {
        let decode = |text| Bytes::from(STANDARD.decode(text).expect("base64"));
        Definition {
            def: self.def.iter().map(decode).collect(),
            metadata: self
                .meta
                .iter()
                .map(|(digest, metadata)| {
                    let caps = metadata.caps.clone();
                    let metadata = OpMetadata {
                        caps,
                        ..OpMetadata::default()
                    };
                    (Digest::parse(digest).expect("a digest"), metadata)
                })
                .collect(),
            source: None,
        }
    }
}

const BLOB: &str = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

fn amd64() -> Constraints {
    let platform = Platform {
        os: "linux".into(),
        architecture: "amd64".into(),
        ..Default::default()
    };
    Constraints::on(platform)
}

fn busybox() -> Output {
    let options = ImageOptions {
        constraints: amd64(),
        ..ImageOptions::default()
    };
    image("busybox", options).expect("a reference")
}

fn context() -> Output {
    local("context", unique())
}

fn unique() -> LocalOptions {
    LocalOptions {
        unique: Some("UNIQ".into()),
        ..LocalOptions::default()
    }
}

fn run_meta() -> Output {
    let outputs = Exec::new(Some(busybox()), ["x", "y"])
        .readonly_root(true)
        .env("A", "1")
        .env("B", "2")
        .env("A", "3")
        .directory("/w")
        .user("u")
        .proxy(pb::ProxyEnv {
            http_proxy: "p".into(),
            no_proxy: "n".into(),
            ..Default::default()
        })
        .extra_host("hh", [1, 2, 3, 4].into())
        .hostname("h")
        .ulimit("nofile", 1, 2)
        .cgroup_parent("cg")
        .valid_exit_codes([0, 3])
        .network(NetMode::Host)
        .security(SecurityMode::Insecure)
        .mount(Mount::bind("/o", None))
        .constraints(amd64())
        .build()
        .expect("a valid exec");
    outputs.mount("/o").expect("an output").clone()
}

fn run_mounts() -> Output {
    let secret = Secret {
        env: Some("ENVN".into()),
        target: None,
        ..Secret::file("eid", "")
    };
    let outputs = Exec::new(Some(busybox()), ["x"])
        .mount(
            Mount::bind("/ro", Some(context()))
                .selector("sub")
                .readonly(),
        )
        .mount(Mount::bind("/out", None))
        .mount(
            Mount::bind("/noout", Some(context()))
                .no_output()
                .content_cache(ContentCache::On),
        )
        .mount(Mount::cache("/zcache", "cid", CacheSharing::Locked))
        .mount(
            Mount::cache("/bcache", "cid2", CacheSharing::Shared)
                .source(Some(busybox()))
                .selector("/etc"),
        )
        .mount(Mount::tmpfs("/tmpfs", 1024))
        .mount(Mount::tmpfs("/tmpfs0", 0))
        .secret(Secret::file("sid", "/sec").owned(1, 2, 0o444).optional())
        .secret(secret)
        .ssh_agent(SshAgent::new("default"))
        .ssh_agent(SshAgent::new("k2").target("/s2").optional())
        .constraints(amd64())
        .build()
        .expect("a valid exec");
    outputs.mount("/out").expect("an output").clone()
}

fn copy_with_options() -> Output {
    let options = CopyOptions {
        mode: Some(CopyMode::Bits(0o640)),
        owner: Some(Owner::parse("bob:staff")),
        timestamp: Some(5_000_000_000),
        follow_symlinks: true,
        contents_only: true,
        unpack: true,
        create_parents: true,
        wildcard: true,
        allow_empty_wildcard: true,
        include: vec!["i".into()],
        exclude: vec!["e".into()],
        replace: true,
        ..CopyOptions::default()
    };
    FileOp::new(Some(busybox()))
        .copy(context(), "a*", "/dst", options)
        .build(Constraints::default())
        .expect("a valid chain")
}

fn several_actions() -> Output {
    let owner = Some(Owner::parse("3:0"));
    FileOp::new(Some(busybox()))
        .directory("/wd")
        .mkdir(
            "d1",
            0o755,
            MkdirOptions {
                parents: true,
                owner,
                ..MkdirOptions::default()
            },
        )
        .mkfile("f1", 0o644, "data", MkfileOptions::default())
        .rm(
            "/x",
            RmOptions {
                allow_not_found: true,
                wildcard: true,
            },
        )
        .symlink("/old", "/new", SymlinkOptions::default())
        .copy(context(), "z", "z", CopyOptions::default())
        .build(Constraints::default())
        .expect("a valid chain")
}

fn mkfile(path: &str) -> Output {
    FileOp::new(None)
        .mkfile(path, 0o644, Bytes::new(), MkfileOptions::default())
        .build(Constraints::default())
        .expect("a valid chain")
}

fn run_x() -> Output {
    let exec = Exec::new(Some(busybox()), ["x"]).constraints(amd64());
    exec.build()
        .expect("a valid exec")
        .root()
        .expect("a root")
        .clone()
}

/// The graphs of the golden file, built from scratch.
fn graph(name: &str) -> Output {
    let images = || ImageOptions {
        constraints: amd64(),
        ..ImageOptions::default()
    };
    match name {
        "image" => busybox(),
        "image-pull" => {
            let options = ImageOptions {
                resolve_mode: ResolveMode::ForcePull,
                ..images()
            };
            image("alpine", options).expect("a reference")
        }
        "local" => context(),
        "local-meta" => local(
            "context",
            LocalOptions {
                metadata_only: Some(vec!["q".into()]),
                ..unique()
            },
        ),
        "git-opts" => {
            let options = GitOptions {
                reference: Some("main".into()),
                keep_git_dir: true,
                checksum: Some("abc".into()),
                skip_submodules: true,
                mtime: Some("commit".into()),
                ..GitOptions::default()
            };
            git("https://github.com/moby/buildkit.git", options).expect("a URL")
        }
        "http" => http("https://example.com/foo?x=1", HttpOptions::default()).expect("a URL"),
        "oci" => {
            let store = OciStore {
                session_id: Some("sess".into()),
                store_id: Some("store".into()),
            };
            let options = OciLayoutOptions {
                store,
                constraints: amd64(),
                ..Default::default()
            };
            oci_layout(&format!("not/real@{BLOB}"), options).expect("a reference")
        }
        "blob" => {
            let options = BlobOptions {
                filename: Some("f".into()),
                mode: 0o600,
                ..BlobOptions::default()
            };
            image_blob(&format!("alpine@{BLOB}"), options).expect("a reference")
        }
        "run-meta" => run_meta(),
        "run-mounts-out" => run_mounts(),
        "file-copy-opts" => copy_with_options(),
        "file-multi" => several_actions(),
        "merge" => merge(
            &[Some(busybox()), Some(context()), Some(mkfile("/m"))],
            Constraints::default(),
        )
        .expect("three trees"),
        "diff" => {
            diff(Some(&busybox()), Some(&run_x()), Constraints::default()).expect("two trees")
        }
        "requires" => {
            let inputs = [busybox(), context()];
            let outputs = passthrough("pid", &inputs, &[0], Constraints::default());
            outputs.expect("a valid passthrough").remove(0)
        }
        other => panic!("no graph for {other}"),
    }
}

#[test]
fn graphs_built_from_scratch_are_those_of_the_go_client() {
    let goldens = Golden::all();
    assert_eq!(goldens.len(), 15);
    for golden in goldens {
        let ours = Definition::marshal(Some(&graph(&golden.name)), &Constraints::default());
        assert_eq!(ours, golden.definition(), "{}", golden.name);
    }
}

#[test]
fn every_op_of_the_go_client_encodes_to_its_own_bytes() {
    for golden in Golden::all() {
        for bytes in golden.definition().def {
            let op = pb::Op::decode(&bytes[..]).expect("an op");
            assert_eq!(gowire::encode(&op), bytes, "{}", golden.name);
        }
    }
}

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

/// Builds the graph; `noise` replaces the unique ids of local directories.
fn random_graph(steps: &[Step], noise: Option<&str>) -> Output {
    let mut outputs = vec![busybox()];
    for step in steps {
        let at = |index: &usize| outputs[index % outputs.len()].clone();
        let next = match step {
            Step::Local(name, unique) => {
                let unique = Some(noise.unwrap_or(unique).to_owned());
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
