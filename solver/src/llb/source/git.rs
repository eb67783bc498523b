//! Git repositories.
//!
//! The identifier holds host, path, ref and subdirectory, the same for every protocol, so that a
//! repository fetched over https and over ssh is one source. The URL proper is an attribute.

use super::{Attributes, OciStore, PlatformUse};
use crate::llb::{Constraints, Error, Output, caps, paths};

/// Secret that holds a token for https, if the options name no other.
const AUTH_TOKEN_SECRET: &str = "GIT_AUTH_TOKEN";

/// Secret that holds an `Authorization` header for https, if the options name no other.
const AUTH_HEADER_SECRET: &str = "GIT_AUTH_HEADER";

/// A git bundle to import in place of fetching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitBundle {
    /// `docker-image+blob://name@digest` or `oci-layout+blob://name@digest`.
    pub locator: String,
    /// Store of an OCI layout.
    pub store: OciStore,
}

/// Options of a git repository.
#[derive(Debug, Clone, Default)]
pub struct GitOptions {
    /// Branch, tag or commit; `None` is the default branch.
    pub reference: Option<String>,
    /// Directory of the repository to use as root.
    pub subdir: Option<String>,
    /// Keep `.git`.
    pub keep_git_dir: bool,
    /// Id of the secret with a token; `None` is `GIT_AUTH_TOKEN`.
    pub auth_token_secret: Option<String>,
    /// Id of the secret with an `Authorization` header; `None` is `GIT_AUTH_HEADER`.
    pub auth_header_secret: Option<String>,
    /// Lines of `known_hosts`, for ssh. Without them the daemon checks no host key.
    pub known_ssh_hosts: Vec<String>,
    /// Id of the agent to use for ssh; `None` is `default`.
    pub ssh_agent: Option<String>,
    /// Fail unless the ref resolves to this commit.
    pub checksum: Option<String>,
    /// Leave out submodules.
    pub skip_submodules: bool,
    /// Modification times: `checkout` (the default) or `commit`.
    pub mtime: Option<String>,
    /// Trust `checksum` and do not resolve the ref.
    pub fetch_by_commit: bool,
    /// Import a bundle in place of fetching; needs `checksum`.
    pub bundle: Option<GitBundle>,
    /// Produce a bundle in place of a checkout.
    pub checkout_bundle: bool,
    /// Name and so on.
    pub constraints: Constraints,
}

/// A checkout of a git repository. The URL is `https://`, `http://`, `git://`, `ssh://`,
/// `user@host:path`, or any of them without scheme, which means https. A fragment
/// `#ref:subdir` stands for the options of these names where they are not given.
///
/// # Errors
///
/// If the URL does not parse, has another scheme or contains a password (which would end up in
/// the graph; give it as a secret), or if options contradict each other.
pub fn git(url: &str, options: GitOptions) -> Result<Output, Error> {
    let remote = Remote::parse(url)?;
    check(&options)?;
    let (fragment_ref, fragment_subdir) = remote
        .fragment
        .split_once(':')
        .unwrap_or((&remote.fragment, ""));
    let reference = options.reference.as_deref().unwrap_or(fragment_ref);
    let subdir = paths::absolute("/", options.subdir.as_deref().unwrap_or(fragment_subdir));
    let subdir = subdir.trim_start_matches('/');

    let mut attributes = Attributes::default();
    attributes.require(caps::SOURCE_GIT);
    attributes.set_some("git.fullurl", Some(&remote.url), caps::SOURCE_GIT_FULL_URL);
    set_auth(&mut attributes, &options);
    if remote.is_ssh {
        set_ssh(&mut attributes, &options);
    }
    attributes.set_flag(
        "git.keepgitdir",
        options.keep_git_dir,
        caps::SOURCE_GIT_KEEP_DIR,
    );
    attributes.set_some("git.checksum", options.checksum, caps::SOURCE_GIT_CHECKSUM);
    attributes.set_flag(
        "git.skipsubmodules",
        options.skip_submodules,
        caps::SOURCE_GIT_SKIP_SUBMODULES,
    );
    attributes.set_some("git.mtime", options.mtime, caps::SOURCE_GIT_MTIME);
    attributes.set_flag(
        "git.fetchbycommit",
        options.fetch_by_commit,
        caps::SOURCE_GIT_FETCH_BY_COMMIT,
    );
    if let Some(bundle) = options.bundle {
        attributes.set_some("git.bundle", Some(bundle.locator), caps::SOURCE_GIT_BUNDLE);
        bundle.store.set(&mut attributes);
    }
    attributes.set_flag(
        "git.checkoutbundle",
        options.checkout_bundle,
        caps::SOURCE_GIT_CHECKOUT_BUNDLE,
    );

    let mut identifier = format!(
        "git://{}{}",
        remote.host,
        paths::absolute("/", &remote.path)
    );
    if !reference.is_empty() || !subdir.is_empty() {
        identifier.push('#');
        identifier.push_str(reference);
    }
    if !subdir.is_empty() {
        identifier.push(':');
        identifier.push_str(subdir);
    }
    Ok(attributes.into_source(identifier, PlatformUse::Clear, options.constraints))
}

