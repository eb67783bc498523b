//! Images: archives there and back, platforms, hostile input.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use oci_spec::image::ImageIndex;

use super::*;
use crate::content::{self, ContentProvider, ContentStore, Expected, Memory, put};
use crate::layer::{Compression, Times};
use crate::tar::{Policy, Reader, Writer};
use crate::testing::Full;
use crate::tree::{DirTree, Kind, MemTree, Meta, Tree, walk};

fn tree() -> MemTree {
    MemTree::new()
        .file("bin/tool", 0o755, "#!/bin/true\n")
        .symlink("sbin", "bin")
}

fn options(platform: &str) -> BuildOptions {
    BuildOptions {
        platform: platform.parse().unwrap(),
        name: Some("example.test:5000/tool:v1".to_owned()),
        ..BuildOptions::default()
    }
}

fn image(store: &dyn ContentProvider, platform: &str) -> Descriptor {
    from_tree(store, &tree(), &options(platform)).unwrap()
}

/// A tar archive of files in the given order.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, data) in files {
        let size = data.len() as u64;
        let meta = Meta::new(Kind::File { size }, 0o644);
        writer.append_file(Path::new(path), &meta, *data).unwrap();
    }
    writer.finish().unwrap()
}

const LAYOUT: (&str, &[u8]) = ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);

fn import_error(files: &[(&str, &[u8])]) -> String {
    import(&Memory::new(), &tar_of(files)[..])
        .unwrap_err()
        .to_string()
}

#[test]
fn an_image_survives_an_archive() {
    let (from, to) = (Memory::new(), Memory::new());
    let image = image(&from, "linux/amd64");
    for docker in [false, true] {
        let options = ArchiveOptions { docker, time: 0 };
        let archived = archive(&from, std::slice::from_ref(&image), Vec::new(), &options).unwrap();
        assert_eq!(
            archive(&from, std::slice::from_ref(&image), Vec::new(), &options).unwrap(),
            archived
        );
        let imported = import(&to, &archived[..]).unwrap();
        assert_eq!(imported.images.len(), 1);
        assert_eq!(imported.images[0].names, ["example.test:5000/tool:v1"]);
        assert_eq!(imported.images[0].descriptor, image);
        // Compressed archives are recognised.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &archived).unwrap();
        let again = import(&Memory::new(), &encoder.finish().unwrap()[..]).unwrap();
        assert_eq!(again, imported);
    }
    let found = resolve(&to, &image, &"linux/amd64".parse().unwrap()).unwrap();
    assert_eq!(found.platform().to_string(), "linux/amd64");
    assert_eq!(found.chain_id(), Some(found.diff_ids[0].clone()));
    let dir = tempfile::tempdir().unwrap();
    unpack(&to, &found, dir.path(), &Policy::unprivileged_layer()).unwrap();
    let names = |tree: &dyn Tree| -> Vec<_> {
        let found = walk(tree, Path::new("")).unwrap();
        found
            .into_iter()
            .map(|(path, meta)| (path, meta.kind))
            .collect()
    };
    assert_eq!(names(&DirTree::new(dir.path()).unwrap()), names(&tree()));
}

#[test]
fn the_archive_of_a_directory_is_fixed() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("hello"), "hello\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.path(), mode).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(root.path().join("hello"), mode).unwrap();
    let options = BuildOptions {
        compression: Compression::None,
        ..options("linux/arm64")
    };
    let build = || {
        let mut out = Vec::new();
        archive_from_root(root.path(), &options, &mut out).unwrap();
        out
    };
    let archive = build();
    expect_test::expect!["sha256:ba7a73a75ab08211a6067f7706508117ceec88523addcc7a6eacf0bc40f3061e"]
        .assert_eq(Digest::sha256(&archive).as_str());
    // Neither the clock nor the times of the files matter.
    let file = std::fs::File::open(root.path().join("hello")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(build(), archive);
    let missing = archive_from_root(Path::new("/nowhere"), &options, Vec::new());
    assert!(missing.unwrap_err().to_string().contains("/nowhere"));
}

