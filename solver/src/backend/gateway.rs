//! The calls that a build allows: solving, looking into results, resolving sources.
//!
//! A solve is lazy: it returns a [`Ref`], a handle to a result that the daemon
//! computes when something needs it (reading, evaluating, mounting, exporting).
//! A ref that is absent stands for the empty filesystem. `files` looks into refs,
//! `sources` asks what images, repositories and downloads stand for.

mod files;
mod sources;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proto::{gateway, pb};

use super::build::Build;
use super::client::check_size;
use super::control::{CacheBackend, Worker};
use super::error::Error;

pub use files::{FileKind, FileStat, READ_BYTES_MAX, READ_CHUNK_BYTES};
pub(crate) use files::{Tree, chunks, collect, read_dir, stat_file};
pub use sources::{
    ImageQuery, ResolveMode, ResolvedDownload, ResolvedImage, ResolvedSource, SourceQuery,
};

/// A handle to a result of this build, valid until the build ends.
#[derive(Debug, Clone)]
pub struct Ref {
    shared: Arc<SharedRef>,
}

#[derive(Debug)]
struct SharedRef {
    id: String,
    definition: Option<pb::Definition>,
}

impl Ref {
    fn from_wire(wire: gateway::Ref) -> Option<Self> {
        let gateway::Ref { id, def } = wire;
        (!id.is_empty()).then(|| Self {
            shared: Arc::new(SharedRef {
                id,
                definition: def,
            }),
        })
    }

    /// The daemon's name of the result.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The graph the result was solved from, as the daemon loaded it.
    pub fn definition(&self) -> Option<&pb::Definition> {
        self.shared.definition.as_ref()
    }
}

/// The refs of a result.
#[derive(Debug, Clone)]
pub enum Refs {
    /// One result.
    Single(Option<Ref>),
    /// One for every platform id; `refs.platforms` in the metadata describes them.
    Platforms(BTreeMap<String, Option<Ref>>),
}

/// What a solve gives and what [`Build::finish`] takes.
#[derive(Debug, Clone)]
pub struct BuildResult {
    /// The results.
    pub refs: Refs,
    /// `containerimage.config`, `refs.platforms` and others.
    pub metadata: BTreeMap<String, Bytes>,
    /// Attestations by platform id.
    pub attestations: BTreeMap<String, gateway::Attestations>,
}

impl BuildResult {
    /// A result of one ref and no metadata.
    pub fn single(reference: Option<Ref>) -> Self {
        Self {
            refs: Refs::Single(reference),
            metadata: BTreeMap::new(),
            attestations: BTreeMap::new(),
        }
    }

    /// The ref of a result that has one; the first of several.
    pub fn reference(&self) -> Option<&Ref> {
        match &self.refs {
            Refs::Single(reference) => reference.as_ref(),
            Refs::Platforms(refs) => refs.values().flatten().next(),
        }
    }

