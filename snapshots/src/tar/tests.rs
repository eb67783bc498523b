//! Archives: round trips, foreign readers, hostile archives, confinement.

use std::io::{Cursor, Read};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::testing::{Full, any_tree, is_root, lines};
use crate::tree::{DirTree, Kind, MemTree, Time, Tree, walk};

/// Writes a whole tree as an archive.
fn pack(tree: &dyn Tree) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, meta) in walk(tree, Path::new("")).unwrap() {
        if matches!(meta.kind, Kind::File { .. }) {
            writer
                .append_file(&path, &meta, tree.open(&path).unwrap())
                .unwrap();
        } else {
            writer.append(&path, &meta).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// Reads an archive back into a tree.
fn unpack(archive: &[u8]) -> Result<MemTree, TarError> {
    let mut reader = Reader::new(archive);
    let mut tree = MemTree::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data)?;
        tree = tree.entry(entry.path, entry.meta, data);
    }
    Ok(tree)
}

fn extracted(archive: &[u8], policy: &Policy) -> Result<tempfile::TempDir, TarError> {
    let dir = tempfile::tempdir().unwrap();
    extract(&mut Reader::new(archive), dir.path(), policy)?;
    Ok(dir)
}

/// One entry made by hand: type, path, link target, data.
fn raw(kind: tar::EntryType, path: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(rustix::process::getuid().as_raw().into());
    header.set_gid(rustix::process::getgid().as_raw().into());
    header.set_mtime(1);
    header.set_size(data.len() as u64);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

fn file(path: &str, data: &str) -> Vec<u8> {
    raw(tar::EntryType::Regular, path, "", data.as_bytes())
}

fn link(path: &str, target: &str) -> Vec<u8> {
    raw(tar::EntryType::Symlink, path, target, b"")
}

fn hard(path: &str, target: &str) -> Vec<u8> {
    raw(tar::EntryType::Link, path, target, b"")
}

fn dir(path: &str) -> Vec<u8> {
    raw(tar::EntryType::Directory, path, "", b"")
}

fn files() -> Policy {
    Policy::files()
}

fn layer() -> Policy {
    Policy::unprivileged_layer()
}

#[test]
fn the_bytes_of_an_archive_are_fixed() {
    let mut meta = Meta::new(Kind::File { size: 3 }, 0o4755);
    meta.mtime = Time {
        secs: -2,
        nanos: 500_000_000,
    };
    meta.uid = 3_000_000;
    meta.xattrs.insert(b"user.a".to_vec(), b"b".to_vec());
    let tree = MemTree::new()
        .entry(
            format!("{}/{}", "d".repeat(120), "f".repeat(120)),
            meta,
            b"abc".to_vec(),
        )
        .symlink("l", "d".repeat(101));
    let archive = pack(&tree);
    let digest = crate::Digest::sha256(&archive);
    expect_test::expect!["sha256:4f83d1c6b21b4e6ec00254521749f3232bd5541fa97791c0192f95b4b6ab7412"]
        .assert_eq(digest.as_str());
    let text = String::from_utf8_lossy(&archive).into_owned();
    for record in [
        "14 mtime=-1.5\n",
        "15 uid=3000000\n",
        "25 SCHILY.xattr.user.a=b\n",
    ] {
        assert!(text.contains(record), "{record}");
    }
    assert_eq!(unpack(&archive).unwrap(), tree);
}

#[test]
fn gnu_tar_reads_what_we_write() {
    let tree = MemTree::new()
        .file(
            format!("{}/{}", "d".repeat(120), "f".repeat(120)),
            0o644,
            "abc",
        )
        .file("\u{e9}", 0o600, vec![b'x'; 700])
        .symlink("l", "t".repeat(150));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.tar"), pack(&tree)).unwrap();
    let Ok(output) = std::process::Command::new("tar")
        .current_dir(dir.path())
        .args([
            "--numeric-owner",
            "--no-same-owner",
            "-xf",
            "a.tar",
            "--one-top-level=x",
        ])
        .output()
    else {
        return; // No tar on this machine: nothing to compare with.
    };
    assert!(output.status.success(), "{output:?}");
    let unpacked = DirTree::new(dir.path().join("x")).unwrap();
    let names = |tree: &dyn Tree| -> Vec<_> {
        let found = walk(tree, Path::new("")).unwrap();
        found
            .into_iter()
            .map(|(path, meta)| (path, meta.kind))
            .collect()
    };
    assert_eq!(names(&unpacked), names(&tree));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn reading_inverts_writing(tree in any_tree()) {
        prop_assert_eq!(unpack(&pack(&tree)).unwrap(), tree);
    }

    #[test]
    fn extracting_makes_the_tree(tree in any_tree()) {
        if is_root() {
            let dir = extracted(&pack(&tree), &Policy::layer()).unwrap();
            prop_assert_eq!(lines(&DirTree::new(dir.path()).unwrap()), lines(&tree));
        }
    }

    #[test]
    fn a_cut_archive_is_an_error_or_ends_between_entries(tree in any_tree(), cut in 0usize..20_000) {
        let archive = pack(&tree);
        let cut = cut.min(archive.len());
        match unpack(&archive[..cut]) {
            // The second of the two zero blocks at the end carries nothing.
            Ok(_) => prop_assert!(cut % BLOCK == 0 || cut > archive.len() - BLOCK),
            Err(TarError::Truncated(_)) => {}
            Err(TarError::Stream(e)) => {
                prop_assert_eq!(e.kind(), std::io::ErrorKind::UnexpectedEof);
            }
            Err(e) => prop_assert!(false, "{}", e),
        }
    }

    #[test]
    fn damage_never_panics_or_hangs(tree in any_tree(), at in any::<usize>(), byte in any::<u8>()) {
        let mut archive = pack(&tree);
        let at = at % archive.len();
        archive[at] = byte;
        let _ = unpack(&archive);
        let _ = extracted(&archive, &files());
    }
}

#[test]
fn gnu_long_names_are_applied_and_global_records_ignored() {
    let long = "x/".repeat(80) + "end";
    let mut archive = raw(
        tar::EntryType::GNULongName,
        "././@LongLink",
        "",
        long.as_bytes(),
    );
    archive.extend(file("short", "1"));
    archive.extend(raw(
        tar::EntryType::GNULongLink,
        "././@LongLink",
        "",
        b"target\0",
    ));
    archive.extend(link("l", "ignored"));
    archive.extend(raw(tar::EntryType::XGlobalHeader, "g", "", b"11 mtime=5\n"));
    archive.extend(file("late", "2"));
    let tree = unpack(&archive).unwrap();
    assert_eq!(tree.stat(Path::new(&long)).unwrap().size(), 1);
    let target = "target".into();
    assert_eq!(
        tree.stat(Path::new("l")).unwrap().kind,
        Kind::Symlink { target }
    );
    assert_eq!(
        tree.stat(Path::new("late")).unwrap().mtime,
        Time::from_secs(1)
    );
}

#[test]
fn hostile_headers_are_refused_with_a_reason() {
    let huge = {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(u64::MAX / 2);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let many = raw(tar::EntryType::XHeader, "x", "", b"6 a=b\n").repeat(40);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (file("../up", ""), "`..`"),
        (file("a/../../up", ""), "`..`"),
        (hard("a", "../../etc/passwd"), "`..`"),
        (raw(tar::EntryType::GNUSparse, "s", "", b""), "sparse"),
        (
            raw(tar::EntryType::new(b'Q'), "q", "", b""),
            "unknown type 'Q'",
        ),
        (
            raw(tar::EntryType::XHeader, "x", "", b"9999 a=b\n"),
            "PAX record",
        ),
        (
            raw(tar::EntryType::XHeader, "x", "", b"22 GNU.sparse.major=1\n"),
            "no entry",
        ),
        (raw(tar::EntryType::Symlink, "l", "", b""), "link target"),
        (huge, "over the limit"),
        (many, "extension headers in a row"),
        (b"not a tar archive".repeat(40), "wrong checksum"),
    ];
    for (archive, reason) in cases {
        let error = unpack(&archive).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let sparse = [
        raw(tar::EntryType::XHeader, "x", "", b"22 GNU.sparse.major=1\n"),
        file("s", ""),
    ]
    .concat();
    assert!(unpack(&sparse).unwrap_err().to_string().contains("sparse"));
}

#[test]
fn nothing_is_written_outside_of_the_target() {
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    let up = "../".repeat(12) + &out[1..];
    for target in [out, &up] {
        // The link is created as it is; writing "through" it stays below the target.
        let archive = [link("esc", target), file("esc/evil", "x")].concat();
        let dir = extracted(&archive, &files()).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(dir.path().join(&out[1..]).join("evil").exists());
        // A file entry replaces a link instead of writing to where it points.
        let victim = outside.path().join("victim");
        std::fs::write(&victim, "safe").unwrap();
        let archive = [link("f", victim.to_str().unwrap()), file("f", "evil")].concat();
        let dir = extracted(&archive, &files()).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "safe");
        assert_eq!(
            std::fs::read_to_string(dir.path().join("f")).unwrap(),
            "evil"
        );
        // Deleting through it neither.
        let archive = [link("esc", target), file("esc/.wh.victim", "")].concat();
        extracted(&archive, &layer()).unwrap();
        assert!(victim.exists());
        // A hard link cannot reach it.
        let archive = [link("esc", target), hard("stolen", "esc/victim")].concat();
        assert!(extracted(&archive, &files()).is_err());
        std::fs::remove_file(&victim).unwrap();
    }
}

#[test]
fn the_final_metadata_of_a_directory_does_not_reach_through_a_link() {
    let outside = tempfile::tempdir().unwrap();
    let before = std::fs::metadata(outside.path()).unwrap().permissions();
    let archive = [dir("d/"), link("d", outside.path().to_str().unwrap())].concat();
    extracted(&archive, &files()).unwrap();
    let after = std::fs::metadata(outside.path()).unwrap().permissions();
    assert_eq!(before, after);
}

#[test]
fn hard_links_share_their_file_and_need_a_target() {
    use std::os::unix::fs::MetadataExt;
    let archive = [file("a", "x"), hard("d/b", "./a")].concat();
    let dir = extracted(&archive, &files()).unwrap();
    let inode = |name| std::fs::metadata(dir.path().join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("d/b"));
    for (bad, reason) in [
        ("missing", "find the target"),
        ("", "empty"),
        ("b", "itself"),
    ] {
        let archive = [file("b", ""), hard("b", bad)].concat();
        let error = extracted(&archive, &files()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn whiteouts_delete_only_what_was_there_before() {
    let target = tempfile::tempdir().unwrap();
    let lower = MemTree::new()
        .file("d/old", 0o644, "1")
        .file("d/sub/old", 0o644, "1")
        .file("gone/x/y", 0o644, "1")
        .file("kept", 0o644, "1");
    extract(&mut Reader::new(&pack(&lower)[..]), target.path(), &files()).unwrap();
    let upper = [
        file("d/new", "2"),
        dir("d/sub/"),
        file("d/sub/new", "2"),
        file("d/.wh..wh..opq", ""),
        file(".wh.gone", ""),
        file("missing/.wh.x", ""),
        file(".wh..wh.plnk", ""),
        file("d/.wh.new", ""),
    ]
    .concat();
    extract(&mut Reader::new(&upper[..]), target.path(), &layer()).unwrap();
    let tree = DirTree::new(target.path()).unwrap();
    let names: Vec<_> = walk(&tree, Path::new(""))
        .unwrap()
        .into_iter()
        .map(|(p, _)| p)
        .collect();
    let expected = ["", "d", "d/new", "d/sub", "d/sub/new", "kept"];
    assert_eq!(names, expected.map(std::path::PathBuf::from));
    for bad in [".wh.", ".wh..", ".wh..."] {
        assert!(extracted(&file(bad, ""), &layer()).is_err(), "{bad}");
    }
    let refused = Policy {
        whiteouts: Whiteouts::Refuse,
        ..files()
    };
    assert!(extracted(&file(".wh.x", ""), &refused).is_err());
    assert!(
        extracted(&file(".wh.x", ""), &files())
            .unwrap()
            .path()
            .join(".wh.x")
            .exists()
    );
}

#[test]
fn parents_are_made_where_a_dangling_link_leads() {
    let archive = [link("var/run", "../run"), file("var/run/app/pid", "1")].concat();
    let dir = extracted(&archive, &files()).unwrap();
    assert!(dir.path().join("run/app/pid").exists());
    let archive = [link("a", "b"), link("b", "a"), file("a/x", "1")].concat();
    assert!(extracted(&archive, &files()).is_err());
}

#[test]
fn limits_hold_before_anything_is_written() {
    let bomb = file("f", &"x".repeat(100));
    let limits = Limits {
        entries: 10,
        bytes: 99,
    };
    let error = extracted(&bomb, &Policy { limits, ..files() }).unwrap_err();
    assert!(error.to_string().contains("99 bytes"), "{error}");
    let limits = Limits {
        entries: 1,
        bytes: 1000,
    };
    let error = extracted(&bomb.repeat(2), &Policy { limits, ..files() }).unwrap_err();
    assert!(error.to_string().contains("1 entries"), "{error}");
    let device = raw(tar::EntryType::Char, "null", "", b"");
    assert!(extracted(&device, &files()).is_err());
    assert_eq!(
        std::fs::read_dir(extracted(&device, &layer()).unwrap())
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_full_disk_and_a_changing_file_are_errors() {
    let tree = MemTree::new().file("f", 0o644, vec![1; 5000]);
    let meta = tree.stat(Path::new("f")).unwrap();
    for room in [0, 100, 512, 3000, 5632] {
        let mut writer = Writer::new(Full(room));
        let result = writer
            .append_file(Path::new("f"), &meta, Cursor::new(vec![1; 5000]))
            .and_then(|()| writer.finish().map(drop));
        assert!(
            matches!(result, Err(TarError::Stream(_))),
            "{room}: {result:?}"
        );
    }
    for actual in [4999, 5001] {
        let mut writer = Writer::new(Vec::new());
        let data = Cursor::new(vec![1; actual]);
        let error = writer.append_file(Path::new("f"), &meta, data).unwrap_err();
        assert!(error.to_string().contains("while it was read"), "{error}");
    }
    let socket = Meta::new(Kind::Socket, 0o644);
    assert!(
        Writer::new(Vec::new())
            .append(Path::new("s"), &socket)
            .is_err()
    );
}
