//! IDs against the values of the real Dagger engine, and the laws of our own rules.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::digest::scheme::{Blake3, DigestScheme, Xxh3};
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

use golden::{all, container, directory, foo, from, variables, with_exec, with_mounted_directory};

const V1: Scheme = Scheme::Xxh3V1;
const V2: Scheme = Scheme::Xxh3V2;

#[test]
fn the_digests_of_dagger_version_1() {
    let marked = from(V1).with_custom_digest(golden::empty_sha256()).unwrap();
    let rootfs = marked.append(Call::new("rootfs", "Directory!".parse().unwrap()));
    let inner = from(V1).with_argument(Argument::new("isDagOp", true));
    for (id, digest) in [
        (container(V1), "xxh3:6142b3636448fd5f"),
        (from(V1), "xxh3:52bba1dc072f4b4b"),
        (with_exec(V1), "xxh3:74e171adb2793a1c"),
        (directory(V1), "xxh3:c43973d83a6a533a"),
        (with_mounted_directory(V1), "xxh3:23d68a38b46a6c7d"),
        (all(V1), "xxh3:fc577d1adc5b5e63"),
        (variables(V1), "xxh3:fba77c928216bf89"),
        (
            variables(V1).select_nth(1).unwrap(),
            "xxh3:f7b8de73f37c65fc",
        ),
        (
            foo(V1).module().unwrap().id().clone(),
            "xxh3:f48da3a5ad1eb50c",
        ),
        (foo(V1), "xxh3:0f611aff28b769ea"),
        (rootfs, "xxh3:b85529b3c6275a2d"),
        (inner, "xxh3:84b91b46da486619"),
    ] {
        assert_eq!(id.digest(), digest, "{id}");
    }
}

#[test]
fn the_preimages_of_dagger_version_1() {
    for (id, preimage) in [
        (
            container(V1),
            "0000436f6e7461696e65720002000000636f6e7461696e657200000000000000000000000000000000",
        ),
        (
            from(V1),
            "787868333a363134326233363336343438666435660000436f6e7461696e6572000200000066726f6d00006164647265737300\
             3600616c70696e650000000000000000000000000000000000",
        ),
        (
            with_exec(V1),
            "787868333a353262626131646330373266346234620000436f6e7461696e65720002000000776974684578656300006172677300\
             370036006563686f0000360068690000000000000000000000000000000076302e31392e31300000",
        ),
        (
            with_mounted_directory(V1),
            "787868333a363134326233363336343438666435660000436f6e7461696e65720002000000776974684d6f756e74656444697265\
             63746f72790000706174680036002f737263000000736f75726365003000787868333a63343339373364383361366135333361\
             0000000000000000000000000000000000",
        ),
        (
            all(V1),
            "0000540001000000616c6c00006e003100010000006274003200010000006266003200020000006500330053484152454400000069\
             003400ffffffffffffffff000000660035003ff8000000000000000000730036000000006c00370000006f0038006100340000000\
             00000000001000000620037003100010000000000000000000000000000000000000000",
        ),
        (
            variables(V1),
            "787868333a36313432623336333634343866643566000000020000456e765661726961626c650002000000656e76566172696162\
             6c657300000000000000000000000000000000",
        ),
        (
            foo(V1),
            "0000466f6f0002000000666f6f00000000000000000000030000787868333a6634386461336135616431656235306300666f6f00\
             6769746875622e636f6d2f782f7900646561646265656600000000",
        ),
    ] {
        assert_eq!(hex::encode(id.preimage()), preimage, "{id}");
    }
}

