//! The sender against a receiver in memory: what arrives for which tree, and what ends a transfer.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use proptest::prelude::*;
use proto::fsutil::packet::PacketType;
use proto::fsutil::{Packet, Stat};
use snapshots::beneath::Root;
use snapshots::context::{Attributes, Filter, Ownership, follow_paths, walk};
use snapshots::tree::Time;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::send::{self, Packets};
use super::{LocalDir, LocalDirProvider, LocalDirs, Transfer, Transferred, Watched};
use crate::backend::session::filesend::Order;
use crate::backend::session::gomode;

/// What a transfer delivered.
#[derive(Debug, Default)]
struct Received {
    entries: Vec<Stat>,
    /// Content by path, of the files that were requested.
    content: BTreeMap<String, Vec<u8>>,
}

impl Received {
    fn paths(&self) -> Vec<&str> {
        self.entries.iter().map(|e| e.path.as_str()).collect()
    }

    fn entry(&self, path: &str) -> &Stat {
        self.entries
            .iter()
            .find(|e| e.path == path)
            .unwrap_or_else(|| panic!("no {path}"))
    }
}

type Requests = mpsc::Sender<Result<Packet, Status>>;

fn packet(kind: PacketType, id: u32) -> Result<Packet, Status> {
    Ok(Packet {
        r#type: kind.into(),
        id,
        ..Packet::default()
    })
}

fn start(
    root: &Path,
    include: &[&str],
    exclude: &[&str],
    ownership: Ownership,
) -> (Requests, Packets) {
    start_watched(root, include, exclude, ownership, &Arc::default())
}

/// Keeps what it is told of transfers.
#[derive(Default)]
struct Ended(Mutex<Vec<Transfer>>);

impl Ended {
    /// The one transfer; its end is told after the last packet.
    async fn only(&self) -> Transfer {
        loop {
            if let [transfer] = &self.0.lock().unwrap()[..] {
                return transfer.clone();
            }
            tokio::task::yield_now().await;
        }
    }
}

impl LocalDirProvider for Ended {
    fn local_dir(&self, _: &str) -> Option<LocalDir> {
        None
    }

    fn transferred(&self, _: &str, transfer: &Transfer) {
        self.0.lock().unwrap().push(transfer.clone());
    }
}

fn start_watched(
    root: &Path,
    include: &[&str],
    exclude: &[&str],
    ownership: Ownership,
    ended: &Arc<Ended>,
) -> (Requests, Packets) {
    let provider: Arc<dyn LocalDirProvider> = Arc::<Ended>::clone(ended);
    let owned = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let filter = Filter::new(&owned(include), &owned(exclude)).unwrap();
    let (requests, inbound) = mpsc::channel(16);
    (
        requests,
        send::start(
            ReceiverStream::new(inbound),
            Root::open(root).unwrap(),
            filter,
            ownership,
            Watched::new(&provider, "test"),
        ),
    )
}

#[tokio::test]
async fn the_end_tells_which_files_the_daemon_relied_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("asked"), "a").unwrap();
    fs::write(dir.path().join("kept"), "k").unwrap();
    fs::hard_link(dir.path().join("asked"), dir.path().join("name")).unwrap();
    let kept = fs::metadata(dir.path().join("kept")).unwrap();
    let kept = Time {
        secs: kept.ctime(),
        nanos: u32::try_from(kept.ctime_nsec()).unwrap(),
    };
    fs::create_dir(dir.path().join("zoo")).unwrap();
    for ids in [&[0][..], &[0, 1]] {
        let ended = Arc::<Ended>::default();
        let (requests, mut packets) = start_watched(dir.path(), &[], &[], Ownership::Root, &ended);
        while packets.next().await.unwrap().unwrap().stat.is_some() {}
        for id in ids {
            requests
                .send(packet(PacketType::PacketReq, *id))
                .await
                .unwrap();
        }
        requests
            .send(packet(PacketType::PacketFin, 0))
            .await
            .unwrap();
        packets.map(Result::unwrap).collect::<Vec<_>>().await;
        let transfer = ended.only().await;
        assert!(transfer.complete);
        let [asked, other, name, zoo] = transfer.entries[..] else {
            panic!("{transfer:?}")
        };
        assert!(matches!(asked, Transferred::Sent { .. }));
        assert!(
            matches!(name, Transferred::Sent { .. }),
            "content of another name"
        );
        assert!(matches!(zoo, Transferred::Directory { .. }));
        match other {
            Transferred::Kept { changed, .. } => assert_eq!((ids.len(), changed), (1, kept)),
            _ => assert_eq!(ids.len(), 2),
        }
    }
    let ended = Arc::<Ended>::default();
    let (requests, packets) = start_watched(dir.path(), &[], &[], Ownership::Root, &ended);
    drop(requests);
    packets.collect::<Vec<_>>().await;
    assert!(!ended.only().await.complete);
}

