//! Lowering: from DagOps to stock LLB.
//!
//! [`lower`] turns one edge into an LLB output, with everything below it. It
//! is a pure function of the DagOps: the same graph gives the same bytes, and
//! nothing here knows what ran before or who else is interested. Each DagOp is
//! lowered at most once and keeps its outputs.
//!
//! The walk is a loop with a stack of its own, since chains are long. A file
//! action that is not the end of a segment is not lowered by itself: the
//! segment it belongs to is ([`crate::vertex`] has the rules), from the action
//! that begins it to the action that is wanted.
//!
//! | work | LLB |
//! |---|---|
//! | `Llb` | the outputs as they are |
//! | `File` | one file op per segment (`lower/file.rs`) |
//! | `Exec` | one exec behind init, with a meta mount (`lower/exec.rs`) |
//! | `Diff` | the op of that name |
//! | `Read` | what is read: it has no vertex of its own |

mod exec;
mod file;

use std::sync::Arc;

use solver::llb::{self, Constraints, Output};

use crate::error::Error;
use crate::vertex::{DagOp, Edge, Tree, Work};

/// A DagOp that got its LLB vertex in this call.
#[derive(Clone, Debug)]
pub struct Made {
    /// The DagOp.
    pub op: Arc<DagOp>,
    /// The vertices it brings, its own last.
    pub vertices: Vec<Arc<llb::Vertex>>,
}

/// The LLB of an edge; nothing for an output without files. What got a vertex
/// on the way is added to `made`.
///
/// # Errors
/// What LLB cannot say: a name for an owner where there are none, an exec for
/// an architecture that init does not exist for.
pub fn lower(edge: &Edge, made: &mut Vec<Made>) -> Result<Option<Output>, Error> {
    let mut stack = vec![Arc::clone(&edge.op)];
    while let Some(op) = stack.last() {
        if op.lowered.get().is_some() {
            stack.pop();
            continue;
        }
        let pending = stack.len();
        let op = Arc::clone(op);
        for_each_needed(&op, |input| {
            if input.op.lowered.get().is_none() {
                stack.push(Arc::clone(&input.op));
            }
        });
        if stack.len() == pending {
            let outputs = lower_one(&op, made)?;
            // Another thread may have been faster, with the same result.
            let _ = op.lowered.set(outputs);
            stack.pop();
        }
    }
    Ok(output(edge))
}

/// The output of an edge whose DagOp is lowered.
fn output(edge: &Edge) -> Option<Output> {
    edge.op.lowered.get()?.get(edge.output)?.clone()
}

fn tree(tree: &Tree) -> Option<Output> {
    tree.as_ref().and_then(output)
}

/// Visits what must be lowered before `op`: for a file action that is the
/// inputs of its whole segment.
fn for_each_needed(op: &Arc<DagOp>, mut visit: impl FnMut(&Edge)) {
    if !matches!(op.work, Work::File { .. }) {
        op.for_each_input(visit);
        return;
    }
    for member in file::segment(op) {
        let begins = member.fold.begins;
        if let Work::File { base, action } = &member.work {
            if let (true, Some(base)) = (begins, base) {
                visit(base);
            }
            if let Some(source) = action.source() {
                visit(source);
            }
        }
    }
}

fn lower_one(op: &Arc<DagOp>, made: &mut Vec<Made>) -> Result<Vec<Option<Output>>, Error> {
    let constraints = || Constraints::default().named(op.call.name.as_ref());
    let outputs = match &op.work {
        Work::Llb(outputs) => {
            // A source or a frontend brings everything below along.
            let vertices = outputs.iter().flatten().flat_map(llb::vertices).collect();
            cover(op, vertices, made);
            return Ok(outputs.clone());
        }
        Work::File { .. } => return file::lower(op, made).map(|output| vec![Some(output)]),
        Work::Exec(exec) => return exec::lower(op, exec, made),
        Work::Read(input) => tree(input),
        Work::Diff { lower, upper } => {
            // Where one tree grew out of the other, what they share must be one
            // vertex: files written twice have two times, and would all differ.
            let grown = file::grown(lower.as_ref(), upper.as_ref())?;
            let upper = if grown.is_some() { grown } else { tree(upper) };
            if upper.is_none() {
                // Nothing was added to anything. A diff op towards scratch would
                // ask v0.32 for a layer of a result that is not there, and end it.
                return Ok(vec![None]);
            }
            llb::diff(tree(lower).as_ref(), upper.as_ref(), constraints())
        }
    };
    cover(
        op,
        outputs.iter().map(|o| Arc::clone(o.vertex())).collect(),
        made,
    );
    Ok(vec![outputs])
}

/// Notes which vertices do the work of `op`; the first time counts.
fn cover(op: &Arc<DagOp>, vertices: Vec<Arc<llb::Vertex>>, made: &mut Vec<Made>) {
    let Some(own) = vertices.last() else { return };
    if op.covered_by.set(Arc::clone(own)).is_ok() {
        made.push(Made {
            op: Arc::clone(op),
            vertices,
        });
    }
}

#[cfg(test)]
mod tests;
