//! The stat cache: what it saves, and that it is never fooled.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::context::{Options, Source, Work, hash};

/// A source directory and a folder for caches.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, data) in files {
            let path = dir.path().join("root").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, data).unwrap();
        }
        Self { dir }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn source(&self) -> Source {
        Source::new(self.dir.path().join("root"))
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Hashes with the cache, and checks the digest against a run without one.
    #[track_caller]
    fn hash(&self, source: &Source) -> Work {
        let options = Options {
            cache: Some(self.folder()),
            ..Options::default()
        };
        let context = hash(source, &options).unwrap();
        let fresh = hash(source, &Options::default()).unwrap();
        assert_eq!(context.root_digest().unwrap(), fresh.root_digest().unwrap());
        assert!(context.cache_failure.is_none());
        context.work
    }

    fn cache_file(&self) -> PathBuf {
        let files: Vec<_> = fs::read_dir(self.folder()).unwrap().collect();
        assert_eq!(files.len(), 1);
        files[0].as_ref().unwrap().path()
    }
}

/// Until what was written is older than the clock's tick.
fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}

fn set_times(path: &Path, secs: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: secs,
        tv_nsec: 123_456_789,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}

#[test]
fn files_that_were_not_touched_are_not_read() {
    let fixture = Fixture::new(&[("a/x", "one"), ("a-b", "two"), ("z", "")]);
    std::os::unix::fs::symlink("x", fixture.path("a/link")).unwrap();
    settle();
    assert_eq!(fixture.hash(&fixture.source()).read, 3);
    assert_eq!(fixture.hash(&fixture.source()).read, 0);
    let mode = fs::metadata(fixture.cache_file()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    fs::write(fixture.path("a/x"), "ONE").unwrap();
    fs::write(fixture.path("a/y"), "new").unwrap();
    fs::remove_file(fixture.path("z")).unwrap();
    settle();
    assert_eq!(fixture.hash(&fixture.source()).read, 2);
    assert_eq!(fixture.hash(&fixture.source()).read, 0);
    // A mode is part of the header, and shows in the times.
    fs::set_permissions(fixture.path("a-b"), fs::Permissions::from_mode(0o711)).unwrap();
    settle();
    assert_eq!(fixture.hash(&fixture.source()).read, 1);
}

#[test]
fn a_write_with_the_same_size_and_times_is_seen() {
    let fixture = Fixture::new(&[("f", "0000")]);
    for round in 0..200 {
        // Written, hashed and written again as fast as possible: often within one tick.
        fs::write(fixture.path("f"), format!("{round:04}")).unwrap();
        set_times(&fixture.path("f"), 1_000_000_000);
        fixture.hash(&fixture.source());
        fs::write(fixture.path("f"), format!("{:04}", round + 5000)).unwrap();
        set_times(&fixture.path("f"), 1_000_000_000);
        fixture.hash(&fixture.source());
    }
}

#[test]
fn a_file_replaced_by_a_rename_with_the_same_times_is_seen() {
    let fixture = Fixture::new(&[("f", "before"), ("other", "after!")]);
    set_times(&fixture.path("f"), 1_000_000_000);
    set_times(&fixture.path("other"), 1_000_000_000);
    settle();
    fixture.hash(&fixture.source());
    fs::rename(fixture.path("other"), fixture.path("f")).unwrap();
    settle();
    assert_eq!(fixture.hash(&fixture.source()).read, 1);
}

#[test]
fn a_clock_that_was_set_back_is_not_believed() {
    let fixture = Fixture::new(&[("f", "data")]);
    settle();
    fixture.hash(&fixture.source());
    let (root, _) = fixture.source().open().unwrap();
    let now = Moment::now(root.fd());
    let stat = rustix::fs::stat(fixture.path("f")).unwrap();
    let identity = Identity::of(&stat);
    let lookup = |moment| {
        let ownership = Ownership::Root;
        Cache::load(&fixture.folder(), &root, ownership, moment).lookup("f", &identity)
    };
    assert!(lookup(now).is_some());
    // At the very time of the file, and a second before it.
    assert!(lookup(now.at(identity.ctime)).is_none());
    assert!(lookup(now.at(Time::from_secs(identity.ctime.secs - 1))).is_none());
    // And files from the future never settle.
    set_times(&fixture.path("f"), 100_000_000_000);
    settle();
    fixture.hash(&fixture.source());
    assert_eq!(fixture.hash(&fixture.source()).read, 1);
}

#[test]
fn stamps_without_fractions_take_two_seconds_to_settle() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let now = Moment::now(root.fd());
    let stat = rustix::fs::fstat(root.fd()).unwrap();
    let settles = |moment: Moment, secs, nanos| {
        let time = Time { secs, nanos };
        moment.settles(&Identity {
            mtime: time,
            ctime: time,
            ..Identity::of(&stat)
        })
    };
    let at = |secs, nanos| now.at(Time { secs, nanos });
    assert!(!settles(at(102, 0), 100, 0));
    assert!(settles(at(102, 1), 100, 0));
    assert!(settles(at(100, 20_000_001), 100, 1));
    assert!(!settles(at(100, 10_000_001), 100, 1));
}