/// Plays the daemon: checks the order, requests every file, collects contents, and says goodbye.
async fn receive(
    requests: Requests,
    mut packets: impl Stream<Item = Result<Packet, Status>> + Unpin,
) -> Result<Received, Status> {
    let mut received = Received::default();
    let mut order = Order::default();
    let (mut listed, mut outstanding) = (false, 0usize);
    while let Some(packet_in) = packets.next().await {
        let packet_in = packet_in?;
        match (packet_in.r#type(), packet_in.stat) {
            (PacketType::PacketStat, None) => listed = true,
            (PacketType::PacketStat, Some(entry)) => {
                let is_dir = entry.mode & gomode::DIR != 0;
                order
                    .check(&entry.path, is_dir)
                    .expect("the listing is in order");
                if gomode::has_content(entry.mode) && entry.linkname.is_empty() {
                    let id = u32::try_from(received.entries.len()).unwrap();
                    requests
                        .send(packet(PacketType::PacketReq, id))
                        .await
                        .unwrap();
                    outstanding += 1;
                }
                received.entries.push(entry);
            }
            (PacketType::PacketData, _) => {
                let path = received.entries[packet_in.id as usize].path.clone();
                assert!(packet_in.data.len() <= 32 * 1024);
                if packet_in.data.is_empty() {
                    outstanding -= 1;
                }
                received
                    .content
                    .entry(path)
                    .or_default()
                    .extend_from_slice(&packet_in.data);
            }
            (PacketType::PacketFin, _) => return Ok(received),
            (PacketType::PacketErr, _) => {}
            (kind, _) => panic!("unexpected {kind:?}"),
        }
        if listed && outstanding == 0 {
            requests
                .send(packet(PacketType::PacketFin, 0))
                .await
                .unwrap();
        }
    }
    panic!("the stream ended without FIN");
}

async fn transfer(root: &Path, include: &[&str], exclude: &[&str]) -> Result<Received, Status> {
    let (requests, packets) = start(root, include, exclude, Ownership::Root);
    receive(requests, packets).await
}

fn tree(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file.as_bytes()).unwrap();
    }
    dir
}

#[tokio::test]
async fn a_tree_arrives_in_order_with_content() {
    // In plain byte order `a.txt` sorts before `a/b`; by components it comes after.
    let dir = tree(&["a/b", "a.txt", "a/c/d", "z"]);
    fs::write(dir.path().join("big"), vec![7; 100_000]).unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    let got = transfer(dir.path(), &[], &[]).await.unwrap();
    assert_eq!(
        got.paths(),
        ["a", "a/b", "a/c", "a/c/d", "a.txt", "big", "empty", "z"]
    );
    assert_eq!(got.content["a/c/d"], b"a/c/d");
    assert_eq!(got.content["big"], vec![7; 100_000]);
    assert_eq!(got.content["empty"], b"");
    assert_eq!(got.entry("big").size, 100_000);
}

#[tokio::test]
async fn attributes_are_those_of_the_disk_and_owners_are_mapped() {
    let dir = tree(&["f"]);
    let file = dir.path().join("f");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4711)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 123_456_789);
    fs::File::open(&file).unwrap().set_modified(time).unwrap();
    symlink("../elsewhere", dir.path().join("l")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("p"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let got = transfer(dir.path(), &[], &[]).await.unwrap();
    let entry = got.entry("f");
    assert_eq!(entry.mode, gomode::SETUID | 0o711);
    assert_eq!(entry.mod_time, 1_700_000_000_123_456_789);
    assert_eq!((entry.uid, entry.gid), (0, 0));
    assert_eq!(got.entry("l").linkname, "../elsewhere");
    assert_eq!(got.entry("l").mode & gomode::SYMLINK, gomode::SYMLINK);
    assert_eq!(got.entry("p").mode, gomode::NAMED_PIPE | 0o600);

    let (requests, packets) = start(dir.path(), &[], &[], Ownership::Fixed { uid: 7, gid: 8 });
    let got = receive(requests, packets).await.unwrap();
    assert_eq!((got.entry("f").uid, got.entry("f").gid), (7, 8));
}

#[tokio::test]
async fn extended_attributes_are_sent() {
    let dir = tree(&["plain", "tagged"]);
    let path = dir.path().join("tagged");
    match rustix::fs::setxattr(
        &path,
        "user.origin",
        b"here",
        rustix::fs::XattrFlags::empty(),
    ) {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP) => return,
        Err(e) => panic!("{e}"),
    }
    let got = transfer(dir.path(), &[], &[]).await.unwrap();
    assert_eq!(
        got.entry("tagged")
            .xattrs
            .get("user.origin")
            .map(|v| &v[..]),
        Some(&b"here"[..])
    );
    assert!(!got.entry("plain").xattrs.contains_key("user.origin"));
}

