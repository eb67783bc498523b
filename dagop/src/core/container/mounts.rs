//! Fields of `Container` that mount something.
//!
//! A mount at a path hides what was mounted at it or below it.

use std::sync::Arc;

use dagql::{Arg, Args, Cx, Field, Literal, Object, ObjectType};

use super::Container;
use super::files::{expand_arg, owner_arg, path_arg, target};
use crate::core::cache_volume::{CacheVolume, sharing};
use crate::core::directory::Directory;
use crate::core::file::File;
use crate::core::passwd::Ids;
use crate::core::secret::Secret;
use crate::core::socket::Socket;
use crate::core::{act, load, mode, object, parse_owner, path, this};
use crate::error::Error;
use crate::vertex::{CopyAction, ExecMount, FileAction, MountKind, Owner, Tree};

/// Adds the fields.
pub(super) fn fields(ty: ObjectType) -> ObjectType {
    listing(special(volumes(trees(ty))))
}

impl Container {
    /// This container with one more mount.
    fn mounted(&self, mount: ExecMount) -> Self {
        let mut mounts = self.without_mounts(&mount.target);
        mounts.push(mount);
        Self {
            mounts: mounts.into(),
            ..self.clone()
        }
    }

    /// The mounts that are neither at `target` nor below it.
    fn without_mounts(&self, target: &str) -> Vec<ExecMount> {
        self.mounts
            .iter()
            .filter(|m| path::below(target, &m.target).is_none())
            .cloned()
            .collect()
    }
}

fn add(cx: &Cx, c: &Container, target: String, kind: MountKind) -> Result<Object, dagql::Error> {
    if target == "/" {
        return Err(Error::input("nothing can be mounted at /: use withRootfs").into());
    }
    if path::below("/.dagop", &target).is_some() {
        return Err(Error::input(format!("path {target} is reserved for the engine")).into());
    }
    object(cx, c.mounted(ExecMount { target, kind }))
}

fn trees(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("withMountedDirectory", "Container!")
            .doc("This container with a directory mounted.")
            .arg(path_arg("Where it is mounted (e.g. \"/mnt/dir\")."))
            .arg(Arg::new("source", "DirectoryID!").doc("The directory."))
            .arg(owner_arg())
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let source = load::<Directory>(&cx, args.id("source")?).await?;
                let owner = numbers(&cx, &c, &args).await?;
                let (tree, selector) = owned(&cx, source.tree.clone(), &source.dir, owner, true)?;
                let kind = MountKind::Bind {
                    source: tree,
                    selector,
                    readonly: false,
                };
                add(&cx, &c, target(&c, &args)?, kind)
            }),
    )
    .field(
        Field::new("withMountedFile", "Container!")
            .doc("This container with a file mounted.")
            .arg(path_arg("Where it is mounted (e.g. \"/tmp/file.txt\")."))
            .arg(Arg::new("source", "FileID!").doc("The file."))
            .arg(owner_arg())
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let source = load::<File>(&cx, args.id("source")?).await?;
                let owner = numbers(&cx, &c, &args).await?;
                let (tree, selector) = owned(&cx, source.tree.clone(), &source.path, owner, false)?;
                let kind = MountKind::Bind {
                    source: tree,
                    selector,
                    readonly: false,
                };
                add(&cx, &c, target(&c, &args)?, kind)
            }),
    )
}

/// A path of a tree with its owner changed, if one is given.
fn owned(
    cx: &Cx,
    tree: Tree,
    from: &str,
    owner: Option<Owner>,
    contents: bool,
) -> Result<(Tree, String), dagql::Error> {
    if owner.is_none() {
        return Ok((tree, from.to_owned()));
    }
    let to = if contents {
        "/".to_owned()
    } else {
        format!("/{}", path::name(from))
    };
    let mut copy = CopyAction::new(tree, from, to.clone());
    copy.contents = contents;
    copy.owner = owner;
    Ok((act(cx, None, FileAction::Copy(Box::new(copy)))?, to))
}

fn volumes(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("withMountedCache", "Container!")
            .doc("This container with a cache volume mounted.")
            .arg(path_arg("Where it is mounted (e.g. \"/root/.npm\")."))
            .arg(Arg::new("cache", "CacheVolumeID!").doc("The volume."))
            .arg(Arg::new("source", "DirectoryID").doc("What the volume holds at first."))
            .arg(
                Arg::new("sharing", "CacheSharingMode!")
                    .doc("What several steps may do with it at once.")
                    .default(Literal::enumeration("SHARED")),
            )
            .arg(owner_arg())
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let volume = load::<CacheVolume>(&cx, args.id("cache")?).await?;
                let (mut source, mut selector) = (None, "/".to_owned());
                if let Some(id) = args.id_opt("source")? {
                    let dir = load::<Directory>(&cx, id).await?;
                    (source, selector) = (dir.tree.clone(), dir.dir.clone());
                }
                if let Some(owner) = numbers(&cx, &c, &args).await? {
                    (source, selector) = owned_cache(&cx, source, &selector, owner)?;
                }
                let sharing = sharing(args.str("sharing")?)?;
                let kind = MountKind::Cache {
                    id: volume.id.clone(),
                    sharing,
                    source,
                    selector,
                };
                add(&cx, &c, target(&c, &args)?, kind)
            }),
    )
    .field(
        Field::new("withMountedTemp", "Container!")
            .doc("This container with an empty directory in memory.")
            .arg(path_arg("Where it is mounted (e.g. \"/tmp/scratch\")."))
            .arg(Arg::new("size", "Int").doc("The most bytes it may hold."))
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let size = args.int_opt("size")?;
                if let Some(size) = size.filter(|size| *size <= 0) {
                    return Err(Error::input(format!("size {size} is not positive")).into());
                }
                add(&cx, &c, target(&c, &args)?, MountKind::Tmpfs { size })
            }),
    )
}

