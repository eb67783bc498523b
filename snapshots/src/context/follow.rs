//! Follow paths: extra include patterns for the targets of symbolic links.
//!
//! `COPY dir/file` in a Dockerfile needs the file that `dir/file` means inside the context, also when `dir` or `file`
//! is a symbolic link, and it needs the links themselves. So each follow path is walked component by component; every
//! link met on the way, and the place where the walk ends, becomes an include pattern.
//!
//! - Links are resolved inside the context: an absolute target starts at the context's root, `..` stops there.
//! - A component with a wildcard is compared with the directory's entries; the links among the matches are followed,
//!   the pattern itself is included.
//! - A path that leads nowhere is included as it is; it may be a pattern.
//!
//! Each pair of (link, remaining path) is followed once and links may grow a path only so often, so cycles end.

use std::collections::{BTreeSet, HashSet};

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::ContextError;
use crate::beneath::{PathError, Root, is_gone};
use crate::patterns::{self, Glob};

/// Links followed on one path before it is taken as a cycle.
const LINKS_MAX: usize = 255;

/// Paths looked at for one transfer, all follow paths and wildcard matches together.
const STEPS_MAX: usize = 100_000;

/// The include patterns of a transfer with `follow` taken into account. An empty result means "everything".
///
/// # Errors
/// A directory that cannot be read, or more than 100,000 paths to look at.
pub fn extend(
    root: &Root,
    include: Vec<String>,
    follow: &[String],
) -> Result<Vec<String>, ContextError> {
    if follow.is_empty() {
        return Ok(include);
    }
    let found = resolve(root, follow)?;
    // The root itself among the paths: nothing is filtered by them.
    let Some(found) = without_children(found) else {
        return Ok(include);
    };
    let mut all = include;
    all.extend(found);
    if all.iter().any(|pattern| pattern == ".") {
        all.clear();
    }
    Ok(all)
}

/// Drops paths below other paths of the set; `None` when the root is in it.
fn without_children(paths: BTreeSet<String>) -> Option<Vec<String>> {
    let mut kept: Vec<String> = Vec::new();
    for path in &paths {
        if path == "." {
            return None;
        }
        // Byte order puts `a/b` directly behind `a` only if nothing like `a!` exists, so all parents are looked up.
        let covered = path
            .match_indices('/')
            .any(|(end, _)| paths.contains(&path[..end]));
        if !covered {
            kept.push(path.clone());
        }
    }
    Some(kept)
}

/// One path still to be walked, and how many links led to it.
struct Step {
    path: String,
    links: usize,
}

/// All links met on the paths, and where the paths end.
fn resolve(root: &Root, follow: &[String]) -> Result<BTreeSet<String>, ContextError> {
    let mut found = BTreeSet::new();
    let mut followed = HashSet::new();
    let mut steps: Vec<Step> = follow
        .iter()
        .rev()
        .map(|path| Step {
            path: relative(path),
            links: 0,
        })
        .collect();
    let mut taken = 0usize;
    while let Some(step) = steps.pop() {
        taken += 1;
        if taken > STEPS_MAX {
            return Err(ContextError::TooManyFollowed(STEPS_MAX));
        }
        let (end, targets) = first_link(root, &step.path)?;
        let (current, rest) = (&step.path[..end], step.path[end..].trim_start_matches('/'));
        found.insert(current.to_owned());
        if targets.is_empty()
            || step.links == LINKS_MAX
            || !followed.insert((current.to_owned(), rest.to_owned()))
        {
            continue;
        }
        for target in targets {
            let path = relative(&format!("{target}/{rest}"));
            steps.push(Step {
                path,
                links: step.links + 1,
            });
        }
    }
    Ok(found)
}

/// A path relative to the context's root, cleaned; `.` for the root.
fn relative(path: &str) -> String {
    let cleaned = patterns::clean(path);
    let path = cleaned.trim_start_matches('/');
    if path.is_empty() {
        ".".to_owned()
    } else {
        path.to_owned()
    }
}

/// Walks `path` until a component is a link (or matches links): where that component ends, and the targets. Without
/// a link, the end of the path and no targets.
fn first_link(root: &Root, path: &str) -> Result<(usize, Vec<String>), PathError> {
    let ends = path
        .match_indices('/')
        .map(|(end, _)| end)
        .chain([path.len()]);
    for end in ends {
        let targets = targets(root, &path[..end])?;
        if !targets.is_empty() {
            return Ok((end, targets));
        }
    }
    Ok((path.len(), Vec::new()))
}

