//! Fields of `Container` that read and change its files.

use dagql::{Arg, Args, Cx, Field, Literal, Object, ObjectType};

use super::{Container, Place};
use crate::core::directory::{self, Directory, PathKind};
use crate::core::file::File;
use crate::core::{act, load, mode, object, parse_owner, path, this};
use crate::error::Error;
use crate::vertex::{CopyAction, FileAction, Owner};

/// Adds the fields.
pub(super) fn fields(ty: ObjectType) -> ObjectType {
    removing(making(copying(reading(ty))))
}

pub(super) fn path_arg(doc: &str) -> Arg {
    Arg::new("path", "String!").doc(doc)
}

pub(super) fn owner_arg() -> Arg {
    Arg::new("owner", "String!")
        .doc("Owner: user[:group], names of the container or numbers; root by default.")
        .default("")
}

pub(super) fn expand_arg() -> Arg {
    Arg::new("expand", "Boolean!")
        .doc("Replace $NAME and ${NAME} in the path by the container's variables.")
        .default(false)
}

/// The `path` argument as an absolute path, expanded if asked for.
pub(super) fn target(container: &Container, args: &Args) -> Result<String, dagql::Error> {
    let text = container.expand(args.str("path")?, args.bool("expand")?)?;
    Ok(container.absolute(&text)?)
}

/// The `owner` argument for a change of `place`. The daemon looks names up in
/// the tree that it changes; where that is not the root, we do it before.
async fn owner(
    cx: &Cx,
    container: &Container,
    place: &Place,
    args: &Args,
) -> Result<Option<Owner>, dagql::Error> {
    match parse_owner(args.str("owner")?)? {
        Some(owner) if owner.has_name() && place.mount.is_some() => {
            Ok(Some(super::owner::in_numbers(cx, container, &owner).await?))
        }
        owner => Ok(owner),
    }
}

fn reading(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("rootfs", "Directory!")
            .doc("The root file system, without mounts.")
            .resolve(async |cx, this_, _| {
                let c = this::<Container>(&this_)?;
                object(&cx, Directory::root(c.rootfs.clone(), c.platform.clone()))
            }),
    )
    .field(
        Field::new("withRootfs", "Container!")
            .doc("This container with another root file system.")
            .arg(Arg::new("directory", "DirectoryID!").doc("The root."))
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let dir = load::<Directory>(&cx, args.id("directory")?).await?;
                let rootfs = directory::as_root(&cx, &dir)?;
                object(
                    &cx,
                    Container {
                        rootfs,
                        image_ref: None,
                        ..(*c).clone()
                    },
                )
            }),
    )
    .field(
        Field::new("directory", "Directory!")
            .doc("A directory of this container; mounted ones are included.")
            .arg(path_arg("Where it is (e.g. \"./src\")."))
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let path = target(&c, &args)?;
                let place = c.locate(&path)?;
                directory::require(&cx, &this_, &path, PathKind::Directory).await?;
                let platform = c.platform.clone();
                object(
                    &cx,
                    Directory {
                        tree: place.tree,
                        dir: place.path,
                        platform,
                    },
                )
            }),
    )
    .field(
        Field::new("file", "File!")
            .doc("A file of this container; mounted ones are included.")
            .arg(path_arg("Where it is (e.g. \"./README.md\")."))
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let path = target(&c, &args)?;
                let place = c.locate(&path)?;
                directory::require(&cx, &this_, &path, PathKind::File).await?;
                object(
                    &cx,
                    File {
                        tree: place.tree,
                        path: place.path,
                        platform: c.platform.clone(),
                        host: None,
                    },
                )
            }),
    )
    .field(directory::kind_field(|this_, path| {
        let place = this::<Container>(this_)?.locate(path)?;
        Ok((place.tree, place.path))
    }))
}

