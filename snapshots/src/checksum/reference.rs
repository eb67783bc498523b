//! Digests that the reference implementation is known to give for small trees: files of mode 0644,
//! directories of mode 0755, everything owned by root.

use super::tests::{check, scan, select};
use crate::tree::MemTree;

const DATA0: &str = "cd8e75bca50f2d695f220d0cb0997d8ead387e4f926e8669a92d7f104cc9885b";
const DATA1: &str = "c2b5e234f5f38fc5864da7def04782f82501a40d46192e4207d5b3f0c3c4732b";
const DATA2: &str = "1c67653c3cf95b12a0014e2c4cd1d776b474b3218aee54155d6ae27b9b999c54";
const D0: &str = "d47454417d2c554067fbefe5f5719edc49f3cfe969c36b62e34a187a4da0cc9a";
const LINK_TO_TARGET: &str = "a2ba571981f48ec34eb79c9a3ab091b6491e825c2f7e9914ea86e8e958be7fae";

/// A directory with a file, a link to it, and a dangling link.
fn with_d0(tree: MemTree, dir: &str) -> MemTree {
    tree.file(format!("{dir}/abc"), 0o644, "data0")
        .symlink(format!("{dir}/def"), "abc")
        .symlink(format!("{dir}/ghi"), "nosuchfile")
}

#[test]
fn files_links_and_directories() {
    let tree = with_d0(MemTree::new(), "d0")
        .file("foo", 0o644, "data0")
        .file("bar", 0o644, "data1");
    let sums = scan(&tree);
    check(sums.plain("foo", true), DATA0);
    check(sums.plain("bar", true), DATA1);
    check(sums.plain("d0/abc", true), DATA0);
    check(sums.plain("d0/def", true), DATA0);
    assert!(sums.plain("d0/ghi", true).is_err());
    assert!(sums.plain("nosuch", true).is_err());
    check(
        sums.plain("/", true),
        "427c9cf9ae98c0f81fb57a3076b965c7c149b6b0a85625ad4e884236649a42c6",
    );
    check(sums.plain("d0", true), D0);
    // The same directory as a root, and without its dangling link.
    let root = with_d0(MemTree::new(), "");
    check(scan(&root).plain("/", true), D0);
    check(
        scan(&root.without("ghi")).plain("/", true),
        "555ffa3028630d97ba37832b749eda85ab676fd64ffb629fbf0f4ec8c1e3bff1",
    );
    let nested = MemTree::new().file("abc/aa/foo", 0o644, "data2");
    check(scan(&nested).plain("abc/aa/foo", true), DATA2);
}

#[test]
fn wildcards() {
    let tree = with_d0(MemTree::new(), "x/d0")
        .file("bar", 0o644, "data1")
        .file("foo", 0o644, "data0")
        .file("fox", 0o644, "data2")
        .symlink("y1", "foo")
        .symlink("y2", "fox");
    let sums = scan(&tree);
    let kept = select(true, false, &[], &[]);
    let followed = select(true, true, &[], &[]);
    check(
        sums.filtered("f*", &kept),
        "0b6731924f0a32a812bf8a729202e55e54ded331f9e4ff2397f681e43694e086",
    );
    check(
        sums.filtered("x/d?", &kept),
        "6b612ad5c13159112ae26357ef7bd34df29916941ba40ec2ce38dfb70c6c60c3",
    );
    check(sums.filtered("x/d?/def", &followed), DATA0);
    check(
        sums.filtered("y*", &followed),
        "982153600b9653a1decb0f961e09e2bc1be335cfcaac9b39dbd1120b65fdf92c",
    );
}