#[tokio::test]
async fn further_names_of_an_inode_are_links_to_the_first_listed_one() {
    let dir = tree(&["a", "x/other"]);
    fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
    fs::hard_link(dir.path().join("a"), dir.path().join("x/c")).unwrap();
    let got = transfer(dir.path(), &[], &[]).await.unwrap();
    assert_eq!(
        (
            got.entry("a").linkname.as_str(),
            got.entry("b").linkname.as_str()
        ),
        ("", "a")
    );
    assert_eq!(got.entry("x/c").linkname, "a");
    assert!(!got.content.contains_key("b"));
    // Without the first name, the next one takes its place.
    let got = transfer(dir.path(), &[], &["a"]).await.unwrap();
    assert_eq!(
        (
            got.entry("b").linkname.as_str(),
            got.entry("x/c").linkname.as_str()
        ),
        ("", "b")
    );
    assert_eq!(got.content["b"], b"a");
}

#[tokio::test]
async fn a_socket_is_an_empty_file() {
    let dir = tree(&["f"]);
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
    let got = transfer(dir.path(), &[], &[]).await.unwrap();
    assert!(gomode::has_content(got.entry("s").mode));
    assert_eq!(got.content["s"], b"");
}

#[tokio::test]
async fn parents_of_included_files_are_announced() {
    let dir = tree(&["a/b/keep.rs", "a/b/drop.txt", "a/c/drop.txt", "top.rs"]);
    let got = transfer(dir.path(), &["**/*.rs"], &[]).await.unwrap();
    assert_eq!(got.paths(), ["a", "a/b", "a/b/keep.rs", "top.rs"]);
}

#[tokio::test]
async fn exceptions_bring_back_files_of_an_excluded_directory() {
    let dir = tree(&["vendor/a", "vendor/keep/b", "src"]);
    let got = transfer(dir.path(), &[], &["vendor", "!vendor/keep"])
        .await
        .unwrap();
    assert_eq!(
        got.paths(),
        ["src", "vendor", "vendor/keep", "vendor/keep/b"]
    );
}

#[tokio::test]
async fn links_do_not_lead_out_of_the_root() {
    let outer = tree(&["secret/key", "root/f"]);
    let root = outer.path().join("root");
    symlink("../secret", root.join("dir")).unwrap();
    symlink("../secret/key", root.join("file")).unwrap();
    let got = transfer(&root, &[], &[]).await.unwrap();
    assert_eq!(got.paths(), ["dir", "f", "file"]);
    assert_eq!(got.content.keys().collect::<Vec<_>>(), ["f"]);
    let paths = follow_paths(&Root::open(&root).unwrap(), vec![], &["dir/key".into()]).unwrap();
    assert_eq!(
        paths,
        ["dir", "secret/key"],
        "an absolute or climbing link is resolved inside the root"
    );
}

/// Pauses between listing and request, so that the file can be changed in between.
async fn list_then(change: impl FnOnce(), root: &Path) -> (Requests, Packets, u32) {
    let (requests, mut packets) = start(root, &[], &[], Ownership::Root);
    let mut id = None;
    for number in 0.. {
        let listed = packets.next().await.unwrap().unwrap();
        match listed.stat {
            Some(entry) if entry.path == "f" => id = Some(number),
            Some(_) => {}
            None => break,
        }
    }
    change();
    (requests, packets, id.unwrap())
}

