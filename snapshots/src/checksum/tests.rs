//! The content hash: reference vectors, its definition as a model, selections.

use super::*;
use std::io::Read;

use crate::testing::any_tree;
use crate::tree::{DirTree, Kind, MemTree, Meta, Time};
use proptest::prelude::*;

pub(super) fn scan(tree: &MemTree) -> Checksums<'_> {
    Checksums::new(tree, Profile::SNAPSHOT).unwrap()
}

pub(super) fn select(
    wildcard: bool,
    follow: bool,
    include: &[&str],
    exclude: &[&str],
) -> Selection {
    let owned = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect();
    Selection {
        wildcard,
        follow_links: follow,
        include: owned(include),
        exclude: owned(exclude),
        required: Vec::new(),
    }
}

#[track_caller]
pub(super) fn check(actual: Result<Digest, ChecksumError>, hex: &str) {
    assert_eq!(actual.unwrap().hex(), hex);
}

/// The tree of the reference vectors.
fn reference() -> MemTree {
    MemTree::new()
        .dir("d", 0o755)
        .file("d/f", 0o644, "hi\n")
        .file("d/g.txt", 0o644, "g")
        .symlink("d/l", "f")
}

#[test]
fn golden_records() {
    let mut owned = Meta::new(Kind::File { size: 0 }, 0o600);
    (owned.uid, owned.gid) = (5, 6);
    // Times are not hashed.
    owned.mtime = Time::from_secs(1_700_000_000);
    let mut labelled = Meta::new(Kind::File { size: 1 }, 0o4755);
    labelled.xattrs.insert(b"user.a".to_vec(), b"b".to_vec());
    labelled
        .xattrs
        .insert(b"security.selinux".to_vec(), b"s".to_vec());
    let tree = MemTree::new()
        .file("f", 0o644, "hi\n")
        .entry("owned", owned, Vec::new())
        .symlink("l", "x")
        .entry("p", Meta::new(Kind::Fifo, 0o644), Vec::new())
        .entry("labelled", labelled, b"x".to_vec())
        .entry(
            "null",
            Meta::new(Kind::Char { major: 1, minor: 3 }, 0o666),
            Vec::new(),
        )
        .dir("d", 0o755);
    let sums = scan(&tree);
    check(
        sums.plain("/f", false),
        "24c9567cfc17c5ccb6e4d178b04b9bb870ef90f3fb94f6b08fbc5b2a456769eb",
    );
    check(
        sums.plain("owned", false),
        "15729c69705d0fa6c94c279de943424aa13fbd82deee0d62f5f30689e1d9071e",
    );
    check(
        sums.plain("/l", false),
        "189bcd9519de8401c41b6bf399bf736ff71414987fc0f60baba9f517027a77bb",
    );
    check(
        sums.plain("/p/", false),
        "ed66acfbb9d93c08ed7faab2b6c0e2201a312df9abcbd94a761a1ea7f345dad5",
    );
    check(
        sums.plain("./labelled", false),
        "54782877885ff422b1a608821795194ad1f7c4fe94e553aea72cea84e60fcb36",
    );
    let d = find(&sums.records, b"/d").unwrap();
    assert_eq!(
        Digest::from(*sums.header_of(d)).hex(),
        "1a2805521573cb10d73bcd51d16bfa84c8f461d68599740e35484b90b2ab1bab"
    );
    let sent = Checksums::new(&tree, Profile::LOCAL).unwrap();
    let device = "b5cab4d22002a5d4e9602cc55f9928e420ed51d77bf42d701ba879531b7a3274";
    check(sent.plain("/null", false), device);
    assert_ne!(sums.plain("/null", false).unwrap().hex(), device);
    let mut old = Profile::SNAPSHOT;
    old.rules = Rules::of_minor(12);
    check(
        Checksums::new(&tree, old).unwrap().plain("/null", false),
        device,
    );
}

#[test]
fn golden_trees() {
    let tree = reference();
    let sums = scan(&tree);
    check(
        sums.plain("/d", false),
        "0bab7e6986a0d62442bb09f40fac720a1255c083f58315d611f414ce61b75a84",
    );
    check(
        sums.plain("/", false),
        "34fd57ac9ca8efd15f448f53fde63d5aa695f8feba3618404c8520dc5f20e285",
    );
    let sent = Checksums::new(&tree, Profile::LOCAL).unwrap();
    check(
        sent.plain("/d", false),
        "0bab7e6986a0d62442bb09f40fac720a1255c083f58315d611f414ce61b75a84",
    );
    check(
        sent.plain("/", false),
        "2d51359247429f59216ba1c1e892848677d1f4c82f55818f3c29454907bec08d",
    );
    assert_eq!(
        plain(&tree, Profile::SNAPSHOT, "d").unwrap(),
        sums.plain("/d", false).unwrap()
    );
}

