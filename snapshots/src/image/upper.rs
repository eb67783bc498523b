//! One layer as the directory it becomes when it is unpacked alone: names, headers and digests.
//!
//! Daemons unpack a layer into an empty directory that an overlay file system puts on top of the
//! layers below, so that is what is modelled:
//! * Links in the parent of an entry are followed within the layer. A parent that the layer does not
//!   mention is a directory of its own, which looks like that of the layers below.
//! * A whiteout takes a name that nothing in the layer has; an opaque marker is a property of its
//!   directory. Entries that replace a whiteout do not remember it.
//! * The entry of the root itself is ignored.
//! * A hard link gives mode, owner and attributes of *its* header to all names of the file, as the
//!   system calls that create it do. Where that changes a file whose bytes are gone by, the layer is
//!   read once more, for those files only.
//!
//! Files are hashed as they come by; what is kept of an entry is its digest and its description.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::Arc;

use crate::checksum::{Profile, Sum, Summer, summer};
use crate::content::ContentProvider;
use crate::digest::Digest;
use crate::layer::{self, LayerError};
use crate::tar::{Entry, Limits, Reader, TarError, Whiteout};
use crate::tree::{Kind, Meta};

/// Most links followed while a path is resolved.
pub(super) const LINKS_MAX: usize = 255;

/// Bytes per read.
const BUFFER: usize = 256 * 1024;

/// Attribute that a change of owner takes away.
const CAPABILITY: &[u8] = b"security.capability";

/// A path in which every name is preceded by a NUL: keys sort as walks do.
pub(super) type Key = Box<[u8]>;

/// What the layer has under a name.
pub(super) enum Item {
    /// Whatever the layers below have there is deleted.
    Whiteout,
    Dir {
        /// `None` when only something below it was mentioned.
        meta: Option<Box<Meta>>,
        /// The content of the layers below is hidden.
        opaque: bool,
    },
    Leaf(Leaf),
}

/// An entry that is no directory.
pub(super) struct Leaf {
    pub(super) digest: Sum,
    pub(super) meta: Arc<Meta>,
    /// Position in the archive of the entry that made it; the same for all names of a file.
    pub(super) entry: u64,
    /// It has, or had, further names.
    pub(super) several: bool,
}

/// Reads a layer, verifying its digests.
pub(super) fn read(
    provider: &dyn ContentProvider,
    digest: &Digest,
    diff_id: &Digest,
    profile: Profile,
) -> Result<BTreeMap<Key, Item>, LayerError> {
    let limits = Limits::default();
    let (mut upper, _) = layer::verified(provider, digest, Some(diff_id), &limits, |archive| {
        let mut upper = Upper::new(profile);
        upper.fill(&mut Reader::new(archive), &limits)?;
        Ok(upper)
    })?;
    if upper.stale.is_empty() {
        return Ok(upper.finish());
    }
    layer::verified(provider, digest, Some(diff_id), &limits, |archive| {
        upper.refill(&mut Reader::new(archive))
    })?;
    Ok(upper.finish())
}

/// A name in the layer while it is being read.
enum Name {
    Whiteout,
    Dir {
        meta: Option<Box<Meta>>,
        opaque: bool,
    },
    /// Position in `Upper::inodes`.
    Inode(usize),
}

struct Inode {
    meta: Meta,
    digest: Sum,
    /// Position of the entry in the archive.
    entry: u64,
    /// A hard link leads to it.
    several: bool,
}

struct Upper {
    profile: Profile,
    names: BTreeMap<Key, Name>,
    inodes: Vec<Inode>,
    /// Files whose header was changed by a hard link: position in the archive, inode.
    stale: BTreeMap<u64, usize>,
    buffer: Vec<u8>,
}

fn refuse(path: &Path, reason: &str) -> TarError {
    TarError::Entry {
        path: path.display().to_string(),
        reason: reason.to_owned(),
    }
}

impl Upper {
    fn new(profile: Profile) -> Self {
        Self {
            profile,
            names: BTreeMap::new(),
            inodes: Vec::new(),
            stale: BTreeMap::new(),
            buffer: vec![0; BUFFER],
        }
    }

