//! Local directories as the daemon sees them.

use super::*;

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

/// Patterns travel as request headers, one per pattern; a long ignore file makes hundreds of kilobytes of them.
#[tokio::test]
async fn a_long_ignore_file_fits() {
    let Some(live) = Live::start().await else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("kept"), "k").unwrap();
    fs::write(source.path().join("dropped-2999"), "d").unwrap();
    live.dirs.insert("src", LocalDir::new(source.path()));
    let exclude = (0..3000).map(|i| format!("dropped-{i}")).collect();
    let out = live
        .export_dir(&local(
            "src",
            LocalOptions {
                exclude,
                ..LocalOptions::default()
            },
        ))
        .await;
    let names: Vec<_> = fs::read_dir(out.path().join("out"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["kept"]);
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
