//! From a [`FileOp`] to its vertex.
//!
//! Actions are numbered after the inputs: with two inputs, action 0 has index 2. Inputs are known
//! only when all actions have been seen, so indexes are resolved at the end.

use std::{collections::HashMap, sync::Arc};

use proto::pb;

use super::{
    Error, FileOp, Output,
    action::{Action, CopyMode, CopyOptions, CopySource, Owner, Step, User},
};
use crate::llb::{
    Constraints, caps, paths,
    vertex::{PlatformUse, Vertex},
};

/// Index of an absent input or output.
const NONE: i64 = -1;

/// Time stamp that says: of the source, or now.
const KEEP_TIME: i64 = -1;

/// Mode that says: of the source.
const KEEP_MODE: i32 = -1;

/// What an action works on.
#[derive(Clone, Copy)]
enum Index {
    None,
    Input(i64),
    Action(i64),
}

impl Index {
    fn resolve(self, inputs: i64) -> i64 {
        match self {
            Self::None => NONE,
            Self::Input(index) => index,
            Self::Action(index) => inputs + index,
        }
    }
}

/// An action whose indexes are not yet final.
struct Placed {
    input: Index,
    secondary: Index,
    action: pb::file_action::Action,
}

/// Everything gathered from the chains, in order of the actions.
#[derive(Default)]
struct Plan {
    inputs: Vec<Output>,
    positions: HashMap<Output, usize>,
    actions: Vec<Placed>,
    /// Last action of each chain that was placed, so that a chain copied from twice is placed once.
    chains: HashMap<*const FileOp, i64>,
}

pub(super) fn build(chain: &FileOp, constraints: Constraints) -> Result<Output, Error> {
    let mut plan = Plan::default();
    plan.place(chain)?;
    let walk = walk(chain, &plan.positions);
    let inputs = count(plan.inputs.len());
    let last = plan.actions.len().saturating_sub(1);
    let actions = plan
        .actions
        .into_iter()
        .enumerate()
        .map(|(position, placed)| pb::FileAction {
            input: placed.input.resolve(inputs),
            secondary_input: placed.secondary.resolve(inputs),
            output: if position == last { 0 } else { NONE },
            action: Some(placed.action),
        })
        .collect();
    let op = pb::op::Op::File(pb::FileOp { actions });
    let constraints = constraints.requiring([caps::FILE_BASE]);
    Ok(Vertex::new(op, plan.inputs, Some(walk), PlatformUse::Clear, constraints).output(0))
}

/// A length as the wire has it.
fn count(length: usize) -> i64 {
    i64::try_from(length).expect("no collection in memory is longer than i64::MAX")
}

impl Plan {
    fn input(&mut self, output: &Output) -> i64 {
        let position = *self.positions.entry(output.clone()).or_insert_with(|| {
            self.inputs.push(output.clone());
            self.inputs.len() - 1
        });
        count(position)
    }

    /// Places a chain, and before each copy the chain it copies from. Chains nest as deep as the
    /// caller nested them, so an explicit stack stands in for recursion.
    fn place(&mut self, chain: &FileOp) -> Result<(), Error> {
        let mut stack = vec![Cursor {
            chain,
            next: 0,
            previous: Index::None,
        }];
        while let Some(cursor) = stack.last_mut() {
            let chain = cursor.chain;
            let Some(step) = chain.steps.get(cursor.next) else {
                if let Index::Action(last) = cursor.previous {
                    self.chains.insert(std::ptr::from_ref(chain), last);
                    stack.pop();
                    continue;
                }
                return Err(Error::NoActions);
            };
            if let Action::Copy {
                source: CopySource::Chain(source),
                ..
            } = &step.action
                && !self.chains.contains_key(&Arc::as_ptr(source))
            {
                stack.push(Cursor {
                    chain: source,
                    next: 0,
                    previous: Index::None,
                });
                continue;
            }
            let base = chain.base.as_ref().map_or(NONE, |base| self.input(base));
            let input = match (cursor.previous, base) {
                (Index::None, NONE) => Index::None,
                (Index::None, base) => Index::Input(base),
                (previous, _) => previous,
            };
            let secondary = self.secondary(&step.action);
            let action = write(step, base)?;
            cursor.previous = Index::Action(count(self.actions.len()));
            cursor.next += 1;
            self.actions.push(Placed {
                input,
                secondary,
                action,
            });
        }
        Ok(())
    }

    fn secondary(&mut self, action: &Action) -> Index {
        match action {
            Action::Copy {
                source: CopySource::Tree(Some(output)),
                ..
            } => Index::Input(self.input(output)),
            Action::Copy {
                source: CopySource::Chain(chain),
                ..
            } => self
                .chains
                .get(&Arc::as_ptr(chain))
                .map_or(Index::None, |&last| Index::Action(last)),
            _ => Index::None,
        }
    }
}

/// A chain being placed.
struct Cursor<'a> {
    chain: &'a FileOp,
    next: usize,
    previous: Index,
}

