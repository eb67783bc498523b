//! A graph that can be edited: operations whose inputs are positions, not digests.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use proto::{gowire, pb};
use solver::{Digest, llb::Definition};

/// An operation with the positions and outputs of its inputs, and what accompanies it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) op: pb::Op,
    pub(crate) metadata: pb::OpMetadata,
    pub(crate) inputs: Vec<(usize, i64)>,
}

/// A graph.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Its operations, in any order.
    pub(crate) nodes: Vec<Node>,
    /// Position of the one that makes the result.
    pub(crate) result: usize,
}

impl Draft {
    pub(crate) fn new(definition: &Definition) -> Self {
        let mut places = HashMap::new();
        let mut nodes = Vec::new();
        let definition = definition.to_pb();
        for bytes in &definition.def {
            let op = pb::Op::decode(bytes.clone()).unwrap();
            // The terminal has no operation, and is written anew.
            if op.op.is_none() {
                continue;
            }
            let inputs = op
                .inputs
                .iter()
                .map(|i| (places[&i.digest], i.index))
                .collect();
            let digest = Digest::sha256(bytes).to_string();
            let metadata = definition.metadata.get(&digest).cloned();
            places.insert(digest, nodes.len());
            nodes.push(Node {
                op,
                metadata: metadata.unwrap_or_default(),
                inputs,
            });
        }
        let result = nodes.len() - 1;
        Self { nodes, result }
    }

    /// The graph as a definition. Nodes that the result does not need are left out.
    pub(crate) fn definition(&self) -> Definition {
        let mut digests: Vec<Option<String>> = vec![None; self.nodes.len()];
        let mut def = Vec::new();
        let mut metadata = HashMap::new();
        let mut stack = vec![self.result];
        while let Some(&place) = stack.last() {
            let node = &self.nodes[place];
            let missing: Vec<usize> = node
                .inputs
                .iter()
                .map(|(input, _)| *input)
                .filter(|&input| digests[input].is_none())
                .collect();
            if digests[place].is_some() || missing.is_empty() {
                stack.pop();
            }
            if digests[place].is_some() {
                continue;
            }
            if missing.is_empty() {
                let mut op = node.op.clone();
                op.inputs = inputs(&node.inputs, &digests);
                let bytes = Bytes::from(gowire::encode(&op));
                let digest = Digest::sha256(&bytes).to_string();
                metadata.insert(digest.clone(), node.metadata.clone());
                digests[place] = Some(digest);
                def.push(bytes);
            } else {
                stack.extend(missing);
            }
        }
        let result = [(self.result, 0)];
        let terminal = pb::Op {
            inputs: inputs(&result, &digests),
            ..pb::Op::default()
        };
        def.push(Bytes::from(gowire::encode(&terminal)));
        let definition = pb::Definition {
            def,
            metadata: metadata.into_iter().collect(),
            ..pb::Definition::default()
        };
        Definition::from_pb(definition).unwrap()
    }

    /// Positions of commands.
    pub(crate) fn execs(&self) -> Vec<usize> {
        self.places(|op| matches!(op, pb::op::Op::Exec(_)))
    }

    pub(crate) fn places(&self, is: impl Fn(&pb::op::Op) -> bool) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        let found = nodes.filter(|(_, node)| node.op.op.as_ref().is_some_and(&is));
        found.map(|(place, _)| place).collect()
    }

    pub(crate) fn exec(&mut self, place: usize) -> &mut pb::ExecOp {
        match &mut self.nodes[place].op.op {
            Some(pb::op::Op::Exec(exec)) => exec,
            other => panic!("{other:?} is no command"),
        }
    }

    pub(crate) fn file(&mut self, place: usize) -> &mut pb::FileOp {
        match &mut self.nodes[place].op.op {
            Some(pb::op::Op::File(file)) => file,
            other => panic!("{other:?} is no file operation"),
        }
    }

    pub(crate) fn source(&mut self, place: usize) -> &mut pb::SourceOp {
        match &mut self.nodes[place].op.op {
            Some(pb::op::Op::Source(source)) => source,
            other => panic!("{other:?} is no source"),
        }
    }

    /// Makes everything that uses `from` use `to`.
    pub(crate) fn reroute(&mut self, from: usize, to: usize, except: usize) {
        for (place, node) in self.nodes.iter_mut().enumerate() {
            for input in node.inputs.iter_mut().filter(|_| place != except) {
                if input.0 == from {
                    input.0 = to;
                }
            }
        }
    }
}

fn inputs(list: &[(usize, i64)], digests: &[Option<String>]) -> Vec<pb::Input> {
    let one = |&(place, index): &(usize, i64)| pb::Input {
        digest: digests[place].clone().unwrap(),
        index,
    };
    list.iter().map(one).collect()
}
