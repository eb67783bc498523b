//! Owners by name, as numbers: what the container's own files say.

use dagql::Cx;

use super::Container;
use crate::core::passwd::{self, Ids};
use crate::core::session;
use crate::error::Error;
use crate::vertex::{Owner, OwnerId, Tree};

/// Longest `/etc/passwd` or `/etc/group` that is read, in bytes.
const ACCOUNTS_MAX: usize = 4 << 20;

/// Numbers of an owner; names make us read the container's files.
///
/// # Errors
/// An unknown name, or a root file system that cannot be built.
pub(super) async fn ids(cx: &Cx, container: &Container, owner: &Owner) -> Result<Ids, Error> {
    let named = |id: &OwnerId| matches!(id, OwnerId::Name(_));
    let (mut users, mut groups) = (String::new(), String::new());
    if named(&owner.user) {
        users = accounts(cx, &container.rootfs, "/etc/passwd").await?;
    }
    if owner.group.as_ref().is_some_and(named) {
        groups = accounts(cx, &container.rootfs, "/etc/group").await?;
    }
    passwd::resolve(&owner.user, owner.group.as_ref(), &users, &groups)
}

/// The same owner without names.
pub(super) async fn in_numbers(
    cx: &Cx,
    container: &Container,
    owner: &Owner,
) -> Result<Owner, Error> {
    let Ids { uid, gid } = ids(cx, container, owner).await?;
    Ok(Owner {
        user: OwnerId::Id(uid),
        group: Some(OwnerId::Id(gid)),
    })
}

async fn accounts(cx: &Cx, tree: &Tree, file: &str) -> Result<String, Error> {
    let bytes = session(cx)?.read_file(tree, file, ACCOUNTS_MAX).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
