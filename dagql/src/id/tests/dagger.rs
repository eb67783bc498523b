//! Digests, preimages and labels that the real Dagger engine computed.

use super::golden;
use super::golden::{
    all, container, directory, foo, from, variables, with_exec, with_mounted_directory,
};
use crate::digest::scheme::{DigestScheme, Scheme, Xxh3};
use crate::id::{Argument, Call};

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