#[test]
fn the_digests_of_dagger_version_2_prefer_content() {
    let marked = directory(V2).with_content_digest(Some(golden::empty_sha256()));
    let sub = Call::new("directory", "Directory!".parse().unwrap()).arg("path", "src");
    let rootfs =
        Call::new("withRootfs", "Container!".parse().unwrap()).arg("directory", marked.clone());
    for (id, digest) in [
        (container(V2), "xxh3:b639dcc8184a3ea5"),
        (from(V2), "xxh3:3af31f31455e4b91"),
        (directory(V2), "xxh3:6387acae235958f5"),
        (marked.clone(), "xxh3:6387acae235958f5"),
        (marked.append(sub), "xxh3:8f6a749f8efa5427"),
        (container(V2).append(rootfs), "xxh3:72d9516af9f1af1c"),
    ] {
        assert_eq!(id.digest(), digest, "{id}");
    }
}

#[test]
fn the_strings_and_labels_of_dagger() {
    let strings = |strings: &[&str]| Xxh3::V1.strings("anything", strings).to_string();
    assert_eq!(strings(&[]), "xxh3:2d06800538d394c2");
    assert_eq!(strings(&["a"]), "xxh3:0d78baac08237ddb");
    assert_eq!(
        strings(&["xxh3:0011223344556677", "client-1"]),
        "xxh3:471d05b3f9547d6f"
    );
    assert_eq!(
        strings(&["xxh3:0011223344556677", "session-1"]),
        "xxh3:91aa2001ab477067"
    );
    // The keys of `from` and `withExec`, which Dagger makes of strings instead of the call.
    assert_eq!(
        strings(&["xxh3:6142b3636448fd5f", "alpine"]),
        "xxh3:3143f588de34943a"
    );
    let zeros = format!("digest:sha256:{}", "0".repeat(64));
    assert_eq!(
        strings(&["xxh3:6142b3636448fd5f", &zeros]),
        "xxh3:15751ce68372ea45"
    );
    let args = "sha256:f8aeda545254f9ab98c06d8e0122233460878e819dd9527a27e67e9823b7e3bf";
    assert_eq!(strings(&[args]), "xxh3:a4f44d082ce0baa0");
    assert_eq!(
        strings(&["xxh3:52bba1dc072f4b4b", "xxh3:a4f44d082ce0baa0"]),
        "xxh3:813ef4804bcfaf3a"
    );

    let service = hex::decode(container(V1).digest().encoded()).unwrap();
    assert_eq!(Xxh3::V1.host_label(&service), "2bbhm2pmhaoq6");
    assert_eq!(Xxh3::V1.host_label(b"session-1"), "o1vacia8p6hga");
    let dag_op = Xxh3::V1.rewritten(with_exec(V1).digest(), &[Argument::new("isDagOp", true)]);
    assert_eq!(dag_op, "xxh3:fde1e9b35dbdca45");
}

