//! Cache map of a source that is pinned.
//!
//! A source has a key, a text made from what it resolves to, never from where it comes from: a
//! repository and its mirror are the same source. The digest is that of the key behind a prefix.

use std::collections::BTreeMap;

use proto::pb;

use super::{CacheMap, Facts, Profile, Unknown, json::Object};
use crate::{
    Digest,
    llb::{paths, platform, reference::Reference, source::git::is_commit},
};

/// What stands before a key when it is hashed.
const PREFIX: &str = "buildkit.source.v0:";

/// What a source that is not pinned resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolved {
    /// An image, or one file of it.
    Image {
        /// Digest of what the reference names: of the index, if it names one.
        digest: Digest,
    },
    /// A downloaded file.
    Http {
        /// `sha256:` digest of its bytes.
        checksum: Digest,
        /// The name the server gives it in `Content-Disposition`.
        filename: Option<String>,
        /// `Last-Modified`, as the server wrote it in the form of RFC 1123.
        last_modified: Option<String>,
    },
    /// A commit of a repository.
    Git {
        /// Full id of the commit; from v0.26 on that of the tag object, for an annotated tag with
        /// a kept `.git`.
        commit: String,
        /// Full name of the ref (`refs/heads/main`), or the id itself where it was asked for.
        reference: String,
    },
}

/// Digest of the second cache map of an image: that of the content of its layers. `chain` is the
/// chain id of as many of them as the source takes.
#[must_use]
pub fn chain(chain: &Digest) -> Digest {
    keyed(chain.as_str())
}

/// Digest of the cache map of a source with this key.
fn keyed(key: &str) -> Digest {
    Digest::sha256(format!("{PREFIX}{key}").as_bytes())
}

/// The key of a source.
pub(super) enum Key {
    /// Digest of a JSON.
    Json(Object),
    /// A text.
    Text(String),
}

pub(super) fn map(
    source: &pb::SourceOp,
    op: &pb::Op,
    profile: Profile,
    facts: &Facts,
) -> Result<CacheMap, Unknown> {
    let key = match key(source, op, profile, facts)? {
        Key::Json(json) => json.digest(profile)?.to_string(),
        Key::Text(text) => text,
    };
    Ok(CacheMap {
        digest: keyed(&key),
        inputs: Vec::new(),
    })
}

pub(super) fn key(
    source: &pb::SourceOp,
    op: &pb::Op,
    profile: Profile,
    facts: &Facts,
) -> Result<Key, Unknown> {
    let (scheme, rest) = source
        .identifier
        .split_once("://")
        .ok_or_else(|| Unknown::Invalid("its identifier has no scheme".to_owned()))?;
    let attrs = &source.attrs;
    match scheme {
        "docker-image" => {
            let limit = attrs.get("image.layerlimit");
            image(rest, limit, op, profile, facts).map(Key::Json)
        }
        "oci-layout" => {
            let limit = attrs.get("oci.layerlimit");
            image(rest, limit, op, profile, facts).map(Key::Json)
        }
        "docker-image+blob" | "oci-layout+blob" => blob(rest, attrs, facts).map(Key::Json),
        "http" | "https" => http(rest, attrs, facts).map(Key::Json),
        "git" => git(rest, attrs, profile, facts).map(Key::Text),
        "local" => Err(Unknown::Content),
        other => Err(Unknown::Unsupported(format!("the source {other}://"))),
    }
}

/// What the digest is of: a text, and what is hashed in it.
pub(super) fn preimages(key: Key, profile: Profile) -> Result<Vec<String>, Unknown> {
    Ok(match key {
        Key::Text(text) => vec![format!("{PREFIX}{text}")],
        Key::Json(json) => vec![
            format!("{PREFIX}{}", json.digest(profile)?),
            json.text(profile)?,
        ],
    })
}

fn pinned(reference: &str, what: &'static str, facts: &Facts) -> Result<Digest, Unknown> {
    if let Some(Resolved::Image { digest }) = &facts.resolved {
        return Ok(digest.clone());
    }
    let reference =
        Reference::parse(reference).map_err(|error| Unknown::Invalid(error.to_string()))?;
    reference.digest.ok_or(Unknown::Resolved(what))
}

/// The first key of an image. Of a multi-platform image the digest is that of the index, so the
/// platform is part of the key.
fn image(
    reference: &str,
    limit: Option<&String>,
    op: &pb::Op,
    profile: Profile,
    facts: &Facts,
) -> Result<Object, Unknown> {
    let digest = pinned(reference, "an image without a digest", facts)?;
    let platform = op.platform.as_ref().or(facts.platform.as_ref());
    let platform = platform::normalize(platform.ok_or(Unknown::Platform)?);
    let mut json = Object::new()
        .always("Digest", digest.as_str())
        .always("OS", &platform.os)
        .always("Arch", &platform.architecture)
        .field("Variant", &platform.variant);
    if profile.knows_os_versions() {
        json = json
            .field("OSVersion", &platform.os_version)
            .field("OSFeatures", &platform.os_features);
    }
    if let Some(limit) = limit {
        json = json.always("Limit", number(limit)?);
    }
    Ok(json)
}

