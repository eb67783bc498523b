use prost::Message;

use super::*;
use crate::pb;

#[test]
fn placeholder() {
    let op = pb::Op::default();
    assert_eq!(encode(&op), op.encode_to_vec());
}
