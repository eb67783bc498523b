//! Views: which definitions the clients of one API version see.
//!
//! A client declares the version it was written for. A field or argument without a filter is seen
//! by everyone; one with a filter ([`Visible`]) by some versions, so that a name can mean one thing
//! to old clients and another to new ones. Clients that declare nothing, and calls that resolvers
//! make, see the newest definitions.
//!
//! A version is `MAJOR.MINOR.PATCH` with or without a leading `v`. What follows a `-` or `+` is cut
//! off, so that a build on the way to a release is served like the release. A text that is no
//! version counts as one before views existed, as in Dagger: [`View::UNKNOWN`].

use std::fmt;

/// A released version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Version([u32; 3]);

impl Version {
    pub(crate) const ZERO: Self = Self([0; 3]);

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let released = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = released.split('.');
        let mut version = Self::ZERO;
        for number in &mut version.0 {
            let part = parts.next()?;
            // Rust's parser would take a sign.
            if !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            *number = part.parse().ok()?;
        }
        parts.next().is_none().then_some(version)
    }

    /// The smallest version above this one.
    pub(crate) fn successor(self) -> Self {
        let [major, minor, patch] = self.0;
        Self([major, minor, patch.saturating_add(1)])
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "v{major}.{minor}.{patch}")
    }
}

/// What a client sees: the definitions of one version, or the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct View(Option<Version>);

impl View {
    /// The newest definitions.
    pub const NEWEST: Self = Self(None);

    /// What a client sees whose version is no version.
    pub const UNKNOWN: Self = Self(Some(Version([0, 11, 9])));

    /// The view of a client that declares `version`; empty text declares nothing.
    #[must_use]
    pub fn of(version: &str) -> Self {
        if version.is_empty() {
            return Self::NEWEST;
        }
        Version::parse(version).map_or(Self::UNKNOWN, |version| Self(Some(version)))
    }

    /// Whether these are the newest definitions.
    #[must_use]
    pub fn is_newest(self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn at(version: Version) -> Self {
        Self(Some(version))
    }
}

/// The text that IDs record; empty for the newest.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |version| version.fmt(f))
    }
}

/// Who sees a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visible {
    /// Everyone, and what it returns depends on the view: calls record it.
    All,
    /// Clients of exactly this version.
    Exact(&'static str),
    /// Clients of this version and later ones.
    After(&'static str),
    /// Clients of versions before this one.
    Before(&'static str),
}

impl Visible {
    /// The version in the filter: none for [`Visible::All`], an error for text that is no version.
    pub(crate) fn version(self) -> Result<Option<Version>, String> {
        match self {
            Self::All => Ok(None),
            Self::Exact(text) | Self::After(text) | Self::Before(text) => Version::parse(text)
                .map(Some)
                .ok_or_else(|| format!("`{text}` is not a version")),
        }
    }

    /// Whether the definition is seen in `view`. A malformed version was refused when the schema
    /// was built.
    pub(crate) fn in_view(self, view: View) -> bool {
        let (Some(seen), Ok(Some(bound))) = (view.0, self.version()) else {
            return matches!(self, Self::All | Self::After(_));
        };
        match self {
            Self::All => true,
            Self::Exact(_) => seen == bound,
            Self::After(_) => seen >= bound,
            Self::Before(_) => seen < bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_three_numbers_and_what_follows_is_cut_off() {
        for (text, view) in [
            ("v0.19.11", "v0.19.11"),
            ("0.19.11", "v0.19.11"),
            ("v0.19.11-240912-dev-7f3c", "v0.19.11"),
            ("v0.19.11+build.5", "v0.19.11"),
            ("", ""),
            ("nightly", "v0.11.9"),
            ("v1.2", "v0.11.9"),
            ("v1.2.3.4", "v0.11.9"),
            ("v1.+2.3", "v0.11.9"),
            ("v99999999999.0.0", "v0.11.9"),
        ] {
            assert_eq!(View::of(text).to_string(), view, "{text}");
        }
        assert!(Version::parse("v0.9.0") < Version::parse("v0.10.0"));
    }

    #[test]
    fn filters_select_versions() {
        let seen = |filter: Visible| {
            ["v0.11.0", "v0.12.0", "v0.13.0", ""].map(|view| filter.in_view(View::of(view)))
        };
        assert_eq!(seen(Visible::All), [true, true, true, true]);
        assert_eq!(seen(Visible::Exact("v0.12.0")), [false, true, false, false]);
        assert_eq!(seen(Visible::After("v0.12.0")), [false, true, true, true]);
        assert_eq!(
            seen(Visible::Before("v0.12.0")),
            [true, false, false, false]
        );
    }
}