/// A changed digest here means that a rule changed under an old name: make a new scheme instead.
#[test]
fn our_rules_are_pinned() {
    let scoped = from(Scheme::Blake3)
        .with_implicit(ImplicitInput::scoped(Scope::Session, "s1"))
        .with_implicit(ImplicitInput::scoped(Scope::Client, "c1"));
    let pinned = expect_test::expect![[r#"
        blake3:c8ad2ff327000b68461b3a0a0ce50928c7d4ef02187e8dcbbf857d336d43bf7c container: Container!
        blake3:537d05989d30013feab07087a345e2dac5923dcc778f67a65eeaa238319dce76 container.from(address: "alpine"): Container!
        blake3:cc909d35759d160231fc6914f8cf0f14f062c0ece1780dd566929d98700d9f79 container.withMountedDirectory(path: "/src", source: {directory: Directory!}): Container!
        blake3:a4c63e9e566608e67e7e06e7062fe0ec49101e48b6630fb586309116cc479e9c all(n: <nil>, bt: true, bf: false, e: SHARED, i: -1, f: 1.5, s: "", l: [], o: {a: 1,b: [<nil>]}): T
        blake3:9b587d573a199defbb27e1cfb1f074d6f8712f9e22bbd53cbc59dfedfc192bc7 container.envVariables.envVariables#1: EnvVariable!
        blake3:d7582bd0beb603d5eeab650cfad36d1e9be8d357958c7278b1481c46c2728a92 foo#3: Foo!
        blake3:3e3cb28ddc5ac410fad570ddfdd79acc28a45da7bfb08210f3a890d8ea306006 parts"#]];
    let ids = [
        container(Scheme::Blake3),
        scoped,
        with_mounted_directory(Scheme::Blake3),
        all(Scheme::Blake3),
        variables(Scheme::Blake3).select_nth(1).unwrap(),
        foo(Scheme::Blake3),
    ];
    let mut lines: Vec<String> = ids
        .iter()
        .map(|id| format!("{} {id}", id.digest()))
        .collect();
    lines.push(format!("{} parts", Blake3.strings("test", &["a", ""])));
    pinned.assert_eq(&lines.join("\n"));
}

#[test]
fn our_preimage_can_be_read() {
    let id = container(Scheme::Blake3).append(
        Call::new("from", "Container!".parse().unwrap())
            .arg("address", "alpine")
            .implicit(ImplicitInput::scoped(Scope::Client, "c1")),
    );
    let mut expected = Vec::new();
    let count = |out: &mut Vec<u8>, n: u64| out.extend(n.to_le_bytes());
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    text(&mut expected, "dagop.call.v1");
    expected.push(1);
    text(&mut expected, container(Scheme::Blake3).digest().as_str());
    count(&mut expected, 1);
    text(&mut expected, "Container");
    expected.push(1);
    text(&mut expected, "from");
    count(&mut expected, 1);
    text(&mut expected, "address");
    expected.push(4);
    text(&mut expected, "alpine");
    count(&mut expected, 1);
    text(&mut expected, "client");
    text(&mut expected, "c1");
    expected.push(0);
    count(&mut expected, 0);
    text(&mut expected, "");
    assert_eq!(id.preimage(), expected);
    assert_eq!(
        id.digest().as_str(),
        format!("blake3:{}", ::blake3::hash(&expected).to_hex())
    );
}

#[test]
fn everything_public_changes_our_digest_and_nothing_else_does() {
    let base = with_exec(Scheme::Blake3);
    let call = base.call().clone();
    let on = base.receiver().unwrap();
    let module = |name: &str| Module::new(container(Scheme::Blake3), name, "", "");
    let variants = [
        call.clone().with_view("v0.19.11"),
        call.clone().with_nth(1),
        call.clone().with_type(TypeRef::named("Container")),
        call.clone().arg("args", vec!["echo", "hi", ""]),
        call.clone().arg("args", vec!["echohi"]),
        call.clone().arg("args", "echo"),
        call.clone().arg("more", Literal::Null),
        call.clone().arg("more", Literal::List(vec![])),
        call.clone().arg("more", Literal::Object(vec![])),
        call.clone().arg("more", "A"),
        call.clone().arg("more", Literal::enumeration("A")),
        call.clone().arg("more", 1_i64),
        call.clone().arg("more", 1.0),
        call.clone().arg("more", true),
        call.clone().arg("more", base.clone()),
        call.clone().with_module(module("a")),
        call.clone().with_module(module("b")),
        call.clone()
            .implicit(ImplicitInput::scoped(Scope::Client, "1")),
        call.clone()
            .implicit(ImplicitInput::scoped(Scope::Session, "1")),
        call.clone()
            .implicit(ImplicitInput::scoped(Scope::Client, "2")),
    ];
    let mut digests: Vec<Digest> = variants
        .into_iter()
        .map(|call| on.append(call).digest().clone())
        .collect();
    digests.push(base.digest().clone());
    digests.push(Id::root(call.clone()).digest().clone());
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count);

    assert_eq!(
        on.append(call.argument(Argument::sensitive("more", "hunter2"))),
        base
    );
    assert_eq!(base.with_content_digest(Some(golden::empty_sha256())), base);
}

#[test]
fn scope_is_inherited_and_its_order_does_not_matter() {
    let client = ImplicitInput::scoped(Scope::Client, "c");
    let ttl = ImplicitInput::scoped(Scope::Ttl, "2026-01-01T00");
    let one = from(Scheme::Blake3)
        .with_implicit(client.clone())
        .with_implicit(ttl.clone());
    let other = from(Scheme::Blake3)
        .with_implicit(ttl)
        .with_implicit(client);
    assert_eq!(one, other);
    assert_eq!(one.implicit_inputs()[1].scope(), Some(Scope::Ttl));
    let child = |id: &Id| id.append(Call::new("rootfs", "Directory!".parse().unwrap()));
    assert_ne!(child(&one), child(&from(Scheme::Blake3)));
    let again = one.with_implicit(ImplicitInput::scoped(Scope::Client, "d"));
    assert_eq!(
        (
            again.implicit_inputs().len(),
            again.implicit_inputs()[0].value()
        ),
        (2, "d")
    );
}

#[test]
fn a_custom_digest_is_dagger_s_only() {
    let custom = golden::empty_sha256();
    let error = from(Scheme::Blake3)
        .with_custom_digest(custom.clone())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "scheme blake3-v1 has no custom digests: scope a call with an implicit input instead"
    );
    let argument = Argument::new("isDagOp", true);
    let old = from(V1)
        .with_custom_digest(custom.clone())
        .unwrap()
        .with_argument(argument.clone());
    assert_eq!(
        (old.digest().as_str(), old.has_custom_digest()),
        ("xxh3:84b91b46da486619", false)
    );
    let new = from(V2)
        .with_custom_digest(custom.clone())
        .unwrap()
        .with_argument(argument);
    assert_eq!((new.digest(), new.has_custom_digest()), (&custom, true));
}

