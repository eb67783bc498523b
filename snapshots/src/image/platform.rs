//! Platforms: `os/architecture/variant`, in containerd's normal form, and what can run what.
//!
//! Many spellings mean one platform (`x86_64`, `aarch64`, `arm64/v8`); they are normalised before
//! they are compared. A machine also runs older variants of its architecture and some 32-bit
//! ones; [`Platform::runs`] lists them best first, and an image is chosen by that order.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::Descriptor;
use thiserror::Error;

/// The text is no platform.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("`{0}` is not a platform: expected os/architecture or os/architecture/variant")]
pub struct PlatformError(String);

/// A platform in normal form. The variant is empty when it is the usual one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// As in Go's GOOS: `linux`, `windows` ...
    pub os: String,
    /// As in Go's GOARCH: `amd64`, `arm64` ...
    pub architecture: String,
    /// `v7`, `v3` ... or empty.
    pub variant: String,
}

impl Platform {
    /// Normalises the parts.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let (architecture, variant) =
            normalise(&architecture.to_lowercase(), &variant.to_lowercase());
        Self {
            os,
            architecture,
            variant,
        }
    }

    /// Linux on the architecture this program was compiled for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new("linux", architecture, "")
    }

    /// The platform of a descriptor, if it states one.
    pub fn of(descriptor: &Descriptor) -> Option<Self> {
        let platform = descriptor.platform().as_ref()?;
        Some(Self::new(
            &platform.os().to_string(),
            &platform.architecture().to_string(),
            platform.variant().as_deref().unwrap_or(""),
        ))
    }

    /// The same as the type of OCI documents.
    pub fn to_oci(&self) -> oci_spec::image::Platform {
        let mut platform = oci_spec::image::Platform::default();
        platform.set_os(self.os.as_str().into());
        platform.set_architecture(self.architecture.as_str().into());
        platform.set_variant((!self.variant.is_empty()).then(|| self.variant.clone()));
        platform
    }

    /// Everything this platform can run, best first, itself included.
    pub fn runs(&self) -> Vec<Self> {
        let same = |architecture: &str, variant: String| Self {
            os: self.os.clone(),
            architecture: architecture.to_owned(),
            variant,
        };
        match self.architecture.as_str() {
            "amd64" => {
                let level = version(&self.variant).unwrap_or(1);
                let mut list = vec![self.clone()];
                list.extend((2..level).rev().map(|v| same("amd64", format!("v{v}"))));
                if level > 1 {
                    list.push(same("amd64", String::new()));
                }
                list.push(same("386", String::new()));
                list
            }
            "arm" => {
                let mut list = vec![self.clone()];
                let level = version(&self.variant).unwrap_or(0);
                list.extend((5..level).rev().map(|v| same("arm", format!("v{v}"))));
                list
            }
            "arm64" => {
                let mut list: Vec<Self> = arm64_variants(&self.variant)
                    .into_iter()
                    .map(|variant| same("arm64", variant))
                    .collect();
                if list.is_empty() {
                    return vec![self.clone()];
                }
                list.extend((5..=8).rev().map(|v| same("arm", format!("v{v}"))));
                list
            }
            _ => vec![self.clone()],
        }
    }
}

/// Highest minor version of the 64-bit ARM variants: v8.9 and v9.7.
const ARM64_MINOR_MAX: [(u32, u32); 2] = [(8, 9), (9, 7)];

/// Variants that a 64-bit ARM variant can run, best first. Version 9.n includes 8.(n+5).
fn arm64_variants(variant: &str) -> Vec<String> {
    let text = match variant {
        "" => "8",
        other => other.strip_prefix('v').unwrap_or(other),
    };
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else {
        return Vec::new();
    };
    let known = ARM64_MINOR_MAX
        .iter()
        .any(|(m, highest)| *m == major && minor <= *highest);
    if !known {
        return Vec::new();
    }
    let name = |major: u32, minor: u32| match (major, minor) {
        (8, 0) => String::new(),
        (major, 0) => format!("v{major}"),
        (major, minor) => format!("v{major}.{minor}"),
    };
    let mut list: Vec<String> = (0..=minor).rev().map(|m| name(major, m)).collect();
    if major == 9 {
        list.extend((0..=(minor + 5).min(9)).rev().map(|m| name(8, m)));
    }
    list
}

fn version(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok()
}

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let well_formed = parts.iter().all(|part| {
            !part.is_empty()
                && part.len() <= 64
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        });
        match parts.as_slice() {
            [os, architecture] if well_formed => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] if well_formed => Ok(Self::new(os, architecture, variant)),
            _ => Err(PlatformError(text.chars().take(100).collect())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Platform {
        text.parse().unwrap()
    }

    fn runs(text: &str) -> Vec<String> {
        parse(text).runs().iter().map(Platform::to_string).collect()
    }

    #[test]
    fn spellings_of_one_platform_are_equal() {
        let cases = [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("Linux/AARCH64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/9.0", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/5", "linux/arm/v5"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
        ];
        for (text, normal) in cases {
            assert_eq!(parse(text).to_string(), normal);
        }
        for bad in ["", "linux", "linux/", "a/b/c/d", "linux/am d64", "/amd64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn compatible_platforms_come_best_first() {
        assert_eq!(runs("linux/amd64"), ["linux/amd64", "linux/386"]);
        assert_eq!(
            runs("linux/amd64/v3"),
            [
                "linux/amd64/v3",
                "linux/amd64/v2",
                "linux/amd64",
                "linux/386"
            ]
        );
        assert_eq!(runs("linux/arm/v6"), ["linux/arm/v6", "linux/arm/v5"]);
        assert_eq!(
            runs("linux/arm64"),
            [
                "linux/arm64",
                "linux/arm/v8",
                "linux/arm/v7",
                "linux/arm/v6",
                "linux/arm/v5"
            ]
        );
        let nine = runs("linux/arm64/v9.1");
        assert_eq!(
            nine[..4],
            [
                "linux/arm64/v9.1",
                "linux/arm64/v9",
                "linux/arm64/v8.6",
                "linux/arm64/v8.5"
            ]
        );
        assert_eq!(runs("linux/arm64/v77"), ["linux/arm64/v77"]);
        assert_eq!(runs("linux/s390x"), ["linux/s390x"]);
    }

    #[test]
    fn oci_documents_keep_the_parts() {
        let oci = parse("linux/arm/v6").to_oci();
        let json = serde_json::to_string(&oci).unwrap();
        assert_eq!(
            json,
            r#"{"architecture":"arm","os":"linux","variant":"v6"}"#
        );
        assert_eq!(Platform::host().os, "linux");
    }
}