    fn from_wire(wire: gateway::SolveResponse) -> Self {
        use gateway::result::Result as Wire;
        let single = |id| Refs::Single(Ref::from_wire(gateway::Ref { id, def: None }));
        let Some(result) = wire.result else {
            return Self {
                refs: single(wire.r#ref),
                ..Self::single(None)
            };
        };
        let refs = match result.result {
            None => Refs::Single(None),
            Some(Wire::RefDeprecated(id)) => single(id),
            Some(Wire::RefsDeprecated(map)) => Refs::Platforms(
                map.refs
                    .into_iter()
                    .map(|(key, id)| (key, Ref::from_wire(gateway::Ref { id, def: None })))
                    .collect(),
            ),
            Some(Wire::Ref(reference)) => Refs::Single(Ref::from_wire(reference)),
            Some(Wire::Refs(map)) => Refs::Platforms(
                map.refs
                    .into_iter()
                    .map(|(key, reference)| (key, Ref::from_wire(reference)))
                    .collect(),
            ),
        };
        Self {
            refs,
            metadata: result.metadata,
            attestations: result.attestations,
        }
    }
}

impl From<BuildResult> for gateway::Result {
    fn from(result: BuildResult) -> Self {
        use gateway::result::Result as Wire;
        let wire = |reference: Option<Ref>| gateway::Ref {
            id: reference
                .map(|reference| reference.id().to_owned())
                .unwrap_or_default(),
            def: None,
        };
        let refs = match result.refs {
            Refs::Single(reference) => Wire::Ref(wire(reference)),
            Refs::Platforms(refs) => Wire::Refs(gateway::RefMap {
                refs: refs
                    .into_iter()
                    .map(|(key, reference)| (key, wire(reference)))
                    .collect(),
            }),
        };
        Self {
            result: Some(refs),
            metadata: result.metadata,
            attestations: result.attestations,
        }
    }
}

/// What to solve.
#[derive(Debug, Clone)]
pub enum GatewayInput {
    /// A graph. An empty one is the empty filesystem.
    Definition(pb::Definition),
    /// A frontend of the daemon.
    Frontend {
        /// `dockerfile.v0` or `gateway.v0`.
        name: String,
        /// Its attributes.
        opts: BTreeMap<String, String>,
        /// Its named inputs.
        inputs: BTreeMap<String, pb::Definition>,
    },
}

/// A solve inside a build.
#[derive(Debug, Clone)]
pub struct GatewaySolve {
    /// What to solve.
    pub input: GatewayInput,
    /// Compute the result before answering, instead of when it is needed.
    pub evaluate: bool,
    /// Caches to read.
    pub cache_imports: Vec<CacheBackend>,
    /// Rules for sources.
    pub source_policies: Vec<proto::sourcepolicy::Policy>,
}

impl GatewaySolve {
    /// A lazy solve of a graph.
    pub fn definition(definition: pb::Definition) -> Self {
        Self::new(GatewayInput::Definition(definition))
    }

    /// A lazy solve.
    pub fn new(input: GatewayInput) -> Self {
        Self {
            input,
            evaluate: false,
            cache_imports: Vec::new(),
            source_policies: Vec::new(),
        }
    }

    fn into_wire(self) -> gateway::SolveRequest {
        let (definition, frontend, frontend_opt, frontend_inputs) = match self.input {
            GatewayInput::Definition(definition) => (
                Some(definition),
                String::new(),
                BTreeMap::new(),
                BTreeMap::new(),
            ),
            GatewayInput::Frontend { name, opts, inputs } => (None, name, opts, inputs),
        };
        gateway::SolveRequest {
            definition,
            frontend,
            frontend_opt,
            frontend_inputs,
            allow_result_return: true,
            allow_result_array_ref: true,
            evaluate: self.evaluate,
            cache_imports: self
                .cache_imports
                .into_iter()
                .map(|cache| gateway::CacheOptionsEntry {
                    r#type: cache.kind,
                    attrs: cache.attrs,
                })
                .collect(),
            source_policies: self.source_policies,
            ..Default::default()
        }
    }
}

/// What a daemon can do, by capability id.
#[derive(Debug, Clone, Default)]
pub struct Capabilities {
    /// Of the calls of this module.
    pub frontend: BTreeMap<String, proto::caps::ApiCap>,
    /// Of vertices.
    pub llb: BTreeMap<String, proto::caps::ApiCap>,
    /// The daemon's workers, the default one first.
    pub workers: Vec<Worker>,
}

impl Capabilities {
    /// Whether a frontend capability is there and enabled.
    pub fn supports(&self, id: &str) -> bool {
        self.frontend.get(id).is_some_and(|cap| cap.enabled)
    }

