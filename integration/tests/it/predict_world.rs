//! What generated graphs start from: random directories with links, modes and attributes, and an
//! image with a static busybox. Everything follows from a seed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use integration::busybox;
use snapshots::{
    checksum::Rules,
    content::{ContentProvider, Memory},
    image::{self, BuildOptions, Descriptor, ImageTree},
    layer::{self, Compression},
    tree::DirTree,
};
use solver::predict::Files;
use tempfile::TempDir;

/// Random numbers of a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xdead_beef)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// True in `percent` of all cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Paths that are known to exist in a tree, absolute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) files: Vec<String>,
    pub(crate) dirs: Vec<String>,
    pub(crate) links: Vec<String>,
}

/// The images: a root file system with busybox, alone and below a second layer, in a content
/// store.
pub(crate) struct Image {
    pub(crate) store: Arc<dyn ContentProvider>,
    /// Digest of the manifest.
    pub(crate) manifest: String,
    /// Digest of an index with only that manifest.
    pub(crate) index: String,
    pub(crate) files: Files,
    /// The image of two layers.
    pub(crate) layered: image::Image,
    _folder: TempDir,
}

impl Image {
    /// An image of its own: what a daemon keeps of others is then never met again.
    pub(crate) fn make(nonce: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        busybox::write_rootfs(&root).unwrap();
        fs::write(root.join("etc/issue"), nonce).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let (store, tree, manifest) = packed(&root);
        let index = image::write_index(&store, vec![manifest.clone()], BTreeMap::new()).unwrap();
        let host = image::Platform::host();
        let base = image::resolve(&store, &manifest, &host).unwrap();
        let layered = with_layer(&store, &base, &root, nonce);
        let files = Files {
            owner: Some((0, 0)),
            ..Files::snapshot(Arc::new(tree))
        };
        Self {
            store: Arc::new(store),
            manifest: manifest.digest().to_string(),
            index: index.digest().to_string(),
            files,
            layered,
            _folder: folder,
        }
    }

    /// The files of the image of two layers, or of so many of them, as its blobs have them.
    pub(crate) fn layered_files(&self, limit: Option<usize>, rules: Rules) -> Files {
        let mut image = self.layered.clone();
        let limit = limit.unwrap_or(usize::MAX);
        image.diff_ids.truncate(limit);
        let layers = image.manifest.layers().iter().take(limit).cloned();
        let layers = layers.collect();
        image.manifest.set_layers(layers);
        let tree = ImageTree::read(Arc::clone(&self.store), &image, rules).unwrap();
        Files::snapshot(Arc::new(tree))
    }
}

/// An image of one layer, which is the files below `root` as they are, and these files.
pub(crate) fn packed(root: &Path) -> (Memory, DirTree, Descriptor) {
    let store = Memory::new();
    let tree = DirTree::new(root).unwrap();
    let options = BuildOptions {
        compression: Compression::None,
        ..BuildOptions::default()
    };
    let manifest = image::from_tree(&store, &tree, &options).unwrap();
    (store, tree, manifest)
}

/// What the layers of an image become when another one is on top of them: one in which files and
/// directories of the lower one are changed, replaced and gone.
fn with_layer(store: &Memory, base: &image::Image, lower: &Path, nonce: &str) -> image::Image {
    let folder = tempfile::tempdir().unwrap();
    let upper = folder.path();
    busybox::write_rootfs(upper).unwrap();
    fs::set_permissions(upper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(upper.join("bin/sha256sum")).unwrap();
    fs::remove_dir(upper.join("work")).unwrap();
    fs::write(upper.join("work"), "a file in place of a directory").unwrap();
    fs::set_permissions(upper.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::create_dir_all(upper.join("usr/share/notes")).unwrap();
    fs::write(upper.join("usr/share/notes/a.txt"), nonce).unwrap();
    fs::hard_link(
        upper.join("usr/share/notes/a.txt"),
        upper.join("usr/share/same.txt"),
    )
    .unwrap();
    symlink("share/notes", upper.join("usr/notes")).unwrap();
    let lower = DirTree::new(lower).unwrap();
    let upper = DirTree::new(upper).unwrap();
    let options = layer::Options {
        compression: Compression::default(),
        owner: Some((0, 0)),
        ..layer::Options::default()
    };
    let layer = layer::from_trees(store, Some(&lower), &upper, &options).unwrap();
    let mut config = base.config.clone();
    let mut rootfs = config.rootfs().clone();
    let mut diff_ids = rootfs.diff_ids().clone();
    diff_ids.push(layer.diff_id.to_string());
    rootfs.set_diff_ids(diff_ids);
    config.set_rootfs(rootfs);
    let mut layers = base.manifest.layers().clone();
    layers.push(layer.descriptor());
    let manifest = image::write_manifest(store, &config, layers, BTreeMap::new()).unwrap();
    image::resolve(store, &manifest, &image::Platform::host()).unwrap()
}

/// Names as people and programs give them.
const NAMES: [&str; 14] = [
    "a",
    "b",
    "c.txt",
    "d.txt",
    "Makefile",
    ".hidden",
    "sp ace",
    "ümlaut",
    "x-1",
    "x_2",
    "long.name.tar",
    "e",
    "f",
    "A",
];

/// Modes of files and directories, with set-id and sticky bits.
const MODES: [u32; 9] = [
    0o644, 0o755, 0o600, 0o400, 0o777, 0o4755, 0o2755, 0o1777, 0o664,
];

/// Fills a directory; returns what is in it.
pub(crate) fn fill(root: &Path, dice: &mut Dice, nonce: &str) -> Listing {
    let mut listing = Listing::default();
    let mut dirs: Vec<PathBuf> = vec![PathBuf::new()];
    for number in 0..dice.below(14) + 3 {
        let parent = dice.pick(&dirs).clone();
        let relative = parent.join(dice.pick(&NAMES));
        let path = root.join(&relative);
        if path.symlink_metadata().is_ok() {
            continue;
        }
        let shown = format!("/{}", relative.display());
        match dice.below(10) {
            0..=2 if parent.components().count() < 4 => {
                fs::create_dir(&path).unwrap();
                dirs.push(relative);
                listing.dirs.push(shown);
            }
            3 => {
                let target = dice.pick(&["a", "../b", "/c.txt", "none", "e/f", "/", "."]);
                symlink(target, &path).unwrap();
                listing.links.push(shown);
                continue;
            }
            4 if !listing.files.is_empty() => {
                let first = root.join(dice.pick(&listing.files).trim_start_matches('/'));
                fs::hard_link(first, &path).unwrap();
                listing.files.push(shown);
                continue;
            }
            5 if dice.chance(30) => {
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &path,
                    rustix::fs::FileType::Fifo,
                    0o644.into(),
                    0,
                )
                .unwrap();
                listing.files.push(shown);
                continue;
            }
            _ => {
                // Some files are alike on purpose, some are empty.
                let data = match dice.below(6) {
                    0 => String::new(),
                    1 => nonce.to_owned(),
                    _ => format!("{nonce} {number} {}", "x".repeat(dice.below(3000))),
                };
                fs::write(&path, data).unwrap();
                listing.files.push(shown);
            }
        }
        let mode = *dice.pick(&MODES);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if dice.chance(15) {
            // Not every file system has them.
            _ = xattr::set(&path, "user.note", nonce.as_bytes());
        }
    }
    listing
}
