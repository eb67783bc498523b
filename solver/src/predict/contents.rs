//! Content hashes: which vertices wish for one, over which tree, and what it is.
//!
//! Wishes are collected per output first, so that each tree is made and listed once. Trees come
//! from the [`Inputs`], or are made from other trees where the operation says all: file operations,
//! merges without deletions, mounts that hand their input through. The walk to them is a stack, and
//! stops at what is known already.
//!
//! A local directory is hashed as it was sent, unless a step has built on it before: then the daemon
//! has forgotten what was sent and hashes what it stored, which has a root and may differ otherwise.
//! Which is first is up to the daemon's schedule, so where both happen and both digests differ, the
//! content is not known ([`Lack::Either`]).

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use proto::pb;
use snapshots::{
    checksum::{Checksums, Rules, Selection},
    tree::Tree,
};

use super::{
    files::{Node, Operands, Root, Stop, apply},
    graph::{Edge, Graph},
    inputs::{Files, Inputs},
    missing::Lack,
};
use crate::{
    Digest,
    cachemap::{CacheMap, ContentSelector, Profile},
    llb::Vertex,
};

/// Target of the root mount.
const ROOT: &str = "/";

/// What went wrong, and at which output.
pub(super) type Failure = (Edge, Lack);

/// A wish, by vertex and input, and its answer.
pub(super) type Answers = HashMap<(usize, usize), Result<Digest, Failure>>;

/// A tree that is known.
#[derive(Clone)]
enum Known {
    /// Given from outside.
    Given(Files),
    /// Made from others. `deletes` says whether a layer of it may remove what is below it.
    Made {
        root: Option<Arc<Node>>,
        deletes: bool,
    },
}

pub(super) struct Trees<'a> {
    graph: &'a Graph,
    inputs: &'a dyn Inputs,
    profile: Profile,
    known: HashMap<Edge, Result<Known, Failure>>,
}

/// Answers all wishes of the graph.
pub(super) fn answers<E>(
    graph: &Graph,
    maps: &[Result<CacheMap, E>],
    inputs: &dyn Inputs,
    profile: Profile,
) -> Answers {
    let mut wishes: BTreeMap<Edge, Vec<(usize, usize)>> = BTreeMap::new();
    for (vertex, map) in maps.iter().enumerate() {
        let Ok(map) = map else { continue };
        for (input, edge) in graph.inputs[vertex].iter().enumerate() {
            if wish(map, input).is_some() {
                wishes.entry(*edge).or_default().push((vertex, input));
            }
        }
    }
    let builders = builders(graph, |edge| wishes.contains_key(&edge));
    let mut trees = Trees::new(graph, inputs, profile);
    let mut answers = Answers::new();
    for (edge, wishes) in wishes {
        let files = trees.files(edge);
        let asked = wishes.iter().map(|&(vertex, input)| {
            let selectors = maps[vertex].as_ref().ok().and_then(|map| wish(map, input));
            selectors.unwrap_or_default()
        });
        let digests: Vec<Result<Digest, Failure>> = match files {
            Ok(files) => {
                let sent = hash(files.as_ref(), asked.clone(), profile.rules());
                let builders = builders.get(&edge).map_or(&[][..], Vec::as_slice);
                let mut others = wishes.iter().flat_map(|&(vertex, _)| {
                    builders.iter().filter(move |&&builder| builder != vertex)
                });
                let is_built_on = others.next().is_some();
                let forgotten = files.filter(|files| files.is_transferred() && is_built_on);
                let stored = forgotten.and_then(|files| stored(&files).ok());
                let stored = stored.map(|files| hash(Some(&files), asked, profile.rules()));
                either(edge, sent, stored)
            }
            Err(failure) => asked.map(|_| Err(failure.clone())).collect(),
        };
        answers.extend(wishes.into_iter().zip(digests));
    }
    answers
}

/// The answers at an output, where its tree has perhaps another digest when it is stored.
fn either(
    edge: Edge,
    sent: Vec<Result<Digest, String>>,
    stored: Option<Vec<Result<Digest, String>>>,
) -> Vec<Result<Digest, Failure>> {
    let stored = stored.unwrap_or_else(|| sent.clone());
    sent.into_iter()
        .zip(stored)
        .map(|answers| match answers {
            (Ok(sent), Ok(stored)) if sent != stored => Err(Lack::Either { sent, stored }),
            (sent, _) => sent.map_err(Lack::Content),
        })
        .map(|answer| answer.map_err(|lack| (edge, lack)))
        .collect()
}

/// What the daemon has of a tree that was sent.
fn stored(files: &Files) -> Result<Files, Stop> {
    let root = Root(Node::read(files)?);
    Ok(Files::snapshot(Arc::new(root)))
}

