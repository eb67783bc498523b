//! Local sources: the walk, the hash against its slow definition, and what a fingerprint notices.

use std::fs;

use super::*;

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

use crate::tree::DirTree;

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
