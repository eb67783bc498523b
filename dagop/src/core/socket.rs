//! `Socket`: a Unix socket of the host that steps may use.

use dagql::{ObjectData, ObjectType};

/// The data of a `Socket`: the id under which the session forwards it.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    /// The id in LLB; made from the path, so that the same socket is the same key.
    pub(crate) id: String,
}

impl ObjectData for Socket {
    fn type_name(&self) -> &str {
        "Socket"
    }

    fn session_bound(&self) -> bool {
        true
    }
}

/// The object type.
pub(crate) fn object_type() -> ObjectType {
    ObjectType::new("Socket").doc("A Unix socket of the host.")
}
