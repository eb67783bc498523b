//! Layers: what a diff lists, and that applying it is its inverse.

use super::*;
use crate::content::{ContentStore, Memory, open as open_blob, put};
use crate::tar::{Limits, Owner, Policy, Reader};
use crate::testing::{any_tree, is_root, lines, two_trees};
use crate::tree::{DirTree, MemTree};
use proptest::prelude::*;
use std::io::Read as _;

fn exact(compression: Compression) -> Options {
    Options {
        compression,
        times: Times::Exact,
        owner: None,
    }
}

fn paths(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|c| c.path().to_str().unwrap()).collect()
}

/// Root applies everything; anyone else what an ordinary user can.
fn policy() -> Policy {
    if is_root() {
        Policy::layer()
    } else {
        Policy::unprivileged_layer()
    }
}

#[test]
fn a_diff_lists_what_changed_with_its_parents() {
    let lower = MemTree::new()
        .file("etc/passwd", 0o644, "root")
        .file("etc/keep", 0o644, "k")
        .file("var/a/b/c", 0o644, "c")
        .file("dir-to-file/x", 0o644, "x")
        .file("file-to-dir", 0o644, "f");
    let upper = MemTree::new()
        .file("etc/passwd", 0o600, "root")
        .file("etc/keep", 0o644, "k")
        .dir("var", 0o755)
        .file("dir-to-file", 0o644, "x")
        .file("file-to-dir/x", 0o644, "f");
    let changes = diff(Some(&lower), &upper).unwrap();
    let expected = [
        "dir-to-file",
        "etc",
        "etc/passwd",
        "file-to-dir",
        "file-to-dir/x",
        "var",
        "var/.wh.a",
    ];
    assert_eq!(paths(&changes), expected);
    assert_eq!(diff(Some(&upper), &upper).unwrap(), []);
    assert_eq!(paths(&diff(None, &lower).unwrap()).len(), lower.len() - 1);
    let root = MemTree::new().dir("", 0o700);
    assert_eq!(paths(&diff(None, &root).unwrap()), [""]);
}

#[test]
fn equal_times_hide_no_change_of_content() {
    let lower = MemTree::new().file("f", 0o644, "aaaa");
    let upper = MemTree::new().file("f", 0o644, "aaab");
    assert_eq!(paths(&diff(Some(&lower), &upper).unwrap()), ["f"]);
}

#[test]
fn names_that_would_delete_are_refused() {
    let tree = MemTree::new().file("a/.wh.b", 0o644, "");
    let error = from_trees(&Memory::new(), None, &tree, &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/a/.wh.b: names that start with `.wh.` cannot be stored in a layer"
    );
}

