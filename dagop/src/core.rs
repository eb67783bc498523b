//! The core API: the object types of the schema and their fields.
//!
//! Names, arguments and defaults are Dagger's. One file holds one type (large
//! ones have a folder); a resolver reads its arguments, adds a [`DagOp`] or a
//! few, and returns a new immutable value. Only fields that must know a result
//! (`stdout`, `entries`, `contents`, `sync`, `export` ...) talk to the daemon,
//! through [`BuildSession`].
//!
//! This file holds what resolvers share: reaching the session, loading
//! argument objects, and making vertices that know their call and salt.

mod cache_volume;
pub(crate) mod container;
pub(crate) mod directory;
mod expand;
pub(crate) mod file;
mod git;
mod host;
mod http;
mod passwd;
pub(crate) mod path;
mod query;
mod records;
pub(crate) mod secret;
mod socket;

use std::sync::Arc;

use dagql::{Cx, Id, Object, ObjectData, Schema, SchemaError};

use crate::error::Error;
use crate::salt::Salt;
use crate::session::BuildSession;
use crate::vertex::{CallRef, DagOp, Edge, FileAction, Kind, Owner, Tree, Work};

/// Longest file that `contents` and the other text fields return, in bytes.
pub const CONTENTS_MAX: usize = 128 << 20;

/// The schema with every core type.
///
/// # Errors
/// A mistake in this module's own definitions.
pub fn schema() -> Result<Schema, SchemaError> {
    let mut builder = Schema::builder();
    for field in query::fields() {
        builder.query(field);
    }
    for ty in [
        container::object_type(),
        directory::object_type(),
        file::object_type(),
        host::object_type(),
        secret::object_type(),
        socket::object_type(),
        cache_volume::object_type(),
        git::repository_type(),
        git::ref_type(),
    ] {
        builder.object(ty);
    }
    for ty in records::object_types() {
        builder.object(ty);
    }
    for ty in container::enums() {
        builder.enumeration(ty);
    }
    builder.enumeration(cache_volume::sharing_mode());
    builder.input(directory::build_arg());
    builder.scalar(query::platform_scalar());
    builder.build()
}

/// The build session behind a call.
pub(crate) fn session(cx: &Cx) -> Result<Arc<BuildSession>, Error> {
    cx.extension::<BuildSession>()
        .map_err(|e| Error::internal(e.message()))
}

/// The receiver's data.
pub(crate) fn this<T: ObjectData>(object: &Object) -> Result<Arc<T>, dagql::Error> {
    object.data::<T>()
}

/// The object an ID argument names.
pub(crate) async fn load<T: ObjectData>(cx: &Cx, id: &Id) -> Result<Arc<T>, dagql::Error> {
    cx.load(id).await?.data::<T>()
}

/// A new object, named by the current call.
pub(crate) fn object<T: ObjectData>(cx: &Cx, data: T) -> Result<Object, dagql::Error> {
    Ok(cx.object(data))
}

/// A vertex of the current call: it carries the call's name for the ledger and,
/// for a scoped or TTL call, the storage key as salt.
pub(crate) fn vertex(cx: &Cx, kind: Kind, work: Work) -> Result<Edge, Error> {
    let call = cx.call();
    let mut salt = (!call.scope().is_empty()).then(|| Salt::new(call.storage_key.as_str()));
    if let (Work::Exec(_), Some(fresh)) = (&work, session(cx)?.fresh_keys()) {
        salt = Some(Salt::new(&format!("{fresh}/{}", call.storage_key)));
    }
    let op = DagOp::new(kind, call_ref(cx), salt, work);
    Ok(Edge::first(op))
}

/// A tree that the current call reads a value from, so that the ledger says
/// which vertex the value comes from.
pub(crate) fn read(cx: &Cx, tree: &Tree) -> Result<Tree, Error> {
    match tree {
        None => Ok(None),
        Some(_) => Ok(Some(vertex(cx, Kind::Raw, Work::Read(tree.clone()))?)),
    }
}

/// The current call, for a vertex.
pub(crate) fn call_ref(cx: &Cx) -> CallRef {
    let id = &cx.call().id;
    CallRef {
        digest: id.digest().clone(),
        name: id.display_call(crate::journal::DISPLAY_BYTES).into(),
    }
}

/// One file action of the current call.
pub(crate) fn act(cx: &Cx, base: Tree, action: FileAction) -> Result<Tree, dagql::Error> {
    Ok(Some(vertex(cx, Kind::Fs, Work::File { base, action })?))
}

/// Permission bits from an argument.
pub(crate) fn mode(bits: i64) -> Result<u32, Error> {
    u32::try_from(bits)
        .ok()
        .filter(|bits| *bits <= 0o7777)
        .ok_or_else(|| {
            Error::input(format!(
                "permissions {bits} are not between 0 and 4095 (07777)"
            ))
        })
}

/// The `owner` argument.
///
/// # Errors
/// When it is not `user[:group]`.
pub(crate) fn parse_owner(text: &str) -> Result<Option<Owner>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let (user, group) = passwd::parse_owner(text)?;
    Ok(Some(Owner { user, group }))
}

/// The `owner` argument of a directory, which has no users.
///
/// # Errors
/// When it has a name.
pub(crate) fn parse_owner_ids(text: &str) -> Result<Option<Owner>, Error> {
    let owner = parse_owner(text)?;
    if owner.as_ref().is_some_and(Owner::has_name) {
        return Err(Error::input(format!(
            "owner {text:?} has a name, and a directory has no users"
        ))
        .with_hint("give numbers, or use the field of Container"));
    }
    Ok(owner)
}

/// Content digest of a path of a tree.
pub(crate) async fn content_digest(cx: &Cx, tree: &Tree, path: &str) -> Result<String, Error> {
    session(cx)?.content_digest(tree, path).await
}
