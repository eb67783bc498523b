//! A call as a term: what is done, apart from what it is done to.
//!
//! The recipe digest of a call names its inputs by *their* recipes. Where two inputs are known to
//! be equal although they were made differently (the same tree from a host and from git, say), the
//! calls on them are equal too, and only a digest that leaves the inputs out can show it:
//! ```text
//! withFile(path: "/a", source: File#x) on Directory#y
//!   = self  withFile(path: "/a", source: ⟨1⟩) on ⟨0⟩,  inputs  [Directory#y, File#x]
//! ```
//! The self digest covers field, type, element, view, the module's names, every public argument
//! with its IDs replaced by numbered holes, and the implicit inputs; a call that is scoped to one
//! client, session or period therefore never has the self digest of another scope. It takes time
//! linear in the size of the one call, however long the chain.

use super::Id;
use crate::Digest;
use crate::digest::scheme::{Blake3, DigestScheme};

/// The last call of an ID, taken apart.
#[derive(Debug, Clone)]
pub struct Term<'a> {
    /// What is done; the preimage is written down in `digest/blake3.rs`.
    pub digest: Digest,
    /// What it is done to, in the order of the holes: the receiver, each ID in the arguments, also
    /// inside lists and input objects, then the module. An ID that is used twice is there twice.
    pub inputs: Vec<&'a Id>,
}

impl Id {
    /// The last call as a term. None where the public call does not say all that is done: it has
    /// sensitive arguments, or a digest that was assigned.
    #[must_use]
    pub fn term(&self) -> Option<Term<'_>> {
        let sensitive = self.args().iter().any(|argument| argument.is_sensitive());
        if sensitive || self.has_custom_digest() {
            return None;
        }
        let mut preimage = Vec::with_capacity(512);
        let inputs = Blake3.term_preimage(self, &mut preimage);
        Some(Term {
            digest: Blake3.finish(&preimage),
            inputs,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::id::{Call, ImplicitInput, Module, Scope};
    use crate::{Argument, Id, Literal, TypeRef};

    fn call(field: &str) -> Call {
        Call::new(field, TypeRef::named("T").non_null())
    }

    fn self_digest(id: &Id) -> crate::Digest {
        id.term().expect("it is a term").digest
    }

    #[test]
    fn inputs_leave_the_self_digest_and_keep_their_order() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Id::root(call(name)));
        let on = |[receiver, one, two, module]: [&Id; 4]| {
            let nested = Literal::Object(vec![("in".into(), Literal::Id(two.clone()))]);
            let ids = Literal::List(vec![Literal::Id(one.clone()), nested]);
            let module = Module::new(module.clone(), "m", "source", "pin");
            receiver.append(
                call("f")
                    .arg("ids", ids)
                    .arg("n", 1_i64)
                    .with_module(module),
            )
        };
        let (x, y) = (on([&a, &b, &c, &d]), on([&d, &c, &c, &a]));
        assert_ne!(x, y);
        assert_eq!(self_digest(&x), self_digest(&y));
        assert_eq!(x.term().expect("a term").inputs, [&a, &b, &c, &d]);
        assert_eq!(y.term().expect("a term").inputs, [&d, &c, &c, &a]);
    }

    #[test]
    fn everything_else_is_in_the_self_digest() {
        let parent = Id::root(call("parent"));
        let module = |name| Module::new(Id::root(call("module")), name, "s", "p");
        let list = |ids: Vec<Id>| Literal::List(ids.into_iter().map(Literal::Id).collect());
        let variants = [
            Id::root(call("f")),
            parent.append(call("f")),
            parent.append(call("g")),
            parent.append(Call::new("f", TypeRef::named("U").non_null())),
            parent.append(Call::new("f", TypeRef::named("T"))),
            parent.append(call("f").arg("x", 1_i64)),
            parent.append(call("f").arg("x", "1")),
            parent.append(call("f").arg("y", 1_i64)),
            parent.append(call("f").arg("x", list(vec![]))),
            parent.append(call("f").arg("x", list(vec![parent.clone()]))),
            parent.append(call("f").arg("x", list(vec![parent.clone(), parent.clone()]))),
            parent.append(call("f").implicit(ImplicitInput::scoped(Scope::Client, "1"))),
            parent.append(call("f").implicit(ImplicitInput::scoped(Scope::Client, "2"))),
            parent.append(call("f").implicit(ImplicitInput::scoped(Scope::Session, "1"))),
            parent.append(call("f").with_nth(1)),
            parent.append(call("f").with_view("v1")),
            parent.append(call("f").with_module(module("m"))),
            parent.append(call("f").with_module(module("n"))),
        ];
        let digests: std::collections::HashSet<_> = variants.iter().map(self_digest).collect();
        assert_eq!(digests.len(), variants.len());
    }

    #[test]
    fn what_the_digest_does_not_cover_is_no_term() {
        let secret = call("f").argument(Argument::sensitive("plaintext", "x"));
        assert!(Id::root(secret).term().is_none());
        let custom = Id::root_under(crate::scheme::Scheme::Xxh3V1, call("f"))
            .with_custom_digest(crate::Digest::parse("k").expect("well formed"))
            .expect("Dagger's rules allow it");
        assert!(custom.term().is_none());
        assert!(custom.append(call("g")).term().is_some());
    }
}
