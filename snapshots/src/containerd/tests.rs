//! What can be tested without a daemon, and, on request, with one.

use prost::Message;

use super::messages::{WriteAction, WriteContentRequest};
use super::*;

#[test]
fn an_absent_daemon_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("no.sock");
    let error = Client::connect(&socket, Config::default())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("no.sock") && error.contains("No such file"),
        "{error}"
    );
    let config = Config {
        namespace: "a\nb".to_owned(),
        ..Config::default()
    };
    let error = Client::connect(&socket, config).err().unwrap();
    assert!(matches!(error, ContainerdError::BadName(..)), "{error}");
}

#[test]
fn a_peer_that_does_not_speak_grpc_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bad.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let _ = std::io::Write::write_all(&mut peer, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let failed = Client::connect(&socket, Config::default())
        .map(|client| client.snapshotter("overlayfs").list().is_err());
    answering.join().unwrap();
    assert!(failed.unwrap_or(true));
}

#[test]
fn messages_have_the_bytes_of_the_published_schema() {
    let request = WriteContentRequest {
        action: WriteAction::Commit.into(),
        reference: "r".to_owned(),
        total: 3,
        expected: "sha256:x".to_owned(),
        offset: 3,
        data: b"d".to_vec(),
        labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
    };
    // Field number and wire type, then the value, as containerd's content.proto defines them.
    let expected = [
        &b"\x08\x02"[..],
        b"\x12\x01r",
        b"\x18\x03",
        b"\x22\x08sha256:x",
        b"\x28\x03",
        b"\x32\x01d",
        b"\x3a\x06\x0a\x01k\x12\x01v",
    ]
    .concat();
    assert_eq!(request.encode_to_vec(), expected);
}

/// A client of the containerd whose socket is in CONTAINERD_SOCKET.
fn real() -> Client {
    let socket = std::env::var("CONTAINERD_SOCKET").expect("CONTAINERD_SOCKET names the socket");
    let config = Config {
        namespace: "dagop-test".to_owned(),
        labels: BTreeMap::from([("containerd.io/gc.root".to_owned(), "test".to_owned())]),
        ..Config::default()
    };
    Client::connect(Path::new(&socket), config).unwrap()
}

#[test]
#[ignore = "needs a containerd: set CONTAINERD_SOCKET and run with --ignored"]
fn a_real_daemon_stores_blobs() {
    use crate::content::{ContentProvider, Expected, open, put, read_all};
    use crate::digest::Digest;
    use std::io::{Read, Write};

    let content = real().content();
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let digest = Digest::sha256(&data);
    let expected = Expected::exactly(digest.clone(), data.len() as u64);
    for _ in 0..2 {
        // The second time it exists already.
        assert_eq!(put(&content, &data, &expected).unwrap().digest, digest);
    }
    assert_eq!(read_all(&content, &digest, 1 << 30).unwrap(), data);
    let mut part = vec![0; 10];
    let blob = content.reader_at(&digest).unwrap();
    assert_eq!(blob.read_at(&mut part, 2_999_995).unwrap(), 5);
    assert_eq!(part[..5], data[2_999_995..]);
    assert!(
        content
            .list()
            .unwrap()
            .iter()
            .any(|info| info.digest == digest)
    );
    let missing = Digest::sha256("missing");
    assert!(content.info(&missing).unwrap_err().is_not_found());
    let wrong = Expected::exactly(missing, 4);
    assert!(put(&content, b"evil", &wrong).is_err());
    let mut writer = content.writer(&Expected::ANY).unwrap();
    writer.write_all(b"junk").unwrap();
    writer.restart().unwrap();
    writer.write_all(b"unknown size").unwrap();
    let info = writer.commit(&Expected::ANY).unwrap();
    assert_eq!(info.digest, Digest::sha256("unknown size"));
    let mut text = String::new();
    open(&content, &info.digest)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "unknown size");
}

#[test]
#[ignore = "needs a containerd: set CONTAINERD_SOCKET and run with --ignored"]
fn a_real_daemon_stores_snapshots() {
    let snapshots = real().snapshotter("native");
    let base = format!("dagop-test-{}", std::process::id());
    let active = format!("{base}-active");
    let mounts = snapshots.prepare(&active, "").unwrap();
    assert_eq!(mounts[0].kind, "bind");
    std::fs::write(Path::new(&mounts[0].source).join("f"), "data").unwrap();
    assert_eq!(snapshots.mounts(&active).unwrap(), mounts);
    let again = snapshots.prepare(&active, "").unwrap_err();
    assert!(
        matches!(again, ContainerdError::AlreadyExists { .. }),
        "{again}"
    );
    snapshots.commit(&base, &active).unwrap();
    let stat = snapshots.stat(&base).unwrap();
    assert_eq!(
        (stat.kind, stat.parent.as_str()),
        (SnapshotKind::Committed, "")
    );
    assert!(snapshots.usage(&base).unwrap().inodes >= 2);
    let view = format!("{base}-view");
    let mounts = snapshots.view(&view, &base).unwrap();
    let seen = std::fs::read_to_string(Path::new(&mounts[0].source).join("f")).unwrap();
    assert_eq!(seen, "data");
    assert!(
        snapshots
            .list()
            .unwrap()
            .iter()
            .any(|s| s.name == view && s.parent == base)
    );
    assert!(snapshots.remove(&base).is_err(), "it has a child");
    snapshots.remove(&view).unwrap();
    snapshots.remove(&base).unwrap();
    let gone = snapshots.stat(&base).unwrap_err();
    assert!(matches!(gone, ContainerdError::NotFound { .. }), "{gone}");
}
