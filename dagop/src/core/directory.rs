//! `Directory`: a directory of a tree, and the fields that read it.
//!
//! A directory is a lazy value: which tree, and which directory in it. Fields
//! that change it are in `directory/write.rs`, `dockerBuild` in
//! `directory/docker_build.rs`; those here force the tree to be built.

mod docker_build;
mod write;

pub(crate) use docker_build::build_arg;
pub(crate) use write::{as_root, nanoseconds};

use crate::platform::Platform;
use dagql::{
    Arg, CachePolicy, Cx, Error as GraphqlError, Field, Literal, Object, ObjectData, ObjectType,
    Value,
};

use super::file::File;
use super::{content_digest, object, path, read, session, this};
use crate::error::{Error, Kind};
use crate::session::Stat;
use crate::vertex::{Tree, tree_is_bound};

/// The data of a `Directory`.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    /// The tree it is in.
    pub(crate) tree: Tree,
    /// Absolute path of the directory in the tree.
    pub(crate) dir: String,
    /// The platform of what is in it.
    pub(crate) platform: Platform,
}

impl ObjectData for Directory {
    fn type_name(&self) -> &str {
        "Directory"
    }

    fn session_bound(&self) -> bool {
        tree_is_bound(&self.tree)
    }
}

impl Directory {
    /// The root of a tree.
    pub(crate) fn root(tree: Tree, platform: Platform) -> Self {
        Self {
            tree,
            dir: "/".to_owned(),
            platform,
        }
    }

    /// Absolute path in the tree of a path in this directory.
    pub(crate) fn resolve(&self, path: &str) -> Result<String, Error> {
        path::within(&self.dir, path)
    }

    /// The same directory in another tree.
    pub(crate) fn with_tree(&self, tree: Tree) -> Self {
        Self {
            tree,
            ..self.clone()
        }
    }
}

/// The object type.
pub(crate) fn object_type() -> ObjectType {
    let ty = ObjectType::new("Directory").doc("A directory.");
    docker_build::fields(write::fields(read_fields(ty)))
}

fn read_fields(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("entries", "[String!]!")
            .doc(
                "Names of files and directories in a directory; those of directories end with `/`.",
            )
            .arg(Arg::new("path", "String").doc("The directory to look at (e.g. \"src\")."))
            .persist()
            .resolve(async |cx, this_, args| {
                let dir = this::<Directory>(&this_)?;
                let path = dir.resolve(args.str_opt("path")?.unwrap_or("."))?;
                let stats = session(&cx)?
                    .read_dir(&read(&cx, &dir.tree)?, &path, None)
                    .await?;
                Ok(stats.iter().map(entry_name).collect::<Vec<_>>())
            }),
    )
    .field(
        Field::new("glob", "[String!]!")
            .doc("Paths that match a pattern; `**` matches any number of directories.")
            .arg(Arg::new("pattern", "String!").doc("Pattern to match (e.g. \"*.md\")."))
            .persist()
            .resolve(async |cx, this_, args| {
                let dir = this::<Directory>(&this_)?;
                let found = session(&cx)?
                    .glob(&read(&cx, &dir.tree)?, &dir.dir, args.str("pattern")?)
                    .await?;
                Ok(found)
            }),
    )
    .field(
        Field::new("file", "File!")
            .doc("A file of this directory.")
            .arg(Arg::new("path", "String!").doc("Where the file is (e.g. \"README.md\")."))
            .resolve(async |cx, this_, args| {
                let dir = this::<Directory>(&this_)?;
                let path = dir.resolve(args.str("path")?)?;
                require(&cx, &this_, &path, PathKind::File).await?;
                object(
                    &cx,
                    File {
                        tree: dir.tree.clone(),
                        path,
                        platform: dir.platform.clone(),
                        host: None,
                    },
                )
            }),
    )
    .field(
        Field::new("directory", "Directory!")
            .doc("A directory of this directory.")
            .arg(Arg::new("path", "String!").doc("Where it is (e.g. \"src\")."))
            .resolve(async |cx, this_, args| {
                let dir = this::<Directory>(&this_)?;
                let inner = dir.resolve(args.str("path")?)?;
                require(&cx, &this_, &inner, PathKind::Directory).await?;
                object(
                    &cx,
                    Directory {
                        dir: inner,
                        ..(*dir).clone()
                    },
                )
            }),
    )
    .field(kind_field(|this_, path| {
        let dir = this::<Directory>(this_)?;
        Ok((dir.tree.clone(), path.to_owned()))
    }))
    .field(
        Field::new("name", "String!")
            .doc("The directory's name.")
            .resolve(async |_, this_, _| {
                let dir = this::<Directory>(&this_)?;
                Ok(match dir.dir.as_str() {
                    "/" => "/".to_owned(),
                    other => format!("{}/", path::name(other)),
                })
            }),
    )
    .field(
        Field::new("digest", "String!")
            .doc("Digest of the content: names, data, modes, owners and links, not times.")
            .persist()
            .resolve(async |cx, this_, _| {
                let dir = this::<Directory>(&this_)?;
                Ok(content_digest(&cx, &read(&cx, &dir.tree)?, &dir.dir).await?)
            }),
    )
    .field(
        Field::new("sync", "DirectoryID!")
            .doc("Builds the directory and returns its ID.")
            .resolve(async |cx, this_, _| {
                let dir = this::<Directory>(&this_)?;
                session(&cx)?.evaluate(&read(&cx, &dir.tree)?).await?;
                Ok(Value::Id(this_.require_id()?.clone()))
            }),
    )
    .field(
        Field::new("export", "String!")
            .doc("Writes the content to a path of the host and returns that path.")
            .arg(Arg::new("path", "String!").doc("Host path, relative to the working directory."))
            .arg(
                Arg::new("wipe", "Boolean!")
                    .doc("Remove what is at the path first, so that it holds just this directory.")
                    .default(false),
            )
            .cache(CachePolicy::Never)
            .resolve(async |cx, this_, args| {
                let dir = this::<Directory>(&this_)?;
                let (target, wipe) = (args.str("path")?, args.bool("wipe")?);
                session(&cx)?
                    .export_directory(&cx, &dir, target, wipe)
                    .await
            }),
    )
}