/// Targets of the link at `path`, or of all links that its last component matches; none if it is no link.
fn targets(root: &Root, path: &str) -> Result<Vec<String>, PathError> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let directory = match root.open_dir(parent) {
        Ok(directory) => directory,
        Err(e) if is_gone(e) => return Ok(Vec::new()),
        Err(e) => return Err(PathError::new("open directory", root.show(parent), e)),
    };
    let failed =
        |name: &str, e: Errno| PathError::new("read link", root.show(parent).join(name), e);
    let mut names = Vec::new();
    match has_wildcard(name).then(|| Glob::new(name)) {
        None => names.push(name.to_owned()),
        Some(Err(_)) => return Ok(Vec::new()),
        Some(Ok(glob)) => {
            for entry in Dir::read_from(&directory).map_err(|e| failed("", e))? {
                let entry = entry.map_err(|e| failed("", e))?;
                let maybe_link = matches!(entry.file_type(), FileType::Symlink | FileType::Unknown);
                if let Ok(name) = entry.file_name().to_str()
                    && maybe_link
                    && glob.is_match(name)
                {
                    names.push(name.to_owned());
                }
            }
            names.sort();
        }
    }
    let mut out = Vec::new();
    for name in names {
        match link_target(&directory, &name) {
            Ok(Some(target)) if target.starts_with('/') => out.push(target),
            Ok(Some(target)) => out.push(patterns::clean(&format!("/{parent}/{target}"))),
            Ok(None) => {}
            Err(e) => return Err(failed(&name, e)),
        }
    }
    Ok(out)
}

/// The text of a link; `None` for anything that is not a (readable, UTF-8) link.
fn link_target(directory: &rustix::fd::OwnedFd, name: &str) -> Result<Option<String>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {}
        Ok(_) => return Ok(None),
        Err(e) if is_gone(e) || e == Errno::NAMETOOLONG => return Ok(None),
        Err(e) => return Err(e),
    }
    match rustix::fs::readlinkat(directory, name, Vec::new()) {
        Ok(target) => Ok(target.into_string().ok()),
        Err(e) if is_gone(e) || e == Errno::INVAL => Ok(None),
        Err(e) => Err(e),
    }
}

/// Does a path component have a wildcard that is not escaped?
fn has_wildcard(name: &str) -> bool {
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn follow(links: &[(&str, &str)], paths: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("real/deep")).unwrap();
        fs::write(dir.path().join("real/file"), "x").unwrap();
        for (name, target) in links {
            symlink(target, dir.path().join(name)).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
        extend(&root, Vec::new(), &paths).unwrap()
    }

    #[test]
    fn a_plain_path_becomes_a_pattern() {
        assert_eq!(
            follow(&[], &["real/file", "missing/x", "/real/deep/"]),
            ["missing/x", "real/deep", "real/file"]
        );
    }

    #[test]
    fn a_link_and_its_target_are_both_included() {
        assert_eq!(follow(&[("l", "real")], &["l/file"]), ["l", "real/file"]);
        assert_eq!(
            follow(&[("real/up", "../real/file")], &["real/up"]),
            ["real/file", "real/up"]
        );
    }

    #[test]
    fn one_link_serves_several_paths() {
        assert_eq!(
            follow(&[("l", "real")], &["l/file", "l/deep"]),
            ["l", "real/deep", "real/file"]
        );
    }

    #[test]
    fn absolute_and_climbing_targets_stay_inside_the_context() {
        assert_eq!(
            follow(
                &[("a", "/real/file"), ("b", "../../../real/deep")],
                &["a", "b"]
            ),
            ["a", "b", "real/deep", "real/file"]
        );
    }

    #[test]
    fn a_wildcard_follows_the_links_it_matches() {
        assert_eq!(
            follow(
                &[("l1", "real/file"), ("l2", "real/deep"), ("m", "real")],
                &["l*"]
            ),
            ["l*", "real/deep", "real/file"]
        );
    }

    #[test]
    fn cycles_end() {
        assert_eq!(follow(&[("a", "b"), ("b", "a")], &["a/x"]), ["a", "b"]);
        assert_eq!(follow(&[("self", "self/self")], &["self/x"]), ["self"]);
    }

    #[test]
    fn the_root_among_the_paths_means_no_filter() {
        assert!(follow(&[], &["real/file", "."]).is_empty());
        assert!(follow(&[("l", "/")], &["l"]).is_empty());
    }

    #[test]
    fn children_of_other_paths_are_dropped() {
        assert_eq!(
            follow(&[], &["real", "real/file", "real-not"]),
            ["real", "real-not"]
        );
    }
}