#[test]
fn the_best_platform_is_chosen() {
    let store = Memory::new();
    let manifests = [
        "linux/386",
        "linux/amd64",
        "linux/amd64/v2",
        "linux/arm/v6",
        "linux/s390x",
    ]
    .map(|platform| image(&store, platform));
    let nested = write_index(&store, manifests[2..].to_vec(), BTreeMap::new()).unwrap();
    let mut top = manifests[..2].to_vec();
    top.push(nested);
    let index = write_index(&store, top, BTreeMap::new()).unwrap();
    let chosen = |platform: &str| {
        let image = resolve(&store, &index, &platform.parse().unwrap())?;
        Ok::<_, ImageError>(image.platform().to_string())
    };
    assert_eq!(chosen("linux/amd64").unwrap(), "linux/amd64");
    assert_eq!(chosen("linux/amd64/v3").unwrap(), "linux/amd64/v2");
    assert_eq!(chosen("linux/arm64").unwrap(), "linux/arm/v6");
    assert_eq!(chosen("linux/386").unwrap(), "linux/386");
    let error = chosen("windows/amd64").unwrap_err().to_string();
    assert!(
        error.contains("windows/amd64") && error.contains("linux/s390x"),
        "{error}"
    );
    assert_eq!(blobs(&store, &index).unwrap().len(), 2 + 5 * 2 + 1);
}

#[test]
fn an_unlabelled_manifest_is_judged_by_its_config() {
    let store = Memory::new();
    let mut manifest = image(&store, "linux/arm64");
    manifest.set_platform(None);
    let index = write_index(&store, vec![manifest], BTreeMap::new()).unwrap();
    assert!(resolve(&store, &index, &"linux/arm64".parse().unwrap()).is_ok());
    assert!(resolve(&store, &index, &"linux/s390x".parse().unwrap()).is_err());
}

#[test]
fn chain_ids_follow_the_specification() {
    let ids: Vec<Digest> = ["a", "b", "c"].map(Digest::sha256).to_vec();
    let chain = chain_ids(&ids);
    assert_eq!(chain[0], ids[0]);
    assert_eq!(chain[1], Digest::sha256(format!("{} {}", ids[0], ids[1])));
    assert_eq!(chain[2], Digest::sha256(format!("{} {}", chain[1], ids[2])));
    assert_eq!(chain_ids(&[]), []);
}

#[test]
fn missing_and_wrong_blobs_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path()).unwrap();
    let image = image(&store, "linux/amd64");
    let platform: Platform = "linux/amd64".parse().unwrap();
    let manifest = read_manifest(&store, &image).unwrap();
    let layer = digest_of(&manifest.layers()[0]).unwrap();
    let data = content::read_all(&store, &layer, 1 << 20).unwrap();
    // A layer that is not there.
    store.remove(&layer).unwrap();
    let error = blobs(&store, &image).unwrap_err().to_string();
    assert_eq!(error, format!("blob {layer} not found"));
    put(&store, &data, &Expected::ANY).unwrap();
    // A size that does not fit.
    let digest = digest_of(&image).unwrap();
    let wrong = descriptor(image.media_type().clone(), &digest, 5);
    let error = resolve(&store, &wrong, &platform).unwrap_err();
    assert!(
        matches!(error, ImageError::Size { expected: 5, .. }),
        "{error}"
    );
    // A media type that is no image.
    let layer = descriptor(MediaType::ImageLayer, &layer, data.len() as u64);
    let error = resolve(&store, &layer, &platform).unwrap_err();
    assert!(matches!(error, ImageError::MediaType { .. }), "{error}");
    // A manifest that was changed on disk.
    let path = store.blob_path(&digest);
    let mut json = std::fs::read(&path).unwrap();
    json[10] ^= 1;
    std::fs::write(&path, json).unwrap();
    let error = resolve(&store, &image, &platform).unwrap_err().to_string();
    assert!(
        error.contains("expected") && error.contains(digest.as_str()),
        "{error}"
    );
}

#[test]
fn indexes_that_nest_without_end_are_refused() {
    let store = Memory::new();
    let mut index =
        write_index(&store, vec![image(&store, "linux/amd64")], BTreeMap::new()).unwrap();
    for _ in 0..INDEX_DEPTH_MAX {
        index = write_index(&store, vec![index], BTreeMap::new()).unwrap();
    }
    let error = resolve(&store, &index, &"linux/amd64".parse().unwrap()).unwrap_err();
    assert!(matches!(error, ImageError::Limit { .. }), "{error}");
    assert!(blobs(&store, &index).is_err());
}

#[test]
fn a_fan_of_equal_indexes_is_visited_once() {
    let store = Memory::new();
    let mut index =
        write_index(&store, vec![image(&store, "linux/amd64")], BTreeMap::new()).unwrap();
    // 50^6 paths lead to the manifest.
    for _ in 0..6 {
        index = write_index(&store, vec![index; 50], BTreeMap::new()).unwrap();
    }
    assert_eq!(blobs(&store, &index).unwrap().len(), 7 + 3);
    assert!(resolve(&store, &index, &"linux/amd64".parse().unwrap()).is_ok());
}

