//! Cache maps of all vertices, and the chains of layers that images are known by besides.
//!
//! Sources are asked for first, in the order of the graph. The maps, which are JSON and a hash
//! each, are then computed on all cores.

use hashbrown::HashMap;
use proto::pb;

use super::{Inputs, Lack, Source, graph::Graph, inputs::InputError, missing::Lacks};
use crate::{
    Digest,
    cachemap::{self, CacheMap, Facts, Profile, Unknown},
    llb::Vertex,
    parallel,
};

/// What the operations of a graph contribute.
pub(super) struct Maps {
    /// By vertex; nothing is missing where a local directory has none.
    pub(super) maps: Vec<Result<CacheMap, Option<usize>>>,
    /// Second cache maps of images, by vertex.
    pub(super) chains: HashMap<usize, Result<Digest, usize>>,
}

/// What sources resolve to, by vertex.
type Sources = HashMap<usize, Result<Source, InputError>>;

impl Maps {
    pub(super) fn new(
        graph: &Graph,
        inputs: &dyn Inputs,
        profile: Profile,
        lacks: &mut Lacks,
    ) -> Self {
        let (sources, computed) = compute(graph, inputs, profile);
        let mut maps = Vec::with_capacity(computed.len());
        let mut chains = HashMap::new();
        for (position, map) in computed.into_iter().enumerate() {
            let source = sources.get(&position);
            let map = match (source, map) {
                (Some(Err(InputError(reason))), _) => Err(Some(Lack::Input(reason.clone()))),
                (_, Ok(map)) => Ok(map),
                // A local directory has a key for one session, and no record.
                (_, Err(Unknown::Content)) => Err(None),
                (_, Err(unknown)) => Err(Some(Lack::CacheMap(unknown))),
            };
            let map = map.map_err(|lack| lack.map(|lack| lacks.add(position, None, lack)));
            let limit = layers_taken(&graph.vertices[position]);
            if let (Some(limit), Some(Ok(source)), Ok(map)) = (limit, source, &map) {
                let layers = source.layers.as_ref();
                let chain = layers.map(|layers| chain(layers, limit, map));
                let chain = chain.ok_or_else(|| lacks.add(position, None, Lack::Layers));
                chains.insert(position, chain);
            }
            maps.push(map);
        }
        Self { maps, chains }
    }
}

/// What the sources resolve to, and the cache maps of all vertices.
fn compute(
    graph: &Graph,
    inputs: &dyn Inputs,
    profile: Profile,
) -> (Sources, Vec<Result<CacheMap, Unknown>>) {
    let plain = Facts {
        platform: inputs.platform(),
        resolved: None,
    };
    let mut sources = Sources::new();
    let mut facts = HashMap::new();
    for (position, vertex) in graph.vertices.iter().enumerate() {
        if vertex.source().is_none() {
            continue;
        }
        let mut source = inputs.source(vertex).map(Option::unwrap_or_default);
        if let Ok(source) = &mut source
            && let Some(resolved) = source.resolved.take()
        {
            let resolved = Facts {
                resolved: Some(resolved),
                ..plain.clone()
            };
            facts.insert(position, resolved);
        }
        sources.insert(position, source);
    }
    let maps = parallel::map(&graph.vertices, |position, vertex| {
        cachemap::with_facts(vertex, profile, facts.get(&position).unwrap_or(&plain))
    });
    (sources, maps)
}

/// How many layers an image source takes; `None` if it is none.
fn layers_taken(vertex: &Vertex) -> Option<usize> {
    let pb::SourceOp { identifier, attrs } = vertex.source()?;
    let limit = match identifier.split_once("://")?.0 {
        "docker-image" => attrs.get("image.layerlimit"),
        "oci-layout" => attrs.get("oci.layerlimit"),
        _ => return None,
    };
    Some(
        limit
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(usize::MAX),
    )
}

/// Second digest of an image: of the layers it takes. An image without layers has the first one.
fn chain(layers: &[Digest], limit: usize, map: &CacheMap) -> Digest {
    let mut chain: Option<Digest> = None;
    for layer in layers.iter().take(limit) {
        chain = Some(match chain {
            None => layer.clone(),
            Some(below) => Digest::sha256(format!("{below} {layer}").as_bytes()),
        });
    }
    match chain {
        Some(chain) => cachemap::chain(&chain),
        None => map.digest.clone(),
    }
}
