//! Vertices and their outputs.
//!
//! A vertex has two identities. The *raw* digest is the hash of its bytes, the name under which
//! the daemon reports it. The *canonical* digest is the raw digest of the same graph without
//! session noise: a local directory carries the id of the session that serves it, which changes
//! with every run and, through the digests of inputs, changes every vertex above. Two vertices
//! with equal canonical digests ask for the same thing.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use proto::{
    gowire,
    pb::{self, Op, OpMetadata},
};

use super::{
    constraints::Constraints,
    name::{self, Kind},
    platform,
    source::local::SESSION_ATTRIBUTES,
};
use crate::Digest;

/// One operation, with its inputs. Immutable, shared through [`Arc`].
pub struct Vertex {
    op: Box<Op>,
    bytes: Bytes,
    digest: Digest,
    canonical: Digest,
    inputs: Vec<Output>,
    /// Indexes into `inputs` in the order in which they are written before this vertex; `None` is
    /// their own order. Only the order of a definition depends on it, never a digest.
    walk: Option<Vec<usize>>,
    metadata: OpMetadata,
}

/// One result of a vertex: what another vertex takes as an input. Cheap to clone.
///
/// Two outputs are equal if they are the same output of vertices with the same raw digest.
#[derive(Clone)]
pub struct Output {
    vertex: Arc<Vertex>,
    index: i64,
}

/// Whether the operation gets the platform of its constraints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PlatformUse {
    /// The result depends on the platform.
    Keep,
    /// It does not.
    Clear,
}

impl Vertex {
    /// Builds a vertex: fills in inputs, platform and constraints, and hashes it.
    pub(super) fn new(
        body: pb::op::Op,
        inputs: Vec<Output>,
        walk: Option<Vec<usize>>,
        platform_use: PlatformUse,
        constraints: Constraints,
    ) -> Arc<Self> {
        let platform = match platform_use {
            PlatformUse::Keep => Some(constraints.platform.unwrap_or_else(platform::host)),
            PlatformUse::Clear => None,
        };
        let op = Op {
            inputs: inputs.iter().map(Output::to_pb).collect(),
            op: Some(body),
            platform,
            constraints: Some(pb::WorkerConstraints {
                filter: constraints.worker_filters,
            }),
        };
        let bytes = Bytes::from(gowire::encode(&op));
        let digest = Digest::sha256(&bytes);
        Self::assemble(
            Box::new(op),
            bytes,
            digest,
            inputs,
            walk,
            constraints.metadata,
        )
    }

    /// Makes a vertex of bytes that were decoded to `op` and have this digest. The bytes are kept
    /// as they are.
    pub(super) fn decoded(
        op: Box<Op>,
        bytes: Bytes,
        digest: Digest,
        inputs: Vec<Output>,
        metadata: OpMetadata,
    ) -> Arc<Self> {
        Self::assemble(op, bytes, digest, inputs, None, metadata)
    }

    fn assemble(
        op: Box<Op>,
        bytes: Bytes,
        digest: Digest,
        inputs: Vec<Output>,
        walk: Option<Vec<usize>>,
        metadata: OpMetadata,
    ) -> Arc<Self> {
        let canonical = canonical(&op, &inputs).unwrap_or_else(|| digest.clone());
        Arc::new(Self {
            op,
            bytes,
            digest,
            canonical,
            inputs,
            walk,
            metadata,
        })
    }

    /// The operation, with the raw digests of its inputs.
    #[must_use]
    pub fn op(&self) -> &Op {
        &self.op
    }

    /// The source, if it is one.
    #[must_use]
    pub fn source(&self) -> Option<&pb::SourceOp> {
        match &self.op.op {
            Some(pb::op::Op::Source(source)) => Some(source),
            _ => None,
        }
    }

    /// The bytes of the operation, which its raw digest is the hash of.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The raw digest: the name of this vertex in the daemon's status and errors.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The raw digest of this graph without `local.session` and `local.unique`.
    #[must_use]
    pub fn canonical(&self) -> &Digest {
        &self.canonical
    }

    /// The inputs, as the indexes in the operation count them.
    #[must_use]
    pub fn inputs(&self) -> &[Output] {
        &self.inputs
    }

    /// What accompanies the operation.
    #[must_use]
    pub fn metadata(&self) -> &OpMetadata {
        &self.metadata
    }

    /// The kind of operation.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::of(&self.op)
    }

    /// The name that progress output shows: a custom one, or one made from the operation.
    #[must_use]
    pub fn name(&self) -> String {
        name::of(self)
    }

    /// Output `index` of this vertex.
    #[must_use]
    pub fn output(self: &Arc<Self>, index: i64) -> Output {
        Output {
            vertex: Arc::clone(self),
            index,
        }
    }

    /// The `step`-th input to write before this vertex.
    pub(super) fn walk_input(&self, step: usize) -> Option<&Output> {
        match &self.walk {
            None => self.inputs.get(step),
            Some(walk) => walk.get(step).and_then(|&index| self.inputs.get(index)),
        }
    }
}

/// Digest of the canonical form, if it differs from the raw form.
fn canonical(op: &Op, inputs: &[Output]) -> Option<Digest> {
    let is_noise = |key: &String| SESSION_ATTRIBUTES.contains(&key.as_str());
    let noisy_source = matches!(&op.op, Some(pb::op::Op::Source(source))
        if source.identifier.starts_with("local://") && source.attrs.keys().any(is_noise));
    let noisy_input = inputs
        .iter()
        .any(|input| input.vertex.canonical != input.vertex.digest);
    if !noisy_source && !noisy_input {
        return None;
    }
    let mut op = op.clone();
    if let (true, Some(pb::op::Op::Source(source))) = (noisy_source, &mut op.op) {
        source.attrs.retain(|key, _| !is_noise(key));
    }
    for (input, output) in op.inputs.iter_mut().zip(inputs) {
        output
            .vertex
            .canonical
            .as_str()
            .clone_into(&mut input.digest);
    }
    Some(Digest::sha256(&gowire::encode(&op)))
}

/// Takes the inputs apart one by one: the default would recurse along a chain of vertices.
impl Drop for Vertex {
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.inputs);
        while let Some(output) = pending.pop() {
            if let Some(mut vertex) = Arc::into_inner(output.vertex) {
                pending.append(&mut vertex.inputs);
            }
        }
    }
}

/// One line: never follows the inputs.
impl fmt::Debug for Vertex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vertex")
            .field("digest", &self.digest)
            .field("kind", &self.kind())
            .field("inputs", &self.inputs.len())
            .finish_non_exhaustive()
    }
}

impl Output {
    /// The vertex.
    #[must_use]
    pub fn vertex(&self) -> &Arc<Vertex> {
        &self.vertex
    }

    /// Which of its results.
    #[must_use]
    pub fn index(&self) -> i64 {
        self.index
    }

    /// Raw digest of the vertex.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        self.vertex.digest()
    }

    pub(super) fn to_pb(&self) -> pb::Input {
        pb::Input {
            digest: self.vertex.digest.as_str().to_owned(),
            index: self.index,
        }
    }
}

impl PartialEq for Output {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.vertex.digest == other.vertex.digest
    }
}

impl Eq for Output {}

impl std::hash::Hash for Output {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.vertex.digest.hash(state);
        self.index.hash(state);
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.vertex.digest, self.index)
    }
}
