//! Inputs of a pair of steps: whether they are the same to the key, and if not, why.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::files::{self, Differences};
use super::super::graph::{Graph, Link};
use super::super::reason::Reason;
use super::super::{change, exec};
use super::settle::Edge;
use super::{At, Finder, Key};
use crate::ledger::{Error, VertexKind};

impl Finder<'_> {
    /// An input that both steps have in the same role.
    pub(super) fn edge(
        &mut self,
        user: usize,
        (a, b): (&Link, &Link),
        input: usize,
    ) -> Result<Edge, Error> {
        let by_content = b.content.is_some() && a.content.is_some();
        let known = !a.contents.is_empty() && !b.contents.is_empty();
        if by_content && a.contents.intersection(&b.contents).next().is_some() {
            return Ok(Edge::default());
        }
        let (Some(x), Some(y)) = (a.step, b.step) else {
            let missing = "what an input is, which the ledger does not have".to_owned();
            let own = vec![self.cause(Reason::Unknown { missing }, At::After(user))];
            return Ok(Edge {
                key: Key::Other,
                own,
                ..Edge::default()
            });
        };
        let moved = self.pairs.moved.contains(&user);
        let here = self.paired(x, y) && !self.pairs.moved.contains(&y);
        if self.after.steps[y].kind == VertexKind::Local && here && !moved {
            return self.directory(user, input, y, (by_content, known));
        }
        let mut edge = self.definition(user, (a, b), (x, y), input);
        if by_content && known {
            edge.key = Key::Other;
        } else if by_content && edge.key == Key::Other {
            edge.key = Key::Perhaps;
            edge.missing = Some(format!("the content of {}", self.role(user, input)));
        }
        Ok(edge)
    }

    /// An input by what makes it.
    fn definition(
        &mut self,
        user: usize,
        (a, b): (&Link, &Link),
        (x, y): (usize, usize),
        input: usize,
    ) -> Edge {
        let moves = self.pairs.moved.contains(&user);
        if moves && self.after.steps[user].primary() == Some(y) {
            // At another place it is on another step, which is the same as saying that it moved.
            return Edge {
                key: Key::Other,
                ..Edge::of(&self.causes.steps[y])
            };
        }
        if !self.paired(x, y) || self.pairs.moved.contains(&y) {
            return self.walk(user, input, (Some(x), Some(y)));
        }
        let below = Edge::of(&self.causes.steps[y]);
        if below.key == Key::Other {
            return below;
        }
        if a.output != b.output {
            let name =
                |output: u64| Some(format!("output {output} of `{}`", self.after.steps[y].name));
            let (from, to) = (name(a.output), name(b.output));
            let reason = Reason::Rewired {
                input: self.role(user, input),
                from,
                to,
            };
            let own = vec![self.cause(reason, At::After(user))];
            return Edge {
                key: Key::Other,
                own,
                ..below
            };
        }
        // Another part of the same tree; what part, is a change of the operation.
        if a.selector != b.selector {
            return Edge {
                key: Key::Other,
                ..below
            };
        }
        below
    }

    /// An input from a local directory that is the same in both builds but for its files.
    fn directory(
        &mut self,
        user: usize,
        input: usize,
        local: usize,
        (by_content, known): (bool, bool),
    ) -> Result<Edge, Error> {
        let source = directory_name(self.after, local);
        if !by_content {
            let own = vec![self.cause(Reason::SessionKeyed { source }, At::After(user))];
            return Ok(Edge {
                key: Key::Other,
                own,
                ..Edge::default()
            });
        }
        let found = self.trees.get(&local).map(Arc::clone);
        let reasons = match found.as_deref() {
            Some(Differences::Known(changes)) => {
                files::reasons(&source, changes, (self.after, user, input), known)
            }
            Some(Differences::Missing(build)) => {
                return Ok(Edge {
                    key: if known { Key::Other } else { Key::Perhaps },
                    missing: Some(format!("the files of {source} in the {build} build")),
                    ..Edge::default()
                });
            }
            None => Vec::new(),
        };
        let mut causes = Vec::new();
        for reason in reasons {
            let number = self.cause(reason, At::After(local));
            causes.push(number);
        }
        let held = &mut self.causes.steps[local];
        let all: BTreeSet<u32> = held.own.iter().chain(&causes).copied().collect();
        held.own = all.iter().copied().collect();
        held.all = held.own.clone().into();
        let differs = !causes.is_empty() || known;
        Ok(Edge {
            key: if differs { Key::Other } else { Key::Same },
            causes,
            ..Edge::default()
        })
    }

    /// An input that only one of the steps has in a role.
    pub(super) fn alone(
        &mut self,
        i: usize,
        j: usize,
        (x, y): (Option<usize>, Option<usize>),
    ) -> Vec<u32> {
        let (a, b) = (&self.before.steps[i], &self.after.steps[j]);
        let x = x.and_then(|x| a.inputs[x].step);
        let from = y.and_then(|y| b.inputs[y].step);
        if b.body("merge").is_none() {
            let edge = self.walk(j, y.unwrap_or(0), (x, from));
            return edge.own.into_iter().chain(edge.causes).collect();
        }
        let reason = Reason::Rewired {
            input: "what is merged".to_owned(),
            from: x.map(|x| self.before.steps[x].name.clone()),
            to: from.map(|y| self.after.steps[y].name.clone()),
        };
        vec![self.cause(reason, At::After(j))]
    }

    /// Walks down from two steps that are no pair to the next that are.
    pub(super) fn walk(
        &mut self,
        user: usize,
        input: usize,
        from: (Option<usize>, Option<usize>),
    ) -> Edge {
        let (mut x, mut y) = from;
        let mut causes = Vec::new();
        while let Some(step) = y {
            let reason = match self.pairs.before[step] {
                None => Reason::StepAdded,
                Some(_) if self.pairs.moved.contains(&step) => Reason::StepMoved,
                Some(_) => break,
            };
            causes.push(self.cause(reason, At::After(step)));
            y = self.after.steps[step].primary();
        }
        while let Some(step) = x {
            match self.pairs.after[step] {
                None => causes.push(self.cause(Reason::StepRemoved, At::Before(step))),
                Some(pair) if self.pairs.moved.contains(&pair) => {
                    causes.push(self.cause(Reason::StepMoved, At::After(pair)));
                }
                Some(_) => break,
            }
            x = self.before.steps[step].primary();
        }
        let mut edge = Edge {
            key: Key::Other,
            causes,
            ..Edge::default()
        };
        match (x, y) {
            (None, None) => {}
            (Some(x), Some(y)) if self.paired(x, y) => {
                let below = Edge::of(&self.causes.steps[y]);
                edge.causes.extend(below.causes);
                edge.possible = below.possible;
                edge.more = below.more;
            }
            (x, y) => {
                let from = x.map(|x| self.before.steps[x].name.clone());
                let to = y.map(|y| self.after.steps[y].name.clone());
                let input = self.role(user, input);
                edge.own
                    .push(self.cause(Reason::Rewired { input, from, to }, At::After(user)));
            }
        }
        edge
    }

    /// What an input is to a step, in words.
    fn role(&self, user: usize, input: usize) -> String {
        let step = &self.after.steps[user];
        let mounts = step.body("exec").and_then(|exec| exec["mounts"].as_array());
        let mut mounts = mounts.into_iter().flatten();
        match mounts.find(|mount| exec::input(mount) == Some(input)) {
            Some(mount) => format!("what is mounted at {}", change::text(&mount["dest"])),
            None => format!("input {input}"),
        }
    }
}

/// The name of a local directory.
fn directory_name(graph: &Graph, step: usize) -> String {
    let step = &graph.steps[step];
    let identifier = step.fields.pointer("/source/identifier");
    let name = identifier.and_then(serde_json::Value::as_str);
    let name = name.unwrap_or(&step.name);
    name.strip_prefix("local://").unwrap_or(name).to_owned()
}
