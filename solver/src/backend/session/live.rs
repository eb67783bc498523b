//! The session against a real daemon.
//!
//! `BUILDKIT_TEST_ADDR` names a running buildkitd. Without it these tests say that they are skipped, and pass; what
//! needs no daemon is tested beside its code. Commands run in a root that holds nothing but `/bin/busybox` of this
//! machine (Debian: busybox-static).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use snapshots::content::{ContentProvider, Memory};
use tokio::io::AsyncReadExt;

use super::*;
use crate::backend::{
    Address, CacheBackend, ConnectOptions, Exporter, ExporterResponse, SolveInput, SolveOptions,
    SolveRequest,
};
use crate::llb::exec::{Exec, Secret};
use crate::llb::file::{FileOp, MkfileOptions};
use crate::llb::source::{LocalOptions, OciLayoutOptions, OciStore, local, oci_layout};
use crate::llb::{Constraints, Definition, Output};

/// Everything a test needs: a connection, a session, and handles on its providers.
struct Live {
    client: Client,
    session: Session,
    dirs: Arc<LocalDirs>,
    targets: Arc<FileSendTargets>,
    secrets: Arc<Secrets>,
    stores: Arc<ContentStores>,
    ssh: Arc<SshAgents>,
    uploads: Arc<Uploads>,
    auth: Arc<RegistryAuth>,
    /// Makes names unique among runs against one daemon.
    run: String,
}

fn address() -> Option<Address> {
    let Some(address) = std::env::var("BUILDKIT_TEST_ADDR")
        .ok()
        .filter(|a| !a.is_empty())
    else {
        eprintln!("skipped: BUILDKIT_TEST_ADDR is not set");
        return None;
    };
    Some(address.parse().expect("BUILDKIT_TEST_ADDR is an address"))
}

impl Live {
    async fn start() -> Option<Self> {
        let client = Client::connect(&address()?, &ConnectOptions::default())
            .await
            .unwrap();
        let (dirs, targets) = (Arc::new(LocalDirs::new()), Arc::new(FileSendTargets::new()));
        let (ssh, uploads, auth) = (
            Arc::new(SshAgents::new()),
            Arc::new(Uploads::new()),
            Arc::new(RegistryAuth::new()),
        );
        let (secrets, stores) = (Arc::new(Secrets::new()), Arc::new(ContentStores::new()));
        let config = SessionConfig {
            local_dirs: dirs.clone(),
            targets: targets.clone(),
            secrets: secrets.clone(),
            content: stores.clone(),
            ssh: ssh.clone(),
            uploads: uploads.clone(),
            auth: auth.clone(),
            ..SessionConfig::default()
        };
        let session = Session::start(&client, config).await.unwrap();
        Some(Self {
            client,
            session,
            dirs,
            targets,
            secrets,
            stores,
            ssh,
            uploads,
            auth,
            run: new_id(),
        })
    }

    async fn solve(
        &self,
        output: &Output,
        options: SolveOptions,
    ) -> Result<ExporterResponse, crate::backend::Error> {
        let definition = Definition::marshal(Some(output), &Constraints::default()).to_pb();
        let options = SolveOptions {
            session: self.session.id().to_owned(),
            ..options
        };
        self.client
            .solve(SolveRequest::new(
                SolveInput::Definition(definition),
                options,
            ))
            .await
    }

    /// Builds `output` into exporter 0, whose target was set before.
    async fn export(
        &self,
        output: &Output,
        kind: &str,
        attrs: &[(&str, &str)],
    ) -> ExporterResponse {
        let attrs = attrs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let exporters = vec![Exporter {
            kind: kind.to_owned(),
            attrs,
        }];
        self.solve(
            output,
            SolveOptions {
                exporters,
                ..SolveOptions::default()
            },
        )
        .await
        .unwrap()
    }

    /// Builds `output` into a fresh directory.
    async fn export_dir(&self, output: &Output) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        self.targets
            .set(0, Target::directory(dir.path().join("out")));
        self.export(output, "local", &[]).await;
        dir
    }
}

