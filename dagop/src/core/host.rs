//! `Host`: files, directories and sockets of the machine the client runs on.
//!
//! Paths are relative to the session's working directory. A directory becomes
//! a local source; what is sent is decided by the daemon, which asks for what
//! changed. Its vertex carries the session's id, so that two clients with a
//! directory of the same name never share one; keys below it are by content.
//! The objects know how to find out what they are made of
//! (`session/sighting.rs`), so what is read from them can outlive the process.

use dagql::{Arg, CachePolicy, Field, Literal, ObjectData, ObjectType};

use super::directory::Directory;
use super::file::File;
use super::socket::Socket;
use super::{act, object, path, session};
use crate::vertex::{CopyAction, FileAction, Kind};

/// The data of `Host`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host;

impl ObjectData for Host {
    fn type_name(&self) -> &str {
        "Host"
    }
}

/// The object type.
pub(crate) fn object_type() -> ObjectType {
    ObjectType::new("Host")
        .doc("The machine the client runs on.")
        .field(directory())
        .field(file())
        .field(unix_socket())
}

fn no_cache() -> Arg {
    Arg::new("noCache", "Boolean!")
        .doc("Read it again for this call.")
        .default(false)
}

fn patterns(name: &str, doc: &str) -> Arg {
    Arg::new(name, "[String!]!")
        .doc(doc)
        .default(Literal::List(vec![]))
}

fn directory() -> Field {
    Field::new("directory", "Directory!")
        .doc("A directory of the host.")
        .arg(Arg::new("path", "String!").doc("Where it is (e.g. \".\")."))
        .arg(patterns("exclude", "Leave out what matches one of these."))
        .arg(patterns("include", "Take only what matches one of these."))
        .arg(no_cache())
        .cache(CachePolicy::AsRequested("noCache"))
        .resolve(async |cx, _, args| {
            let build = session(&cx)?;
            let (include, exclude) = (args.strings("include")?, args.strings("exclude")?);
            let found = build.local_directory(&cx, args.str("path")?, include, exclude)?;
            let edge = super::vertex(&cx, Kind::Fs, found.source)?;
            let directory = Directory::root(Some(edge), build.platform().clone());
            Ok(object(&cx, directory)?.with_sighting(found.sighting))
        })
}

fn file() -> Field {
    Field::new("file", "File!")
        .doc("A file of the host.")
        .arg(Arg::new("path", "String!").doc("Where it is."))
        .arg(no_cache())
        .cache(CachePolicy::AsRequested("noCache"))
        .resolve(async |cx, _, args| {
            let build = session(&cx)?;
            let text = args.str("path")?;
            let found = build.local_file(&cx, text)?;
            let mut tree = Some(super::vertex(&cx, Kind::Fs, found.source)?);
            let mut path = path::join("/", &found.name)?;
            // The file keeps the name it was asked for, whatever a link leads to.
            let asked = path::join("/", path::name(text.trim_end_matches('/')))?;
            if asked != path {
                let copy = CopyAction::new(tree, path, asked.clone());
                tree = act(&cx, None, FileAction::Copy(Box::new(copy)))?;
                path = asked;
            }
            let file = File {
                tree,
                path,
                platform: build.platform().clone(),
                host: Some(found.path),
            };
            Ok(object(&cx, file)?.with_sighting(found.sighting))
        })
}

fn unix_socket() -> Field {
    Field::new("unixSocket", "Socket!")
        .doc("A Unix socket of the host.")
        .arg(Arg::new("path", "String!").doc("Where it is (e.g. \"/var/run/docker.sock\")."))
        .cache(CachePolicy::PerClient)
        .resolve(async |cx, _, args| {
            let id = session(&cx)?.unix_socket(args.str("path")?)?;
            object(&cx, Socket { id })
        })
}
