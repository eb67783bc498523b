//! Fields of `Container` that deal with images: where it comes from and where
//! it goes.

use std::sync::Arc;

use dagql::{
    Arg, Args, CachePolicy, Cx, EnumType, Error as GraphqlError, Field, ImplicitInput, Literal,
    Object, ObjectType, Scope,
};

use super::{Container, ImageConfig};
use crate::core::file::File;
use crate::core::secret::Secret;
use crate::core::{act, load, object, session, this};
use crate::error::Error;
use crate::session::{ImageFormat, ImageVariant, pinned};
use crate::vertex::{CopyAction, FileAction, Kind, Work};

/// The enum `ImageLayerCompression`.
pub(super) fn compression() -> EnumType {
    EnumType::new("ImageLayerCompression")
        .doc("How layers are compressed.")
        .member("Gzip", "gzip.")
        .member("Zstd", "zstd.")
        .member("EStarGZ", "eStargz.")
        .member("Uncompressed", "Not at all.")
}

/// The enum `ImageMediaTypes`.
pub(super) fn media_types() -> EnumType {
    EnumType::new("ImageMediaTypes")
        .doc("Media types of manifests, configs and layers.")
        .member("OCIMediaTypes", "OCI's.")
        .member("DockerMediaTypes", "Docker's.")
}

/// Adds the fields.
pub(super) fn fields(ty: ObjectType) -> ObjectType {
    exporting(auth(importing(ty)))
}

fn importing(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("from", "Container!")
            .doc("A container of an image of a registry.")
            .arg(Arg::new("address", "String!").doc("The image (e.g. \"alpine:3.22\")."))
            .cache(CachePolicy::Custom(Arc::new(tag_scope)))
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let build = session(&cx)?;
                let address = args.str("address")?;
                let reference = match pinned(address)? {
                    Some(reference) => reference,
                    None => build.resolve_image(address, &c.platform).await?.reference,
                };
                let argument = [("address", Literal::from(reference.as_str()))];
                if reference != address {
                    // What follows is keyed by the digest, not by the tag.
                    return cx.select(&this_, "from", argument).await;
                }
                let config = cx.select(&this_, "imageConfig", argument).await?;
                let config = config.as_str().unwrap_or_default().as_bytes();
                let source = build.image_source(&reference, &c.platform, config)?;
                let work = Work::Llb(vec![Some(source)]);
                let root = crate::core::vertex(&cx, Kind::Ctr, work)?;
                let container = from_image(&c, root, config, Some(reference))?;
                object(&cx, container).map(Into::into)
            }),
    )
    .field(
        // A call of its own, so that later runs recall it and need no daemon to build on the image.
        Field::new("imageConfig", "String!")
            .doc("The config document of an image that is pinned by digest.")
            .arg(Arg::new("address", "String!").doc("The image."))
            .internal()
            .persist()
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let address = args.str("address")?;
                let image = session(&cx)?.resolve_image(address, &c.platform).await?;
                if image.reference != address {
                    let found = image.reference;
                    return Err(
                        Error::input(format!("image {address}: the daemon found {found}")).into(),
                    );
                }
                let text = String::from_utf8(image.config);
                Ok(text.map_err(|_| {
                    Error::input(format!("image {address}: its config is not text"))
                })?)
            }),
    )
    .field(
        Field::new("import", "Container!")
            .doc("A container of an image in a tarball (OCI layout or docker save).")
            .arg(Arg::new("source", "FileID!").doc("The tarball."))
            .arg(
                Arg::new("tag", "String!")
                    .doc("Which image of several.")
                    .default(""),
            )
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let file = load::<File>(&cx, args.id("source")?).await?;
                let build = session(&cx)?;
                let image = build
                    .import_image(&file, args.str("tag")?, &c.platform)
                    .await?;
                let work = Work::Llb(vec![Some(image.source)]);
                let root = crate::core::vertex(&cx, Kind::Ctr, work)?;
                object(&cx, from_image(&c, root, &image.config, None)?)
            }),
    )
    .field(
        Field::new("imageRef", "String!")
            .doc("The image it was made from, by digest; an error once its files have changed.")
            .resolve(async |_, this_, _| {
                this::<Container>(&this_)?.image_ref.clone().ok_or_else(|| {
                    Error::input("the container is not, or no longer, an image of a registry")
                        .into()
                })
            }),
    )
    .field(
        Field::new("platform", "Platform!")
            .doc("Where its processes run.")
            .resolve(async |_, this_, _| Ok(this::<Container>(&this_)?.platform.to_string())),
    )
}

/// A tag is what it is now: it is resolved once per session. A digest is the
/// same for everybody.
fn tag_scope(
    session: &dagql::Session,
    _: &Object,
    args: &Args,
) -> Result<Vec<ImplicitInput>, GraphqlError> {
    if args.str("address")?.contains('@') {
        return Ok(Vec::new());
    }
    Ok(vec![ImplicitInput::scoped(
        Scope::Session,
        session.session_id(),
    )])
}

