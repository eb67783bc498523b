//! Slash-separated paths inside a file system, cleaned by words only: no link is followed.

/// The shortest equal path: no empty parts, no `.`, no `..` but leading ones of a relative path.
/// An empty path is `.`.
pub(crate) fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if absolute => {}
                _ => parts.push(".."),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// The clean absolute path that `path` means in the directory `parent`.
pub(crate) fn absolute(parent: &str, path: &str) -> String {
    if path.starts_with('/') {
        clean(path)
    } else {
        clean(&format!("/{parent}/{path}"))
    }
}

/// As [`absolute`], but a trailing `/` or `/.` stays: to a copy it says "into this directory".
pub(crate) fn absolute_keeping_slash(parent: &str, path: &str) -> String {
    let mut result = absolute(parent, path);
    if path.ends_with('/') && !result.ends_with('/') {
        result.push('/');
    } else if path.ends_with("/.") {
        if result != "/" {
            result.push('/');
        }
        result.push('.');
    }
    result
}

/// The last part of a path: `/` for a root, `.` for an empty path.
pub(crate) fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return "/";
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("/a/../../b", "/b"),
            ("a/./b/..", "a"),
            ("a/..", "."),
            ("../../a", "../../a"),
            ("/..", "/"),
        ] {
            assert_eq!(clean(path), expected, "{path:?}");
            assert_eq!(clean(expected), expected);
        }
    }

    #[test]
    fn destinations_keep_their_slash() {
        for (path, expected) in [
            ("/z/", "/z/"),
            ("z", "/wd/z"),
            ("z/", "/wd/z/"),
            ("/z/.", "/z/."),
            ("/", "/"),
            ("/.", "/."),
            (".", "/wd"),
        ] {
            assert_eq!(absolute_keeping_slash("wd", path), expected, "{path:?}");
        }
    }

    #[test]
    fn last_parts() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("//", "/"),
            ("/a/b", "b"),
            ("/a/b/", "b"),
            ("a", "a"),
        ] {
            assert_eq!(base(path), expected, "{path:?}");
        }
    }
}
