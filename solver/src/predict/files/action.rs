//! Actions of a file operation: mkdir, mkfile, rm, symlink; copy is in `copy.rs`.

use std::{ffi::OsStr, sync::Arc};

use proto::pb::{self, file_action::Action, user_opt::User};
use snapshots::{
    patterns::Glob,
    tree::{Kind, Meta},
};

use super::{Body, Node, Stop, copy, not_found, show};

/// Largest `/etc/passwd` or `/etc/group` that a name is looked up in.
const NAMES_SIZE_MAX: u64 = 16 << 20;

/// Permission bits that mkdir and mkfile set.
const PERMISSIONS: i32 = 0o777;

/// Set-group-id: what is made in such a directory gets its group.
const SETGID: u32 = 0o2000;

/// Set-user-id and set-group-id: gone when the owner changes.
const SETID: u32 = 0o6000;

/// User and group, as numbers.
pub(super) type Owner = Option<(u32, u32)>;

/// The trees that the input indexes of an operation and of its earlier actions stand for.
pub(in crate::predict) struct Operands<'a> {
    /// By index; `None` is an empty file system, or one that is not known.
    pub(in crate::predict) trees: &'a [Option<Arc<Node>>],
    /// A copy makes directories above its target with the mode it sets.
    pub(in crate::predict) parents_take_mode: bool,
}

impl Operands<'_> {
    fn get(&self, index: i64) -> Option<Arc<Node>> {
        let index = usize::try_from(index).ok()?;
        self.trees.get(index).cloned().flatten()
    }
}

/// The tree after an action.
pub(in crate::predict) fn apply(
    action: &pb::FileAction,
    operands: &Operands<'_>,
) -> Result<Arc<Node>, Stop> {
    let mut root = operands.get(action.input).unwrap_or_else(Node::scratch);
    match &action.action {
        Some(Action::Mkdir(mkdir)) => {
            let owner = owner(mkdir.owner.as_ref(), operands)?;
            self::mkdir(&mut root, mkdir, owner)?;
        }
        Some(Action::Mkfile(mkfile)) => {
            let owner = owner(mkfile.owner.as_ref(), operands)?;
            self::mkfile(&mut root, mkfile, owner)?;
        }
        Some(Action::Symlink(link)) => {
            let owner = owner(link.owner.as_ref(), operands)?;
            symlink(&mut root, link, owner)?;
        }
        Some(Action::Rm(rm)) => self::rm(&mut root, rm)?,
        Some(Action::Copy(copy)) => {
            let owner = owner(copy.owner.as_ref(), operands)?;
            let source = operands
                .get(action.secondary_input)
                .unwrap_or_else(Node::scratch);
            copy::copy(&mut root, &source, copy, owner, operands.parents_take_mode)?;
        }
        None => return Err(Stop::new("it has an action of a later release")),
    }
    Ok(root)
}

fn mkdir(root: &mut Arc<Node>, mkdir: &pb::FileActionMkDir, owner: Owner) -> Result<(), Stop> {
    let path = root.resolve(OsStr::new(&mkdir.path), true)?;
    let mode = bits(mkdir.mode & PERMISSIONS);
    if mkdir.make_parents {
        return make_all(root, &path, mode, owner).map(|_| ());
    }
    if root.at(&path).is_some() {
        return Ok(());
    }
    make_directory(root, &path, mode, owner)
}

/// Makes a directory and those above it; returns whether any had to be made.
pub(super) fn make_all(
    root: &mut Arc<Node>,
    path: &[std::ffi::OsString],
    mode: u32,
    owner: Owner,
) -> Result<bool, Stop> {
    let mut made = false;
    for length in 1..=path.len() {
        let path = &path[..length];
        match root.at(path) {
            Some(node) if node.is_directory() => {}
            Some(_) => return Err(Stop::new(format!("{} is no directory", show(path)))),
            None => {
                make_directory(root, path, mode, owner)?;
                made = true;
            }
        }
    }
    Ok(made)
}

fn make_directory(
    root: &mut Arc<Node>,
    path: &[std::ffi::OsString],
    mode: u32,
    owner: Owner,
) -> Result<(), Stop> {
    check_parent(root, path)?;
    let mut node = Node::directory(mode);
    if let Some((uid, gid)) = owner {
        let meta = &mut Arc::make_mut(&mut node).meta;
        (meta.uid, meta.gid) = (uid, gid);
    }
    root.put(path, node)
}

/// Fails if the directory is not there, or hands its group down.
fn check_parent(root: &Arc<Node>, path: &[std::ffi::OsString]) -> Result<(), Stop> {
    let parent = &path[..path.len().saturating_sub(1)];
    match root.at(parent) {
        Some(node) if !node.is_directory() => {
            Err(Stop::new(format!("{} is no directory", show(parent))))
        }
        Some(node) if node.meta.mode & SETGID != 0 => Err(Stop::new(format!(
            "{} is a set-group-id directory",
            show(parent)
        ))),
        Some(_) => Ok(()),
        None => Err(not_found(parent)),
    }
}