#[test]
fn hostile_archives_are_refused_with_a_reason() {
    let good = Digest::sha256("good");
    let path = format!("blobs/sha256/{}", good.hex());
    let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
    let huge = vec![b' '; usize::try_from(content::DOCUMENT_SIZE_MAX).unwrap() + 1];
    let list = |config: &str| format!(r#"[{{"Config":"{config}","RepoTags":null,"Layers":[]}}]"#);
    let (missing, escaping) = (list("no.json"), list("../../etc/passwd"));
    let image = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{good}","size":4}}]}}"#,
        MediaType::ImageManifest
    );
    let md5 = image.replace(good.as_str(), "md5:d41d8cd98f00b204e9800998ecf8427e");
    type Files<'a> = Vec<(&'a str, &'a [u8])>;
    let cases: Vec<(Files<'_>, &str)> = vec![
        (vec![], "not an image archive"),
        (vec![LAYOUT], "not an image archive"),
        (vec![("index.json", b"{}")], "without oci-layout"),
        (vec![LAYOUT, ("index.json", b"{")], "index.json"),
        (vec![LAYOUT, ("index.json", deep.as_bytes())], "index.json"),
        (vec![LAYOUT, ("index.json", &huge)], "larger than"),
        (
            vec![
                LAYOUT,
                ("index.json", br#"{"schemaVersion":2,"manifests":[]}"#),
            ],
            "no image",
        ),
        (vec![LAYOUT, ("index.json", image.as_bytes())], "not found"),
        (
            vec![LAYOUT, ("index.json", md5.as_bytes())],
            "unsupported algorithm",
        ),
        (vec![(path.as_str(), b"evil")], "expected"),
        (vec![("blobs/sha256/zz", b"x")], "blobs/sha256/zz"),
        (
            vec![
                (path.as_str(), b"good"),
                LAYOUT,
                ("index.json", image.as_bytes()),
            ],
            "image manifest",
        ),
        (vec![("manifest.json", b"[]")], "no image"),
        (vec![("manifest.json", missing.as_bytes())], "`no.json`"),
        (vec![("manifest.json", escaping.as_bytes())], "`..`"),
        (
            vec![
                ("oci-layout", br#"{"imageLayoutVersion":"2.0.0"}"#),
                ("index.json", b"{}"),
            ],
            "2.0.0",
        ),
    ];
    for (files, reason) in cases {
        let error = import_error(&files);
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let cut = tar_of(&[(path.as_str(), b"good")]);
    let error = import(&Memory::new(), &cut[..514]).unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
}

/// A `docker save` archive of the form before Docker 25, with the layer named by its folder.
fn docker_save(layer_is_link: bool, gzip: bool) -> (Vec<u8>, Digest) {
    let store = Memory::new();
    let compression = if gzip {
        Compression::Gzip(6)
    } else {
        Compression::None
    };
    let image = from_tree(
        &store,
        &tree(),
        &BuildOptions {
            compression,
            ..options("linux/amd64")
        },
    );
    let found = resolve(&store, &image.unwrap(), &"linux/amd64".parse().unwrap()).unwrap();
    let layer = digest_of(&found.manifest.layers()[0]).unwrap();
    let layer = content::read_all(&store, &layer, 1 << 20).unwrap();
    let config_digest = Digest::sha256(&found.config_json);
    let config = format!("{}.json", config_digest.hex());
    let list = format!(
        r#"[{{"Config":"{config}","RepoTags":["tool:v1","tool:latest"],"Layers":["abc/layer.tar"]}}]"#
    );
    let mut writer = Writer::new(Vec::new());
    let mut add = |path: &str, data: &[u8]| {
        let size = data.len() as u64;
        let meta = Meta::new(Kind::File { size }, 0o644);
        writer.append_file(Path::new(path), &meta, data).unwrap();
    };
    add("manifest.json", list.as_bytes());
    add("abc/VERSION", b"1.0");
    add("abc/json", b"{}");
    add(&config, &found.config_json);
    add(
        if layer_is_link {
            "def/layer.tar"
        } else {
            "abc/layer.tar"
        },
        &layer,
    );
    add("repositories", b"{}");
    if layer_is_link {
        let target = "../def/layer.tar".into();
        let meta = Meta::new(Kind::Symlink { target }, 0o777);
        writer.append(Path::new("abc/layer.tar"), &meta).unwrap();
    }
    (writer.finish().unwrap(), config_digest)
}

#[test]
fn docker_save_archives_become_oci_images() {
    for (link, gzip) in [(false, false), (true, false), (false, true)] {
        let (archive, config_digest) = docker_save(link, gzip);
        let store = Memory::new();
        let imported = import(&store, &archive[..]).unwrap();
        assert_eq!(imported.images[0].names, ["tool:v1", "tool:latest"]);
        let platform = "linux/amd64".parse().unwrap();
        let image = resolve(&store, &imported.images[0].descriptor, &platform).unwrap();
        assert_eq!(digest_of(image.manifest.config()).unwrap(), config_digest);
        let media_type = image.manifest.layers()[0].media_type();
        assert_eq!(*media_type == MediaType::ImageLayerGzip, gzip);
        // Documents and markers are no blobs of the image.
        assert_eq!(store.list().unwrap().len(), 3);
        let dir = tempfile::tempdir().unwrap();
        unpack(&store, &image, dir.path(), &Policy::unprivileged_layer()).unwrap();
        assert!(dir.path().join("bin/tool").exists());
    }
}

#[test]
fn layouts_on_disk_are_copied_whole() {
    let dir = tempfile::tempdir().unwrap();
    let layout = ContentStore::open(dir.path()).unwrap();
    let image = image(&layout, "linux/amd64");
    layout.tag(image.clone()).unwrap();
    // The same name again replaces, another name adds.
    layout.tag(image.clone()).unwrap();
    let mut other = image.clone();
    other.set_annotations(None);
    layout.tag(other).unwrap();
    let index: ImageIndex = layout.index().unwrap();
    assert_eq!(index.manifests().len(), 2);
    let store = Memory::new();
    let imported = import_path(&store, dir.path()).unwrap();
    assert_eq!(imported.images[0].names, ["example.test:5000/tool:v1"]);
    assert_eq!(store.list().unwrap(), layout_blobs(&store, &image));
    let file = dir.path().join("archive.tar");
    let out = std::fs::File::create(&file).unwrap();
    archive(&layout, &[image], out, &ArchiveOptions::default()).unwrap();
    assert_eq!(import_path(&Memory::new(), &file).unwrap().images.len(), 1);
    assert!(import_path(&store, Path::new("/nowhere")).is_err());
    assert!(import_path(&store, Path::new("/")).is_err());
}

fn layout_blobs(store: &Memory, image: &Descriptor) -> Vec<content::BlobInfo> {
    let mut all: Vec<_> = blobs(store, image)
        .unwrap()
        .iter()
        .map(|blob| store.info(&digest_of(blob).unwrap()).unwrap())
        .collect();
    all.sort_by(|a, b| a.digest.cmp(&b.digest));
    all
}

#[test]
fn a_full_disk_is_an_error() {
    let store = Memory::new();
    let image = image(&store, "linux/amd64");
    let options = ArchiveOptions::default();
    let whole = archive(&store, std::slice::from_ref(&image), Vec::new(), &options).unwrap();
    for room in [0, 511, 2000, whole.len() - 1] {
        let result = archive(&store, std::slice::from_ref(&image), Full(room), &options);
        assert!(result.is_err(), "{room}");
    }
    assert!(archive(&store, &[image], Full(whole.len()), &options).is_ok());
}

#[test]
fn configs_and_layers_must_fit() {
    let store = Memory::new();
    let image = image(&store, "linux/amd64");
    let found = resolve(&store, &image, &"linux/amd64".parse().unwrap()).unwrap();
    let error = write_manifest(&store, &found.config, Vec::new(), BTreeMap::new()).unwrap_err();
    assert!(
        error.to_string().contains("1 diff ids for 0 layers"),
        "{error}"
    );
}

#[test]
fn entries_of_an_archive_are_in_order_and_of_one_time() {
    let store = Memory::new();
    let images = [image(&store, "linux/amd64"), image(&store, "linux/arm64")];
    let options = ArchiveOptions {
        docker: true,
        time: 77,
    };
    let archive = archive(&store, &images, Vec::new(), &options).unwrap();
    let mut reader = Reader::new(&archive[..]);
    let mut paths = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        assert_eq!(entry.meta.mtime.secs, 77);
        if entry.path == Path::new("manifest.json") {
            let mut json = String::new();
            reader.read_to_string(&mut json).unwrap();
            assert_eq!(json.matches("RepoTags").count(), 2);
        }
        paths.push(entry.path);
    }
    // One layer is shared: it is written once.
    assert_eq!(paths.len(), 2 + (2 * 2 + 1) + 3);
    assert!(paths.is_sorted());
    let times = BuildOptions {
        times: Times::Seconds,
        ..BuildOptions::default()
    };
    assert!(from_tree(&store, &tree(), &times).is_ok());
}
