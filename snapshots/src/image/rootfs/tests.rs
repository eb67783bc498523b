//! The rootfs of layers equals the tree they were made of; what layers can say that trees cannot.

use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::content::Memory;
use crate::image::{descriptor, write_manifest};
use crate::layer::{self, Compression, Layer, Options};
use crate::tar::{WHITEOUT_OPAQUE, Writer};
use crate::testing::two_trees;
use crate::tree::MemTree;

fn image(store: &Memory, layers: &[Layer]) -> Image {
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| layer.diff_id.to_string())
        .collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let config = serde_json::from_value(config).unwrap();
    let descriptors = layers.iter().map(Layer::descriptor).collect();
    let manifest = write_manifest(store, &config, descriptors, BTreeMap::new()).unwrap();
    crate::image::resolve(store, &manifest, &"linux/amd64".parse().unwrap()).unwrap()
}

fn read(store: &Memory, layers: &[Layer]) -> Result<ImageTree, ImageError> {
    ImageTree::read(
        Arc::new(store.clone()),
        &image(store, layers),
        Rules::LATEST,
    )
}

/// What a layer says, one step per entry.
enum Step<'a> {
    Dir(&'a str, u32),
    File(&'a str, u32, &'a str),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str, u32),
    Gone(&'a str),
    /// An entry with attributes.
    Other(&'a str, Kind, u32, &'a [(&'a str, &'a str)], &'a str),
}

fn layer_of(store: &Memory, steps: &[Step<'_>]) -> Layer {
    layer::create(store, Compression::default(), |writer: &mut Writer<_>| {
        for step in steps {
            match step {
                Step::Dir(path, mode) => {
                    writer.append(Path::new(path), &Meta::new(Kind::Dir, *mode))?;
                }
                Step::File(path, mode, data) => {
                    let size = data.len() as u64;
                    let meta = Meta::new(Kind::File { size }, *mode);
                    writer.append_file(Path::new(path), &meta, data.as_bytes())?;
                }
                Step::Link(path, target) => {
                    let target = target.into();
                    writer.append(Path::new(path), &Meta::new(Kind::Symlink { target }, 0o777))?;
                }
                Step::Hard(path, target, mode) => {
                    let meta = Meta::new(Kind::File { size: 0 }, *mode);
                    writer.append_hard_link(Path::new(path), Path::new(target), &meta)?;
                }
                Step::Other(path, kind, mode, xattrs, data) => {
                    let mut meta = Meta::new(kind.clone(), *mode);
                    for (name, value) in *xattrs {
                        meta.xattrs.insert((*name).into(), (*value).into());
                    }
                    match kind {
                        Kind::File { .. } => {
                            writer.append_file(Path::new(path), &meta, data.as_bytes())?;
                        }
                        _ => writer.append(Path::new(path), &meta)?,
                    }
                }
                Step::Gone(path) => {
                    let meta = Meta::new(Kind::File { size: 0 }, 0o644);
                    writer.append_file(Path::new(path), &meta, &b""[..])?;
                }
            }
        }
        Ok(())
    })
    .unwrap()
}

/// The root digest of layers, and of the tree they should be.
#[track_caller]
fn check(layers: &[&[Step<'_>]], expected: &MemTree) {
    let store = Memory::new();
    let layers: Vec<Layer> = layers.iter().map(|steps| layer_of(&store, steps)).collect();
    let sums = read(&store, &layers).unwrap().checksums();
    let tree = Checksums::new(expected, Profile::SNAPSHOT).unwrap();
    assert_eq!(
        sums.plain("/", false).unwrap(),
        tree.plain("/", false).unwrap()
    );
}

use Step::{Dir, File, Gone, Hard, Link, Other};

#[test]
fn whiteouts_delete_what_lower_layers_have() {
    check(
        &[
            &[
                File("a/x", 0o644, "1"),
                File("a/y", 0o644, "2"),
                File("b/z", 0o644, "3"),
            ],
            &[
                Gone("a/.wh.x"),
                Gone(".wh.b"),
                Gone(".wh.never"),
                Gone(".wh..wh.plnk"),
            ],
        ],
        &MemTree::new().file("a/y", 0o644, "2"),
    );
}

#[test]
fn an_opaque_directory_hides_lower_content_only() {
    let opaque = format!("a/{WHITEOUT_OPAQUE}");
    let expected = MemTree::new().dir("a", 0o700).file("a/new", 0o644, "n");
    let lower: &[Step<'_>] = &[File("a/old", 0o644, "1"), File("a/deep/er", 0o644, "2")];
    // Wherever the marker comes.
    check(
        &[
            lower,
            &[Dir("a", 0o700), Gone(&opaque), File("a/new", 0o644, "n")],
        ],
        &expected,
    );
    check(
        &[
            lower,
            &[Dir("a", 0o700), File("a/new", 0o644, "n"), Gone(&opaque)],
        ],
        &expected,
    );
    check(
        &[lower, &[Gone(WHITEOUT_OPAQUE), File("b", 0o644, "n")]],
        &MemTree::new().file("b", 0o644, "n"),
    );
}

#[test]
fn a_parent_that_was_not_mentioned_looks_like_the_one_below() {
    check(
        &[&[Dir("a", 0o700)], &[File("a/b/c", 0o644, "1")]],
        &MemTree::new().dir("a", 0o700).file("a/b/c", 0o644, "1"),
    );
    // The root of a layer is ignored, and types replace each other.
    check(
        &[
            &[
                Dir("", 0o700),
                File("a", 0o644, "1"),
                File("d/x", 0o644, "2"),
            ],
            &[Dir("a", 0o711), File("d", 0o600, "3")],
        ],
        &MemTree::new().dir("a", 0o711).file("d", 0o600, "3"),
    );
}

#[test]
fn links_in_a_path_are_followed_within_their_layer() {
    check(
        &[&[
            Link("lib", "usr/lib"),
            Dir("usr", 0o755),
            Dir("usr/lib", 0o755),
            File("lib/x", 0o644, "1"),
        ]],
        &MemTree::new()
            .symlink("lib", "usr/lib")
            .file("usr/lib/x", 0o644, "1"),
    );
    // A daemon unpacks a layer without seeing those below, so the link is replaced, by a directory
    // that looks like what it led to.
    check(
        &[
            &[
                Link("lib", "usr/lib"),
                Dir("usr/lib", 0o750),
                Dir("usr/lib/sub", 0o700),
            ],
            &[File("lib/x", 0o644, "1"), File("lib/sub/y", 0o644, "2")],
        ],
        &MemTree::new()
            .dir("usr/lib", 0o750)
            .dir("usr/lib/sub", 0o700)
            .dir("lib", 0o750)
            .dir("lib/sub", 0o700)
            .file("lib/x", 0o644, "1")
            .file("lib/sub/y", 0o644, "2"),
    );
}

#[test]
fn a_hard_link_changes_all_names_of_its_file() {
    check(
        &[&[
            File("first", 0o644, "data"),
            File("other", 0o644, "other"),
            Hard("second", "first", 0o600),
        ]],
        &MemTree::new()
            .file("first", 0o600, "data")
            .file("second", 0o600, "data")
            .file("other", 0o644, "other"),
    );
    // Replacing one name leaves the other.
    check(
        &[&[
            File("first", 0o644, "data"),
            Hard("second", "first", 0o644),
            File("first", 0o644, "new"),
        ]],
        &MemTree::new()
            .file("first", 0o644, "new")
            .file("second", 0o644, "data"),
    );
}

#[test]
fn what_no_daemon_could_unpack_is_an_error() {
    let error = |steps: &[Step<'_>]| {
        let store = Memory::new();
        let layer = layer_of(&store, steps);
        match read(&store, &[layer]) {
            Ok(_) => panic!("accepted"),
            Err(e) => e.to_string(),
        }
    };
    let text = error(&[Hard("a", "b", 0o644)]);
    assert!(text.contains("`a`") && text.contains("`b`"), "{text}");
    let text = error(&[File("a", 0o644, ""), File("a/b", 0o644, "")]);
    assert!(text.contains("`a/b`"), "{text}");
    let text = error(&[Link("a", "b"), Link("b", "a"), File("a/x", 0o644, "")]);
    assert!(text.contains("too many links"), "{text}");
}

#[test]
fn a_damaged_layer_is_an_error() {
    let store = Memory::new();
    let good = layer_of(&store, &[File("a", 0o644, "1")]);
    let mut data = Vec::new();
    data.write_all(b"no archive at all").unwrap();
    let blob = crate::content::put(&store, &data, &crate::content::Expected::ANY).unwrap();
    let mut image = image(&store, &[good]);
    let media_type = Compression::default().media_type();
    image
        .manifest
        .set_layers(vec![descriptor(media_type, &blob.digest, blob.size)]);
    assert!(ImageTree::read(Arc::new(store), &image, Rules::LATEST).is_err());
}

/// Three layers that use everything layers can say. A BuildKit v0.32.2 with the overlayfs snapshotter
/// has this digest for the root of the image.
#[test]
fn golden_of_a_daemon() {
    let file = |size| Kind::File { size };
    let null = Kind::Char { major: 1, minor: 3 };
    let layers: [&[Step<'_>]; 3] = [
        &[
            Dir("", 0o700),
            Dir("a", 0o711),
            File("a/x", 0o644, "1"),
            Other("a/y", file(2), 0o4755, &[("user.k", "v")], "22"),
            Dir("b", 0o755),
            File("b/z", 0o600, "3"),
            Link("lib", "usr/lib"),
            Dir("usr", 0o755),
            Dir("usr/lib", 0o750),
            File("lib/so", 0o644, "so"),
            Other("pipe", Kind::Fifo, 0o640, &[], ""),
            Other("null", null, 0o666, &[], ""),
            File("first", 0o644, "data"),
            Hard("second", "first", 0o600),
            Other("cap", file(3), 0o755, &[("user.z", "1")], "cap"),
            Hard("cap2", "cap", 0o755),
            Dir("op", 0o755),
            File("op/old", 0o644, "o"),
            File("op/deep/er", 0o644, "o2"),
            File("wd/inner", 0o644, "lower"),
            Other("m", Kind::Dir, 0o1777, &[("user.m", "q")], ""),
        ],
        &[
            Gone("a/.wh.x"),
            Gone(".wh.b"),
            Dir("op", 0o700),
            File("op/new", 0o644, "n"),
            Gone("op/.wh..wh..opq"),
            File("a/deep/new", 0o644, "n"),
            File("lib/late", 0o644, "replaced link"),
            Dir("m", 0o755),
        ],
        &[
            Gone(".wh.wd"),
            Dir("wd", 0o755),
            File("wd/top", 0o644, "t"),
            File("a/y", 0o755, "changed"),
            File("first", 0o644, "newfirst"),
        ],
    ];
    let store = Memory::new();
    let layers = layers.map(|steps| layer_of(&store, steps));
    let root = read(&store, &layers)
        .unwrap()
        .checksums()
        .plain("/", false)
        .unwrap();
    assert_eq!(
        root.hex(),
        "6c68cdca9ba990409fd03f772f884104a322f5db0671dbc5679ed2d84e7eff7a"
    );
}

#[test]
fn bytes_come_out_of_the_layers() {
    let store = Memory::new();
    let layers = [
        layer_of(
            &store,
            &[
                File("a", 0o644, "one"),
                File("d/b", 0o644, "two"),
                Hard("c", "d/b", 0o644),
            ],
        ),
        layer_of(&store, &[File("d/e", 0o600, "three"), Gone(".wh.a")]),
    ];
    let tree = read(&store, &layers).unwrap();
    let text = |path: &str| {
        let mut text = String::new();
        tree.open(path.as_ref())
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    };
    assert_eq!(
        (text("c"), text("d/e")),
        ("two".to_owned(), "three".to_owned())
    );
    assert_eq!(tree.list("".as_ref()).unwrap(), ["c", "d"]);
    assert_eq!(tree.list("d".as_ref()).unwrap(), ["b", "e"]);
    assert!(tree.open("a".as_ref()).is_err() && tree.open("d".as_ref()).is_err());
    let group = |path: &str| tree.link_group(path.as_ref()).unwrap();
    assert!(group("c").is_some() && group("c") == group("d/b") && group("d/e").is_none());
    // As a tree it has the same digests, for which nothing has to be read.
    let known = Checksums::new(&tree, Profile::SNAPSHOT).unwrap();
    let root = tree.checksums().plain("/", false).unwrap();
    assert_eq!(known.plain("/", false).unwrap(), root);
    let only = rootfs(&store, &image(&store, &layers), Rules::LATEST).unwrap();
    assert_eq!(only.plain("/", false).unwrap(), root);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn layers_of_differences_give_the_tree((lower, upper) in two_trees()) {
        let store = Memory::new();
        let options = Options::default();
        let layers = [
            layer::from_trees(&store, None, &lower, &options).unwrap(),
            layer::from_trees(&store, Some(&lower), &upper, &options).unwrap(),
        ];
        let sums = read(&store, &layers).unwrap().checksums();
        // Daemons ignore what a layer says about the root.
        let expected = upper.dir("", 0o755);
        let tree = Checksums::new(&expected, Profile::SNAPSHOT).unwrap();
        prop_assert_eq!(sums.plain("/", false).unwrap(), tree.plain("/", false).unwrap());
    }
}
