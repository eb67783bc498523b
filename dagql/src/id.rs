//! Call IDs: the name of an object is the chain of calls that makes it.
//!
//! An [`Id`] is one [`Call`] (field, type, arguments, view, module, scope) on a *receiver*, which
//! is another ID, or on the query root. It is immutable and shared: a longer chain points to the
//! shorter one, so appending costs one node. The whole graph reachable from an ID, through
//! receivers, modules and IDs in arguments, is acyclic by construction, because a node can only
//! refer to nodes that were there before it.
//!
//! ```text
//! container ── .from(address: "alpine") ── .withMountedDirectory(path: "/src", source: ─┐)
//!                                                                          directory ◄──┘
//! ```
//!
//! Three digests, kept apart:
//! - the *recipe* digest says what was asked; it is computed when the node is made, in time
//!   independent of the chain's length, and it is what equality, hashing and cache keys mean
//!   ([`Id::digest`]);
//! - the *content* digest says what came out, where that is known ([`Id::content_digest`]); it
//!   never enters our own recipe digests;
//! - a *custom* digest replaces the recipe digest by fiat. Only genuine Dagger IDs have one; it
//!   proves nothing, see [`Id::adopt`].
//!
//! Scope is structure: a call that is valid for one client, session or period only says so in an
//! [`ImplicitInput`], which is part of the preimage and of the encoded ID, and inherited by
//! everything built on it.
//!
//! Chains get long (a loop in a script can make 100,000 calls), so nothing here recurses along
//! them: walks keep their own stack, and dropping the last reference frees the chain in a loop
//! (`id/release.rs`).
//!
//! What must hold, and the test that says so:
//!
//! | law | test |
//! |---|---|
//! | Dagger's digests, preimages and encodings, both ways | `dagger::*`, `ids_of_dagger_byte_for_byte` |
//! | reading undoes writing; calls are sorted by digest | `decoding_is_the_inverse_of_encoding` |
//! | members of value zero are written and hashed | `ids_of_dagger_byte_for_byte` (V5), `digests_are_equal_on_every_machine` |
//! | an explicit default is an omitted argument | `explicit_default_and_omitted_are_one_key` |
//! | an explicit null | `explicit_null_is_omitted_where_there_is_no_default_and_overrides_one` |
//! | arguments in the order of the schema | `canonical_arguments_forget_the_spelling`, `three_sdks_one_key` |
//! | sensitive arguments are not written, hashed or shown | `our_own_ids_carry_their_scope_and_neither_secrets_nor_content`, `secrets_are_not_shown` |
//! | a chain of list elements | `elements_are_selected_from_lists_only`, `inputs_modules_names_and_paths` |
//! | the module is part of the digest | `everything_public_changes_our_digest_and_nothing_else_does` |
//! | a custom digest is inherited, and lost or kept on change | `the_digests_of_dagger_version_1`, `a_custom_digest_is_dagger_s_only` |
//! | mismatched and missing digests are errors | `incomplete_and_superfluous_graphs_are_refused` |
//! | cycles and forged digests are errors | `cycles_are_refused`, `forged_calls_are_refused_under_every_rule` |
//! | no bytes make the reader panic or accept what it would not write | `wire::tests::mutated::*` |
//!
//! In an ID made by this engine an argument that is absent is null: [`canonical_arguments`] has
//! already written out every default. In a genuine Dagger ID an absent argument means the default
//! of the schema in the call's view.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use thiserror::Error;

use crate::digest::Digest;
use crate::digest::scheme::Scheme;
pub use crate::typeref::TypeRef;

mod argument;
mod call;
mod diff;
mod display;
mod edit;
mod release;
mod term;
mod translate;
mod walk;

#[cfg(test)]
pub(crate) mod tests;

pub use argument::{ARGS_MAX, ArgSpec, Argument, ArgumentError, canonical_arguments};
pub use call::{Call, ImplicitInput, Module, Scope};
pub use diff::{Change, Diff, Difference, Part, Through, diff};
pub use display::{DISPLAY_BYTES_MAX, PathSegment};
pub use term::Term;
pub use translate::AdoptError;

