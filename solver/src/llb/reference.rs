//! Image references, completed as Docker completes them: `busybox` is
//! `docker.io/library/busybox:latest`.

use super::Error;
use crate::Digest;

/// Longest repository name, as in the distribution specification.
const NAME_LENGTH_MAX: usize = 255;

/// Longest tag, as in the distribution specification.
const TAG_LENGTH_MAX: usize = 128;

/// A complete reference: `domain/path[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Registry and path, such as `docker.io/library/busybox`.
    pub name: String,
    /// Tag, if one was given.
    pub tag: Option<String>,
    /// Digest, if one was given.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Parses a reference and completes its name. No tag is added.
    ///
    /// # Errors
    ///
    /// For anything that is no reference; upper case in a path is the usual mistake.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fail = |reason| Error::Reference {
            reference: text.to_owned(),
            reason,
        };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = Digest::parse(digest)
                    .map_err(|_| fail("the part after '@' is not algorithm:hex"))?;
                (rest, Some(digest))
            }
        };
        // A colon before the last slash belongs to a port.
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(fail(
                "the tag is not 1 to 128 letters, digits, '_', '.' and '-'",
            ));
        }
        if rest.is_empty() {
            return Err(fail("it is empty"));
        }
        if rest.len() == 64 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(fail("64 hexadecimal digits name no repository"));
        }
        let (domain, path) = split_domain(rest);
        if !is_domain(domain) {
            return Err(fail("the registry is not host[:port]"));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(fail("the repository name is not lower case"));
        }
        if !path.split('/').all(is_path_part) {
            return Err(fail("the repository name has a part that is no name"));
        }
        let library = if domain == "docker.io" && !path.contains('/') {
            "library/"
        } else {
            ""
        };
        let name = format!("{domain}/{library}{path}");
        if name.len() > NAME_LENGTH_MAX {
            return Err(fail("the repository name is longer than 255 bytes"));
        }
        Ok(Self {
            name,
            tag: tag.map(ToOwned::to_owned),
            digest,
        })
    }

    /// The same with tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The first part is a registry if it looks like a host: it has a dot, a port or a capital letter,
/// or is `localhost`.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => ("docker.io", path),
        Some((first, path))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, path)
        }
        _ => ("docker.io", name),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_address = |host: &str| {
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|byte| byte.is_ascii_hexdigit() || byte == b':')
            })
    };
    (host.split('.').all(is_label) || is_address(host))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    part.bytes().next().is_some_and(is_alphanumeric)
        && part.bytes().last().is_some_and(is_alphanumeric)
        && separators.into_iter().all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_LENGTH_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag
            .bytes()
            .all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("moby/buildkit", "docker.io/moby/buildkit:latest"),
            (
                "index.docker.io/busybox",
                "docker.io/library/busybox:latest",
            ),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a:b", "localhost:5000/a:b"),
            (
                "registry.example/a/b__c-d.e/f--g:V_1.2-x",
                "registry.example/a/b__c-d.e/f--g:V_1.2-x",
            ),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("Upper/a", "Upper/a:latest"),
        ] {
            let reference = Reference::parse(text).expect("a reference").or_latest();
            assert_eq!(reference.to_string(), expected);
            assert_eq!(
                Reference::parse(expected),
                Ok(reference),
                "complete names stay"
            );
        }
        let pinned = Reference::parse(&format!("a:b@{digest}"))
            .expect("a reference")
            .or_latest();
        assert_eq!(
            pinned.to_string(),
            format!("docker.io/library/a:b@{digest}")
        );
        let pinned = Reference::parse(&format!("a@{digest}"))
            .expect("a reference")
            .or_latest();
        assert_eq!(pinned.to_string(), format!("docker.io/library/a@{digest}"));
    }

    #[test]
    fn refuses_what_is_no_reference() {
        let hex = "a".repeat(64);
        let long = "a/".repeat(200) + "b";
        for text in [
            "",
            ":x",
            "@",
            "a@sha256:1",
            "a:",
            "a:-x",
            "aA",
            "a/B",
            "a//b",
            "a/",
            "/a",
            "a/-b",
            "a/b..c",
            "a/b___c",
            "-.io/a",
            "a.io:x/b",
            "a b",
            "https://a.io/b",
            &hex,
            &long,
        ] {
            assert!(
                matches!(Reference::parse(text), Err(Error::Reference { .. })),
                "{text:?}"
            );
        }
    }
}
