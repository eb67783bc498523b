//! The receiver against a sender in memory: what is built, what is refused, and what a failure leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::StreamExt;
use prost::Message as _;
use proto::filesync::BytesMessage;
use proto::fsutil::packet::PacketType;
use proto::fsutil::{Packet, Stat};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::order::Order;
use super::{
    DirectoryMode, FileSendProvider, FileSendTargets, Target, TargetWriter, export_metadata, file,
    receive,
};
use crate::backend::session::gomode;

/// One entry of a pretended export.
fn entry(path: &str, mode: u32, linkname: &str) -> Stat {
    Stat {
        path: path.to_owned(),
        mode,
        linkname: linkname.to_owned(),
        mod_time: 1_700_000_000_000_000_001,
        ..Stat::default()
    }
}

fn encode(packet: Packet) -> Result<Bytes, Status> {
    Ok(packet.encode_to_vec().into())
}

fn of(kind: PacketType) -> Packet {
    Packet {
        r#type: kind.into(),
        ..Packet::default()
    }
}

/// Plays the daemon as sender. `content` answers requests by path; `None` breaks the call off at that request.
async fn send(
    target: &Path,
    mode: DirectoryMode,
    entries: Vec<Stat>,
    content: impl Fn(&str) -> Option<Vec<u8>>,
) -> Result<(), Status> {
    let (sender, inbound) = mpsc::channel(4);
    let mut outbound = receive::start(ReceiverStream::new(inbound), target.to_owned(), mode);
    for stat in entries.clone() {
        // A failed receiver stops listening; its error follows below.
        let _ = sender
            .send(encode(Packet {
                stat: Some(stat),
                ..of(PacketType::PacketStat)
            }))
            .await;
    }
    let _ = sender.send(encode(of(PacketType::PacketStat))).await;
    let mut sender = Some(sender);
    while let Some(message) = outbound.next().await {
        let request = Packet::decode(message?).unwrap();
        match request.r#type() {
            PacketType::PacketReq => {
                let Some(data) = content(&entries[request.id as usize].path) else {
                    sender = None;
                    continue;
                };
                let Some(sender) = &sender else { continue };
                for chunk in data.chunks(32 * 1024).chain([&[][..]]) {
                    let data = Bytes::copy_from_slice(chunk);
                    let _ = sender
                        .send(encode(Packet {
                            id: request.id,
                            data,
                            ..of(PacketType::PacketData)
                        }))
                        .await;
                }
            }
            PacketType::PacketFin => {
                if let Some(sender) = &sender {
                    let _ = sender.send(encode(of(PacketType::PacketFin))).await;
                }
            }
            PacketType::PacketErr => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    Ok(())
}

/// Every file echoes its path.
fn echo(path: &str) -> Option<Vec<u8>> {
    Some(path.as_bytes().to_vec())
}

/// Path -> "dir", "-> target" or content, of everything below `root`.
fn snapshot(root: &Path) -> BTreeMap<String, String> {
    walkdir::WalkDir::new(root)
        .min_depth(1)
        .into_iter()
        .map(|found| {
            let found = found.unwrap();
            let kind = found.file_type();
            let text = if kind.is_dir() {
                "dir".to_owned()
            } else if kind.is_symlink() {
                format!("-> {}", fs::read_link(found.path()).unwrap().display())
            } else {
                fs::read_to_string(found.path()).unwrap()
            };
            (
                found
                    .path()
                    .strip_prefix(root)
                    .unwrap()
                    .display()
                    .to_string(),
                text,
            )
        })
        .collect()
}

fn shown(root: &Path) -> Vec<String> {
    snapshot(root)
        .into_iter()
        .map(|(path, text)| format!("{path}: {text}"))
        .collect()
}

fn sample() -> Vec<Stat> {
    vec![
        entry("d", gomode::DIR | 0o555, ""),
        entry("d/f", 0o640, ""),
        entry("d/hard", 0o640, "d/f"),
        entry("l", gomode::SYMLINK | 0o777, "/etc/passwd"),
        entry("x", gomode::SETUID | 0o755, ""),
    ]
}

#[tokio::test]
async fn a_new_directory_gets_everything_with_its_attributes() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("deep/out");
    send(&target, DirectoryMode::Merge, sample(), echo)
        .await
        .unwrap();
    assert_eq!(
        shown(&target),
        [
            "d: dir",
            "d/f: d/f",
            "d/hard: d/f",
            "l: -> /etc/passwd",
            "x: x"
        ]
    );
    let meta = |path: &str| fs::symlink_metadata(target.join(path)).unwrap();
    assert_eq!(meta("d").mode() & 0o7777, 0o555);
    assert_eq!(meta("d/f").mode() & 0o7777, 0o640);
    assert_eq!(meta("x").mode() & 0o7777, 0o4755);
    assert_eq!(meta("d/f").ino(), meta("d/hard").ino());
    for path in ["d", "d/f", "l", "x"] {
        assert_eq!(
            (meta(path).mtime(), meta(path).mtime_nsec()),
            (1_700_000_000, 1),
            "{path}"
        );
    }
    assert_eq!(
        fs::read_dir(dir.path().join("deep")).unwrap().count(),
        1,
        "no staging directory is left"
    );
}

