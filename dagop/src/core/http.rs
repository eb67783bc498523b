//! `Query.http`: a file fetched by the daemon.
//!
//! The daemon resolves the URL first (an HTTP HEAD or a conditional GET); the
//! checksum it reports pins the source, so that the vertex and everything
//! below it is keyed by what the server had at that moment.

use dagql::{Arg, Args, CachePolicy, Cx, Error as GraphqlError, Field, Object};
use solver::llb::source::{self, HttpOptions};

use super::file::File;
use super::secret::Secret;
use super::{load, mode, object, path, session};
use crate::error::Error;
use crate::vertex::{Kind, Work};

/// The field.
pub(crate) fn field() -> Field {
    Field::new("http", "File!")
        .doc("A file fetched over HTTP.")
        .arg(Arg::new("url", "String!").doc("Where it is (e.g. \"https://example.org/x.tar.gz\")."))
        .arg(
            Arg::new("name", "String").doc("The file's name; the last part of the URL by default."),
        )
        .arg(Arg::new("permissions", "Int").doc("Permission bits; 0600 by default."))
        .arg(Arg::new("authHeader", "SecretID").doc("Value of the Authorization header."))
        .cache(CachePolicy::PerClient)
        .resolve(async |cx, _, args| fetch(cx, args).await)
}

async fn fetch(cx: Cx, args: Args) -> Result<Object, GraphqlError> {
    let build = session(&cx)?;
    let url = args.str("url")?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Error::input(format!("url {url:?} is neither http:// nor https://")).into());
    }
    let mut options = HttpOptions {
        filename: args.str_opt("name")?.map(str::to_owned),
        mode: args
            .int_opt("permissions")?
            .map(mode)
            .transpose()?
            .unwrap_or(0),
        ..HttpOptions::default()
    };
    if let Some(id) = args.id_opt("authHeader")? {
        options.auth_header_secret = Some(load::<Secret>(&cx, id).await?.llb_id.clone());
    }
    let (checksum, filename) = build.resolve_http(url, &options).await?;
    options.checksum = Some(checksum);
    let name = options.filename.clone().unwrap_or(filename);
    let source = source::http(url, options).map_err(|e| Error::input(e.to_string()))?;
    let edge = super::vertex(&cx, Kind::Fs, Work::Llb(vec![Some(source)]))?;
    let path = path::join("/", &name)?;
    object(
        &cx,
        File {
            tree: Some(edge),
            path,
            platform: build.platform().clone(),
            host: None,
        },
    )
}
