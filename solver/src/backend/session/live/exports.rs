//! What exporters write here.

use super::*;

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