#[test]
fn links_that_are_not_followed() {
    let tree = MemTree::new()
        .file("target", 0o644, "data0")
        .symlink("sym", "target")
        .symlink("foo/ghi", "target")
        .symlink("y1", "foo/ghi");
    let sums = scan(&tree);
    let kept = select(true, false, &[], &[]);
    let followed = select(true, true, &[], &[]);
    for path in ["sym", "foo/ghi"] {
        check(sums.filtered(path, &kept), LINK_TO_TARGET);
        check(sums.plain(path, false), LINK_TO_TARGET);
    }
    // `target` does not exist beside `foo/ghi`.
    assert!(sums.filtered("foo/ghi", &followed).is_err());
    assert!(sums.filtered("y1", &followed).is_err());
    let foo = "9b761577efcb1239cf4be971914c5d7404914dd32ff436401af1764dc5446b83";
    check(sums.plain("foo", true), foo);
    check(
        sums.filtered("foo", &select(false, true, &[], &["*.git"])),
        foo,
    );
    check(
        sums.filtered("fo?", &followed),
        "2797e710c6d1a89ff2d91c834b828b1dc500f2982430a58241df8e146f4c4bb4",
    );
}

#[test]
fn patterns_select_and_nothing_else_matters() {
    let before = MemTree::new()
        .file("foo", 0o644, "data0")
        .file("bar", 0o644, "data1")
        .file("d0/abc", 0o644, "abc")
        .file("d1/def", 0o644, "def");
    let after = before
        .clone()
        .file("baz", 0o644, "data2")
        .file("d0/xyz", 0o644, "xyz")
        .dir("d2", 0o755);
    let (before, after) = (scan(&before), scan(&after));
    for wildcard in [false, true] {
        let with = |sums: &super::Checksums<'_>, include: &[&str], exclude: &[&str]| {
            let selection = select(wildcard, false, include, exclude);
            sums.filtered("", &selection).unwrap()
        };
        for same in [
            &["foo"][..],
            &["foo", "bar"],
            &["d1"],
            &["d0/a*"],
            &["d1/*"],
            &["d2/foo"],
        ] {
            assert_eq!(
                with(&before, same, &[]),
                with(&after, same, &[]),
                "{same:?}"
            );
        }
        for changed in ["d0", "d0/*"] {
            assert_ne!(
                with(&before, &[changed], &[]),
                with(&after, &[changed], &[])
            );
        }
        let star = with(&before, &["d0/*"], &[]);
        assert_eq!(star, with(&before, &["d0/a*"], &[]));
        assert_eq!(star, with(&after, &["**/abc"], &[]));
        assert_eq!(star, with(&after, &["d0/*"], &["d0/xyz"]));
        assert_eq!(with(&after, &["d2/foo"], &[]), crate::Digest::sha256(""));
    }
}

#[test]
fn double_stars_and_links_in_the_path() {
    let empty = MemTree::new().dir("prefix/a/b/c", 0o755);
    let full = empty.clone().file("prefix/a/b/c/foo/bar", 0o644, "abc");
    for wildcard in [false, true] {
        let nothing = select(wildcard, false, &["**/foo/**"], &[]);
        let digest = scan(&empty).filtered("prefix/a", &nothing).unwrap();
        assert_eq!(digest, crate::Digest::sha256(""));
        for include in [["**/foo/**", "**/report"], ["**/foo", "**/report"]] {
            check(
                scan(&full).filtered("prefix/a", &select(wildcard, false, &include, &[])),
                "aa7448215bbf5b837b35ce64467857d8b9747965573d14d4b31b370586370971",
            );
        }
    }
    let linked = MemTree::new()
        .file("data/d0/d1/d2/foo", 0o644, "abc")
        .symlink("data/symlink-to-d0", "d0")
        .symlink("mnt/data", "../data");
    let sums = scan(&linked);
    let equal = |wildcard: bool, one: &str, other: &str| {
        let selection = select(wildcard, false, &["**/foo"], &[]);
        let digest = sums.filtered(one, &selection).unwrap();
        assert_ne!(digest, crate::Digest::sha256(""), "{one}");
        assert_eq!(
            digest,
            sums.filtered(other, &selection).unwrap(),
            "{one} {other}"
        );
    };
    for wildcard in [false, true] {
        equal(wildcard, "data/d0", "mnt/data/d0");
        equal(wildcard, "data/d0/d1/d2", "mnt/data/d0/d1/d2");
    }
    equal(true, "data/d*", "mnt/data/d*");
    equal(true, "data/d0/d1/d*", "mnt/data/d0/d1/d*");
    equal(true, "mnt/data/d0/d*/d2", "mnt/data/symlink-to-d0/d*/d2");
}