    fn fill(
        &mut self,
        reader: &mut Reader<&mut dyn Read>,
        limits: &Limits,
    ) -> Result<(), TarError> {
        let mut position = 0;
        while let Some(entry) = reader.next_entry()? {
            if position >= limits.entries {
                return Err(TarError::Limit {
                    what: "entries",
                    limit: limits.entries,
                });
            }
            self.entry(entry, position, reader)?;
            position += 1;
        }
        reader.drain()
    }

    fn entry(
        &mut self,
        entry: Entry,
        position: u64,
        reader: &mut Reader<&mut dyn Read>,
    ) -> Result<(), TarError> {
        let Some(name) = entry.path.file_name() else {
            return Ok(());
        };
        let parent = self.parent(&entry.path)?;
        let key = join(&parent, name.as_bytes());
        match Whiteout::parse(name) {
            None => {}
            Some(Whiteout::Reserved) => return Ok(()),
            Some(Whiteout::Opaque) => {
                if let Some(Name::Dir { opaque, .. }) = self.names.get_mut(&parent) {
                    *opaque = true;
                }
                return Ok(());
            }
            Some(Whiteout::Delete(name)) => {
                if matches!(name.as_bytes(), b"" | b"." | b"..") {
                    return Err(refuse(&entry.path, "a whiteout of nothing"));
                }
                let key = join(&parent, name.as_bytes());
                self.names.entry(key).or_insert(Name::Whiteout);
                return Ok(());
            }
        }
        if let Some(target) = &entry.hard_link {
            let inode = self.link(&entry, target)?;
            self.remove(&key);
            self.names.insert(key, Name::Inode(inode));
            return Ok(());
        }
        if entry.meta.is_dir() {
            let known = match self.names.get(&key) {
                Some(Name::Dir { opaque, .. }) => *opaque,
                _ => {
                    self.remove(&key);
                    false
                }
            };
            let meta = Some(Box::new(entry.meta));
            self.names.insert(
                key,
                Name::Dir {
                    meta,
                    opaque: known,
                },
            );
            return Ok(());
        }
        let meta = as_created(entry.meta);
        let digest = self.hash(&meta, reader)?;
        self.remove(&key);
        self.names.insert(key, Name::Inode(self.inodes.len()));
        self.inodes.push(Inode {
            meta,
            digest,
            entry: position,
            several: false,
        });
        Ok(())
    }