#[tokio::test]
async fn merging_keeps_other_files_and_mirroring_removes_them() {
    for (mode, expected) in [
        (
            DirectoryMode::Merge,
            vec![
                "d: dir",
                "d/f: d/f",
                "d/hard: d/f",
                "d/mine: m",
                "l: -> /etc/passwd",
                "old: dir",
                "old/f: o",
                "x: x",
            ],
        ),
        (
            DirectoryMode::Mirror,
            vec![
                "d: dir",
                "d/f: d/f",
                "d/hard: d/f",
                "l: -> /etc/passwd",
                "x: x",
            ],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("d")).unwrap();
        fs::create_dir_all(dir.path().join("old")).unwrap();
        fs::write(dir.path().join("d/mine"), "m").unwrap();
        fs::write(dir.path().join("d/f"), "before").unwrap();
        fs::write(dir.path().join("old/f"), "o").unwrap();
        // Kinds that change: a directory becomes a file, a file becomes a link.
        fs::create_dir_all(dir.path().join("x/y")).unwrap();
        fs::write(dir.path().join("l"), "file").unwrap();
        send(dir.path(), mode, sample(), echo).await.unwrap();
        assert_eq!(shown(dir.path()), expected, "{mode:?}");
    }
}

#[tokio::test]
async fn a_link_in_the_target_is_replaced_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    let target = dir.path().join("out");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(&target).unwrap();
    symlink(&outside, target.join("d")).unwrap();
    send(&target, DirectoryMode::Merge, sample(), echo)
        .await
        .unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(fs::symlink_metadata(target.join("d")).unwrap().is_dir());
}

#[tokio::test]
async fn nothing_can_be_written_elsewhere() {
    let attempts = [
        vec![entry("../f", 0o644, "")],
        vec![entry("/etc/f", 0o644, "")],
        vec![entry("a//f", 0o644, "")],
        vec![entry("missing/f", 0o644, "")],
        vec![entry("l", gomode::SYMLINK, ".."), entry("l/f", 0o644, "")],
        vec![entry("f", 0o644, ""), entry("f", 0o644, "")],
        vec![entry("b", 0o644, ""), entry("a", 0o644, "")],
        vec![entry("h", 0o644, "../outside")],
        vec![entry("h", 0o644, "/etc/passwd")],
        vec![
            entry("l", gomode::SYMLINK, ".."),
            entry("m", 0o644, "l/outside"),
        ],
        vec![entry("t", gomode::DIR | gomode::SYMLINK, "")],
        vec![entry("nul\0", 0o644, "")],
    ];
    for attempt in attempts {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("outside"), "o").unwrap();
        let target = dir.path().join("out");
        let shown_attempt = format!("{attempt:?}");
        let status = send(&target, DirectoryMode::Merge, attempt, echo)
            .await
            .unwrap_err();
        assert!(!status.message().is_empty(), "{shown_attempt}");
        assert_eq!(
            shown(dir.path()),
            ["outside: o"],
            "{shown_attempt}: {status}"
        );
    }
}

#[tokio::test]
async fn a_broken_transfer_leaves_the_target_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("x"), "before").unwrap();
    let cut = |path: &str| (path != "x").then(|| b"new".to_vec());
    let status = send(&target, DirectoryMode::Mirror, sample(), cut)
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Aborted);
    assert_eq!(shown(dir.path()), ["out: dir", "out/x: before"]);
}

