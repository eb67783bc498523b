//! The session of a verification: takes operations as a run does, and runs the commands again.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::compare::{self, Difference};
use super::{Step, Verdict, Verification};
use crate::engine::{Engine, EngineSession, SessionOptions};
use crate::error::Error;
use crate::init::{self, MetaFile};
use crate::plan::Unknowns;
use crate::salt::Salt;
use crate::session::BuildSession;
use crate::vertex::{DagOp, Edge, ExecWork, MountKind, Work};
use crate::{Request, Response};

/// How to compare.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Modification times of what is no directory count.
    pub mtimes: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Verifier {
    session: EngineSession,
    options: Options,
    unknowns: Unknowns,
}

impl Verifier {
    /// Opens a session in which each command runs under a key that no other build has.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn start(
        engine: &Engine,
        session: SessionOptions,
        options: Options,
    ) -> Result<Self, Error> {
        Ok(Self {
            session: engine.open_verification(session)?,
            options,
            unknowns: Unknowns::default(),
        })
    }

    /// Takes one operation; see [`crate::plan::Planner::execute`].
    pub async fn execute(&self, request: Request, cancel: CancellationToken) -> Response {
        let operation = request.operation_name.clone().unwrap_or_default();
        let response = self.session.execute(request, cancel).await;
        self.unknowns.take(operation, response)
    }

    /// Runs each command of the document once more and compares.
    ///
    /// # Errors
    /// When an output cannot be read.
    pub async fn finish(self) -> Result<Verification, Error> {
        let build = self.session.build();
        let mut steps = Vec::new();
        let mut causes: HashMap<*const DagOp, String> = HashMap::new();
        for op in build.commands() {
            let Work::Exec(work) = &op.work else { continue };
            let name = init::display_command(init::user_command(&work.args));
            let verdict = match again(build, &op, work, self.options).await? {
                Verdict::Same => consequence(&op, &causes),
                verdict => {
                    causes.insert(Arc::as_ptr(&op), name.clone());
                    verdict
                }
            };
            steps.push(Step {
                name,
                call: op.call().name.to_string(),
                verdict,
            });
        }
        self.session.finish().await?;
        Ok(Verification {
            steps,
            skipped: self.unknowns.into_list(),
        })
    }
}

/// Runs a command over the same inputs and compares all it wrote.
async fn again(
    build: &BuildSession,
    op: &Arc<DagOp>,
    work: &ExecWork,
    options: Options,
) -> Result<Verdict, Error> {
    let salt = op.salt().map_or("", Salt::key);
    let salt = Salt::new(&format!("{salt}/again"));
    let repeated = Work::Exec(Box::new(work.clone()));
    let repeated = Arc::new(DagOp::new(
        op.kind(),
        op.call().clone(),
        Some(salt),
        repeated,
    ));
    for (output, mount) in outputs(work) {
        let tree = |op: &Arc<DagOp>| {
            Some(Edge {
                op: Arc::clone(op),
                output,
            })
        };
        if build.lowered(&tree(op))?.is_none() {
            continue;
        }
        let first = build.archive(&tree(op)).await?;
        let second = match build.archive(&tree(&repeated)).await {
            Ok(second) => second,
            Err(error) if error.exec_error().is_some() => {
                let error = error.message().to_owned();
                return Ok(Verdict::Failed { error });
            }
            Err(error) => return Err(error),
        };
        let compared = tokio::task::spawn_blocking(move || {
            compare::first_difference(&first, &second, options.mtimes, is_ignored)
        });
        let compared = compared.await.map_err(|e| Error::internal(e.to_string()))?;
        let found = compared.map_err(|e| Error::input(format!("an output of a step: {e}")))?;
        if let Some((path, what)) = found {
            return Ok(Verdict::Differs {
                difference: Difference {
                    output: mount,
                    path,
                    what,
                },
            });
        }
    }
    Ok(Verdict::Same)
}

/// The outputs of a command by number, with where they are mounted.
fn outputs(work: &ExecWork) -> Vec<(usize, String)> {
    let writable = work.mounts.iter().filter(|mount| {
        matches!(
            mount.kind,
            MountKind::Bind {
                readonly: false,
                ..
            }
        )
    });
    let mut outputs = vec![
        (ExecWork::ROOT, "/".to_owned()),
        (ExecWork::META, "what it printed".to_owned()),
    ];
    outputs.extend((ExecWork::FIRST_MOUNT..).zip(writable.map(|mount| mount.target.clone())));
    outputs
}

/// The order of two streams is a race of their readers.
fn is_ignored(path: &Path) -> bool {
    let combined = MetaFile::Combined.path();
    Path::new("/").join(path) == Path::new(&combined)
}

/// Whether a step that gave the same twice has inputs that others gave differently.
fn consequence(op: &Arc<DagOp>, causes: &HashMap<*const DagOp, String>) -> Verdict {
    let mut of = Vec::new();
    let mut seen: HashSet<*const DagOp> = HashSet::new();
    let mut pending = vec![Arc::clone(op)];
    while let Some(op) = pending.pop() {
        op.for_each_input(|input| {
            let at = Arc::as_ptr(&input.op);
            if seen.insert(at) {
                of.extend(causes.get(&at).cloned());
                pending.push(Arc::clone(&input.op));
            }
        });
    }
    of.sort_unstable();
    of.dedup();
    if of.is_empty() {
        Verdict::Same
    } else {
        Verdict::Consequence { of }
    }
}
