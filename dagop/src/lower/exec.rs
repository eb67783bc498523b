//! `withExec` to an exec vertex: the command behind init, and a meta mount.
//!
//! See [`crate::init`] for the three mounts that are ours and
//! [`crate::salt`] for the fourth.

use std::sync::Arc;

use solver::llb::exec::{CacheSharing, Exec, ExecOutputs, Mount, Secret, SshAgent};
use solver::llb::file::{FileOp, MkdirOptions, MkfileOptions};
use solver::llb::{Constraints, Output, SecurityMode};

use super::{Made, cover, tree};
use crate::error::Error;
use crate::vertex::{DagOp, ExecMount, ExecWork, MountKind, Sharing};
use crate::{init, salt};

/// Where standard input is in the vertex that holds it.
const STDIN_FILE: &str = "/stdin";

/// Bytes of a command that its name shows.
const NAME_BYTES: usize = 400;

pub(super) fn lower(
    op: &Arc<DagOp>,
    work: &ExecWork,
    made: &mut Vec<Made>,
) -> Result<Vec<Option<Output>>, Error> {
    if work.platform.architecture != init::ARCH {
        return Err(Error::input(format!(
            "a command for {} cannot be run: this dagop has its init program for {} only",
            work.platform,
            init::ARCH
        )));
    }
    let fail = |e: solver::llb::Error| Error::input(e.to_string());
    let meta = meta_directory().map_err(fail)?;
    let stdin = work
        .stdin
        .as_deref()
        .map(stdin_file)
        .transpose()
        .map_err(fail)?;
    let constraints = Constraints::on(work.platform.to_llb()).named(name(work));
    let mut exec = Exec::new(tree(&work.root), work.args.iter().map(String::as_str))
        .directory(work.cwd.as_str())
        .user(work.user.as_str())
        .constraints(constraints)
        .mount(Mount::bind(init::META, Some(meta.clone())).selector(init::META_DIR))
        .secret(Secret::file(init::secret_id(), init::PATH).owned(0, 0, 0o555));
    if let Some(file) = &stdin {
        let mount = Mount::bind(init::STDIN, Some(file.clone()))
            .selector(STDIN_FILE)
            .readonly();
        exec = exec.mount(mount);
    }
    if let Some(salt) = &op.salt {
        exec = exec.secret(Secret::file(salt.secret_id(), salt::MOUNT).optional());
    }
    let outputs = settings(exec, work).build().map_err(fail)?;
    let mut vertices = vec![Arc::clone(meta.vertex())];
    vertices.extend(stdin.iter().map(|file| Arc::clone(file.vertex())));
    vertices.push(Arc::clone(outputs.vertex()));
    cover(op, vertices, made);
    Ok(in_order(work, &outputs))
}

/// What the daemon shows: the command as a person would type it.
fn name(work: &ExecWork) -> String {
    let command = init::display_command(init::user_command(&work.args));
    let cut = command.floor_char_boundary(NAME_BYTES);
    let dots = if cut < command.len() { "…" } else { "" };
    format!("withExec {}{dots}", &command[..cut])
}

fn settings(mut exec: Exec, work: &ExecWork) -> Exec {
    for entry in &work.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        exec = exec.env(name, value);
    }
    for (name, id) in &work.secret_env {
        exec = exec.secret(Secret::env(id.as_str(), name.as_str()));
    }
    for mount in &work.mounts {
        exec = mounted(exec, mount);
    }
    if !work.exit_codes.is_empty() {
        exec = exec.valid_exit_codes(work.exit_codes.iter().copied());
    }
    if work.insecure {
        exec = exec.security(SecurityMode::Insecure);
    }
    exec
}

fn mounted(exec: Exec, mount: &ExecMount) -> Exec {
    let target = mount.target.as_str();
    match &mount.kind {
        MountKind::Bind {
            source,
            selector,
            readonly,
        } => {
            let bind = Mount::bind(target, tree(source)).selector(whole(selector));
            exec.mount(if *readonly { bind.readonly() } else { bind })
        }
        MountKind::Cache {
            id,
            sharing,
            source,
            selector,
        } => {
            let sharing = match sharing {
                Sharing::Shared => CacheSharing::Shared,
                Sharing::Private => CacheSharing::Private,
                Sharing::Locked => CacheSharing::Locked,
            };
            let cache = Mount::cache(target, id.as_str(), sharing);
            exec.mount(cache.source(tree(source)).selector(whole(selector)))
        }
        MountKind::Tmpfs { size } => exec.mount(Mount::tmpfs(target, size.unwrap_or(0))),
        MountKind::Secret { id, uid, gid, mode } => {
            exec.secret(Secret::file(id.as_str(), target).owned(*uid, *gid, *mode))
        }
        MountKind::Socket { id, uid, gid } => exec.ssh_agent(
            SshAgent::new(id.as_str())
                .target(target)
                .owned(*uid, *gid, 0o600),
        ),
    }
}

/// A selector as LLB writes it: nothing for the whole tree.
fn whole(selector: &str) -> &str {
    if selector == "/" { "" } else { selector }
}

/// The outputs as [`ExecWork`] numbers them; LLB numbers them by target.
fn in_order(work: &ExecWork, outputs: &ExecOutputs) -> Vec<Option<Output>> {
    let mut ordered = vec![outputs.root().cloned(), outputs.mount(init::META).cloned()];
    for mount in &work.mounts {
        if matches!(
            mount.kind,
            MountKind::Bind {
                readonly: false,
                ..
            }
        ) {
            ordered.push(outputs.mount(&mount.target).cloned());
        }
    }
    ordered
}

/// The input of every meta mount: a directory in which every user can write.
fn meta_directory() -> Result<Output, solver::llb::Error> {
    FileOp::new(None)
        .mkdir(init::META_DIR, 0o777, MkdirOptions::default())
        .build(Constraints::default().named("[internal] directory for a command's output"))
}

fn stdin_file(content: &str) -> Result<Output, solver::llb::Error> {
    FileOp::new(None)
        .mkfile(
            STDIN_FILE,
            0o444,
            content.to_owned(),
            MkfileOptions::default(),
        )
        .build(Constraints::default().named("[internal] standard input of a command"))
}
