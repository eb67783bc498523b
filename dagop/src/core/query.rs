//! `Query`: where every pipeline begins.

use crate::platform::Platform;
use dagql::{Arg, CachePolicy, Field, ScalarType};

use super::cache_volume::CacheVolume;
use super::container::Container;
use super::directory::Directory;
use super::file::File;
use super::host::Host;
use super::secret::Secret;
use super::{act, mode, object, path, session};
use crate::error::Error;
use crate::vertex::FileAction;

/// The fields of the query root.
pub(crate) fn fields() -> Vec<Field> {
    let mut fields = settings();
    fields.extend(trees());
    fields.extend(secrets());
    fields.extend([super::git::field(), super::http::field()]);
    fields
}

/// The scalar `Platform`.
pub(crate) fn platform_scalar() -> ScalarType {
    ScalarType::new("Platform")
        .doc("A platform as os/arch[/variant] (e.g. \"linux/amd64\").")
        .coerce(|text| {
            Platform::parse(text)
                .map(|p| p.to_string())
                .map_err(|e| e.message().to_owned())
        })
}

fn settings() -> Vec<Field> {
    vec![
        Field::new("defaultPlatform", "Platform!")
            .doc("The platform of the daemon's first worker.")
            .cache(CachePolicy::PerSession)
            .resolve(async |cx, _, _| Ok(session(&cx)?.platform().to_string())),
        Field::new("version", "String!")
            .doc("The version of the API, which is that of the Dagger release it follows.")
            .resolve(async |_, _, _| Ok(crate::API_VERSION)),
        Field::new("host", "Host!")
            .doc("The machine the client runs on.")
            .resolve(async |cx, _, _| object(&cx, Host)),
        Field::new("cacheVolume", "CacheVolume!")
            .doc("A directory that outlives builds.")
            .arg(Arg::new("key", "String!").doc("Its name (e.g. \"modules-42\")."))
            .resolve(async |cx, _, args| object(&cx, CacheVolume::new(args.str("key")?))),
    ]
}

fn trees() -> Vec<Field> {
    vec![
        Field::new("container", "Container!")
            .doc("An empty container.")
            .arg(Arg::new("platform", "Platform").doc("Its platform; the default one if absent."))
            .cache(CachePolicy::Default)
            .resolve(async |cx, _, args| {
                let platform = match args.str_opt("platform")? {
                    Some(text) => Platform::parse(text)?,
                    None => session(&cx)?.platform().clone(),
                };
                object(&cx, Container::new(platform))
            }),
        Field::new("directory", "Directory!")
            .doc("An empty directory.")
            .resolve(async |cx, _, _| {
                let platform = session(&cx)?.platform().clone();
                object(&cx, Directory::root(None, platform))
            }),
        Field::new("file", "File!")
            .doc("A new file.")
            .arg(Arg::new("name", "String!").doc("Its name (e.g. \"a.txt\")."))
            .arg(Arg::new("contents", "String!").doc("What is in it."))
            .arg(
                Arg::new("permissions", "Int!")
                    .doc("Permission bits.")
                    .default(0o644),
            )
            .resolve(async |cx, _, args| {
                let name = args.str("name")?;
                let path = path::join("/", name)?;
                if path::parent(&path) != "/" || path == "/" {
                    return Err(Error::input(format!("name {name:?} is not a file name")).into());
                }
                let action = FileAction::MakeFile {
                    path: path.clone(),
                    mode: mode(args.int("permissions")?)?,
                    data: args.str("contents")?.to_owned().into(),
                    owner: None,
                };
                let tree = act(&cx, None, action)?;
                let platform = session(&cx)?.platform().clone();
                object(
                    &cx,
                    File {
                        tree,
                        path,
                        platform,
                        host: None,
                    },
                )
            }),
    ]
}

fn secrets() -> Vec<Field> {
    vec![
        Field::new("secret", "Secret!")
            .doc("A secret that is read when a step needs it.")
            .arg(
                Arg::new("uri", "String!")
                    .doc("Where it is read: env://NAME, file://PATH, cmd://COMMAND."),
            )
            .arg(
                Arg::new("cacheKey", "String")
                    .doc("Steps that differ only in secrets of one cache key are one step."),
            )
            .cache(CachePolicy::PerClient)
            .resolve(async |cx, _, args| {
                let uri = args.str("uri")?;
                let llb_id = session(&cx)?
                    .secrets()
                    .add_uri(uri, args.str_opt("cacheKey")?)?;
                object(
                    &cx,
                    Secret {
                        name: uri.to_owned(),
                        uri: Some(uri.to_owned()),
                        llb_id,
                    },
                )
            }),
        Field::new("setSecret", "Secret!")
            .doc("A secret with a value of your own.")
            .arg(Arg::new("name", "String!").doc("Its name; the same name is the same key."))
            .arg(Arg::new("plaintext", "String!").doc("The value.").sensitive())
            // Each call stores its value; a result of an earlier one must not stand in.
            .cache(CachePolicy::PerCall)
            .resolve(async |cx, _, args| {
                let name = args.str("name")?;
                let llb_id = session(&cx)?.secrets().set(name, args.str("plaintext")?);
                object(&cx, Secret { name: name.to_owned(), uri: None, llb_id })
            }),
    ]
}