/// The vertices that make a tree on top of a source, for those of the sources that are wanted.
fn builders(graph: &Graph, is_wanted: impl Fn(Edge) -> bool) -> HashMap<Edge, Vec<usize>> {
    let mut builders: HashMap<Edge, Vec<usize>> = HashMap::new();
    for (vertex, inputs) in graph.inputs.iter().enumerate() {
        for (input, &edge) in inputs.iter().enumerate() {
            let is_source = graph.vertices[edge.vertex].source().is_some();
            if is_source && is_wanted(edge) && builds_on(&graph.vertices[vertex], input) {
                builders.entry(edge).or_default().push(vertex);
            }
        }
    }
    builders
}

/// Whether a vertex makes a tree on top of that of an input: not where it only reads it. Merges are
/// not counted, because several results are predicted as one graph below a merge that nobody builds.
fn builds_on(vertex: &Vertex, input: usize) -> bool {
    let is_input = |index: i64| usize::try_from(index) == Ok(input);
    match &vertex.op().op {
        Some(pb::op::Op::File(file)) => file.actions.iter().any(|action| is_input(action.input)),
        Some(pb::op::Op::Exec(exec)) => {
            let mut mounts = exec.mounts.iter();
            mounts.any(|mount| is_input(mount.input) && !mount.readonly)
        }
        _ => false,
    }
}

/// What a vertex wishes to be hashed of an input.
fn wish(map: &CacheMap, input: usize) -> Option<&[ContentSelector]> {
    map.inputs.get(input)?.content.as_deref()
}

/// Digests of the selected content; `None` is an empty file system.
fn hash<'s>(
    files: Option<&Files>,
    asked: impl Iterator<Item = &'s [ContentSelector]>,
    rules: Rules,
) -> Vec<Result<Digest, String>> {
    let Some(files) = files else {
        return asked.map(of_nothing).collect();
    };
    // Where a transfer sends nothing the daemon was told nothing, and scans the empty snapshot.
    let names = files.tree.list(Path::new(""));
    let is_empty = files.is_transferred() && names.is_ok_and(|names| names.is_empty());
    let empty = Files::snapshot(Arc::new(Root(Node::scratch())));
    let files = if is_empty { &empty } else { files };
    let checksums = match &files.hashes {
        Some(hashes) => hashes(rules).map_err(|error| error.to_string()),
        None => {
            Checksums::new(&*files.tree, files.profile(rules)).map_err(|error| error.to_string())
        }
    };
    let checksums = match checksums {
        Ok(checksums) => checksums,
        Err(error) => return asked.map(|_| Err(error.clone())).collect(),
    };
    asked
        .map(|selectors| {
            let mut parts = Vec::with_capacity(selectors.len().max(1));
            let whole = [ContentSelector::default()];
            let selectors = if selectors.is_empty() {
                &whole
            } else {
                selectors
            };
            for selector in selectors {
                let selection = Selection {
                    wildcard: selector.wildcard,
                    follow_links: selector.follow_links,
                    include: selector.include.clone(),
                    exclude: selector.exclude.clone(),
                    required: selector.required.clone(),
                };
                let digest = checksums.filtered(&selector.path, &selection);
                parts.push(digest.map_err(|error| error.to_string())?.to_string());
            }
            Ok(joined(&parts))
        })
        .collect()
}

/// The content of an empty file system: only its root can be hashed.
fn of_nothing(selectors: &[ContentSelector]) -> Result<Digest, String> {
    let empty = Digest::sha256(b"").to_string();
    let is_root = |selector: &ContentSelector| crate::llb::paths::clean(&selector.path) == ROOT;
    match selectors.iter().find(|selector| !is_root(selector)) {
        Some(selector) => Err(format!("{:?}: not found", selector.path)),
        None => Ok(joined(&vec![empty; selectors.len().max(1)])),
    }
}

fn joined(parts: &[String]) -> Digest {
    Digest::sha256(parts.join("\0").as_bytes())
}

impl<'a> Trees<'a> {
    pub(super) fn new(graph: &'a Graph, inputs: &'a dyn Inputs, profile: Profile) -> Self {
        Self {
            graph,
            inputs,
            profile,
            known: HashMap::new(),
        }
    }

    /// The bytes of a file in the tree of an output.
    pub(super) fn file_bytes(
        &mut self,
        edge: Edge,
        path: &str,
        limit: u64,
    ) -> Result<Vec<u8>, Failure> {
        let stop = |Stop(reason)| (edge, Lack::Files(reason));
        self.know(edge)?;
        let (root, _) = self.node(edge)?;
        let root = root.unwrap_or_else(Node::scratch);
        let bytes = root.file(path, limit).map_err(stop)?;
        bytes.ok_or_else(|| (edge, Lack::Content(format!("{path:?}: not found"))))
    }

