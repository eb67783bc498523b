//! Paths inside a tree: always absolute, clean, and never above the root.
//!
//! Cleaning is lexical, as `COPY` and `WORKDIR` of a Dockerfile do it: the
//! daemon resolves symbolic links, inside the tree's root, when it runs.

use crate::error::Error;

/// `path` seen from `base` (absolute and clean), as an absolute clean path.
///
/// # Errors
/// When `..` leads above the root, or the path holds a NUL byte.
pub(crate) fn join(base: &str, path: &str) -> Result<String, Error> {
    if path.contains('\0') {
        return Err(Error::input(format!("path {path:?} holds a NUL byte")));
    }
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { base };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(Error::input(format!("path {path:?} escapes the root")));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// `path` of a directory object: relative to `dir` even with a leading `/`,
/// and never above `dir`.
///
/// # Errors
/// As [`join`]; `..` may not leave `dir` either.
pub(crate) fn within(dir: &str, path: &str) -> Result<String, Error> {
    let inside = join("/", path.trim_start_matches('/'))?;
    Ok(match (dir, inside.as_str()) {
        ("/", _) => inside,
        (_, "/") => dir.to_owned(),
        _ => format!("{dir}{inside}"),
    })
}

/// The last component, `/` for the root.
pub(crate) fn name(path: &str) -> &str {
    match path.rsplit('/').next() {
        None | Some("") => "/",
        Some(name) => name,
    }
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

/// The rest of `path` below `dir` without a leading `/`; empty for `dir` itself.
pub(crate) fn below<'a>(dir: &str, path: &'a str) -> Option<&'a str> {
    if dir == "/" {
        return Some(path.trim_start_matches('/'));
    }
    match path.strip_prefix(dir)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_cleans() {
        let join = |base, path| join(base, path).expect("inside the root");
        assert_eq!(join("/", "a//b/./c/"), "/a/b/c");
        assert_eq!(join("/work", "../x"), "/x");
        assert_eq!(join("/work", "/abs"), "/abs");
        assert_eq!(join("/", ""), "/");
    }

    #[test]
    fn nothing_leaves_the_root() {
        let error = join("/a", "../../etc/passwd").expect_err("escapes");
        assert_eq!(
            error.message(),
            "path \"../../etc/passwd\" escapes the root"
        );
        assert!(within("/dir", "../secret").is_err());
        assert_eq!(
            within("/dir", "/../dir").map_err(|e| e.kind()),
            Err(crate::error::Kind::Input)
        );
    }

    #[test]
    fn a_directory_is_the_root_of_its_paths() {
        assert_eq!(within("/dir", "/a").expect("inside"), "/dir/a");
        assert_eq!(within("/dir", ".").expect("inside"), "/dir");
        assert_eq!(within("/", "a/..").expect("inside"), "/");
    }

    #[test]
    fn parts_of_a_path() {
        assert_eq!((name("/a/b"), parent("/a/b")), ("b", "/a"));
        assert_eq!((name("/"), parent("/a")), ("/", "/"));
        assert_eq!(below("/a", "/a/b"), Some("b"));
        assert_eq!(below("/a", "/ab"), None);
        assert_eq!(below("/", "/ab"), Some("ab"));
        assert_eq!(below("/a", "/a"), Some(""));
    }
}