fn busybox() -> Output {
    let program = fs::read("/bin/busybox").expect("the package busybox-static");
    FileOp::new(None)
        .mkdir("/bin", 0o755, crate::llb::file::MkdirOptions::default())
        .mkfile(
            "/bin/busybox",
            0o755,
            program,
            MkfileOptions {
                timestamp: Some(0),
                ..MkfileOptions::default()
            },
        )
        .build(Constraints::default())
        .unwrap()
}

/// Runs a shell command; the result is the directory `/out`.
fn shell(script: &str, secrets: Vec<Secret>) -> Output {
    let mount = crate::llb::exec::Mount::bind("/out", None);
    let mut exec = Exec::new(Some(busybox()), ["/bin/busybox", "sh", "-c", script]).mount(mount);
    for secret in secrets {
        exec = exec.secret(secret);
    }
    exec.build().unwrap().mount("/out").unwrap().clone()
}

fn set_modified(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test]
async fn a_local_directory_makes_the_round_trip() {
    let Some(live) = Live::start().await else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    let root = source.path();
    fs::create_dir_all(root.join("dir/ä b")).unwrap();
    fs::write(root.join("dir/ä b/file"), vec![5; 100_000]).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("run.sh"), "#!/bin/sh").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    set_modified(&root.join("run.sh"), 1_600_000_000);
    fs::hard_link(root.join("run.sh"), root.join("same.sh")).unwrap();
    symlink("dir/ä b", root.join("link")).unwrap();
    fs::write(root.join("skipped.log"), "").unwrap();
    live.dirs.insert("src", LocalDir::new(root));
    // A pattern outside ASCII makes the daemon encode its metadata.
    let options = LocalOptions {
        exclude: vec!["*.log".into(), "ünused".into()],
        ..LocalOptions::default()
    };
    let out = live.export_dir(&local("src", options)).await;
    let out = out.path().join("out");
    assert_eq!(
        fs::read(out.join("dir/ä b/file")).unwrap(),
        vec![5; 100_000]
    );
    assert_eq!(fs::read(out.join("empty")).unwrap(), b"");
    assert_eq!(
        fs::read_link(out.join("link")).unwrap(),
        Path::new("dir/ä b")
    );
    let meta = fs::metadata(out.join("run.sh")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o755, 1_600_000_000));
    assert_eq!(meta.ino(), fs::metadata(out.join("same.sh")).unwrap().ino());
    assert!(!out.join("skipped.log").exists());
}

/// A file is rewritten with other content of the same length and time: if the second transfer asked for it, the new
/// content would show.
#[tokio::test]
async fn an_unchanged_directory_is_listed_but_not_read_again() {
    let Some(live) = Live::start().await else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    let file = source.path().join("file");
    let build = |text: &'static str| {
        fs::write(&file, text).unwrap();
        set_modified(&file, 1_600_000_000);
        live.dirs.insert("src", LocalDir::new(source.path()));
        // Another exclude pattern each time: the daemon must not take the whole vertex from the build cache.
        let exclude = vec![format!("no-{text}")];
        let options = LocalOptions {
            shared_key_hint: Some(live.run.clone()),
            exclude,
            ..LocalOptions::default()
        };
        local("src", options)
    };
    let first = live.export_dir(&build("old")).await;
    assert_eq!(
        fs::read_to_string(first.path().join("out/file")).unwrap(),
        "old"
    );
    let second = live.export_dir(&build("new")).await;
    assert_eq!(
        fs::read_to_string(second.path().join("out/file")).unwrap(),
        "old"
    );
}

