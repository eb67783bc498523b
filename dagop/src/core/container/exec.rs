//! `withExec`, and the fields that read what a command left.

use std::sync::Arc;

use dagql::{Arg, Args, Cx, EnumType, Field, Literal, Object, ObjectType, Value};

use super::Container;
use crate::core::{CONTENTS_MAX, object, read, session, this};
use crate::error::Error;
use crate::init::{self, InitOptions, MetaFile};
use crate::vertex::{DagOp, Edge, ExecMount, ExecWork, Kind, MountKind, Work};

/// Exit codes that `FAILURE` and `ANY` accept besides 0: what a command of its
/// own accord can return. Codes above are signals.
const CODE_MAX: i32 = 127;

/// The enum `ReturnType`.
pub(super) fn return_type() -> EnumType {
    EnumType::new("ReturnType")
        .doc("Which exit codes of a command are expected.")
        .member("SUCCESS", "0.")
        .member("FAILURE", "1 to 127.")
        .member("ANY", "0 to 127.")
}

/// Adds the fields.
pub(super) fn fields(ty: ObjectType) -> ObjectType {
    let text = |name: &str, doc: &str, file: MetaFile| {
        Field::new(name, "String!")
            .doc(doc)
            .persist()
            .resolve(move |cx, this_, _| async move {
                let c = this::<Container>(&this_)?;
                let bytes = meta(&cx, &c, file).await?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            })
    };
    ty.field(with_exec())
        .field(text(
            "stdout",
            "What the last command printed.",
            MetaFile::Stdout,
        ))
        .field(text(
            "stderr",
            "What the last command complained about.",
            MetaFile::Stderr,
        ))
        .field(text(
            "combinedOutput",
            "Both, in the order of printing.",
            MetaFile::Combined,
        ))
        .field(
            Field::new("exitCode", "Int!")
                .doc("Exit code of the last command.")
                .persist()
                .resolve(async |cx, this_, _| {
                    let c = this::<Container>(&this_)?;
                    let bytes = meta(&cx, &c, MetaFile::ExitCode).await?;
                    let text = String::from_utf8_lossy(&bytes);
                    text.trim()
                        .parse::<i64>()
                        .map_err(|_| Error::internal(format!("{text:?} is no exit code")).into())
                }),
        )
        .field(
            Field::new("sync", "ContainerID!")
                .doc("Runs everything and returns the container's ID.")
                .resolve(async |cx, this_, _| {
                    let c = this::<Container>(&this_)?;
                    session(&cx)?.evaluate(&read(&cx, &c.rootfs)?).await?;
                    Ok(Value::Id(this_.require_id()?.clone()))
                }),
        )
}

async fn meta(cx: &Cx, c: &Container, file: MetaFile) -> Result<Vec<u8>, Error> {
    if c.meta.is_none() {
        return Err(Error::input(
            "no command has been executed: call withExec first",
        ));
    }
    session(cx)?
        .read_file(&read(cx, &c.meta)?, &file.path(), CONTENTS_MAX)
        .await
}

fn with_exec() -> Field {
    let flag = |name: &str, doc: &str| Arg::new(name, "Boolean!").doc(doc).default(false);
    let path = |name: &str, doc: &str| Arg::new(name, "String!").doc(doc).default("");
    Field::new("withExec", "Container!")
        .doc("This container after a command.")
        .arg(Arg::new("args", "[String!]!").doc("The command (e.g. [\"go\", \"build\"])."))
        .arg(flag(
            "useEntrypoint",
            "Put the image's entrypoint before the command.",
        ))
        .arg(path("stdin", "Standard input."))
        .arg(path(
            "redirectStdin",
            "A file of the container to read standard input from.",
        ))
        .arg(path(
            "redirectStdout",
            "A file of the container for standard output.",
        ))
        .arg(path(
            "redirectStderr",
            "A file of the container for standard error.",
        ))
        .arg(
            Arg::new("expect", "ReturnType!")
                .doc("Exit codes that are no failure.")
                .default(Literal::enumeration("SUCCESS")),
        )
        .arg(flag(
            "insecureRootCapabilities",
            "Give the command all capabilities; the build needs --allow security.insecure.",
        ))
        .arg(flag("expand", "Replace $NAME and ${NAME} in the command."))
        .resolve(async |cx, this_, args| run(&cx, &this_, &args))
}