fn check(options: &GitOptions) -> Result<(), Error> {
    let fail = |reason| {
        Err(Error::Option {
            what: "git source".to_owned(),
            reason,
        })
    };
    if options.bundle.is_some() && options.checksum.is_none() {
        return fail("a bundle needs the checksum of a commit");
    }
    let names_commit = matches!(&options.reference, Some(text) if is_commit(text));
    if options.fetch_by_commit
        && !names_commit
        && !options.checksum.as_deref().is_some_and(is_commit)
    {
        return fail("fetching by commit needs the full id of the commit");
    }
    if options.checkout_bundle && (options.keep_git_dir || options.subdir.is_some()) {
        return fail("a bundle as output excludes keeping .git and a subdirectory");
    }
    match options.mtime.as_deref() {
        None | Some("checkout" | "commit") => Ok(()),
        Some(_) => fail("mtime is 'checkout' or 'commit'"),
    }
}

/// Whether a text is the full id of a commit.
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn set_auth(attributes: &mut Attributes, options: &GitOptions) {
    for (key, given, default) in [
        (
            "git.authtokensecret",
            &options.auth_token_secret,
            AUTH_TOKEN_SECRET,
        ),
        (
            "git.authheadersecret",
            &options.auth_header_secret,
            AUTH_HEADER_SECRET,
        ),
    ] {
        // The default names are no requirement: an older daemon ignores them.
        match given {
            Some(id) => attributes.set_some(key, Some(id), caps::SOURCE_GIT_HTTP_AUTH),
            None => attributes.set(key, default),
        }
    }
}

fn set_ssh(attributes: &mut Attributes, options: &GitOptions) {
    let hosts: String = options
        .known_ssh_hosts
        .iter()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    if !hosts.is_empty() {
        attributes.set("git.knownsshhosts", hosts);
    }
    attributes.require(caps::SOURCE_GIT_KNOWN_SSH_HOSTS);
    attributes.set_some(
        "git.mountsshsock",
        Some(options.ssh_agent.as_deref().unwrap_or("default")),
        caps::SOURCE_GIT_MOUNT_SSH_SOCK,
    );
}

/// A git URL taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Remote {
    /// What git is given: without query and fragment.
    url: String,
    /// Host, with its port if it has one.
    host: String,
    path: String,
    fragment: String,
    is_ssh: bool,
}

impl Remote {
    fn parse(text: &str) -> Result<Self, Error> {
        let fail = |reason| {
            Err(Error::GitUrl {
                url: without_password(text),
                reason,
            })
        };
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return fail("it contains a space or a control character");
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme.to_ascii_lowercase().as_str() {
                scheme @ ("http" | "https" | "git" | "ssh") => Self::from_url(text, scheme, rest),
                _ => fail("the scheme is not https, http, ssh or git"),
            };
        }
        match Self::from_scp(text) {
            Some(remote) => Ok(remote),
            None => Self::from_url(text, "https", text),
        }
    }

    fn from_url(text: &str, scheme: &str, rest: &str) -> Result<Self, Error> {
        let fail = |reason| {
            Err(Error::GitUrl {
                url: without_password(text),
                reason,
            })
        };
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, _query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() {
            return fail("it has no host");
        }
        if user.is_some_and(|user| user.contains(':')) {
            return fail("it contains a password; give it as a secret");
        }
        Ok(Self {
            url: format!("{scheme}://{rest}"),
            host: host.to_owned(),
            path: path.to_owned(),
            fragment: fragment.to_owned(),
            is_ssh: scheme == "ssh",
        })
    }

    /// `user@host:path`.
    fn from_scp(text: &str) -> Option<Self> {
        let (user, rest) = text.split_once('@')?;
        let (host, rest) = rest.split_once(':')?;
        let is_word = |text: &str, more: &[u8]| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        if !is_word(user, b"-_") || !is_word(host, b"-.") {
            return None;
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, _query) = rest.split_once('?').unwrap_or((rest, ""));
        Some(Self {
            url: format!("{user}@{host}:{path}"),
            host: host.to_owned(),
            path: path.to_owned(),
            fragment: fragment.to_owned(),
            is_ssh: true,
        })
    }
}

/// The URL with any password blotted out, for errors.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url
        .split_once("://")
        .map_or(("", url), |(scheme, rest)| (scheme, rest));
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
    {
        Some((user, password)) => {
            let after = &rest[user.len() + 1 + password.len()..];
            let separator = if scheme.is_empty() { "" } else { "://" };
            format!("{scheme}{separator}{user}:***{after}")
        }
        None => url.to_owned(),
    }
}