    /// The files of an output; `None` is an empty file system.
    fn files(&mut self, edge: Edge) -> Result<Option<Files>, Failure> {
        Ok(match self.know(edge)? {
            Known::Given(files) => Some(files),
            Known::Made { root, .. } => root.map(|root| {
                let tree: Arc<dyn Tree + Send + Sync> = Arc::new(Root(root));
                Files::snapshot(tree)
            }),
        })
    }

    /// Makes the tree of an output, and those it depends on first.
    fn know(&mut self, wanted: Edge) -> Result<Known, Failure> {
        let mut stack = vec![wanted];
        while let Some(&edge) = stack.last() {
            if self.known.contains_key(&edge) {
                stack.pop();
                continue;
            }
            let given = self.inputs.files(&self.graph.output(edge));
            match given {
                Ok(Some(files)) => {
                    let known = match files.is_nothing {
                        true => Known::Made {
                            root: None,
                            deletes: false,
                        },
                        false => Known::Given(files),
                    };
                    self.known.insert(edge, Ok(known));
                }
                Err(error) => {
                    self.known
                        .insert(edge, Err((edge, Lack::Input(error.to_string()))));
                }
                Ok(None) => {
                    let needed = self.needed(edge);
                    let before = stack.len();
                    let unknown = needed.iter().filter(|edge| !self.known.contains_key(edge));
                    stack.extend(unknown.copied());
                    if stack.len() > before {
                        continue;
                    }
                    let made = self.make(edge, &needed);
                    self.known.insert(edge, made);
                }
            }
            stack.pop();
        }
        self.known[&wanted].clone()
    }

    /// The outputs that the tree of an output is made from.
    fn needed(&self, edge: Edge) -> Vec<Edge> {
        let inputs = &self.graph.inputs[edge.vertex];
        let at = |index: i64| usize::try_from(index).ok().and_then(|at| inputs.get(at));
        match &self.graph.vertices[edge.vertex].op().op {
            Some(pb::op::Op::File(_) | pb::op::Op::Merge(_)) => inputs.clone(),
            Some(pb::op::Op::Passthrough(pass)) => {
                let output = usize::try_from(edge.output).ok();
                let index = output.and_then(|output| pass.outputs.get(output));
                index
                    .and_then(|&index| at(index))
                    .copied()
                    .into_iter()
                    .collect()
            }
            Some(pb::op::Op::Build(_)) => {
                let result = self.graph.nested.get(&edge.vertex);
                result.copied().into_iter().collect()
            }
            Some(pb::op::Op::Exec(exec)) => handed_through(exec, edge.output)
                .and_then(at)
                .copied()
                .into_iter()
                .collect(),
            _ => Vec::new(),
        }
    }

    fn make(&self, edge: Edge, needed: &[Edge]) -> Result<Known, Failure> {
        let fail = |lack: Lack| Err((edge, lack));
        match &self.graph.vertices[edge.vertex].op().op {
            Some(pb::op::Op::File(file)) => self.file(file, edge, needed),
            Some(pb::op::Op::Merge(_)) => self.merge(edge, needed),
            Some(pb::op::Op::Passthrough(_) | pb::op::Op::Exec(_) | pb::op::Op::Build(_))
                if needed.len() == 1 =>
            {
                self.known[&needed[0]].clone()
            }
            Some(pb::op::Op::Exec(_)) => fail(Lack::ExecFiles),
            Some(pb::op::Op::Source(_)) => fail(Lack::SourceFiles),
            Some(pb::op::Op::Diff(diff)) => self.diff(diff, edge),
            Some(pb::op::Op::Build(_)) => fail(Lack::Files("it is a build of its own".into())),
            _ => fail(Lack::Files("it has no such output".into())),
        }
    }

    /// The known tree of an output as nodes, and whether it may hold deletions.
    fn node(&self, edge: Edge) -> Result<(Option<Arc<Node>>, bool), Failure> {
        match self.known[&edge].clone()? {
            Known::Made { root, deletes } => Ok((root, deletes)),
            Known::Given(files) => match Node::read(&files) {
                // What the layers of a tree from outside delete is not known, except for one
                // that the daemon makes in one piece.
                Ok(node) => Ok((Some(node), !files.is_transferred())),
                Err(Stop(reason)) => Err((edge, Lack::Files(reason))),
            },
        }
    }

