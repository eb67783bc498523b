//! IDs against the values of the real Dagger engine, and the laws of our own rules.

mod arguments;
mod dagger;
mod laws;
mod pinned;
mod spelling;

use proptest::prelude::*;

use super::*;
use crate::literal::Literal;

/// The IDs that golden values exist for, built from scratch.
pub(crate) mod golden {
    use super::*;

    fn ty(text: &str) -> TypeRef {
        text.parse().unwrap()
    }

    pub(crate) fn container(scheme: Scheme) -> Id {
        Id::root_under(scheme, Call::new("container", ty("Container!")))
    }

    pub(crate) fn directory(scheme: Scheme) -> Id {
        Id::root_under(scheme, Call::new("directory", ty("Directory!")))
    }

    pub(crate) fn from(scheme: Scheme) -> Id {
        let call = Call::new("from", ty("Container!")).arg("address", "alpine");
        container(scheme).append(call)
    }

    pub(crate) fn with_exec(scheme: Scheme) -> Id {
        let call = Call::new("withExec", ty("Container!")).arg("args", vec!["echo", "hi"]);
        from(scheme).append(call.with_view("v0.19.10"))
    }

    pub(crate) fn with_mounted_directory(scheme: Scheme) -> Id {
        let call = Call::new("withMountedDirectory", ty("Container!"));
        container(scheme).append(call.arg("path", "/src").arg("source", directory(scheme)))
    }

    /// Every kind of literal, and a sensitive argument.
    pub(crate) fn all(scheme: Scheme) -> Id {
        let object = vec![
            ("a".into(), Literal::Int(1)),
            ("b".into(), Literal::List(vec![Literal::Null])),
        ];
        let call = Call::new("all", ty("T"))
            .arg("n", Literal::Null)
            .arg("bt", true)
            .arg("bf", false)
            .arg("e", Literal::enumeration("SHARED"))
            .arg("i", -1_i64)
            .arg("f", 1.5)
            .arg("s", "")
            .arg("l", Literal::List(vec![]))
            .arg("o", Literal::Object(object))
            .argument(Argument::sensitive("secret", "hunter2"));
        Id::root_under(scheme, call)
    }

    pub(crate) fn variables(scheme: Scheme) -> Id {
        container(scheme).append(Call::new("envVariables", ty("[EnvVariable!]!")))
    }

    pub(crate) fn foo(scheme: Scheme) -> Id {
        let module = Id::root_under(scheme, Call::new("m", ty("Module!")));
        let module = Module::new(module, "foo", "github.com/x/y", "deadbeef");
        Id::root_under(
            scheme,
            Call::new("foo", ty("Foo!")).with_module(module).with_nth(3),
        )
    }

    pub(crate) fn empty_sha256() -> Digest {
        Digest::parse("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
            .unwrap()
    }
}

/// Any literal without an ID.
pub(crate) fn literal() -> impl Strategy<Value = Literal> {
    let leaf = prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        any::<i64>().prop_map(Literal::Int),
        (-1e300..1e300_f64).prop_map(Literal::Float),
        ".{0,12}".prop_map(Literal::from),
        "[A-Z]{1,6}".prop_map(Literal::enumeration),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Literal::List),
            prop::collection::btree_map("[a-z]{1,4}".prop_map(Arc::from), inner, 0..4)
                .prop_map(|fields| Literal::Object(fields.into_iter().collect())),
        ]
    })
}
