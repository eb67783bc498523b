//! Which content of an input is hashed for an additional key.

use std::collections::HashSet;

/// One part of a tree whose content is hashed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentSelector {
    /// Absolute path, or pattern.
    pub path: String,
    /// The path has wildcards that count.
    pub wildcard: bool,
    /// If the path is a symbolic link, what it leads to is hashed.
    pub follow_links: bool,
    /// Only what matches, when not empty.
    pub include: Vec<String>,
    /// Not what matches.
    pub exclude: Vec<String>,
    /// Paths that must exist below; they do not change the hash.
    pub required: Vec<String>,
}

impl ContentSelector {
    /// A path and all below it.
    pub(super) fn path(path: impl Into<String>, follow_links: bool) -> Self {
        Self {
            path: path.into(),
            follow_links,
            ..Self::default()
        }
    }

    /// Whether it selects less than a path and all below it.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        self.wildcard
            || !self.include.is_empty()
            || !self.exclude.is_empty()
            || !self.required.is_empty()
    }
}

/// The paths in order, without repetition and without those below another one.
pub(super) fn without_nested(paths: Vec<String>) -> Vec<String> {
    if paths.len() < 2 {
        return paths;
    }
    let all: HashSet<&str> = paths.iter().map(String::as_str).collect();
    let is_nested = |path: &str| {
        path.match_indices('/').any(|(at, _)| {
            let (above, above_with_slash) = (&path[..at], &path[..=at]);
            (above != path && all.contains(above))
                || (above_with_slash != path && all.contains(above_with_slash))
        })
    };
    let mut kept: Vec<String> = all
        .iter()
        .filter(|path| !is_nested(path))
        .map(|path| (*path).to_owned())
        .collect();
    kept.sort();
    kept
}

/// The selectors as the daemon hashes them: plain paths without nested ones, filtered ones as they
/// are, all in order of their paths.
pub(super) fn deduplicate(selectors: Vec<ContentSelector>) -> Vec<ContentSelector> {
    let (filtered, plain): (Vec<_>, Vec<_>) = selectors
        .into_iter()
        .partition(ContentSelector::is_filtered);
    let (followed, unfollowed): (Vec<_>, Vec<_>) = plain
        .into_iter()
        .partition(|selector| selector.follow_links);
    let mut result = Vec::new();
    for (selectors, follow) in [(unfollowed, false), (followed, true)] {
        let paths = selectors
            .into_iter()
            .map(|selector| selector.path)
            .collect();
        let paths = without_nested(paths).into_iter();
        result.extend(paths.map(|path| ContentSelector::path(path, follow)));
    }
    result.extend(filtered);
    result.sort_by(|a, b| a.path.cmp(&b.path));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(paths: &[&str]) -> Vec<String> {
        without_nested(paths.iter().map(|&path| path.to_owned()).collect())
    }

    #[test]
    fn nested_paths_fall_away() {
        assert_eq!(
            kept(&["/a/b", "/a", "/a-b", "/c/d/e", "/c/d"]),
            ["/a", "/a-b", "/c/d"]
        );
        assert_eq!(kept(&["/", "/a"]), ["/"]);
        assert_eq!(kept(&["/a/", "/a"]), ["/a"]);
        assert_eq!(kept(&["/a", "/a"]), ["/a"]);
        assert_eq!(kept(&["/a/"]), ["/a/"], "a single path is not looked at");
    }

    #[test]
    fn followed_filtered_and_plain_paths_are_kept_apart() {
        let filtered = ContentSelector {
            wildcard: true,
            ..ContentSelector::path("/a/*", true)
        };
        let selectors = vec![
            filtered.clone(),
            ContentSelector::path("/a", true),
            ContentSelector::path("/a/b", false),
            filtered.clone(),
        ];
        assert_eq!(
            deduplicate(selectors),
            [
                ContentSelector::path("/a", true),
                filtered.clone(),
                filtered,
                ContentSelector::path("/a/b", false),
            ]
        );
    }
}