    fn file(&self, file: &pb::FileOp, edge: Edge, needed: &[Edge]) -> Result<Known, Failure> {
        let stop = |Stop(reason)| (edge, Lack::Files(reason));
        let mut trees = Vec::with_capacity(needed.len() + file.actions.len());
        let mut deletes = Vec::with_capacity(trees.capacity());
        let mut failures = Vec::new();
        for &input in needed {
            let (tree, deletion) = match self.node(input) {
                Ok(known) => known,
                Err(failure) => {
                    failures.push((trees.len(), failure));
                    (None, true)
                }
            };
            trees.push(tree);
            deletes.push(deletion);
        }
        for action in &file.actions {
            for used in used(action) {
                if let Some((_, failure)) = failures.iter().find(|(at, _)| *at == used) {
                    return Err(failure.clone());
                }
            }
            let operands = Operands {
                trees: &trees,
                parents_take_mode: self.profile.parents_take_mode(),
            };
            let tree = apply(action, &operands).map_err(stop)?;
            let primary = usize::try_from(action.input).ok();
            let below = primary.is_some_and(|at| deletes.get(at).copied().unwrap_or(true));
            trees.push(Some(tree.clone()));
            deletes.push(below || may_delete(action));
            if action.output == edge.output {
                return Ok(Known::Made {
                    root: Some(tree),
                    deletes: below || may_delete(action),
                });
            }
        }
        Err(stop(Stop("it has no such output".to_owned())))
    }

    /// The difference of a tree to itself is nothing; any other depends on layers.
    fn diff(&self, diff: &pb::DiffOp, edge: Edge) -> Result<Known, Failure> {
        let side = |index: Option<i64>| {
            let at = usize::try_from(index?).ok()?;
            let input = self.graph.inputs[edge.vertex].get(at)?;
            Some(self.origin(*input))
        };
        let lower = side(diff.lower.as_ref().map(|lower| lower.input));
        let upper = side(diff.upper.as_ref().map(|upper| upper.input));
        if lower.is_some() && lower == upper {
            return Ok(Known::Made {
                root: None,
                deletes: false,
            });
        }
        let reason = "it is a difference of layers".to_owned();
        Err((edge, Lack::Files(reason)))
    }

    /// The output that an output is handed through from.
    fn origin(&self, edge: Edge) -> Edge {
        let mut edge = edge;
        loop {
            let op = &self.graph.vertices[edge.vertex].op().op;
            let hands_through = matches!(
                op,
                Some(pb::op::Op::Exec(_) | pb::op::Op::Passthrough(_) | pb::op::Op::Build(_))
            );
            match self.needed(edge)[..] {
                [from] if hands_through => edge = from,
                _ => return edge,
            }
        }
    }

    fn merge(&self, edge: Edge, needed: &[Edge]) -> Result<Known, Failure> {
        let mut united: Option<Arc<Node>> = None;
        let mut any_deletes = false;
        for &input in needed {
            let (tree, deletes) = self.node(input)?;
            let Some(tree) = tree else { continue };
            united = Some(match united {
                None => tree,
                Some(_) if deletes => {
                    let reason = "what the layers of a merged tree delete is not known";
                    return Err((edge, Lack::Files(reason.to_owned())));
                }
                Some(lower) => lower.over(&tree),
            });
            any_deletes |= deletes;
        }
        Ok(Known::Made {
            root: united,
            deletes: any_deletes,
        })
    }
}

/// Indexes of the trees that an action uses.
fn used(action: &pb::FileAction) -> impl Iterator<Item = usize> {
    use pb::file_action::Action;
    let owner = match &action.action {
        Some(Action::Copy(copy)) => copy.owner.as_ref(),
        Some(Action::Mkfile(mkfile)) => mkfile.owner.as_ref(),
        Some(Action::Mkdir(mkdir)) => mkdir.owner.as_ref(),
        Some(Action::Symlink(link)) => link.owner.as_ref(),
        _ => None,
    };
    let named = |user: &pb::UserOpt| match &user.user {
        Some(pb::user_opt::User::ByName(named)) => Some(named.input),
        _ => None,
    };
    let user = owner.and_then(|owner| owner.user.as_ref()).and_then(named);
    let group = owner.and_then(|owner| owner.group.as_ref()).and_then(named);
    [
        Some(action.input),
        Some(action.secondary_input),
        user,
        group,
    ]
    .into_iter()
    .flatten()
    .filter_map(|index| usize::try_from(index).ok())
}

/// Whether an action may take something away that a lower layer has.
fn may_delete(action: &pb::FileAction) -> bool {
    use pb::file_action::Action;
    match &action.action {
        Some(Action::Rm(_)) | None => true,
        Some(Action::Copy(copy)) => copy.always_replace_existing_dest_paths,
        _ => false,
    }
}

/// The input that an output of an exec hands through unchanged: that of a read-only mount.
fn handed_through(exec: &pb::ExecOp, output: i64) -> Option<i64> {
    let mount = exec.mounts.iter().find(|mount| mount.output == output)?;
    let is_bind = mount.mount_type == pb::MountType::Bind as i32;
    (is_bind && mount.readonly && mount.input >= 0 && mount.dest != ROOT).then_some(mount.input)
}