#[tokio::test]
async fn a_file_that_vanished_or_became_a_link_is_sent_empty() {
    for replace_by_link in [false, true] {
        let outer = tree(&["secret", "root/f"]);
        let file = outer.path().join("root/f");
        let change = || {
            fs::remove_file(&file).unwrap();
            if replace_by_link {
                symlink("../secret", &file).unwrap();
            }
        };
        let (requests, mut packets, id) = list_then(change, &outer.path().join("root")).await;
        requests
            .send(packet(PacketType::PacketReq, id))
            .await
            .unwrap();
        let answer = packets.next().await.unwrap().unwrap();
        assert_eq!(
            (answer.r#type(), answer.id, answer.data.len()),
            (PacketType::PacketData, id, 0)
        );
    }
}

#[tokio::test]
async fn a_file_that_grew_is_sent_as_it_is_now() {
    let dir = tree(&["f"]);
    let change = || fs::write(dir.path().join("f"), vec![1; 40_000]).unwrap();
    let (requests, mut packets, id) = list_then(change, dir.path()).await;
    requests
        .send(packet(PacketType::PacketReq, id))
        .await
        .unwrap();
    let mut total = 0;
    loop {
        let answer = packets.next().await.unwrap().unwrap();
        if answer.data.is_empty() {
            break;
        }
        total += answer.data.len();
    }
    assert_eq!(total, 40_000);
}

#[tokio::test]
async fn a_request_for_something_without_content_ends_the_transfer() {
    let dir = tree(&["d/x", "f"]);
    let (requests, mut packets, id) = list_then(|| {}, dir.path()).await;
    requests
        .send(packet(PacketType::PacketReq, 0))
        .await
        .unwrap();
    let status = loop {
        match packets.next().await.unwrap() {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert!(status.message().contains("entry 0"), "{status}");
    assert!(packets.next().await.is_none());
    assert_ne!(id, 0);
}

#[tokio::test]
async fn the_receivers_error_and_an_early_end_are_reported() {
    let dir = tree(&["f"]);
    let (requests, mut packets, _) = list_then(|| {}, dir.path()).await;
    let text = Packet {
        r#type: PacketType::PacketErr.into(),
        data: "disk full".into(),
        ..Packet::default()
    };
    requests.send(Ok(text)).await.unwrap();
    assert_eq!(
        packets.next().await.unwrap().unwrap_err().message(),
        "error from receiver: disk full"
    );

    let (requests, mut packets, _) = list_then(|| {}, dir.path()).await;
    drop(requests);
    assert!(
        packets
            .next()
            .await
            .unwrap()
            .unwrap_err()
            .message()
            .contains("before it was complete")
    );
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_an_error_unless_excluded() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tree(&["f"]);
    fs::write(
        dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff.log")),
        "",
    )
    .unwrap();
    let (_requests, packets) = start(dir.path(), &[], &[], Ownership::Root);
    let status = packets
        .filter_map(|p| async { p.err() })
        .boxed()
        .next()
        .await
        .unwrap();
    assert!(status.message().contains("UTF-8"), "{status}");
    assert_eq!(
        transfer(dir.path(), &[], &["*.log"]).await.unwrap().paths(),
        ["f"]
    );
}

/// The error is sent twice: as a packet for the daemon's progress, and as the status of the call.
#[tokio::test]
async fn an_unreadable_directory_is_named() {
    // Root can read everything, so the error is made by a path that is too long for a system call.
    let dir = tempfile::tempdir().unwrap();
    let mut at = Root::open(dir.path()).unwrap().open_dir("").unwrap();
    let name = "n".repeat(200);
    for _ in 0..25 {
        rustix::fs::mkdirat(&at, name.as_str(), rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        at = rustix::fs::openat(&at, name.as_str(), flags, rustix::fs::Mode::empty()).unwrap();
    }
    let (_requests, packets) = start(dir.path(), &[], &[], Ownership::Root);
    let seen: Vec<_> = packets.collect().await;
    let text = seen.iter().rev().find_map(|p| p.as_ref().ok()).unwrap();
    assert_eq!(text.r#type(), PacketType::PacketErr);
    let status = seen.last().unwrap().as_ref().unwrap_err();
    assert!(
        status.message().contains("longer than 4096 bytes"),
        "{status}"
    );
}

#[test]
fn directories_are_found_by_their_current_name() {
    let dirs = LocalDirs::new();
    assert!(dirs.local_dir("context").is_none());
    dirs.insert("context", LocalDir::new("/src"));
    assert_eq!(dirs.local_dir("context").unwrap().root, Path::new("/src"));
}

/// Random trees out of few names, with the characters that sort around the separator.
fn names() -> impl Strategy<Value = Vec<Vec<&'static str>>> {
    let name = prop::sample::select(vec!["a", "a.b", "a-", "A", "b", "a b", "ä", "0"]);
    prop::collection::vec(prop::collection::vec(name, 1..4), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_listing_is_in_protocol_order_and_complete(paths in names()) {
        let dir = tempfile::tempdir().unwrap();
        for path in &paths {
            let full = dir.path().join(path.join("/"));
            // A path may run through a file of an earlier one; then it is left out.
            if full.parent().is_some_and(|p| fs::create_dir_all(p).is_ok()) && !full.exists() {
                fs::write(full, "").unwrap();
            }
        }
        let expected = walkdir::WalkDir::new(dir.path()).min_depth(1).into_iter().count();
        let mut order = Order::default();
        let mut count = 0;
        let root = Root::open(dir.path()).unwrap();
        let outcome = walk(&root, &Filter::default(), Ownership::Root, Attributes::All, &mut |entry| {
            count += 1;
            order.check(&entry.path, entry.meta.is_dir()).is_ok()
        });
        prop_assert!(outcome.is_ok());
        prop_assert_eq!(count, expected);
    }
}
