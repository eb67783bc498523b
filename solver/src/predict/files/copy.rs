//! Copying from one tree into another, as the daemon's file operations do.
//!
//! The walk keeps what the daemon's keeps: for each directory on the way whether it was made yet
//! (with include patterns a directory is made when something in it is), and the patterns' state.
//! A directory that exists is united with the one that is copied; the top one then keeps its own
//! look, those below take that of the copied one.

use std::{
    ffi::{OsStr, OsString},
    sync::Arc,
};

use proto::pb::FileActionCopy;
use snapshots::{
    patterns::{MatchInfo, PatternMatcher},
    tree::{Kind, Meta},
};

use super::{
    Body, Node, Stop,
    action::{Owner, glob, make_all},
    not_found, parts, show,
};
use crate::{cachemap::has_wildcards, llb::paths};

/// Mode of directories above a destination.
const PARENT_MODE: u32 = 0o755;

/// What a copy sets on everything it copies.
struct Look {
    owner: Owner,
    /// All bits of the mode, set-id bits included.
    mode: Option<u32>,
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
    replace: bool,
    /// The mode is also that of directories made above the target.
    parents_take_mode: bool,
}

/// One entry that is to be copied, or the end of a directory.
enum Step {
    Entry(Entry),
    Leave,
}

struct Entry {
    node: Arc<Node>,
    /// Path below the copied entry, `/` between parts; empty for the copied entry itself.
    below: String,
    target: Vec<OsString>,
    /// Whether a directory that exists takes the look of the copied one.
    overwrite: bool,
    include: Option<MatchInfo>,
    exclude: Option<MatchInfo>,
}

/// A directory on the way to the current entry.
struct Parent {
    node: Arc<Node>,
    target: Vec<OsString>,
    made: bool,
}

/// Copies what the action names.
pub(super) fn copy(
    root: &mut Arc<Node>,
    source: &Arc<Node>,
    action: &FileActionCopy,
    owner: Owner,
    parents_take_mode: bool,
) -> Result<(), Stop> {
    if !action.mode_str.is_empty() {
        return Err(Stop::new("it changes modes symbolically"));
    }
    if !action.create_dest_path {
        let target = root.resolve(OsStr::new(&action.dest), true)?;
        let parent = &target[..target.len().saturating_sub(1)];
        if root.at(parent).is_none() {
            return Err(not_found(parent));
        }
    }
    let look = Look {
        owner,
        mode: u32::try_from(action.mode).ok(),
        include: matcher(&action.include_patterns)?,
        exclude: matcher(&action.exclude_patterns)?,
        replace: action.always_replace_existing_dest_paths,
        parents_take_mode,
    };
    let sources = if action.allow_wildcard {
        matches(source, &action.src, action.follow_symlink)?
    } else {
        vec![paths::absolute_keeping_slash("/", &action.src)]
    };
    if sources.is_empty() && !action.allow_empty_wildcard {
        return Err(Stop::new(format!("nothing matches {:?}", action.src)));
    }
    for path in sources {
        one(root, source, &path, action, &look)?;
    }
    Ok(())
}

fn matcher(patterns: &[String]) -> Result<Option<PatternMatcher>, Stop> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let matcher = PatternMatcher::new(patterns).map_err(|error| Stop::new(error.to_string()))?;
    Ok(Some(matcher))
}

/// The paths that match a pattern, in order of the walk; what lies below a match is none of its
/// own. A path without wildcards is returned as it is.
pub(super) fn matches(root: &Arc<Node>, pattern: &str, follow: bool) -> Result<Vec<String>, Stop> {
    let pattern = paths::absolute("/", pattern);
    let mut literal: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let split = literal.iter().position(|part| has_wildcards(part));
    let Some(split) = split else {
        return Ok(vec![pattern]);
    };
    let glob = glob(&literal.split_off(split).join("/"))?;
    let start = root.resolve(OsStr::new(&literal.join("/")), follow)?;
    let top = root.at(&start).ok_or_else(|| not_found(&start))?;
    let prefix: String = start
        .iter()
        .map(|part| format!("/{}", part.to_string_lossy()))
        .collect();
    let mut found = Vec::new();
    let mut pending = vec![(String::new(), top)];
    while let Some((path, node)) = pending.pop() {
        if !path.is_empty() && glob.is_match(&path) {
            found.push(format!("{prefix}/{path}"));
            continue;
        }
        for (name, child) in node.children().into_iter().flatten().rev() {
            let name = name
                .to_str()
                .ok_or_else(|| Stop::new(format!("the name {name:?} is not UTF-8")))?;
            let path = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            };
            pending.push((path, child));
        }
    }
    Ok(found)
}