    /// The digest of the entry whose data is next in the archive.
    fn hash(&mut self, meta: &Meta, data: &mut dyn Read) -> Result<Sum, TarError> {
        let mut summer: Summer = summer(meta, &self.profile);
        if matches!(meta.kind, Kind::File { .. }) {
            loop {
                match data.read(&mut self.buffer) {
                    Ok(0) => break,
                    Ok(count) => summer.update(&self.buffer[..count]),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(summer.finish())
    }

    /// The inode that a hard link leads to, with what the header of the link makes of it.
    fn link(&mut self, entry: &Entry, target: &Path) -> Result<usize, TarError> {
        let name = target
            .file_name()
            .ok_or_else(|| refuse(&entry.path, "a hard link to the root"))?;
        let directory = self.resolve(target.parent().unwrap_or(Path::new("")), &entry.path)?;
        let Some(Name::Inode(at)) = self.names.get(&join(&directory, name.as_bytes())) else {
            let reason = format!(
                "a hard link to `{}`, which is no file of this layer",
                target.display()
            );
            return Err(refuse(&entry.path, &reason));
        };
        let at = *at;
        let inode = &mut self.inodes[at];
        inode.several = true;
        let mut meta = inode.meta.clone();
        (meta.uid, meta.gid) = (entry.meta.uid, entry.meta.gid);
        meta.xattrs.remove(CAPABILITY);
        meta.xattrs.extend(entry.meta.xattrs.clone());
        if !matches!(meta.kind, Kind::Symlink { .. }) {
            meta.mode = entry.meta.mode;
        }
        let changed =
            summer(&meta, &self.profile).finish() != summer(&inode.meta, &self.profile).finish();
        inode.meta = meta;
        if changed && inode.meta.size() == 0 {
            inode.digest = summer(&inode.meta, &self.profile).finish();
        } else if changed {
            self.stale.insert(inode.entry, at);
        }
        Ok(at)
    }

    /// Reads the archive again for the files that got another header.
    fn refill(&mut self, reader: &mut Reader<&mut dyn Read>) -> Result<(), TarError> {
        let stale = std::mem::take(&mut self.stale);
        let mut position = 0;
        while reader.next_entry()?.is_some() {
            if let Some(at) = stale.get(&position) {
                let meta = self.inodes[*at].meta.clone();
                self.inodes[*at].digest = self.hash(&meta, reader)?;
            }
            position += 1;
        }
        reader.drain()
    }

    /// Key of the directory an entry is in; directories that were not mentioned come to be.
    fn parent(&mut self, path: &Path) -> Result<Key, TarError> {
        let key = self.resolve(path.parent().unwrap_or(Path::new("")), path)?;
        for end in (1..=key.len()).filter(|end| key.get(*end).is_none_or(|b| *b == 0)) {
            let missing = || Name::Dir {
                meta: None,
                opaque: false,
            };
            match self.names.entry(key[..end].into()).or_insert_with(missing) {
                Name::Dir { .. } => {}
                Name::Whiteout | Name::Inode(_) => {
                    return Err(refuse(path, "what it is in is no directory"));
                }
            }
        }
        // The root's own marker has to be kept somewhere as well.
        if key.is_empty() {
            self.names.entry(Key::default()).or_insert(Name::Dir {
                meta: None,
                opaque: false,
            });
        }
        Ok(key)
    }

    /// Follows the links in the path of a directory, within the layer.
    fn resolve(&self, dir: &Path, entry: &Path) -> Result<Key, TarError> {
        let mut key: Vec<u8> = Vec::new();
        let mut rest: Vec<Vec<u8>> = components(dir);
        let mut links = 0;
        while let Some(part) = rest.pop() {
            let before = key.len();
            if part == b".." {
                key.truncate(key.iter().rposition(|b| *b == 0).unwrap_or(0));
                continue;
            }
            key.push(0);
            key.extend_from_slice(&part);
            let Some(Name::Inode(at)) = self.names.get(key.as_slice()) else {
                continue;
            };
            let Kind::Symlink { target } = &self.inodes[*at].meta.kind else {
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return Err(refuse(entry, "too many links in its path"));
            }
            key.truncate(if target.is_absolute() { 0 } else { before });
            rest.extend(components(target));
        }
        Ok(key.into())
    }

    /// Removes a name and everything below it.
    fn remove(&mut self, key: &[u8]) {
        remove_below(&mut self.names, key);
        self.names.remove(key);
    }

    fn finish(self) -> BTreeMap<Key, Item> {
        let inodes: Vec<_> = (self.inodes.into_iter())
            .map(|inode| {
                (
                    inode.digest,
                    Arc::new(inode.meta),
                    inode.entry,
                    inode.several,
                )
            })
            .collect();
        let items = self.names.into_iter().map(|(key, name)| {
            let item = match name {
                Name::Whiteout => Item::Whiteout,
                Name::Dir { meta, opaque } => Item::Dir { meta, opaque },
                Name::Inode(at) => {
                    let (digest, meta, entry, several) = &inodes[at];
                    Item::Leaf(Leaf {
                        digest: *digest,
                        meta: Arc::clone(meta),
                        entry: *entry,
                        several: *several,
                    })
                }
            };
            (key, item)
        });
        items.collect()
    }
}

/// Removes every key below `key`.
pub(super) fn remove_below<T>(map: &mut BTreeMap<Key, T>, key: &[u8]) {
    let below: (Key, Key) = ([key, b"\0"].concat().into(), [key, b"\x01"].concat().into());
    let keys: Vec<Key> = map
        .range(below.0..below.1)
        .map(|(key, _)| key.clone())
        .collect();
    for key in keys {
        map.remove(&key);
    }
}

/// What the system makes of a header: links have no mode of their own, and only files and
/// directories have attributes of users.
fn as_created(mut meta: Meta) -> Meta {
    if matches!(meta.kind, Kind::Symlink { .. }) {
        meta.mode = 0o777;
    }
    if !matches!(meta.kind, Kind::File { .. } | Kind::Dir) {
        meta.xattrs.retain(|name, _| !name.starts_with(b"user."));
    }
    meta
}

fn join(dir: &[u8], name: &[u8]) -> Key {
    [dir, b"\0", name].concat().into()
}

/// Names of a path, last first.
fn components(path: &Path) -> Vec<Vec<u8>> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(OsStr::as_bytes(name).to_vec()),
            Component::ParentDir => Some(b"..".to_vec()),
            _ => None,
        })
        .collect()
}