#[test]
fn golden_selections() {
    let tree = reference();
    let sums = scan(&tree);
    let all = select(true, false, &[], &[]);
    check(
        sums.filtered("/d/*", &all),
        "23cca07c1603391c860efe89aa099692f774a1dc25471b6a0c501ce83a1535ee",
    );
    check(
        sums.filtered("/d/*.txt", &all),
        "3eb63604bda8fd27c3f0e1eb04d706f1896b310c82575547c66a603fd2e74fe5",
    );
    let include = select(false, false, &["g*"], &[]);
    check(
        sums.filtered("/d", &include),
        "59a2f99940f7b223b259b601db6a7973c335e1dacf904d59543730e71a02923f",
    );
    let exclude = select(false, false, &[], &["**/l"]);
    check(
        sums.filtered("/", &exclude),
        "5098740a43bfc8e17acb4702965a9d001d483a6fa304deca1ad38b459d13a58c",
    );
}

#[test]
fn the_shape_of_a_list_digest() {
    let tree = MemTree::new()
        .file("foo", 0o644, "1")
        .file("bar", 0o644, "2");
    let sums = scan(&tree);
    let foo = sums.plain("/foo", false).unwrap();
    let wildcard = select(true, false, &[], &[]);
    let expected = Digest::sha256(format!("\0foo{foo}"));
    assert_eq!(sums.filtered("/f*o", &wildcard).unwrap(), expected);
    // One match of the same name is that record.
    assert_eq!(sums.filtered("/foo", &wildcard).unwrap(), foo);
    // Nothing matches.
    assert_eq!(sums.filtered("/x*", &wildcard).unwrap(), Digest::sha256(""));
    assert_eq!(
        sums.filtered("/no/x*", &wildcard).unwrap(),
        Digest::sha256("")
    );
    let mut old = Profile::SNAPSHOT;
    old.rules = Rules::of_minor(25);
    let old = Checksums::new(&tree, old).unwrap();
    let bar = sums.plain("/bar", false).unwrap();
    let joined = Digest::sha256(format!("bar{bar}\0foo{foo}"));
    assert_eq!(old.filtered("/[bf]*", &wildcard).unwrap(), joined);
}

#[test]
fn links_are_resolved_within_the_tree() {
    let tree = MemTree::new()
        .file("real/f", 0o644, "1")
        .symlink("abs", "/real")
        .symlink("dir/rel", "../../../real")
        .symlink("file", "abs/f")
        .symlink("loop", "loop2")
        .symlink("loop2", "loop")
        .symlink("dangling", "nowhere");
    let sums = scan(&tree);
    let f = sums.plain("/real/f", false).unwrap();
    for path in ["/abs/f", "/dir/rel/f", "/dir/../abs/./f", "/abs/../real/f"] {
        assert_eq!(sums.plain(path, false).unwrap(), f, "{path}");
    }
    assert_eq!(sums.plain("/file", true).unwrap(), f);
    assert_ne!(sums.plain("/file", false).unwrap(), f);
    let error = |path| sums.plain(path, true).unwrap_err().to_string();
    assert_eq!(error("/loop"), "\"/loop\": too many links");
    assert_eq!(error("/dangling"), "\"/dangling\": not found");
    assert_eq!(error("/real/nothing"), "\"/real/nothing\": not found");
    // Patterns see the asked-for spelling of a path behind a link.
    let wildcard = select(true, false, &[], &[]);
    let direct = sums.filtered("/real/*", &wildcard).unwrap();
    assert_eq!(sums.filtered("/abs/*", &wildcard).unwrap(), direct);
}

#[test]
fn only_top_level_matches_are_followed_since_v0_25() {
    let tree = MemTree::new()
        .file("f", 0o644, "1")
        .symlink("top", "f")
        .dir("d", 0o755)
        .symlink("d/nested", "../f");
    let followed = select(true, true, &[], &[]);
    let kept = select(true, false, &[], &[]);
    let sums = scan(&tree);
    assert_ne!(
        sums.filtered("/t*", &followed).unwrap(),
        sums.filtered("/t*", &kept).unwrap()
    );
    assert_eq!(
        sums.filtered("/d*", &followed).unwrap(),
        sums.filtered("/d*", &kept).unwrap()
    );
    let mut profile = Profile::SNAPSHOT;
    profile.rules.follow_nested = true;
    let old = Checksums::new(&tree, profile).unwrap();
    assert_ne!(
        old.filtered("/d*", &followed).unwrap(),
        old.filtered("/d*", &kept).unwrap()
    );
}

