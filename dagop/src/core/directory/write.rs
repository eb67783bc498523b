//! Fields of `Directory` that give a changed directory.
//!
//! Each is one file action on the directory's tree; nothing is built here.

use dagql::{Arg, Args, Cx, Field, Object, ObjectType};

use super::Directory;
use crate::core::file::File;
use crate::core::{act, load, mode, object, parse_owner_ids, path, this};
use crate::error::Error;
use crate::vertex::{CopyAction, FileAction, Kind, Tree, Work};

/// Adds the fields.
pub(super) fn fields(ty: ObjectType) -> ObjectType {
    removing(making(copying(ty)))
}

/// Permission bits of a new file, as an argument.
fn permissions(default: i64) -> Arg {
    Arg::new("permissions", "Int!")
        .doc("Permission bits (e.g. 0600 is 384).")
        .default(default)
}

fn pattern_args(field: Field) -> Field {
    field
        .arg(
            Arg::new("exclude", "[String!]!")
                .doc("Leave out what matches one of these (e.g. [\"node_modules/\", \".git*\"]).")
                .default(dagql::Literal::List(vec![])),
        )
        .arg(
            Arg::new("include", "[String!]!")
                .doc("Take only what matches one of these (e.g. [\"app/\", \"package.*\"]).")
                .default(dagql::Literal::List(vec![])),
        )
}

fn making(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("withNewFile", "Directory!")
            .doc("This directory with a new file.")
            .arg(Arg::new("path", "String!").doc("Where the file is written."))
            .arg(Arg::new("contents", "String!").doc("What is in it."))
            .arg(permissions(0o644))
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, args, |dir, args| {
                    Ok(FileAction::MakeFile {
                        path: file_path(dir, args.str("path")?)?,
                        mode: mode(args.int("permissions")?)?,
                        data: args.str("contents")?.to_owned().into(),
                        owner: None,
                    })
                })
            }),
    )
    .field(
        Field::new("withNewDirectory", "Directory!")
            .doc("This directory with a new directory.")
            .arg(Arg::new("path", "String!").doc("Where it is made; parents are made as well."))
            .arg(permissions(0o644))
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, args, |dir, args| {
                    Ok(FileAction::MakeDir {
                        path: dir.resolve(args.str("path")?)?,
                        mode: mode(args.int("permissions")?)?,
                    })
                })
            }),
    )
    .field(
        Field::new("withSymlink", "Directory!")
            .doc("This directory with a symbolic link.")
            .arg(Arg::new("target", "String!").doc("What the link says."))
            .arg(Arg::new("linkName", "String!").doc("Where the link is."))
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, args, |dir, args| {
                    Ok(FileAction::Symlink {
                        target: args.str("target")?.to_owned(),
                        path: file_path(dir, args.str("linkName")?)?,
                    })
                })
            }),
    )
    .field(
        Field::new("withTimestamps", "Directory!")
            .doc("This directory with all times set to one.")
            .arg(Arg::new("timestamp", "Int!").doc("Seconds since 1970."))
            .resolve(async |cx, this_, args| {
                let dir = this::<Directory>(&this_)?;
                let mut copy = CopyAction::contents(dir.tree.clone(), dir.dir.clone(), "/");
                copy.timestamp = Some(nanoseconds(args.int("timestamp")?)?);
                let tree = act(&cx, None, FileAction::Copy(Box::new(copy)))?;
                object(&cx, Directory::root(tree, dir.platform.clone()))
            }),
    )
}

