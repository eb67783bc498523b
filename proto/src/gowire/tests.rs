//! Bytes of protobuf-go's deterministic marshalling, and properties.

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{control, gateway, pb};

/// Messages with random content, `full name \t hex`, as written by protobuf-go v1.36 with
/// deterministic marshalling.
const GO_WIRE: &str = include_str!("../../testdata/go-wire.tsv");

fn through<M: Message + Name + Default>(bytes: &[u8]) -> Vec<u8> {
    encode(&M::decode(bytes).expect("Go wrote these bytes"))
}

#[test]
fn bytes_of_go_survive_decoding_and_encoding() {
    let mut differing = 0;
    for line in GO_WIRE.lines() {
        let (name, expected) = line.split_once('\t').expect("two columns");
        let bytes = hex::decode(expected).expect("hexadecimal");
        let (ours, plain) = match name {
            "pb.Op" => (through::<pb::Op>(&bytes), plain::<pb::Op>(&bytes)),
            "pb.Definition" => (
                through::<pb::Definition>(&bytes),
                plain::<pb::Definition>(&bytes),
            ),
            "pb.SourceOp" => (
                through::<pb::SourceOp>(&bytes),
                plain::<pb::SourceOp>(&bytes),
            ),
            "pb.OpMetadata" => (
                through::<pb::OpMetadata>(&bytes),
                plain::<pb::OpMetadata>(&bytes),
            ),
            "moby.buildkit.v1.frontend.Result" => (
                through::<gateway::Result>(&bytes),
                plain::<gateway::Result>(&bytes),
            ),
            "moby.buildkit.v1.frontend.ExecMessage" => (
                through::<gateway::ExecMessage>(&bytes),
                plain::<gateway::ExecMessage>(&bytes),
            ),
            "moby.buildkit.v1.frontend.SolveRequest" => (
                through::<gateway::SolveRequest>(&bytes),
                plain::<gateway::SolveRequest>(&bytes),
            ),
            "moby.buildkit.v1.frontend.ResolveSourceMetaResponse" => (
                through::<gateway::ResolveSourceMetaResponse>(&bytes),
                plain::<gateway::ResolveSourceMetaResponse>(&bytes),
            ),
            "moby.buildkit.v1.SolveRequest" => (
                through::<control::SolveRequest>(&bytes),
                plain::<control::SolveRequest>(&bytes),
            ),
            "moby.buildkit.v1.BuildHistoryRecord" => (
                through::<control::BuildHistoryRecord>(&bytes),
                plain::<control::BuildHistoryRecord>(&bytes),
            ),
            "moby.buildkit.v1.StatusResponse" => (
                through::<control::StatusResponse>(&bytes),
                plain::<control::StatusResponse>(&bytes),
            ),
            other => panic!("no case for {other}"),
        };
        assert_eq!(hex::encode(ours), expected, "{name}");
        differing += usize::from(plain != bytes);
    }
    assert!(
        differing > 20,
        "the messages show the difference between prost and Go"
    );
}

fn plain<M: Message + Default>(bytes: &[u8]) -> Vec<u8> {
    M::decode(bytes)
        .expect("Go wrote these bytes")
        .encode_to_vec()
}

/// A file vertex and a source vertex as BuildKit's client writes them.
#[test]
fn the_body_of_an_op_comes_after_its_platform_and_constraints() {
    let source = pb::SourceOp {
        identifier: "docker-image://docker.io/library/busybox:latest".into(),
        attrs: [].into(),
    };
    let op = pb::Op {
        inputs: vec![],
        op: Some(pb::op::Op::Source(source)),
        platform: Some(pb::Platform {
            architecture: "amd64".into(),
            os: "linux".into(),
            ..pb::Platform::default()
        }),
        constraints: Some(pb::WorkerConstraints::default()),
    };
    assert_eq!(
        hex::encode(encode(&op)),
        "520e0a05616d64363412056c696e75785a001a310a2f646f636b65722d696d6167653a2f2f646f636b65722e69\
         6f2f6c6962726172792f62757379626f783a6c6174657374"
    );
}

#[test]
fn map_entries_have_key_and_value_even_if_empty() {
    let source = pb::SourceOp {
        identifier: String::new(),
        attrs: [(String::new(), String::new())].into(),
    };
    assert_eq!(encode(&source), [0x12, 4, 0x0a, 0, 0x12, 0]);
    let metadata = pb::OpMetadata {
        caps: [("a".into(), false)].into(),
        ..Default::default()
    };
    assert_eq!(encode(&metadata), [0x2a, 5, 0x0a, 1, b'a', 0x10, 0]);
    let definition = pb::Definition {
        metadata: [("a".into(), pb::OpMetadata::default())].into(),
        ..Default::default()
    };
    assert_eq!(encode(&definition), [0x12, 5, 0x0a, 1, b'a', 0x12, 0]);
}

#[test]
fn a_zero_in_a_oneof_is_written() {
    let root = pb::UserOpt {
        user: Some(pb::user_opt::User::ById(0)),
    };
    assert_eq!(encode(&root), [0x10, 0]);
}

#[test]
fn broken_bytes_are_no_message() {
    for bytes in [
        &[0x0a, 5, 1][..],
        &[0x0d, 0],
        &[0x09, 0],
        &[0x80],
        &[0x0b],
        &[0x00],
    ] {
        assert!(split(bytes).is_none(), "{bytes:?}");
    }
}

fn attrs() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..5)
}

prop_compose! {
    fn ops()(
        inputs in proptest::collection::vec((".{0,8}", any::<i64>()), 0..4),
        attrs in attrs(),
        identifier in ".{0,12}",
        filter in proptest::collection::vec(".{0,4}", 0..3),
        with_platform in any::<bool>(),
        with_constraints in any::<bool>(),
    ) -> pb::Op {
        pb::Op {
            inputs: inputs.into_iter().map(|(digest, index)| pb::Input { digest, index }).collect(),
            op: Some(pb::op::Op::Source(pb::SourceOp { identifier, attrs })),
            platform: with_platform.then(pb::Platform::default),
            constraints: with_constraints.then_some(pb::WorkerConstraints { filter }),
        }
    }
}

proptest! {
    /// The bytes mean the same message, and writing them again changes nothing.
    #[test]
    fn encoding_loses_nothing(op in ops(), metadata in proptest::collection::btree_map(".{0,4}", attrs(), 0..4)) {
        let bytes = encode(&op);
        prop_assert_eq!(pb::Op::decode(&bytes[..]).expect("valid"), op);
        prop_assert_eq!(through::<pb::Op>(&bytes), bytes.clone());

        let definition = pb::Definition {
            def: vec![bytes.into()],
            metadata: metadata
                .into_iter()
                .map(|(digest, description)| {
                    (digest, pb::OpMetadata { description, ..pb::OpMetadata::default() })
                })
                .collect(),
            source: None,
        };
        let bytes = encode(&definition);
        prop_assert_eq!(pb::Definition::decode(&bytes[..]).expect("valid"), definition);
        prop_assert_eq!(through::<pb::Definition>(&bytes), bytes);
    }
}
