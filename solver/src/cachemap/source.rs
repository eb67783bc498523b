//! Cache map of a source that is pinned.
//!
//! A source has a key, a text made from what it resolves to, never from where it comes from: a
//! repository and its mirror are the same source. The digest is that of the key behind a prefix.

use std::collections::BTreeMap;

use proto::pb;

use super::{CacheMap, Profile, Unknown, json::Object};
use crate::{
    Digest,
    llb::{paths, platform, reference::Reference, source::git::is_commit},
};

pub(super) fn map(
    source: &pb::SourceOp,
    op: &pb::Op,
    profile: Profile,
) -> Result<CacheMap, Unknown> {
    let (scheme, rest) = source
        .identifier
        .split_once("://")
        .ok_or_else(|| Unknown::Invalid("its identifier has no scheme".to_owned()))?;
    let attrs = &source.attrs;
    let key = match scheme {
        "docker-image" => image(rest, attrs.get("image.layerlimit"), op, profile)?,
        "oci-layout" => image(rest, attrs.get("oci.layerlimit"), op, profile)?,
        "docker-image+blob" | "oci-layout+blob" => blob(rest, attrs, profile)?,
        "http" | "https" => http(rest, attrs, profile)?,
        "git" => git(rest, attrs, profile)?,
        "local" => return Err(Unknown::Content),
        other => return Err(Unknown::Unsupported(format!("the source {other}://"))),
    };
    let digest = Digest::sha256(format!("buildkit.source.v0:{key}").as_bytes());
    Ok(CacheMap {
        digest,
        inputs: Vec::new(),
    })
}

fn pinned(reference: &str, what: &'static str) -> Result<Digest, Unknown> {
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
) -> Result<String, Unknown> {
    let digest = pinned(reference, "an image without a digest")?;
    let platform = platform::normalize(op.platform.as_ref().ok_or(Unknown::Platform)?);
    let mut json = Object::new()
        .always("Digest", digest.as_str())
        .always("OS", &platform.os)
        .always("Arch", &platform.architecture)
        .field("Variant", &platform.variant)
        .field("OSVersion", &platform.os_version)
        .field("OSFeatures", &platform.os_features);
    if let Some(limit) = limit {
        json = json.always("Limit", number(limit)?);
    }
    Ok(json.digest(profile)?.to_string())
}

fn blob(
    reference: &str,
    attrs: &BTreeMap<String, String>,
    profile: Profile,
) -> Result<String, Unknown> {
    let digest = pinned(reference, "a blob without a digest")?;
    let filename = attrs.get("http.filename").map_or("", String::as_str);
    let json = Object::new()
        .always("Digest", digest.as_str())
        .always("Filename", filename);
    Ok(owned(json, attrs)?.digest(profile)?.to_string())
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
fn http(rest: &str, attrs: &BTreeMap<String, String>, profile: Profile) -> Result<String, Unknown> {
    let checksum = attrs
        .get("http.checksum")
        .ok_or(Unknown::Resolved("a URL without a checksum"))?;
    let filename = match attrs.get("http.filename") {
        Some(name) => name.as_str(),
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
    Ok(json.field("Header", headers).digest(profile)?.to_string())
}

/// The path of what follows the scheme in a URL.
fn url_path(rest: &str) -> &str {
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let rest = &rest[..end];
    rest.find('/').map_or("", |at| &rest[at..])
}

/// A checkout of a full commit id. The URL is not part of the key.
fn git(rest: &str, attrs: &BTreeMap<String, String>, profile: Profile) -> Result<String, Unknown> {
    let is_set = |key: &str| attrs.get(key).is_some_and(|value| value == "true");
    if attrs.contains_key("git.bundle") {
        return Err(Unknown::Resolved("a git bundle"));
    }
    let fragment = rest.split_once('#').map_or("", |(_, fragment)| fragment);
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let checksum = attrs.get("git.checksum").map_or("", String::as_str);
    let (commit, reference) = if is_commit(reference) {
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
        if profile >= Profile::V0_17 {
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
