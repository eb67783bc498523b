//! Freeing a chain without recursion.
//!
//! Dropping the last reference to a node would drop its receiver, which would drop its receiver,
//! one stack frame per call. Instead the node that goes first takes the references out of every
//! node it is the last owner of and frees them in a loop. Nodes that someone else still holds are
//! left alone.

use std::sync::Arc;

use super::{Id, Node};

impl Drop for Node {
    fn drop(&mut self) {
        let mut pending = Vec::new();
        self.take_ids(&mut pending);
        while let Some(Id(node)) = pending.pop() {
            // Exactly one owner gets the node out, even when two threads let go of it at the same
            // time.
            if let Some(mut node) = Arc::into_inner(node) {
                node.take_ids(&mut pending);
            }
        }
    }
}

impl Node {
    fn take_ids(&mut self, ids: &mut Vec<Id>) {
        ids.extend(self.receiver.take());
        self.call.take_ids(ids);
    }
}