/// Copies one path of the source.
fn one(
    root: &mut Arc<Node>,
    source: &Arc<Node>,
    path: &str,
    action: &FileActionCopy,
    look: &Look,
) -> Result<(), Stop> {
    let from = source.resolve(OsStr::new(path), action.follow_symlink)?;
    let node = source.at(&from).ok_or_else(|| not_found(&from))?;
    if action.attempt_unpack_docker_compatibility && matches!(node.meta.kind, Kind::File { .. }) {
        return Err(Stop::new(format!(
            "{} is unpacked if it is an archive",
            show(&from)
        )));
    }
    let mode = look.mode.filter(|_| look.parents_take_mode);
    let mode = mode.map_or(PARENT_MODE, |mode| mode & 0o777);
    let dest = paths::absolute_keeping_slash("/", &action.dest);
    let above = match dest.rsplit_once('/') {
        Some((above, name)) if !name.is_empty() && name != "." => above,
        _ => dest.as_str(),
    };
    let above = root.resolve(OsStr::new(above), true)?;
    make_all(root, &above, mode, look.owner)?;
    let mut target = root.resolve(OsStr::new(&dest), true)?;
    let existing = root.at(&target);
    let is_directory = node.is_directory();
    let into = match existing {
        Some(_) if is_directory => !action.dir_copy_contents,
        Some(existing) => existing.is_directory(),
        None => false,
    };
    let is_new = existing.is_none();
    if into {
        target.extend(parts(OsStr::new(paths::base(path))));
    }
    let parent = if is_directory && action.dir_copy_contents && is_new {
        &target[..]
    } else {
        &target[..target.len().saturating_sub(1)]
    };
    let parent = parent.to_vec();
    make_all(root, &parent, mode, look.owner)?;
    let top = Entry {
        node: Arc::clone(node),
        below: String::new(),
        target,
        overwrite: false,
        include: None,
        exclude: None,
    };
    walk(root, top, look)
}

fn walk(root: &mut Arc<Node>, top: Entry, look: &Look) -> Result<(), Stop> {
    let mut parents: Vec<Parent> = Vec::new();
    let mut steps = vec![Step::Entry(top)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Leave => {
                parents.pop();
            }
            Step::Entry(entry) => visit(root, entry, look, &mut parents, &mut steps)?,
        }
    }
    Ok(())
}

/// Copies an entry; of a directory only the directory, its content becomes further steps.
fn visit(
    root: &mut Arc<Node>,
    mut entry: Entry,
    look: &Look,
    parents: &mut Vec<Parent>,
    steps: &mut Vec<Step>,
) -> Result<(), Stop> {
    let (mut included, mut excluded) = (true, false);
    if !entry.below.is_empty() {
        if let Some(include) = &look.include {
            let (matched, info) = include.matches_below(&entry.below, entry.include.as_ref());
            included = matched;
            entry.include = Some(info);
        }
        if let Some(exclude) = &look.exclude {
            let (matched, info) = exclude.matches_below(&entry.below, entry.exclude.as_ref());
            excluded = matched;
            included &= !matched;
            entry.exclude = Some(info);
        }
    }
    if !included && !entry.node.is_directory() {
        return Ok(());
    }
    let existing = root.at(&entry.target).map(|node| node.is_directory());
    if included {
        if look.replace && existing.is_some_and(|both| !(both && entry.node.is_directory())) {
            root.take(&entry.target);
        }
        for parent in parents.iter_mut().filter(|parent| !parent.made) {
            if !make(root, &parent.target, &parent.node, entry.overwrite)? {
                dress(root, &parent.target, &parent.node, look);
            }
            parent.made = true;
        }
    }
    if !entry.node.is_directory() {
        if root
            .at(&entry.target)
            .is_some_and(|node| node.is_directory())
        {
            return Err(Stop::new(format!(
                "{} is a directory and would be a file",
                show(&entry.target)
            )));
        }
        let node = dressed(&entry.node, look);
        return root.put(&entry.target, node);
    }
    directory(root, entry, look, (included, excluded), parents, steps)
}

