//! Platforms as the API writes them: `os/arch[/variant]`, normalised.

use std::fmt;

use solver::llb;

use crate::error::Error;

/// A platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    /// Operating system, as Go names it.
    pub os: String,
    /// Architecture, as Go names it.
    pub architecture: String,
    /// Variant, empty for none.
    pub variant: String,
}

impl Platform {
    /// Reads and normalises `os/arch[/variant]`.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        llb::platform::parse(text)
            .map(Self::from)
            .map_err(|e| Error::input(e.to_string()))
    }

    /// The platform of this process, the default one where no daemon was asked.
    pub fn host() -> Self {
        llb::platform::host().into()
    }

    /// The form LLB has.
    pub fn to_llb(&self) -> llb::Platform {
        llb::Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            ..llb::Platform::default()
        }
    }
}

impl From<llb::Platform> for Platform {
    fn from(platform: llb::Platform) -> Self {
        Self {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&llb::platform::format(&self.to_llb()))
    }
}
