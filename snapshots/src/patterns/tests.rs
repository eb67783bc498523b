use super::*;

fn list(patterns: &[&str]) -> PatternMatcher {
    PatternMatcher::new(patterns).unwrap()
}

#[test]
fn golden_single_patterns() {
    let cases = [
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("dir/**", "dir", false),
        ("**/dir", "dir", true),
        ("**/dir", "a/dir/x", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir2/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**/file", "dir/xfile", false),
        ("**file", "dir/xfile", true),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/*.txt", "file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt", "a/file.txt", true),
        ("a[b-d]e", "ace", true),
        ("a[^b-d]e", "aze", true),
        ("a\\?b", "a?b", true),
        ("a?b", "a/b", false),
        ("a.b", "axb", false),
        ("a.b", "a.b", true),
        ("file.txt", "file.txt/child", true),
        ("*", "a/b", true),
        ("/a", "a", false),
        ("./a/../b/", "b", true),
        (" \tb ", "b", true),
        ("\u{4e16}?", "\u{4e16}\u{754c}", true),
        ("a^b", "a^b", true),
        ("a^b*", "a^bc", false),
        ("[&&x]", "&", true),
        ("\\d", "7", true),
        ("\\d", "d", false),
    ];
    for (pattern, path, expected) in cases {
        assert_eq!(list(&[pattern]).matches(path), expected, "{pattern} {path}");
    }
}

#[test]
fn later_patterns_override_earlier_ones() {
    let cases: &[(&[&str], &str, bool)] = &[
        (&["**", "!util/docker/web"], "util/docker/web/foo", false),
        (
            &["**", "!util/docker/web", "util/docker/web/foo"],
            "util/docker/web/foo",
            true,
        ),
        (
            &["**", "!dist/proxy.py", "!dist/config"],
            "dist/other",
            true,
        ),
        (&["!a", "a"], "a", true),
        (&["a", "!a"], "a", false),
        (&["a", "!a/b", "a/b/c"], "a/b/d", false),
        (&["", "  "], "a", false),
    ];
    for (patterns, path, expected) in cases {
        assert_eq!(
            list(patterns).matches(path),
            *expected,
            "{patterns:?} {path}"
        );
    }
}

#[test]
fn bad_patterns_are_named() {
    assert_eq!(
        PatternMatcher::new(["!"]).unwrap_err(),
        PatternError::EmptyExclusion
    );
    for bad in ["[", "a[^", "\\", "x/\\q", "[b-a]", "!["] {
        let error = PatternMatcher::new([bad]).unwrap_err().to_string();
        assert!(error.contains(&format!("`{bad}`")), "{error}");
    }
}
