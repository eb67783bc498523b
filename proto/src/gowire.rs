//! Protobuf bytes as the Go runtime writes them deterministically.

/// Encodes a message as Go does.
pub fn encode<M: prost::Message + prost::Name>(message: &M) -> Vec<u8> {
    message.encode_to_vec()
}