fn entry_name(stat: &Stat) -> String {
    let name = path::name(&stat.path);
    if stat.is_dir() {
        format!("{name}/")
    } else {
        name.to_owned()
    }
}

/// What a path of a tree can be asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathKind {
    /// Anything but a directory.
    File,
    /// A directory.
    Directory,
}

impl PathKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
        }
    }
}

/// Finds the tree of an object that holds a path, and the path in it.
pub(crate) type Locate = fn(&Object, &str) -> Result<(Tree, String), GraphqlError>;

/// The internal field `kind`: what is at an absolute path, `file` or `directory`. It is a call of
/// its own so that later runs recall it, and reach what is behind the path without the daemon.
pub(crate) fn kind_field(locate: Locate) -> Field {
    Field::new("kind", "String!")
        .doc("What is at a path.")
        .arg(Arg::new("path", "String!").doc("Absolute path."))
        .internal()
        .persist()
        .resolve(move |cx, this_, args| async move {
            let (tree, path) = locate(&this_, args.str("path")?)?;
            let is_dir = path == "/" || session(&cx)?.stat(&tree, &path).await?.is_dir();
            let kind = if is_dir {
                PathKind::Directory
            } else {
                PathKind::File
            };
            Ok(kind.as_str())
        })
}

/// Fails unless `path` of the receiver exists and is of this kind. In a plan it is taken to be so.
pub(crate) async fn require(
    cx: &Cx,
    this_: &Object,
    path: &str,
    wanted: PathKind,
) -> Result<(), GraphqlError> {
    let argument = [("path", Literal::from(path))];
    let found = match cx.select(this_, "kind", argument).await {
        Err(error) if Error::from_dagql(&error).kind() == Kind::NotRun => return Ok(()),
        found => found?,
    };
    if found.as_str() == Some(wanted.as_str()) {
        return Ok(());
    }
    let (is, not) = match wanted {
        PathKind::File => ("a directory", "a file"),
        PathKind::Directory => ("a file", "a directory"),
    };
    Err(Error::input(format!("path {path} is {is}, not {not}")).into())
}