fn mkfile(root: &mut Arc<Node>, mkfile: &pb::FileActionMkFile, owner: Owner) -> Result<(), Stop> {
    let path = root.resolve(OsStr::new(&mkfile.path), true)?;
    let data = mkfile.data.clone();
    let size = data.len() as u64;
    // A file that exists keeps its permissions and its owner.
    let mut meta = match root.at(&path) {
        None => {
            check_parent(root, &path)?;
            Meta::new(Kind::File { size }, bits(mkfile.mode & PERMISSIONS))
        }
        Some(node) if matches!(node.meta.kind, Kind::File { .. }) => {
            if node.meta.mode & SETID != 0 || !node.meta.xattrs.is_empty() {
                return Err(Stop::new(format!(
                    "{} is written to and has set-id bits or attributes",
                    show(&path)
                )));
            }
            Meta {
                kind: Kind::File { size },
                ..node.meta.clone()
            }
        }
        Some(_) => return Err(Stop::new(format!("{} is no regular file", show(&path)))),
    };
    if let Some((uid, gid)) = owner {
        (meta.uid, meta.gid) = (uid, gid);
    }
    let body = Body::Bytes(data);
    root.put(&path, Arc::new(Node { meta, body }))
}

fn symlink(root: &mut Arc<Node>, link: &pb::FileActionSymlink, owner: Owner) -> Result<(), Stop> {
    let path = root.resolve(OsStr::new(&link.newpath), true)?;
    if root.at(&path).is_some() {
        return Err(Stop::new(format!("{} exists", show(&path))));
    }
    check_parent(root, &path)?;
    let target = link.oldpath.clone().into();
    let mut meta = Meta::new(Kind::Symlink { target }, 0o777);
    if let Some((uid, gid)) = owner {
        (meta.uid, meta.gid) = (uid, gid);
    }
    let body = Body::Nothing;
    root.put(&path, Arc::new(Node { meta, body }))
}

fn rm(root: &mut Arc<Node>, rm: &pb::FileActionRm) -> Result<(), Stop> {
    if !rm.allow_wildcard {
        return remove(root, &rm.path, rm.allow_not_found);
    }
    for path in copy::matches(root, &rm.path, false)? {
        remove(root, &path, rm.allow_not_found)?;
    }
    Ok(())
}

/// Removes what a path names; a link in its last part is removed itself.
fn remove(root: &mut Arc<Node>, path: &str, allow_not_found: bool) -> Result<(), Stop> {
    let clean = crate::llb::paths::absolute("/", path);
    if clean == "/" {
        return Err(Stop::new("the root cannot be removed"));
    }
    let path = root.resolve(OsStr::new(&clean), false)?;
    if !allow_not_found {
        // The daemon looks through a link here.
        let target = root.resolve(OsStr::new(&clean), true)?;
        if root.at(&target).is_none() {
            return Err(not_found(&path));
        }
    }
    root.take(&path);
    Ok(())
}

/// Bits of a mode; a negative one has none that count.
fn bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0)
}

/// Who is to own what an action makes: `None` leaves the owner alone.
fn owner(owner: Option<&pb::ChownOpt>, operands: &Operands<'_>) -> Result<Owner, Stop> {
    let Some(owner) = owner else { return Ok(None) };
    let (mut uid, mut gid) = (0, 0);
    match owner.user.as_ref().and_then(|user| user.user.as_ref()) {
        Some(User::ById(id)) => (uid, gid) = (*id, *id),
        Some(User::ByName(named)) => {
            if let Some((user, group)) = lookup(named, "/etc/passwd", operands)? {
                (uid, gid) = (user, group);
            }
        }
        None => {}
    }
    match owner.group.as_ref().and_then(|group| group.user.as_ref()) {
        Some(User::ById(id)) => gid = *id,
        Some(User::ByName(named)) => {
            if let Some((group, _)) = lookup(named, "/etc/group", operands)? {
                gid = group;
            }
        }
        None => {}
    }
    Ok(Some((uid, gid)))
}

/// The numbers behind a name in a file of lines `name:password:id:group...`; the second one is that
/// of the group of a user.
fn lookup(
    named: &pb::NamedUserOpt,
    file: &str,
    operands: &Operands<'_>,
) -> Result<Option<(u32, u32)>, Stop> {
    let Some(tree) = operands.get(named.input) else {
        return Err(Stop::new(
            "the owner is looked up in a tree that is not known",
        ));
    };
    let Some(data) = tree.file(file, NAMES_SIZE_MAX)? else {
        return Ok(None);
    };
    for line in data.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.trim().split(':');
        if fields.next() != Some(&named.name) {
            continue;
        }
        let id = fields.nth(1).and_then(|field| field.parse().ok());
        let group = fields.next().and_then(|field| field.parse().ok());
        return Ok(id.map(|id| (id, group.unwrap_or(0))));
    }
    Ok(None)
}

/// A pattern for whole paths, or what is wrong with it.
pub(super) fn glob(pattern: &str) -> Result<Glob, Stop> {
    Glob::new(pattern).map_err(|error| Stop::new(format!("{pattern:?}: {error}")))
}