/// What a volume with an owner holds at first: a directory of that owner, with
/// the content of `source`.
fn owned_cache(
    cx: &Cx,
    source: Tree,
    from: &str,
    owner: Owner,
) -> Result<(Tree, String), dagql::Error> {
    let empty = FileAction::MakeDir {
        path: "/cache".to_owned(),
        mode: 0o755,
    };
    let mut copy = match source {
        Some(_) => CopyAction::contents(source, from, "/cache"),
        None => CopyAction::contents(act(cx, None, empty)?, "/cache", "/cache"),
    };
    copy.owner = Some(owner);
    Ok((
        act(cx, None, FileAction::Copy(Box::new(copy)))?,
        "/cache".to_owned(),
    ))
}

fn special(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("withMountedSecret", "Container!")
            .doc("This container with a secret mounted as a file.")
            .arg(path_arg("Where it is mounted (e.g. \"/tmp/secret.txt\")."))
            .arg(Arg::new("source", "SecretID!").doc("The secret."))
            .arg(owner_arg())
            .arg(
                Arg::new("mode", "Int!")
                    .doc("Permission bits.")
                    .default(0o400),
            )
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let secret = load::<Secret>(&cx, args.id("source")?).await?;
                let Ids { uid, gid } = ids(&cx, &c, &args).await?;
                let mode = mode(args.int("mode")?)?;
                let kind = MountKind::Secret {
                    id: secret.llb_id.clone(),
                    uid,
                    gid,
                    mode,
                };
                add(&cx, &c, target(&c, &args)?, kind)
            }),
    )
    .field(
        Field::new("withUnixSocket", "Container!")
            .doc("This container with a Unix socket of the host.")
            .arg(path_arg("Where it is (e.g. \"/tmp/socket\")."))
            .arg(Arg::new("source", "SocketID!").doc("The socket."))
            .arg(owner_arg())
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let socket = load::<Socket>(&cx, args.id("source")?).await?;
                let Ids { uid, gid } = ids(&cx, &c, &args).await?;
                let kind = MountKind::Socket {
                    id: socket.id.clone(),
                    uid,
                    gid,
                };
                add(&cx, &c, target(&c, &args)?, kind)
            }),
    )
}

/// The `owner` argument in numbers, if there is one.
async fn numbers(cx: &Cx, c: &Container, args: &Args) -> Result<Option<Owner>, dagql::Error> {
    match parse_owner(args.str("owner")?)? {
        None => Ok(None),
        Some(owner) => Ok(Some(super::owner::in_numbers(cx, c, &owner).await?)),
    }
}

/// The `owner` argument as user and group, root by default.
async fn ids(cx: &Cx, c: &Container, args: &Args) -> Result<Ids, dagql::Error> {
    match parse_owner(args.str("owner")?)? {
        None => Ok(Ids { uid: 0, gid: 0 }),
        Some(owner) => Ok(super::owner::ids(cx, c, &owner).await?),
    }
}

fn listing(ty: ObjectType) -> ObjectType {
    let unmount = |name: &str, doc: &str| {
        Field::new(name, "Container!")
            .doc(doc)
            .arg(path_arg("Where it is mounted."))
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let target = target(&c, &args)?;
                let mounts: Arc<[ExecMount]> = c
                    .mounts
                    .iter()
                    .filter(|m| m.target != target)
                    .cloned()
                    .collect();
                object(
                    &cx,
                    Container {
                        mounts,
                        ..(*c).clone()
                    },
                )
            })
    };
    ty.field(unmount("withoutMount", "This container without a mount."))
        .field(unmount(
            "withoutUnixSocket",
            "This container without a Unix socket.",
        ))
        .field(
            Field::new("mounts", "[String!]!")
                .doc("Where something is mounted.")
                .resolve(async |_, this_, _| {
                    let c = this::<Container>(&this_)?;
                    Ok(c.mounts
                        .iter()
                        .map(|m| m.target.clone())
                        .collect::<Vec<_>>())
                }),
        )
}
