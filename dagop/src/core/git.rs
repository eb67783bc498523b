//! `GitRepository` and `GitRef`: sources that the daemon clones.
//!
//! A name (branch, tag, `HEAD`) is resolved by the daemon when a ref's commit
//! or tree is first wanted, and pinned to that commit: from there on the
//! vertex's key is the commit, whoever asks.

use crate::platform::Platform;
use dagql::{Arg, CachePolicy, Cx, Field, Object, ObjectData, ObjectType};
use solver::llb::source::{self, GitOptions};

use super::directory::Directory;
use super::secret::Secret;
use super::socket::Socket;
use super::{load, object, session, this};
use crate::error::Error;
use crate::vertex::{Kind, Work};

/// The data of a `GitRepository`.
#[derive(Clone, Debug)]
pub(crate) struct GitRepository {
    /// The remote as it was given.
    pub(crate) url: String,
    /// How to fetch from it.
    pub(crate) options: GitOptions,
}

impl ObjectData for GitRepository {
    fn type_name(&self) -> &str {
        "GitRepository"
    }
}

/// The data of a `GitRef`: a repository and a commit in it.
#[derive(Clone, Debug)]
pub(crate) struct GitRef {
    repository: GitRepository,
    /// Full name of the ref, or the commit.
    name: String,
    /// The commit the name meant when it was resolved.
    commit: String,
}

impl ObjectData for GitRef {
    fn type_name(&self) -> &str {
        "GitRef"
    }
}

/// The field `Query.git`.
pub(crate) fn field() -> Field {
    Field::new("git", "GitRepository!")
        .doc("A Git repository.")
        .arg(Arg::new("url", "String!").doc("The remote: https://, ssh://, git@host:path."))
        .arg(
            Arg::new("keepGitDir", "Boolean!")
                .doc("Keep the .git directory in trees.")
                .default(true),
        )
        .arg(
            Arg::new("sshKnownHosts", "String!")
                .doc("Content of known_hosts.")
                .default(""),
        )
        .arg(Arg::new("sshAuthSocket", "SocketID").doc("An SSH agent."))
        .arg(Arg::new("httpAuthToken", "SecretID").doc("A token for https."))
        .arg(Arg::new("httpAuthHeader", "SecretID").doc("An Authorization header for https."))
        .cache(CachePolicy::PerClient)
        .resolve(async |cx, _, args| {
            let mut options = GitOptions {
                keep_git_dir: args.bool("keepGitDir")?,
                ..GitOptions::default()
            };
            let hosts = args.str("sshKnownHosts")?;
            options.known_ssh_hosts = hosts.lines().map(str::to_owned).collect();
            if let Some(id) = args.id_opt("sshAuthSocket")? {
                options.ssh_agent = Some(load::<Socket>(&cx, id).await?.id.clone());
            }
            if let Some(id) = args.id_opt("httpAuthToken")? {
                options.auth_token_secret = Some(load::<Secret>(&cx, id).await?.llb_id.clone());
            }
            if let Some(id) = args.id_opt("httpAuthHeader")? {
                options.auth_header_secret = Some(load::<Secret>(&cx, id).await?.llb_id.clone());
            }
            object(
                &cx,
                GitRepository {
                    url: args.str("url")?.to_owned(),
                    options,
                },
            )
        })
}

/// The object type `GitRepository`.
pub(crate) fn repository_type() -> ObjectType {
    let named = |name: &str, arg: &'static str, prefix: &'static str, doc: &str| {
        Field::new(name, "GitRef!")
            .doc(doc)
            .arg(Arg::new(arg, "String!").doc("Its name."))
            .cache(CachePolicy::PerClient)
            .resolve(move |cx, this_, args| async move {
                let repository = this::<GitRepository>(&this_)?;
                resolve_ref(&cx, &repository, format!("{prefix}{}", args.str(arg)?)).await
            })
    };
    ObjectType::new("GitRepository")
        .doc("A Git repository.")
        .field(
            Field::new("url", "String")
                .doc("The remote.")
                .resolve(async |_, this_, _| Ok(this::<GitRepository>(&this_)?.url.clone())),
        )
        .field(
            Field::new("head", "GitRef!")
                .doc("What the remote's HEAD points to.")
                .cache(CachePolicy::PerClient)
                .resolve(async |cx, this_, _| {
                    let repository = this::<GitRepository>(&this_)?;
                    resolve_ref(&cx, &repository, "HEAD".to_owned()).await
                }),
        )
        .field(named("branch", "name", "refs/heads/", "A branch."))
        .field(named("tag", "name", "refs/tags/", "A tag."))
        .field(named("ref", "name", "", "A ref by its full name."))
        .field(named("commit", "id", "", "A commit by its full hash."))
}

/// The object type `GitRef`.
pub(crate) fn ref_type() -> ObjectType {
    ObjectType::new("GitRef")
        .doc("A commit of a repository.")
        .field(
            Field::new("commit", "String!")
                .doc("The commit's hash.")
                .resolve(async |_, this_, _| Ok(this::<GitRef>(&this_)?.commit.clone())),
        )
        .field(
            Field::new("ref", "String!")
                .doc("The full name of the ref.")
                .resolve(async |_, this_, _| Ok(this::<GitRef>(&this_)?.name.clone())),
        )
        .field(
            Field::new("tree", "Directory!")
                .doc("The files of the commit.")
                .arg(
                    Arg::new("discardGitDir", "Boolean!")
                        .doc("Leave the .git directory out.")
                        .default(false),
                )
                .resolve(async |cx, this_, args| {
                    let target = this::<GitRef>(&this_)?;
                    let mut options = target.repository.options.clone();
                    options.keep_git_dir &= !args.bool("discardGitDir")?;
                    options.reference = Some(target.commit.clone());
                    let source = source::git(&target.repository.url, options)
                        .map_err(|e| Error::input(e.to_string()))?;
                    let edge = super::vertex(&cx, Kind::Fs, Work::Llb(vec![Some(source)]))?;
                    object(&cx, Directory::root(Some(edge), Platform::host()))
                }),
        )
}

async fn resolve_ref(
    cx: &Cx,
    repository: &GitRepository,
    name: String,
) -> Result<Object, dagql::Error> {
    let resolved = session(cx)?
        .resolve_git(&repository.url, &name, &repository.options)
        .await?;
    object(
        cx,
        GitRef {
            repository: repository.clone(),
            name: resolved.name,
            commit: resolved.commit,
        },
    )
}