#[test]
fn elements_are_selected_from_lists_only() {
    let error = container(V1).select_nth(1).unwrap_err().to_string();
    assert_eq!(
        error,
        "`container` returns `Container!`, which is not a list"
    );
    assert_eq!(variables(V1).select_nth(0), Err(IdError::Nth(0)));
    let element = variables(Scheme::Blake3).select_nth(2).unwrap();
    assert!(element.is_element());
    assert_eq!(
        (element.receiver(), element.nth()),
        (Some(&variables(Scheme::Blake3)), 2)
    );
    assert_eq!(element.ty().to_string(), "EnvVariable!");
}

#[test]
fn rehashing_translates_and_drops_claims() {
    for ours in [
        with_mounted_directory as fn(Scheme) -> Id,
        all,
        foo,
        |scheme| variables(scheme).select_nth(1).unwrap(),
    ] {
        assert_eq!(ours(V1).rehash(Scheme::Blake3), ours(Scheme::Blake3));
        assert_eq!(ours(Scheme::Blake3).rehash(V1), ours(V1));
        assert_eq!(ours(V1).rehash(V2), ours(V2));
    }
    let claimed = from(V1)
        .with_custom_digest(container(Scheme::Blake3).digest().clone())
        .unwrap();
    let rehashed = claimed
        .append(with_exec(V1).call().clone())
        .rehash(Scheme::Blake3);
    assert_eq!(rehashed, with_exec(Scheme::Blake3));
    assert!(rehashed.chain().all(|id| !id.has_custom_digest()));
}

#[test]
fn inputs_modules_names_and_paths() {
    let id = with_mounted_directory(V1).with_argument(Argument::sensitive("token", from(V1)));
    assert_eq!(id.inputs(), [&container(V1), &directory(V1), &from(V1)]);
    assert_eq!(id.name(), "Container.withMountedDirectory");
    assert_eq!(container(V1).name(), "container");

    let module = |name: &str| {
        Module::new(
            Id::root(Call::new(name, TypeRef::named("Module"))),
            name,
            "",
            "",
        )
    };
    let call =
        |field: &str, name: &str| Call::new(field, TypeRef::named("T")).with_module(module(name));
    let root = Id::root(call("root", "r"));
    let id = root.append(
        call("leaf", "l")
            .arg("x", Id::root(call("x", "x")))
            .arg("again", root.clone()),
    );
    let names: Vec<&str> = id.modules().into_iter().map(Module::name).collect();
    assert_eq!(names, ["l", "x", "r"]);

    let element = variables(V1).select_nth(2).unwrap();
    let name = element.append(Call::new("name", "String!".parse().unwrap()));
    use PathSegment::{Field, Index};
    assert_eq!(
        name.path(),
        [
            Field("container"),
            Field("envVariables"),
            Index(1),
            Field("name")
        ]
    );
    assert_eq!(foo(V1).path(), [Field("foo"), Index(2)]);
}