/// The container of an image: its root and config; what was mounted stays, and
/// variables set before win over the image's.
fn from_image(
    c: &Container,
    root: crate::vertex::Edge,
    config: &[u8],
    image_ref: Option<String>,
) -> Result<Container, Error> {
    let mut config = ImageConfig::parse(config)?;
    for entry in &c.config.env {
        if let Some((name, value)) = entry.split_once('=') {
            config.set_env(name, value);
        }
    }
    config
        .labels
        .extend(c.config.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    Ok(Container {
        rootfs: Some(root),
        config: Arc::new(config),
        image_ref,
        meta: None,
        ..c.clone()
    })
}

fn auth(ty: ObjectType) -> ObjectType {
    let address = || {
        Arg::new("address", "String!").doc("The registry or an image of it (e.g. \"docker.io\").")
    };
    ty.field(
        Field::new("withRegistryAuth", "Container!")
            .doc("This container, with credentials for a registry known to the session.")
            .arg(address())
            .arg(Arg::new("username", "String!").doc("The user."))
            .arg(Arg::new("secret", "SecretID!").doc("The password or token."))
            // The credentials live in the session: another session must add its own.
            .cache(CachePolicy::PerSession)
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                let secret = load::<Secret>(&cx, args.id("secret")?).await?;
                let build = session(&cx)?;
                build.add_registry_auth(args.str("address")?, args.str("username")?, &secret.llb_id).await?;
                object(&cx, (*c).clone())
            }),
    )
    .field(
        Field::new("withoutRegistryAuth", "Container!")
            .doc("This container, with credentials for a registry forgotten.")
            .arg(address())
            .cache(CachePolicy::PerSession)
            .resolve(async |cx, this_, args| {
                let c = this::<Container>(&this_)?;
                session(&cx)?.remove_registry_auth(args.str("address")?)?;
                object(&cx, (*c).clone())
            }),
    )
}

fn export_args(field: Field) -> Field {
    field
        .arg(
            Arg::new("platformVariants", "[ContainerID!]!")
                .doc("Containers of other platforms that belong to the same image.")
                .default(Literal::List(vec![])),
        )
        .arg(
            Arg::new("forcedCompression", "ImageLayerCompression")
                .doc("Compress all layers like this; by default they are left as they are."),
        )
        .arg(
            Arg::new("mediaTypes", "ImageMediaTypes!")
                .doc("Which media types to use.")
                .default(Literal::enumeration("OCIMediaTypes")),
        )
}

fn exporting(ty: ObjectType) -> ObjectType {
    ty.field(
        export_args(
            Field::new("publish", "String!")
                .doc("Pushes the image and returns its address by digest.")
                .arg(
                    Arg::new("address", "String!").doc("Where to (e.g. \"localhost:5000/app:1\")."),
                )
                .cache(CachePolicy::Never),
        )
        .resolve(async |cx, this_, args| {
            let (variants, format) = image_args(&cx, &this_, &args).await?;
            Ok(session(&cx)?
                .publish(args.str("address")?, &variants, format)
                .await?)
        }),
    )
    .field(
        export_args(
            Field::new("export", "String!")
                .doc("Writes the image as a tarball to a path of the host and returns that path.")
                .arg(
                    Arg::new("path", "String!")
                        .doc("Host path, relative to the working directory."),
                )
                .cache(CachePolicy::Never),
        )
        .resolve(async |cx, this_, args| {
            let (variants, format) = image_args(&cx, &this_, &args).await?;
            Ok(session(&cx)?
                .export_image(args.str("path")?, &variants, format)
                .await?)
        }),
    )
    .field(
        export_args(
            Field::new("asTarball", "File!")
                .doc("The image as a tarball.")
                // The tarball is kept by this session for the daemon to read.
                .cache(CachePolicy::PerSession),
        )
        .resolve(async |cx, this_, args| {
            let c = this::<Container>(&this_)?;
            let (variants, format) = image_args(&cx, &this_, &args).await?;
            let (source, name) = session(&cx)?.image_tarball(&cx, &variants, format).await?;
            let local = crate::core::vertex(&cx, Kind::Fs, source)?;
            let path = "/container.tar".to_owned();
            let copy = CopyAction::new(Some(local), format!("/{name}"), path.clone());
            let tree = act(&cx, None, FileAction::Copy(Box::new(copy)))?;
            object(
                &cx,
                File {
                    tree,
                    path,
                    platform: c.platform.clone(),
                    host: None,
                },
            )
        }),
    )
}

/// What is exported, and how it is written.
async fn image_args(
    cx: &Cx,
    this_: &Object,
    args: &Args,
) -> Result<(Vec<ImageVariant>, ImageFormat), GraphqlError> {
    let mut variants = vec![variant(&*this::<Container>(this_)?)];
    for id in args.ids("platformVariants")? {
        variants.push(variant(&*load::<Container>(cx, &id).await?));
    }
    // An empty container that only brings variants together is none of them.
    if variants.iter().any(|variant| variant.tree.is_some()) {
        variants.retain(|variant| variant.tree.is_some());
    }
    for (i, one) in variants.iter().enumerate() {
        let twice = |other: &ImageVariant| other.platform == one.platform;
        if variants.len() > 1 && variants[i + 1..].iter().any(twice) {
            return Err(Error::input(format!(
                "two platformVariants are for {}; each platform is allowed once",
                one.platform
            ))
            .into());
        }
    }
    let format = ImageFormat {
        compression: args.str_opt("forcedCompression")?.map(str::to_lowercase),
        docker_media_types: args.str("mediaTypes")? == "DockerMediaTypes",
    };
    Ok((variants, format))
}

fn variant(c: &Container) -> ImageVariant {
    ImageVariant {
        platform: c.platform.clone(),
        tree: c.rootfs.clone(),
        config: c.config.document(&c.platform),
    }
}