#[test]
fn a_damaged_file_is_no_cache() {
    let fixture = Fixture::new(&[("a/x", "one"), ("a/y", "two")]);
    settle();
    fixture.hash(&fixture.source());
    let file = fixture.cache_file();
    let good = fs::read(&file).unwrap();
    let mut bad: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0; 10],
        MAGIC.to_vec(),
        good[..good.len() - 1].to_vec(),
    ];
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        bad.push(flipped);
    }
    // Whole, but of rows that no run has written.
    let mut forged = [MAGIC, b"\xff\xff\x01\x00a"].concat();
    let mut summer = Summer::default();
    summer.update(&forged);
    forged.extend(summer.finish().0);
    bad.push(forged);
    for data in bad {
        fs::write(&file, data).unwrap();
        assert_eq!(fixture.hash(&fixture.source()).read, 2);
        assert_eq!(fs::read(&file).unwrap(), good, "it is written anew");
    }
}

#[test]
fn other_patterns_use_the_same_rows() {
    let fixture = Fixture::new(&[("a", "1"), ("b", "2"), ("c", "3")]);
    settle();
    fixture.hash(&fixture.source());
    let without = Source {
        exclude: vec!["b".to_owned()],
        ..fixture.source()
    };
    fs::write(fixture.path("c"), "changed").unwrap();
    settle();
    assert_eq!(fixture.hash(&without).read, 1);
    assert_eq!(fixture.hash(&fixture.source()).read, 0);
    // Another owner is another header.
    let kept = Source {
        ownership: Ownership::Fixed { uid: 7, gid: 7 },
        ..fixture.source()
    };
    assert_eq!(fixture.hash(&kept).read, 3);
}

#[test]
fn rows_that_are_not_used_are_dropped_after_a_while() {
    let fixture = Fixture::new(&[("gone", "1"), ("f", "2")]);
    settle();
    fixture.hash(&fixture.source());
    fs::remove_file(fixture.path("gone")).unwrap();
    let knows = || {
        let data = fs::read(fixture.cache_file()).unwrap();
        data.windows(4).any(|part| part == b"gone")
    };
    assert!(knows());
    for round in 0..=UNUSED_MAX {
        fs::write(fixture.path("f"), "x".repeat(usize::from(round))).unwrap();
        settle();
        fixture.hash(&fixture.source());
    }
    assert!(!knows());
}

#[test]
fn the_folder_is_bounded() {
    let fixture = Fixture::new(&[("f", "1")]);
    fs::create_dir_all(fixture.folder()).unwrap();
    for number in 0..FILES_MAX + 5 {
        let file = fixture.folder().join(format!("{number}{SUFFIX}"));
        fs::write(&file, "").unwrap();
        set_times(&file, 1_000_000_000 + number as i64);
    }
    settle();
    fixture.hash(&fixture.source());
    assert_eq!(fs::read_dir(fixture.folder()).unwrap().count(), FILES_MAX);
    assert_eq!(fixture.hash(&fixture.source()).read, 0);
}

#[test]
fn a_folder_that_cannot_be_written_costs_time_only() {
    let fixture = Fixture::new(&[("f", "1")]);
    fs::write(fixture.folder(), "a file").unwrap();
    settle();
    let options = Options {
        cache: Some(fixture.folder()),
        ..Options::default()
    };
    let context = hash(&fixture.source(), &options).unwrap();
    assert_eq!(context.work.read, 1);
    let failure = context.cache_failure.unwrap().to_string();
    assert!(failure.contains("cache/"), "{failure}");
}

#[test]
fn several_processes_may_use_it_at_once() {
    let files: Vec<String> = (0..200)
        .map(|number| format!("d{}/f{number}", number % 9))
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|path| (path.as_str(), "data")).collect();
    let fixture = Fixture::new(&files);
    settle();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    fixture.hash(&fixture.source());
                }
            });
        }
    });
    assert_eq!(fixture.hash(&fixture.source()).read, 0);
    fixture.cache_file();
}