#[test]
fn secrets_are_not_shown() {
    let id = all(Scheme::Blake3);
    for text in [
        id.to_string(),
        format!("{id:?}"),
        format!("{:?}", id.call()),
        hex::encode(id.preimage()),
    ] {
        assert!(
            !text.contains("hunter2") && !text.contains(&hex::encode("hunter2")),
            "{text}"
        );
    }
}

#[test]
fn a_graph_that_unfolds_exponentially_is_cheap() {
    let mut id = container(Scheme::Blake3);
    for _ in 0..200 {
        id = id.append(
            Call::new("withBoth", TypeRef::named("Container"))
                .arg("a", id.clone())
                .arg("b", id.clone()),
        );
    }
    assert_eq!(id.post_order().len(), 201);
    assert_eq!(id.modules().len(), 0);
    let text = id.to_string();
    assert!(text.ends_with('…') && text.len() <= DISPLAY_BYTES_MAX + '…'.len_utf8());
    assert_eq!(id.rehash(V1).rehash(Scheme::Blake3), id);
}

#[test]
fn chains_of_every_kind_are_freed_without_recursion() {
    const LENGTH: usize = 1_000_000;
    let ty = TypeRef::named("T");
    let through_receivers = (0..LENGTH).fold(Id::root(Call::new("f", ty.clone())), |id, _| {
        id.append(Call::new("f", ty.clone()))
    });
    assert_eq!(through_receivers.depth(), LENGTH + 1);
    drop(through_receivers);
    let nested = |id: Id| Call::new("f", ty.clone()).arg("x", Literal::List(vec![Literal::Id(id)]));
    let through_arguments = (0..LENGTH).fold(Id::root(Call::new("f", ty.clone())), |id, _| {
        Id::root(nested(id))
    });
    drop(through_arguments);
    let module = |id: Id| Call::new("f", ty.clone()).with_module(Module::new(id, "m", "", ""));
    let through_modules = (0..LENGTH / 10).fold(Id::root(Call::new("f", ty.clone())), |id, _| {
        Id::root(module(id))
    });
    drop(through_modules);
}

#[test]
fn a_chain_shared_by_threads_is_freed_once_by_the_last() {
    let chain = (0..10_000).fold(container(Scheme::Blake3), |id, _| {
        id.append(id.call().clone())
    });
    let weak = Arc::downgrade(&chain.0);
    let middle = chain.chain().nth(5_000).unwrap().clone();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mine = chain.clone();
            scope.spawn(move || drop(mine));
        }
        drop(chain);
    });
    assert_eq!(weak.strong_count(), 0);
    assert_eq!(middle.depth(), 5_001);
}

fn specs(defaults: &[(Arc<str>, Option<Literal>)]) -> Vec<ArgSpec<'_>> {
    defaults
        .iter()
        .map(|(name, default)| ArgSpec {
            name,
            default: default.as_ref(),
            sensitive: &**name == "secret",
        })
        .collect()
}

