//! What `hack/test` tells the tests through the environment.

use std::path::PathBuf;

use anyhow::Context as _;

/// Reads a variable that `hack/test` sets.
///
/// # Errors
/// When it is unset or empty; the message says how to run the tests.
pub fn required(name: &str) -> anyhow::Result<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .with_context(|| {
            format!(
                "{name} is not set: run the tests with hack/test, which prepares what they need"
            )
        })
}

/// Reads a variable that names a file or folder which must exist.
///
/// # Errors
/// When it is unset, empty, or names nothing.
pub fn required_path(name: &str) -> anyhow::Result<PathBuf> {
    let path = PathBuf::from(required(name)?);
    anyhow::ensure!(
        path.exists(),
        "{name} names {}, which does not exist",
        path.display()
    );
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_names_the_script_that_sets_it() {
        let error = required("DAGOP_TEST_SURELY_UNSET").unwrap_err().to_string();
        assert!(
            error.contains("DAGOP_TEST_SURELY_UNSET") && error.contains("hack/test"),
            "{error}"
        );
    }

    #[test]
    fn a_path_that_does_not_exist_is_refused() {
        // CARGO_PKG_NAME is set by cargo and is not a path here.
        let error = required_path("CARGO_PKG_NAME").unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }
}
