//! Graphs built from scratch against those of BuildKit's Go client.
//!
//! `testdata/llb-golden.json` holds graphs as the client of v0.32.2 marshals them on linux/amd64: a
//! name, the operations in base64, and the metadata by digest.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use prost::Message as _;
use proto::{
    gowire,
    pb::{self, OpMetadata},
};

use crate::{
    Digest,
    llb::{
        Constraints, Definition, NetMode, Output, Platform, SecurityMode, diff,
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
        serde_json::from_str(include_str!("../../../../testdata/llb-golden.json")).expect("JSON")
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

pub(super) fn amd64() -> Constraints {
    let platform = Platform {
        os: "linux".into(),
        architecture: "amd64".into(),
        ..Default::default()
    };
    Constraints::on(platform)
}

pub(super) fn busybox() -> Output {
    let options = ImageOptions {
        constraints: amd64(),
        ..ImageOptions::default()
    };
    image("busybox", options).expect("a reference")
}

pub(super) fn context() -> Output {
    local("context", unique())
}

pub(super) fn unique() -> LocalOptions {
    LocalOptions {
        unique: Some("UNIQ".into()),
        ..LocalOptions::default()
    }
}

pub(super) fn run_meta() -> Output {
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

pub(super) fn several_actions() -> Output {
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

pub(super) fn mkfile(path: &str) -> Output {
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

/// The graphs of the golden file that are single sources, built from scratch.
fn source_graph(name: &str) -> Option<Output> {
    let images = || ImageOptions {
        constraints: amd64(),
        ..ImageOptions::default()
    };
    Some(match name {
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
        _ => return None,
    })
}

/// The graphs of the golden file, built from scratch.
pub(super) fn graph(name: &str) -> Output {
    if let Some(source) = source_graph(name) {
        return source;
    }
    match name {
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
