//! Local sources: the walk, the hash against its slow definition, and what a fingerprint notices.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::testing::any_tree;
use crate::tree::{DirTree, MemTree, Tree as _, walk as walk_tree};

#[test]
fn depth_costs_no_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let deep = (0..300).fold(dir.path().to_owned(), |path, _| path.join("d"));
    fs::create_dir_all(&deep).unwrap();
    // Something after each directory makes the walk return to every level.
    let mut at = dir.path().to_owned();
    for _ in 0..300 {
        fs::write(at.join("z"), "").unwrap();
        at = at.join("d");
    }
    let root = Root::open(dir.path()).unwrap();
    let (mut count, mut most) = (0, 0);
    walk(
        &root,
        &Filter::default(),
        Ownership::Root,
        Attributes::OfDirectories,
        &mut |_| {
            count += 1;
            most = most.max(fs::read_dir("/proc/self/fd").unwrap().count());
            true
        },
    )
    .unwrap();
    assert_eq!(count, 600);
    assert!(most < 250, "{most} descriptors");
}

/// A directory with every kind of entry that needs no privilege.
fn sample() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("a/deep")).unwrap();
    fs::write(at("a/file"), "hello").unwrap();
    fs::write(at("a/deep/empty"), "").unwrap();
    fs::write(at("a-b"), vec![7; 700_000]).unwrap();
    fs::hard_link(at("a/file"), at("again")).unwrap();
    std::os::unix::fs::symlink("../outside", at("link")).unwrap();
    dir
}

fn root_digest(source: &Source) -> Digest {
    let context = hash(source, &Options::default()).unwrap();
    context.root_digest().unwrap()
}

#[test]
fn the_digest_is_that_of_the_tree_read_file_by_file() {
    let dir = sample();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let tree = DirTree::new(dir.path()).unwrap();
    let slow = crate::checksum::plain(&tree, Profile::LOCAL, "/").unwrap();
    let context = hash(&Source::new(dir.path()), &Options::default()).unwrap();
    assert_eq!(context.root_digest().unwrap(), slow);
    assert_eq!(context.work.entries, 8);
    // Every name of an inode is read; the socket is not.
    assert_eq!((context.work.read, context.work.bytes), (4, 700_010));
}

#[test]
fn patterns_and_links_decide_what_is_hashed() {
    let dir = sample();
    let partial = Source {
        include: vec!["a".to_owned()],
        exclude: vec!["**/empty".to_owned()],
        ..Source::new(dir.path())
    };
    let before = root_digest(&partial);
    fs::write(dir.path().join("a-b"), "another").unwrap();
    fs::write(dir.path().join("a/deep/empty"), "filled").unwrap();
    assert_eq!(root_digest(&partial), before);
    fs::write(dir.path().join("a/file"), "HELLO").unwrap();
    assert_ne!(root_digest(&partial), before);

    std::os::unix::fs::symlink("a/deep", dir.path().join("to-deep")).unwrap();
    let followed = Source {
        follow: vec!["to-deep/empty".to_owned()],
        ..Source::new(dir.path())
    };
    let sums = hash(&followed, &Options::default()).unwrap().sums;
    assert!(sums.plain("to-deep/empty", false).is_ok());
    assert!(sums.plain("a/file", false).is_err());
}

#[test]
fn a_fingerprint_notices_every_kind_of_change() {
    type Edit = fn(&std::path::Path);
    let edits: [(&str, Edit); 7] = [
        ("a/file", |root| {
            fs::write(root.join("a/file"), "HELLO").unwrap();
        }),
        ("a/new", |root| fs::write(root.join("a/new"), "").unwrap()),
        ("a/deep/empty", |root| {
            fs::remove_file(root.join("a/deep/empty")).unwrap();
        }),
        ("a-b", |root| {
            fs::rename(root.join("a/file"), root.join("a-b")).unwrap();
        }),
        ("a/deep", |root| {
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(root.join("a/deep"), private).unwrap();
        }),
        ("link", |root| {
            fs::remove_file(root.join("link")).unwrap();
            std::os::unix::fs::symlink("elsewhere", root.join("link")).unwrap();
        }),
        ("z", |root| fs::write(root.join("z"), "").unwrap()),
    ];
    for (path, edit) in edits {
        let dir = sample();
        let context = hash(&Source::new(dir.path()), &Options::default()).unwrap();
        assert!(context.fingerprint.unchanged().unwrap());
        edit(dir.path());
        let change = context.fingerprint.first_change().unwrap();
        // A rename shows first where the name was.
        let expected = if path == "a-b" { "a/file" } else { path };
        assert_eq!(change.as_deref(), Some(expected));
    }
}

