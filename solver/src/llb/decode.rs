//! Reading a graph back from a definition.
//!
//! Operations name their inputs by digest and may come in any order. Digests make cycles
//! impossible in an honest definition; a forged one cannot contain a cycle either, because every
//! operation is filed under the hash of its own bytes.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use prost::Message as _;
use proto::pb;

use super::{Definition, Error, Output, Vertex};
use crate::{Digest, parallel};

/// Most operations in one definition. The largest known builds have some ten thousand.
pub(super) const OPS_MAX: usize = 1_000_000;

/// An operation on its way to becoming a vertex. It has many fields, and is not moved about.
struct Parsed {
    op: Box<pb::Op>,
    metadata: pb::OpMetadata,
}

/// What operations are filed under.
struct Filed<'a> {
    digests: &'a [Digest],
    positions: HashMap<&'a str, usize>,
}

pub(super) fn output(definition: &Definition) -> Result<Option<Output>, Error> {
    let malformed = |reason: &str| {
        Err(Error::Malformed {
            reason: reason.to_owned(),
        })
    };
    if definition.def.is_empty() {
        return Ok(None);
    }
    if definition.def.len() > OPS_MAX {
        return malformed("it has more than 1000000 vertices");
    }
    let parsed = parallel::map(&definition.def, |index, bytes| {
        parse(definition, index, bytes)
    });
    // Of several errors the first one is told.
    let parsed: Vec<_> = parsed.into_iter().collect::<Result<_, _>>()?;
    let (parsed, digests): (Vec<Parsed>, Vec<Digest>) = parsed.into_iter().unzip();
    let filed = Filed {
        positions: digests.iter().map(Digest::as_str).zip(0..).collect(),
        digests: &digests,
    };
    let last = parsed.len() - 1;
    let terminal = &parsed[last].op;
    if terminal.op.is_some() {
        return malformed("the last vertex is not the terminal");
    }
    let Some(result) = terminal.inputs.first() else {
        return malformed("the terminal vertex has no input");
    };
    let root = filed.position(last, result)?;
    let index = result.index;
    let vertices = connect(definition, parsed, &filed, root)?;
    Ok(vertices[root].as_ref().map(|vertex| vertex.output(index)))
}

fn parse(definition: &Definition, index: usize, bytes: &Bytes) -> Result<(Parsed, Digest), Error> {
    let digest = Digest::sha256(bytes);
    let mut op = Box::<pb::Op>::default();
    if let Err(error) = op.merge(bytes.clone()) {
        return Err(Error::Vertex {
            index,
            digest,
            reason: error.to_string(),
        });
    }
    let metadata = definition.metadata.get(&digest);
    let metadata = metadata.cloned().unwrap_or_default();
    Ok((Parsed { op, metadata }, digest))
}

impl Filed<'_> {
    /// Position of the vertex that an input of vertex `index` names.
    fn position(&self, index: usize, input: &pb::Input) -> Result<usize, Error> {
        let fail = |reason: String| {
            Err(Error::Vertex {
                index,
                digest: self.digests[index].clone(),
                reason,
            })
        };
        if input.index < 0 {
            return fail(format!("an input has the negative output {}", input.index));
        }
        if let Some(&position) = self.positions.get(input.digest.as_str()) {
            return Ok(position);
        }
        fail(match Digest::parse(&input.digest) {
            Ok(digest) => format!("input {digest} is not part of the definition"),
            Err(_) => format!("an input has the invalid digest {:?}", input.digest),
        })
    }
}

/// Makes the vertices below `root`, inputs first, with a stack in place of recursion.
fn connect(
    definition: &Definition,
    mut parsed: Vec<Parsed>,
    filed: &Filed<'_>,
    root: usize,
) -> Result<Vec<Option<Arc<Vertex>>>, Error> {
    let mut vertices: Vec<Option<Arc<Vertex>>> = vec![None; parsed.len()];
    let mut stack = vec![(root, Vec::new())];
    while let Some((index, inputs)) = stack.last_mut() {
        let index = *index;
        if let Some(input) = parsed[index].op.inputs.get(inputs.len()) {
            let position = filed.position(index, input)?;
            match &vertices[position] {
                Some(vertex) => inputs.push(vertex.output(input.index)),
                None => stack.push((position, Vec::new())),
            }
            continue;
        }
        // Each operation becomes a vertex once, so it can be taken.
        let Parsed { op, metadata } = &mut parsed[index];
        let (op, metadata) = (std::mem::take(op), std::mem::take(metadata));
        let digest = filed.digests[index].clone();
        if op.op.is_none() {
            return Err(Error::Vertex {
                index,
                digest,
                reason: "it has no operation".to_owned(),
            });
        }
        let inputs = std::mem::take(inputs);
        let bytes = definition.def[index].clone();
        vertices[index] = Some(Vertex::decoded(op, bytes, digest, inputs, metadata));
        stack.pop();
    }
    Ok(vertices)
}
