//! File actions to file ops: a segment becomes one vertex.

use std::collections::HashSet;
use std::sync::Arc;

use solver::llb::file::{
    CopyMode, CopyOptions, FileOp, MkdirOptions, MkfileOptions, Owner as LlbOwner, RmOptions,
    SymlinkOptions, User,
};
use solver::llb::{Constraints, Output};

use super::{Made, cover, tree};
use crate::core::path;
use crate::error::Error;
use crate::vertex::{CopyAction, DagOp, Edge, FileAction, Owner, OwnerId, SEGMENT_ACTIONS, Work};

/// Permission bits of parents that are made along the way.
const PARENT_MODE: u32 = 0o755;

/// The segment that ends at `op`, from the action that begins it.
pub(super) fn segment(op: &Arc<DagOp>) -> Vec<&Arc<DagOp>> {
    let mut members = vec![op];
    let mut member = op;
    while !member.fold.begins {
        let Work::File {
            base: Some(base), ..
        } = &member.work
        else {
            break;
        };
        member = &base.op;
        members.push(member);
    }
    members.reverse();
    members
}

/// The file op of the segment that ends at `op`.
pub(super) fn lower(op: &Arc<DagOp>, made: &mut Vec<Made>) -> Result<Output, Error> {
    let members = segment(op);
    let base = match &members[0].work {
        Work::File { base, .. } => tree(base),
        _ => None,
    };
    let output = build(base, &members)?;
    for member in members {
        cover(member, vec![Arc::clone(output.vertex())], made);
    }
    Ok(output)
}

/// One file op with the actions of `members`, on top of `base`.
fn build(base: Option<Output>, members: &[&Arc<DagOp>]) -> Result<Output, Error> {
    let mut writer = Writer {
        op: FileOp::new(base),
        directories: HashSet::new(),
    };
    for member in members {
        if let Some(salt) = &member.salt {
            writer.remove(&salt.path(), false);
        }
        if let Work::File { action, .. } = &member.work {
            writer.write(action);
        }
    }
    let constraints = Constraints::default().named(name(members));
    writer
        .op
        .build(constraints)
        .map_err(|e| Error::input(e.to_string()))
}

/// `upper` as file ops on top of `lower`, if file actions alone lead from one to
/// the other.
pub(super) fn grown(lower: Option<&Edge>, upper: Option<&Edge>) -> Result<Option<Output>, Error> {
    let (Some(lower), Some(upper)) = (lower, upper) else {
        return Ok(None);
    };
    let mut members = Vec::new();
    let mut op = &upper.op;
    while !Arc::ptr_eq(op, &lower.op) {
        match &op.work {
            Work::File {
                base: Some(base), ..
            } => {
                members.push(op);
                op = &base.op;
            }
            _ => return Ok(None),
        }
    }
    members.reverse();
    let mut base = super::output(lower);
    for members in members.chunks(SEGMENT_ACTIONS) {
        base = Some(build(base, members)?);
    }
    Ok(base)
}

/// What the daemon shows for a segment: its first and its last call.
fn name(members: &[&Arc<DagOp>]) -> String {
    let first = &members[0].call.name;
    match members {
        [_] => first.to_string(),
        [.., last] => format!(
            "{first} … {} ({} file operations)",
            last.call.name,
            members.len()
        ),
        [] => String::new(),
    }
}

/// Adds actions to a file op, and the parents that a daemon does not make.
struct Writer {
    op: FileOp,
    /// Directories made by this op and not touched since.
    directories: HashSet<String>,
}

impl Writer {
    fn then(&mut self, add: impl FnOnce(FileOp) -> FileOp) {
        let op = std::mem::replace(&mut self.op, FileOp::new(None));
        self.op = add(op);
    }

    fn write(&mut self, action: &FileAction) {
        match action {
            FileAction::MakeFile {
                path,
                mode,
                data,
                owner,
            } => {
                self.parents(path);
                let options = MkfileOptions {
                    owner: llb_owner(owner.as_ref()),
                    timestamp: None,
                };
                self.then(|op| op.mkfile(path.as_str(), *mode, data.clone(), options));
                self.directories.remove(path);
            }
            FileAction::MakeDir { path, mode } => {
                self.parents(path);
                let options = MkdirOptions {
                    parents: true,
                    ..MkdirOptions::default()
                };
                self.then(|op| op.mkdir(path.as_str(), *mode, options));
            }
            FileAction::Remove { path, wildcard } => self.remove(path, *wildcard),
            FileAction::Symlink { target, path } => {
                self.parents(path);
                self.then(|op| {
                    op.symlink(target.as_str(), path.as_str(), SymlinkOptions::default())
                });
                self.directories.clear();
            }
            FileAction::Copy(copy) => self.copy(copy),
        }
    }

    fn parents(&mut self, path: &str) {
        let parent = path::parent(path);
        if parent == "/" || !self.directories.insert(parent.to_owned()) {
            return;
        }
        let options = MkdirOptions {
            parents: true,
            ..MkdirOptions::default()
        };
        self.then(|op| op.mkdir(parent, PARENT_MODE, options));
    }

    fn remove(&mut self, path: &str, wildcard: bool) {
        let options = RmOptions {
            allow_not_found: true,
            wildcard,
        };
        self.then(|op| op.rm(path, options));
        self.directories.clear();
    }

    fn copy(&mut self, copy: &CopyAction) {
        let options = CopyOptions {
            mode: copy.mode.map(CopyMode::Bits),
            owner: llb_owner(copy.owner.as_ref()),
            timestamp: copy.timestamp,
            contents_only: copy.contents,
            create_parents: true,
            include: copy.include.clone(),
            exclude: copy.exclude.clone(),
            ..CopyOptions::default()
        };
        let source = tree(&copy.source);
        self.then(|op| op.copy(source, copy.from.as_str(), copy.to.as_str(), options));
        self.directories.clear();
    }
}

fn llb_owner(owner: Option<&Owner>) -> Option<LlbOwner> {
    let user = |id: &OwnerId| match id {
        OwnerId::Id(id) => User::Id(*id),
        OwnerId::Name(name) => User::Name(name.clone()),
    };
    owner.map(|o| LlbOwner {
        user: user(&o.user),
        group: o.group.as_ref().map(user),
    })
}
