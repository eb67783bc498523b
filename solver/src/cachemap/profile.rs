//! Which formulas a daemon uses.

use snapshots::checksum::Rules;

/// The newest release that the formulas were compared with: major and minor number.
const NEWEST_PROVEN: (u32, u32) = (0, 32);

/// The formulas taken for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The formulas.
    pub profile: Profile,
    /// Whether they were compared with a daemon of that age; not so for one newer than all known.
    pub is_proven: bool,
}

/// A range of BuildKit releases with the same formulas. Ordered by release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// v0.12. Merges and diffs have no digest but their JSON itself; commands have selectors only
    /// where a mount selects a path, other inputs that are hashed, and ids of caches in their key;
    /// device numbers of all files of an image count.
    V0_12,
    /// v0.13. A copy does not know that it may replace what is there.
    V0_13,
    /// v0.14 to v0.16. JSON writes the indexes of inputs and outputs even where they are zero;
    /// vertices keep the digests their client computed; the key of a repository that keeps `.git`
    /// has no ref.
    V0_14,
    /// v0.17. JSON leaves out zero indexes, and spells owners in a way of its own; the daemon
    /// computes vertex digests itself.
    V0_17,
    /// v0.18 to v0.20. Owners are spelt as before v0.17, but for one letter.
    V0_18,
    /// v0.21 to v0.24. A copy that sets a mode gives it to the directories it makes above, too.
    V0_21,
    /// v0.25. What has an input without a record has none itself. Below a pattern, only links that are matched themselves are followed when content
    /// is hashed.
    V0_25,
    /// v0.26 and later. Content selected by a pattern or a filter is hashed with its paths.
    V0_26,
}

impl Profile {
    /// The formulas of the newest known releases.
    pub const NEWEST: Self = Self::V0_26;

    /// The formulas of a release, as the daemon states it (`v0.32.2`, also without `v` and with
    /// anything after the numbers). `None` before v0.12 and for what is no version. A release newer
    /// than the newest known is taken to be like it, which a caller that relies on it should verify.
    #[must_use]
    pub fn for_version(version: &str) -> Option<Self> {
        let version = version.strip_prefix('v').unwrap_or(version);
        let mut numbers = version.split(['.', '-', '+']);
        let major: u32 = numbers.next()?.parse().ok()?;
        let minor: u32 = numbers.next()?.parse().ok()?;
        match (major, minor) {
            (0, 0..12) => None,
            (0, 12) => Some(Self::V0_12),
            (0, 13) => Some(Self::V0_13),
            (0, 14..17) => Some(Self::V0_14),
            (0, 17) => Some(Self::V0_17),
            (0, 18..21) => Some(Self::V0_18),
            (0, 21..25) => Some(Self::V0_21),
            (0, 25) => Some(Self::V0_25),
            _ => Some(Self::V0_26),
        }
    }

    /// As [`Profile::for_version`], and whether the release is one that the formulas were compared
    /// with; a newer one is taken to be like the newest.
    #[must_use]
    pub fn of_version(version: &str) -> Option<Choice> {
        let profile = Self::for_version(version)?;
        let text = version.strip_prefix('v').unwrap_or(version);
        let mut numbers = text.split(['.', '-', '+']).map(str::parse::<u32>);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Choice {
            profile,
            is_proven: (major, minor) <= NEWEST_PROVEN,
        })
    }

    /// What content hashes depend on.
    pub(crate) fn rules(self) -> Rules {
        Rules {
            relative_list: self >= Self::V0_26,
            follow_nested: self < Self::V0_25,
            scan_devices: self < Self::V0_13,
            required_paths: self >= Self::V0_26,
        }
    }

    /// Merges and diffs are keyed by their JSON and not by its digest.
    pub(super) fn keeps_json(self) -> bool {
        self < Self::V0_13
    }

    /// Platforms have versions and features in keys.
    pub(super) fn knows_os_versions(self) -> bool {
        self >= Self::V0_13
    }

    /// The ref is part of the key of a repository with `.git`, also where it is a commit.
    pub(super) fn names_commits(self) -> bool {
        self >= Self::V0_26
    }

    /// A copy makes missing directories above its target with the mode it sets.
    pub(crate) fn parents_take_mode(self) -> bool {
        self >= Self::V0_21
    }

    /// An output whose last inputs have no record has one without them; later releases export
    /// none.
    pub(crate) fn cuts_inputs(self) -> bool {
        self < Self::V0_25
    }

    /// JSON writes indexes that are zero.
    pub(super) fn writes_zero_indexes(self) -> bool {
        self < Self::V0_17
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, profile) in [
            ("v0.11.6", None),
            ("v0.12.5", Some(Profile::V0_12)),
            ("v0.13.0", Some(Profile::V0_13)),
            ("0.16.0", Some(Profile::V0_14)),
            ("v0.17.0-rc1", Some(Profile::V0_17)),
            ("v0.17.3", Some(Profile::V0_17)),
            ("v0.18.0", Some(Profile::V0_18)),
            ("v0.20.2", Some(Profile::V0_18)),
            ("v0.24.9+ds1", Some(Profile::V0_21)),
            ("v0.25.2", Some(Profile::V0_25)),
            ("v0.26.0", Some(Profile::V0_26)),
            ("v0.32.2", Some(Profile::V0_26)),
            ("v1.0.0", Some(Profile::V0_26)),
            ("", None),
            ("v0", None),
            ("dev", None),
        ] {
            assert_eq!(Profile::for_version(version), profile, "{version}");
        }
    }

    #[test]
    fn a_release_of_the_future_is_taken_for_the_newest_and_not_proven() {
        let future = Profile::of_version("v0.99.0").unwrap();
        assert_eq!(future.profile, Profile::NEWEST);
        assert!(!future.is_proven);
        assert!(Profile::of_version("v0.20.2").unwrap().is_proven);
        assert!(Profile::of_version("v0.32.2").unwrap().is_proven);
        assert_eq!(Profile::of_version("v0.11.6"), None);
    }
}