#[tokio::test]
async fn a_directory_that_is_not_offered_is_a_clear_error() {
    let Some(live) = Live::start().await else {
        return;
    };
    let error = live
        .solve(
            &local("nowhere", LocalOptions::default()),
            SolveOptions::default(),
        )
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no local directory is offered under the name \"nowhere\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_secret_reaches_the_step_and_a_missing_one_fails_it() {
    let Some(live) = Live::start().await else {
        return;
    };
    let (id, missing) = (
        format!("token-{}", live.run),
        format!("missing-{}", live.run),
    );
    live.secrets.add(id.clone(), b"s3cret".to_vec());
    let script = "cat /run/token > /out/token; test ! -e /run/other && echo none > /out/other";
    let script = script.replace("cat", "/bin/busybox cat");
    let secrets = vec![
        Secret::file(&id, "/run/token"),
        Secret::file(&missing, "/run/other").optional(),
    ];
    let out = live.export_dir(&shell(&script, secrets)).await;
    assert_eq!(
        fs::read_to_string(out.path().join("out/token")).unwrap(),
        "s3cret"
    );
    assert_eq!(
        fs::read_to_string(out.path().join("out/other")).unwrap(),
        "none\n"
    );

    let required = shell("true", vec![Secret::file(&missing, "/run/other")]);
    let error = live
        .solve(&required, SolveOptions::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&missing), "{error}");
}

#[tokio::test]
async fn a_tar_goes_to_a_file_or_a_writer() {
    let Some(live) = Live::start().await else {
        return;
    };
    let tree = FileOp::new(None)
        .mkfile("/hello", 0o644, "hello", MkfileOptions::default())
        .build(Constraints::default())
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.tar");
    live.targets.set(0, Target::File(path.clone()));
    live.export(&tree, "tar", &[]).await;
    let tar = fs::read(&path).unwrap();
    assert!(tar.windows(5).any(|w| w == b"hello") && tar.len().is_multiple_of(512));

    let (writer, mut reader) = tokio::io::duplex(64 * 1024);
    live.targets
        .set(0, Target::Writer(TargetWriter::new(writer)));
    let read = tokio::spawn(async move {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).await.unwrap();
        data
    });
    live.export(&tree, "tar", &[]).await;
    assert_eq!(read.await.unwrap().len(), tar.len());
}

#[tokio::test]
async fn a_full_disk_fails_the_build_with_the_path() {
    let Some(live) = Live::start().await else {
        return;
    };
    live.targets.set(0, Target::File("/dev/full".into()));
    let exporters = vec![Exporter {
        kind: "tar".into(),
        attrs: BTreeMap::new(),
    }];
    let error = live
        .solve(
            &busybox(),
            SolveOptions {
                exporters,
                ..SolveOptions::default()
            },
        )
        .await
        .unwrap_err();
    assert!(error.to_string().contains("write /dev/full: "), "{error}");
}

/// An image is exported into a store of this process, and then used as the source of another build.
#[tokio::test]
async fn an_image_travels_through_a_content_store_both_ways() {
    let Some(live) = Live::start().await else {
        return;
    };
    let marker = format!("marker {}", live.run);
    let tree = FileOp::new(None)
        .mkfile("/marker", 0o644, marker.clone(), MkfileOptions::default())
        .build(Constraints::default())
        .unwrap();
    let store = Memory::new();
    live.stores.insert("export", Arc::new(store.clone()));
    let response = live.export(&tree, "oci", &[("tar", "false")]).await;
    let digest = &response["containerimage.digest"];
    assert!(
        store
            .list()
            .unwrap()
            .iter()
            .any(|blob| blob.digest.as_str() == digest)
    );

    live.stores.insert("oci:layout", Arc::new(store));
    let options = OciLayoutOptions {
        store: OciStore {
            store_id: Some("layout".into()),
            session_id: Some(live.session.id().to_owned()),
        },
        ..OciLayoutOptions::default()
    };
    let image = oci_layout(&format!("example.org/{}@{digest}", live.run), options).unwrap();
    let out = live.export_dir(&image).await;
    assert_eq!(
        fs::read_to_string(out.path().join("out/marker")).unwrap(),
        marker
    );
}