    /// Whether a vertex capability is there and enabled.
    pub fn supports_llb(&self, id: &str) -> bool {
        self.llb.get(id).is_some_and(|cap| cap.enabled)
    }
}

impl From<gateway::PongResponse> for Capabilities {
    fn from(wire: gateway::PongResponse) -> Self {
        let by_id = |caps: Vec<proto::caps::ApiCap>| {
            caps.into_iter().map(|cap| (cap.id.clone(), cap)).collect()
        };
        Self {
            frontend: by_id(wire.frontend_api_caps),
            llb: by_id(wire.llb_caps),
            workers: wire.workers.into_iter().map(Worker::from).collect(),
        }
    }
}

impl Build {
    /// Solves a graph or runs a frontend.
    ///
    /// # Errors
    /// [`Error::Exec`] when a process of an evaluated graph fails,
    /// [`Error::Daemon`] for every other refusal.
    pub async fn solve(&self, solve: GatewaySolve) -> Result<BuildResult, Error> {
        let request = solve.into_wire();
        check_size(&request)?;
        let request = self.handle.request(request);
        let mut bridge = self.client().bridge();
        Ok(BuildResult::from_wire(
            self.handle.call(bridge.solve(request)).await?,
        ))
    }

    /// Computes a result now.
    pub async fn evaluate(&self, reference: &Ref) -> Result<(), Error> {
        if !self.capabilities().supports("gateway.evaluate") {
            // Older daemons have no such call; looking at the root forces the result too.
            return self.stat_file(reference, "/").await.map(drop);
        }
        let request = gateway::EvaluateRequest {
            r#ref: reference.id().to_owned(),
        };
        let request = self.handle.request(request);
        self.handle
            .call(self.client().bridge().evaluate(request))
            .await?;
        Ok(())
    }

    /// Adds a warning to the build's progress.
    pub async fn warn(&self, warning: gateway::WarnRequest) -> Result<(), Error> {
        let request = self.handle.request(warning);
        self.handle
            .call(self.client().bridge().warn(request))
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_old_and_new_daemons_are_read() {
        let id = |response| {
            BuildResult::from_wire(response)
                .reference()
                .map(|r| r.id().to_owned())
        };
        let result = |result| gateway::SolveResponse {
            result: Some(gateway::Result {
                result: Some(result),
                ..Default::default()
            }),
            ..Default::default()
        };
        use gateway::result::Result as Wire;
        let reference = |id: &str| gateway::Ref {
            id: id.to_owned(),
            def: None,
        };
        assert_eq!(
            id(gateway::SolveResponse {
                r#ref: "a".into(),
                ..Default::default()
            })
            .as_deref(),
            Some("a")
        );
        assert_eq!(
            id(result(Wire::RefDeprecated("b".into()))).as_deref(),
            Some("b")
        );
        assert_eq!(id(result(Wire::Ref(reference("c")))).as_deref(), Some("c"));
        assert_eq!(
            id(result(Wire::Ref(reference("")))),
            None,
            "an empty id is scratch"
        );
        let refs = [
            ("p".to_owned(), reference("")),
            ("q".to_owned(), reference("d")),
        ]
        .into();
        assert_eq!(
            id(result(Wire::Refs(gateway::RefMap { refs }))).as_deref(),
            Some("d")
        );
    }

    #[test]
    fn a_result_is_sent_back_with_empty_ids_for_scratch() {
        let wire: gateway::Result = BuildResult::single(None).into();
        assert_eq!(
            wire.result,
            Some(gateway::result::Result::Ref(gateway::Ref::default()))
        );
    }

    #[test]
    fn a_solve_never_names_both_a_definition_and_a_frontend() {
        let wire = GatewaySolve::definition(pb::Definition::default()).into_wire();
        assert!(wire.definition.is_some() && wire.frontend.is_empty());
        assert!(wire.allow_result_return && wire.allow_result_array_ref);
        let frontend = GatewayInput::Frontend {
            name: "dockerfile.v0".into(),
            opts: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        let wire = GatewaySolve::new(frontend).into_wire();
        assert!(wire.definition.is_none() && wire.frontend == "dockerfile.v0");
    }
}
