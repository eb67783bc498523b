//! The same calls under other digest rules.
//!
//! A genuine Dagger ID that a client hands us must become one of ours before it is a key:
//! [`Id::adopt`]. Every digest of the graph is computed anew, in one pass in dependency order that
//! is linear in the number of distinct calls and does not recurse.
//!
//! Not every ID can be adopted. A *custom* digest replaces what the calls say. Dagger assigns one
//! where the result depends on more than the calls show: on the client, on the session, on a random
//! number, on content. Without it the calls would name something wider, and two clients would
//! share what is not the same. So such an ID is refused, and the call named. The exception is a list
//! element, whose custom digest follows from the list by rule. *Content* digests do not name a call
//! and are dropped.

use std::collections::HashMap;
use std::convert::Infallible;

use thiserror::Error;

use super::{Call, Id};
use crate::digest::Digest;
use crate::digest::scheme::Scheme;

/// Why an ID cannot become one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdoptError<E> {
    /// A digest was assigned to a call; it may stand for something that the calls do not show.
    #[error("the call `{call}` was given the digest {digest}, which cannot be recomputed")]
    Custom {
        /// The call's name.
        call: String,
        /// The assigned digest.
        digest: Digest,
    },
    /// The call does not fit the schema.
    #[error("the call `{call}`: {source}")]
    Call {
        /// The call's name.
        call: String,
        /// What the schema says about it.
        source: E,
    },
}

impl Id {
    /// This ID under our own rules. One of ours is returned as it is; in any other, `adapt` is asked
    /// for every call, with the finished receiver and with the IDs in its arguments adopted. It is
    /// the place to write out the defaults of the schema ([`super::canonical_arguments`]), because
    /// in a genuine Dagger ID an absent argument means the default, and to refuse what the schema
    /// does not know.
    ///
    /// # Errors
    /// [`AdoptError::Custom`] for a digest that cannot be recomputed, [`AdoptError::Call`] for the
    /// first error of `adapt`.
    pub fn adopt<E>(
        &self,
        mut adapt: impl FnMut(Option<&Self>, Call) -> Result<Call, E>,
    ) -> Result<Self, AdoptError<E>> {
        if self.scheme() == Scheme::Blake3 {
            return Ok(self.clone());
        }
        self.map_calls(Scheme::Blake3, |old, receiver, call| {
            if old.has_custom_digest() && !old.has_element_digest() {
                return Err(AdoptError::Custom {
                    call: old.name(),
                    digest: old.digest().clone(),
                });
            }
            adapt(receiver, call).map_err(|source| AdoptError::Call {
                call: old.name(),
                source,
            })
        })
    }

    /// The same calls under other rules, whatever digests they had: custom and content digests,
    /// which prove nothing, are dropped. For comparing and showing IDs; a key must come from
    /// [`Self::adopt`]. Under Dagger's rules implicit inputs are kept but not hashed.
    #[must_use]
    pub fn rehash(&self, scheme: Scheme) -> Self {
        let Ok(id) = self.map_calls(scheme, |_, _, call| Ok::<_, Infallible>(call));
        id
    }

    /// Whether the digest is the one that the rules assign to this element of its list.
    #[must_use]
    pub fn has_element_digest(&self) -> bool {
        let list = self.receiver().filter(|_| self.is_element());
        list.is_some_and(|list| {
            let rules = self.scheme().rules();
            rules.element(list, self.nth()).as_ref() == Some(self.digest())
        })
    }

    /// Builds the graph anew. `change` gets the old ID, the new receiver, and the call with its
    /// references replaced.
    fn map_calls<E>(
        &self,
        scheme: Scheme,
        mut change: impl FnMut(&Self, Option<&Self>, Call) -> Result<Call, E>,
    ) -> Result<Self, E> {
        let order = self.post_order();
        let mut done: HashMap<&Digest, Self> = HashMap::with_capacity(order.len());
        for id in order {
            let mapped = |old: &Self| {
                let new = done.get(old.digest());
                new.expect("a call comes after what it refers to").clone()
            };
            let receiver = id.receiver().map(&mapped);
            let call = change(id, receiver.as_ref(), id.call().map_ids(&mapped))?;
            let new = match receiver {
                Some(list) if id.is_element() => list.place_element(call),
                receiver => Self::place(scheme, receiver, call),
            };
            done.insert(id.digest(), new);
        }
        let id = done.remove(self.digest());
        Ok(id.expect("the last call of the order is the ID itself"))
    }
}
