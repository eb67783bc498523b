//! `Secret`: a value that the engine hands to steps and never shows.
//!
//! In LLB and in IDs a secret is only a name. [`Secret::llb_id`] is made from
//! the name a user gave or the URI, never from the value: not even a hash of
//! the value leaves the process. The value is read when a step asks for it
//! (`env://`, `file://`, `cmd://`), or kept in memory (`setSecret`).

use dagql::{CachePolicy, Field, ObjectData, ObjectType};

use super::{session, this};

/// The data of a `Secret`.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    /// The name for people: what `setSecret` was given, or the URI.
    pub(crate) name: String,
    /// The URI, for a secret that is read from somewhere.
    pub(crate) uri: Option<String>,
    /// The id under which the session serves it.
    pub(crate) llb_id: String,
}

impl ObjectData for Secret {
    fn type_name(&self) -> &str {
        "Secret"
    }

    fn session_bound(&self) -> bool {
        true
    }
}

/// The object type.
pub(crate) fn object_type() -> ObjectType {
    ObjectType::new("Secret")
        .doc("A value that is handed to steps and never shown.")
        .field(
            Field::new("name", "String!")
                .doc("The name.")
                .resolve(async |_, this_, _| Ok(this::<Secret>(&this_)?.name.clone())),
        )
        .field(
            Field::new("uri", "String!")
                .doc("Where the value is read; empty for one that was given.")
                .resolve(async |_, this_, _| {
                    Ok(this::<Secret>(&this_)?.uri.clone().unwrap_or_default())
                }),
        )
        .field(
            Field::new("plaintext", "String!")
                .doc("The value itself. It is shown to you; keep it out of other calls.")
                .cache(CachePolicy::Never)
                .resolve(async |cx, this_, _| {
                    Ok(session(&cx)?
                        .secrets()
                        .plaintext(&this::<Secret>(&this_)?.llb_id)
                        .await?)
                }),
        )
}
