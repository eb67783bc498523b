//! Which work can only be done for the session that asked for it.
//!
//! A directory of the host is read through the session that named it, and a secret or a socket is
//! served by it. A result with such work in it is of no use to another session, and must not outlive
//! its own: the engine's cache asks [`dagql::ObjectData::session_bound`]. Whatever is made from bound
//! work is bound.

use solver::llb;

use super::{DagOp, Edge, ExecMount, MountKind, Tree, Work};

/// Sources that every session can fetch by their name alone.
const PUBLIC: [&str; 4] = ["docker-image://", "git://", "http://", "https://"];

/// Whether the tree has bound work in it.
pub(crate) fn tree_is_bound(tree: &Tree) -> bool {
    tree.as_ref().is_some_and(|edge| edge.op.bound)
}

/// Whether the session serves the mount, or what it shows.
pub(crate) fn mount_is_bound(mount: &ExecMount) -> bool {
    match &mount.kind {
        MountKind::Secret { .. } | MountKind::Socket { .. } => true,
        MountKind::Bind { source, .. } | MountKind::Cache { source, .. } => tree_is_bound(source),
        MountKind::Tmpfs { .. } => false,
    }
}

impl DagOp {
    /// Whether the work, or any of its inputs, is bound. The inputs know it of themselves.
    pub(super) fn is_bound(work: &Work) -> bool {
        let own = match work {
            Work::Llb(outputs) => !outputs.iter().flatten().all(is_public),
            Work::Exec(exec) => {
                !exec.secret_env.is_empty() || exec.mounts.iter().any(mount_is_bound)
            }
            Work::File { .. } | Work::Diff { .. } | Work::Read(_) => false,
        };
        let mut bound = own;
        work.for_each_input(|edge: &Edge| bound |= edge.op.bound);
        bound
    }
}

/// A graph of more than one source has been through a frontend, which may have used anything.
fn is_public(output: &llb::Output) -> bool {
    let source = output.vertex().source();
    source.is_some_and(|source| {
        PUBLIC
            .iter()
            .any(|scheme| source.identifier.starts_with(scheme))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use solver::llb::source;

    use super::*;
    use crate::vertex::{CallRef, CopyAction, FileAction, Kind};

    fn op(work: Work) -> Tree {
        let call = CallRef {
            digest: dagql::Digest::parse("blake3:c").expect("well formed"),
            name: Arc::from("call"),
        };
        Some(Edge::first(DagOp::new(Kind::Fs, call, None, work)))
    }

    fn copy(base: Tree, source: Tree) -> Tree {
        let copy = CopyAction::new(source, "/a", "/b");
        let action = FileAction::Copy(Box::new(copy));
        op(Work::File { base, action })
    }

    #[test]
    fn what_comes_from_the_host_is_bound_and_so_is_all_that_is_made_from_it() {
        let host = source::local("context", source::LocalOptions::default());
        let host = op(Work::Llb(vec![Some(host)]));
        assert!(tree_is_bound(&host));
        let scratch = copy(None, None);
        assert!(!tree_is_bound(&scratch));
        assert!(tree_is_bound(&copy(host.clone(), None)));
        let above = copy(scratch, host);
        assert!(tree_is_bound(&above));
        assert!(tree_is_bound(&op(Work::Read(above.clone()))));
        let diff = Work::Diff {
            lower: None,
            upper: above,
        };
        assert!(tree_is_bound(&op(diff)));
    }

    #[test]
    fn what_every_session_can_fetch_is_not_bound() {
        let page = source::http("https://example.invalid/x", source::HttpOptions::default())
            .expect("a URL");
        assert!(!tree_is_bound(&op(Work::Llb(vec![Some(page)]))));
    }

    #[test]
    fn what_the_session_serves_is_bound() {
        let mount = |kind| ExecMount {
            target: "/m".to_owned(),
            kind,
        };
        let (id, uid, gid) = ("s".to_owned(), 0, 0);
        assert!(mount_is_bound(&mount(MountKind::Socket { id, uid, gid })));
        assert!(!mount_is_bound(&mount(MountKind::Tmpfs { size: None })));
    }
}
