//! Platforms: the names of operating systems and processors, normalised as containerd does.

use proto::pb::Platform;

use super::Error;

/// The platform of this process, normalised: what a vertex gets when none is given.
#[must_use]
pub fn host() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86" => ("386", ""),
        "x86_64" => ("amd64", ""),
        "aarch64" => ("arm64", ""),
        "powerpc64" => ("ppc64le", ""),
        "loongarch64" => ("loong64", ""),
        "arm" => ("arm", "v7"),
        other => (other, ""),
    };
    Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: variant.to_owned(),
        ..Platform::default()
    }
}

/// The same platform under its usual names: `x86_64` is `amd64`, `arm64/v8` is `arm64`, `arm` is
/// `arm/v7`, and so on.
#[must_use]
pub fn normalize(platform: &Platform) -> Platform {
    let os = match platform.os.to_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    };
    let variant = platform.variant.to_lowercase();
    let (architecture, variant) = match (platform.architecture.to_lowercase().as_str(), &*variant) {
        ("i386", _) => ("386".to_owned(), ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64".to_owned(), ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64".to_owned(), variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64".to_owned(), ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64".to_owned(), "v9"),
        ("aarch64", variant) => ("arm64".to_owned(), variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm".to_owned(), "v7"),
        ("armel", _) | ("arm", "6") => ("arm".to_owned(), "v6"),
        ("arm", "5") => ("arm".to_owned(), "v5"),
        ("arm", "8") => ("arm".to_owned(), "v8"),
        (other, variant) => (other.to_owned(), variant),
    };
    Platform {
        architecture,
        os,
        variant: variant.to_owned(),
        ..platform.clone()
    }
}

/// Parses `os/architecture` or `os/architecture/variant` and normalises it.
///
/// # Errors
///
/// For an empty part, more than three parts, or characters other than letters, digits, `_.-`.
pub fn parse(text: &str) -> Result<Platform, Error> {
    let fail = |reason| {
        Err(Error::Platform {
            platform: text.to_owned(),
            reason,
        })
    };
    let parts: Vec<&str> = text.split('/').collect();
    let is_name = |part: &&str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    if !parts.iter().all(is_name) {
        return fail("expected letters, digits, '_', '.' and '-' between slashes");
    }
    let (os, architecture, variant) = match parts[..] {
        [os, architecture] => (os, architecture, ""),
        [os, architecture, variant] => (os, architecture, variant),
        _ => return fail("expected os/architecture or os/architecture/variant"),
    };
    Ok(normalize(&Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
        ..Platform::default()
    }))
}

/// Writes `os/architecture` or `os/architecture/variant`.
#[must_use]
pub fn format(platform: &Platform) -> String {
    let Platform {
        os,
        architecture,
        variant,
        ..
    } = platform;
    if variant.is_empty() {
        format!("{os}/{architecture}")
    } else {
        format!("{os}/{architecture}/{variant}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names() {
        for (text, expected) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("Linux/AARCH64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            let parsed = parse(text).expect("a platform");
            assert_eq!(format(&parsed), expected);
            assert_eq!(
                normalize(&parsed),
                parsed,
                "normalising twice changes nothing"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_platform() {
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux/amd64/v1/x",
            "linux/amd 64",
        ] {
            assert!(
                matches!(parse(text), Err(Error::Platform { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn host_is_normal() {
        assert_eq!(normalize(&host()), host());
    }
}
