//! The content hash of an image's files, out of its layers and without unpacking them.
//!
//! Layers are read on several threads, each once (see `image/upper.rs`), and then laid on top of each
//! other, lowest first: a name replaces what is below it, a whiteout deletes it, a directory merges
//! with a directory unless it is opaque. What is kept of an entry is its digest and its path, so
//! memory grows with the number of files and not with their size.
//!
//! The result has the profile of a snapshot that the daemon scans ([`Origin::Scan`](crate::checksum::Origin::Scan)). Its root is of
//! mode 0755 and belongs to root: daemons ignore the root entry of a layer.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek as _, Write as _};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::upper::{Item, Key, LINKS_MAX, Leaf, read, remove_below};
use super::{Image, ImageError, digest_of};
use crate::checksum::{Checksums, Profile, Records, Rules, header_bytes, summer};
use crate::content::{self, ContentProvider};
use crate::digest::Digest;
use crate::layer::Decoder;
use crate::tar::Reader;
use crate::tree::{ENTRIES_MAX, Kind, Meta, Tree};

/// Most layers read at once.
const THREADS_MAX: usize = 8;

/// The records of an image's root file system, as a daemon has them after unpacking it.
///
/// # Errors
/// As [`ImageTree::read`].
pub fn rootfs(
    provider: &dyn ContentProvider,
    image: &Image,
    rules: Rules,
) -> Result<Checksums<'static>, ImageError> {
    let profile = profile(rules);
    Ok(checksums(&overlaid(provider, image, profile)?, profile))
}

/// The files of an image, as a daemon has them after unpacking it.
///
/// All digests are known. The bytes of a file are looked for in its layer when somebody asks for them,
/// which reads the layer up to there.
pub struct ImageTree {
    provider: Arc<dyn ContentProvider>,
    layers: Vec<Digest>,
    profile: Profile,
    files: BTreeMap<Key, File>,
}

impl ImageTree {
    /// Reads all layers of an image.
    ///
    /// # Errors
    /// [`ImageError`]: a layer that is missing, damaged, or could not be unpacked by a daemon either.
    pub fn read(
        provider: Arc<dyn ContentProvider>,
        image: &Image,
        rules: Rules,
    ) -> Result<Self, ImageError> {
        let profile = profile(rules);
        let files = overlaid(&*provider, image, profile)?;
        let layers = image.manifest.layers().iter().map(digest_of);
        Ok(Self {
            layers: layers.collect::<Result<_, _>>()?,
            provider,
            profile,
            files,
        })
    }

    /// The records, to be asked for digests.
    pub fn checksums(&self) -> Checksums<'static> {
        checksums(&self.files, self.profile)
    }

    /// `None` for the root.
    fn find(&self, path: &Path) -> io::Result<Option<&File>> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let found = self.files.get(&key_of(path));
        found
            .map(Some)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The bytes of a file, out of its layer into an unnamed file; verified against its digest.
    fn fetch(&self, leaf: &Leaf, layer: usize) -> io::Result<std::fs::File> {
        let other = |e: &dyn std::error::Error| io::Error::other(e.to_string());
        let blob = content::open(&*self.provider, &self.layers[layer]).map_err(|e| other(&e))?;
        let mut reader = Reader::new(Decoder::new(blob)?);
        let mut position = 0;
        while reader.next_entry().map_err(|e| other(&e))?.is_some() && position < leaf.entry {
            position += 1;
        }
        let mut file = tempfile::tempfile()?;
        let mut summer = summer(&leaf.meta, &self.profile);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let count = reader.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            summer.update(&buffer[..count]);
            file.write_all(&buffer[..count])?;
        }
        if summer.finish() != leaf.digest {
            let reason = format!("layer {} has changed", self.layers[layer]);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        file.rewind()?;
        Ok(file)
    }
}