#[test]
fn the_tree_of_a_source_hashes_like_the_source_without_reading() {
    let dir = sample();
    let source = Source {
        exclude: vec!["a-b".to_owned()],
        ..Source::new(dir.path())
    };
    let context = hash(&source, &Options::default()).unwrap();
    let names = |path: &str| context.tree.list(path.as_ref());
    assert_eq!(names("").unwrap(), ["a", "again", "link"]);
    assert_eq!(names("a").unwrap(), ["deep", "file"]);
    assert!(names("again").is_err());
    let group = |path: &str| context.tree.link_group(path.as_ref()).unwrap();
    assert!(group("again").is_some());
    assert_eq!(group("again"), group("a/file"));
    // Without the files there is nothing to read.
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    let profile = Profile::LOCAL;
    let again = Checksums::new(&context.tree, profile).unwrap();
    let digest = context.root_digest().unwrap();
    assert_eq!(again.plain("/", false).unwrap(), digest);
    // Another owner is another header, for which the data is needed.
    let owner = Some((1, 1));
    let other = Checksums::new(&context.tree, Profile { owner, ..profile }).unwrap();
    assert!(other.plain("/a", false).is_err());
    assert_ne!(
        other.plain("/link", false).unwrap(),
        again.plain("/link", false).unwrap()
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    // Reading a process's memory from address 0 fails for everybody.
    let source = Source {
        include: vec!["mem".to_owned()],
        ..Source::new("/proc/self")
    };
    let error = hash(&source, &Options::default())
        .err()
        .unwrap()
        .to_string();
    assert!(error.starts_with("read /proc/self/mem: "), "{error}");
    let error = hash(&Source::new("/nonexistent"), &Options::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("/nonexistent"), "{error}");
}

#[test]
fn a_file_that_is_written_while_it_is_read_never_gives_a_wrong_proof() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    fs::write(&file, "").unwrap();
    let (stop, mut proven, mut refused) = (AtomicBool::new(false), 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let data = [vec![b'a'; 300_000], vec![b'b'; 300_000]];
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                fs::write(&file, &data[round % 2]).unwrap();
            }
        });
        for _ in 0..100 {
            match hash(&Source::new(dir.path()), &Options::default()) {
                Ok(context) => proven += usize::from(context.fingerprint.unchanged().unwrap()),
                Err(ContextError::Changing(path)) => {
                    assert_eq!(path, file);
                    refused += 1;
                }
                Err(e) => panic!("{e}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(
        proven < 100 || refused > 0,
        "the writer never got in between"
    );
    let context = hash(&Source::new(dir.path()), &Options::default()).unwrap();
    let tree = DirTree::new(dir.path()).unwrap();
    let truth = crate::checksum::plain(&tree, Profile::LOCAL, "/").unwrap();
    assert_eq!(context.root_digest().unwrap(), truth);
    assert!(context.fingerprint.unchanged().unwrap());
}

#[test]
fn names_of_any_bytes_but_utf8_only_if_they_are_sent() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("new\nline \u{e9}"), "x").unwrap();
    let tree = DirTree::new(dir.path()).unwrap();
    let slow = crate::checksum::plain(&tree, Profile::LOCAL, "/").unwrap();
    let all = Source::new(dir.path());
    assert_eq!(root_digest(&all), slow);
    for name in [&b"bad\xff.log"[..], b"\xff.log"] {
        let path = dir.path().join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, "x").unwrap();
        let error = hash(&all, &Options::default()).err().unwrap();
        assert!(matches!(error, ContextError::NotUtf8(_)), "{error}");
        let without = Source {
            exclude: vec!["*.log".to_owned()],
            ..all.clone()
        };
        assert_eq!(root_digest(&without), slow);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn nesting_beyond_any_path_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut at = Root::open(dir.path()).unwrap().open_dir("").unwrap();
    for _ in 0..2_100 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        at = rustix::fs::openat(&at, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    let error = hash(&Source::new(dir.path()), &Options::default())
        .err()
        .unwrap();
    assert!(matches!(error, ContextError::TooLong(_)), "{error}");
    // The standard library would need a descriptor for each level.
    let removed = std::process::Command::new("rm")
        .arg("-rf")
        .arg(dir.path())
        .status();
    assert!(removed.unwrap().success());
}

