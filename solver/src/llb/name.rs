//! Kinds and names of vertices, as progress output shows them.

use std::fmt;

use proto::pb::{self, Op, file_action::Action};

use super::{Output, constraints::CUSTOM_NAME, vertex::Vertex};

/// Kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Brings something in.
    Source,
    /// Runs a process.
    Exec,
    /// Changes files.
    File,
    /// Layers trees on top of each other.
    Merge,
    /// Finds what is between two trees.
    Diff,
    /// Builds a graph stored in a file.
    Build,
    /// Waits for all inputs and returns some.
    Passthrough,
    /// The end of a definition: says which output is the result.
    Terminal,
}

impl Kind {
    pub(super) fn of(op: &Op) -> Self {
        match &op.op {
            Some(pb::op::Op::Source(_)) => Self::Source,
            Some(pb::op::Op::Exec(_)) => Self::Exec,
            Some(pb::op::Op::File(_)) => Self::File,
            Some(pb::op::Op::Merge(_)) => Self::Merge,
            Some(pb::op::Op::Diff(_)) => Self::Diff,
            Some(pb::op::Op::Build(_)) => Self::Build,
            Some(pb::op::Op::Passthrough(_)) => Self::Passthrough,
            None => Self::Terminal,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Exec => "exec",
            Self::File => "file",
            Self::Merge => "merge",
            Self::Diff => "diff",
            Self::Build => "build",
            Self::Passthrough => "passthrough",
            Self::Terminal => "terminal",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Deepest nesting of merge and diff that a name spells out; below, vertices are named `...`.
const NAME_DEPTH_MAX: usize = 3;

/// Most inputs of one merge that a name spells out.
const NAME_INPUTS_MAX: usize = 8;

/// Name of a vertex: the custom one, else what the daemon would call it.
pub(super) fn of(vertex: &Vertex) -> String {
    within(vertex, NAME_DEPTH_MAX)
}

fn within(vertex: &Vertex, depth: usize) -> String {
    if let Some(name) = vertex.metadata().description.get(CUSTOM_NAME) {
        return name.clone();
    }
    let input = |index: i64| {
        let input = usize::try_from(index)
            .ok()
            .and_then(|index| vertex.inputs().get(index));
        of_input(input, depth)
    };
    match &vertex.op().op {
        Some(pb::op::Op::Source(source)) => source.identifier.clone(),
        Some(pb::op::Op::Exec(exec)) => exec
            .meta
            .as_ref()
            .map(|meta| meta.args.join(" "))
            .unwrap_or_default(),
        Some(pb::op::Op::File(file)) => {
            let names: Vec<String> = file
                .actions
                .iter()
                .filter_map(|action| action.action.as_ref())
                .map(of_action)
                .collect();
            names.join(", ")
        }
        Some(pb::op::Op::Merge(_)) => {
            let shown = vertex.inputs().iter().take(NAME_INPUTS_MAX);
            let mut names: Vec<String> = shown.map(|input| of_input(Some(input), depth)).collect();
            if vertex.inputs().len() > NAME_INPUTS_MAX {
                names.push("...".to_owned());
            }
            format!("merge ({})", names.join(", "))
        }
        Some(pb::op::Op::Diff(diff)) => {
            let lower = diff.lower.as_ref().map_or(-1, |lower| lower.input);
            let upper = diff.upper.as_ref().map_or(-1, |upper| upper.input);
            format!("diff ({}) -> ({})", input(lower), input(upper))
        }
        Some(pb::op::Op::Build(_)) => "build".to_owned(),
        Some(pb::op::Op::Passthrough(passthrough)) => format!("passthrough {}", passthrough.id),
        None => "terminal".to_owned(),
    }
}

fn of_input(input: Option<&Output>, depth: usize) -> String {
    match input {
        None => "scratch".to_owned(),
        Some(_) if depth == 0 => "...".to_owned(),
        Some(input) => within(input.vertex(), depth - 1),
    }
}

fn of_action(action: &Action) -> String {
    match action {
        Action::Copy(copy) => format!("copy {} {}", copy.src, copy.dest),
        Action::Mkfile(mkfile) => format!("mkfile {}", mkfile.path),
        Action::Mkdir(mkdir) => format!("mkdir {}", mkdir.path),
        Action::Rm(rm) => format!("rm {}", rm.path),
        Action::Symlink(link) => format!("symlink {} -> {}", link.newpath, link.oldpath),
    }
}
