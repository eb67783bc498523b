//! `CacheVolume`: a directory that outlives builds, by name.

use dagql::{EnumType, ObjectData, ObjectType};

use crate::error::Error;
use crate::vertex::Sharing;

/// The data of a `CacheVolume`.
#[derive(Clone, Debug)]
pub(crate) struct CacheVolume {
    /// The daemon-wide id of the cache mount.
    pub(crate) id: String,
}

impl ObjectData for CacheVolume {
    fn type_name(&self) -> &str {
        "CacheVolume"
    }
}

impl CacheVolume {
    /// The volume a user calls `key`. The prefix keeps it apart from the cache
    /// mounts of other clients of the daemon, whose ids are free text as well.
    pub(crate) fn new(key: &str) -> Self {
        Self {
            id: format!("dagop.cache/{key}"),
        }
    }
}

/// The object type.
pub(crate) fn object_type() -> ObjectType {
    ObjectType::new("CacheVolume").doc("A directory that outlives builds.")
}

/// The enum `CacheSharingMode`.
pub(crate) fn sharing_mode() -> EnumType {
    EnumType::new("CacheSharingMode")
        .doc("What several steps may do with a cache volume at once.")
        .member("SHARED", "Use it together.")
        .member("PRIVATE", "Have one each.")
        .member("LOCKED", "Wait for each other.")
}

/// A member of [`sharing_mode`].
pub(crate) fn sharing(name: &str) -> Result<Sharing, Error> {
    match name {
        "SHARED" => Ok(Sharing::Shared),
        "PRIVATE" => Ok(Sharing::Private),
        "LOCKED" => Ok(Sharing::Locked),
        other => Err(Error::internal(format!("{other} is no CacheSharingMode"))),
    }
}
