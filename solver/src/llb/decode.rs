//! Reading a graph back from a definition.
//!
//! Operations name their inputs by digest and may come in any order. Digests make cycles
//! impossible in an honest definition; a forged one cannot contain a cycle either, because every
//! operation is filed under the hash of its own bytes.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use prost::Message as _;
use proto::pb;

use super::{Definition, Error, Output, Vertex};
use crate::Digest;

/// Most operations in one definition. The largest known builds have some ten thousand.
pub(super) const OPS_MAX: usize = 1_000_000;

/// An operation on its way to becoming a vertex.
struct Parsed {
    op: pb::Op,
    bytes: Bytes,
    digest: Digest,
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
    let parsed = definition
        .def
        .iter()
        .enumerate()
        .map(parse)
        .collect::<Result<Vec<_>, _>>()?;
    let positions: HashMap<&Digest, usize> = parsed
        .iter()
        .enumerate()
        .map(|(position, parsed)| (&parsed.digest, position))
        .collect();

    let last = parsed.len() - 1;
    let terminal = &parsed[last].op;
    if terminal.op.is_some() {
        return malformed("the last vertex is not the terminal");
    }
    let Some(result) = terminal.inputs.first() else {
        return malformed("the terminal vertex has no input");
    };
    let root = position(&positions, &parsed, last, result)?;
    let vertices = connect(definition, &parsed, &positions, root)?;
    Ok(vertices[root]
        .as_ref()
        .map(|vertex| vertex.output(result.index)))
}

fn parse((index, bytes): (usize, &Bytes)) -> Result<Parsed, Error> {
    let digest = Digest::sha256(bytes);
    match pb::Op::decode(bytes.clone()) {
        Ok(op) => Ok(Parsed {
            op,
            bytes: bytes.clone(),
            digest,
        }),
        Err(error) => Err(Error::Vertex {
            index,
            digest,
            reason: error.to_string(),
        }),
    }
}

/// Position of the vertex that an input of vertex `index` names.
fn position(
    positions: &HashMap<&Digest, usize>,
    parsed: &[Parsed],
    index: usize,
    input: &pb::Input,
) -> Result<usize, Error> {
    let fail = |reason: String| {
        Err(Error::Vertex {
            index,
            digest: parsed[index].digest.clone(),
            reason,
        })
    };
    if input.index < 0 {
        return fail(format!("an input has the negative output {}", input.index));
    }
    let Ok(digest) = Digest::parse(&input.digest) else {
        return fail(format!(
            "an input has the invalid digest {:?}",
            input.digest
        ));
    };
    match positions.get(&digest) {
        Some(&position) => Ok(position),
        None => fail(format!("input {digest} is not part of the definition")),
    }
}

/// Makes the vertices below `root`, inputs first, with a stack in place of recursion.
fn connect(
    definition: &Definition,
    parsed: &[Parsed],
    positions: &HashMap<&Digest, usize>,
    root: usize,
) -> Result<Vec<Option<Arc<Vertex>>>, Error> {
    let mut vertices: Vec<Option<Arc<Vertex>>> = vec![None; parsed.len()];
    let mut stack = vec![(root, Vec::new())];
    while let Some((index, inputs)) = stack.last_mut() {
        let index = *index;
        let Parsed { op, bytes, digest } = &parsed[index];
        if let Some(input) = op.inputs.get(inputs.len()) {
            let position = position(positions, parsed, index, input)?;
            match &vertices[position] {
                Some(vertex) => inputs.push(vertex.output(input.index)),
                None => stack.push((position, Vec::new())),
            }
            continue;
        }
        if op.op.is_none() {
            return Err(Error::Vertex {
                index,
                digest: digest.clone(),
                reason: "it has no operation".to_owned(),
            });
        }
        let metadata = definition.metadata.get(digest).cloned().unwrap_or_default();
        let inputs = std::mem::take(inputs);
        vertices[index] = Some(Vertex::decoded(op.clone(), bytes.clone(), inputs, metadata));
        stack.pop();
    }
    Ok(vertices)
}
