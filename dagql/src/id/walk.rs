//! Walking the graph of calls: the chain, direct inputs, modules, and every call in dependency
//! order.
//!
//! A call that is reachable on several ways is visited once, so the cost is linear in the number of
//! distinct calls even where the graph unfolds to an exponentially large tree. No walk recurses.

use std::collections::HashSet;

use super::{Id, Module};
use crate::digest::Digest;

impl Id {
    /// This call and its receivers, from the last call to the root.
    pub fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |id| id.receiver())
    }

    /// The number of calls in the chain.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.chain().count()
    }

    /// The objects the last call takes: its receiver first, then every ID in its arguments,
    /// sensitive and nested ones included, each once. The module is not an input.
    #[must_use]
    pub fn inputs(&self) -> Vec<&Self> {
        let mut seen = HashSet::new();
        let mut inputs = Vec::new();
        self.for_each_input(&mut |input| {
            if seen.insert(input.digest()) {
                inputs.push(input);
            }
        });
        inputs
    }

    /// The modules that implement any call of the graph, each once: of this call, then of the IDs
    /// in its arguments, then of its receiver.
    #[must_use]
    pub fn modules(&self) -> Vec<&Module> {
        let mut modules: Vec<&Module> = Vec::new();
        let mut known: HashSet<&Digest> = HashSet::new();
        let mut seen: HashSet<&Digest> = HashSet::new();
        let mut pending = vec![self];
        while let Some(id) = pending.pop() {
            if !seen.insert(id.digest()) {
                continue;
            }
            modules.extend(
                id.module()
                    .filter(|module| known.insert(module.id().digest())),
            );
            let from = pending.len() + usize::from(id.receiver().is_some());
            id.for_each_input(&mut |input| pending.push(input));
            // The stack is popped from the end: the receiver stays below the arguments, which are
            // popped in order.
            pending[from..].reverse();
        }
        modules
    }

    /// Every distinct call of the graph, each after everything it refers to, in the order in which
    /// one reads them: the receiver, the arguments (sensitive ones included), the module, the call.
    /// This ID is the last.
    #[must_use]
    pub fn post_order(&self) -> Vec<&Self> {
        self.order(true)
    }

    /// [`Self::post_order`] without what only sensitive arguments refer to: the calls an encoding
    /// holds.
    pub(crate) fn public_post_order(&self) -> Vec<&Self> {
        self.order(false)
    }

    fn order(&self, sensitive: bool) -> Vec<&Self> {
        enum Step<'a> {
            Enter(&'a Id),
            Leave(&'a Id),
        }
        let mut order = Vec::new();
        let mut seen: HashSet<&Digest> = HashSet::new();
        let mut pending = vec![Step::Enter(self)];
        while let Some(step) = pending.pop() {
            match step {
                Step::Leave(id) => order.push(id),
                Step::Enter(id) => {
                    if !seen.insert(id.digest()) {
                        continue;
                    }
                    pending.push(Step::Leave(id));
                    let from = pending.len();
                    id.for_each_reference(sensitive, &mut |next| pending.push(Step::Enter(next)));
                    // The stack is popped from the end.
                    pending[from..].reverse();
                }
            }
        }
        order
    }

    fn for_each_input<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        if let Some(receiver) = self.receiver() {
            visit(receiver);
        }
        for argument in self.args() {
            argument.value().for_each_id(visit);
        }
    }

    fn for_each_reference<'a>(&'a self, sensitive: bool, visit: &mut impl FnMut(&'a Self)) {
        if let Some(receiver) = self.receiver() {
            visit(receiver);
        }
        for argument in self
            .args()
            .iter()
            .filter(|argument| sensitive || !argument.is_sensitive())
        {
            argument.value().for_each_id(visit);
        }
        if let Some(module) = self.module() {
            visit(module.id());
        }
    }
}
