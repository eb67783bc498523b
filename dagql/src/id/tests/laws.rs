//! What holds for every ID: which inputs its digest depends on, how it is derived, shown and freed.

use std::sync::Arc;

use super::golden;
use super::golden::{
    all, container, directory, foo, from, variables, with_exec, with_mounted_directory,
};
use crate::digest::Digest;
use crate::digest::scheme::{Blake3, DigestScheme, Scheme};
use crate::id::{
    ArgSpec, Argument, ArgumentError, Call, DISPLAY_BYTES_MAX, Id, IdError, ImplicitInput, Module,
    PathSegment, Scope, canonical_arguments,
};
use crate::literal::Literal;
use crate::typeref::TypeRef;

const V1: Scheme = Scheme::Xxh3V1;
const V2: Scheme = Scheme::Xxh3V2;

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
fn a_translated_id_gets_the_defaults_of_the_schema() {
    let path: Arc<str> = "path".into();
    let expand: Arc<str> = "expand".into();
    let specs = [
        ArgSpec {
            name: &path,
            default: None,
            sensitive: false,
        },
        ArgSpec {
            name: &expand,
            default: Some(&Literal::Bool(false)),
            sensitive: false,
        },
    ];
    let adapt = |receiver: Option<&Id>, call: Call| -> Result<Call, ArgumentError> {
        if receiver.is_none() {
            return Ok(call);
        }
        let given = call
            .args()
            .iter()
            .map(|arg| (arg.name().into(), arg.value().clone()))
            .collect();
        let args = canonical_arguments(&specs, given)?;
        Ok(call.with_args(args))
    };
    let call = |scheme| {
        let call = Call::new("withWorkdir", "Container!".parse().unwrap()).arg("path", "/src");
        (container(scheme), call)
    };
    let (receiver, dagger) = call(V1);
    let translated = receiver.append(dagger.clone()).adopt(adapt).unwrap();
    let (receiver, ours) = call(Scheme::Blake3);
    assert_eq!(translated, receiver.append(ours.arg("expand", false)));

    let unknown = container(V1).append(dagger.arg("what", true)).adopt(adapt);
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "the call `Container.withWorkdir`: unknown argument `what`"
    );
    // One of ours is not touched: its absent arguments are null.
    let (receiver, ours) = call(Scheme::Blake3);
    let ours = receiver.append(ours);
    assert_eq!(ours.adopt(adapt).unwrap(), ours);
}

#[test]
fn an_assigned_digest_is_not_adopted_except_an_elements() {
    let as_is = |_: Option<&Id>, call: Call| Ok::<_, ArgumentError>(call);
    for ours in [
        with_mounted_directory as fn(Scheme) -> Id,
        all,
        foo,
        |scheme| variables(scheme).select_nth(1).unwrap(),
    ] {
        for scheme in [Scheme::Blake3, V1, V2] {
            assert_eq!(ours(scheme).adopt(as_is).unwrap(), ours(Scheme::Blake3));
        }
    }
    let scoped = from(V1).with_custom_digest(golden::empty_sha256()).unwrap();
    let error = scoped.append(with_exec(V1).call().clone()).adopt(as_is);
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "the call `Container.from` was given the digest {}, which cannot be recomputed",
            golden::empty_sha256()
        )
    );
    let element = variables(V1).select_nth(1).unwrap();
    let moved = element.with_custom_digest(golden::empty_sha256()).unwrap();
    assert!(moved.adopt(as_is).is_err());
    // What came out says nothing about what was asked.
    let content = directory(V2).with_content_digest(Some(golden::empty_sha256()));
    let sub = Call::new("directory", "Directory!".parse().unwrap()).arg("path", "src");
    let ours = content.append(sub.clone()).adopt(as_is).unwrap();
    assert_eq!(ours, directory(Scheme::Blake3).append(sub));
    assert!(ours.chain().all(|id| id.content_digest().is_none()));
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
