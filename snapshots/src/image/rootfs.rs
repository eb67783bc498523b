//! The content hash of an image's files, out of its layers and without unpacking them.
//!
//! Layers are read on several threads, each once (see `image/upper.rs`), and then laid on top of each
//! other, lowest first: a name replaces what is below it, a whiteout deletes it, a directory merges
//! with a directory unless it is opaque. What is kept of an entry is its digest and its path, so
//! memory grows with the number of files and not with their size.
//!
//! The result has the profile of a snapshot that the daemon scans ([`Origin::Scan`]). Its root is of
//! mode 0755 and belongs to root: daemons ignore the root entry of a layer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::upper::{Item, Key, Leaf, read, remove_below};
use super::{Image, ImageError, digest_of};
use crate::checksum::{Checksums, Node, Origin, Profile, Records, Rules, summer};
use crate::content::ContentProvider;
use crate::tree::{ENTRIES_MAX, Kind, Meta};

/// Most layers read at once.
const THREADS_MAX: usize = 8;

/// The records of an image's root file system, as a daemon has them after unpacking it.
///
/// # Errors
/// [`ImageError`]: a layer that is missing, damaged, or could not be unpacked by a daemon either.
pub fn rootfs(
    provider: &dyn ContentProvider,
    image: &Image,
    rules: Rules,
) -> Result<Checksums<'static>, ImageError> {
    let profile = Profile {
        origin: Origin::Scan,
        rules,
        owner: None,
    };
    let mut files = BTreeMap::new();
    for mut layer in read_all(provider, image, profile)? {
        // Of the root only the marker means something.
        if let Some(Item::Dir { opaque: true, .. }) = layer.remove(&[][..]) {
            files.clear();
        }
        lay_on(&mut files, layer);
        if files.len() > ENTRIES_MAX {
            return Err(ImageError::Limit {
                what: "files",
                limit: ENTRIES_MAX,
            });
        }
    }
    Ok(Checksums::from_records(records(files, &profile), profile))
}

/// All layers, lowest first.
fn read_all(
    provider: &dyn ContentProvider,
    image: &Image,
    profile: Profile,
) -> Result<Vec<BTreeMap<Key, Item>>, ImageError> {
    let layers: Vec<_> = image
        .manifest
        .layers()
        .iter()
        .zip(&image.diff_ids)
        .collect();
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS_MAX)
        .min(layers.len());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((descriptor, diff_id)) = layers.get(at) else {
                break;
            };
            let result = digest_of(descriptor)
                .and_then(|digest| Ok(read(provider, &digest, diff_id, profile)?));
            if result.is_err() {
                // Let the other threads run out of work.
                next.store(layers.len(), Ordering::Relaxed);
            }
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(at, result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.into_values().collect()
}

/// A name in the layers so far.
enum File {
    Dir(Box<Meta>),
    Leaf(Leaf),
}

fn lay_on(files: &mut BTreeMap<Key, File>, layer: BTreeMap<Key, Item>) {
    // Parents come before their content, so what a layer hides is gone before it adds something.
    for (key, item) in layer {
        match item {
            Item::Whiteout => {
                remove_below(files, &key);
                files.remove(&key);
            }
            Item::Leaf(leaf) => {
                remove_below(files, &key);
                files.insert(key, File::Leaf(leaf));
            }
            Item::Dir { meta, opaque } => {
                if opaque {
                    remove_below(files, &key);
                }
                let new = || Box::new(Meta::new(Kind::Dir, 0o755));
                let meta = match (meta, files.remove(&key)) {
                    (Some(meta), _) | (None, Some(File::Dir(meta))) => meta,
                    (None, _) => new(),
                };
                files.insert(key, File::Dir(meta));
            }
        }
    }
}

fn records(files: BTreeMap<Key, File>, profile: &Profile) -> Records {
    let mut records = Records::default();
    records.push(Key::default(), Meta::new(Kind::Dir, 0o755), None, profile);
    for (key, file) in files {
        let path = key
            .iter()
            .map(|b| if *b == 0 { b'/' } else { *b })
            .collect();
        match file {
            File::Dir(meta) => {
                let header = summer(&meta, profile).finish();
                records.add(path, Node::Dir { header }, None);
            }
            File::Leaf(Leaf { digest, target }) => {
                let node = target.map_or(Node::Known, |target| Node::Link { target });
                records.add(path, node, Some(digest));
            }
        }
    }
    records
}

#[cfg(test)]
mod tests;
