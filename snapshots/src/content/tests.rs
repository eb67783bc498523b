//! Blobs: what is published, what is refused, what is left behind.

use super::*;
use crate::digest::{Algorithm, Hasher};
use std::io::{Read, Write};

fn store() -> (tempfile::TempDir, ContentStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path().join("store")).unwrap();
    (dir, store)
}

/// Files left in the folder of unfinished blobs.
fn unfinished(store: &ContentStore) -> usize {
    std::fs::read_dir(store.root().join("ingest"))
        .unwrap()
        .count()
}

#[test]
fn a_blob_is_found_under_its_digest() {
    let (_dir, store) = store();
    let info = put(&store, b"hello", &Expected::ANY).unwrap();
    assert_eq!(info.digest, Digest::sha256("hello"));
    let path = store.root().join("blobs/sha256").join(info.digest.hex());
    assert_eq!(std::fs::read(path).unwrap(), b"hello");
    assert_eq!(store.info(&info.digest).unwrap().size, 5);
    assert_eq!(read_all(&store, &info.digest, 5).unwrap(), b"hello");
    let mut buf = [0; 10];
    let blob = store.reader_at(&info.digest).unwrap();
    assert_eq!(blob.read_at(&mut buf, 3).unwrap(), 2);
    assert_eq!(blob.read_at(&mut buf, 99).unwrap(), 0);
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(unfinished(&store), 0);
}

#[test]
fn wrong_bytes_are_never_published() {
    let (_dir, store) = store();
    let good = Digest::sha256("good");
    let digest = put(&store, b"evil", &Expected::exactly(good.clone(), 4)).unwrap_err();
    assert!(
        matches!(digest, ContentError::DigestMismatch { .. }),
        "{digest}"
    );
    let short = put(&store, b"goo", &Expected::exactly(good.clone(), 4)).unwrap_err();
    assert!(
        matches!(short, ContentError::SizeMismatch { .. }),
        "{short}"
    );
    let long = put(&store, b"goods", &Expected::exactly(good.clone(), 4)).unwrap_err();
    assert!(long.to_string().contains("4 bytes"), "{long}");
    assert!(store.info(&good).unwrap_err().is_not_found());
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(unfinished(&store), 0);
}

#[test]
fn a_dropped_or_restarted_writer_leaves_nothing() {
    let (_dir, store) = store();
    let mut writer = store.writer(&Expected::ANY).unwrap();
    writer.write_all(b"junk").unwrap();
    assert_eq!(writer.offset(), 4);
    writer.restart().unwrap();
    writer.write_all(b"ok").unwrap();
    let info = writer.commit(&Expected::ANY).unwrap();
    assert_eq!(info.digest, Digest::sha256("ok"));
    let mut dropped = store.writer(&Expected::ANY).unwrap();
    dropped.write_all(b"gone").unwrap();
    drop(dropped);
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(unfinished(&store), 0);
}

#[test]
fn the_algorithm_may_become_known_at_commit() {
    let (_dir, store) = store();
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(b"x");
    let digest = hasher.finish();
    let mut writer = store.writer(&Expected::ANY).unwrap();
    writer.write_all(b"x").unwrap();
    writer
        .commit(&Expected::exactly(digest.clone(), 1))
        .unwrap();
    assert_eq!(read_all(&store, &digest, 10).unwrap(), b"x");
}

#[test]
fn concurrent_writers_of_one_blob_agree() {
    let (_dir, store) = store();
    let data = vec![7u8; 100_000];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| put(&store, &data, &Expected::ANY).unwrap());
        }
    });
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(
        read_all(&store, &Digest::sha256(&data), 1 << 20).unwrap(),
        data
    );
}

#[test]
fn damage_on_disk_is_noticed() {
    let (_dir, store) = store();
    let info = put(&store, b"hello", &Expected::ANY).unwrap();
    std::fs::write(store.blob_path(&info.digest), b"jello").unwrap();
    let error = read_all(&store, &info.digest, 100).unwrap_err();
    assert!(
        matches!(error, ContentError::DigestMismatch { .. }),
        "{error}"
    );
    let error = read_all(&store, &info.digest, 4).unwrap_err();
    assert!(
        matches!(error, ContentError::TooLarge { limit: 4, .. }),
        "{error}"
    );
}

#[test]
fn links_and_pipes_planted_as_blobs_are_refused() {
    let (dir, store) = store();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    let digest = Digest::sha256("secret");
    std::os::unix::fs::symlink(dir.path().join("secret"), store.blob_path(&digest)).unwrap();
    assert!(store.reader_at(&digest).is_err());
    assert!(store.info(&digest).is_err());
    let pipe = Digest::sha256("pipe");
    let mode = rustix::fs::Mode::from(0o644);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, store.blob_path(&pipe), fifo, mode, 0).unwrap();
    assert!(store.reader_at(&pipe).is_err());
}

#[test]
fn layouts_are_recognised_by_their_marker() {
    let dir = tempfile::tempdir().unwrap();
    let error = ContentStore::open_existing(dir.path()).unwrap_err();
    assert!(
        error.to_string().contains("not an OCI image layout"),
        "{error}"
    );
    std::fs::write(
        dir.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"9"}"#,
    )
    .unwrap();
    let error = ContentStore::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("`9`"), "{error}");
    std::fs::write(dir.path().join("oci-layout"), "[").unwrap();
    assert!(ContentStore::open(dir.path()).is_err());
}

#[test]
fn memory_verifies_as_the_directory_does() {
    let memory = Memory::new();
    let info = put(&memory, b"hello", &Expected::ANY).unwrap();
    let mut text = String::new();
    open(&memory, &info.digest)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "hello");
    let wrong = Expected::exactly(Digest::sha256("other"), 5);
    assert!(put(&memory, b"hello", &wrong).is_err());
    assert!(
        put(
            &memory,
            b"hell",
            &Expected {
                size: Some(5),
                digest: None
            }
        )
        .is_err()
    );
    assert_eq!(memory.list().unwrap().len(), 1);
}
