//! Definitions: graphs on the wire.
//!
//! A definition is a list of operations, inputs before the vertices that use them, the terminal
//! operation last; and metadata by vertex digest. No operations at all is an empty file system.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use hashbrown::HashSet;
use prost::Message as _;
use proto::{
    gowire,
    pb::{self, OpMetadata},
};

use super::{Constraints, Error, Kind, Output, Vertex, caps, constraints::merge_metadata, decode};
use crate::Digest;

/// A graph on the wire.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Definition {
    /// Encoded operations; the last one is the terminal.
    pub def: Vec<Bytes>,
    /// What accompanies the operations.
    pub metadata: BTreeMap<Digest, OpMetadata>,
    /// Which lines of which files the vertices came from.
    pub source: Option<pb::Source>,
}

/// What there is to say about a vertex in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VertexInfo {
    /// Raw digest.
    pub digest: Digest,
    /// Digest without session noise.
    pub canonical: Digest,
    /// Name for people.
    pub name: String,
    /// Kind of operation.
    pub kind: Kind,
}

impl Definition {
    /// Writes the graph below an output; `None` is an empty file system.
    ///
    /// Of `defaults` only the metadata applies, to every vertex, below the vertex's own. Platform
    /// and worker filters are part of a vertex's digest and were fixed when it was built.
    #[must_use]
    pub fn marshal(output: Option<&Output>, defaults: &Constraints) -> Self {
        let Some(output) = output else {
            return Self::default();
        };
        let mut definition = Self::default();
        let mut written = HashSet::new();
        walk(output, |vertex| {
            let metadata = definition
                .metadata
                .entry(vertex.digest().clone())
                .or_insert_with(|| defaults.metadata.clone());
            merge_metadata(metadata, vertex.metadata());
            if written.insert(vertex.digest().clone()) {
                definition.def.push(vertex.bytes().clone());
            }
        });
        definition.push_terminal(output);
        definition
    }

    fn push_terminal(&mut self, output: &Output) {
        let op = pb::Op {
            inputs: vec![output.to_pb()],
            ..pb::Op::default()
        };
        let bytes = Bytes::from(gowire::encode(&op));
        let mut required = vec![caps::CONSTRAINTS, caps::PLATFORM];
        for metadata in self.metadata.values() {
            if metadata.ignore_cache {
                required.push(caps::META_IGNORE_CACHE);
            }
            if !metadata.description.is_empty() {
                required.push(caps::META_DESCRIPTION);
            }
            if metadata.export_cache.is_some() {
                required.push(caps::META_EXPORT_CACHE);
            }
        }
        let caps = required
            .into_iter()
            .map(|cap| (cap.to_owned(), true))
            .collect();
        self.metadata.insert(
            Digest::sha256(&bytes),
            OpMetadata {
                caps,
                ..OpMetadata::default()
            },
        );
        self.def.push(bytes);
    }

    /// The bytes of the message: what `buildctl build` reads from its standard input.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        gowire::encode(&self.to_pb())
    }

    /// Reads what [`Definition::encode`] writes. The operations are not looked at.
    ///
    /// # Errors
    ///
    /// If the bytes are no definition.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let message = pb::Definition::decode(bytes).map_err(|error| Error::Malformed {
            reason: error.to_string(),
        })?;
        Self::from_pb(message)
    }

    /// The message that requests carry.
    #[must_use]
    pub fn to_pb(&self) -> pb::Definition {
        pb::Definition {
            def: self.def.clone(),
            metadata: self
                .metadata
                .iter()
                .map(|(digest, metadata)| (digest.as_str().to_owned(), metadata.clone()))
                .collect(),
            source: self.source.clone(),
        }
    }

    /// Takes a message apart. The operations are not looked at.
    ///
    /// # Errors
    ///
    /// If metadata is not filed under a digest.
    pub fn from_pb(definition: pb::Definition) -> Result<Self, Error> {
        let metadata = definition
            .metadata
            .into_iter()
            .map(|(digest, metadata)| Ok((Digest::parse(&digest)?, metadata)))
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            def: definition.def,
            metadata,
            source: definition.source,
        })
    }

    /// Reads the graph back; `None` is an empty file system. Operations keep the bytes they came
    /// in, so raw digests are those of whoever wrote them.
    ///
    /// # Errors
    ///
    /// For an operation that does not decode or has no body, for an input that is not there, for a
    /// definition that does not end in a terminal operation, and beyond a million operations.
    pub fn output(&self) -> Result<Option<Output>, Error> {
        decode::output(self)
    }

    /// The vertices below the result, inputs first, the terminal left out.
    ///
    /// # Errors
    ///
    /// As [`Definition::output`].
    pub fn vertices(&self) -> Result<Vec<VertexInfo>, Error> {
        let mut vertices = Vec::with_capacity(self.def.len());
        if let Some(output) = self.output()? {
            walk(&output, |vertex| {
                vertices.push(VertexInfo {
                    digest: vertex.digest().clone(),
                    canonical: vertex.canonical().clone(),
                    name: vertex.name(),
                    kind: vertex.kind(),
                });
            });
        }
        Ok(vertices)
    }
}

/// Every vertex of the graph below an output, once, inputs first.
#[must_use]
pub fn vertices(output: &Output) -> Vec<Arc<Vertex>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    walk(output, |vertex| {
        if seen.insert(vertex.digest()) {
            found.push(Arc::clone(vertex));
        }
    });
    found
}

/// Visits every vertex below an output once, inputs first. Vertices that were built twice are two.
pub(crate) fn walk<'a>(output: &'a Output, mut visit: impl FnMut(&'a Arc<Vertex>)) {
    let mut entered: HashSet<_> = [Arc::as_ptr(output.vertex())].into_iter().collect();
    let mut stack: Vec<(&Arc<Vertex>, usize)> = vec![(output.vertex(), 0)];
    while let Some((vertex, step)) = stack.last_mut() {
        let vertex = *vertex;
        if let Some(input) = vertex.walk_input(*step) {
            *step += 1;
            if entered.insert(Arc::as_ptr(input.vertex())) {
                stack.push((input.vertex(), 0));
            }
        } else {
            visit(vertex);
            stack.pop();
        }
    }
}

#[cfg(test)]
mod tests;
