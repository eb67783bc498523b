//! Dockerfiles, through the daemon's own frontend.
//!
//! The frontend reads the Dockerfile and answers with LLB; nothing of that has run. So a plan asks it
//! as well, if the directory is one of the host: it then sends the Dockerfile and no other file, and
//! the LLB is that of a run, as the directory stands in it by its name.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use snapshots::tree::Tree as _;
use solver::backend::gateway::GatewayInput;
use solver::backend::session::LocalDir;
use solver::backend::{BuildResult, GatewaySolve};
use solver::llb::source::{self, LocalOptions};
use solver::llb::{Definition, Output};

use super::BuildSession;
use super::host::escape;
use crate::core;
use crate::error::Error;
use crate::platform::Platform;
use crate::vertex::Tree;

/// Bytes of a Dockerfile that are looked at for the frontend it names, which is said at its top.
const DOCKERFILE_BYTES_MAX: u64 = 64 << 10;

/// The build argument that names a frontend.
const SYNTAX: &str = "BUILDKIT_SYNTAX";

/// What `dockerBuild` asks of the frontend.
#[derive(Debug)]
pub struct DockerBuild {
    /// The directory, as a tree of its own.
    pub context: Tree,
    /// Path of the Dockerfile in it.
    pub dockerfile: String,
    /// The stage to build, empty for the last.
    pub target: String,
    /// The platform to build for.
    pub platform: Platform,
    /// Names and values.
    pub build_args: Vec<(String, String)>,
}

/// What a frontend gave.
#[derive(Debug)]
pub(crate) struct FrontendResult {
    /// The result's LLB; nothing for an empty one.
    pub(crate) root: Option<Output>,
    /// The image config document, if there is one.
    pub(crate) config: Option<Vec<u8>>,
}

impl BuildSession {
    /// Runs the daemon's Dockerfile frontend.
    pub(crate) async fn docker_build(&self, build: DockerBuild) -> Result<FrontendResult, Error> {
        let output = self.lowered(&build.context)?;
        let context = self.definition(output.as_ref())?.to_pb();
        self.look_at_local_trees().await;
        let dockerfile = match self.is_plan() {
            false => context.clone(),
            true => match output.and_then(|output| self.dockerfile_alone(&output, &build)) {
                Some(alone) => self.definition(Some(&alone))?.to_pb(),
                None => {
                    let trees = std::slice::from_ref(&build.context);
                    self.opens("what a Dockerfile says", trees)?;
                    context.clone()
                }
            },
        };
        let mut opts = BTreeMap::from([
            ("filename".to_owned(), build.dockerfile),
            ("platform".to_owned(), build.platform.to_string()),
        ]);
        if !build.target.is_empty() {
            opts.insert("target".to_owned(), build.target);
        }
        for (name, value) in build.build_args {
            opts.insert(format!("build-arg:{name}"), value);
        }
        let inputs = BTreeMap::from([
            ("context".to_owned(), context),
            ("dockerfile".to_owned(), dockerfile),
        ]);
        let input = GatewayInput::Frontend {
            name: "dockerfile.v0".to_owned(),
            opts,
            inputs,
        };
        let gateway = self.build().await?;
        let solve = self.with_imports(GatewaySolve::new(input));
        let result = gateway.solve(solve).await.map_err(|e| self.explain(e))?;
        frontend_result(&result)
    }

    /// A source of nothing but the Dockerfile, for a plan: the frontend reads no other file. None
    /// where the directory is no directory of the host, or the file names another frontend, which
    /// would be a program to run.
    fn dockerfile_alone(&self, context: &Output, build: &DockerBuild) -> Option<Output> {
        let trees = &self.providers.local_trees;
        let tree = trees.of(context.vertex())?;
        let path = core::path::join("/", &build.dockerfile).ok()?;
        let path = path.trim_start_matches('/');
        let files = tree.now()?;
        let mut text = Vec::new();
        let file = files.open(Path::new(path)).ok()?;
        file.take(DOCKERFILE_BYTES_MAX)
            .read_to_end(&mut text)
            .ok()?;
        let named = build.build_args.iter().any(|(name, _)| name == SYNTAX);
        if named || names_frontend(&String::from_utf8_lossy(&text)) {
            return None;
        }
        // A name of its own: under the directory's the daemon would keep this file alone.
        let (name, root) = tree.beside("dockerfile");
        trees.offer(&name, LocalDir::new(root));
        let ignore = format!("{path}.dockerignore");
        let options = LocalOptions {
            unique: Some(self.id.clone()),
            include: [path, &ignore].map(escape).to_vec(),
            shared_key_hint: Some(name.clone()),
            ..LocalOptions::default()
        };
        Some(source::local(&name, options))
    }
}

fn frontend_result(result: &BuildResult) -> Result<FrontendResult, Error> {
    let config = result
        .metadata
        .iter()
        .find(|(key, _)| {
            *key == "containerimage.config" || key.starts_with("containerimage.config/")
        })
        .map(|(_, value)| value.to_vec());
    let root = match result
        .reference()
        .and_then(|reference| reference.definition())
    {
        None => None,
        Some(definition) => Definition::from_pb(definition.clone())
            .and_then(|definition| definition.output())
            .map_err(|e| Error::internal(format!("the frontend's result: {e}")))?,
    };
    Ok(FrontendResult { root, config })
}

/// Whether a Dockerfile names a frontend. Comments at its top may be directives; what is JSON is one.
fn names_frontend(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lines = text.lines().map(str::trim);
    let mut top =
        lines.take_while(|line| line.is_empty() || line.starts_with('#') || line.starts_with("//"));
    let is_directive = |line: &str| {
        let line = line.trim_start_matches(['#', '/']).trim_start();
        let name = line.split('=').next().unwrap_or_default().trim();
        line.contains('=') && name.eq_ignore_ascii_case("syntax")
    };
    text.starts_with('{') || top.any(is_directive)
}

#[cfg(test)]
mod tests {
    use super::names_frontend;

    #[test]
    fn a_frontend_is_named_at_the_top() {
        for (text, expected) in [
            ("FROM scratch\n", false),
            ("# syntax=docker/dockerfile:1\nFROM scratch\n", true),
            (
                "#!/usr/bin/env dockerfile\n#  Syntax = a/b\nFROM scratch\n",
                true,
            ),
            ("# escape=`\n\n# syntax=a/b\nFROM scratch\n", true),
            ("// syntax=a/b\n", true),
            ("{\"syntax\": \"a/b\"}", true),
            ("# about the syntax of it\nFROM scratch\n", false),
            ("FROM scratch\n# syntax=docker/dockerfile:1\n", false),
        ] {
            assert_eq!(names_frontend(text), expected, "{text}");
        }
    }
}
