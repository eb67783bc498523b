//! Trees on disk and in memory read alike.

use super::*;

fn paths(tree: &dyn Tree) -> Vec<String> {
    let found = walk(tree, Path::new("")).unwrap();
    found
        .iter()
        .map(|(path, _)| path.display().to_string())
        .collect()
}

#[test]
fn a_walk_is_parents_first_and_in_byte_order() {
    let tree = MemTree::new()
        .file("a/x", 0o644, "1")
        .file("a-b", 0o644, "2")
        .file("B", 0o644, "3")
        .dir("a/d", 0o700);
    // `a-b` sorts before `a/x` as a text, but a directory stays together with its content.
    assert_eq!(paths(&tree), ["", "B", "a", "a/d", "a/x", "a-b"]);
}

#[test]
fn a_directory_on_disk_reads_as_the_same_tree() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("a/d")).unwrap();
    std::fs::write(root.join("a/x"), "hello").unwrap();
    std::os::unix::fs::symlink("../outside", root.join("a-b")).unwrap();
    std::fs::hard_link(root.join("a/x"), root.join("hard")).unwrap();
    let tree = DirTree::new(&root).unwrap();
    assert_eq!(paths(&tree), ["", "a", "a/d", "a/x", "a-b", "hard"]);
    assert_eq!(tree.stat(Path::new("a/x")).unwrap().size(), 5);
    let target = PathBuf::from("../outside");
    assert_eq!(
        tree.stat(Path::new("a-b")).unwrap().kind,
        Kind::Symlink { target }
    );
    assert!(tree.open(Path::new("a-b")).is_err());
    assert_eq!(
        tree.link_group(Path::new("hard")).unwrap(),
        tree.link_group(Path::new("a/x")).unwrap(),
    );
    assert_eq!(tree.link_group(Path::new("a")).unwrap(), None);
    assert!(DirTree::new(root.join("a/x")).is_err());
}

#[test]
fn the_memory_tree_keeps_itself_consistent() {
    let tree = MemTree::new()
        .file("/a/../b/./c", 0o644, "x")
        .file("b/d/e", 0o644, "y");
    assert_eq!(paths(&tree), ["", "b", "b/c", "b/d", "b/d/e"]);
    let replaced = tree.clone().file("b", 0o600, "now a file");
    assert_eq!(paths(&replaced), ["", "b"]);
    assert_eq!(
        paths(&replaced.file("b/new", 0o600, "")),
        ["", "b", "b/new"]
    );
    assert_eq!(paths(&tree.without("b/d")), ["", "b", "b/c"]);
}
