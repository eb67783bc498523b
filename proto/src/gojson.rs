//! JSON bytes as Go's `encoding/json` writes them.

/// Encodes a value as Go does.
pub fn to_vec<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(value)
}