/// An immutable chain of calls; clones share it. Equality, order and hash are those of the recipe
/// digest.
#[derive(Clone)]
pub struct Id(Arc<Node>);

/// One call with what was derived from it.
struct Node {
    receiver: Option<Id>,
    call: Call,
    scheme: Scheme,
    /// The recipe digest, or the custom one.
    digest: Digest,
    custom: bool,
    content: Option<Digest>,
}

/// Why an ID cannot be derived from another.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// Elements are selected from lists only.
    #[error("`{name}` returns `{ty}`, which is not a list")]
    NotAList {
        /// The call's name.
        name: String,
        /// Its type.
        ty: TypeRef,
    },
    /// Elements are counted from 1.
    #[error("list elements are counted from 1, not {0}")]
    Nth(i64),
    /// The scheme computes every digest.
    #[error("scheme {0} has no custom digests: scope a call with an implicit input instead")]
    CustomDigest(Scheme),
}

impl Id {
    /// The call this chain continues; `None` for a field of the query root.
    #[must_use]
    pub fn receiver(&self) -> Option<&Self> {
        self.0.receiver.as_ref()
    }

    /// The last call.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.0.call
    }

    /// The last call's field.
    #[must_use]
    pub fn field(&self) -> &str {
        self.0.call.field()
    }

    /// The type the last call returns; for a list element, the element type.
    #[must_use]
    pub fn ty(&self) -> &TypeRef {
        self.0.call.ty()
    }

    /// The last call's arguments, sensitive ones included.
    #[must_use]
    pub fn args(&self) -> &[Argument] {
        self.0.call.args()
    }

    /// The last call's argument `name`.
    #[must_use]
    pub fn arg(&self, name: &str) -> Option<&Argument> {
        self.args().iter().find(|argument| argument.name() == name)
    }

    /// The list element the last call selects, from 1; 0 when it selects none.
    #[must_use]
    pub fn nth(&self) -> i64 {
        self.0.call.nth()
    }

    /// The module that implements the last call; `None` for the core API.
    #[must_use]
    pub fn module(&self) -> Option<&Module> {
        self.0.call.module()
    }

    /// The API version under which the last call was made; empty for fields that all versions
    /// share.
    #[must_use]
    pub fn view(&self) -> &str {
        self.0.call.view()
    }

    /// What scopes the last call, ascending by name.
    #[must_use]
    pub fn implicit_inputs(&self) -> &[ImplicitInput] {
        self.0.call.implicit_inputs()
    }

    /// The digest that names this ID.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// The digest of the result, if it is known.
    #[must_use]
    pub fn content_digest(&self) -> Option<&Digest> {
        self.0.content.as_ref()
    }

    /// Whether [`Self::digest`] was assigned instead of computed.
    #[must_use]
    pub fn has_custom_digest(&self) -> bool {
        self.0.custom
    }

    /// The rules under which the digest was computed.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// The bytes over which the recipe digest is taken, for comparing keys. Holds no sensitive
    /// argument.
    #[must_use]
    pub fn preimage(&self) -> Vec<u8> {
        let mut preimage = Vec::new();
        self.scheme()
            .rules()
            .call_preimage(self.receiver(), self.call(), &mut preimage);
        preimage
    }

    /// Encodes the ID; see [`crate::wire::encode`].
    ///
    /// # Errors
    /// See [`crate::wire::encode`].
    pub fn encode(&self) -> Result<String, crate::wire::WireError> {
        crate::wire::encode(self)
    }

    /// Decodes and verifies an ID with the default limits; see [`crate::wire::decode`].
    ///
    /// # Errors
    /// See [`crate::wire::decode`].
    pub fn decode(text: &str) -> Result<Self, crate::wire::WireError> {
        crate::wire::decode(text).map(|decoded| decoded.id)
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.digest == other.0.digest
    }
}

impl Eq for Id {}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.digest.cmp(&other.0.digest)
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.digest.hash(state);
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({} {})", self.name(), self.digest())
    }
}
