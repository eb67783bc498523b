//! `File`: one file of a tree.

use std::path::PathBuf;

use crate::platform::Platform;
use dagql::{Arg, CachePolicy, Cx, Field, Object, ObjectData, ObjectType, Value};

use super::{CONTENTS_MAX, act, content_digest, directory, object, path, read, session, this};
use crate::error::Error;
use crate::vertex::{CopyAction, FileAction, Tree, tree_is_bound};

/// The data of a `File`.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// The tree it is in.
    pub(crate) tree: Tree,
    /// Absolute path in the tree.
    pub(crate) path: String,
    /// The platform of what is in it.
    pub(crate) platform: Platform,
    /// Where it is on the host, for a file that came from there unchanged.
    pub(crate) host: Option<PathBuf>,
}

impl ObjectData for File {
    fn type_name(&self) -> &str {
        "File"
    }

    fn session_bound(&self) -> bool {
        tree_is_bound(&self.tree)
    }
}

/// The object type.
pub(crate) fn object_type() -> ObjectType {
    writing(reading(ObjectType::new("File").doc("A file.")))
}

fn reading(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("contents", "String!")
            .doc("The content as text.")
            .arg(Arg::new("offsetLines", "Int").doc("Lines to leave out at the beginning."))
            .arg(Arg::new("limitLines", "Int").doc("The most lines to return."))
            .persist()
            .resolve(async |cx, this_, args| {
                let file = this::<File>(&this_)?;
                let bytes = session(&cx)?
                    .read_file(&read(&cx, &file.tree)?, &file.path, CONTENTS_MAX)
                    .await?;
                let text = String::from_utf8(bytes).map_err(|_| {
                    Error::input(format!("file {} is not text in UTF-8", file.path))
                })?;
                let skip = args.int_opt("offsetLines")?;
                Ok(select_lines(text, skip, args.int_opt("limitLines")?)?)
            }),
    )
    .field(
        Field::new("size", "Int!")
            .doc("Size in bytes.")
            .persist()
            .resolve(async |cx, this_, _| {
                let file = this::<File>(&this_)?;
                Ok(session(&cx)?
                    .stat(&read(&cx, &file.tree)?, &file.path)
                    .await?
                    .size)
            }),
    )
    .field(
        Field::new("name", "String!")
            .doc("The file's name.")
            .resolve(async |_, this_, _| Ok(path::name(&this::<File>(&this_)?.path).to_owned())),
    )
    .field(
        Field::new("digest", "String!")
            .doc("Digest of the content and, unless excluded, of mode and owner.")
            .arg(
                Arg::new("excludeMetadata", "Boolean!")
                    .doc("Leave mode, owner and links out.")
                    .default(false),
            )
            .persist()
            .resolve(async |cx, this_, args| {
                let file = this::<File>(&this_)?;
                if args.bool("excludeMetadata")? {
                    return Ok(session(&cx)?
                        .data_digest(&read(&cx, &file.tree)?, &file.path)
                        .await?);
                }
                Ok(content_digest(&cx, &read(&cx, &file.tree)?, &file.path).await?)
            }),
    )
    .field(
        Field::new("sync", "FileID!")
            .doc("Builds the file and returns its ID.")
            .resolve(async |cx, this_, _| {
                let file = this::<File>(&this_)?;
                session(&cx)?
                    .stat(&read(&cx, &file.tree)?, &file.path)
                    .await?;
                Ok(Value::Id(this_.require_id()?.clone()))
            }),
    )
}

fn writing(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("export", "String!")
            .doc("Writes the file to a path of the host and returns that path.")
            .arg(Arg::new("path", "String!").doc("Host path, relative to the working directory."))
            .arg(
                Arg::new("allowParentDirPath", "Boolean!")
                    .doc("Let the path be a directory; the file keeps its name in it.")
                    .default(false),
            )
            .cache(CachePolicy::Never)
            .resolve(async |cx, this_, args| {
                let file = this::<File>(&this_)?;
                let into = args.bool("allowParentDirPath")?;
                Ok(session(&cx)?
                    .export_file(&file, args.str("path")?, into)
                    .await?)
            }),
    )
    .field(
        Field::new("withName", "File!")
            .doc("The same file under another name.")
            .arg(Arg::new("name", "String!").doc("The new name."))
            .resolve(async |cx, this_, args| {
                let file = this::<File>(&this_)?;
                let target = path::join("/", args.str("name")?)?;
                if target == "/" {
                    return Err(Error::input("a file needs a name").into());
                }
                let copy = CopyAction::new(file.tree.clone(), file.path.clone(), target);
                copied(&cx, &file, copy)
            }),
    )
    .field(
        Field::new("withTimestamps", "File!")
            .doc("The same file with its times set.")
            .arg(Arg::new("timestamp", "Int!").doc("Seconds since 1970."))
            .resolve(async |cx, this_, args| {
                let file = this::<File>(&this_)?;
                let target = format!("/{}", path::name(&file.path));
                let mut copy = CopyAction::new(file.tree.clone(), file.path.clone(), target);
                copy.timestamp = Some(directory::nanoseconds(args.int("timestamp")?)?);
                copied(&cx, &file, copy)
            }),
    )
}

/// What `copy` makes of a file, in a tree of its own.
fn copied(cx: &Cx, file: &File, copy: CopyAction) -> Result<Object, dagql::Error> {
    let path = copy.to.clone();
    let tree = act(cx, None, FileAction::Copy(Box::new(copy)))?;
    let platform = file.platform.clone();
    object(
        cx,
        File {
            tree,
            path,
            platform,
            host: None,
        },
    )
}

/// Lines `skip..skip + limit` of `text`, line ends included.
fn select_lines(text: String, skip: Option<i64>, limit: Option<i64>) -> Result<String, Error> {
    if skip.is_none() && limit.is_none() {
        return Ok(text);
    }
    let count = |value: Option<i64>, name: &str, default: usize| match value {
        None => Ok(default),
        Some(value) => usize::try_from(value).map_err(|_| {
            Error::input(format!(
                "{name} is {value}, a count of lines is not negative"
            ))
        }),
    };
    let skip = count(skip, "offsetLines", 0)?;
    let limit = count(limit, "limitLines", usize::MAX)?;
    Ok(text.split_inclusive('\n').skip(skip).take(limit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_selected_whole() {
        let select = |skip, limit| select_lines("a\nb\nc".to_owned(), skip, limit);
        assert_eq!(select(None, None).expect("all"), "a\nb\nc");
        assert_eq!(select(Some(1), None).expect("rest"), "b\nc");
        assert_eq!(select(Some(1), Some(1)).expect("one"), "b\n");
        assert_eq!(select(Some(9), None).expect("none"), "");
        assert!(select(Some(-1), None).is_err());
    }
}