fn copying(ty: ObjectType) -> ObjectType {
    let with_directory = Field::new("withDirectory", "Directory!")
        .doc("This directory with the content of another one.")
        .arg(Arg::new("path", "String!").doc("Where it goes (e.g. \"/src/\")."))
        .arg(Arg::new("source", "DirectoryID!").doc("What is copied."));
    let filter =
        Field::new("filter", "Directory!").doc("This directory without some of its files.");
    ty.field(
        pattern_args(with_directory)
            .arg(
                Arg::new("owner", "String!")
                    .doc("Owner of what is copied: user[:group], as numbers.")
                    .default(""),
            )
            .resolve(async |cx, this_, args| {
                let dir = this::<Directory>(&this_)?;
                let source = load::<Directory>(&cx, args.id("source")?).await?;
                let mut copy = CopyAction::contents(
                    source.tree.clone(),
                    source.dir.clone(),
                    dir.resolve(args.str("path")?)?,
                );
                copy.include = args.strings("include")?;
                copy.exclude = args.strings("exclude")?;
                copy.owner = parse_owner_ids(args.str("owner")?)?;
                let tree = act(&cx, dir.tree.clone(), FileAction::Copy(Box::new(copy)))?;
                object(&cx, dir.with_tree(tree))
            }),
    )
    .field(
        Field::new("withFile", "Directory!")
            .doc("This directory with a copy of a file.")
            .arg(
                Arg::new("path", "String!")
                    .doc("Where it goes; a path that ends with `/` is a directory."),
            )
            .arg(Arg::new("source", "FileID!").doc("What is copied."))
            .arg(
                Arg::new("permissions", "Int")
                    .doc("Permission bits; those of the source by default."),
            )
            .arg(
                Arg::new("owner", "String!")
                    .doc("Owner of the file: user[:group], as numbers.")
                    .default(""),
            )
            .resolve(async |cx, this_, args| {
                let dir = this::<Directory>(&this_)?;
                let source = load::<File>(&cx, args.id("source")?).await?;
                let target = copy_target(&dir, args.str("path")?, &source)?;
                let mut copy = CopyAction::new(source.tree.clone(), source.path.clone(), target);
                copy.mode = args.int_opt("permissions")?.map(mode).transpose()?;
                copy.owner = parse_owner_ids(args.str("owner")?)?;
                let tree = act(&cx, dir.tree.clone(), FileAction::Copy(Box::new(copy)))?;
                object(&cx, dir.with_tree(tree))
            }),
    )
    .field(pattern_args(filter).resolve(async |cx, this_, args| {
        let dir = this::<Directory>(&this_)?;
        let mut copy = CopyAction::contents(dir.tree.clone(), dir.dir.clone(), "/");
        copy.include = args.strings("include")?;
        copy.exclude = args.strings("exclude")?;
        let tree = act(&cx, None, FileAction::Copy(Box::new(copy)))?;
        object(&cx, Directory::root(tree, dir.platform.clone()))
    }))
    .field(
        Field::new("diff", "Directory!")
            .doc("What another directory has and this one has not: added and changed files.")
            .arg(Arg::new("other", "DirectoryID!").doc("The directory to compare with."))
            .resolve(async |cx, this_, args| {
                let dir = this::<Directory>(&this_)?;
                let other = load::<Directory>(&cx, args.id("other")?).await?;
                let lower = as_root(&cx, &dir)?;
                let upper = as_root(&cx, &other)?;
                let tree = crate::core::vertex(&cx, Kind::Fs, Work::Diff { lower, upper })?;
                object(&cx, Directory::root(Some(tree), dir.platform.clone()))
            }),
    )
}

fn removing(ty: ObjectType) -> ObjectType {
    let remove = |name: &str, doc: &str| {
        Field::new(name, "Directory!")
            .doc(doc)
            .arg(Arg::new("path", "String!").doc("What to remove; wildcards are allowed."))
            .resolve(async |cx, this_, args| {
                change(&cx, &this_, args, |dir, args| {
                    Ok(FileAction::Remove {
                        path: file_path(dir, args.str("path")?)?,
                        wildcard: true,
                    })
                })
            })
    };
    ty.field(remove("withoutFile", "This directory without a file."))
        .field(remove(
            "withoutDirectory",
            "This directory without one of its directories.",
        ))
}

/// The directory after one action on its tree.
fn change(
    cx: &Cx,
    this_: &Object,
    args: Args,
    action: impl FnOnce(&Directory, &Args) -> Result<FileAction, dagql::Error>,
) -> Result<Object, dagql::Error> {
    let dir = this::<Directory>(this_)?;
    let action = action(&dir, &args)?;
    let tree = act(cx, dir.tree.clone(), action)?;
    object(cx, dir.with_tree(tree))
}

/// A path of `dir` that must not be the directory itself.
fn file_path(dir: &Directory, text: &str) -> Result<String, Error> {
    let path = dir.resolve(text)?;
    if path == dir.dir {
        return Err(Error::input(format!(
            "path {text:?} is the directory itself"
        )));
    }
    Ok(path)
}

/// Where a file is copied to: `path/name` for a path that names a directory.
fn copy_target(dir: &Directory, text: &str, source: &File) -> Result<String, Error> {
    let path = dir.resolve(text)?;
    if text.ends_with('/') || path == dir.dir {
        return path::join(&path, path::name(&source.path));
    }
    Ok(path)
}

/// The directory as a tree of its own.
pub(crate) fn as_root(cx: &Cx, dir: &Directory) -> Result<Tree, dagql::Error> {
    if dir.dir == "/" {
        return Ok(dir.tree.clone());
    }
    let copy = CopyAction::contents(dir.tree.clone(), dir.dir.clone(), "/");
    act(cx, None, FileAction::Copy(Box::new(copy)))
}

/// Seconds as nanoseconds.
pub(crate) fn nanoseconds(seconds: i64) -> Result<i64, Error> {
    seconds
        .checked_mul(1_000_000_000)
        .ok_or_else(|| Error::input(format!("timestamp {seconds} is out of range")))
}