#[tokio::test]
async fn a_local_cache_is_written_and_read_through_the_session() {
    let Some(live) = Live::start().await else {
        return;
    };
    let store = Memory::new();
    live.stores.insert("local:/cache", Arc::new(store.clone()));
    let step = shell(&format!("echo {} > /out/x", live.run), Vec::new());
    let cache = |attrs: &[(&str, &str)]| CacheBackend {
        kind: "local".into(),
        attrs: attrs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    };
    let options = SolveOptions {
        cache_exports: vec![cache(&[("dest", "/cache"), ("mode", "max")])],
        ..SolveOptions::default()
    };
    let response = live.solve(&step, options).await.unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&response["cache.manifest"]).unwrap();
    let digest = manifest["digest"].as_str().unwrap();
    assert!(
        store
            .list()
            .unwrap()
            .iter()
            .any(|blob| blob.digest.as_str() == digest)
    );
    let options = SolveOptions {
        cache_imports: vec![cache(&[("src", "/cache"), ("digest", digest)])],
        ..SolveOptions::default()
    };
    live.solve(&step, options).await.unwrap();
}

#[tokio::test]
async fn a_closed_session_is_gone_for_the_daemon() {
    let Some(live) = Live::start().await else {
        return;
    };
    live.dirs.insert("src", LocalDir::new("/"));
    let id = live.session.id().to_owned();
    live.session.close().await;
    let definition = Definition::marshal(
        Some(&local("src", LocalOptions::default())),
        &Constraints::default(),
    );
    let options = SolveOptions {
        session: id,
        ..SolveOptions::default()
    };
    let request = SolveRequest::new(SolveInput::Definition(definition.to_pb()), options);
    assert!(live.client.solve(request).await.is_err());
}

#[tokio::test]
async fn a_mirrored_directory_loses_other_files() {
    let Some(live) = Live::start().await else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("stale"), "").unwrap();
    let tree = FileOp::new(None)
        .mkfile("/fresh", 0o644, "f", MkfileOptions::default())
        .build(Constraints::default())
        .unwrap();
    live.targets.set(
        0,
        Target::Directory {
            path: dir.path().to_owned(),
            mode: DirectoryMode::Mirror,
        },
    );
    live.export(&tree, "local", &[("mode", "delete")]).await;
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["fresh"]);
}

#[tokio::test]
async fn an_ssh_mount_finds_its_agent_or_says_that_there_is_none() {
    let Some(live) = Live::start().await else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("agent")).unwrap();
    let id = format!("agent-{}", live.run);
    let step = || {
        let agent = crate::llb::exec::SshAgent::new(&id).target("/run/agent");
        let exec = Exec::new(
            Some(busybox()),
            ["/bin/busybox", "test", "-S", "/run/agent"],
        )
        .ssh_agent(agent);
        exec.build().unwrap().root().unwrap().clone()
    };
    let error = live
        .solve(&step(), SolveOptions::default())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no SSH agent is offered"),
        "{error}"
    );
    live.ssh.insert(&id, dir.path().join("agent"));
    live.solve(&step(), SolveOptions::default()).await.unwrap();
}

#[tokio::test]
async fn an_upload_becomes_a_source() {
    let Some(live) = Live::start().await else {
        return;
    };
    let url = live.uploads.add(std::io::Cursor::new(vec![9; 100_000]));
    let options = crate::llb::source::HttpOptions {
        filename: Some("data".into()),
        ..Default::default()
    };
    let out = live
        .export_dir(&crate::llb::source::http(&url, options).unwrap())
        .await;
    assert_eq!(
        fs::read(out.path().join("out/data")).unwrap(),
        vec![9; 100_000]
    );
}

