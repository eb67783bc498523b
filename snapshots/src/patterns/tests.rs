//! Patterns: golden cases, a naive model, walks.

use proptest::prelude::*;

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

/// A path segment language with few letters, so that random patterns often match.
fn any_pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => "[ab]{1,2}",
        2 => "[ab]?\\*[ab]?",
        1 => "[ab]?\\?",
        2 => Just("**".to_owned()),
        1 => "[ab]?\\*\\*[ab]?",
        1 => Just("[a-b]".to_owned()),
        1 => Just("a.b".to_owned()),
    ];
    proptest::collection::vec(segment, 1..4).prop_map(|parts| parts.join("/"))
}

fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[ab.]{1,3}", 1..5)
        .prop_map(|parts| parts.join("/"))
        .prop_filter("no dot segments", |path| clean(path) == *path)
}

/// One element of a pattern in the naive model.
#[derive(Debug, Clone, Copy)]
enum Part {
    Char(char),
    /// `?`
    One,
    /// `[a-b]`
    Class,
    /// `*`
    Run,
    /// `**` at the end.
    Rest,
    /// `**` and `**/` elsewhere.
    Dirs,
}

/// The rules of the module's manual, written down as directly as possible.
fn naive(pattern: &str, path: &str) -> bool {
    if let Some(suffix) = pattern.strip_prefix("**")
        && !suffix.contains(['*', '?', '['])
    {
        return path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path);
    }
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**") {
            rest = after.strip_prefix('/').unwrap_or(after);
            parts.push(if rest.is_empty() {
                Part::Rest
            } else {
                Part::Dirs
            });
        } else if let Some(after) = rest.strip_prefix("[a-b]") {
            rest = after;
            parts.push(Part::Class);
        } else {
            rest = &rest[1..];
            parts.push(match c {
                '*' => Part::Run,
                '?' => Part::One,
                c => Part::Char(c),
            });
        }
    }
    fits(&parts, path)
}

fn fits(parts: &[Part], path: &str) -> bool {
    let Some((part, parts)) = parts.split_first() else {
        return path.is_empty();
    };
    let first = path.chars().next();
    match part {
        Part::Char(c) => first == Some(*c) && fits(parts, &path[1..]),
        Part::One => first.is_some_and(|c| c != '/') && fits(parts, &path[1..]),
        Part::Class => first.is_some_and(|c| "ab".contains(c)) && fits(parts, &path[1..]),
        Part::Rest => true,
        Part::Run => (0..=path.find('/').unwrap_or(path.len())).any(|n| fits(parts, &path[n..])),
        Part::Dirs => {
            fits(parts, path)
                || path
                    .match_indices('/')
                    .any(|(at, _)| fits(parts, &path[at + 1..]))
        }
    }
}

fn naive_with_parents(patterns: &[String], path: &str) -> bool {
    let mut matched = false;
    for pattern in patterns {
        let (exclusion, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern.as_str()),
        };
        let hit = parents(path).chain([path]).any(|p| naive(pattern, p));
        if hit {
            matched = !exclusion;
        }
    }
    matched
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn one_pattern_agrees_with_the_naive_model(pattern in any_pattern(), path in any_path()) {
        let list = list(&[&pattern]);
        prop_assert_eq!(list.matches_exact(&path), naive(&pattern, &path));
    }

    #[test]
    fn lists_agree_with_the_naive_model(
        patterns in proptest::collection::vec((any::<bool>(), any_pattern()), 1..5),
        path in any_path(),
    ) {
        let patterns: Vec<String> = patterns
            .into_iter()
            .map(|(exclusion, text)| if exclusion { format!("!{text}") } else { text })
            .collect();
        let list = PatternMatcher::new(&patterns).unwrap();
        prop_assert_eq!(list.matches(&path), naive_with_parents(&patterns, &path));
    }

    #[test]
    fn a_walk_finds_what_single_questions_find(
        patterns in proptest::collection::vec(any_pattern(), 1..5),
        path in any_path(),
    ) {
        // Without exclusions; with them a walk may skip a test, see below.
        let list = PatternMatcher::new(&patterns).unwrap();
        let mut info = None;
        let mut matched = false;
        for step in parents(&path).chain([path.as_str()]) {
            let (hit, next) = list.matches_below(step, info.as_ref());
            matched = hit;
            info = Some(next);
        }
        prop_assert_eq!(matched, list.matches(&path));
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in "\\PC{0,12}", path in any_path()) {
        if let Ok(list) = PatternMatcher::new([&text]) {
            let _ = list.matches(&path);
        }
    }
}

#[test]
fn a_walk_skips_tests_as_the_daemon_does() {
    // At `a` nothing has matched when the exclusion comes, so it is not tested there and its
    // children do not inherit it; at `a/b` the second pattern then decides.
    let list = list(&["!a", "a/b", "!a"]);
    let (_, info) = list.matches_below("a", None);
    let (walked, _) = list.matches_below("a/b", Some(&info));
    assert!(walked);
    assert!(!list.matches("a/b"));
}

#[test]
fn twenty_thousand_paths_and_a_long_list() {
    let mut patterns: Vec<String> = (0..200).map(|i| format!("dir{i}/**/*.o")).collect();
    patterns.push("**/node_modules".to_owned());
    patterns.push("!dir7/**/keep.o".to_owned());
    let list = PatternMatcher::new(&patterns).unwrap();
    let mut matched = 0;
    for dir in 0..200 {
        let (_, info) = list.matches_below(&format!("dir{dir}"), None);
        for file in 0..100 {
            let name = if file % 10 == 0 { "keep.o" } else { "x.c" };
            let path = format!("dir{dir}/s{file}/{name}");
            matched += usize::from(list.matches_below(&path, Some(&info)).0);
        }
    }
    assert_eq!(matched, 199 * 10);
}

#[test]
fn too_many_or_too_long_patterns_are_refused() {
    let many = vec!["a"; PATTERNS_MAX + 1];
    assert!(matches!(
        PatternMatcher::new(many),
        Err(PatternError::TooMany(_))
    ));
    assert!(PatternMatcher::new(["a".repeat(PATTERN_LEN_MAX + 1)]).is_err());
}

#[test]
fn paths_are_cleaned_as_go_does() {
    let cases = [
        ("", "."),
        ("/", "/"),
        ("a//b/./c/..", "a/b"),
        ("../a/../..", "../.."),
        ("/../a/", "/a"),
        ("./", "."),
    ];
    for (path, expected) in cases {
        assert_eq!(clean(path), expected, "{path}");
    }
    assert_eq!(slash_path(Path::new("/a/./b/../c")), "a/b/c");
}
