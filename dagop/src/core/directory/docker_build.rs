//! `Directory.dockerBuild`: a Dockerfile through the daemon's own frontend.
//!
//! The frontend gets the directory as a named input and gives back LLB, which
//! is decoded and goes on as the container's root: what follows is built on
//! vertices that have the same keys as a `docker build` of that Dockerfile.

use crate::platform::Platform;
use dagql::{Arg, Args, Cx, Error as GraphqlError, Field, InputType, Literal, Object, ObjectType};

use super::Directory;
use crate::core::container::{Container, ImageConfig};
use crate::core::secret::Secret;
use crate::core::{load, object, session, this};
use crate::session::DockerBuild;
use crate::vertex::{Kind, Work};

/// The input object `BuildArg`.
pub(crate) fn build_arg() -> InputType {
    InputType::new("BuildArg")
        .doc("A build argument of a Dockerfile.")
        .field(Arg::new("name", "String!").doc("Its name."))
        .field(Arg::new("value", "String!").doc("Its value."))
}

/// Adds the field.
pub(super) fn fields(ty: ObjectType) -> ObjectType {
    ty.field(
        Field::new("dockerBuild", "Container!")
            .doc("The container that a Dockerfile in this directory describes.")
            .arg(
                Arg::new("dockerfile", "String!")
                    .doc("Path of the Dockerfile.")
                    .default("Dockerfile"),
            )
            .arg(Arg::new("platform", "Platform").doc("The platform to build for."))
            .arg(
                Arg::new("buildArgs", "[BuildArg!]!")
                    .doc("Build arguments.")
                    .default(Literal::List(vec![])),
            )
            .arg(
                Arg::new("target", "String!")
                    .doc("The stage to build; the last by default.")
                    .default(""),
            )
            .arg(
                Arg::new("secrets", "[SecretID!]!")
                    .doc("Secrets for `RUN --mount=type=secret`, by their names.")
                    .default(Literal::List(vec![])),
            )
            // The frontend looks up what tags of base images are now.
            .volatile()
            .resolve(async |cx, this_, args| build(cx, this_, args).await),
    )
}

async fn build(cx: Cx, this_: Object, args: Args) -> Result<Object, GraphqlError> {
    let dir = this::<Directory>(&this_)?;
    let build = session(&cx)?;
    let platform = match args.str_opt("platform")? {
        Some(text) => Platform::parse(text)?,
        None => dir.platform.clone(),
    };
    let mut build_args = Vec::new();
    for arg in args.inputs("buildArgs")? {
        build_args.push((arg.str("name")?.to_owned(), arg.str("value")?.to_owned()));
    }
    for id in args.ids("secrets")? {
        let secret = load::<Secret>(&cx, &id).await?;
        build.secrets().alias(&secret.name, &secret.llb_id);
    }
    let context = super::write::as_root(&cx, &dir)?;
    let result = build
        .docker_build(DockerBuild {
            context,
            dockerfile: args.str("dockerfile")?.to_owned(),
            target: args.str("target")?.to_owned(),
            platform: platform.clone(),
            build_args,
        })
        .await?;
    let root = match result.root {
        None => None,
        Some(output) => Some(crate::core::vertex(
            &cx,
            Kind::Ctr,
            Work::Llb(vec![Some(output)]),
        )?),
    };
    let mut container = Container::new(platform);
    container.rootfs = root;
    if let Some(config) = result.config {
        container.config = ImageConfig::parse(&config)?.into();
    }
    object(&cx, container)
}