#[test]
fn links_that_lead_in_circles_are_only_links() {
    let dir = tempfile::tempdir().unwrap();
    for (link, target) in [("a", "b"), ("b", "a"), ("self", "."), ("up", "..")] {
        std::os::unix::fs::symlink(target, dir.path().join(link)).unwrap();
    }
    let source = Source {
        follow: vec!["a/x".to_owned(), "self/self/self/b".to_owned()],
        ..Source::new(dir.path())
    };
    let sums = hash(&source, &Options::default()).unwrap().sums;
    let error = sums.plain("/a", true).unwrap_err().to_string();
    assert_eq!(error, "\"/a\": too many links");
    assert!(sums.plain("/self", false).is_ok());
}

/// Creates the files of a tree; directories stay accessible to whoever runs the test.
fn write(tree: &MemTree, root: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let found = walk_tree(tree, "".as_ref()).unwrap();
    for (path, meta) in &found[1..] {
        let full = root.join(path);
        match &meta.kind {
            Kind::Dir => fs::create_dir(&full).unwrap(),
            Kind::Symlink { target } => std::os::unix::fs::symlink(target, &full).unwrap(),
            Kind::File { .. } => {
                let mut data = tree.open(path).unwrap();
                std::io::copy(&mut data, &mut fs::File::create(&full).unwrap()).unwrap();
            }
            _ => {
                let mode = rustix::fs::Mode::RUSR;
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, &full, kind, mode, 0).unwrap();
            }
        }
        if !matches!(meta.kind, Kind::Symlink { .. }) {
            let mode = meta.mode & 0o777 | 0o700;
            fs::set_permissions(&full, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// The definition of the digest of a directory that was sent, written down recursively.
fn naive(tree: &DirTree, path: &std::path::Path) -> Digest {
    let mut meta = tree.stat(path).unwrap();
    (meta.uid, meta.gid) = (0, 0);
    let mut bytes = crate::checksum::header_bytes(&meta, &Profile::LOCAL);
    if !meta.is_dir() {
        if matches!(meta.kind, Kind::File { .. }) {
            std::io::copy(&mut tree.open(path).unwrap(), &mut bytes).unwrap();
        }
        return Digest::sha256(bytes);
    }
    if path.as_os_str().is_empty() {
        bytes.clear();
    }
    let mut list = format!("\0{}", Digest::sha256(bytes)).into_bytes();
    for name in tree.list(path).unwrap() {
        list.push(0);
        list.extend(std::os::unix::ffi::OsStrExt::as_bytes(&*name));
        list.extend(naive(tree, &path.join(name)).as_str().bytes());
    }
    Digest::sha256(list)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_fast_digest_is_the_slow_one(tree in any_tree()) {
        let dir = tempfile::tempdir().unwrap();
        write(&tree, dir.path());
        let disk = DirTree::new(dir.path()).unwrap();
        let slow = naive(&disk, "".as_ref());
        let context = hash(&Source::new(dir.path()), &Options::default()).unwrap();
        prop_assert_eq!(context.root_digest().unwrap(), slow);
        for (path, _) in walk_tree(&disk, "".as_ref()).unwrap() {
            let text = path.to_str().unwrap();
            prop_assert_eq!(context.sums.plain(text, false).unwrap(), naive(&disk, &path));
        }
    }
}