/// `BUILDKIT_TEST_PRIVATE_REGISTRY` is `host:port user password` of a registry that the daemon reaches without TLS.
#[tokio::test]
async fn a_private_registry_accepts_the_sessions_credentials() {
    let Some(live) = Live::start().await else {
        return;
    };
    let Ok(registry) = std::env::var("BUILDKIT_TEST_PRIVATE_REGISTRY") else {
        return;
    };
    let [host, user, password] = registry.split(' ').collect::<Vec<_>>()[..] else {
        panic!("three words")
    };
    let name = format!("{host}/session-{}", live.run);
    let attrs = |auth: &str| {
        BTreeMap::from([
            ("name".into(), format!("{name}:{auth}")),
            ("push".into(), "true".into()),
        ])
    };
    let push = |auth: &str| SolveOptions {
        exporters: vec![Exporter {
            kind: "image".into(),
            attrs: attrs(auth),
        }],
        ..SolveOptions::default()
    };
    let error = live.solve(&busybox(), push("anonymous")).await.unwrap_err();
    assert!(!error.to_string().contains(password), "{error}");
    live.auth.add(host, user, password.to_owned());
    live.solve(&busybox(), push("known")).await.unwrap();
}

/// Everything that a directory can hold and that has a meaning in a build context.
fn every_kind_of_entry(root: &Path) -> std::os::unix::net::UnixListener {
    use rustix::fs::{CWD, FileType, XattrFlags, makedev, mknodat};
    for dir in ["a", "a.d", "a/b", "ignored/keep", "z"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for file in [
        "a/b/f",
        "a-file",
        "a.d/x",
        "ignored/drop",
        "ignored/keep/me",
        "ä ö",
        "z/last",
        "q?[x]",
    ] {
        fs::write(root.join(file), file).unwrap();
    }
    fs::write(root.join("large"), vec![1; 300_000]).unwrap();
    fs::set_permissions(root.join("a-file"), fs::Permissions::from_mode(0o6751)).unwrap();
    fs::set_permissions(root.join("z"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(root.join("a/b/f"), root.join("z/linked")).unwrap();
    fs::hard_link(root.join("ignored/drop"), root.join("kept-name")).unwrap();
    symlink("../a-file", root.join("a/up")).unwrap();
    symlink("/a/b", root.join("absolute")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, 0o640.into(), 0).unwrap();
    let null = mknodat(
        CWD,
        root.join("null"),
        FileType::CharacterDevice,
        0o666.into(),
        makedev(1, 3),
    );
    assert!(
        matches!(null, Ok(()) | Err(rustix::io::Errno::PERM)),
        "{null:?}"
    );
    let set = rustix::fs::setxattr(
        root.join("a-file"),
        "user.tag",
        b"value",
        XattrFlags::empty(),
    );
    assert!(
        matches!(set, Ok(()) | Err(rustix::io::Errno::OPNOTSUPP)),
        "{set:?}"
    );
    std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap()
}

/// `BUILDKIT_TEST_BUILDCTL` is the path of a buildctl. The same directory is sent by both clients; what the daemon then
/// has is exported as tar by each, and must be the same bytes.
#[tokio::test]
async fn the_daemon_gets_what_it_gets_from_buildctl() {
    let Some(live) = Live::start().await else {
        return;
    };
    let Some(buildctl) = std::env::var_os("BUILDKIT_TEST_BUILDCTL") else {
        return;
    };
    let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _listener = every_kind_of_entry(source.path());
    live.dirs.insert("src", LocalDir::new(source.path()));
    let list = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let cases = [
        LocalOptions::default(),
        LocalOptions {
            exclude: list(&["ignored", "!ignored/keep", "**/x"]),
            ..LocalOptions::default()
        },
        LocalOptions {
            include: list(&["**/f", "z/*"]),
            ..LocalOptions::default()
        },
        LocalOptions {
            follow_paths: list(&["absolute/f", "a/u*", "ä*"]),
            ..LocalOptions::default()
        },
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let shown = format!("{case:?}");
        let hinted = |client: &str| {
            let hint = format!("{client}-{number}-{}", live.run);
            local(
                "src",
                LocalOptions {
                    shared_key_hint: Some(hint),
                    ..case.clone()
                },
            )
        };
        let (ours, theirs) = (out.path().join("ours.tar"), out.path().join("theirs.tar"));
        live.targets.set(0, Target::File(ours.clone()));
        live.export(&hinted("ours"), "tar", &[]).await;
        let definition =
            Definition::marshal(Some(&hinted("theirs")), &Constraints::default()).to_pb();
        let llb = out.path().join("llb");
        fs::write(&llb, proto::gowire::encode(&definition)).unwrap();
        let status = std::process::Command::new(&buildctl)
            .args([
                "--addr",
                &live.client.address().to_string(),
                "build",
                "--progress",
                "quiet",
                "--local",
            ])
            .arg(format!("src={}", source.path().display()))
            .args(["--output", &format!("type=tar,dest={}", theirs.display())])
            .stdin(fs::File::open(&llb).unwrap())
            .status();
        assert!(status.unwrap().success());
        let (ours, theirs) = (fs::read(ours).unwrap(), fs::read(theirs).unwrap());
        assert!(ours.len() > 4096, "{shown}");
        assert!(ours == theirs, "the trees differ for {shown}");
    }
}

/// Prints how long 20,000 unchanged files take, connection and session included; with `BUILDKIT_TEST_BUILDCTL` (the path of
/// a buildctl) the same for buildctl, alternately. Not a check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: needs a quiet machine and an optimised build"]
async fn measure_unchanged_files() {
    let Some(address) = address() else { return };
    let source = tempfile::tempdir().unwrap();
    for dir in 0..200 {
        let dir = source.path().join(format!("dir{dir:03}"));
        fs::create_dir(&dir).unwrap();
        for file in 0..100 {
            fs::write(dir.join(format!("file{file:03}")), format!("{file}\n")).unwrap();
        }
    }
    let hint = Some(new_id());
    let output = local(
        "src",
        LocalOptions {
            shared_key_hint: hint,
            ..LocalOptions::default()
        },
    );
    let definition = Definition::marshal(Some(&output), &Constraints::default()).to_pb();
    let llb = source.path().with_extension("llb");
    fs::write(&llb, proto::gowire::encode(&definition)).unwrap();
    for round in 0..8 {
        let start = Instant::now();
        let client = Client::connect(&address, &ConnectOptions::default())
            .await
            .unwrap();
        let dirs = LocalDirs::from_iter([("src", LocalDir::new(source.path()))]);
        let config = SessionConfig {
            local_dirs: Arc::new(dirs),
            ..SessionConfig::default()
        };
        let session = Session::start(&client, config).await.unwrap();
        let options = SolveOptions {
            session: session.id().to_owned(),
            ..SolveOptions::default()
        };
        client
            .solve(SolveRequest::new(
                SolveInput::Definition(definition.clone()),
                options,
            ))
            .await
            .unwrap();
        let ours = start.elapsed().as_secs_f64();
        let walk = {
            let start = Instant::now();
            walkdir::WalkDir::new(source.path())
                .into_iter()
                .filter(|e| e.as_ref().unwrap().metadata().is_ok())
                .count();
            start.elapsed().as_secs_f64()
        };
        let mut theirs = String::new();
        if let Some(buildctl) = std::env::var_os("BUILDKIT_TEST_BUILDCTL") {
            let start = Instant::now();
            let status = std::process::Command::new(buildctl)
                .args([
                    "--addr",
                    &address.to_string(),
                    "build",
                    "--progress",
                    "quiet",
                    "--local",
                ])
                .arg(format!("src={}", source.path().display()))
                .stdin(fs::File::open(&llb).unwrap())
                .status();
            assert!(status.unwrap().success());
            theirs = format!("  buildctl {:.3} s", start.elapsed().as_secs_f64());
        }
        eprintln!("round {round}: {ours:.3} s{theirs}  stat walk {walk:.3} s");
    }
    fs::remove_file(llb).unwrap();
}