impl Tree for ImageTree {
    fn stat(&self, path: &Path) -> io::Result<Meta> {
        Ok(match self.find(path)? {
            None => root_meta(),
            Some(File::Dir(meta)) => (**meta).clone(),
            Some(File::Leaf { leaf, .. }) => (*leaf.meta).clone(),
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        if let Some(File::Leaf { .. }) = self.find(dir)? {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let dir = [&*key_of(dir), b"\0"].concat();
        let mut names = Vec::new();
        let mut from = dir.clone();
        while let Some((key, _)) = self
            .files
            .range::<[u8], _>((Bound::Included(&*from), Bound::Unbounded))
            .next()
            && let Some(name) = key.strip_prefix(&*dir)
        {
            names.push(OsStr::from_bytes(name).to_owned());
            // Past everything below it.
            from = [&**key, b"\x01"].concat();
        }
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.find(path)? {
            Some(File::Leaf { leaf, layer }) if matches!(leaf.meta.kind, Kind::File { .. }) => {
                Ok(Box::new(self.fetch(leaf, *layer)?))
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )),
        }
    }

    fn link_group(&self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        Ok(match self.find(path)? {
            Some(File::Leaf { leaf, layer }) if leaf.several => Some((*layer as u64, leaf.entry)),
            _ => None,
        })
    }

    fn known_digest(&self, path: &Path, header: &[u8]) -> Option<[u8; 32]> {
        match self.find(path).ok()?? {
            File::Leaf { leaf, .. } if header_bytes(&leaf.meta, &self.profile) == header => {
                Some(leaf.digest.0)
            }
            _ => None,
        }
    }
}

/// Daemons ignore what layers say about the root.
fn root_meta() -> Meta {
    Meta::new(Kind::Dir, 0o755)
}

fn key_of(path: &Path) -> Key {
    let mut key = Vec::with_capacity(path.as_os_str().len() + 1);
    for name in path {
        key.push(0);
        key.extend_from_slice(name.as_bytes());
    }
    key.into()
}

fn profile(rules: Rules) -> Profile {
    Profile {
        rules,
        ..Profile::SNAPSHOT
    }
}

/// All layers on top of each other.
fn overlaid(
    provider: &dyn ContentProvider,
    image: &Image,
    profile: Profile,
) -> Result<BTreeMap<Key, File>, ImageError> {
    let mut files = BTreeMap::new();
    for (at, mut layer) in read_all(provider, image, profile)?.into_iter().enumerate() {
        // Of the root only the marker means something.
        if let Some(Item::Dir { opaque: true, .. }) = layer.remove(&[][..]) {
            files.clear();
        }
        lay_on(&mut files, layer, at);
        if files.len() > ENTRIES_MAX {
            return Err(ImageError::Limit {
                what: "files",
                limit: ENTRIES_MAX,
            });
        }
    }
    Ok(files)
}

fn checksums(files: &BTreeMap<Key, File>, profile: Profile) -> Checksums<'static> {
    let mut records = Records::default();
    records.push(Key::default(), root_meta(), None, &profile);
    for (key, file) in files {
        let path = key.iter().map(|b| if *b == 0 { b'/' } else { *b });
        let (meta, digest) = match file {
            File::Dir(meta) => (&**meta, None),
            File::Leaf { leaf, .. } => (&*leaf.meta, Some(leaf.digest)),
        };
        records.push(path.collect(), meta.clone(), digest, &profile);
    }
    Checksums::from_records(records, profile)
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
    Leaf {
        leaf: Leaf,
        /// Which layer it comes from.
        layer: usize,
    },
}

fn lay_on(files: &mut BTreeMap<Key, File>, mut layer: BTreeMap<Key, Item>, number: usize) {
    // What a directory that the layer does not describe looks like, before anything is changed.
    for (key, item) in &mut layer {
        if let Item::Dir { meta, .. } = item
            && meta.is_none()
        {
            *meta = directory(files, key);
        }
    }
    // Parents come before their content, so what a layer hides is gone before it adds something.
    for (key, item) in layer {
        match item {
            Item::Whiteout => {
                remove_below(files, &key);
                files.remove(&key);
            }
            Item::Leaf(leaf) => {
                remove_below(files, &key);
                files.insert(
                    key,
                    File::Leaf {
                        leaf,
                        layer: number,
                    },
                );
            }
            Item::Dir { meta, opaque } => {
                if opaque {
                    remove_below(files, &key);
                }
                let new = || Box::new(Meta::new(Kind::Dir, 0o755));
                files.insert(key, File::Dir(meta.unwrap_or_else(new)));
            }
        }
    }
}

/// The directory that a path leads to. The daemon follows links here, although it then replaces a
/// link by a directory that looks like the one it leads to.
fn directory(files: &BTreeMap<Key, File>, path: &[u8]) -> Option<Box<Meta>> {
    let mut key: Vec<u8> = Vec::new();
    let names = |path: &[u8], separator: u8| -> Vec<Vec<u8>> {
        let names = path.split(|b| *b == separator).rev();
        names
            .filter(|name| !name.is_empty() && *name != b".")
            .map(<[u8]>::to_vec)
            .collect()
    };
    let mut rest = names(path, 0);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let before = key.len();
        if name == b".." {
            key.truncate(key.iter().rposition(|b| *b == 0).unwrap_or(0));
            continue;
        }
        key.push(0);
        key.extend_from_slice(&name);
        match files.get(key.as_slice())? {
            File::Leaf { leaf, .. } => {
                let Kind::Symlink { target } = &leaf.meta.kind else {
                    return None;
                };
                links += 1;
                if links > LINKS_MAX {
                    return None;
                }
                key.truncate(if target.is_absolute() { 0 } else { before });
                rest.extend(names(target.as_os_str().as_bytes(), b'/'));
            }
            File::Dir(_) => {}
        }
    }
    match files.get(key.as_slice()) {
        Some(File::Dir(meta)) => Some(meta.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