fn run(cx: &Cx, this_: &Object, args: &Args) -> Result<Object, dagql::Error> {
    let c = this::<Container>(this_)?;
    let command = command(&c, args)?;
    let stdin = args.str("stdin")?;
    let redirect = |name: &str| -> Result<Option<String>, dagql::Error> {
        match args.str(name)? {
            "" => Ok(None),
            path => Ok(Some(c.absolute(&c.expand(path, args.bool("expand")?)?)?)),
        }
    };
    let redirect_stdin = redirect("redirectStdin")?;
    if redirect_stdin.is_some() && !stdin.is_empty() {
        return Err(Error::input("stdin and redirectStdin exclude each other").into());
    }
    let options = InitOptions {
        stdin: !stdin.is_empty(),
        redirect_stdin,
        redirect_stdout: redirect("redirectStdout")?,
        redirect_stderr: redirect("redirectStderr")?,
        scrub_env: c.secret_env.iter().map(|(name, _)| name.clone()).collect(),
        scrub_files: secret_files(&c.mounts),
    };
    let insecure = args.bool("insecureRootCapabilities")?;
    if insecure {
        session(cx)?.require_entitlement("security.insecure")?;
    }
    let work = ExecWork {
        args: init::command_line(&options, &command),
        env: c.config.env.clone(),
        cwd: c.config.workdir_or_root(),
        user: c.config.user.clone(),
        platform: c.platform.clone(),
        root: c.rootfs.clone(),
        mounts: c.mounts.to_vec(),
        secret_env: c.secret_env.to_vec(),
        stdin: options.stdin.then(|| stdin.to_owned()),
        insecure,
        exit_codes: exit_codes(args.str("expect")?),
    };
    let vertex = crate::core::vertex(cx, Kind::Ctr, Work::Exec(Box::new(work)))?;
    object(cx, after(&c, &vertex.op))
}

/// The whole command: entrypoint, arguments or the image's default ones.
fn command(c: &Container, args: &Args) -> Result<Vec<String>, dagql::Error> {
    let mut command = Vec::new();
    if args.bool("useEntrypoint")? {
        command.extend_from_slice(&c.config.entrypoint);
    }
    let given = args.strings("args")?;
    command.extend(if given.is_empty() {
        c.config.cmd.clone()
    } else {
        given
    });
    if command.is_empty() {
        return Err(Error::input(
            "there is no command: args is empty, and so are the image's default arguments",
        )
        .into());
    }
    let expand = args.bool("expand")?;
    command
        .iter()
        .map(|arg| Ok(c.expand(arg, expand)?))
        .collect()
}

fn secret_files(mounts: &[ExecMount]) -> Vec<String> {
    let is_secret = |m: &&ExecMount| matches!(m.kind, MountKind::Secret { .. });
    mounts
        .iter()
        .filter(is_secret)
        .map(|m| m.target.clone())
        .collect()
}

fn exit_codes(expect: &str) -> Vec<i32> {
    match expect {
        "FAILURE" => (1..=CODE_MAX).collect(),
        "ANY" => (0..=CODE_MAX).collect(),
        // BuildKit's own default; spelling it out would make another key.
        _ => Vec::new(),
    }
}

/// The container whose trees are the vertex's outputs.
fn after(c: &Container, op: &Arc<DagOp>) -> Container {
    let output = |output| {
        Some(Edge {
            op: Arc::clone(op),
            output,
        })
    };
    let mut next = c.clone();
    let mut number = ExecWork::FIRST_MOUNT;
    let mut mounts = c.mounts.to_vec();
    for mount in &mut mounts {
        if let MountKind::Bind {
            source,
            readonly: false,
            ..
        } = &mut mount.kind
        {
            *source = output(number);
            number += 1;
        }
    }
    next.rootfs = output(ExecWork::ROOT);
    next.meta = output(ExecWork::META);
    next.mounts = mounts.into();
    next.image_ref = None;
    next
}