#[test]
fn a_trailing_slash_leaves_the_directory_itself_out() {
    let mut tree = reference();
    let include = select(false, false, &["g*"], &[]);
    let inside = scan(&tree).filtered("/d/", &include).unwrap();
    let with = scan(&tree).filtered("/d", &include).unwrap();
    tree = tree.dir("d", 0o700);
    assert_eq!(scan(&tree).filtered("/d/", &include).unwrap(), inside);
    assert_ne!(scan(&tree).filtered("/d", &include).unwrap(), with);
}

#[test]
fn required_paths_begin_a_selected_path() {
    let tree = reference();
    let sums = scan(&tree);
    let mut selection = select(false, false, &["g*"], &[]);
    let digest = sums.filtered("/d", &selection).unwrap();
    selection.required = vec!["/d/g".to_owned(), "/d".to_owned()];
    assert_eq!(sums.filtered("/d", &selection).unwrap(), digest);
    // Selected is what the patterns leave, not what exists.
    selection.required.push("/d/f".to_owned());
    let error = sums.filtered("/d", &selection).unwrap_err();
    assert_eq!(error.to_string(), "\"/d/f\": not found");
    let mut old = Profile::SNAPSHOT;
    old.rules = Rules::of_minor(25);
    let old = Checksums::new(&tree, old).unwrap();
    assert!(old.filtered("/d", &selection).is_ok());
}

#[test]
fn the_content_of_selectors_is_a_digest_of_digests() {
    let tree = reference();
    let sums = scan(&tree);
    let (plain, text) = (Selection::default(), select(true, false, &[], &[]));
    check(
        sums.content([("d/", &plain)]),
        "e73143eb027c89db65e229f670162474cb09acffdabd2de637782e14be92a37f",
    );
    let joined = format!(
        "{}\0{}",
        sums.plain("/d", false).unwrap(),
        sums.filtered("/d/*.txt", &text).unwrap()
    );
    assert_eq!(
        sums.content([("d", &plain), ("d/*.txt", &text)]).unwrap(),
        Digest::sha256(joined)
    );
    let root = sums.plain("/", false).unwrap();
    assert_eq!(sums.content([]).unwrap(), Digest::sha256(root.as_str()));
}

#[test]
fn bad_patterns_and_wildcards_are_errors() {
    let tree = reference();
    let sums = scan(&tree);
    let error = sums
        .filtered("/d/[", &select(true, false, &[], &[]))
        .unwrap_err();
    assert!(error.to_string().contains("\"/d/[\""), "{error}");
    let error = sums
        .filtered("/d", &select(false, false, &["a["], &[]))
        .unwrap_err();
    assert!(error.to_string().contains("`a[`"), "{error}");
}

#[test]
fn a_file_that_changes_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "12345").unwrap();
    let tree = DirTree::new(dir.path()).unwrap();
    for now in ["1234", "123456"] {
        std::fs::write(dir.path().join("f"), "12345").unwrap();
        let sums = Checksums::new(&tree, Profile::LOCAL).unwrap();
        std::fs::write(dir.path().join("f"), now).unwrap();
        let error = sums.plain("/", false).unwrap_err().to_string();
        assert_eq!(error, "/f changed while it was read");
    }
    let sums = Checksums::new(&tree, Profile::LOCAL).unwrap();
    std::fs::remove_file(dir.path().join("f")).unwrap();
    assert!(
        sums.plain("/", false)
            .unwrap_err()
            .to_string()
            .starts_with("/f:")
    );
}

#[test]
fn many_files_in_parallel_give_the_same_digest() {
    let many = |n| {
        (0..n).fold(MemTree::new(), |tree, i| {
            tree.file(format!("d{}/f{i}", i % 7), 0o644, i.to_string())
        })
    };
    let tree = many(500);
    let first = scan(&tree).plain("/", false).unwrap();
    for _ in 0..5 {
        assert_eq!(scan(&tree).plain("/", false).unwrap(), first);
    }
    assert_ne!(scan(&many(499)).plain("/", false).unwrap(), first);
}