/// The order in which BuildKit's client visits the inputs: from the last action back to the first,
/// the base before the source of the copy, a chain that is copied from in place.
fn walk(chain: &FileOp, positions: &HashMap<Output, usize>) -> Vec<usize> {
    let mut order = Vec::with_capacity(positions.len());
    let mut seen = vec![false; positions.len()];
    let mut visit = |output: &Option<Output>| {
        if let Some(&position) = output.as_ref().and_then(|output| positions.get(output))
            && !std::mem::replace(&mut seen[position], true)
        {
            order.push(position);
        }
    };
    let mut visited = std::collections::HashSet::new();
    let mut stack = vec![(chain, chain.steps.len())];
    while let Some((chain, left)) = stack.pop() {
        let Some(next) = left.checked_sub(1) else {
            continue;
        };
        stack.push((chain, next));
        visit(&chain.base);
        if let Action::Copy { source, .. } = &chain.steps[next].action {
            match source {
                CopySource::Tree(output) => visit(output),
                CopySource::Chain(source) => {
                    if visited.insert(Arc::as_ptr(source)) {
                        stack.push((source, source.steps.len()));
                    }
                }
            }
        }
    }
    order
}

fn write(step: &Step, base: i64) -> Result<pb::file_action::Action, Error> {
    let at = |path: &str| path_in(&step.directory, path);
    Ok(match &step.action {
        Action::Copy {
            source,
            from,
            to,
            options,
        } => {
            let from = match source {
                CopySource::Chain(chain) => path_in(chain_directory(chain), from)?,
                CopySource::Tree(_) => path_in("/", from)?,
            };
            let to = paths::absolute_keeping_slash(&step.directory, to);
            pb::file_action::Action::Copy(write_copy(from, to, options, base)?)
        }
        Action::Mkdir {
            path,
            mode,
            options,
        } => pb::file_action::Action::Mkdir(pb::FileActionMkDir {
            path: at(path)?,
            mode: permissions(*mode),
            make_parents: options.parents,
            owner: write_owner(options.owner.as_ref(), base, path)?,
            timestamp: options.timestamp.unwrap_or(KEEP_TIME),
        }),
        Action::Mkfile {
            path,
            mode,
            data,
            options,
        } => pb::file_action::Action::Mkfile(pb::FileActionMkFile {
            path: at(path)?,
            mode: permissions(*mode),
            data: data.clone(),
            owner: write_owner(options.owner.as_ref(), base, path)?,
            timestamp: options.timestamp.unwrap_or(KEEP_TIME),
        }),
        Action::Rm { path, options } => pb::file_action::Action::Rm(pb::FileActionRm {
            path: at(path)?,
            allow_not_found: options.allow_not_found,
            allow_wildcard: options.wildcard,
        }),
        Action::Symlink {
            target,
            path,
            options,
        } => pb::file_action::Action::Symlink(pb::FileActionSymlink {
            oldpath: target.clone(),
            newpath: at(path)?,
            owner: write_owner(options.owner.as_ref(), base, path)?,
            timestamp: options.timestamp.unwrap_or(KEEP_TIME),
        }),
    })
}

/// The directory in which relative paths into the result of a chain start.
fn chain_directory(chain: &FileOp) -> &str {
    &chain.directory
}

fn path_in(directory: &str, path: &str) -> Result<String, Error> {
    if path.is_empty() {
        return Err(Error::Option {
            what: "file action".to_owned(),
            reason: "its path is empty",
        });
    }
    Ok(paths::absolute(directory, path))
}

/// Permission bits without those for set-id and sticky, which mkdir and mkfile do not take.
fn permissions(mode: u32) -> i32 {
    (mode & 0o777).cast_signed()
}

fn write_copy(
    src: String,
    dest: String,
    options: &CopyOptions,
    base: i64,
) -> Result<pb::FileActionCopy, Error> {
    let (mode, mode_str) = match &options.mode {
        None => (KEEP_MODE, String::new()),
        Some(CopyMode::Bits(bits)) => (bits.cast_signed(), String::new()),
        Some(CopyMode::Symbolic(text)) => (0, text.clone()),
    };
    Ok(pb::FileActionCopy {
        owner: write_owner(options.owner.as_ref(), base, &dest)?,
        src,
        dest,
        mode,
        mode_str,
        follow_symlink: options.follow_symlinks,
        dir_copy_contents: options.contents_only,
        attempt_unpack_docker_compatibility: options.unpack,
        create_dest_path: options.create_parents,
        allow_wildcard: options.wildcard,
        allow_empty_wildcard: options.allow_empty_wildcard,
        timestamp: options.timestamp.unwrap_or(KEEP_TIME),
        include_patterns: options.include.clone(),
        exclude_patterns: options.exclude.clone(),
        required_paths: options.required_paths.clone(),
        always_replace_existing_dest_paths: options.replace,
    })
}

/// `base` is the input in which names are looked up: the base of the chain.
fn write_owner(
    owner: Option<&Owner>,
    base: i64,
    path: &str,
) -> Result<Option<pb::ChownOpt>, Error> {
    let write = |user: &User| {
        let user = match user {
            User::Id(id) => pb::user_opt::User::ById(*id),
            User::Name(name) if base == NONE => {
                let (name, path) = (name.clone(), path.to_owned());
                return Err(Error::OwnerOnScratch { name, path });
            }
            User::Name(name) => pb::user_opt::User::ByName(pb::NamedUserOpt {
                name: name.clone(),
                input: base,
            }),
        };
        Ok(pb::UserOpt { user: Some(user) })
    };
    owner
        .map(|owner| {
            Ok(pb::ChownOpt {
                user: Some(write(&owner.user)?),
                group: owner.group.as_ref().map(write).transpose()?,
            })
        })
        .transpose()
}
