//! Files downloaded over HTTP.

use super::{Attributes, PlatformUse};
use crate::{
    Digest,
    llb::{Constraints, Error, Output, caps},
};

/// A detached OpenPGP signature to check, both armored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpSignature {
    /// Public keys.
    pub public_key: String,
    /// Signature.
    pub signature: String,
}

/// Options of a download.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// Fail unless the content has this digest. With it, no request is made on a cache hit.
    pub checksum: Option<Digest>,
    /// Name of the file; `None` is the last part of the URL or what the server says.
    pub filename: Option<String>,
    /// Permission bits; zero is 0600.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Id of the secret that holds the `Authorization` header.
    pub auth_header_secret: Option<String>,
    /// Request header `Accept`.
    pub accept: Option<String>,
    /// Request header `User-Agent`.
    pub user_agent: Option<String>,
    /// Signature to check.
    pub signature: Option<HttpSignature>,
    /// Name and so on.
    pub constraints: Constraints,
}

/// A file downloaded from a URL.
///
/// # Errors
///
/// If the URL does not start with `http://` or `https://`.
pub fn http(url: &str, options: HttpOptions) -> Result<Output, Error> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Error::HttpUrl {
            url: url.to_owned(),
        });
    }
    let mut attributes = Attributes::default();
    attributes.require(caps::SOURCE_HTTP);
    attributes.set_some(
        "http.checksum",
        options.checksum.as_ref().map(Digest::as_str),
        caps::SOURCE_HTTP_CHECKSUM,
    );
    if let Some(name) = options.filename {
        attributes.set("http.filename", name);
    }
    let nonzero = |number: u32| (number != 0).then_some(number);
    attributes.set_some(
        "http.perm",
        nonzero(options.mode).map(|mode| format!("0{mode:o}")),
        caps::SOURCE_HTTP_PERM,
    );
    for (key, id) in [("http.uid", options.uid), ("http.gid", options.gid)] {
        attributes.set_some(
            key,
            nonzero(id).map(|id| id.to_string()),
            caps::SOURCE_HTTP_UID_GID,
        );
    }
    attributes.set_some(
        "http.authheadersecret",
        options.auth_header_secret,
        caps::SOURCE_HTTP_AUTH,
    );
    attributes.set_some(
        "http.header.accept",
        options.accept,
        caps::SOURCE_HTTP_HEADER,
    );
    attributes.set_some(
        "http.header.user-agent",
        options.user_agent,
        caps::SOURCE_HTTP_HEADER,
    );
    if let Some(signature) = options.signature {
        attributes.set("http.sig.pubkey", signature.public_key);
        attributes.set("http.sig.signature", signature.signature);
        attributes.require(caps::SOURCE_HTTP_SIGNATURE_VERIFY);
    }
    Ok(attributes.into_source(url.to_owned(), PlatformUse::Clear, options.constraints))
}
