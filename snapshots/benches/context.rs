//! Hashing of a local source of 1 GB in 50,000 files, against what reading and sha256 alone cost.
//!
//! `cargo bench -p snapshots --bench context [-- FILES MEGABYTES RUNS]` creates the tree in a temporary
//! directory, prints medians, and removes it. Cases take turns, so that a busy moment hits all:
//! * *baseline*: list, read and sha256 of every file with as many threads as hashing uses, nothing else;
//! * *cold*: hashing without a stat cache;
//! * *warm*: hashing with the stat cache of a run before, nothing changed;
//! * *verify*: the fingerprint's proof that nothing changed.
//!
//! Files are in the page cache in all cases: what is compared is the work, not the disk.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: prints its result, and stops at the first failure"
)]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use snapshots::context::{Options, Source, hash};

/// Files of one directory.
const FILES_PER_FOLDER: usize = 50;

/// Bytes per read of the baseline.
const BUFFER: usize = 256 * 1024;

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    let files: usize = numbers.next().unwrap_or(50_000);
    let megabytes: usize = numbers.next().unwrap_or(1_000);
    let runs: usize = numbers.next().unwrap_or(5);
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("context");
    let cached = Options {
        cache: Some(scratch.path().join("cache")),
        ..Options::default()
    };
    let source = Source::new(&root);
    create(&root, files, megabytes * 1_000_000);
    // Older than any tick of the clock.
    std::thread::sleep(Duration::from_millis(100));
    let digest = hash(&source, &cached).unwrap().root_digest().unwrap();

    let mut times = [const { Vec::new() }; 4];
    for _ in 0..runs {
        times[0].push(timed(|| baseline(&root)));
        times[1].push(timed(|| {
            let context = hash(&source, &Options::default()).unwrap();
            assert_eq!(context.root_digest().unwrap(), digest);
        }));
        let mut fingerprint = None;
        times[2].push(timed(|| {
            let context = hash(&source, &cached).unwrap();
            assert_eq!(context.root_digest().unwrap(), digest);
            assert_eq!(context.work.read, 0);
            fingerprint = Some(context.fingerprint);
        }));
        times[3].push(timed(|| assert!(fingerprint.unwrap().unchanged().unwrap())));
    }
    let [baseline, cold, warm, verify] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    });
    println!("{files} files, {megabytes} MB, median of {runs}");
    println!(
        "{:<10} {:>9} {:>9} {:>12}",
        "case", "seconds", "MB/s", "of baseline"
    );
    for (name, time) in [
        ("baseline", baseline),
        ("cold", cold),
        ("warm", warm),
        ("verify", verify),
    ] {
        let speed = megabytes as f64 / time;
        let ratio = 100.0 * baseline / time;
        println!("{name:<10} {time:>9.3} {speed:>9.0} {ratio:>11.0}%");
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Sizes vary between nothing and twice the mean; the content is as good as random for a hash.
fn create(root: &Path, files: usize, bytes: usize) {
    let mean = bytes / files;
    let pattern: Vec<u8> = (0..2 * mean + files).map(|i| (i * 31 / 7) as u8).collect();
    for number in 0..files {
        let folder = number / FILES_PER_FOLDER;
        let directory = root.join(format!("area{}/package{folder}", folder % 20));
        if number % FILES_PER_FOLDER == 0 {
            fs::create_dir_all(&directory).unwrap();
        }
        let size = 2 * mean * (number * 7919 % files) / files;
        let data = &pattern[number..number + size];
        fs::write(directory.join(format!("source-file-{number}.txt")), data).unwrap();
    }
}

fn baseline(root: &Path) {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; BUFFER];
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut file = File::open(path).unwrap();
            let mut hasher = Sha256::new();
            loop {
                match file.read(&mut buffer).unwrap() {
                    0 => break,
                    count => hasher.update(&buffer[..count]),
                }
            }
            std::hint::black_box(hasher.finalize());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}
