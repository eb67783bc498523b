//! Graphs of different shapes, made of the same rich parts, so that every kind of edit can be made
//! in each of them.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use solver::llb::{
    self, Constraints, Definition, Output,
    exec::{CacheSharing, Exec, Mount, Secret, SshAgent},
    file::{CopyOptions, FileOp, MkdirOptions, MkfileOptions, RmOptions, SymlinkOptions},
    source::{self, GitOptions, HttpOptions, ImageOptions, LocalOptions},
};
use tempfile::TempDir;

use crate::explain_world::World;

/// Name of the local directory of every pipeline.
pub(crate) const LOCAL: &str = "/ctx";

/// Names of the pipelines.
pub(crate) const SHAPES: [&str; 6] = ["chain", "stages", "context", "merge", "diamond", "mounts"];

/// A local directory on disk.
pub(crate) struct Context {
    folder: TempDir,
}

impl Context {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("src/deep")).unwrap();
        for (path, text) in [
            ("src/main.c", "int main;"),
            ("src/deep/part.c", "int part;"),
            ("src/old.c", "int old;"),
            ("Makefile", "all:"),
            ("ignored.md", "words"),
        ] {
            fs::write(root.join(path), text).unwrap();
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o644)).unwrap();
        }
        symlink("main.c", root.join("src/link")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn locals(&self) -> BTreeMap<String, PathBuf> {
        BTreeMap::from([(LOCAL.to_owned(), self.path().to_owned())])
    }
}

/// A pipeline; `session` is noise that differs in every build.
pub(crate) fn pipeline(world: &World, shape: &str, session: &str) -> Definition {
    let base = image(world, "base");
    let files = files(Some(base.clone()), "app");
    let context = context(files.clone(), session);
    let result = match shape {
        "chain" => {
            let first = exec(world, Some(context), "configure", None);
            let second = exec(world, Some(first), "make", None);
            exec(world, Some(second), "test", None)
        }
        "stages" => {
            let built = exec(world, Some(context), "make", None);
            let small = self::files(Some(image(world, "small")), "small");
            let small = exec(world, Some(small), "prepare", None);
            let copy = FileOp::new(Some(small)).copy(built, "/out/app", "/bin/app", plain());
            exec(
                world,
                Some(copy.build(named("install")).unwrap()),
                "verify",
                None,
            )
        }
        "context" => {
            let tools = exec(world, Some(files), "tools", None);
            let source = self::context(tools, session);
            exec(world, Some(source), "compile", None)
        }
        "merge" => {
            let left = exec(world, Some(files), "left", None);
            let right = exec(world, Some(context), "right", None);
            let merged = llb::merge(&[Some(left), Some(right)], named("merge")).unwrap();
            exec(world, Some(merged), "use", None)
        }
        "diamond" => {
            let top = exec(world, Some(context), "split", None);
            let left = exec(world, Some(top.clone()), "left", None);
            let right = exec(world, Some(top), "right", None);
            exec(world, Some(left), "join", Some(right))
        }
        _ => {
            let lib = exec(world, Some(files), "library", None);
            exec(world, Some(context), "program", Some(lib))
        }
    };
    // Two commands in a row, and sources that only a copy uses, in every pipeline.
    let result = exec(world, Some(result), "polish", None);
    let result = exec(world, Some(result), "shine", None);
    let git = source::git(
        &world.repository,
        GitOptions {
            reference: Some(world.commits[0].clone()),
            ..GitOptions::default()
        },
    );
    let file = source::http(
        &world.download,
        HttpOptions {
            checksum: Some(world.checksums[0].clone()),
            ..HttpOptions::default()
        },
    );
    let copies = FileOp::new(Some(result))
        .copy(git.unwrap(), "/", "/repo", plain())
        .copy(file.unwrap(), "/file.tar", "/file.tar", plain());
    let result = copies.build(named("fetched")).unwrap();
    let result = exec(world, Some(result), "finish", None);
    Definition::marshal(Some(&result), &Constraints::default())
}

fn named(name: &str) -> Constraints {
    Constraints::default().named(name)
}

fn image(world: &World, name: &str) -> Output {
    source::image(&world.images[name], ImageOptions::default()).unwrap()
}

fn plain() -> CopyOptions {
    CopyOptions::default()
}

/// A file operation with an action of every kind.
fn files(base: Option<Output>, name: &str) -> Output {
    FileOp::new(base)
        .mkdir(format!("/{name}"), 0o700, MkdirOptions::default())
        .mkfile(
            format!("/{name}/first"),
            0o644,
            "one".to_owned(),
            MkfileOptions::default(),
        )
        .mkfile(
            format!("/{name}/second"),
            0o664,
            "two".to_owned(),
            MkfileOptions::default(),
        )
        .symlink("first", format!("/{name}/link"), SymlinkOptions::default())
        .rm(format!("/{name}/second"), RmOptions::default())
        .build(named(&format!("files of {name}")))
        .unwrap()
}

/// Copies from the local directory.
fn context(base: Output, session: &str) -> Output {
    let local = source::local(
        LOCAL,
        LocalOptions {
            unique: Some(session.to_owned()),
            ..LocalOptions::default()
        },
    );
    let options = CopyOptions {
        contents_only: true,
        create_parents: true,
        include: vec!["**/*.c".into(), "link".into()],
        ..CopyOptions::default()
    };
    let copy = FileOp::new(Some(base)).copy(local, "/src", "/work", options);
    copy.build(named("copy sources")).unwrap()
}

/// A command with everything that a command can have.
fn exec(world: &World, root: Option<Output>, word: &str, more: Option<Output>) -> Output {
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let data = image(world, "data");
    let exec = Exec::new(root, ["/bin/step", word, "--flag", "--level=3"])
        .env("PATH", "/bin")
        .env("STEP", word)
        .env("MODE", "fast")
        .directory("/work")
        .user("1000")
        .hostname("builder")
        .extra_host("mirror", address)
        .ulimit("nofile", 1024, 2048)
        .mount(Mount::bind("/data", Some(data)).selector("/set").readonly())
        .mount(Mount::bind("/more", more).readonly())
        .mount(Mount::cache(
            "/cache",
            format!("id-{word}"),
            CacheSharing::Locked,
        ))
        .mount(Mount::tmpfs("/scratch", 1 << 20))
        .secret(Secret::file("token", "/run/token").owned(1, 1, 0o400))
        .secret(Secret::env("key", "KEY"))
        .ssh_agent(SshAgent::new("default").target("/run/agent").optional())
        .constraints(named(&format!("step {word}")));
    exec.build().unwrap().root().unwrap().clone()
}