#[test]
fn hard_links_stay_together() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    for root in [&lower, &upper] {
        std::fs::create_dir(root).unwrap();
        std::fs::write(root.join("b"), "data").unwrap();
        let file = std::fs::File::options()
            .write(true)
            .open(root.join("b"))
            .unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let folder = std::fs::File::open(root).unwrap();
        folder.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    std::fs::hard_link(upper.join("b"), upper.join("a")).unwrap();
    let upper = DirTree::new(&upper).unwrap();
    let changes = diff(Some(&DirTree::new(&lower).unwrap()), &upper).unwrap();
    assert_eq!(paths(&changes), ["a", "b"]);
    assert!(matches!(&changes[1], Change::Link { target, .. } if target == Path::new("a")));
    let store = Memory::new();
    let layer = from_trees(&store, None, &upper, &Options::default()).unwrap();
    let target = tempfile::tempdir().unwrap();
    apply(&store, &layer.digest, None, target.path(), &policy()).unwrap();
    let inode = |name| std::fs::metadata(target.path().join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
}

#[test]
fn the_same_tree_gives_the_same_layer() {
    let tree = MemTree::new()
        .file("bin/tool", 0o755, vec![7; 100_000])
        .symlink("sbin", "bin");
    let store = Memory::new();
    let mut diff_ids = Vec::new();
    for compression in [
        Compression::None,
        Compression::Gzip(9),
        Compression::Zstd(3),
    ] {
        let once = from_trees(&store, None, &tree, &exact(compression)).unwrap();
        let again = from_trees(&store, None, &tree, &exact(compression)).unwrap();
        assert_eq!(once, again);
        assert_eq!(store.info(&once.digest).unwrap().size, once.size);
        assert_eq!(diff_id(&store, &once.digest).unwrap(), once.diff_id);
        diff_ids.push(once.diff_id);
    }
    assert!(diff_ids.iter().all(|id| *id == diff_ids[0]));
    // A golden: changes of the archive format would change every image we build.
    expect_test::expect!["sha256:7068d8f30be4d71aaf41507f91aea622c02e33e44019c3bb28e4aa14b04f4fab"]
        .assert_eq(diff_ids[0].as_str());
}

#[test]
fn times_and_owners_can_be_fixed() {
    let mut meta = Meta::new(Kind::File { size: 0 }, 0o644);
    meta.mtime = Time {
        secs: 100,
        nanos: 5,
    };
    meta.uid = 7;
    let tree = MemTree::new().entry("f", meta, Vec::new());
    let written = |times, owner| {
        let store = Memory::new();
        let options = Options {
            compression: Compression::None,
            times,
            owner,
        };
        let layer = from_trees(&store, None, &tree, &options).unwrap();
        let mut reader = Reader::new(open_blob(&store, &layer.digest).unwrap());
        let meta = reader.next_entry().unwrap().unwrap().meta;
        (meta.mtime, meta.uid)
    };
    assert_eq!(
        written(Times::Exact, None),
        (
            Time {
                secs: 100,
                nanos: 5
            },
            7
        )
    );
    assert_eq!(
        written(Times::Seconds, Some((0, 0))),
        (Time::from_secs(100), 0)
    );
    assert_eq!(written(Times::Clamped(50), None).0, Time::from_secs(50));
    assert_eq!(written(Times::Clamped(200), None).0, Time::from_secs(100));
    assert_eq!(written(Times::Fixed(0), None).0, Time::from_secs(0));
}

#[test]
fn damaged_and_foreign_layers_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path().join("store")).unwrap();
    let tree = MemTree::new().file("f", 0o644, vec![1; 50_000]);
    for compression in [
        Compression::None,
        Compression::Gzip(1),
        Compression::Zstd(1),
    ] {
        let layer = from_trees(&store, None, &tree, &exact(compression)).unwrap();
        let target = tempfile::tempdir().unwrap();
        let wrong = Digest::sha256("wrong");
        let apply = |digest: &Digest, expected: Option<&Digest>| {
            super::apply(&store, digest, expected, target.path(), &policy())
                .unwrap_err()
                .to_string()
        };
        let error = apply(&layer.digest, Some(&wrong));
        assert!(error.contains("diff id"), "{error}");
        assert!(apply(&wrong, None).contains("not found"));
        // Cut and flip bytes behind the store's back.
        let path = store.blob_path(&layer.digest);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert!(apply(&layer.digest, None).contains("layer has digest"));
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 0x40;
        std::fs::write(&path, &flipped).unwrap();
        let error = apply(&layer.digest, None);
        assert!(error.contains("layer"), "{error}");
        std::fs::write(&path, &good).unwrap();
    }
    let junk = put(&store, b"this is no archive at all", &Expected::ANY).unwrap();
    assert!(apply(&store, &junk.digest, None, dir.path(), &policy()).is_err());
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let store = Memory::new();
    let tree = MemTree::new().file("zeros", 0o644, vec![0; 3_000_000]);
    let layer = from_trees(&store, None, &tree, &Options::default()).unwrap();
    assert!(layer.size < 10_000);
    let limits = Limits {
        entries: 10,
        bytes: 1_000_000,
    };
    let small = Policy {
        limits,
        owner: Owner::Current,
        ..Policy::layer()
    };
    let target = tempfile::tempdir().unwrap();
    let error = apply(&store, &layer.digest, None, target.path(), &small).unwrap_err();
    assert!(error.to_string().contains("1000000 bytes"), "{error}");
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
}

#[test]
fn a_failing_source_stores_nothing() {
    let store = Memory::new();
    let result = create(&store, Compression::None, |writer| {
        writer.append(Path::new("d"), &Meta::new(Kind::Dir, 0o755))?;
        Err(io::Error::other("source failed").into())
    });
    assert!(result.unwrap_err().to_string().contains("source failed"));
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn layers_of_several_compressed_members_are_read_whole() {
    let store = Memory::new();
    let tree = MemTree::new().file("f", 0o644, "data");
    let plain = from_trees(&store, None, &tree, &exact(Compression::None)).unwrap();
    let mut archive = Vec::new();
    open_blob(&store, &plain.digest)
        .unwrap()
        .read_to_end(&mut archive)
        .unwrap();
    let mut members = Vec::new();
    for half in [&archive[..700], &archive[700..]] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(half).unwrap();
        members.extend(encoder.finish().unwrap());
    }
    let blob = put(&store, &members, &Expected::ANY).unwrap();
    assert_eq!(diff_id(&store, &blob.digest).unwrap(), plain.diff_id);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn applying_a_diff_gives_the_upper_tree((lower, upper) in two_trees()) {
        // Owners and special modes need root; the tests of CI run as root in a container.
        if is_root() {
            let store = Memory::new();
            let dir = tempfile::tempdir().unwrap();
            let options = exact(Compression::Zstd(1));
            let base = from_trees(&store, None, &lower, &options).unwrap();
            let layer = from_trees(&store, Some(&lower), &upper, &options).unwrap();
            // The default mode of a temporary directory is not that of a root.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(dir.path(), mode).unwrap();
            for layer in [&base, &layer] {
                let id = Some(&layer.diff_id);
                apply(&store, &layer.digest, id, dir.path(), &policy()).unwrap();
            }
            prop_assert_eq!(lines(&DirTree::new(dir.path()).unwrap()), lines(&upper));
        }
    }

    #[test]
    fn a_tree_does_not_differ_from_itself(tree in any_tree()) {
        prop_assert_eq!(diff(Some(&tree), &tree).unwrap(), vec![]);
    }
}