#[tokio::test]
async fn a_target_that_is_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    fs::write(&target, "mine").unwrap();
    let status = send(&target, DirectoryMode::Merge, sample(), echo)
        .await
        .unwrap_err();
    assert!(
        status.message().contains(target.to_str().unwrap()),
        "{status}"
    );
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
}

#[tokio::test]
async fn many_files_are_requested_without_waiting_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let entries: Vec<_> = (0..500)
        .map(|i| entry(&format!("{i:04}"), 0o644, ""))
        .collect();
    send(&target, DirectoryMode::Merge, entries, echo)
        .await
        .unwrap();
    assert_eq!(fs::read_dir(&target).unwrap().count(), 500);
    assert_eq!(fs::read_to_string(target.join("0499")).unwrap(), "0499");
}

#[test]
fn order_is_by_components() {
    let accepted = |paths: &[(&str, bool)]| {
        let mut order = Order::default();
        paths
            .iter()
            .all(|(path, is_dir)| order.check(path, *is_dir).is_ok())
    };
    assert!(accepted(&[("a", true), ("a/b", false), ("a.b", false)]));
    assert!(!accepted(&[("a", true), ("a.b", false), ("a/b", false)]));
    assert!(!accepted(&[("a", false), ("a/b", false)]));
    assert!(accepted(&[
        ("a", true),
        ("a/b", true),
        ("a/b/c", false),
        ("a/d", false),
        ("e", false)
    ]));
}

fn chunks(
    parts: &[&str],
) -> impl futures::Stream<Item = Result<Bytes, Status>> + Unpin + Send + use<> {
    let messages: Vec<_> = parts
        .iter()
        .map(|part| {
            Ok(BytesMessage {
                data: Bytes::copy_from_slice(part.as_bytes()),
            }
            .encode_to_vec()
            .into())
        })
        .collect();
    futures::stream::iter(messages)
}

#[tokio::test]
async fn a_file_appears_when_it_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/out.tar");
    file::to_file(chunks(&["ab", "c"]), path.clone())
        .await
        .unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "abc");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o600,
        0o600
    );

    let broken = chunks(&["xyz"]).chain(futures::stream::iter([Err(Status::unavailable("gone"))]));
    file::to_file(broken, path.clone()).await.unwrap_err();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "abc",
        "an older file survives a failed export"
    );
    assert_eq!(
        fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

/// `/dev/full` answers every write with "no space left on device".
#[tokio::test]
async fn a_full_disk_is_named() {
    let status = file::to_file(chunks(&["abc"]), PathBuf::from("/dev/full"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(
        status.message().starts_with("write /dev/full: "),
        "{status}"
    );
}

#[tokio::test]
async fn a_directory_is_not_overwritten_by_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let status = file::to_file(chunks(&["abc"]), dir.path().to_owned())
        .await
        .unwrap_err();
    assert!(status.message().contains("directory"), "{status}");
}

/// Takes some bytes, then the disk is full.
struct Limited(usize);

impl AsyncWrite for Limited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.0 == 0 {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::StorageFull)));
        }
        let length = data.len().min(self.0);
        self.0 -= length;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_failing_writer_fails_the_export() {
    let status = file::to_writer(chunks(&["abc", "def"]), Limited(4))
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    file::to_writer(chunks(&["abc", "def"]), Limited(6))
        .await
        .unwrap();
}

#[tokio::test]
async fn targets_are_found_by_exporter_index() {
    let targets = FileSendTargets::new();
    let metadata = BTreeMap::new();
    assert!(targets.target("0", &metadata).await.unwrap().is_none());
    targets.set(1, Target::directory("/out"));
    assert!(matches!(
        targets.target("1", &metadata).await.unwrap(),
        Some(Target::Directory { .. })
    ));
    let writer = TargetWriter::new(tokio::io::sink());
    assert!(writer.take().is_some());
    assert!(writer.take().is_none(), "a writer serves one export");
}

#[test]
fn exporter_metadata_is_collected_by_its_prefix() {
    let mut headers = tonic::metadata::MetadataMap::new();
    headers.insert(
        "exporter-md-containerimage.digest",
        "sha256:ab".parse().unwrap(),
    );
    headers.insert("dir-name", "x".parse().unwrap());
    let found = export_metadata(&headers).unwrap();
    assert_eq!(
        found,
        BTreeMap::from([("containerimage.digest".to_owned(), "sha256:ab".to_owned())])
    );
}