#[test]
fn three_sdks_spell_one_call() {
    let schema: [(Arc<str>, Option<Literal>); 4] = [
        ("args".into(), None),
        ("stdin".into(), Some(Literal::string(""))),
        ("expect".into(), Some(Literal::enumeration("SUCCESS"))),
        ("noInit".into(), None),
    ];
    let args = || ("args".into(), Literal::from(vec!["true"]));
    let stdin = || ("stdin".into(), Literal::string(""));
    let expect = || ("expect".into(), Literal::enumeration("SUCCESS"));
    let null = || ("noInit".into(), Literal::Null);
    let go = canonical_arguments(&specs(&schema), vec![expect(), args()]).unwrap();
    let python = canonical_arguments(&specs(&schema), vec![args()]).unwrap();
    let typescript =
        canonical_arguments(&specs(&schema), vec![args(), stdin(), expect(), null()]).unwrap();
    assert_eq!(go, python);
    assert_eq!(python, typescript);
    assert_eq!(
        format!("{go:?}"),
        r#"[args: ["true"], stdin: "", expect: SUCCESS]"#
    );
    // An explicit null is not the default.
    let none = canonical_arguments(
        &specs(&schema),
        vec![args(), ("expect".into(), Literal::Null)],
    )
    .unwrap();
    assert_eq!(format!("{none:?}"), r#"[args: ["true"], stdin: ""]"#);
}

#[test]
fn bad_arguments_are_named() {
    let schema: [(Arc<str>, Option<Literal>); 2] = [("a".into(), None), ("secret".into(), None)];
    let error = |given: Vec<(Arc<str>, Literal)>| {
        canonical_arguments(&specs(&schema), given)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(vec![("b".into(), Literal::Null)]),
        "unknown argument `b`"
    );
    assert_eq!(
        error(vec![
            ("a".into(), 1_i64.into()),
            ("a".into(), Literal::Null)
        ]),
        "argument `a` is given twice"
    );
    assert_eq!(
        error(vec![("a".into(), f64::NAN.into())]),
        "argument `a`: a number must be finite"
    );
    let deep = (0..40).fold(Literal::Null, |inner, _| Literal::List(vec![inner]));
    assert_eq!(
        error(vec![("a".into(), deep)]),
        "argument `a`: a value may nest at most 32 lists and objects"
    );
    let many = vec![("a".into(), Literal::Null); 1025];
    assert_eq!(
        error(many),
        "1025 arguments are given, at most 1024 are allowed"
    );
    let secret = canonical_arguments(&specs(&schema), vec![("secret".into(), "x".into())]).unwrap();
    assert!(secret[0].is_sensitive());
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
            prop::collection::vec(("[a-z]{1,4}".prop_map(Arc::from), inner), 0..4)
                .prop_map(Literal::Object),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_arguments_forget_the_spelling(
        schema in prop::collection::vec((prop::option::of(literal()), prop::option::of(literal()), any::<bool>()), 1..8),
        order in any::<prop::sample::Index>(),
    ) {
        let schema: Vec<_> = schema
            .into_iter()
            .enumerate()
            .map(|(at, (default, given, spell))| (Arc::<str>::from(format!("a{at}")), default, given, spell))
            .collect();
        let defaults: Vec<_> = schema.iter().map(|(name, default, ..)| (name.clone(), default.clone())).collect();
        let short: Vec<_> = schema.iter().filter_map(|(name, _, given, _)| Some((name.clone(), given.clone()?))).collect();
        // The long spelling writes some defaults and nulls out and is rotated.
        let mut long: Vec<_> = schema
            .iter()
            .filter_map(|(name, default, given, spell)| {
                let spelled = || spell.then(|| default.clone().unwrap_or(Literal::Null));
                Some((name.clone(), given.clone().or_else(spelled)?))
            })
            .collect();
        if !long.is_empty() {
            let by = order.index(long.len());
            long.rotate_left(by);
        }
        let canonical = canonical_arguments(&specs(&defaults), short).unwrap();
        prop_assert_eq!(&canonical, &canonical_arguments(&specs(&defaults), long).unwrap());
        // Done once or twice is the same, where absence already means null.
        let without: Vec<_> = defaults.iter().map(|(name, _)| (name.clone(), None)).collect();
        let again = canonical.iter().map(|argument| (argument.name().into(), argument.value().clone())).collect();
        prop_assert_eq!(canonical, canonical_arguments(&specs(&without), again).unwrap());
    }
}
