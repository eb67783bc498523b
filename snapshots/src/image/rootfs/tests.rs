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

/// What a layer says, one step per entry.
enum Step<'a> {
    Dir(&'a str, u32),
    File(&'a str, u32, &'a str),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str, u32),
    Gone(&'a str),
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
    let sums = rootfs(&store, &image(&store, &layers), Rules::LATEST).unwrap();
    let tree = Checksums::new(expected, Profile::SNAPSHOT).unwrap();
    assert_eq!(
        sums.plain("/", false).unwrap(),
        tree.plain("/", false).unwrap()
    );
}

use Step::{Dir, File, Gone, Hard, Link};

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
    // A daemon unpacks a layer without seeing those below, so the link is replaced.
    check(
        &[
            &[Link("lib", "usr/lib"), Dir("usr/lib", 0o755)],
            &[File("lib/x", 0o644, "1")],
        ],
        &MemTree::new()
            .dir("usr/lib", 0o755)
            .file("lib/x", 0o644, "1"),
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
        match rootfs(&store, &image(&store, &[layer]), Rules::LATEST) {
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
    assert!(rootfs(&store, &image, Rules::LATEST).is_err());
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
        let sums = rootfs(&store, &image(&store, &layers), Rules::LATEST).unwrap();
        // Daemons ignore what a layer says about the root.
        let expected = upper.dir("", 0o755);
        let tree = Checksums::new(&expected, Profile::SNAPSHOT).unwrap();
        prop_assert_eq!(sums.plain("/", false).unwrap(), tree.plain("/", false).unwrap());
    }
}