fn directory(
    root: &mut Arc<Node>,
    entry: Entry,
    look: &Look,
    (included, excluded): (bool, bool),
    parents: &mut Vec<Parent>,
    steps: &mut Vec<Step>,
) -> Result<(), Stop> {
    let is_verbatim = look.include.is_none() && look.exclude.is_none();
    let is_verbatim = is_verbatim && look.owner.is_none() && look.mode.is_none();
    if is_verbatim && root.at(&entry.target).is_none() {
        return root.put(&entry.target, Arc::clone(&entry.node));
    }
    if included {
        let existed = make(root, &entry.target, &entry.node, entry.overwrite)?;
        if !existed || entry.overwrite {
            dress(root, &entry.target, &entry.node, look);
        }
    }
    let has_exceptions = look
        .exclude
        .as_ref()
        .is_some_and(PatternMatcher::has_exclusions);
    if excluded && !has_exceptions {
        return Ok(());
    }
    parents.push(Parent {
        node: Arc::clone(&entry.node),
        target: entry.target.clone(),
        made: included,
    });
    steps.push(Step::Leave);
    for (name, node) in entry.node.children().into_iter().flatten() {
        let text = name.to_string_lossy();
        let below = if entry.below.is_empty() {
            text.into_owned()
        } else {
            format!("{}/{text}", entry.below)
        };
        let mut target = entry.target.clone();
        target.push(name.clone());
        steps.push(Step::Entry(Entry {
            node: Arc::clone(node),
            below,
            target,
            overwrite: true,
            include: entry.include.clone(),
            exclude: entry.exclude.clone(),
        }));
    }
    Ok(())
}

/// Makes a directory unless it exists; returns whether it did. One that exists takes the
/// permissions of the copied one if `overwrite`.
fn make(
    root: &mut Arc<Node>,
    target: &[OsString],
    source: &Arc<Node>,
    overwrite: bool,
) -> Result<bool, Stop> {
    match root.at(target) {
        None => {
            root.put(target, Node::directory(source.meta.mode))?;
            Ok(false)
        }
        Some(node) if !node.is_directory() => Err(Stop::new(format!(
            "{} is no directory and would be one",
            show(target)
        ))),
        Some(_) => {
            if overwrite && let Some(node) = root.at_mut(target) {
                node.meta.mode = source.meta.mode;
            }
            Ok(true)
        }
    }
}

/// Gives a directory the owner, mode and attributes that it has as a copy.
fn dress(root: &mut Arc<Node>, target: &[OsString], source: &Node, look: &Look) {
    if let Some(node) = root.at_mut(target) {
        let meta = look.applied(&source.meta);
        (node.meta.uid, node.meta.gid, node.meta.mode) = (meta.uid, meta.gid, meta.mode);
        node.meta.xattrs.extend(meta.xattrs);
    }
}

/// A copy of an entry that is no directory.
fn dressed(source: &Arc<Node>, look: &Look) -> Arc<Node> {
    if look.owner.is_none() && look.mode.is_none() {
        return Arc::clone(source);
    }
    let body: Body = source.body.clone();
    Arc::new(Node {
        meta: look.applied(&source.meta),
        body,
    })
}

impl Look {
    fn applied(&self, source: &Meta) -> Meta {
        let mut meta = source.clone();
        if let Some((uid, gid)) = self.owner {
            (meta.uid, meta.gid) = (uid, gid);
        }
        if let Some(mode) = self.mode
            && !matches!(meta.kind, Kind::Symlink { .. })
        {
            meta.mode = mode & 0o7777;
        }
        meta
    }
}
