//! Making IDs: roots, longer chains, list elements, and variants of the last call.
//!
//! Every function returns a new ID and computes one digest. Variants keep the receiver; they drop
//! the content digest, which belonged to another call, and, as Dagger does, drop (version 1) or
//! keep (version 2) a custom digest.

use std::sync::Arc;

use super::{Argument, Call, Id, IdError, ImplicitInput, Node};
use crate::digest::Digest;
use crate::digest::scheme::Scheme;

impl Id {
    /// A field of the query root, under our own digest rules.
    #[must_use]
    pub fn root(call: Call) -> Self {
        Self::root_under(Scheme::Blake3, call)
    }

    /// A field of the query root, under `scheme`.
    #[must_use]
    pub fn root_under(scheme: Scheme, call: Call) -> Self {
        Self::place(scheme, None, call)
    }

    /// `call` on this object, under the same rules.
    #[must_use]
    pub fn append(&self, call: Call) -> Self {
        Self::place(self.scheme(), Some(self.clone()), call)
    }

    /// `call` on `receiver`, or on the query root under our own rules when there is none.
    #[must_use]
    pub fn on(receiver: Option<&Self>, call: Call) -> Self {
        match receiver {
            Some(receiver) => receiver.append(call),
            None => Self::root(call),
        }
    }

    /// Makes the node and computes its digest.
    pub(crate) fn place(scheme: Scheme, receiver: Option<Self>, call: Call) -> Self {
        let digest = scheme.rules().call(receiver.as_ref(), &call);
        Self::with_known_digest(scheme, receiver, call, digest, false, None)
    }

    /// Makes the node with a digest that was computed, or is claimed, elsewhere.
    pub(crate) fn with_known_digest(
        scheme: Scheme,
        receiver: Option<Self>,
        call: Call,
        digest: Digest,
        custom: bool,
        content: Option<Digest>,
    ) -> Self {
        Self(Arc::new(Node {
            receiver,
            call,
            scheme,
            digest,
            custom,
            content,
        }))
    }

    /// Element `nth`, counted from 1, of the list this ID names. The new ID's receiver is the list,
    /// and it repeats the list's field, arguments, module, view and scope.
    ///
    /// # Errors
    /// [`IdError::NotAList`] and [`IdError::Nth`].
    pub fn select_nth(&self, nth: i64) -> Result<Self, IdError> {
        if nth < 1 {
            return Err(IdError::Nth(nth));
        }
        let Some(element) = self.ty().element() else {
            return Err(IdError::NotAList {
                name: self.name(),
                ty: self.ty().clone(),
            });
        };
        let call = self.call().clone().with_type(element.clone()).with_nth(nth);
        Ok(self.place_element(call))
    }

    pub(super) fn place_element(&self, call: Call) -> Self {
        let scheme = self.scheme();
        match scheme.rules().element(self, call.nth()) {
            Some(digest) => {
                Self::with_known_digest(scheme, Some(self.clone()), call, digest, true, None)
            }
            None => self.append(call),
        }
    }

    /// Whether this ID selects an element of the list its receiver names.
    #[must_use]
    pub fn is_element(&self) -> bool {
        self.nth() != 0
            && self.receiver().is_some_and(|list| {
                list.field() == self.field() && list.ty().element() == Some(self.ty())
            })
    }

    /// The same call with one argument added or replaced.
    #[must_use]
    pub fn with_argument(&self, argument: Argument) -> Self {
        self.replace(self.call().clone().argument(argument))
    }

    /// The same call with all arguments replaced.
    #[must_use]
    pub fn with_args(&self, args: Vec<Argument>) -> Self {
        self.replace(self.call().clone().with_args(args))
    }

    /// The same call with one more implicit input.
    #[must_use]
    pub fn with_implicit(&self, input: ImplicitInput) -> Self {
        self.replace(self.call().clone().implicit(input))
    }

    fn replace(&self, call: Call) -> Self {
        let kept = self.has_custom_digest() && self.scheme() == Scheme::Xxh3V2;
        if kept {
            let digest = self.digest().clone();
            return Self::with_known_digest(
                self.scheme(),
                self.0.receiver.clone(),
                call,
                digest,
                true,
                None,
            );
        }
        Self::place(self.scheme(), self.0.receiver.clone(), call)
    }

    /// The same call under an assigned digest, as Dagger does it. What is built on it depends on
    /// that digest.
    ///
    /// # Errors
    /// [`IdError::CustomDigest`] under our own rules.
    pub fn with_custom_digest(&self, digest: Digest) -> Result<Self, IdError> {
        if !self.scheme().rules().custom_digests() {
            return Err(IdError::CustomDigest(self.scheme()));
        }
        let Node {
            receiver,
            call,
            scheme,
            content,
            ..
        } = &*self.0;
        Ok(Self::with_known_digest(
            *scheme,
            receiver.clone(),
            call.clone(),
            digest,
            true,
            content.clone(),
        ))
    }

    /// The same ID with the digest of what came out. The recipe digest stays.
    #[must_use]
    pub fn with_content_digest(&self, content: Option<Digest>) -> Self {
        let Node {
            receiver,
            call,
            scheme,
            digest,
            custom,
            ..
        } = &*self.0;
        Self::with_known_digest(
            *scheme,
            receiver.clone(),
            call.clone(),
            digest.clone(),
            *custom,
            content,
        )
    }
}
