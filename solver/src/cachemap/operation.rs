//! An operation field by field, as JSON for people and for comparison.
//!
//! Fields are named as in BuildKit's `.proto` files and zero fields are left out, as in the
//! preimages of cache maps. Unlike those, *every* field is here, also the ones that no key depends
//! on. Three things are not: the inputs (their digests change with whatever is below), the session
//! noise of a local source ([`Vertex::canonical`] has none either), and the bytes of a new file, of
//! which only digest and size are kept.
//!
//! ```text
//! {"exec": {"meta": {"args": ["make"], "cwd": "/"}, "mounts": [{"dest": "/"}]},
//!  "platform": {"Architecture": "amd64", "OS": "linux"}}
//! ```

use proto::pb::{self, file_action::Action};
use serde_json::Value as Json;

use super::{
    Profile,
    json::{self, Object, Value},
};
use crate::{
    Digest,
    llb::{Vertex, source::local::SESSION_ATTRIBUTES},
};

/// The operation of a vertex.
#[must_use]
pub fn operation(vertex: &Vertex) -> Json {
    let op = vertex.op();
    let profile = Profile::NEWEST;
    let body = Object::new();
    let body = match &op.op {
        Some(pb::op::Op::Exec(exec)) => body.always("exec", json::exec(exec, profile)),
        Some(pb::op::Op::File(file)) => body.always("file", actions(file, profile)),
        Some(pb::op::Op::Source(source)) => body.always("source", self::source(source)),
        Some(pb::op::Op::Merge(merge)) => body.always("merge", json::merge(merge, profile)),
        Some(pb::op::Op::Diff(diff)) => body.always("diff", json::diff(diff, profile)),
        Some(pb::op::Op::Build(build)) => body.always("build", json::build(build, profile)),
        Some(pb::op::Op::Passthrough(passthrough)) => {
            body.always("passthrough", json::passthrough(passthrough))
        }
        None => body,
    };
    let filters = op.constraints.as_ref().map(|c| &c.filter);
    let body = body.message("platform", op.platform.as_ref().map(platform));
    let body = match filters {
        Some(filters) => body.field("constraints", filters),
        None => body,
    };
    serde_json::to_value(&body).expect("all keys are strings")
}

fn platform(platform: &pb::Platform) -> Object {
    Object::new()
        .field("Architecture", &platform.architecture)
        .field("OS", &platform.os)
        .field("Variant", &platform.variant)
        .field("OSVersion", &platform.os_version)
        .field("OSFeatures", &platform.os_features)
}

fn source(source: &pb::SourceOp) -> Object {
    let is_local = source.identifier.starts_with("local://");
    let attrs = source
        .attrs
        .iter()
        .filter(|(key, _)| !is_local || !SESSION_ATTRIBUTES.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), Value::from(value)))
        .collect::<std::collections::BTreeMap<_, _>>();
    Object::new()
        .field("identifier", &source.identifier)
        .field("attrs", attrs)
}

fn actions(file: &pb::FileOp, profile: Profile) -> Object {
    let one = |action: &pb::FileAction| {
        let object = Object::new();
        let object = match &action.action {
            Some(Action::Copy(copy)) => object.always("copy", json::copy(copy, profile)),
            Some(Action::Mkfile(file)) => object.always("mkfile", mkfile(file, profile)),
            Some(Action::Mkdir(mkdir)) => object.always("mkdir", json::mkdir(mkdir, profile)),
            Some(Action::Rm(rm)) => object.always("rm", json::rm(rm)),
            Some(Action::Symlink(link)) => object.always("symlink", json::symlink(link, profile)),
            None => object,
        };
        // An absent input is -1 and the first one 0, so all three are always written.
        object
            .always("input", action.input)
            .always("secondaryInput", action.secondary_input)
            .always("output", action.output)
    };
    Object::new().field("actions", file.actions.iter().map(one).collect::<Vec<_>>())
}

fn mkfile(mkfile: &pb::FileActionMkFile, profile: Profile) -> Object {
    let bytes = &mkfile.data;
    let without = pb::FileActionMkFile {
        data: bytes::Bytes::new(),
        ..mkfile.clone()
    };
    let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    json::mkfile(&without, profile)
        .always("dataDigest", Digest::sha256(bytes).as_str())
        .always("dataSize", size)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::llb::{
        Constraints, Output,
        exec::{Exec, Mount},
        file::{FileOp, MkfileOptions},
        source::{self, LocalOptions},
    };

    fn shown(output: &Output) -> String {
        operation(output.vertex()).to_string()
    }

    #[test]
    fn a_local_source_is_shown_without_its_session() {
        let local = |unique: &str| {
            let options = LocalOptions {
                unique: Some(unique.into()),
                exclude: vec!["*.o".into()],
                ..LocalOptions::default()
            };
            shown(&source::local("src", options))
        };
        assert_eq!(local("a"), local("b"));
        expect![[r#"{"source":{"attrs":{"local.excludepatterns":"[\"*.o\"]"},"identifier":"local://src"}}"#]]
            .assert_eq(&local("a"));
    }

    #[test]
    fn of_a_new_file_only_digest_and_size_are_shown() {
        let file = FileOp::new(None)
            .mkfile("/f", 0o644, "canary".to_owned(), MkfileOptions::default())
            .build(Constraints::default())
            .unwrap();
        let shown = shown(&file);
        assert!(shown.contains(r#""dataSize":6"#), "{shown}");
        assert!(
            !shown.contains("canary") && !shown.contains("Y2FuYXJ5"),
            "{shown}"
        );
    }

    #[test]
    fn fields_that_no_key_depends_on_are_shown_as_well() {
        let mount = |id: &str| {
            let cache = Mount::cache("/c", id, crate::llb::exec::CacheSharing::Shared);
            let outputs = Exec::new(None, ["true"]).env("A", "1").mount(cache).build();
            shown(outputs.unwrap().root().unwrap())
        };
        assert_ne!(mount("one"), mount("two"));
        assert!(
            mount("one").contains(r#""env":["A=1"]"#),
            "{}",
            mount("one")
        );
    }
}