/// The definition, written down recursively.
fn naive(tree: &MemTree, path: &Path) -> Digest {
    let meta = tree.stat(path).unwrap();
    let mut bytes = header::bytes(&meta, &Profile::SNAPSHOT);
    if !meta.is_dir() {
        if matches!(meta.kind, Kind::File { .. }) {
            tree.open(path).unwrap().read_to_end(&mut bytes).unwrap();
        }
        return Digest::sha256(bytes);
    }
    let mut list = format!("\0{}", Digest::sha256(bytes)).into_bytes();
    for name in tree.list(path).unwrap() {
        list.push(0);
        list.extend(name.as_bytes());
        list.extend(naive(tree, &path.join(name)).as_str().bytes());
    }
    Digest::sha256(list)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_directory_digest_follows_the_definition(tree in any_tree()) {
        let sums = scan(&tree);
        prop_assert_eq!(sums.plain("/", false).unwrap(), naive(&tree, Path::new("")));
        for record in &sums.records {
            let path = String::from_utf8_lossy(&record.path);
            prop_assert_eq!(sums.plain(&path, false).unwrap(), naive(&tree, Path::new(path.trim_start_matches('/'))));
        }
    }

    #[test]
    fn including_everything_lists_every_path_once(tree in any_tree()) {
        let sums = scan(&tree);
        let (_, listed) = sums.list("/", &select(false, false, &["**"], &[])).unwrap();
        let paths: Vec<_> = listed.iter().map(|l| l.path.clone()).collect();
        let expected: Vec<_> = sums.records[1..].iter().map(|r| r.path.to_vec()).collect();
        prop_assert_eq!(paths, expected);
    }

    #[test]
    fn what_is_excluded_does_not_matter(tree in any_tree()) {
        let exclude = select(false, false, &[], &["a", "**/b"]);
        let before = scan(&tree).filtered("/", &exclude).unwrap();
        let changed = tree.file("a/new/x", 0o600, "new").without("a/b");
        prop_assert_eq!(scan(&changed).filtered("/", &exclude).unwrap(), before);
    }
}

/// Digests that BuildKit v0.32.2 has for an image with such names.
#[test]
fn golden_names_from_0xff_on() {
    let at = |path: &'static [u8]| std::ffi::OsStr::from_bytes(path);
    let tree = MemTree::new()
        .file(at(b"d/s/\xffx"), 0o644, "1")
        .file("d/s/a", 0o644, "2")
        .file(at(b"d/\xff/in"), 0o644, "3")
        .file(at(b"d/s/\xff\xff/\xfe"), 0o644, "5")
        .file("d/t", 0o644, "4");
    let sums = scan(&tree);
    check(
        sums.plain("/", false),
        "e6ed2babde5598cdec0e0da09b4c17b1a3bf4c62924575e2ec5ae70ece769f52",
    );
    check(
        sums.plain("/d", false),
        "fa32b855593f9137a9fb2984fd35076d888ef3c0c66796ef1e641d6116b5bf75",
    );
    check(
        sums.plain("/d/s", false),
        "c5aefa95b852b16d1835c5c11efce80da6bed03cc5f756e882b3f6a6c820d9ca",
    );
}

/// The daemon's own way of walking: a map of keys in which it jumps past a directory by looking
/// for the first key from `dir\0\xff` on.
fn by_seeking(tree: &MemTree, dir: &[u8]) -> Digest {
    let entries = crate::tree::walk(tree, Path::new("")).unwrap();
    let keys: std::collections::BTreeMap<Vec<u8>, PathBuf> = entries
        .into_iter()
        .map(|(path, _)| {
            let path_key = record_path(&path)
                .iter()
                .map(|b| if *b == b'/' { 0 } else { *b })
                .collect();
            (path_key, path)
        })
        .collect();
    let header = header::bytes(&tree.stat(&keys[dir]).unwrap(), &Profile::SNAPSHOT);
    let mut list = format!("\0{}", Digest::sha256(header)).into_bytes();
    let mut from = [dir, b"\0"].concat();
    while let Some((key, path)) = keys.range(from..).next()
        && key.starts_with(&[dir, b"\0"].concat())
    {
        list.extend(&key[dir.len()..]);
        let is_dir = tree.stat(path).unwrap().is_dir();
        let digest = if is_dir {
            by_seeking(tree, key)
        } else {
            naive(tree, path)
        };
        list.extend(digest.as_str().bytes());
        let past: &[u8] = if is_dir { b"\0\xff" } else { b"\0" };
        from = [key, past].concat();
    }
    Digest::sha256(list)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn names_from_0xff_on_are_hashed_as_the_daemon_finds_them(
        paths in prop::collection::vec(
            prop::collection::vec(prop::sample::select(vec![&b"a"[..], b"\xfe", b"\xff", b"\xff\xff", b"b\xff"]), 1..5),
            0..12,
        )
    ) {
        let tree = paths.iter().fold(MemTree::new(), |tree, path| {
            tree.dir(std::ffi::OsStr::from_bytes(&path.join(&b'/')), 0o755)
        });
        prop_assert_eq!(scan(&tree).plain("/", false).unwrap(), by_seeking(&tree, b""));
    }
}