fn copying(ty: ObjectType) -> ObjectType {
    let patterns = |name: &str, doc: &str| {
        Arg::new(name, "[String!]!")
            .doc(doc)
            .default(Literal::List(vec![]))
    };
    ty.field(
        Field::new("withDirectory", "Container!")
            .doc("This container with the content of a directory.")
            .arg(path_arg("Where it goes (e.g. \"/src\")."))
            .arg(Arg::new("source", "DirectoryID!").doc("What is copied."))
            .arg(patterns("exclude", "Leave out what matches one of these."))
            .arg(patterns("include", "Take only what matches one of these."))
            .arg(owner_arg())
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let source = load::<Directory>(&cx, args.id("source")?).await?;
                let place = c.locate(&target(&c, &args)?)?;
                let mut copy = CopyAction::contents(
                    source.tree.clone(),
                    source.dir.clone(),
                    place.path.clone(),
                );
                copy.include = args.strings("include")?;
                copy.exclude = args.strings("exclude")?;
                copy.owner = owner(&cx, &c, &place, &args).await?;
                put(&cx, &c, &place, FileAction::Copy(Box::new(copy)))
            }),
    )
    .field(
        Field::new("withFile", "Container!")
            .doc("This container with a copy of a file.")
            .arg(path_arg(
                "Where it goes; a path that ends with `/` is a directory.",
            ))
            .arg(Arg::new("source", "FileID!").doc("What is copied."))
            .arg(
                Arg::new("permissions", "Int")
                    .doc("Permission bits; those of the source by default."),
            )
            .arg(owner_arg())
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let source = load::<File>(&cx, args.id("source")?).await?;
                let mut absolute = target(&c, &args)?;
                if args.str("path")?.ends_with('/') {
                    absolute = path::join(&absolute, path::name(&source.path))?;
                }
                let place = c.locate(&absolute)?;
                let mut copy =
                    CopyAction::new(source.tree.clone(), source.path.clone(), place.path.clone());
                copy.mode = args.int_opt("permissions")?.map(mode).transpose()?;
                copy.owner = owner(&cx, &c, &place, &args).await?;
                put(&cx, &c, &place, FileAction::Copy(Box::new(copy)))
            }),
    )
}

fn making(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("withNewFile", "Container!")
            .doc("This container with a new file.")
            .arg(path_arg("Where the file is written."))
            .arg(Arg::new("contents", "String!").doc("What is in it."))
            .arg(
                Arg::new("permissions", "Int!")
                    .doc("Permission bits.")
                    .default(0o644),
            )
            .arg(owner_arg())
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let place = c.locate(&target(&c, &args)?)?;
                let action = FileAction::MakeFile {
                    path: place.path.clone(),
                    mode: mode(args.int("permissions")?)?,
                    data: args.str("contents")?.to_owned().into(),
                    owner: owner(&cx, &c, &place, &args).await?,
                };
                put(&cx, &c, &place, action)
            }),
    )
    .field(
        Field::new("withSymlink", "Container!")
            .doc("This container with a symbolic link.")
            .arg(Arg::new("target", "String!").doc("What the link says."))
            .arg(Arg::new("linkName", "String!").doc("Where the link is."))
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let expand = args.bool("expand")?;
                let link = c.absolute(&c.expand(args.str("linkName")?, expand)?)?;
                let place = c.locate(&link)?;
                let action = FileAction::Symlink {
                    target: c.expand(args.str("target")?, expand)?,
                    path: place.path.clone(),
                };
                put(&cx, &c, &place, action)
            }),
    )
}

fn removing(ty: ObjectType) -> ObjectType {
    let remove = |name: &str, doc: &str| {
        Field::new(name, "Container!")
            .doc(doc)
            .arg(path_arg("What to remove; wildcards are allowed."))
            .arg(expand_arg())
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let place = c.locate(&target(&c, &args)?)?;
                if place.path == "/" {
                    return Err(Error::input("the root cannot be removed").into());
                }
                let action = FileAction::Remove {
                    path: place.path.clone(),
                    wildcard: true,
                };
                put(&cx, &c, &place, action)
            })
    };
    ty.field(remove("withoutFile", "This container without a file."))
        .field(remove(
            "withoutDirectory",
            "This container without a directory.",
        ))
}

/// The container after one action on the tree of `place`.
fn put(
    cx: &Cx,
    container: &Container,
    place: &Place,
    action: FileAction,
) -> Result<Object, dagql::Error> {
    let tree = act(cx, place.tree.clone(), action)?;
    object(cx, container.replace(place, tree))
}
