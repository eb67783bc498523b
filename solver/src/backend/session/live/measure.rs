//! How long 20,000 files take, beside buildctl. Not a check: it prints, and runs only when asked for.
//!
//! ```text
//! BUILDKIT_TEST_ADDR=... BUILDKIT_TEST_BUILDCTL=... cargo test --release -p solver --lib measure -- --ignored --nocapture
//! ```

use super::*;

/// 200 directories with 100 small files each.
fn twenty_thousand_files() -> tempfile::TempDir {
    let source = tempfile::tempdir().unwrap();
    for dir in 0..200 {
        let dir = source.path().join(format!("dir{dir:03}"));
        fs::create_dir(&dir).unwrap();
        for file in 0..100 {
            fs::write(dir.join(format!("file{file:03}")), format!("{file}\n")).unwrap();
        }
    }
    source
}

fn definition(hint: &str) -> proto::pb::Definition {
    let options = LocalOptions {
        shared_key_hint: Some(hint.to_owned()),
        ..LocalOptions::default()
    };
    Definition::marshal(Some(&local("src", options)), &Constraints::default()).to_pb()
}

/// Seconds from connecting to the end of the solve.
async fn ours(address: &Address, source: &Path, hint: &str) -> f64 {
    let start = Instant::now();
    let client = Client::connect(address, &ConnectOptions::default())
        .await
        .unwrap();
    let dirs = LocalDirs::from_iter([("src", LocalDir::new(source))]);
    let config = SessionConfig {
        local_dirs: Arc::new(dirs),
        ..SessionConfig::default()
    };
    let session = Session::start(&client, config).await.unwrap();
    let options = SolveOptions {
        session: session.id().to_owned(),
        ..SolveOptions::default()
    };
    let request = SolveRequest::new(SolveInput::Definition(definition(hint)), options);
    client.solve(request).await.unwrap();
    start.elapsed().as_secs_f64()
}

/// Seconds of a buildctl process; NaN without one.
fn buildctl(address: &Address, source: &Path, hint: &str) -> f64 {
    let Some(buildctl) = std::env::var_os("BUILDKIT_TEST_BUILDCTL") else {
        return f64::NAN;
    };
    let mut llb = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut llb, &proto::gowire::encode(&definition(hint))).unwrap();
    std::io::Seek::rewind(&mut llb).unwrap();
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
        .arg(format!("src={}", source.display()))
        .stdin(llb)
        .status();
    assert!(status.unwrap().success());
    start.elapsed().as_secs_f64()
}

/// Seconds to stat every file.
fn stat_walk(source: &Path) -> f64 {
    let start = Instant::now();
    walkdir::WalkDir::new(source)
        .into_iter()
        .filter(|e| e.as_ref().unwrap().metadata().is_ok())
        .count();
    start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: needs a quiet machine and an optimised build"]
async fn measure_transfers() {
    let Some(address) = address() else { return };
    let source = twenty_thousand_files();
    let run = new_id();
    for round in 0..3 {
        let (a, b) = (format!("a-{round}-{run}"), format!("b-{round}-{run}"));
        let mine = ours(&address, source.path(), &a).await;
        let theirs = buildctl(&address, source.path(), &b);
        eprintln!("new files, round {round}: {mine:.3} s  buildctl {theirs:.3} s");
    }
    for round in 0..8 {
        let mine = ours(&address, source.path(), &format!("a-0-{run}")).await;
        let theirs = buildctl(&address, source.path(), &format!("b-0-{run}"));
        let walk = stat_walk(source.path());
        eprintln!(
            "unchanged, round {round}: {mine:.3} s  buildctl {theirs:.3} s  stat walk {walk:.3} s"
        );
    }
}