fn blob(
    reference: &str,
    attrs: &BTreeMap<String, String>,
    facts: &Facts,
) -> Result<Object, Unknown> {
    let digest = pinned(reference, "a blob without a digest", facts)?;
    let filename = attrs.get("http.filename").map_or("", String::as_str);
    let json = Object::new()
        .always("Digest", digest.as_str())
        .always("Filename", filename);
    owned(json, attrs)
}

/// Adds permissions and owner of a downloaded file. Numbers that are not given are zero.
fn owned(mut json: Object, attrs: &BTreeMap<String, String>) -> Result<Object, Unknown> {
    for (name, key) in [
        ("Perm", "http.perm"),
        ("UID", "http.uid"),
        ("GID", "http.gid"),
    ] {
        let value = attrs.get(key).map(|text| number(text)).transpose()?;
        json = json.always(name, value.unwrap_or(0));
    }
    Ok(json)
}

/// A decimal number, or an octal one with a leading zero.
fn number(text: &str) -> Result<i64, Unknown> {
    let parsed = match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => i64::from_str_radix(octal, 8),
        _ => text.parse(),
    };
    parsed.map_err(|_| Unknown::Invalid(format!("{text:?} is no number")))
}

/// A download with a checksum is not requested, so nothing the server says is in its key.
fn http(rest: &str, attrs: &BTreeMap<String, String>, facts: &Facts) -> Result<Object, Unknown> {
    let (checksum, announced, last_modified) = match (attrs.get("http.checksum"), &facts.resolved) {
        (Some(checksum), _) => (checksum.as_str(), None, None),
        (
            None,
            Some(Resolved::Http {
                checksum,
                filename,
                last_modified,
            }),
        ) => (
            checksum.as_str(),
            filename.as_deref(),
            last_modified.as_ref(),
        ),
        _ => return Err(Unknown::Resolved("a URL without a checksum")),
    };
    let given = attrs.get("http.filename").map(String::as_str);
    let filename = match given.filter(|name| !name.is_empty()).or(announced) {
        Some(name) => name,
        None => paths::base(url_path(rest)),
    };
    let is_simple = !filename.is_empty()
        && ![".", "..", "/"].contains(&filename)
        && filename.trim() == filename
        && !filename.contains(|c: char| c == '/' || c == '%' || c.is_control());
    if !is_simple {
        return Err(Unknown::Unsupported(format!(
            "the file name made of {filename:?}"
        )));
    }
    let json = Object::new().always("Filename", filename);
    let mut json = owned(json, attrs)?.always("Checksum", checksum);
    if let Some(time) = last_modified {
        json = json.field("LastModTime", time);
    }
    if let Some(secret) = attrs.get("http.authheadersecret") {
        json = json.field("AuthHeaderSecret", secret);
    }
    let headers: Vec<Object> = [
        ("Accept", "http.header.accept"),
        ("User-Agent", "http.header.user-agent"),
    ]
    .into_iter()
    .filter_map(|(name, key)| Some((name, attrs.get(key)?)))
    .map(|(name, value)| Object::new().always("Name", name).always("Value", value))
    .collect();
    Ok(json.field("Header", headers))
}

/// The path of what follows the scheme in a URL.
fn url_path(rest: &str) -> &str {
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let rest = &rest[..end];
    rest.find('/').map_or("", |at| &rest[at..])
}

/// A checkout of a full commit id. The URL is not part of the key.
fn git(
    rest: &str,
    attrs: &BTreeMap<String, String>,
    profile: Profile,
    facts: &Facts,
) -> Result<String, Unknown> {
    let is_set = |key: &str| attrs.get(key).is_some_and(|value| value == "true");
    if attrs.contains_key("git.bundle") {
        return Err(Unknown::Resolved("a git bundle"));
    }
    let fragment = rest.split_once('#').map_or("", |(_, fragment)| fragment);
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let checksum = attrs.get("git.checksum").map_or("", String::as_str);
    let (commit, reference) = if let Some(Resolved::Git { commit, reference }) = &facts.resolved {
        (commit.as_str(), reference.clone())
    } else if is_commit(reference) {
        if !reference.starts_with(checksum) {
            return Err(Unknown::Invalid(
                "the commit is not the one of the checksum".to_owned(),
            ));
        }
        (reference, reference.to_owned())
    } else if is_set("git.fetchbycommit") && is_commit(checksum) {
        let reference = match reference {
            "" => checksum.to_owned(),
            full if full.starts_with("refs/") => full.to_owned(),
            branch => format!("refs/heads/{branch}"),
        };
        (checksum, reference)
    } else {
        return Err(Unknown::Resolved("a git ref that is no full commit id"));
    };
    let mut key = commit.to_owned();
    if is_set("git.keepgitdir") {
        key.push_str(".git");
        let is_named = !is_commit(&reference) || profile.names_commits();
        if profile >= Profile::V0_17 && is_named {
            key.push('#');
            key.push_str(&reference);
        }
    }
    let subdir = paths::absolute("/", subdir);
    if subdir != "/" {
        key.push(':');
        key.push_str(subdir.trim_start_matches('/'));
    }
    if is_set("git.skipsubmodules") {
        key.push_str("(skip-submodules)");
    }
    if let Some(mtime) = attrs.get("git.mtime").filter(|mtime| *mtime != "checkout") {
        key.push_str(&format!("(mtime={mtime})"));
    }
    if is_set("git.checkoutbundle") {
        key.push_str("(bundle)");
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
