//! dagql

pub mod digest;
pub mod id;
pub mod literal;
pub mod typeref;
pub mod wire;

pub use digest::{Digest, scheme};
pub use id::Id;
pub use literal::Literal;
pub use typeref::TypeRef;
